//! Profiles and secrets together.

use std::path::{Path, PathBuf};

use directories::ProjectDirs;

use super::{
    Passphrase, Profile, ProfileError, Profiles, SecretError, SecretPlace, insecure::InsecureFile,
    os_keyring::OsKeyring, vault::Vault,
};
use crate::{
    model::Secret,
    sys::{
        Entropy,
        files::{FileLock, create_private_dir},
    },
};

/// Where a secret is to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wanted {
    /// In the keyring; where there is none, in the vault. A keyring that is there and stays locked is an error.
    #[default]
    Best,
    Keyring,
    Vault,
    /// Unencrypted, in a file.
    File,
}

/// Why a secret is kept where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It is the best place there is.
    Best,
    /// It was asked for.
    Wanted,
    /// There is no keyring, for this reason.
    NoKeyring { reason: String },
}

/// Where a secret was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub place: SecretPlace,
    /// The file, if it is in one of ours.
    pub path: Option<PathBuf>,
    pub why: Why,
}

/// What the command line remembers, in one directory and the keyring.
#[derive(Debug)]
pub struct Credentials {
    dir: PathBuf,
    keyring: OsKeyring,
    vault: Vault,
    file: InsecureFile,
}

/// Where profiles are unless it is said otherwise: `~/.config/ensign` on Linux.
pub fn default_dir() -> Result<PathBuf, ProfileError> {
    let directories = ProjectDirs::from("", "", "ensign").ok_or(ProfileError::NoHome)?;
    Ok(directories.config_dir().to_owned())
}

impl Credentials {
    /// Touches nothing until something is asked for.
    pub fn at(dir: impl Into<PathBuf>, passphrase: Passphrase) -> Credentials {
        Credentials::with_keyring(dir.into(), passphrase, OsKeyring::system())
    }

    pub(super) fn with_keyring(dir: PathBuf, passphrase: Passphrase, keyring: OsKeyring) -> Credentials {
        let vault = Vault::at(dir.join("vault.json"), passphrase, Entropy::real());
        let file = InsecureFile::at(dir.join("insecure-secrets.json"));
        Credentials { dir, keyring, vault, file }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file that profiles are in, whether it is there or not.
    pub fn profile_file(&self) -> PathBuf {
        self.dir.join("profiles.yaml")
    }

    pub fn profiles(&self) -> Result<Profiles, ProfileError> {
        Profiles::load(&self.profile_file())
    }

    /// Changes profiles: reads them, has them changed, and writes them if they are others now and no error came. No
    /// other process changes them meanwhile.
    pub fn update<T>(&self, change: impl FnOnce(&mut Profiles) -> Result<T, ProfileError>) -> Result<T, ProfileError> {
        create_private_dir(&self.dir)?;
        let _lock = FileLock::acquire(&self.dir.join("profiles.lock"))?;
        let before = self.profiles()?;
        let mut profiles = before.clone();
        let result = change(&mut profiles)?;
        if profiles != before {
            profiles.save(&self.profile_file())?;
        }
        Ok(result)
    }

    /// Removes a profile, its secret and its password, unless they are another profile's, too, or are only referred to.
    /// If they cannot be removed, the profile stays.
    pub fn remove_profile(&self, name: &str) -> Result<Profile, ProfileError> {
        self.update(|profiles| {
            let removed = profiles.remove(name)?;
            for kept in [key_secret, password] {
                let is_shared = profiles.iter().any(|(_, other)| kept(other) == kept(&removed));
                if !is_shared {
                    self.forget(&kept(&removed)).map_err(|source| ProfileError::Secret { source })?;
                }
            }
            Ok(removed)
        })
    }

    /// Keeps the secret of a key, by its client id, or the password of a user, by its address. The profile still has to
    /// be told where ([`Profile::secret`], [`Profile::password`]).
    pub fn store_secret(
        &self,
        name: &str,
        auth_url: &str,
        secret: &Secret,
        wanted: Wanted,
    ) -> Result<Stored, SecretError> {
        self.put(&account_of(name, auth_url), secret, wanted)
    }

    /// Keeps a secret of an account.
    pub(super) fn put(&self, account: &str, secret: &Secret, wanted: Wanted) -> Result<Stored, SecretError> {
        let text = secret.expose_str().ok_or_else(|| SecretError::NotText { reference: account.to_owned() })?;
        let why = match wanted {
            Wanted::Best => Why::Best,
            Wanted::Keyring | Wanted::Vault | Wanted::File => Why::Wanted,
        };
        match wanted {
            Wanted::Best | Wanted::Keyring => match self.keyring.put(account, secret) {
                Ok(()) => Ok(Stored { place: SecretPlace::Keyring, path: None, why }),
                Err(SecretError::NoKeyring { source }) if wanted == Wanted::Best => {
                    self.put_in_vault(account, text, Why::NoKeyring { reason: source.to_string() })
                }
                Err(error) => Err(error),
            },
            Wanted::Vault => self.put_in_vault(account, text, why),
            Wanted::File => {
                let _lock = self.lock_secrets()?;
                self.file.put(account, text)?;
                Ok(Stored { place: SecretPlace::File, path: Some(self.dir.join("insecure-secrets.json")), why })
            }
        }
    }

    /// The secret of a profile's key, from wherever it says.
    pub fn secret(&self, profile: &Profile) -> Result<Secret, SecretError> {
        self.kept(key_secret(profile))
    }

    /// The password of a profile's user, from wherever it says.
    pub fn password(&self, profile: &Profile) -> Result<Secret, SecretError> {
        self.kept(password(profile))
    }

    fn kept(&self, (account, place): Kept<'_>) -> Result<Secret, SecretError> {
        let place = place.ok_or(SecretError::NotStored)?;
        let found = self.find(place, &[&account])?.pop().flatten();
        found.ok_or(SecretError::Missing { place: place.described(), account })
    }

    /// What a place has for each of several accounts, in their order. The vault is opened once for all of them.
    pub(super) fn find(&self, place: &SecretPlace, accounts: &[&str]) -> Result<Vec<Option<Secret>>, SecretError> {
        match place {
            SecretPlace::Reference(reference) => accounts.iter().map(|_| reference.resolve().map(Some)).collect(),
            SecretPlace::Keyring => accounts.iter().map(|account| self.keyring.get(account)).collect(),
            SecretPlace::Vault => self.vault.get_all(accounts),
            SecretPlace::File => accounts.iter().map(|account| self.file.get(account)).collect(),
        }
    }

    /// Removes the secret of a profile's key; gives whether there was one. What is only referred to stays.
    pub fn forget_secret(&self, profile: &Profile) -> Result<bool, SecretError> {
        self.forget(&key_secret(profile))
    }

    /// Removes the password of a profile's user; gives whether there was one. What is only referred to stays.
    pub fn forget_password(&self, profile: &Profile) -> Result<bool, SecretError> {
        self.forget(&password(profile))
    }

    fn forget(&self, (account, place): &Kept<'_>) -> Result<bool, SecretError> {
        match place {
            None => Ok(false),
            Some(place) => self.discard(place, account),
        }
    }

    /// Removes what a place has for an account; gives whether it had anything.
    pub(super) fn discard(&self, place: &SecretPlace, account: &str) -> Result<bool, SecretError> {
        match place {
            SecretPlace::Reference(_) => Ok(false),
            SecretPlace::Keyring => self.keyring.remove(account),
            SecretPlace::Vault => {
                let _lock = self.lock_secrets()?;
                self.vault.remove(account)
            }
            SecretPlace::File => {
                let _lock = self.lock_secrets()?;
                self.file.remove(account)
            }
        }
    }

    fn put_in_vault(&self, account: &str, secret: &str, why: Why) -> Result<Stored, SecretError> {
        let _lock = self.lock_secrets()?;
        self.vault.put(account, secret)?;
        Ok(Stored { place: SecretPlace::Vault, path: Some(self.dir.join("vault.json")), why })
    }

    /// Taken after the profiles' lock if both are needed.
    fn lock_secrets(&self) -> Result<FileLock, SecretError> {
        create_private_dir(&self.dir)?;
        Ok(FileLock::acquire(&self.dir.join("secrets.lock"))?)
    }
}

/// What a secret is filed under, and where.
type Kept<'a> = (String, Option<&'a SecretPlace>);

/// The secret of a profile's key.
fn key_secret(profile: &Profile) -> Kept<'_> {
    (account_of(profile.client_id.as_deref().unwrap_or_default(), &profile.auth_url), profile.secret.as_ref())
}

/// The password of a profile's user.
fn password(profile: &Profile) -> Kept<'_> {
    (account_of(profile.email.as_deref().unwrap_or_default(), &profile.auth_url), profile.password.as_ref())
}

/// The key or the user with the server that knows it, so that profiles can be renamed and share a secret.
fn account_of(name: &str, auth_url: &str) -> String {
    format!("{name}@{auth_url}")
}
