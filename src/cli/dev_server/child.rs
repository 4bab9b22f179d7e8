//! A command that runs with a development server.

use std::{ffi::OsString, os::unix::process::ExitStatusExt as _, process::ExitCode};

use tokio::process::Command;

use crate::{
    cli::{
        error::{CliError, Result},
        node::{Access, Interrupt, Interrupts, PURGE_DELAY},
    },
    sys,
};

/// What shells add to a signal's number for the exit code of a command that it ended.
const SIGNALLED: i32 = 128;

/// Runs the command until it ends, and gives its exit code.
pub(super) async fn run(command: &[OsString], access: &Access, interrupts: &mut Interrupts) -> Result<ExitCode> {
    let (program, arguments) = command.split_first().expect("there is a command, or this would not be called");
    let name = program.to_string_lossy();
    let mut child = Command::new(program)
        .args(arguments)
        // What chooses another server or project must not reach the command.
        .env_remove("ENSIGN_PROFILE")
        .env_remove("ENSIGN_PROJECT")
        .env_remove("ENSIGN_CA_FILE")
        .env_remove("ENSIGN_CLIENT_CERT")
        .env_remove("ENSIGN_CLIENT_KEY")
        .envs(access.environment())
        .env_remove(PURGE_DELAY)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => CliError::not_found(format!("there is no command {name}")),
            _ => CliError::failed(format!("can't run {name}: {error}")),
        })?;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status,
            interrupt = interrupts.next() => if interrupt == Interrupt::Terminate
                && let Some(pid) = child.id()
            {
                sys::terminate(pid);
            },
        }
    };
    let status = status.map_err(|error| CliError::failed(format!("can't wait for {name}: {error}")))?;
    let code = status.code().or_else(|| status.signal().map(|signal| SIGNALLED + signal)).unwrap_or(1);
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}
