//! Writing what is in some segments once more: topic by topic, small frames joined, others copied as they are.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Shared,
    heads::until_bytes,
    planner::{Plan, bytes_of},
    readers::read_error,
    rows::block_size,
};
use crate::{
    journal::{Compacted, CompactedWriter, Frame, FrameEntry, JournalError, Segment, SegmentIndex, remove_segments},
    model::TopicId,
    store::{Block, CompactError, Joiner, join::Gathering},
};

/// How many bytes of frames are read at a time.
const READ_BYTES: usize = 512 * 1024;

/// Why a rewriting came to no end. Nothing of it is left.
#[derive(Debug)]
pub(super) enum RewriteError {
    /// It was told to.
    Stopped,
    /// What was to be rewritten can't be: the reason, and the segment it is in.
    Unfit { number: u64, error: CompactError },
    /// What was to take its place could not be written.
    Failed(CompactError),
}

/// A segment that is rewritten.
struct Input {
    segment: Arc<Segment>,
    index: SegmentIndex,
}

/// Says whether to go on; it waits as long as it has to.
pub(super) type Pace<'a> = &'a mut dyn FnMut() -> bool;

struct Rewriting<'a> {
    shared: &'a Shared,
    joiner: &'a Joiner,
    next_number: u64,
    segment_bytes: u64,
    writer: Option<CompactedWriter>,
    finished: Vec<Compacted>,
    /// Small frames that are to be joined.
    gathered: Vec<Block>,
    gathering: Gathering,
}

/// Writes the segments that can take the place of those of a plan, with numbers from the first one on; they are durable under their
/// names.
pub(super) fn rewrite(
    shared: &Shared,
    joiner: &Joiner,
    plan: &Plan,
    first_number: u64,
    segment_bytes: u64,
    pace: Pace<'_>,
) -> Result<Vec<Compacted>, RewriteError> {
    let mut inputs = Vec::with_capacity(plan.segments.len());
    for number in &plan.segments {
        let opened = Segment::open_sealed(&shared.disk, shared.journal, *number);
        let (segment, index) = opened.map_err(|error| unfit(*number, error))?;
        inputs.push(Input { segment, index });
    }
    let mut rewriting = Rewriting {
        shared,
        joiner,
        next_number: first_number,
        segment_bytes,
        writer: None,
        finished: Vec::new(),
        gathered: Vec::new(),
        gathering: Gathering::default(),
    };
    let written = rewriting.run(&inputs, pace);
    match written {
        Ok(()) => Ok(rewriting.finished),
        Err(error) => {
            // What can't be removed has a number that the next attempt uses again, or the next opening knows.
            let numbers = first_number..rewriting.next_number;
            drop(rewriting);
            if let Err(error) = remove_segments(&shared.disk, numbers) {
                tracing::warn!(%error, "what was left of a compaction stays for now");
            }
            Err(error)
        }
    }
}

fn unfit(number: u64, error: JournalError) -> RewriteError {
    RewriteError::Unfit { number, error: compact_error(error) }
}

fn compact_error(error: JournalError) -> CompactError {
    match error {
        JournalError::Io { action, file, source } => CompactError::Io { action, file, source },
        other => CompactError::Damaged { what: other.to_string() },
    }
}

impl Rewriting<'_> {
    fn run(&mut self, inputs: &[Input], pace: Pace<'_>) -> Result<(), RewriteError> {
        let mut topics: BTreeMap<TopicId, Vec<(&Input, &[FrameEntry])>> = BTreeMap::new();
        for input in inputs {
            for (topic, entries) in input.index.topics() {
                topics.entry(topic).or_default().push((input, entries));
            }
        }
        for (topic, pieces) in topics {
            if self.shared.heads().is_forgotten(topic) {
                continue;
            }
            check_order(&pieces)?;
            self.gathering = Gathering::default();
            for (input, entries) in pieces {
                self.copy(topic, input, entries, pace)?;
            }
            self.flush()?;
        }
        self.finish_segment()
    }

    fn copy(
        &mut self,
        topic: TopicId,
        input: &Input,
        mut entries: &[FrameEntry],
        pace: Pace<'_>,
    ) -> Result<(), RewriteError> {
        while !entries.is_empty() {
            let count = until_bytes(entries.iter().copied(), READ_BYTES).len();
            let (these, behind) = entries.split_at(count);
            entries = behind;
            let (frames, unreadable) = input.segment.read(topic, these);
            if let Some(unreadable) = unreadable {
                let what = read_error(topic, unreadable).to_string();
                let error = CompactError::Damaged { what };
                return Err(RewriteError::Unfit { number: input.segment.number(), error });
            }
            for (frame, entry) in frames.into_iter().zip(these) {
                self.shared.counters.compacting(bytes_of(1, entry.stored_bytes.into()));
                self.take(frame, entry)?;
            }
            if !pace() {
                return Err(RewriteError::Stopped);
            }
        }
        Ok(())
    }

    fn take(&mut self, frame: Frame, entry: &FrameEntry) -> Result<(), RewriteError> {
        if !self.gathering.take(block_size(entry)) {
            self.flush()?;
        }
        self.gathered.push(Block { head: frame.head, payload: frame.payload });
        Ok(())
    }

    /// Writes what is gathered, joined if it is several blocks.
    fn flush(&mut self) -> Result<(), RewriteError> {
        let blocks = self.joiner.join(std::mem::take(&mut self.gathered));
        blocks.into_iter().try_for_each(|block| self.write(&Frame { head: block.head, payload: block.payload }))
    }

    fn write(&mut self, frame: &Frame) -> Result<(), RewriteError> {
        let is_full = |writer: &CompactedWriter| writer.bytes_with(frame.bytes()) > self.segment_bytes;
        if self.writer.as_ref().is_some_and(is_full) {
            self.finish_segment()?;
        }
        if self.writer.is_none() {
            let number = self.next_number;
            self.next_number += 1;
            let created = CompactedWriter::create(&self.shared.disk, self.shared.journal, number);
            self.writer = Some(created.map_err(failed)?);
        }
        let writer = self.writer.as_mut().expect("a writer was made if there was none");
        writer.append(frame).map_err(failed)
    }

    fn finish_segment(&mut self) -> Result<(), RewriteError> {
        if let Some(writer) = self.writer.take() {
            self.finished.push(writer.finish().map_err(failed)?);
        }
        Ok(())
    }
}

fn failed(error: JournalError) -> RewriteError {
    RewriteError::Failed(compact_error(error))
}

/// Only what follows one another can take one place.
fn check_order(pieces: &[(&Input, &[FrameEntry])]) -> Result<(), RewriteError> {
    let mut end = None;
    for (input, entries) in pieces {
        for entry in *entries {
            if end.is_some_and(|end| end != entry.base) {
                let number = input.segment.number();
                let what = format!("{} does not continue the segments before it", input.segment.path());
                return Err(RewriteError::Unfit { number, error: CompactError::Damaged { what } });
            }
            end = Some(entry.end());
        }
    }
    Ok(())
}
