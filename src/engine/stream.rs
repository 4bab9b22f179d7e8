//! The handle of a topic's stream: append, read, seek, count.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use aes_gcm::Aes256Gcm;
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};

use super::{
    Engine, codec,
    error::{FetchError, OpenError},
    payload::parse_payload,
    reader::Reader,
    root::KEY_BYTES,
    run::DecodedBlock,
    tally::{RunningTally, Tally},
    topic::{Actor, Batch, CommitReply, Head, Message, QUEUE_BATCHES, SealingKey, Shared, Workings},
    versions::{KeyState, Versions},
};
use crate::{
    model::{Offset, Position, ProjectId, TopicId},
    store::{Block, Extent, Transaction},
};

/// How many bytes are read at a time to bring a tally up to date.
const TALLY_READ_BYTES: usize = 4 * 1024 * 1024;

/// A topic's stream. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Topic(Arc<Inner>);

struct Inner {
    engine: Engine,
    project: ProjectId,
    salt: [u8; KEY_BYTES],
    shared: Arc<Shared>,
    messages: mpsc::Sender<Message>,
    head: watch::Receiver<Head>,
    /// The versions of the project's data key, of which some may be closed to readers.
    versions: watch::Receiver<Arc<Versions>>,
    /// The ciphers that blocks have asked for so far, by the version of their data key. Held for a look-up.
    ciphers: Mutex<HashMap<u32, Arc<Aes256Gcm>>>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Topic").field("id", &self.shared.topic).field("project", &self.project).finish_non_exhaustive()
    }
}

pub(super) fn tally_key(topic: TopicId) -> Bytes {
    [b"tally/".as_slice(), topic.as_bytes()].concat().into()
}

impl Topic {
    pub(super) async fn open(engine: Engine, topic: TopicId, project: ProjectId) -> Result<Topic, OpenError> {
        let parts = &engine.0;
        let salt = parts.keys.salt(topic).await?;
        let extent = parts.store.blocks.extent(topic).await?;
        let versions = parts.keys.follow(project).await?;
        let kept = parts.store.records.get(tally_key(topic)).await?;
        let tally = kept.map_or_else(RunningTally::new, |record| RunningTally::decode(&record.value));
        // A tally can be ahead of its topic when a loss of power took events whose acks had not waited for the disk. It
        // goes, before other events get their offsets and it seems to fit again.
        let tally = if tally.next > extent.next {
            parts.store.records.commit(Transaction::new().delete(tally_key(topic))).await?;
            RunningTally::new()
        } else {
            tally
        };

        let shared = Arc::new(Shared { topic, tally: Mutex::new(tally) });
        let workings = Workings {
            blocks: parts.store.blocks.clone(),
            cache: parts.cache.clone(),
            sequence: parts.sequence.clone(),
            sealers: parts.sealers.clone(),
            clock: parts.clock.clone(),
            entropy: parts.entropy.clone(),
            sealing: SealingKey::new(versions.clone(), salt),
            next: extent.next,
            last: extent.last.map(|(id, _)| id),
        };
        let (head_sender, head) = watch::channel(Head { next: extent.next, destroyed: false });
        let (messages, inbox) = mpsc::channel(QUEUE_BATCHES);
        let actor = Actor::new(shared.clone(), workings, head_sender);
        parts.actors.spawn(actor.run(inbox, parts.closing.clone()));
        let ciphers = Mutex::default();
        Ok(Topic(Arc::new(Inner { engine: engine.clone(), project, salt, shared, messages, head, versions, ciphers })))
    }

    pub fn id(&self) -> TopicId {
        self.0.shared.topic
    }

    /// Hands a batch over. It takes its place in the topic's order when this returns; the reply comes when it is durable.
    /// The reply is an error at once when the topic has been destroyed or the engine is closing.
    pub async fn append(&self, batch: Batch, permit: OwnedSemaphorePermit) -> CommitReply {
        let (reply, receiver) = oneshot::channel();
        // When the actor is gone the message comes back and is dropped, and with it the sender of the reply.
        drop(self.0.messages.send(Message::Append { batch, permit, reply }).await);
        receiver
    }

    /// Follows how far the topic has been committed.
    pub fn head(&self) -> watch::Receiver<Head> {
        self.0.head.clone()
    }

    /// The committed end of the topic, as of now.
    pub fn end_offset(&self) -> Offset {
        self.0.head.borrow().next
    }

    /// What is stored of the topic.
    ///
    /// # Errors
    ///
    /// When the store can't be read.
    pub async fn extent(&self) -> Result<Extent, FetchError> {
        Ok(self.0.engine.0.store.blocks.extent(self.id()).await?)
    }

    /// A cursor that starts at an offset of the topic or at its end.
    pub fn reader(&self, from: Offset) -> Reader {
        Reader::new(self.clone(), from)
    }

    /// The offset of the first event that lies behind a position.
    ///
    /// # Errors
    ///
    /// `BeyondEnd` when the position is an offset behind the end of the topic; others when the store can't be read.
    pub async fn seek(&self, position: Position) -> Result<Offset, FetchError> {
        let blocks = &self.0.engine.0.store.blocks;
        let end = self.end_offset();
        let (block, time) = match position {
            Position::Start => return Ok(blocks.extent(self.id()).await?.first),
            Position::End => return Ok(end),
            Position::Offset(offset) if offset > end => return Err(FetchError::BeyondEnd { offset, end }),
            Position::Offset(offset) => return Ok(offset.max(blocks.extent(self.id()).await?.first)),
            Position::Event(id) => (blocks.seek_event(self.id(), id).await?, None),
            Position::Time(time) => (blocks.seek_time(self.id(), time).await?, Some(time)),
            Position::Ago(nanos) => {
                let time = self.0.engine.0.clock.now().plus_nanos(-nanos);
                (blocks.seek_time(self.id(), time).await?, Some(time))
            }
        };
        if block >= end {
            return Ok(end);
        }
        let runs = if let Some(runs) = self.cached(block) {
            runs
        } else {
            let fetched = self.fetch(block, 1).await?;
            let stored = fetched.front().ok_or(FetchError::BeyondEnd { offset: block, end })?;
            let head = &stored.head;
            let begins = match (time, position) {
                (Some(time), _) => head.first_committed >= time,
                (None, Position::Event(id)) => head.first_rlid >= id,
                (None, _) => true,
            };
            // The head tells that, without a look into the block, which may not be readable.
            if begins {
                return Ok(head.base);
            }
            self.decoded(stored).await?
        };
        let run = runs.runs.iter().find(|run| match (time, position) {
            (Some(time), _) => run.committed >= time,
            (None, Position::Event(id)) => run.last_rlid() >= id,
            (None, _) => true,
        });
        let Some(run) = run else { return Ok(runs.end) };
        Ok(match position {
            Position::Event(id) => run.base.plus(id.distance_from(run.first_rlid).unwrap_or(0)),
            _ => run.base,
        })
    }

    /// What the topic holds, counted up to its committed end.
    ///
    /// # Errors
    ///
    /// When blocks that were not counted yet can't be read.
    pub async fn tally(&self) -> Result<Tally, FetchError> {
        loop {
            let (next, end) = {
                let running = self.running_tally();
                if running.next >= self.end_offset() {
                    return Ok(running.tally.clone());
                }
                (running.next, self.end_offset())
            };
            if let Some(runs) = self.cached(next) {
                self.count(&runs);
                continue;
            }
            let fetched = self.fetch(next, TALLY_READ_BYTES).await?;
            if fetched.is_empty() {
                return Err(FetchError::BeyondEnd { offset: next, end });
            }
            for block in &fetched {
                match self.decode(block).await {
                    Ok(decoded) => self.count(&decoded),
                    // Its events are there and nobody will ever know more of them than their number.
                    Err(FetchError::Closed { state: KeyState::Revoked, .. }) => {
                        self.running_tally().extend_unread(&block.head);
                    }
                    Err(error) => return Err(error),
                }
            }
        }
    }

    fn count(&self, block: &DecodedBlock) {
        let mut running = self.running_tally();
        for run in &block.runs {
            running.extend(run);
        }
    }

    fn running_tally(&self) -> std::sync::MutexGuard<'_, RunningTally> {
        self.0.shared.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers the tally, so that the next opening need not count again. Losing it costs time, never counts.
    pub(super) async fn keep_tally(&self) {
        let encoded = {
            let running = self.running_tally();
            if running.next == Offset::FIRST {
                return;
            }
            running.encode()
        };
        let transaction = Transaction::new().put(tally_key(self.id()), encoded);
        if let Err(error) = self.0.engine.0.store.records.commit(transaction).await {
            tracing::warn!(topic = %self.id(), %error, "tally not kept");
        }
    }

    /// Ends the actor of a destroyed topic; returns when nothing of it is under way any more.
    pub(super) async fn end(&self) {
        let (done, ended) = oneshot::channel();
        if self.0.messages.send(Message::Destroy { done }).await.is_ok() {
            // The actor may have ended by itself meanwhile, which is as good.
            drop(ended.await);
        }
    }

    /// The decoded block that holds an offset, if it is kept and may be read.
    pub(super) fn cached(&self, offset: Offset) -> Option<Arc<DecodedBlock>> {
        self.0.engine.0.cache.get(self.id(), offset).filter(|block| self.may_read(block))
    }

    /// Whether the version of the data key that a decoded block was under is open now; it may be stored under another
    /// one.
    pub(super) fn may_read(&self, block: &DecodedBlock) -> bool {
        self.0.versions.borrow().closed(block.key_version).is_none()
    }

    pub(super) fn project(&self) -> ProjectId {
        self.0.project
    }

    /// Lets go of what is kept in memory of a version of the data key.
    pub(super) fn forget_version(&self, version: u32) {
        self.0.ciphers.lock().unwrap_or_else(PoisonError::into_inner).remove(&version);
        self.0.engine.0.cache.forget_version(self.id(), version);
    }

    /// Reads blocks from the store, from the one that holds an offset on. They stay as they are stored until it is their turn:
    /// decoded they take up to ten times the room.
    pub(super) async fn fetch(&self, from: Offset, bytes_max: usize) -> Result<VecDeque<Block>, FetchError> {
        Ok(self.0.engine.0.store.blocks.read(self.id(), from, bytes_max).await?.into())
    }

    /// What is in a block that was fetched. Another reader may have decoded it meanwhile.
    pub(super) async fn decoded(&self, block: &Block) -> Result<Arc<DecodedBlock>, FetchError> {
        if let Some(runs) = self.cached(block.head.base) {
            return Ok(runs);
        }
        let runs = Arc::new(self.decode(block).await?);
        self.0.engine.0.cache.insert(self.id(), runs.clone());
        Ok(runs)
    }

    async fn decode(&self, block: &Block) -> Result<DecodedBlock, FetchError> {
        let head = &block.head;
        let last = head.base.plus(u64::from(head.count).saturating_sub(1));
        let closed = self.0.versions.borrow().closed(head.key_version);
        if let Some(state) = closed {
            let (topic, first, version) = (head.topic, head.base, head.key_version);
            return Err(FetchError::Closed { topic, first, last, version, state });
        }
        let cipher = self.cipher(head.key_version).await?.ok_or(FetchError::MissingKey {
            topic: head.topic,
            first: head.base,
            last,
            version: head.key_version,
        })?;
        let payload = codec::open(&cipher, block)?;
        let decoded = parse_payload(&payload, head.base, head.count).map_err(|what| FetchError::Damaged {
            topic: head.topic,
            first: head.base,
            last,
            what,
        })?;
        Ok(decoded.under(head.key_version))
    }

    async fn cipher(&self, version: u32) -> Result<Option<Arc<Aes256Gcm>>, FetchError> {
        if let Some(cipher) = self.0.ciphers.lock().unwrap_or_else(PoisonError::into_inner).get(&version) {
            return Ok(Some(cipher.clone()));
        }
        let key = match self.0.engine.0.keys.version(self.0.project, version).await {
            Ok(Some(key)) => key,
            Err(OpenError::Records(error)) => return Err(error.into()),
            Ok(None) | Err(_) => return Ok(None),
        };
        let cipher = Arc::new(key.block_cipher(&self.0.salt));
        self.0.ciphers.lock().unwrap_or_else(PoisonError::into_inner).insert(version, cipher.clone());
        Ok(Some(cipher))
    }
}
