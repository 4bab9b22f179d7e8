//! The ends of segments: index and footer, half there, or not fitting what stands before them.

use super::{
    super::{
        ExpectedSegment,
        segment::{Footer, SegmentHeader},
        verify_segment,
    },
    *,
};
use crate::journal::SegmentIndex;

/// When index and footer fill a segment to its last byte, nothing is truncated behind them, and a footer at the end is
/// all that tells that the segment is sealed. It may reach the disk without all of the index, but not without the
/// frames. Opening once refused such a segment as damaged.
#[test]
fn every_crash_point_of_sealing_a_segment_that_is_full() {
    for durability in [Durability::Fsync, Durability::Os] {
        let disk = SimulatedDisk::new();
        let frames: Vec<Frame> = (1..=3).map(frame).collect();
        let bytes: u64 = frames.iter().map(Frame::bytes).sum();
        // The frames are of three topics, so the index is as long as it can be.
        let full = SegmentHeader::BYTES as u64 + bytes + SegmentIndex::bytes_max(3) + Footer::BYTES as u64;
        let options = |disk: &SimulatedDisk| JournalOptions { segment_bytes: full, durability, ..options(disk) };
        let mut writer = JournalWriter::create(options(&disk), JOURNAL).unwrap();
        for frame in &frames {
            writer.append(std::slice::from_ref(frame)).unwrap();
        }
        let before = disk.operations();
        let sealed = writer.append(&[frame(4)]).unwrap().sealed.unwrap();
        assert_eq!(sealed.bytes, full);
        for operations in before..=disk.operations() {
            for seed in 0..100 {
                let place = format!("{durability}, {operations} operations, {seed}");
                let crashed = disk.crash_after(operations, Loss::Some(seed));
                let expected = ExpectedSegment {
                    journal: JOURNAL,
                    number: 1,
                    place: Some(SegmentPlace::FIRST),
                    is_sealed: crashed.disk().list("journal").unwrap().len() > 1,
                    is_known: true,
                    mark: None,
                };
                let verified = verify_segment(&crashed.disk(), &expected, &mut |_| Ok(()));
                assert_eq!(verified.damage, [], "{place}");
                let recovered = JournalWriter::recover(options(&crashed), &known());
                let recovered = recovered.unwrap_or_else(|error| panic!("{place}: {error:?}"));
                let found = check_frames(&recovered.unregistered);
                assert!(durability == Durability::Os || found >= 3, "{place}: {found}");
            }
        }
    }
}

/// Only by a defect can an index be whole and name other frames than those before it. It was taken the next time.
#[test]
fn an_index_that_does_not_fit_its_frames_is_refused() {
    let disk = SimulatedDisk::new();
    let (mut writer, mut next) = (create(&disk), 1);
    append(&mut writer, &mut next, 2);
    let end = writer.tail().unwrap().position;
    let frames = recover(&disk).unwrap().unregistered[0].frames.clone();
    let segment = Segment::open(&disk.disk(), JOURNAL, 1).unwrap();
    let mut at = [0; 128];
    segment.read_at(&mut at, frames[1].1.position).unwrap();
    let last = u32::from_le_bytes(at[124..].try_into().unwrap());
    for (count, fits) in [(2, true), (1, false)] {
        let index = SegmentIndex::of(&frames[..count]).encode();
        let footer = Footer {
            index_position: end,
            index_bytes: index.len() as u64,
            next_sequence: 3,
            last,
            index_crc: crc32c::crc32c(&index),
        };
        let disk = disk.crash(Loss::Nothing);
        disk.damage(&segment_path(1), end, &[&index[..], &footer.encode(segment.seed)].concat());
        if fits {
            assert_eq!(recover(&disk).unwrap().cut, None);
        } else {
            assert_eq!(damaged(recover(&disk)), (segment_path(1), end, "the index does not fit the frames".to_owned()));
        }
    }
}
