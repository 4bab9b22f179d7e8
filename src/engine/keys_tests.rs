//! Keys: wrapped, bound, rotated, suspended, revoked; and what readers, compaction and raw records make of it.

use super::{
    keys::{FIRST_VERSION, KeyRing, RootChange},
    tests::{Bench, PROJECT, TOPIC},
    *,
};
use crate::{
    model::{Offset, Position, Secret, Time, Ulid},
    store::Records,
    sys::ManualClock,
};

fn project(number: u8) -> ProjectId {
    ProjectId(Ulid::from_bytes([number; 16]))
}

fn root(number: u8) -> RootKey {
    RootKey::new(&Secret::new([number; 32])).unwrap()
}

async fn ring(records: &Records, root: &RootKey) -> Result<KeyRing, OpenError> {
    let clock = ManualClock::default();
    clock.set(Time::from_millis(5_000));
    KeyRing::open(root.clone(), records.clone(), Clock::manual(clock), Entropy::seeded(7)).await
}

/// A data key, as the cipher that it gives.
async fn key(ring: &KeyRing, project: ProjectId, version: u32) -> Option<Vec<u8>> {
    use aes_gcm::aead::{Aead, Payload};
    let key = ring.version(project, version).await.unwrap()?;
    let sealed = key.block_cipher(&[0; 32]).encrypt(&[0; 12].into(), Payload { msg: b"x", aad: b"" });
    Some(sealed.unwrap())
}

#[tokio::test]
async fn data_keys_are_kept_and_differ_by_project_and_version() {
    let records = Store::memory().records;
    let ring = ring(&records, &root(1)).await.unwrap();
    assert_eq!(ring.follow(project(1)).await.unwrap().borrow().newest, FIRST_VERSION);
    let first = key(&ring, project(1), 1).await.unwrap();
    let again = super::keys_tests::ring(&records, &root(1)).await.unwrap();
    assert_eq!(key(&again, project(1), 1).await.unwrap(), first);
    again.follow(project(2)).await.unwrap();
    assert_ne!(key(&again, project(2), 1).await.unwrap(), first);
    assert_eq!(again.rotate(project(1), false).await.unwrap(), 2);
    assert_ne!(key(&again, project(1), 2).await.unwrap(), first);
    assert_eq!(again.follow(project(1)).await.unwrap().borrow().newest, 2);
}

#[tokio::test]
async fn another_root_key_is_refused() {
    let records = Store::memory().records;
    ring(&records, &root(1)).await.unwrap();
    let refused = ring(&records, &root(2)).await;
    assert!(matches!(refused, Err(OpenError::RootKeyMismatch)));
}

/// A wrapped key that was moved to another project's record must not open there.
#[tokio::test]
async fn a_wrapped_key_is_bound_to_its_project() {
    let records = Store::memory().records;
    let ring = ring(&records, &root(1)).await.unwrap();
    ring.follow(project(1)).await.unwrap();
    let name = |number: u8| [&b"key/data/"[..], &[number; 16], &1_u32.to_be_bytes()].concat();
    let stolen = records.get(name(1)).await.unwrap().unwrap();
    records.commit(Transaction::new().put(name(2), stolen.value)).await.unwrap();
    assert!(matches!(ring.follow(project(2)).await, Err(OpenError::DamagedRecord { .. })));
}

#[tokio::test]
async fn a_destroyed_topic_has_no_salt() {
    let records = Store::memory().records;
    let ring = ring(&records, &root(1)).await.unwrap();
    let topic = TopicId(Ulid::from_bytes([3; 16]));
    records.commit(ring.prepare_create(topic, Transaction::new())).await.unwrap();
    assert_ne!(ring.salt(topic).await.unwrap(), [0; KEY_BYTES]);
    records.commit(KeyRing::prepare_destroy(topic, Transaction::new())).await.unwrap();
    assert!(matches!(ring.salt(topic).await, Err(OpenError::Destroyed { .. })));
}

/// Keys that were stored before their versions had a record are all active, and the newest of them goes on.
#[tokio::test]
async fn keys_without_a_record_of_their_versions_are_active() {
    let records = Store::memory().records;
    let first = ring(&records, &root(1)).await.unwrap();
    first.rotate(PROJECT, false).await.unwrap();
    let record = [&b"key/versions/"[..], PROJECT.as_bytes()].concat();
    records.commit(Transaction::new().delete(record)).await.unwrap();
    let ring = ring(&records, &root(1)).await.unwrap();
    let status = ring.status(PROJECT).await.unwrap();
    assert_eq!(
        status.versions.iter().map(|known| (known.version, known.created)).collect::<Vec<_>>(),
        [(1, None), (2, None)]
    );
    assert_eq!(ring.rotate(PROJECT, false).await.unwrap(), 3);
}

#[tokio::test]
async fn what_may_become_of_a_version() {
    let records = Store::memory().records;
    let ring = ring(&records, &root(1)).await.unwrap();
    ring.rotate(PROJECT, false).await.unwrap();
    let suspend = |version| ring.set_state(PROJECT, version, KeyState::Suspended);
    assert!(matches!(suspend(2).await, Err(KeyChangeError::Newest { version: 2 })));
    assert!(matches!(suspend(9).await, Err(KeyChangeError::Unknown { version: 9 })));
    assert!(matches!(ring.revoke(PROJECT, 2, None).await, Err(KeyChangeError::Newest { version: 2 })));
    suspend(1).await.unwrap();
    suspend(1).await.unwrap();
    ring.revoke(PROJECT, 1, None).await.unwrap();
    ring.revoke(PROJECT, 1, None).await.unwrap();
    let resumed = ring.set_state(PROJECT, 1, KeyState::Active).await;
    assert!(matches!(resumed, Err(KeyChangeError::Revoked { version: 1 })));
    assert_eq!(key(&ring, PROJECT, 1).await, None);
    let states: Vec<KeyState> = ring.status(PROJECT).await.unwrap().versions.iter().map(|known| known.state).collect();
    assert_eq!(states, [KeyState::Revoked, KeyState::Active]);
}

/// Whoever changes something from elsewhere, at the same time, makes nobody's change be lost.
#[tokio::test]
async fn changes_at_the_same_time_are_all_made() {
    let records = Store::memory().records;
    let (one, two) = (ring(&records, &root(1)).await.unwrap(), ring(&records, &root(1)).await.unwrap());
    for _ in 0..5 {
        let (a, b) = tokio::join!(one.rotate(PROJECT, false), two.rotate(PROJECT, true));
        assert_ne!(a.unwrap(), b.unwrap());
    }
    assert_eq!(one.status(PROJECT).await.unwrap().versions.len(), 11);
    for version in 1..=11 {
        assert!(key(&one, PROJECT, version).await.is_some());
    }
}

#[tokio::test]
async fn a_change_of_the_root_key_takes_everything_along() {
    let records = Store::memory().records;
    let old = root(1);
    let ring = ring(&records, &old).await.unwrap();
    ring.rotate(project(1), false).await.unwrap();
    ring.follow(project(2)).await.unwrap();
    let before = (key(&ring, project(1), 1).await, key(&ring, project(1), 2).await, key(&ring, project(2), 1).await);
    let stored = records.scan("key/data/", None, usize::MAX).await.unwrap();
    let change = RootChange { to: root(2), also: Transaction::new().put("also", "x") };
    ring.change_root(&change).await.unwrap();
    let after = (key(&ring, project(1), 1).await, key(&ring, project(1), 2).await, key(&ring, project(2), 1).await);
    assert_eq!(before, after);
    assert!(records.get("also").await.unwrap().is_some());
    for ((name, before), (_, after)) in stored.iter().zip(records.scan("key/data/", None, usize::MAX).await.unwrap()) {
        assert_ne!(before.value, after.value);
        assert!(root(1).open(name, &after.value).is_none() && root(2).open(name, &after.value).is_some());
    }
    assert!(matches!(super::keys_tests::ring(&records, &root(1)).await, Err(OpenError::RootKeyMismatch)));
    let again = super::keys_tests::ring(&records, &root(2)).await.unwrap();
    assert_eq!(key(&again, project(1), 2).await, before.1);
    // Whoever held the old key holds the new one, and goes on with it.
    assert_eq!(old.secret().expose(), root(2).secret().expose());
    assert_eq!(ring.rotate(project(1), false).await.unwrap(), 3);
    assert!(key(&again, project(1), 3).await.is_some());
}

/// What was sealed between the preparation and the change would be lost with the old key.
#[tokio::test]
async fn a_change_of_the_root_key_conflicts_with_what_is_sealed_meanwhile() {
    let records = Store::memory().records;
    let ring = ring(&records, &root(1)).await.unwrap();
    let sealing = under_root_key(&records, &root(1)).await.unwrap().put("sealed", "x");
    ring.change_root(&RootChange { to: root(2), also: Transaction::new() }).await.unwrap();
    assert!(records.commit(sealing).await.is_err());
    assert!(matches!(under_root_key(&records, &root(1)).await, Err(OpenError::RootKeyMismatch)));
    let sealing = under_root_key(&records, &root(2)).await.unwrap().put("sealed", "x");
    let prepared = under_root_key(&records, &root(2)).await.unwrap();
    records.commit(sealing).await.unwrap();
    assert!(records.commit(prepared).await.is_err(), "it has not seen what was sealed");
}

/// A topic with a block under each of three versions.
async fn three_versions() -> Bench {
    let bench = Bench::new().await;
    bench.publish(&["one", "eins"]).await;
    bench.engine.rotate_key(PROJECT, false).await.unwrap();
    bench.publish(&["two"]).await;
    bench.engine.rotate_key(PROJECT, false).await.unwrap();
    bench.publish(&["three"]).await;
    bench
}

async fn texts(mut reader: Reader) -> Result<Vec<String>, FetchError> {
    let mut texts = Vec::new();
    while let Some(slice) = reader.read().await? {
        texts.extend(slice.events().map(|event| String::from_utf8(event.record.to_vec()).unwrap()));
    }
    Ok(texts)
}

async fn versions(bench: &Bench) -> Vec<u32> {
    let blocks = bench.store.blocks.read(TOPIC, Offset::FIRST, usize::MAX).await.unwrap();
    blocks.iter().map(|block| block.head.key_version).collect()
}

#[tokio::test]
async fn a_rotation_is_for_the_next_block_of_an_open_topic() {
    let bench = three_versions().await;
    assert_eq!(versions(&bench).await, [1, 2, 3]);
    let topic = bench.topic().await;
    assert_eq!(texts(topic.reader(Offset::FIRST)).await.unwrap(), ["one", "eins", "two", "three"]);
    // Without anything in memory, too.
    let engine = tests::open(&bench.store, &bench.clock).await;
    let topic = engine.topic(TOPIC, PROJECT).await.unwrap();
    assert_eq!(texts(topic.reader(Offset::FIRST)).await.unwrap(), ["one", "eins", "two", "three"]);
}

#[tokio::test]
async fn a_suspended_version_is_closed_to_every_reader_until_it_is_resumed() {
    let bench = three_versions().await;
    let topic = bench.topic().await;
    let mut midway = topic.reader(Offset::FIRST);
    midway.read().await.unwrap().unwrap();
    bench.engine.suspend_key(PROJECT, 2).await.unwrap();
    let error = midway.read().await.unwrap_err();
    let expected = format!(
        "topic {TOPIC}, offsets 3 to 3: data key version 2 is suspended; nobody can read these events until it is resumed"
    );
    assert_eq!(error.to_string(), expected);
    assert_eq!(midway.skip_to(Offset::new(4)), 1);
    assert_eq!(texts(midway).await.unwrap(), ["three"]);
    assert!(texts(topic.reader(Offset::FIRST)).await.is_err());
    // Publishing goes on, and what is behind is read.
    bench.publish(&["four"]).await;
    assert_eq!(texts(topic.reader(Offset::new(4))).await.unwrap(), ["three", "four"]);
    // Where the block begins is known, and a position within is none that can be told.
    let begins = first_id(&bench, 3).await;
    assert_eq!(topic.seek(Position::Event(begins)).await.unwrap(), Offset::new(3));
    bench.engine.suspend_key(PROJECT, 1).await.unwrap();
    let inside = topic.seek(Position::Event(first_id(&bench, 1).await.plus(1))).await;
    assert!(matches!(inside, Err(FetchError::Closed { state: KeyState::Suspended, .. })));
    bench.engine.resume_key(PROJECT, 1).await.unwrap();
    bench.engine.resume_key(PROJECT, 2).await.unwrap();
    assert_eq!(texts(topic.reader(Offset::FIRST)).await.unwrap(), ["one", "eins", "two", "three", "four"]);
}

/// The identifier of the first event of the block that begins with an offset.
async fn first_id(bench: &Bench, base: u64) -> crate::model::Rlid {
    bench.store.blocks.read(TOPIC, Offset::new(base), 1).await.unwrap()[0].head.first_rlid
}

/// Neither memory nor another process nor the records have it any more.
#[tokio::test]
async fn a_revoked_version_is_gone() {
    let bench = three_versions().await;
    let topic = bench.topic().await;
    assert_eq!(texts(topic.reader(Offset::FIRST)).await.unwrap().len(), 4);
    bench.engine.revoke_key(PROJECT, 1, None).await.unwrap();
    let error = texts(topic.reader(Offset::FIRST)).await.unwrap_err().to_string();
    let expected = format!(
        "topic {TOPIC}, offsets 1 to 2: data key version 1 has been revoked; these events can't be read any more"
    );
    assert_eq!(error, expected);
    assert_eq!(texts(topic.reader(Offset::new(3))).await.unwrap(), ["two", "three"]);
    // They still have their places and are counted, by what is known without the key.
    let engine = tests::open(&bench.store, &bench.clock).await;
    let topic = engine.topic(TOPIC, PROJECT).await.unwrap();
    assert!(matches!(
        texts(topic.reader(Offset::FIRST)).await,
        Err(FetchError::Closed { state: KeyState::Revoked, .. })
    ));
    let tally = topic.tally().await.unwrap();
    assert_eq!((tally.events, tally.types.iter().map(|count| count.events).sum::<u64>()), (4, 2));
    let mut verifier = BlockVerifier::open(root(7), bench.store.records.clone(), &[(TOPIC, PROJECT)]).await.unwrap();
    for block in bench.store.blocks.read(TOPIC, Offset::FIRST, usize::MAX).await.unwrap() {
        verifier.check(&block).unwrap();
    }
    assert_eq!((verifier.readable, verifier.suspended, verifier.revoked), (2, 0, 1));
}

#[tokio::test]
async fn a_rewriting_moves_what_may_be_read_to_the_newest_version() {
    let bench = three_versions().await;
    bench.engine.suspend_key(PROJECT, 2).await.unwrap();
    bench.engine.compact_in_background(|topic| (topic == TOPIC).then_some(PROJECT));
    assert_eq!(bench.engine.rotate_key(PROJECT, true).await.unwrap(), 4);
    let finished = async || bench.engine.key_status(PROJECT).await.unwrap().rewrite.unwrap().finished;
    while finished().await.is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(versions(&bench).await, [4, 2, 4]);
    let usage = bench.engine.key_usage(&[TOPIC]).await.unwrap();
    assert_eq!(
        usage.iter().map(|(version, usage)| (*version, usage.blocks, usage.events)).collect::<Vec<_>>(),
        [(2, 1, 1), (4, 2, 3)]
    );
    bench.engine.revoke_key(PROJECT, 1, None).await.unwrap();
    bench.engine.resume_key(PROJECT, 2).await.unwrap();
    assert_eq!(texts(bench.topic().await.reader(Offset::FIRST)).await.unwrap(), ["one", "eins", "two", "three"]);
}

/// What the end of a process interrupts is taken up again.
#[tokio::test]
async fn a_rewriting_goes_on_after_a_restart() {
    let bench = three_versions().await;
    bench.engine.rotate_key(PROJECT, true).await.unwrap();
    assert_eq!(versions(&bench).await, [1, 2, 3]);
    let engine = tests::open(&bench.store, &bench.clock).await;
    engine.compact_in_background(|topic| (topic == TOPIC).then_some(PROJECT));
    while engine.key_status(PROJECT).await.unwrap().rewrite.unwrap().finished.is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(versions(&bench).await, [4, 4, 4]);
    engine.close().await;
}
