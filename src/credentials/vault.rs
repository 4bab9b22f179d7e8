//! The vault: secrets in one file, encrypted under a passphrase.
//!
//! The file is JSON, so that one can see what it is: a version, how the key is derived (Argon2id, its costs and salt),
//! and a nonce with what AES-256-GCM made of the secrets, all of the former being authenticated with them. A digest
//! over everything tells damage from a wrong passphrase, which look the same to the cipher; it protects from nothing
//! else.

use std::{collections::BTreeMap, path::PathBuf};

use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{Aead, Payload},
};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{Passphrase, Purpose, SecretError};
use crate::{
    model::Secret,
    sys::{
        Entropy,
        files::{read_file, write_private_file},
    },
};

const VERSION: u32 = 1;

/// The largest vault, in bytes.
const BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The second of the two settings that RFC 9106 recommends: 64 MiB, three passes, four lanes.
const COSTS: Costs = Costs { memory_kib: 64 * 1024, passes: 3, lanes: 4 };

/// What a file may ask for at most, so that a crafted one cannot take all memory.
const COSTS_MAX: Costs = Costs { memory_kib: 1024 * 1024, passes: 64, lanes: 64 };

#[derive(Debug, Clone, Copy)]
struct Costs {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    kdf: String,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: String,
    nonce: String,
    secrets: String,
    digest: String,
}

#[derive(Deserialize)]
struct Head {
    version: u32,
}

/// A document whose fields have been decoded and whose digest is right.
struct Sealed {
    costs: Costs,
    salt: [u8; 16],
    nonce: [u8; 12],
    ciphertext: Vec<u8>,
}

/// A vault that has been opened: what it holds, and the key and salt with which it is closed again.
struct Opened {
    key: Zeroizing<[u8; 32]>,
    costs: Costs,
    salt: [u8; 16],
    secrets: BTreeMap<String, Zeroizing<String>>,
}

#[derive(Debug)]
pub(super) struct Vault {
    path: PathBuf,
    passphrase: Passphrase,
    entropy: Entropy,
}

impl Vault {
    pub(super) fn at(path: PathBuf, passphrase: Passphrase, entropy: Entropy) -> Vault {
        Vault { path, passphrase, entropy }
    }

    /// What it has for each of several accounts, in their order. It is opened once for all of them.
    pub(super) fn get_all(&self, accounts: &[&str]) -> Result<Vec<Option<Secret>>, SecretError> {
        let opened = self.open()?;
        let get = |account: &&str| {
            let secret = opened.as_ref()?.secrets.get(*account)?;
            Some(Secret::new(secret.as_bytes()))
        };
        Ok(accounts.iter().map(get).collect())
    }

    pub(super) fn put(&self, account: &str, secret: &str) -> Result<(), SecretError> {
        let mut opened = match self.open()? {
            Some(opened) => opened,
            None => self.create()?,
        };
        opened.secrets.insert(account.to_owned(), Zeroizing::new(secret.to_owned()));
        self.close(&opened)
    }

    pub(super) fn remove(&self, account: &str) -> Result<bool, SecretError> {
        let Some(mut opened) = self.open()? else {
            return Ok(false);
        };
        let removed = opened.secrets.remove(account).is_some();
        if removed {
            self.close(&opened)?;
        }
        Ok(removed)
    }

    /// Opens what is there; asks for no passphrase when there is nothing.
    fn open(&self) -> Result<Option<Opened>, SecretError> {
        let bytes = match read_file(&self.path, BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Sealed { costs, salt, nonce, ciphertext } = self.read(&bytes)?;
        let key = self.derive(&self.passphrase.get(Purpose::Open)?, &salt, costs)?;
        let cipher = Aes256Gcm::new(&(*key).into());
        let payload = Payload { msg: &ciphertext, aad: &authenticated(costs, &salt) };
        let wrong = |_| SecretError::WrongPassphrase { path: self.path.clone().into() };
        let plain = Zeroizing::new(cipher.decrypt(&nonce.into(), payload).map_err(wrong)?);
        let secrets = serde_json::from_slice(&plain).map_err(|error| self.damaged(error.to_string()))?;
        Ok(Some(Opened { key, costs, salt, secrets }))
    }

    fn create(&self) -> Result<Opened, SecretError> {
        let salt = self.entropy.bytes();
        let key = self.derive(&self.passphrase.get(Purpose::Create)?, &salt, COSTS)?;
        Ok(Opened { key, costs: COSTS, salt, secrets: BTreeMap::new() })
    }

    fn close(&self, opened: &Opened) -> Result<(), SecretError> {
        let Opened { key, costs, salt, secrets } = opened;
        let plain = Zeroizing::new(serde_json::to_vec(secrets).expect("texts can be written as JSON"));
        let nonce: [u8; 12] = self.entropy.bytes();
        let payload = Payload { msg: &plain, aad: &authenticated(*costs, salt) };
        let cipher = Aes256Gcm::new(&(**key).into());
        let ciphertext = cipher.encrypt(&nonce.into(), payload).expect("a few secrets can always be encrypted");
        let digest = digest(*costs, salt, &nonce, &ciphertext);
        let document = Document {
            version: VERSION,
            kdf: "argon2id".to_owned(),
            memory_kib: costs.memory_kib,
            passes: costs.passes,
            lanes: costs.lanes,
            salt: STANDARD.encode(salt),
            nonce: STANDARD.encode(nonce),
            secrets: STANDARD.encode(ciphertext),
            digest: STANDARD.encode(digest),
        };
        let mut text = serde_json::to_vec_pretty(&document).expect("texts and numbers can be written as JSON");
        text.push(b'\n');
        Ok(write_private_file(&self.path, &text)?)
    }

    /// Whether bytes are those of a vault, as far as that can be told without the passphrase.
    #[cfg(any(test, fuzzing))]
    pub(super) fn is_sealed(&self, bytes: &[u8]) -> bool {
        self.read(bytes).is_ok()
    }

    fn read(&self, bytes: &[u8]) -> Result<Sealed, SecretError> {
        let broken = |error: serde_json::Error| self.damaged(error.to_string());
        let head: Head = serde_json::from_slice(bytes).map_err(broken)?;
        if head.version > VERSION {
            return Err(SecretError::VaultTooNew { path: self.path.clone().into(), version: head.version });
        }
        let document: Document = serde_json::from_slice(bytes).map_err(broken)?;
        let binary =
            |name: &str, text: &str| STANDARD.decode(text).map_err(|error| self.damaged(format!("{name}: {error}")));
        let length = |name: &str| self.damaged(format!("{name} has the wrong length"));
        let Document { memory_kib, passes, lanes, .. } = document;
        let sealed = Sealed {
            costs: Costs { memory_kib, passes, lanes },
            salt: binary("salt", &document.salt)?.try_into().map_err(|_| length("salt"))?,
            nonce: binary("nonce", &document.nonce)?.try_into().map_err(|_| length("nonce"))?,
            ciphertext: binary("secrets", &document.secrets)?,
        };
        let expected = digest(sealed.costs, &sealed.salt, &sealed.nonce, &sealed.ciphertext);
        if document.kdf != "argon2id" || binary("digest", &document.digest)? != expected {
            return Err(self.damaged("its digest does not fit its content".to_owned()));
        }
        Ok(sealed)
    }

    fn derive(&self, passphrase: &Secret, salt: &[u8; 16], costs: Costs) -> Result<Zeroizing<[u8; 32]>, SecretError> {
        let Costs { memory_kib, passes, lanes } = costs;
        let within = memory_kib <= COSTS_MAX.memory_kib && passes <= COSTS_MAX.passes && lanes <= COSTS_MAX.lanes;
        let params = Params::new(memory_kib, passes, lanes, Some(32));
        let Some(params) = params.ok().filter(|_| within) else {
            return Err(self.damaged("it asks for an impossible key derivation".to_owned()));
        };
        let mut key = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.expose(), salt, key.as_mut_slice())
            .map_err(|error| self.damaged(error.to_string()))?;
        Ok(key)
    }

    fn damaged(&self, what: String) -> SecretError {
        SecretError::VaultDamaged { path: self.path.clone().into(), what }
    }
}

/// What is authenticated along with the secrets.
fn authenticated(costs: Costs, salt: &[u8; 16]) -> Vec<u8> {
    let mut bytes = b"ensign vault".to_vec();
    for number in [VERSION, costs.memory_kib, costs.passes, costs.lanes] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(salt);
    bytes
}

fn digest(costs: Costs, salt: &[u8; 16], nonce: &[u8; 12], ciphertext: &[u8]) -> Vec<u8> {
    let hash = Sha256::new().chain_update(authenticated(costs, salt)).chain_update(nonce).chain_update(ciphertext);
    hash.finalize().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct World {
        dir: tempfile::TempDir,
    }

    impl World {
        fn path(&self) -> PathBuf {
            self.dir.path().join("vault.json")
        }

        fn vault(&self, passphrase: &str) -> Vault {
            Vault::at(self.path(), Passphrase::Given(Secret::new(passphrase)), Entropy::real())
        }

        fn text(&self) -> String {
            String::from_utf8(read_file(&self.path(), BYTES_MAX).unwrap()).unwrap()
        }
    }

    impl Vault {
        fn get(&self, account: &str) -> Result<Option<Secret>, SecretError> {
            Ok(self.get_all(&[account])?.pop().unwrap())
        }
    }

    fn world() -> World {
        World { dir: tempfile::tempdir().unwrap() }
    }

    #[test]
    fn secrets_read_back_and_are_not_in_the_file() {
        let world = world();
        let vault = world.vault("correct horse");
        assert!(vault.get("a").unwrap().is_none());
        vault.put("a", "first-secret").unwrap();
        vault.put("b", "second-secret").unwrap();
        let before = world.text();
        vault.put("a", "third-secret").unwrap();
        assert_eq!(vault.get("a").unwrap().unwrap().expose(), b"third-secret");
        assert_eq!(vault.get("b").unwrap().unwrap().expose(), b"second-secret");
        assert!(vault.get("c").unwrap().is_none());
        let text = world.text();
        assert!(!text.contains("secret-") && !text.contains("-secret"), "{text}");
        let nonce = |text: &str| serde_json::from_str::<Document>(text).unwrap().nonce;
        assert_ne!(nonce(&before), nonce(&text));
        assert!(vault.remove("a").unwrap());
        assert!(!vault.remove("a").unwrap());
        assert!(vault.get("a").unwrap().is_none());
    }

    #[test]
    fn a_wrong_passphrase_changes_nothing() {
        let world = world();
        world.vault("right").put("a", "secret").unwrap();
        let before = world.text();
        let wrong = world.vault("wrong");
        assert!(matches!(wrong.get("a"), Err(SecretError::WrongPassphrase { .. })));
        assert!(matches!(wrong.put("a", "other"), Err(SecretError::WrongPassphrase { .. })));
        assert!(matches!(wrong.remove("a"), Err(SecretError::WrongPassphrase { .. })));
        let none = Vault::at(world.path(), Passphrase::Unavailable, Entropy::real());
        assert!(matches!(none.get("a"), Err(SecretError::NoPassphrase)));
        assert!(matches!(world.vault("").get("a"), Err(SecretError::EmptyPassphrase)));
        assert_eq!(world.text(), before);
    }

    /// Each byte of the file that is changed or cut off is damage, never another passphrase and never a secret.
    #[test]
    fn damage_is_told_from_a_wrong_passphrase() {
        let world = world();
        let vault = world.vault("right");
        vault.put("a", "secret").unwrap();
        let text = world.text();
        let check = |bytes: &[u8]| {
            write_private_file(&world.path(), bytes).unwrap();
            let result = vault.put("a", "other");
            assert!(matches!(result, Err(SecretError::VaultDamaged { .. })), "{}", String::from_utf8_lossy(bytes));
            assert_eq!(read_file(&world.path(), BYTES_MAX).unwrap(), bytes);
        };
        for cut in (0..text.len() - 2).step_by(7) {
            check(&text.as_bytes()[..cut]);
        }
        let value = |name: &str| {
            let start = text.find(&format!("\"{name}\": ")).unwrap() + name.len() + 4;
            if text.as_bytes()[start] == b'"' { start + 1 } else { start }
        };
        for name in ["memory_kib", "passes", "lanes", "salt", "nonce", "secrets", "digest"] {
            let mut bytes = text.clone().into_bytes();
            let byte = &mut bytes[value(name)];
            *byte = if *byte == b'2' { b'1' } else { b'2' };
            check(&bytes);
        }
        let newer = text.replace("\"version\": 1", "\"version\": 2");
        write_private_file(&world.path(), newer.as_bytes()).unwrap();
        assert!(matches!(vault.get("a"), Err(SecretError::VaultTooNew { version: 2, .. })));
    }
}
