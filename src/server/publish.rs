//! The Publish stream, handled many gRPC frames at a time inside of the HTTP body.
//!
//! One task owns the request's body and reads it to its end, also when the client cancels: what was received is stored. A second
//! one owns the reply and answers in the order of arrival, one chunk for all that is decided. Between them goes a message
//! per chunk, never one per event.

use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tonic::Status;

use super::{
    answer::{Answer, Answering, Fate, Received},
    auth,
    body::{Disconnected, ReplyBody, ReplySender, status_reply, streaming_reply},
    error::broker_status,
    node::{Node, PUBLISH},
    stream::{MessageReader, StreamEnd},
};
use crate::{
    api::{
        self, Envelope, IncomingEvent, PublisherMessage,
        ensign::{PublisherReply, StreamReady, publisher_reply::Embed},
    },
    broker::PublishSession,
    model::{Offset, Principal, Rlid, TopicId},
    telemetry::Online,
};

/// How many chunks of a stream may wait for their answers; what they hold is bounded by admission, in bytes.
const CHUNKS_UNANSWERED_MAX: usize = 64;

/// How many events are taken before they are handed over although more have arrived.
const EVENTS_TOGETHER_MAX: usize = 1_024;

/// Serves one Publish call.
pub(super) fn serve(node: &Node, peer: SocketAddr, request: Request<Incoming>) -> Response<ReplyBody> {
    let mut call = node.call(PUBLISH);
    let online = node.metrics.publisher_online();
    let (parts, body) = request.into_parts();
    let opened = || {
        let principal = auth::principal(&parts.headers, &node.identity)?;
        let reader = MessageReader::new(&parts.headers, body, node.clock.clone(), node.revoked(&principal))?;
        let session = node.broker.publisher(&principal).map_err(|error| broker_status(&error))?;
        Ok::<_, Status>((principal, reader, session))
    };
    let (principal, reader, session) = match opened() {
        Ok(opened) => opened,
        Err(status) => {
            call.ends(status.code());
            return status_reply(&status);
        }
    };
    let (reply, response) = streaming_reply(call);
    let user_agent = auth::user_agent(&parts.headers);
    let stream = PublishStream { node: node.clone(), principal, peer, user_agent, session, reader, online };
    node.tasks.spawn(stream.run(reply));
    response
}

struct PublishStream {
    node: Node,
    principal: Principal,
    peer: SocketAddr,
    user_agent: String,
    session: PublishSession,
    reader: MessageReader,
    /// Counts the stream among those that are open.
    online: Online,
}

impl PublishStream {
    async fn run(mut self, reply: ReplySender) {
        match self.open(&reply).await {
            Ok(true) => {}
            Ok(false) => return reply.finish(&Status::ok("")).await,
            Err(end) => return reply.finish(&end.status()).await,
        }
        let (chunks, unanswered) = mpsc::channel(CHUNKS_UNANSWERED_MAX);
        self.node.tasks.spawn(Answering::new(self.node.clone(), reply).run(unanswered));
        let end = self.receive(&chunks).await;
        // The answering task holds the other end until everything before has been answered.
        drop(chunks.send(Answer::End(end)).await);
        drop(self.online);
    }

    /// Takes the first message and answers it; false when the client left before it said anything.
    async fn open(&mut self, reply: &ReplySender) -> Result<bool, StreamEnd> {
        let Some(message) = self.reader.first(&self.node.draining).await? else {
            return Ok(false);
        };
        let open = match api::parse_publisher_request(&message) {
            Ok(PublisherMessage::Open(open)) => open,
            Ok(PublisherMessage::Event(_) | PublisherMessage::Empty) => {
                let text = "an open stream message must be sent immediately after opening the stream";
                return Err(StreamEnd::Refused(Status::failed_precondition(text)));
            }
            Err(error) => return Err(StreamEnd::undecodable(&error)),
        };
        let publisher = api::encode_publisher(
            &self.principal.subject.to_string(),
            &self.peer.to_string(),
            &open.client_id,
            &self.user_agent,
        );
        let envelope = Envelope {
            id: Rlid::NULL,
            topic: TopicId::default(),
            offset: Offset::FIRST,
            epoch: 1,
            committed: self.node.clock.now(),
            publisher: &publisher,
        };
        let envelope_bytes = api::wrapper_bytes(0, &envelope);
        let topics = self
            .session
            .start(&open.topics, publisher.into(), envelope_bytes as u64)
            .map_err(|error| StreamEnd::Refused(broker_status(&error)))?;
        let client_id = if open.client_id.is_empty() { self.principal.subject.to_string() } else { open.client_id };
        let topics =
            topics.iter().map(|entry| (entry.name().to_string(), Bytes::copy_from_slice(entry.id().as_bytes())));
        let ready = StreamReady { client_id, server_id: self.node.server_id.clone(), topics: topics.collect() };
        let ready = PublisherReply { embed: Some(Embed::Ready(ready)) };
        let sent = reply.send(api::frame(&ready)).await;
        sent.map(|()| true).map_err(|Disconnected| StreamEnd::Finished)
    }

    /// Reads until the stream ends, and says how. What has arrived is handed over, and answered, together.
    async fn receive(&mut self, chunks: &mpsc::Sender<Answer>) -> StreamEnd {
        loop {
            let mut received = Received::default();
            let taken = self.take_what_is_there(&mut received).await;
            received.settle(self.session.hand_over().await);
            if !received.is_empty() {
                self.node.rpc(PUBLISH).received(received.len() as u64);
                drop(chunks.send(Answer::Events(received)).await);
            }
            if let Err(end) = taken {
                return end;
            }
            match self.reader.more(&self.node.draining).await {
                Ok(true) => {}
                Ok(false) => return StreamEnd::Finished,
                Err(end) => return end,
            }
        }
    }

    /// Takes what has arrived, chunk by chunk. There are clients, the published ones among them, that send each event in a frame of its
    /// own: handed over one by one, they would cost a message, a permit and a wake-up each.
    async fn take_what_is_there(&mut self, received: &mut Received) -> Result<(), StreamEnd> {
        loop {
            self.take_chunk(received).await?;
            if received.len() >= EVENTS_TOGETHER_MAX {
                return Ok(());
            }
            match self.reader.more(&self.node.draining).now_or_never() {
                Some(Ok(true)) => {}
                Some(Ok(false)) => return Err(StreamEnd::Finished),
                Some(Err(end)) => return Err(end),
                None => return Ok(()),
            }
        }
    }

    /// Takes all messages that have arrived whole.
    async fn take_chunk(&mut self, received: &mut Received) -> Result<(), StreamEnd> {
        while let Some(message) = self.reader.message()? {
            let event = match api::parse_publisher_request(&message) {
                Ok(PublisherMessage::Event(event)) => event,
                Ok(PublisherMessage::Open(_)) => {
                    return Err(StreamEnd::Refused(Status::aborted("cannot send multiple open stream messages")));
                }
                Ok(PublisherMessage::Empty) => {
                    let text = "unhandled publisher request message <nil>";
                    return Err(StreamEnd::Refused(Status::failed_precondition(text)));
                }
                Err(error) => return Err(StreamEnd::undecodable(&error)),
            };
            let fate = gather(&mut self.session, &event, received).await;
            received.push(event.local_id(), fate);
        }
        Ok(())
    }
}

/// Puts an event to what is gathered for its topic, or says why not.
async fn gather(session: &mut PublishSession, event: &IncomingEvent<'_>, received: &mut Received) -> Fate {
    let slot = match session.slot(event.topic_id()).await {
        Ok(slot) => slot,
        Err(refusal) => return Fate::Refused(refusal),
    };
    if let Err(refusal) = PublishSession::check_size(event.event().len(), event.record_bytes()) {
        return Fate::Refused(refusal);
    }
    let facts = match api::inspect_event(event.event()) {
        Ok(facts) => facts,
        Err(error) => return Fate::Undecodable(format!("event cannot be decoded: {error}")),
    };
    if session.is_full(slot) {
        received.settle(session.hand_over().await);
    }
    session.gather(slot, facts.mimetype, &facts.schema, |records| event.write_record(records));
    Fate::Gathered(slot)
}
