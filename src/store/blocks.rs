//! Ordered, durable blocks of each topic.

use std::{collections::BTreeMap, fmt, future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;

use super::{join::Joiner, stats::Stats};
use crate::model::{BlockHead, Offset, Rlid, Time, TopicId};

/// A run of one topic's events that is stored, moved and deleted as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    pub head: BlockHead,
    /// The ciphertext with its tag.
    pub payload: Bytes,
}

/// What a store holds of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The first offset that is still there.
    pub first: Offset,
    /// The offset that the next event will get.
    pub next: Offset,
    /// The last event's identifier, and when it was committed; `None` for a topic that never had one.
    pub last: Option<(Rlid, Time)>,
    /// Blocks and bytes of payload that are kept for it.
    pub blocks: u64,
    pub stored_bytes: u64,
}

impl Extent {
    pub const EMPTY: Extent =
        Extent { first: Offset::FIRST, next: Offset::FIRST, last: None, blocks: 0, stored_bytes: 0 };
}

/// What is stored under one version of a key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyUsage {
    pub blocks: u64,
    pub events: u64,
    /// Of the payloads, as they are stored.
    pub bytes: u64,
}

impl KeyUsage {
    /// Counts a block.
    pub fn add_block(&mut self, events: u32, bytes: u64) {
        self.add(KeyUsage { blocks: 1, events: events.into(), bytes });
    }

    pub fn add(&mut self, other: KeyUsage) {
        self.blocks += other.blocks;
        self.events += other.events;
        self.bytes += other.bytes;
    }
}

/// Why a block was not appended.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// Somebody else appended first. Nothing was written.
    #[error("topic {topic} continues at offset {next}, not at {base}")]
    WrongBase { topic: TopicId, base: Offset, next: Offset },
    /// There is no room. Nothing was written, and a later attempt may succeed.
    #[error("no space left to store events")]
    NoSpace {
        #[source]
        source: Arc<std::io::Error>,
    },
    /// A write or a sync failed; what became of the block is unknown until the store is opened again, and until then
    /// the store takes nothing more.
    #[error("the store cannot write any more and has to be reopened")]
    Poisoned {
        #[source]
        source: Option<Arc<std::io::Error>>,
    },
    /// The topic was forgotten; it takes nothing any more.
    #[error("topic {topic} has been forgotten")]
    Forgotten { topic: TopicId },
    /// The store is shutting down.
    #[error("the store is closed")]
    Closed,
}

/// Why stored blocks could not be given.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// What is stored is not what was written. Nothing in the range is given; the rest stays readable.
    #[error("topic {topic}, offsets {first} to {last}: {place} is damaged: {what}")]
    Damaged { topic: TopicId, first: Offset, last: Offset, place: String, what: String },
    #[error("could not read {place}")]
    Io {
        place: String,
        #[source]
        source: Arc<std::io::Error>,
    },
    #[error("the store is closed")]
    Closed,
}

/// Why blocks were not joined, or their space not freed. Nothing is lost by it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CompactError {
    #[error("could not {action} {file}")]
    Io {
        action: &'static str,
        file: String,
        #[source]
        source: Arc<std::io::Error>,
    },
    /// What was to be rewritten is damaged. It is left as it is.
    #[error("{what}")]
    Damaged { what: String },
    /// It is not known whether what was written took the old one's place. Nothing is compacted until the store is opened again.
    #[error("could not exchange segments in the catalogue: {message}")]
    Undecided { message: String },
    #[error("the store is closed")]
    Closed,
}

pub(crate) type Reply<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What an implementation of [`Blocks`] provides. Callers use [`Blocks`].
pub trait BlockStore: Send + Sync + fmt::Debug + 'static {
    fn append(&self, block: Block) -> Reply<'static, Result<(), AppendError>>;
    fn extent(&self, topic: TopicId) -> Reply<'_, Result<Extent, ReadError>>;
    fn read(&self, topic: TopicId, from: Offset, bytes_max: usize) -> Reply<'_, Result<Vec<Block>, ReadError>>;
    fn seek_event(&self, topic: TopicId, id: Rlid) -> Reply<'_, Result<Offset, ReadError>>;
    fn seek_time(&self, topic: TopicId, time: Time) -> Reply<'_, Result<Offset, ReadError>>;
    fn forget(&self, topic: TopicId) -> Reply<'_, Result<(), AppendError>>;
    fn compact(&self, joiner: Joiner) -> Reply<'_, Result<(), CompactError>>;
    fn rewrite_stale(&self, joiner: Joiner) -> Reply<'_, Result<(), CompactError>>;
    fn key_usage(&self, topic: TopicId) -> Reply<'_, Result<BTreeMap<u32, KeyUsage>, ReadError>>;
    fn compact_in_background(&self, joiner: Joiner);
    fn health(&self) -> Result<(), AppendError>;
    fn stats(&self) -> Stats;
}

/// The blocks of all topics.
#[derive(Debug, Clone)]
pub struct Blocks(Arc<dyn BlockStore>);

impl Blocks {
    pub fn new(store: impl BlockStore) -> Blocks {
        Blocks(Arc::new(store))
    }

    /// Appends a block to its topic if it continues the topic without a gap (`base` is the topic's next offset, counting
    /// the blocks that are being appended). Resolves when the block is durable. The call itself takes the block's place
    /// in the order, before the future is polled, so that several appends can be under way; a topic's blocks
    /// become durable in order.
    pub fn append(&self, block: Block) -> Reply<'static, Result<(), AppendError>> {
        self.0.append(block)
    }

    /// What is durable of a topic. A topic that is not known is empty.
    pub async fn extent(&self, topic: TopicId) -> Result<Extent, ReadError> {
        self.0.extent(topic).await
    }

    /// The durable blocks from the one that holds `from`, in order and without a gap, until their payloads reach
    /// `bytes_max` or the end comes; at least one block unless `from` is the end. Events before `from` are in the first.
    pub async fn read(&self, topic: TopicId, from: Offset, bytes_max: usize) -> Result<Vec<Block>, ReadError> {
        self.0.read(topic, from, bytes_max).await
    }

    /// The base offset of the first block that has an event with this identifier or a later one, or the topic's end.
    pub async fn seek_event(&self, topic: TopicId, id: Rlid) -> Result<Offset, ReadError> {
        self.0.seek_event(topic, id).await
    }

    /// The base offset of the first block that has an event committed at this time or later, or the topic's end.
    pub async fn seek_time(&self, topic: TopicId, time: Time) -> Result<Offset, ReadError> {
        self.0.seek_time(topic, time).await
    }

    /// Drops what is stored of a topic, for good: it is empty then, and takes nothing any more. The space comes back in time.
    pub async fn forget(&self, topic: TopicId) -> Result<(), AppendError> {
        self.0.forget(topic).await
    }

    /// Exchanges what is stored for blocks with the same events that take less room, as far as there is something to gain: small
    /// ones are joined, and the space of forgotten topics comes back. Readers and appends go on meanwhile, and offsets,
    /// identifiers and commit times stay; but where one block ends and the next begins changes. Nothing that was durable before the
    /// call is left out.
    pub async fn compact(&self, joiner: Joiner) -> Result<(), CompactError> {
        self.0.compact(joiner).await
    }

    /// Has the blocks that the joiner calls stale written anew, slowly and beside everything else; resolves when none of those is left that
    /// were durable before the call, except for those that the joiner gave back as they were or that can't be read. When the store
    /// is closed before, what was exchanged stays so, and another call goes on from there.
    pub async fn rewrite_stale(&self, joiner: Joiner) -> Result<(), CompactError> {
        self.0.rewrite_stale(joiner).await
    }

    /// What a topic has under each version of its key.
    pub async fn key_usage(&self, topic: TopicId) -> Result<BTreeMap<u32, KeyUsage>, ReadError> {
        self.0.key_usage(topic).await
    }

    /// From now on does by itself, and slowly, what [`Blocks::compact`] does at once.
    pub fn compact_in_background(&self, joiner: Joiner) {
        self.0.compact_in_background(joiner);
    }

    /// Whether appends can succeed: the error that poisoned the store, if one did.
    pub fn health(&self) -> Result<(), AppendError> {
        self.0.health()
    }

    /// What has been counted since the store was opened; zeros for a store that has no disk of its own.
    pub fn stats(&self) -> Stats {
        self.0.stats()
    }
}
