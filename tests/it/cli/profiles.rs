//! Signing in and out, profiles, and where values come from.

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::json;

use super::machine::{DevServer, Machine};

/// The key of a server, as the command line takes it.
fn key(server: &DevServer<'_>) -> (String, String) {
    let text = |name: &str| server.ready[name].as_str().unwrap().to_owned();
    (text("client_id"), text("client_secret"))
}

/// There is no keyring on the machines of these tests: the secret goes to the vault, and that is said.
#[test]
fn signing_in_with_a_key() {
    let servers = Machine::new();
    let server = servers.dev_server();
    let (id, secret) = key(&server);
    let machine = Machine::new();
    let login = |secret: &str| {
        machine
            .ensign("login --client-id")
            .arg(&id)
            .arg("--endpoint")
            .arg(server.endpoint())
            .env("ENSIGN_VAULT_PASSPHRASE", "a passphrase")
            .stdin(format!("{secret}\n"))
    };
    login("wrong")
        .code(4)
        .stdout("")
        .stderr(&format!(
            "error: http://{} refused the credentials: invalid credentials\n\
             hint: check the client id and the secret; nothing was stored\n",
            server.endpoint()
        ))
        .check();
    assert!(!machine.path(".config/ensign").exists(), "nothing was stored");

    let done = login(&secret).stdout("").check();
    let said = format!("signed in to {} as profile localhost; the secret is in the encrypted vault", server.endpoint());
    assert!(done.stderr.starts_with(&said), "{}", done.stderr);
    for file in ["profiles.yaml", "vault.json"] {
        let path = machine.path(".config/ensign").join(file);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
        assert!(!fs::read_to_string(&path).unwrap().contains(&secret), "{file}");
    }

    let whoami = || machine.ensign("whoami --jq .client_id.value");
    whoami().env("ENSIGN_VAULT_PASSPHRASE", "a passphrase").stdout(&format!("{id}\n")).check();
    let done = whoami().env("ENSIGN_VAULT_PASSPHRASE", "another").code(4).check();
    assert!(done.stderr.contains("wrong passphrase"), "{}", done.stderr);
    let done = whoami().code(4).check();
    assert!(done.stderr.contains("the vault needs its passphrase"), "{}", done.stderr);

    machine
        .ensign("logout")
        .env("ENSIGN_VAULT_PASSPHRASE", "a passphrase")
        .stderr(&format!("signed out of {} (profile localhost)\n", server.endpoint()))
        .check();
    let done = machine.ensign("topic list").code(4).check();
    assert!(done.stderr.starts_with(&format!("error: not signed in to {}\n", server.endpoint())), "{}", done.stderr);
}

#[test]
fn signing_in_with_a_file_of_the_sdks() {
    let servers = Machine::new();
    let server = servers.dev_server();
    let (id, secret) = key(&server);
    let machine = Machine::new();
    let file = machine.file("client.json", json!({ "ClientID": id, "ClientSecret": secret }).to_string());
    let done = machine
        .ensign("login --profile other --storage file -o json --endpoint")
        .arg(server.endpoint())
        .arg("--secret-file")
        .file(&file)
        .stderr("")
        .check();
    assert_eq!(done.json()["profile"], "other");
    machine.ensign("topic create made").stderr("created topic made\n").check();

    let reference = format!("file://{}", file.display());
    machine.run(["login", "--client-id", &id, "--secret-reference", &reference, "--profile", "by-reference"]).check();
    let shown = machine.ensign("profile show -o json").check().json();
    assert_eq!((&shown["name"], &shown["secret"]), (&json!("by-reference"), &json!(reference)));
    machine.ensign("topic list --jq .[].name").stdout("made\n").check();
}

#[test]
fn profiles_are_listed_used_renamed_and_removed() {
    let machine = Machine::new();
    let server = machine.dev_server();
    let second =
        machine.ensign("dev-server --ephemeral --name second --addr 127.0.0.1:0 --ready-file second.json").spawn();
    super::machine::wait_for("the second server", || fs::metadata(machine.path("second.json")).ok());
    let selected = || machine.ensign("profile list --jq").arg(".[]|select(.selected).name").check().text().to_owned();
    assert_eq!(selected(), "second\n");
    machine.ensign("profile use -").stderr("profile dev is selected\n").check();
    machine.ensign("profile use -").stderr("profile second is selected\n").check();
    machine.ensign("profile use nowhere").code(3).check();
    machine.ensign("profile rename dev first").stderr("profile dev is now called first\n").check();
    machine.ensign("profile use first").stderr("profile first is selected\n").check();
    machine.ensign("status --jq .endpoint").stdout(&format!("{}\n", server.endpoint())).check();
    drop(second);
    machine.ensign("profile remove first").stderr("removed profile first\n").check();
    machine.ensign("profile show first").code(3).check();
}

#[test]
fn every_value_says_where_it_comes_from() {
    let machine = Machine::new();
    let server = machine.dev_server();
    let (id, secret) = key(&server);
    let sources = ".endpoint.source, .auth_url.source, .client_id.source, .insecure.source, .profile.source";
    let whoami = || machine.run(["whoami", "--jq", sources]);
    whoami().stdout("profile dev\nprofile dev\nprofile dev\nprofile dev\ndefault\n").check();
    whoami()
        .env("ENSIGN_ENDPOINT", server.endpoint())
        .env("ENSIGN_CLIENT_ID", &id)
        .env("ENSIGN_CLIENT_SECRET", &secret)
        .stdout("environment ENSIGN_ENDPOINT\nprofile dev\nenvironment ENSIGN_CLIENT_ID\nprofile dev\ndefault\n")
        .check();
    whoami()
        .arg("--endpoint")
        .arg(server.endpoint())
        .env("ENSIGN_ENDPOINT", "elsewhere:1")
        .stdout("flag --endpoint\nprofile dev\nprofile dev\nprofile dev\ndefault\n")
        .check();
    whoami()
        .arg("--profile")
        .arg("dev")
        .env("ENSIGN_ENDPOINT", "elsewhere:1")
        .env("ENSIGN_CLIENT_ID", "x")
        .stdout("profile dev\nprofile dev\nprofile dev\nprofile dev\nflag --profile\n")
        .check();
    let project = server.ready["project_id"].as_str().unwrap();
    machine.ensign("topic list --project").arg(project).check();
    let other = project.replace(['1', '2', '3'], "4");
    let done = machine.ensign("topic list --project").arg(&other).code(4).check();
    let expected = format!("error: the key belongs to project {project}, and not to {other}\n");
    assert!(done.stderr.starts_with(&expected), "{}", done.stderr);
}

#[test]
fn the_environment_of_an_sdk() {
    let machine = Machine::new();
    let server = machine.dev_server();
    let (id, secret) = key(&server);
    let endpoint = server.endpoint();
    machine
        .ensign("env --shell sh")
        .stdout(&format!(
            "export ENSIGN_ENDPOINT='{endpoint}'\nexport ENSIGN_AUTH_URL='http://{endpoint}'\nexport \
             ENSIGN_CLIENT_ID='{id}'\nexport ENSIGN_CLIENT_SECRET='{secret}'\nexport ENSIGN_INSECURE='true'\n"
        ))
        .stderr("")
        .check();
    let value = machine.ensign("env -o json").check().json();
    assert_eq!(value["ENSIGN_CLIENT_SECRET"], json!(secret));
}

/// A profile file that can't be read is never written over.
#[test]
fn a_garbled_profile_file_stays_as_it_is() {
    let machine = Machine::new();
    fs::create_dir_all(machine.path(".config/ensign")).unwrap();
    let path = machine.file(".config/ensign/profiles.yaml", "version: [");
    let done = machine.ensign("profile list").code(1).stdout("").check();
    assert!(done.stderr.contains("cannot be understood"), "{}", done.stderr);
    machine.ensign("profile use dev").code(1).check();
    assert_eq!(fs::read_to_string(path).unwrap(), "version: [");
}
