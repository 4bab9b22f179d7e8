//! Events that are delivered as often as they may be, and put away.

use super::*;
use crate::model::NackCode;

fn limited(deliveries: u32) -> JoinRequest {
    let mut wanted = at_least_once();
    wanted.settings.max_deliveries = Some(deliveries);
    wanted
}

/// A reader of the dead-letter topic, from its start.
async fn dead_letters(bench: &Bench, topic: &str) -> Stream {
    let mut wanted = group("reader", DeliverySemantic::AtMostOnce);
    wanted.subscribe.topics = vec![topic.to_owned()];
    wanted.topic_offsets = HashMap::from([(topic.to_owned(), 1)]);
    bench.join(wanted).await
}

/// Waits until the group has nothing left to put away.
async fn buried(bench: &Bench, count: u64) {
    while bench.broker.group_counts().dead_lettered < count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_event_that_fails_too_often_is_put_away_with_the_reason() {
    let bench = Bench::new().await;
    let mut member = bench.join(limited(2)).await;
    bench.publish("t", &["a", "b"]).await;
    let events = member.take(2).await;
    member.ack(&events[1..]).await;
    member.say(&events[..1], Verdict::Nack(NackCode::UnknownType)).await;
    assert_eq!(member.take(1).await, events[..1]);
    member.say(&events[..1], Verdict::Nack(NackCode::UnhandledMimetype)).await;
    buried(&bench, 1).await;
    assert_eq!(bench.standing().await, (3, 0, 0));
    let expected = format!(
        "a ensign_dead_letter_topic=t ensign_dead_letter_offset=1 ensign_dead_letter_id={} \
         ensign_dead_letter_group=g ensign_dead_letter_deliveries=2 ensign_dead_letter_reason=UNHANDLED_MIMETYPE",
        events[0].0
    );
    assert_eq!(dead_letters(&bench, "t.dead-letter").await.next().await, [expected]);
}

#[tokio::test]
async fn what_times_out_or_is_left_behind_is_put_away_too() {
    let bench = Bench::new().await;
    let mut wanted = limited(1);
    wanted.settings.dead_letter = Some("graveyard".to_owned());
    let (mut one, mut two) = (bench.join(wanted.clone()).await, bench.join(wanted).await);
    bench.publish("t", &["a"]).await;
    one.take(1).await;
    bench.clock.advance(Duration::from_secs(20));
    buried(&bench, 1).await;
    bench.publish("t", &["b"]).await;
    two.take(1).await;
    drop(two);
    buried(&bench, 2).await;
    let mut reader = dead_letters(&bench, "graveyard").await;
    for (text, reason) in [("a ", "reason=timeout"), ("b ", "reason=disconnected")] {
        let found = reader.next().await;
        assert!(found[0].starts_with(text) && found[0].ends_with(reason), "{found:?}");
    }
}

#[tokio::test]
async fn how_often_an_event_was_delivered_outlives_a_crash() {
    let bench = Bench::new().await;
    let mut member = bench.join(limited(2)).await;
    bench.publish("t", &["a"]).await;
    let events = member.take(1).await;
    member.say(&events, Verdict::Nack(NackCode::Unprocessed)).await;
    member.take(1).await;
    let bench = bench.restart().await;
    let mut member = bench.join(limited(2)).await;
    bench.publish("t", &["b"]).await;
    // It was handed out twice, and nobody acked it.
    let found = member.next().await;
    if found == ["a"] {
        let again = [(events[0].0, String::new())];
        member.say(&again, Verdict::Nack(NackCode::Unprocessed)).await;
    }
    buried(&bench, 1).await;
}

#[tokio::test]
async fn what_cannot_be_put_away_stays_and_is_tried_again() {
    let bench = Bench::new().await;
    let mut member = bench.join(limited(1)).await;
    let away = bench.broker.directory().named(OWN, "t.dead-letter").unwrap().id();
    bench.broker.remove_topic(&caller(), &away.to_string(), 1).await.unwrap();
    bench.publish("t", &["a"]).await;
    let events = member.take(1).await;
    member.say(&events, Verdict::Nack(NackCode::Unprocessed)).await;
    bench.assert_idle(&mut member).await;
    assert_eq!(bench.standing().await.0, 1);
    // The topic takes no events. When it is gone another one is made.
    bench.broker.remove_topic(&caller(), &away.to_string(), 2).await.unwrap();
    while bench.broker.group_counts().dead_lettered == 0 {
        bench.clock.advance(Duration::from_secs(1));
        tokio::task::yield_now().await;
    }
    assert!(dead_letters(&bench, "t.dead-letter").await.next().await[0].starts_with("a "));
}

#[tokio::test]
async fn putting_away_needs_the_permissions_for_it() {
    let bench = Bench::new().await;
    let check = async |permissions: &[Permission], is_allowed: bool| {
        let who = able(permissions.iter().copied().collect());
        let joined = bench.broker.join(&who, OWN, &limited(3)).await;
        match joined {
            Ok(_) => assert!(is_allowed),
            Err(error) => assert!(!is_allowed && matches!(error, BrokerError::NotAuthorized), "{error}"),
        }
    };
    check(&[Permission::Subscriber], false).await;
    check(&[Permission::Subscriber, Permission::Publisher], false).await;
    check(&[Permission::Subscriber, Permission::Publisher, Permission::TopicsCreate], true).await;
    // The topic is there now.
    check(&[Permission::Subscriber, Permission::Publisher], true).await;
}

#[tokio::test]
async fn a_group_of_all_topics_leaves_out_what_was_put_away() {
    let bench = Bench::new().await;
    let mut wanted = limited(1);
    wanted.subscribe.topics = Vec::new();
    let mut member = bench.join(wanted.clone()).await;
    bench.publish("t", &["a"]).await;
    let events = member.take(1).await;
    member.say(&events, Verdict::Nack(NackCode::Unprocessed)).await;
    buried(&bench, 1).await;
    bench.assert_idle(&mut member).await;
    let mut second = bench.join(wanted).await;
    bench.assert_idle(&mut second).await;
    assert_eq!(bench.show().await.topics.len(), 1);
}
