//! What a crash leaves of a simulated directory.

use std::{collections::BTreeMap, sync::Arc};

use super::{pages::Pages, parent};
use crate::sys::Entropy;

const SECTOR: usize = 512;

/// What a crash leaves of what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Nothing of it.
    Everything,
    /// All of it, as when only the process dies.
    Nothing,
    /// A choice by this seed: each write kept, lost or torn, each other change kept or lost.
    Some(u64),
}

#[cfg(test)]
impl Loss {
    /// What to try at a crash point: everything lost, everything kept, and so many choices, of which no other point has the
    /// same. `ENSIGN_CRASH_IMAGES` says how many times as many choices are tried.
    #[expect(clippy::disallowed_methods, reason = "how much a test does is no setting of the program")]
    pub(crate) fn at_point(point: usize, choices: u64) -> impl Iterator<Item = Loss> {
        let times = std::env::var("ENSIGN_CRASH_IMAGES").map_or(1, |times| times.parse().expect("a number"));
        let choices: u64 = choices * times;
        let first = point as u64 * choices;
        [Loss::Everything, Loss::Nothing].into_iter().chain((first..first + choices).map(Loss::Some))
    }
}

pub(super) type FileId = usize;

#[derive(Debug, Clone)]
pub(super) enum Step {
    Create { path: String, file: FileId },
    Write { file: FileId, position: u64, bytes: Arc<[u8]> },
    SetLength { file: FileId, len: u64 },
    Sync { file: FileId },
    FailedSync { file: FileId },
    Rename { from: String, to: String, file: FileId },
    Remove { path: String },
    SyncDirectory { dir: String },
}

#[derive(Debug, Clone, Default)]
pub(super) struct Image {
    pub(super) names: BTreeMap<String, FileId>,
    pub(super) files: Vec<Pages>,
}

/// What is durable, and what is not yet, while the steps are gone through again.
pub(super) struct Crash {
    durable: Image,
    waiting: BTreeMap<FileId, Vec<Step>>,
    entries: Vec<Step>,
    fate: Fate,
}

/// Decides what becomes of a step that was not synced.
enum Fate {
    Lost,
    Kept,
    Chosen(Entropy),
}

impl Crash {
    pub(super) fn new(durable: Image, loss: Loss) -> Crash {
        let fate = match loss {
            Loss::Everything => Fate::Lost,
            Loss::Nothing => Fate::Kept,
            Loss::Some(seed) => Fate::Chosen(Entropy::seeded(seed)),
        };
        Crash { durable, waiting: BTreeMap::new(), entries: Vec::new(), fate }
    }

    pub(super) fn step(&mut self, step: &Step) {
        match step {
            Step::Write { file, .. } | Step::SetLength { file, .. } => {
                self.waiting.entry(*file).or_default().push(step.clone());
            }
            Step::Sync { file } => {
                for step in self.waiting.remove(file).unwrap_or_default() {
                    self.durable.apply(&step);
                }
            }
            Step::FailedSync { file } => {
                // The fate of what was written is sealed now: no later sync writes it. Lengths still wait.
                let waiting = self.waiting.remove(file).unwrap_or_default();
                let (written, lengths) = waiting.into_iter().partition(|step| matches!(step, Step::Write { .. }));
                self.waiting.insert(*file, lengths);
                self.meet_fate(written);
            }
            Step::Create { file, .. } => {
                self.durable.files.resize(self.durable.files.len().max(file + 1), Pages::default());
                self.entries.push(step.clone());
            }
            Step::Rename { .. } | Step::Remove { .. } => self.entries.push(step.clone()),
            Step::SyncDirectory { dir } => {
                let (synced, rest) = self.entries.drain(..).partition(|entry| entry.dir() == dir);
                self.entries = rest;
                let synced: Vec<Step> = synced;
                for entry in &synced {
                    self.durable.apply(entry);
                }
            }
        }
    }

    fn meet_fate(&mut self, steps: Vec<Step>) {
        for step in steps {
            match &self.fate {
                Fate::Lost => {}
                Fate::Kept => self.durable.apply(&step),
                Fate::Chosen(entropy) => self.durable.apply_some(&step, entropy),
            }
        }
    }

    pub(super) fn image(mut self) -> Image {
        let entries = std::mem::take(&mut self.entries);
        let waiting = std::mem::take(&mut self.waiting);
        self.meet_fate(entries);
        self.meet_fate(waiting.into_values().flatten().collect());
        self.durable
    }
}

impl Step {
    fn dir(&self) -> &str {
        match self {
            Step::Create { path, .. } | Step::Remove { path } => parent(path),
            Step::Rename { to, .. } => parent(to),
            Step::SyncDirectory { dir } => dir,
            Step::Write { .. } | Step::SetLength { .. } | Step::Sync { .. } | Step::FailedSync { .. } => "",
        }
    }
}

impl Image {
    pub(super) fn apply(&mut self, step: &Step) {
        match step {
            Step::Create { path, file } => drop(self.names.insert(path.clone(), *file)),
            Step::Remove { path } => drop(self.names.remove(path)),
            Step::Rename { from, to, file } => {
                self.names.remove(from);
                self.names.insert(to.clone(), *file);
            }
            Step::Write { file, position, bytes } => self.files[*file].write_at(bytes, *position),
            Step::SetLength { file, len } => self.files[*file].set_len(*len),
            Step::Sync { .. } | Step::FailedSync { .. } | Step::SyncDirectory { .. } => {}
        }
    }

    /// Applies a step or not; of a write, also only some of its sectors.
    fn apply_some(&mut self, step: &Step, entropy: &Entropy) {
        let choice = entropy.number() % 4;
        match step {
            Step::Write { file, position, bytes } if choice >= 2 => {
                let mut done = 0;
                while done < bytes.len() {
                    let at = position + done as u64;
                    let into_sector = usize::try_from(at % SECTOR as u64).expect("less than a sector");
                    let count = (SECTOR - into_sector).min(bytes.len() - done);
                    if entropy.number().is_multiple_of(2) {
                        self.files[*file].write_at(&bytes[done..done + count], at);
                    }
                    done += count;
                }
            }
            _ if choice.is_multiple_of(2) => self.apply(step),
            _ => {}
        }
    }
}
