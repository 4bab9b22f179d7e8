//! The answers of a Publish stream: what was received in a chunk, and the task that answers it in order.

use std::collections::HashSet;

use tokio::sync::{mpsc, oneshot::error::TryRecvError};
use tonic::Status;

use super::{
    body::ReplySender,
    node::{Node, PUBLISH},
    stream::StreamEnd,
};
use crate::{
    api::{
        self,
        ensign::{CloseStream, PublisherReply, publisher_reply::Embed},
    },
    broker::{Refusal, Slot},
    engine::{CommitError, CommitReply, Committed},
    model::NackCode,
};

/// Where a chunk of answers is sent although more could be added, in bytes.
const REPLY_CHUNK_BYTES: usize = 64 * 1024;

/// How many events are answered before the size of the chunk is looked at.
const ANSWERS_TOGETHER: usize = 256;

/// What the receiving side of a stream tells the answering one.
pub(super) enum Answer {
    Events(Received),
    /// The last word, after everything before has been answered.
    End(StreamEnd),
}

/// The events of one chunk, to be answered in this order.
#[derive(Default)]
pub(super) struct Received {
    /// The local ids of the events, one behind the other.
    local_ids: Vec<u8>,
    entries: Vec<Entry>,
    /// How many of the entries know which commit decides about them.
    settled: usize,
    commits: Vec<(Slot, CommitReply)>,
}

/// One event: where its local id ends, and what is known of its fate.
struct Entry {
    local_id_end: usize,
    fate: Fate,
}

impl Entry {
    /// Whether the same commit decides about both.
    fn is_decided_with(&self, other: &Entry) -> bool {
        matches!((&self.fate, &other.fate), (Fate::HandedOver(one), Fate::HandedOver(two)) if one == two)
    }
}

/// The local ids of consecutive events.
struct LocalIds<'a> {
    bytes: &'a [u8],
    start: usize,
    entries: &'a [Entry],
}

impl<'a> Iterator for LocalIds<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (entry, rest) = self.entries.split_first()?;
        let id = &self.bytes[self.start..entry.local_id_end];
        (self.start, self.entries) = (entry.local_id_end, rest);
        Some(id)
    }
}

pub(super) enum Fate {
    /// It was gathered in this slot, and will be handed over.
    Gathered(Slot),
    /// It was handed over as part of the batch of this index.
    HandedOver(usize),
    Refused(Refusal),
    /// It is not an event; the text says why.
    Undecodable(String),
}

impl Received {
    pub(super) fn push(&mut self, local_id: &[u8], fate: Fate) {
        self.local_ids.extend_from_slice(local_id);
        self.entries.push(Entry { local_id_end: self.local_ids.len(), fate });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Remembers which batch decides about each of the events that were gathered since the last hand-over.
    pub(super) fn settle(&mut self, handed_over: Vec<(Slot, CommitReply)>) {
        let before = self.commits.len();
        for entry in &mut self.entries[self.settled..] {
            if let Fate::Gathered(slot) = entry.fate {
                let at = handed_over.iter().position(|(of, _)| *of == slot);
                entry.fate = Fate::HandedOver(before + at.expect("what was gathered is handed over"));
            }
        }
        self.settled = self.entries.len();
        self.commits.extend(handed_over);
    }
}

/// Answers a stream's events in the order of their arrival, and closes it.
pub(super) struct Answering {
    node: Node,
    reply: ReplySender,
    chunk: Vec<u8>,
    counts: CloseStream,
    /// The slots whose events were stored: each is a topic.
    slots: HashSet<Slot>,
    /// False once the client is gone; what it sent is stored all the same.
    connected: bool,
}

impl Answering {
    pub(super) fn new(node: Node, reply: ReplySender) -> Answering {
        Answering {
            node,
            reply,
            chunk: Vec::new(),
            counts: CloseStream::default(),
            slots: HashSet::new(),
            connected: true,
        }
    }

    pub(super) async fn run(mut self, mut answers: mpsc::Receiver<Answer>) {
        let mut end = StreamEnd::Finished;
        loop {
            if answers.is_empty() {
                // Nothing more is decided now, so the client gets what is.
                self.send().await;
            }
            match answers.recv().await {
                Some(Answer::Events(received)) => self.answer(received).await,
                Some(Answer::End(how)) => {
                    end = how;
                    break;
                }
                None => break,
            }
        }
        self.finish(&end.status()).await;
    }

    async fn answer(&mut self, received: Received) {
        self.node.rpc(PUBLISH).sent(received.len() as u64);
        let acks_before = self.counts.acks;
        let Received { local_ids, entries, commits, .. } = received;
        let mut commits: Vec<_> = commits.into_iter().map(|(slot, reply)| (slot, Commit::Waiting(reply))).collect();
        let mut start = 0;
        for together in entries.chunk_by(Entry::is_decided_with).flat_map(|entries| entries.chunks(ANSWERS_TOGETHER)) {
            let local_ids = LocalIds { bytes: &local_ids, start, entries: together };
            start = together.last().map_or(start, |entry| entry.local_id_end);
            match &together[0].fate {
                Fate::HandedOver(at) => {
                    let (slot, commit) = &mut commits[*at];
                    if let Commit::Waiting(reply) = commit {
                        let result = self.wait(reply).await;
                        if result.is_ok() {
                            self.slots.insert(*slot);
                        }
                        *commit = Commit::Decided(result);
                    }
                    match commit {
                        Commit::Decided(Ok(committed)) => {
                            self.counts.acks += together.len() as u64;
                            api::write_acks(&mut self.chunk, local_ids, committed.at);
                        }
                        Commit::Decided(Err(error)) => {
                            let refusal = Refusal::from(&*error);
                            local_ids.for_each(|local_id| self.nack(local_id, refusal.code, refusal.text));
                        }
                        Commit::Waiting(_) => unreachable!("it was decided above"),
                    }
                }
                Fate::Refused(refusal) => local_ids.for_each(|id| self.nack(id, refusal.code, refusal.text)),
                Fate::Undecodable(text) => local_ids.for_each(|id| self.nack(id, NackCode::Unknown, text)),
                Fate::Gathered(_) => unreachable!("a chunk is settled before it is answered"),
            }
            if self.chunk.len() >= REPLY_CHUNK_BYTES {
                self.send().await;
            }
        }
        self.node.metrics.events(self.counts.acks - acks_before);
    }

    /// Waits for a commit. Whoever is waiting for answers that are ready gets them first.
    async fn wait(&mut self, reply: &mut CommitReply) -> Result<Committed, CommitError> {
        match reply.try_recv() {
            Ok(result) => return result,
            Err(TryRecvError::Closed) => return Err(CommitError::Closed),
            Err(TryRecvError::Empty) => {}
        }
        self.send().await;
        reply.await.unwrap_or(Err(CommitError::Closed))
    }

    fn nack(&mut self, local_id: &[u8], code: NackCode, text: &str) {
        api::write_nack(&mut self.chunk, local_id, code, Some(text));
        self.counts.nacks += 1;
    }

    async fn send(&mut self) {
        if self.chunk.is_empty() {
            return;
        }
        let chunk = std::mem::take(&mut self.chunk);
        if self.connected {
            self.connected = self.reply.send(chunk).await.is_ok();
        }
    }

    async fn finish(mut self, status: &Status) {
        self.counts.events = self.counts.acks;
        self.counts.topics = self.slots.len() as u64;
        let close = PublisherReply { embed: Some(Embed::CloseStream(self.counts)) };
        api::write_message(&mut self.chunk, &close);
        self.send().await;
        self.reply.finish(status).await;
    }
}

/// A batch that may be decided already.
enum Commit {
    Waiting(CommitReply),
    Decided(Result<Committed, CommitError>),
}
