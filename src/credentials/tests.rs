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
    model::{Secret, TopicId, TopicKey, TopicKeyId, Ulid},
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
        client_id: Some(client_id.to_owned()),
        secret: Some(secret),
        ..Profile::default()
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

fn topic_key(ulid: u8, version: u32, secret: u8) -> TopicKey {
    let id = TopicKeyId { ulid: Ulid::from_bytes([ulid; 16]), version };
    TopicKey::new(id, TOPIC, Secret::new([secret; 32])).unwrap()
}

const TOPIC: TopicId = TopicId(Ulid::from_bytes([3; 16]));

#[test]
fn topic_keys_are_kept_where_it_is_wanted_and_found_together() {
    let world = world();
    let credentials = world.credentials();
    let places = [
        (Wanted::Keyring, SecretPlace::Keyring),
        (Wanted::Vault, SecretPlace::Vault),
        (Wanted::File, SecretPlace::File),
    ];
    for (number, (wanted, place)) in (1..).zip(places) {
        let secret = Secret::new([number; 32]);
        let made = credentials.create_topic_key("orders", TOPIC, Ulid::from_bytes([number; 16]), secret, wanted);
        let (id, stored) = made.unwrap();
        assert_eq!((id.version, stored.place), (u32::from(number), place));
    }
    let other = TopicId(Ulid::from_bytes([4; 16]));
    let (id, _) = credentials
        .create_topic_key("other", other, Ulid::from_bytes([9; 16]), Secret::new([9; 32]), Wanted::Best)
        .unwrap();
    assert_eq!(id.version, 1, "each topic counts for itself");
    let known = credentials.topic_keys().unwrap();
    let orders: Vec<&KnownTopicKey> = known.iter().filter(|key| key.is_for("orders")).collect();
    assert_eq!(orders.iter().map(|key| key.id.version).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(orders.iter().all(|key| key.is_for(&TOPIC.to_string()) && !key.is_for("other")));
    let keys = credentials.topic_key_secrets(&orders).unwrap();
    assert_eq!(keys.len(), 3);
    assert!(keys.iter().all(|key| key.secret().expose()[0] == u8::try_from(key.id().version).unwrap()));

    let path = world.dir.path().join("ensign/topic-keys.yaml");
    assert_eq!(access(&path).unwrap(), Access::Private);
    let text = String::from_utf8(read_file(&path, 10_000).unwrap()).unwrap();
    assert!(text.contains("topic: orders") && !text.contains("AQEB") && !text.contains("AgIC"), "{text}");

    assert_eq!(credentials.count_topic_key_events(orders[1].id, 5).unwrap(), 5);
    assert_eq!(credentials.count_topic_key_events(orders[1].id, 2).unwrap(), 7);
    for key in &orders {
        assert_eq!(credentials.remove_topic_key(key.id).unwrap().place, key.place);
        assert!(credentials.topic_key_secrets(&[key]).unwrap().is_empty(), "the secret is gone, too");
        assert!(matches!(credentials.remove_topic_key(key.id), Err(SecretError::TopicKeyUnknown { .. })));
    }
    assert_eq!(credentials.topic_keys().unwrap().len(), 1);
}

#[test]
fn an_imported_topic_key_never_takes_the_place_of_another() {
    let world = world();
    let credentials = world.credentials();
    let import = |key: &TopicKey| credentials.import_topic_key("orders", key, Wanted::Best);
    assert!(matches!(import(&topic_key(1, 4, 1)), Ok(Imported::Stored(_))));
    assert!(matches!(import(&topic_key(1, 4, 1)), Ok(Imported::Known)));
    assert!(matches!(import(&topic_key(1, 4, 2)), Err(SecretError::TopicKeyConflict { .. })));
    let known = credentials.topic_keys().unwrap();
    assert_eq!(credentials.topic_key_secrets(&[&known[0]]).unwrap()[0].secret().expose(), [1; 32]);
    // The next one that is made here comes after it.
    let made = credentials.create_topic_key("orders", TOPIC, Ulid::ZERO, Secret::new([5; 32]), Wanted::Best);
    assert_eq!(made.unwrap().0.version, 5);
    // What the keyring lost is completed.
    world.keyring.with(HashMap::clear).unwrap();
    assert!(credentials.topic_key_secrets(&[&known[0]]).unwrap().is_empty());
    assert!(matches!(import(&topic_key(1, 4, 1)), Ok(Imported::Stored(_))));
    assert_eq!(credentials.topic_keys().unwrap().len(), 2);
    // Where nothing can be kept, nothing is in the list.
    world.keyring.set(State::Locked);
    assert!(matches!(import(&topic_key(8, 9, 1)), Err(SecretError::KeyringLocked { .. })));
    assert_eq!(credentials.topic_keys().unwrap().len(), 2);
}

#[test]
fn a_list_of_topic_keys_that_is_damaged_is_left_alone() {
    let world = world();
    let credentials = world.credentials();
    credentials.import_topic_key("orders", &topic_key(1, 1, 1), Wanted::Best).unwrap();
    let path = world.dir.path().join("ensign/topic-keys.yaml");
    for text in [
        "version: 2\n",
        "{{{",
        "version: 1\nkeys: {x: {topic: a, topic_id: b, secret: vault}}\n",
        "version: 1\nmore: 1\n",
    ] {
        write_private_file(&path, text.as_bytes()).unwrap();
        let error = credentials.import_topic_key("orders", &topic_key(2, 1, 1), Wanted::Best).unwrap_err();
        assert!(matches!(error, SecretError::TopicKeyListDamaged { .. }), "{text}");
        assert_eq!(read_file(&path, 1_000).unwrap(), text.as_bytes());
    }
}
