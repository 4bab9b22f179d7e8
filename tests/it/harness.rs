//! What the tests of a whole server stand on: a server with its keys, and programs of other languages that talk to it.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use ensign::{
    identity::{IssuedKey, NewKey},
    model::{Durability, OrganizationId, Permissions, ProjectId, Secret},
    server::{LocalAuthority, Server, ServerOptions, Storage, TlsOptions},
    sys::{Clock, Entropy},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// How long a program may say nothing before it counts as hanging.
const SILENCE: Duration = Duration::from_mins(10);

/// A server with a data directory of its own, on a port of its own.
#[derive(Debug)]
pub(crate) struct TestServer {
    server: Option<Server>,
    runtime: Runtime,
    options: ServerOptions,
    key: IssuedKey,
    organization: OrganizationId,
    /// What clients have to trust, when they are to use TLS.
    ca_file: Option<PathBuf>,
    _directory: TempDir,
}

impl TestServer {
    pub(crate) fn start() -> TestServer {
        TestServer::start_with(false)
    }

    /// A server that takes TLS beside plaintext, and whose clients are told to use it.
    pub(crate) fn start_with_tls() -> TestServer {
        TestServer::start_with(true)
    }

    fn start_with(is_tls: bool) -> TestServer {
        let directory = tempfile::tempdir().unwrap();
        let ca_file = is_tls.then(|| directory.path().join("tls/ca.pem"));
        let tls = ca_file.as_ref().map(|path| {
            let now = Clock::real().now();
            let (authority, _) = LocalAuthority::keep(path.parent().unwrap(), &[], &[], now).unwrap();
            TlsOptions { identity: authority.identity(&[], now).unwrap(), only: false }
        });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let mut options = ServerOptions::new(
            SocketAddr::from(([127, 0, 0, 1], 0)),
            Storage::Directory(directory.path().join("data"), Durability::Fsync),
        );
        options.tls = tls;
        let server = runtime.block_on(Server::start(options.clone(), Clock::real(), Entropy::real())).unwrap();
        options.addr = server.addr();
        let made = runtime.block_on(server.identity().ensure_default()).unwrap();
        TestServer {
            server: Some(server),
            runtime,
            options,
            key: made.issued.expect("the directory is new"),
            organization: made.organization.id,
            ca_file,
            _directory: directory,
        }
    }

    /// An access token of the key that [`TestServer::environment`] names, and where the server is.
    pub(crate) fn access(&self) -> (String, SocketAddr) {
        let identity = self.server().identity();
        let authenticated = self.block_on(identity.authenticate(&self.key.key.client_id, &self.key.secret));
        (authenticated.unwrap().access.expose_str().unwrap().to_owned(), self.options.addr)
    }

    /// Runs something beside the server.
    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Stops the server in order, and starts it again on the same directory and port.
    pub(crate) fn restart(&mut self) {
        let server = self.server.take().expect("the server is only ever gone in here");
        self.runtime.block_on(server.stop()).unwrap();
        let started = Server::start(self.options.clone(), Clock::real(), Entropy::real());
        self.server = Some(self.runtime.block_on(started).unwrap());
    }

    /// Makes a further project.
    pub(crate) fn project(&self, name: &str) -> ProjectId {
        let identity = self.server().identity();
        self.runtime.block_on(identity.create_project(self.organization, name)).unwrap().id
    }

    /// The project of the key that [`TestServer::environment`] names.
    pub(crate) fn default_project(&self) -> ProjectId {
        self.key.key.project
    }

    /// Makes a further key, as the credentials file of the SDKs.
    pub(crate) fn credentials(&self, name: &str, project: ProjectId, permissions: Permissions) -> Value {
        let new = NewKey { name: name.to_owned(), project, permissions, created_by: None };
        let issued = self.runtime.block_on(self.server().identity().create_key(new)).unwrap();
        json!({ "ClientID": issued.key.client_id, "ClientSecret": issued.secret.expose_str() })
    }

    /// Who manages the server: an address and a password.
    pub(crate) fn owner(&self) -> (String, Secret) {
        let made = self.runtime.block_on(self.server().identity().ensure_default_owner(self.organization));
        let owner = made.unwrap().expect("nobody has the address yet");
        (owner.user.email, owner.password.expect("this call made the owner"))
    }

    /// The environment in which the SDKs find the server, with a key that may do everything.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let endpoint = format!("localhost:{}", self.options.addr.port());
        let scheme = if self.ca_file.is_some() { "https" } else { "http" };
        let mut variables = vec![
            ("ENSIGN_AUTH_URL", format!("{scheme}://{endpoint}")),
            ("ENSIGN_ENDPOINT", endpoint),
            ("ENSIGN_INSECURE", self.ca_file.is_none().to_string()),
            ("ENSIGN_CLIENT_ID", self.key.key.client_id.clone()),
            ("ENSIGN_CLIENT_SECRET", self.key.secret.expose_str().unwrap().to_owned()),
        ];
        if let Some(ca_file) = &self.ca_file {
            let trusted = ca_file.display().to_string();
            variables.push(("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", trusted.clone()));
            variables.push(("SSL_CERT_FILE", trusted));
        }
        variables
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("the server is only ever gone in restart")
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            let stopped = self.runtime.block_on(server.stop());
            // A test that has failed has said why already.
            assert!(stopped.is_ok() || std::thread::panicking(), "{stopped:?}");
        }
    }
}

/// A directory for what tests make once and use again, within the build's own.
pub(crate) fn cache() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// A path in the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Whether a test that needs this program can run. Without the program it is skipped, loudly; in CI it must not be.
pub(crate) fn is_installed(program: &str) -> bool {
    let version = if program == "go" { "version" } else { "--version" };
    let found = Command::new(program).arg(version).output().is_ok_and(|output| output.status.success());
    if !found {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{program} is not installed, and CI needs it");
        eprintln!("SKIPPED: this test needs {program}, which is not installed");
    }
    found
}

/// Runs a command to its end, which has to be a good one.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} ended with {}\n{stdout}\n{stderr}", output.status);
    stdout.into_owned()
}

/// Runs a program that asks a server; on a line "restart" that restarts it. Gives the other lines.
#[track_caller]
pub(crate) fn converse(server: &mut TestServer, command: &mut Command) -> Vec<String> {
    // The command itself is never shown: its environment holds a secret.
    let program = command.get_program().display().to_string();
    let mut child = command
        .envs(server.environment())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut input = child.stdin.take().unwrap();
    let lines = lines_of(&mut child);
    let mut said = Vec::new();
    loop {
        match lines.recv_timeout(SILENCE) {
            Ok(line) if line == "restart" => {
                server.restart();
                writeln!(input).unwrap();
            }
            Ok(line) => said.push(line),
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                child.kill().unwrap();
                panic!("{program} hangs after {said:?}");
            }
        }
    }
    let status = child.wait().unwrap();
    assert!(status.success(), "{program} ended with {status} after {said:?}");
    said
}

/// The lines that a program prints, read by a thread that ends with them.
fn lines_of(child: &mut Child) -> mpsc::Receiver<String> {
    let output = child.stdout.take().unwrap();
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    lines
}
