//! Crashes, faults and damage, with blocks and records on one simulated disk.

mod faults;
mod scrubbing;
mod stale;
mod unsynced;

use std::collections::BTreeMap;

use super::{LocalOptions, LocalStore, OpenError, RecoveryReport};
use crate::{
    model::{Durability, Offset, TopicId},
    store::{
        AppendError, Block, Extent, HealthError, ReadError, RecordError, Store, Transaction,
        suite::{block, topic},
    },
    sys::{Clock, Entropy, Fault, FaultKind, LockError, Loss, Operation, SimulatedDisk},
};

const OPTIONS: LocalOptions = LocalOptions { segment_bytes: 2_500, durability: Durability::Fsync };

fn try_open(disk: &SimulatedDisk) -> Result<(Store, LocalStore, RecoveryReport), OpenError> {
    LocalStore::open(&disk.disk(), &Clock::real(), &Entropy::seeded(1), OPTIONS)
}

fn open(disk: &SimulatedDisk) -> (Store, LocalStore, RecoveryReport) {
    try_open(disk).unwrap()
}

/// The `number`th block of a topic in these tests; its length varies, and it has as many events as its number modulo three says.
fn nth(topic: TopicId, base: u64) -> Block {
    block(topic, base, u32::try_from(base % 3).unwrap() + 1, usize::try_from(base * 71 % 600).unwrap())
}

/// The record that says how far a topic was known to be committed.
fn record_key(topic: TopicId) -> Vec<u8> {
    [b"head/", &topic.as_bytes()[..]].concat()
}

/// What is known of a topic by whoever used the store.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// Offsets below are acked, or may be there, respectively.
    acked: u64,
    tried: u64,
    /// What the record says at least, and at most.
    recorded: u64,
    recording: u64,
    forgetting: bool,
    forgotten: bool,
}

/// A user of a store, who remembers what was asked for and what was answered.
#[derive(Debug, Clone, Default)]
struct User {
    topics: BTreeMap<TopicId, Known>,
}

impl User {
    fn known(&mut self, topic: TopicId) -> &mut Known {
        self.topics.entry(topic).or_insert_with(|| Known { acked: 1, tried: 1, recorded: 0, ..Known::default() })
    }

    /// Reads everything and compares. A record is only written once its blocks are acked, so it is never ahead of them.
    async fn check(&self, store: &Store, place: &str) {
        for (topic, known) in &self.topics {
            let extent = store.blocks.extent(*topic).await.unwrap();
            let blocks = store.blocks.read(*topic, Offset::FIRST, usize::MAX).await.unwrap();
            let gone = known.forgetting && extent == Extent::EMPTY;
            assert!(!known.forgotten || gone, "{place}: {topic} was forgotten, and has {extent:?}");
            let next = extent.next.get();
            assert!(gone || (known.acked..=known.tried).contains(&next), "{place}: {topic} has {next}, {known:?}");
            let mut base = 1;
            for block in &blocks {
                assert_eq!(*block, nth(*topic, base), "{place}");
                base = block.head.end().get();
            }
            assert_eq!(base, next, "{place}");
            assert_eq!(extent.blocks, blocks.len() as u64, "{place}");
            let stored: usize = blocks.iter().map(|block| block.payload.len()).sum();
            assert_eq!(extent.stored_bytes, stored as u64, "{place}");
            let record = store.records.get(record_key(*topic)).await.unwrap();
            let recorded = record.map_or(0, |record| u64::from_le_bytes(record.value[..].try_into().unwrap()));
            assert!((known.recorded..=known.recording).contains(&recorded), "{place}: {recorded}, {known:?}");
            assert!(gone || recorded <= next, "{place}: the record says {recorded}, the blocks end at {next}");
        }
    }

    /// Takes what is there for what is known.
    async fn adopt(&mut self, store: &Store) {
        for (topic, known) in &mut self.topics {
            let extent = store.blocks.extent(*topic).await.unwrap();
            known.forgotten |= known.forgetting && extent == Extent::EMPTY;
            known.forgetting = known.forgotten;
            (known.acked, known.tried) = (extent.next.get(), extent.next.get());
            let record = store.records.get(record_key(*topic)).await.unwrap();
            let recorded = record.map_or(0, |record| u64::from_le_bytes(record.value[..].try_into().unwrap()));
            (known.recorded, known.recording) = (recorded, recorded);
        }
    }

    /// Appends a block to each of some topics, all at once.
    async fn append(&mut self, store: &Store, topics: &[u8]) {
        let mut under_way = Vec::new();
        for number in topics {
            let known = self.known(topic(*number));
            let block = nth(topic(*number), known.tried);
            known.tried = block.head.end().get();
            under_way.push((topic(*number), known.tried, store.blocks.append(block)));
        }
        for (topic, end, append) in under_way {
            match append.await {
                Ok(()) => self.known(topic).acked = end,
                Err(AppendError::Forgotten { .. }) => assert!(self.known(topic).forgotten),
                Err(error) => panic!("{error:?}"),
            }
        }
    }

    async fn record(&mut self, store: &Store, number: u8) {
        let known = self.known(topic(number));
        known.recording = known.acked;
        let value = known.acked.to_le_bytes().to_vec();
        store.records.commit(Transaction::new().put(record_key(topic(number)), value)).await.unwrap();
        let known = self.known(topic(number));
        known.recorded = known.recording;
    }

    async fn forget(&mut self, store: &Store, number: u8) {
        self.known(topic(number)).forgetting = true;
        store.blocks.forget(topic(number)).await.unwrap();
        self.known(topic(number)).forgotten = true;
    }
}

/// What was known at a crash point: acked is what was answered by then, tried is what was asked for until the next answer.
fn known_at(moments: &[(usize, User)], operations: usize) -> User {
    let next = moments.partition_point(|(at, _)| *at <= operations);
    let mut user = moments[next.saturating_sub(1)].1.clone();
    if let Some((_, later)) = moments.get(next) {
        for (topic, later) in &later.topics {
            let known = user.known(*topic);
            (known.tried, known.recording, known.forgetting) = (later.tried, later.recording, later.forgetting);
        }
    }
    user
}

/// Every crash point of a fixed workload, from before the store is made until it is closed.
#[tokio::test]
#[expect(clippy::print_stdout, reason = "how many images there were is part of the result")]
async fn every_crash_point() {
    let disk = SimulatedDisk::new();
    let mut user = User::default();
    let mut moments = vec![(0, user.clone())];
    let (store, local, _) = open(&disk);
    let steps: [(&[u8], Option<u8>, Option<u8>); 9] = [
        (&[1], Some(1), None),
        (&[1, 2, 3, 1], None, None),
        (&[2, 2, 2, 4], None, None),
        (&[4, 4], Some(4), None),
        (&[1, 3, 3, 2], None, Some(2)),
        (&[1, 1, 3, 5, 5], Some(3), None),
        (&[4], None, Some(4)),
        (&[1, 1, 1, 5, 3, 3, 5], None, None),
        (&[1], Some(1), None),
    ];
    for (append, record, forget) in steps {
        user.append(&store, append).await;
        moments.push((disk.operations(), user.clone()));
        if let Some(number) = record {
            user.record(&store, number).await;
            moments.push((disk.operations(), user.clone()));
        }
        if let Some(number) = forget {
            user.forget(&store, number).await;
            moments.push((disk.operations(), user.clone()));
        }
    }
    local.close().await.unwrap();
    moments.push((disk.operations(), user.clone()));
    assert!(store.blocks.stats().segments_sealed >= 2, "{:?}", store.blocks.stats());

    let (mut images, mut cut, mut registered) = (0_u64, 0, 0);
    for operations in 0..=disk.operations() {
        let known = known_at(&moments, operations);
        for loss in Loss::at_point(operations, 14) {
            let place = format!("{operations} operations, {loss:?}");
            let crashed = disk.crash_after(operations, loss);
            let (store, local, report) = try_open(&crashed).unwrap_or_else(|error| panic!("{place}: {error:?}"));
            known.check(&store, &place).await;
            images += 1;
            cut += u64::from(report.cut.is_some());
            registered += report.registered;
            if images.is_multiple_of(7) {
                let mut known = known.clone();
                known.adopt(&store).await;
                known.append(&store, &[1, 1, 3, 1, 6]).await;
                known.record(&store, 1).await;
                drop(local);
                let (store, _local, _) = open(&crashed.crash(Loss::Everything));
                known.check(&store, &place).await;
            }
        }
    }
    println!("{images} images of {} operations, {cut} cut, {registered} segments registered", disk.operations());
    // How many tails are torn depends on how the threads' operations fall together; that segments are sealed does not.
    assert!(images >= 3_500 && registered > 0);
}

mod random {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Append(Vec<u8>),
        Record(u8),
        Forget(u8),
        /// The power fails some operations ago, or now.
        Crash {
            ago: usize,
            seed: u64,
        },
        Close,
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            10 => prop::collection::vec(0..5_u8, 1..6).prop_map(Step::Append),
            3 => (0..5_u8).prop_map(Step::Record),
            1 => (0..5_u8).prop_map(Step::Forget),
            2 => (0..12_usize, any::<u64>()).prop_map(|(ago, seed)| Step::Crash { ago, seed }),
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
                Step::Record(topic) => user.record(&store, topic).await,
                Step::Forget(topic) => user.forget(&store, topic).await,
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
                    (store, local, _) = open(&disk);
                    user.check(&store, &place).await;
                    user.adopt(&store).await;
                    moments.clear();
                }
            }
            moments.push((disk.operations(), user.clone()));
        }
        user.check(&store, "at the end").await;
        local.close().await.unwrap();
        user.check(&open(&disk).0, "closed and opened").await;
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]
        #[test]
        fn crashes_and_reopenings(steps in prop::collection::vec(any_step(), 1..40)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(run(steps));
        }
    }
}

#[tokio::test]
async fn a_damaged_block_is_named_and_the_rest_is_read() {
    for sealed in [false, true] {
        let disk = SimulatedDisk::new();
        let (store, local, _) = open(&disk);
        let mut user = User::default();
        user.append(&store, &[1]).await;
        // One event, in the first segment.
        let bad = nth(topic(1), 3);
        user.append(&store, &[1]).await;
        user.append(&store, &[1, 1, 1]).await;
        while sealed && store.blocks.stats().segments_sealed == 0 {
            user.append(&store, &[1]).await;
        }
        local.close().await.unwrap();
        let file = "journal/00000000000000000001.seg";
        let mut bytes = vec![0; 2_500];
        disk.disk().open(file).unwrap().read_at(&mut bytes, 0).unwrap();
        let at = bytes.windows(bad.payload.len()).position(|window| *window == bad.payload).unwrap() as u64;
        disk.damage(file, at + 3, b"!");

        let (store, _local, _) = open(&disk);
        assert_eq!(store.blocks.read(topic(1), Offset::FIRST, usize::MAX).await.unwrap(), [nth(topic(1), 1)]);
        match store.blocks.read(topic(1), bad.head.base, usize::MAX).await {
            Err(ReadError::Damaged { topic: of, first, last, place, what }) => {
                assert_eq!((of, first, last), (topic(1), bad.head.base, bad.head.base));
                assert_eq!(place, format!("{file} at byte {}", at - 128));
                assert_eq!(what, "the payload's checksum does not fit");
            }
            other => panic!("{other:?}"),
        }
        let rest = store.blocks.read(topic(1), bad.head.end(), usize::MAX).await.unwrap();
        assert_eq!(rest[0], nth(topic(1), bad.head.end().get()));
        assert_eq!(rest.last().unwrap().head.end().get(), user.known(topic(1)).acked);
    }
}

#[tokio::test]
async fn a_directory_belongs_to_one_store() {
    let disk = SimulatedDisk::new();
    let (_store, local, _) = open(&disk);
    match try_open(&disk) {
        Err(OpenError::Lock(LockError::Held { pid })) => assert_eq!(pid, Some(std::process::id())),
        other => panic!("{other:?}"),
    }
    drop(local);
    open(&disk);
}

#[tokio::test]
async fn a_journal_without_its_records_is_not_taken_for_an_empty_one() {
    let disk = SimulatedDisk::new();
    let (store, local, _) = open(&disk);
    User::default().append(&store, &[1]).await;
    local.close().await.unwrap();
    disk.disk().remove("meta.redb").unwrap();
    let expected = "meta.redb is missing, but journal/00000000000000000001.seg has events; put meta.redb back, or move the journal away";
    assert_eq!(try_open(&disk).unwrap_err().to_string(), expected);
    let leftover = disk.disk().open("journal/00000000000000000001.seg").unwrap();
    assert!(!leftover.data(64).unwrap().is_empty(), "and nothing is touched");
}

/// Opening and closing again and again, with a little in between, leaves nothing behind.
#[tokio::test]
async fn many_topics_in_many_segments() {
    let disk = SimulatedDisk::new();
    let mut user = User::default();
    for round in 0..4_u8 {
        let (store, local, report) = open(&disk);
        assert_eq!(report.cut, None);
        user.check(&store, &format!("round {round}")).await;
        let topics: Vec<u8> = (0..100).map(|number| number * 2 + round % 2).collect();
        user.append(&store, &topics).await;
        for number in 0..10 {
            user.append(&store, &[number; 5]).await;
        }
        user.check(&store, &format!("round {round}, before closing")).await;
        if round % 2 == 0 {
            local.close().await.unwrap();
        }
    }
    let (store, _local, report) = open(&disk);
    user.check(&store, "at the end").await;
    assert_eq!(report.unknown, [""; 0]);
    let segments = disk.disk().list("journal").unwrap().len();
    assert!(segments > 20, "{segments}");
}
