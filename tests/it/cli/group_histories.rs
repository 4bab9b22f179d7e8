//! Members of a consumer group that stall, refuse, crash and come back, while the server is killed and restarted: the group's
//! history has to hold.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use ensign::{
    client::{
        Client, Delivery, Draft, Envelope, Event, GroupDelivery, GroupOptions, GroupSubscriber, Lease, Publisher,
        PublisherOptions, Subscriber, SubscriberOptions, Wanted,
    },
    model::{DeliverySemantic, Mimetype, NackCode, Position, Rlid, TopicId},
    sys::Entropy,
};
use rustix::process::Signal;

use super::{
    history::{below, client},
    machine::{DevServer, Machine, wait_for},
};
use crate::{
    group_history::{GroupHistory, Happening, Note, Place, key},
    history::{EventKey, data},
};

const GROUP: &str = "workers";
const TOPICS: [&str; 2] = ["orders", "payments"];
const MEMBERS: u64 = 4;
const EVENTS: u64 = 600;
const RESTARTS: u64 = 4;

/// How long an event is leased where leases are to run out, and where they are not.
const SHORT: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_hours(1);

/// Between looks at what is not told by itself.
const PAUSE: Duration = Duration::from_millis(20);

/// How a run goes.
#[derive(Debug, Clone, Copy)]
struct Manner {
    delivery: DeliverySemantic,
    is_ordered: bool,
    has_timeouts: bool,
}

/// What the tasks of a run share.
#[derive(Clone)]
struct Run {
    client: Client,
    manner: Manner,
    notes: Arc<Mutex<Vec<Note>>>,
    places: Arc<Mutex<HashMap<Rlid, Place>>>,
    streams: Arc<AtomicU64>,
    delivered: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
}

/// A member's stream, and what it holds of it.
struct Seat {
    subscriber: GroupSubscriber,
    stream: u64,
    held: Vec<(Lease, Rlid, Place)>,
}

impl Run {
    fn note(&self, stream: u64, what: Happening) {
        self.notes.lock().unwrap().push(Note { stream, what });
    }

    /// A number for a stream that is about to be opened.
    fn open_stream(&self) -> u64 {
        let stream = self.streams.fetch_add(1, Ordering::SeqCst) + 1;
        self.note(stream, Happening::Opened);
        stream
    }

    async fn join(&self) -> Option<Seat> {
        let stream = self.open_stream();
        let options = GroupOptions {
            group: GROUP.to_owned(),
            topics: TOPICS.map(str::to_owned).into(),
            from: Some(Position::Start),
            delivery: Some(self.manner.delivery),
            timeout: Some(if self.manner.has_timeouts { SHORT } else { LONG }),
            ordered_by_key: Some(self.manner.is_ordered),
            receipts: self.manner.delivery == DeliverySemantic::ExactlyOnce,
            ..GroupOptions::default()
        };
        match GroupSubscriber::open(&self.client, options).await {
            Ok(subscriber) => Some(Seat { subscriber, stream, held: Vec::new() }),
            Err(error) => {
                assert!(error.is_retryable(), "{error}");
                self.note(stream, Happening::Gone);
                None
            }
        }
    }

    /// A member, and those that take its place when it is gone.
    async fn work(self, entropy: Entropy) {
        while !self.is_over.load(Ordering::SeqCst) {
            match self.join().await {
                Some(seat) => self.serve(seat, &entropy).await,
                // The server may be dead right now.
                None => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Takes what comes until chance, or the end of the run, ends the member.
    async fn serve(&self, mut seat: Seat, entropy: &Entropy) {
        loop {
            match tokio::time::timeout(PAUSE, seat.subscriber.next()).await {
                Ok(next) => self.hear(&mut seat, next.unwrap(), entropy),
                // Nothing may come before something is settled.
                Err(_) => self.settle(&mut seat, entropy),
            }
            if seat.held.len() > 20 {
                self.settle(&mut seat, entropy);
            }
            if self.is_over.load(Ordering::SeqCst) || below(entropy, 150) == 0 {
                return self.go(seat).await;
            }
            if below(entropy, 150) == 0 {
                // A crash: the stream is gone in the middle.
                return self.note(seat.stream, Happening::Gone);
            }
        }
    }

    fn hear(&self, seat: &mut Seat, heard: GroupDelivery, entropy: &Entropy) {
        match heard {
            GroupDelivery::Events { lease, events } => {
                for event in events {
                    let place = self.take(seat, &event);
                    // Now and then one is forgotten, and its lease runs out.
                    if !self.manner.has_timeouts || below(entropy, 60) > 0 {
                        seat.held.push((lease, event.id, place));
                    }
                }
            }
            GroupDelivery::Receipt { acked, refused } => {
                let places = self.places.lock().unwrap();
                for id in &acked {
                    self.note(seat.stream, Happening::Confirmed(places[id]));
                }
                for id in &refused {
                    self.note(seat.stream, Happening::Refused(places[id]));
                }
            }
            GroupDelivery::Interrupted { .. } => {
                self.note(seat.stream, Happening::Gone);
                seat.held.clear();
                seat.stream = self.open_stream();
            }
            GroupDelivery::Ended => panic!("nobody ended it"),
        }
    }

    /// Notes that an event has come.
    fn take(&self, seat: &Seat, event: &Event) -> Place {
        let name = seat.subscriber.topic_name(&event.topic).expect("it was asked for");
        let topic = TOPICS.iter().position(|topic| *topic == name).expect("it was asked for");
        let place = Place { topic, offset: event.offset.get() };
        self.places.lock().unwrap().insert(event.id, place);
        self.note(seat.stream, Happening::Delivered(place, event.data.to_vec()));
        self.delivered.fetch_add(1, Ordering::SeqCst);
        place
    }

    /// Acks most of what the member holds, in any order, and refuses some.
    fn settle(&self, seat: &mut Seat, entropy: &Entropy) {
        while !seat.held.is_empty() {
            let at = usize::try_from(below(entropy, seat.held.len() as u64)).unwrap();
            let (lease, id, place) = seat.held.swap_remove(at);
            if below(entropy, 12) == 0 {
                let codes = [NackCode::DeliverAgainAny, NackCode::DeliverAgainNotMe, NackCode::Unprocessed];
                let code = codes[usize::try_from(below(entropy, 3)).unwrap()];
                self.note(seat.stream, Happening::Nacked(place));
                seat.subscriber.nack(lease, [id], code);
            } else {
                self.note(seat.stream, Happening::Acked(place));
                seat.subscriber.ack(lease, [id]);
            }
        }
    }

    /// Leaves in order.
    async fn go(&self, mut seat: Seat) {
        self.note(seat.stream, Happening::Gone);
        seat.subscriber.close();
        while let Ok(heard) = seat.subscriber.next().await {
            match heard {
                GroupDelivery::Events { events, .. } => {
                    for event in &events {
                        self.take(&seat, event);
                    }
                }
                GroupDelivery::Ended | GroupDelivery::Interrupted { .. } => return,
                GroupDelivery::Receipt { .. } => {}
            }
        }
    }

    /// Sends events to topics by chance, from more than one publisher.
    async fn publish(self, entropy: Entropy, name: u64) {
        let options = PublisherOptions { retry_for: Duration::from_mins(5), ..PublisherOptions::default() };
        let mut publisher = loop {
            match Publisher::open(&self.client, options.clone()).await {
                Ok(publisher) => break publisher,
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        };
        for number in 1..=EVENTS {
            let event = EventKey { publisher: name, number };
            let key = key(event).map_or(Bytes::new(), Bytes::from);
            let envelope = Arc::new(Envelope::new(Mimetype::TEXT_PLAIN, None, BTreeMap::default(), key));
            let draft = Draft { data: data(event).into(), envelope, created: None, tag: number };
            let topic: TopicId = publisher.topics()[TOPICS[usize::try_from(below(&entropy, 2)).unwrap()]];
            publisher.send(topic, &[draft]).await.unwrap();
            if below(&entropy, 5) == 0 {
                tokio::time::sleep(PAUSE / 10).await;
            }
        }
        assert_eq!(publisher.close().await.progress.refused, 0);
    }

    /// Reads a topic, when all is over.
    async fn read_all(&self, topic: &str) -> Vec<Vec<u8>> {
        let options = SubscriberOptions {
            topics: vec![topic.to_owned()],
            from: Position::Start,
            until: Some(Position::End),
            retry_for: None,
            skip_unreadable: false,
            wanted: Wanted::default(),
        };
        let mut subscriber = Subscriber::open(&self.client, options).await.unwrap();
        let mut read = Vec::new();
        loop {
            match subscriber.next().await.unwrap() {
                Delivery::Events(events) => read.extend(events.iter().map(|event| event.data.to_vec())),
                Delivery::Ended => return read,
                other => panic!("{other:?}"),
            }
        }
    }

    /// How many events the group has not settled; `None` while nobody can say.
    async fn lag(&self) -> Option<u64> {
        self.client.group(GROUP).await.ok().map(|group| group.lag_events())
    }
}

fn run(manner: Manner, seed: u64) {
    let machine = Machine::new();
    let mut server: DevServer<'_> = machine.dev_server();
    for topic in TOPICS {
        machine.ensign(&format!("topic create {topic}")).check();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let run = Run {
        client: runtime.block_on(async { client(&server) }),
        manner,
        notes: Arc::default(),
        places: Arc::default(),
        streams: Arc::default(),
        delivered: Arc::default(),
        is_over: Arc::default(),
    };
    let entropy = |number: u64| Entropy::seeded(seed * 1_000 + number);
    let members: Vec<_> = (0..MEMBERS).map(|at| runtime.spawn(run.clone().work(entropy(at)))).collect();
    let publishers: Vec<_> =
        (1..=2).map(|name| runtime.spawn(run.clone().publish(entropy(100 + name), name))).collect();

    let chance = entropy(999);
    for restart in 1..=RESTARTS {
        // With at-most-once a part of the events is lost with each server that is killed.
        let reached = EVENTS * restart / (RESTARTS + 2);
        wait_for("deliveries", || (run.delivered.load(Ordering::SeqCst) >= reached).then_some(()));
        let signal = if below(&chance, 3) == 0 { Signal::TERM } else { Signal::KILL };
        run.note(0, Happening::Killed);
        server = server.restart(signal);
    }
    runtime.block_on(async {
        for publisher in publishers {
            publisher.await.unwrap();
        }
    });
    let lag = || runtime.block_on(run.lag());
    wait_for("everything to be settled", || (lag() == Some(0)).then_some(()));
    run.is_over.store(true, Ordering::SeqCst);
    runtime.block_on(async {
        for member in members {
            member.await.unwrap();
        }
    });
    // What is settled stays settled.
    let signal = if manner.delivery == DeliverySemantic::AtLeastOnce { Signal::TERM } else { Signal::KILL };
    let _server = server.restart(signal);
    assert_eq!(lag(), Some(0), "seed {seed}, {manner:?}");

    let topics = runtime.block_on(async { [run.read_all(TOPICS[0]).await, run.read_all(TOPICS[1]).await] });
    let Manner { delivery, is_ordered, has_timeouts } = manner;
    let notes = run.notes.lock().unwrap().clone();
    let history = GroupHistory { delivery, is_ordered, has_timeouts, topics: topics.into(), notes };
    let count = |which: fn(&Happening) -> bool| history.notes.iter().filter(|note| which(&note.what)).count();
    let seen = format!(
        "seed {seed}, {manner:?}: {} events, {} deliveries, {} nacks, {} streams, {} refused acks",
        history.topics.iter().map(Vec::len).sum::<usize>(),
        count(|what| matches!(what, Happening::Delivered(..))),
        count(|what| matches!(what, Happening::Nacked(_))),
        count(|what| matches!(what, Happening::Opened)),
        count(|what| matches!(what, Happening::Refused(_))),
    );
    eprintln!("{seen}");
    let violations = history.violations();
    for violation in violations.iter().take(5) {
        eprintln!("{violation:?}");
        eprintln!("{}", history.story(*violation));
    }
    assert_eq!(violations, [], "{seen}");
}

/// The choices follow from a seed; how the tasks fall together does not. `ENSIGN_GROUP_RUNS` asks for more seeds.
fn runs(delivery: DeliverySemantic) {
    let number = |name: &str| std::env::var(name).map_or(1, |number| number.parse().unwrap());
    let first: u64 = number("ENSIGN_TEST_SEED");
    for seed in first..first + number("ENSIGN_GROUP_RUNS") {
        run(Manner { delivery, is_ordered: false, has_timeouts: true }, seed);
        run(Manner { delivery, is_ordered: true, has_timeouts: false }, seed);
    }
}

#[test]
fn at_most_once_nothing_comes_twice() {
    runs(DeliverySemantic::AtMostOnce);
}

#[test]
fn at_least_once_nothing_is_lost_and_nothing_comes_again_for_no_reason() {
    runs(DeliverySemantic::AtLeastOnce);
}

#[test]
fn exactly_once_nothing_comes_again_after_its_ack_was_confirmed() {
    runs(DeliverySemantic::ExactlyOnce);
}
