//! The catalogue: which sealed segments hold which offsets of which topic. Rows in redb, changed in transactions.

use std::collections::{BTreeMap, BTreeSet};

use redb::{AccessGuard, ReadTransaction, ReadableTable, WriteTransaction};

use super::{
    database::{Meta, RANGES, SEGMENTS, STATE, TOPICS},
    error::OpenError,
    rows::{self, FrameCount, RangeRow, SegmentRow, SegmentState, TopicRow},
};
use crate::{
    journal::{FIRST_COMPACTED, FrameEntry, JournalId, KnownJournal, Sealed, SegmentPlace, Tail},
    model::{Offset, Time, TopicId},
    store::Extent,
};

const JOURNAL: &[u8] = b"journal";
const ACTIVE: &[u8] = b"active";
const MARK: &[u8] = b"mark";
pub(super) const COMPACTED: &[u8] = b"compacted";

/// What opening needs to know.
#[derive(Debug)]
pub(super) struct Catalogue {
    pub(super) journal: KnownJournal,
    pub(super) topics: Vec<(TopicId, TopicRow)>,
    pub(super) segments: Segments,
}

/// The rows of all registered segments, replaced ones among them, by number.
pub(super) type Segments = BTreeMap<u64, SegmentRow>;

pub(super) fn corrupted(what: &str) -> redb::Error {
    redb::Error::Corrupted(format!("a row of {what} makes no sense"))
}

/// Writes the rows of a journal with one segment.
pub(super) fn found(transaction: &WriteTransaction, journal: JournalId) -> Result<(), redb::Error> {
    let mut state = transaction.open_table(STATE)?;
    state.insert(JOURNAL, &rows::encode_journal(journal)[..])?;
    state.insert(ACTIVE, &rows::encode_place(SegmentPlace::FIRST)[..])?;
    Ok(())
}

pub(super) fn load(meta: &Meta) -> Result<Catalogue, OpenError> {
    let loaded = meta.read(|transaction| {
        let state = transaction.open_table(STATE)?;
        let get = |name: &[u8]| -> Result<Option<Vec<u8>>, redb::Error> {
            Ok(state.get(name)?.map(|value| value.value().to_vec()))
        };
        let segments = all_segments(transaction)?;
        let mut topics = Vec::new();
        for row in transaction.open_table(TOPICS)?.iter()? {
            let (key, value) = row?;
            let topic = rows::topic_of_key(key.value()).zip(TopicRow::decode(value.value()));
            topics.push(topic.ok_or_else(|| corrupted("topics"))?);
        }
        let mark = match get(MARK)? {
            Some(mark) => Some(rows::decode_mark(&mark).ok_or_else(|| corrupted("state"))?),
            None => None,
        };
        let journal = get(JOURNAL)?.and_then(|row| rows::decode_journal(&row));
        let active = get(ACTIVE)?.and_then(|row| rows::decode_place(&row));
        let (journal, active) = journal.zip(active).ok_or_else(|| corrupted("state"))?;
        let next_compacted = match get(COMPACTED)? {
            Some(row) => rows::decode_compacted(&row).ok_or_else(|| corrupted("state"))?,
            None => FIRST_COMPACTED,
        };
        let numbers = |replaced: bool| -> BTreeSet<u64> {
            let found = segments.iter().filter(|(_, row)| (row.state == SegmentState::Replaced) == replaced);
            found.map(|(number, _)| *number).collect()
        };
        let (sealed, replaced) = (numbers(false), numbers(true));
        let journal = KnownJournal { journal, sealed, replaced, next_compacted, active, mark };
        Ok(Catalogue { journal, topics, segments })
    });
    loaded.map_err(|error| match error {
        redb::Error::Corrupted(what) => OpenError::Catalogue { what },
        other => OpenError::records("read")(other),
    })
}

fn all_segments(transaction: &ReadTransaction) -> Result<Segments, redb::Error> {
    let rows = transaction.open_table(SEGMENTS)?;
    let decode = |row: Result<_, redb::StorageError>| -> Result<(u64, SegmentRow), redb::Error> {
        let (key, value): (AccessGuard<'_, &[u8]>, AccessGuard<'_, &[u8]>) = row?;
        let number = key.value().try_into().map_err(|_| corrupted("segments"))?;
        let row = SegmentRow::decode(value.value()).ok_or_else(|| corrupted("segments"))?;
        Ok((u64::from_be_bytes(number), row))
    };
    rows.iter()?.map(decode).collect()
}

/// The rows of all registered segments.
pub(super) fn segments(meta: &Meta) -> Result<Segments, redb::Error> {
    meta.read(all_segments)
}

pub(super) fn set_mark(transaction: &WriteTransaction, tail: Tail) -> Result<(), redb::Error> {
    transaction.open_table(STATE)?.insert(MARK, &rows::encode_mark(tail)[..])?;
    Ok(())
}

/// Adds a sealed segment. Adding it again changes nothing.
pub(super) fn register(transaction: &WriteTransaction, sealed: &Sealed) -> Result<(), redb::Error> {
    let number = sealed.segment.number();
    let mut segments = transaction.open_table(SEGMENTS)?;
    if segments.get(&number.to_be_bytes()[..])?.is_some() {
        return Ok(());
    }
    let (mut all, mut live) = (FrameCount::default(), FrameCount::default());
    let mut state = transaction.open_table(STATE)?;
    state.insert(ACTIVE, &rows::encode_place(sealed.successor)[..])?;
    let mut topics = transaction.open_table(TOPICS)?;
    let mut ranges = transaction.open_table(RANGES)?;
    for (topic, entries) in sealed.index.topics() {
        let row = match topics.get(&topic.as_bytes()[..])? {
            Some(row) => TopicRow::decode(row.value()).ok_or_else(|| corrupted("topics"))?,
            None => TopicRow::Live { extent: Extent::EMPTY, latest: Time::from_nanos(i64::MIN) },
        };
        all.add(FrameCount::of(entries));
        let TopicRow::Live { mut extent, mut latest } = row else {
            continue;
        };
        for entry in entries {
            grow(&mut extent, &mut latest, entry);
        }
        let range = range_of(number, entries, latest);
        live.add(range.count);
        ranges.insert(&rows::range_key(topic, range.base)[..], &range.encode()[..])?;
        topics.insert(&topic.as_bytes()[..], &TopicRow::Live { extent, latest }.encode()[..])?;
    }
    let row = SegmentRow {
        state: SegmentState::Written,
        level: 0,
        first_sequence: sealed.first_sequence,
        next_sequence: sealed.next_sequence,
        bytes: sealed.bytes,
        all,
        live,
    };
    segments.insert(&number.to_be_bytes()[..], &row.encode()[..])?;
    Ok(())
}

/// The row for consecutive frames of a topic in a segment; `latest` is the topic's latest commit time up to their end.
pub(super) fn range_of(segment: u64, entries: &[FrameEntry], latest: Time) -> RangeRow {
    let (first, last) = (&entries[0], &entries[entries.len() - 1]);
    RangeRow {
        base: first.base,
        segment,
        end: last.end(),
        first_rlid: first.first_rlid,
        last_rlid: last.last_rlid,
        first_committed: first.first_committed,
        last_committed: last.last_committed,
        latest,
        count: FrameCount::of(entries),
    }
}

/// Takes the next block up into what is known of a topic.
pub(super) fn grow(extent: &mut Extent, latest: &mut Time, entry: &FrameEntry) {
    extent.next = entry.end();
    extent.last = Some((entry.last_rlid, entry.last_committed));
    extent.blocks += 1;
    extent.stored_bytes += u64::from(entry.stored_bytes);
    *latest = (*latest).max(entry.last_committed);
}

/// Takes a topic out, and remembers that it was.
pub(super) fn forget(transaction: &WriteTransaction, topic: TopicId) -> Result<(), redb::Error> {
    transaction.open_table(TOPICS)?.insert(&topic.as_bytes()[..], &TopicRow::Forgotten.encode()[..])?;
    let (first, last) = (rows::range_key(topic, Offset::new(0)), rows::range_key(topic, Offset::new(u64::MAX)));
    let mut ranges = transaction.open_table(RANGES)?;
    let mut segments = transaction.open_table(SEGMENTS)?;
    for row in ranges.range(&first[..]..=&last[..])? {
        let (key, value) = row?;
        let range = RangeRow::decode(key.value(), value.value()).ok_or_else(|| corrupted("ranges"))?;
        let number = &range.segment.to_be_bytes()[..];
        let row = segments.get(number)?.and_then(|row| SegmentRow::decode(row.value()));
        let mut row = row.ok_or_else(|| corrupted("segments"))?;
        row.live.subtract(range.count);
        segments.insert(number, &row.encode()[..])?;
    }
    ranges.retain_in(&first[..]..=&last[..], |_, _| false)?;
    Ok(())
}

/// The range of a topic that holds an offset.
pub(super) fn range_at(meta: &Meta, topic: TopicId, offset: Offset) -> Result<Option<RangeRow>, redb::Error> {
    meta.read(|transaction| find_range(transaction, topic, offset))
}

fn find_range(transaction: &ReadTransaction, topic: TopicId, offset: Offset) -> Result<Option<RangeRow>, redb::Error> {
    let (first, at) = (rows::range_key(topic, Offset::new(0)), rows::range_key(topic, offset));
    let ranges = transaction.open_table(RANGES)?;
    let Some(row) = ranges.range(&first[..]..=&at[..])?.next_back() else {
        return Ok(None);
    };
    let (key, value) = row?;
    let range = RangeRow::decode(key.value(), value.value()).ok_or_else(|| corrupted("ranges"))?;
    Ok((range.end > offset).then_some(range))
}

/// The first of a topic's ranges between two offsets that has reached something; once one has, all later ones have.
pub(super) fn first_range_that(
    meta: &Meta,
    topic: TopicId,
    (mut from, mut to): (Offset, Offset),
    reached: impl Fn(&RangeRow) -> bool,
) -> Result<Option<RangeRow>, redb::Error> {
    meta.read(|transaction| {
        let mut found = None;
        while from < to {
            let middle = from.plus(to.distance_from(from) / 2);
            let Some(range) = find_range(transaction, topic, middle)? else {
                break;
            };
            if reached(&range) {
                to = range.base;
                found = Some(range);
            } else {
                from = range.end;
            }
        }
        Ok(found)
    })
}
