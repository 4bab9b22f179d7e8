//! Who gets which events, and when they come again.

use super::*;
use crate::model::NackCode;

#[tokio::test]
async fn two_groups_see_everything_and_two_members_share() {
    let bench = Bench::new().await;
    let mut alone = bench.join(group("alone", DeliverySemantic::AtLeastOnce)).await;
    let (mut one, mut two) = (bench.join(at_least_once()).await, bench.join(at_least_once()).await);
    bench.publish("t", &["a", "b", "c", "d"]).await;
    assert_eq!(texts(&alone.take(4).await), ["a", "b", "c", "d"]);
    let (first, second) = tokio::join!(one.events(), two.events());
    let mut all: Vec<_> = [texts(&first), texts(&second)].concat();
    all.sort_unstable();
    assert!(!first.is_empty() && !second.is_empty());
    while all.len() < 4 {
        let more = one.events().await;
        all.extend(texts(&more).into_iter().map(|text| match text {
            "c" => "c",
            _ => "d",
        }));
    }
    assert_eq!(all, ["a", "b", "c", "d"]);
}

#[tokio::test]
async fn at_least_once_gives_an_event_again_when_its_member_is_late() {
    let bench = Bench::new().await;
    let mut slow = bench.join(at_least_once()).await;
    bench.publish("t", &["a", "b"]).await;
    let held = slow.take(2).await;
    let mut other = bench.join(at_least_once()).await;
    bench.assert_idle(&mut other).await;
    bench.clock.advance(Duration::from_secs(19));
    bench.assert_idle(&mut other).await;
    bench.clock.advance(Duration::from_secs(1));
    let again = other.take(2).await;
    assert_eq!(again, held);
    // A late ack settles the event all the same, and the one that has it now may say so once more.
    assert_eq!(slow.ack(&held[..1]).await.acked, [held[0].0]);
    assert_eq!(other.ack(&again).await.acked, [held[0].0, held[1].0]);
    assert_eq!(bench.standing().await, (3, 0, 0));
    assert_eq!(bench.broker.group_counts().redelivered, 2);
}

#[tokio::test]
async fn what_a_member_held_goes_to_others_when_it_leaves() {
    let bench = Bench::new().await;
    let (mut one, mut two) = (bench.join(at_least_once()).await, bench.join(at_least_once()).await);
    bench.publish("t", &["a"]).await;
    let held = one.take(1).await;
    drop(one);
    assert_eq!(two.take(1).await, held);
}

#[tokio::test]
async fn an_event_that_is_refused_comes_again_later_and_later() {
    let bench = Bench::new().await;
    let mut member = bench.join(at_least_once()).await;
    bench.publish("t", &["a"]).await;
    let first = member.take(1).await;
    member.say(&first, Verdict::Nack(NackCode::Unprocessed)).await;
    // The first time at once.
    assert_eq!(member.take(1).await, first);
    for wait in [100, 200] {
        member.say(&first, Verdict::Nack(NackCode::Unprocessed)).await;
        bench.assert_idle(&mut member).await;
        bench.clock.advance(Duration::from_millis(wait - 1));
        bench.assert_idle(&mut member).await;
        bench.clock.advance(Duration::from_millis(1));
        assert_eq!(member.take(1).await, first);
    }
}

#[tokio::test]
async fn what_one_cannot_handle_goes_to_another() {
    let bench = Bench::new().await;
    let (mut one, mut two) = (bench.join(at_least_once()).await, bench.join(at_least_once()).await);
    bench.publish("t", &["a"]).await;
    let first = one.take(1).await;
    one.say(&first, Verdict::Nack(NackCode::UnhandledMimetype)).await;
    bench.assert_idle(&mut one).await;
    assert_eq!(two.take(1).await, first);
    // Nobody is left who has not refused it.
    two.say(&first, Verdict::Nack(NackCode::DeliverAgainNotMe)).await;
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(one.take(1).await, first);
}

#[tokio::test]
async fn exactly_once_takes_acks_from_the_holder_alone() {
    let bench = Bench::new().await;
    let (mut slow, mut other) = (bench.join(exactly_once()).await, bench.join(exactly_once()).await);
    bench.publish("t", &["a"]).await;
    let held = slow.take(1).await;
    bench.clock.advance(Duration::from_secs(20));
    assert_eq!(other.take(1).await, held);
    let late = slow.ack(&held).await;
    assert_eq!((late.acked.len(), late.refused.as_slice()), (0, [held[0].0].as_slice()));
    assert_eq!(other.ack(&held).await.acked, [held[0].0]);
    assert_eq!(bench.broker.group_counts().refused_acks, 1);
    assert_eq!(bench.standing().await, (2, 0, 0));
}

#[tokio::test]
async fn at_most_once_gives_each_event_once_and_needs_no_acks() {
    let bench = Bench::new().await;
    let mut one = bench.join(at_most_once()).await;
    bench.publish("t", &["a", "b"]).await;
    let events = one.take(2).await;
    assert_eq!(texts(&events), ["a", "b"]);
    one.say(&events, Verdict::Nack(NackCode::Unprocessed)).await;
    drop(one);
    let mut two = bench.join(at_most_once()).await;
    bench.assert_idle(&mut two).await;
    bench.publish("t", &["c"]).await;
    assert_eq!(two.next().await, ["c"]);
}

#[tokio::test]
async fn the_window_bounds_what_is_handed_out() {
    let bench = Bench::new().await;
    let mut wanted = at_least_once();
    wanted.settings.window = Some(16);
    let mut member = bench.join(wanted).await;
    let names: Vec<String> = (0..40).map(|number| number.to_string()).collect();
    bench.publish("t", &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut held = Vec::new();
    // Every event but the first is acked, and yet no more come than the window has.
    loop {
        let Some(next) = member.0.next().now_or_never() else {
            bench.show().await;
            if bench.show().await.topics[0].leased == 1 && held.len() == 16 {
                break;
            }
            continue;
        };
        let Next::Events(delivery) = next.unwrap() else { panic!("there are events") };
        let fresh: Vec<(Rlid, String)> = delivery.events.events().map(|event| (event.rlid, String::new())).collect();
        let from = usize::from(held.is_empty());
        held.extend(fresh.iter().cloned());
        member.ack(&fresh[from..]).await;
    }
    bench.assert_idle(&mut member).await;
    member.ack(&held[..1]).await;
    assert_eq!(member.next().await[0], "16");
}

#[tokio::test]
async fn events_with_one_key_go_to_one_member_in_order() {
    let bench = Bench::new().await;
    let mut wanted = at_least_once();
    wanted.settings.ordered_by_key = Some(true);
    let (mut one, mut two) = (bench.join(wanted.clone()).await, bench.join(wanted).await);
    bench.publish("t", &["k:1"]).await;
    let first = one.take(1).await;
    bench.publish("t", &["k:2", "l:1"]).await;
    // The second event of the key waits for its first, the other key does not.
    assert_eq!(two.next().await, ["l:1"]);
    bench.assert_idle(&mut two).await;
    one.ack(&first).await;
    assert_eq!(two.next().await, ["k:2"]);
}

#[tokio::test]
async fn a_member_that_does_nothing_holds_up_nobody_else() {
    let bench = Bench::new().await;
    let (mut stuck, mut busy) = (bench.join(at_least_once()).await, bench.join(at_least_once()).await);
    let mut other = bench.join(group("other", DeliverySemantic::AtLeastOnce)).await;
    let names: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    bench.publish("t", &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let held = stuck.events().await.len();
    let mut acked = 0;
    while acked < 100 - held {
        let events = busy.events().await;
        acked += events.len();
        busy.ack(&events).await;
    }
    let mut seen = 0;
    while seen < 100 {
        let events = other.events().await;
        seen += events.len();
        other.ack(&events).await;
    }
    assert_eq!(bench.standing().await.1, held as u64);
}

#[tokio::test]
async fn what_cannot_be_read_ends_a_stream_or_is_settled() {
    let bench = Bench::new().await;
    bench.publish("t", &["a", "b"]).await;
    bench.engine.rotate_key(OWN, false).await.unwrap();
    bench.publish("t", &["c"]).await;
    bench.engine.suspend_key(OWN, 1).await.unwrap();
    let mut wanted = exactly_once();
    wanted.topic_offsets = HashMap::from([("t".to_owned(), 1)]);
    let mut strict = bench.join(wanted.clone()).await;
    assert!(matches!(strict.0.next().await, Err(BrokerError::Unreadable(_))));
    assert_eq!(bench.standing().await, (1, 0, 0));
    wanted.subscribe.skip_unreadable = true;
    let mut lenient = bench.join(wanted).await;
    assert!(matches!(lenient.0.next().await.unwrap(), Next::Passed));
    assert_eq!(lenient.0.skipped(), 2);
    let events = lenient.take(1).await;
    assert_eq!(texts(&events), ["c"]);
    lenient.ack(&events).await;
    assert_eq!(bench.standing().await, (4, 0, 0));
}
