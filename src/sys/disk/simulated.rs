//! A directory that can lose power and fail.
//!
//! What it simulates, and what software on top of it must survive:
//!
//! - **A crash at any point.** Every operation is recorded, so one run of a workload gives the image of the disk after
//!   a crash behind each of its operations. Of what was not synced by then, each write is there, is not there, or is
//!   there in part, sector by sector (512 bytes), independently of the others and of their order; so is each change of
//!   a length, and each entry of a directory (created, renamed, removed).
//! - **A sync that fails.** What had been written before it is never made durable by a later sync, as with kernels that
//!   mark the pages clean; it may be there after a crash, or not. Until then it is read as if it were. The writer must
//!   not go on as if a second sync had cured it, and who opens the file again must not trust what it reads.
//! - **A write that fails, or writes less than it was asked to**: part of it may be there. **No space**: for room that
//!   is set aside, or for a write. **A read that fails**.
//!
//! Everything follows from the operations and a seed, so a failure is found again with the same seed.

use std::{
    io::{self, IoSlice},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
};

use super::{
    Disk, Held, LockError, Storage, StoredFile,
    crash::{Crash, FileId, Image, Loss, Step},
    memory::{Locked, name},
    pages::Pages,
    parent,
};

/// A simulated directory: the handle by which a test looks behind it.
#[derive(Debug, Clone)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
    locked: Arc<AtomicBool>,
}

/// What can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Create,
    Allocate,
    Read,
    Write,
    SetLength,
    Sync,
    Rename,
    Remove,
    SyncDirectory,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// EIO; of a write, a part is done.
    Io,
    /// ENOSPC; of a write, a part is done.
    NoSpace,
    /// A write that does half of what it was asked to, and says so.
    Short,
}

/// One failure to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    pub on: Operation,
    /// Only under paths that start so.
    pub under: &'static str,
    /// How many such operations go well before.
    pub after: u64,
    pub kind: FaultKind,
}

#[derive(Debug, Default)]
struct State {
    start: Image,
    now: Image,
    /// The path under which each file was created.
    paths: Vec<String>,
    steps: Vec<Step>,
    faults: Vec<Fault>,
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    file: FileId,
}

impl Default for SimulatedDisk {
    fn default() -> SimulatedDisk {
        SimulatedDisk::new()
    }
}

impl SimulatedDisk {
    /// An empty directory.
    pub fn new() -> SimulatedDisk {
        SimulatedDisk::from_image(Image::default())
    }

    fn from_image(image: Image) -> SimulatedDisk {
        let mut paths = vec![String::new(); image.files.len()];
        for (path, file) in &image.names {
            paths[*file].clone_from(path);
        }
        let state = State { start: image.clone(), now: image, paths, ..State::default() };
        SimulatedDisk { state: Arc::new(Mutex::new(state)), locked: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, file: FileId) -> Arc<dyn StoredFile> {
        Arc::new(SimulatedFile { disk: self.clone(), file })
    }

    pub fn disk(&self) -> Disk {
        Disk(Arc::new(self.clone()))
    }

    /// How many operations have been carried out: the point in time that [`SimulatedDisk::crash_after`] understands.
    pub fn operations(&self) -> usize {
        self.state().steps.len()
    }

    /// Another directory, with what is left when the power fails behind the first `operations`.
    #[must_use]
    pub fn crash_after(&self, operations: usize, loss: Loss) -> SimulatedDisk {
        let state = self.state();
        let mut crash = Crash::new(state.start.clone(), loss);
        for step in &state.steps[..operations] {
            crash.step(step);
        }
        SimulatedDisk::from_image(crash.image())
    }

    /// The same, at this point in time.
    #[must_use]
    pub fn crash(&self, loss: Loss) -> SimulatedDisk {
        self.crash_after(self.operations(), loss)
    }

    /// Makes an operation fail, once.
    pub fn fail(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    /// Whether all failures that were asked for have come.
    pub fn all_failed(&self) -> bool {
        self.state().faults.is_empty()
    }

    /// Changes bytes of a file behind everybody's back, as a bad disk does.
    pub fn damage(&self, path: &str, position: u64, bytes: &[u8]) {
        let mut state = self.state();
        let file = state.now.names[path];
        state.now.files[file].write_at(bytes, position);
        state.start = state.now.clone();
        state.steps.clear();
    }
}

fn error(kind: FaultKind) -> io::Error {
    match kind {
        FaultKind::NoSpace => io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error()),
        FaultKind::Io | FaultKind::Short => io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error()),
    }
}

impl State {
    /// The failure that this operation has to meet, if any.
    fn fault(&mut self, on: Operation, path: &str) -> Option<FaultKind> {
        let mut met = None;
        self.faults.retain_mut(|fault| {
            if fault.on != on || !path.starts_with(fault.under) || met.is_some() {
                return true;
            }
            if fault.after > 0 {
                fault.after -= 1;
                return true;
            }
            met = Some(fault.kind);
            false
        });
        met
    }

    fn check(&mut self, on: Operation, path: &str) -> io::Result<()> {
        self.fault(on, path).map_or(Ok(()), |kind| Err(error(kind)))
    }

    fn check_file(&mut self, on: Operation, file: FileId) -> io::Result<()> {
        let path = self.paths[file].clone();
        self.check(on, &path)
    }

    fn find(&self, path: &str) -> io::Result<FileId> {
        self.now.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn record(&mut self, step: Step) {
        self.now.apply(&step);
        self.steps.push(step);
    }
}

impl Storage for SimulatedDisk {
    fn create(&self, path: &str) -> io::Result<Arc<dyn StoredFile>> {
        let mut state = self.state();
        state.check(Operation::Create, path)?;
        let file = state.paths.len();
        state.paths.push(path.to_owned());
        state.now.files.push(Pages::default());
        state.record(Step::Create { path: path.to_owned(), file });
        Ok(self.file(file))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn StoredFile>> {
        let file = self.state().find(path)?;
        Ok(self.file(file))
    }

    /// A directory is there as soon as a file is in it.
    fn create_dir(&self, _path: &str) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.check(Operation::Rename, from)?;
        let file = state.find(from)?;
        state.record(Step::Rename { from: from.to_owned(), to: to.to_owned(), file });
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut state = self.state();
        state.check(Operation::Remove, path)?;
        state.find(path)?;
        state.record(Step::Remove { path: path.to_owned() });
        Ok(())
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let state = self.state();
        Ok(state.now.names.keys().filter(|path| parent(path) == dir).map(|path| name(path, dir)).collect())
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let mut state = self.state();
        state.check(Operation::SyncDirectory, dir)?;
        state.record(Step::SyncDirectory { dir: dir.to_owned() });
        Ok(())
    }

    fn lock(&self) -> Result<Arc<dyn Held>, LockError> {
        Locked::take(&self.locked)
    }
}

impl StoredFile for SimulatedFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state().now.files[self.file].len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.check_file(Operation::SetLength, self.file)?;
        state.record(Step::SetLength { file: self.file, len });
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.check_file(Operation::Allocate, self.file)?;
        if state.now.files[self.file].len() < len {
            state.record(Step::SetLength { file: self.file, len });
        }
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        state.check_file(Operation::Read, self.file)?;
        Ok(state.now.files[self.file].read_at(buffer, position))
    }

    fn write_at(&self, pieces: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        let path = state.paths[self.file].clone();
        let fault = state.fault(Operation::Write, &path);
        let mut bytes: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
        if fault.is_some() {
            bytes.truncate(bytes.len().div_ceil(2));
        }
        let written = bytes.len();
        state.record(Step::Write { file: self.file, position, bytes: bytes.into() });
        match fault {
            None | Some(FaultKind::Short) => Ok(written),
            Some(kind) => Err(error(kind)),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let checked = state.check_file(Operation::Sync, self.file);
        let file = self.file;
        state.record(if checked.is_ok() { Step::Sync { file } } else { Step::FailedSync { file } });
        checked
    }

    fn next_data(&self, position: u64) -> io::Result<Option<Range<u64>>> {
        Ok(self.disk.state().now.files[self.file].next_data(position))
    }
}
