//! Groups that are answered before they are synced: what a loss of power may take of them, and what it may not.

use super::*;

fn unsynced(disk: &SimulatedDisk) -> JournalOptions {
    JournalOptions { durability: Durability::Os, ..options(disk) }
}

fn create_unsynced(disk: &SimulatedDisk) -> JournalWriter {
    JournalWriter::create(unsynced(disk), JOURNAL).unwrap()
}

fn recover_unsynced(disk: &SimulatedDisk) -> Result<RecoveredJournal, JournalError> {
    JournalWriter::recover(unsynced(disk), &known())
}

/// How far a workload was at some point.
#[derive(Debug, Clone, Copy, Default)]
struct Reached {
    operations: usize,
    /// How many frames were answered, and how many of them stand in segments that were sealed.
    answered: u64,
    sealed: u64,
}

/// Appends groups of these sizes, each followed by what it reached.
fn run(disk: &SimulatedDisk, writer: &mut JournalWriter, groups: &[u64]) -> Vec<Reached> {
    let mut reached = vec![Reached { operations: disk.operations(), ..Reached::default() }];
    for count in groups {
        let Reached { answered, mut sealed, .. } = *reached.last().unwrap();
        let frames: Vec<Frame> = (answered + 1..=answered + count).map(frame).collect();
        let mut written = 0;
        while written < frames.len() {
            let group = writer.append(&frames[written..]).unwrap();
            assert_eq!(group.sync, None);
            written += group.entries.len();
            sealed = group.sealed.map_or(sealed, |sealed| sealed.next_sequence - 1);
        }
        reached.push(Reached { operations: disk.operations(), answered: answered + count, sealed });
    }
    reached
}

/// Every crash point of the workload, where no group is synced: what comes back is the first frames in order, all of those
/// in sealed segments, and all that were answered when only the process died. What recovery has shown is durable.
#[test]
#[expect(clippy::print_stdout, reason = "how many images there were is part of the result")]
fn every_crash_point_leaves_a_first_part() {
    let disk = SimulatedDisk::new();
    let mut writer = create_unsynced(&disk);
    let reached = run(&disk, &mut writer, &GROUPS);
    let (mut images, mut torn, mut several) = (0, 0, 0);
    for operations in reached[0].operations..=disk.operations() {
        let at = *reached.iter().rfind(|at| at.operations <= operations).unwrap();
        for loss in (0..16).map(Loss::Some).chain([Loss::Everything, Loss::Nothing]) {
            let place = format!("{operations} operations, {loss:?}");
            let crashed = disk.crash_after(operations, loss);
            let recovered = recover_unsynced(&crashed).unwrap_or_else(|error| panic!("{place}: {error:?}"));
            let found = check_frames(&recovered.unregistered);
            let needed = if loss == Loss::Nothing { at.answered } else { at.sealed };
            assert!((needed..=GROUPS.iter().sum()).contains(&found), "{place}: {found} frames of {needed}");
            images += 1;
            torn += u32::from(recovered.cut.is_some());
            several += u32::from(found + 3 < at.answered);
            // Whatever was shown stays, and the journal goes on behind it, synced or not.
            let again = recover(&crashed.crash(Loss::Everything)).unwrap_or_else(|error| panic!("{place}: {error:?}"));
            assert_eq!((check_frames(&again.unregistered), again.cut), (found, None), "{place}");
            let (mut writer, mut next) = (recovered.writer, found + 1);
            append(&mut writer, &mut next, 2);
            append(&mut writer, &mut next, 7);
            let again = crashed.crash(Loss::Some(images));
            let again = recover(&again).unwrap_or_else(|error| panic!("{place}: {error:?}"));
            let kept = check_frames(&again.unregistered);
            assert!((found..=found + 9).contains(&kept), "{place}: {kept} frames, and {found} before");
        }
    }
    println!("{images} images of {} operations, {torn} torn, {several} without whole groups", disk.operations());
    assert!(
        images > 800 && torn > 200 && several > 100,
        "{images} images, {torn} torn, {several} without whole groups"
    );
}

#[test]
fn what_was_synced_on_demand_is_durable() {
    let disk = SimulatedDisk::new();
    let mut writer = create_unsynced(&disk);
    run(&disk, &mut writer, &[2, 3]);
    assert_eq!(check_frames(&recover_unsynced(&disk.crash(Loss::Everything)).unwrap().unregistered), 0);
    let tail = writer.sync().unwrap();
    assert_eq!((tail, tail.next_sequence), (writer.tail().unwrap(), 6));
    let before = disk.operations();
    assert_eq!(writer.sync().unwrap(), tail);
    assert_eq!(disk.operations(), before, "there was nothing more to sync");
    let known = KnownJournal { mark: Some(tail), ..known() };
    let recovered = JournalWriter::recover(unsynced(&disk.crash(Loss::Everything)), &known).unwrap();
    assert_eq!(check_frames(&recovered.unregistered), 5);
}

/// What lies before the last sync was whole once, however many groups were written without one behind it.
#[test]
fn damage_before_the_last_sync_is_refused_and_behind_it_is_cut() {
    let disk = SimulatedDisk::new();
    let mut writer = create_unsynced(&disk);
    let mut next = 1;
    append(&mut writer, &mut next, 2);
    writer.sync().unwrap();
    append(&mut writer, &mut next, 2);
    append(&mut writer, &mut next, 1);
    let places = places(&recover_unsynced(&disk).unwrap());
    for (number, entry) in places.iter().enumerate() {
        for byte in [0, 9, 60, 127] {
            let disk = disk.crash(Loss::Nothing);
            disk.damage(&segment_path(1), entry.position + byte, &[0xee]);
            let recovered = recover_unsynced(&disk);
            if number < 2 {
                let (file, position, _) = damaged(recovered);
                assert_eq!((file, position), (segment_path(1), entry.position));
            } else {
                assert_eq!(recovered.unwrap().cut.unwrap().position, entry.position);
            }
        }
    }
}

/// A sync that fails, of a segment that is to be sealed or on demand, ends all writing as it does elsewhere.
#[test]
fn a_failed_sync_poisons_the_writer() {
    let mut poisoned = 0;
    for after in 0.. {
        let disk = SimulatedDisk::new();
        let mut writer = create_unsynced(&disk);
        disk.fail(Fault { on: Operation::Sync, under: "journal", after, kind: FaultKind::Io });
        let mut next = 1;
        let error = loop {
            match writer.append(&[frame(next)]) {
                Ok(_) => next += 1,
                Err(error) => break Some(error),
            }
            if next > 60 {
                break writer.sync().err();
            }
        };
        let Some(error) = error else { break };
        poisoned += 1;
        assert!(matches!(error, WriteError::Poisoned { .. }), "{after}: {error:?}");
        assert!(writer.append(&[frame(next)]).is_err() && writer.sync().is_err(), "{after}");
        // The process is started again: everything that was answered is there, and stays.
        assert_eq!(check_frames(&recover_unsynced(&disk).unwrap().unregistered), next - 1, "{after}");
        assert_eq!(check_frames(&recover(&disk.crash(Loss::Everything)).unwrap().unregistered), next - 1, "{after}");
    }
    assert!(poisoned > 8, "{poisoned}");
}
