//! Finding the root key of a data directory, or making it where nothing is stored under one yet.

use super::{
    AskPassphrase, KeySafe, RootKeyError, RootKeyOptions, RootKeySource,
    files::{self, DERIVATION_FILE, KEY_FILE, next_of, remove, take_next},
    passphrase::Derivation,
    remembered::{self, Remembered},
};
use crate::{
    engine::{KEY_BYTES, RootKey, has_root_key, is_root_key},
    model::Secret,
    store::{RecordError, Records, Transaction},
    sys::{Clock, Disk, Entropy},
};

/// How the entries of a keyring begin.
const ACCOUNT: &str = "root-key-";

/// The root key of a directory, as the directory is. Changes nothing.
///
/// # Errors
///
/// When it can't be had, or does not fit.
pub async fn open_for_reading(
    disk: &Disk,
    records: &Records,
    options: &RootKeyOptions,
) -> Result<RootKey, RootKeyError> {
    let remembered = Remembered::load(records).await?.map(|(remembered, _)| remembered);
    let source = options.decide(Some(remembered.as_ref().map_or(RootKeySource::Directory, |known| known.source)))?;
    let finding = Finding { disk, records, options };
    Ok(finding.find(source, remembered.and_then(|known| known.account).as_deref()).await?.0)
}

/// The root key of a directory that is opened; puts right what an interrupted change has left.
pub(in crate::server) async fn open(
    disk: &Disk,
    records: &Records,
    options: &RootKeyOptions,
    (clock, entropy): (&Clock, &Entropy),
) -> Result<RootKey, RootKeyError> {
    let is_used = has_root_key(records).await?;
    let loaded = Remembered::load(records).await?.map(|(remembered, _)| remembered);
    // What is older than the record has its key in the directory.
    let known = loaded.as_ref().map(|known| known.source).or(is_used.then_some(RootKeySource::Directory));
    let source = options.decide(known)?;
    let remembered = match loaded {
        Some(remembered) => remembered,
        None => remember(records, source, clock, entropy).await?,
    };
    let account = remembered.account.as_deref();
    if !is_used {
        return make(disk, options, entropy, source, account).await;
    }
    let (root, is_next) = Finding { disk, records, options }.find(source, account).await?;
    for file in [KEY_FILE, DERIVATION_FILE] {
        // What was being written when the process ended.
        remove(disk, [&*format!("{file}.new"), &*format!("{}.new", next_of(file))])?;
        if is_next && file_of(source) == Some(file) {
            take_next(disk, file)?;
        } else {
            // What was written for a change that did not come to be.
            remove(disk, [&*next_of(file)])?;
        }
    }
    tidy(disk, records, options.keyring.as_ref()).await?;
    Ok(root)
}

/// The file that a source has in the data directory.
pub(super) fn file_of(source: RootKeySource) -> Option<&'static str> {
    match source {
        RootKeySource::Directory => Some(KEY_FILE),
        RootKeySource::Passphrase => Some(DERIVATION_FILE),
        RootKeySource::Given | RootKeySource::Keyring => None,
    }
}

pub(super) fn new_account(entropy: &Entropy) -> String {
    let bytes: [u8; 16] = entropy.bytes();
    bytes.iter().fold(ACCOUNT.to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// Notes where a new directory's key comes from, before it is made.
async fn remember(
    records: &Records,
    source: RootKeySource,
    clock: &Clock,
    entropy: &Entropy,
) -> Result<Remembered, RootKeyError> {
    let account = (source == RootKeySource::Keyring).then(|| new_account(entropy));
    let remembered = Remembered::new(source, account, clock.now());
    let transaction = Transaction::new().check(remembered::KEY, None).put(remembered::KEY, remembered.encode());
    records.commit(transaction).await?;
    Ok(remembered)
}

/// Makes the first key, or takes the one that was made when the last start was interrupted here.
async fn make(
    disk: &Disk,
    options: &RootKeyOptions,
    entropy: &Entropy,
    source: RootKeySource,
    account: Option<&str>,
) -> Result<RootKey, RootKeyError> {
    match source {
        RootKeySource::Given => options.given.as_ref().map(RootKey::detached).ok_or(RootKeyError::NotGiven),
        RootKeySource::Directory => {
            if let Some(content) = files::read(disk, KEY_FILE)? {
                return key_of(&content, KEY_FILE);
            }
            let root = RootKey::generate(entropy);
            files::write(disk, KEY_FILE, root.secret().expose())?;
            Ok(root)
        }
        RootKeySource::Passphrase => {
            let kept = files::read(disk, DERIVATION_FILE)?;
            let is_new = kept.is_none();
            let derivation = match kept {
                Some(content) => Derivation::decode(&content)?,
                None => Derivation::new(entropy),
            };
            let passphrase = ask(options, is_new).await?;
            let root = derive(derivation.clone(), passphrase).await?;
            if is_new {
                files::write(disk, DERIVATION_FILE, &derivation.encode())?;
            }
            Ok(root)
        }
        RootKeySource::Keyring => {
            let account = account.ok_or(RootKeyError::DamagedRecord)?;
            let keyring = options.keyring.as_ref().ok_or(RootKeyError::NoKeyring)?;
            if let Some(secret) = keyring.get(account).await? {
                return RootKey::new(&secret).ok_or_else(|| RootKeyError::NotInKeyring { account: account.to_owned() });
            }
            let root = RootKey::generate(entropy);
            keyring.put(account, root.secret()).await?;
            Ok(root)
        }
    }
}

/// What a key is looked for with.
struct Finding<'a> {
    disk: &'a Disk,
    records: &'a Records,
    options: &'a RootKeyOptions,
}

impl Finding<'_> {
    /// The key that fits, and whether it is the one that was written beside the file's.
    async fn find(&self, source: RootKeySource, account: Option<&str>) -> Result<(RootKey, bool), RootKeyError> {
        let options = self.options;
        let root = match source {
            RootKeySource::Given => options.given.as_ref().map(RootKey::detached).ok_or(RootKeyError::NotGiven)?,
            RootKeySource::Keyring => {
                let account = account.ok_or(RootKeyError::DamagedRecord)?;
                let secret = options.keyring.as_ref().ok_or(RootKeyError::NoKeyring)?.get(account).await?;
                let root = secret.and_then(|secret| RootKey::new(&secret));
                root.ok_or_else(|| RootKeyError::NotInKeyring { account: account.to_owned() })?
            }
            RootKeySource::Directory => return self.find_file(KEY_FILE, None).await,
            RootKeySource::Passphrase => {
                let passphrase = ask(options, false).await?;
                return self.find_file(DERIVATION_FILE, Some(passphrase)).await;
            }
        };
        if is_root_key(self.records, &root).await? { Ok((root, false)) } else { Err(RootKeyError::Mismatch) }
    }

    async fn find_file(&self, file: &'static str, passphrase: Option<Secret>) -> Result<(RootKey, bool), RootKeyError> {
        let mut wrong = RootKeyError::Missing { file };
        for (name, is_next) in [(file.to_owned(), false), (next_of(file), true)] {
            let Some(content) = files::read(self.disk, &name)? else { continue };
            let root = match &passphrase {
                None => key_of(&content, &name),
                Some(passphrase) => match Derivation::decode(&content) {
                    Ok(derivation) => derive(derivation, passphrase.clone()).await,
                    Err(error) => Err(error),
                },
            };
            match root {
                Ok(root) if is_root_key(self.records, &root).await? => return Ok((root, is_next)),
                Ok(_) => wrong = RootKeyError::Mismatch,
                Err(error) => wrong = error,
            }
        }
        Err(wrong)
    }
}

fn key_of(content: &[u8], name: &str) -> Result<RootKey, RootKeyError> {
    RootKey::new(&Secret::new(content.to_vec())).ok_or_else(|| RootKeyError::Damaged {
        file: name.to_owned(),
        what: format!("it has {} bytes instead of {KEY_BYTES}", content.len()),
    })
}

async fn ask(options: &RootKeyOptions, is_new: bool) -> Result<Secret, RootKeyError> {
    let AskPassphrase(ask) = options.passphrase.clone().ok_or(RootKeyError::NoPassphrase)?;
    blocking(move || ask(is_new).map_err(|what| RootKeyError::PassphraseUnread { what })).await
}

pub(super) async fn derive(derivation: Derivation, passphrase: Secret) -> Result<RootKey, RootKeyError> {
    blocking(move || derivation.derive(&passphrase)).await
}

/// Waits for something that takes its time, on a thread where it keeps nobody up.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RootKeyError> + Send + 'static,
) -> Result<T, RootKeyError> {
    let (reply, result) = tokio::sync::oneshot::channel();
    let work = move || drop(reply.send(work()));
    let failed = |source| RootKeyError::Thread { source };
    std::thread::Builder::new().name("ensign-root-key".to_owned()).spawn(work).map_err(failed)?;
    result.await.unwrap_or_else(|_| Err(failed(std::io::Error::other("it ended without an answer"))))
}

impl KeySafe {
    pub(super) async fn get(&self, account: &str) -> Result<Option<Secret>, RootKeyError> {
        let (safe, account) = (self.0.clone(), account.to_owned());
        blocking(move || safe.get(&account).map_err(|what| RootKeyError::Keyring { what })).await
    }

    pub(super) async fn put(&self, account: &str, secret: Secret) -> Result<(), RootKeyError> {
        let (safe, account) = (self.0.clone(), account.to_owned());
        blocking(move || safe.put(&account, &secret).map_err(|what| RootKeyError::Keyring { what })).await
    }

    pub(super) async fn remove(&self, account: &str) -> Result<(), RootKeyError> {
        let (safe, account) = (self.0.clone(), account.to_owned());
        blocking(move || safe.remove(&account).map_err(|what| RootKeyError::Keyring { what })).await
    }
}

/// Removes what held the key before it was changed, which the records name.
pub(super) async fn tidy(disk: &Disk, records: &Records, keyring: Option<&KeySafe>) -> Result<(), RootKeyError> {
    let Some((mut remembered, record)) = Remembered::load(records).await? else { return Ok(()) };
    if remembered.stale_files.is_empty() && remembered.stale_account.is_none() {
        return Ok(());
    }
    remove(disk, remembered.stale_files.iter().map(String::as_str))?;
    if let (Some(account), Some(keyring)) = (&remembered.stale_account, keyring) {
        // An old key that nothing is sealed under any more may stay there, if the keyring does not want to let go of it.
        if let Err(error) = keyring.remove(account).await {
            tracing::warn!(%error, account, "the old root key is still in the keyring");
        }
    }
    (remembered.stale_files, remembered.stale_account) = (Vec::new(), None);
    let transaction = Transaction::new().check(remembered::KEY, Some(record.revision));
    match records.commit(transaction.put(remembered::KEY, remembered.encode())).await {
        Ok(_) | Err(RecordError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
