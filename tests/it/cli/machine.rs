//! A machine of its own for a test: a home directory, and the binary in it.

use std::{
    cell::Cell,
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// Only guards against waiting for ever.
const DEADLINE: Duration = Duration::from_mins(5);

const PAUSE: Duration = Duration::from_millis(5);

/// Waits until something is there.
#[track_caller]
pub(super) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let mut waited = Duration::ZERO;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(waited < DEADLINE, "waited for {what} in vain");
        thread::sleep(PAUSE);
        waited += PAUSE;
    }
}

/// A home directory with nothing in it.
pub(super) struct Machine {
    home: TempDir,
}

impl Machine {
    pub(super) fn new() -> Machine {
        Machine { home: tempfile::tempdir().unwrap() }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Writes a file into the home directory.
    pub(super) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// The same, for its owner alone.
    pub(super) fn private_file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.file(name, content);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// The binary with these arguments, which are separated by spaces.
    pub(super) fn ensign(&self, arguments: &str) -> Run<'_> {
        self.run(arguments.split(' ').filter(|argument| !argument.is_empty()))
    }

    pub(super) fn run(&self, arguments: impl IntoIterator<Item = impl Into<String>>) -> Run<'_> {
        Run {
            machine: self,
            arguments: arguments.into_iter().map(Into::into).collect(),
            environment: BTreeMap::new(),
            stdin: Vec::new(),
            code: 0,
            stdout: None,
            stderr: None,
        }
    }

    fn command(&self, arguments: &[String], environment: &BTreeMap<String, String>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ensign"));
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.home.path())
            .env("PATH", std::env::var("PATH").unwrap())
            .envs(environment)
            .current_dir(self.home.path());
        command
    }

    /// Starts a server that keeps its events in this home, on any free port.
    #[track_caller]
    pub(super) fn dev_server(&self) -> DevServer<'_> {
        self.dev_server_with("--addr 127.0.0.1:0")
    }

    #[track_caller]
    pub(super) fn dev_server_with(&self, arguments: &str) -> DevServer<'_> {
        self.server(&format!("dev-server {arguments}"))
    }

    /// Starts a server with this command, and waits until it is ready.
    #[track_caller]
    pub(super) fn server(&self, command: &str) -> DevServer<'_> {
        let ready_file = self.path("ready.json");
        drop(fs::remove_file(&ready_file));
        let mut process = self.ensign(command).arg("--ready-file").file(&ready_file).spawn();
        let ready = wait_for("the server", || {
            if let Some(status) = process.child.try_wait().unwrap() {
                panic!("the server ended with {status}: {}", process.finish().stderr);
            }
            fs::read(&ready_file).ok()
        });
        let ready: Value = serde_json::from_slice(&ready).expect("the file is whole when it is there");
        DevServer { process: Some(process), ready, machine: self }
    }
}

/// The binary about to be run, and what is expected of it. Whole outputs are compared.
pub(super) struct Run<'a> {
    machine: &'a Machine,
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
    stdin: Vec<u8>,
    code: i32,
    stdout: Option<String>,
    stderr: Option<String>,
}

/// What it did.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) code: Option<i32>,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: String,
}

impl Done {
    #[track_caller]
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error}: {:?}", self.text()))
    }

    #[track_caller]
    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("the output is text")
    }
}

impl Run<'_> {
    pub(super) fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    pub(super) fn file(self, path: &Path) -> Self {
        self.arg(path.to_str().unwrap())
    }

    pub(super) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(super) fn stdin(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.stdin = bytes.as_ref().to_vec();
        self
    }

    /// Expects this exit code; without it, success.
    pub(super) fn code(mut self, code: i32) -> Self {
        self.code = code;
        self
    }

    /// Expects exactly this on standard output.
    pub(super) fn stdout(mut self, text: &str) -> Self {
        self.stdout = Some(text.to_owned());
        self
    }

    /// Expects exactly this on standard error.
    pub(super) fn stderr(mut self, text: &str) -> Self {
        self.stderr = Some(text.to_owned());
        self
    }

    /// Starts it and leaves it running.
    pub(super) fn spawn(self) -> Process {
        let mut child = self
            .machine
            .command(&self.arguments, &self.environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = Collector::start(child.stdout.take().unwrap());
        let stderr = Collector::start(child.stderr.take().unwrap());
        Process { child, stdout, stderr, is_signalled: Cell::new(false) }
    }

    /// Starts it with this as its input, its output and its errors.
    pub(super) fn spawn_with(self, stdio: impl Fn() -> Stdio) -> Child {
        let mut command = self.machine.command(&self.arguments, &self.environment);
        command.stdin(stdio()).stdout(stdio()).stderr(stdio()).spawn().unwrap()
    }

    /// Runs it to its end and compares.
    #[track_caller]
    pub(super) fn check(self) -> Done {
        let arguments = self.arguments.join(" ");
        let (code, stdout, stderr, input) = (self.code, self.stdout.clone(), self.stderr.clone(), self.stdin.clone());
        let mut process = self.spawn();
        let mut stdin = process.child.stdin.take().unwrap();
        // It may end before it has read everything.
        drop(stdin.write_all(&input));
        drop(stdin);
        let done = process.finish();
        let text = String::from_utf8_lossy(&done.stdout);
        let context = || format!("ensign {arguments}\n--- stdout\n{text}\n--- stderr\n{}", done.stderr);
        assert_eq!(done.code, Some(code), "{}", context());
        if let Some(stdout) = stdout {
            assert_eq!(text, stdout, "{}", context());
        }
        if let Some(stderr) = stderr {
            assert_eq!(done.stderr, stderr, "{}", context());
        }
        done
    }
}

/// What a process has written so far.
struct Collector {
    bytes: Arc<Mutex<Vec<u8>>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Collector {
    fn start(mut source: impl Read + Send + 'static) -> Collector {
        let bytes: Arc<Mutex<Vec<u8>>> = Arc::default();
        let collected = bytes.clone();
        let thread = thread::spawn(move || {
            let mut buffer = [0; 16 * 1024];
            loop {
                let count = source.read(&mut buffer).unwrap();
                if count == 0 {
                    return;
                }
                collected.lock().unwrap().extend_from_slice(&buffer[..count]);
            }
        });
        Collector { bytes, thread: Some(thread) }
    }

    fn so_far(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }

    fn finish(&mut self) -> Vec<u8> {
        self.thread.take().unwrap().join().unwrap();
        self.so_far()
    }
}

/// The binary while it runs. It ends with the test.
pub(super) struct Process {
    pub(super) child: Child,
    stdout: Collector,
    stderr: Collector,
    /// It was sent a signal, which is what ends it.
    is_signalled: Cell<bool>,
}

impl Process {
    pub(super) fn signal(&self, signal: Signal) {
        self.is_signalled.set(true);
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    pub(super) fn write(&mut self, bytes: &[u8]) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(bytes).unwrap();
        stdin.flush().unwrap();
    }

    /// Waits for its end. Its input is closed, unless a signal is to end it: the two would race.
    #[track_caller]
    pub(super) fn finish(&mut self) -> Done {
        if !self.is_signalled.get() {
            drop(self.child.stdin.take());
        }
        let status: ExitStatus = wait_for("the end of the process", || self.child.try_wait().unwrap());
        Done {
            code: status.code(),
            stdout: self.stdout.finish(),
            stderr: String::from_utf8_lossy(&self.stderr.finish()).into_owned(),
        }
    }

    /// What it has written to standard output so far.
    pub(super) fn stdout(&self) -> Vec<u8> {
        self.stdout.so_far()
    }

    /// What it has written to standard error so far.
    pub(super) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr.so_far()).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A running dev server.
pub(super) struct DevServer<'a> {
    process: Option<Process>,
    pub(super) ready: Value,
    machine: &'a Machine,
}

impl<'a> DevServer<'a> {
    pub(super) fn endpoint(&self) -> &str {
        self.ready["endpoint"].as_str().unwrap()
    }

    /// What it says at an address of its REST side.
    pub(super) fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port().parse().unwrap())).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        reply
    }

    pub(super) fn port(&self) -> &str {
        self.endpoint().rsplit_once(':').unwrap().1
    }

    /// Ends it with a signal and starts it again, on the same port and directory.
    #[track_caller]
    pub(super) fn restart(mut self, signal: Signal) -> DevServer<'a> {
        let arguments = format!("--addr 127.0.0.1:{}", self.port());
        self.end(signal);
        self.machine.dev_server_with(&arguments)
    }

    /// Sends a signal that does not end it.
    pub(super) fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().unwrap();
        kill_process(Pid::from_child(&process.child), signal).unwrap();
    }

    /// What it has written to standard error so far.
    pub(super) fn stderr(&self) -> String {
        self.process.as_ref().unwrap().stderr()
    }

    /// Ends it with a signal; the exit code and standard error.
    #[track_caller]
    pub(super) fn end(&mut self, signal: Signal) -> Done {
        let mut process = self.process.take().unwrap();
        process.signal(signal);
        process.finish()
    }

    pub(super) fn kill(&mut self) {
        self.end(Signal::KILL);
    }
}

/// A file of the repository.
pub(super) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
