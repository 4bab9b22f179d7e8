//! The development server as a process: its banner, files, signals, and commands that run with it.

use std::{fs, os::unix::fs::PermissionsExt};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::machine::{Machine, wait_for};

#[test]
fn banner_and_ready_file() {
    let machine = Machine::new();
    let mut server = machine.dev_server();
    let ready = &server.ready;
    let keys: Vec<&str> = ready.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "version",
            "pid",
            "endpoint",
            "auth_url",
            "console_url",
            "tls",
            "durability",
            "data_dir",
            "organization_id",
            "project_id",
            "profile",
            "client_id",
            "client_secret",
            "email",
            "password"
        ]
    );
    assert_eq!(
        (&ready["durability"], &ready["profile"], &ready["tls"]),
        (&json!("fsync"), &json!("dev"), &Value::Null)
    );
    let data_dir = machine.path(".local/share/ensign/dev");
    assert_eq!(ready["data_dir"], json!(data_dir));
    assert_eq!(fs::metadata(machine.path("ready.json")).unwrap().permissions().mode() & 0o777, 0o600);
    for secret in ["client.json", "owner.password"] {
        assert_eq!(fs::metadata(data_dir.join(secret)).unwrap().permissions().mode() & 0o777, 0o600);
    }

    machine.ensign("status --wait").check();
    let endpoint = server.endpoint().to_owned();
    let done = server.end(Signal::INT);
    assert_eq!((done.code, done.text()), (Some(0), ""));
    let (banner, elapsed) = done.stderr.split_once("\nready in ").unwrap();
    assert_eq!(
        banner,
        format!(
            "ensign {} · dev server\n\n\
             \x20 endpoint   {endpoint:<23}   gRPC, REST and metrics on one port\n\
             \x20 data       ~/.local/share/ensign/dev   empty, survives restarts\n\
             \x20 acks       after fsync\n\
             \x20 root key   in the directory            who can read all of it can read the events\n\
             \x20 profile    dev (selected)              signed in as a Full Access key; ensign env prints it for an SDK\n\n\
             \x20 try        ensign publish hello -m 'world'   ·   ensign tail hello --from start\n",
            env!("CARGO_PKG_VERSION")
        )
        .replace("   gRPC", &format!("{}   gRPC", " ".repeat(2)))
    );
    assert!(elapsed.ends_with(", ctrl-c to stop\n"), "{elapsed}");
    assert!(!machine.path("ready.json").exists(), "the file says that the server is ready");
}

#[test]
fn everything_survives_a_restart() {
    let machine = Machine::new();
    let server = machine.dev_server();
    let identity = |ready: &Value| ["project_id", "client_id", "client_secret"].map(|name| ready[name].clone());
    let before = identity(&server.ready);
    machine.ensign("publish hello -m world").check();
    let server = server.restart(Signal::TERM);
    assert_eq!(identity(&server.ready), before);
    machine.ensign("tail hello --from start -n 1 -o raw").stdout("world\n").check();
    // A lost file of the key is no lost server.
    fs::remove_file(machine.path(".local/share/ensign/dev/client.json")).unwrap();
    let server = server.restart(Signal::TERM);
    assert_ne!(identity(&server.ready), before);
    machine.ensign("tail hello --from start -n 1 -o raw").stdout("world\n").check();
}

#[test]
fn an_ephemeral_server_leaves_nothing_behind() {
    let machine = Machine::new();
    let mut server = machine.dev_server_with("--ephemeral --addr 127.0.0.1:0");
    assert_eq!((&server.ready["durability"], &server.ready["data_dir"]), (&json!("memory"), &Value::Null));
    machine.ensign("publish hello -m world").check();
    let done = server.end(Signal::TERM);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stderr.contains("in memory              gone when the server stops\n"), "{}", done.stderr);
    assert!(!machine.path(".local").exists());
    machine.ensign("profile list -o json").stdout("[]\n").check();
    let left: Vec<_> = fs::read_dir(machine.path(".config/ensign"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_string_lossy().starts_with("ephemeral"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_taken_port_and_a_taken_directory_are_one_line_with_the_way_out() {
    let machine = Machine::new();
    let mut server = machine.dev_server();
    let port = server.port().to_owned();
    machine
        .ensign(&format!("dev-server --addr localhost:{port}"))
        .code(1)
        .stdout("")
        .stderr(&format!(
            "error: port {port} on 127.0.0.1 is taken\n\
             hint: `ensign status` tells whether a server runs there already; --addr 127.0.0.1:0 takes a free port\n"
        ))
        .check();
    let pid = server.ready["pid"].clone();
    machine
        .ensign("dev-server --addr 127.0.0.1:0")
        .code(1)
        .stdout("")
        .stderr(&format!(
            "error: the data directory {} is in use by process {pid}\n\
             hint: stop that server, or start this one with --name OTHER or --data-dir DIR\n",
            machine.path(".local/share/ensign/dev").display()
        ))
        .check();
    machine
        .ensign("dev-server --addr nowhere")
        .code(2)
        .stderr(
            "error: \"nowhere\" is not an address to listen on\n\
             hint: write one like 127.0.0.1:5356, or 127.0.0.1:0 for any free port\n",
        )
        .check();
    assert_eq!(server.end(Signal::INT).code, Some(0));
}

#[test]
fn a_profile_of_somebody_else_is_not_taken() {
    let machine = Machine::new();
    fs::create_dir_all(machine.path(".config/ensign")).unwrap();
    let profiles = "version: 1\nprofiles:\n  dev:\n    endpoint: ensign.example.com:443\n    auth_url: \
                    https://ensign.example.com:443\n    client_id: x\n    secret: keyring\n";
    let path = machine.file(".config/ensign/profiles.yaml", profiles);
    machine
        .ensign("dev-server --ephemeral --addr 127.0.0.1:0")
        .code(1)
        .stderr(
            "error: profile dev is about ensign.example.com:443\n\
             hint: rename it with `ensign profile rename dev OTHER`, or start the server with --name OTHER\n",
        )
        .check();
    assert_eq!(fs::read_to_string(path).unwrap(), profiles);
}

#[test]
fn a_command_runs_with_the_server() {
    let machine = Machine::new();
    let script = format!(
        "{0} publish hello -m world -q && {0} tail hello --from start -n 1 -o raw; exit 7",
        env!("CARGO_BIN_EXE_ensign")
    );
    machine
        .run(["dev-server", "--ephemeral", "--", "sh", "-c", &script])
        .env("ENSIGN_PROFILE", "nowhere")
        .code(7)
        .stdout("world\n")
        .stderr("")
        .check();
    assert!(!machine.path(".config/ensign/profiles.yaml").exists(), "profiles are left alone");
    let killed = machine.run(["dev-server", "--ephemeral", "--", "sh", "-c", "kill -TERM $$"]);
    killed.code(143).stderr("").check();
    machine
        .ensign("dev-server --ephemeral -- no-such-command")
        .code(3)
        .stderr("error: there is no command no-such-command\n")
        .check();

    // Being told to stop, it stops its command.
    let started = machine.path("started");
    let script = format!("trap 'exit 5' TERM; touch {}; while :; do sleep 0.05; done", started.display());
    let mut process = machine.run(["dev-server", "--ephemeral", "--", "sh", "-c", &script]).spawn();
    wait_for("the command", || started.exists().then_some(()));
    process.signal(Signal::TERM);
    assert_eq!(process.finish().code, Some(5));
}

/// Open streams are told, and don't keep the server from stopping.
#[test]
fn open_streams_do_not_keep_it_from_stopping() {
    let machine = Machine::new();
    let mut server = machine.dev_server();
    machine.ensign("publish t -m x").check();
    let tail = machine.ensign("tail t").spawn();
    let mut publisher = machine.ensign("publish t").spawn();
    publisher.write(b"y\n");
    machine.ensign("tail t --from start -n 2 -o raw").stdout("x\ny\n").check();
    let done = server.end(Signal::INT);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    drop((tail, publisher));
}

/// A new directory's first key is hashed with 64 MiB. The allocator kept them until something else was freed, and in an idle
/// server nothing is: it took 90 MB for ever.
#[cfg(target_os = "linux")]
#[test]
fn an_idle_server_gives_back_what_a_hash_took() {
    let machine = Machine::new();
    let server = machine.dev_server();
    let status = || fs::read_to_string(format!("/proc/{}/status", server.ready["pid"])).unwrap();
    let kib = |name: &str| -> u64 {
        let status = status();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_matches([':', '\t', ' ', 'k', 'B']).parse().unwrap()
    };
    let peak = kib("VmHWM");
    assert!(peak > 64 * 1024, "a hash takes 64 MiB, and the peak is {peak} KiB");
    wait_for("memory to be given back", || (kib("VmRSS") < peak - 48 * 1024).then_some(()));
}

/// The allocator reads its settings before `main`, so a server begins anew with them; what runs with it is not concerned.
#[cfg(target_os = "linux")]
#[test]
fn the_allocator_s_settings_stay_with_the_server() {
    let machine = Machine::new();
    let server = machine.dev_server();
    let environment = fs::read(format!("/proc/{}/environ", server.ready["pid"])).unwrap();
    assert!(environment.split(|byte| *byte == 0).any(|variable| variable == b"MIMALLOC_PURGE_DELAY=20"));
    drop(server);
    machine.ensign("dev-server --ephemeral --no-profile -- printenv MIMALLOC_PURGE_DELAY").code(1).check();
}
