//! Publishing and reading: what goes in comes out.

use std::{
    fs,
    io::{BufRead, BufReader},
};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::machine::{Machine, repository, wait_for};

/// What was published to a topic, one event a line.
fn raw(machine: &Machine, topic: &str) -> Vec<u8> {
    machine.ensign(&format!("tail {topic} --from start --until now -o raw")).stderr("").check().stdout
}

#[test]
fn the_first_minute() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    let done = machine.ensign("publish hello -m world").stdout("").check();
    assert!(done.stderr.starts_with("created topic hello\npublished 1 event (5 B) to hello in "), "{}", done.stderr);
    machine.ensign("tail hello --from start -n 1 -o raw").stdout("world\n").stderr("").check();
    let template = "template={topic} {offset} {mimetype} {data}";
    machine.run(["tail", "hello", "--from", "1", "-n1", "-o", template]).stdout("hello 1 text/plain world\n").check();
}

#[test]
fn real_data_comes_back_byte_for_byte() {
    let machine = Machine::new();
    let server = machine.dev_server();
    let topics = [("flights", "flights.jsonl", 20_000), ("earthquakes", "earthquakes.jsonl", 1_707)];
    for (topic, file, count) in topics {
        let path = repository("tests/data").join(file);
        let done = machine.ensign(&format!("publish {topic} -o json")).file(&path).stderr("").check().json();
        assert_eq!((&done["published"], &done["refused"]), (&json!(count), &json!(0)));
        assert!(raw(&machine, topic) == fs::read(&path).unwrap(), "{topic} is not what was published");
    }
    let _server = server.restart(Signal::TERM);
    for (topic, file, _) in topics {
        let published = fs::read(repository("tests/data").join(file)).unwrap();
        assert!(raw(&machine, topic) == published, "{topic} is not what was published, after a restart");
    }
    // Records: everything again, in another topic.
    let records = machine.ensign("tail earthquakes --from start --until now -o jsonl").check().stdout;
    machine.ensign("publish again").stdin(&records).check();
    assert!(raw(&machine, "again") == fs::read(repository("tests/data/earthquakes.jsonl")).unwrap());
    let copies = machine.ensign("tail again --from start --until now -o jsonl").check().stdout;
    let kept = |bytes: &[u8]| -> Vec<Value> {
        bytes
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| {
                let mut record: Value = serde_json::from_slice(line).unwrap();
                for assigned in ["topic", "id", "committed"] {
                    record.as_object_mut().unwrap().remove(assigned).unwrap();
                }
                record
            })
            .collect()
    };
    assert_eq!(kept(&copies), kept(&records));
}

#[test]
fn nothing_is_lost_on_the_way_through_records() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    let binary = machine.file("binary.pb", [0, 255, 10, 13, 128]);
    machine.ensign("publish a --type order@1.2.3 --meta source=test --meta empty= --key k1").file(&binary).check();
    machine.ensign("publish a -m").arg("two\nlines").check();
    machine.ensign("publish a --format jsonl").stdin("{\"b\": 1.50,  \"a\":[]}\n").check();
    let records = machine.ensign("tail a --from start --until now").check();
    let first: Value = serde_json::from_str(records.text().lines().next().unwrap()).unwrap();
    assert_eq!(first["mimetype"], "application/protobuf");
    assert_eq!(first["type"], json!({ "name": "order", "version": "1.2.3" }));
    assert_eq!(first["metadata"], json!({ "empty": "", "source": "test" }));
    assert_eq!(
        (&first["key"], &first["encoding"], &first["data"]),
        (&json!("k1"), &json!("base64"), &json!("AP8KDYA="))
    );
    assert!(records.text().contains(r#""encoding":"text","data":"two\nlines""#), "{}", records.text());
    assert!(records.text().contains(r#""encoding":"json","data":{"b": 1.50,  "a":[]}"#), "{}", records.text());

    machine.ensign("publish b").stdin(records.text()).check();
    let copies = machine.ensign("tail b --from start --until now").check();
    let strip = |text: &str| -> Vec<Value> {
        text.lines()
            .map(|line| {
                let mut value: Value = serde_json::from_str(line).unwrap();
                let object = value.as_object_mut().unwrap();
                for assigned in ["topic", "id", "committed"] {
                    object.remove(assigned);
                }
                value
            })
            .collect()
    };
    assert_eq!(strip(copies.text()), strip(records.text()));
    // The same lines as they are.
    machine.ensign("publish c --no-records").stdin(records.text()).check();
    assert_eq!(raw(&machine, "c"), records.stdout);
}

#[test]
fn formats_of_input() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    let publish = |arguments: &str, input: &str| machine.ensign(&format!("publish {arguments}")).stdin(input).check();
    let done = publish("lines", "a\r\n\n b \nlast");
    assert!(done.stderr.contains("skipped 1 empty line\n"), "{}", done.stderr);
    assert_eq!(raw(&machine, "lines"), b"a\r\n b \nlast\n");

    publish("json --format json", "[1, {\"a\":  2},\n\"x\"] {\n}");
    assert_eq!(raw(&machine, "json"), b"1\n{\"a\":  2}\n\"x\"\n{\n}\n");

    let csv = machine.file("table.csv", "id,name\n1,\"a\nb\"\n2,c\n");
    machine.ensign("publish csv").file(&csv).check();
    let rows = machine.run([
        "tail",
        "csv",
        "--from",
        "start",
        "--until",
        "now",
        "-o",
        "template={meta.csv.header}|{mimetype}|{data}",
    ]);
    rows.stdout("id,name|text/csv|1,\"a\nb\"\nid,name|text/csv|2,c\n").check();
    machine.ensign("publish all-rows --no-header").file(&csv).check();
    assert_eq!(raw(&machine, "all-rows"), b"id,name\n1,\"a\nb\"\n2,c\n");

    let page = machine.file("page.html", "<p>\n</p>\n");
    machine.ensign("publish whole").file(&page).file(&csv).arg("--format").arg("raw").check();
    let whole = machine.run(["tail", "whole", "--from", "start", "-n", "2", "-o", "template={mimetype}"]);
    whole.stdout("text/html\ntext/csv\n").check();
    machine.ensign("publish typed --mimetype user/format-3 -m x").check();
    machine.run(["tail", "typed", "--from", "start", "-n1", "--jq", ".mimetype"]).stdout("user/format-3\n").check();
}

#[test]
fn bad_input_is_named_and_the_rest_is_published() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    let lines = "{\"a\":1}\nnope\n{\"ensign\":1,\"data\":1}\n[2]\n";
    let done = machine.ensign("publish bad --format jsonl").stdin(lines).code(1).stdout("").check();
    let lines: Vec<&str> = done.stderr.lines().collect();
    assert_eq!(lines[1], "line 2: not JSON: expected ident at line 1 column 2; --format lines takes every line");
    assert!(lines[2].starts_with("line 3: it starts like a record and is none (missing field"), "{}", lines[2]);
    assert!(lines[3].starts_with("published 2 events ("), "{}", lines[3]);
    assert_eq!(lines[4], "error: 2 of 4 events refused");
    assert_eq!(raw(&machine, "bad"), b"{\"a\":1}\n[2]\n");

    machine.ensign("publish bad no-such-file").code(3).stderr("error: there is no file no-such-file\n").check();
    machine.ensign("publish bad --format json").stdin("[1,").code(1).check();
    machine
        .ensign("publish nowhere --no-create -m x")
        .code(3)
        .stderr("error: there is no topic nowhere\nhint: make it with `ensign topic create nowhere`\n")
        .check();
    machine
        .ensign("tail nowhere")
        .code(3)
        .stderr(
            "error: there is no topic nowhere\n\
             hint: `ensign topic list` shows what there is, `ensign topic create nowhere` makes it\n",
        )
        .check();
    machine.ensign("topic archive bad").check();
    let done = machine.ensign("publish bad -m x -m y -o json").code(1).check();
    assert_eq!(done.json()["refused"], 2);
    assert_eq!(done.json()["refusals"][0]["reason"], "cannot publish to an archived topic");
    assert_eq!(done.stderr, "{\"error\":{\"code\":\"failed\",\"message\":\"2 of 2 events refused\",\"hint\":null}}\n");
}

#[test]
fn events_up_to_the_limit_and_beyond() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    let large = machine.file("large.txt", vec![b'x'; 5_000_000]);
    let done = machine.ensign("publish large --format raw").file(&large).check();
    assert!(done.stderr.contains("grpc.max_receive_message_length"), "{}", done.stderr);
    let mut expected = vec![b'x'; 5_000_000];
    expected.push(b'\n');
    assert!(raw(&machine, "large") == expected);

    let larger = machine.file("larger.txt", vec![b'x'; 6_000_000]);
    let done = machine.ensign("publish large --format raw").file(&larger).code(1).check();
    let first = done.stderr.lines().next().unwrap();
    assert_eq!(first, "larger.txt: the event has 6000000 bytes, and 5243000 is the limit");
    let lines = [&b"short\n"[..], &vec![b'y'; 5_243_000], b"\nlast\n"].concat();
    let done = machine.ensign("publish large").stdin(lines).code(1).check();
    assert!(done.stderr.starts_with("line 2: the event has 52430"), "{}", done.stderr);
    assert!(raw(&machine, "large").ends_with(b"x\nshort\nlast\n"));
}

#[test]
fn ranges() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    machine.ensign("publish n").stdin("1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n").check();
    let tail = |arguments: &str, expected: &str| {
        machine.ensign(&format!("tail n -o raw {arguments}")).stdout(expected).stderr("").check();
    };
    tail("--from 9 --until now", "9\n10\n");
    tail("--from start -n 2", "1\n2\n");
    tail("--from 3 --until 5", "3\n4\n");
    tail("--from -1h -n 1", "1\n");
    tail("--from end --idle 200ms", "");
    tail("--from start --until start", "");
    tail("-n 0", "");
    let id = machine.ensign("tail n --from 4 -n 1 --jq .id").check().text().trim().to_owned();
    tail(&format!("--from {id} -n 1"), "4\n");
    tail(&format!("--from start --until {id}"), "1\n2\n3\n");
    let committed = machine.ensign("tail n --from 1 -n 1 --jq .committed").check().text().trim().to_owned();
    tail(&format!("--from {committed} -n 3"), "1\n2\n3\n");
    tail("--from 2000-01-01 --until 2000-01-02", "");
    // Where nothing more can come, nothing is waited for.
    tail("--until now", "");
    tail("--until -1h", "");
    tail("--from 8 --until 11", "8\n9\n10\n");
    tail("--from 11 --until 11", "");
    tail("--from 7 --until 3", "");
    tail("--from now --until 4", "");
    tail(&format!("--from {id} --until 2000-01-01"), "");
    tail("--from 2100-01-01 --idle 200ms", "");
    tail("--from start --until 2100-01-01 --idle 200ms", "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n");
    for beyond in ["--from 12", "--until 12", "--from 12 --until now"] {
        machine
            .ensign(&format!("tail n {beyond}"))
            .code(1)
            .stdout("")
            .stderr("error: topic n: offset 12 lies behind the end of the topic, which is 11\n")
            .check();
    }
    machine.ensign("topic create empty").check();
    for range in
        ["--from start --until now", "--until 1", "--from 1 --until 1", "--until -1h", "--from -1h --until now"]
    {
        machine.ensign(&format!("tail empty -o raw {range}")).stdout("").stderr("").check();
    }
    // Identifiers of all topics follow one clock.
    machine.ensign("publish later -m x").check();
    let later = machine.ensign("tail later --from 1 -n 1 --jq .id").check().text().trim().to_owned();
    tail(&format!("--from 9 --until {later}"), "9\n10\n");
    tail(&format!("--from {later} --until now"), "");
    machine.ensign(&format!("tail later --from {id} --until now -o raw")).stdout("x\n").stderr("").check();
}

#[test]
fn several_topics_are_merged_by_commit_time() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    let mut expected = Vec::new();
    for number in 0..12 {
        let topic = ["a", "b", "c"][number * 7 % 5 % 3];
        machine.ensign(&format!("publish {topic} -q -m {number}")).check();
        expected.push(format!("{topic} {number}\n"));
    }
    let behind = expected[5..].concat();
    let expected = expected.concat();
    let template = "template={topic} {data}";
    let tail = |arguments: &str| machine.ensign(&format!("tail {arguments}")).arg("-o").arg(template);
    tail("c a b --from start --until now").stdout(&expected).stderr("").check();
    tail("c a b a --from start -n 12").stdout(&expected).stderr("").check();
    tail("a b c --from start --idle 200ms").stdout(&expected).stderr("").check();
    // Offsets and identifiers mean something in each topic.
    let seconds = machine.ensign("tail a b c --from 2 --until 3 -o").arg(template).stderr("").check().text().to_owned();
    assert_eq!(seconds.lines().count(), 3, "{seconds}");
    let id = machine.ensign("tail a b c --from start --until now --jq .id").check().text().to_owned();
    let id = id.lines().nth(5).unwrap().to_owned();
    tail(&format!("a b c --from {id} --until now")).stdout(&behind).stderr("").check();

    let hint = "`ensign topic list` shows what there is, `ensign topic create nowhere` makes it";
    tail("a nowhere b").code(3).stdout("").stderr(&format!("error: there is no topic nowhere\nhint: {hint}\n")).check();
    let error = "error: topics a, b: offset 99 lies behind the end of the topic, which is ";
    let done = tail("a b --from 99").code(1).stdout("").check();
    assert!(done.stderr.starts_with(error), "{}", done.stderr);
}

#[test]
fn a_tail_of_several_topics_goes_on_without_one_that_is_destroyed() {
    let machine = Machine::new();
    let server = machine.dev_server();
    machine.ensign("publish a -m 1").check();
    machine.ensign("publish b -m 2").check();
    let mut tail = machine.run(["tail", "a", "b", "--from", "start", "-o", "template={topic} {data}"]).spawn();
    wait_for("the events", || (tail.stdout() == b"a 1\nb 2\n").then_some(()));
    machine.ensign("topic destroy a --yes").check();
    machine.ensign("publish b -m 3").check();
    wait_for("the next event", || (tail.stdout() == b"a 1\nb 2\nb 3\n").then_some(()));
    // Where it was read from is not lost when the connection breaks.
    let _server = server.restart(Signal::KILL);
    machine.ensign("publish b -m 4").check();
    wait_for("the last event", || tail.stdout().ends_with(b"b 4\n").then_some(()));
    machine.ensign("topic destroy b --yes").check();
    let done = tail.finish();
    assert_eq!((done.code, done.text()), (Some(3), "a 1\nb 2\nb 3\nb 4\n"), "{}", done.stderr);
    assert!(done.stderr.starts_with("topic a has been destroyed\n"), "{}", done.stderr);
    assert!(done.stderr.ends_with("error: topic b: topic not found: it has been destroyed\n"), "{}", done.stderr);
}

#[test]
fn formats_of_events() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    machine.ensign("publish e --type t@1.0.0").stdin("a\n\"b\",\n").check();
    let tail = |arguments: &str| machine.ensign(&format!("tail e --from start --until now {arguments}")).check();
    let array = tail("-o json").json();
    assert_eq!(array.as_array().unwrap().iter().map(|event| &event["data"]).collect::<Vec<_>>(), ["a", "\"b\","]);
    assert_eq!(machine.ensign("tail e --until start -o json").check().json(), json!([]));
    let yaml = tail("-o yaml").text().to_owned();
    assert_eq!(yaml.lines().filter(|line| line.starts_with("- ensign: 1")).count(), 2, "{yaml}");
    let csv = tail("-o csv").text().to_owned();
    let mut rows = csv.lines();
    assert_eq!(
        rows.next(),
        Some("topic,offset,id,committed,created,mimetype,type,key,metadata,encoding,data,encryption_key")
    );
    assert!(rows.nth(1).unwrap().ends_with(r#",text/plain,t@1.0.0,,{},text,"""b"",","#), "{csv}");
    let table = tail("-o table").text().to_owned();
    assert!(table.lines().next().unwrap().starts_with("  OFFSET  COMMITTED"), "{table}");
    assert!(table.lines().nth(1).unwrap().ends_with("t@1.0.0         a"), "{table}");
    assert_eq!(tail("--jq .offset").text(), "1\n2\n");
}

#[test]
fn several_topics_and_events_that_come_later() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    machine.ensign("topic create a b").check();
    let mut tail =
        machine.run(["tail", "a", "b", "-n", "4", "-o", "template={topic}:{data}", "--from", "start"]).spawn();
    machine.ensign("publish a").stdin("1\n2\n").check();
    machine.ensign("publish b").stdin("3\n4\n").check();
    let done = tail.finish();
    let mut lines: Vec<&str> = done.text().lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["a:1", "a:2", "b:3", "b:4"]);
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));
}

/// What is a word or a sign of EnSQL is part of a name all the same.
#[test]
fn names_that_look_like_something_else() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    for name in ["flights.2025", "flights", "select", "offset", "A.b-c_d"] {
        machine.ensign(&format!("publish {name} -q -m in-{name}")).check();
    }
    for name in ["flights.2025", "flights", "select", "offset", "A.b-c_d"] {
        machine.ensign(&format!("tail {name} --from start -n 1 -o raw")).stdout(&format!("in-{name}\n")).check();
    }
}

#[test]
fn a_topic_that_is_destroyed_ends_its_tail() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    machine.ensign("publish t -m x").check();
    let mut tail = machine.ensign("tail t --from start -o raw").spawn();
    wait_for("the event", || (tail.stdout() == b"x\n").then_some(()));
    machine.ensign("topic destroy t --yes").check();
    let done = tail.finish();
    assert_eq!((done.code, done.text()), (Some(3), "x\n"), "{}", done.stderr);
    assert!(done.stderr.starts_with("error: topic t: "), "{}", done.stderr);
}

#[test]
fn lines_are_published_when_they_are_written() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    machine.ensign("topic create slow").check();
    let mut publisher = machine.ensign("publish slow").spawn();
    publisher.write(b"first\n");
    machine.ensign("tail slow --from start -n 1 -o raw").stdout("first\n").check();
    publisher.write(b"second\n");
    machine.ensign("tail slow --from 2 -n 1 -o raw").stdout("second\n").check();
    publisher.signal(Signal::INT);
    let done = publisher.finish();
    assert_eq!(done.code, Some(130), "{}", done.stderr);
    assert!(done.stderr.starts_with("published 2 events (11 B) to slow in "), "{}", done.stderr);
}

#[test]
fn an_interrupted_tail_says_nothing() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    machine.ensign("publish t -m x").check();
    let mut tail = machine.ensign("tail t --from start -o json").spawn();
    // What was read is on its way out as soon as nothing more is there; the array is closed at the end.
    wait_for("the event", || tail.stdout().ends_with(b"}").then_some(()));
    tail.signal(Signal::INT);
    let done = tail.finish();
    assert_eq!((done.code, done.stderr.as_str()), (Some(130), ""));
    assert_eq!(done.json()[0]["data"], "x");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    machine.ensign("publish flights -f").file(&repository("tests/data/flights.jsonl")).check();
    let mut child = std::process::Command::new("sh")
        .arg("-c")
        .arg(format!("{} tail flights --from start; echo $? > code", env!("CARGO_BIN_EXE_ensign")))
        .env("HOME", machine.path("."))
        .current_dir(machine.path("."))
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::with_capacity(64, child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.starts_with("{\"ensign\":1,"), "{first}");
    child.wait().unwrap();
    assert_eq!(fs::read_to_string(machine.path("code")).unwrap(), "0\n");
}
