//! `ensign bench`: what it reports, what it compares, and what it finds out about a server that is killed.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
};

use serde_json::{Value, json};

use super::machine::{Machine, wait_for};

/// A few kills, as a stranger would have them: no server, no profile, nothing in the home directory before or after.
#[test]
fn a_server_that_is_killed_keeps_what_it_acked() {
    let machine = Machine::new();
    let temporary = machine.path("tmp");
    fs::create_dir(&temporary).unwrap();
    let run = machine.ensign("bench --verify --kills 3 --seed 7 -o json").env("TMPDIR", temporary.to_str().unwrap());
    let account = run.check().json();
    let number = |name: &str| account[name].as_u64().unwrap_or_else(|| panic!("no {name} in {account}"));
    assert_eq!((number("seed"), number("kills")), (7, 3));
    assert_eq!((&account["failure"], &account["dir"]), (&Value::Null, &Value::Null));
    assert!(
        number("acked") > 0 && number("acked") <= number("found") && number("found") <= number("sent"),
        "{account}"
    );
    assert_eq!(number("found") - number("acked"), number("found_unacked"));
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
    let left: Vec<_> = fs::read_dir(machine.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["tmp"]);
}

/// The user's own settings name another server, other credentials and another directory: none of them is used.
#[test]
fn a_verification_leaves_the_user_alone_and_keeps_its_directory_when_asked() {
    let machine = Machine::new();
    let strange = machine.ensign("bench --verify --duration 1s --writers 1 --topics 1 -o json --dir kept");
    let strange = strange.env("ENSIGN_ENDPOINT", "192.0.2.1:1").env("ENSIGN_CLIENT_ID", "nobody");
    let account = strange.env("ENSIGN_EPHEMERAL", "1").env("ENSIGN_PROFILE", "none").check().json();
    let dir = machine.path("kept");
    assert_eq!(account["dir"], json!(dir));
    let found = machine.ensign("verify kept/data -o json").check().json();
    assert_eq!((&found["intact"], &found["events"]), (&json!(true), &account["found"]));
    machine
        .ensign("bench --verify --dir kept")
        .code(2)
        .stderr(&format!("error: {} has data already\nhint: name an empty directory\n", dir.display()))
        .check();
}

/// Damages what a server stored while it is killed and started: it must not pass.
#[test]
fn a_verification_notices_what_does_not_come_back() {
    let machine = Machine::new();
    let mut run = machine.ensign("bench --verify --duration 1h --dir broken").spawn();
    let dir = machine.path("broken");
    wait_for("a kill after something was acked", || run.stderr().contains("kill 1: ").then_some(()));
    let segment = OpenOptions::new().write(true).open(dir.join("data/journal/00000000000000000001.seg")).unwrap();
    // The middle of the first frame's payload, which is an encrypted block.
    segment.write_all_at(b"damage", 64 + 128 + 10).unwrap();
    let done = run.finish();
    assert_eq!(done.code, Some(6), "{}", done.stderr);
    assert!(!done.text().contains("verdict"), "{}", done.text());
    let kept = format!("hint: what the server stored and said is in {}\n", dir.display());
    assert!(done.stderr.ends_with(&kept), "{}", done.stderr);
}

#[test]
fn options_of_the_verification_belong_to_it() {
    let machine = Machine::new();
    for wrong in [
        "bench --kills 3",
        "bench --verify publish t",
        "bench --verify --kills 0",
        "bench --verify --kills 1 --duration 1s",
        "bench",
    ] {
        let done = machine.ensign(wrong).code(2).check();
        assert_eq!(done.text(), "", "{wrong}");
    }
}

/// The names of an object's members, in their order.
fn names(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// What every report has, whatever was measured.
#[track_caller]
fn check_report(report: &Value, events: u64, bytes: u64) {
    assert_eq!((&report["events"], &report["bytes"]), (&json!(events), &json!(bytes)), "{report}");
    let seconds = report["seconds"].as_f64().unwrap();
    assert!(seconds > 0.0, "{report}");
    for (rate, amount) in [("events_per_second", events), ("bytes_per_second", bytes)] {
        #[expect(clippy::cast_precision_loss, reason = "what is lost is far below a thousandth")]
        let (said, exact) = (report[rate].as_u64().unwrap() as f64, amount as f64 / seconds);
        assert!((said - exact).abs() <= 1.0 + exact / 1_000.0, "{rate}: {said} is not {exact}");
    }
    for latencies in [&report["latency_us"], &report["disk"]["fdatasync_us"]] {
        assert_eq!(names(latencies), ["p50", "p90", "p99", "p99_9", "p99_99", "max"]);
        let values: Vec<u64> = latencies.as_object().unwrap().values().map(|value| value.as_u64().unwrap()).collect();
        assert!(values.is_sorted(), "{latencies}");
    }
    assert!(report["disk"]["syncs"].as_u64().unwrap() > 0, "{report}");
    assert!(report["server"]["version"].is_string(), "{report}");
    assert_eq!(report["server"]["durability"], json!("fsync"));
}

fn check_ratio(report: &Value) {
    let rate = |report: &Value| report["events_per_second"].as_f64().unwrap();
    let ratio = rate(report) / rate(&report["plain"]);
    assert!((report["ratio"].as_f64().unwrap() - ratio).abs() < 0.002, "{ratio}: {report}");
}

#[test]
fn publishing_is_measured_and_counted() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    let report = machine.ensign("bench publish load --size 50 --count 2000 --warm-up 0s -o json").check().json();
    check_report(&report, 2_000, 100_000);
    assert_eq!((&report["benchmark"], &report["topic"]), (&json!("publish"), &json!("load")));
    let setting = json!({ "content": "json", "size": 50, "streams": 1, "topics": 1, "window": 16_384 });
    assert_eq!(report["setting"], setting);
    machine.ensign("topic show load --jq .events").stdout("2000\n").check();

    // The same shape for one event after the other, for a rate, and over several streams and topics.
    let report = machine.ensign("bench publish load --size 9 --count 20 --window 1 -o json").check().json();
    check_report(&report, 20, 180);
    let many = "bench publish many --size 10 --count 300 --streams 2 --topics 3 --rate 3000 -o json";
    let report = machine.ensign(many).check().json();
    check_report(&report, 300, 3_000);
    let counts: Vec<String> = (1..=3)
        .map(|number| {
            machine.ensign(&format!("topic show many-{number} --jq .events")).check().text().trim().to_owned()
        })
        .collect();
    assert_eq!(counts.iter().map(|count| count.parse::<u64>().unwrap()).sum::<u64>(), 300, "{counts:?}");
    assert!(!counts.contains(&"0".to_owned()), "{counts:?}");
}

#[test]
fn lines_of_a_file_are_published_over_and_over() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    machine.file("lines.jsonl", "{\"a\":1}\n2\n");
    let report = machine.ensign("bench publish t --file lines.jsonl --count 5 -o json").check().json();
    check_report(&report, 5, 7 + 1 + 7 + 1 + 7);
    machine.ensign("tail t --from start --until now -o raw").stdout("{\"a\":1}\n2\n{\"a\":1}\n2\n{\"a\":1}\n").check();
}

#[test]
fn reading_is_measured_and_counted() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    machine.ensign("bench publish load --size 40 --count 3000").check();
    check_report(&machine.ensign("bench tail load -o json").check().json(), 3_000, 120_000);
    check_report(&machine.ensign("bench tail load --from 2001 -o json").check().json(), 1_000, 40_000);
    // Every stream reads all of it.
    check_report(&machine.ensign("bench tail load --streams 3 -o json").check().json(), 9_000, 360_000);
    // Those that are done first do not wait for more than there is.
    let counted = machine.ensign("bench tail load --streams 3 --count 9000 -o json").check().json();
    check_report(&counted, 9_000, 360_000);
}

/// The events that a query looks at count, not its results; a query that may end before it has looked at all of them is refused.
#[test]
fn queries_are_measured_beside_plain_reading() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    machine.ensign("bench publish load --size 40 --count 3000 --warm-up 0s").check();
    let bench = |query: &str| machine.ensign("bench query").arg(query).arg("-o").arg("json").check().json();
    for (query, results, events) in [
        ("SELECT * FROM load", 3_000, 3_000),
        ("SELECT _offset FROM load WHERE _offset % 2 = 0 OFFSET 1000", 1_000, 2_000),
        ("SELECT _size, count(*) FROM load GROUP BY _size", 1, 3_000),
        ("SELECT * FROM load WHERE nothing = 1", 0, 3_000),
    ] {
        let report = bench(query);
        check_report(&report, events, events * 40);
        check_ratio(&report);
        let expected = (&json!("query"), &json!({ "query": query }), &json!(results));
        assert_eq!((&report["benchmark"], &report["setting"], &report["results"]), expected);
        assert_eq!(report["plain"]["events"], json!(events));
    }
    let text = machine.ensign("bench query").arg("SELECT * FROM load").check();
    let labels: Vec<&str> = text.text().lines().filter_map(|line| line.split_whitespace().next()).collect();
    for label in ["results", "plain", "ratio", "wait"] {
        assert!(labels.contains(&label), "{labels:?}");
    }
    machine.ensign("bench query").arg("SELECT * FROM load LIMIT 5").code(2).check();
    machine.ensign("topic create empty").check();
    let empty = machine.ensign("bench query").arg("SELECT * FROM empty").code(1).check();
    assert!(empty.stderr.contains("topic empty has no events that the query would look at"), "{}", empty.stderr);
}

/// Every group gets every event, whatever it promises, and nothing is left of what was made for it.
#[test]
fn reading_through_groups_is_measured_beside_reading_without_one() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    for delivery in ["at-most-once", "at-least-once", "exactly-once"] {
        let run = format!("bench group --groups 3 --members 2 --delivery {delivery} --count 2000 --size 40 -o json");
        let report = machine.ensign(&run).check().json();
        check_report(&report, 6_000, 240_000);
        assert_eq!((&report["benchmark"], &report["plain"]["events"]), (&json!("group"), &json!(2_000)));
        assert_eq!(names(&report["plain"]), ["events", "seconds", "events_per_second"]);
        let setting = json!({
            "content": "json", "count": 2_000, "delivery": delivery, "groups": 3, "members": 2, "size": 40
        });
        assert_eq!(report["setting"], setting);
        check_ratio(&report);
        assert!(report["delivered_again"].is_u64(), "{report}");
        machine.ensign("group list -o json").stdout("[]\n").check();
        wait_for("the topic's end", || (machine.ensign("topic list -o json").check().text() == "[]\n").then_some(()));
    }
    let text = machine.ensign("bench group --count 100").check();
    let labels: Vec<&str> = text.text().lines().filter_map(|line| line.split_whitespace().next()).collect();
    let expected = [
        "benchmark",
        "events",
        "bytes",
        "time",
        "events/s",
        "bytes/s",
        "wait",
        "plain",
        "ratio",
        "again",
        "server",
        "fdatasync",
    ];
    assert_eq!(labels, expected);
}

#[test]
fn the_way_to_a_subscriber_is_measured() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    let report = machine.ensign("bench latency load --size 30 --count 200 --rate 2000 -o json").check().json();
    check_report(&report, 200, 6_000);
    assert_eq!(names(&report["delivery_latency_us"]), names(&report["latency_us"]));
    assert_eq!((&report["benchmark"], &report["setting"]["rate"]), (&json!("latency"), &json!(2_000)));
    let text = machine.ensign("bench latency load --size 30 --count 200 --rate 2000").check();
    let labels: Vec<&str> = text.text().lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(
        labels,
        ["benchmark", "events", "bytes", "time", "events/s", "bytes/s", "ack", "delivery", "server", "fdatasync"]
    );
}

/// How soon acks come says little without what they promise.
#[test]
fn the_report_says_what_an_ack_promises() {
    let machine = Machine::new();
    for (options, name) in [("--durability os", "os"), ("--ephemeral", "memory")] {
        let _server = machine.dev_server_with(&format!("--addr 127.0.0.1:0 {options}"));
        let report = machine.ensign("bench publish load --count 10 -o json").check().json();
        assert_eq!(report["server"]["durability"], json!(name));
        let text = machine.ensign("bench tail load --count 10").check();
        assert!(text.text().contains(&format!(", durability {name}\n")), "{}", text.text());
    }
}

/// A report that is better than what any machine reaches, one that is worse, and one of something else.
#[test]
fn a_report_is_compared_with_an_earlier_one() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    let run = "bench publish load --size 50 --count 500 -o json";
    let mut before = machine.ensign(run).check().json();
    let compared = |code: i32| machine.ensign(&format!("{run} --baseline before.json")).code(code).check();
    before["events_per_second"] = json!(1);
    machine.file("before.json", before.to_string());
    check_report(&compared(0).json(), 500, 25_000);

    before["events_per_second"] = json!(1_000_000_000_000_u64);
    machine.file("before.json", before.to_string());
    let worse = compared(6);
    check_report(&worse.json(), 500, 25_000);
    assert!(worse.stderr.contains("events/s went from 1,000,000,000,000 to "), "{}", worse.stderr);
    assert!(worse.stderr.contains("which is more than 10 % worse"), "{}", worse.stderr);

    // What can't be compared gives no report that could be taken for a success.
    before["setting"]["size"] = json!(51);
    machine.file("before.json", before.to_string());
    let other = compared(2);
    assert_eq!(other.text(), "");
    assert!(other.stderr.contains("it is of another benchmark"), "{}", other.stderr);
    machine.file("before.json", "nonsense");
    assert!(compared(2).stderr.contains("it is not a report"));
}

#[test]
fn what_can_not_be_measured_is_refused() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    machine.file("empty.jsonl", "\n");
    for (wrong, code, message) in [
        ("publish t --size 6000000", 2, "6000000"),
        ("publish t --count 0", 2, "--count"),
        ("publish t --count 5 --duration 1s", 2, "--duration"),
        ("publish t --rate 5 --window 5", 2, "--window"),
        ("publish t --file empty.jsonl", 1, "has no lines"),
        ("publish t --file nowhere.jsonl", 1, "nowhere.jsonl"),
        ("publish t --tolerance 5", 2, "--baseline"),
        ("publish t --count 1 --no-create", 3, "there is no topic t"),
        ("latency t --count 1 --rate 0", 2, "--rate"),
        ("tail t", 3, "there is no topic t"),
        ("tail", 2, "TOPIC"),
        ("group --groups 0", 2, "--groups"),
        ("group --delivery twice", 2, "--delivery"),
    ] {
        let done = machine.ensign(&format!("bench {wrong}")).code(code).check();
        assert!(done.stderr.contains(message), "bench {wrong}\n{}", done.stderr);
        assert_eq!(done.text(), "", "bench {wrong}");
    }
    machine.ensign("topic list -o json").stdout("[]\n").check();
}
