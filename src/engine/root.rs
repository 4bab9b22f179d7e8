//! The root key: what wraps the data keys, and whatever else is stored that only this server may open.
//!
//! Invariants: all clones of a [`RootKey`] are one key, so that a change of it reaches everybody who seals. What is sealed and
//! stored goes into a transaction of [`under_root_key`], which conflicts with a change of the root key that comes between. A
//! change rewrites all that was sealed, and the probe, in one transaction: there is never a moment at which two root keys
//! are needed.
//!
//! What it does not do: know where the key comes from.

use std::sync::{Arc, PoisonError, RwLock};

use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{Aead, Payload},
};
use bytes::Bytes;
use zeroize::Zeroizing;

use super::error::OpenError;
use crate::{
    model::Secret,
    store::{Record, RecordError, Records, Transaction},
    sys::Entropy,
};

/// The length of every symmetric key, in bytes.
pub const KEY_BYTES: usize = 32;

const NONCE_BYTES: usize = 12;

/// What is sealed under the root key to tell, on opening, whether it is the right one.
const PROBE: &[u8] = b"ensign root key";

/// The key that wraps the data keys. All clones are the same key, also after [`RootKey::replace`].
#[derive(Clone)]
pub struct RootKey(Arc<RwLock<Zeroizing<[u8; KEY_BYTES]>>>);

impl std::fmt::Debug for RootKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[root key]")
    }
}

impl RootKey {
    /// The key of a secret of exactly 32 bytes; nothing when it has another length.
    pub fn new(secret: &Secret) -> Option<RootKey> {
        <[u8; KEY_BYTES]>::try_from(secret.expose()).ok().map(RootKey::of)
    }

    pub fn generate(entropy: &Entropy) -> RootKey {
        RootKey::of(entropy.bytes())
    }

    fn of(bytes: [u8; KEY_BYTES]) -> RootKey {
        RootKey(Arc::new(RwLock::new(Zeroizing::new(bytes))))
    }

    fn bytes(&self) -> Zeroizing<[u8; KEY_BYTES]> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The key itself, for whoever keeps it.
    pub fn secret(&self) -> Secret {
        Secret::new(self.bytes().to_vec())
    }

    /// The same key as of now, which does not become another one along with this.
    #[must_use]
    pub fn detached(&self) -> RootKey {
        RootKey(Arc::new(RwLock::new(self.bytes())))
    }

    /// Becomes another key, and all clones with it. What was stored under this one must have been rewritten before.
    pub fn replace(&self, with: &RootKey) {
        let new = with.bytes();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = new;
    }

    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new(&(*self.bytes()).into())
    }

    /// Nonce and ciphertext of `plain`, which only the same key and `context` open again.
    pub fn seal(&self, entropy: &Entropy, context: &[u8], plain: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE_BYTES] = entropy.bytes();
        let sealed = self
            .cipher()
            .encrypt(&nonce.into(), Payload { msg: plain, aad: context })
            .expect("a short message can always be encrypted");
        [nonce.as_slice(), &sealed].concat()
    }

    /// What was sealed under this key and `context`; nothing if it was not, or has been changed.
    pub fn open(&self, context: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>()?;
        self.cipher().decrypt(&(*nonce).into(), Payload { msg: sealed, aad: context }).ok().map(Zeroizing::new)
    }

    fn fits(&self, probe: &Record) -> bool {
        self.open(PROBE, &probe.value).is_some()
    }
}

/// Whether something was stored under a root key already.
///
/// # Errors
///
/// When the records can't be read.
pub async fn has_root_key(records: &Records) -> Result<bool, RecordError> {
    Ok(records.get(probe_key()).await?.is_some())
}

/// Whether this is the key that the records were made under; also when they were made under none yet.
///
/// # Errors
///
/// When the records can't be read.
pub async fn is_root_key(records: &Records, root: &RootKey) -> Result<bool, RecordError> {
    Ok(records.get(probe_key()).await?.is_none_or(|probe| root.fits(&probe)))
}

/// Checks that the root key is the one that the records were made with; on the first opening, remembers it.
pub(super) async fn establish(root: &RootKey, records: &Records, entropy: &Entropy) -> Result<(), OpenError> {
    match records.get(probe_key()).await? {
        Some(probe) if root.fits(&probe) => Ok(()),
        Some(_) => Err(OpenError::RootKeyMismatch),
        None => {
            let sealed = root.seal(entropy, PROBE, PROBE);
            records.commit(Transaction::new().check(probe_key(), None).put(probe_key(), sealed)).await?;
            Ok(())
        }
    }
}

/// A transaction for what is sealed under the root key behind this call. It conflicts when the root key is changed in between, and
/// makes a change conflict that has not seen what is put here; then everything is done again, sealing included.
///
/// # Errors
///
/// When the records can't be read, or are not under this key. Records that no engine has opened are under none yet.
pub async fn under_root_key(records: &Records, root: &RootKey) -> Result<Transaction, OpenError> {
    let Some(probe) = records.get(probe_key()).await? else {
        return Ok(Transaction::new().check(probe_key(), None));
    };
    if !root.fits(&probe) {
        return Err(OpenError::RootKeyMismatch);
    }
    Ok(Transaction::new().check(probe_key(), Some(probe.revision)).put(probe_key(), probe.value))
}

/// Whether a transaction of [`under_root_key`] failed because something else was sealed, or the root key was changed, in
/// between.
pub fn is_resealing(error: &RecordError) -> bool {
    matches!(error, RecordError::Conflict { key } if *key == probe_key())
}

/// The part of a change of the root key that makes the new one the right one.
pub(super) async fn change(
    records: &Records,
    (old, new): (&RootKey, &RootKey),
    entropy: &Entropy,
) -> Result<Transaction, OpenError> {
    let mut transaction = under_root_key(records, old).await?;
    transaction.changes.clear();
    Ok(transaction.put(probe_key(), new.seal(entropy, PROBE, PROBE)))
}

fn probe_key() -> Bytes {
    Bytes::from_static(b"key/root")
}
