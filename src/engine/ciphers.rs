//! A topic's ciphers, for those who read its blocks without an open stream: verifying and joining.

use std::{collections::BTreeMap, fmt};

use aes_gcm::Aes256Gcm;

use super::{
    codec,
    error::{FetchError, OpenError},
    keys::{DataKey, KEY_BYTES, KeyRing},
    payload::parse_payload,
    run::DecodedBlock,
};
use crate::{
    model::{ProjectId, TopicId},
    store::Block,
};

/// The ciphers of one topic, by the version of the project's data key.
pub(super) struct TopicCiphers(BTreeMap<u32, Aes256Gcm>);

impl fmt::Debug for TopicCiphers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl TopicCiphers {
    pub(super) fn new(salt: &[u8; KEY_BYTES], data_keys: &[(u32, DataKey)]) -> TopicCiphers {
        TopicCiphers(data_keys.iter().map(|(version, key)| (*version, key.block_cipher(salt))).collect())
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
        Ok(Some(TopicCiphers::new(&salt, &ring.versions(project).await?)))
    }

    /// What new blocks are sealed with: the highest version, which is known by its number.
    pub(super) fn newest(&self) -> Option<(u32, &Aes256Gcm)> {
        self.0.last_key_value().map(|(version, cipher)| (*version, cipher))
    }

    /// What is in a block. Says what is wrong with it otherwise.
    pub(super) fn decode(&self, block: &Block) -> Result<DecodedBlock, String> {
        let head = &block.head;
        let cipher = self.0.get(&head.key_version);
        let cipher = cipher.ok_or_else(|| format!("data key version {} is not available", head.key_version))?;
        let payload = codec::open(cipher, block).map_err(|error| match error {
            FetchError::Damaged { what, .. } => what.to_owned(),
            other => other.to_string(),
        })?;
        Ok(parse_payload(&payload, head.base, head.count)?)
    }
}
