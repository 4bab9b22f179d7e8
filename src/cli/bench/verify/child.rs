//! The server that is killed.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde::Deserialize;
use tokio::process::Command;

use crate::{
    cli::error::{CliError, Result},
    client::{Client, Credentials, Endpoint},
    model::Secret,
    sys::{Clock, files},
};

/// How often a wait looks whether the server is ready.
const GLANCE: Duration = Duration::from_millis(5);

/// How long a server may take to recover. Longer counts as hanging.
const PATIENCE: Duration = Duration::from_mins(2);

const READY_BYTES_MAX: u64 = 64 * 1024;

/// Where servers keep their events.
pub(super) const DATA: &str = "data";

/// What all servers of a run said, one after the other.
const LOG: &str = "server.log";

/// What is needed of the ready file.
#[derive(Deserialize)]
struct Ready {
    endpoint: String,
    auth_url: String,
    client_id: String,
    client_secret: String,
}

/// A `dev-server` in a process of its own. It does not outlive this value.
pub(super) struct Child {
    process: tokio::process::Child,
    ready_file: PathBuf,
}

impl Child {
    /// Starts a server on the directory.
    pub(super) fn spawn(dir: &Path) -> Result<Child> {
        let failed = |error: std::io::Error| CliError::failed(format!("can't start a server: {error}"));
        let ready_file = dir.join("ready.json");
        // One that a killed server left behind is not this server's.
        files::remove_file(&ready_file).map_err(|error| CliError::chain(&error))?;
        let log = files::log_file(&dir.join(LOG)).map_err(|error| CliError::chain(&error))?;
        let process = Command::new(std::env::current_exe().map_err(failed)?)
            // The user's settings, profiles and secrets are none of its business.
            .env_clear()
            .args(["dev-server", "--quiet", "--no-profile", "--addr", "127.0.0.1:0", "--data-dir"])
            .arg(dir.join(DATA))
            .arg("--ready-file")
            .arg(&ready_file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        Ok(Child { process, ready_file })
    }

    /// Waits until the server is ready, and signs in.
    pub(super) async fn ready(&mut self, clock: &Clock) -> Result<Client> {
        let started = clock.elapsed();
        while !files::exists(&self.ready_file) {
            if let Ok(Some(status)) = self.process.try_wait() {
                return Err(CliError::check_failed(format!("the server does not start again: it ended with {status}")));
            }
            if clock.elapsed().saturating_sub(started) > PATIENCE {
                return Err(CliError::check_failed("the server does not get ready again"));
            }
            clock.sleep(GLANCE).await;
        }
        let bytes = files::read_file(&self.ready_file, READY_BYTES_MAX).map_err(|error| CliError::chain(&error))?;
        let ready: Ready = serde_json::from_slice(&bytes)
            .map_err(|error| CliError::failed(format!("the ready file can't be read: {error}")))?;
        let address = ready.endpoint.parse().map_err(|error| CliError::failed(format!("{error}")))?;
        let endpoint = Endpoint::new(address, Some(ready.auth_url), Some(true));
        let credentials = Credentials { client_id: ready.client_id, client_secret: Secret::new(ready.client_secret) };
        Ok(Client::connect(endpoint, credentials, clock.clone()).await?)
    }

    /// Kills the server where it stands, and waits until it is gone.
    pub(super) async fn kill(mut self) -> Result<()> {
        if let Ok(Some(status)) = self.process.try_wait() {
            return Err(CliError::check_failed(format!("the server ended by itself, with {status}")));
        }
        // SIGKILL: nothing in the process runs after it.
        self.process.kill().await.map_err(|error| CliError::failed(format!("can't kill the server: {error}")))
    }
}
