//! Other processes.

use rustix::process::{Pid, Signal, kill_process};

/// Asks a process to end (SIGTERM). That it is gone already is no error.
pub fn terminate(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // There is nothing to do about a process that may not be signalled.
        kill_process(pid, Signal::TERM).ok();
    }
}
