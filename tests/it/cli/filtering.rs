//! Conditions on the events that `tail` shows and `expect` waits for.

use super::machine::{Machine, wait_for};

const ORDERS: &str =
    "{\"n\":1,\"country\":\"DE\"}\n{\"n\":2,\"country\":\"FR\"}\n{\"n\":3,\"country\":\"DE\"}\n{\"n\":4}\n";

fn publish(machine: &Machine, topic: &str, lines: &str) {
    machine
        .ensign(&format!("publish {topic} -q --format jsonl --type order@1.2.0 --key k"))
        .stdin(lines)
        .stderr("")
        .check();
}

#[test]
fn the_server_sends_what_matches() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    publish(&machine, "orders", ORDERS);
    publish(&machine, "others", "{\"n\":5,\"country\":\"DE\"}\n");
    machine.ensign("publish orders -q --mimetype application/json -m nonsense").check();
    let check = |arguments: &str, condition: &str, found: &str| {
        let tail = machine.ensign(&format!("tail --from start -o template={{offset}} {arguments} --where"));
        tail.arg(condition).stdout(found).stderr("").check();
    };
    check("orders --until now", "country = 'DE'", "1\n3\n");
    check("orders --until now", "country = 'DE' AND n > 1 -- a remark", "3\n");
    check("orders --until now", "_type = 'order' AND _key = 'k' AND _offset > 3", "4\n");
    check("orders --until now", "n > 100", "");
    check("orders --until 3", "n > 0", "1\n2\n");
    check("orders -n 2", "country IS NOT NULL", "1\n2\n");
    check("orders --idle 200ms", "n % 2 = 0", "2\n4\n");
    check("orders others --until now", "country = 'DE'", "1\n3\n1\n");
    // What comes is filtered as what was there.
    let mut tail = machine.ensign("tail orders --from start -n 3 -o raw --where").arg("n >= 3").spawn();
    wait_for("what is there", || tail.stdout().ends_with(b"{\"n\":4}\n").then_some(()));
    publish(&machine, "orders", "{\"n\":0}\n{\"n\":9}\n");
    let done = tail.finish();
    assert_eq!((done.code, done.text()), (Some(0), "{\"n\":3,\"country\":\"DE\"}\n{\"n\":4}\n{\"n\":9}\n"));
}

#[test]
fn what_is_no_condition_is_said_before_anybody_is_asked() {
    let machine = Machine::new();
    let check = |command: &str, condition: &str, error: &str| {
        machine.ensign(command).arg("--where").arg(condition).code(2).stdout("").stderr(error).check();
    };
    let open = "error: --where: syntax error at position 18 near \"\": invalid where clause\n  \
                country = 'DE' AND\n                    ^\n";
    check("tail orders", "country = 'DE' AND ", open);
    check("expect orders", "country = 'DE' AND ", open);
    let clauses = "error: --where: a condition, and no clauses behind it\n\
                   hint: --from, --until and -n say where to start and to stop\n";
    check("tail orders", "n = 1 LIMIT 3", clauses);
    let done = machine.ensign("tail orders --group g --where").arg("n = 1").code(2).stdout("").check();
    assert!(done.stderr.contains("--where <CONDITION>' cannot be used with"), "{}", done.stderr);
}

#[test]
fn what_only_a_key_opens_is_judged_here() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    machine.ensign("topic create orders -q").check();
    machine.ensign("encryption topic-key new orders --storage file -q").check();
    machine.ensign("publish orders --encrypt -q --format jsonl --type order@1.0.0").stdin(ORDERS).stderr("").check();
    let tail = |arguments: &str| {
        machine.ensign(&format!("tail orders --from start -o template={{offset}} {arguments} --where"))
    };
    tail("--until now --decrypt").arg("country = 'DE'").stdout("1\n3\n").stderr("").check();
    tail("-n 1 --decrypt").arg("n > 1").stdout("2\n").stderr("").check();
    tail("--idle 200ms --decrypt").arg("n > 2").stdout("3\n4\n").stderr("").check();
    tail("--idle 200ms --decrypt").arg("n > 4").stdout("").stderr("").check();
    let note = "there is a topic key for topic orders: what is encrypted with it does not match; --decrypt evaluates --where here\n";
    tail("--until now").arg("country = 'DE'").stdout("").stderr(note).check();
    tail("--until now").arg("_type = 'order' AND _offset < 3").stdout("1\n2\n").stderr("").check();
}

#[test]
fn an_expected_event_is_one_for_which_it_is_true() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    publish(&machine, "orders", ORDERS);
    let expect = "expect orders --from start --timeout 0s -o template={offset} --type order --where";
    machine.ensign(expect).arg("country = 'FR'").stdout("2\n").stderr("").check();
    let stderr = "waiting for 1 event in orders for 0 ms\n\
                  near miss at offset 4: where: expected n > 4 AND country = 'DE', found n 4, country null\n\
                  near miss at offset 3: where: expected n > 4 AND country = 'DE', found n 3, country \"DE\"\n\
                  near miss at offset 2: where: expected n > 4 AND country = 'DE', found n 2, country \"FR\"\n\
                  error: topic orders: no expected event in 0 ms, 4 events looked at\n";
    machine.ensign(expect).arg("n > 4 AND country = 'DE'").code(6).stdout("").stderr(stderr).check();
}

#[test]
fn a_query_goes_on_with_what_comes() {
    let machine = Machine::new();
    let mut server = machine.dev_server();
    publish(&machine, "orders.eu", ORDERS);
    let query = |text: &str| machine.ensign("query --follow -q -o jsonl").arg(text);
    let mut follow = query("SELECT n * 2 AS twice FROM orders.eu.order.1 WHERE n > 2 LIMIT 4").spawn();
    wait_for("what is there", || follow.stdout().ends_with(b"{\"twice\":8}\n").then_some(()));
    publish(&machine, "orders.eu", "{\"n\":1}\n{\"n\":5}\n");
    wait_for("what comes", || follow.stdout().ends_with(b"{\"twice\":10}\n").then_some(()));
    server = server.restart(rustix::process::Signal::TERM);
    publish(&machine, "orders.eu", "{\"n\":2}\n{\"n\":6}\n{\"n\":7}\n");
    let done = follow.finish();
    assert_eq!((done.code, done.text()), (Some(0), "{\"twice\":6}\n{\"twice\":8}\n{\"twice\":10}\n{\"twice\":12}\n"));
    query("SELECT * FROM orders.eu OFFSET 1 BEFORE 4 WHERE country = 'FR'")
        .stdout("{\"_offset\":2,\"n\":2,\"country\":\"FR\"}\n")
        .stderr("")
        .check();
    let endless = "error: syntax error at position 7 near \"count\": an aggregate is not possible in the query of a \
                   subscription, which never ends\n  SELECT count(*) FROM orders.eu\n         ^\n";
    machine.ensign("query --follow").arg("SELECT count(*) FROM orders.eu").code(2).stdout("").stderr(endless).check();
    let unknown = machine.ensign("query --follow").arg("SELECT * FROM ordres").code(3).stdout("").check();
    assert!(unknown.stderr.starts_with("error: there is no topic ordres\n"), "{}", unknown.stderr);
    drop(server);
}
