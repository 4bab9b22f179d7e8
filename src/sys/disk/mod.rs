//! A directory with files, read and written by position: the machine's, one in memory, or a simulated one.
//!
//! Paths are relative to the root, with `/` between their parts. Nothing is durable until it was synced: a file's
//! content and length by [`DiskFile::sync_data`], that it is there under its name by [`Disk::sync_dir`]. What a crash
//! may leave of the rest is in docs/format.md, section 1, and [`SimulatedDisk`] leaves the worst of it.

mod crash;
mod memory;
mod pages;
mod real;
mod simulated;

use std::{
    fmt,
    io::{self, IoSlice},
    ops::Range,
    path::Path,
    sync::Arc,
};

pub use crash::Loss;
pub use simulated::{Fault, FaultKind, Operation, SimulatedDisk};

/// The name of the file that a process holds locked while it uses a directory.
pub const LOCK_FILE: &str = "LOCK";

/// What an implementation provides of a directory. Callers use [`Disk`].
trait Storage: Send + Sync + fmt::Debug {
    fn create(&self, path: &str) -> io::Result<Arc<dyn StoredFile>>;
    fn open(&self, path: &str) -> io::Result<Arc<dyn StoredFile>>;
    fn create_dir(&self, path: &str) -> io::Result<()>;
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    fn remove(&self, path: &str) -> io::Result<()>;
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;
    fn sync_dir(&self, dir: &str) -> io::Result<()>;
    fn lock(&self) -> Result<Arc<dyn Held>, LockError>;
}

/// What an implementation provides of a file. Callers use [`DiskFile`].
trait StoredFile: Send + Sync + fmt::Debug {
    fn len(&self) -> io::Result<u64>;
    fn set_len(&self, len: u64) -> io::Result<()>;
    fn allocate(&self, len: u64) -> io::Result<()>;
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;
    fn write_at(&self, pieces: &[IoSlice<'_>], position: u64) -> io::Result<usize>;
    fn sync_data(&self) -> io::Result<()>;
    fn next_data(&self, position: u64) -> io::Result<Option<Range<u64>>>;
}

/// What ends when it is dropped.
trait Held: Send + Sync + fmt::Debug {}

/// A directory. Clones share it.
#[derive(Debug, Clone)]
pub struct Disk(Arc<dyn Storage>);

/// An open file. Clones share it; it stays readable when its name is gone.
#[derive(Debug, Clone)]
pub struct DiskFile(Arc<dyn StoredFile>);

/// The right to use a directory alone; given up when it is dropped.
#[derive(Debug)]
pub struct DiskLock {
    _held: Arc<dyn Held>,
}

/// Why a directory could not be locked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    #[error("the directory is in use{}", by(*.pid))]
    Held {
        /// Who holds it, where that can be told.
        pid: Option<u32>,
    },
    #[error("could not lock the directory")]
    Io {
        #[source]
        source: io::Error,
    },
}

fn by(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" by process {pid}")).unwrap_or_default()
}

impl Disk {
    /// The machine's own directory; it is made, for its owner alone, if it is not there.
    pub fn real(root: &Path) -> io::Result<Disk> {
        Ok(Disk(Arc::new(real::RealDisk::open(root)?)))
    }

    /// A directory in memory. What is dropped is gone.
    pub fn memory() -> Disk {
        Disk(Arc::new(memory::MemoryDisk::default()))
    }

    /// Takes the directory for this process alone.
    pub fn lock(&self) -> Result<DiskLock, LockError> {
        Ok(DiskLock { _held: self.0.lock()? })
    }

    /// Makes an empty file, also where one was.
    pub fn create(&self, path: &str) -> io::Result<DiskFile> {
        self.0.create(path).map(DiskFile)
    }

    pub fn open(&self, path: &str) -> io::Result<DiskFile> {
        self.0.open(path).map(DiskFile)
    }

    /// Makes a directory if it is not there.
    pub fn create_dir(&self, path: &str) -> io::Result<()> {
        self.0.create_dir(path)
    }

    /// Renames a file, over the one that has the name now, if any.
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    pub fn remove(&self, path: &str) -> io::Result<()> {
        self.0.remove(path)
    }

    /// The names of what is in a directory, in order; `""` is the root.
    pub fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let mut names = self.0.list(dir)?;
        names.sort_unstable();
        Ok(names)
    }

    /// Makes durable which files a directory has; `""` is the root.
    pub fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.0.sync_dir(dir)
    }
}

#[expect(clippy::len_without_is_empty, reason = "whether a file is empty is never asked")]
impl DiskFile {
    /// The length in bytes.
    pub fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    /// Cuts the file, or lengthens it with zeros.
    pub fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    /// Lengthens the file to `len` zeros, with room for them on the disk, so that writing there cannot fail for want of
    /// it.
    pub fn allocate(&self, len: u64) -> io::Result<()> {
        self.0.allocate(len)
    }

    /// Reads as many bytes as there are, up to the length of the buffer; returns how many.
    pub fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut read = 0;
        while read < buffer.len() {
            match self.0.read_at(&mut buffer[read..], position + read as u64) {
                Ok(0) => break,
                Ok(bytes) => read += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    /// Fills the buffer, or fails with `UnexpectedEof` when the file ends before.
    pub fn read_exact_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()> {
        if self.read_at(buffer, position)? < buffer.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// Writes all the pieces behind one another.
    pub fn write_all_at(&self, pieces: &[&[u8]], mut position: u64) -> io::Result<()> {
        let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let mut rest = &mut slices[..];
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            // More pieces than this are refused by the kernel (IOV_MAX).
            match self.0.write_at(&rest[..rest.len().min(1024)], position) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => {
                    position += bytes as u64;
                    IoSlice::advance_slices(&mut rest, bytes);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Makes the content durable, and the length.
    pub fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    /// The ranges, from a position on, that can have anything but zeros. A system that does not keep track of them
    /// answers with all there is. (To be asked for before they are read: reading may make a kernel forget what it never
    /// had to store.)
    pub fn data(&self, mut position: u64) -> io::Result<Vec<Range<u64>>> {
        let mut ranges = Vec::new();
        while let Some(range) = self.0.next_data(position)? {
            position = range.end;
            ranges.push(range);
        }
        Ok(ranges)
    }
}

/// The part of a path before its last `/`; empty for what is in the root.
fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

#[cfg(test)]
mod tests;
