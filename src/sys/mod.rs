//! The outside world: files, clocks and entropy. The only module that touches them; each is a cheap handle over a
//! private trait object, with a real implementation and simulated ones with faults.

mod clock;
mod disk;
mod entropy;
mod partial;
mod process;

pub mod files;

pub use clock::{Clock, ManualClock};
pub use disk::{Disk, DiskFile, DiskLock, Fault, FaultKind, LOCK_FILE, LockError, Loss, Operation, SimulatedDisk};
pub use entropy::Entropy;
pub use partial::PartialFile;
pub use process::{begin_anew_with, terminate};

use crate::model::Ulid;

/// How much memory the process occupies, in bytes, where the system tells.
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// What the machine calls itself, where the system tells.
pub fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// A new identifier from a clock and a source of randomness.
pub fn new_ulid(clock: &Clock, entropy: &Entropy) -> Ulid {
    Ulid::from_parts(clock.now().millis(), entropy.bytes())
}
