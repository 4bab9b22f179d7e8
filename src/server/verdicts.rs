//! What a subscriber says after it has subscribed: acks and nacks, until it closes its side.
//!
//! Those of a group's member are handed over together, all that have arrived, and what became of the acks is sent back
//! when the member asked for that. Without a group they change nothing and are counted.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use futures_util::FutureExt;
use tokio::sync::oneshot;
use tonic::Status;

use super::{
    body::{ChunkSender, Disconnected},
    node::{Node, SUBSCRIBE},
    stream::{MessageReader, StreamEnd},
};
use crate::{
    api::{self, SubscriberRequest, ensign::subscribe_request::Embed as Said},
    broker::{Acks, Verdict},
    model::{NackCode, Rlid},
};

/// How many verdicts are taken before they are handed over although more have arrived.
const VERDICTS_TOGETHER_MAX: usize = 4_096;

/// How many acks and nacks there were.
#[derive(Debug, Default)]
pub(super) struct Tally {
    acks: AtomicU64,
    nacks: AtomicU64,
}

impl Tally {
    /// The acks, and the nacks.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.acks.load(Ordering::Relaxed), self.nacks.load(Ordering::Relaxed))
    }
}

/// Where the verdicts of a group's member go.
#[derive(Debug)]
pub(super) struct Settling {
    pub(super) acks: Acks,
    /// Where the member is told what became of its acks, if it wants to know.
    pub(super) receipts: Option<ChunkSender>,
}

/// The side of a stream that reads.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) reader: MessageReader,
    pub(super) node: Node,
    /// `None` for a subscriber without a group.
    pub(super) settling: Option<Settling>,
    pub(super) tally: Arc<Tally>,
}

/// What has arrived and not been handed over.
#[derive(Debug, Default)]
struct Heard {
    messages: u64,
    verdicts: Vec<(Rlid, Verdict)>,
    acks: u64,
    nacks: u64,
}

impl Listening {
    /// Reads until the stream ends, and says how. What was said by then has been settled.
    pub(super) async fn run(mut self, ended: oneshot::Sender<StreamEnd>) {
        let end = loop {
            let mut heard = Heard::default();
            let taken = self.take_what_is_there(&mut heard);
            if let Err(end) = self.settle(heard).await.and(taken) {
                break end;
            }
            match self.reader.more(&self.node.draining).await {
                Ok(true) => {}
                Ok(false) => break StreamEnd::Finished,
                Err(end) => break end,
            }
        };
        // The delivering side may have ended by itself.
        ended.send(end).unwrap_or(());
    }

    /// Takes what has arrived, chunk by chunk. The published clients send each ack in a frame of its own, and handed over
    /// one by one, each would wait for a commit of its own.
    fn take_what_is_there(&mut self, heard: &mut Heard) -> Result<(), StreamEnd> {
        loop {
            self.take_chunk(heard)?;
            if heard.verdicts.len() >= VERDICTS_TOGETHER_MAX {
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
    fn take_chunk(&mut self, heard: &mut Heard) -> Result<(), StreamEnd> {
        let is_member = self.settling.is_some();
        while let Some(message) = self.reader.message()? {
            heard.messages += 1;
            match api::parse_subscribe_request(&message).map_err(|error| StreamEnd::undecodable(&error))? {
                SubscriberRequest::Ack(id) => heard.ack(id, is_member)?,
                SubscriberRequest::Nack(id, code) => heard.nack(id, code, is_member)?,
                SubscriberRequest::Other(request) => match request.embed {
                    Some(Said::Ack(ack)) => heard.ack(&ack.id, is_member)?,
                    Some(Said::Nack(nack)) => heard.nack(&nack.id, nack.code, is_member)?,
                    Some(Said::Subscription(_)) | None => {}
                },
            }
        }
        Ok(())
    }

    /// Counts what was said, hands it over, and sends the receipt.
    async fn settle(&mut self, heard: Heard) -> Result<(), StreamEnd> {
        let Heard { messages, verdicts, acks, nacks } = heard;
        if messages == 0 {
            return Ok(());
        }
        self.node.rpc(SUBSCRIBE).received(messages);
        self.tally.acks.fetch_add(acks, Ordering::Relaxed);
        self.tally.nacks.fetch_add(nacks, Ordering::Relaxed);
        let Some(Settling { acks, receipts }) = &self.settling else { return Ok(()) };
        if verdicts.is_empty() {
            return Ok(());
        }
        let receipt = acks.settle(verdicts).await;
        let Some(receipts) = receipts else { return Ok(()) };
        let mut frames = Vec::new();
        api::write_receipts(&mut frames, &receipt.acked, &receipt.refused);
        if frames.is_empty() {
            return Ok(());
        }
        tokio::select! {
            sent = receipts.send(frames) => sent.map_err(|Disconnected| StreamEnd::Finished),
            () = self.node.draining.cancelled() => Err(StreamEnd::Draining),
        }
    }
}

impl Heard {
    fn ack(&mut self, id: &[u8], is_member: bool) -> Result<(), StreamEnd> {
        self.acks += 1;
        self.push(id, Verdict::Ack, is_member)
    }

    fn nack(&mut self, id: &[u8], code: i32, is_member: bool) -> Result<(), StreamEnd> {
        self.nacks += 1;
        self.push(id, Verdict::Nack(NackCode::from_number(code)), is_member)
    }

    fn push(&mut self, id: &[u8], verdict: Verdict, is_member: bool) -> Result<(), StreamEnd> {
        if is_member {
            self.verdicts.push((event_id(id)?, verdict));
        }
        Ok(())
    }
}

/// The identifier in a verdict. What is none is a mistake of the client that would show nowhere else.
fn event_id(id: &[u8]) -> Result<Rlid, StreamEnd> {
    Rlid::from_slice(id).map_err(|_| {
        let text = format!("the id of an event has 10 bytes, and not {}", id.len());
        StreamEnd::Refused(Status::invalid_argument(text))
    })
}
