//! Changing the root key: by hand, while no server runs, and by a server that keeps the key itself.
//!
//! The new key is first put beside the old one: in a file with `.next` behind its name, in another entry of the keyring. Then one
//! transaction seals everything anew and remembers the new source, and names what held the old key. Then the new file gets its
//! name, and what is named is removed. Whatever interrupts it, opening finds which key fits, and does the rest.

use std::sync::Arc;

use tokio::sync::{Mutex, MutexGuard};

use super::{
    KeySafe, RootKeyError, RootKeyOptions, RootKeySource,
    files::{self, next_of, take_next},
    open::{derive, file_of, new_account, open, tidy},
    passphrase::Derivation,
    remembered::{self, Remembered},
};
use crate::{
    engine::{Engine, KeyChangeError, OpenError, RootChange, RootKey},
    identity::{IdentityError, reseal},
    model::{ProjectId, Secret, Time},
    store::{
        Records, Transaction,
        local::{self, CloseError, LocalOptions, LocalStore},
    },
    sys::{Clock, Disk, Entropy},
};

/// How often a change is prepared again because others have changed something meanwhile.
const ATTEMPTS: usize = 20;

/// Where the new key is to come from.
#[derive(Debug, Clone)]
pub enum NewRootKey {
    Given(RootKey),
    Keyring,
    Passphrase(Secret),
    Directory,
}

impl NewRootKey {
    pub fn source(&self) -> RootKeySource {
        match self {
            NewRootKey::Given(_) => RootKeySource::Given,
            NewRootKey::Keyring => RootKeySource::Keyring,
            NewRootKey::Passphrase(_) => RootKeySource::Passphrase,
            NewRootKey::Directory => RootKeySource::Directory,
        }
    }
}

/// Why the root key was not changed; it is the old one then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeRootKeyError {
    #[error(transparent)]
    Store(#[from] local::OpenError),
    #[error(transparent)]
    RootKey(#[from] RootKeyError),
    #[error(transparent)]
    Engine(#[from] OpenError),
    #[error(transparent)]
    Keys(#[from] KeyChangeError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The change is durable.
    #[error(transparent)]
    Close(#[from] CloseError),
}

/// What changes the root key of an open directory. Cheap to clone.
#[derive(Debug, Clone)]
pub(in crate::server) struct RootKeyKeeper {
    disk: Disk,
    records: Records,
    clock: Clock,
    entropy: Entropy,
    keyring: Option<KeySafe>,
    /// Held by whoever changes the key: two changes would write the same file.
    changing: Arc<Mutex<()>>,
}

/// A new key that is kept beside the old one, for a transaction.
#[derive(Debug)]
struct Prepared<'a> {
    keeper: &'a RootKeyKeeper,
    _changing: MutexGuard<'a, ()>,
    root: RootKey,
    source: RootKeySource,
    account: Option<String>,
}

/// The transaction has been carried out.
#[derive(Debug)]
struct Committed;

impl RootKeyKeeper {
    pub(in crate::server) fn new(
        disk: &Disk,
        records: &Records,
        keyring: Option<KeySafe>,
        (clock, entropy): (&Clock, &Entropy),
    ) -> RootKeyKeeper {
        RootKeyKeeper {
            disk: disk.clone(),
            records: records.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
            keyring,
            changing: Arc::default(),
        }
    }

    /// Where the key comes from, and since when it is this one.
    pub(in crate::server) async fn source(&self) -> Result<(RootKeySource, Option<Time>), RootKeyError> {
        let remembered = Remembered::load(&self.records).await?;
        Ok(remembered.map_or((RootKeySource::Directory, None), |(known, _)| (known.source, Some(known.since))))
    }

    /// Puts a new key beside the old one.
    async fn prepare(&self, new: NewRootKey) -> Result<Prepared<'_>, RootKeyError> {
        let changing = self.changing.lock().await;
        let source = new.source();
        let mut account = None;
        let root = match new {
            NewRootKey::Given(root) => root,
            NewRootKey::Directory => {
                let root = RootKey::generate(&self.entropy);
                files::write(&self.disk, &next_of(files::KEY_FILE), root.secret().expose())?;
                root
            }
            NewRootKey::Passphrase(passphrase) => {
                let derivation = Derivation::new(&self.entropy);
                let root = derive(derivation.clone(), passphrase).await?;
                files::write(&self.disk, &next_of(files::DERIVATION_FILE), &derivation.encode())?;
                root
            }
            NewRootKey::Keyring => {
                let root = RootKey::generate(&self.entropy);
                let name = account.insert(new_account(&self.entropy));
                self.keyring.as_ref().ok_or(RootKeyError::NoKeyring)?.put(name, root.secret()).await?;
                root
            }
        };
        Ok(Prepared { keeper: self, _changing: changing, root, source, account })
    }

    /// Changes the key and what is sealed under it, in one transaction. In the same one a version of a project's data key is revoked, if
    /// that is asked for.
    pub(in crate::server) async fn change(
        &self,
        engine: &Engine,
        new: NewRootKey,
        revoked: Option<(ProjectId, u32)>,
    ) -> Result<(), ChangeRootKeyError> {
        let prepared = self.prepare(new).await?;
        let mut attempts = 0;
        let committed = loop {
            attempts += 1;
            let change = prepared.root_change(engine).await?;
            let carried_out = match revoked {
                Some((project, version)) => engine.revoke_key(project, version, Some(&change)).await,
                None => engine.change_root_key(&change).await,
            };
            match carried_out {
                Ok(()) => break Committed,
                Err(KeyChangeError::Changed) if attempts < ATTEMPTS => {}
                Err(error) => {
                    // A write that failed may be durable all the same, and then the new key is the right one: opening finds out.
                    if !matches!(&error, KeyChangeError::Open(OpenError::Records(_))) {
                        prepared.give_up().await;
                    }
                    return Err(error.into());
                }
            }
        };
        prepared.finish(committed).await?;
        engine.scrub().await;
        Ok(())
    }
}

impl Prepared<'_> {
    /// What has to change in one transaction, as of now.
    async fn root_change(&self, engine: &Engine) -> Result<RootChange, ChangeRootKeyError> {
        let RootKeyKeeper { records, clock, entropy, .. } = self.keeper;
        let loaded = Remembered::load(records).await?;
        let revision = loaded.as_ref().map(|(_, record)| record.revision);
        let (old, account, since) = loaded.map_or((RootKeySource::Directory, None, None), |(known, _)| {
            (known.source, known.account, Some(known.since))
        });
        // Times tell whether the key was changed after a revocation, so they must not step back with the clock.
        let now = since.map_or(clock.now(), |since| clock.now().max(since.plus_nanos(1)));
        let mut remembered = Remembered::new(self.source, self.account.clone(), now);
        if old != self.source {
            remembered.stale_files.extend(file_of(old).map(str::to_owned));
        }
        remembered.stale_account = account;
        let also = reseal(records, &engine.root_key(), &self.root, entropy).await?;
        let source = Transaction::new().check(remembered::KEY, revision).put(remembered::KEY, remembered.encode());
        Ok(RootChange { to: self.root.clone(), also: also.and(source) })
    }

    /// Lets the new key take the old one's place.
    async fn finish(self, _: Committed) -> Result<(), RootKeyError> {
        let RootKeyKeeper { disk, records, keyring, .. } = self.keeper;
        if let Some(file) = file_of(self.source) {
            take_next(disk, file)?;
        }
        tidy(disk, records, keyring.as_ref()).await
    }

    /// Removes the new key again, of which nothing came. What can't be removed is so when the directory is opened the next time.
    async fn give_up(self) {
        if let Some(file) = file_of(self.source) {
            files::remove(&self.keeper.disk, [&*next_of(file)]).unwrap_or_else(|error| {
                tracing::warn!(%error, "a root key that is not used is still there");
            });
        }
        if let (Some(account), Some(keyring)) = (&self.account, &self.keeper.keyring) {
            keyring.remove(account).await.unwrap_or_else(|error| {
                tracing::warn!(%error, account, "a root key that is not used is still in the keyring");
            });
        }
    }
}

/// Changes the root key of a directory that no server uses; gives the source that it had. Needs a Tokio runtime.
///
/// # Errors
///
/// When another process holds the directory, or it can't be opened; when the old key does not fit, or the new one can't be kept.
pub async fn change_root_key(
    disk: &Disk,
    (clock, entropy): (&Clock, &Entropy),
    from: &RootKeyOptions,
    to: NewRootKey,
) -> Result<RootKeySource, ChangeRootKeyError> {
    let (store, local, _) = LocalStore::open(disk, clock, entropy, LocalOptions::default())?;
    let root = open(disk, &store.records, from, (clock, entropy)).await?;
    let engine = Engine::open(store.clone(), root, clock.clone(), entropy.clone()).await?;
    let keeper = RootKeyKeeper::new(disk, &store.records, from.keyring.clone(), (clock, entropy));
    let (old, _) = keeper.source().await?;
    let changed = keeper.change(&engine, to, None).await;
    engine.close().await;
    let closed = local.close().await;
    changed?;
    closed?;
    Ok(old)
}
