//! Compacted segments: written whole, found again, left over, removed.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{
    CompactedWriter, FIRST_COMPACTED, Frame, JournalError, JournalId, JournalWriter, KnownJournal, Segment,
    SegmentPlace, remove_segments, segment_path,
    tests::{JOURNAL, known, options},
};
use crate::{
    model::{BlockHead, Offset, Rlid, Time, TopicId, Ulid},
    sys::{Loss, SimulatedDisk},
};

fn topic(number: u64) -> TopicId {
    TopicId(Ulid::from_bytes([u8::try_from(number).unwrap(); 16]))
}

fn frame(topic: TopicId, base: u64, bytes: usize) -> Frame {
    let head = BlockHead {
        topic,
        base: Offset::new(base),
        count: 1,
        first_rlid: Rlid::from_parts(base, 0),
        last_rlid: Rlid::from_parts(base, 0),
        first_committed: Time::from_millis(5),
        last_committed: Time::from_millis(6),
        key_version: 1,
        codec: 0,
        raw_bytes: 77,
        nonce: [9; 12],
    };
    Frame { head, payload: Bytes::from(vec![3; bytes]) }
}

fn write(disk: &SimulatedDisk, number: u64, frames: &[Frame]) -> Result<u64, JournalError> {
    let mut writer = CompactedWriter::create(&disk.disk(), JOURNAL, number)?;
    for frame in frames {
        let most = writer.bytes_with(frame.bytes());
        writer.append(frame)?;
        assert!(writer.bytes_with(0) <= most + 100);
    }
    let most = writer.bytes_with(0);
    let compacted = writer.finish()?;
    assert!(compacted.bytes <= most);
    assert_eq!(compacted.segment.path(), segment_path(number));
    Ok(compacted.bytes)
}

fn frames() -> Vec<Frame> {
    (1..=3)
        .flat_map(|of| (1..=10).map(move |base| frame(topic(of), base, usize::try_from(base * 40_000).unwrap())))
        .collect()
}

/// What was written is read back through the segment's own index, after a crash too.
#[test]
fn a_compacted_segment_is_durable_under_its_name() {
    let disk = SimulatedDisk::new();
    write(&disk, FIRST_COMPACTED, &frames()).unwrap();
    for disk in [disk.clone(), disk.crash(Loss::Everything)] {
        let (segment, index) = Segment::open_sealed(&disk.disk(), JOURNAL, FIRST_COMPACTED).unwrap();
        let mut expected = frames();
        for number in 1..=3 {
            let (read, unreadable) = segment.read(topic(number), index.topic(topic(number)));
            assert!(unreadable.is_none(), "{unreadable:?}");
            assert_eq!(read, expected.drain(..10).collect::<Vec<_>>());
        }
        let other = Segment::open_sealed(&disk.disk(), JournalId([8; 16]), FIRST_COMPACTED);
        assert!(matches!(other, Err(JournalError::Damaged { .. })), "of another journal");
    }
}

/// Opening knows by name and number what is left of a compaction, and touches nothing else.
#[test]
fn opening_removes_what_is_left_of_a_compaction() {
    let disk = SimulatedDisk::new();
    let mut writer = JournalWriter::create(options(&disk), JOURNAL).unwrap();
    let mut sealed = Vec::new();
    while sealed.len() < 3 {
        sealed.extend(writer.append(&[frame(topic(1), 1, 1_000)]).unwrap().sealed);
    }
    for number in 0..5 {
        write(&disk, FIRST_COMPACTED + number, &frames()[..2]).unwrap();
    }
    let unfinished = CompactedWriter::create(&disk.disk(), JOURNAL, FIRST_COMPACTED + 9).unwrap();
    drop((unfinished, writer));
    disk.disk().create("journal/notes.txt.new").unwrap();
    let known = KnownJournal {
        sealed: BTreeSet::from([3, FIRST_COMPACTED + 1]),
        replaced: BTreeSet::from([1, FIRST_COMPACTED, 99]),
        next_compacted: FIRST_COMPACTED + 3,
        active: SegmentPlace { ..sealed[2].successor },
        ..known()
    };
    let recovered = JournalWriter::recover(options(&disk), &known).unwrap();
    let path = |number: u64| segment_path(FIRST_COMPACTED + number);
    let removed = [segment_path(1), path(0), path(3), path(4), path(9) + ".new"];
    assert_eq!(recovered.removed, removed);
    assert_eq!(recovered.unknown, [segment_path(2), path(2)], "known neither as segments nor as leftovers");
    let crashed = disk.crash(Loss::Everything);
    let left = crashed.disk().list("journal").unwrap();
    assert!(removed.iter().all(|path| !left.iter().any(|name| path.ends_with(&format!("/{name}")))), "{left:?}");
    assert!(left.contains(&"notes.txt.new".to_owned()));

    drop(recovered);
    let missing = KnownJournal { sealed: BTreeSet::from([FIRST_COMPACTED + 3]), ..known };
    match JournalWriter::recover(options(&disk), &missing) {
        Err(JournalError::Missing { file }) => assert_eq!(file, path(3)),
        other => panic!("{other:?}"),
    }
}

/// A compacted segment under the name of a written one must never become the head of the journal, nor the other way round.
#[test]
fn kinds_are_not_confused() {
    let disk = SimulatedDisk::new();
    drop(JournalWriter::create(options(&disk), JOURNAL).unwrap());
    write(&disk, FIRST_COMPACTED, &frames()[..2]).unwrap();
    disk.disk().rename(&segment_path(FIRST_COMPACTED), &segment_path(1)).unwrap();
    match JournalWriter::recover(options(&disk), &known()) {
        Err(JournalError::Damaged { file, position, .. }) => assert_eq!((file, position), (segment_path(1), 0)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn removing_what_is_gone_is_no_failure() {
    let disk = SimulatedDisk::new();
    write(&disk, FIRST_COMPACTED, &frames()[..1]).unwrap();
    let numbers = [FIRST_COMPACTED, FIRST_COMPACTED + 1, 4];
    assert_eq!(remove_segments(&disk.disk(), numbers).unwrap(), [segment_path(FIRST_COMPACTED)]);
    assert_eq!(remove_segments(&disk.disk(), numbers).unwrap(), [""; 0]);
}
