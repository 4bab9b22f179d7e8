//! The blocks that were decoded last, for readers near a topic's head.
//!
//! Invariant: what it holds is bounded by bytes, over all topics; the oldest goes first.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use super::run::DecodedBlock;
use crate::model::{Offset, TopicId};

/// Decoded blocks by topic and base offset. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Cache(Arc<Mutex<Contents>>);

/// A lock around a map that is held for a few lines at a time, once per block and never per event.
#[derive(Debug)]
struct Contents {
    blocks: BTreeMap<(TopicId, Offset), Arc<DecodedBlock>>,
    /// The keys in the order in which they came.
    order: VecDeque<(TopicId, Offset)>,
    bytes: usize,
    bytes_max: usize,
}

impl Cache {
    pub(super) fn new(bytes_max: usize) -> Cache {
        let contents = Contents { blocks: BTreeMap::new(), order: VecDeque::new(), bytes: 0, bytes_max };
        Cache(Arc::new(Mutex::new(contents)))
    }

    /// The block that holds an offset, if it is there.
    pub(super) fn get(&self, topic: TopicId, offset: Offset) -> Option<Arc<DecodedBlock>> {
        let contents = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ((of, _), runs) = contents.blocks.range(..=(topic, offset)).next_back()?;
        (*of == topic && runs.end > offset).then(|| runs.clone())
    }

    pub(super) fn insert(&self, topic: TopicId, runs: Arc<DecodedBlock>) {
        let mut contents = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (topic, runs.base);
        contents.bytes += runs.bytes;
        match contents.blocks.insert(key, runs) {
            Some(replaced) => contents.bytes -= replaced.bytes,
            None => contents.order.push_back(key),
        }
        while contents.bytes > contents.bytes_max {
            let Some(oldest) = contents.order.pop_front() else { break };
            if let Some(removed) = contents.blocks.remove(&oldest) {
                contents.bytes -= removed.bytes;
            }
        }
    }

    /// How many blocks it has.
    #[cfg(test)]
    pub(super) fn blocks(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).blocks.len()
    }

    /// Drops what is held of a topic.
    pub(super) fn forget(&self, topic: TopicId) {
        self.drop_where(|of, _| of == topic);
    }

    /// Drops what is held of a topic's blocks under a version of the data key.
    pub(super) fn forget_version(&self, topic: TopicId, key_version: u32) {
        self.drop_where(|of, block| of == topic && block.key_version == key_version);
    }

    fn drop_where(&self, goes: impl Fn(TopicId, &DecodedBlock) -> bool) {
        let mut contents = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Contents { blocks, order, bytes, .. } = &mut *contents;
        order.retain(|key| {
            let Some(block) = blocks.get(key) else { return false };
            let keep = !goes(key.0, block);
            if !keep && let Some(removed) = blocks.remove(key) {
                *bytes -= removed.bytes;
            }
            keep
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Ulid;

    fn topic(number: u8) -> TopicId {
        TopicId(Ulid::from_bytes([number; 16]))
    }

    fn block(base: u64, end: u64, bytes: usize) -> Arc<DecodedBlock> {
        Arc::new(DecodedBlock {
            key_version: 1,
            base: Offset::new(base),
            end: Offset::new(end),
            runs: Vec::new(),
            bytes,
        })
    }

    #[test]
    fn finds_the_block_of_an_offset_in_its_own_topic_only() {
        let cache = Cache::new(100);
        cache.insert(topic(2), block(1, 5, 10));
        cache.insert(topic(2), block(5, 9, 10));
        assert_eq!(cache.get(topic(2), Offset::new(4)), Some(block(1, 5, 10)));
        assert_eq!(cache.get(topic(2), Offset::new(5)), Some(block(5, 9, 10)));
        assert_eq!(cache.get(topic(2), Offset::new(9)), None);
        assert_eq!(cache.get(topic(3), Offset::new(4)), None);
        assert_eq!(cache.get(topic(1), Offset::new(4)), None);
        cache.forget(topic(2));
        assert_eq!(cache.get(topic(2), Offset::new(4)), None);
    }

    #[test]
    fn one_version_of_one_topic_can_go() {
        let cache = Cache::new(100);
        cache.insert(topic(1), block(1, 5, 10));
        let newer = DecodedBlock::new(Offset::new(5), Vec::new(), 10).under(2);
        cache.insert(topic(1), Arc::new(DecodedBlock { end: Offset::new(9), ..newer }));
        cache.insert(topic(2), block(1, 5, 10));
        cache.forget_version(topic(1), 1);
        assert_eq!(cache.get(topic(1), Offset::new(4)), None);
        assert!(cache.get(topic(1), Offset::new(5)).is_some() && cache.get(topic(2), Offset::new(4)).is_some());
        assert_eq!(cache.0.lock().unwrap().bytes, 20);
    }

    #[test]
    fn the_oldest_go_when_the_bytes_are_used_up() {
        let cache = Cache::new(25);
        for base in 1..=3 {
            cache.insert(topic(1), block(base, base + 1, 10));
        }
        assert_eq!(cache.get(topic(1), Offset::new(1)), None);
        assert!(cache.get(topic(1), Offset::new(2)).is_some());
        cache.insert(topic(1), block(9, 10, 1_000));
        assert_eq!(cache.0.lock().unwrap().bytes, 0);
    }
}
