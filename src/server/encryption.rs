//! A project's data keys, for whoever asks over the wire: their state, and what is done to them.

use super::root_key::{ChangeRootKeyError, NewRootKey, RootKeyError, RootKeyKeeper, RootKeySource};
use crate::{
    broker::Broker,
    engine::{Engine, KeyChangeError, KeyState, KeyVersion, OpenError, Rewrite},
    model::{ProjectId, Time},
    store::{KeyUsage, ReadError},
};

/// The data keys of all projects. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct DataKeys {
    pub(super) engine: Engine,
    pub(super) broker: Broker,
    pub(super) keeper: RootKeyKeeper,
}

/// What there is to say of a project's keys.
#[derive(Debug, Clone)]
pub(super) struct Encryption {
    pub(super) versions: Vec<VersionUsage>,
    /// The last rewriting that was asked for, and what it has left to do.
    pub(super) rewrite: Option<(Rewrite, KeyUsage)>,
    pub(super) source: RootKeySource,
    pub(super) root_changed: Option<Time>,
}

#[derive(Debug, Clone)]
pub(super) struct VersionUsage {
    pub(super) key: KeyVersion,
    pub(super) usage: KeyUsage,
    /// Whether a copy of the data directory from before its revocation can be read with the root key of today.
    pub(super) copies_readable: bool,
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum EncryptionError {
    #[error(transparent)]
    Change(#[from] KeyChangeError),
    #[error(transparent)]
    Root(#[from] ChangeRootKeyError),
    #[error(transparent)]
    Source(#[from] RootKeyError),
    #[error(transparent)]
    Keys(#[from] OpenError),
    #[error(transparent)]
    Blocks(#[from] ReadError),
}

impl EncryptionError {
    /// What the caller did wrong, if it was the caller.
    pub(super) fn refusal(&self) -> Option<&KeyChangeError> {
        let (EncryptionError::Change(change) | EncryptionError::Root(ChangeRootKeyError::Keys(change))) = self else {
            return None;
        };
        Some(change).filter(|change| !matches!(change, KeyChangeError::Open(_)))
    }
}

impl DataKeys {
    pub(super) async fn status(&self, project: ProjectId) -> Result<Encryption, EncryptionError> {
        let status = self.engine.key_status(project).await?;
        let exposed = self.engine.exposed_versions(project).await?;
        let (source, root_changed) = self.keeper.source().await?;
        let topics: Vec<_> = self.broker.directory().topics(project).iter().map(|topic| topic.id()).collect();
        let usage = self.engine.key_usage(&topics).await?;
        let of = |version| usage.get(&version).copied().unwrap_or_default();
        let rewrite = status.rewrite.map(|rewrite| {
            let mut left = KeyUsage::default();
            let is_left = |key: &&KeyVersion| key.version < rewrite.below && key.state == KeyState::Active;
            status.versions.iter().filter(is_left).for_each(|key| left.add(of(key.version)));
            (rewrite, left)
        });
        let versions = status.versions.into_iter().map(|key| {
            let copies_readable = exposed.contains(&key.version);
            VersionUsage { usage: of(key.version), copies_readable, key }
        });
        Ok(Encryption { versions: versions.collect(), rewrite, source, root_changed })
    }

    pub(super) async fn rotate(&self, project: ProjectId, rewrite: bool) -> Result<u32, EncryptionError> {
        Ok(self.engine.rotate_key(project, rewrite).await?)
    }

    pub(super) async fn suspend(&self, project: ProjectId, version: u32) -> Result<(), EncryptionError> {
        Ok(self.engine.suspend_key(project, version).await?)
    }

    pub(super) async fn resume(&self, project: ProjectId, version: u32) -> Result<(), EncryptionError> {
        Ok(self.engine.resume_key(project, version).await?)
    }

    /// Destroys a version. Where this server keeps the root key itself, that is changed in the same moment, so that the wrapped
    /// key in a copy of the data directory can't be opened with the new one.
    pub(super) async fn revoke(&self, project: ProjectId, version: u32) -> Result<(), EncryptionError> {
        let status = self.engine.key_status(project).await?;
        let is_done = status.versions.iter().any(|key| key.version == version && key.state == KeyState::Revoked);
        let (source, _) = self.keeper.source().await?;
        let new = match source {
            _ if is_done => None,
            RootKeySource::Directory => Some(NewRootKey::Directory),
            RootKeySource::Keyring => Some(NewRootKey::Keyring),
            RootKeySource::Given | RootKeySource::Passphrase => None,
        };
        let Some(new) = new else {
            self.engine.revoke_key(project, version, None).await?;
            self.engine.scrub().await;
            return Ok(());
        };
        Ok(self.keeper.change(&self.engine, new, Some((project, version))).await?)
    }
}
