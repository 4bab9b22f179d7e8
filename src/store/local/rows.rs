//! The rows of the catalogue, byte by byte (docs/format.md, 6).

use bytes::{Buf, BufMut};

use crate::{
    journal::{JournalId, Sealed, SegmentPlace, Tail},
    model::{Offset, Rlid, Time, TopicId, Ulid},
    store::Extent,
};

const VERSION: u8 = 1;
const STATE_LIVE: u8 = 1;
const STATE_FORGOTTEN: u8 = 2;
const KIND_WRITTEN: u8 = 1;

/// A topic's frames in one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RangeRow {
    pub(super) base: Offset,
    pub(super) segment: u64,
    pub(super) end: Offset,
    pub(super) first_rlid: Rlid,
    pub(super) last_rlid: Rlid,
    pub(super) first_committed: Time,
    pub(super) last_committed: Time,
    /// The latest commit time of the topic up to here.
    pub(super) latest: Time,
    pub(super) blocks: u32,
    pub(super) bytes: u64,
}

/// A topic as of the last registered segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TopicRow {
    Live { extent: Extent, latest: Time },
    Forgotten,
}

fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    rest.copy_to_slice(&mut bytes);
    bytes
}

/// The fields behind the version, if the row is as long as it has to be and of a known version.
fn fields(bytes: &[u8], len: usize) -> Option<&[u8]> {
    bytes.split_first().filter(|(version, rest)| **version == VERSION && rest.len() == len).map(|(_, rest)| rest)
}

pub(super) fn range_key(topic: TopicId, base: Offset) -> [u8; 24] {
    let mut key = [0; 24];
    key[..16].copy_from_slice(topic.as_bytes());
    key[16..].copy_from_slice(&base.get().to_be_bytes());
    key
}

impl RangeRow {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.put_u64_le(self.segment);
        bytes.put_u64_le(self.end.get());
        bytes.put_slice(self.first_rlid.as_bytes());
        bytes.put_slice(self.last_rlid.as_bytes());
        bytes.put_i64_le(self.first_committed.nanos());
        bytes.put_i64_le(self.last_committed.nanos());
        bytes.put_i64_le(self.latest.nanos());
        bytes.put_u32_le(self.blocks);
        bytes.put_u64_le(self.bytes);
        bytes
    }

    pub(super) fn decode(key: &[u8], bytes: &[u8]) -> Option<RangeRow> {
        let base = Offset::new(u64::from_be_bytes(key.get(16..)?.try_into().ok()?));
        let mut rest = fields(bytes, 72)?;
        Some(RangeRow {
            base,
            segment: rest.get_u64_le(),
            end: Offset::new(rest.get_u64_le()),
            first_rlid: Rlid::from_bytes(take(&mut rest)),
            last_rlid: Rlid::from_bytes(take(&mut rest)),
            first_committed: Time::from_nanos(rest.get_i64_le()),
            last_committed: Time::from_nanos(rest.get_i64_le()),
            latest: Time::from_nanos(rest.get_i64_le()),
            blocks: rest.get_u32_le(),
            bytes: rest.get_u64_le(),
        })
    }
}

impl TopicRow {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        let TopicRow::Live { extent, latest } = self else {
            bytes.put_u8(STATE_FORGOTTEN);
            return bytes;
        };
        let (last_rlid, last_committed) = extent.last.unwrap_or_default();
        bytes.put_u8(STATE_LIVE);
        bytes.put_u64_le(extent.first.get());
        bytes.put_u64_le(extent.next.get());
        bytes.put_slice(last_rlid.as_bytes());
        bytes.put_i64_le(last_committed.nanos());
        bytes.put_i64_le(latest.nanos());
        bytes.put_u64_le(extent.blocks);
        bytes.put_u64_le(extent.stored_bytes);
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<TopicRow> {
        if fields(bytes, 1) == Some(&[STATE_FORGOTTEN]) {
            return Some(TopicRow::Forgotten);
        }
        let mut rest = fields(bytes, 59)?;
        if rest.get_u8() != STATE_LIVE {
            return None;
        }
        let (first, next) = (Offset::new(rest.get_u64_le()), Offset::new(rest.get_u64_le()));
        let last = (Rlid::from_bytes(take(&mut rest)), Time::from_nanos(rest.get_i64_le()));
        let latest = Time::from_nanos(rest.get_i64_le());
        let (blocks, stored_bytes) = (rest.get_u64_le(), rest.get_u64_le());
        let last = (next > Offset::FIRST).then_some(last);
        Some(TopicRow::Live { extent: Extent { first, next, last, blocks, stored_bytes }, latest })
    }
}

pub(super) fn topic_of_key(key: &[u8]) -> Option<TopicId> {
    Ulid::from_slice(key.get(..16)?).ok().map(TopicId)
}

pub(super) fn segment_row(sealed: &Sealed) -> Vec<u8> {
    let mut bytes = vec![VERSION, KIND_WRITTEN];
    bytes.put_u64_le(sealed.first_sequence);
    bytes.put_u64_le(sealed.next_sequence);
    bytes.put_u64_le(sealed.bytes);
    bytes
}

/// A registered segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentRow {
    pub(super) first_sequence: u64,
    pub(super) next_sequence: u64,
    /// The length of its file.
    pub(super) bytes: u64,
}

pub(super) fn decode_segment_row(bytes: &[u8]) -> Option<SegmentRow> {
    let mut rest = fields(bytes, 25)?;
    if rest.get_u8() != KIND_WRITTEN {
        return None;
    }
    Some(SegmentRow { first_sequence: rest.get_u64_le(), next_sequence: rest.get_u64_le(), bytes: rest.get_u64_le() })
}

pub(super) fn encode_journal(journal: JournalId) -> Vec<u8> {
    [&[VERSION][..], &journal.0].concat()
}

pub(super) fn decode_journal(bytes: &[u8]) -> Option<JournalId> {
    fields(bytes, 16)?.try_into().ok().map(JournalId)
}

pub(super) fn encode_place(place: SegmentPlace) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bytes.put_u64_le(place.number);
    bytes.put_u64_le(place.first_sequence);
    bytes.put_u32_le(place.previous);
    bytes
}

pub(super) fn decode_place(bytes: &[u8]) -> Option<SegmentPlace> {
    let mut rest = fields(bytes, 20)?;
    let (number, first_sequence) = (rest.get_u64_le(), rest.get_u64_le());
    Some(SegmentPlace { number, first_sequence, previous: rest.get_u32_le() })
}

pub(super) fn encode_mark(tail: Tail) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bytes.put_u64_le(tail.segment);
    bytes.put_u64_le(tail.position);
    bytes.put_u64_le(tail.next_sequence);
    bytes
}

pub(super) fn decode_mark(bytes: &[u8]) -> Option<Tail> {
    let mut rest = fields(bytes, 24)?;
    let (segment, position) = (rest.get_u64_le(), rest.get_u64_le());
    Some(Tail { segment, position, next_sequence: rest.get_u64_le() })
}

pub(super) fn encode_revision(revision: u64) -> Vec<u8> {
    [&[VERSION][..], &revision.to_le_bytes()].concat()
}

pub(super) fn decode_revision(bytes: &[u8]) -> Option<u64> {
    fields(bytes, 8).map(|mut rest| rest.get_u64_le())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_round_trip(
            a: u64, b: u64, c: u64, d: u32, first: [u8; 10], last: [u8; 10], times: [i64; 3], topic: [u8; 16],
        ) {
            let [first_committed, last_committed, latest] = times.map(Time::from_nanos);
            let range = RangeRow {
                base: Offset::new(a), segment: b, end: Offset::new(c), first_rlid: Rlid::from_bytes(first),
                last_rlid: Rlid::from_bytes(last), first_committed, last_committed, latest, blocks: d, bytes: a,
            };
            let topic = TopicId(Ulid::from_bytes(topic));
            let key = range_key(topic, range.base);
            prop_assert_eq!(RangeRow::decode(&key, &range.encode()), Some(range));
            prop_assert_eq!(topic_of_key(&key), Some(topic));

            let next = Offset::new(b.max(2));
            let extent = Extent {
                first: Offset::new(a), next, last: Some((Rlid::from_bytes(last), last_committed)), blocks: c,
                stored_bytes: a,
            };
            for row in [TopicRow::Live { extent, latest }, TopicRow::Live { extent: Extent::EMPTY, latest }, TopicRow::Forgotten] {
                prop_assert_eq!(TopicRow::decode(&row.encode()), Some(row));
                prop_assert_eq!(TopicRow::decode(&row.encode()[1..]), None);
            }

            let place = SegmentPlace { number: a, first_sequence: b, previous: d };
            prop_assert_eq!(decode_place(&encode_place(place)), Some(place));
            let mark = Tail { segment: a, position: b, next_sequence: c };
            prop_assert_eq!(decode_mark(&encode_mark(mark)), Some(mark));
            prop_assert_eq!(decode_revision(&encode_revision(a)), Some(a));
            let journal = JournalId(*topic.as_bytes());
            prop_assert_eq!(decode_journal(&encode_journal(journal)), Some(journal));
            prop_assert_eq!(decode_mark(&encode_place(place)), None);
        }
    }
}
