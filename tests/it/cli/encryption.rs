//! `ensign encryption` against a running server, and on a directory that no server uses.

use std::{fs, os::unix::fs::PermissionsExt};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::machine::Machine;

/// Rotated, suspended, resumed, revoked: what a user sees of it, and what readers do.
#[test]
fn the_life_of_a_data_key() {
    let machine = Machine::new();
    let mut server = machine.server("dev-server --addr 127.0.0.1:0 --data-dir data");
    machine.ensign("topic create flights").stderr("created topic flights\n").check();
    machine.ensign("publish flights -m first -q").check();
    machine.ensign("encryption rotate").stdout("").stderr("new events are encrypted under version 2\n").check();
    machine.ensign("publish flights -m second -q").check();
    let status = machine.ensign("encryption status -o json").check().json();
    let of = |status: &Value, field: &str| -> Vec<Value> {
        status["versions"].as_array().unwrap().iter().map(|version| version[field].clone()).collect()
    };
    assert_eq!(of(&status, "version"), [json!(1), json!(2)]);
    assert_eq!(of(&status, "events"), [json!(1), json!(1)]);
    assert_eq!(of(&status, "state"), [json!("active"), json!("active")]);
    assert_eq!(of(&status, "newest"), [json!(false), json!(true)]);
    assert_eq!((&status["root_key_source"], &status["copies_readable"]), (&json!("directory"), &json!(false)));

    let nobody = "nobody can read what is under version 1 until it is resumed\n";
    machine.ensign("encryption suspend 1").stdout("").stderr(nobody).check();
    let read = machine.ensign("tail flights --from start -n 2 -o raw").code(1).check();
    assert!(read.stderr.contains("offsets 1 to 1: data key version 1 is suspended"), "{}", read.stderr);
    machine
        .ensign("tail flights --from start -n 1 -o raw --skip-unreadable")
        .stdout("second\n")
        .stderr("topic flights: 1 event left out, offsets 1 to 1: their data key is suspended or revoked\n")
        .check();
    let opened = "what is under version 1 can be read\n";
    machine.ensign("encryption resume 1").stdout("").stderr(opened).check();
    machine.ensign("tail flights --from start -n 2 -o raw").stdout("first\nsecond\n").check();

    let newest = "error: data key version 2 is the newest, under which new events are sealed\n\
                  hint: `ensign encryption rotate` starts another one for new events\n";
    machine.ensign("encryption suspend 2").code(1).stderr(newest).check();
    machine.ensign("encryption revoke 2 --yes").code(1).stderr(newest).check();
    let unknown = "error: there is no data key version 9\nhint: `ensign encryption status` lists them\n";
    machine.ensign("encryption suspend 9").code(3).stderr(unknown).check();
    let asked = "error: destroying data key version 1 needs a confirmation\nhint: add --yes if you are sure\n";
    machine.ensign("encryption revoke 1").code(2).stderr(asked).check();

    let before = fs::read(machine.path("data/root.key")).unwrap();
    let lost = "version 1 is destroyed, and what was under it is lost\n";
    machine.ensign("encryption revoke 1 --yes").stdout("").stderr(lost).check();
    assert_ne!(fs::read(machine.path("data/root.key")).unwrap(), before, "the root key is another one");
    let read = machine.ensign("tail flights --from start -n 2 -o raw").code(1).check();
    assert!(read.stderr.contains("offsets 1 to 1: data key version 1 has been revoked"), "{}", read.stderr);
    machine.ensign("tail flights --from 2 -n 1 -o raw").stdout("second\n").check();
    let info = machine.ensign("info --jq .events").stdout("2\n").check();
    assert_eq!(info.code, Some(0));
    assert_eq!(server.end(Signal::TERM).code, Some(0));

    let verified = machine.ensign("verify data -o json").check().json();
    assert_eq!((&verified["decrypted_blocks"], &verified["revoked_blocks"]), (&json!(1), &json!(1)));
    machine.ensign("compact data -q").check();
    let mut server = machine.server("dev-server --addr 127.0.0.1:0 --data-dir data");
    machine.ensign("tail flights --from 2 -n 1 -o raw").stdout("second\n").check();
    assert_eq!(server.end(Signal::TERM).code, Some(0));
}

/// The key moves from place to place; a start with another one says where it is.
#[test]
fn the_root_key_moves() {
    let machine = Machine::new();
    let mut server = machine.server("dev-server --addr 127.0.0.1:0 --data-dir data");
    machine.ensign("topic create flights -q").check();
    machine.ensign("publish flights -m kept -q").check();
    assert_eq!(server.end(Signal::TERM).code, Some(0));

    let refused = "error: the root key is in the data directory, beside what it protects\n\
                   hint: `ensign encryption root-key` moves it elsewhere; \
                   --insecure-root-key-file takes it from there all the same\n";
    let serve = "serve --addr 127.0.0.1:0 --tls-only=false --log-level error --data-dir";
    machine.ensign(&format!("{serve} data")).code(1).stderr(refused).check();
    let unknown = "error: it is not said where the root key comes from\n\
                   hint: give it with --root-key-file or in ENSIGN_ROOT_KEY, \
                   or say --root-key-source keyring or passphrase\n";
    machine.ensign(&format!("{serve} other")).code(1).stderr(unknown).check();
    let two = "error: there are two root keys: --root-key-file and ENSIGN_ROOT_KEY\n";
    let given = machine.ensign(&format!("{serve} data --root-key-file x")).env("ENSIGN_ROOT_KEY", "00");
    given.code(2).stderr(two).check();

    let moved = machine.ensign("encryption root-key data --to-file root.hex -o json").check();
    assert_eq!(moved.json(), json!({"directory": "data", "from": "directory", "to": "given"}));
    assert!(!machine.path("data/root.key").exists());
    let not_given = "error: data: the root key of this data directory is given at every start, and was not\n\
                     hint: give it with --root-key-file, or in ENSIGN_ROOT_KEY\n";
    machine.ensign("compact data").code(1).stderr(not_given).check();
    let unchecked = "error: data: the events in 1 block were not checked: \
                     the root key of this data directory is given at every start, and was not\n\
                     hint: give it with --root-key-file, or in ENSIGN_ROOT_KEY\n";
    machine.ensign("verify data").code(6).stderr(unchecked).check();
    machine.ensign("verify data --without-key").stderr("").check();
    machine.ensign("verify data --root-key-file root.hex").stderr("").check();
    let mut server = machine.server("dev-server --addr 127.0.0.1:0 --data-dir data --root-key-file root.hex");
    machine.ensign("tail flights --from start -n 1 -o raw").stdout("kept\n").check();
    assert_eq!(server.end(Signal::TERM).code, Some(0));

    let shared = machine.file("passphrase", "correct horse\n");
    let change = "encryption root-key data --root-key-file root.hex --to-passphrase-file passphrase -q";
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o644)).unwrap();
    let others = machine.ensign(change).code(1).check();
    assert!(others.stderr.contains("passphrase can be read by others: its mode is 644"), "{}", others.stderr);
    machine.private_file("passphrase", "correct horse\n");
    let both = "error: --to-passphrase-file is for a root key that is made of a passphrase\n\
                hint: leave either it or --to away\n";
    machine.ensign(&format!("{change} --to keyring")).code(2).stderr(both).check();
    machine.ensign(change).check();
    let other = "error: data: the root key of this data directory comes from a passphrase, \
                 not from a key that is given at every start\n\
                 hint: give it with --root-key-passphrase-file, or in ENSIGN_ROOT_KEY_PASSPHRASE; \
                 `ensign encryption root-key` moves it to another place\n";
    machine.ensign("compact data --root-key-file root.hex").code(1).stderr(other).check();
    let wrong = "error: data: the root key does not fit this data: it was written under another one\n\
                 hint: give the key or the passphrase that was set last; a copy of the directory takes the one of its time\n";
    machine.ensign("compact data").env("ENSIGN_ROOT_KEY_PASSPHRASE", "wrong").code(1).stderr(wrong).check();
    let mut server =
        machine.server("dev-server --addr 127.0.0.1:0 --data-dir data --root-key-passphrase-file passphrase");
    machine.ensign("tail flights --from start -n 1 -o raw").stdout("kept\n").check();
    assert_eq!(server.end(Signal::TERM).code, Some(0));
}

/// At the end of a topic no event follows that shows a gap, and nothing that would have readers wait for it.
#[test]
fn unreadable_events_at_the_end_of_a_topic() {
    let machine = Machine::new();
    let mut server = machine.server("dev-server --addr 127.0.0.1:0 --data-dir data");
    machine.ensign("topic create flights").stderr("created topic flights\n").check();
    machine.ensign("publish flights -m first -q").check();
    machine.ensign("encryption rotate").check();
    machine.ensign("publish flights -m second -q").check();
    machine.ensign("publish flights -m third -q").check();
    machine.ensign("encryption rotate").check();
    machine.ensign("encryption suspend 2").check();
    let left_out = "topic flights: 2 events left out: their data key is suspended or revoked\n";
    let tail = "tail flights --from start -o raw --skip-unreadable";
    machine.ensign(&format!("{tail} --until now")).stdout("first\n").stderr(left_out).check();
    machine.ensign(&format!("{tail} -n 1")).stdout("first\n").stderr("").check();
    machine.ensign("encryption suspend 1").check();
    let left_out = "topic flights: 3 events left out: their data key is suspended or revoked\n";
    machine.ensign(&format!("{tail} --until now")).stdout("").stderr(left_out).check();
    machine.ensign("publish flights -m fourth -q").check();
    let left_out = "topic flights: 3 events left out, offsets 1 to 3: their data key is suspended or revoked\n";
    machine.ensign(&format!("{tail} --until now")).stdout("fourth\n").stderr(left_out).check();
    assert_eq!(server.end(Signal::TERM).code, Some(0));
}
