//! Members of consumer groups on the wire: what they are told, refused and given, byte for byte where other clients must
//! not notice it.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::uri::PathAndQuery;
use prost::Message;
use tokio::sync::mpsc;
use tonic::{Code, Status, Streaming, client::Grpc};

use super::{
    node::SUBSCRIBE,
    tests::{Peer, Publishing, event, text, tokio_stream_receiver::ReceiverStream},
};
use crate::{
    api::{
        self, GroupReceipt, RawCodec,
        ensign::{
            Ack, CloseStream, ConsumerGroup, EventWrapper, Nack, Query, SubscribeReply, SubscribeRequest, Subscription,
            subscribe_reply::Embed as Got, subscribe_request::Embed as Asked,
        },
    },
    model::{NackCode, Principal, Rlid},
};

const AT_MOST_ONCE: i32 = 1;
const AT_LEAST_ONCE: i32 = 2;
const EXACTLY_ONCE: i32 = 3;

const RECEIPTS: (&str, &str) = ("x-ensign-group-receipts", "true");

/// A member's stream, of which nothing is hidden by a decoder.
struct Member {
    requests: Option<mpsc::Sender<Bytes>>,
    replies: Streaming<Bytes>,
}

/// What a member hears.
#[derive(Debug)]
enum Heard {
    Event(Box<EventWrapper>),
    Receipt(GroupReceipt),
    Close(CloseStream),
}

/// A group that waits for acks for longer than any machine is slow.
fn group(delivery: i32) -> ConsumerGroup {
    let delivery_timeout = Some(prost_types::Duration { seconds: 3_600, nanos: 0 });
    ConsumerGroup { name: "workers".to_owned(), delivery, delivery_timeout, ..ConsumerGroup::default() }
}

/// A group that starts at the beginning of the topic `flights`.
fn from_start(delivery: i32) -> ConsumerGroup {
    ConsumerGroup { topic_offsets: [("flights".to_owned(), 1)].into(), ..group(delivery) }
}

fn subscription(group: ConsumerGroup) -> Subscription {
    Subscription {
        client_id: "member".to_owned(),
        topics: vec!["flights".to_owned()],
        group: Some(group),
        ..Subscription::default()
    }
}

impl Member {
    /// Sends a first message, and gives the stream once the server is ready for more.
    async fn open(
        peer: &Peer,
        subscription: Subscription,
        headers: &[(&'static str, &'static str)],
    ) -> Result<Member, Status> {
        let (requests, receiver) = mpsc::channel(1_000);
        let first = SubscribeRequest { embed: Some(Asked::Subscription(subscription)) };
        requests.send(first.encode_to_vec().into()).await.unwrap();
        let mut request = peer.authorized(ReceiverStream(receiver));
        for (name, value) in headers {
            request.metadata_mut().insert(*name, value.parse().unwrap());
        }
        let mut client = Grpc::new(peer.channel.clone());
        client.ready().await.unwrap();
        let mut replies = client.streaming(request, PathAndQuery::from_static(SUBSCRIBE), RawCodec).await?.into_inner();
        let ready: Bytes = replies.message().await?.unwrap();
        match SubscribeReply::decode(ready).unwrap().embed {
            Some(Got::Ready(ready)) => assert_eq!(ready.client_id, "member"),
            other => panic!("not ready: {other:?}"),
        }
        Ok(Member { requests: Some(requests), replies })
    }

    async fn join(peer: &Peer, group: ConsumerGroup) -> Member {
        Member::open(peer, subscription(group), &[RECEIPTS]).await.unwrap()
    }

    async fn heard(&mut self) -> Result<Option<Heard>, Status> {
        let Some(message) = self.replies.message().await? else { return Ok(None) };
        let decoded = SubscribeReply::decode(message.clone()).unwrap();
        Ok(Some(match (decoded.embed, api::parse_receipt(&message).unwrap()) {
            (Some(Got::Event(event)), None) => Heard::Event(Box::new(event)),
            (Some(Got::CloseStream(close)), None) => Heard::Close(close),
            (None, Some(receipt)) => Heard::Receipt(receipt),
            other => panic!("{other:?}"),
        }))
    }

    /// The next event.
    async fn event(&mut self) -> EventWrapper {
        loop {
            match self.heard().await.unwrap().unwrap() {
                Heard::Event(event) => return *event,
                Heard::Receipt(_) => {}
                Heard::Close(close) => panic!("{close:?}"),
            }
        }
    }

    /// The next receipt.
    async fn receipt(&mut self) -> GroupReceipt {
        match self.heard().await.unwrap().unwrap() {
            Heard::Receipt(receipt) => receipt,
            other => panic!("{other:?}"),
        }
    }

    async fn say(&self, said: Asked) {
        let message = SubscribeRequest { embed: Some(said) }.encode_to_vec();
        self.requests.as_ref().unwrap().send(message.into()).await.unwrap();
    }

    async fn ack(&self, event: &EventWrapper) {
        self.say(Asked::Ack(Ack { id: event.id.clone(), committed: None })).await;
    }

    async fn nack(&self, event: &EventWrapper, code: NackCode) {
        self.say(Asked::Nack(Nack { id: event.id.clone(), code: code.number(), error: String::new() })).await;
    }

    /// Closes this side, and gives what the server counted and how the stream ended.
    async fn close(mut self) -> (CloseStream, Result<(), Status>) {
        self.requests = None;
        loop {
            match self.heard().await.unwrap().unwrap() {
                Heard::Close(close) => return (close, self.heard().await.map(|more| assert!(more.is_none()))),
                Heard::Event(_) | Heard::Receipt(_) => {}
            }
        }
    }
}

fn id(event: &EventWrapper) -> Rlid {
    Rlid::from_slice(&event.id).unwrap()
}

async fn publish(publisher: &mut Publishing, topic: &Bytes, events: std::ops::Range<u32>) {
    for number in events.clone() {
        publisher.send(topic, event(&number.to_string()), "x").await;
    }
    for _ in events {
        assert_eq!(publisher.answer().await.1, None);
    }
}

/// A server with the topic `flights` and so many events in it.
async fn world(events: u32) -> (Peer, Bytes, Publishing) {
    let mut peer = Peer::new().await;
    let topic = peer.topic("flights").await;
    let mut publisher = peer.publisher().await.unwrap();
    publish(&mut publisher, &topic, 0..events).await;
    (peer, topic, publisher)
}

fn principal(peer: &Peer) -> Principal {
    let request = peer.authorized(());
    let bearer = request.metadata().get("authorization").unwrap().to_str().unwrap();
    peer.server.identity().verify(bearer.strip_prefix("Bearer ").unwrap()).unwrap()
}

/// The value of a metric.
fn metric(peer: &Peer, name: &str) -> String {
    let text = peer.server.node.metrics.text();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name} in\n{text}")).to_owned()
}

#[tokio::test]
async fn members_share_what_waits_and_the_group_remembers_it() {
    let (peer, topic, mut publisher) = world(40).await;
    let mut first = Member::join(&peer, from_start(AT_LEAST_ONCE)).await;
    let mut second = Member::join(&peer, group(0)).await;
    assert_eq!(metric(&peer, "ensign_group_members"), "2");
    let mut seen = BTreeSet::new();
    let (mut of_first, mut of_second) = (0, 0);
    // Nobody is given everything before it has acked something.
    for _ in 0..2 {
        let (one, other) = (first.event().await, second.event().await);
        seen.extend([text(&one), text(&other)]);
        first.ack(&one).await;
        second.ack(&other).await;
        (of_first, of_second) = (of_first + 1, of_second + 1);
    }
    while seen.len() < 40 {
        tokio::select! {
            event = first.event() => {
                assert!(seen.insert(text(&event)), "delivered twice");
                first.ack(&event).await;
                of_first += 1;
            }
            event = second.event() => {
                assert!(seen.insert(text(&event)), "delivered twice");
                second.ack(&event).await;
                of_second += 1;
            }
        }
    }
    for (member, expected) in [(first, of_first), (second, of_second)] {
        let (close, status) = member.close().await;
        assert_eq!((close.events, close.topics, close.acks, close.nacks), (expected, 1, expected, 0));
        status.unwrap();
    }
    assert_eq!(metric(&peer, "ensign_group_members"), "0");
    publish(&mut publisher, &topic, 40..41).await;
    // Where a group starts counts for a topic only once.
    let mut third = Member::join(&peer, from_start(0)).await;
    assert_eq!(text(&third.event().await), "40");
    peer.server.stop().await.unwrap();
}

#[tokio::test]
async fn an_ack_counts_from_the_member_alone_that_holds_the_event() {
    let (peer, _topic, _publisher) = world(1).await;
    let mut first = Member::join(&peer, from_start(EXACTLY_ONCE)).await;
    let held = first.event().await;
    let mut second = Member::join(&peer, group(0)).await;
    first.nack(&held, NackCode::DeliverAgainNotMe).await;
    let again = second.event().await;
    assert_eq!(again, held);
    first.ack(&held).await;
    assert_eq!(first.receipt().await, GroupReceipt { acked: Vec::new(), refused: vec![id(&held)] });
    second.ack(&held).await;
    assert_eq!(second.receipt().await, GroupReceipt { acked: vec![id(&held)], refused: Vec::new() });
    assert_eq!(metric(&peer, "ensign_group_refused_acks_total"), "1");
    assert_eq!(metric(&peer, "ensign_group_redelivered_total"), "1");
    let (close, status) = first.close().await;
    assert_eq!((close.events, close.acks, close.nacks), (1, 1, 1));
    status.unwrap();
}

/// The published clients end a stream in which they find what they don't know.
#[tokio::test]
async fn who_does_not_ask_for_receipts_gets_none() {
    for delivery in [AT_MOST_ONCE, AT_LEAST_ONCE, EXACTLY_ONCE] {
        let (peer, _topic, _publisher) = world(2).await;
        let mut member = Member::open(&peer, subscription(from_start(delivery)), &[]).await.unwrap();
        for _ in 0..2 {
            let Some(Heard::Event(event)) = member.heard().await.unwrap() else { panic!("not an event") };
            member.ack(&event).await;
        }
        member.requests = None;
        let Some(Heard::Close(close)) = member.heard().await.unwrap() else { panic!("not the end") };
        assert_eq!((close.events, close.acks), (2, 2));
        assert!(member.heard().await.unwrap().is_none());
    }
}

/// Who closes its side has everything settled that it said, and what it did not ack goes to others.
#[tokio::test]
async fn what_was_said_before_the_end_is_settled() {
    let (peer, _topic, _publisher) = world(3).await;
    let mut first = Member::join(&peer, from_start(EXACTLY_ONCE)).await;
    let events = [first.event().await, first.event().await, first.event().await];
    first.ack(&events[2]).await;
    first.ack(&events[0]).await;
    let (close, status) = first.close().await;
    assert_eq!((close.events, close.acks, close.nacks), (3, 2, 0));
    status.unwrap();
    let mut second = Member::join(&peer, group(0)).await;
    assert_eq!(second.event().await, events[1]);
    second.ack(&events[1]).await;
    assert_eq!(second.receipt().await.acked, [id(&events[1])]);
}

#[tokio::test]
async fn at_most_once_an_event_is_consumed_when_it_is_sent() {
    let (peer, topic, mut publisher) = world(2).await;
    let mut first = Member::join(&peer, from_start(AT_MOST_ONCE)).await;
    let events = [first.event().await, first.event().await];
    assert_eq!([text(&events[0]), text(&events[1])], ["0", "1"]);
    first.nack(&events[0], NackCode::DeliverAgainAny).await;
    let (close, _) = first.close().await;
    assert_eq!((close.events, close.acks, close.nacks), (2, 0, 1));
    publish(&mut publisher, &topic, 2..3).await;
    let mut second = Member::join(&peer, group(0)).await;
    assert_eq!(text(&second.event().await), "2");
}

/// Joins, which has to be refused.
async fn refused(peer: &Peer, subscription: Subscription, headers: &[(&'static str, &'static str)]) -> (Code, String) {
    match Member::open(peer, subscription, headers).await {
        Ok(_) => panic!("it was let in"),
        Err(status) => (status.code(), status.message().to_owned()),
    }
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_a_reason() {
    let (peer, _topic, _publisher) = world(1).await;
    let check = async |group: ConsumerGroup, headers: &[(&'static str, &'static str)], code, what: &str| {
        let refusal = refused(&peer, subscription(group), headers).await;
        assert!(refusal.0 == code && refusal.1.contains(what), "{refusal:?}");
    };
    let bad = Code::InvalidArgument;
    check(ConsumerGroup::default(), &[], bad, "consumer group requires either id or name").await;
    check(group(9), &[], bad, "unknown delivery semantic 9").await;
    let timeout = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    for seconds in [-1, 0, 24 * 60 * 60 + 1] {
        check(ConsumerGroup { delivery_timeout: timeout(seconds), ..group(2) }, &[], bad, "delivery timeout").await;
    }
    check(group(0), &[("x-ensign-group-window", "15")], bad, "window").await;
    check(group(0), &[("x-ensign-group-window", "many")], bad, "x-ensign-group-window").await;
    check(group(0), &[("x-ensign-group-ordered-by-key", "maybe")], bad, "x-ensign-group-ordered-by-key").await;
    let foreign = ConsumerGroup { project_id: Bytes::from_static(&[5; 16]), ..group(0) };
    check(foreign, &[], Code::PermissionDenied, "not authorized").await;
    let bounded = Subscription {
        query: Some(Query { query: "SELECT * FROM flights BEFORE '2030-01-01'".to_owned(), ..Query::default() }),
        ..subscription(group(0))
    };
    let refusal = refused(&peer, bounded, &[]).await;
    assert!(refusal.0 == bad && refusal.1.contains("BEFORE"), "{refusal:?}");
    // Without a group, its headers would have no effect.
    let alone = Subscription { group: None, ..subscription(group(0)) };
    assert_eq!(refused(&peer, alone, &[("x-ensign-group-window", "64")]).await.0, bad);
    assert_eq!(metric(&peer, "ensign_group_members"), "0");
}

#[tokio::test]
async fn other_settings_than_those_that_members_rely_on_are_refused() {
    let (peer, _topic, _publisher) = world(1).await;
    let first = Member::join(&peer, group(AT_LEAST_ONCE)).await;
    let refusal = refused(&peer, subscription(group(EXACTLY_ONCE)), &[]).await;
    assert_eq!(refusal.0, Code::FailedPrecondition);
    assert!(refusal.1.contains("delivery") && refusal.1.contains("at-least-once"), "{refusal:?}");
    let ordered = [("x-ensign-group-ordered-by-key", "true")];
    assert_eq!(refused(&peer, subscription(group(0)), &ordered).await.0, Code::FailedPrecondition);
    first.close().await.1.unwrap();
    // Alone, a member may change them.
    Member::open(&peer, subscription(group(EXACTLY_ONCE)), &ordered).await.unwrap();
}

#[tokio::test]
async fn members_of_a_group_that_is_removed_are_told() {
    let (peer, _topic, _publisher) = world(1).await;
    let mut member = Member::join(&peer, from_start(AT_LEAST_ONCE)).await;
    member.event().await;
    let caller = principal(&peer);
    let broker = &peer.server.node.broker;
    assert_eq!(broker.remove_group(&caller, "workers", false).await.unwrap_err().code() as i32, 9);
    broker.remove_group(&caller, "workers", true).await.unwrap();
    let end = loop {
        match member.heard().await {
            Ok(Some(Heard::Close(close))) => assert_eq!(close.events, 1),
            Ok(heard) => panic!("{heard:?}"),
            Err(status) => break status,
        }
    };
    assert_eq!((end.code(), end.message()), (Code::Aborted, "the consumer group was removed"));
}

#[tokio::test]
async fn an_ack_of_what_is_no_event_ends_the_stream() {
    let (peer, _topic, _publisher) = world(1).await;
    let mut member = Member::join(&peer, group(AT_LEAST_ONCE)).await;
    member.say(Asked::Ack(Ack { id: Bytes::from_static(b"short"), committed: None })).await;
    let end = loop {
        match member.heard().await {
            Ok(Some(Heard::Close(close))) => assert_eq!(close.acks, 1),
            Ok(heard) => panic!("{heard:?}"),
            Err(status) => break status,
        }
    };
    assert_eq!((end.code(), end.message()), (Code::InvalidArgument, "the id of an event has 10 bytes, and not 5"));
}

/// Acks of those who are in no group are counted, and are nothing else.
#[tokio::test]
async fn without_a_group_acks_change_nothing() {
    let (peer, _topic, _publisher) = world(1).await;
    let alone = Subscription {
        group: None,
        query: Some(Query { query: "SELECT * FROM flights OFFSET 0".to_owned(), ..Query::default() }),
        ..subscription(group(0))
    };
    let mut subscriber = Member::open(&peer, alone, &[]).await.unwrap();
    let event = subscriber.event().await;
    subscriber.ack(&event).await;
    subscriber.nack(&event, NackCode::Unprocessed).await;
    subscriber.say(Asked::Ack(Ack { id: Bytes::from_static(b"anything"), committed: None })).await;
    let (close, status) = subscriber.close().await;
    assert_eq!((close.events, close.topics, close.acks, close.nacks), (1, 1, 2, 1));
    status.unwrap();
}
