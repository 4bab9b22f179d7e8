//! The store on this machine's disk: the journal for blocks, redb for records and for the catalogue of sealed segments.
//!
//! Five kinds of threads do what may have to wait for the disk. `ensign-journal` takes all blocks that wait, whichever topics they
//! are of, and makes them durable with one write and one sync; meanwhile the next ones gather. `ensign-records` writes
//! to redb, several transactions at one commit. `ensign-read-0` and `-1` read. `ensign-compact` rewrites sealed segments in which much
//! is small or dead, and has the records' thread put them in the place of the old ones.
//!
//! Invariants: an append or a transaction is answered only when it is durable, an append only as durable as
//! [`LocalOptions`] want it. A topic's blocks become durable in the order in
//! which they were appended. Opening reads the catalogue and the headers of the active segment, however much is
//! stored. Lock order: the heads' lock is never held while another one is taken, nor while the disk is waited for.
//!
//! What it does not do: bound how much waits (its callers admit by bytes), decode blocks (whoever wants them joined hands
//! down how).

mod catalogue;
mod committer;
mod compactor;
mod database;
mod error;
mod exchange;
mod heads;
mod intact;
mod overlay;
mod planner;
mod readers;
mod recorder;
mod rewrite;
mod rows;
mod seam;
mod verify;

#[cfg(test)]
mod compaction_tests;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, Condvar, Mutex, mpsc},
    thread::JoinHandle,
};

use tokio::sync::oneshot;

pub use error::{CloseError, OpenError};
pub use verify::{OfflineStore, VerifiedStore, is_store};

use self::{
    catalogue::Catalogue,
    committer::{Committer, Ending},
    compactor::{Compaction, Compactor},
    database::Meta,
    heads::{Heads, Taking},
    readers::{Readers, Segments},
    recorder::{Recorder, Task},
};
use super::{Blocks, Records, Store, stats::Counters};
use crate::{
    journal::{CutTail, JournalId, JournalOptions, JournalWriter, Unregistered, find_orphaned_journal},
    model::{Durability, limits::SEGMENT_BYTES},
    sys::{Clock, Disk, DiskLock, Entropy},
};

/// How many threads read.
const READERS: usize = 2;

/// What a local store can be told.
#[derive(Debug, Clone, Copy)]
pub struct LocalOptions {
    /// The size at which a segment of the journal is sealed, in bytes.
    pub segment_bytes: u64,
    /// What has to be true of a block before it is answered.
    pub durability: Durability,
}

impl Default for LocalOptions {
    fn default() -> LocalOptions {
        LocalOptions { segment_bytes: SEGMENT_BYTES, durability: Durability::Fsync }
    }
}

/// What opening found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// The directory was empty and a new store was made in it.
    pub created: bool,
    /// The torn tail that was cut off the journal.
    pub cut: Option<CutTail>,
    /// How many frames were in segments that the catalogue did not know, the active one included.
    pub frames: usize,
    /// How many sealed segments were registered belatedly.
    pub registered: usize,
    /// Segments in the directory that nothing refers to.
    pub unknown: Vec<String>,
    /// The files that were removed: what was left of a compaction that the end of the process had interrupted.
    pub removed: Vec<String>,
}

/// What the threads share.
#[derive(Debug)]
struct Shared {
    disk: Disk,
    journal: JournalId,
    heads: Mutex<Heads>,
    /// Blocks wait, or the store is being closed.
    arrived: Condvar,
    meta: Meta,
    segments: Segments,
    readers: Readers,
    counters: Counters,
    compaction: Compaction,
}

/// An open store. When it is dropped, what waits is given up, as when the process dies.
#[derive(Debug)]
pub struct LocalStore {
    shared: Arc<Shared>,
    recorder: mpsc::Sender<Task>,
    committer: Option<JoinHandle<()>>,
    /// How the committer ended, and whether that could be noted.
    ended: oneshot::Receiver<(Ending, Result<(), String>)>,
    others: Vec<JoinHandle<()>>,
    _lock: DiskLock,
}

impl LocalStore {
    /// Opens the store in a directory, or makes one if the directory has none.
    pub fn open(
        disk: &Disk,
        clock: &Clock,
        entropy: &Entropy,
        options: LocalOptions,
    ) -> Result<(Store, LocalStore, RecoveryReport), OpenError> {
        let lock = disk.lock()?;
        let journal_options = JournalOptions {
            disk: disk.clone(),
            clock: clock.clone(),
            segment_bytes: options.segment_bytes,
            durability: options.durability,
        };
        let created = !Meta::exists(disk).map_err(OpenError::io("list", "the data directory"))?;
        if created {
            create(&journal_options, JournalId(entropy.bytes()))?;
        }
        // That meta.redb has its name does not tell whether the name is durable.
        disk.sync_dir("").map_err(OpenError::io("sync", "the data directory"))?;
        let meta = Meta::open(disk)?;
        let Catalogue { journal: known, topics, segments } = catalogue::load(&meta)?;
        let recovered = JournalWriter::recover(journal_options, &known)?;
        let mut report = RecoveryReport {
            created,
            cut: recovered.cut,
            registered: recovered.sealed.len(),
            unknown: recovered.unknown,
            removed: recovered.removed,
            frames: 0,
        };
        let mut heads = Heads::new(topics);
        for Unregistered { segment, frames } in recovered.unregistered {
            report.frames += frames.len();
            for (topic, entry) in frames {
                if !heads.recover(&segment, topic, entry) {
                    let what = format!(
                        "{} has offset {} of topic {topic} at byte {}, which does not continue it",
                        segment.path(),
                        entry.base,
                        entry.position
                    );
                    return Err(OpenError::Catalogue { what });
                }
            }
        }
        let shared = Arc::new(Shared {
            disk: disk.clone(),
            journal: known.journal,
            heads: Mutex::new(heads),
            arrived: Condvar::new(),
            meta,
            segments: Segments::default(),
            readers: Readers::default(),
            counters: Counters::default(),
            compaction: Compaction::default(),
        });
        shared.compaction.set_segments(segments);
        let (recorder, tasks) = mpsc::channel();
        for sealed in recovered.sealed {
            drop(recorder.send(Task::Register(sealed)));
        }
        let compactor = Compactor {
            shared: Arc::clone(&shared),
            recorder: recorder.clone(),
            clock: clock.clone(),
            segment_bytes: options.segment_bytes,
            next_number: known.next_compacted,
            removed: known.replaced.into_iter().collect(),
            refused: BTreeSet::new(),
            fresh: BTreeSet::new(),
            pending: None,
        };
        let committer = Committer { shared: Arc::clone(&shared), writer: recovered.writer, recorder };
        let store = LocalStore::start(committer, compactor, tasks, lock)
            .map_err(OpenError::io("start a thread for", "the data directory"))?;
        let seam = seam::Seam { shared, recorder: store.recorder.clone() };
        Ok((Store { blocks: Blocks::new(seam.clone()), records: Records::new(seam) }, store, report))
    }

    fn start(
        committer: Committer,
        compactor: Compactor,
        tasks: mpsc::Receiver<Task>,
        lock: DiskLock,
    ) -> io::Result<LocalStore> {
        let (tell, ended) = oneshot::channel();
        let (shared, recorder) = (Arc::clone(&committer.shared), committer.recorder.clone());
        let mut store = LocalStore {
            shared: Arc::clone(&shared),
            recorder: recorder.clone(),
            committer: None,
            ended,
            others: Vec::new(),
            _lock: lock,
        };
        for number in 0..READERS {
            let shared = Arc::clone(&shared);
            store.others.push(spawn(format!("ensign-read-{number}"), move || shared.readers.run(&shared))?);
        }
        let records = Recorder { shared, tasks, unregistered: Vec::new() };
        store.others.push(spawn("ensign-records".to_owned(), move || records.run())?);
        store.others.push(spawn("ensign-compact".to_owned(), move || compactor.run())?);
        store.committer = Some(spawn("ensign-journal".to_owned(), move || {
            let ending = committer.run();
            let mark = if let Ending::Closed(tail) = &ending { Some(*tail) } else { None };
            let (reply, noted) = oneshot::channel();
            let stopped = recorder.send(Task::Stop(mark, reply)).is_ok();
            let noted = if stopped { noted.blocking_recv().ok() } else { None };
            drop(tell.send((ending, noted.unwrap_or_else(|| Err("its thread has ended".to_owned())))));
        })?);
        Ok(store)
    }

    /// Writes what waits, notes that the store was closed in order, and ends its threads. Blocks and records answer that
    /// the store is closed from then on.
    pub async fn close(mut self) -> Result<(), CloseError> {
        self.stop(Taking::Closing);
        let ended = (&mut self.ended).await;
        self.join();
        match ended {
            Ok((Ending::Closed(_), noted)) => noted.map_err(|message| CloseError::Mark { message }),
            Ok((Ending::Poisoned(source), _)) => Err(CloseError::Poisoned { source }),
            Ok((Ending::Abandoned, _)) | Err(_) => {
                Err(CloseError::Mark { message: "the journal's thread has ended".to_owned() })
            }
        }
    }

    fn stop(&self, taking: Taking) {
        self.shared.compaction.stop();
        let mut heads = self.shared.heads();
        if matches!(heads.taking, Taking::Yes | Taking::Poisoned(_)) {
            heads.taking = taking;
        }
        // Joiners may hold the store, so they are let go of when no lock is held.
        let asked = std::mem::take(&mut heads.asked);
        drop(heads);
        drop(asked);
        self.shared.arrived.notify_all();
    }

    fn join(&mut self) {
        self.shared.readers.close();
        for thread in self.committer.take().into_iter().chain(self.others.drain(..)) {
            // A thread that panicked has said so already.
            drop(thread.join());
        }
    }
}

impl Drop for LocalStore {
    fn drop(&mut self) {
        self.stop(Taking::Abandoned);
        if self.committer.is_none() {
            // It never started, so nobody else stops the recorder.
            drop(self.recorder.send(Task::Stop(None, oneshot::channel().0)));
        }
        self.join();
    }
}

fn spawn(name: String, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name).spawn(work)
}

/// Makes an empty store: first the journal, then the database that knows it, under its name only when it is whole.
fn create(options: &JournalOptions, journal: JournalId) -> Result<(), OpenError> {
    if let Some(file) = find_orphaned_journal(&options.disk)? {
        return Err(OpenError::Orphaned { file });
    }
    JournalWriter::create(options.clone(), journal)?;
    Meta::create(&options.disk, |transaction| catalogue::found(transaction, journal))
}
