//! Members of consumer groups, as the client makes them, and the groups as they are looked after.

use std::{collections::BTreeMap, ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use ensign::{
    client::{
        Client, Code, Credentials, Draft, Endpoint, Envelope, Event, GroupDelivery, GroupOptions, GroupSubscriber,
        Lease, Publisher, PublisherOptions, Settled,
    },
    model::{DeliverySemantic, Mimetype, NackCode, Offset, Position, Rlid, Secret},
    sys::Clock,
};
use tokio::runtime::Runtime;

use crate::harness::TestServer;

const TOPIC: &str = "orders";
const GROUP: &str = "order workers/é";

/// A client of a server. Made on a runtime.
fn client(server: &TestServer) -> Client {
    let environment: BTreeMap<&str, String> = server.environment().into_iter().collect();
    let credentials = Credentials {
        client_id: environment["ENSIGN_CLIENT_ID"].clone(),
        client_secret: Secret::new(environment["ENSIGN_CLIENT_SECRET"].clone()),
    };
    let address = format!("http://{}", environment["ENSIGN_ENDPOINT"]).parse().unwrap();
    Client::new(Endpoint::new(address, None, None), Some(credentials), Clock::real()).unwrap()
}

/// Publishes events whose data are numbers.
async fn publish(client: &Client, numbers: Range<u64>) {
    if client.find_topic(TOPIC).await.unwrap().is_none() {
        client.create_topic(TOPIC).await.unwrap();
    }
    let envelope = Arc::new(Envelope::new(Mimetype::TEXT_PLAIN, None, BTreeMap::default(), Bytes::new()));
    let draft =
        |number: u64| Draft { data: number.to_string().into(), envelope: envelope.clone(), created: None, tag: number };
    let drafts: Vec<Draft> = numbers.clone().map(draft).collect();
    let mut publisher = Publisher::open(client, PublisherOptions::default()).await.unwrap();
    publisher.send(publisher.topics()[TOPIC], &drafts).await.unwrap();
    assert_eq!(publisher.close().await.progress.acked, numbers.end - numbers.start);
}

fn options(delivery: DeliverySemantic) -> GroupOptions {
    GroupOptions {
        group: GROUP.to_owned(),
        client_id: "worker".to_owned(),
        topics: vec![TOPIC.to_owned()],
        from: Some(Position::Start),
        delivery: Some(delivery),
        // Longer than any machine is slow.
        timeout: Some(Duration::from_hours(1)),
        receipts: true,
        ..GroupOptions::default()
    }
}

/// Waits for so many events. All have to come on one stream.
async fn events(member: &mut GroupSubscriber, count: usize) -> (Lease, Vec<Event>) {
    let mut gathered = Vec::new();
    loop {
        match member.next().await.unwrap() {
            GroupDelivery::Events { lease, events } => {
                gathered.extend(events);
                assert!(gathered.len() <= count, "{gathered:?}");
                if gathered.len() == count {
                    return (lease, gathered);
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

async fn receipt(member: &mut GroupSubscriber) -> (Vec<Rlid>, Vec<Rlid>) {
    match member.next().await.unwrap() {
        GroupDelivery::Receipt { acked, refused } => (acked, refused),
        other => panic!("{other:?}"),
    }
}

/// Closes a member, and gives the acks that were confirmed until the end.
async fn close(mut member: GroupSubscriber) -> Vec<Rlid> {
    member.close();
    let mut confirmed = Vec::new();
    loop {
        match member.next().await.unwrap() {
            GroupDelivery::Receipt { acked, refused } => {
                assert_eq!(refused, []);
                confirmed.extend(acked);
            }
            GroupDelivery::Events { .. } => {}
            GroupDelivery::Ended => return confirmed,
            GroupDelivery::Interrupted { reason } => panic!("{reason}"),
        }
    }
}

fn ids(events: &[Event]) -> Vec<Rlid> {
    events.iter().map(|event| event.id).collect()
}

/// What was given out on a stream that broke is acked on no other, and comes again; what was confirmed does not.
#[test]
fn a_member_comes_back_without_the_leases_that_it_had() {
    let mut server = TestServer::start();
    let runtime = Runtime::new().unwrap();
    let (mut member, lease, first) = runtime.block_on(async {
        let client = client(&server);
        publish(&client, 0..3).await;
        let mut member = GroupSubscriber::open(&client, options(DeliverySemantic::ExactlyOnce)).await.unwrap();
        let (lease, first) = events(&mut member, 3).await;
        assert_eq!(member.topic_name(&first[0].topic), Some(TOPIC));
        assert_eq!(member.ack(lease, [first[1].id]), Settled::Sent);
        assert_eq!(receipt(&mut member).await, (vec![first[1].id], Vec::new()));
        (member, lease, first)
    });
    server.restart();
    runtime.block_on(async {
        assert!(matches!(member.next().await.unwrap(), GroupDelivery::Interrupted { .. }));
        assert_eq!(member.ack(lease, [first[0].id]), Settled::Lost);
        let (again, second) = events(&mut member, 2).await;
        assert_eq!(ids(&second), [first[0].id, first[2].id]);
        assert_eq!(member.nack(lease, [first[0].id], NackCode::Unprocessed), Settled::Lost);
        assert_ne!(again, lease);
        assert_eq!(member.ack(again, ids(&second)), Settled::Sent);
        assert_eq!(close(member).await, ids(&second));
    });
}

#[test]
fn two_members_split_the_work_and_settle_all_of_it() {
    const EVENTS: u64 = 1_000;
    let server = TestServer::start();
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let client = client(&server);
        publish(&client, 0..EVENTS).await;
        let mut first = GroupSubscriber::open(&client, options(DeliverySemantic::ExactlyOnce)).await.unwrap();
        let mut second = GroupSubscriber::open(&client, options(DeliverySemantic::ExactlyOnce)).await.unwrap();
        let (mut seen, mut confirmed, mut given) = (BTreeMap::new(), 0, [0, 0]);
        while confirmed < EVENTS {
            let (at, member, delivery) = tokio::select! {
                delivery = first.next() => (0, &first, delivery),
                delivery = second.next() => (1, &second, delivery),
            };
            match delivery.unwrap() {
                GroupDelivery::Events { lease, events } => {
                    given[at] += events.len();
                    // Each third is refused once, and comes again.
                    let (refused, taken): (Vec<&Event>, Vec<&Event>) =
                        events.iter().partition(|event| event.offset.get() % 3 == 0 && !seen.contains_key(&event.id));
                    for event in &events {
                        *seen.entry(event.id).or_insert(0) += 1;
                    }
                    let nacked = refused.iter().map(|event| event.id);
                    assert_eq!(member.nack(lease, nacked, NackCode::DeliverAgainAny), Settled::Sent);
                    assert_eq!(member.ack(lease, taken.iter().map(|event| event.id)), Settled::Sent);
                }
                GroupDelivery::Receipt { acked, refused } => {
                    confirmed += acked.len() as u64;
                    assert_eq!(refused, []);
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(seen.len() as u64, EVENTS);
        assert_eq!(seen.values().filter(|times| **times == 2).count() as u64, EVENTS / 3);
        assert!(given.iter().all(|count| *count > 0), "{given:?}");
    });
}

#[test]
fn groups_are_looked_after_over_rest() {
    let server = TestServer::start();
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let client = client(&server);
        publish(&client, 0..5).await;
        assert_eq!(client.groups().await.unwrap(), []);
        assert_eq!(client.group(GROUP).await.unwrap_err().status(), Some(404));

        let asked =
            GroupOptions { window: Some(64), max_deliveries: Some(0), ..options(DeliverySemantic::AtLeastOnce) };
        let mut member = GroupSubscriber::open(&client, asked).await.unwrap();
        let (lease, given) = events(&mut member, 5).await;
        member.ack(lease, [given[0].id, given[1].id, given[3].id]);
        receipt(&mut member).await;
        let shown = client.group(GROUP).await.unwrap();
        assert_eq!((shown.name.as_str(), shown.lag_events()), (GROUP, 2));
        assert!(shown.lag() > Duration::ZERO);
        let settings = &shown.settings;
        assert_eq!((settings.delivery.as_str(), settings.window), ("at-least-once", 64));
        assert!((settings.delivery_timeout_seconds - 3_600.0).abs() < f64::EPSILON);
        let [topic] = &shown.topics[..] else { panic!("{shown:?}") };
        assert_eq!((topic.name.as_str(), topic.position, topic.leased), (TOPIC, 3, 2));
        assert_eq!((topic.lag_events, topic.redelivered, topic.dead_lettered), (2, 0, 0));
        let [only] = &shown.members[..] else { panic!("{shown:?}") };
        assert_eq!((only.client_id.as_str(), only.leased, only.delivered), ("worker", 2, 5));
        // What a list says of lags may be as old as what is kept.
        let listed = loop {
            match &client.groups().await.unwrap()[..] {
                [listed] if listed.lag_events == 2 => break listed.clone(),
                [_] => {}
                other => panic!("{other:?}"),
            }
        };
        assert_eq!((&listed.id, listed.members, listed.topics), (&shown.id, 1, 1));
        assert_eq!(client.group(&shown.id).await.unwrap().name, GROUP);

        // The member that is there gets everything again.
        let moved = client.seek_group(GROUP, Some(TOPIC), Position::Offset(Offset::new(2))).await.unwrap();
        assert_eq!((moved.topics[0].position, moved.lag_events()), (2, 4));
        let (_, again) = events(&mut member, 4).await;
        assert_eq!(ids(&again), ids(&given[1..]));
        let unknown = client.seek_group(GROUP, Some("nothing"), Position::Start).await.unwrap_err();
        assert_eq!(unknown.status(), Some(404), "{unknown}");

        assert_eq!(client.remove_group(GROUP, false).await.unwrap_err().status(), Some(409));
        client.remove_group(GROUP, true).await.unwrap();
        let end = member.next().await.unwrap_err();
        assert_eq!((end.code(), end.to_string().as_str()), (Some(Code::Aborted), "the consumer group was removed"));
        assert_eq!(client.groups().await.unwrap(), []);
    });
}
