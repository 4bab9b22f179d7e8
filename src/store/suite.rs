//! The conformance suite: what every store does, whatever it is made of.

use bytes::Bytes;

use super::{
    AppendError, Block, BlockHead, Extent, JoinBlocks, Joiner, Record, RecordError, Revision, Store, Transaction,
    joined_head,
    local::{LocalOptions, LocalStore},
};
use crate::{
    model::{Durability, Offset, Rlid, Time, TopicId, Ulid},
    sys::{Clock, Disk, Entropy, SimulatedDisk},
};

pub(super) fn topic(number: u8) -> TopicId {
    TopicId(Ulid::from_bytes([number; 16]))
}

/// A block of a topic whose content follows from where it stands.
pub(super) fn block(topic: TopicId, base: u64, count: u32, payload_bytes: usize) -> Block {
    let rlid = |offset: u64| Rlid::from_parts(1_000 + offset, 7);
    let time = |offset: u64| Time::from_millis(i64::try_from(10 * offset).unwrap());
    let last = base + u64::from(count) - 1;
    let start = topic.as_bytes()[0].wrapping_add(u8::try_from(base % 251).unwrap());
    let payload: Vec<u8> = (0..=255).cycle().map(|byte: u8| byte.wrapping_add(start)).take(payload_bytes).collect();
    let head = BlockHead {
        topic,
        base: Offset::new(base),
        count,
        first_rlid: rlid(base),
        last_rlid: rlid(last),
        first_committed: time(base),
        last_committed: time(last),
        key_version: 3,
        codec: 1,
        raw_bytes: 9,
        nonce: [start; 12],
    };
    Block { head, payload: Bytes::from(payload) }
}

/// Joins blocks by writing their payloads behind one another. Blocks that stand out by their key version can't be decoded.
#[derive(Debug)]
pub(super) struct TestJoiner;

/// The key version of blocks that are not joined.
pub(super) const UNKNOWN_KEY: u32 = 99;

impl JoinBlocks for TestJoiner {
    fn join(&self, blocks: Vec<Block>) -> Vec<Block> {
        let pieces = blocks.chunk_by(|a, b| a.head.key_version != UNKNOWN_KEY && b.head.key_version != UNKNOWN_KEY);
        let join = |blocks: &[Block]| match blocks {
            [one] => one.clone(),
            several => {
                let payload: Vec<u8> = several.iter().flat_map(|block| block.payload.to_vec()).collect();
                let raw_bytes = several.iter().map(|block| block.head.raw_bytes).sum();
                let head = BlockHead { raw_bytes, nonce: [0xee; 12], ..joined_head(several) };
                Block { head, payload: payload.into() }
            }
        };
        pieces.map(join).collect()
    }
}

/// Checks everything that the documentation of the seams promises.
pub(super) async fn check(store: &Store) {
    check_appends(store).await;
    check_reads(store).await;
    check_seeks(store).await;
    check_forgetting(store).await;
    check_records(store).await;
    check_scans(store).await;
    check_compaction(store).await;
}

async fn check_appends(store: &Store) {
    let blocks = &store.blocks;
    assert_eq!(blocks.extent(topic(1)).await.unwrap(), Extent::EMPTY);
    blocks.append(block(topic(1), 1, 2, 100)).await.unwrap();
    match blocks.append(block(topic(1), 2, 1, 10)).await {
        Err(AppendError::WrongBase { topic: of, base, next }) => {
            assert_eq!((of, base, next), (topic(1), Offset::new(2), Offset::new(3)));
        }
        other => panic!("{other:?}"),
    }
    // The place in the order is taken by the call, not by the first poll.
    let second = blocks.append(block(topic(1), 3, 1, 50));
    let third = blocks.append(block(topic(1), 4, 3, 0));
    let other = blocks.append(block(topic(2), 1, 1, 5));
    assert!(matches!(blocks.append(block(topic(1), 4, 1, 10)).await, Err(AppendError::WrongBase { .. })));
    third.await.unwrap();
    second.await.unwrap();
    other.await.unwrap();
    let expected = Extent {
        first: Offset::FIRST,
        next: Offset::new(7),
        last: Some((block(topic(1), 4, 3, 0).head.last_rlid, Time::from_millis(60))),
        blocks: 3,
        stored_bytes: 150,
    };
    assert_eq!(blocks.extent(topic(1)).await.unwrap(), expected);
    assert_eq!(blocks.extent(topic(2)).await.unwrap().next, Offset::new(2));
    // Nobody has to wait for an append.
    drop(blocks.append(block(topic(2), 2, 1, 5)));
    blocks.append(block(topic(2), 3, 1, 5)).await.unwrap();
    assert_eq!(blocks.extent(topic(2)).await.unwrap().next, Offset::new(4));
    assert!(blocks.health().is_ok());
}

/// How many blocks the topic has that is read and sought in; two events each.
const READ_BLOCKS: u64 = 40;

async fn check_reads(store: &Store) {
    let blocks = &store.blocks;
    for number in 0..READ_BLOCKS {
        let other = blocks.append(block(topic(4), number + 1, 1, 30));
        blocks.append(block(topic(3), 2 * number + 1, 2, 100)).await.unwrap();
        other.await.unwrap();
    }
    let all: Vec<Block> = (0..READ_BLOCKS).map(|number| block(topic(3), 2 * number + 1, 2, 100)).collect();
    assert_eq!(blocks.read(topic(3), Offset::FIRST, usize::MAX).await.unwrap(), all);
    for from in 1..=2 * READ_BLOCKS {
        let first = usize::try_from((from - 1) / 2).unwrap();
        for (bytes_max, count) in [(0, 1), (1, 1), (100, 1), (101, 2), (999, 10)] {
            let end = (first + count).min(all.len());
            let read = blocks.read(topic(3), Offset::new(from), bytes_max).await.unwrap();
            assert_eq!(read, all[first..end], "from {from}, {bytes_max} bytes");
        }
    }
    for beyond in [2 * READ_BLOCKS + 1, 2 * READ_BLOCKS + 2, u64::MAX] {
        assert_eq!(blocks.read(topic(3), Offset::new(beyond), 100).await.unwrap(), []);
    }
    assert_eq!(blocks.read(topic(99), Offset::FIRST, 100).await.unwrap(), []);
    assert_eq!(blocks.read(topic(4), Offset::FIRST, usize::MAX).await.unwrap().len(), 40);
}

async fn check_seeks(store: &Store) {
    let blocks = &store.blocks;
    let end = Offset::new(2 * READ_BLOCKS + 1);
    for offset in 1..=2 * READ_BLOCKS {
        let base = Offset::new(offset.div_ceil(2) * 2 - 1);
        let (id, time) = (Rlid::from_parts(1_000 + offset, 7), Time::from_millis(i64::try_from(10 * offset).unwrap()));
        assert_eq!(blocks.seek_event(topic(3), id).await.unwrap(), base, "event {offset}");
        assert_eq!(blocks.seek_time(topic(3), time).await.unwrap(), base, "time of {offset}");
        let next = if offset == 2 * READ_BLOCKS { end } else { Offset::new((offset + 1).div_ceil(2) * 2 - 1) };
        assert_eq!(blocks.seek_event(topic(3), id.plus(1)).await.unwrap(), next, "behind event {offset}");
        assert_eq!(blocks.seek_time(topic(3), time.plus_nanos(1)).await.unwrap(), next, "behind {offset}");
    }
    assert_eq!(blocks.seek_event(topic(3), Rlid::NULL).await.unwrap(), Offset::FIRST);
    assert_eq!(blocks.seek_time(topic(3), Time::from_nanos(i64::MIN)).await.unwrap(), Offset::FIRST);
    assert_eq!(blocks.seek_event(topic(99), Rlid::NULL).await.unwrap(), Offset::FIRST);
    check_times_that_step_back(store).await;
}

/// A clock that steps back makes later blocks older; the first that is late enough is still the one that is found.
async fn check_times_that_step_back(store: &Store) {
    let times = [10, 50, 20, 30, 60, 5, 5, 70, 1, 80, 2, 2, 2, 2];
    for (offset, time) in (1..).zip(times) {
        let mut block = block(topic(5), offset, 1, 40);
        block.head.first_committed = Time::from_millis(time);
        block.head.last_committed = Time::from_millis(time);
        store.blocks.append(block).await.unwrap();
    }
    for (time, offset) in [(0, 1), (10, 1), (11, 2), (50, 2), (51, 5), (61, 8), (75, 10), (81, 15)] {
        let found = store.blocks.seek_time(topic(5), Time::from_millis(time)).await.unwrap();
        assert_eq!(found, Offset::new(offset), "time {time}");
    }
}

async fn check_forgetting(store: &Store) {
    let blocks = &store.blocks;
    blocks.append(block(topic(6), 1, 2, 100)).await.unwrap();
    blocks.forget(topic(6)).await.unwrap();
    assert_eq!(blocks.extent(topic(6)).await.unwrap(), Extent::EMPTY);
    assert_eq!(blocks.read(topic(6), Offset::FIRST, 100).await.unwrap(), []);
    assert_eq!(blocks.seek_event(topic(6), Rlid::NULL).await.unwrap(), Offset::FIRST);
    for base in [1, 3] {
        assert!(matches!(blocks.append(block(topic(6), base, 1, 10)).await, Err(AppendError::Forgotten { .. })));
    }
    blocks.forget(topic(6)).await.unwrap();
    blocks.forget(topic(98)).await.unwrap();
    assert!(blocks.health().is_ok());
}

/// Exchanges blocks for others with the same events, twice: nothing but where blocks begin and end may change.
async fn check_compaction(store: &Store) {
    let blocks = &store.blocks;
    for base in 1..=30 {
        let mut block = block(topic(7), base, 1, 50);
        if base % 7 == 0 {
            block.head.key_version = UNKNOWN_KEY;
        }
        blocks.append(block).await.unwrap();
    }
    let mut before = Vec::new();
    for number in 1..=8 {
        before.push((blocks.extent(topic(number)).await.unwrap(), events(store, topic(number)).await));
    }
    for _ in 0..2 {
        blocks.compact(Joiner::new(TestJoiner)).await.unwrap();
        for (number, (extent, expected)) in (1..).zip(&before) {
            assert_eq!(events(store, topic(number)).await, *expected);
            let now = blocks.extent(topic(number)).await.unwrap();
            assert!(now.blocks <= extent.blocks);
            assert_eq!(Extent { blocks: now.blocks, ..*extent }, now, "joining adds no bytes here");
            check_seeks_in(store, topic(number)).await;
        }
    }
    // Appending and forgetting go on as before.
    blocks.append(block(topic(7), 31, 1, 50)).await.unwrap();
    blocks.append(block(topic(8), 1, 1, 50)).await.unwrap();
    blocks.forget(topic(8)).await.unwrap();
    blocks.compact(Joiner::new(TestJoiner)).await.unwrap();
    assert!(events(store, topic(8)).await.is_empty());
    assert_eq!(blocks.extent(topic(7)).await.unwrap().next, Offset::new(32));
}

/// All that is stored of a topic, event by event as far as blocks of these tests can be told apart; reads from everywhere agree.
pub(super) async fn events(store: &Store, topic: TopicId) -> Vec<u8> {
    let all = store.blocks.read(topic, Offset::FIRST, usize::MAX).await.unwrap();
    let mut next = Offset::FIRST;
    for found in &all {
        assert_eq!(found.head.base, next);
        next = found.head.end();
        let alone = store.blocks.read(topic, Offset::new(next.get() - 1), 1).await.unwrap();
        assert_eq!(alone, std::slice::from_ref(found));
    }
    let extent = store.blocks.extent(topic).await.unwrap();
    assert_eq!((extent.next, extent.blocks), (next, all.len() as u64));
    assert_eq!(extent.stored_bytes, all.iter().map(|block| block.payload.len() as u64).sum::<u64>());
    assert_eq!(extent.last.map(|last| last.0), all.last().map(|block| block.head.last_rlid));
    all.iter().flat_map(|block| block.payload.to_vec()).collect()
}

/// Every identifier and time leads to the first block that has reached it.
async fn check_seeks_in(store: &Store, topic: TopicId) {
    let all = store.blocks.read(topic, Offset::FIRST, usize::MAX).await.unwrap();
    let end = all.last().map_or(Offset::FIRST, |block| block.head.end());
    let base = |found: Option<&Block>| found.map_or(end, |block| block.head.base);
    for offset in 0..=end.get() {
        let (id, time) = (Rlid::from_parts(1_000 + offset, 7), Time::from_millis(i64::try_from(10 * offset).unwrap()));
        let expected = base(all.iter().find(|block| block.head.last_rlid >= id));
        assert_eq!(store.blocks.seek_event(topic, id).await.unwrap(), expected);
        let expected = base(all.iter().find(|block| block.head.last_committed >= time));
        assert_eq!(store.blocks.seek_time(topic, time).await.unwrap(), expected);
    }
}

async fn check_records(store: &Store) {
    let records = &store.records;
    assert_eq!(records.get("a").await.unwrap(), None);
    let first = records.commit(Transaction::new().check("a", None).put("a", "1").put("b", "")).await.unwrap();
    let record = |value: &'static str, revision: Revision| Some(Record { value: value.into(), revision });
    assert_eq!(records.get("a").await.unwrap(), record("1", first));
    assert_eq!(records.get("b").await.unwrap(), record("", first));

    // What does not hold changes nothing, not even what would have.
    let refused = records.commit(Transaction::new().put("b", "2").check("b", Some(first)).check("a", None)).await;
    assert!(matches!(refused, Err(RecordError::Conflict { key }) if key == "a"));
    assert_eq!(records.get("b").await.unwrap(), record("", first));
    let missing = records.commit(Transaction::new().check("c", Some(first)).put("c", "3")).await;
    assert!(matches!(missing, Err(RecordError::Conflict { key }) if key == "c"));

    let second = records.commit(Transaction::new().check("a", Some(first)).put("a", "2").delete("b")).await.unwrap();
    assert!(second > first);
    assert_eq!(records.get("a").await.unwrap(), record("2", second));
    assert_eq!(records.get("b").await.unwrap(), None);
    assert!(records.commit(Transaction::new().check("a", Some(first)).delete("a")).await.is_err());
    records.commit(Transaction::new().delete("a").delete("never there")).await.unwrap();
    assert_eq!(records.get("a").await.unwrap(), None);

    // A key that comes back does not come back with an old revision.
    let third = records.commit(Transaction::new().check("a", None).put("a", "3")).await.unwrap();
    assert!(third > second);
    let both = [
        records.commit(Transaction::new().check("a", Some(third)).put("a", "4")),
        records.commit(Transaction::new().check("a", Some(third)).put("a", "5")),
    ];
    let results = futures_util::future::join_all(both).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "only one can have been first: {results:?}");
}

async fn check_scans(store: &Store) {
    let records = &store.records;
    let keys: [&[u8]; 7] = [b"s", b"s/", b"s/a", b"s/a\0", b"s/b", b"s/\xff", b"s0"];
    let put = keys.iter().fold(Transaction::new(), |all, key| all.put(*key, *key));
    records.commit(put).await.unwrap();
    let scan = async |prefix: &'static [u8], after: Option<&'static [u8]>, limit| -> Vec<Bytes> {
        let found = records.scan(prefix, after.map(Bytes::from_static), limit).await.unwrap();
        assert!(found.iter().all(|(key, record)| *key == record.value));
        found.into_iter().map(|(key, _)| key).collect()
    };
    assert_eq!(scan(b"s", None, 100).await, keys);
    assert_eq!(scan(b"s/", None, 100).await, keys[1..6]);
    assert_eq!(scan(b"s/", None, 2).await, keys[1..3]);
    assert_eq!(scan(b"s/", Some(b"s/a"), 100).await, keys[3..6]);
    assert_eq!(scan(b"s/", Some(b"s/aa"), 1).await, keys[4..5]);
    assert_eq!(scan(b"s/", Some(b"a"), 100).await, keys[1..6]);
    assert_eq!(scan(b"s/", Some(b"t"), 100).await, [""; 0]);
    assert_eq!(scan(b"s/", None, 0).await, [""; 0]);
    assert_eq!(scan(b"x", None, 100).await, [""; 0]);
}

#[tokio::test]
async fn memory() {
    check(&Store::memory()).await;
}

/// So small that the suite fills several, with a frame or two that needs one of its own.
const SMALL: LocalOptions = LocalOptions { segment_bytes: 2_000, durability: Durability::Fsync };

async fn check_local(disk: &Disk, options: LocalOptions) {
    let open = || LocalStore::open(disk, &Clock::real(), &Entropy::real(), options).unwrap();
    let (store, local, report) = open();
    assert!(report.created);
    check(&store).await;
    let expected = what_is_there(&store).await;
    local.close().await.unwrap();
    assert!(matches!(store.blocks.append(block(topic(1), 7, 1, 1)).await, Err(AppendError::Closed)));
    assert!(matches!(store.records.get("a").await, Err(RecordError::Closed)));
    // Opened again in order, then as after the process died.
    for _ in 0..3 {
        let (store, local, report) = open();
        assert_eq!((report.created, report.cut, report.unknown, report.removed), (false, None, vec![], vec![]));
        assert_eq!(what_is_there(&store).await, expected);
        check_seeks_again(&store).await;
        drop(local);
    }
    let (store, local, _) = open();
    store.blocks.append(block(topic(1), 7, 1, 1)).await.unwrap();
    assert!(matches!(store.blocks.append(block(topic(6), 1, 1, 1)).await, Err(AppendError::Forgotten { .. })));
    local.close().await.unwrap();
}

async fn check_seeks_again(store: &Store) {
    check_seeks_in(store, topic(3)).await;
    check_seeks_in(store, topic(5)).await;
}

type Contents = (Vec<(Extent, Vec<Block>)>, Vec<(Bytes, Record)>);

async fn what_is_there(store: &Store) -> Contents {
    let mut topics = Vec::new();
    for number in 1..=7 {
        let extent = store.blocks.extent(topic(number)).await.unwrap();
        topics.push((extent, store.blocks.read(topic(number), Offset::FIRST, usize::MAX).await.unwrap()));
    }
    (topics, store.records.scan("", None, usize::MAX).await.unwrap())
}

#[tokio::test]
async fn local_in_memory() {
    check_local(&Disk::memory(), LocalOptions::default()).await;
    check_local(&Disk::memory(), SMALL).await;
}

#[tokio::test]
async fn local_on_the_machine() {
    let root = tempfile::tempdir().unwrap();
    check_local(&Disk::real(&root.path().join("large")).unwrap(), LocalOptions::default()).await;
    check_local(&Disk::real(&root.path().join("small")).unwrap(), SMALL).await;
}

#[tokio::test]
async fn local_simulated() {
    check_local(&SimulatedDisk::new().disk(), LocalOptions::default()).await;
    check_local(&SimulatedDisk::new().disk(), SMALL).await;
}
