//! A root key that is made of a passphrase, with Argon2id.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{RootKeyError, files::DERIVATION_FILE};
use crate::{
    engine::{KEY_BYTES, RootKey},
    model::Secret,
    sys::Entropy,
};

const VERSION: u32 = 1;
const SALT_BYTES: usize = 16;

/// The second of the two settings that RFC 9106 recommends: 64 MiB, three passes, four lanes.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 4;

/// What a file may ask for at most, so that a crafted one cannot take all memory or time.
const MEMORY_KIB_MAX: u32 = 256 * 1024;
const PASSES_MAX: u32 = 16;
const LANES_MAX: u32 = 16;

/// How a key is made of a passphrase: all of it but the passphrase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Derivation {
    version: u32,
    kdf: String,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: String,
}

#[derive(Deserialize)]
struct Head {
    version: u32,
}

impl Derivation {
    pub(super) fn new(entropy: &Entropy) -> Derivation {
        let salt: [u8; SALT_BYTES] = entropy.bytes();
        Derivation {
            version: VERSION,
            kdf: "argon2id".to_owned(),
            memory_kib: MEMORY_KIB,
            passes: PASSES,
            lanes: LANES,
            salt: STANDARD.encode(salt),
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).expect("numbers and texts can be written as JSON");
        text.push(b'\n');
        text
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Derivation, RootKeyError> {
        let head: Head = serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
        if head.version > VERSION {
            return Err(damaged(format!("it has version {}, which is a newer one", head.version)));
        }
        let derivation: Derivation = serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
        let Derivation { memory_kib, passes, lanes, .. } = derivation;
        if derivation.kdf != "argon2id" || memory_kib > MEMORY_KIB_MAX || passes > PASSES_MAX || lanes > LANES_MAX {
            return Err(damaged("it asks for an impossible key derivation".to_owned()));
        }
        Ok(derivation)
    }

    /// Makes the key. Takes a good part of a second, and the memory that the costs say.
    pub(super) fn derive(&self, passphrase: &Secret) -> Result<RootKey, RootKeyError> {
        if passphrase.is_empty() {
            return Err(RootKeyError::EmptyPassphrase);
        }
        let salt = STANDARD.decode(&self.salt).map_err(|error| damaged(error.to_string()))?;
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(KEY_BYTES));
        let params = params.map_err(|error| damaged(error.to_string()))?;
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.expose(), &salt, key.as_mut_slice())
            .map_err(|error| damaged(error.to_string()))?;
        RootKey::new(&Secret::new(key.to_vec())).ok_or_else(|| damaged("it makes no key".to_owned()))
    }
}

fn damaged(what: String) -> RootKeyError {
    RootKeyError::Damaged { file: DERIVATION_FILE.to_owned(), what }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cheap() -> Derivation {
        Derivation { memory_kib: 64, passes: 1, lanes: 1, ..Derivation::new(&Entropy::seeded(1)) }
    }

    #[test]
    fn a_key_follows_from_passphrase_and_salt() {
        let derive = |derivation: &Derivation, text: &str| {
            derivation.derive(&Secret::new(text)).unwrap().secret().expose().to_vec()
        };
        let first = cheap();
        let again = Derivation::decode(&first.encode()).unwrap();
        assert_eq!(again, first);
        assert_eq!(derive(&first, "correct horse"), derive(&again, "correct horse"));
        assert_ne!(derive(&first, "correct horse"), derive(&first, "battery staple"));
        let salted = Derivation { salt: STANDARD.encode([7; SALT_BYTES]), ..cheap() };
        assert_ne!(derive(&first, "correct horse"), derive(&salted, "correct horse"));
        assert!(matches!(first.derive(&Secret::new("")), Err(RootKeyError::EmptyPassphrase)));
    }

    /// A crafted file must not take the memory or the time of the machine.
    #[test]
    fn costs_are_bounded_when_they_are_read() {
        let check = |change: fn(&mut Derivation)| {
            let mut derivation = cheap();
            change(&mut derivation);
            let read = Derivation::decode(&derivation.encode());
            let refused = read.and_then(|read| read.derive(&Secret::new("x")));
            assert!(matches!(refused, Err(RootKeyError::Damaged { .. })), "{derivation:?}");
        };
        check(|derivation| derivation.memory_kib = MEMORY_KIB_MAX + 1);
        check(|derivation| derivation.passes = PASSES_MAX + 1);
        check(|derivation| derivation.lanes = LANES_MAX + 1);
        check(|derivation| derivation.passes = 0);
        check(|derivation| derivation.memory_kib = 0);
        check(|derivation| derivation.kdf = "none".to_owned());
        check(|derivation| derivation.salt = "short".to_owned());
        check(|derivation| derivation.version = 2);
        assert!(Derivation::decode(b"{").is_err());
    }
}
