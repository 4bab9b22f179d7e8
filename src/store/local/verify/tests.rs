//! Every byte of every file is looked at, nothing is changed, and nothing good is called bad.

use std::collections::BTreeSet;

use super::*;
use crate::{
    journal::DamagedEvents,
    model::{Durability, Offset, Time},
    store::{
        Joiner, Store, Transaction,
        local::{LocalOptions, LocalStore},
        suite::{TestJoiner, block, topic},
    },
    sys::{Clock, Entropy, LockError, Loss, SimulatedDisk},
};

pub(super) const SEGMENT_BYTES: u64 = 2_500;

fn open(disk: &SimulatedDisk) -> (Store, LocalStore) {
    let options = LocalOptions { segment_bytes: SEGMENT_BYTES, durability: Durability::Fsync };
    let (store, local, _) = LocalStore::open(&disk.disk(), &Clock::real(), &Entropy::seeded(1), options).unwrap();
    (store, local)
}

pub(super) fn verify(disk: &SimulatedDisk) -> VerifiedStore {
    OfflineStore::open(&disk.disk()).unwrap().verify(&mut |_| Ok(())).unwrap()
}

/// A store with two sealed segments, an active one, a forgotten topic and a record.
pub(super) async fn filled(is_closed: bool) -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    let (store, local) = open(&disk);
    let mut next = 1;
    while store.blocks.stats().segments_sealed < 2 {
        for number in [1, 2] {
            store.blocks.append(block(topic(number), next, 2, 300)).await.unwrap();
        }
        next += 2;
    }
    for number in 1..4 {
        let base = if number == 3 { 1 } else { next };
        store.blocks.append(block(topic(number), base, 1, 40)).await.unwrap();
    }
    store.blocks.forget(topic(2)).await.unwrap();
    store.records.commit(Transaction::new().put("a", "value")).await.unwrap();
    if is_closed {
        local.close().await.unwrap();
    }
    disk.crash(Loss::Nothing)
}

fn files(disk: &SimulatedDisk) -> Vec<(String, u64)> {
    let disk = disk.disk();
    let names = disk.list("journal").unwrap().into_iter().map(|name| format!("journal/{name}"));
    let names = names.chain(["meta.redb".to_owned()]);
    names.map(|name| (name.clone(), disk.open(&name).unwrap().len().unwrap())).collect()
}

fn content(disk: &SimulatedDisk) -> Vec<Vec<u8>> {
    let read = |(name, len): (String, u64)| {
        let mut bytes = vec![0; usize::try_from(len).unwrap()];
        disk.disk().open(&name).unwrap().read_exact_at(&mut bytes, 0).unwrap();
        bytes
    };
    files(disk).into_iter().map(read).collect()
}

#[tokio::test]
async fn a_good_store_is_called_good_and_stays_as_it_is() {
    for is_closed in [true, false] {
        let disk = filled(is_closed).await;
        let before = content(&disk);
        let offline = OfflineStore::open(&disk.disk()).unwrap();
        let mut seen = BTreeSet::new();
        let found = offline.verify(&mut |block| {
            seen.insert((block.head.topic, block.head.base));
            Ok(())
        });
        let found = found.unwrap();
        assert_eq!((found.damage, found.torn, found.unknown), (vec![], None, vec![]), "closed: {is_closed}");
        assert_eq!((found.segments, found.topics, found.records), (3, 2, 1));
        assert_eq!(found.blocks, seen.len() as u64);
        assert_eq!(found.events, 2 * (found.blocks - 2) + 2, "the last blocks of topics 1 and 3 have one event");
        assert!(found.dead_blocks > 3 && !seen.iter().any(|(of, _)| *of == topic(2)));
        let record = offline.records().unwrap().get("a").await.unwrap().unwrap();
        assert_eq!(record.value, "value");
        assert!(content(&disk) == before, "it was written to");
    }
}

/// Compacts what [`filled`] has, with a clock that steps back in a block; gives how many operations that took before and behind.
async fn compacted() -> (SimulatedDisk, usize) {
    let disk = filled(true).await;
    let (store, local) = open(&disk);
    let mut next = store.blocks.extent(topic(1)).await.unwrap().next.get();
    for number in 0..20 {
        let mut block = block(topic(1), next, 1, 200);
        block.head.last_committed = Time::from_millis(if number % 2 == 0 { 10_000 } else { 20 });
        block.head.first_committed = block.head.last_committed;
        store.blocks.append(block).await.unwrap();
        next += 1;
    }
    let start = disk.operations();
    store.blocks.compact(Joiner::new(TestJoiner)).await.unwrap();
    assert!(store.blocks.stats().segments_replaced >= 2);
    local.close().await.unwrap();
    (disk, start)
}

/// What compaction made is good, and what an interrupted one left is neither damage nor unknown.
#[tokio::test]
async fn compaction_leaves_a_good_store_whenever_it_ends() {
    let (disk, start) = compacted().await;
    let found = verify(&disk);
    assert_eq!((found.damage, found.unknown, found.leftovers, found.dead_blocks), (vec![], vec![], vec![], 0));
    let mut leftovers = 0;
    for operations in start..=disk.operations() {
        for loss in [Loss::Everything, Loss::Nothing, Loss::Some(operations as u64)] {
            let crashed = disk.crash_after(operations, loss);
            let found = verify(&crashed);
            assert_eq!((found.damage, found.unknown), (vec![], vec![]), "{operations} operations, {loss:?}");
            let (_store, local) = open(&crashed);
            drop(local);
            assert_eq!(verify(&crashed).leftovers, [""; 0]);
            leftovers += found.leftovers.len();
        }
    }
    assert!(leftovers > 10, "{leftovers}");
}

#[tokio::test]
async fn a_changed_bit_is_found_in_a_compacted_segment() {
    let (disk, _) = compacted().await;
    let (file, len) = files(&disk).into_iter().find(|(file, _)| file.contains("compact-")).unwrap();
    for position in (0..len).step_by(7) {
        let bad = disk.crash(Loss::Nothing);
        let mut byte = [0];
        bad.disk().open(&file).unwrap().read_exact_at(&mut byte, position).unwrap();
        bad.damage(&file, position, &[byte[0] ^ 0x10]);
        let found = verify(&bad);
        assert!(found.damage.iter().any(|damage| damage.file == file), "{position}: {found:?}");
    }
}

/// A changed bit anywhere in a segment is found. What is written last and has no witness may be taken for a torn tail, as opening
/// does, and is reported as such.
#[tokio::test]
async fn a_changed_bit_is_found_wherever_it_is() {
    for is_closed in [true, false] {
        let disk = filled(is_closed).await;
        let mut torn = 0;
        for (file, len) in files(&disk).iter().filter(|(file, _)| file.starts_with("journal/")) {
            for position in (0..*len).step_by(if is_closed { 43 } else { 97 }) {
                let bad = disk.crash(Loss::Nothing);
                let mut byte = [0];
                bad.disk().open(file).unwrap().read_exact_at(&mut byte, position).unwrap();
                bad.damage(file, position, &[byte[0] ^ 0x10]);
                let found = verify(&bad);
                let place = format!("{file} at {position}: {found:?}");
                if let Some(cut) = &found.torn {
                    assert!(
                        cut.file == *file && cut.position <= position && cut.position + cut.bytes > position,
                        "{place}"
                    );
                    assert!(found.damage.is_empty(), "{place}");
                    torn += 1;
                } else {
                    assert!(found.damage.iter().any(|damage| damage.file == *file), "{place}");
                }
            }
        }
        assert!(torn > 10, "{torn}");
    }
}

/// What verify calls good opens, and what it calls torn is cut there and nowhere else.
#[tokio::test]
async fn the_judgement_is_that_of_opening() {
    let disk = filled(false).await;
    let (file, len) = files(&disk)[2].clone();
    for position in (0..len).step_by(13) {
        let bad = disk.crash(Loss::Nothing);
        bad.damage(&file, position, b"\xee\xee\xee\xee");
        let found = verify(&bad);
        let options = LocalOptions { segment_bytes: SEGMENT_BYTES, durability: Durability::Fsync };
        let opened = LocalStore::open(&bad.disk(), &Clock::real(), &Entropy::seeded(1), options);
        match opened {
            Ok((_, _, report)) if report.cut.is_some() => assert_eq!(found.torn, report.cut, "{position}: {found:?}"),
            // A payload before the last group is not read when the store is opened.
            Ok(_) => assert!(found.damage.iter().all(|damage| damage.events.is_some()), "{position}: {found:?}"),
            Err(error) => assert!(!found.damage.is_empty(), "{position}: {error:?}, but {found:?}"),
        }
    }
}

#[tokio::test]
async fn a_lost_frame_is_named_with_its_events() {
    let disk = filled(true).await;
    let (file, len) = files(&disk)[0].clone();
    let before = verify(&disk);
    let mut bytes = vec![0; usize::try_from(len).unwrap()];
    disk.disk().open(&file).unwrap().read_exact_at(&mut bytes, 0).unwrap();
    let second = bytes.windows(4).enumerate().filter(|(_, window)| *window == b"EnFr").nth(1).unwrap().0 as u64;
    disk.damage(&file, second, &[0; 140]);
    let found = verify(&disk);
    let events = DamagedEvents { topic: topic(2), first: Offset::new(1), last: Offset::new(2) };
    let expected =
        Damage { file, position: Some(second), what: "frame 2 is not intact".to_owned(), events: Some(events) };
    assert_eq!(found.damage, [expected]);
    assert_eq!((found.blocks, found.dead_blocks), (before.blocks, before.dead_blocks - 1));
}

#[tokio::test]
async fn the_catalogue_is_compared_with_the_segments() {
    let disk = filled(true).await;
    let good = disk.crash(Loss::Nothing);
    disk.disk().remove("journal/00000000000000000001.seg").unwrap();
    let what = |found: &VerifiedStore| found.damage.iter().map(|damage| damage.what.clone()).collect::<Vec<_>>();
    let found = verify(&disk);
    assert_eq!(what(&found), ["the file is missing"]);

    // The last segment as it was before the last events: nothing but the note of the clean stop tells.
    let disk = good.crash(Loss::Nothing);
    let (file, len) = files(&disk)[2].clone();
    disk.damage(&file, 64, &vec![0; usize::try_from(len - 64).unwrap()]);
    let found = verify(&disk);
    assert!(what(&found)[0].ends_with("are missing"), "{found:?}");

    let disk = good.crash(Loss::Nothing);
    disk.disk().remove("meta.redb").unwrap();
    let found = verify(&disk);
    assert_eq!(what(&found), ["the file is missing"]);
    assert_eq!(found.segments, 3, "the segments are gone through all the same");
    assert!(found.blocks > 5);
}

#[tokio::test]
async fn a_store_in_use_is_refused() {
    let disk = SimulatedDisk::new();
    let (_store, local) = open(&disk);
    match OfflineStore::open(&disk.disk()) {
        Err(OpenError::Lock(LockError::Held { pid })) => assert_eq!(pid, Some(std::process::id())),
        other => panic!("{other:?}"),
    }
    drop(local);
    assert!(is_store(&disk.disk()).unwrap());
    assert!(!is_store(&SimulatedDisk::new().disk()).unwrap());
    verify(&disk);
}
