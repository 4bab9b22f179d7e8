//! The machine's own files.
#![expect(clippy::disallowed_types, reason = "this is the one place that touches the machine's files")]

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, IoSlice, Read, Write},
    ops::Range,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{FallocateFlags, FlockOperation, SeekFrom, fallocate, flock, seek},
    io::Errno,
};

use super::{Held, LOCK_FILE, LockError, Storage, StoredFile};

/// How many zeros are written at a time where a file system cannot set room aside.
const ZEROS: usize = 1024 * 1024;

#[derive(Debug)]
pub(super) struct RealDisk {
    root: PathBuf,
}

#[derive(Debug)]
struct RealFile(File);

/// The lock belongs to the open file and goes with it, also when the process dies.
#[derive(Debug)]
struct HeldFile {
    _file: File,
}

impl Held for HeldFile {}

impl RealDisk {
    pub(super) fn open(root: &Path) -> io::Result<RealDisk> {
        DirBuilder::new().recursive(true).mode(0o700).create(root)?;
        Ok(RealDisk { root: root.to_owned() })
    }

    fn path(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(path) }
    }
}

impl Storage for RealDisk {
    fn create(&self, path: &str) -> io::Result<Arc<dyn StoredFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        Ok(Arc::new(RealFile(options.open(self.path(path))?)))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn StoredFile>> {
        let file = OpenOptions::new().read(true).write(true).open(self.path(path))?;
        Ok(Arc::new(RealFile(file)))
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(self.path(path))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        std::fs::remove_file(self.path(path))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(self.path(dir))? {
            // A name that is not text is none of ours.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        File::open(self.path(dir))?.sync_all()
    }

    fn lock(&self) -> Result<Arc<dyn Held>, LockError> {
        let io = |source| LockError::Io { source };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(self.path(LOCK_FILE)).map_err(io)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut text = String::new();
                let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Err(LockError::Held { pid });
            }
            Err(error) => return Err(io(error.into())),
        }
        file.set_len(0).map_err(io)?;
        writeln!(file, "{}", std::process::id()).map_err(io)?;
        Ok(Arc::new(HeldFile { _file: file }))
    }
}

impl StoredFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        match fallocate(&self.0, FallocateFlags::empty(), 0, len) {
            Ok(()) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => return self.write_zeros(len),
            Err(error) => return Err(error.into()),
        }
        // Not every system lengthens the file along with it.
        if self.len()? < len { self.0.set_len(len) } else { Ok(()) }
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.0.read_at(buffer, position)
    }

    fn write_at(&self, pieces: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
        Ok(rustix::io::pwritev(&self.0, pieces, position)?)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn next_data(&self, position: u64) -> io::Result<Option<Range<u64>>> {
        let everything = || {
            let len = self.len()?;
            Ok((position < len).then_some(position..len))
        };
        let start = match seek(&self.0, SeekFrom::Data(position)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(None),
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return everything(),
            Err(error) => return Err(error.into()),
        };
        match seek(&self.0, SeekFrom::Hole(start)) {
            Ok(end) if end > start => Ok(Some(start..end)),
            Ok(_) | Err(Errno::NXIO | Errno::INVAL | Errno::OPNOTSUPP) => everything(),
            Err(error) => Err(error.into()),
        }
    }
}

impl RealFile {
    fn write_zeros(&self, len: u64) -> io::Result<()> {
        let zeros = vec![0; ZEROS];
        let mut position = self.len()?;
        while position < len {
            let count = usize::try_from(len - position).unwrap_or(ZEROS).min(ZEROS);
            self.0.write_all_at(&zeros[..count], position)?;
            position += count as u64;
        }
        Ok(())
    }
}
