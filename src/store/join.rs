//! Joining: several small blocks of a topic become one with the same events.
//!
//! Which blocks are joined is decided here, by sizes alone. How, only a layer above knows, because blocks are compressed and
//! encrypted; it hands a [`Joiner`] down, which also says which blocks are to be written anew by themselves: those
//! whose key is to be left behind. Blocks under different versions of a key are never joined. What comes back is
//! checked as far as heads tell, so that no joiner can lose an event.

use std::{fmt, sync::Arc};

use super::blocks::Block;
use crate::model::{
    BlockHead, Offset, TopicId,
    limits::{BLOCK_BYTES_SMALL, BLOCK_BYTES_TARGET},
};

/// What joins blocks. Callers use [`Joiner`].
pub trait JoinBlocks: Send + Sync + fmt::Debug + 'static {
    /// Blocks with the events of these, which are consecutive blocks of one topic: fewer, if they can be joined. Those that can't be
    /// are given back as they are. It may wait for the store's records, so it is called from threads only.
    fn join(&self, blocks: Vec<Block>) -> Vec<Block>;

    /// Whether a block of a topic, under this version of its key, is to be given to [`JoinBlocks::join`] even when it is alone,
    /// because it is to be written anew.
    fn is_stale(&self, topic: TopicId, key_version: u32) -> bool {
        let (_, _) = (topic, key_version);
        false
    }
}

/// Joins blocks that it can decode. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Joiner(Arc<dyn JoinBlocks>);

impl Joiner {
    pub fn new(join: impl JoinBlocks) -> Joiner {
        Joiner(Arc::new(join))
    }

    /// Blocks with the same events; these ones, when what comes back has not.
    pub(super) fn join(&self, blocks: Vec<Block>) -> Vec<Block> {
        let stale = |block: &Block| self.is_stale(block.head.topic, block.head.key_version);
        if blocks.len() < 2 && !blocks.iter().any(stale) {
            return blocks;
        }
        let joined = self.0.join(blocks.clone());
        if has_events_of(&joined, &blocks) {
            return joined;
        }
        let head = &blocks[0].head;
        tracing::error!(topic = %head.topic, offset = %head.base, "blocks were joined to something else; left as they are");
        blocks
    }

    pub(super) fn is_stale(&self, topic: TopicId, key_version: u32) -> bool {
        self.0.is_stale(topic, key_version)
    }
}

/// The head of a block with the events of all of these. What says how the payload is stored is the first one's, and still to be
/// filled in: codec, raw length and nonce.
pub fn joined_head(blocks: &[Block]) -> BlockHead {
    let first = &blocks.first().expect("there is a block to join").head;
    let last = &blocks.last().expect("there is a block to join").head;
    BlockHead {
        count: blocks.iter().map(|block| block.head.count).sum(),
        last_rlid: last.last_rlid,
        last_committed: blocks.iter().map(|block| block.head.last_committed).max().expect("there is a block to join"),
        ..first.clone()
    }
}

/// Whether each block of `joined` has the events of one or several consecutive ones of `blocks`, without a gap.
fn has_events_of(joined: &[Block], blocks: &[Block]) -> bool {
    let mut rest = blocks;
    for block in joined {
        let end = block.head.end();
        let covered = rest.iter().take_while(|block| block.head.base < end).count();
        if covered == 0 {
            return false;
        }
        let (these, behind) = rest.split_at(covered);
        let BlockHead { key_version, codec, raw_bytes, nonce, .. } = block.head;
        if block.head != (BlockHead { key_version, codec, raw_bytes, nonce, ..joined_head(these) }) {
            return false;
        }
        rest = behind;
    }
    rest.is_empty()
}

/// What decides whether a block is joined to others.
#[derive(Debug, Clone, Copy)]
pub(super) struct BlockSize {
    pub(super) base: Offset,
    pub(super) end: Offset,
    pub(super) key_version: u32,
    /// The larger one of its lengths, stored and decoded.
    pub(super) bytes: usize,
}

impl BlockSize {
    pub(super) fn of(block: &Block) -> BlockSize {
        let raw = usize::try_from(block.head.raw_bytes).unwrap_or(usize::MAX);
        let BlockHead { base, key_version, .. } = block.head;
        BlockSize { base, end: block.head.end(), key_version, bytes: raw.max(block.payload.len()) }
    }

    pub(super) fn is_small(self) -> bool {
        self.bytes < BLOCK_BYTES_SMALL
    }
}

/// The last of some consecutive blocks that are joined, as far as it matters for the next.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Gathering {
    end: Option<Offset>,
    key_version: u32,
    bytes: usize,
}

impl Gathering {
    /// Takes the next block of the topic up; says whether it is joined to the ones before.
    pub(super) fn take(&mut self, block: BlockSize) -> bool {
        let continues = self.end == Some(block.base) && self.key_version == block.key_version;
        let joins = block.is_small() && continues && self.bytes + block.bytes <= BLOCK_BYTES_TARGET;
        self.key_version = block.key_version;
        self.bytes = if joins { self.bytes + block.bytes } else { block.bytes };
        self.end = block.is_small().then_some(block.end);
        joins
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Time, TopicId, Ulid},
        store::suite::{TestJoiner, block},
    };

    const TOPIC: TopicId = TopicId(Ulid::from_bytes([1; 16]));

    fn size(base: u64, bytes: usize) -> BlockSize {
        BlockSize { base: Offset::new(base), end: Offset::new(base + 1), key_version: 1, bytes }
    }

    #[test]
    fn small_blocks_that_follow_one_another_are_joined_up_to_the_target() {
        let large = BLOCK_BYTES_SMALL;
        let small = BLOCK_BYTES_TARGET / 5;
        let blocks = [
            (1, small, false),
            (2, small, true),
            (3, small, true),
            (4, small, true),
            (5, small, true),
            (6, small, false),
            (7, 1, true),
            (9, 1, false),
            (10, large, false),
            (11, 1, false),
            (12, large - 1, true),
        ];
        let mut gathering = Gathering::default();
        for (base, bytes, joins) in blocks {
            assert_eq!(gathering.take(size(base, bytes)), joins, "block {base}");
        }
    }

    #[test]
    fn blocks_under_different_keys_are_not_joined() {
        let mut gathering = Gathering::default();
        for (base, key_version, joins) in [(1, 1, false), (2, 1, true), (3, 2, false), (4, 2, true), (5, 1, false)] {
            assert_eq!(gathering.take(BlockSize { key_version, ..size(base, 1) }), joins, "block {base}");
        }
    }

    #[test]
    fn what_has_not_the_same_events_is_not_taken() {
        let mut blocks: Vec<Block> = (1..5).map(|base| block(TOPIC, base, 1, 10)).collect();
        blocks[1].head.last_committed = Time::from_millis(1_000);
        let joined = Joiner::new(TestJoiner).join(blocks.clone());
        assert_eq!((joined.len(), joined[0].head.count), (1, 4));
        assert_eq!(joined[0].head.last_committed, Time::from_millis(1_000), "the latest, not the last");
        let spoilt: [fn(&mut Vec<Block>); 6] = [
            Vec::clear,
            |joined| joined[0].head.count -= 1,
            |joined| joined[0].head.count += 1,
            |joined| joined[0].head.last_rlid = joined[0].head.first_rlid,
            |joined| joined[0].head.last_committed = joined[0].head.first_committed,
            |joined| joined.push(joined[0].clone()),
        ];
        for (number, spoil) in spoilt.into_iter().enumerate() {
            let mut wrong = joined.clone();
            spoil(&mut wrong);
            assert!(!has_events_of(&wrong, &blocks), "{number}");
        }
        assert!(has_events_of(&joined, &blocks) && has_events_of(&blocks, &blocks));
    }
}
