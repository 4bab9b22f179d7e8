//! Replaying: what is kept of the events, their gaps, and what is said when it does not come to its end.

use std::{thread, time::Duration};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::machine::{Machine, wait_for};

/// What is in a topic, one record for each event.
fn records(machine: &Machine, topic: &str) -> Vec<Value> {
    let done = machine.ensign(&format!("tail {topic} --from start --until now -o jsonl")).stderr("").check();
    done.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The same, without what the server gives to events.
fn kept(machine: &Machine, topic: &str) -> Vec<Value> {
    let mut records = records(machine, topic);
    for record in &mut records {
        for given in ["topic", "offset", "id", "committed"] {
            record.as_object_mut().unwrap().remove(given).unwrap();
        }
    }
    records
}

/// The data of what is in a topic.
fn data(machine: &Machine, topic: &str) -> String {
    machine.ensign(&format!("tail {topic} --from start --until now -o raw")).stderr("").check().text().to_owned()
}

/// Two events that were committed with a gap of a second at least.
fn two_with_a_gap(machine: &Machine) {
    machine.ensign("publish a -q -m one").check();
    thread::sleep(Duration::from_secs(1));
    machine.ensign("publish a -q -m two").check();
}

#[test]
fn everything_is_kept_that_the_server_does_not_give() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    let binary = machine.file("binary.pb", [0, 255, 10, 13, 128]);
    machine.ensign("publish a -q --type order@1.2.3 --meta source=test --meta empty= --key k1").file(&binary).check();
    machine.ensign("publish a -q --type order@1.2.3 --meta source=test --meta empty= --key k1 -m same").check();
    machine.ensign("publish a -q --format jsonl").stdin("{\"b\": 1.50,  \"a\":[]}\n{}\n").check();
    let done = machine.ensign("replay a --to b --speed max").stdout("").check();
    let said = "created topic b\nreplayed 4 events (31 B) from a to b in ";
    assert!(done.stderr.starts_with(said), "{}", done.stderr);
    assert_eq!(done.stderr.lines().count(), 2, "{}", done.stderr);
    assert_eq!(kept(&machine, "b"), kept(&machine, "a"));

    let mut done = machine.ensign("replay a --to c --speed max --from 2 --until 4 -o json").stderr("").check().json();
    assert!(done["elapsed_ms"].take().is_u64());
    let expected = json!({
        "topic": "a", "to": "c", "published": 2, "bytes": 24, "refused": 0, "unacknowledged": 0, "last_offset": 3,
        "elapsed_ms": null, "refusals": [], "unknown": [],
    });
    assert_eq!(done, expected);
    assert_eq!(kept(&machine, "c"), kept(&machine, "a")[1..3]);
    machine.ensign("replay a --to c --speed max -q -n 1").stdout("").stderr("").check();
    assert_eq!(kept(&machine, "c").len(), 3);
}

#[test]
fn a_topic_is_replayed_into_itself_once() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    machine.ensign("publish a -q").stdin("1\n2\n3\n").check();
    machine.ensign("replay a --to a --speed max -q").stdout("").stderr("").check();
    assert_eq!(data(&machine, "a"), "1\n2\n3\n1\n2\n3\n");
}

#[test]
fn gaps_are_kept_at_the_speed_that_was_asked_for() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    two_with_a_gap(&machine);
    // How long it takes has no upper bound on a busy machine.
    let took = |speed: &str| {
        let done = machine.ensign(&format!("replay a --to b -o json {speed}")).stderr("").check();
        done.json()["elapsed_ms"].as_u64().unwrap()
    };
    assert!(took("") >= 1_000);
    assert!(took("--speed 0.5x") >= 2_000);
    assert!(took("--speed 2x") >= 500);
    assert_eq!(data(&machine, "b"), "one\ntwo\n".repeat(3));
}

#[test]
fn what_was_interrupted_goes_on() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    two_with_a_gap(&machine);
    machine.ensign("topic create b -q").check();
    let mut process = machine.ensign("replay a --to b --speed 0.001x -n 2").spawn();
    machine.ensign("tail b --from start -n 1 -o raw").stdout("one\n").check();
    process.signal(Signal::INT);
    let done = process.finish();
    assert_eq!((done.code, done.text()), (Some(130), ""), "{}", done.stderr);
    let [said, on] = done.stderr.lines().collect::<Vec<_>>()[..] else { panic!("{}", done.stderr) };
    assert!(said.starts_with("replayed 1 event (3 B) from a to b in "), "{said}");
    let on = on.strip_prefix("`ensign ").and_then(|on| on.strip_suffix("` goes on")).unwrap();
    let until = on.split(' ').nth(7).unwrap();
    assert_eq!(on, format!("replay a --to b --from 2 --until {until} --speed 0.001x -n 1"));
    // What came meanwhile was not to be replayed.
    machine.ensign("publish a -q -m three").check();
    machine.ensign(&on.replace("0.001x", "max")).arg("-q").stdout("").stderr("").check();
    assert_eq!(data(&machine, "b"), "one\ntwo\n");
}

#[test]
fn a_server_that_goes_away_between_two_events() {
    let machine = Machine::new();
    let server = machine.dev_server();
    two_with_a_gap(&machine);
    let mut process = machine.ensign("replay a --to b --speed 0.2x").spawn();
    wait_for("the first event", || process.stderr().contains("created topic b").then_some(()));
    machine.ensign("tail b --from start -n 1 -o raw").stdout("one\n").check();
    let _server = server.restart(Signal::KILL);
    let done = process.finish();
    assert_eq!((done.code, done.text()), (Some(0), ""), "{}", done.stderr);
    assert_eq!(data(&machine, "b"), "one\ntwo\n");
}

#[test]
fn what_is_encrypted_stays_so() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    machine.ensign("topic create a -q").check();
    machine.ensign("encryption topic-key new a --storage file -q").check();
    machine.ensign("publish a -q --encrypt -m secret").check();
    let done = machine.ensign("replay a --to b --speed max").stdout("").check();
    let reads = "ensign tail b --decrypt --encrypted-for a";
    assert!(done.stderr.ends_with(&format!("\n1 event encrypted for a; `{reads}` reads them\n")), "{}", done.stderr);
    assert_eq!(kept(&machine, "b"), kept(&machine, "a"));
    machine.ensign("tail b --decrypt --encrypted-for a --from start -n 1 -o raw").stdout("secret\n").stderr("").check();
}

#[test]
fn what_can_not_be_replayed() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    let stderr = "error: there is no topic a\n\
                  hint: `ensign topic list` shows what there is, `ensign topic create a` makes it\n";
    machine.ensign("replay a --to b").code(3).stdout("").stderr(stderr).check();
    machine.ensign("topic create a -q").check();
    let stderr = "error: there is no topic b\nhint: make it with `ensign topic create b`\n";
    machine.ensign("replay a --to b --no-create").code(3).stdout("").stderr(stderr).check();
    let stderr = "error: invalid value 'fast' for '--speed <SPEED>': write it like 1x, 10x or 0.5x, from 0.001x to \
                  1000000x, or max\nhint: `ensign --help` explains the commands\n";
    machine.ensign("replay a --to b --speed fast").code(2).stdout("").stderr(stderr).check();
    // A topic that takes no more events.
    machine.ensign("publish a -q -m one").check();
    machine.ensign("topic create closed -q").check();
    machine.ensign("topic archive closed -q").check();
    machine.ensign("replay a --to closed --speed max").code(1).stdout("").check();
}
