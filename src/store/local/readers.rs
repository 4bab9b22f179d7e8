//! The threads that read: whatever may have to wait for the disk runs there, never on a task's worker.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    fmt,
    sync::{Arc, Condvar, Mutex, PoisonError},
};

use super::{
    Shared, catalogue,
    heads::{Target, Whereabouts, until_bytes},
    rows::RangeRow,
};
use crate::{
    journal::{FrameEntry, JournalError, Segment, SegmentIndex, UnreadableFrame},
    model::{Offset, TopicId},
    store::{Block, KeyUsage, ReadError},
};

/// How much memory the indexes of sealed segments may take, in bytes.
const INDEX_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How many sealed segments are held open.
const SEGMENTS_MAX: usize = 64;

/// Frames of one segment.
type Found = (Arc<Segment>, Vec<FrameEntry>);

type Job = Box<dyn FnOnce(&Shared) + Send>;

/// What waits to be read.
#[derive(Default)]
pub(super) struct Readers {
    jobs: Mutex<Jobs>,
    arrived: Condvar,
}

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    closed: bool,
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readers").finish_non_exhaustive()
    }
}

impl Readers {
    /// Has something done by a reader thread. It is dropped when the store is closed.
    pub(super) fn submit(&self, job: impl FnOnce(&Shared) + Send + 'static) {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        if !jobs.closed {
            jobs.waiting.push_back(Box::new(job));
            self.arrived.notify_one();
        }
    }

    pub(super) fn close(&self) {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.closed = true;
        jobs.waiting.clear();
        self.arrived.notify_all();
    }

    /// Works until the store is closed.
    pub(super) fn run(&self, shared: &Shared) {
        loop {
            let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
            let job = loop {
                if jobs.closed {
                    return;
                }
                match jobs.waiting.pop_front() {
                    Some(job) => break job,
                    None => jobs = self.arrived.wait(jobs).unwrap_or_else(PoisonError::into_inner),
                }
            };
            drop(jobs);
            job(shared);
        }
    }
}

/// Sealed segments that are open, with their indexes; the one that was not used for longest goes first.
#[derive(Debug, Default)]
pub(super) struct Segments {
    open: Mutex<OpenSegments>,
}

#[derive(Debug, Default)]
struct OpenSegments {
    by_number: HashMap<u64, OpenSegment>,
    bytes: usize,
    uses: u64,
    /// Segments that were replaced. They must not come back, or their room would not.
    gone: HashSet<u64>,
}

#[derive(Debug)]
struct OpenSegment {
    segment: Arc<Segment>,
    index: Arc<SegmentIndex>,
    used: u64,
}

impl Segments {
    fn get(&self, number: u64) -> Option<(Arc<Segment>, Arc<SegmentIndex>)> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.uses += 1;
        let uses = open.uses;
        let found = open.by_number.get_mut(&number)?;
        found.used = uses;
        Some((Arc::clone(&found.segment), Arc::clone(&found.index)))
    }

    /// Forgets segments that were replaced. Whoever reads from one at this moment holds it until then.
    pub(super) fn remove(&self, numbers: &[u64]) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for number in numbers {
            let gone = open.by_number.remove(number);
            open.bytes -= gone.map_or(0, |gone| gone.index.memory_bytes());
            open.gone.insert(*number);
        }
    }

    pub(super) fn insert(&self, segment: Arc<Segment>, index: Arc<SegmentIndex>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.gone.contains(&segment.number()) {
            return;
        }
        open.uses += 1;
        open.bytes += index.memory_bytes();
        let entry = OpenSegment { used: open.uses, segment, index };
        if let Some(before) = open.by_number.insert(entry.segment.number(), entry) {
            open.bytes -= before.index.memory_bytes();
        }
        while open.by_number.len() > 1 && (open.by_number.len() > SEGMENTS_MAX || open.bytes > INDEX_BYTES_MAX) {
            let oldest = open.by_number.values().min_by_key(|entry| entry.used).map(|entry| entry.segment.number());
            let gone = oldest.and_then(|number| open.by_number.remove(&number));
            open.bytes -= gone.map_or(0, |gone| gone.index.memory_bytes());
        }
    }
}

impl Shared {
    /// The sealed segment and its index, from the cache or the disk.
    fn sealed(&self, number: u64) -> Result<(Arc<Segment>, Arc<SegmentIndex>), JournalError> {
        if let Some(open) = self.segments.get(number) {
            return Ok(open);
        }
        let (segment, index) = Segment::open_sealed(&self.disk, self.journal, number)?;
        let index = Arc::new(index);
        self.segments.insert(Arc::clone(&segment), Arc::clone(&index));
        Ok((segment, index))
    }

    /// The durable blocks from an offset on. When one of them is damaged, those before it; when it is the first, why.
    pub(super) fn read(&self, topic: TopicId, from: Offset, bytes_max: usize) -> Result<Vec<Block>, ReadError> {
        let (mut blocks, mut bytes, mut from) = (Vec::new(), 0, from);
        loop {
            let whereabouts = self.heads().find(topic, from, bytes_max.saturating_sub(bytes));
            let (segment, entries) = match whereabouts {
                Whereabouts::Recent(segment, entries) => (segment, entries),
                Whereabouts::Nowhere => return Ok(blocks),
                Whereabouts::Catalogued => match self.catalogued(topic, from, bytes_max.saturating_sub(bytes)) {
                    Ok(Some(found)) => found,
                    Ok(None) => return Ok(blocks),
                    Err(_) if !blocks.is_empty() => return Ok(blocks),
                    Err(error) => return Err(error),
                },
            };
            if !blocks.is_empty() && entries.first().is_some_and(|entry| entry.base < from) {
                // Blocks were joined meanwhile, and this one begins before the end of the last.
                return Ok(blocks);
            }
            let (frames, unreadable) = segment.read(topic, &entries);
            for frame in frames {
                bytes += frame.payload.len().max(1);
                from = frame.head.end();
                blocks.push(Block { head: frame.head, payload: frame.payload });
            }
            match unreadable {
                Some(unreadable) if blocks.is_empty() => return Err(read_error(topic, unreadable)),
                None if bytes < bytes_max => {}
                _ => return Ok(blocks),
            }
        }
    }

    /// What a topic has under each version of its key, by the indexes alone.
    pub(super) fn key_usage(&self, topic: TopicId) -> Result<BTreeMap<u32, KeyUsage>, ReadError> {
        let mut usage: BTreeMap<u32, KeyUsage> = BTreeMap::new();
        let mut from = Offset::FIRST;
        loop {
            let whereabouts = self.heads().find(topic, from, usize::MAX);
            let entries = match whereabouts {
                Whereabouts::Recent(_, entries) => entries,
                Whereabouts::Nowhere => return Ok(usage),
                Whereabouts::Catalogued => match self.catalogued(topic, from, usize::MAX)? {
                    Some((_, entries)) => entries,
                    None => return Ok(usage),
                },
            };
            let Some(end) = entries.last().map(FrameEntry::end) else { return Ok(usage) };
            // What was joined meanwhile may begin before; its events are counted once, its bytes as a whole.
            for entry in &entries {
                let again = u32::try_from(from.distance_from(entry.base)).unwrap_or(u32::MAX);
                let events = if entry.base < from { entry.count.saturating_sub(again) } else { entry.count };
                usage.entry(entry.key_version).or_default().add_block(events, entry.stored_bytes.into());
            }
            from = end;
        }
    }

    /// The blocks from an offset on that are in the sealed segment that has it; `None` when the topic has been forgotten.
    fn catalogued(&self, topic: TopicId, from: Offset, bytes_max: usize) -> Result<Option<Found>, ReadError> {
        let from = from.max(self.heads().extent(topic).first);
        let unreadable = |source| read_error(topic, UnreadableFrame { first: from, last: from, source });
        let Some(range) = catalogue::range_at(&self.meta, topic, from).map_err(|error| meta_error(&error))? else {
            if matches!(self.heads().find(topic, from, 1), Whereabouts::Nowhere) {
                return Ok(None);
            }
            let what = "no segment is known for these offsets".to_owned();
            return Err(unreadable(JournalError::Damaged { file: "meta.redb".to_owned(), position: 0, what }));
        };
        let (segment, index) = match self.sealed(range.segment) {
            // Segments were exchanged between the two looks, and the topic is elsewhere now.
            Err(JournalError::Missing { .. }) if self.has_moved(topic, &range) => {
                return self.catalogued(topic, from, bytes_max);
            }
            sealed => sealed.map_err(|source| range_error(topic, &range, source))?,
        };
        let entries = index.topic(topic);
        let at = entries.partition_point(|entry| entry.end() <= from);
        let behind = entries[at..].iter().take_while(|entry| entry.base < range.end);
        let entries = until_bytes(behind.copied(), bytes_max);
        if entries.is_empty() {
            let what = "the segment's index does not have these offsets".to_owned();
            return Err(unreadable(JournalError::Damaged { file: segment.path().to_owned(), position: 0, what }));
        }
        Ok(Some((segment, entries)))
    }

    /// Whether the catalogue does not name the segment of a range for it any more.
    fn has_moved(&self, topic: TopicId, range: &RangeRow) -> bool {
        let now = catalogue::range_at(&self.meta, topic, range.base);
        now.is_ok_and(|now| now.is_none_or(|now| now.segment != range.segment))
    }

    /// The base of the first block that has reached the target, or the topic's end.
    pub(super) fn seek(&self, topic: TopicId, target: Target) -> Result<Offset, ReadError> {
        let search = self.heads().search(topic, target);
        let found = catalogue::first_range_that(&self.meta, topic, search.catalogued, |range| {
            target.reached(range.last_rlid, range.latest)
        });
        let Some(range) = found.map_err(|error| meta_error(&error))? else {
            return Ok(search.otherwise);
        };
        let (_, index) = match self.sealed(range.segment) {
            Err(JournalError::Missing { .. }) if self.has_moved(topic, &range) => return self.seek(topic, target),
            sealed => sealed.map_err(|source| range_error(topic, &range, source))?,
        };
        let mut entries = index.topic(topic).iter().filter(|entry| entry.base >= range.base);
        let entry = entries.find(|entry| target.reached(entry.last_rlid, entry.last_committed));
        Ok(entry.map_or(range.base, |entry| entry.base))
    }
}

fn range_error(topic: TopicId, range: &RangeRow, source: JournalError) -> ReadError {
    let last = Offset::new(range.end.get().saturating_sub(1));
    read_error(topic, UnreadableFrame { first: range.base, last, source })
}

fn meta_error(error: &redb::Error) -> ReadError {
    match error {
        redb::Error::DatabaseClosed => ReadError::Closed,
        other => {
            ReadError::Io { place: "meta.redb".to_owned(), source: Arc::new(std::io::Error::other(other.to_string())) }
        }
    }
}

pub(super) fn read_error(topic: TopicId, unreadable: UnreadableFrame) -> ReadError {
    let UnreadableFrame { first, last, source } = unreadable;
    match source {
        JournalError::Io { file, source, .. } => ReadError::Io { place: file, source },
        JournalError::Damaged { file, position, what } => {
            ReadError::Damaged { topic, first, last, place: format!("{file} at byte {position}"), what }
        }
        JournalError::Missing { ref file }
        | JournalError::Unsealed { ref file }
        | JournalError::Version { ref file, .. } => {
            ReadError::Damaged { topic, first, last, place: file.clone(), what: source.to_string() }
        }
    }
}
