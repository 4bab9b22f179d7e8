//! A topic's ciphers, for those who read its blocks without an open stream: verifying and joining.

use std::{collections::BTreeMap, fmt, sync::Arc};

use aes_gcm::Aes256Gcm;
use tokio::sync::watch;

use super::{
    codec,
    error::{FetchError, OpenError},
    keys::{DataKey, KeyRing},
    payload::parse_payload,
    root::KEY_BYTES,
    run::DecodedBlock,
    versions::{KeyState, Versions},
};
use crate::{
    model::{ProjectId, TopicId},
    store::Block,
};

/// The ciphers of one topic, by the version of the project's data key. Versions that are not active have none.
pub(super) struct TopicCiphers {
    ciphers: BTreeMap<u32, Aes256Gcm>,
    versions: watch::Receiver<Arc<Versions>>,
}

/// Why a block can't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// Its data key is suspended or revoked.
    Closed(KeyState),
    Damaged(String),
}

impl fmt::Debug for TopicCiphers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.ciphers.keys()).finish()
    }
}

impl TopicCiphers {
    pub(super) fn new(
        salt: &[u8; KEY_BYTES],
        active: &[(u32, DataKey)],
        versions: watch::Receiver<Arc<Versions>>,
    ) -> TopicCiphers {
        let ciphers = active.iter().map(|(version, key)| (*version, key.block_cipher(salt))).collect();
        TopicCiphers { ciphers, versions }
    }

    /// The ciphers of a topic as of now; nothing when its salt is gone.
    pub(super) async fn load(
        ring: &KeyRing,
        topic: TopicId,
        project: ProjectId,
    ) -> Result<Option<TopicCiphers>, OpenError> {
        let salt = match ring.salt(topic).await {
            Ok(salt) => salt,
            Err(OpenError::Destroyed { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut versions = ring.follow(project).await?;
        versions.mark_unchanged();
        Ok(Some(TopicCiphers::new(&salt, &ring.active(project).await?, versions)))
    }

    /// Whether the project's keys have not been changed since.
    pub(super) fn is_current(&self) -> bool {
        !self.versions.has_changed().unwrap_or(false)
    }

    /// The version that a block under this one is sealed with when it is written once more, and its cipher.
    pub(super) fn successor(&self, version: u32) -> Option<(u32, &Aes256Gcm)> {
        let versions = self.versions.borrow();
        let version = if versions.is_stale(version) { versions.newest } else { version };
        drop(versions);
        self.ciphers.get(&version).map(|cipher| (version, cipher))
    }

    /// What is in a block. Says what is wrong with it otherwise.
    pub(super) fn decode(&self, block: &Block) -> Result<DecodedBlock, Unreadable> {
        let head = &block.head;
        if let Some(state) = self.versions.borrow().closed(head.key_version) {
            return Err(Unreadable::Closed(state));
        }
        let cipher = self
            .ciphers
            .get(&head.key_version)
            .ok_or_else(|| Unreadable::Damaged(format!("data key version {} is not available", head.key_version)))?;
        let payload = codec::open(cipher, block).map_err(|error| match error {
            FetchError::Damaged { what, .. } => Unreadable::Damaged(what.to_owned()),
            other => Unreadable::Damaged(other.to_string()),
        })?;
        let decoded = parse_payload(&payload, head.base, head.count);
        Ok(decoded.map_err(|what| Unreadable::Damaged(what.to_owned()))?.under(head.key_version))
    }
}
