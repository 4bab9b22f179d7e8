//! What is left of destroyed keys: nothing in the raw files, and nothing in a copy for whoever holds the root key of today.

use super::{
    encryption::DataKeys,
    root_key::{self, RootKeyKeeper, RootKeyOptions},
};
use crate::{
    broker::{Broker, EventForm, NewTopic},
    engine::{Batch, Engine, RootKey},
    model::{Offset, OrganizationId, Permissions, Principal, ProjectId, Secret, TopicId, Ulid},
    store::{
        Store,
        local::{LocalOptions, LocalStore},
    },
    sys::{Clock, Entropy, Loss, SimulatedDisk},
};

const PROJECT: ProjectId = ProjectId(Ulid::from_bytes([1; 16]));

struct Node {
    store: Store,
    local: LocalStore,
    engine: Engine,
    broker: Broker,
    keys: DataKeys,
}

fn principal() -> Principal {
    Principal {
        subject: PROJECT.0,
        organization: OrganizationId(PROJECT.0),
        project: Some(PROJECT),
        permissions: Permissions::full_key(),
    }
}

async fn open(disk: &SimulatedDisk, options: &RootKeyOptions) -> Node {
    let (clock, entropy) = (Clock::real(), Entropy::real());
    let (store, local, _) = LocalStore::open(&disk.disk(), &clock, &entropy, LocalOptions::default()).unwrap();
    let root = root_key::open(&disk.disk(), &store.records, options, (&clock, &entropy)).await.unwrap();
    let engine = Engine::open(store.clone(), root, clock.clone(), entropy.clone()).await.unwrap();
    let broker = Broker::open(store.records.clone(), engine.clone(), clock.clone(), entropy.clone(), EventForm::OPAQUE).await.unwrap();
    let keeper = RootKeyKeeper::new(&disk.disk(), &store.records, None, (&clock, &entropy));
    let keys = DataKeys { engine: engine.clone(), broker: broker.clone(), keeper };
    Node { store, local, engine, broker, keys }
}

impl Node {
    async fn create(&self, name: &str) -> TopicId {
        let new = NewTopic { name: name.to_owned(), ..NewTopic::default() };
        self.broker.create_topic(&principal(), new).await.unwrap().id
    }

    async fn publish(&self, topic: TopicId, text: &str) {
        let mut records = vec![u8::try_from(text.len()).unwrap()];
        records.extend_from_slice(text.as_bytes());
        let batch = Batch { records, count: 1, publisher: bytes::Bytes::new(), types: Vec::new() };
        let permit = self.engine.admit(1).await;
        let topic = self.engine.topic(topic, PROJECT).await.unwrap();
        topic.append(batch, permit).await.await.unwrap().unwrap();
    }

    /// What can be read of a topic; the error otherwise.
    async fn read(&self, topic: TopicId) -> Result<Vec<String>, String> {
        let topic = self.engine.topic(topic, PROJECT).await.map_err(|error| error.to_string())?;
        let mut reader = topic.reader(Offset::FIRST);
        let mut texts = Vec::new();
        while let Some(slice) = reader.read().await.map_err(|error| error.to_string())? {
            texts.extend(slice.events().map(|event| String::from_utf8(event.record.to_vec()).unwrap()));
        }
        Ok(texts)
    }

    async fn close(self) {
        self.broker.close().await;
        self.engine.close().await;
        self.local.close().await.unwrap();
    }
}

fn data_key(version: u32) -> Vec<u8> {
    [&b"key/data/"[..], PROJECT.as_bytes(), &version.to_be_bytes()].concat()
}

/// Whether the bytes stand in any of the directory's files.
fn is_anywhere(disk: &SimulatedDisk, bytes: &[u8]) -> bool {
    let disk = disk.disk();
    let names = disk.list("").unwrap().into_iter();
    let segments = disk.list("journal").unwrap().into_iter().map(|name| format!("journal/{name}"));
    names.chain(segments).filter(|name| name != "journal").any(|name| {
        let file = disk.open(&name).unwrap();
        let mut content = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        file.read_exact_at(&mut content, 0).unwrap();
        content.windows(bytes.len()).any(|window| window == bytes)
    })
}

fn root_of(disk: &SimulatedDisk) -> RootKey {
    let file = disk.disk().open("root.key").unwrap();
    let mut key = vec![0; 32];
    file.read_exact_at(&mut key, 0).unwrap();
    RootKey::new(&Secret::new(key)).unwrap()
}

/// Where the server keeps the root key itself, what was revoked is gone from the directory, and a copy from before is of no use with
/// the root key of today.
#[tokio::test]
async fn a_revoked_key_is_in_no_file_and_in_no_copy_for_the_root_key_of_today() {
    let disk = SimulatedDisk::new();
    let node = open(&disk, &RootKeyOptions::in_directory()).await;
    let topic = node.create("events").await;
    node.publish(topic, "under the first").await;
    assert_eq!(node.keys.rotate(PROJECT, false).await.unwrap(), 2);
    node.publish(topic, "under the second").await;
    let wrapped = node.store.records.get(data_key(1)).await.unwrap().unwrap().value;
    let yesterday = root_of(&disk);
    assert!(yesterday.open(&data_key(1), &wrapped).is_some());
    let copy = disk.crash(Loss::Everything);

    node.keys.revoke(PROJECT, 1).await.unwrap();
    let expected = "data key version 1 has been revoked; these events can't be read any more";
    assert!(node.read(topic).await.unwrap_err().ends_with(expected));
    assert!(!is_anywhere(&disk, &wrapped));
    let today = root_of(&disk);
    assert!(yesterday.secret().expose() != today.secret().expose());
    let status = node.keys.status(PROJECT).await.unwrap();
    assert!(status.versions.iter().all(|version| !version.copies_readable));
    assert_eq!(status.versions[0].usage.events, 1);
    node.publish(topic, "after").await;
    node.close().await;

    // The copy has the wrapped key, and today's root key opens nothing of what is in it.
    assert!(is_anywhere(&copy, &wrapped));
    let (store, _local, _) =
        LocalStore::open(&copy.disk(), &Clock::real(), &Entropy::real(), LocalOptions::default()).unwrap();
    for (key, record) in store.records.scan("key/", None, usize::MAX).await.unwrap() {
        assert!(today.open(&key, &record.value).is_none());
    }
    assert!(Engine::open(store, today, Clock::real(), Entropy::real()).await.is_err());

    // Everything else goes on after a restart, with the new key.
    let node = open(&disk, &RootKeyOptions::in_directory()).await;
    assert!(node.read(topic).await.unwrap_err().ends_with(expected));
    let topic = node.engine.topic(topic, PROJECT).await.unwrap();
    let mut reader = topic.reader(Offset::new(2));
    let mut events = 0;
    while let Some(slice) = reader.read().await.unwrap() {
        events += slice.events().count();
    }
    assert_eq!(events, 2);
    node.close().await;
}

/// A root key that is given can't be changed by the server: it says so until somebody does.
#[tokio::test]
async fn copies_are_said_to_be_readable_until_the_root_key_is_changed() {
    let disk = SimulatedDisk::new();
    let given = |number: u8| RootKeyOptions {
        given: RootKey::new(&Secret::new([number; 32])),
        ..RootKeyOptions::in_directory()
    };
    let node = open(&disk, &given(1)).await;
    let topic = node.create("events").await;
    node.publish(topic, "under the first").await;
    node.keys.rotate(PROJECT, false).await.unwrap();
    let wrapped = node.store.records.get(data_key(1)).await.unwrap().unwrap().value;
    node.keys.revoke(PROJECT, 1).await.unwrap();
    assert!(node.read(topic).await.is_err());
    assert!(!is_anywhere(&disk, &wrapped), "with the root key in hand, the directory has nothing to open");
    let exposed = async |node: &Node| node.keys.status(PROJECT).await.unwrap().versions[0].copies_readable;
    assert!(exposed(&node).await);
    node.close().await;
    let to = root_key::NewRootKey::Given(RootKey::new(&Secret::new([2; 32])).unwrap());
    let outside = (&Clock::real(), &Entropy::real());
    root_key::change_root_key(&disk.disk(), outside, &given(1), to).await.unwrap();
    let node = open(&disk, &given(2)).await;
    assert!(!exposed(&node).await);
    node.close().await;
}

/// Whenever the power fails while a version is revoked, it is there as before or gone for good, and the directory opens by itself.
#[tokio::test]
async fn every_crash_point_of_a_revocation() {
    let disk = SimulatedDisk::new();
    let options = RootKeyOptions::in_directory();
    let node = open(&disk, &options).await;
    let topic = node.create("events").await;
    node.publish(topic, "under the first").await;
    node.keys.rotate(PROJECT, false).await.unwrap();
    let wrapped = node.store.records.get(data_key(1)).await.unwrap().unwrap().value;
    let start = disk.operations();
    node.keys.revoke(PROJECT, 1).await.unwrap();
    let end = disk.operations();
    node.close().await;
    let (mut before, mut after) = (0, 0);
    for operations in start..=end {
        for loss in Loss::at_point(operations, 2) {
            let place = format!("{operations} operations of {start} to {end}, {loss:?}");
            let crashed = disk.crash_after(operations, loss);
            let node = open(&crashed, &options).await;
            match node.read(topic).await {
                Ok(texts) => {
                    assert_eq!(texts, ["under the first"], "{place}");
                    before += 1;
                }
                Err(error) => {
                    assert!(error.contains("has been revoked"), "{place}: {error}");
                    assert!(!is_anywhere(&crashed, &wrapped), "{place}");
                    after += 1;
                }
            }
            node.close().await;
        }
    }
    assert!(before > 0 && after > 0, "{before} before, {after} after");
}

/// The same for a topic that is destroyed: its salt is nowhere once that is over, at the next start at the latest, and its name is free.
#[tokio::test]
async fn every_crash_point_of_destroying_a_topic() {
    let disk = SimulatedDisk::new();
    let options = RootKeyOptions::in_directory();
    let node = open(&disk, &options).await;
    let (topic, other) = (node.create("events").await, node.create("other").await);
    node.publish(topic, "to be lost").await;
    node.publish(other, "to be kept").await;
    let salt_key = [&b"key/salt/"[..], topic.as_bytes()].concat();
    let salt = node.store.records.get(salt_key).await.unwrap().unwrap().value;
    let start = disk.operations();
    node.broker.remove_topic(&principal(), &topic.to_string(), 2).await.unwrap();
    let answered = disk.operations();
    node.close().await;
    let end = disk.operations();
    assert!(!is_anywhere(&disk, &salt));
    let (mut before, mut after) = (0, 0);
    for operations in start..=end {
        for loss in Loss::at_point(operations, 2) {
            let place = format!("{operations} operations of {start} to {answered} to {end}, {loss:?}");
            let crashed = disk.crash_after(operations, loss);
            let node = open(&crashed, &options).await;
            if node.broker.directory().named(PROJECT, "events").is_some() {
                assert!(operations < answered, "{place}: it had been answered");
                assert_eq!(node.read(topic).await.unwrap(), ["to be lost"], "{place}");
                before += 1;
            } else {
                assert!(node.read(topic).await.is_err(), "{place}");
                assert_ne!(node.create("events").await, topic, "{place}");
                after += 1;
                // What was interrupted is finished at the start.
                node.broker.close().await;
                assert!(!is_anywhere(&crashed, &salt), "{place}");
            }
            assert_eq!(node.read(other).await.unwrap(), ["to be kept"], "{place}");
            node.close().await;
        }
    }
    assert!(before > 0 && after > 0, "{before} before, {after} after");
}
