//! Subscriptions over a store in memory: what a query gives, in which order topics come, and what a turn costs.

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use proptest::prelude::*;

use super::{
    tests::{Bench, OWN},
    *,
};
use crate::{
    engine::{Batch, TypeCount},
    model::{Offset, Rlid, Time, Topic},
};

/// What is looked at of an event: topic, offset, commit time.
type Seen = (String, u64, Time);

async fn publish(bench: &Bench, topic: &Topic, count: u32) -> Rlid {
    let stream = bench.broker.engine.topic(topic.id, OWN).await.unwrap();
    let types = vec![TypeCount { schema: Bytes::new(), mimetype: 50, events: count.into(), data_bytes: 1 }];
    let records = b"\x01x".repeat(usize::try_from(count).unwrap());
    let batch = Batch { records, count, publisher: Bytes::from_static(b"me"), types };
    let permit = bench.broker.engine.admit(1).await;
    stream.append(batch, permit).await.await.unwrap().unwrap().first_rlid
}

/// A query that looks at nothing in the events.
pub(super) fn blind(query: &str) -> SubscriptionQuery {
    SubscriptionQuery { text: query.to_owned(), parameters: Vec::new(), show: |_, _| false }
}

async fn subscribe(bench: &Bench, query: &str) -> Result<Subscription, BrokerError> {
    let request = SubscribeRequest { query: Some(blind(query)), skip_unreadable: true, ..Default::default() };
    bench.broker.subscribe(OWN, &request, &Lags::default()).await
}

fn seen(delivery: &Delivery) -> impl Iterator<Item = Seen> {
    let name = delivery.topic.name().to_string();
    delivery.events.events().map(move |event| (name.clone(), event.offset.get(), event.committed()))
}

/// Everything up to the end of a subscription that has one.
async fn drain(subscription: &mut Subscription) -> Vec<Seen> {
    let mut found = Vec::new();
    loop {
        match subscription.next().await.unwrap() {
            Next::Events(delivery) => found.extend(seen(&delivery)),
            Next::Finished => return found,
            other => panic!("{other:?}"),
        }
    }
}

/// What can be given without waiting.
fn at_once(subscription: &mut Subscription) -> Option<Vec<u64>> {
    let Next::Events(delivery) = subscription.next().now_or_never()?.unwrap() else { return None };
    Some(seen(&delivery).map(|(_, offset, _)| offset).collect())
}

/// Ten events in pairs, a second apart.
async fn pairs(bench: &Bench, name: &str) -> (std::sync::Arc<Topic>, Vec<Rlid>) {
    let topic = bench.create(name).await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        let first = publish(bench, &topic, 2).await;
        ids.extend([first, first.plus(1)]);
        bench.clock.advance(Duration::from_secs(1));
    }
    (topic, ids)
}

#[tokio::test]
async fn every_pair_of_positions_has_an_outcome() {
    let bench = Bench::new().await;
    let (_, other) = pairs(&bench, "before").await;
    let start = bench.clock_time();
    let (_, ids) = pairs(&bench, "t").await;
    let (_, later) = pairs(&bench, "behind").await;
    bench.create("empty").await;
    let at = |millis: i64| start.plus_nanos(millis * 1_000_000).to_string();
    let (first, last) = (ids[0], ids[9]);
    for (clauses, expected) in [
        ("OFFSET 0 BEFORE 'now'".to_owned(), 1..11),
        ("BEFORE 'now'".to_owned(), 1..11),
        ("OFFSET 4 BEFORE 8".to_owned(), 5..8),
        ("AFTER 4 BEFORE 11".to_owned(), 5..11),
        ("OFFSET 10 BEFORE 11".to_owned(), 0..0),
        ("OFFSET 8 BEFORE 3".to_owned(), 0..0),
        ("BEFORE 0".to_owned(), 0..0),
        ("BEFORE 1".to_owned(), 0..0),
        ("BEFORE 'start'".to_owned(), 0..0),
        ("AFTER 'now' BEFORE 'now'".to_owned(), 0..0),
        ("AFTER 'now' BEFORE 4".to_owned(), 0..0),
        // Within a block, at its edges, before the first one and behind the last.
        (format!("OFFSET '{}' BEFORE '{}'", ids[3], ids[7]), 4..8),
        (format!("AFTER '{}' BEFORE '{}'", ids[3], ids[6]), 5..7),
        (format!("OFFSET '{first}' BEFORE '{last}'"), 1..10),
        (format!("AFTER '{last}' BEFORE 'now'"), 0..0),
        (format!("OFFSET '{}' BEFORE '{}'", other[2], other[5]), 0..0),
        (format!("OFFSET '{}' BEFORE '{}'", other[2], ids[1]), 1..2),
        (format!("OFFSET '{}' BEFORE '{}'", ids[8], later[0]), 9..11),
        (format!("OFFSET '{}' BEFORE '{}'", later[0], later[9]), 0..0),
        (format!("OFFSET '{}' BEFORE '{}'", ids[5], ids[2]), 0..0),
        (format!("AFTER '{}' BEFORE '{}'", at(999), at(2_000)), 3..5),
        (format!("AFTER '{}' BEFORE '{}'", at(1_000), at(2_001)), 5..7),
        ("AFTER '2000-01-01' BEFORE '2000-01-02'".to_owned(), 0..0),
        (format!("AFTER '2000-01-01' BEFORE '{}'", at(1)), 1..3),
        (format!("AFTER '{}' BEFORE 'now'", at(4_000)), 0..0),
        (format!("AFTER '{}' BEFORE '2000-01-01'", at(0)), 0..0),
        // It is ten seconds later than the first event.
        ("AFTER '-8500ms' BEFORE '-7s'".to_owned(), 5..7),
        ("AFTER '-1w' BEFORE '-9s'".to_owned(), 1..3),
        ("AFTER '-1s' BEFORE 'now'".to_owned(), 0..0),
    ] {
        let mut subscription = subscribe(&bench, &format!("SELECT * FROM t {clauses}")).await.unwrap();
        let found: Vec<u64> = drain(&mut subscription).await.into_iter().map(|(_, offset, _)| offset).collect();
        assert_eq!(found, expected.collect::<Vec<_>>(), "{clauses}");
    }
    for clauses in ["BEFORE 'now'", "BEFORE 1", "OFFSET 0 BEFORE '2000-01-01'", "AFTER '-1h' BEFORE '-1m'"] {
        let mut subscription = subscribe(&bench, &format!("SELECT * FROM empty {clauses}")).await.unwrap();
        assert_eq!(drain(&mut subscription).await, [], "{clauses}");
    }
    for (clauses, offset, end) in [("t OFFSET 11", 12, 11), ("t BEFORE 12", 12, 11), ("empty BEFORE 2", 2, 1)] {
        let refused = subscribe(&bench, &format!("SELECT * FROM {clauses}")).await.map(drop);
        let (offset, end) = (Offset::new(offset), Offset::new(end));
        let expected = InvalidRequest::BeyondEnd { offset, end };
        assert!(matches!(refused, Err(BrokerError::Invalid(error)) if error == expected), "{clauses}");
    }
}

#[tokio::test]
async fn bounds_in_the_future_end_when_they_pass() {
    let bench = Bench::new().await;
    let (topic, _) = pairs(&bench, "t").await;
    let time = bench.clock_time().plus_nanos(3_000_000_000);
    let mut until = subscribe(&bench, &format!("SELECT * FROM t AFTER 'now' BEFORE '{time}'")).await.unwrap();
    let mut since = subscribe(&bench, &format!("SELECT * FROM t AFTER '{}'", time.plus_nanos(-1))).await.unwrap();
    let mut cut = subscribe(&bench, &format!("SELECT * FROM t AFTER 'now' BEFORE '{time}'")).await.unwrap();
    assert_eq!((at_once(&mut until), at_once(&mut since)), (None, None));
    publish(&bench, &topic, 2).await;
    assert_eq!((at_once(&mut until), at_once(&mut since)), (Some(vec![11, 12]), None));
    bench.clock.advance(Duration::from_secs(3));
    assert!(matches!(until.next().await.unwrap(), Next::Finished));
    publish(&bench, &topic, 2).await;
    assert_eq!(at_once(&mut since), Some(vec![13, 14]));
    // One that comes later than the bound has passed stops there all the same.
    let found: Vec<u64> = drain(&mut cut).await.into_iter().map(|(_, offset, _)| offset).collect();
    assert_eq!(found, [11, 12]);
}

#[tokio::test]
async fn what_cannot_be_read_does_not_keep_a_bound_from_being_reached() {
    let bench = Bench::new().await;
    let (topic, ids) = pairs(&bench, "t").await;
    bench.broker.engine.rotate_key(OWN, false).await.unwrap();
    let closed = publish(&bench, &topic, 4).await;
    bench.broker.engine.rotate_key(OWN, false).await.unwrap();
    bench.broker.engine.suspend_key(OWN, 2).await.unwrap();
    for (clauses, expected, skipped) in [
        ("OFFSET 8 BEFORE 13".to_owned(), vec![9, 10], 2),
        ("OFFSET 8 BEFORE 'now'".to_owned(), vec![9, 10], 4),
        ("OFFSET 12 BEFORE 'now'".to_owned(), vec![], 2),
        (format!("OFFSET '{}' BEFORE '{closed}'", ids[8]), vec![9, 10], 0),
        // Where it is within the block nobody can tell.
        (format!("OFFSET '{}' BEFORE '{}'", ids[8], closed.plus(2)), vec![9, 10], 4),
        ("OFFSET 8 BEFORE 11".to_owned(), vec![9, 10], 0),
    ] {
        let mut subscription = subscribe(&bench, &format!("SELECT * FROM t {clauses}")).await.unwrap();
        let found: Vec<u64> = drain(&mut subscription).await.into_iter().map(|(_, offset, _)| offset).collect();
        assert_eq!((found, subscription.skipped()), (expected, skipped), "{clauses}");
    }
}

#[tokio::test]
async fn a_query_ends_with_the_first_of_its_topics_that_is_destroyed() {
    let bench = Bench::new().await;
    let (first, second) = (bench.create("first").await, bench.create("second").await);
    let mut named = subscribe(&bench, "SELECT * FROM first, second").await.unwrap();
    let request = SubscribeRequest { topics: vec!["first".to_owned(), "second".to_owned()], ..Default::default() };
    let mut listed = bench.broker.subscribe(OWN, &request, &Lags::default()).await.unwrap();
    bench.destroy(&first).await.unwrap();
    bench.gone(&first).await;
    assert!(matches!(named.next().await.unwrap(), Next::Gone));
    publish(&bench, &second, 1).await;
    assert_eq!(at_once(&mut listed), Some(vec![1]));
    bench.destroy(&second).await.unwrap();
    assert!(matches!(listed.next().await.unwrap(), Next::Gone));
    let third = bench.create("third").await;
    for (query, expected) in [
        ("SELECT * FROM first, third", InvalidRequest::UnknownTopicInQuery),
        ("SELECT * FROM third, 'third '", InvalidRequest::UnknownTopicInQuery),
    ] {
        let refused = subscribe(&bench, query).await.map(drop);
        assert!(matches!(refused, Err(BrokerError::Invalid(error)) if error == expected), "{query}");
    }
    let refused = subscribe(&bench, &format!("SELECT * FROM third, {}", third.id)).await.map(drop);
    assert!(matches!(refused, Err(BrokerError::Invalid(InvalidRequest::TopicTwiceInQuery))));
}

/// A thousand topics without events cost nothing, each time that one of them has some.
#[tokio::test]
async fn a_turn_looks_at_the_topics_that_have_something() {
    let bench = Bench::new().await;
    let mut topics = Vec::new();
    for number in 0..1_000 {
        topics.push(bench.create(&format!("t{number}")).await);
    }
    let request = SubscribeRequest::default();
    let mut all = bench.broker.subscribe(OWN, &request, &Lags::default()).await.unwrap();
    assert_eq!((at_once(&mut all), all.looks), (None, 1_000));
    for number in 1..=50_u32 {
        let topic = &topics[usize::try_from(number).unwrap() * 17 % 1_000];
        publish(&bench, topic, 1).await;
        assert_eq!(at_once(&mut all), Some(vec![1]));
        assert_eq!(at_once(&mut all), None);
        // Once because it has something, once because it has nothing any more.
        assert_eq!(all.looks, 1_000 + 2 * u64::from(number));
        assert!(!all.is_ready());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// What was committed before is sorted by commit time, and each topic is complete and in order; also when the call is
    /// given up at every place where it waits.
    #[test]
    fn topics_are_merged_by_commit_time(
        history in prop::collection::vec((0..4_usize, 0..3_u64, 1..4_u32), 0..40),
        starts in prop::collection::vec(0..3_u64, 4),
        compacted in any::<bool>(),
        gives_up in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut bench = Bench::new().await;
            let mut topics = Vec::new();
            for name in ["a", "b", "c", "d"] {
                topics.push(bench.create(name).await);
            }
            let mut ends = [1_u64; 4];
            for (topic, pause, count) in history {
                bench.clock.advance(Duration::from_millis(pause));
                publish(&bench, &topics[topic], count).await;
                ends[topic] += u64::from(count);
            }
            if compacted {
                bench.broker.compact().await.unwrap();
                bench.reopen().await;
            }
            let mut ranges = Vec::new();
            let mut expected = Vec::new();
            for ((topic, start), end) in topics.iter().zip(starts).zip(ends) {
                let start = start.min(end - 1);
                ranges.push(format!("{} OFFSET {start} BEFORE 'now'", topic.name));
                expected.extend((start + 1..end).map(|offset| (topic.name.to_string(), offset)));
            }
            let mut subscription = subscribe(&bench, &format!("SELECT * FROM {}", ranges.join(", "))).await.unwrap();
            let mut found = Vec::new();
            loop {
                let next = if gives_up { subscription.next().now_or_never() } else { Some(subscription.next().await) };
                match next.transpose().unwrap() {
                    Some(Next::Events(delivery)) => found.extend(seen(&delivery)),
                    Some(Next::Finished) => break,
                    Some(other) => panic!("{other:?}"),
                    None => tokio::task::yield_now().await,
                }
            }
            prop_assert!(found.is_sorted_by_key(|(.., committed)| *committed), "{found:?}");
            let mut by_topic: Vec<_> = found.into_iter().map(|(name, offset, _)| (name, offset)).collect();
            by_topic.sort_by(|one, other| one.0.cmp(&other.0));
            prop_assert_eq!(by_topic, expected);
            Ok(())
        })?;
    }
}
