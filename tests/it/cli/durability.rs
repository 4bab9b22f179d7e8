//! What was acked is there, whatever happened to the server.

use std::{fs, io::Write, thread};

use rustix::process::Signal;
use serde_json::json;

use super::machine::{Machine, repository, wait_for};

/// The server is killed while events are on their way. Every event that was acked is there afterwards, in order, and
/// nothing is there that was not published.
#[test]
fn killed_in_the_middle_of_a_publish() {
    let machine = Machine::new();
    let mut server = machine.dev_server();
    machine.ensign("topic create flights").check();
    let published = fs::read(repository("tests/data/flights.jsonl")).unwrap();
    let lines: Vec<&[u8]> = published.split_inclusive(|byte| *byte == b'\n').collect();

    let mut publisher = machine.ensign("publish flights --format lines -o json").spawn();
    let mut stdin = publisher.child.stdin.take().unwrap();
    let (first, rest) = lines.split_at(lines.len() / 4);
    let (second, rest) = rest.split_at(rest.len() / 3);
    let wait_until_stored = |count: usize| {
        wait_for("some events", || {
            let shown = machine.ensign("topic show flights --jq .events").check();
            (shown.text().trim().parse::<usize>().unwrap() >= count).then_some(())
        });
    };
    stdin.write_all(&first.concat()).unwrap();
    wait_until_stored(first.len());
    // While the publisher sends these, it hears what became of the first ones.
    stdin.write_all(&second.concat()).unwrap();
    let before = first.len() + second.len();
    wait_until_stored(before);
    let rest: Vec<Vec<u8>> = rest.chunks(100).map(<[&[u8]]>::concat).collect();
    let writer = thread::spawn(move || {
        // In pieces, so that the server dies between some of them; the pipe breaks when the publisher gives up.
        for piece in rest {
            if stdin.write_all(&piece).is_err() {
                return;
            }
            thread::sleep(std::time::Duration::from_millis(3));
        }
        // Kept open: the publisher waits for more.
        thread::sleep(std::time::Duration::from_secs(1));
        drop(stdin);
    });
    wait_until_stored(before + 500);
    server.kill();
    publisher.signal(Signal::INT);
    let done = publisher.finish();
    writer.join().unwrap();
    assert_eq!(done.code, Some(130), "{}", done.stderr);
    let account = done.json();
    let acked = usize::try_from(account["published"].as_u64().unwrap()).unwrap();
    assert!(acked >= first.len() && acked < lines.len(), "{account}: the server was to die in the middle");

    let _server = machine.dev_server();
    let stored = machine.ensign("tail flights --from start --until now -o raw").check().stdout;
    let stored: Vec<&[u8]> = stored.split_inclusive(|byte| *byte == b'\n').collect();
    assert!(stored.len() >= acked, "{} events are there of {acked} acked ones", stored.len());
    let unacknowledged = usize::try_from(account["unacknowledged"].as_u64().unwrap()).unwrap();
    assert!(stored.len() <= acked + unacknowledged, "an event is there that was not sent, or twice");
    assert!(stored.iter().zip(&lines).all(|(stored, line)| stored == line), "events are missing or out of order");
}

/// A reader goes on by itself when the server comes back: without a gap, without a repetition.
#[test]
fn a_tail_goes_on_after_the_server_was_killed() {
    let machine = Machine::new();
    let server = machine.dev_server();
    machine.ensign("publish t").stdin("1\n2\n").check();
    let mut tail = machine.ensign("tail t --from start -n 4 -o raw").spawn();
    // Before it has connected for the first time, a tail takes a server that goes away for one that is not there.
    wait_for("the first events", || (tail.stdout() == b"1\n2\n").then_some(()));
    let server = server.restart(Signal::KILL);
    machine.ensign("publish t").stdin("3\n4\n").check();
    let done = tail.finish();
    assert_eq!((done.code, done.text()), (Some(0), "1\n2\n3\n4\n"), "{}", done.stderr);
    drop(server);
}

/// A publisher whose stream breaks tells what is unknown, sends what it had not sent yet on a new stream, and repeats
/// nothing.
#[test]
fn a_publisher_goes_on_after_the_server_was_stopped() {
    let machine = Machine::new();
    let server = machine.dev_server();
    machine.ensign("topic create t").check();
    let mut publisher = machine.ensign("publish t -o json").spawn();
    publisher.write(b"1\n2\n");
    machine.ensign("tail t --from start -n 2 -o raw").stdout("1\n2\n").check();
    let _server = server.restart(Signal::TERM);
    publisher.write(b"3\n");
    machine.ensign("tail t --from start -n 3 -o raw").stdout("1\n2\n3\n").check();
    let done = publisher.finish();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let account = done.json();
    assert_eq!((&account["published"], &account["unacknowledged"]), (&json!(3), &json!(0)));
}

/// Where acks do not wait for the disk, everybody can see it; and an event that was acked survives the end of the process
/// all the same.
#[test]
fn acks_that_do_not_wait_for_the_disk() {
    let machine = Machine::new();
    let mut server = machine.dev_server_with("--addr 127.0.0.1:0 --durability os");
    assert_eq!(server.ready["durability"], "os");
    machine.ensign("status -o json --jq .durability").stdout("os\n").check();
    let metrics = server.get("/metrics");
    assert!(metrics.contains("\nensign_durability{mode=\"os\"} 1\n"), "{metrics}");
    assert!(metrics.contains("\nensign_journal_sync_seconds_count 0\n"), "{metrics}");
    machine.ensign("publish t").stdin("1\n2\n").check();
    let done = server.end(Signal::KILL);
    assert!(done.stderr.contains("before fsync   "), "{}", done.stderr);
    assert!(done.stderr.contains("WARNING: a loss of power can take acked events"), "{}", done.stderr);

    let server = machine.dev_server();
    assert_eq!(server.ready["durability"], "fsync");
    machine.ensign("status -o json --jq .durability").stdout("fsync\n").check();
    machine.ensign("publish t").stdin("3\n").check();
    machine.ensign("tail t --from start -n 3 -o raw").stdout("1\n2\n3\n").check();
}

#[test]
fn a_server_in_memory_promises_nothing_else() {
    let machine = Machine::new();
    let server = machine.dev_server_with("--addr 127.0.0.1:0 --ephemeral");
    assert_eq!(server.ready["durability"], "memory");
    machine.ensign("status -o json --jq .durability").stdout("memory\n").check();
    machine.ensign("dev-server --ephemeral --durability os").code(2).check();
}
