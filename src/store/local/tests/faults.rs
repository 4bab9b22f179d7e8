//! Disks that fail: every write and sync once, with the right error, and no room.

use super::*;

/// Every write and every sync of the journal fails once: whatever was not answered with success may be there or not,
/// nothing is taken afterwards, and what was acked stays readable, at once and after opening again.
#[tokio::test]
async fn a_failure_poisons_appends_and_nothing_else() {
    let mut poisoned = 0;
    for on in [Operation::Write, Operation::Sync] {
        for after in 0.. {
            let disk = SimulatedDisk::new();
            let (store, local, _) = open(&disk);
            disk.fail(Fault { on, under: "journal", after, kind: FaultKind::Io });
            let mut user = User::default();
            let mut failure = None;
            for number in 0..25_u8 {
                let topic = topic(number % 3);
                let known = user.known(topic);
                let block = nth(topic, known.tried);
                known.tried = block.head.end().get();
                match store.blocks.append(block).await {
                    Ok(()) => user.known(topic).acked = user.known(topic).tried,
                    Err(error) => {
                        failure = Some(error);
                        break;
                    }
                }
            }
            let Some(failure) = failure else {
                assert!(!disk.all_failed(), "the workload has no such operation left");
                break;
            };
            poisoned += 1;
            assert!(matches!(failure, AppendError::Poisoned { .. }), "{on:?} {after}: {failure:?}");
            for _ in 0..2 {
                let known = *user.known(topic(0));
                let refused = store.blocks.append(nth(topic(0), known.acked)).await;
                assert!(matches!(refused, Err(AppendError::Poisoned { .. })), "{on:?} {after}: {refused:?}");
            }
            assert!(matches!(store.blocks.health(), Err(AppendError::Poisoned { .. })));
            for (topic, known) in &user.topics {
                let read = store.blocks.read(*topic, Offset::FIRST, usize::MAX).await.unwrap();
                assert_eq!(read.last().map_or(1, |block| block.head.end().get()), known.acked, "{on:?} {after}");
            }
            store.records.commit(Transaction::new().put("still", "there")).await.unwrap();
            let closed = local.close().await;
            assert!(matches!(closed, Err(super::super::CloseError::Poisoned { .. })), "{closed:?}");
            for loss in [Loss::Everything, Loss::Nothing, Loss::Some(after)] {
                let (store, _local, _) = open(&disk.crash(loss));
                user.check(&store, &format!("{on:?} {after} {loss:?}")).await;
                assert!(store.blocks.health().is_ok());
            }
        }
    }
    assert!(poisoned > 40, "{poisoned}");
}

#[tokio::test]
async fn a_full_disk_refuses_what_waits_and_goes_on_when_there_is_room() {
    let disk = SimulatedDisk::new();
    let (store, local, _) = open(&disk);
    let mut user = User::default();
    user.append(&store, &[1, 2]).await;
    disk.fail(Fault { on: Operation::Allocate, under: "journal", after: 0, kind: FaultKind::NoSpace });
    let mut refused = 0;
    while !disk.all_failed() || refused == 0 {
        let next = store.blocks.extent(topic(1)).await.unwrap().next.get();
        let first = nth(topic(1), next);
        let second = nth(topic(1), first.head.end().get());
        let end = second.head.end().get();
        let (first, second) = (store.blocks.append(first), store.blocks.append(second));
        match (first.await, second.await) {
            (Ok(()), Ok(())) => {
                user.known(topic(1)).acked = end;
                user.known(topic(1)).tried = end;
            }
            (first, Err(AppendError::NoSpace { .. })) => {
                refused += 1;
                let next = store.blocks.extent(topic(1)).await.unwrap().next.get();
                user.known(topic(1)).acked = next;
                user.known(topic(1)).tried = next;
                assert!(matches!(first, Ok(()) | Err(AppendError::NoSpace { .. })), "{first:?}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(store.blocks.health().is_ok(), "a full disk is no poison");
    user.append(&store, &[1, 2, 1, 3]).await;
    user.check(&store, "with room again").await;
    local.close().await.unwrap();
    user.check(&open(&disk).0, "opened again").await;
}

#[tokio::test]
async fn records_refuse_a_full_disk_and_go_on_when_there_is_room() {
    for on in [Operation::Write, Operation::Allocate] {
        let disk = SimulatedDisk::new();
        let (store, local, _) = open(&disk);
        store.records.commit(Transaction::new().put("a", "1")).await.unwrap();
        disk.fail(Fault { on, under: "meta.redb", after: 0, kind: FaultKind::NoSpace });
        let mut number = 0_u64;
        while !disk.all_failed() {
            let value = vec![7; 100_000];
            match store.records.commit(Transaction::new().put(format!("b/{number}"), value)).await {
                Ok(_) => {}
                Err(RecordError::NoSpace { .. }) => assert!(disk.all_failed()),
                Err(other) => panic!("{on:?}: {other:?}"),
            }
            number += 1;
            assert!(number < 1_000, "{on:?} never comes");
        }
        assert_eq!(store.records.get("a").await.unwrap().unwrap().value, "1", "{on:?}");
        store.records.commit(Transaction::new().put("a", "2")).await.unwrap();
        local.close().await.unwrap();
        let (store, _local, _) = open(&disk.crash(Loss::Everything));
        assert_eq!(store.records.get("a").await.unwrap().unwrap().value, "2", "{on:?}");
    }
}

/// Appends, records and forgets until something does not succeed, or the workload ends. What fails is either the
/// record or nothing: the journal is well.
async fn work_until_records_fail(user: &mut User, store: &Store, rounds: u8) -> Option<RecordError> {
    for number in 0..rounds {
        user.append(store, &[number % 3, 5]).await;
        let known = user.known(topic(number % 3));
        known.recording = known.acked;
        let value = known.acked.to_le_bytes().to_vec();
        // Some of them need more room than there is.
        let padding = vec![0; usize::from(number % 5) * 30_000];
        let change =
            Transaction::new().put(record_key(topic(number % 3)), value).put(format!("padding/{number}"), padding);
        match store.records.commit(change).await {
            Ok(_) => user.known(topic(number % 3)).recorded = user.known(topic(number % 3)).recording,
            Err(error) => return Some(error),
        }
    }
    None
}

/// Every write, sync and growth of meta.redb fails once: no record is written from then on, and health says so; events are
/// still taken, because the journal is well; everything stays readable, in sealed segments too, which only meta.redb finds; and
/// opening again brings back what was acked.
#[tokio::test]
async fn a_failure_ends_the_writing_of_records_and_nothing_else() {
    let mut failed = 0;
    let io =
        [Operation::Write, Operation::Sync, Operation::SetLength, Operation::Allocate].map(|on| (on, FaultKind::Io));
    for (on, kind) in io.into_iter().chain([(Operation::Sync, FaultKind::NoSpace)]) {
        for after in 0.. {
            let place = format!("{on:?} {kind:?} {after}");
            let disk = SimulatedDisk::new();
            let (store, local, _) = open(&disk);
            disk.fail(Fault { on, under: "meta.redb", after, kind });
            let mut user = User::default();
            let error = work_until_records_fail(&mut user, &store, 20).await;
            if !disk.all_failed() {
                break;
            }
            // The failure of a registration shows in the next transaction only.
            assert!(matches!(error, Some(RecordError::Failed { .. })), "{place}: {error:?}");
            failed += 1;
            assert!(matches!(store.records.health(), Err(RecordError::Failed { .. })), "{place}");
            assert!(matches!(store.health(), Err(HealthError::Records(_))), "{place}");
            let refused = store.records.commit(Transaction::new().put("a", "b")).await;
            assert!(matches!(refused, Err(RecordError::Failed { .. })), "{place}: {refused:?}");
            user.append(&store, &[0, 1, 2, 3]).await;
            user.check(&store, &place).await;
            local.close().await.expect_err("the end cannot be noted");
            for loss in [Loss::Everything, Loss::Nothing, Loss::Some(after)] {
                let (store, _local, _) = open(&disk.crash(loss));
                user.check(&store, &format!("{place} {loss:?}")).await;
                store.health().unwrap();
                store.records.commit(Transaction::new().put("a", "b")).await.unwrap();
            }
        }
    }
    assert!(failed > 60, "{failed}");
}

/// The disk stays full for a while, whatever is tried: nothing is lost, all is readable, and nothing has to be restarted.
#[tokio::test]
async fn records_wait_for_room_however_long_it_takes() {
    let mut refusals = 0;
    for on in [Operation::Write, Operation::Allocate] {
        for attempts in [1, 2, 3, 5, 12] {
            let disk = SimulatedDisk::new();
            let (store, local, _) = open(&disk);
            // The first one comes when there is something to lose.
            for number in 0..attempts {
                let after = if number == 0 && on == Operation::Write { 9 } else { 0 };
                disk.fail(Fault { on, under: "meta.redb", after, kind: FaultKind::NoSpace });
            }
            let mut user = User::default();
            let mut refused = 0;
            while !disk.all_failed() {
                match work_until_records_fail(&mut user, &store, 6).await {
                    Some(RecordError::NoSpace { .. }) => refused += 1,
                    // A segment that could not be registered is nothing that a record would show.
                    None => {}
                    other => panic!("{on:?} {attempts}: {other:?}"),
                }
                user.check(&store, &format!("{on:?} {attempts}, full")).await;
                store.health().unwrap();
            }
            assert!(work_until_records_fail(&mut user, &store, 20).await.is_none(), "{on:?} {attempts}");
            user.check(&store, &format!("{on:?} {attempts}, with room")).await;
            local.close().await.unwrap();
            let (store, _local, report) = open(&disk.crash(Loss::Everything));
            user.check(&store, &format!("{on:?} {attempts}, opened again")).await;
            assert_eq!(report.cut, None);
            refusals += refused;
        }
    }
    assert!(refusals > 10, "{refusals}");
}

/// Every read of meta.redb fails once: the store does not open, and says why, or everything is read all the same.
#[tokio::test]
async fn a_read_of_records_that_fails_is_met_by_another_one() {
    let disk = SimulatedDisk::new();
    let (store, local, _) = open(&disk);
    let mut user = User::default();
    assert!(work_until_records_fail(&mut user, &store, 20).await.is_none());
    local.close().await.unwrap();
    let (mut not_opened, mut read) = (0, 0);
    for after in 0.. {
        let disk = disk.crash(Loss::Nothing);
        disk.fail(Fault { on: Operation::Read, under: "meta.redb", after, kind: FaultKind::Io });
        let place = format!("read {after}");
        match try_open(&disk) {
            Err(error) => {
                not_opened += 1;
                assert!(error.to_string().contains("meta.redb"), "{place}: {error:?}");
                user.check(&open(&disk).0, &place).await;
            }
            Ok((store, _local, _)) => {
                user.check(&store, &place).await;
                if !disk.all_failed() {
                    break;
                }
                read += 1;
                assert!(store.health().is_err(), "{place}");
            }
        }
    }

    // What was read when it was opened need not be read again: how much that is is redb's affair.
    assert!(not_opened > 3, "{not_opened} were not opened, {read} were read");
}

/// A store whose making failed half-way is made again, or found whole; either way it is durable before it is used.
#[tokio::test]
async fn a_store_that_could_not_be_made_is_made_the_next_time() {
    for on in [
        Operation::Create,
        Operation::Allocate,
        Operation::Write,
        Operation::Sync,
        Operation::Rename,
        Operation::SyncDirectory,
    ] {
        let mut failed = 0;
        for after in 0.. {
            let disk = SimulatedDisk::new();
            disk.fail(Fault { on, under: "", after, kind: FaultKind::Io });
            if let Ok((_, local, _)) = try_open(&disk) {
                drop(local);
                break;
            }
            failed += 1;
            let (store, _local, _) = open(&disk);
            let mut user = User::default();
            user.append(&store, &[1, 2]).await;
            user.record(&store, 1).await;
            let (store, _local, _) = open(&disk.crash(Loss::Everything));
            user.check(&store, &format!("{on:?} {after}")).await;
        }
        assert!(failed > 0, "{on:?}");
    }
}

/// A write that does less than it was asked to, wherever it comes, is gone on with.
#[tokio::test]
async fn short_writes_are_completed() {
    for under in ["journal", "meta.redb"] {
        for after in 0.. {
            let disk = SimulatedDisk::new();
            disk.fail(Fault { on: Operation::Write, under, after, kind: FaultKind::Short });
            let (store, local, _) = open(&disk);
            let mut user = User::default();
            assert!(work_until_records_fail(&mut user, &store, 4).await.is_none(), "{under} {after}");
            local.close().await.unwrap();
            user.check(&open(&disk.crash(Loss::Everything)).0, &format!("{under} {after}")).await;
            if !disk.all_failed() {
                assert!(after > 5, "{under} {after}");
                break;
            }
        }
    }
}
