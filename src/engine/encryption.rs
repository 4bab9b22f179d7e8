//! What is done to keys while the engine runs: rotation, suspension, revocation, a change of the root key.
//!
//! Invariants: a change is durable before anybody acts on it. When a revocation returns, nothing of the key is left in the
//! records, nor where the records were.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::sync::Mutex;

use super::{
    Engine, Topic,
    error::{KeyChangeError, OpenError},
    keys::{RootChange, SCRUB},
    root::RootKey,
    versions::{KeyState, KeyStatus},
};
use crate::{
    model::{ProjectId, TopicId},
    store::{CompactError, Joiner, KeyUsage, ReadError, RecordError, Transaction},
};

/// Scrubbing in turns: whoever waits while it is done is served by the next turn, together with all others who wait.
#[derive(Debug, Default)]
pub(super) struct Scrubs {
    asked: AtomicU64,
    done: Mutex<u64>,
}

/// Why blocks were not sealed anew.
#[derive(Debug, thiserror::Error)]
enum RewriteError {
    #[error(transparent)]
    Keys(#[from] KeyChangeError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Blocks(#[from] CompactError),
}

/// How long what failed is left alone.
const REWRITE_AGAIN: Duration = Duration::from_mins(1);

impl Engine {
    /// The versions of a project's data key.
    ///
    /// # Errors
    ///
    /// When the records can't be read.
    pub async fn key_status(&self, project: ProjectId) -> Result<KeyStatus, OpenError> {
        self.0.keys.status(project).await
    }

    /// Starts a new version for new blocks, and gives its number. With `rewrite` what is stored is to be sealed anew under it.
    ///
    /// # Errors
    ///
    /// When the records can't be read or written; nothing has changed then.
    pub async fn rotate_key(&self, project: ProjectId, rewrite: bool) -> Result<u32, KeyChangeError> {
        let version = self.0.keys.rotate(project, rewrite).await?;
        self.0.rewrites.notify_one();
        Ok(version)
    }

    /// Has what is to leave its key be sealed anew from now on, whenever that is asked for, and what was not finished in an earlier run.
    pub(super) fn rewrite_in_background(&self, joiner: Joiner) {
        let engine = self.clone();
        self.0.actors.spawn(async move {
            let closing = engine.0.closing.clone();
            closing.run_until_cancelled(engine.rewrite_forever(joiner)).await;
        });
    }

    async fn rewrite_forever(&self, joiner: Joiner) {
        loop {
            match self.rewrite_all(&joiner).await {
                Ok(true) => {}
                Ok(false) => self.0.rewrites.notified().await,
                Err(RewriteError::Blocks(CompactError::Closed)) => return,
                Err(error) => {
                    tracing::warn!(%error, "what is under old data keys stays there for now");
                    self.0.clock.sleep(REWRITE_AGAIN).await;
                }
            }
        }
    }

    /// Seals anew what is to be; says whether there was something to do.
    async fn rewrite_all(&self, joiner: &Joiner) -> Result<bool, RewriteError> {
        let keys = &self.0.keys;
        let wanted = keys.rewrites().await?;
        if wanted.is_empty() {
            return Ok(false);
        }
        for (project, _) in &wanted {
            // The joiner asks for what is known of it.
            keys.follow(*project).await?;
        }
        self.0.store.blocks.rewrite_stale(joiner.clone()).await?;
        for (project, below) in wanted {
            keys.rewritten(project, below).await?;
        }
        Ok(true)
    }

    /// Turns the reading of what is under a version off. Publishing goes on, under the newest one.
    ///
    /// # Errors
    ///
    /// When there is no such version, when it is the newest or has been revoked, or the records can't be written.
    pub async fn suspend_key(&self, project: ProjectId, version: u32) -> Result<(), KeyChangeError> {
        self.0.keys.set_state(project, version, KeyState::Suspended).await?;
        self.forget_version(project, version);
        Ok(())
    }

    /// Turns it on again.
    ///
    /// # Errors
    ///
    /// When there is no such version, when it has been revoked, or the records can't be written.
    pub async fn resume_key(&self, project: ProjectId, version: u32) -> Result<(), KeyChangeError> {
        self.0.keys.set_state(project, version, KeyState::Active).await
    }

    /// Destroys a version's key, for good; with a change of the root key, in one transaction with that.
    ///
    /// # Errors
    ///
    /// When there is no such version, when it is the newest, or the records can't be written. `Changed` when what was prepared for the
    /// change of the root key does not fit any more.
    pub async fn revoke_key(
        &self,
        project: ProjectId,
        version: u32,
        change: Option<&RootChange>,
    ) -> Result<(), KeyChangeError> {
        self.0.keys.revoke(project, version, change).await?;
        self.forget_version(project, version);
        Ok(())
    }

    /// Seals everything that is under the root key under another one.
    ///
    /// # Errors
    ///
    /// When the records can't be read or written; nothing has changed then. `Changed` when what was prepared does not fit any more.
    pub async fn change_root_key(&self, change: &RootChange) -> Result<(), KeyChangeError> {
        self.0.keys.change_root(change).await
    }

    /// The revoked versions that copies of the records from before still have under the root key of today.
    ///
    /// # Errors
    ///
    /// When the records can't be read.
    pub async fn exposed_versions(&self, project: ProjectId) -> Result<Vec<u32>, OpenError> {
        self.0.keys.exposed(project).await
    }

    /// What is stored of some topics under each version.
    ///
    /// # Errors
    ///
    /// When an index can't be read.
    pub async fn key_usage(&self, topics: &[TopicId]) -> Result<BTreeMap<u32, KeyUsage>, ReadError> {
        let mut sum: BTreeMap<u32, KeyUsage> = BTreeMap::new();
        for topic in topics {
            for (version, usage) in self.0.store.blocks.key_usage(*topic).await? {
                sum.entry(version).or_default().add(usage);
            }
        }
        Ok(sum)
    }

    /// The root key. It changes with the engine's.
    pub fn root_key(&self) -> RootKey {
        self.0.keys.root()
    }

    fn forget_version(&self, project: ProjectId, version: u32) {
        let open: Vec<Topic> = self.topics().values().filter_map(|cell| cell.get().cloned()).collect();
        for topic in open.iter().filter(|topic| topic.project() == project) {
            topic.forget_version(version);
        }
    }

    /// Has what was deleted for good go from everywhere in the records' store. It is tried again when the engine is opened the next
    /// time, if it fails.
    pub async fn scrub(&self) {
        let scrubs = &self.0.scrubs;
        let turn = scrubs.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut done = scrubs.done.lock().await;
        if *done >= turn {
            return;
        }
        let together = scrubs.asked.load(Ordering::SeqCst);
        match self.try_scrub().await {
            Ok(()) => *done = together,
            Err(RecordError::Closed) => {}
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "deleted keys are not overwritten yet; this is done at the next start");
            }
        }
    }

    async fn try_scrub(&self) -> Result<(), RecordError> {
        let records = &self.0.store.records;
        let Some(marker) = records.get(SCRUB).await? else { return Ok(()) };
        records.scrub().await?;
        match records.commit(Transaction::new().check(SCRUB, Some(marker.revision)).delete(SCRUB)).await {
            // More was deleted meanwhile, and whoever did that scrubs again.
            Ok(_) | Err(RecordError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
