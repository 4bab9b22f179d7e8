//! A store in plain collections. Nothing survives; an append is durable at once.

use std::{
    collections::{BTreeMap, HashMap},
    future::ready,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;

use super::{
    AppendError, Block, BlockStore, Extent, ReadError, Record, RecordError, RecordStore, Revision, Stats, Transaction,
    blocks::Reply,
};
use crate::model::{Offset, Rlid, Time, TopicId};

#[derive(Debug, Default)]
pub(super) struct MemoryBlocks {
    topics: Mutex<HashMap<TopicId, Topic>>,
}

#[derive(Debug, Default)]
struct Topic {
    blocks: Vec<Block>,
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
            state.blocks.push(block);
            Ok(())
        });
        Box::pin(ready(appended))
    }

    fn extent(&self, topic: TopicId) -> Reply<'_, Result<Extent, ReadError>> {
        let extent = self.with(topic, |blocks| Extent {
            first: Offset::FIRST,
            next: next(blocks),
            last: blocks.last().map(|block| (block.head.last_rlid, block.head.last_committed)),
            blocks: blocks.len() as u64,
            stored_bytes: blocks.iter().map(|block| block.payload.len() as u64).sum(),
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
        self.topic(topic, |topic| *topic = Topic { blocks: Vec::new(), forgotten: true });
        Box::pin(ready(Ok(())))
    }

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
}
