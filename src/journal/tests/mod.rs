//! Crashes, damage and faults, on a simulated disk.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;

use super::{
    CutTail, FIRST_COMPACTED, Frame, FrameEntry, JournalError, JournalId, JournalOptions, JournalWriter, KnownJournal,
    RecoveredJournal, Segment, SegmentPlace, Tail, Unregistered, WriteError, find_orphaned_journal, segment_path,
};
use crate::{
    model::{BlockHead, Durability, Offset, Rlid, Time, TopicId, Ulid},
    sys::{Clock, Fault, FaultKind, Loss, Operation, SimulatedDisk},
};

pub(super) const JOURNAL: JournalId = JournalId([7; 16]);

fn topic(number: u8) -> TopicId {
    TopicId(Ulid::from_bytes([number; 16]))
}

/// The frame with a sequence. Its content, length and topic follow from it; the offset is the sequence too.
fn frame(sequence: u64) -> Frame {
    let number = u8::try_from(sequence % 250).unwrap();
    let head = BlockHead {
        topic: topic(number % 3),
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
    let len = usize::try_from(sequence * 137 % 700).unwrap();
    let payload: Vec<u8> = (0..len).map(|at| number ^ at.to_le_bytes()[0] | 1).collect();
    Frame { head, payload: Bytes::from(payload) }
}

pub(super) fn options(disk: &SimulatedDisk) -> JournalOptions {
    JournalOptions { disk: disk.disk(), clock: Clock::real(), segment_bytes: 4_000, durability: Durability::Fsync }
}

pub(super) fn known() -> KnownJournal {
    KnownJournal {
        journal: JOURNAL,
        sealed: BTreeSet::new(),
        replaced: BTreeSet::new(),
        next_compacted: FIRST_COMPACTED,
        active: SegmentPlace::FIRST,
        mark: None,
    }
}

mod sealing;
mod unsynced;

fn create(disk: &SimulatedDisk) -> JournalWriter {
    JournalWriter::create(options(disk), JOURNAL).unwrap()
}

/// Appends the next `count` frames and expects it to work.
fn append(writer: &mut JournalWriter, next: &mut u64, mut count: u64) {
    while count > 0 {
        let frames: Vec<Frame> = (*next..*next + count).map(frame).collect();
        let written = writer.append(&frames).unwrap().entries.len() as u64;
        *next += written;
        count -= written;
    }
}

fn recover(disk: &SimulatedDisk) -> Result<RecoveredJournal, JournalError> {
    JournalWriter::recover(options(disk), &known())
}

/// Reads back all frames and checks each; returns how many there are.
fn check_frames(unregistered: &[Unregistered]) -> u64 {
    let mut next = 1;
    for Unregistered { segment, frames } in unregistered {
        for (topic, entry) in frames {
            let (read, unreadable) = segment.read(*topic, &[*entry]);
            assert!(unreadable.is_none(), "{unreadable:?}");
            assert_eq!(read, [frame(next)]);
            next += 1;
        }
    }
    next - 1
}

fn damaged(result: Result<RecoveredJournal, JournalError>) -> (String, u64, String) {
    match result {
        Err(JournalError::Damaged { file, position, what }) => (file, position, what),
        other => panic!("{other:?}"),
    }
}

/// The place of each frame in the only segment.
fn places(recovered: &RecoveredJournal) -> Vec<FrameEntry> {
    assert_eq!(recovered.unregistered.len(), 1);
    recovered.unregistered[0].frames.iter().map(|(_, entry)| *entry).collect()
}

const GROUPS: [u64; 16] = [1, 3, 2, 1, 7, 1, 1, 12, 2, 1, 4, 1, 3, 9, 1, 2];

/// Every crash point of a workload that fills several segments, with several images each: what was acked is there, nothing else
/// is but a piece of what was being written, and the journal goes on from there, also after a second crash
/// during recovery.
#[test]
#[expect(clippy::print_stdout, reason = "how many images there were is part of the result")]
fn every_crash_point() {
    let disk = SimulatedDisk::new();
    let (mut writer, mut next) = (create(&disk), 1);
    let created = disk.operations();
    // Behind which operation how many frames were durable.
    let mut acked = vec![(created, 0)];
    for count in GROUPS {
        append(&mut writer, &mut next, count);
        acked.push((disk.operations(), next - 1));
    }
    let (mut images, mut torn, mut twice) = (0, 0, 0);
    for operations in created..=disk.operations() {
        let needed = acked.iter().rfind(|(at, _)| *at <= operations).unwrap().1;
        for loss in Loss::at_point(operations, 48) {
            let place = format!("{operations} operations, {loss:?}");
            let crashed = disk.crash_after(operations, loss);
            let recovered = recover(&crashed).unwrap_or_else(|error| panic!("{place}: {error:?}"));
            images += 1_u64;
            let found = check_frames(&recovered.unregistered);
            assert!((needed..next).contains(&found), "{place}: {found} frames of {needed}");
            if recovered.cut.is_some() {
                torn += 1;
                for during in 0..=crashed.operations() {
                    let again = crashed.crash_after(during, Loss::Some(images));
                    let recovered = recover(&again).unwrap_or_else(|error| panic!("{place}, {during}: {error:?}"));
                    assert!(check_frames(&recovered.unregistered) >= needed, "{place}, {during}");
                    twice += 1;
                }
            }
            if !images.is_multiple_of(7) {
                continue;
            }
            let (mut writer, mut after) = (recovered.writer, found + 1);
            append(&mut writer, &mut after, 1);
            append(&mut writer, &mut after, 9);
            let recovered = recover(&crashed.crash(Loss::Everything)).unwrap();
            assert_eq!((check_frames(&recovered.unregistered), recovered.cut), (found + 10, None), "{place}");
        }
    }
    println!(
        "{images} images of {} operations, {torn} torn; {twice} images of crashes while cutting",
        disk.operations()
    );
    assert!(images >= 5_000 && torn > 300, "{images} images, {torn} torn");
}

#[test]
fn a_torn_tail_is_cut_reported_and_zeroed() {
    let disk = SimulatedDisk::new();
    let (mut writer, mut next) = (create(&disk), 1);
    append(&mut writer, &mut next, 3);
    let Tail { position, .. } = writer.tail().unwrap();
    append(&mut writer, &mut next, 3);
    let end = writer.tail().unwrap().position;
    let last = recover(&disk).map(|recovered| places(&recovered)[4]).unwrap();
    disk.damage(&segment_path(1), last.position + 60, b"torn");
    let recovered = recover(&disk).unwrap();
    // The frame before it is whole, and stays although its group is not.
    let cut = CutTail { file: segment_path(1), position: last.position, bytes: end - last.position };
    assert!(last.position > position);
    assert_eq!(recovered.cut, Some(cut));
    assert_eq!(check_frames(&recovered.unregistered), 4);
    let mut tail = vec![1; 4_000];
    let file = disk.disk().open(&segment_path(1)).unwrap();
    let read = file.read_at(&mut tail, last.position).unwrap();
    assert!(tail[..read].iter().all(|byte| *byte == 0));
    assert_eq!(recover(&disk).unwrap().cut, None);
}

/// Whatever is wrong before the last group cannot come from a crash.
#[test]
fn damage_before_the_last_group_is_refused_by_name() {
    let disk = SimulatedDisk::new();
    let (mut writer, mut next) = (create(&disk), 1);
    append(&mut writer, &mut next, 2);
    append(&mut writer, &mut next, 3);
    append(&mut writer, &mut next, 1);
    let places = places(&recover(&disk).unwrap());
    for (number, entry) in places.iter().enumerate().take(5) {
        for byte in [0, 9, 60, 127] {
            let disk = disk.crash(Loss::Nothing);
            disk.damage(&segment_path(1), entry.position + byte, &[0xee]);
            let (file, position, what) = damaged(recover(&disk));
            assert_eq!((file, position), (segment_path(1), entry.position));
            assert!(what.starts_with(&format!("frame {} is not intact", number + 1)), "{what}");
        }
    }
    // The last group has no witness.
    disk.damage(&segment_path(1), places[5].position, &[0]);
    assert_eq!(recover(&disk).unwrap().cut.unwrap().position, places[5].position);
}

/// The group before one that is cut was durable. Its payloads were not looked at, and the next opening, which found it to be
/// the last and nothing behind it, cut acked frames that were damaged as if they had been torn.
#[test]
fn damage_before_a_group_that_is_cut_is_refused() {
    let disk = SimulatedDisk::new();
    let (mut writer, mut next) = (create(&disk), 1);
    append(&mut writer, &mut next, 1);
    append(&mut writer, &mut next, 2);
    append(&mut writer, &mut next, 2);
    let places = places(&recover(&disk).unwrap());
    disk.damage(&segment_path(1), places[3].position + 130, &[0xee]);
    let torn = disk.crash(Loss::Nothing);
    assert_eq!(recover(&torn).unwrap().cut.unwrap().position, places[3].position);
    assert_eq!(recover(&torn).unwrap().cut, None);
    disk.damage(&segment_path(1), places[2].position + 130, &[0xee]);
    for _ in 0..2 {
        let (_, position, what) = damaged(recover(&disk));
        assert_eq!(
            (position, what.as_str()),
            (places[2].position, "frame 3 is not intact, but frame 4 was written later")
        );
    }
}

#[test]
fn damage_before_the_mark_is_refused() {
    let disk = SimulatedDisk::new();
    let (mut writer, mut next) = (create(&disk), 1);
    append(&mut writer, &mut next, 2);
    let known = KnownJournal { mark: Some(writer.tail().unwrap()), ..known() };
    let places = places(&recover(&disk).unwrap());
    for position in [places[1].position, places[1].position + 130] {
        let disk = disk.crash(Loss::Nothing);
        disk.damage(&segment_path(1), position, &[0xee]);
        assert_eq!(recover(&disk).unwrap().cut.unwrap().position, places[1].position, "without a mark");
        let disk = disk.crash(Loss::Nothing);
        let (mut writer, mut next) = (create(&disk), 1);
        append(&mut writer, &mut next, 2);
        disk.damage(&segment_path(1), position, &[0xee]);
        let (_, position, what) = damaged(JournalWriter::recover(options(&disk), &known));
        assert_eq!(position, places[1].position);
        assert!(what.contains("was durable when the journal was closed"), "{what}");
    }
    // What is gone without a trace is missed as well.
    let end = writer.tail().unwrap().position;
    let zeros = vec![0; usize::try_from(end - places[1].position).unwrap()];
    disk.damage(&segment_path(1), places[1].position, &zeros);
    assert_eq!(recover(&disk).unwrap().cut, None, "without a mark");
    damaged(JournalWriter::recover(options(&disk), &known));
}

/// A tail that was cut right behind the mark was not synced once: a second loss of power could bring back a frame that
/// had been cut, behind a new one of the same length that it does not continue, and the journal was refused as damaged.
#[test]
fn a_cut_behind_the_mark_is_durable_before_it_is_written_over() {
    let disk = SimulatedDisk::new();
    let (mut writer, mut next) = (create(&disk), 1);
    append(&mut writer, &mut next, 2);
    let known = KnownJournal { mark: Some(writer.tail().unwrap()), ..known() };
    append(&mut writer, &mut next, 2);
    let torn = places(&recover(&disk).unwrap())[2];
    disk.damage(&segment_path(1), torn.position + 130, &[0xee]);
    let recovered = JournalWriter::recover(options(&disk), &known).unwrap();
    assert_eq!(recovered.cut.unwrap().position, torn.position);
    let mut writer = recovered.writer;
    let other = Frame { payload: Bytes::from(vec![5; frame(3).payload.len()]), ..frame(3) };
    writer.append(&[other]).unwrap();
    for operations in 0..=disk.operations() {
        for seed in 0..64 {
            let crashed = disk.crash_after(operations, Loss::Some(seed));
            let recovered = JournalWriter::recover(options(&crashed), &known);
            let recovered = recovered.unwrap_or_else(|error| panic!("{operations} operations, {seed}: {error:?}"));
            assert!(recovered.unregistered[0].frames.len() <= 3, "{operations} operations, {seed}");
        }
    }
}

#[test]
fn a_damaged_payload_is_an_error_and_the_rest_is_read() {
    let disk = SimulatedDisk::new();
    let (mut writer, mut next) = (create(&disk), 1);
    append(&mut writer, &mut next, 5);
    append(&mut writer, &mut next, 1);
    let entry = places(&recover(&disk).unwrap())[2];
    disk.damage(&segment_path(1), entry.position + 200, b"?");
    let recovered = recover(&disk).unwrap();
    let Unregistered { segment, frames } = &recovered.unregistered[0];
    for (number, (topic, entry)) in (1..).zip(frames) {
        let (read, unreadable) = segment.read(*topic, &[*entry]);
        if number == 3 {
            let unreadable = unreadable.unwrap();
            assert_eq!((unreadable.first, unreadable.last), (Offset::new(3), Offset::new(3)));
            let expected = format!(
                "{} is damaged at byte {}: the payload's checksum does not fit",
                segment_path(1),
                entry.position
            );
            assert_eq!(unreadable.source.to_string(), expected);
        } else {
            assert_eq!(read, [frame(number)]);
        }
    }
}

/// Appends until two segments are sealed.
fn three_segments(disk: &SimulatedDisk) -> u64 {
    let (mut writer, mut next) = (create(disk), 1);
    while writer.tail().unwrap().segment < 3 {
        append(&mut writer, &mut next, 2);
    }
    next - 1
}

#[test]
fn a_segment_that_is_missing_unsealed_or_exchanged_is_refused() {
    let three = SimulatedDisk::new();
    three_segments(&three);

    let disk = three.crash(Loss::Nothing);
    disk.disk().remove(&segment_path(1)).unwrap();
    assert!(matches!(recover(&disk), Err(JournalError::Missing { file }) if file == segment_path(1)));

    let disk = three.crash(Loss::Nothing);
    disk.disk().remove(&segment_path(2)).unwrap();
    let (file, _, what) = damaged(recover(&disk));
    assert_eq!(file, segment_path(3));
    assert!(what.contains("starts at sequence"), "{what}");

    let disk = three.crash(Loss::Nothing);
    let sealed = disk.disk().open(&segment_path(2)).unwrap();
    let len = sealed.len().unwrap();
    sealed.set_len(len - 1).unwrap();
    assert!(matches!(recover(&disk), Err(JournalError::Unsealed { file }) if file == segment_path(2)));
    let disk = three.crash(Loss::Nothing);
    disk.damage(&segment_path(2), len - 100, &[0xee]);
    let (file, _, what) = damaged(recover(&disk));
    assert_eq!((file, what.as_str()), (segment_path(2), "the index's checksum does not fit"));

    let disk = three.crash(Loss::Nothing);
    disk.disk().rename(&segment_path(2), &segment_path(1)).unwrap();
    let (file, position, what) = damaged(recover(&disk));
    assert_eq!((file, position), (segment_path(1), 0));
    assert!(what.contains("number 2"), "{what}");

    let other = KnownJournal { journal: JournalId([8; 16]), ..known() };
    let (_, _, what) = damaged(JournalWriter::recover(options(&three.crash(Loss::Nothing)), &other));
    assert!(what.contains("another journal"), "{what}");

    let disk = three.crash(Loss::Nothing);
    disk.disk().open(&segment_path(3)).unwrap().set_len(3_999).unwrap();
    let (file, position, _) = damaged(recover(&disk));
    assert_eq!((file, position), (segment_path(3), 3_999));

    for number in [1, 2, 3] {
        let disk = three.crash(Loss::Nothing);
        disk.damage(&segment_path(number), 20, &[0xee]);
        assert_eq!(damaged(recover(&disk)).1, 0, "the header of segment {number}");
    }
}

/// Registered segments are not gone through, only looked for.
#[test]
fn registered_segments_only_have_to_be_there() {
    let disk = SimulatedDisk::new();
    let (mut writer, mut next) = (create(&disk), 1);
    let mut sealed = Vec::new();
    while sealed.len() < 2 {
        let group = writer.append(&[frame(next)]).unwrap();
        next += 1;
        sealed.extend(group.sealed);
    }
    let known = KnownJournal { sealed: BTreeSet::from([1, 2]), active: sealed[1].successor, ..known() };
    let recovered = JournalWriter::recover(options(&disk), &known).unwrap();
    assert_eq!(recovered.unregistered.len(), 1);
    assert_eq!(recovered.unregistered[0].frames.len() as u64, next - sealed[1].next_sequence);
    assert!(recovered.sealed.is_empty());

    let (segment, index) = Segment::open_sealed(&disk.disk(), JOURNAL, 1).unwrap();
    assert_eq!(index, *sealed[0].index);
    for (topic, entries) in index.topics() {
        let (frames, unreadable) = segment.read(topic, entries);
        assert!(unreadable.is_none());
        let expected: Vec<Frame> =
            (1..sealed[0].next_sequence).map(frame).filter(|frame| frame.head.topic == topic).collect();
        assert_eq!(frames, expected);
    }
    disk.disk().remove(&segment_path(1)).unwrap();
    let missing = JournalWriter::recover(options(&disk), &known);
    assert!(matches!(missing, Err(JournalError::Missing { file }) if file == segment_path(1)));
    assert_eq!(segment.read(topic(1), index.topic(topic(1))).0.len(), index.topic(topic(1)).len(), "still held open");
}

/// The first failure of any write or sync ends all writing; what was acked before is there afterwards.
#[test]
fn a_failed_write_or_sync_poisons_the_writer() {
    let healthy = SimulatedDisk::new();
    three_segments(&healthy);
    let mut poisoned = 0;
    for on in [Operation::Write, Operation::Sync, Operation::SetLength, Operation::Create, Operation::SyncDirectory] {
        for after in 0.. {
            let disk = SimulatedDisk::new();
            let (mut writer, mut next) = (create(&disk), 1);
            disk.fail(Fault { on, under: "journal", after, kind: FaultKind::Io });
            let error = loop {
                match writer.append(&[frame(next), frame(next + 1)]) {
                    Ok(group) => next += group.entries.len() as u64,
                    Err(error) => break Some(error),
                }
                if next > 60 {
                    break None;
                }
            };
            let Some(error) = error else {
                assert!(!disk.all_failed());
                break;
            };
            poisoned += 1;
            assert!(matches!(error, WriteError::Poisoned { .. }), "{on:?} {after}");
            for _ in 0..2 {
                assert!(matches!(writer.append(&[frame(next)]), Err(WriteError::Poisoned { .. })), "{on:?} {after}");
            }
            assert!(writer.tail().is_err());
            for loss in [Loss::Everything, Loss::Nothing, Loss::Some(after)] {
                let recovered = recover(&disk.crash(loss)).unwrap_or_else(|error| panic!("{on:?} {after}: {error:?}"));
                let found = check_frames(&recovered.unregistered);
                assert!((next - 1..=next + 1).contains(&found), "{on:?} {after} {loss:?}: {found} of {next}");
            }
            // Opened again without a loss of power, and then the power fails: what was shown stays.
            let recovered = recover(&disk).unwrap();
            let (mut writer, mut after_it) = (recovered.writer, check_frames(&recovered.unregistered) + 1);
            let shown = after_it - 1;
            let found = check_frames(&recover(&disk.crash(Loss::Everything)).unwrap().unregistered);
            assert!(found >= shown, "{on:?} {after}: {found} of {shown}");
            append(&mut writer, &mut after_it, 8);
            let found = check_frames(&recover(&disk.crash(Loss::Everything)).unwrap().unregistered);
            assert_eq!(found, shown + 8, "{on:?} {after}");
        }
    }
    assert!(poisoned > 50, "{poisoned}");
}

#[test]
fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    for on in [Operation::Allocate, Operation::Create] {
        let disk = SimulatedDisk::new();
        let (mut writer, mut next) = (create(&disk), 1);
        for after in 0..2 {
            disk.fail(Fault { on, under: "journal", after, kind: FaultKind::NoSpace });
        }
        let mut refused = 0;
        while writer.tail().unwrap().segment < 3 {
            match writer.append(&[frame(next)]) {
                Ok(_) => next += 1,
                Err(WriteError::NoSpace { .. }) => {
                    refused += 1;
                    // Between two segments the journal can be opened too, and goes on there.
                    let recovered = recover(&disk.crash(Loss::Some(next))).unwrap();
                    assert_eq!(check_frames(&recovered.unregistered), next - 1);
                    let (mut writer, mut after) = (recovered.writer, next);
                    append(&mut writer, &mut after, 3);
                }
                Err(error) => panic!("{error:?}"),
            }
        }
        assert_eq!(refused, 2);
        assert!(disk.all_failed());
        assert_eq!(check_frames(&recover(&disk).unwrap().unregistered), next - 1);
    }
}

/// A sealed segment is handed out exactly once, with the segment that follows it.
#[test]
fn sealed_segments_are_reported() {
    let disk = SimulatedDisk::new();
    let (mut writer, mut next) = (create(&disk), 1);
    disk.fail(Fault { on: Operation::Allocate, under: "journal", after: 0, kind: FaultKind::NoSpace });
    let mut sealed = Vec::new();
    while sealed.len() < 3 {
        if let Ok(group) = writer.append(&[frame(next)]) {
            next += 1;
            sealed.extend(group.sealed);
        }
    }
    let numbers: Vec<u64> = sealed.iter().map(|sealed| sealed.segment.number()).collect();
    assert_eq!(numbers, [1, 2, 3]);
    for pair in sealed.windows(2) {
        assert_eq!(pair[0].next_sequence, pair[1].first_sequence);
        assert_eq!(pair[0].successor.number, pair[1].segment.number());
        let file = disk.disk().open(pair[0].segment.path()).unwrap();
        assert_eq!(file.len().unwrap(), pair[0].bytes);
        assert!(pair[0].bytes <= 4_000);
    }
}

#[test]
fn a_frame_larger_than_a_segment_gets_one_of_its_own_size() {
    let disk = SimulatedDisk::new();
    let mut writer = create(&disk);
    let large = Frame { payload: Bytes::from(vec![9; 10_000]), ..frame(1) };
    let group = writer.append(std::slice::from_ref(&large)).unwrap();
    assert_eq!(group.segment.number(), 2);
    writer.append(&[frame(2)]).unwrap();
    let recovered = recover(&disk.crash(Loss::Everything)).unwrap();
    let Unregistered { segment, frames } = &recovered.unregistered[1];
    assert_eq!(segment.read(frames[0].0, &[frames[0].1]).0, [large]);
    assert_eq!(recovered.unregistered.len(), 3);
}

#[test]
fn a_journal_that_nothing_remembers_is_found() {
    let disk = SimulatedDisk::new();
    assert_eq!(find_orphaned_journal(&disk.disk()).unwrap(), None);
    let mut writer = create(&disk);
    assert_eq!(find_orphaned_journal(&disk.disk()).unwrap(), None, "nothing is in it");
    writer.append(&[frame(1)]).unwrap();
    assert_eq!(find_orphaned_journal(&disk.disk()).unwrap(), Some(segment_path(1)));
}

mod arbitrary {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever the bytes of the active segment are: it is opened or refused, without a panic; and what an opened one
        /// has is what was written, unless it lies in a payload that recovery does not look at.
        #[test]
        fn damage_never_invents_frames(
            changes in prop::collection::vec((0..4_000_u64, prop::collection::vec(any::<u8>(), 1..40)), 1..4),
        ) {
            let disk = SimulatedDisk::new();
            let (mut writer, mut next) = (create(&disk), 1);
            for count in [2, 1, 3] {
                append(&mut writer, &mut next, count);
            }
            for (position, bytes) in &changes {
                disk.damage(&segment_path(1), *position, bytes);
            }
            if let Ok(recovered) = recover(&disk) {
                for (sequence, (topic, entry)) in (1..).zip(recovered.unregistered.iter().flat_map(|part| &part.frames)) {
                    let segment: &Arc<Segment> = &recovered.unregistered[0].segment;
                    prop_assert!(entry.base == Offset::new(sequence));
                    let (read, unreadable) = segment.read(*topic, &[*entry]);
                    prop_assert!(unreadable.is_some() || read == [frame(sequence)]);
                }
            }
        }
    }
}
