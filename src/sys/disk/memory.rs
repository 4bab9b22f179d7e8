//! A directory in memory: what an ephemeral server stores in.

use std::{
    collections::BTreeMap,
    io::{self, IoSlice},
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{Held, LockError, Storage, StoredFile, pages::Pages, parent};

#[derive(Debug, Default)]
pub(super) struct MemoryDisk {
    files: Mutex<BTreeMap<String, Arc<MemoryFile>>>,
    locked: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct MemoryFile(Mutex<Pages>);

/// Whether somebody has locked a directory that is in this process's memory; cleared when it is dropped.
#[derive(Debug)]
pub(super) struct Locked(Arc<AtomicBool>);

impl Locked {
    pub(super) fn take(flag: &Arc<AtomicBool>) -> Result<Arc<dyn Held>, LockError> {
        if flag.swap(true, Ordering::SeqCst) {
            return Err(LockError::Held { pid: Some(std::process::id()) });
        }
        Ok(Arc::new(Locked(Arc::clone(flag))))
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl Held for Locked {}

impl MemoryDisk {
    fn files(&self) -> MutexGuard<'_, BTreeMap<String, Arc<MemoryFile>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Storage for MemoryDisk {
    fn create(&self, path: &str) -> io::Result<Arc<dyn StoredFile>> {
        let file = Arc::new(MemoryFile::default());
        self.files().insert(path.to_owned(), Arc::clone(&file));
        Ok(file)
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn StoredFile>> {
        let file = self.files().get(path).cloned().ok_or_else(missing)?;
        Ok(file)
    }

    /// A directory is there as soon as a file is in it.
    fn create_dir(&self, _path: &str) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.files();
        let file = files.remove(from).ok_or_else(missing)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.files().remove(path).map(drop).ok_or_else(missing)
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let names = self.files().keys().filter(|path| parent(path) == dir).map(|path| name(path, dir)).collect();
        Ok(names)
    }

    fn sync_dir(&self, _dir: &str) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self) -> Result<Arc<dyn Held>, LockError> {
        Locked::take(&self.locked)
    }
}

/// A path's part behind its directory.
pub(super) fn name(path: &str, dir: &str) -> String {
    path[dir.len()..].trim_start_matches('/').to_owned()
}

impl MemoryFile {
    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StoredFile for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.pages().len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.pages().set_len(len);
        Ok(())
    }

    /// Room in memory is taken when it is written to.
    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut pages = self.pages();
        if pages.len() < len {
            pages.set_len(len);
        }
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        Ok(self.pages().read_at(buffer, position))
    }

    fn write_at(&self, pieces: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
        Ok(self.pages().write_all_at(pieces, position))
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn next_data(&self, position: u64) -> io::Result<Option<Range<u64>>> {
        Ok(self.pages().next_data(position))
    }
}
