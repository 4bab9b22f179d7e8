//! Credentials against a real Secret Service: gnome-keyring on a private bus, so that the machine's own keyring, if it
//! has one, is left alone.
//!
//! A process has one keyring for its whole life, so each case runs this binary again, for one of the cases below.

use std::{
    env,
    path::Path,
    process::{Command, Stdio},
};

use ensign::{
    credentials::{Credentials, Passphrase, Profile, SecretError, SecretPlace, Stored, Wanted, Why},
    model::Secret,
};

const PROGRAMS: [&str; 3] = ["dbus-run-session", "dbus-send", "gnome-keyring-daemon"];

/// Whether the programs are there. Where they are not, the tests say so and pass, except in CI, which has to have them.
fn available() -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let is_there = |program: &&&str| env::split_paths(&path).any(|dir| dir.join(program).is_file());
    let missing: Vec<_> = PROGRAMS.iter().filter(|program| !is_there(program)).collect();
    if missing.is_empty() {
        return true;
    }
    assert!(env::var("CI").as_deref() != Ok("true"), "CI needs {missing:?}");
    eprintln!("SKIPPED: no {missing:?} on this machine, so nothing was tried against a real keyring");
    false
}

/// Runs a case within a session of its own, with a home of its own.
#[track_caller]
fn run(case: &str, session: &str, home: &Path) {
    let mut command = Command::new("dbus-run-session");
    command.args(["--", "sh", "-c", session, "sh"]).arg(env::current_exe().unwrap());
    command.args(["--exact", &format!("keyring::{case}"), "--ignored", "--nocapture"]);
    for (variable, dir) in [("HOME", "home"), ("XDG_DATA_HOME", "data"), ("XDG_RUNTIME_DIR", "run")] {
        let dir = home.join(dir);
        std::fs::create_dir_all(&dir).unwrap();
        command.env(variable, dir);
    }
    // Without a display, whoever asks to unlock a keyring cannot be answered.
    command.env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY").env("ENSIGN_TEST_HOME", home);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{case}:\n{text}");
}

/// A keyring daemon that is unlocked with a password, as at a login.
const UNLOCKED: &str =
    r#"printf password | gnome-keyring-daemon --unlock --components=secrets >/dev/null && exec "$@""#;

#[test]
fn a_secret_service_keeps_secrets() {
    if available() {
        let home = tempfile::tempdir().unwrap();
        run("inside_an_unlocked_session", UNLOCKED, home.path());
        // What was stored outlives the daemon and the bus.
        run("inside_the_next_session", UNLOCKED, home.path());
    }
}

#[test]
fn a_locked_secret_service_is_named_and_nothing_is_lost() {
    if available() {
        let home = tempfile::tempdir().unwrap();
        run("inside_a_session_that_gets_locked", UNLOCKED, home.path());
        run("inside_the_next_session", UNLOCKED, home.path());
    }
}

#[test]
fn without_a_secret_service_the_reason_is_given() {
    if available() {
        let home = tempfile::tempdir().unwrap();
        let session = r#"DBUS_SESSION_BUS_ADDRESS=unix:path=/nonexistent/bus exec "$@""#;
        run("inside_a_session_without_a_bus", session, home.path());
    }
}

const AUTH_URL: &str = "http://localhost:5356";

fn credentials() -> Credentials {
    let home = env::var_os("ENSIGN_TEST_HOME").expect("this case runs within a session that another test makes");
    Credentials::at(Path::new(&home).join("ensign"), Passphrase::Given(Secret::new("passphrase")))
}

fn profile(client_id: &str, secret: SecretPlace) -> Profile {
    Profile {
        endpoint: "localhost:5356".to_owned(),
        auth_url: AUTH_URL.to_owned(),
        insecure: true,
        client_id: Some(client_id.to_owned()),
        secret: Some(secret),
        ..Profile::default()
    }
}

fn store(client_id: &str, secret: &str, wanted: Wanted) -> Result<Stored, SecretError> {
    credentials().store_secret(client_id, AUTH_URL, &Secret::new(secret), wanted)
}

fn stored(client_id: &str) -> Result<Secret, SecretError> {
    credentials().secret(&profile(client_id, SecretPlace::Keyring))
}

#[test]
#[ignore = "runs within a session that a_secret_service_keeps_secrets makes"]
fn inside_an_unlocked_session() {
    let first = store("key", "first", Wanted::Best).unwrap();
    assert_eq!(first, Stored { place: SecretPlace::Keyring, path: None, why: Why::Best });
    assert_eq!(stored("key").unwrap().expose(), b"first");
    store("key", "second", Wanted::Keyring).unwrap();
    store("other", "third", Wanted::Keyring).unwrap();
    assert_eq!(stored("key").unwrap().expose(), b"second");
    let other = profile("other", SecretPlace::Keyring);
    assert!(credentials().forget_secret(&other).unwrap());
    assert!(!credentials().forget_secret(&other).unwrap());
    assert!(matches!(stored("other"), Err(SecretError::Missing { .. })));
}

#[test]
#[ignore = "runs within a session that a_secret_service_keeps_secrets makes"]
fn inside_the_next_session() {
    assert_eq!(stored("key").unwrap().expose(), b"second");
}

#[test]
#[ignore = "runs within a session that a_locked_secret_service_is_named_and_nothing_is_lost makes"]
fn inside_a_session_that_gets_locked() {
    store("key", "second", Wanted::Keyring).unwrap();
    let lock = Command::new("dbus-send")
        .args(["--session", "--print-reply", "--dest=org.freedesktop.secrets", "/org/freedesktop/secrets"])
        .args(["org.freedesktop.Secret.Service.Lock", "array:objpath:/org/freedesktop/secrets/collection/login"])
        .output()
        .unwrap();
    assert!(lock.status.success(), "{}", String::from_utf8_lossy(&lock.stderr));
    for result in [stored("key").map(drop), store("key", "third", Wanted::Best).map(drop)] {
        assert!(matches!(result, Err(SecretError::KeyringLocked { .. })), "{result:?}");
    }
}

#[test]
#[ignore = "runs within a session that without_a_secret_service_the_reason_is_given makes"]
fn inside_a_session_without_a_bus() {
    assert!(matches!(store("key", "secret", Wanted::Keyring), Err(SecretError::NoKeyring { .. })));
    assert!(matches!(stored("key"), Err(SecretError::NoKeyring { .. })));
    let fallen_back = store("key", "secret", Wanted::Best).unwrap();
    assert_eq!(fallen_back.place, SecretPlace::Vault);
    assert!(matches!(fallen_back.why, Why::NoKeyring { reason } if !reason.is_empty()));
    assert_eq!(credentials().secret(&profile("key", SecretPlace::Vault)).unwrap().expose(), b"secret");
}
