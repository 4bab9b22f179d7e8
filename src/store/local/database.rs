//! redb over the disk: opening it, getting over a full disk, and living on without the disk.
//!
//! redb refuses everything, reading too, once something has failed. After a want of room the file is opened again for the next
//! change. After any other failure nothing more is written to it; what it has stays readable, through an overlay
//! that keeps in memory what redb does to put an interrupted commit in order.

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition, WriteTransaction,
};

use super::{error::OpenError, intact, overlay::Overlay};
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

    /// Room is set aside as the file grows, so that a full disk shows here, before anything was written, and not in a sync. It is
    /// durable before the header says that it is there: a file that is shorter than its header says is damaged.
    fn set_len(&self, len: u64) -> io::Result<()> {
        if len <= self.file.len()? {
            return self.file.set_len(len);
        }
        self.file.allocate(len)?;
        self.sync_data()
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

fn open_overlaid(disk: &Disk) -> Result<Database, redb::Error> {
    open_over(Overlay::over(disk.open(META_FILE)?)?)
}

fn open_over(backend: impl StorageBackend) -> Result<Database, redb::Error> {
    Ok(Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(backend)?)
}

/// The database of one directory, until it is closed.
#[derive(Debug)]
pub(super) struct Meta {
    disk: Disk,
    doubtful: Arc<AtomicBool>,
    /// Why nothing is written any more.
    failed: OnceLock<String>,
    /// Held by whoever changes something or exchanges the database, so that nothing is ever written over another one
    /// than the file. Taken before `access`.
    exchange: Mutex<()>,
    /// Held for reading by whoever uses the database, and for writing to exchange it.
    access: RwLock<Access>,
}

/// What the database is open over.
#[derive(Debug)]
enum Access {
    File(Database),
    /// What changes is kept in memory: the file is not written to, for now or any more.
    Overlay(Database),
    /// Not even that could be opened.
    Lost,
    Closed,
}

impl Access {
    fn database(&self) -> Result<&Database, redb::Error> {
        match self {
            Access::File(database) | Access::Overlay(database) => Ok(database),
            Access::Lost => Err(redb::Error::PreviousIo),
            Access::Closed => Err(redb::Error::DatabaseClosed),
        }
    }
}

impl Meta {
    fn new(disk: &Disk, doubtful: Arc<AtomicBool>, access: Access) -> Meta {
        let (exchange, access) = (Mutex::new(()), RwLock::new(access));
        Meta { disk: disk.clone(), doubtful, failed: OnceLock::new(), exchange, access }
    }

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

    /// Opens the database, if all of it is as it was written.
    pub(super) fn open(disk: &Disk) -> Result<Meta, OpenError> {
        let file = disk.open(META_FILE).map_err(OpenError::io("open", META_FILE))?;
        match disk.remove(META_FILE_NEW) {
            // A rewriting that was interrupted. It may hold keys that are deleted by now.
            Ok(()) => disk.sync_dir("").map_err(OpenError::io("sync", "the data directory"))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(OpenError::io("remove", META_FILE_NEW)(error)),
        }
        if let Some((position, byte)) = intact::check(&file)? {
            let written = file.write_all_at(&[&[byte]], position).and_then(|()| file.sync_data());
            written.map_err(OpenError::io("write", META_FILE))?;
        }
        let doubtful = Arc::default();
        let database = open(file, &doubtful).map_err(OpenError::records("open"))?;
        Ok(Meta::new(disk, doubtful, Access::File(database)))
    }

    /// The same for looking at it: its file stays as it is, also when it was not closed.
    pub(super) fn open_unchanged(disk: &Disk) -> Result<Meta, OpenError> {
        let io = OpenError::io("open", META_FILE);
        let file = disk.open(META_FILE).map_err(OpenError::io("open", META_FILE))?;
        let correction = intact::check(&file)?;
        let overlay = Overlay::over(file).and_then(|overlay| {
            if let Some((position, byte)) = correction {
                overlay.write(position, &[byte])?;
            }
            Ok(overlay)
        });
        let database = open_over(overlay.map_err(io)?).map_err(OpenError::records("open"))?;
        Ok(Meta::new(disk, Arc::default(), Access::Overlay(database)))
    }

    /// Looks at what is committed. When the disk fails meanwhile, it looks a second time.
    pub(super) fn read<T>(
        &self,
        mut look: impl FnMut(&ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, redb::Error> {
        let result = self.try_read(&mut look);
        match &result {
            Err(error @ redb::Error::Io(_)) => {
                let _exchanging = self.exchanging();
                self.fail(error);
            }
            // Somebody else met the failure, and decides what it means. One bad place must not take the others with it.
            Err(redb::Error::PreviousIo) => {
                let _exchanging = self.exchanging();
                self.retreat();
            }
            _ => return result,
        }
        self.try_read(&mut look)
    }

    fn try_read<T>(&self, look: &mut impl FnMut(&ReadTransaction) -> Result<T, redb::Error>) -> Result<T, redb::Error> {
        let access = self.access.read().unwrap_or_else(PoisonError::into_inner);
        look(&access.database()?.begin_read()?)
    }

    /// Whether something can be changed: what failed, if something did.
    pub(super) fn health(&self) -> Result<(), &str> {
        self.failed.get().map_or(Ok(()), |message| Err(message))
    }

    /// Changes something; durable when it returns. When there was no room nothing was changed, and there may be room the next
    /// time. After any other error nothing more is changed.
    pub(super) fn write<T>(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, redb::Error> {
        let _exchanging = self.exchanging();
        let error = match self.reopen().and_then(|()| self.try_write(change)) {
            Ok(changed) => return Ok(changed),
            Err(redb::Error::DatabaseClosed) => return Err(redb::Error::DatabaseClosed),
            Err(error) => error,
        };
        if self.can_be_tried_again(&error) {
            self.retreat();
            return Err(error);
        }
        self.fail(&error);
        Err(match error {
            // Its kind would promise that there may be room the next time.
            redb::Error::Io(error) => redb::Error::Io(io::Error::other(error.to_string())),
            other => other,
        })
    }

    fn try_write<T>(&self, change: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>) -> Result<T, redb::Error> {
        let access = self.access.read().unwrap_or_else(PoisonError::into_inner);
        let transaction = begin(access.database()?)?;
        let changed = change(&transaction)?;
        transaction.commit()?;
        Ok(changed)
    }

    /// Writes all that is committed into a new file, which takes the place of the old one: redb leaves what was deleted in pages that
    /// nothing refers to, and keys must not stay there. The old file is overwritten in the end, as far as its file system does that in
    /// place. After a crash there is the old file or the new one. An error before the exchange changes nothing.
    pub(super) fn rewrite(&self) -> Result<(), redb::Error> {
        let _exchanging = self.exchanging();
        self.reopen()?;
        if let Err(error) = self.copy() {
            // It holds what the old one does, and must not stay behind. Opening removes it as well.
            self.disk.remove(META_FILE_NEW).ok();
            return Err(error);
        }
        let old = self.disk.open(META_FILE)?;
        if let Err(error) = self.take_copy() {
            self.fail(&error);
            return Err(redb::Error::Io(io::Error::other(error.to_string())));
        }
        if let Err(error) = overwrite(&old) {
            tracing::warn!(%error, "the old meta.redb is deleted, and was not overwritten before");
        }
        Ok(())
    }

    fn copy(&self) -> Result<(), redb::Error> {
        let access = self.access.read().unwrap_or_else(PoisonError::into_inner);
        let from = access.database()?.begin_read()?;
        let copy = open(self.disk.create(META_FILE_NEW)?, &Arc::default())?;
        let to = begin(&copy)?;
        for table in [RECORDS, SEGMENTS, RANGES, TOPICS, STATE] {
            let (from, mut to) = (from.open_table(table)?, to.open_table(table)?);
            for row in from.iter()? {
                let (key, value) = row?;
                to.insert(key.value(), value.value())?;
            }
        }
        Ok(to.commit()?)
    }

    /// Exchanges the files, and the database that is read from.
    fn take_copy(&self) -> Result<(), redb::Error> {
        let mut access = self.access.write().unwrap_or_else(PoisonError::into_inner);
        // redb must have let go of the file before its name changes hands.
        *access = Access::Lost;
        self.disk.rename(META_FILE_NEW, META_FILE)?;
        self.disk.sync_dir("")?;
        *access = Access::File(open(self.disk.open(META_FILE)?, &self.doubtful)?);
        Ok(())
    }

    /// Whether there was no room, and nothing worse: a sync that fails leaves what nobody knows, for whatever reason.
    fn can_be_tried_again(&self, error: &redb::Error) -> bool {
        matches!(error, redb::Error::Io(error) if is_no_space(error)) && !self.doubtful.load(Ordering::SeqCst)
    }

    /// Goes back to the file after there was no room. With the exchange held.
    fn reopen(&self) -> Result<(), redb::Error> {
        if self.failed.get().is_some() {
            return Err(redb::Error::PreviousIo);
        }
        if !matches!(*self.access.read().unwrap_or_else(PoisonError::into_inner), Access::Overlay(_) | Access::Lost) {
            return Ok(());
        }
        let database = open(self.disk.open(META_FILE)?, &self.doubtful)?;
        *self.access.write().unwrap_or_else(PoisonError::into_inner) = Access::File(database);
        Ok(())
    }

    /// Leaves the file alone. What is in it is still read. With the exchange held.
    fn retreat(&self) {
        let mut access = self.access.write().unwrap_or_else(PoisonError::into_inner);
        // redb must have let go of the file before it is looked at.
        *access = Access::Lost;
        match open_overlaid(&self.disk) {
            Ok(database) => *access = Access::Overlay(database),
            Err(error) => tracing::error!(%error, "meta.redb cannot be read any more"),
        }
    }

    /// Ends all writing.
    fn fail(&self, error: &redb::Error) {
        if self.failed.set(error.to_string()).is_ok() {
            tracing::error!(%error, "meta.redb failed: nothing is written to it any more, restart to recover");
        }
        self.retreat();
    }

    fn exchanging(&self) -> MutexGuard<'_, ()> {
        self.exchange.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn close(&self) {
        *self.access.write().unwrap_or_else(PoisonError::into_inner) = Access::Closed;
    }
}

/// Makes zeros of a file that has no name any more.
fn overwrite(file: &DiskFile) -> io::Result<()> {
    static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
    let len = file.len()?;
    let mut position = 0;
    while position < len {
        let bytes = usize::try_from(len - position).unwrap_or(usize::MAX).min(ZEROS.len());
        file.write_all_at(&[&ZEROS[..bytes]], position)?;
        position += bytes as u64;
    }
    file.sync_data()
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
