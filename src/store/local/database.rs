//! redb over the disk: opening it, and getting over a full disk.

use std::{
    io,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use redb::{Database, ReadTransaction, ReadableDatabase, StorageBackend, TableDefinition, WriteTransaction};

use super::{error::OpenError, overlay::Overlay};
use crate::sys::{Disk, DiskFile};

/// The file of records and catalogue.
pub(super) const META_FILE: &str = "meta.redb";
/// Its name until it has what a journal needs to be opened.
const META_FILE_NEW: &str = "meta.redb.new";

/// How much of the file is kept in memory, in bytes.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

pub(super) type Table = TableDefinition<'static, &'static [u8], &'static [u8]>;

pub(super) const RECORDS: Table = TableDefinition::new("records");
pub(super) const SEGMENTS: Table = TableDefinition::new("segments");
pub(super) const RANGES: Table = TableDefinition::new("ranges");
pub(super) const TOPICS: Table = TableDefinition::new("topics");
pub(super) const STATE: Table = TableDefinition::new("state");

/// A file as redb wants it.
#[derive(Debug)]
struct Backend {
    file: DiskFile,
    /// Set when a sync failed: what the file reads as is not to be trusted any more.
    doubtful: Arc<AtomicBool>,
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    /// Room is set aside as the file grows, so that a full disk shows here, before anything was written, and not in a sync.
    fn set_len(&self, len: u64) -> io::Result<()> {
        if len > self.file.len()? { self.file.allocate(len) } else { self.file.set_len(len) }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data().inspect_err(|_| self.doubtful.store(true, Ordering::SeqCst))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(&[data], offset)
    }
}

fn open(file: DiskFile, doubtful: &Arc<AtomicBool>) -> Result<Database, redb::Error> {
    open_over(Backend { file, doubtful: Arc::clone(doubtful) })
}

fn open_over(backend: impl StorageBackend) -> Result<Database, redb::Error> {
    Ok(Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(backend)?)
}

/// The database of one directory, until it is closed.
#[derive(Debug)]
pub(super) struct Meta {
    disk: Disk,
    doubtful: Arc<AtomicBool>,
    /// Held for reading by whoever uses the database, and for writing to exchange it.
    database: RwLock<Option<Database>>,
}

impl Meta {
    pub(super) fn exists(disk: &Disk) -> io::Result<bool> {
        Ok(disk.list("")?.iter().any(|name| name == META_FILE))
    }

    /// Makes a database with what `fill` puts into it. It has its name, durably, only when it is whole.
    pub(super) fn create(
        disk: &Disk,
        fill: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), OpenError> {
        let file = disk.create(META_FILE_NEW).map_err(OpenError::io("create", META_FILE_NEW))?;
        let make = || -> Result<(), redb::Error> {
            let database = open(file, &Arc::default())?;
            let transaction = begin(&database)?;
            for table in [RECORDS, SEGMENTS, RANGES, TOPICS, STATE] {
                transaction.open_table(table)?;
            }
            fill(&transaction)?;
            Ok(transaction.commit()?)
        };
        make().map_err(OpenError::records("create"))?;
        let renamed = disk.rename(META_FILE_NEW, META_FILE).and_then(|()| disk.sync_dir(""));
        renamed.map_err(OpenError::io("rename", META_FILE_NEW))
    }

    pub(super) fn open(disk: &Disk) -> Result<Meta, OpenError> {
        let file = disk.open(META_FILE).map_err(OpenError::io("open", META_FILE))?;
        let doubtful = Arc::default();
        let database = open(file, &doubtful).map_err(OpenError::records("open"))?;
        Ok(Meta { disk: disk.clone(), doubtful, database: RwLock::new(Some(database)) })
    }

    /// Opens the database for looking at it: its file stays as it is, also when it was not closed. Says whether all its pages fit
    /// their checksums.
    pub(super) fn open_unchanged(disk: &Disk) -> Result<(Meta, bool), OpenError> {
        let io = OpenError::io("open", META_FILE);
        let overlay = disk.open(META_FILE).and_then(Overlay::over).map_err(io)?;
        let mut database = open_over(overlay).map_err(OpenError::records("open"))?;
        let is_intact = database.check_integrity().map_err(|error| OpenError::records("check")(error.into()))?;
        let meta = Meta { disk: disk.clone(), doubtful: Arc::default(), database: RwLock::new(Some(database)) };
        Ok((meta, is_intact))
    }

    /// Looks at what is committed.
    pub(super) fn read<T>(
        &self,
        look: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, redb::Error> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or(redb::Error::DatabaseClosed)?;
        look(&database.begin_read()?)
    }

    /// Changes something; durable when it returns. When there was no room nothing was changed, and there may be room the next
    /// time. After any other error nothing more is changed.
    pub(super) fn write<T>(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, redb::Error> {
        let result = self.try_write(change);
        if let Err(redb::Error::Io(error)) = &result
            && is_no_space(error)
            && !self.doubtful.load(Ordering::SeqCst)
        {
            self.reopen()?;
        }
        result
    }

    fn try_write<T>(&self, change: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>) -> Result<T, redb::Error> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let transaction = begin(database.as_ref().ok_or(redb::Error::DatabaseClosed)?)?;
        let changed = change(&transaction)?;
        transaction.commit()?;
        Ok(changed)
    }

    /// redb refuses everything after an error until it is opened anew.
    fn reopen(&self) -> Result<(), redb::Error> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        drop(database.take());
        *database = Some(open(self.disk.open(META_FILE)?, &self.doubtful)?);
        Ok(())
    }

    pub(super) fn close(&self) {
        drop(self.database.write().unwrap_or_else(PoisonError::into_inner).take());
    }
}

pub(super) fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Begins a transaction after which opening needs no walk through the database, whenever the power fails.
fn begin(database: &Database) -> Result<WriteTransaction, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    Ok(transaction)
}
