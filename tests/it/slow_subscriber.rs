//! A subscriber that reads nothing while a lot is published: it costs bounded memory, and then it gets everything.
//!
//! How much is published, and by which binary it is served, can be set from outside: ENSIGN_TEST_STALL_EVENTS and
//! ENSIGN_TEST_BINARY. A gigabyte is 4,096 events, for which a release build takes seconds and a debug build minutes.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use bytes::Bytes;
use ensign::{
    client::{
        Client, Credentials, Delivery, Draft, Endpoint, Envelope, Publisher, PublisherOptions, Subscriber,
        SubscriberOptions, Wanted,
    },
    model::{Mimetype, Position, Secret},
    sys::Clock,
};
use serde_json::Value;

const EVENT_BYTES: usize = 256 * 1024;

/// More than the broker's caches, queues and windows together, and less than what is published.
const RESIDENT_BYTES_MAX: u64 = 160 * 1024 * 1024;

fn events() -> usize {
    std::env::var("ENSIGN_TEST_STALL_EVENTS").map_or(400, |count| count.parse().unwrap())
}

/// A broker in a process of its own, which is killed with the test.
struct Broker {
    child: Child,
    ready: Value,
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended already, which the test will have noticed.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Broker {
    fn start(dir: &Path) -> Broker {
        let ready_file = dir.join("ready.json");
        let mut child =
            Command::new(std::env::var_os("ENSIGN_TEST_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_ensign").into()))
                .args(["dev-server", "--addr", "127.0.0.1:0", "--quiet", "--data-dir"])
                .arg(dir.join("data"))
                .arg("--ready-file")
                .arg(&ready_file)
                .env("ENSIGN_CONFIG_DIR", dir.join("config"))
                .stdin(Stdio::null())
                .spawn()
                .unwrap();
        loop {
            if let Ok(text) = std::fs::read_to_string(&ready_file) {
                return Broker { child, ready: serde_json::from_str(&text).unwrap() };
            }
            assert_eq!(child.try_wait().unwrap(), None, "the broker ended before it was ready");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    fn text(&self, key: &str) -> &str {
        self.ready[key].as_str().unwrap()
    }

    async fn client(&self) -> Client {
        let endpoint =
            Endpoint::new(self.text("endpoint").parse().unwrap(), Some(self.text("auth_url").to_owned()), None);
        let secret = Secret::new(self.text("client_secret"));
        let credentials = Credentials { client_id: self.text("client_id").to_owned(), client_secret: secret };
        Client::connect(endpoint, credentials, Clock::real()).await.unwrap()
    }

    fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        // The pages of the program's file are not counted: a debug build has many, and the system can drop them.
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }
}

/// The data of an event: its number, and noise that depends on it and does not compress.
fn data(number: usize) -> Bytes {
    let mut state = number as u64 + 1;
    let mut data = Vec::with_capacity(EVENT_BYTES);
    data.extend_from_slice(&state.to_le_bytes());
    while data.len() < EVENT_BYTES {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        data.extend_from_slice(&state.to_le_bytes());
    }
    data.into()
}

async fn publish_all(client: &Client, broker: &Broker) -> u64 {
    let topic = client.find_topic("noise").await.unwrap().unwrap().id;
    let mut publisher = Publisher::open(client, PublisherOptions::default()).await.unwrap();
    let envelope = Arc::new(Envelope::new(Mimetype::OCTET_STREAM, None, BTreeMap::new(), Bytes::new()));
    let mut resident_bytes = 0;
    for number in 0..events() {
        let draft = Draft { data: data(number), envelope: envelope.clone(), created: None, tag: number as u64 };
        publisher.send(topic, &[draft]).await.unwrap();
        if number % 64 == 0 {
            resident_bytes = resident_bytes.max(broker.resident_bytes());
        }
    }
    let outcome = publisher.close().await;
    assert_eq!((outcome.progress.acked, outcome.refusals.len()), (events() as u64, 0));
    resident_bytes.max(broker.resident_bytes())
}

#[test]
fn a_subscriber_that_stalls_costs_bounded_memory_and_then_gets_everything() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = broker.client().await;
        client.create_topic("noise").await.unwrap();
        let options = SubscriberOptions {
            topics: vec!["noise".to_owned()],
            from: Position::End,
            until: None,
            retry_for: None,
            skip_unreadable: false,
            wanted: Wanted::default(),
        };
        let mut subscriber = Subscriber::open(&client, options).await.unwrap();

        let resident_bytes = publish_all(&client, &broker).await;
        assert!(resident_bytes <= RESIDENT_BYTES_MAX, "the broker grew to {resident_bytes} bytes");

        let mut next = 0;
        while next < events() {
            match subscriber.next().await.unwrap() {
                Delivery::Events(events) => {
                    for event in events {
                        assert_eq!(event.data, data(next), "event {next}");
                        next += 1;
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        let resident_bytes = broker.resident_bytes();
        assert!(resident_bytes <= RESIDENT_BYTES_MAX, "the broker grew to {resident_bytes} bytes");
    });
}
