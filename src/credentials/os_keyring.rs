//! The operating system's keyring: Secret Service on Linux, Keychain on macOS.

use std::{
    fmt,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use keyring::{Entry, Error};

use super::SecretError;
use crate::model::Secret;

/// The name under which entries are filed.
const SERVICE: &str = "ensign";

/// How long a keyring may take: somebody may have to type a password into its window first.
const PATIENCE: Duration = Duration::from_mins(2);

/// What an implementation of [`OsKeyring`] provides.
pub(super) trait KeyringStore: Send + Sync + fmt::Debug {
    fn get(&self, account: &str) -> Result<Option<Secret>, SecretError>;
    fn put(&self, account: &str, secret: &Secret) -> Result<(), SecretError>;
    /// Gives whether there was a secret.
    fn remove(&self, account: &str) -> Result<bool, SecretError>;
}

#[derive(Debug, Clone)]
pub(super) struct OsKeyring(Arc<dyn KeyringStore>);

impl OsKeyring {
    /// The machine's own. Nothing is opened until something is asked for.
    pub(super) fn system() -> OsKeyring {
        OsKeyring::new(System)
    }

    pub(super) fn new(store: impl KeyringStore + 'static) -> OsKeyring {
        OsKeyring(Arc::new(store))
    }

    pub(super) fn get(&self, account: &str) -> Result<Option<Secret>, SecretError> {
        self.0.get(account)
    }

    pub(super) fn put(&self, account: &str, secret: &Secret) -> Result<(), SecretError> {
        self.0.put(account, secret)
    }

    pub(super) fn remove(&self, account: &str) -> Result<bool, SecretError> {
        self.0.remove(account)
    }
}

#[derive(Debug)]
struct System;

impl KeyringStore for System {
    fn get(&self, account: &str) -> Result<Option<Secret>, SecretError> {
        match with_entry(account, Entry::get_secret) {
            Ok(secret) => Ok(Some(Secret::new(secret))),
            Err(Refusal::Absent) => Ok(None),
            Err(Refusal::Error(error)) => Err(error),
        }
    }

    fn put(&self, account: &str, secret: &Secret) -> Result<(), SecretError> {
        let secret = secret.clone();
        match with_entry(account, move |entry| entry.set_secret(secret.expose())) {
            Ok(()) => Ok(()),
            Err(Refusal::Error(error)) => Err(error),
            Err(Refusal::Absent) => {
                let source = Arc::new(std::io::Error::other("it has no place for new secrets"));
                Err(SecretError::KeyringFailed { source })
            }
        }
    }

    fn remove(&self, account: &str) -> Result<bool, SecretError> {
        match with_entry(account, Entry::delete_credential) {
            Ok(()) => Ok(true),
            Err(Refusal::Absent) => Ok(false),
            Err(Refusal::Error(error)) => Err(error),
        }
    }
}

enum Refusal {
    Absent,
    Error(SecretError),
}

/// Does something with an account's entry, on a thread of its own: the keyring is asked synchronously, may be waiting
/// for its user, and must not meet a runtime on its thread. If the patience ends first, the thread is left behind.
fn with_entry<T: Send + 'static>(
    account: &str,
    act: impl FnOnce(&Entry) -> keyring::Result<T> + Send + 'static,
) -> Result<T, Refusal> {
    let account = account.to_owned();
    let (done, outcome) = mpsc::channel();
    let work = move || {
        let result = open(&account).and_then(|entry| act(&entry).map_err(refusal));
        // Nobody waits any more if the patience has ended.
        done.send(result).ok();
    };
    let failed = |source| Refusal::Error(SecretError::KeyringFailed { source: Arc::new(source) });
    thread::Builder::new().name("ensign-keyring".to_owned()).spawn(work).map_err(failed)?;
    outcome.recv_timeout(PATIENCE).unwrap_or(Err(Refusal::Error(SecretError::KeyringSilent)))
}

fn open(account: &str) -> Result<Entry, Refusal> {
    match Entry::store_status() {
        Ok(()) => Entry::new(SERVICE, account).map_err(refusal),
        // The status is remembered for the process's life and cannot be given away, so its text stands for it.
        Err(error) => {
            let source = Arc::new(std::io::Error::other(error.to_string()));
            Err(Refusal::Error(SecretError::NoKeyring { source }))
        }
    }
}

fn refusal(error: Error) -> Refusal {
    match error {
        Error::NoEntry => Refusal::Absent,
        error @ Error::NoStorageAccess(_) => Refusal::Error(SecretError::KeyringLocked { source: Arc::new(error) }),
        error => Refusal::Error(SecretError::KeyringFailed { source: Arc::new(error) }),
    }
}

/// The machine's keyring, for secrets that are filed under names of their own. Cheap to make: nothing is opened until something is
/// asked for.
#[derive(Debug, Clone)]
pub struct SystemKeyring(OsKeyring);

impl SystemKeyring {
    pub fn system() -> SystemKeyring {
        SystemKeyring(OsKeyring::system())
    }

    /// The secret of an account, if there is one.
    ///
    /// # Errors
    ///
    /// When there is no keyring, or it stays locked.
    pub fn get(&self, account: &str) -> Result<Option<Secret>, SecretError> {
        self.0.get(account)
    }

    /// Keeps a secret under an account.
    ///
    /// # Errors
    ///
    /// When there is no keyring, or it stays locked.
    pub fn put(&self, account: &str, secret: &Secret) -> Result<(), SecretError> {
        self.0.put(account, secret)
    }

    /// Removes the secret of an account; gives whether there was one.
    ///
    /// # Errors
    ///
    /// When there is no keyring, or it stays locked.
    pub fn remove(&self, account: &str) -> Result<bool, SecretError> {
        self.0.remove(account)
    }
}
