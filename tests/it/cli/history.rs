//! Publishers and subscribers over several topics, while the server is killed and restarted and clients are: the history of
//! the run has to hold.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use ensign::{
    client::{
        AckListener, Address, Client, Credentials, Delivery, Draft, Endpoint, Envelope, Event, Publisher,
        PublisherOptions, Subscriber, SubscriberOptions, Wanted,
    },
    model::{Mimetype, Offset, Position, Secret},
    sys::{Clock, Entropy},
};
use rustix::process::Signal;

use super::machine::{DevServer, Machine, wait_for};
use crate::history::{Delivered, EventKey, Fate, History, Reading, data};

const TOPICS: [&str; 3] = ["orders", "payments", "flights"];
const PUBLISHERS: u64 = 3;
const READERS_PER_TOPIC: usize = 2;
/// How many events each of the publishers sends, those that take its place when it is killed included.
const EVENTS: u64 = 400;
const RESTARTS: u64 = 6;

/// Small, so that a publisher gets ahead of its acks by some events only, and lives through the restarts.
const INFLIGHT_BYTES: usize = 2_048;

/// Between attempts to reach the server.
const PAUSE: Duration = Duration::from_millis(20);

/// The publisher of the last event of each topic.
const LAST: EventKey = EventKey { publisher: 1_000_000, number: 1 };

/// What the tasks of a run share.
#[derive(Clone)]
struct Run {
    client: Client,
    history: Arc<Mutex<History>>,
    /// How many events were handed to publishers.
    sent: Arc<AtomicU64>,
    publishers: Arc<AtomicU64>,
}

impl Run {
    /// A publisher, and which one it is. What is acked to it is noted.
    async fn publisher(&self) -> (Publisher, u64) {
        let publisher = self.publishers.fetch_add(1, Ordering::SeqCst) + 1;
        let history = self.history.clone();
        let listener = AckListener::new(move |tags| {
            let mut history = history.lock().unwrap();
            for tag in tags {
                let (topic, number) = (usize::try_from(tag % 8).unwrap(), tag / 8);
                let fate = history.sent.get_mut(&(topic, EventKey { publisher, number }));
                *fate.expect("only what was sent is acked") = Fate::Acked;
            }
        });
        let options = PublisherOptions {
            inflight_bytes_max: INFLIGHT_BYTES,
            retry_for: Duration::from_mins(5),
            listener: Some(listener),
            ..PublisherOptions::default()
        };
        loop {
            // The server may be dead right now.
            match Publisher::open(&self.client, options.clone()).await {
                Ok(opened) => return (opened, publisher),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    async fn send(&self, publisher: &mut Publisher, topic: usize, event: EventKey) {
        self.history.lock().unwrap().sent.insert((topic, event), Fate::InDoubt);
        let envelope = Arc::new(Envelope::new(Mimetype::TEXT_PLAIN, None, BTreeMap::default(), Bytes::new()));
        let tag = event.number * 8 + topic as u64;
        let draft = Draft { data: data(event).into(), envelope, created: None, tag };
        let topic = publisher.topics()[TOPICS[topic]];
        publisher.send(topic, &[draft]).await.unwrap();
        self.sent.fetch_add(1, Ordering::SeqCst);
    }

    /// Sends its events to topics by chance. Now and then it is gone in the middle, and another one goes on.
    async fn publish(self, entropy: Entropy) {
        let (mut publisher, mut name) = self.publisher().await;
        for number in 1..=EVENTS {
            let topic = usize::try_from(below(&entropy, TOPICS.len() as u64)).unwrap();
            self.send(&mut publisher, topic, EventKey { publisher: name, number }).await;
            if below(&entropy, 150) == 0 {
                drop(publisher.abort());
                (publisher, name) = self.publisher().await;
            }
        }
        let outcome = publisher.close().await;
        assert_eq!((outcome.progress.refused, outcome.failure.map(|error| error.to_string())), (0, None));
    }

    /// Reads a topic up to its last event. Now and then the reader is gone in the middle, and another one goes on behind it.
    async fn read(self, topic: usize, entropy: Entropy) {
        let mut next = 1;
        loop {
            let options = SubscriberOptions {
                topics: vec![TOPICS[topic].to_owned()],
                from: Position::Offset(Offset::new(next)),
                until: None,
                retry_for: None,
                skip_unreadable: false,
                wanted: Wanted::default(),
            };
            let Ok(mut subscriber) = Subscriber::open(&self.client, options).await else {
                // The server may be dead right now.
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let mut reading = Reading { topic, from: next, events: Vec::new(), is_complete: false };
            let ended = loop {
                match subscriber.next().await.unwrap() {
                    Delivery::Events(events) => {
                        reading.events.extend(events.iter().map(delivered));
                    }
                    Delivery::Interrupted { .. }
                    | Delivery::Skipped { .. }
                    | Delivery::SkippedMore { .. }
                    | Delivery::Lost { .. } => {}
                    Delivery::Ended => panic!("it had no end"),
                }
                let last = reading.events.last();
                if last.is_some_and(|event| event.data == data(LAST)) {
                    break true;
                }
                if below(&entropy, 60) == 0 {
                    break false;
                }
            };
            next = reading.events.last().map_or(next, |event| event.offset + 1);
            self.history.lock().unwrap().readings.push(reading);
            if ended {
                return;
            }
        }
    }

    /// Sends the last event of each topic, and waits until it is acked.
    async fn finish(&self) {
        let options = PublisherOptions { retry_for: Duration::from_mins(5), ..PublisherOptions::default() };
        let mut publisher = Publisher::open(&self.client, options).await.unwrap();
        for topic in 0..TOPICS.len() {
            self.send(&mut publisher, topic, LAST).await;
        }
        publisher.flush().await.unwrap();
        for topic in 0..TOPICS.len() {
            self.history.lock().unwrap().sent.insert((topic, LAST), Fate::Acked);
        }
    }

    /// Reads a topic once more, when all is over.
    async fn read_all(&self, topic: usize) {
        let options = SubscriberOptions {
            topics: vec![TOPICS[topic].to_owned()],
            from: Position::Start,
            until: Some(Position::End),
            retry_for: None,
            skip_unreadable: false,
            wanted: Wanted::default(),
        };
        let mut subscriber = Subscriber::open(&self.client, options).await.unwrap();
        let mut reading = Reading { topic, from: 1, events: Vec::new(), is_complete: true };
        loop {
            match subscriber.next().await.unwrap() {
                Delivery::Events(events) => reading.events.extend(events.iter().map(delivered)),
                Delivery::Interrupted { reason } => panic!("{reason}"),
                Delivery::Skipped { .. } | Delivery::SkippedMore { .. } | Delivery::Lost { .. } => {
                    panic!("events were left out")
                }
                Delivery::Ended => break,
            }
        }
        self.history.lock().unwrap().readings.push(reading);
    }
}

fn delivered(event: &Event) -> Delivered {
    Delivered { offset: event.offset.get(), data: event.data.to_vec() }
}

/// One of so many, by a sequence of its own.
pub(super) fn below(entropy: &Entropy, end: u64) -> u64 {
    entropy.number() % end
}

/// A client with the key that the server made when it was new.
pub(super) fn client(server: &DevServer<'_>) -> Client {
    let text = |name: &str| server.ready[name].as_str().unwrap().to_owned();
    let address: Address = format!("http://{}", server.endpoint()).parse().unwrap();
    let credentials = Credentials { client_id: text("client_id"), client_secret: Secret::new(text("client_secret")) };
    Client::new(Endpoint::new(address, None, None), Some(credentials), Clock::real()).unwrap()
}

/// The choices follow from a seed; how the tasks fall together does not.
#[test]
fn nothing_is_lost_invented_or_out_of_order() {
    let seed = std::env::var("ENSIGN_TEST_SEED").map_or(1, |seed| seed.parse().unwrap());
    let machine = Machine::new();
    let mut server = machine.dev_server();
    for topic in TOPICS {
        machine.ensign(&format!("topic create {topic}")).check();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    // The client makes its connection on the runtime.
    let client = runtime.block_on(async { client(&server) });
    let run = Run { client, history: Arc::default(), sent: Arc::default(), publishers: Arc::default() };
    let entropy = |number: u64| Entropy::seeded(seed * 1_000 + number);
    let publishers: Vec<_> = (0..PUBLISHERS).map(|at| runtime.spawn(run.clone().publish(entropy(at)))).collect();
    let readers: Vec<_> = (0..READERS_PER_TOPIC * TOPICS.len())
        .map(|at| runtime.spawn(run.clone().read(at % TOPICS.len(), entropy(100 + at as u64))))
        .collect();

    let (chance, mut killed) = (entropy(999), 0);
    for restart in 1..=RESTARTS {
        let reached = PUBLISHERS * EVENTS * restart / (RESTARTS + 1);
        wait_for("events", || (run.sent.load(Ordering::SeqCst) >= reached).then_some(()));
        let signal = if below(&chance, 3) == 0 { Signal::TERM } else { Signal::KILL };
        killed += u64::from(signal == Signal::KILL);
        server = server.restart(signal);
    }
    runtime.block_on(async {
        for publisher in publishers {
            publisher.await.unwrap();
        }
        run.finish().await;
        for reader in readers {
            reader.await.unwrap();
        }
    });
    let _server = server.restart(Signal::KILL);
    runtime.block_on(async {
        for topic in 0..TOPICS.len() {
            run.read_all(topic).await;
        }
    });

    let history = run.history.lock().unwrap().clone();
    let in_doubt = history.sent.values().filter(|fate| **fate == Fate::InDoubt).count();
    let seen = format!(
        "seed {seed}: {} events, {in_doubt} in doubt, {killed} kills, {} publishers, {} readings",
        history.sent.len(),
        run.publishers.load(Ordering::SeqCst),
        history.readings.len()
    );
    assert_eq!(history.violations(), [], "{seen}");
    assert_eq!(history.sent.len() as u64, PUBLISHERS * EVENTS + TOPICS.len() as u64, "{seen}");
    assert!(killed > 0 && history.sent.len() - in_doubt > usize::try_from(EVENTS).unwrap(), "{seen}");
    eprintln!("{seen}");
}
