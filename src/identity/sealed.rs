//! Everything of identity that is sealed under the root key: how it is sealed, and how it is sealed anew under another
//! key, all at once.

use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use super::{
    IdentityError,
    links::LinkRecord,
    record::{SigningRecord, decode, encode, place},
    service::scan_all,
};
use crate::{
    engine::{OpenError, RootKey, under_root_key},
    store::{Records, Transaction},
    sys::Entropy,
};

/// Seals a secret for a record. The context is where it lies; elsewhere it does not open.
pub(super) fn seal(root: &RootKey, entropy: &Entropy, context: &str, plain: &[u8]) -> String {
    STANDARD.encode(root.seal(entropy, context.as_bytes(), plain))
}

/// What was sealed under this key and context; nothing if it was not, or has been changed.
pub(super) fn open(root: &RootKey, context: &str, sealed: &str) -> Option<Zeroizing<Vec<u8>>> {
    root.open(context.as_bytes(), &STANDARD.decode(sealed).ok()?)
}

/// How often it is asked whether the root key in memory is the stored one, while it is being changed.
const ATTEMPTS: usize = 100;

/// A transaction for what is sealed behind this call, which a change of the root key in between lets fail.
///
/// The stored key changes a moment before the one in memory does, which is waited for.
pub(super) async fn under(records: &Records, root: &RootKey) -> Result<Transaction, IdentityError> {
    for _ in 1..ATTEMPTS {
        match under_root_key(records, root).await {
            Err(OpenError::RootKeyMismatch) => tokio::task::yield_now().await,
            other => return other.map_err(not_under),
        }
    }
    under_root_key(records, root).await.map_err(not_under)
}

fn not_under(error: OpenError) -> IdentityError {
    match error {
        OpenError::Records(source) => source.into(),
        _ => IdentityError::Sealed { context: "of the root key".to_owned() },
    }
}

/// The changes that seal everything of identity under another root key: the token signing keys, and the tokens of mail
/// that nothing sends. They belong into one transaction with whatever else is sealed under the old key.
///
/// An [`super::Identity`] may have the records open: its signing keys are in memory, unsealed, and stay good, and it
/// opens mail with the root key that all clones are. What it seals, uses or deletes before the transaction is committed
/// makes that conflict, and then all of this has to be done again. The places of its pages end with the old key.
///
/// # Errors
///
/// When something does not open with the old key; nothing has been changed then.
pub async fn reseal(
    records: &Records,
    old: &RootKey,
    new: &RootKey,
    entropy: &Entropy,
) -> Result<Transaction, IdentityError> {
    // Before anything is read: what is sealed from here on has not been seen.
    let mut transaction = under(records, old).await?;
    transaction.changes.clear();
    let again = |context: &str, sealed: &str| {
        let plain = open(old, context, sealed);
        let plain = plain.ok_or_else(|| IdentityError::Sealed { context: context.to_owned() })?;
        Ok::<_, IdentityError>(seal(new, entropy, context, &plain))
    };
    if let Some(found) = records.get(place::SIGNING).await? {
        let mut record: SigningRecord = decode(place::SIGNING.as_bytes(), &found.value)?;
        for key in &mut record.keys {
            key.sealed = again(&place::signing_context(key.id.0), &key.sealed)?;
        }
        transaction = transaction.check(place::SIGNING, Some(found.revision)).put(place::SIGNING, encode(&record));
    }
    for (key, found) in scan_all(records, place::LINKS).await? {
        let mut record: LinkRecord = decode(&key, &found.value)?;
        let Some(sealed) = &record.sealed else { continue };
        record.sealed = Some(again(&String::from_utf8_lossy(&key), sealed)?);
        transaction = transaction.check(key.clone(), Some(found.revision)).put(key, encode(&record));
    }
    Ok(transaction)
}
