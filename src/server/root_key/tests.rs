//! Where the root key comes from: remembered, refused, made, changed; whatever interrupts it.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use super::*;
use crate::{
    engine::{Engine, OpenError},
    identity::{Identity, IdentityOptions},
    model::{ProjectId, Ulid},
    store::{
        Store,
        local::{LocalOptions, LocalStore},
    },
    sys::{Clock, Disk, Entropy, Loss, SimulatedDisk},
};

const PROJECT: ProjectId = ProjectId(Ulid::from_bytes([1; 16]));

/// A keyring in memory.
#[derive(Debug, Clone, Default)]
struct Safe(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

impl Safe {
    fn entries(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accounts(&self) -> usize {
        self.entries().len()
    }
}

impl KeepSecrets for Safe {
    fn get(&self, account: &str) -> Result<Option<Secret>, String> {
        Ok(self.entries().get(account).map(|bytes| Secret::new(bytes.clone())))
    }

    fn put(&self, account: &str, secret: &Secret) -> Result<(), String> {
        self.entries().insert(account.to_owned(), secret.expose().to_vec());
        Ok(())
    }

    fn remove(&self, account: &str) -> Result<(), String> {
        self.entries().remove(account);
        Ok(())
    }
}

fn nothing() -> RootKeyOptions {
    RootKeyOptions { default: None, ..RootKeyOptions::in_directory() }
}

fn given(number: u8) -> RootKeyOptions {
    RootKeyOptions { given: RootKey::new(&Secret::new([number; 32])), ..nothing() }
}

fn passphrase(text: &'static str) -> RootKeyOptions {
    let ask = AskPassphrase::new(move |_| Ok(Secret::new(text)));
    RootKeyOptions { passphrase: Some(ask), wanted: Some(RootKeySource::Passphrase), ..nothing() }
}

fn in_keyring(safe: &Safe) -> RootKeyOptions {
    let keyring = Some(KeySafe::new(safe.clone()));
    RootKeyOptions { keyring, wanted: Some(RootKeySource::Keyring), ..nothing() }
}

/// Opens everything that is under the root key; gives the key.
async fn try_open(disk: &Disk, options: &RootKeyOptions) -> Result<Secret, RootKeyError> {
    let (clock, entropy) = (Clock::real(), Entropy::real());
    let (store, local, _) = LocalStore::open(disk, &clock, &entropy, LocalOptions::default()).unwrap();
    let opened = open(disk, &store.records, options, (&clock, &entropy)).await;
    if let Ok(root) = &opened {
        check(&store, root).await;
    }
    local.close().await.unwrap();
    opened.map(|root| root.secret())
}

/// Data keys and signing keys open; the engine makes sure that deleted ones are overwritten.
async fn check(store: &Store, root: &RootKey) {
    let (clock, entropy) = (Clock::real(), Entropy::real());
    let engine = Engine::open(store.clone(), root.clone(), clock.clone(), entropy.clone()).await.unwrap();
    engine.key_status(PROJECT).await.unwrap();
    engine.rotate_key(PROJECT, false).await.unwrap();
    let options = IdentityOptions::new("http://localhost", "test", root.clone());
    drop(Identity::open(store.records.clone(), clock, entropy, options).await.unwrap());
    engine.close().await;
}

async fn change(disk: &Disk, from: &RootKeyOptions, to: NewRootKey) -> Result<RootKeySource, ChangeRootKeyError> {
    change_root_key(disk, (&Clock::real(), &Entropy::real()), from, to).await
}

#[test]
fn the_source_is_the_one_that_is_remembered() {
    use RootKeySource::{Directory, Given, Keyring, Passphrase};
    let wants = |source| RootKeyOptions { wanted: Some(source), ..nothing() };
    let default = RootKeyOptions::in_directory();
    let check = |options: &RootKeyOptions, remembered, expected: Result<RootKeySource, &str>| {
        let found = options.decide(remembered).map_err(|error| error.to_string());
        assert_eq!(found.as_ref().map_err(String::as_str), expected.as_ref().map_err(|text| *text), "{options:?}");
    };
    check(&default, None, Ok(Directory));
    check(&default, Some(Passphrase), Ok(Passphrase));
    check(&nothing(), None, Err("it is not said where the root key comes from"));
    check(&nothing(), Some(Keyring), Ok(Keyring));
    check(&nothing(), Some(Given), Err("the root key of this data directory is given at every start, and was not"));
    check(&wants(Keyring), None, Ok(Keyring));
    check(&given(1), None, Ok(Given));
    let moved =
        "the root key of this data directory comes from the file root.key in the data directory, not from a passphrase";
    check(&wants(Passphrase), Some(Directory), Err(moved));
    let strict = RootKeyOptions { allow_directory: false, ..default };
    check(&strict, Some(Directory), Err("the root key is in the data directory, beside what it protects"));
    check(&strict, None, Err("the root key is in the data directory, beside what it protects"));
    check(&strict, Some(Keyring), Ok(Keyring));
}

#[tokio::test]
async fn each_source_is_remembered_and_no_other_is_taken() {
    let safe = Safe::default();
    let sources = [RootKeyOptions::in_directory(), given(1), passphrase("correct horse"), in_keyring(&safe)];
    for (at, options) in sources.iter().enumerate() {
        let disk = Disk::memory();
        let made = try_open(&disk, options).await.unwrap();
        assert_eq!(try_open(&disk, options).await.unwrap().expose(), made.expose());
        for other in sources.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, options)| options) {
            let refused = try_open(&disk, other).await;
            // One that says nothing finds what there is, if it has what it needs.
            if other.given.is_some() || other.wanted.is_some() {
                assert!(matches!(refused, Err(RootKeyError::OtherSource { .. })), "{at}: {refused:?}");
            } else {
                assert!(refused.is_err(), "{at}");
            }
        }
    }
    assert_eq!(safe.accounts(), 1);
}

#[tokio::test]
async fn a_wrong_key_or_none_is_refused_and_nothing_is_made() {
    let disk = Disk::memory();
    try_open(&disk, &given(1)).await.unwrap();
    assert!(matches!(try_open(&disk, &given(2)).await, Err(RootKeyError::Mismatch)));
    let disk = Disk::memory();
    try_open(&disk, &passphrase("right")).await.unwrap();
    assert!(matches!(try_open(&disk, &passphrase("wrong")).await, Err(RootKeyError::Mismatch)));
    assert!(matches!(try_open(&disk, &nothing()).await, Err(RootKeyError::NoPassphrase)));
    let safe = Safe::default();
    let disk = Disk::memory();
    try_open(&disk, &in_keyring(&safe)).await.unwrap();
    assert!(matches!(try_open(&disk, &in_keyring(&Safe::default())).await, Err(RootKeyError::NotInKeyring { .. })));
    let disk = Disk::memory();
    try_open(&disk, &RootKeyOptions::in_directory()).await.unwrap();
    disk.open("root.key").unwrap().set_len(7).unwrap();
    let damaged = try_open(&disk, &RootKeyOptions::in_directory()).await;
    assert!(matches!(damaged, Err(RootKeyError::Damaged { .. })), "{damaged:?}");
    disk.remove("root.key").unwrap();
    let missing = try_open(&disk, &RootKeyOptions::in_directory()).await;
    assert!(matches!(missing, Err(RootKeyError::Missing { file: "root.key" })));
    assert!(!disk.list("").unwrap().contains(&"root.key".to_owned()));
}

/// A directory that is older than the memory of its source has its key in the directory.
#[tokio::test]
async fn a_directory_without_a_memory_has_its_key_inside() {
    let disk = Disk::memory();
    let made = try_open(&disk, &RootKeyOptions::in_directory()).await.unwrap();
    let (store, local, _) = LocalStore::open(&disk, &Clock::real(), &Entropy::real(), LocalOptions::default()).unwrap();
    store.records.commit(crate::store::Transaction::new().delete(remembered::KEY)).await.unwrap();
    local.close().await.unwrap();
    assert!(matches!(try_open(&disk, &given(1)).await, Err(RootKeyError::OtherSource { .. })));
    assert_eq!(try_open(&disk, &nothing()).await.unwrap().expose(), made.expose());
}

#[tokio::test]
async fn the_key_moves_from_source_to_source() {
    let disk = Disk::memory();
    let safe = Safe::default();
    let ring = |options: RootKeyOptions| RootKeyOptions { keyring: Some(KeySafe::new(safe.clone())), ..options };
    let first = try_open(&disk, &RootKeyOptions::in_directory()).await.unwrap();
    let steps = [
        (nothing(), NewRootKey::Directory, nothing(), vec!["root.key"]),
        (nothing(), NewRootKey::Keyring, in_keyring(&safe), vec![]),
        (in_keyring(&safe), NewRootKey::Keyring, in_keyring(&safe), vec![]),
        (in_keyring(&safe), NewRootKey::Passphrase(Secret::new("one")), passphrase("one"), vec!["root-key.json"]),
        (passphrase("one"), NewRootKey::Passphrase(Secret::new("two")), passphrase("two"), vec!["root-key.json"]),
        (passphrase("two"), NewRootKey::Given(given(5).given.unwrap()), given(5), vec![]),
        (given(5), NewRootKey::Directory, nothing(), vec!["root.key"]),
    ];
    let mut before = first;
    for (from, to, opens, files) in steps {
        let place = format!("{from:?} to {to:?}");
        let is_keyring = to.source() == RootKeySource::Keyring;
        change(&disk, &ring(from), to).await.unwrap();
        let now = try_open(&disk, &opens).await.unwrap();
        assert_ne!(now.expose(), before.expose(), "{place}");
        before = now;
        let found: Vec<String> = disk.list("").unwrap().into_iter().filter(|name| name.starts_with("root")).collect();
        assert_eq!(found, files, "{place}");
        assert_eq!(safe.accounts(), usize::from(is_keyring), "{place}");
    }
    let wrong = change(&disk, &given(5), NewRootKey::Directory).await;
    assert!(matches!(wrong, Err(ChangeRootKeyError::RootKey(RootKeyError::OtherSource { .. }))));
}

/// At every point exactly one of the two keys opens everything, without anybody's help, and what is left over goes.
async fn crash_everywhere(from: &RootKeyOptions, to: NewRootKey, opens: &RootKeyOptions, every: usize) -> usize {
    let disk = SimulatedDisk::new();
    try_open(&disk.disk(), from).await.unwrap();
    let start = disk.operations();
    change(&disk.disk(), from, to).await.unwrap();
    let end = disk.operations();
    let (mut images, mut changed) = (0, 0);
    for operations in (start..=end).step_by(every) {
        for loss in Loss::at_point(operations, 2) {
            let place = format!("{operations} operations of {start} to {end}, {loss:?}");
            let crashed = disk.crash_after(operations, loss).disk();
            let old = try_open(&crashed, from).await;
            let new = try_open(&crashed, opens).await;
            assert!(old.is_ok() || new.is_ok(), "{place}: {old:?}, {new:?}");
            changed += usize::from(new.is_ok());
            let left = crashed.list("").unwrap();
            assert!(!left.iter().any(|name| name.contains(".next")), "{place}: {left:?}");
            images += 1;
        }
    }
    assert!(changed > 0 && images > 10, "{changed} of {images}");
    images
}

#[tokio::test]
async fn every_crash_point_of_a_change() {
    let directory = RootKeyOptions::in_directory();
    crash_everywhere(&directory, NewRootKey::Directory, &directory, 2).await;
    crash_everywhere(&directory, NewRootKey::Given(given(5).given.unwrap()), &given(5), 2).await;
    crash_everywhere(&given(5), NewRootKey::Directory, &directory, 2).await;
}

#[tokio::test]
async fn every_crash_point_of_a_change_to_a_keyring_and_a_passphrase() {
    let safe = Safe::default();
    let from = RootKeyOptions { keyring: Some(KeySafe::new(safe.clone())), ..nothing() };
    let directory = RootKeyOptions { default: Some(RootKeySource::Directory), ..from };
    crash_everywhere(&directory, NewRootKey::Keyring, &in_keyring(&safe), 3).await;
    crash_everywhere(&given(5), NewRootKey::Passphrase(Secret::new("one")), &passphrase("one"), 11).await;
}

/// A key that can't be opened is an error by name and never another key.
#[tokio::test]
async fn another_directorys_key_does_not_fit() {
    let (one, two) = (Disk::memory(), Disk::memory());
    try_open(&one, &RootKeyOptions::in_directory()).await.unwrap();
    let other = try_open(&two, &RootKeyOptions::in_directory()).await.unwrap();
    one.open("root.key").unwrap().write_all_at(&[other.expose()], 0).unwrap();
    let refused = try_open(&one, &RootKeyOptions::in_directory()).await;
    assert!(matches!(refused, Err(RootKeyError::Mismatch)));
    assert_eq!(RootKeyError::Mismatch.to_string(), OpenError::RootKeyMismatch.to_string());
}
