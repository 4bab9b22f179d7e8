//! What the disk itself can do: how long a write of one page takes until it is durable.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};

use super::meter::Latencies;
use crate::{
    cli::error::{CliError, Result},
    sys::{Clock, Disk, DiskFile, Entropy},
};

/// The size of a write, in bytes.
const PAGE_BYTES: usize = 4_096;

/// The file's size, which is set aside before anything is measured, as the journal's is.
const FILE_BYTES: u64 = 8 * 1024 * 1024;

const SYNCS_MAX: u64 = 2_000;

/// Slow disks are measured for this long and not longer.
const TIME_MAX: Duration = Duration::from_secs(2);

/// How long syncs took.
#[derive(Debug, Clone)]
pub(super) struct DiskReadings {
    pub(super) dir: PathBuf,
    pub(super) latencies: Latencies,
}

impl DiskReadings {
    pub(super) fn json(&self) -> Value {
        json!({ "dir": self.dir.display().to_string(), "syncs": self.latencies.count(), "fdatasync_us": self.latencies.json() })
    }
}

/// Writes and syncs one page after the other in a file of its own in a directory, and removes the file.
pub(super) fn measure(dir: &Path, clock: &Clock) -> Result<DiskReadings> {
    let failed =
        |error: std::io::Error| CliError::failed(format!("can't measure the disk of {}: {error}", dir.display()));
    let disk = Disk::real(dir).map_err(failed)?;
    let name = format!(".ensign-bench-{:016x}", Entropy::real().number());
    let file = disk.create(&name).map_err(failed)?;
    let measured = sync_pages(&file, clock);
    disk.remove(&name).map_err(failed)?;
    let latencies = measured.map_err(failed)?;
    Ok(DiskReadings { dir: dir.to_owned(), latencies })
}

fn sync_pages(file: &DiskFile, clock: &Clock) -> std::io::Result<Latencies> {
    file.allocate(FILE_BYTES)?;
    file.sync_data()?;
    let page = Entropy::real().bytes::<PAGE_BYTES>();
    let mut latencies = Latencies::new();
    let started = clock.elapsed();
    for number in 0..SYNCS_MAX {
        let before = clock.elapsed();
        if before.saturating_sub(started) > TIME_MAX {
            break;
        }
        file.write_all_at(&[&page], number * PAGE_BYTES as u64 % FILE_BYTES)?;
        file.sync_data()?;
        latencies.record(clock.elapsed().saturating_sub(before), 1);
    }
    Ok(latencies)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measured_directory_is_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let readings = measure(dir.path(), &Clock::real()).unwrap();
        assert!(readings.latencies.count() > 0);
        assert_eq!(Disk::real(dir.path()).unwrap().list("").unwrap(), Vec::<String>::new());
    }
}
