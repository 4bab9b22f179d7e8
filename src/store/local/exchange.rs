//! The step at which compacted segments take the place of others: rows of the catalogue, changed in one transaction.

use std::collections::BTreeMap;

use redb::{ReadableTable, Table, WriteTransaction};

use super::{
    catalogue::{COMPACTED, corrupted, range_of},
    database::{RANGES, SEGMENTS, STATE, TOPICS},
    rows::{self, FrameCount, RangeRow, SegmentRow, SegmentState, TopicRow},
};
use crate::{
    journal::{Compacted, FrameEntry},
    model::{Offset, Time, TopicId},
    store::Extent,
};

/// Segments that take the place of others.
#[derive(Debug, Clone)]
pub(super) struct Exchange {
    /// Registered segments that follow one another.
    pub(super) old: Vec<u64>,
    /// What takes their place, in order: all frames of theirs that are of topics that are there, or others with the same events.
    pub(super) new: Vec<Compacted>,
    pub(super) level: u8,
}

/// What an exchange changes of a topic's extent: blocks and bytes before and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ExtentChange {
    pub(super) topic: TopicId,
    before: (u64, u64),
    after: (u64, u64),
}

impl ExtentChange {
    pub(super) fn apply(&self, extent: &mut Extent) {
        extent.blocks = (extent.blocks + self.after.0).saturating_sub(self.before.0);
        extent.stored_bytes = (extent.stored_bytes + self.after.1).saturating_sub(self.before.1);
    }
}

type Rows<'a> = Table<'a, &'static [u8], &'static [u8]>;

/// Frames of one topic, segment by segment.
type Pieces<'a> = Vec<(u64, &'a [FrameEntry])>;

/// Carries an exchange out. It is refused, and then changes nothing, when the new segments do not have exactly the events that the old
/// ones have.
pub(super) fn exchange(transaction: &WriteTransaction, exchange: &Exchange) -> Result<Vec<ExtentChange>, redb::Error> {
    let mut segments = transaction.open_table(SEGMENTS)?;
    let mut ranges = transaction.open_table(RANGES)?;
    let mut topics = transaction.open_table(TOPICS)?;
    let (first, next, expected) = retire(&mut segments, &exchange.old)?;
    let mut pieces: BTreeMap<TopicId, Pieces<'_>> = BTreeMap::new();
    for new in &exchange.new {
        for (topic, entries) in new.index.topics() {
            let pieces = pieces.entry(topic).or_default();
            pieces.extend(consecutive(entries).map(|entries| (new.segment.number(), entries)));
        }
    }
    let mut live: BTreeMap<u64, FrameCount> = BTreeMap::new();
    let (mut changes, mut found) = (Vec::new(), 0);
    for (topic, pieces) in pieces {
        let row = topics.get(&topic.as_bytes()[..])?.and_then(|row| TopicRow::decode(row.value()));
        let TopicRow::Live { mut extent, latest } = row.ok_or_else(|| corrupted("topics"))? else {
            continue;
        };
        let old = take_ranges(&mut ranges, topic, &pieces, &exchange.old)?;
        let rows = put_ranges(&mut ranges, topic, &pieces)?;
        let mut counted = FrameCount::default();
        for row in rows {
            live.entry(row.segment).or_default().add(row.count);
            counted.add(row.count);
        }
        let before = (u64::from(old.frames), old.bytes);
        let change = ExtentChange { topic, before, after: (u64::from(counted.frames), counted.bytes) };
        change.apply(&mut extent);
        topics.insert(&topic.as_bytes()[..], &TopicRow::Live { extent, latest }.encode()[..])?;
        found += u64::from(old.frames);
        changes.push(change);
    }
    if found != expected {
        return Err(refused(&format!("{found} frames of {expected} would have a place")));
    }
    add_segments(&mut segments, exchange, (first, next), &live)?;
    if let Some(last) = exchange.new.iter().map(|new| new.segment.number()).max() {
        transaction.open_table(STATE)?.insert(COMPACTED, &rows::encode_compacted(last + 1)[..])?;
    }
    Ok(changes)
}

fn refused(what: &str) -> redb::Error {
    redb::Error::Corrupted(format!("compacted segments do not fit: {what}"))
}

/// Marks segments as replaced; returns which sequences they stand for, and how many frames of theirs are of topics that are there.
fn retire(segments: &mut Rows<'_>, old: &[u64]) -> Result<(u64, u64, u64), redb::Error> {
    let (mut first, mut next, mut frames) = (u64::MAX, 0, 0);
    for number in old {
        let key = &number.to_be_bytes()[..];
        let row = segments.get(key)?.and_then(|row| SegmentRow::decode(row.value()));
        let row = row.filter(|row| row.state != SegmentState::Replaced);
        let row = row.ok_or_else(|| refused(&format!("segment {number} is not registered any more")))?;
        first = first.min(row.first_sequence);
        next = next.max(row.next_sequence);
        frames += u64::from(row.live.frames);
        segments.insert(key, &SegmentRow { state: SegmentState::Replaced, ..row }.encode()[..])?;
    }
    Ok((first, next, frames))
}

/// The pieces of a topic's frames within which offsets are dense.
fn consecutive(entries: &[FrameEntry]) -> impl Iterator<Item = &[FrameEntry]> {
    entries.chunk_by(|before, after| before.end() == after.base)
}

/// Removes the rows of a topic that the pieces take the place of; both have to cover the same offsets.
fn take_ranges(
    ranges: &mut Rows<'_>,
    topic: TopicId,
    pieces: &Pieces<'_>,
    old: &[u64],
) -> Result<FrameCount, redb::Error> {
    let mut spans: Vec<(Offset, Offset)> = Vec::new();
    for (_, entries) in pieces {
        let (base, end) = (entries[0].base, entries[entries.len() - 1].end());
        match spans.last_mut() {
            Some(span) if span.1 == base => span.1 = end,
            _ => spans.push((base, end)),
        }
    }
    let mut count = FrameCount::default();
    for (base, end) in spans {
        let mut expected = base;
        let (from, to) = (rows::range_key(topic, base), rows::range_key(topic, end));
        let mut keys = Vec::new();
        for row in ranges.range(&from[..]..&to[..])? {
            let (key, value) = row?;
            let range = RangeRow::decode(key.value(), value.value()).ok_or_else(|| corrupted("ranges"))?;
            if range.base != expected || !old.contains(&range.segment) {
                break;
            }
            expected = range.end;
            count.add(range.count);
            keys.push(key.value().to_vec());
        }
        if expected != end {
            return Err(refused(&format!("topic {topic} has offsets from {expected} on elsewhere")));
        }
        for key in keys {
            ranges.remove(&key[..])?;
        }
    }
    Ok(count)
}

fn put_ranges(ranges: &mut Rows<'_>, topic: TopicId, pieces: &Pieces<'_>) -> Result<Vec<RangeRow>, redb::Error> {
    let mut rows = Vec::with_capacity(pieces.len());
    for (segment, entries) in pieces {
        let (start, base) = (rows::range_key(topic, Offset::new(0)), rows::range_key(topic, entries[0].base));
        let mut latest = Time::from_nanos(i64::MIN);
        if let Some(row) = ranges.range(&start[..]..&base[..])?.next_back() {
            let (key, value) = row?;
            latest = RangeRow::decode(key.value(), value.value()).ok_or_else(|| corrupted("ranges"))?.latest;
        }
        latest = entries.iter().map(|entry| entry.last_committed).fold(latest, Ord::max);
        let row = range_of(*segment, entries, latest);
        ranges.insert(&base[..], &row.encode()[..])?;
        rows.push(row);
    }
    Ok(rows)
}

/// Registers the new segments; each stands for a part of what the old ones stood for, so that they keep an order.
fn add_segments(
    segments: &mut Rows<'_>,
    exchange: &Exchange,
    (first, next): (u64, u64),
    live: &BTreeMap<u64, FrameCount>,
) -> Result<(), redb::Error> {
    let parts = exchange.new.len() as u64;
    let part = |at: u64| first + (next - first) / parts * at;
    for (at, new) in (0..).zip(&exchange.new) {
        let mut all = FrameCount::default();
        for (_, entries) in new.index.topics() {
            all.add(FrameCount::of(entries));
        }
        let number = new.segment.number();
        let row = SegmentRow {
            state: SegmentState::Compacted,
            level: exchange.level,
            first_sequence: part(at),
            next_sequence: if at + 1 == parts { next } else { part(at + 1) },
            bytes: new.bytes,
            all,
            live: live.get(&number).copied().unwrap_or_default(),
        };
        segments.insert(&number.to_be_bytes()[..], &row.encode()[..])?;
    }
    Ok(())
}

/// Removes the rows of replaced segments whose files are gone.
pub(super) fn forget_replaced(transaction: &WriteTransaction, numbers: &[u64]) -> Result<(), redb::Error> {
    let mut segments = transaction.open_table(SEGMENTS)?;
    for number in numbers {
        segments.remove(&number.to_be_bytes()[..])?;
    }
    Ok(())
}
