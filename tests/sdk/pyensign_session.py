"""What PyEnsign needs of a server, asked of a running one over plaintext or TLS.

    ENSIGN_ENDPOINT         host:port
    ENSIGN_AUTH_URL         base address of the REST API
    ENSIGN_CLIENT_ID        an API key with every permission, and its secret
    ENSIGN_CLIENT_SECRET
    ENSIGN_INSECURE         "true" for plaintext; everything else means TLS, beside which plaintext has to work, too

Prints "ok" and the name of each part; the first part that fails ends the run with its traceback. After a line "restart"
on standard output it waits for a line on standard input: whoever started it restarts the server in between.
"""

import asyncio
import base64
import json
import os
import re
import sys
import time
import urllib.parse
import urllib.request

from pyensign.api.v1beta1 import ensign_pb2, groups_pb2, query_pb2, topic_pb2
from pyensign.api.v1beta1.event import wrap
from pyensign.auth.client import AuthClient
from pyensign.connection import Client, Connection
from pyensign.ensign import Ensign
from pyensign.events import Event
from pyensign.exceptions import (
    AuthenticationError,
    EnsignRPCError,
    InvalidQueryError,
    NackError,
    QueryNoRows,
    UnknownTopicError,
)
from ulid import ULID

ENDPOINT = os.environ["ENSIGN_ENDPOINT"]
AUTH_URL = os.environ["ENSIGN_AUTH_URL"]
INSECURE = os.environ["ENSIGN_INSECURE"] == "true"
CREDENTIALS = {"client_id": os.environ["ENSIGN_CLIENT_ID"], "client_secret": os.environ["ENSIGN_CLIENT_SECRET"]}
RUN = str(ULID()).lower()
MESSAGE_BYTES_MAX = 4 * 1024 * 1024  # what gRPC reads unless it is told otherwise
EVENT_BYTES_MAX = 5_243_000
GUARD_SECONDS = 120  # against hanging; nothing here is meant to take as long
PARTS = []


def part(function):
    PARTS.append(function)
    return function


def client(**options):
    return Ensign(endpoint=ENDPOINT, insecure=INSECURE, auth_url=AUTH_URL, **options)


def name(short):
    return f"python.{short}-{RUN}"


async def eventually(check, what):
    """Waits until check gives something true, and returns that."""
    end = time.monotonic() + GUARD_SECONDS
    while True:
        found = check()
        if found:
            return found
        assert time.monotonic() < end, f"{what} did not come about"
        await asyncio.sleep(0.02)


def text_event(text, **options):
    return Event(text.encode(), mimetype="text/plain", **options)


async def acked(event):
    assert await event.ack()


class Reader:
    """A subscription whose events are read and acked in the background, or handled otherwise."""

    def __init__(self, ensign, *topics, handle=acked, group=None):
        self.ensign = ensign
        self.topics = topics
        self.handle = handle
        self.group = group
        self.events = []
        self.task = asyncio.create_task(self.read())

    async def read(self):
        async for event in self.ensign.subscribe(*self.topics, consumer_group=self.group):
            await self.handle(event)
            self.events.append(event)

    async def ready(self):
        """Waits until the server has answered the subscription."""
        await eventually(lambda: self.streams() or self.task.done(), "the subscription")
        if self.task.done():
            self.task.result()

    def streams(self):
        return [stream for stream in self.ensign.client.subscribers.values() if stream._topics]

    def data(self):
        return [event.data.decode() for event in self.events]

    async def stop(self):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@part
async def tokens():
    auth = AuthClient(AUTH_URL + "/", CREDENTIALS)
    auth.authenticate()
    assert auth._access_token and auth._refresh_token
    first = auth.credentials()
    assert first == ("authorization", "Bearer " + auth._access_token)
    assert auth.credentials() == first, "valid tokens are used again"

    # An expired access token and a refresh token that the server does not know: the client falls back to its key.
    auth._access_token, auth._refresh_token = unsigned_token(-7200), unsigned_token(7200)
    renewed = auth.credentials()[1].removeprefix("Bearer ")
    assert renewed.count(".") == 2 and not renewed.endswith(".")

    for wrong in ({"client_secret": "x" * 64}, {"client_id": "x" * 32}):
        try:
            AuthClient(AUTH_URL, {**CREDENTIALS, **wrong}).authenticate()
        except AuthenticationError as error:
            assert re.search(r"\b4\d\d error", str(error)), error
        else:
            raise AssertionError("wrong credentials were accepted")


def unsigned_token(expires_in):
    def encoded(part):
        return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()

    now = int(time.time())
    return f"{encoded({'alg': 'EdDSA'})}.{encoded({'nbf': now - 9000, 'exp': now + expires_in})}."


@part
async def status_without_credentials():
    bare = Client(Connection(ENDPOINT, insecure=True))
    status, version, uptime, not_before, not_after = await bare.status()
    assert status == ensign_pb2.ServiceState.Status.HEALTHY
    assert re.fullmatch(r"v?0\.12\.\d+(-[a-zA-Z0-9.]+)?(\s+\([a-f0-9]{7}\))?", version), version
    assert uptime.seconds > 0 or uptime.nanos > 0
    assert time.time() < not_before.seconds < not_after.seconds
    try:
        await bare.list_topics()
    except EnsignRPCError as error:
        assert "UNAUTHENTICATED" in str(error)
    else:
        raise AssertionError("topics were listed for a stranger")
    await bare.channel.close()

    async with client() as ensign:
        assert (await ensign.status()).version == version


@part
async def topics():
    async with client() as ensign:
        made = await ensign.ensure_topic_exists(name("events"))
        assert await ensign.ensure_topic_exists(name("events")) == made
        assert not await ensign.topic_exists(name("nothing"))
    async with client() as ensign:
        assert await ensign.topic_exists(name("events"))
        assert await ensign.topic_id(name("events")) == made
        assert await ensign.ensure_topic_exists(name("events")) == made


@part
async def lists_longer_than_a_page():
    async with client() as ensign:
        made = {await ensign.create_topic(name(f"page{number}")) for number in range(105)}
        found = [str(topic.id) for topic in await ensign.get_topics()]
        assert made <= set(found)
        assert len(found) == len(set(found))
        last = sorted(made)[-1]
        listed = next(topic for topic in await ensign.get_topics() if str(topic.id) == last)
        assert await client().topic_id(listed.name) == last
    async with client() as ensign:
        for number in range(105):
            await ensign.destroy_topic(name(f"page{number}"))


@part
async def multi_publish():
    acks = []

    async def on_ack(ack):
        acks.append(ack)

    async with client() as ensign:
        topic = await ensign.ensure_topic_exists(name("events"))
        events = [text_event(f"event {number}", meta={"number": str(number)}) for number in range(10)]
        await ensign.publish(name("events"), events, on_ack=on_ack)
        for event in events:
            ack = await event.wait_for_ack()
            assert len(ack.id) == 16 and abs(ack.committed.timestamp() - time.time()) < 3600
        await eventually(lambda: len(acks) == 10, "the callbacks")
        assert [ack.committed.ToNanoseconds() for ack in acks] == sorted(ack.committed.ToNanoseconds() for ack in acks)

        # What has been acked is counted.
        info = await ensign.info([topic])
        assert (info.num_topics, info.events, info.duplicates) == (1, 10, 0), str(info)
        assert info.data_size_bytes > 0
        assert [str(counted.id) for counted in info.topics] == [topic]
        assert (await ensign.info()).events >= 10


@part
async def pubsub():
    acks = []

    async def on_ack(ack):
        acks.append(ack)

    async with client() as ensign, client() as publisher:
        topic = await ensign.ensure_topic_exists(name("pub-sub"))
        by_name, by_id = Reader(ensign, name("pub-sub")), Reader(client(), topic)
        await by_name.ready()
        await by_id.ready()
        sent = Event(b"hello", mimetype="text/plain", schema_name="message", schema_version="1.0.0", meta={"key": "value"})
        await publisher.publish(name("pub-sub"), sent, on_ack=on_ack)
        for reader in (by_name, by_id):
            await eventually(lambda: reader.events, "the event")
            [event] = reader.events
            assert event.data == b"hello" and event.mimetype == 1
            assert str(event.type) == "message v1.0.0", event.type
            assert dict(event.meta) == {"key": "value"}
            assert event.created == sent.created
            assert event.id and len(event.id.bytes) == 10
            assert event.acked()
            await reader.stop()
        await eventually(lambda: acks, "the ack")
        assert await by_id.ensign.close() is None


@part
async def a_thousand_events_in_order():
    async with client() as ensign, client() as publisher:
        await ensign.ensure_topic_exists(name("thousand"))
        reader = Reader(ensign, name("thousand"))
        await reader.ready()
        texts = [f"event {number}" for number in range(1000)]
        await publisher.publish(name("thousand"), [text_event(text) for text in texts])
        await eventually(lambda: len(reader.events) >= 1000, "the events")
        assert reader.data() == texts
        ids = [event.id.bytes for event in reader.events]
        assert ids == sorted(set(ids))
        await reader.stop()


@part
async def the_largest_message_reaches_a_reader():
    """What a client can send within gRPC's default limit is never delivered above it."""
    async with client() as ensign, client() as publisher:
        topic = await ensign.ensure_topic_exists(name("large"))
        reader = Reader(ensign, name("large"))
        await reader.ready()
        event = sized_event(topic, MESSAGE_BYTES_MAX)
        await publisher.publish(topic, event)
        await event.wait_for_ack()
        await eventually(lambda: reader.events, "the event")
        assert reader.events[0].data == event.data
        await reader.stop()


def sized_event(topic, message_bytes):
    """An event whose publish request has this length."""

    def request_bytes(data_bytes):
        wrapper = wrap(Event(b"x" * data_bytes, mimetype="text/plain").proto(), ULID.from_str(topic))
        return ensign_pb2.PublisherRequest(event=wrapper).ByteSize()

    data_bytes = message_bytes - (request_bytes(message_bytes - 1000) - (message_bytes - 1000))
    assert request_bytes(data_bytes) == message_bytes
    return Event(b"x" * data_bytes, mimetype="text/plain")


@part
async def nacks():
    nacked = []

    async def on_nack(nack):
        nacked.append(nack.code)

    async def refusal(event):
        try:
            await event.wait_for_ack()
        except NackError as error:
            return str(error)
        raise AssertionError("the event was acked")

    async with client() as ensign:
        topic = await ensign.create_topic(name("nacked"))
        large = Event(b"x" * EVENT_BYTES_MAX, mimetype="text/plain")
        await ensign.publish(topic, large, on_nack=on_nack)
        assert await refusal(large) == "event was nacked: maximum event size has been exceeded (1)"

        # The same stream goes on.
        small = text_event("small")
        await ensign.publish(topic, small)
        await small.wait_for_ack()

        _, state = await ensign.client.archive_topic(topic)
        assert state == topic_pb2.TopicState.READONLY
        late = text_event("late")
        await ensign.publish(topic, late)
        assert await refusal(late) == "event was nacked: cannot publish to an archived topic (3)"
        await eventually(lambda: nacked == [1, 3], "the callbacks")


@part
async def unknown_topics():
    async with client() as ensign:
        await ensign.ensure_topic_exists(name("events"))
        for unknown in (name("nothing"), str(ULID())):
            try:
                await ensign.publish(unknown, text_event("lost"))
            except UnknownTopicError:
                pass
            else:
                raise AssertionError(f"published to {unknown}")


@part
async def queries():
    """The cursor of query(): whole events, rows, aggregates, parameters of all kinds, nothing, and what is no query."""
    topic = name("queries")
    async with client() as ensign:
        await ensign.ensure_topic_exists(topic)
        events = [
            Event(
                json.dumps({"n": n, "half": n / 2, "even": n % 2 == 0, "user": {"name": f"user {n}"}}).encode(),
                mimetype="application/json",
                schema_name="order",
                schema_version="1.2.3",
                meta={"lane": "fast" if n < 10 else "slow"},
            )
            for n in range(100)
        ]
        await ensign.publish(topic, events)
        for event in events:
            await event.wait_for_ack()

        async def rows(rest, **options):
            cursor = await ensign.query(f"SELECT {rest}".replace("TOPIC", topic), **options)
            return [json.loads(event.data) for event in await cursor.fetchall()]

        cursor = await ensign.query(f"SELECT * FROM {topic}")
        stored = [await cursor.fetchone()] + await cursor.fetchmany(9) + [event async for event in cursor]
        assert [event.data for event in stored] == [event.data for event in events]
        assert all(str(event.type) == "order v1.2.3" and len(event.id.bytes) == 10 for event in stored)
        assert dict(stored[0].meta) == {"lane": "fast"} and stored[0].created == events[0].created

        cursor = await ensign.query(f"SELECT n, user.name AS who FROM {topic}.order.1 WHERE n >= 98")
        made = await cursor.fetchall()
        assert [json.loads(event.data) for event in made] == [{"n": n, "who": f"user {n}"} for n in (98, 99)]
        assert {str(event.type) for event in made} == {"EnSQL v1.0.0"} and {event.mimetype for event in made} == {50}
        assert len({event.id.bytes for event in made}) == 2

        assert await rows("n FROM TOPIC OFFSET 40 LIMIT 2") == [{"n": 40}, {"n": 41}]
        assert await rows(f"n FROM TOPIC OFFSET '{stored[97].id}' LIMIT 1") == [{"n": 97}]
        assert await rows("count(*) AS c FROM TOPIC WHERE _meta.lane = 'fast'") == [{"c": 10}]
        by_parity = await rows("even, sum(n) AS total FROM TOPIC GROUP BY even ORDER BY even")
        assert by_parity == [{"even": False, "total": 2500}, {"even": True, "total": 2450}]
        given = {"n": 90, "half": 48.5, "even": True, "name": "user 98", "raw": b"user 98"}
        where = "n > :n AND half > @half AND even = :even AND user.name = :name AND CAST(user.name AS BLOB) = :raw"
        assert await rows(f"n FROM TOPIC WHERE {where}", params=given, include_duplicates=True) == [{"n": 98}]

        for condition, value, found in (
            ("n >= :v AND n < 3", 1, [1, 2]),
            ("half = :v", 2.5, [5]),
            ("even = :v AND n > 95", False, [97, 99]),
            ("CAST(user.name AS BLOB) = :v", b"user 7", [7]),
            ("user.name = :v", "user 7", [7]),
            ("user.name LIKE ? LIMIT 2", "%9", [9, 19]),
        ):
            query = f"SELECT n FROM {topic} WHERE {condition}"
            numbers = [{"n": n} for n in found]
            cursor = await ensign.query(query, params={"v": value})
            assert [json.loads(event.data) for event in await cursor.fetchall()] == numbers, query
            cursor = await ensign.query(query, {"v": value})
            assert json.loads((await cursor.fetchone()).data) == numbers[0], query
            cursor = await ensign.query(query, {"v": value})
            assert [json.loads(event.data) for event in await cursor.fetchmany(1)] == numbers[:1], query
            assert [json.loads(event.data) for event in await cursor.fetchmany(10)] == numbers[1:], query

        for nothing in ("* FROM TOPIC LIMIT 0", "n FROM TOPIC WHERE n > 1000"):
            try:
                await rows(nothing)
            except QueryNoRows:
                pass
            else:
                raise AssertionError(f"{nothing} gave something")
        for wrong in ("nothing", "* FROM no-such-topic", "n FROM TOPIC WHERE", "n FROM TOPIC WHERE n = :missing"):
            try:
                await rows(wrong)
            except InvalidQueryError:
                pass
            else:
                raise AssertionError(f"{wrong} was taken for a query")


@part
async def filtered_subscription():
    """A subscription with a query: a condition, columns and parameters."""
    topic = name("filtered")
    async with client() as ensign:
        await ensign.ensure_topic_exists(topic)
        events = [Event(json.dumps({"n": n}).encode(), mimetype="application/json") for n in range(100)]
        await ensign.publish(topic, events)
        for event in events:
            await event.wait_for_ack()
        least = query_pb2.Parameter(name="least", i=97)
        asked = query_pb2.Query(query=f"SELECT n AS number FROM {topic} OFFSET 0 WHERE n >= :least", params=[least])
        received = []
        async for event in ensign.client.subscribe([topic], query=asked):
            assert str(event.type) == "EnSQL v1.0.0" and len(event.id.bytes) == 10
            received.append(json.loads(event.data))
            if len(received) == 3:
                break
        assert received == [{"number": 97}, {"number": 98}, {"number": 99}], received


@part
async def destroy():
    async with client() as ensign:
        await ensign.create_topic(name("destroyed"))
    async with client() as ensign:
        await ensign.destroy_topic(name("destroyed"))
        end = time.monotonic() + GUARD_SECONDS
        while await client().topic_exists(name("destroyed")):
            assert time.monotonic() < end, "the topic is still there"
            await asyncio.sleep(0.05)


def group(topic, delivery, short="workers"):
    """A consumer group that starts at the beginning of a topic, and waits for acks as long as it takes."""
    made = groups_pb2.ConsumerGroup(name=name(short), delivery=delivery, topic_offsets={topic: 1})
    made.delivery_timeout.seconds = 3600
    return made


def unsettled(consumer_group):
    """How many events the server says that a group has not settled."""
    token = AuthClient(AUTH_URL, CREDENTIALS).credentials()[1]
    url = f"{AUTH_URL}/api/groups/{urllib.parse.quote(consumer_group.name)}"
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Authorization": token})) as reply:
        return sum(topic["lag_events"] for topic in json.load(reply)["topics"])


async def published(ensign, topic, *texts):
    events = [text_event(text) for text in texts]
    await ensign.publish(topic, events)
    for event in events:
        await event.wait_for_ack()


@part
async def a_group_that_is_read_at_most_once():
    topic = name("most-once")
    workers = group(topic, groups_pb2.AT_MOST_ONCE)

    async def refused(event):
        assert await event.nack(ensign_pb2.Nack.DELIVER_AGAIN_ANY)

    async with client() as ensign:
        await ensign.create_topic(topic)
        await published(ensign, topic, *(str(number) for number in range(20)))
        async with client() as first:
            reader = Reader(first, topic, group=workers)
            await eventually(lambda: len(reader.events) == 20, "the events")
            # What was sent is consumed, whatever is said of it.
            reader.handle = refused
            await published(ensign, topic, "refused")
            await eventually(lambda: len(reader.events) == 21, "the event that is refused")
            await reader.stop()
        async with client() as second, client() as other:
            reader = Reader(second, topic, group=workers)
            await reader.ready()
            await published(ensign, topic, "last")
            await eventually(lambda: reader.events, "the last event")
            assert reader.data() == ["last"], reader.data()
            # Another group sees everything.
            others = Reader(other, topic, group=group(topic, groups_pb2.AT_MOST_ONCE, "others"))
            await eventually(lambda: len(others.events) == 22, "the events of the other group")
            await reader.stop()
            await others.stop()


@part
async def groups_whose_members_share_and_refuse():
    for delivery, short in ((groups_pb2.AT_LEAST_ONCE, "least-once"), (groups_pb2.EXACTLY_ONCE, "exactly-once")):
        await members_share_and_refuse(delivery, name(short))


async def members_share_and_refuse(delivery, topic):
    """Two members split the work; what one refuses is delivered again, to the other when that is asked for."""
    refused, settled, deliveries = set(), [], []
    both = asyncio.Event()

    def handler(member):
        async def handle(event):
            text = event.data.decode()
            deliveries.append((member, text))
            if {other for other, _ in deliveries} == {"first", "second"}:
                both.set()
            # Nobody is given everything before it has acked something.
            await both.wait()
            if text in ("3", "30") and text not in refused:
                refused.add(text)
                code = ensign_pb2.Nack.DELIVER_AGAIN_ANY if text == "3" else ensign_pb2.Nack.DELIVER_AGAIN_NOT_ME
                assert await event.nack(code)
                return
            assert await event.ack()
            settled.append(text)

        return handle

    async with client() as ensign, client() as one, client() as other, client() as late:
        await ensign.create_topic(topic)
        await published(ensign, topic, *(str(number) for number in range(40)))
        workers = group(topic, delivery, f"sharing-{delivery}")
        members = [
            Reader(one, topic, handle=handler("first"), group=workers),
            Reader(other, topic, handle=handler("second"), group=workers),
        ]
        await eventually(lambda: len(settled) >= 40, "the events")
        assert sorted(settled, key=int) == [str(number) for number in range(40)], settled
        assert len(deliveries) == 42, deliveries
        members_of = [member for member, text in deliveries if text == "30"]
        assert len(set(members_of)) == 2, members_of
        handled = Reader(late, topic, group=workers)
        await handled.ready()
        await published(ensign, topic, *(str(number) for number in range(40, 80)))
        await eventually(lambda: len(settled) + len(handled.events) >= 80, "the events of three members")
        texts = settled + handled.data()
        assert sorted(texts, key=int) == [str(number) for number in range(80)], texts
        for member in [*members, handled]:
            await member.stop()


@part
async def groups_remember_over_a_restart():
    topic = name("remembered")
    semantics = (groups_pb2.AT_MOST_ONCE, groups_pb2.AT_LEAST_ONCE, groups_pb2.EXACTLY_ONCE)
    async with client() as ensign:
        await ensign.create_topic(topic)
        await published(ensign, topic, *(str(number) for number in range(20)))
    for delivery in semantics:
        async with client() as ensign:
            workers = group(topic, delivery, f"workers-{delivery}")
            reader = Reader(ensign, topic, group=workers)
            await eventually(lambda: len(reader.events) == 20, "the events")
            await eventually(lambda: unsettled(workers) == 0, "the acks")
            await reader.stop()

    print("restart", flush=True)
    await asyncio.to_thread(sys.stdin.readline)

    async with client() as ensign:
        await published(ensign, topic, "after")
    for delivery in semantics:
        async with client() as ensign:
            reader = Reader(ensign, topic, group=group(topic, delivery, f"workers-{delivery}"))
            await eventually(lambda: reader.events, "the event after the restart")
            assert reader.data()[0] == "after", reader.data()
            await reader.stop()


@part
async def restart():
    """Streams come back by themselves, tokens and topics stay valid, and nothing that was acked is lost."""
    async with client() as ensign, client() as publisher:
        topic = await ensign.ensure_topic_exists(name("restart"))
        reader = Reader(ensign, name("restart"))
        await reader.ready()
        before = [text_event(f"before {number}") for number in range(20)]
        await publisher.publish(name("restart"), before)
        await eventually(lambda: len(reader.events) == 20, "the events")
        for event in before:
            await event.wait_for_ack()

        print("restart", flush=True)
        await asyncio.to_thread(sys.stdin.readline)

        # Events that are written while a stream is down are lost, and known to be: they are never acked.
        acked, end, number = 0, time.monotonic() + GUARD_SECONDS, 0
        while len(reader.events) < 25:
            assert time.monotonic() < end, f"only {len(reader.events)} events arrived"
            event = text_event(f"after {number}")
            number += 1
            await publisher.publish(topic, event)
            for _ in range(20):
                await asyncio.sleep(0.02)
                if event.acked():
                    acked += 1
                    break
        after = [int(data.split()[1]) for data in reader.data()[20:]]
        assert after == sorted(after)
        stored = (await ensign.info([topic])).events
        assert stored >= 20 + acked, f"{stored} events stored, {acked} acked after the restart"
        assert await ensign.topic_id(name("restart")) == topic
        await reader.stop()


async def main():
    for function in PARTS:
        await asyncio.wait_for(function(), 2 * GUARD_SECONDS)
        print("ok", function.__name__, flush=True)


asyncio.run(main())
