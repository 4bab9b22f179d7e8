//! Whether stored blocks can be read: decrypted with the keys that there are, decompressed, and taken apart.

use std::collections::HashMap;

use super::{
    ciphers::{TopicCiphers, Unreadable},
    error::OpenError,
    keys::KeyRing,
    root::{KEY_BYTES, RootKey},
    versions::KeyState,
};
use crate::{
    model::{ProjectId, TopicId},
    store::{Block, Records},
};

/// Reads blocks of any topic, outside of an [`super::Engine`].
#[derive(Debug)]
pub struct BlockVerifier {
    topics: HashMap<TopicId, TopicCiphers>,
    /// Blocks that could be read.
    pub readable: u64,
    /// Blocks that nobody can read any more, because their topic has been destroyed.
    pub destroyed: u64,
    /// Blocks that nobody may read for now, because their data key is suspended.
    pub suspended: u64,
    /// Blocks that nobody can read any more, because their data key has been revoked.
    pub revoked: u64,
}

impl BlockVerifier {
    /// Unwraps the keys of these topics.
    ///
    /// # Errors
    ///
    /// When the root key is not the one that the data keys were wrapped with, or a key's record is damaged.
    pub async fn open(
        root: RootKey,
        records: Records,
        topics: &[(TopicId, ProjectId)],
    ) -> Result<BlockVerifier, OpenError> {
        let ring = KeyRing::existing(root, records).await?;
        let mut projects = HashMap::new();
        let mut keys = HashMap::new();
        for (topic, project) in topics {
            let salt: [u8; KEY_BYTES] = match ring.salt(*topic).await {
                Ok(salt) => salt,
                Err(OpenError::Destroyed { .. }) => continue,
                Err(error) => return Err(error),
            };
            if !projects.contains_key(project) {
                projects.insert(*project, (ring.active(*project).await?, ring.follow(*project).await?));
            }
            let (active, versions) = &projects[project];
            keys.insert(*topic, TopicCiphers::new(&salt, active, versions.clone()));
        }
        Ok(BlockVerifier { topics: keys, readable: 0, destroyed: 0, suspended: 0, revoked: 0 })
    }

    /// Reads a block and forgets it again. A block of a topic that has no keys is one that has been destroyed.
    ///
    /// # Errors
    ///
    /// What is wrong with the block.
    pub fn check(&mut self, block: &Block) -> Result<(), String> {
        let head = &block.head;
        let Some(ciphers) = self.topics.get(&head.topic) else {
            self.destroyed += 1;
            return Ok(());
        };
        let decoded = match ciphers.decode(block) {
            Ok(decoded) => decoded,
            Err(Unreadable::Closed(KeyState::Revoked)) => {
                self.revoked += 1;
                return Ok(());
            }
            Err(Unreadable::Closed(_)) => {
                self.suspended += 1;
                return Ok(());
            }
            Err(Unreadable::Damaged(what)) => return Err(what),
        };
        let (first, last) = (decoded.runs.first(), decoded.runs.last());
        let latest = decoded.runs.iter().map(|run| run.committed).max();
        let fits = first.is_some_and(|run| run.first_rlid == head.first_rlid && run.committed == head.first_committed)
            && last.is_some_and(|run| run.last_rlid() == head.last_rlid)
            && latest == Some(head.last_committed);
        if !fits {
            return Err("its runs are not those that its head describes".to_owned());
        }
        self.readable += 1;
        Ok(())
    }
}
