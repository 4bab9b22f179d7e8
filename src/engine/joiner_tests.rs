//! Joined blocks: the same events, under the newest key, and nothing lost where something can't be read.

use bytes::Bytes;

use super::{
    joiner::EngineJoiner,
    tests::{Bench, PROJECT, TOPIC},
    *,
};
use crate::{
    model::{Offset, Position, Rlid, Time},
    store::{Block, JoinBlocks},
};

/// All that a reader is told of an event.
type Seen = (Offset, Rlid, Time, u64, Bytes, Bytes);

/// A topic with events that were published one at a time, some at the same moment and some in pairs.
async fn trickled() -> Bench {
    let bench = Bench::new().await;
    for number in 0..40 {
        let texts = [format!("event {number}"), format!("and another {number}")];
        let records: Vec<&str> = texts.iter().map(String::as_str).collect();
        bench.publish(&records[..=number % 3 / 2]).await;
        bench.clock.advance(std::time::Duration::from_millis(number as u64 % 4));
    }
    bench
}

async fn rest_of(reader: &mut Reader) -> Vec<Seen> {
    let mut seen = Vec::new();
    while let Some(slice) = reader.read().await.unwrap() {
        for event in slice.events() {
            let (run, record) = (event.run, Bytes::copy_from_slice(event.record));
            seen.push((event.offset, event.rlid, run.committed, run.epoch, run.publisher.clone(), record));
        }
    }
    seen
}

async fn stored(bench: &Bench) -> Vec<Block> {
    bench.store.blocks.read(TOPIC, Offset::FIRST, usize::MAX).await.unwrap()
}

fn joiner(bench: &Bench) -> EngineJoiner {
    bench.engine.joiner(Box::new(|topic| (topic == TOPIC).then_some(PROJECT)))
}

/// Joins as the store does: on a thread of its own.
async fn join(joiner: EngineJoiner, blocks: &[Block]) -> Vec<Block> {
    let (reply, joined) = tokio::sync::oneshot::channel();
    let blocks = blocks.to_vec();
    std::thread::spawn(move || reply.send(joiner.join(blocks)).unwrap());
    joined.await.unwrap()
}

/// The first offset and the number of events of each block.
fn spans(blocks: &[Block]) -> Vec<(u64, u32)> {
    blocks.iter().map(|block| (block.head.base.get(), block.head.count)).collect()
}

#[tokio::test]
async fn every_event_stays_what_it_was() {
    let bench = trickled().await;
    let topic = bench.topic().await;
    let before = rest_of(&mut topic.reader(Offset::FIRST)).await;
    let blocks = stored(&bench).await;
    let tally = topic.tally().await.unwrap();
    // One that is in the middle, and has blocks in hand.
    let mut midway = topic.reader(Offset::new(11));
    let mut seen_midway: Vec<Offset> =
        midway.read().await.unwrap().unwrap().events().map(|event| event.offset).collect();

    bench.engine.compact(|topic| (topic == TOPIC).then_some(PROJECT)).await.unwrap();
    let joined = stored(&bench).await;
    assert_eq!((blocks.len(), joined.len()), (40, 1));
    assert!(blocks.iter().all(|block| block.head.nonce != joined[0].head.nonce), "a nonce is used once");
    let (were, are): (usize, usize) =
        (blocks.iter().map(|block| block.payload.len()).sum(), joined.iter().map(|block| block.payload.len()).sum());
    assert!(are * 4 < were, "{were} bytes became {are}");

    seen_midway.extend(rest_of(&mut midway).await.iter().map(|event| event.0));
    let behind: Vec<Offset> = before.iter().map(|event| event.0).filter(|offset| offset.get() >= 11).collect();
    assert_eq!(seen_midway, behind);
    // Another engine has nothing in its cache.
    let engine = super::tests::open(&bench.store, &bench.clock).await;
    let topic = engine.topic(TOPIC, PROJECT).await.unwrap();
    assert_eq!(rest_of(&mut topic.reader(Offset::FIRST)).await, before);
    assert_eq!(topic.tally().await.unwrap(), tally);
    for (offset, rlid, committed, ..) in &before {
        assert_eq!(topic.seek(Position::Event(*rlid)).await.unwrap(), *offset);
        let first = before.iter().find(|event| event.2 >= *committed).unwrap().0;
        assert_eq!(topic.seek(Position::Time(*committed)).await.unwrap(), first);
    }
}

/// A damaged block in the midst of others must cost nobody anything: it stays as it is, and so does every event around it.
#[tokio::test]
async fn a_block_that_cannot_be_decoded_stays_as_it_is() {
    let bench = trickled().await;
    let mut blocks = stored(&bench).await[..9].to_vec();
    let mut payload = blocks[4].payload.to_vec();
    payload[3] ^= 1;
    blocks[4].payload = payload.into();
    blocks[8].head.key_version = 9;
    let joined = join(joiner(&bench), &blocks).await;
    let before = spans(&blocks);
    let sum = |spans: &[(u64, u32)]| (spans[0].0, spans.iter().map(|span| span.1).sum::<u32>());
    assert_eq!(spans(&joined), [sum(&before[..4]), before[4], sum(&before[5..8]), before[8]]);
    assert_eq!((&joined[1], &joined[3]), (&blocks[4], &blocks[8]));
}

#[tokio::test]
async fn blocks_are_joined_under_the_version_that_they_are_under() {
    let bench = trickled().await;
    bench.engine.rotate_key(PROJECT, false).await.unwrap();
    bench.publish(&["under the second"]).await;
    bench.publish(&["and another"]).await;
    let blocks = stored(&bench).await;
    let joined = join(joiner(&bench), &blocks).await;
    let found: Vec<u32> = joined.iter().map(|block| block.head.key_version).collect();
    assert_eq!(found, [1, 2]);
    let topic = bench.topic().await;
    let before = rest_of(&mut topic.reader(Offset::FIRST)).await;
    bench.engine.compact(|_| Some(PROJECT)).await.unwrap();
    assert_eq!(stored(&bench).await.len(), 2);
    assert_eq!(rest_of(&mut topic.reader(Offset::FIRST)).await, before);
}

/// Nothing that can't be read may be lost, or be taken for damage.
#[tokio::test]
async fn what_is_suspended_or_revoked_stays_as_it_is() {
    let bench = trickled().await;
    bench.engine.rotate_key(PROJECT, false).await.unwrap();
    bench.publish(&["under the second"]).await;
    bench.engine.suspend_key(PROJECT, 1).await.unwrap();
    let blocks = stored(&bench).await;
    assert_eq!(join(joiner(&bench), &blocks).await, blocks);
    bench.engine.rotate_key(PROJECT, true).await.unwrap();
    let joined = join(joiner(&bench), &blocks).await;
    assert_eq!((&joined[..40], joined[40].head.key_version), (&blocks[..40], 3));
    bench.engine.revoke_key(PROJECT, 1, None).await.unwrap();
    assert_eq!(join(joiner(&bench), &blocks).await[..40], blocks[..40]);
}

#[tokio::test]
async fn what_has_no_key_any_more_is_left_to_the_store() {
    let bench = trickled().await;
    let blocks = stored(&bench).await;
    bench.store.records.commit(bench.engine.prepare_destroy(TOPIC, Transaction::new())).await.unwrap();
    assert_eq!(join(joiner(&bench), &blocks).await, blocks);
    let unknown = bench.engine.joiner(Box::new(|_| None));
    assert_eq!(join(unknown, &blocks).await, blocks);
}
