//! What a client sees of this server beside what it saw of the original one.
//!
//! tests/conformance/original-grpc.json holds the original's answers to the cases of grpc_differ.py, original-rest.json
//! those to the cases of rest_differ.py. Ours may differ where intended-grpc.json and intended-rest.json name the case
//! and the reason; a reason that is not needed any more has to go.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use ensign::model::{Permission, Permissions};
use serde_json::{Map, Value};
use tempfile::TempDir;

use crate::{
    harness::{TestServer, repository},
    python,
};

#[test]
fn grpc_answers_are_the_original_ones_or_meant_to_differ() {
    let Some(python) = python::interpreter() else { return };
    let server = TestServer::start();
    let directory = tempfile::tempdir().unwrap();
    let keys = write_keys(&server, &directory);
    let ours = directory.path().join("ours.json");
    let output = Command::new(python)
        .arg(repository("tests/conformance/grpc_differ.py"))
        .arg(&ours)
        .envs(server.environment())
        .env("ENSIGN_DIFFER_KEYS", keys)
        // Statistics are as of now: there is nothing to wait for.
        .env("ENSIGN_DIFFER_WAIT", "0")
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");

    compare(&ours, "grpc", &log);
}

#[test]
fn rest_answers_are_the_original_ones_or_meant_to_differ() {
    let Some(python) = python::interpreter() else { return };
    let server = TestServer::start();
    let (email, password) = server.owner();
    let directory = tempfile::tempdir().unwrap();
    let ours = directory.path().join("ours.json");
    // Prints what the server would have mailed, if it had a mail server.
    let mailed = format!("{} {}", python.display(), repository("tests/conformance/mailed.py").display());
    let output = Command::new(python)
        .arg(repository("tests/conformance/rest_differ.py"))
        .arg(&ours)
        .envs(server.environment())
        .env("ENSIGN_OWNER_EMAIL", email)
        .env("ENSIGN_OWNER_PASSWORD", password.expose_str().unwrap())
        .env("ENSIGN_VERIFY_TOKEN_CMD", mailed)
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    compare(&ours, "rest", &log);
}

/// Compares what a tool wrote down with what it wrote down of the original server.
fn compare(ours: &Path, surface: &str, log: &str) {
    let kept = |name: &str| repository(&format!("tests/conformance/{name}-{surface}.json"));
    let ours: Map<String, Value> = read(ours);
    let original: Map<String, Value> = read(&kept("original"));
    let intended: BTreeMap<String, String> = read(&kept("intended"));
    let differing = |name: &String| ours.get(name) != original.get(name);

    let mut wrong = Vec::new();
    for name in original.keys().filter(|name| differing(name) && !intended.contains_key(*name)) {
        let (theirs, ours) = (text(original.get(name)), text(ours.get(name)));
        wrong.push(format!("{name} differs:\n  original {theirs}\n  ours     {ours}"));
    }
    for (name, reason) in &intended {
        assert!(!reason.trim().is_empty(), "{name} has no reason");
        if !original.contains_key(name) {
            wrong.push(format!("{name} is meant to differ, but there is no such case"));
        } else if !differing(name) {
            wrong.push(format!("{name} is meant to differ, but does not any more"));
        }
    }
    assert!(wrong.is_empty(), "{log}\n{}", wrong.join("\n"));
}

/// Writes the further keys that the tool asks for: one for each permission, and two for other projects.
fn write_keys(server: &TestServer, directory: &TempDir) -> std::path::PathBuf {
    let mut keys = Map::new();
    for permission in Permissions::full_key().iter() {
        let permissions = [permission].into_iter().collect();
        keys.insert(
            permission.name().to_owned(),
            server.credentials(permission.name(), server.default_project(), permissions),
        );
    }
    assert!(keys.contains_key(Permission::Publisher.name()) && keys.len() == 7);
    for name in ["foreign", "empty"] {
        keys.insert(name.to_owned(), server.credentials(name, server.project(name), Permissions::full_key()));
    }
    let path = directory.path().join("keys.json");
    fs::write(&path, Value::Object(keys).to_string()).unwrap();
    path
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    serde_json::from_str(&fs::read_to_string(path).unwrap())
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn text(answer: Option<&Value>) -> String {
    answer.map_or_else(|| "(no such case)".to_owned(), Value::to_string)
}
