//! Profiles, and the file they are in.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use super::{ParseReferenceError, ProfileError, Reference};
use crate::sys::files::{read_file, write_private_file};

/// The version that the file is written with.
const VERSION: u32 = 1;

/// The largest profile file, in bytes; what is longer is none.
const BYTES_MAX: u64 = 1024 * 1024;

const NAME_BYTES_MAX: usize = 64;

const HEADER: &str = "# Written by `ensign`; comments are not kept. There are no secrets in here.\n";

/// What is remembered about one server, for one who uses it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// `host:port` of the gRPC API.
    pub endpoint: String,
    /// The address of the REST API.
    pub auth_url: String,
    /// Whether connections are without TLS.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub insecure: bool,
    /// Whether its user has said, a second time, that plaintext may go over a network.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub insecure_remote: bool,
    /// The certificates of an authority to trust besides the machine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The certificate to show to the server, and the key to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_cert: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_key: Option<PathBuf>,
    /// The organization that the account acts in; without it, the one that it signed in to last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Where the secret is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretPlace>,
    /// The address that a user signs in with, where the key does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Where the user's password is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretPlace>,
}

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum SecretPlace {
    /// The operating system's keyring.
    Keyring,
    /// The encrypted vault beside the profiles.
    Vault,
    /// An unencrypted file beside the profiles.
    File,
    /// Somewhere that ensign only reads.
    Reference(Reference),
}

/// All profiles, which one is selected, and which one was before.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Profiles {
    selected: Option<String>,
    previous: Option<String>,
    by_name: BTreeMap<String, Profile>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    selected: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous: Option<String>,
    #[serde(default)]
    profiles: BTreeMap<String, Profile>,
}

#[derive(Deserialize)]
struct Head {
    version: u32,
}

impl Profiles {
    pub fn get(&self, name: &str) -> Result<&Profile, ProfileError> {
        self.by_name.get(name).ok_or_else(|| ProfileError::NotFound { name: name.to_owned() })
    }

    /// The selected profile, with its name.
    pub fn selected(&self) -> Option<(&str, &Profile)> {
        let name = self.selected.as_deref()?;
        Some((name, self.by_name.get(name)?))
    }

    /// The profile that was selected before the selected one.
    pub fn previous(&self) -> Option<&str> {
        self.previous.as_deref()
    }

    /// All profiles, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Profile)> {
        self.by_name.iter().map(|(name, profile)| (name.as_str(), profile))
    }

    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Selects a profile.
    pub fn select(&mut self, name: &str) -> Result<(), ProfileError> {
        self.get(name)?;
        if self.selected.as_deref() != Some(name) {
            self.previous = self.selected.replace(name.to_owned());
        }
        Ok(())
    }

    /// Goes back to the profile that was selected before; gives its name.
    pub fn select_previous(&mut self) -> Result<&str, ProfileError> {
        let previous = self.previous.clone().ok_or(ProfileError::NoPrevious)?;
        self.select(&previous)?;
        Ok(self.selected.as_deref().unwrap_or_default())
    }

    /// Adds a profile, or replaces the one of that name, which it gives.
    pub fn insert(&mut self, name: &str, profile: Profile) -> Result<Option<Profile>, ProfileError> {
        check_name(name)?;
        Ok(self.by_name.insert(name.to_owned(), profile))
    }

    /// Removes a profile. Nothing is selected afterwards if it was the selected one.
    pub fn remove(&mut self, name: &str) -> Result<Profile, ProfileError> {
        let removed = self.by_name.remove(name);
        for pointer in [&mut self.selected, &mut self.previous] {
            pointer.take_if(|pointer| pointer == name);
        }
        removed.ok_or_else(|| ProfileError::NotFound { name: name.to_owned() })
    }

    pub fn rename(&mut self, name: &str, to: &str) -> Result<(), ProfileError> {
        check_name(to)?;
        if self.by_name.contains_key(to) {
            return Err(ProfileError::Exists { name: to.to_owned() });
        }
        let not_found = || ProfileError::NotFound { name: name.to_owned() };
        let profile = self.by_name.remove(name).ok_or_else(not_found)?;
        self.by_name.insert(to.to_owned(), profile);
        for pointer in [&mut self.selected, &mut self.previous].into_iter().flatten() {
            if pointer == name {
                to.clone_into(pointer);
            }
        }
        Ok(())
    }

    /// Reads the file. No file means no profiles.
    pub(super) fn load(path: &Path) -> Result<Profiles, ProfileError> {
        let bytes = match read_file(path, BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => return Ok(Profiles::default()),
            Err(error) => return Err(error.into()),
        };
        Profiles::parse(&bytes, path)
    }

    /// Reads what the file at `path` has.
    pub(super) fn parse(bytes: &[u8], path: &Path) -> Result<Profiles, ProfileError> {
        let shown = || path.to_owned().into();
        let garbled = |what: String| ProfileError::Garbled { path: shown(), what };
        let text = std::str::from_utf8(bytes).map_err(|error| garbled(error.to_string()))?;
        let head: Head = serde_yaml::from_str(text).map_err(|error| garbled(error.to_string()))?;
        if head.version > VERSION {
            return Err(ProfileError::TooNew { path: shown(), version: head.version });
        }
        let document: Document = serde_yaml::from_str(text).map_err(|error| garbled(error.to_string()))?;
        for name in [&document.selected, &document.previous].into_iter().flatten() {
            if !document.profiles.contains_key(name) {
                return Err(garbled(format!("it selects {name:?}, which is not among its profiles")));
            }
        }
        for name in document.profiles.keys() {
            check_name(name).map_err(|error| garbled(error.to_string()))?;
        }
        let Document { selected, previous, profiles, .. } = document;
        Ok(Profiles { selected, previous, by_name: profiles })
    }

    pub(super) fn save(&self, path: &Path) -> Result<(), ProfileError> {
        Ok(write_private_file(path, self.to_text().as_bytes())?)
    }

    /// What the file has.
    pub(super) fn to_text(&self) -> String {
        let Profiles { selected, previous, by_name } = self.clone();
        let document = Document { version: VERSION, selected, previous, profiles: by_name };
        let text = serde_yaml::to_string(&document).expect("texts and flags can be written as YAML");
        format!("{HEADER}{text}")
    }
}

/// Names are part of commands, so they are simple; `-` alone means the previous one.
fn check_name(name: &str) -> Result<(), ProfileError> {
    let simple = |character: char| character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | '_');
    let starts = name.starts_with(|first: char| first.is_ascii_alphanumeric());
    if !starts || name.len() > NAME_BYTES_MAX || !name.chars().all(simple) {
        return Err(ProfileError::BadName { name: name.to_owned() });
    }
    Ok(())
}

impl SecretPlace {
    /// The place in words.
    pub(super) fn described(&self) -> &'static str {
        match self {
            SecretPlace::Keyring => "the keyring",
            SecretPlace::Vault => "the vault",
            SecretPlace::File => "the file of unencrypted secrets",
            SecretPlace::Reference(_) => "the reference",
        }
    }
}

impl From<SecretPlace> for String {
    fn from(place: SecretPlace) -> String {
        match place {
            SecretPlace::Keyring => "keyring".to_owned(),
            SecretPlace::Vault => "vault".to_owned(),
            SecretPlace::File => "file".to_owned(),
            SecretPlace::Reference(reference) => reference.to_string(),
        }
    }
}

impl FromStr for SecretPlace {
    type Err = ParseReferenceError;

    fn from_str(text: &str) -> Result<SecretPlace, ParseReferenceError> {
        match text {
            "keyring" => Ok(SecretPlace::Keyring),
            "vault" => Ok(SecretPlace::Vault),
            "file" => Ok(SecretPlace::File),
            text => text.parse().map(SecretPlace::Reference),
        }
    }
}

impl TryFrom<String> for SecretPlace {
    type Error = ParseReferenceError;

    fn try_from(text: String) -> Result<SecretPlace, ParseReferenceError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(endpoint: &str) -> Profile {
        Profile {
            endpoint: endpoint.to_owned(),
            auth_url: format!("http://{endpoint}"),
            insecure: true,
            organization: Some("01ARYZ6S41041061050R3GG28A".to_owned()),
            client_id: Some("abc".to_owned()),
            secret: Some(SecretPlace::Keyring),
            email: Some("ann@example.com".to_owned()),
            password: Some(SecretPlace::Vault),
            ..Profile::default()
        }
    }

    fn three() -> Profiles {
        let mut profiles = Profiles::default();
        for name in ["dev", "staging", "prod"] {
            profiles.insert(name, profile(name)).unwrap();
        }
        profiles
    }

    #[test]
    fn selecting_goes_to_and_fro() {
        let mut profiles = three();
        assert!(profiles.selected().is_none());
        assert!(matches!(profiles.select_previous(), Err(ProfileError::NoPrevious)));
        profiles.select("dev").unwrap();
        profiles.select("prod").unwrap();
        profiles.select("prod").unwrap();
        assert_eq!(profiles.previous(), Some("dev"));
        assert_eq!(profiles.select_previous().unwrap(), "dev");
        assert_eq!(profiles.select_previous().unwrap(), "prod");
        assert!(matches!(profiles.select("nope"), Err(ProfileError::NotFound { .. })));
        profiles.rename("prod", "production").unwrap();
        assert_eq!(profiles.selected(), Some(("production", &profile("prod"))));
        assert!(matches!(profiles.rename("dev", "staging"), Err(ProfileError::Exists { .. })));
        profiles.remove("production").unwrap();
        assert_eq!((profiles.selected(), profiles.previous()), (None, Some("dev")));
        for bad in ["", "-", "--help", "a b", "a/b", "é"] {
            assert!(matches!(profiles.insert(bad, profile("x")), Err(ProfileError::BadName { .. })), "{bad}");
        }
    }

    #[test]
    fn the_file_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("profiles.yaml");
        assert_eq!(Profiles::load(&path).unwrap(), Profiles::default());
        let mut profiles = three();
        let reference = "cmd://pass show ensign: 'dev' # x".parse().unwrap();
        let odd = Profile {
            secret: Some(SecretPlace::Reference(reference)),
            insecure: false,
            ca_file: Some("/ca.pem".into()),
            ..profile("odd")
        };
        profiles.insert("odd", odd).unwrap();
        profiles.select("dev").unwrap();
        profiles.select("odd").unwrap();
        profiles.save(&path).unwrap();
        assert_eq!(Profiles::load(&path).unwrap(), profiles);
    }

    #[test]
    fn what_cannot_be_understood_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("profiles.yaml");
        let check = |text: &str, expected: &str| {
            write_private_file(&path, text.as_bytes()).unwrap();
            let error = Profiles::load(&path).unwrap_err();
            let message = error.to_string();
            assert!(message.contains("profiles.yaml") && message.contains(expected), "{message}");
            assert!(error.hint().is_some());
        };
        check("version: 1\nprofiles:\n  dev:\n    endpoint: a\n    auth_url: b\n    endpont: c\n", "endpont");
        check("version: 1\nselect: dev\n", "select");
        check("version: 1\nselected: dev\n", "dev");
        check("version: 1\nprofiles:\n  a/b:\n    endpoint: a\n    auth_url: b\n", "a/b");
        check("version: 1\nprofiles:\n  dev:\n    endpoint: a\n    auth_url: b\n    secret: hunter2\n", "reference");
        check("version: 2\nanything: else\n", "newer");
        check("{{{ not yaml", "");
        check("", "version");
        write_private_file(&path, &[0xff, 0xfe]).unwrap();
        assert!(matches!(Profiles::load(&path), Err(ProfileError::Garbled { .. })));
    }
}
