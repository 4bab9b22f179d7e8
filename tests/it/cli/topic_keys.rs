//! Events that only clients can read, and the keys for them.

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::{Value, json};

use super::machine::{DevServer, Machine, Run};

/// Runs a command on another machine, which uses the same server and keeps nothing of it.
fn elsewhere<'a>(machine: &'a Machine, server: &DevServer<'_>, arguments: &str) -> Run<'a> {
    let text = |name: &str| server.ready[name].as_str().unwrap().to_owned();
    machine
        .ensign(arguments)
        .env("ENSIGN_ENDPOINT", server.endpoint())
        .env("ENSIGN_AUTH_URL", &text("auth_url"))
        .env("ENSIGN_INSECURE", "1")
        .env("ENSIGN_CLIENT_ID", &text("client_id"))
        .env("ENSIGN_CLIENT_SECRET", &text("client_secret"))
}

/// Makes a key for a topic that is there; gives its name.
fn new_key(machine: &Machine, topic: &str) -> String {
    let made = machine.ensign(&format!("encryption topic-key new {topic} --storage file -q -o json")).check();
    made.json()["key"].as_str().unwrap().to_owned()
}

fn records(machine: &Machine, topic: &str) -> Vec<Value> {
    let done = machine.ensign(&format!("tail {topic} --from start --until now -o jsonl")).stderr("").check();
    done.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A machine with a server, a topic `orders`, a key for it, and three events under it.
fn encrypted(machine: &Machine) -> String {
    machine.ensign("topic create orders -q").check();
    let key = new_key(machine, "orders");
    machine
        .ensign("publish orders --encrypt -q --format jsonl --type order@1.0.0 --meta source=test --key k")
        .stdin("{\"card\":\"4111-1111\"}\n{\"card\":\"4222-2222\"}\n\"four words of text\"\n")
        .stderr("")
        .check();
    key
}

const PLAIN: &str = "{\"card\":\"4111-1111\"}\n{\"card\":\"4222-2222\"}\n\"four words of text\"\n";

/// What the server has and gives to every client is captured, and nothing of the data is in it.
#[test]
fn the_server_and_other_clients_see_ciphertext() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    let key = encrypted(&machine);
    machine.ensign("tail orders --from start --until now --decrypt -o raw").stdout(PLAIN).stderr("").check();

    let raw = machine.ensign("tail orders --from start --until now -o raw").check().stdout;
    let lines = machine.ensign("tail orders --from start --until now -o jsonl").check().stdout;
    for secret in ["4111", "4222", "card", "four words"] {
        for bytes in [&raw, &lines] {
            assert!(!bytes.windows(secret.len()).any(|part| part == secret.as_bytes()), "{secret}");
        }
    }
    let sealed = records(&machine, "orders");
    assert_eq!(sealed.len(), 3);
    assert_eq!(sealed[0]["encryption"], json!({ "algorithm": 110, "key_id": key }));
    assert_eq!((&sealed[0]["encoding"], &sealed[0]["mimetype"]), (&json!("base64"), &json!("application/json")));
    assert_eq!((&sealed[0]["key"], &sealed[0]["metadata"]), (&json!("k"), &json!({ "source": "test" })));
    assert_ne!(sealed[0]["data"].as_str().unwrap()[..16], sealed[1]["data"].as_str().unwrap()[..16], "fresh nonces");

    let table = machine.ensign("tail orders --from start -n 1 -o table").check();
    assert!(table.text().ends_with(&format!("order@1.0.0     [encrypted, key {key}]\n")), "{}", table.text());
    let csv = machine.ensign("tail orders --from start -n 1 -o csv").check();
    assert!(csv.text().ends_with(&format!(",{key}\n")) && csv.text().contains(",base64,"), "{}", csv.text());
    let opened = machine.ensign("tail orders --from start -n 1 --decrypt -o jsonl").check();
    assert!(opened.text().ends_with("\"encoding\":\"json\",\"data\":{\"card\":\"4111-1111\"}}\n"), "{}", opened.text());
    assert!(!opened.text().contains("encryption"));
}

#[test]
fn rotation_keeps_old_events_readable() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    let first = encrypted(&machine);
    let second = new_key(&machine, "orders");
    assert!(first.ends_with(".1") && second.ends_with(".2"));
    machine.ensign("publish orders --encrypt -q -m later").check();
    assert_eq!(records(&machine, "orders")[3]["encryption"]["key_id"], second.as_str());
    let both = format!("{PLAIN}later\n");
    machine.ensign("tail orders --from start --until now --decrypt -o raw").stdout(&both).check();
    machine
        .ensign("encryption topic-key list")
        .stdout(&format!(
            "TOPIC   VERSION  KEY                           EVENTS  KEPT IN\n\
             orders  1        {first}  3       file\n\
             orders  2        {second}  1       file\n"
        ))
        .check();
    let listed = machine.ensign("encryption topic-key list orders -o json").check().json();
    let topic = machine.ensign("topic show orders --jq .id").check().text().trim().to_owned();
    assert_eq!(
        listed[1],
        json!({
            "key": second, "version": 2, "topic": "orders", "topic_id": topic, "events": 1, "secret": "file",
        })
    );
    machine.ensign("encryption topic-key list other -o json").stdout("[]\n").check();
}

/// Another machine, first without a key, then with one of two, then with both.
#[test]
fn keys_are_carried_to_other_machines() {
    let machine = Machine::new();
    let server = machine.dev_server();
    let (first, second) = (encrypted(&machine), new_key(&machine, "orders"));
    machine.ensign("publish orders --encrypt -q -m later").check();
    let both = format!("{PLAIN}later\n");
    let other = Machine::new();
    let tail = || elsewhere(&other, &server, "tail orders --from start --until now --decrypt -o raw");
    let hint = "hint: import it with `ensign encryption topic-key import FILE` from whoever has it\n";
    let missing = |offset: u32, key: &str| {
        format!(
            "error: topic orders, offset {offset}: the event is encrypted with key {key}, which is not here\n{hint}"
        )
    };
    tail().code(3).stdout("").stderr(&missing(1, &first)).check();
    elsewhere(&other, &server, "publish orders --encrypt -m x")
        .code(3)
        .stderr(
            "error: there is no topic key for topic orders here\n\
             hint: make one with `ensign encryption topic-key new orders`, or import the one that others use\n",
        )
        .check();
    let only = machine.ensign(&format!("encryption topic-key export orders --file - --key {first}")).stderr("").check();
    other
        .ensign("encryption topic-key import --storage vault")
        .env("ENSIGN_VAULT_PASSPHRASE", "open")
        .stdin(&only.stdout)
        .stdout("")
        .stderr(&format!(
            "imported topic key {first} of topic orders; the key is in {}, as you wanted\n",
            other.path(".config/ensign/vault.json").display()
        ))
        .check();
    tail().env("ENSIGN_VAULT_PASSPHRASE", "open").code(3).stdout(PLAIN).stderr(&missing(4, &second)).check();
    let refused = tail().env("ENSIGN_VAULT_PASSPHRASE", "wrong").code(4).stdout("").check();
    assert!(refused.stderr.starts_with("error: wrong passphrase for the vault"), "{}", refused.stderr);

    machine
        .ensign("encryption topic-key export orders --file orders.key")
        .stderr("wrote 2 topic keys to orders.key; whoever has this file can read the events\n")
        .check();
    let file = machine.path("orders.key");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let done = other
        .ensign("encryption topic-key import --storage file -o json")
        .env("ENSIGN_VAULT_PASSPHRASE", "open")
        .file(&file)
        .check();
    // The one that was here already stays where it is.
    let kept = |number: usize| (done.json()[number]["key"].clone(), done.json()[number]["secret"].clone());
    assert_eq!((kept(0), kept(1)), ((json!(first), json!("vault")), (json!(second), json!("file"))));
    tail().env("ENSIGN_VAULT_PASSPHRASE", "open").stdout(&both).stderr("").check();
}

/// What is encrypted goes through records as it is, also when it is to be encrypted.
#[test]
fn records_of_encrypted_events_are_published_as_they_are() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    let key = encrypted(&machine);
    let lines = machine.ensign("tail orders --from start --until now -o jsonl").check().stdout;
    for flags in ["", "--encrypt"] {
        machine.ensign(&format!("publish orders -q {flags}")).stdin(&lines).check();
    }
    machine.ensign("tail orders --from start --until now --decrypt -o raw").stdout(&PLAIN.repeat(3)).check();
    let all = records(&machine, "orders");
    assert_eq!((&all[0]["data"], &all[0]["encryption"]), (&all[6]["data"], &all[6]["encryption"]));

    let done = machine.ensign("publish orders --type other@1.0.0").stdin(&lines).code(1).check();
    let first = done.stderr.lines().next().unwrap();
    assert_eq!(first, "line 1: it is encrypted, and --type would make it unreadable");

    // In another topic they are not what was encrypted for it, unless that is said.
    machine.ensign("publish copy -q").stdin(&lines).check();
    machine
        .ensign("tail copy --from start --decrypt -o raw")
        .code(1)
        .stdout("")
        .stderr(&format!(
            "error: topic copy, offset 1: the event is encrypted with key {key}, which is for topic orders\n\
             hint: if it was published again on purpose, add --encrypted-for orders\n"
        ))
        .check();
    machine.ensign("tail copy --from start --until now --decrypt --encrypted-for orders -o raw").stdout(PLAIN).check();
}

#[test]
fn what_was_changed_is_an_error_and_never_data() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    let key = encrypted(&machine);
    let record = records(&machine, "orders").remove(0);
    let refused = format!(
        "key {key} does not open the event: it was changed after it was encrypted, or the key is not the right one"
    );
    let check = |change: &dyn Fn(&mut Value), expected: &str| {
        let mut changed = record.clone();
        change(&mut changed);
        // The mark has to stand first.
        let text = changed.to_string().replace("\"ensign\":1,", "").replacen('{', "{\"ensign\":1,", 1);
        machine.ensign("topic destroy changed --yes -q").spawn().finish();
        machine.ensign("publish changed -q").stdin(text).check();
        machine
            .ensign("tail changed --from start -n 1 --decrypt --encrypted-for orders -o raw")
            .code(1)
            .stdout("")
            .stderr(&format!("error: topic changed, offset 1: {expected}\n"))
            .check();
    };
    check(&|record| record["mimetype"] = json!("text/plain"), &refused);
    check(&|record| record["type"]["version"] = json!("1.0.1"), &refused);
    check(&|record| record["metadata"]["source"] = json!("tests"), &refused);
    check(&|record| record["key"] = json!("j"), &refused);
    check(&|record| record["created"] = json!("2026-01-01T00:00:00Z"), &refused);
    check(
        &|record| {
            let data = record["data"].as_str().unwrap();
            let other = if data.starts_with('A') { 'B' } else { 'A' };
            record["data"] = json!(format!("{other}{}", &data[1..]));
        },
        &refused,
    );
    check(
        &|record| record["data"] = json!("AAAA"),
        "the event has 3 bytes of data, which is less than anything encrypted has",
    );
    check(
        &|record| record["encryption"]["algorithm"] = json!(130),
        "the event is encrypted with algorithm 130, which is not AES-256-GCM (110)",
    );
    check(
        &|record| record["encryption"]["key_id"] = json!("somebody's"),
        "the event is encrypted in another way than with a topic key",
    );
}

#[test]
fn events_that_are_not_encrypted_are_shown_only_when_allowed() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    encrypted(&machine);
    machine.ensign("publish orders -q -m clear").check();
    machine
        .ensign("tail orders --from 3 --decrypt -o raw")
        .code(1)
        .stdout("\"four words of text\"\n")
        .stderr(
            "error: topic orders, offset 4: the event is not encrypted\n\
             hint: --allow-unencrypted shows it as it is\n",
        )
        .check();
    machine
        .ensign("tail orders --from 3 -n 2 --decrypt --allow-unencrypted -o raw")
        .stdout("\"four words of text\"\nclear\n")
        .stderr("")
        .check();
    machine.ensign("tail orders --allow-unencrypted").code(2).check();
}

#[test]
fn keys_are_made_exported_and_removed() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    let ensign = |arguments: &str| machine.ensign(&format!("encryption topic-key {arguments}"));
    ensign("list").stdout("").check();
    ensign("new nowhere")
        .code(3)
        .stderr("error: there is no topic nowhere\nhint: make it with `ensign topic create nowhere`\n")
        .check();
    machine.ensign("topic create orders -q").check();
    let done = ensign("new orders --storage file").stdout("").check();
    let key = machine.ensign("encryption topic-key list --jq .[].key").check().text().trim().to_owned();
    assert_eq!(
        done.stderr,
        format!(
            "made topic key {key} for topic orders; the key is in {}, as you wanted\n\
             without it nobody can read what it encrypts; `ensign encryption topic-key export orders --file FILE` makes a copy\n",
            machine.path(".config/ensign/insecure-secrets.json").display()
        )
    );
    let there = machine.file("there", "x");
    ensign("export orders --file there")
        .code(1)
        .stderr("error: there is there already\nhint: name another file; it may hold the only copy of a key\n")
        .check();
    assert_eq!(fs::read_to_string(there).unwrap(), "x");
    ensign("export orders").code(2).check();
    ensign("export nothing --file f").code(3).check();
    ensign("export orders --file f -o json").code(2).check();
    let exported = ensign("export orders --file -").check();
    let line: Value = serde_json::from_slice(&exported.stdout).unwrap();
    let secret = line["secret"].as_str().unwrap();
    assert_eq!((&line["id"], &line["topic"]), (&json!(key), &json!("orders")));
    let list = fs::read_to_string(machine.path(".config/ensign/topic-keys.yaml")).unwrap();
    assert!(!list.contains(secret), "{list}");

    let bad = ensign("import").stdin(exported.text().replace(secret, "AAAA")).code(1).check();
    assert_eq!(
        bad.stderr,
        "error: standard input: line 1 is no topic key: its secret does not have 32 bytes\n\
         hint: nothing was imported; `ensign encryption topic-key export` writes such files\n"
    );
    let other = exported.text().replace(&secret[..4], if secret.starts_with("AAAA") { "BBBB" } else { "AAAA" });
    let done = ensign("import").stdin(other).code(1).check();
    assert!(
        done.stderr.starts_with(&format!("error: there is another topic key {key} here already\n")),
        "{}",
        done.stderr
    );
    ensign("import no-such-file").code(3).stderr("error: there is no file no-such-file\n").check();

    ensign(&format!("remove {key}"))
        .code(2)
        .stderr(&format!("error: destroying topic key {key} needs a confirmation\nhint: add --yes if you are sure\n"))
        .check();
    ensign(&format!("remove {key} --yes")).stderr(&format!("removed topic key {key} of topic orders\n")).check();
    ensign(&format!("remove {key} --yes"))
        .code(3)
        .stderr(&format!(
            "error: there is no topic key {key} here\nhint: `ensign encryption topic-key list` shows what there is\n"
        ))
        .check();
    ensign("remove x --yes").code(2).check();
    assert!(!fs::read_to_string(machine.path(".config/ensign/insecure-secrets.json")).unwrap().contains(secret));
    // A topic of the same name is another topic.
    ensign("import").arg("--storage").arg("file").stdin(&exported.stdout).check();
    machine.ensign("topic destroy orders --yes -q").check();
    machine.ensign("topic create orders -q").check();
    let done = machine.ensign("publish orders --encrypt -m x").code(3).check();
    assert!(
        done.stderr.starts_with("error: the topic keys here are for another topic called orders"),
        "{}",
        done.stderr
    );
}
