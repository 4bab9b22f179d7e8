//! Blocks that are to leave their key: written anew in the background, beside everything else, whenever the power fails.

use super::*;
use crate::{
    model::BlockHead,
    store::{JoinBlocks, Joiner, joined_head},
};

/// The key that blocks are moved to, and one that can't be left.
const NEWEST: u32 = 7;
const CLOSED: u32 = 5;

#[derive(Debug)]
struct Rekeyer;

impl JoinBlocks for Rekeyer {
    fn join(&self, blocks: Vec<Block>) -> Vec<Block> {
        if blocks[0].head.key_version == CLOSED {
            return blocks;
        }
        let payload: Vec<u8> = blocks.iter().flat_map(|block| block.payload.to_vec()).collect();
        let raw_bytes = blocks.iter().map(|block| block.head.raw_bytes).sum();
        let head = BlockHead { raw_bytes, key_version: NEWEST, ..joined_head(&blocks) };
        vec![Block { head, payload: payload.into() }]
    }

    fn is_stale(&self, _: TopicId, key_version: u32) -> bool {
        key_version < NEWEST
    }
}

/// The block of a topic at an offset; large ones, which joining alone would never touch, among them.
fn block_at(number: u8, base: u64, key_version: u32) -> Block {
    let mut block = nth(topic(number), base);
    block.head.key_version = key_version;
    if base.is_multiple_of(4) {
        block.head.raw_bytes = 1 << 20;
    }
    block
}

async fn fill(store: &Store) {
    for number in [1, 2, 3] {
        let mut base = 1;
        while base < 40 {
            let block = block_at(number, base, if base > 25 { CLOSED } else { 1 + u32::from(base > 12) });
            base = block.head.end().get();
            store.blocks.append(block).await.unwrap();
        }
    }
    store.blocks.forget(topic(3)).await.unwrap();
}

async fn payload(store: &Store, number: u8) -> Vec<u8> {
    let blocks = store.blocks.read(topic(number), Offset::FIRST, usize::MAX).await.unwrap();
    blocks.iter().flat_map(|block| block.payload.to_vec()).collect()
}

/// The versions that a topic has blocks under, with events, and whether what is told of them fits the blocks.
async fn usage(store: &Store, number: u8) -> Vec<(u32, u64)> {
    let usage = store.blocks.key_usage(topic(number)).await.unwrap();
    let blocks = store.blocks.read(topic(number), Offset::FIRST, usize::MAX).await.unwrap();
    for (version, usage) in &usage {
        let under: Vec<&Block> = blocks.iter().filter(|block| block.head.key_version == *version).collect();
        let bytes: usize = under.iter().map(|block| block.payload.len()).sum();
        let events: u64 = under.iter().map(|block| u64::from(block.head.count)).sum();
        assert_eq!((usage.blocks, usage.events, usage.bytes), (under.len() as u64, events, bytes as u64));
    }
    usage.into_iter().map(|(version, usage)| (version, usage.events)).collect()
}

#[tokio::test]
async fn what_is_stale_is_written_anew_and_nothing_else_is_lost() {
    let disk = SimulatedDisk::new();
    let (store, local, _) = open(&disk);
    fill(&store).await;
    let before = (payload(&store, 1).await, payload(&store, 2).await);
    let versions: Vec<u32> = usage(&store, 1).await.iter().map(|of| of.0).collect();
    assert_eq!(versions, [1, 2, CLOSED]);
    store.blocks.rewrite_stale(Joiner::new(Rekeyer)).await.unwrap();
    for number in [1, 2] {
        let versions: Vec<u32> = usage(&store, number).await.iter().map(|of| of.0).collect();
        assert_eq!(versions, [CLOSED, NEWEST]);
    }
    assert!(usage(&store, 3).await.is_empty());
    assert_eq!((payload(&store, 1).await, payload(&store, 2).await), before);
    // Nothing is left to do, although some blocks stay stale for ever.
    let replaced = store.blocks.stats().segments_replaced;
    store.blocks.rewrite_stale(Joiner::new(Rekeyer)).await.unwrap();
    assert!(store.blocks.stats().segments_replaced <= replaced + store.blocks.stats().sealed_segments);
    local.close().await.unwrap();
    let (store, _local, _) = open(&disk);
    assert_eq!((payload(&store, 1).await, payload(&store, 2).await), before);
    assert_eq!(usage(&store, 1).await.len(), 2);
}

/// Appends go on, and somebody who wants everything compacted at once is not kept waiting by the slow one.
#[tokio::test]
async fn others_go_on_meanwhile() {
    let disk = SimulatedDisk::new();
    let (store, local, _) = open(&disk);
    fill(&store).await;
    let rewriting = async { store.blocks.rewrite_stale(Joiner::new(Rekeyer)).await.unwrap() };
    let others = async {
        let mut base = 1;
        while base < 200 {
            let block = block_at(4, base, NEWEST);
            base = block.head.end().get();
            store.blocks.append(block).await.unwrap();
            if base.is_multiple_of(7) {
                store.blocks.compact(Joiner::new(Rekeyer)).await.unwrap();
            }
        }
    };
    tokio::join!(rewriting, others);
    assert_eq!(usage(&store, 1).await.len(), 2);
    assert_eq!(usage(&store, 4).await.len(), 1);
    local.close().await.unwrap();
}

#[tokio::test]
async fn every_crash_point_of_a_rewriting() {
    let disk = SimulatedDisk::new();
    let (store, local, _) = open(&disk);
    fill(&store).await;
    let before = (payload(&store, 1).await, payload(&store, 2).await);
    let start = disk.operations();
    store.blocks.rewrite_stale(Joiner::new(Rekeyer)).await.unwrap();
    let end = disk.operations();
    local.close().await.unwrap();
    let mut images = 0;
    for operations in start..=end {
        for loss in Loss::at_point(operations, 3) {
            let place = format!("{operations} operations of {start} to {end}, {loss:?}");
            let crashed = disk.crash_after(operations, loss);
            let (store, local, _) = try_open(&crashed).unwrap_or_else(|error| panic!("{place}: {error:?}"));
            assert_eq!((payload(&store, 1).await, payload(&store, 2).await), before, "{place}");
            images += 1;
            if images % 9 == 0 {
                store.blocks.rewrite_stale(Joiner::new(Rekeyer)).await.unwrap();
                assert_eq!((payload(&store, 1).await, payload(&store, 2).await), before, "{place}");
                assert_eq!(usage(&store, 1).await.len(), 2, "{place}");
            }
            drop(local);
        }
    }
    assert!(images > 200, "{images}");
}
