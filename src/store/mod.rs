//! The seam where storage plugs in: [`Blocks`], the ordered runs of events of each topic, and [`Records`], everything
//! that is kept by key.
//!
//! Invariants: nothing above this module assumes one machine, a file or a local clock. Blocks are opaque: they are
//! compressed and encrypted before they come here, and their heads are plain. Both seams are cheap handles that can be
//! cloned, over a private trait object; every implementation passes the suite in `suite.rs`.
//!
//! What it does not do: decode a block, know a key, interpret a record's value.

mod blocks;
mod join;
mod memory;
mod records;
mod stats;

#[cfg(test)]
mod suite;

pub mod local;

pub use crate::model::BlockHead;
pub use blocks::{AppendError, Block, BlockStore, Blocks, CompactError, Extent, KeyUsage, ReadError};
pub use join::{JoinBlocks, Joiner, joined_head};
pub use records::{Record, RecordError, RecordStore, Records, Revision, Transaction};
pub use stats::{SYNC_BUCKETS_US, Stats};

/// Both seams of one store.
#[derive(Debug, Clone)]
pub struct Store {
    pub blocks: Blocks,
    pub records: Records,
}

/// Why nothing, or not everything, can be stored any more until the store is opened again.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum HealthError {
    #[error(transparent)]
    Blocks(#[from] AppendError),
    #[error(transparent)]
    Records(#[from] RecordError),
}

impl Store {
    /// Whether blocks and records can be stored.
    pub fn health(&self) -> Result<(), HealthError> {
        self.blocks.health()?;
        Ok(self.records.health()?)
    }

    /// A store in plain collections: the model that the others are compared with, and the double for tests above.
    pub fn memory() -> Store {
        Store {
            blocks: Blocks::new(memory::MemoryBlocks::default()),
            records: Records::new(memory::MemoryRecords::default()),
        }
    }
}
