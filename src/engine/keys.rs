//! The hierarchy of keys: the root key wraps each project's data keys; a data key and a topic's random salt give the key
//! that the topic's blocks are encrypted with.
//!
//! Invariants: a data key is never stored but wrapped; a block key is never stored at all. Deleting a topic's salt
//! makes its blocks unreadable. A wrapped key is bound to its project and version, so that records cannot be swapped.
//!
//! What it does not do yet: rotate, suspend or revoke data keys; versions are in every record and block for it.

use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{Aead, Payload},
};
use bytes::Bytes;
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::error::OpenError;
use crate::{
    model::{ProjectId, Secret, TopicId},
    store::{RecordError, Records, Transaction},
    sys::Entropy,
};

/// The length of every symmetric key, in bytes.
pub const KEY_BYTES: usize = 32;

/// The version that a project's first data key has.
pub(super) const FIRST_VERSION: u32 = 1;

const NONCE_BYTES: usize = 12;

/// What is sealed under the root key to tell, on opening, whether it is the right one.
const PROBE: &[u8] = b"ensign root key";

/// The key that wraps the data keys.
#[derive(Clone)]
pub struct RootKey(Zeroizing<[u8; KEY_BYTES]>);

impl std::fmt::Debug for RootKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[root key]")
    }
}

impl RootKey {
    /// The key of a secret of exactly 32 bytes; nothing when it has another length.
    pub fn new(secret: &Secret) -> Option<RootKey> {
        <[u8; KEY_BYTES]>::try_from(secret.expose()).ok().map(|key| RootKey(Zeroizing::new(key)))
    }

    pub fn generate(entropy: &Entropy) -> RootKey {
        RootKey(Zeroizing::new(entropy.bytes()))
    }

    /// Nonce and ciphertext of `plain`, which only the same key and `context` open again.
    pub fn seal(&self, entropy: &Entropy, context: &[u8], plain: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE_BYTES] = entropy.bytes();
        let cipher = Aes256Gcm::new(&(*self.0).into());
        let sealed = cipher
            .encrypt(&nonce.into(), Payload { msg: plain, aad: context })
            .expect("a short message can always be encrypted");
        [nonce.as_slice(), &sealed].concat()
    }

    /// What was sealed under this key and `context`; nothing if it was not, or has been changed.
    pub fn open(&self, context: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>()?;
        let cipher = Aes256Gcm::new(&(*self.0).into());
        cipher.decrypt(&(*nonce).into(), Payload { msg: sealed, aad: context }).ok().map(Zeroizing::new)
    }
}

/// Whether something was stored under a root key already.
///
/// # Errors
///
/// When the records can't be read.
pub async fn has_root_key(records: &Records) -> Result<bool, OpenError> {
    Ok(records.get(probe_key()).await?.is_some())
}

/// The keys of all projects.
#[derive(Debug, Clone)]
pub(super) struct KeyRing {
    root: RootKey,
    records: Records,
    entropy: Entropy,
}

impl KeyRing {
    /// Checks that the root key is the one that the records were made with; on the first opening, remembers it.
    pub(super) async fn open(root: RootKey, records: Records, entropy: Entropy) -> Result<KeyRing, OpenError> {
        let ring = KeyRing { root, records, entropy };
        if let Some(probe) = ring.records.get(probe_key()).await? {
            ring.root.open(PROBE, &probe.value).ok_or(OpenError::RootKeyMismatch)?;
            return Ok(ring);
        }
        let sealed = ring.root.seal(&ring.entropy, PROBE, PROBE);
        ring.records.commit(Transaction::new().check(probe_key(), None).put(probe_key(), sealed)).await?;
        Ok(ring)
    }

    /// As [`KeyRing::open`] for records that are only read: remembers nothing.
    pub(super) async fn existing(root: RootKey, records: Records) -> Result<KeyRing, OpenError> {
        if let Some(probe) = records.get(probe_key()).await? {
            root.open(PROBE, &probe.value).ok_or(OpenError::RootKeyMismatch)?;
        }
        Ok(KeyRing { root, records, entropy: Entropy::real() })
    }

    /// All versions of a project's data key.
    pub(super) async fn versions(&self, project: ProjectId) -> Result<Vec<(u32, DataKey)>, OpenError> {
        let stored = self.records.scan(data_key_prefix(project), None, usize::MAX).await?;
        let versions = stored.iter().map(|(key, record)| {
            let version = version_of(key).ok_or_else(|| damaged(project))?;
            Ok((version, self.unwrap(project, version, &record.value)?))
        });
        versions.collect()
    }

    /// Adds a new topic's salt to the transaction that creates the topic.
    pub(super) fn prepare_create(&self, topic: TopicId, transaction: Transaction) -> Transaction {
        let salt: [u8; KEY_BYTES] = self.entropy.bytes();
        transaction.check(salt_key(topic), None).put(salt_key(topic), salt.to_vec())
    }

    /// Adds the end of a topic's salt to the transaction that destroys the topic.
    pub(super) fn prepare_destroy(topic: TopicId, transaction: Transaction) -> Transaction {
        transaction.delete(salt_key(topic))
    }

    /// A topic's salt.
    pub(super) async fn salt(&self, topic: TopicId) -> Result<[u8; KEY_BYTES], OpenError> {
        let record = self.records.get(salt_key(topic)).await?.ok_or(OpenError::Destroyed { topic })?;
        <[u8; KEY_BYTES]>::try_from(&*record.value)
            .map_err(|_| OpenError::DamagedRecord { what: "salt", of: format!("topic {topic}") })
    }

    /// The newest data key of a project, which is made when there is none, with its version.
    pub(super) async fn newest(&self, project: ProjectId) -> Result<(u32, DataKey), OpenError> {
        loop {
            let stored = self.records.scan(data_key_prefix(project), None, usize::MAX).await?;
            if let Some((key, record)) = stored.last() {
                let version = version_of(key).ok_or_else(|| damaged(project))?;
                return Ok((version, self.unwrap(project, version, &record.value)?));
            }
            let key = Zeroizing::new(self.entropy.bytes::<KEY_BYTES>());
            let name = data_key_name(project, FIRST_VERSION);
            let sealed = self.root.seal(&self.entropy, &name, key.as_slice());
            match self.records.commit(Transaction::new().check(name.clone(), None).put(name, sealed)).await {
                Ok(_) => return Ok((FIRST_VERSION, DataKey(key))),
                Err(RecordError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// One version of a project's data key; nothing when there is no such version.
    pub(super) async fn version(&self, project: ProjectId, version: u32) -> Result<Option<DataKey>, OpenError> {
        let record = self.records.get(data_key_name(project, version)).await?;
        record.map(|record| self.unwrap(project, version, &record.value)).transpose()
    }

    /// Makes a data key of a given version.
    #[cfg(test)]
    pub(super) async fn add_version(&self, project: ProjectId, version: u32) {
        let name = data_key_name(project, version);
        let sealed = self.root.seal(&self.entropy, &name, &self.entropy.bytes::<KEY_BYTES>());
        self.records.commit(Transaction::new().put(name, sealed)).await.expect("the records take a key");
    }

    fn unwrap(&self, project: ProjectId, version: u32, sealed: &[u8]) -> Result<DataKey, OpenError> {
        let plain = self.root.open(&data_key_name(project, version), sealed).ok_or_else(|| damaged(project))?;
        let key = <[u8; KEY_BYTES]>::try_from(plain.as_slice()).map_err(|_| damaged(project))?;
        Ok(DataKey(Zeroizing::new(key)))
    }
}

/// A project's data key, unwrapped.
pub(super) struct DataKey(Zeroizing<[u8; KEY_BYTES]>);

impl DataKey {
    /// The cipher of one topic's blocks.
    pub(super) fn block_cipher(&self, salt: &[u8; KEY_BYTES]) -> Aes256Gcm {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        Hkdf::<Sha256>::new(Some(salt), self.0.as_slice())
            .expand(b"ensign block key v1", key.as_mut_slice())
            .expect("32 bytes are a length that HKDF can give");
        Aes256Gcm::new(&(*key).into())
    }
}

fn damaged(project: ProjectId) -> OpenError {
    OpenError::DamagedRecord { what: "data key", of: format!("project {project}") }
}

fn probe_key() -> Bytes {
    Bytes::from_static(b"key/root")
}

fn salt_key(topic: TopicId) -> Bytes {
    [b"key/salt/".as_slice(), topic.as_bytes()].concat().into()
}

fn data_key_prefix(project: ProjectId) -> Bytes {
    [b"key/data/".as_slice(), project.as_bytes()].concat().into()
}

fn data_key_name(project: ProjectId, version: u32) -> Bytes {
    [&*data_key_prefix(project), &version.to_be_bytes()].concat().into()
}

fn version_of(key: &[u8]) -> Option<u32> {
    key.last_chunk::<4>().map(|version| u32::from_be_bytes(*version))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::Ulid, store::Store};

    fn project(number: u8) -> ProjectId {
        ProjectId(Ulid::from_bytes([number; 16]))
    }

    async fn ring(records: &Records, root: &RootKey) -> Result<KeyRing, OpenError> {
        KeyRing::open(root.clone(), records.clone(), Entropy::seeded(7)).await
    }

    #[tokio::test]
    async fn data_keys_are_kept_and_differ_by_project() {
        let records = Store::memory().records;
        let root = RootKey::generate(&Entropy::seeded(1));
        let (version, first) = ring(&records, &root).await.unwrap().newest(project(1)).await.unwrap();
        let (_, again) = ring(&records, &root).await.unwrap().newest(project(1)).await.unwrap();
        let (_, other) = ring(&records, &root).await.unwrap().newest(project(2)).await.unwrap();
        assert_eq!(version, FIRST_VERSION);
        assert_eq!(*first.0, *again.0);
        assert_ne!(*first.0, *other.0);
    }

    #[tokio::test]
    async fn another_root_key_is_refused() {
        let records = Store::memory().records;
        ring(&records, &RootKey::generate(&Entropy::seeded(1))).await.unwrap();
        let refused = ring(&records, &RootKey::generate(&Entropy::seeded(2))).await;
        assert!(matches!(refused, Err(OpenError::RootKeyMismatch)));
    }

    /// A wrapped key that was moved to another project's record must not open there.
    #[tokio::test]
    async fn a_wrapped_key_is_bound_to_its_project() {
        let records = Store::memory().records;
        let root = RootKey::generate(&Entropy::seeded(1));
        let ring = ring(&records, &root).await.unwrap();
        ring.newest(project(1)).await.unwrap();
        let stolen = records.get(data_key_name(project(1), 1)).await.unwrap().unwrap();
        records.commit(Transaction::new().put(data_key_name(project(2), 1), stolen.value)).await.unwrap();
        assert!(matches!(ring.newest(project(2)).await, Err(OpenError::DamagedRecord { .. })));
    }

    #[tokio::test]
    async fn a_destroyed_topic_has_no_salt() {
        let records = Store::memory().records;
        let ring = ring(&records, &RootKey::generate(&Entropy::seeded(1))).await.unwrap();
        let topic = TopicId(Ulid::from_bytes([3; 16]));
        records.commit(ring.prepare_create(topic, Transaction::new())).await.unwrap();
        let salt = ring.salt(topic).await.unwrap();
        assert_ne!(salt, [0; KEY_BYTES]);
        records.commit(KeyRing::prepare_destroy(topic, Transaction::new())).await.unwrap();
        assert!(matches!(ring.salt(topic).await, Err(OpenError::Destroyed { .. })));
    }
}
