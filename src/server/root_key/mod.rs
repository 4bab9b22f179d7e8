//! Where the root key comes from: given at the start, kept in a keyring, made of a passphrase, or in the data directory.
//!
//! The records remember which it was when they were made ([`RootKeySource`]), and a start with another one is refused. Only a
//! source that this server keeps itself (a keyring, the directory) lets it make a new key while it runs.
//!
//! A key beside the data that it protects guards against reading a stray copy of the journal or of the records, not
//! against whoever can read the whole directory.
//!
//! Invariants: a key is never made where something is stored under one already. A change of the key is one transaction of the records;
//! what stands in files and keyrings is put right around it, so that at every point an end of the process leaves one key that fits, and
//! opening finds it.

mod change;
mod files;
mod open;
mod passphrase;
mod remembered;

use std::{fmt, io, sync::Arc};

pub(in crate::server) use change::RootKeyKeeper;
pub use change::{ChangeRootKeyError, NewRootKey, change_root_key};
pub(in crate::server) use open::open;
pub use open::open_for_reading as open_root_key;

use crate::{engine::RootKey, model::Secret, store::RecordError};

/// The kinds of places that a root key comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootKeySource {
    /// Whoever starts the server gives it.
    Given,
    Keyring,
    Passphrase,
    /// A file in the data directory.
    Directory,
}

impl RootKeySource {
    pub const ALL: [RootKeySource; 4] =
        [RootKeySource::Given, RootKeySource::Keyring, RootKeySource::Passphrase, RootKeySource::Directory];

    pub fn name(self) -> &'static str {
        match self {
            RootKeySource::Given => "given",
            RootKeySource::Keyring => "keyring",
            RootKeySource::Passphrase => "passphrase",
            RootKeySource::Directory => "directory",
        }
    }

    /// Whether a server can put another key there by itself.
    pub fn is_kept_by_server(self) -> bool {
        matches!(self, RootKeySource::Keyring | RootKeySource::Directory)
    }
}

impl fmt::Display for RootKeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RootKeySource::Given => "a key that is given at every start",
            RootKeySource::Keyring => "the keyring of the operating system",
            RootKeySource::Passphrase => "a passphrase",
            RootKeySource::Directory => "the file root.key in the data directory",
        })
    }
}

/// What an implementation of [`KeySafe`] provides. It may block, and ask somebody.
pub trait KeepSecrets: Send + Sync + fmt::Debug {
    fn get(&self, account: &str) -> Result<Option<Secret>, String>;
    fn put(&self, account: &str, secret: &Secret) -> Result<(), String>;
    fn remove(&self, account: &str) -> Result<(), String>;
}

/// A keyring, as far as it is needed here. Cheap to clone.
#[derive(Debug, Clone)]
pub struct KeySafe(Arc<dyn KeepSecrets>);

impl KeySafe {
    pub fn new(safe: impl KeepSecrets + 'static) -> KeySafe {
        KeySafe(Arc::new(safe))
    }
}

type Ask = dyn Fn(bool) -> Result<Secret, String> + Send + Sync;

/// Gives the passphrase when it is needed. It may block, and ask somebody.
#[derive(Clone)]
pub struct AskPassphrase(Arc<Ask>);

impl AskPassphrase {
    /// The function is told whether a key is made with it for the first time, which is worth asking twice.
    pub fn new(ask: impl Fn(bool) -> Result<Secret, String> + Send + Sync + 'static) -> AskPassphrase {
        AskPassphrase(Arc::new(ask))
    }
}

impl fmt::Debug for AskPassphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AskPassphrase")
    }
}

/// What a start offers for the root key.
#[derive(Debug, Clone)]
pub struct RootKeyOptions {
    /// The key itself.
    pub given: Option<RootKey>,
    /// Which source is asked for; `None`: what the directory remembers.
    pub wanted: Option<RootKeySource>,
    /// For a directory that remembers none.
    pub default: Option<RootKeySource>,
    pub passphrase: Option<AskPassphrase>,
    pub keyring: Option<KeySafe>,
    /// Whether the key may lie beside the data that it protects.
    pub allow_directory: bool,
}

impl RootKeyOptions {
    /// As for development: in the directory, unless that remembers something else.
    pub fn in_directory() -> RootKeyOptions {
        RootKeyOptions {
            given: None,
            wanted: None,
            default: Some(RootKeySource::Directory),
            passphrase: None,
            keyring: None,
            allow_directory: true,
        }
    }

    /// Which source counts, by what the directory remembers.
    ///
    /// # Errors
    ///
    /// When another one was asked for than the directory was made with, when none is known, or it may not be used here.
    pub fn decide(&self, remembered: Option<RootKeySource>) -> Result<RootKeySource, RootKeyError> {
        let said = self.given.as_ref().map(|_| RootKeySource::Given).or(self.wanted);
        let source = match (remembered, said) {
            (Some(remembered), Some(said)) if remembered != said => {
                return Err(RootKeyError::OtherSource { remembered, said });
            }
            (Some(source), _) | (None, Some(source)) => source,
            (None, None) => self.default.ok_or(RootKeyError::NoSource)?,
        };
        match source {
            RootKeySource::Directory if !self.allow_directory => Err(RootKeyError::DirectoryRefused),
            RootKeySource::Given if self.given.is_none() => Err(RootKeyError::NotGiven),
            source => Ok(source),
        }
    }
}

/// The root key could not be read, made, or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootKeyError {
    #[error("{file} is damaged: {what}; restore it, as nothing stored can be read without it")]
    Damaged { file: String, what: String },
    #[error("the file {file} is missing; restore it, as nothing stored can be read without it")]
    Missing { file: &'static str },
    #[error("the root key of this data directory comes from {remembered}, not from {said}")]
    OtherSource { remembered: RootKeySource, said: RootKeySource },
    #[error("it is not said where the root key comes from")]
    NoSource,
    #[error("the root key of this data directory is given at every start, and was not")]
    NotGiven,
    #[error("the root key is in the data directory, beside what it protects")]
    DirectoryRefused,
    #[error("the root key of this data directory is made of a passphrase, and there is none")]
    NoPassphrase,
    #[error("the passphrase is empty")]
    EmptyPassphrase,
    #[error("the passphrase could not be read: {what}")]
    PassphraseUnread { what: String },
    #[error("the root key of this data directory is in a keyring, and there is none here")]
    NoKeyring,
    #[error("the keyring has no entry {account} any more, which is the root key of this data directory")]
    NotInKeyring { account: String },
    #[error("the keyring did not do it: {what}")]
    Keyring { what: String },
    #[error("the root key does not fit this data: it was written under another one")]
    Mismatch,
    #[error("the record of the root key's source is damaged")]
    DamagedRecord,
    #[error("could not {action} the file {file}")]
    Io {
        action: &'static str,
        file: String,
        #[source]
        source: io::Error,
    },
    #[error("could not start a thread for the root key")]
    Thread {
        #[source]
        source: io::Error,
    },
    #[error("could not reach the records")]
    Records(#[from] RecordError),
}

#[cfg(test)]
mod tests;
