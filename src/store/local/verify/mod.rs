//! Going through a store that nobody uses, without changing it: every segment byte by byte, the database's pages, and
//! whether the catalogue says what the segments have.

mod known;
mod walk;

#[cfg(test)]
mod database_tests;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;

use self::{known::Known, walk::Walk};
use super::{
    database::{META_FILE, Meta},
    error::OpenError,
    recorder::record_error,
    seam,
};
use crate::{
    journal::{CutTail, Damage, find_journal_id, list_segments, segment_path},
    store::{Block, Record, RecordError, RecordStore, Records, Revision, Transaction, blocks::Reply},
    sys::{Disk, DiskLock},
};

/// A store that is looked at and not used.
#[derive(Debug)]
pub struct OfflineStore {
    disk: Disk,
    /// The database, if it can be opened.
    meta: Option<Arc<Meta>>,
    /// What is wrong with it.
    flaws: Vec<Damage>,
    _lock: DiskLock,
}

/// What was found in a store.
#[derive(Debug, Clone, Default)]
pub struct VerifiedStore {
    pub segments: u64,
    /// The segments' lengths together.
    pub bytes: u64,
    /// Intact blocks and their events; those of forgotten topics apart.
    pub blocks: u64,
    pub events: u64,
    pub dead_blocks: u64,
    pub topics: u64,
    pub records: u64,
    /// A tail that a crash has torn, which the next opening cuts off. It was never acked.
    pub torn: Option<CutTail>,
    /// Segments that are left of an interrupted compaction, which the next opening removes.
    pub leftovers: Vec<String>,
    /// Segments that nothing refers to.
    pub unknown: Vec<String>,
    pub damage: Vec<Damage>,
}

/// Whether a directory has anything of a store in it.
pub fn is_store(disk: &Disk) -> Result<bool, OpenError> {
    let has_meta = Meta::exists(disk).map_err(OpenError::io("list", "the data directory"))?;
    Ok(has_meta || !list_segments(disk)?.is_empty())
}

impl OfflineStore {
    /// Takes a directory that nobody else uses.
    ///
    /// # Errors
    ///
    /// When somebody uses it, or it can't be read. Damage is none: it is reported by [`OfflineStore::verify`].
    pub fn open(disk: &Disk) -> Result<OfflineStore, OpenError> {
        let lock = disk.lock()?;
        let mut flaws = Vec::new();
        let exists = Meta::exists(disk).map_err(OpenError::io("list", "the data directory"))?;
        let meta = if exists {
            match Meta::open_unchanged(disk) {
                Ok(meta) => Some(Arc::new(meta)),
                Err(OpenError::Damaged { position, what }) => {
                    flaws.push(Damage { position: Some(position), ..meta_damage(what) });
                    None
                }
                Err(error) => {
                    flaws.push(meta_damage(error.to_string()));
                    None
                }
            }
        } else {
            flaws.push(meta_damage("the file is missing"));
            None
        };
        Ok(OfflineStore { disk: disk.clone(), meta, flaws, _lock: lock })
    }

    /// The records, for reading alone; `None` when the database can't be opened.
    pub fn records(&self) -> Option<Records> {
        self.meta.clone().map(|meta| Records::new(Archive(meta)))
    }

    /// Looks at everything. Each intact block of a topic that was not forgotten is shown to `look`, which says what is
    /// wrong with its payload, if anything is.
    pub fn verify(&self, look: &mut dyn FnMut(&Block) -> Result<(), String>) -> Result<VerifiedStore, OpenError> {
        let mut found = VerifiedStore { damage: self.flaws.clone(), ..VerifiedStore::default() };
        let known = match &self.meta {
            Some(meta) => match Known::load(meta, &mut found) {
                Ok(known) => Some(known),
                Err(error) => {
                    found.damage.push(meta_damage(error.to_string()));
                    None
                }
            },
            None => None,
        };
        let files = list_segments(&self.disk)?;
        let journal = known.as_ref().map(|known| known.journal.journal);
        let Some(journal) = journal.or_else(|| find_journal_id(&self.disk, &files)) else {
            for number in files {
                let what = "the segment's header is not intact".to_owned();
                found.damage.push(Damage { file: segment_path(number), position: Some(0), what, events: None });
            }
            return Ok(found);
        };
        Walk::new(self, journal, known.as_ref(), &mut found).run(&files, look);
        found.damage.sort_by(|a, b| (&a.file, a.position).cmp(&(&b.file, b.position)));
        Ok(found)
    }
}

fn meta_damage(what: impl Into<String>) -> Damage {
    Damage { file: META_FILE.to_owned(), position: None, what: what.into(), events: None }
}

/// The records of a store that is only looked at.
#[derive(Debug)]
struct Archive(Arc<Meta>);

impl RecordStore for Archive {
    fn get(&self, key: Bytes) -> Reply<'_, Result<Option<Record>, RecordError>> {
        let found = seam::get(&self.0, &key).map_err(|error| record_error("read", &error));
        Box::pin(std::future::ready(found))
    }

    fn scan(
        &self,
        prefix: Bytes,
        after: Option<Bytes>,
        limit: usize,
    ) -> Reply<'_, Result<Vec<(Bytes, Record)>, RecordError>> {
        let found = seam::scan(&self.0, &prefix, after.as_deref(), limit);
        Box::pin(std::future::ready(found.map_err(|error| record_error("read", &error))))
    }

    fn commit(&self, _: Transaction) -> Reply<'_, Result<Revision, RecordError>> {
        Box::pin(std::future::ready(Err(RecordError::Closed)))
    }

    fn scrub(&self) -> Reply<'_, Result<(), RecordError>> {
        Box::pin(std::future::ready(Err(RecordError::Closed)))
    }

    fn health(&self) -> Result<(), RecordError> {
        Err(RecordError::Closed)
    }
}
