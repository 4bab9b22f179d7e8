//! The journal's writer thread: takes all blocks that wait, makes them durable together, and answers.

use std::{
    io,
    sync::{Arc, MutexGuard, PoisonError, mpsc::Sender},
};

use super::{
    Shared,
    heads::{Asked, Heads, Taking, Waiting},
    recorder::Task,
};
use crate::{
    journal::{Frame, Group, JournalWriter, Sealed, Tail, WriteError},
    store::AppendError,
};

/// What the writer does next.
enum Work {
    Append(Vec<Waiting>),
    /// Seals the segment, for those who want it compacted.
    Seal(Vec<Asked>),
}

/// How the writer ended.
#[derive(Debug, Clone)]
pub(super) enum Ending {
    /// In order, with this durable end.
    Closed(Tail),
    /// A write had failed.
    Poisoned(Arc<io::Error>),
    /// It was told to leave what waited.
    Abandoned,
}

#[derive(Debug)]
pub(super) struct Committer {
    pub(super) shared: Arc<Shared>,
    pub(super) writer: JournalWriter,
    pub(super) recorder: Sender<Task>,
}

impl Committer {
    /// Works until the store is closed.
    pub(super) fn run(mut self) -> Ending {
        loop {
            match self.next_work() {
                Ok(Work::Append(waiting)) => self.commit(waiting),
                Ok(Work::Seal(asked)) => self.seal(asked),
                Err(ending) => return ending,
            }
        }
    }

    /// Waits for blocks; takes all there are.
    fn next_work(&mut self) -> Result<Work, Ending> {
        let mut heads = self.shared.heads();
        loop {
            match &heads.taking {
                Taking::Abandoned => {
                    let refused = heads.give_up(&[]);
                    drop(heads);
                    refuse(refused, &AppendError::Closed);
                    return Err(Ending::Abandoned);
                }
                _ if !heads.queue.is_empty() => return Ok(Work::Append(std::mem::take(&mut heads.queue))),
                Taking::Closing => {
                    return Err(match self.writer.sync() {
                        Ok(tail) => Ending::Closed(tail),
                        Err(WriteError::Poisoned { source } | WriteError::NoSpace { source }) => {
                            Ending::Poisoned(source)
                        }
                    });
                }
                _ if !heads.asked.is_empty() => return Ok(Work::Seal(std::mem::take(&mut heads.asked))),
                Taking::Yes | Taking::Poisoned(_) => {
                    heads = self.shared.arrived.wait(heads).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    fn commit(&mut self, mut waiting: Vec<Waiting>) {
        while !waiting.is_empty() {
            // Payloads are counted references, so this copies heads only.
            let frames: Vec<Frame> = waiting.iter().map(|waiting| waiting.frame.clone()).collect();
            match self.writer.append(&frames) {
                Ok(group) => {
                    let behind = waiting.split_off(group.entries.len());
                    self.committed(group, waiting);
                    waiting = behind;
                }
                Err(error) => return self.failed(error, waiting),
            }
        }
    }

    fn committed(&mut self, group: Group, waiting: Vec<Waiting>) {
        let counters = &self.shared.counters;
        counters.group(group.entries.len() as u64, group.bytes, group.sync);
        let mut heads = self.shared.heads();
        let results: Vec<_> = waiting
            .iter()
            .zip(&group.entries)
            .map(|(waiting, entry)| heads.committed(waiting.frame.head.topic, &group.segment, *entry))
            .collect();
        drop(heads);
        if let Some(sealed) = group.sealed {
            self.register(sealed);
        }
        for (waiting, result) in waiting.into_iter().zip(results) {
            // Nobody waits for the answer any more: the block is durable all the same.
            drop(waiting.reply.send(result));
        }
    }

    fn register(&self, sealed: Sealed) {
        self.shared.counters.sealed();
        // Without the recorder nothing is registered, and the next opening does it.
        drop(self.recorder.send(Task::Register(sealed)));
    }

    /// Seals the segment, so that a compaction somebody waits for leaves nothing out. What can't be sealed stays as it is.
    fn seal(&mut self, asked: Vec<Asked>) {
        match self.writer.seal() {
            Ok(sealed) => sealed.into_iter().for_each(|sealed| self.register(sealed)),
            Err(error) => {
                tracing::warn!(%error, "the newest events are not compacted");
                self.failed(error, Vec::new());
            }
        }
        for asked in asked {
            drop(self.recorder.send(Task::Compact(asked)));
        }
    }

    fn failed(&mut self, error: WriteError, waiting: Vec<Waiting>) {
        let mut heads = self.shared.heads();
        let error = match error {
            WriteError::NoSpace { source } => AppendError::NoSpace { source },
            WriteError::Poisoned { source } => {
                if matches!(heads.taking, Taking::Yes) {
                    tracing::error!(error = %source, "the journal cannot be written any more: restart to recover");
                    heads.taking = Taking::Poisoned(Arc::clone(&source));
                }
                AppendError::Poisoned { source: Some(source) }
            }
        };
        // What waits behind continues what is refused here.
        let behind = heads.give_up(&waiting);
        drop(heads);
        refuse(waiting, &error);
        refuse(behind, &error);
    }
}

fn refuse(waiting: Vec<Waiting>, error: &AppendError) {
    for waiting in waiting {
        drop(waiting.reply.send(Err(error.clone())));
    }
}

impl Shared {
    pub(super) fn heads(&self) -> MutexGuard<'_, Heads> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
