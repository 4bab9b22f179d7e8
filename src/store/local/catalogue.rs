//! The catalogue: which sealed segments hold which offsets of which topic. Rows in redb, changed in transactions.

use std::collections::BTreeSet;

use redb::{ReadTransaction, ReadableTable, WriteTransaction};

use super::{
    database::{Meta, RANGES, SEGMENTS, STATE, TOPICS},
    error::OpenError,
    rows::{self, RangeRow, TopicRow},
};
use crate::{
    journal::{FrameEntry, JournalId, KnownJournal, Sealed, SegmentPlace, Tail},
    model::{Offset, Time, TopicId},
    store::Extent,
};

const JOURNAL: &[u8] = b"journal";
const ACTIVE: &[u8] = b"active";
const MARK: &[u8] = b"mark";

/// What opening needs to know.
#[derive(Debug)]
pub(super) struct Catalogue {
    pub(super) journal: KnownJournal,
    pub(super) topics: Vec<(TopicId, TopicRow)>,
}

fn corrupted(what: &str) -> redb::Error {
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
        let mut sealed = BTreeSet::new();
        for row in transaction.open_table(SEGMENTS)?.iter()? {
            let number = row?.0.value().try_into().map_err(|_| corrupted("segments"))?;
            sealed.insert(u64::from_be_bytes(number));
        }
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
        Ok(Catalogue { journal: KnownJournal { journal, sealed, active, mark }, topics })
    });
    loaded.map_err(|error| match error {
        redb::Error::Corrupted(what) => OpenError::Catalogue { what },
        other => OpenError::records("read")(other),
    })
}

pub(super) fn set_mark(transaction: &WriteTransaction, tail: Tail) -> Result<(), redb::Error> {
    transaction.open_table(STATE)?.insert(MARK, &rows::encode_mark(tail)[..])?;
    Ok(())
}

/// Adds a sealed segment. Adding it again changes nothing.
pub(super) fn register(transaction: &WriteTransaction, sealed: &Sealed) -> Result<(), redb::Error> {
    let number = sealed.segment.number();
    let mut segments = transaction.open_table(SEGMENTS)?;
    if segments.insert(&number.to_be_bytes()[..], &rows::segment_row(sealed)[..])?.is_some() {
        return Ok(());
    }
    let mut state = transaction.open_table(STATE)?;
    state.insert(ACTIVE, &rows::encode_place(sealed.successor)[..])?;
    let mut topics = transaction.open_table(TOPICS)?;
    let mut ranges = transaction.open_table(RANGES)?;
    for (topic, entries) in sealed.index.topics() {
        let row = match topics.get(&topic.as_bytes()[..])? {
            Some(row) => TopicRow::decode(row.value()).ok_or_else(|| corrupted("topics"))?,
            None => TopicRow::Live { extent: Extent::EMPTY, latest: Time::from_nanos(i64::MIN) },
        };
        let TopicRow::Live { mut extent, mut latest } = row else {
            continue;
        };
        let range = range_of(number, entries, &mut extent, &mut latest);
        ranges.insert(&rows::range_key(topic, range.base)[..], &range.encode()[..])?;
        topics.insert(&topic.as_bytes()[..], &TopicRow::Live { extent, latest }.encode()[..])?;
    }
    Ok(())
}

/// The row for a topic's frames in a segment; takes them up into what is known of the topic.
pub(super) fn range_of(segment: u64, entries: &[FrameEntry], extent: &mut Extent, latest: &mut Time) -> RangeRow {
    let (first, last) = (&entries[0], &entries[entries.len() - 1]);
    let mut bytes = 0;
    for entry in entries {
        grow(extent, latest, entry);
        bytes += u64::from(entry.stored_bytes);
    }
    RangeRow {
        base: first.base,
        segment,
        end: last.end(),
        first_rlid: first.first_rlid,
        last_rlid: last.last_rlid,
        first_committed: first.first_committed,
        last_committed: last.last_committed,
        latest: *latest,
        blocks: u32::try_from(entries.len()).expect("a segment has room for fewer frames"),
        bytes,
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
    transaction.open_table(RANGES)?.retain_in(&first[..]..=&last[..], |_, _| false)?;
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
