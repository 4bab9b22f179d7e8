//! A topic's stream: the actor that owns its head, and the handle that everybody else holds.
//!
//! One task owns what has an order: the next offset, the last identifier, the block that fills. Publishers' batches come in
//! by a bounded channel; what waits is sealed into blocks while the blocks before are being synced, so that a sync is
//! never waited for with nothing to do. A batch is answered when its block is durable, and only then do readers see it,
//! by a watch channel that carries the head.
//!
//! Invariants: offsets are dense and identifiers strictly increase, also over failures: a refused block gives its
//! offsets back before the next one is sealed. The actor never waits for a reader.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use aes_gcm::Aes256Gcm;
use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesOrdered};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::{
    cache::Cache,
    codec::Sealers,
    error::CommitError,
    payload::encode_payload,
    root::KEY_BYTES,
    run::{DecodedBlock, Run, TypeCount, TypeCounts, put_varint},
    sequence::Sequence,
    tally::RunningTally,
    versions::Versions,
};
use crate::{
    model::{Offset, Rlid, Time, TopicId, limits::BLOCK_BYTES_TARGET},
    store::{AppendError, Block, BlockHead, Blocks},
    sys::{Clock, Entropy},
};

/// How many batches may wait in the channel; what they may hold is bounded by admission, in bytes.
pub(super) const QUEUE_BATCHES: usize = 256;

/// How many blocks of one topic may be under way to the disk.
const BLOCKS_UNDER_WAY_MAX: usize = 16;

/// How many blocks may be under way for a block that is not full to be sealed as well. With one being synced and the
/// next waiting behind it, the disk never idles; sealing more of them would only make them smaller.
const SMALL_BLOCKS_UNDER_WAY_MAX: usize = 2;

/// A block with less than this is sealed only when none is under way: what comes while it waited behind another would have to wait for
/// two syncs, and for the disk it makes no difference.
const WORTH_WAITING_BYTES: usize = BLOCK_BYTES_TARGET / 8;

/// The epoch of a node that was never moved.
pub(super) const EPOCH: u64 = 1;

/// How far a topic has been committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The offset that the next event will get.
    pub next: Offset,
    pub destroyed: bool,
}

/// Events of one publisher that travel together.
#[derive(Debug)]
pub struct Batch {
    /// The records, each behind its length.
    pub records: Vec<u8>,
    pub count: u32,
    /// The encoded description of who published.
    pub publisher: Bytes,
    pub types: Vec<TypeCount>,
}

impl Batch {
    /// Adds a record. Its type is to be counted by the caller.
    pub fn push(&mut self, record: &[u8]) {
        put_varint(&mut self.records, record.len() as u64);
        self.records.extend_from_slice(record);
        self.count += 1;
    }
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    pub at: Time,
    pub first: Offset,
    pub first_rlid: Rlid,
}

/// The answer to a batch.
pub type CommitReply = oneshot::Receiver<Result<Committed, CommitError>>;

#[derive(Debug)]
pub(super) enum Message {
    Append { batch: Batch, permit: OwnedSemaphorePermit, reply: oneshot::Sender<Result<Committed, CommitError>> },
    Destroy { done: oneshot::Sender<()> },
}

/// What the actor and the handles of a topic share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) topic: TopicId,
    /// Extended by the actor once per block, caught up and read by whoever asks for statistics.
    pub(super) tally: Mutex<RunningTally>,
}

/// What the actor works with.
pub(super) struct Workings {
    pub(super) blocks: Blocks,
    pub(super) cache: Cache,
    pub(super) sequence: Sequence,
    pub(super) sealers: Sealers,
    pub(super) clock: Clock,
    pub(super) entropy: Entropy,
    pub(super) sealing: SealingKey,
    pub(super) next: Offset,
    pub(super) last: Option<Rlid>,
}

/// What a topic's new blocks are sealed with: follows the newest version of the project's data key.
pub(super) struct SealingKey {
    follow: watch::Receiver<Arc<Versions>>,
    salt: [u8; KEY_BYTES],
    version: u32,
    cipher: Aes256Gcm,
}

impl SealingKey {
    pub(super) fn new(mut follow: watch::Receiver<Arc<Versions>>, salt: [u8; KEY_BYTES]) -> SealingKey {
        let versions = Arc::clone(&follow.borrow_and_update());
        let (version, cipher) = (versions.newest, versions.key.block_cipher(&salt));
        SealingKey { follow, salt, version, cipher }
    }

    /// Takes a rotation up, if there was one. Without one it costs an atomic load.
    fn update(&mut self) {
        // The sender lives as long as the engine.
        if self.follow.has_changed().unwrap_or(false) {
            let versions = Arc::clone(&self.follow.borrow_and_update());
            if versions.newest != self.version {
                (self.version, self.cipher) = (versions.newest, versions.key.block_cipher(&self.salt));
            }
        }
    }
}

/// Batches of one publisher that follow each other, on their way into a run.
struct PendingRun {
    publisher: Bytes,
    count: u32,
    records: Vec<Vec<u8>>,
    types: TypeCounts,
    replies: Vec<Waiting>,
}

impl PendingRun {
    /// How many bytes of records it has.
    fn bytes(&self) -> usize {
        self.records.iter().map(Vec::len).sum()
    }
}

/// A batch that is not answered yet. The permit gives its bytes back when it is dropped.
struct Waiting {
    reply: oneshot::Sender<Result<Committed, CommitError>>,
    at: u64,
    _permit: OwnedSemaphorePermit,
}

/// A block that is under way to the disk.
struct Sealed {
    runs: Arc<DecodedBlock>,
    replies: Vec<(Waiting, usize)>,
}

pub(super) struct Actor {
    shared: Arc<Shared>,
    workings: Workings,
    head: watch::Sender<Head>,
    pending: VecDeque<PendingRun>,
    pending_bytes: usize,
    under_way: FuturesOrdered<UnderWay>,
    destroyed: Vec<oneshot::Sender<()>>,
}

type UnderWay = std::pin::Pin<Box<dyn Future<Output = (Sealed, Result<(), AppendError>)> + Send>>;

impl Actor {
    pub(super) fn new(shared: Arc<Shared>, workings: Workings, head: watch::Sender<Head>) -> Actor {
        Actor {
            shared,
            workings,
            head,
            pending: VecDeque::new(),
            pending_bytes: 0,
            under_way: FuturesOrdered::new(),
            destroyed: Vec::new(),
        }
    }

    /// Serves until the topic is destroyed, or the engine closes and everything that was accepted is answered.
    pub(super) async fn run(mut self, mut messages: mpsc::Receiver<Message>, closing: CancellationToken) {
        let mut open = true;
        while open || !self.under_way.is_empty() || !self.pending.is_empty() {
            // Every arm is cancel-safe: a message or a completion is either taken whole or left where it is.
            tokio::select! {
                biased;
                Some((sealed, result)) = self.under_way.next() => self.complete(sealed, result).await,
                message = messages.recv(), if open => match message {
                    Some(message) => {
                        self.accept(message);
                        while let Ok(message) = messages.try_recv() {
                            self.accept(message);
                        }
                    }
                    None => open = false,
                },
                () = closing.cancelled(), if open => {
                    open = false;
                    messages.close();
                    while let Ok(message) = messages.try_recv() {
                        self.accept(message);
                    }
                }
            }
            if !self.destroyed.is_empty() {
                self.abandon();
                if self.under_way.is_empty() {
                    break;
                }
                continue;
            }
            self.seal_what_can_go();
        }
        self.head.send_modify(|head| head.destroyed |= !self.destroyed.is_empty());
        for done in self.destroyed {
            // Whoever asked may have stopped waiting.
            done.send(()).unwrap_or(());
        }
    }

    fn accept(&mut self, message: Message) {
        let (batch, permit, reply) = match message {
            Message::Append { batch, permit, reply } => (batch, permit, reply),
            Message::Destroy { done } => return self.destroyed.push(done),
        };
        debug_assert!(batch.count > 0, "an empty batch has no place in the order");
        self.pending_bytes += batch.records.len();
        let continues = self.pending.back().is_some_and(|run| {
            run.publisher == batch.publisher && run.bytes() + batch.records.len() <= BLOCK_BYTES_TARGET
        });
        if !continues {
            self.pending.push_back(PendingRun {
                publisher: batch.publisher,
                count: 0,
                records: Vec::new(),
                types: TypeCounts::new(),
                replies: Vec::new(),
            });
        }
        let run = self.pending.back_mut().expect("a run was pushed if there was none");
        run.replies.push(Waiting { reply, at: u64::from(run.count), _permit: permit });
        run.count += batch.count;
        run.records.push(batch.records);
        for count in batch.types {
            match run.types.iter_mut().find(|known| known.schema == count.schema && known.mimetype == count.mimetype) {
                Some(known) => {
                    known.events += count.events;
                    known.data_bytes += count.data_bytes;
                }
                None => run.types.push(count),
            }
        }
    }

    /// Seals blocks as long as there is something to seal and room for it on the way to the disk.
    fn seal_what_can_go(&mut self) {
        while !self.pending.is_empty() {
            let room = match self.pending_bytes {
                BLOCK_BYTES_TARGET.. => BLOCKS_UNDER_WAY_MAX,
                WORTH_WAITING_BYTES.. => SMALL_BLOCKS_UNDER_WAY_MAX,
                _ => 1,
            };
            if self.under_way.len() >= room {
                return;
            }
            let (block, sealed) = self.seal();
            let append = self.workings.blocks.append(block);
            self.under_way.push_back(Box::pin(async move {
                let result = append.await;
                (sealed, result)
            }));
        }
    }

    /// Makes a block of the runs at the front of what is pending, as many as fit.
    fn seal(&mut self) -> (Block, Sealed) {
        self.workings.sealing.update();
        let now = self.workings.clock.now().whole_micros();
        let (mut bytes, base) = (0, self.workings.next);
        let (mut runs, mut records, mut replies) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(pending) =
            self.pending.pop_front_if(|run| bytes == 0 || bytes + run.bytes() <= BLOCK_BYTES_TARGET)
        {
            bytes += pending.bytes();
            let count = pending.count;
            let first_rlid = self.workings.sequence.take(u64::from(count), self.workings.last);
            let run = Run {
                base: self.workings.next,
                count,
                first_rlid,
                committed: now,
                epoch: EPOCH,
                publisher: pending.publisher,
                types: pending.types,
                records: Bytes::new(),
            };
            replies.extend(pending.replies.into_iter().map(|waiting| (waiting, runs.len())));
            self.workings.next = run.end();
            self.workings.last = Some(run.last_rlid());
            runs.push(run);
            records.push(pending.records);
        }
        self.pending_bytes -= bytes;
        let slices: Vec<Vec<&[u8]>> =
            records.iter().map(|buffers| buffers.iter().map(Vec::as_slice).collect()).collect();
        let payload = Bytes::from(encode_payload(&runs, &slices));
        let block = self.encrypt(base, now, &runs, &payload);
        // The records stand at the payload's end, in the order of the runs.
        let mut start = payload.len() - bytes;
        for (run, records) in runs.iter_mut().zip(records) {
            let end = start + records.iter().map(Vec::len).sum::<usize>();
            run.records = payload.slice(start..end);
            start = end;
        }
        let decoded = DecodedBlock::new(base, runs, payload.len()).under(block.head.key_version);
        (block, Sealed { runs: Arc::new(decoded), replies })
    }

    fn encrypt(&self, base: Offset, now: Time, runs: &[Run], payload: &[u8]) -> Block {
        let first = runs.first().expect("a block has at least one run");
        let last = runs.last().expect("a block has at least one run");
        let count = u32::try_from(self.workings.next.distance_from(base)).expect("a block's bytes bound its events");
        let head = BlockHead {
            topic: self.shared.topic,
            base,
            count,
            first_rlid: first.first_rlid,
            last_rlid: last.last_rlid(),
            first_committed: now,
            last_committed: now,
            key_version: self.workings.sealing.version,
            codec: 0,
            raw_bytes: 0,
            nonce: self.workings.entropy.bytes(),
        };
        self.workings.sealers.seal(&self.workings.sealing.cipher, head, payload)
    }

    /// Makes a block that is durable visible and answers for it, or takes back one that was refused.
    async fn complete(&mut self, sealed: Sealed, result: Result<(), AppendError>) {
        let Err(error) = result else {
            let mut tally = self.shared.tally.lock().unwrap_or_else(PoisonError::into_inner);
            for run in &sealed.runs.runs {
                tally.extend(run);
            }
            drop(tally);
            self.workings.cache.insert(self.shared.topic, sealed.runs.clone());
            self.head.send_modify(|head| head.next = sealed.runs.end);
            for (waiting, run) in sealed.replies {
                let run = &sealed.runs.runs[run];
                let committed = Committed {
                    at: run.committed,
                    first: run.base.plus(waiting.at),
                    first_rlid: run.first_rlid.plus(waiting.at),
                };
                drop(waiting.reply.send(Ok(committed)));
            }
            return;
        };
        tracing::warn!(topic = %self.shared.topic, %error, "block refused");
        refuse(sealed.replies, &CommitError::from(&error));
        // What was sealed behind it continues from an offset that does not exist now, so the store refuses it too.
        while let Some((sealed, result)) = self.under_way.next().await {
            let reason = result.as_ref().err().map_or(CommitError::Skipped, CommitError::from);
            refuse(sealed.replies, &reason);
        }
        self.workings.next = self.head.borrow().next;
    }

    /// Answers for everything that was accepted and not sealed yet, when the topic is destroyed.
    fn abandon(&mut self) {
        self.pending_bytes = 0;
        for run in self.pending.drain(..) {
            refuse(run.replies.into_iter().map(|waiting| (waiting, 0)).collect(), &CommitError::Destroyed);
        }
    }
}

fn refuse(replies: Vec<(Waiting, usize)>, error: &CommitError) {
    for (waiting, _) in replies {
        drop(waiting.reply.send(Err(error.clone())));
    }
}
