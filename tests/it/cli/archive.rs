//! `ensign export`: what was published, in one file.

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::{Value, json};

use super::machine::{Machine, repository};

/// The lines of an archive.
fn lines(bytes: &[u8]) -> Vec<Value> {
    let text = zstd::stream::decode_all(bytes).unwrap();
    text.split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

/// Those that are events, without who published them, which records of `tail` do not have.
fn records(lines: &[Value]) -> Vec<Value> {
    let events = lines.iter().filter(|line| line.get("archive").is_none()).cloned();
    let without_publisher = events.map(|mut line| {
        assert!(line.as_object_mut().unwrap().remove("publisher").is_some(), "{line}");
        line
    });
    without_publisher.collect()
}

/// What `tail` says of a topic.
fn tailed(machine: &Machine, topic: &str) -> Vec<Value> {
    let tailed = machine.ensign(&format!("tail {topic} --from start --until now -o jsonl")).check();
    tailed.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn kinds(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["archive"].as_str().unwrap_or("event")).collect()
}

#[test]
fn an_archive_holds_what_was_published() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    let binary = machine.file("binary.pb", [0, 255, 10, 13, 128]);
    machine.ensign("publish a --type order@1.2.3 --meta source=test --meta empty= --key k1 -q").file(&binary).check();
    machine.ensign("publish a -q -m").arg("two\nlines").check();
    machine.ensign("publish a -q --format jsonl").stdin("{\"b\": 1.50,  \"a\":[]}\n").check();
    machine.ensign("topic create empty -q").check();
    machine.ensign("publish old -q -m kept").check();
    machine.ensign("topic archive old -q").check();

    let done = machine.ensign("export --all -f all.ensign").stdout("").check();
    assert!(done.stderr.starts_with("exported 4 events of 3 topics to all.ensign ("), "{}", done.stderr);
    let path = machine.path("all.ensign");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!machine.path("all.ensign.partial").exists());
    let lines = lines(&fs::read(&path).unwrap());
    let expected = [
        "begin",
        "topic",
        "topic",
        "topic",
        "checkpoint",
        "event",
        "event",
        "event",
        "topic_end",
        "topic_end",
        "event",
        "topic_end",
        "end",
    ];
    assert_eq!(kinds(&lines), expected);
    assert_eq!(records(&lines), [tailed(&machine, "a"), tailed(&machine, "old")].concat());
    let topics: Vec<_> = lines[1..4].iter().map(|line| json!([line["name"], line["archived"], line["last"]])).collect();
    assert_eq!(topics, [json!(["a", false, 3]), json!(["empty", false, 0]), json!(["old", true, 1])]);
    let end = &lines[12];
    assert_eq!((&end["topics"], &end["events"], &end["skipped"]), (&json!(3), &json!(4), &json!(0)));

    machine
        .ensign("export a -f all.ensign")
        .code(1)
        .stderr("error: there is a file all.ensign already\nhint: --overwrite replaces it once the new one is whole\n")
        .check();
    let done =
        machine.ensign("export a --from 2 --until 3 -f all.ensign --overwrite -o json").stderr("").check().json();
    let sha256 = done["sha256"].as_str().unwrap();
    assert_eq!((&done["topics"], &done["events"], &done["file"]), (&json!(1), &json!(1), &json!("all.ensign")));
    let lines = self::lines(&fs::read(&path).unwrap());
    assert_eq!(kinds(&lines), ["begin", "topic", "checkpoint", "event", "topic_end", "end"]);
    assert_eq!(records(&lines), [tailed(&machine, "a")[1].clone()]);
    assert_eq!(lines[5]["sha256"], sha256);
}

#[test]
fn where_an_export_starts_and_ends() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    machine.ensign("publish a -q").stdin("1\n2\n3\n4\n").check();
    let committed: Vec<String> =
        tailed(&machine, "a").iter().map(|line| line["committed"].as_str().unwrap().to_owned()).collect();
    let id = tailed(&machine, "a")[2]["id"].as_str().unwrap().to_owned();
    let offsets = |arguments: &str| -> Vec<Value> {
        let done = machine.ensign(&format!("export a -f - {arguments}")).check();
        records(&lines(&done.stdout)).iter().map(|line| line["offset"].clone()).collect()
    };
    assert_eq!(offsets(""), [1, 2, 3, 4]);
    assert_eq!(offsets("--from 2 --until 4"), [2, 3]);
    assert_eq!(offsets(&format!("--from {id}")), [3, 4]);
    assert_eq!(offsets(&format!("--until {id}")), [1, 2]);
    assert_eq!(offsets(&format!("--from {}", committed[0])), [1, 2, 3, 4]);
    assert!(offsets("--from 5").is_empty() && offsets("--from now").is_empty() && offsets("--until start").is_empty());
    assert!(offsets("--from 2030-01-01").is_empty() && offsets("--from 3 --until 2").is_empty());
    assert_eq!(offsets("--from -1h --until 2030-01-01"), [1, 2, 3, 4]);
    machine.ensign("export a -f x --from 6").code(1).stderr("error: topic a has no offset 6: it ends with 4\n").check();
    assert!(!machine.path("x.partial").exists(), "nothing is left of an export that could not start");
    machine
        .ensign("export nowhere -f x")
        .code(3)
        .stderr(
            "error: there is no topic nowhere\n\
             hint: `ensign topic list` shows what there is, `ensign topic create nowhere` makes it\n",
        )
        .check();
    machine
        .ensign("export a -f - -o yaml")
        .code(2)
        .stderr("error: -f - and -o both want standard output\nhint: name a file with -f FILE\n")
        .check();
}

#[test]
fn an_interrupted_export_goes_on_where_it_was() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    machine.ensign("publish flights -q").file(&repository("tests/data/flights.jsonl")).check();
    machine.ensign("publish other -q -m x").check();
    machine.ensign("export flights other -f whole -q").check();
    let whole = fs::read(machine.path("whole")).unwrap();
    assert!(kinds(&lines(&whole)).iter().filter(|kind| **kind == "checkpoint").count() > 1, "there are several chunks");
    fs::rename(machine.path("whole"), machine.path("kept")).unwrap();

    // What was published since then is not a part of it.
    machine.ensign("publish flights -q -m later").check();
    for end in [0, 100, whole.len() / 2, whole.len() - 1, whole.len()] {
        let partial = machine.file("whole.partial", &whole[..end]);
        let done = machine.ensign("export flights other -f whole").check();
        assert_eq!(
            done.stderr.contains("going on behind the"),
            (100..whole.len()).contains(&end) && end > 100,
            "{}",
            done.stderr
        );
        let made = fs::read(machine.path("whole")).unwrap();
        // An export that starts over is another one.
        if end > 100 {
            assert!(made == whole, "gone on with behind byte {end}");
        } else {
            assert_eq!(records(&lines(&made)).len(), 20_002);
        }
        assert!(!partial.exists());
        fs::remove_file(machine.path("whole")).unwrap();
    }

    machine.file("whole.partial", &whole[..whole.len() / 2]);
    let refused = machine.ensign("export other -f whole").code(1).check();
    let expected = "whole.partial was begun with other topics or options\n\
                    hint: --start-over leaves it, and exports what you ask for now\n";
    assert!(refused.stderr.ends_with(expected), "{}", refused.stderr);
    machine.ensign("topic destroy other --yes -q").check();
    machine.ensign("publish other -q -m y").check();
    machine
        .ensign("export flights other -f whole")
        .code(1)
        .stderr(
            "error: topic other no longer holds what was to be exported\n\
             hint: --start-over exports what is there now\n",
        )
        .check();
    machine.ensign("export flights other -f whole --start-over -q").stderr("").check();
    assert_eq!(records(&lines(&fs::read(machine.path("whole")).unwrap())).len(), 20_002);
}

#[test]
fn events_that_nobody_can_read_are_named() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    machine.ensign("publish a -q -m first").check();
    machine.ensign("encryption rotate -q").check();
    machine.ensign("publish a -q -m second").check();
    machine.ensign("encryption rotate -q").check();
    machine.ensign("publish a -q -m third").check();
    machine.ensign("encryption revoke 2 --yes -q").check();
    let refused = machine.ensign("export a -f file").code(1).check();
    assert!(refused.stderr.contains("offsets 2 to 2: data key version 2 has been revoked"), "{}", refused.stderr);
    assert!(refused.stderr.contains("hint: --skip-unreadable leaves these events out"), "{}", refused.stderr);
    let done = machine.ensign("export a -f file --skip-unreadable --start-over -q").stderr("").check();
    assert_eq!(done.code, Some(0));
    let lines = lines(&fs::read(machine.path("file")).unwrap());
    assert_eq!(kinds(&lines), ["begin", "topic", "checkpoint", "event", "gap", "event", "topic_end", "end"]);
    assert_eq!((&lines[4]["first"], &lines[4]["last"]), (&json!(2), &json!(2)));
    assert_eq!((&lines[7]["events"], &lines[7]["skipped"]), (&json!(2), &json!(1)));
    // Behind the last event that can be read, too.
    let done = machine.ensign("export a --until 3 -f - --skip-unreadable").check();
    let kinds_of = self::lines(&done.stdout);
    assert_eq!(kinds(&kinds_of), ["begin", "topic", "checkpoint", "event", "gap", "topic_end", "end"]);
}
