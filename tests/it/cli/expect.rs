//! Expecting events: exit codes, what is printed, and what is said of events that came near.

use rustix::process::Signal;
use serde_json::Value;

use super::machine::{Machine, Process, wait_for};

/// A topic with three events.
fn orders(machine: &Machine) {
    let publish = |arguments: &str| {
        machine.ensign(&format!("publish orders -q --mimetype application/json {arguments}")).check();
    };
    publish("--type order@1.2.0 --meta source=web --key k1 -m {\"total\":12}");
    publish("--type order@1.3.0 --meta source=app --key k2 -m {\"total\":13}");
    publish("--type payment@1.0.0 --meta source=web --key k1 -m {\"total\":12}");
}

/// Waits until no event is missed any more.
fn wait_until_it_waits(process: &Process) {
    wait_for("it to wait", || process.stderr().contains("waiting for").then_some(()));
}

#[test]
fn what_is_there_is_found() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    orders(&machine);
    let check = |conditions: &str, found: &str| {
        let arguments = format!("expect orders --from start --timeout 0s -o template={{offset}} {conditions}");
        machine.ensign(&arguments).stdout(found).stderr("").check();
    };
    check("", "1\n");
    check("--count 3", "1\n2\n3\n");
    check("--type order --count 2", "1\n2\n");
    check("--type order@1 --count 2", "1\n2\n");
    check("--type order@1.3", "2\n");
    check("--type payment --key k1 --meta source=web --mimetype application/json", "3\n");
    check("--data {\"total\":13}", "2\n");
    check("--data-contains 13", "2\n");
    machine.ensign("expect orders --from 3 --timeout 0s -o template={offset}").stdout("3\n").stderr("").check();
    machine.ensign("expect orders --from -1h --timeout 0s -o raw").stdout("{\"total\":12}\n").stderr("").check();
}

#[test]
fn what_is_not_there_is_said_with_what_came_near() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    orders(&machine);
    let unmet = "expect orders --from start --timeout 0s --type order --key k1 --meta source=app --data-contains x";
    let misses = [
        r#"near miss at offset 2: key: expected "k1", found "k2"; data: expected something with "x", found "{\"total\":13}""#,
        r#"near miss at offset 1: metadata source: expected "app", found "web"; data: expected something with "x", found "{\"total\":12}""#,
        concat!(
            r#"near miss at offset 3: type: expected "order", found "payment@1.0.0"; "#,
            r#"metadata source: expected "app", found "web"; data: expected something with "x", found "{\"total\":12}""#,
        ),
    ];
    let waits = "waiting for 1 event in orders for 0 ms";
    let error = "topic orders: no expected event in 0 ms, 3 events looked at";
    let stderr = format!("{waits}\n{}\nerror: {error}\n", misses.join("\n"));
    machine.ensign(unmet).code(6).stdout("").stderr(&stderr).check();

    let done = machine.ensign(unmet).arg("-o").arg("json").code(6).stdout("[]\n").check();
    let said: Value = serde_json::from_str(&done.stderr).unwrap();
    assert_eq!(said["error"]["code"], "check_failed");
    assert_eq!(said["error"]["message"], format!("{error}; {}", misses.join("; ")));

    // What did come is printed.
    let few = "expect orders --from start --timeout 0s --type order --count 3 -o raw -q";
    let stderr = "near miss at offset 3: type: expected \"order\", found \"payment@1.0.0\"\n\
                  error: topic orders: 2 of 3 expected events in 0 ms, 3 events looked at\n";
    machine.ensign(few).code(6).stdout("{\"total\":12}\n{\"total\":13}\n").stderr(stderr).check();

    // Without --from, what was there before does not count.
    let stderr = "waiting for 1 event in orders for 0 ms\n\
                  error: topic orders: no expected event in 0 ms, 0 events looked at\n\
                  hint: what was there before does not count; --from -1m looks back, too\n";
    machine.ensign("expect orders --timeout 0s").code(6).stdout("").stderr(stderr).check();
}

#[test]
fn what_comes_is_waited_for() {
    let machine = Machine::new();
    let server = machine.dev_server();
    orders(&machine);
    let mut process =
        machine.ensign("expect orders --type order --count 2 --timeout 1h -o template={offset}{data}").spawn();
    wait_until_it_waits(&process);
    machine.ensign("publish orders -q --type order -m one").check();
    machine.ensign("publish orders -q -m other").check();
    wait_for("the first event", || (process.stdout() == b"4one\n").then_some(()));
    // What is missing still comes behind a server that went away meanwhile.
    let _server = server.restart(Signal::KILL);
    machine.ensign("publish orders -q --type order -m two").check();
    let done = process.finish();
    assert_eq!((done.code, done.text()), (Some(0), "4one\n6two\n"), "{}", done.stderr);
    let mut said = done.stderr.lines();
    assert_eq!(said.next(), Some("waiting for 2 events in orders for 1 h 0 min"));
    assert!(said.next().is_some_and(|line| line.ends_with("; connecting again")), "{}", done.stderr);
    assert_eq!(said.next(), None);
}

/// What is there counts together with what comes behind it, without a gap between the two.
#[test]
fn what_is_there_and_what_comes_count_together() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    orders(&machine);
    let mut process = machine.ensign("expect orders --from 2 --count 3 --timeout 1h -o template={offset}").spawn();
    wait_until_it_waits(&process);
    machine.ensign("publish orders -q -m four").check();
    let done = process.finish();
    assert_eq!((done.code, done.text()), (Some(0), "2\n3\n4\n"), "{}", done.stderr);
}

#[test]
fn what_can_not_be_expected() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    let stderr = "error: there is no topic nothing\n\
                  hint: `ensign topic list` shows what there is, `ensign topic create nothing` makes it\n";
    machine.ensign("expect nothing").code(3).stdout("").stderr(stderr).check();
    for wrong in ["--count 0", "--data a --data-contains b", "--type order@x", "--timeout 10", "--meta a"] {
        machine.ensign(&format!("expect nothing {wrong}")).code(2).stdout("").check();
    }
    machine.ensign("topic create quiet -q").check();
    let mut process = machine.ensign("expect quiet --timeout 1h").spawn();
    wait_until_it_waits(&process);
    process.signal(Signal::INT);
    assert_eq!(process.finish().code, Some(130));
}
