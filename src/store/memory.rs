//! A store in plain collections. Nothing survives; an append is durable at once.

use std::{
    collections::{BTreeMap, HashMap},
    future::ready,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{
    AppendError, Block, BlockStore, CompactError, Extent, Joiner, KeyUsage, ReadError, Record, RecordError,
    RecordStore, Revision, Stats, Transaction,
    blocks::Reply,
    join::{BlockSize, Gathering},
};
use crate::model::{Offset, Rlid, Time, TopicId};

#[derive(Debug, Default)]
pub(super) struct MemoryBlocks {
    topics: Mutex<HashMap<TopicId, Topic>>,
}

#[derive(Debug, Default)]
struct Topic {
    blocks: Vec<Block>,
    /// The last event, and when it was committed; a joined block knows the latest time only.
    last: Option<(Rlid, Time)>,
    forgotten: bool,
}

impl MemoryBlocks {
    fn topic<T>(&self, topic: TopicId, look: impl FnOnce(&mut Topic) -> T) -> T {
        look(self.topics.lock().unwrap_or_else(PoisonError::into_inner).entry(topic).or_default())
    }

    fn with<T>(&self, topic: TopicId, look: impl FnOnce(&[Block]) -> T) -> T {
        self.topic(topic, |topic| look(&topic.blocks))
    }

    fn seek(&self, topic: TopicId, reached: impl Fn(&Block) -> bool) -> Reply<'_, Result<Offset, ReadError>> {
        let found = self.with(topic, |blocks| match blocks.iter().find(|block| reached(block)) {
            Some(block) => block.head.base,
            None => next(blocks),
        });
        Box::pin(ready(Ok(found)))
    }
}

fn next(blocks: &[Block]) -> Offset {
    blocks.last().map_or(Offset::FIRST, |block| block.head.end())
}

fn join_all(joiner: &Joiner, blocks: Vec<Block>) -> Vec<Block> {
    let mut groups: Vec<Vec<Block>> = Vec::new();
    let mut gathering = Gathering::default();
    for block in blocks {
        match groups.last_mut() {
            Some(group) if gathering.take(BlockSize::of(&block)) => group.push(block),
            Some(_) => groups.push(vec![block]),
            None => {
                gathering.take(BlockSize::of(&block));
                groups.push(vec![block]);
            }
        }
    }
    groups.into_iter().flat_map(|group| joiner.join(group)).collect()
}

/// Has something done on a thread of its own.
async fn on_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (reply, result) = oneshot::channel();
    std::thread::spawn(move || drop(reply.send(work())));
    result.await.ok()
}

impl BlockStore for MemoryBlocks {
    fn append(&self, block: Block) -> Reply<'static, Result<(), AppendError>> {
        let appended = self.topic(block.head.topic, |state| {
            let (topic, base, next) = (block.head.topic, block.head.base, next(&state.blocks));
            if state.forgotten {
                return Err(AppendError::Forgotten { topic });
            }
            if base != next {
                return Err(AppendError::WrongBase { topic, base, next });
            }
            state.last = Some((block.head.last_rlid, block.head.last_committed));
            state.blocks.push(block);
            Ok(())
        });
        Box::pin(ready(appended))
    }

    fn extent(&self, topic: TopicId) -> Reply<'_, Result<Extent, ReadError>> {
        let extent = self.topic(topic, |topic| Extent {
            first: Offset::FIRST,
            next: next(&topic.blocks),
            last: topic.last,
            blocks: topic.blocks.len() as u64,
            stored_bytes: topic.blocks.iter().map(|block| block.payload.len() as u64).sum(),
        });
        Box::pin(ready(Ok(extent)))
    }

    fn read(&self, topic: TopicId, from: Offset, bytes_max: usize) -> Reply<'_, Result<Vec<Block>, ReadError>> {
        let mut bytes = 0;
        let found = self.with(topic, |blocks| {
            let behind = blocks.iter().skip_while(|block| block.head.end() <= from);
            behind
                .take_while(|block| {
                    let take = bytes == 0 || bytes < bytes_max;
                    bytes += block.payload.len().max(1);
                    take
                })
                .cloned()
                .collect()
        });
        Box::pin(ready(Ok(found)))
    }

    fn seek_event(&self, topic: TopicId, id: Rlid) -> Reply<'_, Result<Offset, ReadError>> {
        self.seek(topic, |block| block.head.last_rlid >= id)
    }

    fn seek_time(&self, topic: TopicId, time: Time) -> Reply<'_, Result<Offset, ReadError>> {
        self.seek(topic, |block| block.head.last_committed >= time)
    }

    fn forget(&self, topic: TopicId) -> Reply<'_, Result<(), AppendError>> {
        self.topic(topic, |topic| *topic = Topic { forgotten: true, ..Topic::default() });
        Box::pin(ready(Ok(())))
    }

    fn compact(&self, joiner: Joiner) -> Reply<'_, Result<(), CompactError>> {
        Box::pin(async move {
            // Joining may wait for records, and must not hold others up meanwhile.
            let topics: Vec<TopicId> = {
                let topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
                topics.keys().copied().collect()
            };
            for topic in topics {
                let before = self.with(topic, <[Block]>::to_vec);
                let (joiner, blocks) = (joiner.clone(), before.clone());
                let joined = on_thread(move || join_all(&joiner, blocks)).await.ok_or(CompactError::Closed)?;
                self.topic(topic, |state| {
                    // Somebody else may have joined them meanwhile, or the topic may be gone.
                    if state.blocks.starts_with(&before) {
                        state.blocks.splice(..before.len(), joined);
                    }
                });
            }
            Ok(())
        })
    }

    /// There is nothing to be slow for.
    fn rewrite_stale(&self, joiner: Joiner) -> Reply<'_, Result<(), CompactError>> {
        self.compact(joiner)
    }

    fn key_usage(&self, topic: TopicId) -> Reply<'_, Result<BTreeMap<u32, KeyUsage>, ReadError>> {
        let usage = self.with(topic, |blocks| {
            let mut usage: BTreeMap<u32, KeyUsage> = BTreeMap::new();
            for block in blocks {
                let of_version = usage.entry(block.head.key_version).or_default();
                of_version.add_block(block.head.count, block.payload.len() as u64);
            }
            usage
        });
        Box::pin(ready(Ok(usage)))
    }

    /// Memory is not worth the trouble unless somebody asks.
    fn compact_in_background(&self, _joiner: Joiner) {}

    fn health(&self) -> Result<(), AppendError> {
        Ok(())
    }

    fn stats(&self) -> Stats {
        Stats::default()
    }
}

#[derive(Debug, Default)]
pub(super) struct MemoryRecords {
    state: Mutex<(u64, BTreeMap<Bytes, Record>)>,
}

impl RecordStore for MemoryRecords {
    fn get(&self, key: Bytes) -> Reply<'_, Result<Option<Record>, RecordError>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Box::pin(ready(Ok(state.1.get(&key).cloned())))
    }

    fn scan(
        &self,
        prefix: Bytes,
        after: Option<Bytes>,
        limit: usize,
    ) -> Reply<'_, Result<Vec<(Bytes, Record)>, RecordError>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let found = state
            .1
            .range(prefix.clone()..)
            .take_while(|(key, _)| key.starts_with(&prefix))
            .filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after))
            .take(limit)
            .map(|(key, record)| (key.clone(), record.clone()))
            .collect();
        Box::pin(ready(Ok(found)))
    }

    fn commit(&self, transaction: Transaction) -> Reply<'_, Result<Revision, RecordError>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, expected) in &transaction.checks {
            if state.1.get(key).map(|record| record.revision) != *expected {
                return Box::pin(ready(Err(RecordError::Conflict { key: key.clone() })));
            }
        }
        state.0 += 1;
        let revision = Revision(state.0);
        for (key, value) in transaction.changes {
            match value {
                Some(value) => state.1.insert(key, Record { value, revision }),
                None => state.1.remove(&key),
            };
        }
        Box::pin(ready(Ok(revision)))
    }

    fn scrub(&self) -> Reply<'_, Result<(), RecordError>> {
        Box::pin(ready(Ok(())))
    }

    fn health(&self) -> Result<(), RecordError> {
        Ok(())
    }
}
