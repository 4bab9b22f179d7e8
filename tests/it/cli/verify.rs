//! `ensign verify`, on the directory of a real server.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::machine::Machine;

/// Publishes a little and stops the server; gives its data directory.
fn stopped(machine: &Machine, signal: Signal) -> PathBuf {
    let mut server = machine.dev_server();
    let dir = PathBuf::from(server.ready["data_dir"].as_str().unwrap());
    machine.ensign("publish orders").stdin("1\n2\n3\n").check();
    machine.ensign("publish orders").stdin("4\n").check();
    machine.ensign("publish gone").stdin("5\n").check();
    machine.ensign("topic destroy gone --yes").check();
    let in_use = machine.ensign("verify").file(&dir).code(1).check();
    let pid = server.ready["pid"].as_u64().unwrap();
    assert_eq!(
        in_use.stderr,
        format!(
            "error: {}: the directory is in use by process {pid}\nhint: stop the server that uses it, or verify a copy\n",
            dir.display()
        )
    );
    server.end(signal);
    dir
}

fn verify(machine: &Machine, dir: &Path, code: i32) -> Value {
    machine.ensign("verify -o json").file(dir).code(code).check().json()
}

#[test]
fn a_good_directory() {
    for signal in [Signal::TERM, Signal::KILL] {
        let machine = Machine::new();
        let dir = stopped(&machine, signal);
        let found = verify(&machine, &dir, 0);
        assert_eq!((&found["intact"], &found["damage"], &found["torn_tail"]), (&json!(true), &json!([]), &Value::Null));
        assert_eq!((&found["segments"], &found["events"], &found["topics"]), (&json!(1), &json!(4), &json!(1)));
        assert_eq!((&found["not_decrypted_because"], &found["dead_blocks"]), (&Value::Null, &json!(1)));
        assert_eq!(found["decrypted_blocks"], found["blocks"]);

        let text = machine.ensign("verify").file(&dir).stderr("").check();
        let lines: Vec<&str> = text.text().lines().collect();
        assert_eq!(lines[2], format!("blocks     {} with 4 events in 1 topics", found["blocks"]));
        assert_eq!(lines.last(), Some(&"damage     none"));
    }
}

#[test]
fn a_damaged_directory() {
    let machine = Machine::new();
    let dir = stopped(&machine, Signal::TERM);
    let file = dir.join("journal/00000000000000000001.seg");
    let mut bytes = fs::read(&file).unwrap();
    // The middle of the first frame's payload.
    bytes[64 + 128 + 10] ^= 1;
    fs::write(&file, bytes).unwrap();

    let found = verify(&machine, &dir, 6);
    assert_eq!(found["intact"], json!(false));
    let damage = &found["damage"][0];
    assert_eq!((&damage["file"], &damage["position"]), (&json!("journal/00000000000000000001.seg"), &json!(64)));
    assert_eq!(damage["what"], json!("the payload's checksum does not fit"));
    assert_eq!(damage["first_offset"], json!(1));
    let text = machine.ensign("verify").file(&dir).code(6).check();
    let expected = format!("error: {}: 1 place is damaged\n", dir.display());
    assert!(text.stderr.starts_with(&expected), "{}", text.stderr);
    assert!(text.text().contains("the payload's checksum does not fit"), "{}", text.text());

    fs::remove_file(dir.join("root.key")).unwrap();
    let found = verify(&machine, &dir, 6);
    assert_eq!(
        found["not_decrypted_because"],
        json!("the file root.key is missing; restore it, as nothing stored can be read without it")
    );
    fs::write(dir.join("root.key"), [7; 32]).unwrap();
    let found = verify(&machine, &dir, 6);
    assert_eq!(
        found["not_decrypted_because"],
        json!("the root key does not fit this data: it was written under another one")
    );
}

#[test]
fn no_directory() {
    let machine = Machine::new();
    machine.ensign("verify").code(2).check();
    let dir = machine.path("nowhere");
    let expected = format!("error: {}: there is no such directory\n", dir.display());
    machine.ensign("verify").file(&dir).code(3).stderr(&expected).check();
    assert!(!dir.exists());
    fs::create_dir(&dir).unwrap();
    let done = machine.ensign("verify").file(&dir).code(3).check();
    assert!(done.stderr.contains("nothing is stored there"), "{}", done.stderr);
}
