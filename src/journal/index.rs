//! The index of a segment: which frames it has of which topic, and where.

use std::ops::Range;

use bytes::{Buf, BufMut};

use crate::model::{BlockHead, Offset, Rlid, Time, TopicId, Ulid};

const MAGIC: [u8; 8] = *b"EnsgnIdx";
const HEAD_BYTES: usize = 16;
const TOPIC_BYTES: usize = 24;
const ENTRY_BYTES: usize = 68;

/// Where a frame stands, and what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameEntry {
    /// Where the frame's header starts in the file.
    pub position: u64,
    pub base: Offset,
    pub count: u32,
    pub stored_bytes: u32,
    /// The length of the payload once it is decrypted and decompressed.
    pub raw_bytes: u32,
    pub first_rlid: Rlid,
    pub last_rlid: Rlid,
    pub first_committed: Time,
    pub last_committed: Time,
    pub key_version: u32,
}

impl FrameEntry {
    pub(super) fn of(head: &BlockHead, position: u64, stored_bytes: u32) -> FrameEntry {
        FrameEntry {
            position,
            base: head.base,
            count: head.count,
            stored_bytes,
            raw_bytes: head.raw_bytes,
            first_rlid: head.first_rlid,
            last_rlid: head.last_rlid,
            first_committed: head.first_committed,
            last_committed: head.last_committed,
            key_version: head.key_version,
        }
    }

    /// The offset after the last event.
    pub fn end(&self) -> Offset {
        self.base.plus(u64::from(self.count))
    }
}

/// The frames of a segment, topic by topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SegmentIndex {
    topics: Vec<(TopicId, Range<usize>)>,
    entries: Vec<FrameEntry>,
}

impl SegmentIndex {
    /// From frames in the order in which they were written.
    pub fn of(frames: &[(TopicId, FrameEntry)]) -> SegmentIndex {
        let mut sorted = frames.to_vec();
        sorted.sort_by_key(|(topic, entry)| (*topic, entry.position));
        let mut index = SegmentIndex::default();
        for (topic, entry) in sorted {
            let at = index.entries.len();
            match index.topics.last_mut() {
                Some((last, range)) if *last == topic => range.end += 1,
                _ => index.topics.push((topic, at..at + 1)),
            }
            index.entries.push(entry);
        }
        index
    }

    /// The frames of a topic in the order of their offsets.
    pub fn topic(&self, topic: TopicId) -> &[FrameEntry] {
        match self.topics.binary_search_by_key(&topic, |(topic, _)| *topic) {
            Ok(at) => &self.entries[self.topics[at].1.clone()],
            Err(_) => &[],
        }
    }

    /// All topics in ascending order, with their frames.
    pub fn topics(&self) -> impl Iterator<Item = (TopicId, &[FrameEntry])> {
        self.topics.iter().map(|(topic, range)| (*topic, &self.entries[range.clone()]))
    }

    /// How many frames there are.
    pub fn frames(&self) -> usize {
        self.entries.len()
    }

    /// About how much memory the index takes, in bytes.
    pub fn memory_bytes(&self) -> usize {
        size_of_val(&self.topics[..]) + size_of_val(&self.entries[..])
    }

    /// How much of an index says how long it is, in bytes.
    pub(super) const HEAD_BYTES: usize = HEAD_BYTES;

    /// How long the index of so many frames can be at most, in bytes.
    pub(super) fn bytes_max(frames: usize) -> u64 {
        (HEAD_BYTES + frames * (TOPIC_BYTES + ENTRY_BYTES)) as u64
    }

    /// How long the index is that starts with these bytes; `None` when none does.
    pub(super) fn bytes_from_start(start: &[u8; HEAD_BYTES]) -> Option<u64> {
        let mut rest = start.strip_prefix(&MAGIC)?;
        let (topics, frames) = (u64::from(rest.get_u32_le()), u64::from(rest.get_u32_le()));
        Some(HEAD_BYTES as u64 + topics * TOPIC_BYTES as u64 + frames * ENTRY_BYTES as u64)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let number = |count: usize| u32::try_from(count).expect("a segment has room for fewer frames");
        let len = HEAD_BYTES + self.topics.len() * TOPIC_BYTES + self.entries.len() * ENTRY_BYTES;
        let mut bytes = Vec::with_capacity(len);
        bytes.put_slice(&MAGIC);
        bytes.put_u32_le(number(self.topics.len()));
        bytes.put_u32_le(number(self.entries.len()));
        for (topic, range) in &self.topics {
            bytes.put_slice(topic.as_bytes());
            bytes.put_u32_le(number(range.start));
            bytes.put_u32_le(number(range.len()));
        }
        for entry in &self.entries {
            bytes.put_u64_le(entry.base.get());
            bytes.put_u64_le(entry.position);
            bytes.put_i64_le(entry.first_committed.nanos());
            bytes.put_i64_le(entry.last_committed.nanos());
            bytes.put_u32_le(entry.count);
            bytes.put_u32_le(entry.stored_bytes);
            bytes.put_u32_le(entry.raw_bytes);
            bytes.put_u32_le(entry.key_version);
            bytes.put_slice(entry.first_rlid.as_bytes());
            bytes.put_slice(entry.last_rlid.as_bytes());
        }
        bytes
    }

    /// Reads what [`SegmentIndex::encode`] wrote; `None` for anything else.
    pub(super) fn decode(bytes: &[u8]) -> Option<SegmentIndex> {
        let start = bytes.first_chunk()?;
        if SegmentIndex::bytes_from_start(start)? != bytes.len() as u64 {
            return None;
        }
        let mut rest = &bytes[MAGIC.len()..];
        let topic_count = rest.get_u32_le();
        let entry_count = usize::try_from(rest.get_u32_le()).ok()?;
        let mut index = SegmentIndex::default();
        for _ in 0..topic_count {
            let topic = TopicId(Ulid::from_bytes(take(&mut rest)));
            let first = usize::try_from(rest.get_u32_le()).ok()?;
            let range = first..first.checked_add(usize::try_from(rest.get_u32_le()).ok()?)?;
            let expected = index.topics.last().map_or(0, |(_, range)| range.end);
            let ascending = index.topics.last().is_none_or(|(last, _)| *last < topic);
            if range.start != expected || range.is_empty() || range.end > entry_count || !ascending {
                return None;
            }
            index.topics.push((topic, range));
        }
        if index.topics.last().map_or(0, |(_, range)| range.end) != entry_count {
            return None;
        }
        index.entries = (0..entry_count).map(|_| decode_entry(&mut rest)).collect();
        Some(index)
    }
}

fn decode_entry(rest: &mut &[u8]) -> FrameEntry {
    let (base, position) = (Offset::new(rest.get_u64_le()), rest.get_u64_le());
    let (first_committed, last_committed) = (Time::from_nanos(rest.get_i64_le()), Time::from_nanos(rest.get_i64_le()));
    let (count, stored_bytes) = (rest.get_u32_le(), rest.get_u32_le());
    let (raw_bytes, key_version) = (rest.get_u32_le(), rest.get_u32_le());
    let (first_rlid, last_rlid) = (Rlid::from_bytes(take(rest)), Rlid::from_bytes(take(rest)));
    FrameEntry {
        position,
        base,
        count,
        stored_bytes,
        raw_bytes,
        first_rlid,
        last_rlid,
        first_committed,
        last_committed,
        key_version,
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    rest.copy_to_slice(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::journal::frame::tests::any_head;

    fn any_frames() -> impl Strategy<Value = Vec<(TopicId, FrameEntry)>> {
        prop::collection::vec((0..4_u8, any_head(), any::<u32>()), 0..20).prop_map(|frames| {
            let frame = |(at, (topic, head, stored_bytes)): (usize, (u8, BlockHead, u32))| {
                let topic = TopicId(Ulid::from_bytes([topic; 16]));
                (topic, FrameEntry::of(&head, at as u64 * 1000, stored_bytes))
            };
            frames.into_iter().enumerate().map(frame).collect()
        })
    }

    proptest! {
        #[test]
        fn an_index_round_trips_and_has_every_frame(frames in any_frames()) {
            let index = SegmentIndex::of(&frames);
            let bytes = index.encode();
            prop_assert_eq!(SegmentIndex::decode(&bytes), Some(index.clone()));
            prop_assert!(bytes.len() as u64 <= SegmentIndex::bytes_max(frames.len()));
            for topic in 0..5 {
                let topic = TopicId(Ulid::from_bytes([topic; 16]));
                let expected: Vec<FrameEntry> =
                    frames.iter().filter(|(of, _)| *of == topic).map(|(_, entry)| *entry).collect();
                prop_assert_eq!(index.topic(topic), &expected[..]);
            }
            prop_assert_eq!(index.topics().map(|(_, entries)| entries.len()).sum::<usize>(), index.frames());
        }

        #[test]
        fn what_is_cut_or_senseless_is_refused(frames in any_frames(), cut in 1..100_usize, flip: prop::sample::Index) {
            let bytes = SegmentIndex::of(&frames).encode();
            prop_assert_eq!(SegmentIndex::decode(&bytes[..bytes.len().saturating_sub(cut)]), None);
            let mut changed = bytes.clone();
            let start = HEAD_BYTES.min(changed.len() - 1);
            changed[flip.index(start)] ^= 0x10;
            prop_assert_eq!(SegmentIndex::decode(&changed), None);
        }
    }
}
