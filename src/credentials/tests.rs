//! Credentials as a whole: profiles, secrets and where they are kept.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use super::{
    os_keyring::{KeyringStore, OsKeyring},
    *,
};
use crate::{
    model::Secret,
    sys::files::{Access, access, exists, read_file, write_private_file},
};

/// A keyring that can be absent or locked.
#[derive(Debug, Clone, Default)]
struct Double(Arc<Mutex<(State, HashMap<String, Secret>)>>);

#[derive(Debug, Clone, Copy, Default)]
enum State {
    #[default]
    Open,
    Locked,
    Absent,
}

impl Double {
    fn set(&self, state: State) {
        self.0.lock().unwrap().0 = state;
    }

    fn with<T>(&self, act: impl FnOnce(&mut HashMap<String, Secret>) -> T) -> Result<T, SecretError> {
        let mut inner = self.0.lock().unwrap();
        let source = |text: &str| Arc::new(std::io::Error::other(text.to_owned()));
        match inner.0 {
            State::Open => Ok(act(&mut inner.1)),
            State::Locked => Err(SecretError::KeyringLocked { source: source("locked") }),
            State::Absent => Err(SecretError::NoKeyring { source: source("no bus") }),
        }
    }
}

impl KeyringStore for Double {
    fn get(&self, account: &str) -> Result<Option<Secret>, SecretError> {
        self.with(|secrets| secrets.get(account).cloned())
    }

    fn put(&self, account: &str, secret: &Secret) -> Result<(), SecretError> {
        self.with(|secrets| drop(secrets.insert(account.to_owned(), secret.clone())))
    }

    fn remove(&self, account: &str) -> Result<bool, SecretError> {
        self.with(|secrets| secrets.remove(account).is_some())
    }
}

struct World {
    dir: tempfile::TempDir,
    keyring: Double,
}

fn world() -> World {
    World { dir: tempfile::tempdir().unwrap(), keyring: Double::default() }
}

impl World {
    fn with_passphrase(&self, passphrase: Passphrase) -> Credentials {
        let keyring = OsKeyring::new(self.keyring.clone());
        Credentials::with_keyring(self.dir.path().join("ensign"), passphrase, keyring)
    }

    fn credentials(&self) -> Credentials {
        self.with_passphrase(Passphrase::Given(Secret::new("passphrase")))
    }
}

const AUTH_URL: &str = "http://localhost:5356";

fn profile(client_id: &str, secret: SecretPlace) -> Profile {
    Profile {
        endpoint: "localhost:5356".to_owned(),
        auth_url: AUTH_URL.to_owned(),
        insecure: true,
        project: None,
        client_id: Some(client_id.to_owned()),
        secret: Some(secret),
    }
}

fn store(credentials: &Credentials, wanted: Wanted) -> Result<Stored, SecretError> {
    credentials.store_secret("id", AUTH_URL, &Secret::new("hush"), wanted)
}

#[track_caller]
fn comes_back(credentials: &Credentials, stored: &Stored) {
    let profile = profile("id", stored.place.clone());
    assert_eq!(credentials.secret(&profile).unwrap().expose(), b"hush");
    assert!(credentials.forget_secret(&profile).unwrap());
    assert!(!credentials.forget_secret(&profile).unwrap());
    assert!(matches!(credentials.secret(&profile), Err(SecretError::Missing { .. })));
}

#[test]
fn the_keyring_is_the_best_place() {
    let world = world();
    let credentials = world.with_passphrase(Passphrase::Unavailable);
    let stored = store(&credentials, Wanted::Best).unwrap();
    assert_eq!(stored, Stored { place: SecretPlace::Keyring, path: None, why: Why::Best });
    comes_back(&credentials, &stored);
    assert!(!exists(credentials.dir()));
}

#[test]
fn without_a_keyring_the_vault_is_taken_and_the_reason_is_given() {
    let world = world();
    world.keyring.set(State::Absent);
    let credentials = world.credentials();
    let stored = store(&credentials, Wanted::Best).unwrap();
    assert_eq!(stored.place, SecretPlace::Vault);
    assert_eq!(stored.why, Why::NoKeyring { reason: "no bus".to_owned() });
    let path = stored.path.clone().unwrap();
    assert_eq!(access(&path).unwrap(), Access::Private);
    comes_back(&credentials, &stored);

    // Not when the keyring was asked for, and not when there is no passphrase.
    assert!(matches!(store(&credentials, Wanted::Keyring), Err(SecretError::NoKeyring { .. })));
    let silent = world.with_passphrase(Passphrase::Unavailable);
    assert!(matches!(store(&silent, Wanted::Best), Err(SecretError::NoPassphrase)));
}

#[test]
fn a_locked_keyring_is_an_error_and_no_reason_to_go_elsewhere() {
    let world = world();
    let credentials = world.credentials();
    let stored = store(&credentials, Wanted::Best).unwrap();
    world.keyring.set(State::Locked);
    assert!(matches!(store(&credentials, Wanted::Best), Err(SecretError::KeyringLocked { .. })));
    let profile = profile("id", stored.place.clone());
    assert!(matches!(credentials.secret(&profile), Err(SecretError::KeyringLocked { .. })));
    assert!(!exists(credentials.dir()));
    world.keyring.set(State::Open);
    comes_back(&credentials, &stored);
}

#[test]
fn a_plain_file_only_when_asked_for_and_only_if_it_is_private() {
    use std::os::unix::fs::PermissionsExt;

    let world = world();
    let credentials = world.credentials();
    let stored = store(&credentials, Wanted::File).unwrap();
    assert_eq!((&stored.place, &stored.why), (&SecretPlace::File, &Why::Wanted));
    let path = stored.path.clone().unwrap();
    assert_eq!(access(&path).unwrap(), Access::Private);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let profile = profile("id", SecretPlace::File);
    assert!(matches!(credentials.secret(&profile), Err(SecretError::Exposed { mode: 0o640, .. })));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    comes_back(&credentials, &stored);
    write_private_file(&path, b"{").unwrap();
    assert!(matches!(store(&credentials, Wanted::File), Err(SecretError::FileDamaged { .. })));
    assert_eq!(read_file(&path, 10).unwrap(), b"{");
}

#[test]
fn a_profile_goes_with_its_secret_unless_another_needs_it() {
    let world = world();
    let credentials = world.credentials();
    let stored = store(&credentials, Wanted::Best).unwrap();
    let shared = profile("id", stored.place);
    let insert = |name: &str| credentials.update(|profiles| profiles.insert(name, shared.clone()).map(drop)).unwrap();
    insert("one");
    insert("two");
    credentials.remove_profile("one").unwrap();
    assert_eq!(credentials.secret(&shared).unwrap().expose(), b"hush");

    world.keyring.set(State::Locked);
    assert!(matches!(credentials.remove_profile("two"), Err(ProfileError::Secret { .. })));
    assert!(credentials.profiles().unwrap().get("two").is_ok());
    world.keyring.set(State::Open);
    credentials.remove_profile("two").unwrap();
    assert!(matches!(credentials.secret(&shared), Err(SecretError::Missing { .. })));
    assert!(credentials.profiles().unwrap().is_empty());
    assert!(matches!(credentials.remove_profile("two"), Err(ProfileError::NotFound { .. })));
}

#[test]
fn a_garbled_profile_file_is_never_written_over() {
    let world = world();
    let credentials = world.credentials();
    credentials.update(|profiles| profiles.insert("a", profile("id", SecretPlace::Keyring)).map(drop)).unwrap();
    let path = credentials.profile_file();
    assert_eq!(access(&path).unwrap(), Access::Private);
    let garbled = b"version: 1\nprofiles: [not, a, map]\n";
    write_private_file(&path, garbled).unwrap();
    let change = |profiles: &mut Profiles| profiles.insert("b", profile("id", SecretPlace::Keyring)).map(drop);
    assert!(matches!(credentials.update(change), Err(ProfileError::Garbled { .. })));
    assert!(matches!(credentials.remove_profile("a"), Err(ProfileError::Garbled { .. })));
    assert_eq!(read_file(&path, 1000).unwrap(), garbled);
}

#[test]
fn changes_at_the_same_time_are_all_kept() {
    let world = world();
    let credentials = world.credentials();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let credentials = &credentials;
            scope.spawn(move || {
                for number in 0..5 {
                    let name = format!("p{thread}-{number}");
                    let profile = profile("id", SecretPlace::Keyring);
                    credentials.update(|profiles| profiles.insert(&name, profile).map(drop)).unwrap();
                }
            });
        }
    });
    assert_eq!(credentials.profiles().unwrap().iter().count(), 40);
}
