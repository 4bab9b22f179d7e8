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
