//! The signals that a server listens to.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::error::{CliError, Result};

/// The signals that end a server.
#[derive(Debug)]
pub(in crate::cli) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

/// Which signal it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Interrupt {
    /// Ctrl-C, which the terminal sends to all processes of the command.
    Keyboard,
    Terminate,
}

impl Interrupts {
    pub(in crate::cli) fn listen() -> Result<Interrupts> {
        let failed = |error: io::Error| CliError::failed(format!("can't listen to signals: {error}"));
        Ok(Interrupts {
            interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
            terminate: signal(SignalKind::terminate()).map_err(failed)?,
        })
    }

    pub(in crate::cli) async fn next(&mut self) -> Interrupt {
        tokio::select! {
            _ = self.interrupt.recv() => Interrupt::Keyboard,
            _ = self.terminate.recv() => Interrupt::Terminate,
        }
    }
}
