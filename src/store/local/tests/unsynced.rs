//! Blocks that are answered before the disk has them, and records, which never are.

use super::*;

const UNSYNCED: LocalOptions = LocalOptions { durability: Durability::Os, ..OPTIONS };

fn open_unsynced(disk: &SimulatedDisk) -> (Store, LocalStore, RecoveryReport) {
    LocalStore::open(&disk.disk(), &Clock::real(), &Entropy::seeded(1), UNSYNCED).unwrap()
}

/// How far a topic is, after a look at every block.
async fn first_blocks(store: &Store, topic: TopicId, place: &str) -> u64 {
    let extent = store.blocks.extent(topic).await.unwrap();
    let mut base = 1;
    for block in store.blocks.read(topic, Offset::FIRST, usize::MAX).await.unwrap() {
        assert_eq!(block, nth(topic, base), "{place}");
        base = block.head.end().get();
    }
    assert_eq!(base, extent.next.get(), "{place}");
    base
}

/// Every crash point of a workload whose blocks are not synced: each topic has its first blocks, all that were acked when
/// only the process died, and keeps what it has shown. Records are there when they were answered, also when the blocks
/// that they are about are not.
#[tokio::test]
#[expect(clippy::print_stdout, reason = "how many images there were is part of the result")]
async fn every_crash_point_leaves_the_first_blocks_of_each_topic() {
    let disk = SimulatedDisk::new();
    let (store, local, _) = open_unsynced(&disk);
    let mut user = User::default();
    let mut moments = vec![(disk.operations(), user.clone())];
    for (append, record) in
        [(&[1, 2, 3, 1][..], 1), (&[2, 2, 2, 4], 2), (&[4, 1, 3, 3, 2], 4), (&[1, 1, 3, 1, 1], 1), (&[3, 4, 4, 2], 3)]
    {
        user.append(&store, append).await;
        moments.push((disk.operations(), user.clone()));
        user.record(&store, record).await;
        moments.push((disk.operations(), user.clone()));
    }
    assert!(store.blocks.stats().segments_sealed >= 2, "{:?}", store.blocks.stats());
    assert_eq!(store.blocks.stats().syncs.iter().sum::<u64>(), 0);
    let started = moments[0].0;
    let (mut images, mut shorter) = (0_u64, 0);
    for operations in started..=disk.operations() {
        let known = known_at(&moments, operations);
        for loss in [Loss::Everything, Loss::Nothing, Loss::Some(images), Loss::Some(!images)] {
            let place = format!("{operations} operations, {loss:?}");
            let crashed = disk.crash_after(operations, loss);
            let (store, local, _) = open_unsynced(&crashed);
            images += 1;
            let mut shown = BTreeMap::new();
            for (topic, known) in &known.topics {
                let next = first_blocks(&store, *topic, &place).await;
                assert!(next <= known.tried, "{place}: {topic} has {next}, {known:?}");
                assert!(loss != Loss::Nothing || next >= known.acked, "{place}: {topic} has {next}, {known:?}");
                shorter += u64::from(next < known.acked);
                let record = store.records.get(record_key(*topic)).await.unwrap();
                let recorded = record.map_or(0, |record| u64::from_le_bytes(record.value[..].try_into().unwrap()));
                assert!((known.recorded..=known.recording).contains(&recorded), "{place}: {recorded}, {known:?}");
                shown.insert(*topic, next);
            }
            drop(local);
            let (store, _local, _) = open_unsynced(&crashed.crash(Loss::Everything));
            for (topic, next) in shown {
                assert_eq!(first_blocks(&store, topic, &place).await, next, "{place}");
            }
        }
    }
    println!("{images} images of {} operations, {shorter} topics without acked blocks", disk.operations());
    assert!(images > 300 && shorter > 100, "{images} images, {shorter} topics without acked blocks");
    local.close().await.unwrap();
    let (store, _local, _) = open_unsynced(&disk.crash(Loss::Everything));
    user.check(&store, "after an orderly stop").await;
}
