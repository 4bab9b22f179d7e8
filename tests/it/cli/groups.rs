//! Consumer groups at a terminal: reading as a member, verdicts on standard input, and looking after groups.

use rustix::process::Signal;
use serde_json::Value;

use super::machine::{Machine, Process, wait_for};

/// The ids of what a process has written with `-o template={id}`.
fn ids(process: &Process) -> Vec<String> {
    String::from_utf8(process.stdout()).unwrap().lines().map(str::to_owned).collect()
}

/// Publishes the numbers from one on, in order.
fn numbers(machine: &Machine, topic: &str, count: u64) {
    let lines: Vec<String> = (1..=count).map(|number| number.to_string()).collect();
    machine.ensign(&format!("publish {topic} -q")).stdin(lines.join("\n")).check();
}

/// How a group stands in its only topic.
fn topic_of(machine: &Machine, group: &str) -> Value {
    let mut shown = machine.ensign(&format!("group show {group} -o json")).stderr("").check().json();
    assert_eq!(shown["topics"].as_array().unwrap().len(), 1, "{shown}");
    shown["topics"][0].take()
}

#[test]
fn a_group_goes_on_where_it_stopped() {
    let machine = Machine::new();
    let server = machine.dev_server();
    numbers(&machine, "a", 5);
    let said = "joined group g, at-least-once, for a\n";
    machine.ensign("tail a --group g --from start -n 2 -o raw").stdout("1\n2\n").stderr(said).check();
    // Not --from, but what the group remembers says where to go on.
    machine.ensign("tail a --group g --from start -n 1 -o raw").stdout("3\n").stderr(said).check();
    // A server that is killed may forget the acks of the last moment.
    let _server = server.restart(Signal::TERM);
    machine.ensign("tail a --group g -n 2 -o raw").stdout("4\n5\n").stderr(said).check();
    let topic = topic_of(&machine, "g");
    assert_eq!((&topic["position"], &topic["lag_events"]), (&Value::from(6), &Value::from(0)), "{topic}");
    // Another group is new, and sees what comes from now on.
    let mut process = machine.ensign("tail a --group h -n 1 -o raw").spawn();
    wait_for("the member", || process.stderr().contains("joined group h").then_some(()));
    machine.ensign("publish a -q -m six").check();
    assert_eq!(process.finish().text(), "six\n");
}

#[test]
fn what_nobody_acks_comes_again() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    numbers(&machine, "a", 3);
    machine.ensign("tail a --group g --from start --ack none -n 3 -o raw -q").stdout("1\n2\n3\n").stderr("").check();
    machine.ensign("tail a --group g -n 3 -o raw -q").stdout("1\n2\n3\n").stderr("").check();
    assert_eq!(topic_of(&machine, "g")["position"], 4);
}

#[test]
fn standard_input_says_what_became_of_events() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    numbers(&machine, "a", 3);
    let mut process = machine.ensign("tail a --group g --from start --ack manual -n 4 -o template={id}").spawn();
    let first = wait_for("three events", || Some(ids(&process)).filter(|ids| ids.len() == 3));
    process.write(format!("{}\n{} nack timeout\n{}", first[2], first[0], first[1]).as_bytes());
    process.write(b" ack\nnonsense\n");
    process.write(format!("{} ack\n", first[2]).as_bytes());
    let again = wait_for("the first again", || ids(&process).get(3).cloned());
    assert_eq!(again, first[0]);
    // The count is that of the time since somebody is there.
    assert_eq!(topic_of(&machine, "g")["redelivered"], 1);
    process.write(format!("{again} ack\n").as_bytes());
    let done = process.finish();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let said = format!(
        "joined group g, at-least-once, for a\n\
         standard input: \"nonsense\" is not the id of an event\n\
         standard input: {} waits for no verdict\n",
        first[2]
    );
    assert_eq!(done.stderr, said);
    assert_eq!(topic_of(&machine, "g")["position"], 4);
}

#[test]
fn what_is_refused_too_often_is_put_away() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    numbers(&machine, "a", 2);
    let group = "tail a --group g --from start --max-deliveries 1 --ack manual -o template={id}";
    let mut process = machine.ensign(group).spawn();
    let ids = wait_for("two events", || Some(ids(&process)).filter(|ids| ids.len() == 2));
    process.write(format!("{} nack unknown-type\n{}\n", ids[0], ids[1]).as_bytes());
    machine
        .ensign("expect a.dead-letter --from start --data 1 --timeout 1h -o template={meta.ensign_dead_letter_reason}")
        .stdout("UNKNOWN_TYPE\n")
        .check();
    wait_for("the count", || (topic_of(&machine, "g")["dead_lettered"] == 1).then_some(()));
    // The end of the input is the end of it.
    assert_eq!(process.finish().code, Some(0));
    assert_eq!(topic_of(&machine, "g")["position"], 3);
}

#[test]
fn two_members_share_and_two_groups_do_not() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    machine.ensign("topic create a -q").check();
    let member = |group: &str| {
        let process = machine.ensign(&format!("tail a --group {group} -o raw")).spawn();
        wait_for("the member", || process.stderr().contains("joined group").then_some(()));
        process
    };
    let members = [member("g"), member("g"), member("h")];
    numbers(&machine, "a", 100);
    let seen = |of: &[Process]| {
        let text: Vec<u8> = of.iter().flat_map(Process::stdout).collect();
        let mut seen: Vec<u64> = String::from_utf8(text).unwrap().lines().map(|line| line.parse().unwrap()).collect();
        seen.sort_unstable();
        seen
    };
    let all: Vec<u64> = (1..=100).collect();
    wait_for("both groups", || (seen(&members[..2]) == all && seen(&members[2..]) == all).then_some(()));
    let shown = machine.ensign("group show g -o json").check().json();
    assert_eq!(shown["members"].as_array().unwrap().len(), 2, "{shown}");
    for mut member in members {
        member.signal(Signal::INT);
        assert_eq!(member.finish().code, Some(130));
    }
}

#[test]
fn groups_are_looked_after() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    let none = "there are no consumer groups; `ensign tail TOPIC --group NAME` makes one\n";
    machine.ensign("group list -o table").stdout("").stderr(none).check();
    numbers(&machine, "a", 4);
    machine
        .ensign("tail a --group g --from start --delivery exactly-once -n 4 -q -o raw")
        .stdout("1\n2\n3\n4\n")
        .check();

    let listed = machine.ensign("group list -o csv").stderr("").check();
    let mut lines = listed.text().lines();
    assert_eq!(lines.next(), Some("name,delivery,members,topics,lag,created"));
    assert!(lines.next().unwrap().starts_with("g,exactly-once,0,1,0,"), "{}", listed.text());
    assert_eq!(lines.next(), None);
    let shown = machine.ensign("group show g -o table").stderr("").check();
    let topic = shown.text().lines().find(|line| line.contains("position")).unwrap();
    assert!(topic.ends_with("a  position 5, end 5, lag 0 events (0 ms)"), "{topic}");

    machine.ensign("group seek g --to 3").stdout("").stderr("moved group g in a to offset 3\n").check();
    machine.ensign("tail a --group g -n 2 -q -o raw").stdout("3\n4\n").stderr("").check();
    machine.ensign("group seek g --topic a --to start -o json --jq .lag_events").stdout("4\n").check();

    let complete = machine.run(["--", "ensign", "group", "show", ""]).env("COMPLETE", "fish").check();
    assert!(complete.text().starts_with("g\texactly-once\n"), "{}", complete.text());

    let stderr = "error: removing group g needs a confirmation\nhint: add --yes if you are sure\n";
    machine.ensign("group remove g").code(2).stdout("").stderr(stderr).check();
    let mut member = machine.ensign("tail a --group g --ack none -o raw").spawn();
    wait_for("an event", || (!member.stdout().is_empty()).then_some(()));
    let refused = machine.ensign("group remove g --yes").code(1).stdout("").check();
    assert!(refused.stderr.ends_with("\nhint: --force disconnects its members\n"), "{}", refused.stderr);
    machine.ensign("group remove g --yes --force").stdout("").stderr("removed group g\n").check();
    let done = member.finish();
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    assert!(done.stderr.contains("group g: "), "{}", done.stderr);
    let stderr = "error: there is no consumer group g\nhint: `ensign group list` shows what there is\n";
    machine.ensign("group show g").code(3).stdout("").stderr(stderr).check();
    machine.ensign("group seek g --to start").code(3).stdout("").stderr(stderr).check();
}

#[test]
fn what_a_group_can_not_be_asked() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    numbers(&machine, "a", 2);
    for wrong in [
        "tail a --ack none",
        "tail a --delivery at-most-once",
        "tail a --group g --until now",
        "tail a --group g --delivery twice",
        "tail",
    ] {
        machine.ensign(wrong).code(2).stdout("").check();
    }
    let stderr = "error: group g is at-most-once, and -n can't hold: an event of it counts as read when it is sent\n\
                  hint: leave -n away, or add --delivery at-least-once\n";
    machine.ensign("tail a --group g --delivery at-most-once -n 1").code(2).stdout("").stderr(stderr).check();
    let stderr = "error: there is no topic nothing\nhint: `ensign topic list` shows what there is\n";
    machine.ensign("tail nothing --group g").code(3).stdout("").stderr(stderr).check();
}
