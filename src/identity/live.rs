//! The API keys that are live, in memory, so that a token's subject can be checked without the store.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use crate::model::{KeyId, Time};

/// Which keys exist, and when each was last used. A lookup, so a map behind a lock that is held for a line or two.
#[derive(Debug)]
pub(super) struct LiveKeys {
    keys: Mutex<HashMap<KeyId, Option<Time>>>,
    /// Counts the revocations; who waits for one looks again whenever it changes.
    revocations: watch::Sender<u64>,
}

/// The key has been revoked, or never was.
#[derive(Debug, Clone, Copy)]
pub(super) struct NotLive;

impl LiveKeys {
    pub(super) fn new(keys: HashMap<KeyId, Option<Time>>) -> LiveKeys {
        LiveKeys { keys: Mutex::new(keys), revocations: watch::Sender::new(0) }
    }

    pub(super) fn add(&self, key: KeyId) {
        self.lock().insert(key, None);
    }

    pub(super) fn contains(&self, key: KeyId) -> bool {
        self.lock().contains_key(&key)
    }

    pub(super) fn last_used(&self, key: KeyId) -> Option<Time> {
        self.lock().get(&key).copied().flatten()
    }

    /// Notes a use; gives the one before, or the error when there is no such key.
    pub(super) fn used(&self, key: KeyId, now: Time) -> Result<Option<Time>, NotLive> {
        self.lock().get_mut(&key).map(|last| last.replace(now)).ok_or(NotLive)
    }

    pub(super) fn revoke(&self, key: KeyId) {
        self.lock().remove(&key);
        self.revocations.send_modify(|count| *count += 1);
    }

    /// Resolves when the key is not live, at once if it is not live now.
    pub(super) async fn revoked(&self, key: KeyId) {
        let mut revocations = self.revocations.subscribe();
        while self.contains(key) {
            // The sender lives as long as `self`, so that this cannot fail while we wait.
            if revocations.changed().await.is_err() {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<KeyId, Option<Time>>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
