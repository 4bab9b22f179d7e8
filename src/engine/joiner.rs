//! Joining small blocks of a topic to one: what the store can't do itself, because blocks are compressed and encrypted.
//!
//! Blocks are decoded, their runs put behind one another as they are, and the whole is compressed and sealed anew, with a nonce of
//! its own, under the version of the data key that they were under: what a version is suspended or revoked for stays under it.
//! Only when a rewriting was asked for does a block move to the newest version, and then by itself as well. Offsets, identifiers,
//! commit times, publishers and records stay what they were, because they are the runs'.
//!
//! Invariants: what was joined is decoded again and compared before anybody sees it. A block that can't be decoded stays as it
//! is, with the blocks around it joined without it; a damaged one is named in the log, one whose key is suspended or revoked is none.
//! Whatever goes wrong, no event is left out.
//!
//! What it does not do: choose the blocks, or know of segments. It runs on the store's thread and waits there for records.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::runtime::Handle;

use super::{
    Engine,
    ciphers::{TopicCiphers, Unreadable},
    codec::{LEVEL_JOINED, Sealers},
    error::OpenError,
    keys::KeyRing,
    payload::encode_payload,
    run::{DecodedBlock, Run},
};
use crate::{
    model::{ProjectId, TopicId},
    store::{Block, BlockHead, CompactError, JoinBlocks, Joiner, RecordError, joined_head},
    sys::Entropy,
};

/// Says which project a topic belongs to; nothing for one that is not there.
pub(super) type ProjectOf = Box<dyn Fn(TopicId) -> Option<ProjectId> + Send + Sync>;

pub(super) struct EngineJoiner {
    keys: KeyRing,
    entropy: Entropy,
    sealers: Sealers,
    project_of: ProjectOf,
    /// Where the records' answers are waited for.
    runtime: Handle,
    /// The ciphers of the topic that was joined last: blocks come topic by topic. Only the store's one thread ever waits for them.
    last: Mutex<Option<(TopicId, Arc<TopicCiphers>)>>,
}

impl fmt::Debug for EngineJoiner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EngineJoiner")
    }
}

/// A block and what is in it.
struct Readable {
    block: Block,
    decoded: DecodedBlock,
}

impl Engine {
    /// Has the store compact itself from now on, in the background. It asks which project a topic belongs to, because that decides
    /// about its keys. Needs a Tokio runtime.
    pub fn compact_in_background(&self, project_of: impl Fn(TopicId) -> Option<ProjectId> + Send + Sync + 'static) {
        let joiner = Joiner::new(self.joiner(Box::new(project_of)));
        self.0.store.blocks.compact_in_background(joiner.clone());
        self.rewrite_in_background(joiner);
    }

    /// Compacts everything at once.
    ///
    /// # Errors
    ///
    /// When nothing could be written any more. Nothing is lost by it.
    pub async fn compact(
        &self,
        project_of: impl Fn(TopicId) -> Option<ProjectId> + Send + Sync + 'static,
    ) -> Result<(), CompactError> {
        self.0.store.blocks.compact(Joiner::new(self.joiner(Box::new(project_of)))).await
    }

    pub(super) fn joiner(&self, project_of: ProjectOf) -> EngineJoiner {
        EngineJoiner {
            keys: self.0.keys.clone(),
            entropy: self.0.entropy.clone(),
            sealers: Sealers::new(LEVEL_JOINED),
            project_of,
            runtime: Handle::current(),
            last: Mutex::default(),
        }
    }
}

impl JoinBlocks for EngineJoiner {
    fn join(&self, blocks: Vec<Block>) -> Vec<Block> {
        let Some(topic) = blocks.first().map(|block| block.head.topic) else { return blocks };
        match self.ciphers(topic) {
            Ok(Some(ciphers)) => self.join_readable(&ciphers, blocks),
            // The store is being closed, and takes nothing more of this.
            Ok(None) | Err(OpenError::Records(RecordError::Closed)) => blocks,
            Err(error) => {
                tracing::warn!(%topic, %error, "blocks stay as they are, because their keys can't be had");
                blocks
            }
        }
    }

    fn is_stale(&self, topic: TopicId, key_version: u32) -> bool {
        let known = (self.project_of)(topic).and_then(|project| self.keys.known(project));
        known.is_some_and(|versions| versions.is_stale(key_version))
    }
}

impl EngineJoiner {
    /// The ciphers of a topic; nothing when it is being destroyed.
    fn ciphers(&self, topic: TopicId) -> Result<Option<Arc<TopicCiphers>>, OpenError> {
        if let Some((last, ciphers)) = &*self.last()
            && *last == topic
            && ciphers.is_current()
        {
            return Ok(Some(Arc::clone(ciphers)));
        }
        let Some(project) = (self.project_of)(topic) else { return Ok(None) };
        let ciphers = self.runtime.block_on(TopicCiphers::load(&self.keys, topic, project))?.map(Arc::new);
        *self.last() = ciphers.clone().map(|ciphers| (topic, ciphers));
        Ok(ciphers)
    }

    fn last(&self) -> MutexGuard<'_, Option<(TopicId, Arc<TopicCiphers>)>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins what stands between blocks that can't be decoded.
    fn join_readable(&self, ciphers: &TopicCiphers, blocks: Vec<Block>) -> Vec<Block> {
        let mut result = Vec::with_capacity(1);
        let mut readable = Vec::with_capacity(blocks.len());
        for block in blocks {
            match ciphers.decode(&block) {
                Ok(decoded) => {
                    let version = block.head.key_version;
                    if readable.last().is_some_and(|last: &Readable| last.block.head.key_version != version) {
                        self.join_all(ciphers, std::mem::take(&mut readable), &mut result);
                    }
                    readable.push(Readable { block, decoded });
                }
                Err(unreadable) => {
                    if let Unreadable::Damaged(what) = unreadable {
                        let BlockHead { topic, base, count, .. } = block.head;
                        tracing::error!(%topic, offset = %base, count, what, "a block is damaged; it stays as it is");
                    }
                    self.join_all(ciphers, std::mem::take(&mut readable), &mut result);
                    result.push(block);
                }
            }
        }
        self.join_all(ciphers, readable, &mut result);
        result
    }

    /// Joins blocks that are under one version.
    fn join_all(&self, ciphers: &TopicCiphers, readable: Vec<Readable>, result: &mut Vec<Block>) {
        let (blocks, decoded): (Vec<Block>, Vec<DecodedBlock>) =
            readable.into_iter().map(|readable| (readable.block, readable.decoded)).unzip();
        let Some(before) = blocks.first().map(|block| block.head.key_version) else { return };
        let worth = |(version, _): &(u32, _)| blocks.len() > 1 || *version != before;
        let Some((key_version, cipher)) = ciphers.successor(before).filter(worth) else {
            return result.extend(blocks);
        };
        let runs: Vec<Run> = decoded.into_iter().flat_map(|decoded| decoded.runs).collect();
        let records: Vec<Vec<&[u8]>> = runs.iter().map(|run| vec![&run.records[..]]).collect();
        let payload = encode_payload(&runs, &records);
        let head = BlockHead { key_version, nonce: self.entropy.bytes(), ..joined_head(&blocks) };
        let joined = self.sealers.seal(cipher, head, &payload);
        // The originals are about to be removed, so this is the last moment to find out that something is wrong with it.
        if ciphers.decode(&joined).is_ok_and(|decoded| decoded.runs == runs) {
            return result.push(joined);
        }
        let BlockHead { topic, base, count, .. } = joined.head;
        tracing::error!(%topic, offset = %base, count, "joined blocks do not read as they did; they stay as they are");
        result.extend(blocks);
    }
}
