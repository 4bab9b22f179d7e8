//! The product: its server in one process, its own command line as the client in others.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use ensign::{
    client::{Client, Credentials, Endpoint},
    model::Secret,
    sys::{Clock, files},
};
use serde_json::Value;

use crate::Error;

const BINARY: &str = env!("CARGO_BIN_EXE_ensign");

/// How often a wait for a server looks whether it is ready.
const GLANCE: Duration = Duration::from_micros(500);

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_mins(2);

/// A server with a data directory that is removed along with it.
#[derive(Debug)]
pub(crate) struct Broker {
    dir: tempfile::TempDir,
    server: Option<Child>,
    clock: Clock,
}

impl Broker {
    /// Starts a server on an empty directory.
    pub(crate) fn start(scratch: &Path) -> Result<Broker, Error> {
        let dir = tempfile::tempdir_in(scratch)?;
        let mut broker = Broker { dir, server: None, clock: Clock::real() };
        broker.begin()?;
        Ok(broker)
    }

    /// Starts the server. Gives how long it took from before the process was there until it was ready.
    pub(crate) fn begin(&mut self) -> Result<Duration, Error> {
        let ready = self.ready_file();
        files::remove_file(&ready)?;
        let mut command = Command::new(BINARY);
        command.args(["dev-server", "--quiet", "--no-profile", "--addr", "127.0.0.1:0", "--data-dir"]);
        command.arg(self.dir.path().join("data")).arg("--ready-file").arg(&ready);
        let started = self.clock.elapsed();
        self.server = Some(command.stdin(Stdio::null()).spawn()?);
        loop {
            let waited = self.clock.elapsed().saturating_sub(started);
            if files::exists(&ready) {
                return Ok(waited);
            }
            if waited > PATIENCE {
                return Err("the server did not start".into());
            }
            self.clock.block(GLANCE);
        }
    }

    /// Stops the server in order.
    pub(crate) fn stop(&mut self) -> Result<(), Error> {
        let Some(mut server) = self.server.take() else { return Ok(()) };
        Command::new("kill").arg("-TERM").arg(server.id().to_string()).status()?;
        let status = server.wait()?;
        if status.success() { Ok(()) } else { Err(format!("the server ended with {status}").into()) }
    }

    pub(crate) fn restart(&mut self) -> Result<Duration, Error> {
        self.stop()?;
        self.begin()
    }

    /// A directory on the disk that the server's data is on.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A number of kibibytes that the system keeps of the server's process, in bytes: `VmRSS` or `VmHWM`.
    pub(crate) fn memory(&self, what: &str) -> Result<u64, Error> {
        let server = self.server.as_ref().ok_or("the server does not run")?;
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
        let kibibytes: u64 = line.and_then(|line| line.split_whitespace().next()).ok_or("no such number")?.parse()?;
        Ok(kibibytes * 1024)
    }

    /// Runs a benchmark of the command line; gives its report.
    pub(crate) fn bench(&self, arguments: &[impl AsRef<std::ffi::OsStr>]) -> Result<Value, Error> {
        let mut command = self.ensign(&["--quiet", "--output", "json", "bench"])?;
        let output = command.args(arguments).arg("--disk").arg(self.dir()).stderr(Stdio::inherit()).output()?;
        if !output.status.success() {
            return Err(format!("ensign bench ended with {}", output.status).into());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// A command of the command line, with everything it needs to find the server.
    pub(crate) fn ensign(&self, arguments: &[&str]) -> Result<Command, Error> {
        let mut command = Command::new(BINARY);
        command.envs(self.environment()?).env("ENSIGN_CONFIG_DIR", self.dir.path().join("config")).args(arguments);
        Ok(command)
    }

    /// The variables by which the command line and the SDKs find the server.
    pub(crate) fn environment(&self) -> Result<Vec<(&'static str, String)>, Error> {
        let ready = self.ready()?;
        Ok(vec![
            ("ENSIGN_ENDPOINT", text(&ready, "endpoint")?),
            ("ENSIGN_AUTH_URL", text(&ready, "auth_url")?),
            ("ENSIGN_CLIENT_ID", text(&ready, "client_id")?),
            ("ENSIGN_CLIENT_SECRET", text(&ready, "client_secret")?),
            ("ENSIGN_INSECURE", "true".to_owned()),
        ])
    }

    /// Signs in.
    pub(crate) async fn connect(&self) -> Result<Client, Error> {
        let ready = self.ready()?;
        let endpoint = Endpoint::new(text(&ready, "endpoint")?.parse()?, Some(text(&ready, "auth_url")?), Some(true));
        let client_secret = Secret::new(text(&ready, "client_secret")?);
        let credentials = Credentials { client_id: text(&ready, "client_id")?, client_secret };
        Ok(Client::connect(endpoint, credentials, self.clock.clone()).await?)
    }

    fn ready(&self) -> Result<Value, Error> {
        Ok(serde_json::from_slice(&files::read_file(&self.ready_file(), 64 * 1024)?)?)
    }

    fn ready_file(&self) -> PathBuf {
        self.dir.path().join("ready.json")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            // It is on the way out of a failure; what can't be killed is gone already.
            server.kill().and_then(|()| server.wait()).ok();
        }
    }
}

/// Runs a command to its end, which has to be a good one.
pub(crate) fn succeed(command: &mut Command) -> Result<(), Error> {
    let status = command.status()?;
    if status.success() {
        return Ok(());
    }
    // Not the command itself: its environment holds a secret.
    Err(format!("{} ended with {status}", command.get_program().display()).into())
}

/// A number of a report, by its path: `/latency_us/p99`.
pub(crate) fn number(report: &Value, path: &str) -> Result<f64, Error> {
    report.pointer(path).and_then(Value::as_f64).ok_or_else(|| format!("no {path} in the report").into())
}

fn text(ready: &Value, name: &str) -> Result<String, Error> {
    ready[name].as_str().map(ToOwned::to_owned).ok_or_else(|| format!("no {name} in the ready file").into())
}
