//! The Subscribe stream: stored events go out as slices of their blocks, many gRPC frames a chunk.
//!
//! One task reads what the subscriber says, which is little; another pulls events and sends them as fast as the
//! subscriber reads. The subscription is registered before `ready` is sent.

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
    listen::FRAME_BYTES_MAX,
    node::{Node, SUBSCRIBE},
    stream::{MessageReader, StreamEnd},
};
use crate::{
    api::{
        self, Envelope,
        ensign::{
            CloseStream, StreamReady, SubscribeReply, SubscribeRequest, Subscription as WireSubscription,
            subscribe_reply::Embed as Reply, subscribe_request::Embed as Asked,
        },
    },
    broker::{self, Delivery, Next, Subscription},
    model::{Principal, ProjectId},
    telemetry::Online,
};

/// The header by which a subscriber asks to be spared what is under suspended and revoked data keys, and the trailer that says how
/// many events that were. Whoever does not know them notices nothing.
const SKIP_HEADER: &str = "x-ensign-skip-unreadable";
const SKIPPED_TRAILER: &str = "x-ensign-skipped-events";

/// How many bytes of events are sent together: what one HTTP/2 frame can hold. Only a single event makes a chunk larger.
const CHUNK_BYTES: usize = FRAME_BYTES_MAX as usize;

/// Serves one Subscribe call.
pub(super) fn serve(node: &Node, request: Request<Incoming>) -> Response<ReplyBody> {
    let mut call = node.call(SUBSCRIBE);
    let online = node.metrics.subscriber_online();
    let (parts, body) = request.into_parts();
    let opened = || {
        let principal = auth::principal(&parts.headers, &node.identity)?;
        let reader = MessageReader::new(&parts.headers, body, node.clock.clone(), node.revoked(&principal))?;
        let project = node.broker.check_subscriber(&principal).map_err(|error| broker_status(&error))?;
        Ok::<_, Status>((principal, reader, project))
    };
    let (principal, reader, project) = match opened() {
        Ok(opened) => opened,
        Err(status) => {
            call.ends(status.code());
            return status_reply(&status);
        }
    };
    let (reply, response) = streaming_reply(call);
    let skips = parts.headers.get(SKIP_HEADER).is_some_and(|value| value.as_bytes() == b"true");
    let stream = SubscribeStream { node: node.clone(), principal, project, reader, online, skips };
    node.tasks.spawn(stream.run(reply));
    response
}

struct SubscribeStream {
    node: Node,
    principal: Principal,
    project: ProjectId,
    reader: MessageReader,
    /// Counts the stream among those that are open.
    online: Online,
    /// Whether it wants what can't be read to be left out.
    skips: bool,
}

impl SubscribeStream {
    async fn run(mut self, reply: ReplySender) {
        let status = match self.open(&reply).await {
            Ok(Some(subscription)) => {
                let (ended, end) = oneshot::channel();
                let node = self.node.clone();
                node.tasks.spawn(listen(self.reader, node.clone(), ended));
                let mut delivering = Delivering { subscription, chunk: Vec::new(), counts: CloseStream::default() };
                let mut status = delivering.run(&reply, end).await;
                if self.skips {
                    let skipped = delivering.subscription.skipped().into();
                    status.metadata_mut().insert(SKIPPED_TRAILER, skipped);
                }
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
    async fn open(&mut self, reply: &ReplySender) -> Result<Option<Subscription>, StreamEnd> {
        let Some(message) = self.reader.first(&self.node.draining).await? else {
            return Ok(None);
        };
        let asked = decode(&message)?;
        let Some(Asked::Subscription(asked)) = asked.embed else {
            let text = "must send subscription to initialize stream";
            return Err(StreamEnd::Refused(Status::failed_precondition(text)));
        };
        let client_id = asked.client_id.clone();
        let request = request(asked, self.skips).map_err(StreamEnd::Refused)?;
        let subscription = self.node.broker.subscribe(self.project, &request, &self.node.lags).await;
        let subscription = subscription.map_err(|error| StreamEnd::Refused(broker_status(&error)))?;
        tracing::debug!(subject = %self.principal.subject, client_id, "subscribed");
        let topics = subscription
            .topics()
            .map(|topic| (topic.name().to_string(), Bytes::copy_from_slice(topic.id().as_bytes())));
        let ready = StreamReady { client_id, server_id: self.node.server_id.clone(), topics: topics.collect() };
        let ready = SubscribeReply { embed: Some(Reply::Ready(ready)) };
        match reply.send(api::frame(&ready)).await {
            Ok(()) => Ok(Some(subscription)),
            Err(Disconnected) => Err(StreamEnd::Finished),
        }
    }
}

/// What the broker is asked for; what this version does not serve is refused, not ignored.
fn request(asked: WireSubscription, skip_unreadable: bool) -> Result<broker::SubscribeRequest, Status> {
    if asked.group.is_some() {
        return Err(Status::unimplemented("consumer groups are not served by this version"));
    }
    let query = asked.query.filter(|query| !query.query.is_empty() || !query.params.is_empty());
    if query.as_ref().is_some_and(|query| !query.params.is_empty()) {
        return Err(Status::unimplemented("parameters in the query of a subscription are not served by this version"));
    }
    Ok(broker::SubscribeRequest { topics: asked.topics, query: query.map(|query| query.query), skip_unreadable })
}

fn decode(message: &[u8]) -> Result<SubscribeRequest, StreamEnd> {
    SubscribeRequest::decode(message)
        .map_err(|error| StreamEnd::Refused(Status::invalid_argument(format!("message cannot be decoded: {error}"))))
}

/// Reads what a subscriber says after it has subscribed, until it closes its side. Without a group its acks and nacks
/// change nothing.
async fn listen(mut reader: MessageReader, node: Node, ended: oneshot::Sender<StreamEnd>) {
    let end = loop {
        match take_all(&mut reader) {
            Ok(messages) => node.rpc(SUBSCRIBE).received(messages),
            Err(end) => break end,
        }
        match reader.more(&node.draining).await {
            Ok(true) => {}
            Ok(false) => break StreamEnd::Finished,
            Err(end) => break end,
        }
    };
    // The delivering side may have ended by itself.
    ended.send(end).unwrap_or(());
}

/// Takes all messages that have arrived whole, and counts them.
fn take_all(reader: &mut MessageReader) -> Result<u64, StreamEnd> {
    let mut messages = 0;
    while let Some(message) = reader.message()? {
        decode(&message)?;
        messages += 1;
    }
    Ok(messages)
}

struct Delivering {
    subscription: Subscription,
    chunk: Vec<u8>,
    counts: CloseStream,
}

impl Delivering {
    /// Delivers until the subscriber or the server ends the stream, or there is nothing more to come.
    async fn run(&mut self, reply: &ReplySender, mut end: oneshot::Receiver<StreamEnd>) -> Status {
        self.counts.topics = self.subscription.topics().count() as u64;
        loop {
            // Both arms are cancel-safe; events that were read and not delivered are of no use to a client that left.
            let next = tokio::select! {
                biased;
                end = &mut end => return end.unwrap_or(StreamEnd::Finished).status(),
                next = self.subscription.next() => next,
                () = reply.closed() => return Status::ok(""),
            };
            let delivery = match next {
                Ok(Next::Events(delivery)) => Some(delivery),
                Ok(Next::Passed | Next::Lost(_)) => None,
                Ok(Next::Finished) => return Status::ok(""),
                Ok(Next::Gone) => return Status::not_found("topic not found: it has been destroyed"),
                Err(error) => return broker_status(&error),
            };
            let sent = tokio::select! {
                biased;
                end = &mut end => return end.unwrap_or(StreamEnd::Finished).status(),
                sent = async {
                    match &delivery {
                        Some(delivery) => self.deliver(delivery, reply).await,
                        // What was held back for more to come with it.
                        None => self.send(reply).await,
                    }
                } => sent,
            };
            if sent == Err(Disconnected) {
                return Status::ok("");
            }
        }
    }

    /// Writes events into chunks, and sends those that are full, or all when nothing else is there to be added.
    async fn deliver(&mut self, delivery: &Delivery, reply: &ReplySender) -> Result<(), Disconnected> {
        let topic = delivery.topic.id();
        for event in delivery.events.events() {
            let envelope = Envelope {
                id: event.rlid,
                topic,
                offset: event.offset,
                epoch: event.run.epoch,
                committed: event.committed(),
                publisher: &event.run.publisher,
            };
            let start = self.chunk.len();
            api::write_subscribe_reply(&mut self.chunk, event.record, &envelope);
            self.counts.events += 1;
            if self.chunk.len() > CHUNK_BYTES && start > 0 {
                self.send_before(start, reply).await?;
            }
            if self.chunk.len() >= CHUNK_BYTES {
                self.send(reply).await?;
            }
        }
        if self.subscription.is_ready() { Ok(()) } else { self.send(reply).await }
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
