//! A server whose disk fails under it: what clients are told, what health says, and what is there after a restart.

use ensign::{
    client::Health,
    model::{NackCode, Position},
    store::local::CloseError,
    sys::{Fault, FaultKind, Loss, Operation, SimulatedDisk},
};

use super::node::{Key, Node, data};

/// How many events are there before anything fails.
const EVENTS: u64 = 5;

/// How many events are tried while it fails.
const TRIED: u64 = 60;

/// A disk on which a server has stored a few events, and its key.
async fn prepared() -> (SimulatedDisk, Key) {
    let disk = SimulatedDisk::new();
    let mut key = None;
    let node = Node::start(&disk.disk(), &mut key).await.unwrap();
    let outcome = node.publish(1..EVENTS + 1).await.unwrap();
    assert_eq!(outcome.progress.acked, EVENTS);
    node.server.stop().await.unwrap();
    (disk, key)
}

/// Reads everything, which has to be the events from the first on, without a gap; returns how many there are.
async fn read_all(node: &Node, place: &str) -> u64 {
    let (events, error) = node.read(Position::Start).await;
    assert!(error.is_none(), "{place}: {error:?}");
    for (event, number) in events.iter().zip(1..) {
        assert_eq!((event.offset.get(), &event.data), (number, &data(number)), "{place}");
    }
    events.len() as u64
}

/// What each surface says of the server's health.
async fn check_health(node: &Node, is_healthy: bool, place: &str) {
    let expected = if is_healthy { Health::Healthy } else { Health::Unhealthy };
    assert_eq!(node.client.status().await.unwrap().health, expected, "{place}");
    assert_eq!(node.is_serving().await, is_healthy, "{place}");
    let probe = if is_healthy { 200 } else { 503 };
    for (path, code) in [("/livez", 200), ("/healthz", probe), ("/readyz", probe), ("/v1/status", 200)] {
        let (is, body) = node.get(path).await;
        assert_eq!(is, code, "{place}: {path}");
        let says_so = body.contains("restart to recover") || body.contains("unhealthy");
        assert_eq!(says_so, !is_healthy && path != "/livez", "{place}: {path} says {body}");
    }
    let gauge = format!("ensign_healthy {}\n", u8::from(is_healthy));
    assert!(node.get("/metrics").await.1.contains(&gauge), "{place}");
}

/// After a restart, with or without a loss of power: what was acked is there, and of what was tried nothing else than the
/// first events; and it goes on.
async fn check_restart(disk: &SimulatedDisk, key: &mut Key, acked: u64, place: &str) {
    for loss in [Loss::Everything, Loss::Nothing] {
        let place = format!("{place}, restarted, {loss:?}");
        let node = Node::start(&disk.crash(loss).disk(), key).await.unwrap();
        check_health(&node, true, &place).await;
        let found = read_all(&node, &place).await;
        assert!((acked..=acked + 1).contains(&found), "{place}: {found} of {acked}");
        let outcome = node.publish(found + 1..found + 4).await.unwrap();
        assert_eq!(outcome.progress.acked, 3, "{place}");
        assert_eq!(read_all(&node, &place).await, found + 3);
        node.server.stop().await.unwrap();
    }
}

/// A write or a sync of the journal fails: the event is nacked, and so is everything after it, on old streams and new ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_fails_ends_publishing_and_says_so() {
    let (prepared, mut key) = prepared().await;
    for (on, after) in [
        (Operation::Sync, 0),
        (Operation::Sync, 1),
        (Operation::Write, 0),
        (Operation::Write, 7),
        (Operation::SetLength, 0),
        (Operation::Create, 0),
    ] {
        let place = format!("{on:?} {after}");
        let disk = prepared.crash(Loss::Nothing);
        let node = Node::start(&disk.disk(), &mut key).await.unwrap();
        check_health(&node, true, &place).await;
        // The segments that are written, and not those that compaction makes beside them.
        disk.fail(Fault { on, under: "journal/0", after, kind: FaultKind::Io });
        let outcome = node.publish(EVENTS + 1..EVENTS + TRIED).await.unwrap();
        assert!(disk.all_failed(), "{place}");
        let acked = EVENTS + outcome.progress.acked;
        let refusal = &outcome.refusals[..];
        assert!(matches!(refusal, [one] if one.code == NackCode::Internal), "{place}: {outcome:?}");
        assert!(refusal[0].message.contains("restart the broker"), "{place}: {}", refusal[0].message);

        check_health(&node, false, &place).await;
        let (said, code) = node.ensign("status").await;
        assert!(said.contains("unhealthy") && code == Some(5), "{place}: {code:?}, {said}");
        let again = node.publish(acked + 1..acked + 2).await.unwrap();
        assert_eq!((again.progress.acked, again.progress.refused), (0, 1), "{place}");
        assert_eq!(read_all(&node, &place).await, acked, "reads go on, and end where acks do");
        node.client.create_topic("another").await.expect("meta.redb is well");
        let stopped = node.server.stop().await;
        assert!(matches!(stopped, Err(CloseError::Poisoned { .. })), "{place}: {stopped:?}");
        check_restart(&disk, &mut key, acked, &place).await;
    }
}

/// A write or a sync of meta.redb fails: what only changes there is refused, events are still taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_fail_end_changes_and_say_so() {
    let (prepared, mut key) = prepared().await;
    for (on, after) in [(Operation::Sync, 0), (Operation::Sync, 1), (Operation::Write, 0), (Operation::Write, 2)] {
        let place = format!("{on:?} {after}");
        let disk = prepared.crash(Loss::Nothing);
        let node = Node::start(&disk.disk(), &mut key).await.unwrap();
        disk.fail(Fault { on, under: "meta.redb", after, kind: FaultKind::Io });
        let mut refused = None;
        for number in 0..10 {
            refused = node.client.create_topic(&format!("topic-{number}")).await.err();
            if refused.is_some() {
                break;
            }
        }
        let refused = refused.expect("a topic is a record");
        assert_eq!(refused.code(), Some(ensign::client::Code::Internal), "{place}: {refused:?}");
        check_health(&node, false, &place).await;
        let outcome = node.publish(EVENTS + 1..EVENTS + TRIED).await.unwrap();
        assert_eq!(outcome.progress.acked, TRIED - 1, "{place}: {outcome:?}");
        assert_eq!(read_all(&node, &place).await, EVENTS + TRIED - 1, "{place}");
        node.server.stop().await.expect_err("the end cannot be noted");
        check_restart(&disk, &mut key, EVENTS + TRIED - 1, &place).await;
    }
}

/// Without room events are refused one by one, and that is no illness: with room it goes on, on the same stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_events_and_goes_on_by_itself() {
    let (disk, mut key) = prepared().await;
    let node = Node::start(&disk.disk(), &mut key).await.unwrap();
    for after in 0..3 {
        disk.fail(Fault { on: Operation::Allocate, under: "journal", after, kind: FaultKind::NoSpace });
    }
    let (mut next, mut refused) = (EVENTS + 1, 0);
    let mut publisher = node.publisher().await.unwrap();
    while !disk.all_failed() || refused == 0 {
        node.send(&mut publisher, next).await.unwrap();
        let now = publisher.progress().refused;
        if now == refused {
            next += 1;
        }
        refused = now;
        check_health(&node, true, "full").await;
        assert_eq!(read_all(&node, "full").await, next - 1);
    }
    for _ in 0..3 {
        node.send(&mut publisher, next).await.unwrap();
        next += 1;
    }
    let outcome = publisher.close().await;
    assert!(outcome.failure.is_none() && outcome.unacknowledged.is_empty(), "{outcome:?}");
    assert_eq!(outcome.progress.refused, refused);
    for refusal in &outcome.refusals {
        assert_eq!((refusal.code, &*refusal.message), (NackCode::Internal, "no space left to store events"));
    }
    assert_eq!(read_all(&node, "with room").await, next - 1);

    // Another segment may be registered, or compacted, at this moment, and meet the failure in the topic's place.
    let mut attempt = 0;
    let full = loop {
        disk.fail(Fault { on: Operation::Write, under: "meta.redb", after: 0, kind: FaultKind::NoSpace });
        match node.client.create_topic(&format!("attempt-{attempt}")).await {
            Ok(_) => attempt += 1,
            Err(full) => break full,
        }
    };
    assert_eq!(full.code(), Some(ensign::client::Code::ResourceExhausted), "{full:?}");
    check_health(&node, true, "no room for a topic").await;
    node.client.create_topic("another").await.unwrap();
    node.server.stop().await.unwrap();
    check_restart(&disk, &mut key, next - 1, "full").await;
}
