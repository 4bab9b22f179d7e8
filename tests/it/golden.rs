//! A data directory that an earlier build of this version wrote opens, is whole, and has the events that were published.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use ensign::{
    client::{Draft, Envelope, Event},
    model::{Mimetype, Position, Schema},
    store::local::OfflineStore,
    sys::Disk,
};
use serde_json::json;

use super::{
    harness::repository,
    node::{Key, Node, TOPIC, data},
};

const GOLDEN: &str = "tests/data/golden";
const EXPECTED: &str = "events.jsonl";

/// How many events there are: some in blocks that were joined, some in a sealed segment, some in the active one.
pub(crate) const EVENTS: u64 = 60;

/// How many of them are small.
const SMALL: u64 = 30;

/// All of an event but who published it, and its data, which follows from its number.
fn line(event: &Event) -> String {
    let nanos = |time: ensign::model::Time| time.nanos().to_string();
    let event = json!({
        "offset": event.offset.get(),
        "id": event.id.to_string(),
        "committed": event.committed.map(nanos),
        "created": event.created.map(nanos),
        "mimetype": event.mimetype.0,
        "type": event.schema.as_ref().map(ToString::to_string),
        "metadata": event.metadata,
        "key": String::from_utf8(event.key.to_vec()).unwrap(),
        "bytes": event.data.len(),
    });
    event.to_string()
}

/// The data of an event. Those behind the first few are so large that no block of them is worth joining, and compress well.
pub(crate) fn content(number: u64) -> Bytes {
    if number <= SMALL { data(number) } else { data(number).repeat(70_000 / data(number).len()).into() }
}

/// An event that has everything that events can have.
fn rich(number: u64) -> Draft {
    let schema = Schema { name: "Order".to_owned(), major: 1, minor: 2, patch: u32::try_from(number % 3).unwrap() };
    let metadata = BTreeMap::from([("number".to_owned(), number.to_string())]);
    let envelope = Envelope::new(Mimetype::JSON, Some(&schema), metadata, Bytes::from(format!("key-{number}")));
    Draft { data: content(number), envelope: Arc::new(envelope), created: None, tag: number }
}

async fn publish(node: &Node, numbers: std::ops::Range<u64>) {
    let mut publisher = node.publisher().await.unwrap();
    let topic = publisher.topics()[TOPIC];
    for number in numbers {
        if number % 4 == 0 || number > SMALL {
            publisher.send(topic, &[rich(number)]).await.unwrap();
            publisher.flush().await.unwrap();
        } else {
            node.send(&mut publisher, number).await.unwrap();
        }
    }
    assert!(publisher.close().await.failure.is_none());
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files = vec![PathBuf::from("meta.redb"), PathBuf::from("root.key")];
    for entry in fs::read_dir(dir.join("journal")).unwrap() {
        files.push(Path::new("journal").join(entry.unwrap().file_name()));
    }
    files.sort();
    files
}

/// Makes the golden directory anew, which is to be done when the format gets another version, and then never again:
/// `cargo test --test it -- --ignored make_the_golden_directory`. Most bytes of the files are zeros, so each is kept compressed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it writes into the repository"]
async fn make_the_golden_directory() {
    let dir = tempfile::tempdir().unwrap();
    let mut key: Key = None;
    let node = Node::start(&Disk::real(dir.path()).unwrap(), &mut key).await.unwrap();
    publish(&node, 1..SMALL + 1).await;
    let gone = node.client.create_topic("gone").await.unwrap();
    node.client.destroy_topic(gone.id).await.unwrap();
    node.server.broker().compact().await.unwrap();
    publish(&node, SMALL + 1..EVENTS + 1).await;
    let (events, error) = node.read(Position::Start).await;
    assert!(error.is_none());
    node.server.stop().await.unwrap();

    let names: Vec<String> = files(dir.path()).iter().map(|file| file.display().to_string()).collect();
    let written = names.iter().filter(|name| name.starts_with("journal/0")).count();
    let compacted = names.iter().filter(|name| name.starts_with("journal/compact")).count();
    assert!(written > 1 && compacted > 0, "every kind of segment has to be there; compaction came between: {names:?}");
    let golden = repository(GOLDEN);
    fs::remove_dir_all(&golden).unwrap_or(());
    fs::create_dir_all(golden.join("journal")).unwrap();
    for file in files(dir.path()) {
        let bytes = zstd::encode_all(&fs::read(dir.path().join(&file)).unwrap()[..], 19).unwrap();
        fs::write(golden.join(format!("{}.zst", file.display())), bytes).unwrap();
    }
    let lines: String = events.iter().map(|event| line(event) + "\n").collect();
    fs::write(golden.join(EXPECTED), lines).unwrap();
}

/// Lays the golden directory out.
pub(crate) fn lay_out(dir: &Path) {
    let golden = repository(GOLDEN);
    fs::create_dir(dir.join("journal")).unwrap();
    for file in files(&golden).iter().filter_map(|file| file.to_str()) {
        let file = file.strip_suffix(".zst").unwrap_or(file);
        let bytes = zstd::decode_all(&fs::read(golden.join(format!("{file}.zst"))).unwrap()[..]).unwrap();
        fs::write(dir.join(file), bytes).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_golden_directory_has_its_events() {
    let dir = tempfile::tempdir().unwrap();
    lay_out(dir.path());
    let disk = Disk::real(dir.path()).unwrap();
    let offline = OfflineStore::open(&disk).unwrap();
    let found = offline.verify(&mut |_| Ok(())).unwrap();
    assert_eq!((found.damage, found.torn, found.unknown), (vec![], None, vec![]));
    assert_eq!((found.events, found.topics), (EVENTS, 1));
    assert!(found.segments > 2, "a compacted one, a sealed one, and the active one: {}", found.segments);
    drop(offline);

    let node = Node::start(&disk, &mut None).await.unwrap();
    let check = async |added: u64| {
        let (events, error) = node.read(Position::Start).await;
        assert!(error.is_none(), "{error:?}");
        let expected = fs::read_to_string(repository(GOLDEN).join(EXPECTED)).unwrap();
        let lines: Vec<String> = events.iter().map(line).collect();
        let before = usize::try_from(EVENTS).unwrap();
        assert_eq!(lines[..before], expected.lines().collect::<Vec<_>>());
        assert_eq!(events.len() as u64, EVENTS + added);
        for (event, number) in events.iter().zip(1..) {
            assert_eq!((event.offset.get(), &event.data), (number, &content(number)));
        }
    };
    check(0).await;
    publish(&node, EVENTS + 1..EVENTS + 6).await;
    node.server.broker().compact().await.unwrap();
    check(5).await;
    node.server.stop().await.unwrap();
}
