//! API keys: made, shown once, handed over, listed, revoked.

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::{Value, json};

use super::machine::Machine;

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_key_from_its_creation_to_its_end() {
    let machine = Machine::new();
    let server = machine.dev_server();
    let project = server.ready["project_id"].as_str().unwrap();
    let made =
        machine.ensign("key create ingest --permissions publisher,topics:read -o json").stderr("").check().json();
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    assert_eq!((text("name"), text("project_id")), ("ingest".to_owned(), project.to_owned()));
    assert_eq!(made["permissions"], json!(["publisher", "topics:read"]));
    let (id, secret) = (text("client_id"), text("client_secret"));
    let with_key =
        |arguments: &str| machine.ensign(arguments).env("ENSIGN_CLIENT_ID", &id).env("ENSIGN_CLIENT_SECRET", &secret);
    machine.ensign("topic create t -q").check();
    with_key("publish t -m x -q").check();
    let done = with_key("tail t --from start -n 1").code(4).stdout("").check();
    assert!(done.stderr.starts_with("error: "), "{}", done.stderr);

    // It is not shown again.
    let shown = machine.ensign("key show ingest -o json").check();
    assert!(!shown.text().contains(&secret));
    assert_eq!((&shown.json()["status"], &shown.json()["client_secret"]), (&json!("active"), &Value::Null));
    machine.ensign("key list --jq").arg(".[]|\"\\(.name) \\(.partial)\"").stdout("ingest true\ndev false\n").check();

    machine
        .ensign("key revoke ingest")
        .code(2)
        .stderr("error: removing key ingest needs a confirmation\nhint: add --yes if you are sure\n")
        .check();
    machine.ensign("key revoke ingest --yes").stdout("").stderr("revoked key ingest\n").check();
    let done = with_key("publish t -m x").code(4).stdout("").check();
    assert!(done.stderr.contains("invalid credentials"), "{}", done.stderr);
    machine
        .ensign("key show nothing")
        .code(3)
        .stderr("error: there is no key nothing\nhint: `ensign key list --all` shows what there is\n")
        .check();
}

#[test]
fn a_secret_is_shown_once_or_goes_where_it_is_wanted() {
    let machine = Machine::new();
    let server = machine.dev_server();
    let done = machine.ensign("key create shown").check();
    assert_eq!(done.stderr, "created key shown; its secret is shown this once\n");
    assert_eq!(done.text().matches("client secret").count(), 1);

    let done = machine.ensign("key create a --secret-file a.txt").stdout("").check();
    let project = machine.ensign("project show --jq .name").check().text().trim().to_owned();
    assert_eq!(done.stderr, format!("created key a of project {project}; its secret is in a.txt\n"));
    let secret = fs::read_to_string(machine.path("a.txt")).unwrap();
    assert_eq!((mode(&machine.path("a.txt")), secret.trim().len()), (0o600, 64));
    machine
        .ensign("key create b --secret-file a.txt")
        .code(1)
        .stdout("")
        .stderr("error: a.txt is there already\nhint: name a new file; the secret in the old one may be in use\n")
        .check();
    machine.ensign("key create b --secret-file no/b.txt").code(3).stderr("error: there is no directory no\n").check();

    machine.ensign("key create sdk --sdk-file client.json -q").stdout("").stderr("").check();
    let file: Value = serde_json::from_slice(&fs::read(machine.path("client.json")).unwrap()).unwrap();
    assert_eq!((mode(&machine.path("client.json")), file.as_object().unwrap().len()), (0o600, 2));
    let elsewhere = Machine::new();
    let line = format!("login --endpoint {} --storage file -q --secret-file", server.endpoint());
    elsewhere.ensign(&line).file(&machine.path("client.json")).check();
    elsewhere.ensign("topic create t -q").check();

    let done = machine.ensign("key create other --to-profile other --storage file").stdout("").check();
    let said = format!("created key other of project {project}; profile other uses it; the secret is in ");
    assert!(done.stderr.starts_with(&said), "{}", done.stderr);
    machine.ensign("profile list --jq").arg(".[]|select(.selected).name").stdout("dev\n").check();
    machine.ensign("topic list --profile other --jq .[].name").stdout("t\n").check();
    machine.ensign("key list --jq length").stdout("5\n").check();
    for secret in [secret.trim(), file["ClientSecret"].as_str().unwrap()] {
        let profiles = fs::read_to_string(machine.path(".config/ensign/profiles.yaml")).unwrap();
        assert!(!profiles.contains(secret));
    }
}

#[test]
fn permissions_of_keys() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    machine
        .ensign("key permissions --jq .[].name")
        .stdout("metrics:read\npublisher\nsubscriber\ntopics:create\ntopics:destroy\ntopics:edit\ntopics:read\n")
        .check();
    machine
        .ensign("key create k --permissions publish")
        .code(2)
        .stdout("")
        .stderr(
            "error: \"publish\" is no permission that you can give to a key\n\
             hint: `ensign key permissions` lists them; full is all of them\n",
        )
        .check();
    machine.run(["key", "create", ""]).code(2).stderr("error: a key's name can't be empty\n").check();
    for senseless in ["--use --secret-file f", "--secret-file f --storage vault", "--sdk-file f --to-profile p"] {
        machine.ensign(&format!("key create a {senseless}")).code(2).stdout("").check();
    }
    let all = machine.ensign("key create all --jq .permissions|length").check();
    assert_eq!(all.text(), "7\n");
}

#[test]
fn names_of_what_accounts_manage_are_completed() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    machine.ensign("project create flights -q").check();
    machine.ensign("key create ingest --secret-file secret.txt -q").check();
    let complete = |line: &[&str]| {
        let words = std::iter::once("--").chain(line.iter().copied());
        let done = machine.run(words).env("COMPLETE", "fish").check();
        done.text().lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    for (line, name) in [
        (["ensign", "project", "use", "fl"], "flights"),
        (["ensign", "key", "show", "in"], "ingest"),
        (["ensign", "org", "switch", "Lo"], "Local"),
        (["ensign", "member", "role", "dev"], "dev@localhost"),
    ] {
        assert_eq!(complete(&line), [name], "{line:?}");
    }
}
