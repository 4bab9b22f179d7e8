//! Compacting a data directory that no server uses: everything of a node but its streams, for one job.

use std::time::Duration;

use super::{
    root_key::{self, RootKeyOptions},
    start::StartError,
};
use crate::{
    broker::{Broker, EventForm},
    engine::Engine,
    store::{
        CompactError, Stats,
        local::{CloseError, LocalOptions, LocalStore, RecoveryReport},
    },
    sys::{Clock, Disk, Entropy},
};

/// How often somebody is told how far it is.
const WATCH_EVERY: Duration = Duration::from_millis(100);

/// Why a directory was not compacted. Nothing is lost by it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompactDirectoryError {
    #[error(transparent)]
    Open(#[from] StartError),
    #[error(transparent)]
    Compact(#[from] CompactError),
    #[error(transparent)]
    Close(#[from] CloseError),
}

/// What was done to a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompactedDirectory {
    /// What opening it found and put right.
    pub recovered: RecoveryReport,
    pub stats: Stats,
}

/// Compacts all that is stored, as far as there is something to gain; `watch` is told how far it is. Needs a Tokio runtime.
///
/// # Errors
///
/// When another process holds the directory, when it can't be opened, or could not be written any more.
pub async fn compact_directory(
    disk: &Disk,
    root_key: &RootKeyOptions,
    (clock, entropy): (&Clock, &Entropy),
    mut watch: impl FnMut(&Stats),
) -> Result<CompactedDirectory, CompactDirectoryError> {
    let opened = LocalStore::open(disk, clock, entropy, LocalOptions::default());
    let (store, local, recovered) = opened.map_err(StartError::from)?;
    let root_key = root_key::open(disk, &store.records, root_key, (clock, entropy)).await.map_err(StartError::from)?;
    let engine =
        Engine::open(store.clone(), root_key, clock.clone(), entropy.clone()).await.map_err(StartError::from)?;
    let broker = Broker::open(store.records.clone(), engine.clone(), clock.clone(), entropy.clone(), EventForm::OPAQUE);
    let broker = broker.await.map_err(StartError::from)?;
    // Deletions that were interrupted are finished first, so that what they leave is given up too.
    broker.close().await;
    let mut compaction = std::pin::pin!(broker.compact());
    let compacted = loop {
        tokio::select! {
            compacted = &mut compaction => break compacted,
            () = clock.sleep(WATCH_EVERY) => watch(&engine.store_stats()),
        }
    };
    let stats = engine.store_stats();
    engine.close().await;
    let closed = local.close().await;
    compacted?;
    closed?;
    Ok(CompactedDirectory { recovered, stats })
}
