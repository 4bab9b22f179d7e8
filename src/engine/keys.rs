//! The hierarchy of keys: the root key wraps each project's data keys; a data key and a topic's random salt give the key
//! that the topic's blocks are encrypted with.
//!
//! Invariants: a data key is never stored but wrapped; a block key is never stored at all. Deleting a topic's salt
//! makes its blocks unreadable. A wrapped key is bound to its project and version, so that records cannot be swapped. A data key
//! that is new is stored before anything is sealed under it; one that is revoked is gone from the records before anybody hears of it.
//!
//! What it does not do: know who may change a key, or where the root key comes from.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use aes_gcm::{Aes256Gcm, KeyInit};
use bytes::Bytes;
use hkdf::Hkdf;
use sha2::Sha256;
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::{
    error::{KeyChangeError, OpenError},
    root::{self, KEY_BYTES, RootKey, under_root_key},
    versions::{self, KeyState, KeyStatus, KeyVersion, Rewrite, Versions},
};
use crate::{
    model::{ProjectId, TopicId, Ulid},
    store::{Record, RecordError, Records, Revision, Transaction},
    sys::{Clock, Entropy},
};

/// The version that a project's first data key has.
pub(super) const FIRST_VERSION: u32 = 1;

/// There as long as the records may still hold, in places that nothing refers to, what was deleted for good.
pub(super) const SCRUB: &[u8] = b"key/scrub";

/// The data keys of all projects. A cheap handle.
#[derive(Debug, Clone)]
pub(super) struct KeyRing {
    root: RootKey,
    records: Records,
    clock: Clock,
    entropy: Entropy,
    /// The projects that somebody has asked for. The lock is held for a look-up.
    projects: Arc<Mutex<HashMap<ProjectId, watch::Sender<Arc<Versions>>>>>,
}

/// A new root key that takes the place of the old one along with a change.
#[derive(Debug)]
pub struct RootChange {
    pub to: RootKey,
    /// What others have sealed under the root key, sealed under the new one, and whatever else has to change at the same moment.
    pub also: Transaction,
}

impl KeyRing {
    /// Checks that the root key is the one that the records were made with; on the first opening, remembers it.
    pub(super) async fn open(
        root: RootKey,
        records: Records,
        clock: Clock,
        entropy: Entropy,
    ) -> Result<KeyRing, OpenError> {
        root::establish(&root, &records, &entropy).await?;
        Ok(KeyRing { root, records, clock, entropy, projects: Arc::default() })
    }

    /// As [`KeyRing::open`] for records that are only read: remembers nothing.
    pub(super) async fn existing(root: RootKey, records: Records) -> Result<KeyRing, OpenError> {
        if !root::is_root_key(&records, &root).await? {
            return Err(OpenError::RootKeyMismatch);
        }
        Ok(KeyRing { root, records, clock: Clock::real(), entropy: Entropy::real(), projects: Arc::default() })
    }

    pub(super) fn root(&self) -> RootKey {
        self.root.clone()
    }

    /// The active versions of a project's data key.
    pub(super) async fn active(&self, project: ProjectId) -> Result<Vec<(u32, DataKey)>, OpenError> {
        let stored = self.records.scan(data_key_prefix(project), None, usize::MAX).await?;
        let follow = self.follow(project).await?;
        let versions = Arc::clone(&follow.borrow());
        let mut active = Vec::with_capacity(stored.len());
        for (key, record) in stored {
            let version = version_of(&key).ok_or_else(|| damaged(project))?;
            if versions.closed(version).is_none() {
                active.push((version, self.unwrap(project, version, &record.value)?));
            }
        }
        Ok(active)
    }

    /// Adds a new topic's salt to the transaction that creates the topic.
    pub(super) fn prepare_create(&self, topic: TopicId, transaction: Transaction) -> Transaction {
        let salt: [u8; KEY_BYTES] = self.entropy.bytes();
        transaction.check(salt_key(topic), None).put(salt_key(topic), salt.to_vec())
    }

    /// Adds the end of a topic's salt to the transaction that destroys the topic.
    pub(super) fn prepare_destroy(topic: TopicId, transaction: Transaction) -> Transaction {
        transaction.delete(salt_key(topic)).put(SCRUB, vec![1])
    }

    /// A topic's salt.
    pub(super) async fn salt(&self, topic: TopicId) -> Result<[u8; KEY_BYTES], OpenError> {
        let record = self.records.get(salt_key(topic)).await?.ok_or(OpenError::Destroyed { topic })?;
        <[u8; KEY_BYTES]>::try_from(&*record.value)
            .map_err(|_| OpenError::DamagedRecord { what: "salt", of: format!("topic {topic}") })
    }

    /// Follows the versions of a project's data key, the first of which is made when there is none.
    pub(super) async fn follow(&self, project: ProjectId) -> Result<watch::Receiver<Arc<Versions>>, OpenError> {
        if let Some(known) = self.projects().get(&project) {
            return Ok(known.subscribe());
        }
        let (status, revision) = self.load_or_make(project).await?;
        let newest = status.newest().unwrap_or(FIRST_VERSION);
        let key = self.version(project, newest).await?.ok_or_else(|| damaged(project))?;
        let loaded = Versions::new(&status, revision, newest, key);
        // Whoever was faster, or has changed something since, knows at least as much.
        let mut projects = self.projects();
        let sender = projects.entry(project).or_insert_with(|| watch::Sender::new(Arc::clone(&loaded)));
        offer(sender, loaded);
        Ok(sender.subscribe())
    }

    /// The versions of a project that somebody follows.
    pub(super) fn known(&self, project: ProjectId) -> Option<Arc<Versions>> {
        self.projects().get(&project).map(|known| Arc::clone(&known.borrow()))
    }

    /// All versions that a project's data key has or had.
    pub(super) async fn status(&self, project: ProjectId) -> Result<KeyStatus, OpenError> {
        Ok(self.load_or_make(project).await?.0)
    }

    /// One version of a project's data key, whatever its state; nothing when there is no such key.
    pub(super) async fn version(&self, project: ProjectId, version: u32) -> Result<Option<DataKey>, OpenError> {
        let record = self.records.get(data_key_name(project, version)).await?;
        record.map(|record| self.unwrap(project, version, &record.value)).transpose()
    }

    /// Makes a new version for new blocks; all earlier blocks are to be sealed anew under it, if that is asked for.
    pub(super) async fn rotate(&self, project: ProjectId, rewrite: bool) -> Result<u32, KeyChangeError> {
        loop {
            let (mut status, revision) = self.load_or_make(project).await?;
            let version = status.newest().unwrap_or(0) + 1;
            let now = self.clock.now();
            let (state, created) = (KeyState::Active, Some(now));
            status.versions.push(KeyVersion { version, state, created, changed: None });
            if rewrite {
                status.rewrite = Some(Rewrite { below: version, started: now, finished: None });
            }
            let (key, transaction) = self.new_key(project, version).await?;
            if self.commit(project, &status, revision, transaction, Some(key)).await? {
                tracing::info!(%project, version, rewrite, "data key rotated");
                return Ok(version);
            }
        }
    }

    /// Changes whether what is under a version may be read.
    pub(super) async fn set_state(
        &self,
        project: ProjectId,
        version: u32,
        state: KeyState,
    ) -> Result<(), KeyChangeError> {
        loop {
            let (mut status, revision) = self.load_or_make(project).await?;
            if !may_become(&mut status, version, state, &self.clock)? {
                return Ok(());
            }
            if self.commit(project, &status, revision, Transaction::new(), None).await? {
                tracing::info!(%project, version, state = state.name(), "data key changed");
                return Ok(());
            }
        }
    }

    /// Destroys a version's key; the root key changes in the same moment, if that is asked for.
    ///
    /// # Errors
    ///
    /// With a change of the root key, a conflict is the caller's: it has to prepare its part again.
    pub(super) async fn revoke(
        &self,
        project: ProjectId,
        version: u32,
        change: Option<&RootChange>,
    ) -> Result<(), KeyChangeError> {
        loop {
            let (mut status, revision) = self.load_or_make(project).await?;
            if !may_become(&mut status, version, KeyState::Revoked, &self.clock)? {
                return Ok(());
            }
            let name = data_key_name(project, version);
            let mut transaction = Transaction::new().delete(name.clone()).put(SCRUB, vec![1]);
            transaction = match change {
                Some(change) => transaction.and(self.rewrap(&change.to, Some(&name)).await?).and(change.also.clone()),
                // Copies from before hold it, under the root key that stays.
                None => transaction.put(exposed_key(project, version), vec![1]),
            };
            let committed = self.commit(project, &status, revision, transaction, None).await?;
            if committed {
                if let Some(change) = change {
                    self.root.replace(&change.to);
                }
                tracing::warn!(%project, version, "data key revoked: what is under it can't be read any more");
                return Ok(());
            }
            if change.is_some() {
                return Err(KeyChangeError::Changed);
            }
        }
    }

    /// Notes that nothing is left to be sealed anew under a version, if that was what was asked for.
    pub(super) async fn rewritten(&self, project: ProjectId, below: u32) -> Result<(), KeyChangeError> {
        loop {
            let (mut status, revision) = self.load_or_make(project).await?;
            let open = status.rewrite.as_mut().filter(|rewrite| rewrite.below == below && rewrite.finished.is_none());
            let Some(rewrite) = open else { return Ok(()) };
            rewrite.finished = Some(self.clock.now());
            if self.commit(project, &status, revision, Transaction::new(), None).await? {
                tracing::info!(%project, below, "everything is under the newer data key");
                return Ok(());
            }
        }
    }

    /// The projects whose blocks are being sealed anew, with the version below which.
    pub(super) async fn rewrites(&self) -> Result<Vec<(ProjectId, u32)>, OpenError> {
        let mut found = Vec::new();
        for (key, record) in self.records.scan(versions::PREFIX, None, usize::MAX).await? {
            let project = project_of(&key)
                .ok_or_else(|| OpenError::DamagedRecord { what: "key versions", of: format!("{key:?}") })?;
            let rewrite = versions::decode(project, &record.value)?.rewrite;
            found.extend(rewrite.filter(|rewrite| rewrite.finished.is_none()).map(|rewrite| (project, rewrite.below)));
        }
        Ok(found)
    }

    /// A change of the root key by itself.
    pub(super) async fn change_root(&self, change: &RootChange) -> Result<(), KeyChangeError> {
        let transaction = self.rewrap(&change.to, None).await?.put(SCRUB, vec![1]).and(change.also.clone());
        match self.records.commit(transaction).await {
            Ok(_) => {
                self.root.replace(&change.to);
                tracing::info!("root key changed");
                Ok(())
            }
            Err(RecordError::Conflict { .. }) => Err(KeyChangeError::Changed),
            Err(error) => Err(OpenError::from(error).into()),
        }
    }

    /// Everything that this module has sealed under the root key, sealed under another one; without one data key.
    async fn rewrap(&self, to: &RootKey, without: Option<&Bytes>) -> Result<Transaction, OpenError> {
        let mut transaction = root::change(&self.records, (&self.root, to), &self.entropy).await?;
        for (key, record) in self.records.scan(DATA_KEYS, None, usize::MAX).await? {
            if without == Some(&key) {
                continue;
            }
            let named = || OpenError::DamagedRecord { what: "data key", of: format!("record {key:?}") };
            let plain = self.root.open(&key, &record.value).ok_or_else(named)?;
            let sealed = to.seal(&self.entropy, &key, &plain);
            transaction = transaction.check(key.clone(), Some(record.revision)).put(key, sealed);
        }
        for (key, _) in self.records.scan(EXPOSED, None, usize::MAX).await? {
            transaction = transaction.delete(key);
        }
        Ok(transaction)
    }

    /// The revoked versions of a project that copies of the records from before still have under the root key of today.
    pub(super) async fn exposed(&self, project: ProjectId) -> Result<Vec<u32>, OpenError> {
        let prefix = [EXPOSED, project.as_bytes().as_slice()].concat();
        let found = self.records.scan(prefix, None, usize::MAX).await?;
        found.iter().map(|(key, _)| version_of(key).ok_or_else(|| damaged(project))).collect()
    }

    /// What is known of a project's versions; the first one is made when there is none.
    async fn load_or_make(&self, project: ProjectId) -> Result<(KeyStatus, Option<Revision>), OpenError> {
        loop {
            if let Some(record) = self.records.get(versions::record_key(project)).await? {
                return Ok((versions::decode(project, &record.value)?, Some(record.revision)));
            }
            // Keys that are older than the record of their versions are all active.
            let stored = self.records.scan(data_key_prefix(project), None, usize::MAX).await?;
            if !stored.is_empty() {
                let numbers = stored.iter().map(|(key, _): &(Bytes, Record)| version_of(key));
                let versions = numbers.map(|version| {
                    let version = version.ok_or_else(|| damaged(project))?;
                    Ok(KeyVersion { version, state: KeyState::Active, created: None, changed: None })
                });
                let versions = versions.collect::<Result<_, OpenError>>()?;
                return Ok((KeyStatus { versions, rewrite: None }, None));
            }
            let (state, created) = (KeyState::Active, Some(self.clock.now()));
            let first = KeyVersion { version: FIRST_VERSION, state, created, changed: None };
            let status = KeyStatus { versions: vec![first], rewrite: None };
            let (_, transaction) = self.new_key(project, FIRST_VERSION).await?;
            let name = versions::record_key(project);
            let transaction = transaction.check(name.clone(), None).put(name, versions::encode(&status));
            match self.records.commit(transaction).await {
                Ok(revision) => return Ok((status, Some(revision))),
                Err(RecordError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn new_key(&self, project: ProjectId, version: u32) -> Result<(DataKey, Transaction), OpenError> {
        let transaction = under_root_key(&self.records, &self.root).await?;
        let key = DataKey(Zeroizing::new(self.entropy.bytes::<KEY_BYTES>()));
        let name = data_key_name(project, version);
        let sealed = self.root.seal(&self.entropy, &name, key.0.as_slice());
        Ok((key, transaction.check(name.clone(), None).put(name, sealed)))
    }

    /// Writes a project's versions, and tells everybody; says whether they were still what they had been.
    async fn commit(
        &self,
        project: ProjectId,
        status: &KeyStatus,
        revision: Option<Revision>,
        also: Transaction,
        key: Option<DataKey>,
    ) -> Result<bool, KeyChangeError> {
        let follow = self.follow(project).await?;
        let name = versions::record_key(project);
        let transaction =
            Transaction::new().check(name.clone(), revision).put(name, versions::encode(status)).and(also);
        let revision = match self.records.commit(transaction).await {
            Ok(revision) => revision,
            Err(RecordError::Conflict { .. }) => return Ok(false),
            Err(error) => return Err(OpenError::from(error).into()),
        };
        let newest = status.newest().unwrap_or(FIRST_VERSION);
        let key = key.unwrap_or_else(|| follow.borrow().key.clone());
        let changed = Versions::new(status, Some(revision), newest, key);
        if let Some(sender) = self.projects().get(&project) {
            offer(sender, changed);
        }
        Ok(true)
    }

    fn unwrap(&self, project: ProjectId, version: u32, sealed: &[u8]) -> Result<DataKey, OpenError> {
        let plain = self.root.open(&data_key_name(project, version), sealed).ok_or_else(|| damaged(project))?;
        let key = <[u8; KEY_BYTES]>::try_from(plain.as_slice()).map_err(|_| damaged(project))?;
        Ok(DataKey(Zeroizing::new(key)))
    }

    fn projects(&self) -> MutexGuard<'_, HashMap<ProjectId, watch::Sender<Arc<Versions>>>> {
        self.projects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes versions known, unless later ones are.
fn offer(sender: &watch::Sender<Arc<Versions>>, versions: Arc<Versions>) {
    sender.send_if_modified(|known| {
        let later = versions.revision > known.revision;
        if later {
            *known = versions;
        }
        later
    });
}

/// Brings a version into a state, if it may have that; says whether something changes.
fn may_become(status: &mut KeyStatus, version: u32, state: KeyState, clock: &Clock) -> Result<bool, KeyChangeError> {
    let newest = status.newest();
    let known = status.get_mut(version).ok_or(KeyChangeError::Unknown { version })?;
    if known.state == state {
        return Ok(false);
    }
    if known.state == KeyState::Revoked {
        return Err(KeyChangeError::Revoked { version });
    }
    if newest == Some(version) && state != KeyState::Active {
        return Err(KeyChangeError::Newest { version });
    }
    (known.state, known.changed) = (state, Some(clock.now()));
    Ok(true)
}

/// A project's data key, unwrapped.
#[derive(Clone)]
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

fn salt_key(topic: TopicId) -> Bytes {
    [b"key/salt/".as_slice(), topic.as_bytes()].concat().into()
}

const DATA_KEYS: &[u8] = b"key/data/";

/// Versions that were revoked, and the root key was not changed since.
const EXPOSED: &[u8] = b"key/exposed/";

fn exposed_key(project: ProjectId, version: u32) -> Bytes {
    [EXPOSED, project.as_bytes().as_slice(), &version.to_be_bytes()].concat().into()
}

fn data_key_prefix(project: ProjectId) -> Bytes {
    [DATA_KEYS, project.as_bytes()].concat().into()
}

fn data_key_name(project: ProjectId, version: u32) -> Bytes {
    [&*data_key_prefix(project), &version.to_be_bytes()].concat().into()
}

fn version_of(key: &[u8]) -> Option<u32> {
    key.last_chunk::<4>().map(|version| u32::from_be_bytes(*version))
}

/// The project that ends the key of a record.
fn project_of(key: &[u8]) -> Option<ProjectId> {
    key.last_chunk::<16>().map(|bytes| ProjectId(Ulid::from_bytes(*bytes)))
}
