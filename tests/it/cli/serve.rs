//! `ensign serve` as a process: its configuration, from wherever it comes, and its life.

use std::{fs, os::unix::fs::PermissionsExt};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::machine::Machine;

const CONFIG: &str = "\
# For the tests.
data_dir: data
addr: 127.0.0.1:0
log: {format: json}
tls: {only: false}
durability: os
insecure_root_key_file: true
";

/// Flag over environment over file over default, each with its source.
#[test]
fn settings_and_their_sources() {
    let machine = Machine::new();
    machine.file("serve.yaml", CONFIG);
    let done = machine
        .ensign("serve --config serve.yaml --check --durability fsync -o json")
        .env("ENSIGN_WORKERS", "3")
        .env("ENSIGN_DURABILITY", "os")
        .stderr("")
        .check();
    let settings = done.json();
    let of = |name: &str| {
        let found = settings.as_array().unwrap().iter().find(|setting| setting["name"] == json!(name)).unwrap();
        (found["value"].as_str().map(str::to_owned), found["source"].as_str().unwrap().to_owned())
    };
    let said = |value: &str, source: &str| (Some(value.to_owned()), source.to_owned());
    assert_eq!(of("durability"), said("fsync", "flag --durability"));
    assert_eq!(of("workers"), said("3", "environment ENSIGN_WORKERS"));
    assert_eq!(of("addr"), said("127.0.0.1:0", "file serve.yaml"));
    assert_eq!(of("log-format"), said("json", "file serve.yaml"));
    assert_eq!(of("log-level"), said("warn,ensign=info", "default"));
    assert_eq!(of("registration"), said("first", "default"));
    assert_eq!(of("bootstrap-key-file"), (None, "default".to_owned()));
    assert!(!machine.path("data").exists(), "a check makes nothing");
}

/// A check says what a start would, when it is about the root key of a new directory.
#[test]
fn a_check_asks_for_the_root_key() {
    let machine = Machine::new();
    let check = "serve --check --data-dir data --tls-only=false";
    let unknown = "error: it is not said where the root key comes from\n\
                   hint: give it with --root-key-file or in ENSIGN_ROOT_KEY, \
                   or say --root-key-source keyring or passphrase\n";
    machine.ensign(check).code(1).stdout("").stderr(unknown).check();
    let missing = "error: there is no root key in root.key: the file is missing\n\
                   hint: restore it where something was stored under it; for a new data directory, \
                   `(umask 077; openssl rand -hex 32 > root.key)` makes one\n";
    machine.ensign(&format!("{check} --root-key-file root.key")).code(1).stdout("").stderr(missing).check();
    machine.private_file("root.key", "ab".repeat(32));
    machine.ensign(&format!("{check} --root-key-file root.key -o json")).stderr("").check();
    assert!(!machine.path("data").exists(), "a check makes nothing");
}

#[test]
fn every_problem_is_named() {
    let machine = Machine::new();
    machine.file("serve.yaml", "adr: x\nworkers: many\nconfig: other.yaml\nname: [a, b]\n");
    machine
        .ensign("serve --config serve.yaml")
        .env("ENSIGN_DURABILITY", "never")
        .code(2)
        .stdout("")
        .stderr(
            "error: the configuration has 5 problems:\n\
             \x20 serve.yaml: there is no setting adr\n\
             \x20 serve.yaml: workers: invalid value 'many' for '--workers <N>': invalid digit found in string\n\
             \x20 serve.yaml: there is no setting config\n\
             \x20 serve.yaml: name: it takes one value\n\
             \x20 ENSIGN_DURABILITY: invalid value 'never' for '--durability <MODE>' [possible values: fsync, os]\n\
             hint: `ensign serve --help` explains every setting\n",
        )
        .check();
    machine
        .ensign("serve --check --addr nowhere")
        .env("ENSIGN_PUBLIC_URL", "ensign.example.com")
        .code(2)
        .stderr(
            "error: the configuration has 4 problems:\n\
             \x20 --addr: \"nowhere\" is not an address to listen on\n\
             \x20 --public-url: \"ensign.example.com\" is not the URL of a server\n\
             \x20 --data-dir: where to keep events has to be said\n\
             \x20 --tls-cert: TLS needs a certificate and --tls-key; to serve plaintext, say --tls-only=false\n\
             hint: `ensign serve --help` explains every setting\n",
        )
        .check();
    machine.file("serve.yaml", "- a\n");
    machine
        .ensign("serve --config serve.yaml")
        .code(2)
        .stderr(
            "error: serve.yaml: it has to be a list of settings with their values, like `addr: 0.0.0.0:5356`\n\
             hint: `ensign serve --help` explains every setting\n",
        )
        .check();
    machine
        .ensign("serve --config nowhere.yaml")
        .code(1)
        .stderr("error: --config: could not read nowhere.yaml: No such file or directory (os error 2)\n")
        .check();
}

/// Nothing is made that nobody asked for; a key, when one is asked for, works and stays.
#[test]
fn a_served_directory() {
    let machine = Machine::new();
    machine.file("serve.yaml", CONFIG);
    let server = machine.server("serve --config serve.yaml --public-url https://ensign.example.com");
    for name in ["organization_id", "project_id", "profile", "client_id", "client_secret"] {
        assert_eq!(server.ready[name], Value::Null, "{name}");
    }
    assert!(!machine.path(".config").exists(), "no profile is made");
    assert!(!machine.path("data/client.json").exists(), "no key is made");
    drop(server);

    let mut server = machine.server("serve --config serve.yaml --bootstrap-key-file owner.json");
    let key = fs::read(machine.path("owner.json")).unwrap();
    assert_eq!(fs::metadata(machine.path("owner.json")).unwrap().permissions().mode() & 0o777, 0o600);
    let login = format!("login --endpoint {} --secret-file owner.json --storage file", server.endpoint());
    machine.ensign(&login).check();
    machine.ensign("publish hello -m world").check();
    let done = server.end(Signal::TERM);
    assert_eq!((done.code, done.text()), (Some(0), ""), "{}", done.stderr);
    let lines: Vec<Value> =
        done.stderr.lines().map(|line| serde_json::from_str(line).expect("JSON was asked for")).collect();
    let said: Vec<&str> = lines.iter().map(|line| line["message"].as_str().unwrap()).collect();
    let ready = ["ready", "this server speaks plaintext: what clients send can be read and changed on its way"];
    assert_eq!(said[1..], [&["made a key with all permissions"][..], &ready, &["stopping", "stopped"]].concat());
    let secret = serde_json::from_slice::<Value>(&key).unwrap()["ClientSecret"].as_str().unwrap().to_owned();
    assert!(!done.stderr.contains(&secret), "a secret is in the log");

    let mut server = machine.server("serve --config serve.yaml --bootstrap-key-file owner.json");
    assert_eq!(fs::read(machine.path("owner.json")).unwrap(), key);
    assert_eq!(server.end(Signal::INT).code, Some(0));

    // A file with the key of somebody else is not overwritten.
    let foreign = "{\"ClientID\": \"a\", \"ClientSecret\": \"b\"}";
    machine.file("foreign.json", foreign);
    let refused = machine.ensign("serve --config serve.yaml --bootstrap-key-file foreign.json --log-level error");
    let expected = "error: foreign.json has a key of another server\nhint: name a file that is not there yet\n";
    refused.code(1).stderr(expected).check();
    assert_eq!(fs::read_to_string(machine.path("foreign.json")).unwrap(), foreign);
}
