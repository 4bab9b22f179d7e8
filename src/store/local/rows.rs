//! The rows of the catalogue, byte by byte (docs/format.md, 6).

use bytes::{Buf, BufMut};

use crate::{
    journal::{FrameEntry, JournalId, SegmentPlace, Tail},
    model::{Offset, Rlid, Time, TopicId, Ulid},
    store::{
        Extent,
        join::{BlockSize, Gathering},
    },
};

const VERSION: u8 = 1;
const STATE_LIVE: u8 = 1;
const STATE_FORGOTTEN: u8 = 2;
const SEGMENT_WRITTEN: u8 = 1;
const SEGMENT_COMPACTED: u8 = 2;
const SEGMENT_REPLACED: u8 = 3;

/// Frames, and what joining would gain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct FrameCount {
    pub(super) frames: u32,
    /// Of their payloads.
    pub(super) bytes: u64,
    /// The small ones among them.
    pub(super) small: u32,
    pub(super) small_bytes: u64,
    /// The small ones that would be joined to another one.
    pub(super) joinable: u32,
    pub(super) joinable_bytes: u64,
}

/// What became of a registered segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SegmentState {
    Written,
    Compacted,
    /// Others have taken its place; its file may still be there.
    Replaced,
}

/// A registered segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentRow {
    pub(super) state: SegmentState,
    /// How often its frames have been compacted.
    pub(super) level: u8,
    /// Which part of the journal it stands for.
    pub(super) first_sequence: u64,
    pub(super) next_sequence: u64,
    /// The length of the file.
    pub(super) bytes: u64,
    pub(super) all: FrameCount,
    /// Those of topics that are not forgotten.
    pub(super) live: FrameCount,
}

/// Consecutive frames of a topic in one segment.
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
    pub(super) count: FrameCount,
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

impl FrameCount {
    const BYTES: usize = 36;

    /// Counts consecutive frames of one topic.
    pub(super) fn of(entries: &[FrameEntry]) -> FrameCount {
        let mut count = FrameCount::default();
        let mut gathering = Gathering::default();
        let mut before: Option<(u64, bool)> = None;
        for entry in entries {
            let (size, bytes) = (block_size(entry), u64::from(entry.stored_bytes));
            count.frames += 1;
            count.bytes += bytes;
            if size.is_small() {
                count.small += 1;
                count.small_bytes += bytes;
            }
            let joins = gathering.take(size);
            if joins {
                count.joinable += 1;
                count.joinable_bytes += bytes;
                // The first of those that are joined is known as such by the second.
                if let Some((bytes, false)) = before {
                    count.joinable += 1;
                    count.joinable_bytes += bytes;
                }
            }
            before = Some((bytes, joins));
        }
        count
    }

    pub(super) fn add(&mut self, other: FrameCount) {
        self.frames += other.frames;
        self.bytes += other.bytes;
        self.small += other.small;
        self.small_bytes += other.small_bytes;
        self.joinable += other.joinable;
        self.joinable_bytes += other.joinable_bytes;
    }

    /// Takes off what was added before.
    pub(super) fn subtract(&mut self, other: FrameCount) {
        self.frames = self.frames.saturating_sub(other.frames);
        self.bytes = self.bytes.saturating_sub(other.bytes);
        self.small = self.small.saturating_sub(other.small);
        self.small_bytes = self.small_bytes.saturating_sub(other.small_bytes);
        self.joinable = self.joinable.saturating_sub(other.joinable);
        self.joinable_bytes = self.joinable_bytes.saturating_sub(other.joinable_bytes);
    }

    fn put(&self, bytes: &mut Vec<u8>) {
        bytes.put_u32_le(self.frames);
        bytes.put_u64_le(self.bytes);
        bytes.put_u32_le(self.small);
        bytes.put_u64_le(self.small_bytes);
        bytes.put_u32_le(self.joinable);
        bytes.put_u64_le(self.joinable_bytes);
    }

    fn take(rest: &mut &[u8]) -> FrameCount {
        FrameCount {
            frames: rest.get_u32_le(),
            bytes: rest.get_u64_le(),
            small: rest.get_u32_le(),
            small_bytes: rest.get_u64_le(),
            joinable: rest.get_u32_le(),
            joinable_bytes: rest.get_u64_le(),
        }
    }
}

pub(super) fn block_size(entry: &FrameEntry) -> BlockSize {
    let bytes = usize::try_from(entry.raw_bytes.max(entry.stored_bytes)).unwrap_or(usize::MAX);
    BlockSize { base: entry.base, end: entry.end(), key_version: entry.key_version, bytes }
}

impl SegmentRow {
    pub(super) fn encode(&self) -> Vec<u8> {
        let state = match self.state {
            SegmentState::Written => SEGMENT_WRITTEN,
            SegmentState::Compacted => SEGMENT_COMPACTED,
            SegmentState::Replaced => SEGMENT_REPLACED,
        };
        let mut bytes = vec![VERSION, state, self.level];
        bytes.put_u64_le(self.first_sequence);
        bytes.put_u64_le(self.next_sequence);
        bytes.put_u64_le(self.bytes);
        self.all.put(&mut bytes);
        self.live.put(&mut bytes);
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<SegmentRow> {
        let mut rest = fields(bytes, 26 + 2 * FrameCount::BYTES)?;
        let state = match rest.get_u8() {
            SEGMENT_WRITTEN => SegmentState::Written,
            SEGMENT_COMPACTED => SegmentState::Compacted,
            SEGMENT_REPLACED => SegmentState::Replaced,
            _ => return None,
        };
        Some(SegmentRow {
            state,
            level: rest.get_u8(),
            first_sequence: rest.get_u64_le(),
            next_sequence: rest.get_u64_le(),
            bytes: rest.get_u64_le(),
            all: FrameCount::take(&mut rest),
            live: FrameCount::take(&mut rest),
        })
    }
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
        self.count.put(&mut bytes);
        bytes
    }

    pub(super) fn decode(key: &[u8], bytes: &[u8]) -> Option<RangeRow> {
        let base = Offset::new(u64::from_be_bytes(key.get(16..)?.try_into().ok()?));
        let mut rest = fields(bytes, 60 + FrameCount::BYTES)?;
        Some(RangeRow {
            base,
            segment: rest.get_u64_le(),
            end: Offset::new(rest.get_u64_le()),
            first_rlid: Rlid::from_bytes(take(&mut rest)),
            last_rlid: Rlid::from_bytes(take(&mut rest)),
            first_committed: Time::from_nanos(rest.get_i64_le()),
            last_committed: Time::from_nanos(rest.get_i64_le()),
            latest: Time::from_nanos(rest.get_i64_le()),
            count: FrameCount::take(&mut rest),
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

pub(super) fn encode_compacted(next: u64) -> Vec<u8> {
    [&[VERSION][..], &next.to_le_bytes()].concat()
}

pub(super) fn decode_compacted(bytes: &[u8]) -> Option<u64> {
    decode_revision(bytes)
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
            let count = FrameCount {
                frames: d, bytes: a, small: d ^ 1, small_bytes: b, joinable: d ^ 2, joinable_bytes: c,
            };
            let range = RangeRow {
                base: Offset::new(a), segment: b, end: Offset::new(c), first_rlid: Rlid::from_bytes(first),
                last_rlid: Rlid::from_bytes(last), first_committed, last_committed, latest, count,
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

            for state in [SegmentState::Written, SegmentState::Compacted, SegmentState::Replaced] {
                let row = SegmentRow {
                    state, level: first[0], first_sequence: a, next_sequence: b, bytes: c, all: count,
                    live: FrameCount::default(),
                };
                prop_assert_eq!(SegmentRow::decode(&row.encode()), Some(row));
                prop_assert_eq!(SegmentRow::decode(&row.encode()[1..]), None);
            }
            prop_assert_eq!(decode_compacted(&encode_compacted(a)), Some(a));

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
