//! Compaction under crashes, faults and damage, with blocks and records on one simulated disk.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{LocalOptions, LocalStore, RecoveryReport};
use crate::{
    model::{Durability, Offset, TopicId},
    store::{
        Block, CompactError, Joiner, Store,
        suite::{TestJoiner, UNKNOWN_KEY, block, events, topic},
    },
    sys::{Clock, Disk, Entropy, Fault, FaultKind, Loss, Operation, SimulatedDisk},
};

const OPTIONS: LocalOptions = LocalOptions { segment_bytes: 6_000, durability: Durability::Fsync };

fn open(disk: &SimulatedDisk) -> (Store, LocalStore, RecoveryReport) {
    LocalStore::open(&disk.disk(), &Clock::real(), &Entropy::seeded(1), OPTIONS).unwrap()
}

fn joiner() -> Joiner {
    Joiner::new(TestJoiner)
}

/// The block of a topic at an offset in these tests; some are too large to be joined, and some can't be decoded.
fn nth(topic: TopicId, base: u64) -> Block {
    let count = u32::try_from(base % 3).unwrap() + 1;
    let mut block = block(topic, base, count, usize::try_from(base * 71 % 200).unwrap());
    match base % 23 {
        5 => block.head.raw_bytes = 1 << 20,
        7 => block.head.key_version = UNKNOWN_KEY,
        _ => {}
    }
    block
}

/// What a user knows of the topics: how far each one was acked, and how far it may reach.
#[derive(Debug, Clone, Default)]
struct User {
    topics: BTreeMap<TopicId, (u64, u64)>,
    /// Topics that are being forgotten, and whether that was acked.
    forgotten: BTreeMap<TopicId, bool>,
}

impl User {
    async fn append(&mut self, store: &Store, topics: &[u8]) {
        let mut under_way = Vec::new();
        for topic in topics.iter().map(|number| topic(*number)).filter(|topic| !self.forgotten.contains_key(topic)) {
            let (_, tried) = self.topics.entry(topic).or_insert((1, 1));
            let block = nth(topic, *tried);
            *tried = block.head.end().get();
            under_way.push((topic, *tried, store.blocks.append(block)));
        }
        for (topic, end, append) in under_way {
            append.await.unwrap();
            self.topics.get_mut(&topic).unwrap().0 = end;
        }
    }

    async fn forget(&mut self, store: &Store, number: u8) {
        self.forgotten.insert(topic(number), false);
        store.blocks.forget(topic(number)).await.unwrap();
        self.forgotten.insert(topic(number), true);
    }

    /// Everything is there that was acked, as it was appended, whichever blocks it is in now.
    async fn check(&self, store: &Store, place: &str) {
        for (topic, (acked, tried)) in &self.topics {
            let next = store.blocks.extent(*topic).await.unwrap().next.get();
            let found = events(store, *topic).await;
            match self.forgotten.get(topic) {
                Some(true) => assert_eq!((next, found.len()), (1, 0), "{place}: {topic} was forgotten"),
                Some(false) if next == 1 => {}
                _ => {
                    assert!((*acked..=*tried).contains(&next), "{place}: {topic} has {next}, of {acked} to {tried}");
                    let appended = until(*topic, next);
                    let expected: Vec<u8> = appended.iter().flat_map(|block| block.payload.to_vec()).collect();
                    assert_eq!(found, expected, "{place}: {topic}");
                    check_heads(store, &appended, *topic, place).await;
                }
            }
        }
    }

    /// Takes what is there for what is known. Nothing tells a topic that was forgotten from one that has no blocks, so that an
    /// empty one whose forgetting was under way counts as forgotten.
    async fn adopt(&mut self, store: &Store) {
        for (topic, (acked, tried)) in &mut self.topics {
            let next = store.blocks.extent(*topic).await.unwrap().next.get();
            (*acked, *tried) = (next, next);
        }
        let topics = &self.topics;
        self.forgotten.retain(|topic, _| topics.get(topic).is_none_or(|(next, _)| *next == 1));
        self.forgotten.values_mut().for_each(|forgotten| *forgotten = true);
    }
}

/// The blocks of a topic as they were appended, up to an offset.
fn until(topic: TopicId, end: u64) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    while blocks.last().map_or(1, |block| block.head.end().get()) < end {
        blocks.push(nth(topic, blocks.last().map_or(1, |block| block.head.end().get())));
    }
    blocks
}

/// Identifiers and times of joined blocks are those of the blocks that they were made of.
async fn check_heads(store: &Store, appended: &[Block], topic: TopicId, place: &str) {
    let mut appended = appended.iter();
    for found in store.blocks.read(topic, Offset::FIRST, usize::MAX).await.unwrap() {
        let first = appended.next().unwrap();
        let mut last = first;
        while last.head.end() < found.head.end() {
            last = appended.next().unwrap();
        }
        let head = &found.head;
        assert_eq!(
            (head.first_rlid, head.first_committed),
            (first.head.first_rlid, first.head.first_committed),
            "{place}"
        );
        assert_eq!((head.last_rlid, head.last_committed), (last.head.last_rlid, last.head.last_committed), "{place}");
        assert_eq!(head.end(), last.head.end(), "{place}");
    }
}

/// After a compaction nothing is dead, and no file is there that the catalogue does not know.
fn check_tidy(disk: &SimulatedDisk, store: &Store, place: &str) {
    let stats = store.blocks.stats();
    assert_eq!(stats.dead_bytes, 0, "{place}: {stats:?}");
    let files = disk.disk().list("journal").unwrap();
    // The active one, and one that was sealed when the power failed and has no successor yet.
    let others = files.len() as u64 - stats.sealed_segments;
    assert!((1..=2).contains(&others), "{place}: {files:?}");
}

/// What was known at a crash point: what was answered by then, and what was asked for until the next answer.
fn known_at(moments: &[(usize, User)], operations: usize) -> User {
    let next = moments.partition_point(|(at, _)| *at <= operations);
    let mut user = moments[next.saturating_sub(1)].1.clone();
    if let Some((_, later)) = moments.get(next) {
        for (topic, (_, tried)) in &later.topics {
            user.topics.entry(*topic).or_insert((1, 1)).1 = *tried;
        }
        for topic in later.forgotten.keys() {
            user.forgotten.entry(*topic).or_insert(false);
        }
    }
    user
}

const ROUNDS: [[u8; 9]; 9] = [
    [1, 2, 3, 1, 1, 1, 3, 2, 1],
    [1, 1, 2, 2, 2, 3, 4, 4, 4],
    [1, 1, 1, 1, 1, 1, 1, 1, 1],
    [5, 6, 7, 8, 9, 10, 11, 12, 13],
    [1, 2, 3, 4, 5, 6, 7, 8, 9],
    [3, 3, 3, 3, 3, 2, 2, 2, 1],
    [1, 2, 1, 2, 1, 2, 1, 2, 1],
    [4, 4, 4, 4, 9, 9, 9, 1, 1],
    [1, 1, 1, 2, 2, 2, 3, 3, 3],
];

/// Every crash point of compactions, among appends, with several images each: the old segments or the new ones, every event,
/// and nothing left over.
#[tokio::test]
#[expect(clippy::print_stdout, reason = "how many images there were is part of the result")]
async fn every_crash_point() {
    let disk = SimulatedDisk::new();
    let (store, local, _) = open(&disk);
    let mut user = User::default();
    let mut moments = vec![(disk.operations(), user.clone())];
    let mut compactions = Vec::new();
    for (round, topics) in ROUNDS.iter().cycle().take(27).enumerate() {
        user.append(&store, topics).await;
        moments.push((disk.operations(), user.clone()));
        if round % 9 == 8 {
            user.forget(&store, u8::try_from(round / 9 + 2).unwrap()).await;
            moments.push((disk.operations(), user.clone()));
            let start = disk.operations();
            store.blocks.compact(joiner()).await.unwrap();
            compactions.push((start, disk.operations()));
            user.check(&store, &format!("round {round}")).await;
        }
    }
    let stats = store.blocks.stats();
    assert!(stats.segments_replaced > 10 && stats.bytes_compacted > 0, "{stats:?}");
    check_tidy(&disk, &store, "at the end");
    local.close().await.unwrap();

    let (mut images, mut leftovers) = (0, 0);
    for operations in compactions.into_iter().flat_map(|(start, end)| start..=end) {
        let known = known_at(&moments, operations);
        for loss in Loss::at_point(operations, 6) {
            let place = format!("{operations} operations, {loss:?}");
            let crashed = disk.crash_after(operations, loss);
            let (store, local, report) = open(&crashed);
            assert_eq!(report.unknown, [""; 0], "{place}");
            known.check(&store, &place).await;
            images += 1;
            leftovers += report.removed.len();
            if images % 13 == 0 {
                let mut known = known.clone();
                known.adopt(&store).await;
                store.blocks.compact(joiner()).await.unwrap();
                known.check(&store, &place).await;
                check_tidy(&crashed, &store, &place);
                known.append(&store, &[1, 1, 6]).await;
                drop(local);
                let (store, _local, report) = open(&crashed.crash(Loss::Everything));
                assert_eq!((report.unknown.len(), report.removed.len()), (0, 0), "{place}");
                known.check(&store, &place).await;
            }
        }
    }
    println!("{images} images, {leftovers} files of interrupted compactions removed");
    assert!(images >= 2_000 && leftovers > 50);
}

mod random {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Append(Vec<u8>),
        Forget(u8),
        Compact,
        /// Compaction runs while blocks are appended.
        CompactMeanwhile(Vec<u8>),
        /// The power fails some operations ago, or now.
        Crash {
            ago: usize,
            seed: u64,
        },
        Close,
    }

    fn any_step() -> impl Strategy<Value = Step> {
        let topics = || prop::collection::vec(0..6_u8, 1..40);
        prop_oneof![
            10 => topics().prop_map(Step::Append),
            1 => (0..6_u8).prop_map(Step::Forget),
            3 => Just(Step::Compact),
            3 => topics().prop_map(Step::CompactMeanwhile),
            3 => (0..40_usize, any::<u64>()).prop_map(|(ago, seed)| Step::Crash { ago, seed }),
            1 => Just(Step::Close),
        ]
    }

    async fn run(steps: Vec<Step>) {
        let mut disk = SimulatedDisk::new();
        let mut user = User::default();
        let (mut store, mut local, _) = open(&disk);
        let mut moments = vec![(disk.operations(), user.clone())];
        for (number, step) in steps.into_iter().enumerate() {
            let place = format!("step {number}, {step:?}");
            match step {
                Step::Append(topics) => user.append(&store, &topics).await,
                Step::Forget(topic) => user.forget(&store, topic).await,
                Step::Compact => {
                    store.blocks.compact(joiner()).await.unwrap();
                    user.check(&store, &place).await;
                }
                Step::CompactMeanwhile(topics) => {
                    let compaction = store.blocks.clone();
                    let compaction = async move { compaction.compact(joiner()).await };
                    let (compacted, ()) = tokio::join!(compaction, user.append(&store, &topics));
                    compacted.unwrap();
                    user.check(&store, &place).await;
                }
                Step::Close => {
                    local.close().await.unwrap();
                    (store, local, _) = open(&disk);
                    user.check(&store, &place).await;
                }
                Step::Crash { ago, seed } => {
                    drop(local);
                    let operations = disk.operations().saturating_sub(ago).max(moments[0].0);
                    user = known_at(&moments, operations);
                    disk = disk.crash_after(operations, Loss::Some(seed));
                    let report;
                    (store, local, report) = open(&disk);
                    assert_eq!(report.unknown, [""; 0], "{place}");
                    user.check(&store, &place).await;
                    user.adopt(&store).await;
                    moments.clear();
                }
            }
            moments.push((disk.operations(), user.clone()));
        }
        store.blocks.compact(joiner()).await.unwrap();
        user.check(&store, "at the end").await;
        check_tidy(&disk, &store, "at the end");
        local.close().await.unwrap();
        user.check(&open(&disk).0, "closed and opened").await;
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]
        #[test]
        fn compactions_crashes_and_reopenings(steps in prop::collection::vec(any_step(), 1..40)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(run(steps));
        }
    }
}

/// A store with something to compact: small blocks of several topics, one of them forgotten.
async fn untidy(disk: &SimulatedDisk) -> (Store, LocalStore, User) {
    let (store, local, _) = open(disk);
    let mut user = User::default();
    for topics in &ROUNDS {
        user.append(&store, topics).await;
    }
    user.forget(&store, 2).await;
    (store, local, user)
}

/// Whatever fails while segments are compacted, appends and reads go on, and it works the next time.
#[tokio::test]
async fn a_failure_costs_nothing_but_the_attempt() {
    let mut failures = 0;
    for on in [
        Operation::Create,
        Operation::Write,
        Operation::Sync,
        Operation::Rename,
        Operation::SyncDirectory,
        Operation::Remove,
    ] {
        for kind in [FaultKind::Io, FaultKind::NoSpace] {
            // The first sync of the directory is the journal's own, for the segment that follows the one that is sealed.
            for after in u64::from(on == Operation::SyncDirectory).. {
                let place = format!("{on:?} {kind:?} {after}");
                let disk = SimulatedDisk::new();
                let (store, local, mut user) = untidy(&disk).await;
                let under = match on {
                    Operation::SyncDirectory | Operation::Remove => "journal",
                    _ => "journal/compact-",
                };
                disk.fail(Fault { on, under, after, kind });
                let compacted = store.blocks.compact(joiner()).await;
                user.check(&store, &place).await;
                if !disk.all_failed() {
                    compacted.unwrap();
                    break;
                }
                failures += 1;
                assert!(store.blocks.health().is_ok(), "{place}: {compacted:?}");
                user.append(&store, &[1, 1, 3]).await;
                store.blocks.compact(joiner()).await.unwrap();
                user.check(&store, &place).await;
                drop(local);
                let (store, _local, report) = open(&disk.crash(Loss::Everything));
                assert_eq!(report.unknown, [""; 0], "{place}");
                user.check(&store, &place).await;
            }
        }
    }
    assert!(failures > 20, "{failures}");
}

/// When there is no room for the segment behind the one that is sealed, the rest is compacted all the same.
#[tokio::test]
async fn what_cannot_be_sealed_is_left_for_later() {
    let disk = SimulatedDisk::new();
    let (store, _local, mut user) = untidy(&disk).await;
    disk.fail(Fault { on: Operation::Create, under: "journal/0", after: 0, kind: FaultKind::NoSpace });
    store.blocks.compact(joiner()).await.unwrap();
    assert!(disk.all_failed() && store.blocks.health().is_ok());
    user.check(&store, "without room").await;
    let before = store.blocks.stats().segments_replaced;
    assert!(before > 0);
    user.append(&store, &[1, 3]).await;
    store.blocks.compact(joiner()).await.unwrap();
    user.check(&store, "with room").await;
    assert!(store.blocks.stats().segments_replaced > before);
}

/// When the catalogue can't be written, it is looked at what came of it, and nothing is lost either way.
#[tokio::test]
async fn a_failed_exchange_leaves_the_old_segments_or_the_new_ones() {
    for on in [Operation::Write, Operation::Sync] {
        for after in 0..12 {
            let place = format!("{on:?} {after}");
            let disk = SimulatedDisk::new();
            let (store, local, user) = untidy(&disk).await;
            disk.fail(Fault { on, under: "meta.redb", after, kind: FaultKind::Io });
            drop(store.blocks.compact(joiner()).await);
            drop(local);
            for loss in [Loss::Everything, Loss::Nothing, Loss::Some(after)] {
                let (store, _local, report) = open(&disk.crash(loss));
                assert_eq!(report.unknown, [""; 0], "{place}");
                user.check(&store, &place).await;
                store.blocks.compact(joiner()).await.unwrap();
                user.check(&store, &place).await;
            }
        }
    }
}

/// Compaction must not make a bad block look like a good one, nor keep others from being read.
#[tokio::test]
async fn a_damaged_block_stays_where_it_is() {
    let disk = SimulatedDisk::new();
    let (store, local, user) = untidy(&disk).await;
    let bad = until(topic(1), 40).into_iter().find(|block| block.payload.len() > 100).unwrap();
    let file = "journal/00000000000000000001.seg";
    let mut bytes = vec![0; 6_000];
    disk.disk().open(file).unwrap().read_at(&mut bytes, 0).unwrap();
    let at = bytes.windows(bad.payload.len()).position(|window| *window == bad.payload).unwrap() as u64;
    disk.damage(file, at + 3, b"!");
    store.blocks.compact(joiner()).await.unwrap();
    assert!(disk.disk().list("journal").unwrap().iter().any(|name| file.ends_with(name.as_str())));
    assert!(store.blocks.stats().segments_replaced > 0, "the others are compacted");
    store.blocks.read(topic(1), bad.head.base, 1).await.unwrap_err();
    let behind = store.blocks.read(topic(1), bad.head.end(), usize::MAX).await.unwrap();
    assert_eq!(behind.last().unwrap().head.end().get(), user.topics[&topic(1)].0);
    local.close().await.unwrap();
}

/// A store that is closed in the middle of a compaction is closed at once, and goes on with it the next time.
#[tokio::test]
async fn closing_interrupts() {
    for at in 0..20 {
        let disk = SimulatedDisk::new();
        let (store, local, user) = untidy(&disk).await;
        let blocks = store.blocks.clone();
        let waiting = tokio::spawn(async move { blocks.compact(joiner()).await });
        for _ in 0..at {
            tokio::task::yield_now().await;
        }
        local.close().await.unwrap();
        assert!(matches!(waiting.await.unwrap(), Ok(()) | Err(CompactError::Closed)));
        let (store, _local, report) = open(&disk);
        assert_eq!(report.unknown, [""; 0]);
        user.check(&store, "opened again").await;
        store.blocks.compact(joiner()).await.unwrap();
        user.check(&store, "compacted").await;
        check_tidy(&disk, &store, "compacted");
    }
}

/// Reads a topic up to an end in pieces, from the start on, and seeks in it: all of it is as it was appended.
async fn read_in_pieces(store: &Store, topic: TopicId, end: u64) {
    let appended = until(topic, end);
    let expected: Vec<u8> = appended.iter().flat_map(|block| block.payload.to_vec()).collect();
    let (mut found, mut from) = (Vec::new(), Offset::FIRST);
    while from.get() < end {
        for block in store.blocks.read(topic, from, 300).await.unwrap() {
            // What was joined since the last piece may begin before this one; then a reader skips what it has.
            let is_known = |known: &&Block| known.head.base >= block.head.base && known.head.base < from;
            let bytes: usize = appended.iter().filter(is_known).map(|known| known.payload.len()).sum();
            found.extend_from_slice(&block.payload[bytes..]);
            from = block.head.end();
        }
    }
    assert!(found.starts_with(&expected), "{topic}");
    for block in appended.iter().step_by(7) {
        let sought = store.blocks.seek_event(topic, block.head.first_rlid).await.unwrap();
        assert!(sought <= block.head.base, "{topic}");
        let there = store.blocks.read(topic, sought, 1).await.unwrap();
        assert!(there[0].head.end() > block.head.base, "{topic}: {sought} is not where {} is", block.head.base);
    }
}

/// On real files: readers that are in the middle of what is replaced notice nothing, whether they hold its file, have looked it up and
/// not opened it yet, or come for it when it is gone. There are more segments than are held open, so all of these happen.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_go_on_over_what_is_replaced() {
    let root = tempfile::tempdir().unwrap();
    let disk = Disk::real(root.path()).unwrap();
    let (store, local, _) = LocalStore::open(&disk, &Clock::real(), &Entropy::seeded(1), OPTIONS).unwrap();
    let mut user = User::default();
    for _ in 0..30 {
        for topics in &ROUNDS {
            user.append(&store, topics).await;
        }
    }
    assert!(store.blocks.stats().sealed_segments > 70, "{:?}", store.blocks.stats());
    let going_on = Arc::new(AtomicBool::new(true));
    let readers: Vec<_> = [1, 2, 3, 1]
        .map(|number| {
            let (store, going_on) = (store.clone(), Arc::clone(&going_on));
            let end = user.topics[&topic(number)].0;
            tokio::spawn(async move {
                let mut passes = 0;
                while passes == 0 || going_on.load(Ordering::Relaxed) {
                    read_in_pieces(&store, topic(number), end).await;
                    passes += 1;
                }
            })
        })
        .into();
    let mut written = user.clone();
    for round in 0..4 {
        let compacting = store.blocks.clone();
        let compaction = async move { compacting.compact(joiner()).await };
        let (compacted, ()) = tokio::join!(compaction, async {
            for topics in &ROUNDS {
                written.append(&store, topics).await;
            }
        });
        compacted.unwrap();
        written.check(&store, &format!("round {round}")).await;
    }
    going_on.store(false, Ordering::Relaxed);
    for reader in readers {
        reader.await.unwrap();
    }
    assert!(store.blocks.stats().segments_replaced > 70, "{:?}", store.blocks.stats());
    local.close().await.unwrap();
}

/// Whether enough is dead for the background to do something about it.
fn is_untidy(store: &Store) -> bool {
    let stats = store.blocks.stats();
    stats.segments_replaced == 0 || stats.dead_bytes * 8 >= stats.sealed_bytes
}

/// In the background it happens by itself, once segments are sealed or topics forgotten, and what is tidy is left alone.
#[tokio::test]
async fn the_background_finds_what_there_is_to_gain() {
    let disk = SimulatedDisk::new();
    let (store, local, mut user) = untidy(&disk).await;
    store.blocks.compact_in_background(joiner());
    while is_untidy(&store) {
        tokio::task::yield_now().await;
    }
    user.check(&store, "after the first").await;
    user.append(&store, &[6; 3]).await;
    user.forget(&store, 3).await;
    while is_untidy(&store) {
        tokio::task::yield_now().await;
    }
    user.check(&store, "after the second").await;
    store.blocks.compact(joiner()).await.unwrap();
    let before = store.blocks.stats();
    store.blocks.compact(joiner()).await.unwrap();
    assert_eq!(store.blocks.stats(), before);
    local.close().await.unwrap();

    let disk = SimulatedDisk::new();
    let (store, _local, _) = open(&disk);
    let mut next = 1;
    while store.blocks.stats().segments_sealed < 5 {
        let mut block = block(topic(1), next, 1, 1_000);
        block.head.raw_bytes = 1 << 18;
        store.blocks.append(block).await.unwrap();
        next += 1;
    }
    store.blocks.compact(joiner()).await.unwrap();
    assert_eq!(store.blocks.stats().segments_replaced, 0, "a bulk load is not rewritten");
}
