//! What a group remembers, whatever happens to the process.

use super::*;
use crate::sys::{Fault, FaultKind, Operation};

#[tokio::test]
async fn at_most_once_never_gives_an_event_twice() {
    let bench = Bench::new().await;
    let mut member = bench.join(at_most_once()).await;
    bench.publish("t", &["a", "b"]).await;
    assert_eq!(texts(&member.take(2).await), ["a", "b"]);
    let bench = bench.crash().await;
    let mut member = bench.join(at_most_once()).await;
    bench.assert_idle(&mut member).await;
    bench.publish("t", &["c"]).await;
    assert_eq!(member.next().await, ["c"]);
}

#[tokio::test]
async fn at_least_once_gives_again_what_was_not_acked() {
    let bench = Bench::new().await;
    let mut member = bench.join(at_least_once()).await;
    bench.publish("t", &["a", "b", "c"]).await;
    let events = member.take(3).await;
    member.ack(&events[1..2]).await;
    // Acks wait for the others of the interval, and no longer.
    bench.clock.advance(Duration::from_millis(100));
    while bench.broker.group_lags()[0].events != 2 {
        tokio::task::yield_now().await;
    }
    let bench = bench.crash().await;
    let mut member = bench.join(at_least_once()).await;
    assert_eq!(texts(&member.take(2).await), ["a", "c"]);
}

#[tokio::test]
async fn exactly_once_never_gives_again_what_was_confirmed() {
    let bench = Bench::new().await;
    let mut member = bench.join(exactly_once()).await;
    bench.publish("t", &["a", "b", "c"]).await;
    let events = member.take(3).await;
    assert_eq!(member.ack(&events[2..]).await.acked.len(), 1);
    let bench = bench.crash().await;
    let mut member = bench.join(exactly_once()).await;
    assert_eq!(texts(&member.take(2).await), ["a", "b"]);
    bench.assert_idle(&mut member).await;
}

#[tokio::test]
async fn where_a_group_starts_is_remembered_before_anybody_is_told() {
    let bench = Bench::new().await;
    bench.publish("t", &["before"]).await;
    drop(bench.join(at_least_once()).await);
    bench.publish("t", &["after"]).await;
    let bench = bench.crash().await;
    let mut member = bench.join(at_least_once()).await;
    assert_eq!(member.next().await, ["after"]);
}

#[tokio::test]
async fn a_stop_in_order_keeps_every_ack() {
    let bench = Bench::new().await;
    let mut member = bench.join(at_least_once()).await;
    bench.publish("t", &["a", "b"]).await;
    let events = member.take(2).await;
    member.ack(&events[..1]).await;
    let bench = bench.restart().await;
    assert!(matches!(member.0.next().await, Err(BrokerError::Closed)));
    let mut member = bench.join(at_least_once()).await;
    assert_eq!(member.next().await, ["b"]);
}

#[tokio::test]
async fn nothing_is_handed_out_or_confirmed_that_cannot_be_kept() {
    for delivery in [DeliverySemantic::AtMostOnce, DeliverySemantic::ExactlyOnce] {
        let bench = Bench::new().await;
        let mut member = bench.join(group("g", delivery)).await;
        let fault = Fault { on: Operation::Sync, under: "meta.redb", after: 0, kind: FaultKind::Io };
        if delivery == DeliverySemantic::AtMostOnce {
            bench.disk.fail(fault);
            bench.publish("t", &["a"]).await;
        } else {
            bench.publish("t", &["a"]).await;
            let events = member.take(1).await;
            bench.disk.fail(fault);
            let receipt = member.ack(&events).await;
            assert_eq!((receipt.acked.len(), receipt.refused.len()), (0, 1));
        }
        let text = "the progress of consumer groups cannot be kept any more; restart the broker to recover";
        refused(member.0.next().await, Code::Internal, text);
        // The disk has recovered, and so does the group.
        let bench = bench.crash().await;
        let mut member = bench.join(group("g", delivery)).await;
        assert_eq!(member.next().await, ["a"]);
    }
}

#[tokio::test]
async fn a_full_disk_delays_a_group_until_there_is_room() {
    let bench = Bench::new().await;
    let mut member = bench.join(exactly_once()).await;
    bench.publish("t", &["a"]).await;
    let events = member.take(1).await;
    bench.disk.fail(Fault { on: Operation::Write, under: "meta.redb", after: 0, kind: FaultKind::NoSpace });
    let acks = member.0.acks();
    let receipt = tokio::spawn(async move { acks.settle(vec![(events[0].0, Verdict::Ack)]).await });
    while !bench.disk.all_failed() {
        tokio::task::yield_now().await;
    }
    // The store leaves a full disk alone for a while, and so does the keeper.
    while !receipt.is_finished() {
        bench.clock.advance(Duration::from_secs(1));
        tokio::task::yield_now().await;
    }
    assert_eq!(receipt.await.unwrap().acked.len(), 1);
}

#[tokio::test]
async fn a_full_disk_does_not_hold_up_a_stop() {
    let bench = Bench::new().await;
    let mut member = bench.join(exactly_once()).await;
    bench.publish("t", &["a"]).await;
    let events = member.take(1).await;
    bench.disk.fail(Fault { on: Operation::Write, under: "meta.redb", after: 0, kind: FaultKind::NoSpace });
    let acks = member.0.acks();
    let receipt = tokio::spawn(async move { acks.settle(vec![(events[0].0, Verdict::Ack)]).await });
    while !bench.disk.all_failed() {
        tokio::task::yield_now().await;
    }
    // Nobody moves the clock to when it would be tried again.
    bench.broker.close().await;
    let Receipt { acked, refused } = receipt.await.unwrap();
    assert_eq!(acked.len() + refused.len(), 1);
}

#[tokio::test]
async fn events_that_a_loss_of_power_took_are_not_taken_for_settled() {
    let bench = Bench::new().await.restart_with(crate::model::Durability::Os).await;
    let mut member = bench.join(exactly_once()).await;
    bench.publish("t", &["a", "b", "c"]).await;
    let events = member.take(3).await;
    // The position is 1, and 2 is settled beyond it.
    assert_eq!(member.ack(&events[1..2]).await.acked.len(), 1);
    let bench = bench.crash().await;
    let mut member = bench.join(exactly_once()).await;
    bench.publish("t", &["d", "e"]).await;
    assert_eq!(texts(&member.take(2).await), ["d", "e"]);
}
