//! Groups over a simulated disk and a clock that is moved by hand.

mod administration;
mod dead_letters;
mod delivery;
mod durability;
mod joining;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt;

use super::*;
use crate::{
    broker::{Broker, BrokerError, NewTopic, Next, PublishSession},
    engine::RootKey,
    model::{
        Code, DeliverySemantic, Durability, KeyId, OrganizationId, Permission, Permissions, Position, Principal, Rlid,
        Secret, Subject, Time, Topic, Ulid,
    },
    store::local::{LocalOptions, LocalStore},
    sys::{Entropy, Loss, ManualClock, SimulatedDisk},
};

const OWN: ProjectId = ProjectId(Ulid::from_bytes([1; 16]));

/// An event's text has its key before a colon.
const FORM: EventForm = EventForm {
    key: |record| record.split(|byte| *byte == b':').next().filter(|key| key.len() < record.len()),
    annotate: |record, values| {
        let mut text = String::from_utf8(record.to_vec()).ok()?;
        for (name, value) in values {
            text.extend([" ", name, "=", value]);
        }
        Some(text.into_bytes())
    },
};

struct Bench {
    disk: SimulatedDisk,
    clock: ManualClock,
    engine: Engine,
    broker: Broker,
    local: LocalStore,
}

impl Bench {
    /// A broker with the topic `t`.
    async fn new() -> Bench {
        let clock = ManualClock::default();
        clock.set(Time::from_millis(1_700_000_000_000));
        let bench = Bench::open(SimulatedDisk::new(), clock, Durability::Fsync).await;
        bench.create("t").await;
        bench
    }

    async fn open(disk: SimulatedDisk, clock: ManualClock, durability: Durability) -> Bench {
        let time = Clock::manual(clock.clone());
        let options = LocalOptions { durability, ..LocalOptions::default() };
        let (store, local, _) = LocalStore::open(&disk.disk(), &time, &Entropy::seeded(1), options).unwrap();
        let root = RootKey::new(&Secret::new([7; 32])).unwrap();
        let engine = Engine::open(store.clone(), root, time.clone(), Entropy::real()).await.unwrap();
        let broker = Broker::open(store.records, engine.clone(), time, Entropy::real(), FORM).await.unwrap();
        Bench { disk, clock, engine, broker, local }
    }

    /// Loses the power, and starts over what is left.
    async fn crash(self) -> Bench {
        Bench::open(self.disk.crash(Loss::Everything), self.clock, Durability::Fsync).await
    }

    /// Stops in order, and starts again.
    async fn restart(self) -> Bench {
        self.restart_with(Durability::Fsync).await
    }

    async fn restart_with(self, durability: Durability) -> Bench {
        let Bench { disk, clock, engine, broker, local } = self;
        broker.close().await;
        engine.close().await;
        local.close().await.unwrap();
        Bench::open(disk, clock, durability).await
    }

    async fn create(&self, name: &str) -> Arc<Topic> {
        self.broker.create_topic(&caller(), NewTopic { name: name.to_owned(), ..NewTopic::default() }).await.unwrap()
    }

    async fn publish(&self, topic: &str, texts: &[&str]) {
        let mut session: PublishSession = self.broker.publisher(&caller()).unwrap();
        session.start(&[], Bytes::new(), 0).unwrap();
        let id = self.broker.directory().named(OWN, topic).unwrap().id();
        let slot = session.slot(id.as_bytes()).await.unwrap();
        for text in texts {
            session.gather(slot, 50, &[], |records| {
                records.push(u8::try_from(text.len()).unwrap());
                records.extend(text.as_bytes());
                text.len()
            });
        }
        for (_, reply) in session.hand_over().await {
            reply.await.unwrap().unwrap();
        }
    }

    async fn try_join(&self, wanted: JoinRequest) -> Result<Stream, BrokerError> {
        self.broker.join(&caller(), OWN, &wanted).await.map(Stream)
    }

    async fn join(&self, wanted: JoinRequest) -> Stream {
        self.try_join(wanted).await.unwrap()
    }

    async fn show(&self) -> GroupInfo {
        self.broker.show_group(&caller(), "g").await.unwrap()
    }

    /// Position, leased and waiting to come again, in the first topic.
    async fn standing(&self) -> (u64, u64, u64) {
        let topic = &self.show().await.topics[0];
        (topic.position.get(), topic.leased, topic.waiting_again)
    }

    /// Nothing comes without something else happening first.
    async fn assert_idle(&self, stream: &mut Stream) {
        for _ in 0..3 {
            let next = stream.0.next().now_or_never();
            assert!(next.is_none(), "{next:?}");
            // The actor has looked for events once it answers this.
            self.show().await;
        }
    }
}

/// A member, and what it is given.
struct Stream(Member);

impl Stream {
    /// The texts of the next events.
    async fn next(&mut self) -> Vec<String> {
        self.events().await.into_iter().map(|(_, text)| text).collect()
    }

    async fn events(&mut self) -> Vec<(Rlid, String)> {
        match self.0.next().await.unwrap() {
            Next::Events(delivery) => {
                let text = |record: &[u8]| String::from_utf8(record.to_vec()).unwrap();
                delivery.events.events().map(|event| (event.rlid, text(event.record))).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    /// As many events as there are, whatever batches they come in.
    async fn take(&mut self, count: usize) -> Vec<(Rlid, String)> {
        let mut found = Vec::new();
        while found.len() < count {
            found.extend(self.events().await);
        }
        found
    }

    async fn say(&self, events: &[(Rlid, String)], verdict: Verdict) -> Receipt {
        self.0.acks().settle(events.iter().map(|(rlid, _)| (*rlid, verdict)).collect()).await
    }

    async fn ack(&self, events: &[(Rlid, String)]) -> Receipt {
        self.say(events, Verdict::Ack).await
    }
}

fn caller() -> Principal {
    able(Permissions::full_key())
}

fn able(permissions: Permissions) -> Principal {
    Principal {
        subject: Subject::Key(KeyId(Ulid::from_bytes([9; 16]))),
        organization: OrganizationId::default(),
        project: Some(OWN),
        permissions,
    }
}

fn group(name: &str, delivery: DeliverySemantic) -> JoinRequest {
    JoinRequest {
        group: GroupKey::of(b"", name).unwrap(),
        name: name.to_owned(),
        settings: GroupSettings { delivery: Some(delivery), ..GroupSettings::default() },
        topic_offsets: HashMap::new(),
        subscribe: SubscribeRequest { topics: vec!["t".to_owned()], ..SubscribeRequest::default() },
        client_id: "tester".to_owned(),
        address: "127.0.0.1:1".to_owned(),
    }
}

fn at_most_once() -> JoinRequest {
    group("g", DeliverySemantic::AtMostOnce)
}

fn at_least_once() -> JoinRequest {
    group("g", DeliverySemantic::AtLeastOnce)
}

fn exactly_once() -> JoinRequest {
    group("g", DeliverySemantic::ExactlyOnce)
}

fn texts(events: &[(Rlid, String)]) -> Vec<&str> {
    events.iter().map(|(_, text)| text.as_str()).collect()
}

#[track_caller]
fn refused<T>(result: Result<T, BrokerError>, code: Code, text: &str) {
    let error = result.err().expect("the request is refused");
    assert_eq!((error.code(), error.to_string().as_str()), (code, text));
}
