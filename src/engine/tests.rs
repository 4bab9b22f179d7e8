//! Streams over the store in memory: order, visibility, positions, counts, refusals.

use bytes::Bytes;

use super::*;
use crate::{
    model::{Offset, Position, Rlid, Secret, Time, Ulid},
    sys::ManualClock,
};

pub(super) const PROJECT: ProjectId = ProjectId(Ulid::from_bytes([1; 16]));
pub(super) const TOPIC: TopicId = TopicId(Ulid::from_bytes([2; 16]));

pub(super) struct Bench {
    pub(super) store: Store,
    pub(super) clock: ManualClock,
    pub(super) engine: Engine,
}

impl Bench {
    pub(super) async fn new() -> Bench {
        let store = Store::memory();
        let clock = ManualClock::default();
        clock.set(Time::from_millis(1_000));
        let engine = open(&store, &clock).await;
        store.records.commit(engine.prepare_create(TOPIC, Transaction::new())).await.unwrap();
        Bench { store, clock, engine }
    }

    pub(super) async fn topic(&self) -> Topic {
        self.engine.topic(TOPIC, PROJECT).await.unwrap()
    }

    pub(super) async fn publish(&self, records: &[&str]) -> Committed {
        let topic = self.topic().await;
        let permit = self.engine.admit(1).await;
        topic.append(batch(records), permit).await.await.unwrap().unwrap()
    }
}

pub(super) async fn open(store: &Store, clock: &ManualClock) -> Engine {
    let root = RootKey::new(&Secret::new([7; 32])).unwrap();
    Engine::open(store.clone(), root, Clock::manual(clock.clone()), Entropy::seeded(1)).await.unwrap()
}

fn batch(records: &[&str]) -> Batch {
    let mut encoded = Vec::new();
    for record in records {
        run::put_varint(&mut encoded, record.len() as u64);
        encoded.extend_from_slice(record.as_bytes());
    }
    let count = u32::try_from(records.len()).unwrap();
    let types = vec![TypeCount {
        schema: Bytes::new(),
        mimetype: 50,
        events: u64::from(count),
        data_bytes: encoded.len() as u64,
    }];
    Batch { records: encoded, count, publisher: Bytes::from_static(b"me"), types }
}

async fn read_all(reader: &mut Reader) -> Vec<(u64, Rlid, String)> {
    let mut found = Vec::new();
    while let Some(slice) = reader.read().await.unwrap() {
        found.extend(
            slice
                .events()
                .map(|event| (event.offset.get(), event.rlid, String::from_utf8(event.record.to_vec()).unwrap())),
        );
    }
    found
}

#[tokio::test]
async fn what_is_committed_is_read_in_order_also_after_reopening() {
    let bench = Bench::new().await;
    let first = bench.publish(&["a", "b"]).await;
    assert_eq!((first.first, first.at), (Offset::FIRST, Time::from_millis(1_000)));
    bench.clock.set(Time::from_millis(10));
    let second = bench.publish(&["c"]).await;
    assert_eq!(second.first, Offset::new(3));
    assert_eq!(second.first_rlid, first.first_rlid.plus(2));
    bench.engine.close().await;

    let engine = open(&bench.store, &bench.clock).await;
    let topic = engine.topic(TOPIC, PROJECT).await.unwrap();
    let found = read_all(&mut topic.reader(Offset::FIRST)).await;
    let expected: Vec<_> = ["a", "b", "c"]
        .iter()
        .zip(0..)
        .map(|(text, at)| (at + 1, first.first_rlid.plus(at), (*text).to_owned()))
        .collect();
    assert_eq!(found, expected);

    // The clock still lags behind, and the identifiers go on all the same.
    let permit = engine.admit(1).await;
    let third = topic.append(batch(&["d"]), permit).await.await.unwrap().unwrap();
    assert_eq!((third.first, third.first_rlid), (Offset::new(4), first.first_rlid.plus(3)));
}

#[tokio::test]
async fn a_reader_in_the_middle_of_a_block_starts_there() {
    let bench = Bench::new().await;
    bench.publish(&["a", "b", "c"]).await;
    let topic = bench.topic().await;
    let texts = |found: Vec<(u64, Rlid, String)>| found.into_iter().map(|event| event.2).collect::<Vec<_>>();
    assert_eq!(texts(read_all(&mut topic.reader(Offset::new(2))).await), ["b", "c"]);
    let slice = topic.reader(Offset::new(2)).read().await.unwrap().unwrap().before(Offset::new(3));
    assert_eq!(slice.events().map(|event| event.record.to_vec()).collect::<Vec<_>>(), [b"b".to_vec()]);
}

#[tokio::test]
async fn a_slice_is_cut_at_both_ends_and_knows_its_runs() {
    let bench = Bench::new().await;
    let first = bench.publish(&["a", "b", "c", "d"]).await.first_rlid;
    let topic = bench.topic().await;
    let slice = topic.reader(Offset::FIRST).read().await.unwrap().unwrap();
    let cut = slice.clone().starting_at(Offset::new(2)).before(Offset::new(4));
    assert_eq!(cut.events().map(|event| event.record.to_vec()).collect::<Vec<_>>(), [b"b".to_vec(), b"c".to_vec()]);
    assert_eq!(cut.bounds(), (Offset::new(2), Offset::new(4)));
    assert_eq!(cut.parts().collect::<Vec<_>>(), [(Offset::new(2), first.plus(1), 2)]);
    let nothing = slice.starting_at(Offset::new(9));
    assert!(nothing.is_empty() && nothing.parts().next().is_none() && nothing.events().next().is_none());
}

#[tokio::test]
async fn a_waiting_reader_is_woken_by_a_commit() {
    let bench = Bench::new().await;
    let mut reader = bench.topic().await.reader(Offset::FIRST);
    assert!(!reader.is_ready());
    let waiting = tokio::spawn(async move {
        reader.ready().await;
        read_all(&mut reader).await.len()
    });
    bench.publish(&["a"]).await;
    assert_eq!(waiting.await.unwrap(), 1);
}

#[tokio::test]
async fn positions_lead_to_offsets() {
    let bench = Bench::new().await;
    let first = bench.publish(&["a", "b"]).await;
    bench.clock.set(Time::from_millis(2_000));
    bench.publish(&["c"]).await;
    let topic = bench.topic().await;
    let check =
        async |position, offset| assert_eq!(topic.seek(position).await.unwrap(), Offset::new(offset), "{position}");
    check(Position::Start, 1).await;
    check(Position::End, 4).await;
    check(Position::Offset(Offset::new(2)), 2).await;
    check(Position::Offset(Offset::new(0)), 1).await;
    check(Position::Event(first.first_rlid.plus(1)), 2).await;
    check(Position::Event(first.first_rlid.plus(2)), 3).await;
    check(Position::Event(Rlid::NULL), 1).await;
    check(Position::Time(Time::from_millis(1_000)), 1).await;
    check(Position::Time(Time::from_millis(1_001)), 3).await;
    check(Position::Time(Time::from_millis(2_001)), 4).await;
    check(Position::Ago(1_000_000_000), 1).await;
    check(Position::Ago(999_000_000), 3).await;
    let beyond = topic.seek(Position::Offset(Offset::new(5))).await;
    assert!(matches!(beyond, Err(FetchError::BeyondEnd { .. })));
}

#[tokio::test]
async fn the_tally_is_exact_with_and_without_what_was_kept() {
    let bench = Bench::new().await;
    bench.publish(&["a", "b"]).await;
    bench.publish(&["c"]).await;
    let counted = bench.topic().await.tally().await.unwrap();
    assert_eq!((counted.events, counted.types.len()), (3, 1));

    // Without an orderly end nothing was kept, and the blocks are counted again.
    let engine = open(&bench.store, &bench.clock).await;
    assert_eq!(engine.topic(TOPIC, PROJECT).await.unwrap().tally().await.unwrap(), counted);
    engine.close().await;
    let engine = open(&bench.store, &bench.clock).await;
    assert_eq!(engine.topic(TOPIC, PROJECT).await.unwrap().tally().await.unwrap(), counted);
}

#[tokio::test]
async fn a_destroyed_topic_refuses_and_tells_its_readers() {
    let bench = Bench::new().await;
    bench.publish(&["a"]).await;
    let topic = bench.topic().await;
    let mut reader = topic.reader(Offset::FIRST);
    bench.store.records.commit(bench.engine.prepare_destroy(TOPIC, Transaction::new())).await.unwrap();
    bench.engine.destroyed(TOPIC).await.unwrap();
    assert!(matches!(reader.read().await, Err(FetchError::Destroyed)));
    let permit = bench.engine.admit(1).await;
    assert!(topic.append(batch(&["b"]), permit).await.await.is_err());
    assert!(matches!(bench.engine.topic(TOPIC, PROJECT).await, Err(OpenError::Destroyed { .. })));
    bench.engine.destroyed(TOPIC).await.unwrap();
}

#[tokio::test]
async fn many_publishers_at_once_give_one_dense_order() {
    let bench = Bench::new().await;
    let topic = bench.topic().await;
    let mut tasks = Vec::new();
    for publisher in 0..8 {
        let (topic, engine) = (topic.clone(), bench.engine.clone());
        tasks.push(tokio::spawn(async move {
            let mut offsets = Vec::new();
            for number in 0..50 {
                let text = format!("{publisher}-{number}");
                let mut batch = batch(&[text.as_str(), text.as_str()]);
                batch.publisher = Bytes::from(vec![publisher]);
                let permit = engine.admit(10).await;
                offsets.push(topic.append(batch, permit).await.await.unwrap().unwrap().first);
            }
            assert!(offsets.is_sorted());
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let found = read_all(&mut topic.reader(Offset::FIRST)).await;
    assert!(found.iter().map(|event| event.0).eq(1..=800));
    assert!(found.windows(2).all(|pair| pair[0].1 < pair[1].1));
    assert_eq!(topic.tally().await.unwrap().events, 800);
}

/// A position is found by the index and by the heads of blocks: of a thousand blocks at most one is decoded.
#[tokio::test]
async fn seeking_decodes_at_most_the_block_that_it_finds() {
    let bench = Bench::new().await;
    let mut ids = Vec::new();
    for number in 0..1_000 {
        bench.clock.set(Time::from_millis(1_000 + 10 * number));
        ids.push(bench.publish(&["a", "b"]).await.first_rlid);
    }
    let time = |number: i64, nanos| Time::from_millis(1_000 + 10 * number).plus_nanos(nanos);
    for (position, offset, decoded) in [
        (Position::Start, 1, 0),
        (Position::End, 2_001, 0),
        (Position::Offset(Offset::new(700)), 700, 0),
        (Position::Event(ids[0]), 1, 0),
        (Position::Event(ids[500]), 1_001, 0),
        (Position::Event(ids[500].plus(1)), 1_002, 1),
        (Position::Event(ids[999].plus(2)), 2_001, 0),
        (Position::Time(time(321, 0)), 643, 0),
        (Position::Time(time(321, 1)), 645, 0),
        (Position::Time(time(-1, 0)), 1, 0),
        (Position::Time(time(1_000, 0)), 2_001, 0),
        (Position::Ago(10_000_000), 1_997, 0),
    ] {
        let engine = open(&bench.store, &bench.clock).await;
        let topic = engine.topic(TOPIC, PROJECT).await.unwrap();
        assert_eq!(topic.seek(position).await.unwrap(), Offset::new(offset), "{position}");
        assert_eq!(engine.0.cache.blocks(), decoded, "{position}");
    }
}

/// Whether it may hold what it reads or not, and looks ahead or not, a reader gives the same events.
#[tokio::test]
async fn a_reader_that_may_hold_nothing_reads_again() {
    let bench = Bench::new().await;
    let mut times = Vec::new();
    for number in 0..60 {
        bench.clock.advance(std::time::Duration::from_millis(number % 3));
        times.extend(std::iter::repeat_n(bench.publish(&["a", "b"]).await.at, 2));
    }
    bench.engine.compact(|topic| (topic == TOPIC).then_some(PROJECT)).await.unwrap();
    for held_bytes_max in [0, usize::MAX] {
        let engine = open(&bench.store, &bench.clock).await;
        let mut reader = engine.topic(TOPIC, PROJECT).await.unwrap().reader(Offset::new(2));
        reader.hold_at_most(held_bytes_max);
        let mut found = Vec::new();
        while let Some(time) = reader.peek().await.unwrap() {
            let slice = reader.read_until(time).await.unwrap().unwrap();
            assert!(slice.events().all(|event| event.committed() == time));
            found.extend(slice.events().map(|event| event.committed()));
        }
        assert_eq!(found, times[1..], "holding {held_bytes_max}");
    }
}
