//! The files of a root key in its data directory: the key itself, or what a passphrase is made a key with.
//!
//! A new one is written beside the old one, under its name with `.next` behind it, before the records are changed to it, and takes the
//! old one's name afterwards. Which of the two is the right one, the records tell.

use std::io;

use super::RootKeyError;
use crate::sys::Disk;

/// The key: its 32 bytes and nothing else.
pub(super) const KEY_FILE: &str = "root.key";

/// The salt and the costs of the passphrase's derivation.
pub(super) const DERIVATION_FILE: &str = "root-key.json";

/// More than any of them has.
const BYTES_MAX: u64 = 4096;

pub(super) fn next_of(file: &str) -> String {
    format!("{file}.next")
}

fn failed(action: &'static str, file: &str) -> impl FnOnce(io::Error) -> RootKeyError {
    let file = file.to_owned();
    move |source| RootKeyError::Io { action, file, source }
}

/// The content of a file; `None` when there is none.
pub(super) fn read(disk: &Disk, name: &str) -> Result<Option<Vec<u8>>, RootKeyError> {
    let file = match disk.open(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed("open", name))?,
    };
    let bytes = file.len().map_err(failed("read", name))?;
    if bytes > BYTES_MAX {
        return Err(RootKeyError::Damaged { file: name.to_owned(), what: format!("it has {bytes} bytes") });
    }
    let mut content = vec![0; usize::try_from(bytes).unwrap_or_default()];
    file.read_exact_at(&mut content, 0).map_err(failed("read", name))?;
    Ok(Some(content))
}

/// Writes a file so that after a crash it is whole, or as it was before.
pub(super) fn write(disk: &Disk, name: &str, content: &[u8]) -> Result<(), RootKeyError> {
    let draft = format!("{name}.new");
    let written = || {
        let file = disk.create(&draft)?;
        file.write_all_at(&[content], 0)?;
        file.sync_data()?;
        disk.rename(&draft, name)?;
        disk.sync_dir("")
    };
    written().map_err(failed("write", name))
}

/// Gives the file that was written beside another one that one's name.
pub(super) fn take_next(disk: &Disk, name: &str) -> Result<(), RootKeyError> {
    let renamed = disk.rename(&next_of(name), name).and_then(|()| disk.sync_dir(""));
    renamed.map_err(failed("rename", name))
}

/// Removes files, as far as they are there. Keys are overwritten before.
pub(super) fn remove<'a>(disk: &Disk, names: impl IntoIterator<Item = &'a str>) -> Result<(), RootKeyError> {
    for name in names {
        let removed = || {
            let file = disk.open(name)?;
            let zeros = vec![0; usize::try_from(file.len()?.min(BYTES_MAX)).unwrap_or_default()];
            file.write_all_at(&[&zeros], 0)?;
            file.sync_data()?;
            disk.remove(name)?;
            disk.sync_dir("")
        };
        match removed() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => result.map_err(failed("remove", name))?,
        }
    }
    Ok(())
}
