//! The keys that tokens are signed with and verified against.

use std::time::Duration;

use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey,
    jwk::{AlgorithmParameters, Jwk},
};
use serde_json::{Value, json};

use super::{
    IdentityError,
    record::{Id, SigningKeyRecord, SigningRecord, decode, encode, place},
    sealed,
};
use crate::{
    engine::RootKey,
    model::{Time, Ulid},
    store::{RecordError, Records, Transaction},
    sys::{Clock, Entropy, new_ulid},
};

/// What precedes the 32 bytes of an Ed25519 seed in its PKCS#8 encoding (RFC 8410): a sequence of version 0, the
/// algorithm
/// 1.3.101.112, and the seed as an octet string within an octet string.
const PKCS8_HEAD: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// One key pair.
#[derive(Clone)]
pub(super) struct SigningKey {
    pub(super) id: String,
    pub(super) encoding: EncodingKey,
    pub(super) decoding: DecodingKey,
    /// The public half, in base64url.
    public: String,
    pub(super) made: Time,
}

/// All key pairs, in the order in which they were made: the last signs, each of them verifies.
#[derive(Clone)]
pub(super) struct SigningKeys(Vec<SigningKey>);

impl SigningKeys {
    /// Reads the keys; makes the first one when there is none yet. When two processes make one at the same time, the
    /// store takes one of them, and both use that.
    pub(super) async fn open(
        records: &Records,
        root: &RootKey,
        clock: &Clock,
        entropy: &Entropy,
    ) -> Result<SigningKeys, IdentityError> {
        loop {
            if let Some(found) = records.get(place::SIGNING).await? {
                let record: SigningRecord = decode(place::SIGNING.as_bytes(), &found.value)?;
                return SigningKeys::from_record(root, &record);
            }
            let transaction = sealed::under(records, root).await?;
            let first = SigningRecord { keys: vec![new_key(root, new_ulid(clock, entropy), entropy)] };
            let transaction = transaction.check(place::SIGNING, None).put(place::SIGNING, encode(&first));
            match records.commit(transaction).await {
                Ok(_) | Err(RecordError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn from_record(root: &RootKey, record: &SigningRecord) -> Result<SigningKeys, IdentityError> {
        let damaged = |what: String| IdentityError::Damaged { key: place::SIGNING.to_owned(), what };
        let mut keys = Vec::new();
        for key in &record.keys {
            let id = key.id.0;
            let der = sealed::open(root, &place::signing_context(id), &key.sealed);
            let der = der.ok_or(IdentityError::SigningKeySealed { id })?;
            let made = Time::from_millis(i64::try_from(id.millis()).unwrap_or(i64::MAX));
            let key = SigningKey::from_pkcs8(id, &der, made).map_err(|error| damaged(error.to_string()))?;
            keys.push(key);
        }
        if keys.is_empty() {
            return Err(damaged("it holds no key".to_owned()));
        }
        Ok(SigningKeys(keys))
    }

    /// Makes a new key that signs from now on. The others verify until the last token that they signed has ended; those
    /// of which that is so already are dropped.
    pub(super) async fn rotate(
        records: &Records,
        root: &RootKey,
        (clock, entropy): (&Clock, &Entropy),
        lifetime: Duration,
    ) -> Result<SigningKeys, IdentityError> {
        let lifetime = i64::try_from(lifetime.as_nanos()).unwrap_or(i64::MAX);
        loop {
            let transaction = sealed::under(records, root).await?;
            let Some(found) = records.get(place::SIGNING).await? else {
                return SigningKeys::open(records, root, clock, entropy).await;
            };
            let mut record: SigningRecord = decode(place::SIGNING.as_bytes(), &found.value)?;
            let now = clock.now().nanos();
            record.keys.retain(|key| key.retired_ns.is_none_or(|retired| now < retired.saturating_add(lifetime)));
            for key in &mut record.keys {
                key.retired_ns.get_or_insert(now);
            }
            record.keys.push(new_key(root, new_ulid(clock, entropy), entropy));
            let keys = match SigningKeys::from_record(root, &record) {
                // The root key was changed behind the first line, so that another one opens the record now.
                Err(IdentityError::SigningKeySealed { .. }) if !is_still(records, &transaction).await? => continue,
                keys => keys?,
            };
            let transaction = transaction.check(place::SIGNING, Some(found.revision));
            match records.commit(transaction.put(place::SIGNING, encode(&record))).await {
                Ok(_) => {
                    tracing::info!(key = keys.newest().id, keys = keys.0.len(), "tokens are signed with a new key");
                    return Ok(keys);
                }
                Err(RecordError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The identifiers of all keys; the last one signs.
    pub(super) fn ids(&self) -> Vec<String> {
        self.0.iter().map(|key| key.id.clone()).collect()
    }

    pub(super) fn newest(&self) -> &SigningKey {
        self.0.last().expect("there is at least one key")
    }

    pub(super) fn find(&self, id: &str) -> Option<&SigningKey> {
        self.0.iter().find(|key| key.id == id)
    }

    /// The public halves as a JSON Web Key Set (RFC 8037).
    pub(super) fn jwks(&self) -> Value {
        let keys: Vec<_> = self
            .0
            .iter()
            .map(|key| {
                json!({"alg": "EdDSA", "crv": "Ed25519", "kid": key.id, "kty": "OKP", "use": "sig", "x": key.public})
            })
            .collect();
        json!({ "keys": keys })
    }
}

impl SigningKey {
    fn from_pkcs8(id: Ulid, der: &[u8], made: Time) -> Result<SigningKey, jsonwebtoken::errors::Error> {
        let encoding = EncodingKey::from_ed_der(der);
        let jwk = Jwk::from_encoding_key(&encoding, Algorithm::EdDSA)?;
        let decoding = DecodingKey::from_jwk(&jwk)?;
        let AlgorithmParameters::OctetKeyPair(parameters) = jwk.algorithm else {
            return Err(jsonwebtoken::errors::ErrorKind::InvalidEddsaKey.into());
        };
        Ok(SigningKey { id: id.to_string(), encoding, decoding, public: parameters.x, made })
    }
}

fn new_key(root: &RootKey, id: Ulid, entropy: &Entropy) -> SigningKeyRecord {
    let mut der = zeroize::Zeroizing::new([0; PKCS8_HEAD.len() + 32]);
    let (head, seed) = der.split_at_mut(PKCS8_HEAD.len());
    head.copy_from_slice(&PKCS8_HEAD);
    entropy.fill(seed);
    let sealed = sealed::seal(root, entropy, &place::signing_context(id), &der[..]);
    SigningKeyRecord { id: Id(id), sealed, retired_ns: None }
}

/// Whether what a transaction checks is so, as yet.
async fn is_still(records: &Records, transaction: &Transaction) -> Result<bool, RecordError> {
    for (key, revision) in &transaction.checks {
        if records.get(key.clone()).await?.map(|record| record.revision) != *revision {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Shows which keys there are, never the keys.
impl std::fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| &key.id)).finish()
    }
}
