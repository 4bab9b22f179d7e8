//! What fuzzers feed with arbitrary bytes: headers, indices, and whole segments that are recovered.

use std::collections::BTreeSet;

use bytes::Bytes;
use crc32c::{crc32c, crc32c_append};

use super::{
    FIRST_COMPACTED, Frame, JournalError, JournalId, JournalOptions, JournalWriter, KnownJournal, RecoveredJournal,
    SegmentIndex, SegmentPlace,
    frame::{Flaw, FrameHeader},
    segment::{Footer, SegmentHeader, seed, segment_path},
};
use crate::{
    model::{BlockHead, Durability, Offset, Rlid, Time, TopicId, Ulid},
    sys::{Clock, SimulatedDisk},
};

const JOURNAL: JournalId = JournalId([9; 16]);
const SEGMENT_BYTES: u64 = 4_096;

/// Headers and footers: what is read is written the same again, also when a checksum was put right that is wrong.
pub fn fuzz_headers(data: &[u8]) {
    let seed = seed(JOURNAL, 1);
    if let Some(bytes) = data.first_chunk::<{ FrameHeader::BYTES }>() {
        let mut forged = *bytes;
        forged[..4].copy_from_slice(&FrameHeader::MAGIC);
        put_crc(&mut forged, seed);
        for bytes in [bytes, &forged] {
            match FrameHeader::decode(bytes, seed) {
                Ok((header, _)) => assert_eq!(header.encode(seed).0, *bytes),
                Err(flaw) => assert!(flaw != Flaw::Torn || *bytes != forged, "its checksum fits"),
            }
        }
    }
    if let Some(bytes) = data.first_chunk::<{ SegmentHeader::BYTES }>() {
        let mut forged = *bytes;
        put_crc(&mut forged, 0);
        for bytes in [bytes, &forged] {
            if let Ok(Some((header, _))) = SegmentHeader::decode("a segment", bytes) {
                let (again, crc) = header.encode();
                let read = SegmentHeader::decode("a segment", &again).expect("it was just written");
                assert_eq!(read, Some((header, crc)));
            }
        }
        let mut forged = *bytes;
        put_crc(&mut forged, seed);
        for bytes in [bytes, &forged] {
            if let Some(footer) = Footer::decode(bytes, seed) {
                assert_eq!(Footer::decode(&footer.encode(seed), seed), Some(footer));
            }
        }
    }
}

fn put_crc(bytes: &mut [u8], seed: u32) {
    let (content, crc) = bytes.split_at_mut(bytes.len() - 4);
    crc.copy_from_slice(&crc32c_append(seed, content).to_le_bytes());
}

/// An index that is read is written the same again, and its topics have all of its frames.
pub fn fuzz_index(data: &[u8]) {
    let Some(index) = SegmentIndex::decode(data) else { return };
    assert_eq!(index.encode(), data);
    let mut frames = 0;
    for (topic, entries) in index.topics() {
        assert!(!entries.is_empty());
        assert_eq!(index.topic(topic), entries);
        frames += entries.len();
    }
    assert_eq!(frames, index.frames());
}

fn options(disk: &SimulatedDisk) -> JournalOptions {
    JournalOptions {
        disk: disk.disk(),
        clock: Clock::real(),
        segment_bytes: SEGMENT_BYTES,
        durability: Durability::Fsync,
    }
}

fn recover(disk: &SimulatedDisk) -> Result<RecoveredJournal, JournalError> {
    let known = KnownJournal {
        journal: JOURNAL,
        sealed: BTreeSet::new(),
        active: SegmentPlace::FIRST,
        mark: None,
        next_compacted: FIRST_COMPACTED,
        replaced: BTreeSet::new(),
    };
    JournalWriter::recover(options(disk), &known)
}

/// A disk whose journal has one segment, with these bytes.
fn disk_with(bytes: &[u8]) -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    let file = disk.disk().create(&segment_path(1)).expect("no fault was asked for");
    file.write_all_at(&[bytes], 0).expect("no fault was asked for");
    disk
}

fn frame(sequence: u64) -> Frame {
    let number = sequence.to_le_bytes()[0];
    let head = BlockHead {
        topic: TopicId(Ulid::from_bytes([number % 3; 16])),
        base: Offset::new(sequence),
        count: 1,
        first_rlid: Rlid::from_parts(sequence, 0),
        last_rlid: Rlid::from_parts(sequence, 0),
        first_committed: Time::from_millis(5),
        last_committed: Time::from_millis(5),
        key_version: 1,
        codec: 0,
        raw_bytes: 0,
        nonce: [number; 12],
    };
    let payload = vec![number | 0x40; usize::from(number) * 37 % 200];
    Frame { head, payload: Bytes::from(payload) }
}

/// The bytes of a segment with some groups in it, sealed or not.
fn written(groups: &[u64]) -> Vec<u8> {
    let disk = SimulatedDisk::new();
    let no_fault = "no fault was asked for";
    let mut writer = JournalWriter::create(options(&disk), JOURNAL).expect(no_fault);
    let mut next = 1;
    for count in groups {
        let frames: Vec<Frame> = (next..next + count).map(frame).collect();
        next += writer.append(&frames).expect(no_fault).entries.len() as u64;
    }
    let file = disk.disk().open(&segment_path(1)).expect(no_fault);
    let mut bytes = vec![0; usize::try_from(file.len().expect(no_fault)).expect("a segment fits into memory")];
    file.read_exact_at(&mut bytes, 0).expect(no_fault);
    bytes
}

/// What recovery made of a disk, twice: the second time it finds what it left, and has nothing to cut.
fn recovered_twice(disk: &SimulatedDisk) -> Option<RecoveredJournal> {
    let recovered = recover(disk).ok()?;
    let again = recover(disk).expect("what was opened once is opened again");
    assert_eq!(again.cut, None);
    let frames =
        |of: &RecoveredJournal| of.unregistered.iter().flat_map(|part| part.frames.clone()).collect::<Vec<_>>();
    assert_eq!(frames(&again), frames(&recovered));
    Some(recovered)
}

/// A segment whose frames are damaged at arbitrary places is opened or refused; what an opened one has is what was
/// written, in order, unless it lies in a payload that recovery does not look at. Four bytes of the input are a change:
/// where, how far it reaches, and to what.
pub fn fuzz_damage(data: &[u8]) {
    let Some((&kind, changes)) = data.split_first() else { return };
    let groups: &[u64] = match kind % 3 {
        0 => &[2, 1, 3],
        1 => &[1, 1, 1, 1, 6],
        _ => &[3, 4, 5, 6, 7, 8],
    };
    let mut bytes = written(groups);
    for change in changes.chunks_exact(4) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % bytes.len();
        let end = (at + usize::from(change[2] % 40) + 1).min(bytes.len());
        bytes[at..end].fill(change[3]);
    }
    let Some(recovered) = recovered_twice(&disk_with(&bytes)) else { return };
    let mut sequence = 1;
    for part in &recovered.unregistered {
        for (topic, entry) in &part.frames {
            assert_eq!(entry.base, Offset::new(sequence), "frames are in order, and none is invented");
            let (read, unreadable) = part.segment.read(*topic, &[*entry]);
            assert!(unreadable.is_some() || read == [frame(sequence)], "frame {sequence} is not what was written");
            sequence += 1;
        }
    }
}

/// A segment of arbitrary bytes behind a header that fits is opened or refused.
pub fn fuzz_segment(data: &[u8]) {
    let header = SegmentHeader { journal: JOURNAL, place: SegmentPlace::FIRST, capacity: SEGMENT_BYTES };
    let mut bytes = header.encode().0.to_vec();
    bytes.extend(data.iter().take(2 * 4_096));
    let capacity = usize::try_from(SEGMENT_BYTES).expect("a small number");
    bytes.resize(bytes.len().max(capacity), 0);
    recovered_twice(&disk_with(&bytes));
    // The same bytes in the place of the header, too.
    recovered_twice(&disk_with(data));
}

/// Frames whose headers are intact and say what the input wants, and an index and a footer that fit them or not: checksums
/// keep damage out, not whoever writes them. Each frame takes eight bytes of the input.
pub fn fuzz_forged_segment(data: &[u8]) {
    let header = SegmentHeader { journal: JOURNAL, place: SegmentPlace::FIRST, capacity: SEGMENT_BYTES };
    let (bytes, mut previous) = header.encode();
    let mut bytes = bytes.to_vec();
    let (count, data) = data.split_first().map_or((0, data), |(count, data)| (usize::from(count % 8), data));
    let (wishes, index) = data.split_at(data.len().min(count * 8));
    for (wish, sequence) in wishes.chunks_exact(8).zip(1_u64..) {
        let Frame { mut head, payload } = frame(sequence);
        head.base = Offset::new(u64::from(wish[0]) << (wish[1] % 64));
        head.count = u32::from(wish[2]) << (wish[3] % 32);
        let header = FrameHeader {
            sequence: sequence.wrapping_add(u64::from(wish[4] / 64)),
            group: sequence.saturating_sub(u64::from(wish[5] / 32)),
            head,
            stored_bytes: u32::try_from(payload.len()).expect("a small number") + u32::from(wish[6] / 64),
            payload_crc: crc32c(&payload) ^ u32::from(wish[7] / 128),
            previous,
        };
        let (encoded, crc) = header.encode(seed(JOURNAL, 1));
        previous = crc;
        bytes.extend([&encoded[..], &payload].concat());
    }
    let footer = Footer {
        index_position: bytes.len() as u64,
        index_bytes: index.len() as u64,
        next_sequence: count as u64 + 1,
        last: previous,
        index_crc: crc32c(index),
    };
    bytes.extend([index, &footer.encode(seed(JOURNAL, 1))].concat());
    recovered_twice(&disk_with(&bytes));
    bytes.resize(bytes.len().max(usize::try_from(SEGMENT_BYTES).expect("a small number")), 0);
    recovered_twice(&disk_with(&bytes));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fuzzing::run_bounded;

    #[test]
    fn headers() {
        let active = written(&[2, 1]);
        let sealed = written(&[3, 4, 5, 6, 7, 8]);
        let seeds = [&active[..128], &active[64..192], &sealed[sealed.len() - 64..], &[0; 128]];
        run_bounded("a header", &seeds, fuzz_headers);
    }

    #[test]
    fn indices() {
        let sealed = written(&[3, 4, 5, 6, 7, 8]);
        let start = sealed.windows(8).position(|window| window == b"EnsgnIdx").unwrap();
        let index = &sealed[start..sealed.len() - 64];
        assert!(SegmentIndex::decode(index).is_some());
        run_bounded("an index", &[index, b"EnsgnIdx\0\0\0\0\0\0\0\0"], fuzz_index);
    }

    #[test]
    fn damage() {
        run_bounded(
            "damage",
            &[&[0, 70, 0, 3, 9], &[1, 200, 1, 0, 0, 0, 3, 39, 0], &[2, 0, 14, 1, 1], &[0]],
            fuzz_damage,
        );
    }

    #[test]
    fn segments() {
        let active = written(&[2, 1, 3]);
        run_bounded("a segment", &[&active, &active[64..1_500], &written(&[3, 4, 5, 6, 7, 8])], fuzz_segment);
    }

    #[test]
    fn forged_segments() {
        let sealed = written(&[3, 4, 5, 6, 7, 8]);
        let start = sealed.windows(8).position(|window| window == b"EnsgnIdx").unwrap();
        let wishes = [[3, 1, 0, 1, 0, 0, 0, 0, 0], [2, 1, 0, 1, 0, 0, 64, 0, 0], [4, 255, 63, 255, 31, 0, 0, 0, 0]];
        let seeds =
            wishes.map(|wishes| [&wishes[..], &[1, 0, 1, 0, 0, 32, 0, 0], &sealed[start..sealed.len() - 64]].concat());
        run_bounded("a forged segment", &seeds.each_ref().map(|seed| &seed[..]), fuzz_forged_segment);
    }
}
