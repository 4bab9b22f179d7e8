//! Records that were deleted for good: nothing of them is left in any file, whenever the power fails.

use super::*;
use crate::sys::SimulatedDisk;

/// A value that is easy to find again.
fn secret(number: u8) -> Vec<u8> {
    format!("<<the secret of record {number}>>").repeat(3).into_bytes()
}

fn key(number: u8) -> Vec<u8> {
    vec![b's', number]
}

/// Whether the bytes stand in any of the files that have a name.
fn is_anywhere(disk: &SimulatedDisk, bytes: &[u8]) -> bool {
    let disk = disk.disk();
    disk.list("").unwrap().iter().any(|name| {
        let file = disk.open(name).unwrap();
        let mut content = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        file.read_exact_at(&mut content, 0).unwrap();
        content.windows(bytes.len()).any(|window| window == bytes)
    })
}

async fn put(store: &Store, number: u8) {
    store.records.commit(Transaction::new().put(key(number), secret(number))).await.unwrap();
}

async fn delete(store: &Store, number: u8) {
    store.records.commit(Transaction::new().delete(key(number))).await.unwrap();
}

async fn has(store: &Store, number: u8) -> bool {
    let found = store.records.get(key(number)).await.unwrap();
    found.is_some_and(|record| record.value == secret(number))
}

#[tokio::test]
async fn what_was_deleted_is_in_no_file_any_more() {
    let disk = SimulatedDisk::new();
    let (store, local, _) = open(&disk);
    for number in 0..40 {
        put(&store, number).await;
    }
    delete(&store, 7).await;
    assert!(is_anywhere(&disk, &secret(7)), "without this the test shows nothing");
    store.records.scrub().await.unwrap();
    assert!(!is_anywhere(&disk, &secret(7)));
    for number in (0..40).filter(|number| *number != 7) {
        assert!(has(&store, number).await, "{number}");
    }
    // Everything goes on in the new file, blocks too, and it is found again.
    put(&store, 41).await;
    store.blocks.append(nth(topic(1), 1)).await.unwrap();
    local.close().await.unwrap();
    assert!(!is_anywhere(&disk, &secret(7)));
    let (store, _local, report) = open(&disk);
    assert!(!report.created && has(&store, 41).await && !has(&store, 7).await);
    assert!(store.blocks.extent(topic(1)).await.unwrap().next > Offset::FIRST);
}

/// At every point there is the old file or the new one, with all records, and opening removes what was left of a copy.
#[tokio::test]
async fn every_crash_point() {
    let disk = SimulatedDisk::new();
    let (store, local, _) = open(&disk);
    for number in 0..20 {
        put(&store, number).await;
    }
    delete(&store, 3).await;
    let start = disk.operations();
    store.records.scrub().await.unwrap();
    let end = disk.operations();
    put(&store, 21).await;
    let last = disk.operations();
    local.close().await.unwrap();
    assert!(end > start + 5);
    for operations in start..=last {
        for loss in Loss::at_point(operations, 3) {
            let place = format!("{operations} operations of {start} to {end}, {loss:?}");
            let crashed = disk.crash_after(operations, loss);
            let (store, local, _) = try_open(&crashed).unwrap_or_else(|error| panic!("{place}: {error:?}"));
            for number in (0..20).filter(|number| *number != 3) {
                assert!(has(&store, number).await, "{place}: {number}");
            }
            assert!(!has(&store, 3).await, "{place}");
            assert!(!crashed.disk().list("").unwrap().iter().any(|name| name == "meta.redb.new"), "{place}");
            if operations >= end {
                assert!(!is_anywhere(&crashed, &secret(3)), "{place}");
            }
            store.records.scrub().await.unwrap();
            assert!(!is_anywhere(&crashed, &secret(3)), "{place}");
            put(&store, 30).await;
            drop(local);
            let (store, _local, _) = open(&crashed.crash(Loss::Everything));
            assert!(has(&store, 30).await, "{place}");
        }
    }
}

/// A disk that fails on the way leaves the old file, and records go on; one that fails at the exchange ends the writing of records.
#[tokio::test]
async fn a_failure_loses_nothing() {
    let faults = [
        (Operation::Create, FaultKind::Io),
        (Operation::Allocate, FaultKind::NoSpace),
        (Operation::Write, FaultKind::NoSpace),
        (Operation::Sync, FaultKind::Io),
        (Operation::Rename, FaultKind::Io),
        (Operation::SyncDirectory, FaultKind::Io),
    ];
    for (on, kind) in faults {
        let disk = SimulatedDisk::new();
        let (store, local, _) = open(&disk);
        put(&store, 1).await;
        put(&store, 2).await;
        delete(&store, 1).await;
        let under = if on == Operation::SyncDirectory { "" } else { "meta.redb.new" };
        disk.fail(Fault { on, under, after: 0, kind });
        assert!(store.records.scrub().await.is_err(), "{on:?}");
        assert!(disk.all_failed(), "{on:?}");
        assert!(has(&store, 2).await, "{on:?}");
        let exchanging = matches!(on, Operation::Rename | Operation::SyncDirectory);
        assert_eq!(store.health().is_err(), exchanging, "{on:?}");
        if !exchanging {
            put(&store, 5).await;
            store.records.scrub().await.unwrap();
            assert!(!is_anywhere(&disk, &secret(1)), "{on:?}");
        }
        drop(local);
        let (store, _local, _) = open(&disk.crash(Loss::Everything));
        assert!(has(&store, 2).await && !has(&store, 1).await, "{on:?}");
        assert!(exchanging || has(&store, 5).await, "{on:?}");
    }
}

/// Records are read and written while the database is exchanged, without a failure and without a loss.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_go_on_meanwhile() {
    let disk = SimulatedDisk::new();
    let (store, local, _) = open(&disk);
    put(&store, 0).await;
    let busy = store.clone();
    let writing = tokio::spawn(async move {
        for number in 1..60 {
            put(&busy, number).await;
            assert!(has(&busy, number / 2).await);
        }
    });
    for _ in 0..12 {
        store.records.scrub().await.unwrap();
    }
    writing.await.unwrap();
    for number in 0..60 {
        assert!(has(&store, number).await, "{number}");
    }
    local.close().await.unwrap();
}
