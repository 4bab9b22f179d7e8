//! The keys that tokens are signed with and verified against.

use base64::{Engine, engine::general_purpose::STANDARD};
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey,
    jwk::{AlgorithmParameters, Jwk},
};
use serde_json::{Value, json};

use super::{
    IdentityError,
    record::{Id, SigningKeyRecord, SigningRecord, decode, encode, place},
};
use crate::{
    engine::RootKey,
    model::Ulid,
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
}

/// All key pairs: the newest signs, each of them verifies.
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
            let first = SigningRecord { keys: vec![new_key(root, new_ulid(clock, entropy), entropy)] };
            let transaction = Transaction::new().check(place::SIGNING, None).put(place::SIGNING, encode(&first));
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
            let sealed = STANDARD.decode(&key.sealed).map_err(|error| damaged(error.to_string()))?;
            let der = root.open(place::signing_context(id).as_bytes(), &sealed);
            let der = der.ok_or(IdentityError::SigningKeySealed { id })?;
            keys.push(SigningKey::from_pkcs8(id, &der).map_err(|error| damaged(error.to_string()))?);
        }
        keys.sort_by(|a, b| a.id.cmp(&b.id));
        if keys.is_empty() {
            return Err(damaged("it holds no key".to_owned()));
        }
        Ok(SigningKeys(keys))
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
    fn from_pkcs8(id: Ulid, der: &[u8]) -> Result<SigningKey, jsonwebtoken::errors::Error> {
        let encoding = EncodingKey::from_ed_der(der);
        let jwk = Jwk::from_encoding_key(&encoding, Algorithm::EdDSA)?;
        let decoding = DecodingKey::from_jwk(&jwk)?;
        let AlgorithmParameters::OctetKeyPair(parameters) = jwk.algorithm else {
            return Err(jsonwebtoken::errors::ErrorKind::InvalidEddsaKey.into());
        };
        Ok(SigningKey { id: id.to_string(), encoding, decoding, public: parameters.x })
    }
}

fn new_key(root: &RootKey, id: Ulid, entropy: &Entropy) -> SigningKeyRecord {
    let mut der = zeroize::Zeroizing::new([0; PKCS8_HEAD.len() + 32]);
    let (head, seed) = der.split_at_mut(PKCS8_HEAD.len());
    head.copy_from_slice(&PKCS8_HEAD);
    entropy.fill(seed);
    let sealed = root.seal(entropy, place::signing_context(id).as_bytes(), &der[..]);
    SigningKeyRecord { id: Id(id), sealed: STANDARD.encode(sealed) }
}

/// Shows which keys there are, never the keys.
impl std::fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| &key.id)).finish()
    }
}
