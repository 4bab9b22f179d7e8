//! What the server is doing as a whole, which every surface reports in its own words.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::sys::Clock;

/// What the server is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Serving,
    /// Told to serve nothing but its status.
    Maintenance,
    /// Told to stop; streams are being ended.
    Stopping,
}

/// The server's phase and age. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Lifecycle {
    phase: Arc<watch::Sender<Phase>>,
    clock: Clock,
    started: Duration,
}

impl Lifecycle {
    pub(super) fn start(clock: Clock, phase: Phase) -> Lifecycle {
        Lifecycle { phase: Arc::new(watch::Sender::new(phase)), started: clock.elapsed(), clock }
    }

    pub(super) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Follows the phases, from the one that is now.
    pub(super) fn phases(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Goes over to another phase. Stopping is final.
    pub(super) fn enter(&self, next: Phase) {
        self.phase.send_if_modified(|phase| {
            let changes = *phase != next && *phase != Phase::Stopping;
            if changes {
                *phase = next;
            }
            changes
        });
    }

    pub(super) fn uptime(&self) -> Duration {
        self.clock.elapsed().saturating_sub(self.started)
    }
}
