//! `ensign export` and `ensign import`: what was published, in one file, and back.

use std::{fs, os::unix::fs::PermissionsExt};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::machine::{Machine, repository, wait_for};

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

/// The events of a topic without what the server gives them.
fn content(machine: &Machine, topic: &str) -> Vec<Value> {
    let mut events = tailed(machine, topic);
    for event in &mut events {
        for assigned in ["topic", "id", "committed"] {
            event.as_object_mut().unwrap().remove(assigned).unwrap();
        }
    }
    events
}

/// A project, exported, and imported into a server that knows nothing of it.
#[test]
fn what_was_exported_comes_back() {
    let machine = Machine::new();
    let server = machine.dev_server();
    let binary = machine.file("binary.pb", [0, 255, 10, 13, 128]);
    machine.ensign("publish a --type order@1.2.3 --meta source=test --meta empty= --key k1 -q").file(&binary).check();
    machine.ensign("publish a -q -m").arg("two\nlines").check();
    machine.ensign("publish a -q --format jsonl").stdin("{\"b\": 1.50,  \"a\":[]}\n").check();
    machine.ensign("publish flights -q").file(&repository("tests/data/flights.jsonl")).check();
    machine.ensign("topic create empty -q").check();
    machine.ensign("publish old -q -m kept").check();
    machine.ensign("topic archive old -q").check();
    let file = machine.path("all");
    machine.ensign("export --all -q").arg("-f").file(&file).check();
    let before = ["a", "flights", "empty", "old"].map(|topic| content(&machine, topic));
    let id = machine.ensign("topic show a --jq .id").check().stdout;
    drop(server);

    let machine = Machine::new();
    let _server = machine.dev_server();
    let import = |arguments: &str| machine.ensign(&format!("import {arguments}")).arg("-f").file(&file);
    let done = import("").stdout("").check();
    let expected = "created topic a\ncreated topic empty\ncreated topic flights\ncreated topic old\n\
                    topic a: 3 events published\ntopic empty: 0 events published\n\
                    topic flights: 20,000 events published\ntopic old: 1 event published\n\
                    imported 20,004 events into 4 topics in ";
    assert!(done.stderr.starts_with(expected), "{}", done.stderr);
    for (topic, before) in ["a", "flights", "empty", "old"].iter().zip(&before) {
        assert!(content(&machine, topic) == *before, "{topic} is not what it was");
    }
    assert_eq!(machine.ensign("topic show a --jq .id").check().stdout, id, "the id is the same where it is free");
    machine.ensign("topic show old --jq .state").stdout("archived\n").check();

    // Once more, with nothing to add; from standard input, too.
    let again = import("-o json").stderr("").check().json();
    let published: Vec<_> = again.as_array().unwrap().iter().map(|topic| topic["published"].clone()).collect();
    assert_eq!(published, [0, 0, 0, 0]);
    let stdin = fs::read(&file).unwrap();
    machine.ensign("import -f - --topic a=b").stdin(&stdin).check();
    assert_eq!(content(&machine, "b"), before[0]);
    let lines = zstd::stream::decode_all(&stdin[..]).unwrap();
    machine.ensign("import -f - --topic a=c -q").stdin(lines).stderr("").check();
    assert_eq!(content(&machine, "c"), before[0]);

    // What comes behind is left alone.
    machine.ensign("publish a -q -m more").check();
    let done = import("--topic a").check();
    assert!(
        done.stderr.contains("topic a: 0 events published, 3 there before, 1 of others behind them\n"),
        "{}",
        done.stderr
    );
    let listed = machine.ensign("import --list -o json -f").file(&file).check().json();
    assert_eq!(listed[2]["name"], "flights");
    assert_eq!((&listed[2]["events"], &listed[3]["archived"]), (&json!(20_000), &json!(true)));
}

#[test]
fn an_import_goes_on_behind_what_is_there_and_nowhere_else() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    machine.ensign("publish a -q").stdin("1\n2\n3\n4\n5\n").check();
    machine.ensign("export a -f whole -q").check();
    machine.ensign("export a -f start -q --until 4").check();
    machine.ensign("export a -f rest -q --from 4").check();
    let a = content(&machine, "a");

    // A part, and then the whole; a part, and then the rest.
    machine.ensign("import -f start --topic a=b -q").check();
    let done = machine.ensign("import -f whole --topic a=b").check();
    assert!(done.stderr.starts_with("topic b: 2 events published, 3 there before\n"), "{}", done.stderr);
    machine.ensign("import -f start --topic a=c -q").check();
    for published in [2, 0] {
        let done = machine.ensign("import -f rest --topic a=c -o json").check().json();
        assert_eq!((&done[0]["published"], &done[0]["first"]), (&json!(published), &json!(4)));
    }
    // The rest alone goes to the start.
    for published in [2, 0] {
        let done = machine.ensign("import -f rest --topic a=d -o json").check().json();
        assert_eq!((&done[0]["published"], &done[0]["first"]), (&json!(published), &json!(1)));
    }
    assert_eq!((content(&machine, "b"), content(&machine, "c")), (a.clone(), a.clone()));
    assert_eq!(content(&machine, "d").iter().map(|event| event["data"].clone()).collect::<Vec<_>>(), ["4", "5"]);

    // The lines of an archive are records for `publish`, but for those that are its own.
    let text = zstd::stream::decode_all(&fs::read(machine.path("whole")).unwrap()[..]).unwrap();
    machine.ensign("publish p -q").stdin(text).stderr("").check();
    assert_eq!(content(&machine, "p"), a);

    // Something else.
    machine.ensign("publish e -q -m other").check();
    let refused = |offset: u64, topic: &str| {
        format!(
            "error: topic {topic} holds something else than a in the file: at offset {offset} the data is another one\n\
             hint: --topic a=OTHER imports it into another topic\n"
        )
    };
    machine.ensign("import -f whole --topic a=e").code(6).stderr(&refused(1, "e")).check();
    machine.ensign("import -f start --topic a=f -q").check();
    machine.ensign("publish f -q -m other").check();
    machine.ensign("import -f whole --topic a=f").code(6).stderr(&refused(4, "f")).check();
    assert_eq!(content(&machine, "f").len(), 4, "nothing was added");
    machine
        .ensign("import -f whole --topic b")
        .code(3)
        .stderr("error: whole has no topic b\nhint: `ensign import --list -f FILE` shows what it has\n")
        .check();
    machine.ensign("import -f whole --topic a=g --topic a=h").code(2).check();
    machine.ensign("topic show g").code(3).check();
    machine.ensign("import -f nothing").code(3).stderr("error: there is no file nothing\n").check();
}

#[test]
fn a_damaged_file_changes_nothing() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    machine.ensign("publish a -q").stdin("1\n2\n3\n").check();
    machine.ensign("export a -f whole -q").check();
    let whole = fs::read(machine.path("whole")).unwrap();
    let text = zstd::stream::decode_all(&whole[..]).unwrap();
    let check = |bytes: &[u8], expected: &str| {
        machine.file("damaged", bytes);
        let refused = machine.ensign("import -f damaged --topic a=b").code(6).check();
        assert!(refused.stderr.contains(expected), "{}", refused.stderr);
        machine.ensign("topic show b").code(3).check();
    };
    let cut = whole.len() - 1;
    check(&whole[..cut], &format!("error: damaged: it is cut off behind byte {cut}: "));
    check(&whole[..cut], "hint: an export that was interrupted goes on when its command is run again\n");
    check(
        &[&whole[..], b"x"].concat(),
        &format!("error: damaged: something stands behind its end, from byte {} on", whole.len()),
    );
    let mut changed = whole.clone();
    changed[cut - 10] ^= 1;
    check(&changed, "error: damaged: ");
    let other = String::from_utf8(text).unwrap().replacen("\"data\":\"2\"", "\"data\":\"7\"", 1);
    check(other.as_bytes(), "error: damaged: line 8: the lines before it are not those that were written\n");
    check(b"hello\n", "error: damaged: it is no archive\n");
    // Standard input is checked while it is read: nothing of a part is published before the part is right.
    machine.ensign("import -f - --topic a=b").stdin(other).code(6).check();
    machine.ensign("topic show b").code(3).check();
}

/// The server is killed and comes back while events go in.
#[test]
fn an_import_survives_its_server() {
    let machine = Machine::new();
    let server = machine.dev_server();
    let flights = repository("tests/data/flights.jsonl");
    for _ in 0..2 {
        machine.ensign("publish flights -q").file(&flights).check();
    }
    machine.ensign("export flights -f file -q").check();
    let mut import = machine.ensign("import -f file --topic flights=again").spawn();
    wait_for("some events", || {
        let shown = machine.ensign("topic list --jq").arg(".[] | select(.name == \"again\") | .events").check();
        shown.text().trim().parse::<u64>().ok().filter(|events| *events > 0)
    });
    let _server = server.restart(Signal::KILL);
    let done = import.finish();
    assert!(done.code == Some(0) || done.stderr.contains("can't reach"), "{}", done.stderr);
    machine.ensign("import -f file --topic flights=again").check();
    assert_eq!(machine.ensign("topic show again --jq .events").check().text(), "40000\n");
    assert!(content(&machine, "again") == content(&machine, "flights"));
}
