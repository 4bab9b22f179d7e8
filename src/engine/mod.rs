//! Topics as ordered, durable, encrypted streams over a [`Store`].
//!
//! An [`Engine`] hands out [`Topic`]s; a topic takes [`Batch`]es and gives [`Reader`]s. It decides offsets, identifiers
//! and commit times, seals blocks (zstd, then AES-256-GCM), keeps the keys, caches what was decoded last, counts, and
//! joins small blocks for the store.
//!
//! Invariants: a batch is answered when its block is durable, not before; readers see committed events only; offsets are dense
//! and identifiers strictly increase within a topic; memory is bounded by bytes, at admission and in the cache.
//!
//! What it does not do: know names, permissions, wire messages or files. Records are opaque to it.

mod cache;
mod ciphers;
mod codec;
mod encryption;
mod error;
mod joiner;
mod keys;
mod payload;
mod reader;
mod root;
mod run;
mod sequence;
mod stream;
mod tally;
mod topic;
mod verify;
mod versions;

#[cfg(any(test, fuzzing))]
pub mod fuzzing;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{Notify, OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use error::{CommitError, FetchError, KeyChangeError, OpenError};
pub use keys::RootChange;
pub use reader::{EventRef, Reader, Slice};
pub use root::{KEY_BYTES, RootKey, has_root_key, is_resealing, is_root_key, under_root_key};
pub use run::{Run, TypeCount, TypeCounts};
pub use stream::Topic;
pub use tally::{Tally, TypeTally};
pub use topic::{Batch, CommitReply, Committed, Head};
pub use verify::BlockVerifier;
pub use versions::{KeyState, KeyStatus, KeyVersion, Rewrite};

use crate::{
    model::{Offset, ProjectId, TopicId, limits::INFLIGHT_BYTES_MAX},
    store::{AppendError, HealthError, Stats, Store, Transaction},
    sys::{Clock, Entropy},
};

/// How many bytes of decoded blocks are kept for readers near the heads of their topics.
const CACHE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// All topics' streams. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    keys: keys::KeyRing,
    sequence: sequence::Sequence,
    cache: cache::Cache,
    sealers: codec::Sealers,
    clock: Clock,
    entropy: Entropy,
    admission: Arc<Semaphore>,
    /// Topics that have been opened. The lock is held to find the cell; opening happens in the cell.
    topics: Mutex<HashMap<TopicId, Arc<OnceCell<Topic>>>>,
    actors: TaskTracker,
    closing: CancellationToken,
    scrubs: encryption::Scrubs,
    /// Told when blocks are to be sealed anew.
    rewrites: Notify,
}

impl Engine {
    /// Opens the engine over a store.
    ///
    /// # Errors
    ///
    /// When the root key is not the one that the store's data keys were wrapped with, or the records can't be read.
    pub async fn open(store: Store, root: RootKey, clock: Clock, entropy: Entropy) -> Result<Engine, OpenError> {
        let keys = keys::KeyRing::open(root, store.records.clone(), clock.clone(), entropy.clone()).await?;
        let engine = Engine(Arc::new(Inner {
            store,
            keys,
            sequence: sequence::Sequence::new(clock.clone()),
            cache: cache::Cache::new(CACHE_BYTES_MAX),
            sealers: codec::Sealers::new(codec::LEVEL_FRESH),
            clock,
            entropy,
            admission: Arc::new(Semaphore::new(INFLIGHT_BYTES_MAX)),
            topics: Mutex::default(),
            actors: TaskTracker::new(),
            closing: CancellationToken::new(),
            scrubs: encryption::Scrubs::default(),
            rewrites: Notify::new(),
        }));
        // What an end of the process may have left undone.
        engine.scrub().await;
        Ok(engine)
    }

    /// Adds what the engine keeps of a new topic to the transaction that creates it.
    pub fn prepare_create(&self, topic: TopicId, transaction: Transaction) -> Transaction {
        self.0.keys.prepare_create(topic, transaction)
    }

    /// Adds the end of the topic's salt to the transaction that destroys it. When that is carried out, what the topic
    /// holds can't be decrypted any more; [`Engine::destroyed`] then ends what is still running.
    pub fn prepare_destroy(&self, topic: TopicId, transaction: Transaction) -> Transaction {
        keys::KeyRing::prepare_destroy(topic, transaction.delete(stream::tally_key(topic)))
    }

    /// Ends the stream of a topic whose destruction is durable: batches that wait are refused, readers are told, blocks
    /// are given up. Can be repeated, also after a restart.
    ///
    /// # Errors
    ///
    /// When the store could not give up the blocks; they are unreadable all the same.
    pub async fn destroyed(&self, topic: TopicId) -> Result<(), AppendError> {
        let cell = self.topics().remove(&topic);
        if let Some(open) = cell.as_ref().and_then(|cell| cell.get()) {
            open.end().await;
        }
        self.0.cache.forget(topic);
        self.0.store.blocks.forget(topic).await?;
        // The salt is deleted; now it also goes from where nothing refers to it.
        self.scrub().await;
        Ok(())
    }

    /// The stream of a topic, which is opened when it is not yet.
    ///
    /// # Errors
    ///
    /// When the topic has been destroyed, or its keys or its extent can't be read.
    pub async fn topic(&self, topic: TopicId, project: ProjectId) -> Result<Topic, OpenError> {
        let cell = self.topics().entry(topic).or_default().clone();
        cell.get_or_try_init(|| Topic::open(self.clone(), topic, project)).await.cloned()
    }

    /// The committed end of a topic that is open, as of now.
    pub fn end_offset(&self, topic: TopicId) -> Option<Offset> {
        self.topics().get(&topic)?.get().map(Topic::end_offset)
    }

    /// Waits until there is room for this many bytes of events that are accepted and not committed. The permit is
    /// given along with the batch. This is what slows publishers down when the disk is slow.
    pub async fn admit(&self, bytes: usize) -> OwnedSemaphorePermit {
        let bytes = u32::try_from(bytes.clamp(1, INFLIGHT_BYTES_MAX)).expect("the limit fits");
        self.0.admission.clone().acquire_many_owned(bytes).await.expect("the semaphore is never closed")
    }

    /// Whether events can be committed, and what is known of topics changed: the error that stopped the store, if one did.
    pub fn health(&self) -> Result<(), HealthError> {
        self.0.store.health()
    }

    /// What the store has counted since it was opened.
    pub fn store_stats(&self) -> Stats {
        self.0.store.blocks.stats()
    }

    /// Takes no more batches, and returns when all that were accepted are answered.
    pub async fn close(&self) {
        self.0.closing.cancel();
        self.0.actors.close();
        self.0.actors.wait().await;
        let open: Vec<Topic> = self.topics().values().filter_map(|cell| cell.get().cloned()).collect();
        for topic in open {
            topic.keep_tally().await;
        }
    }

    fn topics(&self) -> std::sync::MutexGuard<'_, HashMap<TopicId, Arc<OnceCell<Topic>>>> {
        self.0.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod joiner_tests;
#[cfg(test)]
mod keys_tests;
#[cfg(test)]
mod tests;
