//! Going through all segments, and comparing them with the catalogue.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use redb::ReadableTable;

use super::{Known, OfflineStore, VerifiedStore, meta_damage};
use crate::{
    journal::{
        Damage, ExpectedSegment, Frame, FrameEntry, JournalId, SegmentIndex, SegmentKind, SegmentPlace,
        VerifiedSegment, segment_path, verify_segment,
    },
    model::{Time, TopicId},
    store::{
        Block, Extent,
        local::{
            catalogue::{self, grow, range_of},
            database::{Meta, RANGES},
            rows::{FrameCount, RangeRow, SegmentRow, TopicRow},
        },
    },
};

/// How far the segments have been gone through.
pub(super) struct Walk<'a> {
    store: &'a OfflineStore,
    journal: JournalId,
    known: Option<&'a Known>,
    found: &'a mut VerifiedStore,
    /// Where the next segment has to stand.
    next: Option<SegmentPlace>,
    /// What the segments so far have of each topic; known for sure as long as all of them are whole.
    topics: HashMap<TopicId, (Extent, Time)>,
    is_complete: bool,
    /// How many ranges each whole registered segment has to have.
    ranges: BTreeMap<u64, u64>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        store: &'a OfflineStore,
        journal: JournalId,
        known: Option<&'a Known>,
        found: &'a mut VerifiedStore,
    ) -> Walk<'a> {
        Walk {
            store,
            journal,
            known,
            found,
            next: None,
            topics: HashMap::new(),
            is_complete: true,
            ranges: BTreeMap::new(),
        }
    }

    pub(super) fn run(mut self, files: &[u64], look: &mut dyn FnMut(&Block) -> Result<(), String>) {
        let there: BTreeSet<u64> = files.iter().copied().collect();
        let numbers = match self.known {
            None => {
                // Without the catalogue nothing tells in which order compacted segments follow, nor which are left over.
                let (mut numbers, compacted): (Vec<u64>, Vec<u64>) =
                    there.into_iter().partition(|number| SegmentKind::of(*number) == SegmentKind::Written);
                self.is_complete = compacted.is_empty();
                numbers.splice(..0, compacted);
                numbers
            }
            Some(known) => self.in_order(known, there),
        };
        let last = numbers.last().copied();
        let mut compared = false;
        for number in numbers {
            let row = self.known.and_then(|known| known.segments.get(&number));
            if row.is_none() && !compared {
                self.compare_topics();
                compared = true;
            }
            self.segment(number, row, last == Some(number), look);
        }
        self.find_missing(last);
        if let Some(meta) = &self.store.meta
            && self.known.is_some()
            && let Err(error) = self.count_ranges(meta)
        {
            self.found.damage.push(meta_damage(error.to_string()));
        }
        self.found.topics = self.topics.len() as u64;
    }

    /// Registered segments in the order of what they stand for, then the others.
    fn in_order(&mut self, known: &Known, there: BTreeSet<u64>) -> Vec<u64> {
        let active = known.journal.active.number;
        let mut numbers: Vec<u64> = known.segments.keys().copied().collect();
        numbers.sort_by_key(|number| (known.segments[number].first_sequence, *number));
        numbers.push(active);
        for number in there.into_iter().filter(|number| !known.segments.contains_key(number) && *number != active) {
            if known.journal.is_leftover(number) {
                self.found.leftovers.push(segment_path(number));
            } else if SegmentKind::of(number) == SegmentKind::Compacted || number < active {
                self.found.unknown.push(segment_path(number));
            } else {
                numbers.push(number);
            }
        }
        numbers
    }

    fn segment(
        &mut self,
        number: u64,
        row: Option<&SegmentRow>,
        is_last: bool,
        look: &mut dyn FnMut(&Block) -> Result<(), String>,
    ) {
        let state = self.known.map(|known| &known.journal);
        let active = state.map(|state| state.active).filter(|active| active.number == number);
        let expected = ExpectedSegment {
            journal: self.journal,
            number,
            place: match SegmentKind::of(number) {
                SegmentKind::Written => active.or(self.next.take().filter(|next| next.number == number)),
                SegmentKind::Compacted => Some(SegmentPlace::of_compacted(number)),
            },
            is_sealed: row.is_some() || !is_last,
            is_known: row.is_some() || active.is_some() || SegmentKind::of(number) == SegmentKind::Compacted,
            mark: state.and_then(|state| state.mark),
        };
        let (known, found) = (self.known, &mut *self.found);
        let mut look_at = |frame: &Frame| {
            let is_dead = known.is_some_and(|known| known.is_forgotten(frame.head.topic));
            if is_dead {
                found.dead_blocks += 1;
                return Ok(());
            }
            found.blocks += 1;
            found.events += u64::from(frame.head.count);
            look(&Block { head: frame.head.clone(), payload: frame.payload.clone() })
        };
        let mut verified = verify_segment(&self.store.disk, &expected, &mut look_at);
        self.found.segments += 1;
        self.found.bytes += verified.bytes;
        self.found.damage.append(&mut verified.damage);
        self.found.torn = verified.torn.take().or(self.found.torn.take());
        self.next = verified.next.or(self.next.take());
        self.is_complete &= verified.is_whole;
        match row {
            Some(row) => self.compare_segment(number, row, &verified),
            None => verified.frames.iter().for_each(|(topic, entry)| self.grow(number, *topic, entry)),
        }
    }

    fn is_forgotten(&self, topic: TopicId) -> bool {
        self.known.is_some_and(|known| known.is_forgotten(topic))
    }

    /// Takes a block up into what the segments have of its topic.
    fn grow(&mut self, number: u64, topic: TopicId, entry: &FrameEntry) {
        if self.is_forgotten(topic) {
            return;
        }
        let (extent, latest) = self.topics.entry(topic).or_insert((Extent::EMPTY, Time::from_nanos(i64::MIN)));
        if extent.next != entry.base && self.is_complete {
            let what = format!("topic {topic} goes on at offset {} and not at {}", entry.base, extent.next);
            let (file, position) = (segment_path(number), Some(entry.position));
            self.found.damage.push(Damage { file, position, what, events: None });
        }
        grow(extent, latest, entry);
    }

    /// Compares what the catalogue says of a segment with the segment.
    fn compare_segment(&mut self, number: u64, row: &SegmentRow, verified: &VerifiedSegment) {
        if !verified.is_whole {
            for (topic, entry) in &verified.frames {
                self.grow(number, *topic, entry);
            }
            return;
        }
        // Those of a compacted segment say what it stands for, which is not to be seen in the segment.
        let fits = verified.next.is_none_or(|next| next.first_sequence == row.next_sequence);
        if !fits || verified.bytes != row.bytes || !self.counts_fit(row, verified) {
            self.found.damage.push(meta_damage(format!("the row of segment {number} does not fit the segment")));
        }
        let index = SegmentIndex::of(&verified.frames);
        let mut ranges = 0;
        for (topic, entries) in index.topics() {
            if self.is_forgotten(topic) {
                continue;
            }
            for entries in entries.chunk_by(|before, after| before.end() == after.base) {
                ranges += 1;
                for entry in entries {
                    self.grow(number, topic, entry);
                }
                if let Err(what) = self.compare_range(number, topic, entries) {
                    let what = format!("topic {topic} in segment {number}: {what}");
                    self.found.damage.push(meta_damage(what));
                }
            }
        }
        self.ranges.insert(number, ranges);
    }

    fn counts_fit(&self, row: &SegmentRow, verified: &VerifiedSegment) -> bool {
        let index = SegmentIndex::of(&verified.frames);
        let (mut all, mut live) = (FrameCount::default(), FrameCount::default());
        for (topic, entries) in index.topics() {
            let count = FrameCount::of(entries);
            all.add(count);
            if !self.is_forgotten(topic) {
                live.add(count);
            }
        }
        (all, live) == (row.all, row.live)
    }

    fn compare_range(&self, number: u64, topic: TopicId, entries: &[FrameEntry]) -> Result<(), String> {
        let Some(meta) = &self.store.meta else { return Ok(()) };
        let row = catalogue::range_at(meta, topic, entries[0].base).map_err(|error| error.to_string())?;
        let row = row.ok_or("the catalogue has no row for its offsets")?;
        let latest = match self.topics.get(&topic) {
            Some((_, latest)) if self.is_complete => *latest,
            _ => row.latest,
        };
        let is = range_of(number, entries, latest);
        if is == row { Ok(()) } else { Err("the catalogue's row does not fit the blocks".to_owned()) }
    }

    /// Compares the catalogue's topics with the registered segments, all of which have been gone through.
    fn compare_topics(&mut self) {
        let Some(known) = self.known.filter(|_| self.is_complete) else { return };
        let rows = known.topics.iter().filter_map(|(topic, row)| match row {
            TopicRow::Live { extent, latest } => Some((*topic, (*extent, *latest))),
            TopicRow::Forgotten => None,
        });
        let rows: HashMap<TopicId, (Extent, Time)> = rows.collect();
        for (topic, is) in &self.topics {
            if !rows.get(topic).is_some_and(|row| topic_fits(row, is)) {
                let what = format!("the row of topic {topic} does not fit the blocks of the registered segments");
                self.found.damage.push(meta_damage(what));
            }
        }
        for topic in rows.keys().filter(|topic| !self.topics.contains_key(topic)) {
            let what = format!("there is a row of topic {topic}, which has no blocks in the registered segments");
            self.found.damage.push(meta_damage(what));
        }
    }

    /// Whether everything is there that was durable when the journal was closed.
    fn find_missing(&mut self, last: Option<u64>) {
        let mark = self.known.and_then(|known| known.journal.mark);
        let (Some(mark), Some(next), Some(last)) = (mark, self.next, last) else { return };
        if next.first_sequence < mark.next_sequence && self.found.damage.is_empty() {
            let what = format!("frames {} to {} are missing", next.first_sequence, mark.next_sequence - 1);
            self.found.damage.push(Damage { file: segment_path(last), position: None, what, events: None });
        }
    }

    /// Looks for ranges that no segment has.
    fn count_ranges(&mut self, meta: &Meta) -> Result<(), redb::Error> {
        let mut counted: BTreeMap<u64, u64> = BTreeMap::new();
        meta.read(|transaction| {
            for row in transaction.open_table(RANGES)?.iter()? {
                let (key, value) = row?;
                match RangeRow::decode(key.value(), value.value()) {
                    Some(range) => *counted.entry(range.segment).or_default() += 1,
                    None => self.found.damage.push(meta_damage("a row of ranges makes no sense")),
                }
            }
            Ok(())
        })?;
        let known = self.known.map(|known| &known.segments);
        for (number, count) in counted {
            let expected = self.ranges.get(&number).copied();
            let is_registered = known.is_some_and(|segments| segments.contains_key(&number));
            if expected.is_some_and(|expected| expected != count) || !is_registered {
                let what = format!(
                    "the catalogue has {count} ranges in segment {number}, which has {}",
                    expected.unwrap_or(0)
                );
                self.found.damage.push(meta_damage(what));
            }
        }
        Ok(())
    }
}

/// Whether a topic's row fits what the segments have. A joined block tells the latest commit time in it, and the row the last one, which
/// is earlier when the clock was set back in between.
fn topic_fits((row, row_latest): &(Extent, Time), (is, latest): &(Extent, Time)) -> bool {
    let last_fits = match (row.last, is.last) {
        (Some((row, row_time)), Some((id, time))) => row == id && row_time <= time,
        (row, is) => row == is,
    };
    last_fits && row_latest == latest && Extent { last: is.last, ..*row } == *is
}
