//! The disk without us: how many bytes a second reach it durably, in the best way there is.

use std::{path::Path, time::Duration};

use ensign::sys::{Clock, Disk, Entropy};

use crate::Error;

const CHUNK_BYTES: usize = 1024 * 1024;

/// The file's size; it is written over from its beginning when its end is reached.
const FILE_BYTES: u64 = 256 * 1024 * 1024;

/// Writes chunks into a preallocated file, each synced before the next. Gives bytes a second.
pub(crate) fn measure(dir: &Path, time: Duration, clock: &Clock) -> Result<f64, Error> {
    const NAME: &str = "disk.bench";
    let disk = Disk::real(dir)?;
    let file = disk.create(NAME)?;
    file.allocate(FILE_BYTES)?;
    file.sync_data()?;
    let mut chunk = vec![0; CHUNK_BYTES];
    Entropy::real().fill(&mut chunk);
    let started = clock.elapsed();
    let mut written = 0;
    while clock.elapsed().saturating_sub(started) < time {
        file.write_all_at(&[&chunk], written % FILE_BYTES)?;
        file.sync_data()?;
        written += CHUNK_BYTES as u64;
    }
    let seconds = clock.elapsed().saturating_sub(started).as_secs_f64();
    disk.remove(NAME)?;
    #[expect(clippy::cast_precision_loss, reason = "nobody counts these bytes")]
    Ok(written as f64 / seconds)
}

/// Has the system forget what it holds of files. Only the administrator may; says whether it happened.
pub(crate) fn drop_page_cache() -> bool {
    std::fs::write("/proc/sys/vm/drop_caches", "1").is_ok()
}
