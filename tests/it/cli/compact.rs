//! `ensign compact`, on the directory of a real server.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::machine::Machine;

/// Publishes events one at a time and destroys a topic, with a server; gives its data directory, and all that a reader is told.
fn trickled(machine: &Machine, signal: Signal) -> (PathBuf, Vec<u8>) {
    let mut server = machine.dev_server();
    let dir = PathBuf::from(server.ready["data_dir"].as_str().unwrap());
    for number in 0..6 {
        machine.ensign("publish orders").stdin(format!("order {number}\n")).check();
    }
    machine.ensign("publish gone").stdin("5\n").check();
    machine.ensign("topic destroy gone --yes").check();
    let pid = server.ready["pid"].as_u64().unwrap();
    let in_use = format!(
        "error: {}: the directory is in use by process {pid}\n\
         hint: stop the server that uses it; a server compacts by itself, in the background\n",
        dir.display()
    );
    machine.ensign("compact").file(&dir).code(1).stdout("").stderr(&in_use).check();
    let seen = read(machine);
    server.end(signal);
    (dir, seen)
}

fn read(machine: &Machine) -> Vec<u8> {
    machine.ensign("tail orders --from start --until end -o jsonl").check().stdout
}

fn compact(machine: &Machine, dir: &Path, code: i32) -> Value {
    machine.ensign("compact -o json").file(dir).code(code).check().json()
}

#[test]
fn every_event_is_there_and_takes_less_room() {
    for signal in [Signal::TERM, Signal::KILL] {
        let machine = Machine::new();
        let (dir, seen) = trickled(&machine, signal);
        let before = machine.ensign("verify -o json").file(&dir).check().json();
        assert_eq!((&before["blocks"], &before["dead_blocks"]), (&json!(6), &json!(1)));

        let done = compact(&machine, &dir, 0);
        let numbers = ["segments", "segments_replaced", "segments_left", "dead_bytes"];
        assert_eq!(numbers.map(|name| done[name].as_u64()), [1, 1, 0, 0].map(Some), "{done}");
        assert!(done["bytes_written"].as_u64() < done["bytes_read"].as_u64(), "{done}");
        assert_eq!((&done["bytes"], &done["small_block_bytes"]), (&done["bytes_written"], &done["live_bytes"]));
        let after = machine.ensign("verify -o json").file(&dir).check().json();
        assert_eq!(
            (&after["blocks"], &after["decrypted_blocks"], &after["dead_blocks"]),
            (&json!(1), &json!(1), &json!(0))
        );
        assert_eq!((&after["events"], &after["intact"]), (&json!(6), &json!(true)));

        // What is tidy is left alone.
        let (bytes, live) = (done["bytes"].as_u64().unwrap(), done["live_bytes"].as_u64().unwrap());
        let expected = format!(
            "directory     {}\nreplaced      nothing to gain\njournal       1 segment, {bytes} B\n\
             small blocks  {live} B\ndead          0 B\n",
            dir.display()
        );
        machine.ensign("compact").file(&dir).stdout(&expected).stderr("").check();

        let mut server = machine.dev_server();
        assert_eq!(read(&machine), seen);
        machine.ensign("publish orders").stdin("order 6\n").check();
        server.end(Signal::TERM);
        assert_eq!(machine.ensign("verify -o json").file(&dir).check().json()["events"], json!(7));
    }
}

#[test]
fn what_is_damaged_is_left_as_it_is() {
    let machine = Machine::new();
    let (dir, _) = trickled(&machine, Signal::TERM);
    let file = dir.join("journal/00000000000000000001.seg");
    let mut bytes = fs::read(&file).unwrap();
    // The middle of the first frame's payload.
    bytes[64 + 128 + 10] ^= 1;
    fs::write(&file, bytes).unwrap();
    let found = machine.ensign("compact -o json").file(&dir).code(6).check();
    assert_eq!(found.json()["segments_left"], json!(1));
    let expected = format!("{}: 1 segment could not be read completely, and stayed as they were", dir.display());
    assert!(found.stderr.contains(&expected), "{}", found.stderr);
    assert!(found.stderr.contains("00000000000000000001.seg at byte 64"), "{}", found.stderr);
    let damage = machine.ensign("verify -o json").file(&dir).code(6).check().json();
    assert_eq!(damage["damage"][0]["file"], json!("journal/00000000000000000001.seg"));

    fs::remove_file(&file).unwrap();
    let missing = format!("error: {}: journal/00000000000000000001.seg is missing\n", dir.display());
    machine.ensign("compact").file(&dir).code(6).stdout("").stderr(&missing).check();
}

#[test]
fn no_directory() {
    let machine = Machine::new();
    machine.ensign("compact").code(2).check();
    let dir = machine.path("nowhere");
    let expected = format!("error: {}: there is no such directory\n", dir.display());
    machine.ensign("compact").file(&dir).code(3).stdout("").stderr(&expected).check();
    assert!(!dir.exists());
    fs::create_dir(&dir).unwrap();
    let expected = format!(
        "error: {}: nothing is stored there\nhint: name the directory that has the journal in it\n",
        dir.display()
    );
    machine.ensign("compact").file(&dir).code(3).stdout("").stderr(&expected).check();
}

/// Without its key a directory is left alone, and no other one is made.
#[test]
fn no_key() {
    let machine = Machine::new();
    let (dir, _) = trickled(&machine, Signal::TERM);
    fs::remove_file(dir.join("root.key")).unwrap();
    let expected = format!(
        "error: {}: the file root.key is missing; restore it, as nothing stored can be read without it\n",
        dir.display()
    );
    machine.ensign("compact").file(&dir).code(1).stdout("").stderr(&expected).check();
    assert!(!dir.join("root.key").exists());
}
