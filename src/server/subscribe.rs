//! The Subscribe stream: stored events go out as slices of their blocks, many gRPC frames a chunk.
//!
//! One task reads what the subscriber says (`verdicts`); another pulls events and sends them as fast as the subscriber reads.
//! The subscription is registered, and the group joined, before `ready` is sent.

use std::{net::SocketAddr, pin::pin, sync::Arc};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use prost::Message;
use tokio::sync::oneshot;
use tonic::Status;

use super::{
    auth,
    body::{Disconnected, ReplyBody, ReplySender, status_reply, streaming_reply},
    error::broker_status,
    group::{GroupHeaders, asked_group},
    listen::FRAME_BYTES_MAX,
    node::{Node, SUBSCRIBE},
    query::{self, UNDECODABLE_TRAILER},
    stream::{MessageReader, StreamEnd},
    verdicts::{Listening, Settling, Tally},
};
use crate::{
    api::{
        self, Envelope,
        ensign::{
            CloseStream, StreamReady, SubscribeReply, SubscribeRequest, Subscription as WireSubscription,
            subscribe_reply::Embed as Reply, subscribe_request::Embed as Asked,
        },
    },
    broker::{self, BrokerError, JoinRequest, Matches, Member, Next, Subscription, SubscriptionQuery, TopicEntry},
    engine::EventRef,
    model::{Principal, ProjectId, TopicId},
    telemetry::Online,
};

/// The header by which a subscriber asks to be spared what is under suspended and revoked data keys, and the trailer that says how
/// many events that were. Whoever does not know them notices nothing.
const SKIP_HEADER: &str = "x-ensign-skip-unreadable";
const SKIPPED_TRAILER: &str = "x-ensign-skipped-events";

/// How many bytes of events are sent together: what one HTTP/2 frame can hold. Only a single event makes a chunk larger.
const CHUNK_BYTES: usize = FRAME_BYTES_MAX as usize;

/// Serves one Subscribe call.
pub(super) fn serve(node: &Node, peer: SocketAddr, request: Request<Incoming>) -> Response<ReplyBody> {
    let mut call = node.call(SUBSCRIBE);
    let online = node.metrics.subscriber_online();
    let (parts, body) = request.into_parts();
    let opened = || {
        let principal = auth::principal(&parts.headers, &node.identity)?;
        let reader = MessageReader::new(&parts.headers, body, node.clock.clone(), node.revoked(&principal))?;
        let project = node.broker.check_subscriber(&principal).map_err(|error| broker_status(&error))?;
        Ok::<_, Status>((principal, reader, project, GroupHeaders::of(&parts.headers)?))
    };
    let (principal, reader, project, group) = match opened() {
        Ok(opened) => opened,
        Err(status) => {
            call.ends(status.code());
            return status_reply(&status);
        }
    };
    let (reply, response) = streaming_reply(call);
    let skips = parts.headers.get(SKIP_HEADER).is_some_and(|value| value.as_bytes() == b"true");
    let stream = SubscribeStream { node: node.clone(), principal, project, peer, reader, online, skips, group };
    node.tasks.spawn(stream.run(reply));
    response
}

struct SubscribeStream {
    node: Node,
    principal: Principal,
    project: ProjectId,
    peer: SocketAddr,
    reader: MessageReader,
    /// Counts the stream among those that are open.
    online: Online,
    /// Whether it wants what can't be read to be left out.
    skips: bool,
    group: GroupHeaders,
}

/// Where the events come from.
enum Reading {
    Alone(Box<Subscription>),
    InGroup(Member),
}

impl Reading {
    async fn next(&mut self) -> Result<Next, BrokerError> {
        match self {
            Reading::Alone(subscription) => subscription.next().await,
            Reading::InGroup(member) => member.next().await,
        }
    }

    fn is_ready(&mut self) -> bool {
        match self {
            Reading::Alone(subscription) => subscription.is_ready(),
            Reading::InGroup(member) => member.is_ready(),
        }
    }

    fn skipped(&self) -> u64 {
        match self {
            Reading::Alone(subscription) => subscription.skipped(),
            Reading::InGroup(member) => member.skipped(),
        }
    }

    fn undecodable(&self) -> Option<u64> {
        match self {
            Reading::Alone(subscription) => subscription.undecodable(),
            Reading::InGroup(_) => None,
        }
    }

    fn topics(&self) -> Vec<Arc<TopicEntry>> {
        match self {
            Reading::Alone(subscription) => subscription.topics().cloned().collect(),
            Reading::InGroup(member) => member.topics(),
        }
    }
}

impl SubscribeStream {
    async fn run(mut self, reply: ReplySender) {
        let status = match self.open(&reply).await {
            Ok(Some(reading)) => {
                let settling = match &reading {
                    Reading::Alone(_) => None,
                    Reading::InGroup(member) => {
                        let receipts = self.group.receipts.then(|| reply.chunks());
                        Some(Settling { acks: member.acks(), receipts })
                    }
                };
                let (ended, end) = oneshot::channel();
                let (node, tally) = (self.node.clone(), Arc::new(Tally::default()));
                let listening = Listening { reader: self.reader, node, settling, tally: tally.clone() };
                self.node.tasks.spawn(listening.run(ended));
                let mut delivering = Delivering { reading, chunk: Vec::new(), counts: CloseStream::default() };
                let mut status = delivering.run(&reply, end).await;
                if self.skips {
                    let skipped = delivering.reading.skipped().into();
                    status.metadata_mut().insert(SKIPPED_TRAILER, skipped);
                }
                if let Some(undecodable) = delivering.reading.undecodable() {
                    status.metadata_mut().insert(UNDECODABLE_TRAILER, undecodable.into());
                }
                (delivering.counts.acks, delivering.counts.nacks) = tally.counts();
                delivering.close(&reply).await;
                status
            }
            Ok(None) => Status::ok(""),
            Err(end) => end.status(),
        };
        drop(self.online);
        reply.finish(&status).await;
    }

    /// Takes the first message, registers the subscription, and says that it is ready; nothing when the client left
    /// before it said anything.
    async fn open(&mut self, reply: &ReplySender) -> Result<Option<Reading>, StreamEnd> {
        let Some(message) = self.reader.first(&self.node.draining).await? else {
            return Ok(None);
        };
        let asked = SubscribeRequest::decode(&message[..]).map_err(|error| {
            StreamEnd::Refused(Status::invalid_argument(format!("message cannot be decoded: {error}")))
        })?;
        let Some(Asked::Subscription(asked)) = asked.embed else {
            let text = "must send subscription to initialize stream";
            return Err(StreamEnd::Refused(Status::failed_precondition(text)));
        };
        let client_id = asked.client_id.clone();
        let reading = self.reading(asked).await.map_err(StreamEnd::Refused)?;
        tracing::debug!(subject = %self.principal.subject, client_id, "subscribed");
        let topics = reading.topics();
        let topics =
            topics.iter().map(|topic| (topic.name().to_string(), Bytes::copy_from_slice(topic.id().as_bytes())));
        let ready = StreamReady { client_id, server_id: self.node.server_id.clone(), topics: topics.collect() };
        let ready = SubscribeReply { embed: Some(Reply::Ready(ready)) };
        match reply.send(api::frame(&ready)).await {
            Ok(()) => Ok(Some(reading)),
            Err(Disconnected) => Err(StreamEnd::Finished),
        }
    }

    /// Subscribes, or joins the group that is named.
    async fn reading(&mut self, mut asked: WireSubscription) -> Result<Reading, Status> {
        let broker = &self.node.broker;
        let Some(group) = asked.group.take() else {
            self.group.require_none()?;
            let request = request(asked, self.skips);
            let subscription = broker.subscribe(self.project, &request, &self.node.lags).await;
            return subscription.map(Box::new).map(Reading::Alone).map_err(|error| broker_status(&error));
        };
        let (key, settings) = asked_group(&group, &self.group, self.project)?;
        let request = JoinRequest {
            group: key,
            name: group.name,
            settings,
            topic_offsets: group.topic_offsets.into_iter().collect(),
            client_id: asked.client_id.clone(),
            subscribe: request(asked, self.skips),
            address: self.peer.to_string(),
        };
        let member = broker.join(&self.principal, self.project, &request).await;
        member.map(Reading::InGroup).map_err(|error| broker_status(&error))
    }
}

/// What the broker is asked for. A query without a text is none.
fn request(asked: WireSubscription, skip_unreadable: bool) -> broker::SubscribeRequest {
    let query = asked.query.filter(|query| !query.query.is_empty()).map(|query| SubscriptionQuery {
        text: query.query,
        parameters: query::parameters(query.params),
        show: query::show,
    });
    broker::SubscribeRequest { topics: asked.topics, query, skip_unreadable }
}

/// What is said of an event besides its record.
#[inline]
fn envelope<'a>(topic: TopicId, event: &EventRef<'a>) -> Envelope<'a> {
    Envelope {
        id: event.rlid,
        topic,
        offset: event.offset,
        epoch: event.run.epoch,
        committed: event.committed(),
        publisher: &event.run.publisher,
    }
}

struct Delivering {
    reading: Reading,
    chunk: Vec<u8>,
    counts: CloseStream,
}

impl Delivering {
    /// Delivers until the subscriber or the server ends the stream, or there is nothing more to come.
    async fn run(&mut self, reply: &ReplySender, mut end: oneshot::Receiver<StreamEnd>) -> Status {
        self.counts.topics = self.reading.topics().len() as u64;
        loop {
            // Both arms are cancel-safe; events that were read and not delivered are of no use to a client that left.
            let next = tokio::select! {
                biased;
                end = &mut end => return end.unwrap_or(StreamEnd::Finished).status(),
                next = self.reading.next() => next,
                () = reply.closed() => return self.left(end).await,
            };
            let next = match next {
                Ok(next @ (Next::Events(_) | Next::Matches(_) | Next::Passed)) => next,
                Ok(Next::Finished) => return Status::ok(""),
                Ok(Next::Gone) => return Status::not_found("topic not found: it has been destroyed"),
                Err(error) => return broker_status(&error),
            };
            let is_given = matches!(self.reading, Reading::InGroup(_));
            let sent = {
                let mut sending = pin!(async {
                    match &next {
                        Next::Events(delivery) => {
                            self.deliver(delivery.topic.id(), delivery.events.events(), reply).await
                        }
                        Next::Matches(matches) if matches.has_rows() => self.deliver_rows(matches, reply).await,
                        Next::Matches(matches) => self.deliver(matches.topic.id(), matches.events(), reply).await,
                        // What was held back for more to come with it.
                        Next::Passed | Next::Finished | Next::Gone => self.send(reply).await,
                    }
                });
                tokio::select! {
                    biased;
                    end = &mut end => {
                        let end = end.unwrap_or(StreamEnd::Finished);
                        // What a group has given out may never be given again: who still reads gets it.
                        if is_given && !matches!(end, StreamEnd::Refused(_)) {
                            sending.await.unwrap_or(());
                        }
                        return end.status();
                    }
                    sent = &mut sending => sent,
                }
            };
            if sent == Err(Disconnected) {
                return self.left(end).await;
            }
        }
    }

    /// The client went away. What it said before that counts, so it belongs to its group until that has been settled.
    async fn left(&mut self, end: oneshot::Receiver<StreamEnd>) -> Status {
        if let Reading::InGroup(_) = self.reading {
            // It does not matter how the other side ended, only that it has.
            drop(end.await);
        }
        Status::ok("")
    }

    async fn deliver<'a>(
        &mut self,
        topic: TopicId,
        events: impl Iterator<Item = EventRef<'a>>,
        reply: &ReplySender,
    ) -> Result<(), Disconnected> {
        let write = |chunk: &mut Vec<u8>, event: EventRef<'a>| {
            api::write_subscribe_reply(chunk, event.record, &envelope(topic, &event));
        };
        self.write(events, write, reply).await
    }

    async fn deliver_rows(&mut self, matches: &Matches, reply: &ReplySender) -> Result<(), Disconnected> {
        let topic = matches.topic.id();
        let mut record = Vec::new();
        let write = |chunk: &mut Vec<u8>, (event, row): (EventRef<'_>, &[u8])| {
            record.clear();
            api::write_row_record(&mut record, row, event.committed());
            api::write_subscribe_reply(chunk, &record, &envelope(topic, &event));
        };
        self.write(matches.rows(), write, reply).await
    }

    /// Writes events into chunks, and sends those that are full, or all when nothing else is there to be added.
    async fn write<T>(
        &mut self,
        events: impl Iterator<Item = T>,
        mut write: impl FnMut(&mut Vec<u8>, T),
        reply: &ReplySender,
    ) -> Result<(), Disconnected> {
        for event in events {
            let start = self.chunk.len();
            write(&mut self.chunk, event);
            self.counts.events += 1;
            if self.chunk.len() > CHUNK_BYTES && start > 0 {
                self.send_before(start, reply).await?;
            }
            if self.chunk.len() >= CHUNK_BYTES {
                self.send(reply).await?;
            }
        }
        if self.reading.is_ready() { Ok(()) } else { self.send(reply).await }
    }

    /// Sends what lies before the last event, with which the chunk would spill over into a frame of its own.
    async fn send_before(&mut self, start: usize, reply: &ReplySender) -> Result<(), Disconnected> {
        let mut next = Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 8);
        next.extend_from_slice(&self.chunk[start..]);
        self.chunk.truncate(start);
        reply.send(std::mem::replace(&mut self.chunk, next)).await
    }

    async fn send(&mut self, reply: &ReplySender) -> Result<(), Disconnected> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let next = Vec::with_capacity(self.chunk.len().min(CHUNK_BYTES + CHUNK_BYTES / 8));
        reply.send(std::mem::replace(&mut self.chunk, next)).await
    }

    async fn close(&mut self, reply: &ReplySender) {
        let close = SubscribeReply { embed: Some(Reply::CloseStream(self.counts)) };
        api::write_message(&mut self.chunk, &close);
        // A client that is gone does not need the counts.
        self.send(reply).await.unwrap_or(());
    }
}
