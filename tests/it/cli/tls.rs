//! TLS from the command line: certificates that somebody else made, what is wrong with them, and plaintext.

use std::fs;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustix::process::Signal;

use super::machine::{DevServer, Machine, wait_for};

/// An authority that makes certificates for tests.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        Authority { issuer: Issuer::new(params, key), certificate }
    }

    /// Writes a certificate and its key to `NAME.pem` and `NAME-key.pem`.
    fn make(&self, machine: &Machine, file: &str, host: &str, years: (i32, i32)) {
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = date_time_ymd(years.0, 1, 1);
        params.not_after = date_time_ymd(years.1, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        machine.file(&format!("{file}.pem"), certificate.pem());
        machine.private_file(&format!("{file}-key.pem"), key.serialize_pem());
    }
}

const GOOD: (i32, i32) = (2020, 2100);

const SERVE: &str =
    "serve --data-dir data --insecure-root-key-file --addr 127.0.0.1:0 --tls-cert server.pem --tls-key server-key.pem";

fn url(server: &DevServer) -> String {
    format!("https://localhost:{}", server.port())
}

#[test]
fn a_served_certificate_is_verified_and_read_again() {
    let machine = Machine::new();
    let (first, second) = (Authority::new(), Authority::new());
    machine.file("first.pem", &first.certificate);
    machine.file("second.pem", &second.certificate);
    first.make(&machine, "server", "localhost", GOOD);
    let mut server = machine.server(SERVE);
    assert_eq!(server.ready["auth_url"], url(&server));
    assert_eq!(server.ready["tls"], serde_json::json!({ "ca_file": null }));
    let port = server.port().to_owned();
    let status = |ca: &str| machine.ensign(&format!("status --endpoint https://localhost:{port} --ca-file {ca}.pem"));
    status("first").check();
    let unknown = format!(
        "error: can't talk to localhost:{port}: its certificate is from an authority that is not trusted here\n\
         hint: if you know the authority, name its certificate with --ca-file; a dev-server keeps its own in \
         DATA_DIR/tls/ca.pem\n"
    );
    status("second").code(5).stdout("").stderr(&unknown).check();
    machine
        .ensign(&format!("status --endpoint https://127.0.0.1:{port} --ca-file first.pem"))
        .code(5)
        .stderr(&format!(
            "error: can't talk to 127.0.0.1:{port}: its certificate is for localhost\n\
             hint: use the server's own name, for example localhost\n"
        ))
        .check();
    machine
        .ensign(&format!("status --endpoint http://localhost:{port}"))
        .code(5)
        .stderr(&format!(
            "error: can't talk to localhost:{port}: it speaks TLS only, and not plaintext\n\
             hint: --endpoint https://localhost:{port} speaks TLS\n"
        ))
        .check();

    // A file that can't be used changes nothing.
    machine.file("server.pem", "garbage");
    server.signal(Signal::HUP);
    wait_for("the refusal", || server.stderr().contains("certificate not read again").then_some(()));
    status("first").check();
    second.make(&machine, "server", "localhost", GOOD);
    server.signal(Signal::HUP);
    wait_for("the new certificate", || server.stderr().contains("certificate read again").then_some(()));
    status("second").check();
    status("first").code(5).stderr(&unknown).check();
    assert_eq!(server.end(Signal::TERM).code, Some(0));
}

#[test]
fn a_server_does_not_start_with_what_nobody_would_accept() {
    let machine = Machine::new();
    let authority = Authority::new();
    let refused = |expected: &str| {
        let hint = "hint: `ensign serve --help` explains every setting\n";
        machine.ensign(SERVE).code(2).stdout("").stderr(&format!("error: --tls-cert: {expected}\n{hint}")).check();
    };
    refused("could not read server.pem: No such file or directory (os error 2)");
    authority.make(&machine, "server", "localhost", (2020, 2021));
    refused("the certificate in server.pem ended on 2021-01-01T00:00:00Z");
    authority.make(&machine, "server", "localhost", (2090, 2091));
    refused("the certificate in server.pem does not hold before 2090-01-01T00:00:00Z");
    authority.make(&machine, "server", "localhost", GOOD);
    machine.file("server.pem", "garbage");
    refused("server.pem has no certificate in it; it has to be PEM");
    machine
        .ensign("serve --data-dir data --tls-cert server.pem --tls-client-ca ca.pem --tls-only=false")
        .code(2)
        .stderr(
            "error: --tls-key: the certificate needs its key\n\
             hint: `ensign serve --help` explains every setting\n",
        )
        .check();
    authority.make(&machine, "server", "localhost", GOOD);
    machine.file("ca.pem", &authority.certificate);
    machine
        .ensign(SERVE)
        .arg("--tls-only=false")
        .arg("--tls-client-ca=ca.pem")
        .code(2)
        .stderr(
            "error: --tls-client-ca: plaintext would go around it; leave --tls-only as it is\n\
             hint: `ensign serve --help` explains every setting\n",
        )
        .check();
    assert!(!machine.path("data").exists());
}

#[test]
fn a_client_certificate_is_asked_for_and_remembered() {
    let machine = Machine::new();
    let authority = Authority::new();
    machine.file("ca.pem", &authority.certificate);
    authority.make(&machine, "server", "localhost", GOOD);
    authority.make(&machine, "client", "client", GOOD);
    let server = machine.server(&format!("{SERVE} --tls-client-ca ca.pem --bootstrap-key-file owner.json"));
    let address = format!("localhost:{}", server.port());
    let login = format!("login --endpoint https://{address} --ca-file ca.pem --secret-file owner.json --storage file");
    machine
        .ensign(&login)
        .code(5)
        .stderr(&format!(
            "error: can't talk to https://{address}: it asks for a client certificate\n\
             hint: name one with --client-cert and --client-key\n"
        ))
        .check();
    Authority::new().make(&machine, "stranger", "client", GOOD);
    let with = |name: &str| machine.ensign(&format!("{login} --client-cert {name}.pem --client-key {name}-key.pem"));
    let refused = with("stranger").code(5).check().stderr;
    assert!(refused.contains("it does not accept the client certificate"), "{refused}");
    with("client").check();
    machine.ensign("publish hello -m world").check();
    machine.ensign("tail hello --from start -n 1 -o raw").stdout("world\n").check();
    let shown = machine.ensign("profile show -o json").check().json();
    assert_eq!((&shown["insecure"], shown["ca_file"].as_str()), (&false.into(), machine.path("ca.pem").to_str()));
}

#[test]
fn tls_to_a_port_of_plaintext_is_named() {
    let machine = Machine::new();
    let server = machine.dev_server();
    let address = format!("localhost:{}", server.port());
    machine.file("ca.pem", &Authority::new().certificate);
    machine
        .ensign(&format!("status --endpoint https://{address} --ca-file ca.pem"))
        .code(5)
        .stderr(&format!(
            "error: can't talk to {address}: it speaks plaintext there, and not TLS\n\
             hint: --endpoint http://{address} speaks plaintext\n"
        ))
        .check();
}

/// Nothing is sent in plaintext over a network that was not asked for twice, and it is said every time.
#[test]
fn plaintext_over_a_network_is_asked_for_twice() {
    let machine = Machine::new();
    let refused = "error: plaintext to 192.0.2.1:5356: whoever is on the way can read the secret and the events\n\
                   hint: use TLS (https://192.0.2.1:5356); if it has to be, say it a second time, with \
                   ENSIGN_INSECURE_REMOTE=true or `ensign login --insecure --insecure-remote`\n";
    machine.ensign("status --endpoint http://192.0.2.1").code(4).stderr(refused).check();
    machine.ensign("status --endpoint 192.0.2.1").env("ENSIGN_INSECURE", "true").code(4).stderr(refused).check();
    let profiles = "version: 1\nselected: a\nprofiles:\n  a:\n    endpoint: 192.0.2.1:5356\n    auth_url: \
                    http://192.0.2.1:5356\n    insecure: true\n";
    fs::create_dir_all(machine.path(".config/ensign")).unwrap();
    machine.file(".config/ensign/profiles.yaml", profiles);
    machine.ensign("status").code(4).stderr(refused).check();
    machine.file("secret", "hush");
    let login = "login --endpoint 192.0.2.1 --insecure --client-id x --secret-file secret";
    machine.ensign(login).code(4).stderr(refused).check();
    machine
        .ensign("login --insecure-remote")
        .code(2)
        .stderr(
            "error: the following required arguments were not provided: --insecure\n\
             hint: `ensign login --help` explains the command\n",
        )
        .check();
}

/// The authority is made once; the profile, the ready file and `ensign env` know it; plaintext works beside TLS.
#[test]
fn a_development_server_makes_its_own_authority() {
    let machine = Machine::new();
    let server = machine.dev_server_with("--addr 127.0.0.1:0 --tls --tls-name broker.example");
    let ca_file = machine.path(".local/share/ensign/dev/tls/ca.pem");
    let port = server.port().to_owned();
    assert_eq!(server.ready["tls"], serde_json::json!({ "ca_file": ca_file }));
    assert_eq!(server.ready["auth_url"], url(&server));
    machine.ensign("publish hello -m world").check();
    machine.ensign("tail hello --from start -n 1 -o raw").stdout("world\n").check();
    let status = |scheme: &str| machine.ensign(&format!("status --endpoint {scheme}://localhost:{port}"));
    status("http").check();
    status("https").check();
    let profile = machine.ensign("profile show -o json").check().json();
    assert_eq!((&profile["insecure"], &profile["ca_file"]), (&false.into(), &serde_json::json!(ca_file)));
    let variables = machine.ensign("env -o json").check().json();
    for name in ["ENSIGN_CA_FILE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "SSL_CERT_FILE"] {
        assert_eq!(variables[name], serde_json::json!(ca_file), "{name}");
    }
    assert_eq!(variables["ENSIGN_INSECURE"], "false");
    let banner = server.stderr();
    assert!(banner.contains("the authority to trust, made now; ensign env tells SDKs\n"), "{banner}");

    let before = fs::read(&ca_file).unwrap();
    let mut server = server;
    assert_eq!(server.end(Signal::TERM).code, Some(0));
    let again = machine.dev_server_with(&format!("--addr 127.0.0.1:{port} --tls --tls-only"));
    assert_eq!(fs::read(&ca_file).unwrap(), before, "the authority is kept");
    status("https").check();
    status("http").code(5).check();
    drop(again);
    // Without TLS the profile is what it was before there was any.
    let _plain = machine.dev_server();
    machine.ensign("tail hello --from start -n 1 -o raw").stdout("world\n").check();
    assert_eq!(machine.ensign("profile show -o json").check().json()["ca_file"], serde_json::Value::Null);
}

#[test]
fn a_command_runs_with_a_server_that_speaks_tls() {
    let machine = Machine::new();
    let script = format!(
        "{0} publish hello -m world -q && {0} tail hello --from start -n 1 -o raw; echo $ENSIGN_INSECURE $ENSIGN_AUTH_URL; \
         test -s $SSL_CERT_FILE && echo $GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
        env!("CARGO_BIN_EXE_ensign")
    );
    let done = machine.run(["dev-server", "--ephemeral", "--tls", "--tls-only", "--", "sh", "-c", &script]).check();
    let lines: Vec<&str> = done.text().lines().collect();
    let [world, settings, ca_file] = lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!(*world, "world");
    assert!(settings.starts_with("false https://localhost:"), "{settings}");
    assert!(!std::path::Path::new(ca_file).exists(), "{ca_file} goes with the server");

    let asked = ["dev-server", "--ephemeral", "--tls", "--tls-ca-file", "ca.pem", "--"];
    let done = machine.run(asked.into_iter().chain(["sh", "-c", "echo $SSL_CERT_FILE"])).check();
    assert_eq!(done.text().trim_end(), machine.path("ca.pem").to_str().unwrap());
    assert!(machine.path("ca.pem").exists(), "what was asked for stays");
}
