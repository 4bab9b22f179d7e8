//! The root key in the data directory, which a development server uses.
//!
//! A key beside the data that it protects guards against reading a stray copy of the journal or of the records, not
//! against whoever can read the whole directory.

use std::io;

use crate::{
    engine::{KEY_BYTES, RootKey},
    model::Secret,
    sys::{Disk, Entropy},
};

/// The file of the key in the data directory: its bytes and nothing else.
const FILE: &str = "root.key";

/// Where a new key is written before it gets its name.
const NEW_FILE: &str = "root.key.new";

/// The root key could not be read or made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootKeyError {
    #[error(
        "the root key file {FILE} has {bytes} bytes instead of {KEY_BYTES}; restore it, as nothing stored can be read without it"
    )]
    WrongLength { bytes: u64 },
    #[error("the root key file {FILE} is missing; restore it, as nothing stored can be read without it")]
    Missing,
    #[error("could not {action} the root key file {FILE}")]
    Io {
        action: &'static str,
        #[source]
        source: io::Error,
    },
}

/// Reads the key of a data directory; `None` when it has none.
///
/// # Errors
///
/// When the file can't be read, or is none of a key.
pub fn load_root_key(disk: &Disk) -> Result<Option<RootKey>, RootKeyError> {
    let failed = |action| move |source| RootKeyError::Io { action, source };
    let file = match disk.open(FILE) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed("open"))?,
    };
    let bytes = file.len().map_err(failed("read"))?;
    if bytes != KEY_BYTES as u64 {
        return Err(RootKeyError::WrongLength { bytes });
    }
    let mut key = vec![0; KEY_BYTES];
    file.read_exact_at(&mut key, 0).map_err(failed("read"))?;
    RootKey::new(&Secret::new(key)).ok_or(RootKeyError::WrongLength { bytes }).map(Some)
}

/// Makes the key of a data directory that has none.
pub(super) fn create(disk: &Disk, entropy: &Entropy) -> Result<RootKey, RootKeyError> {
    let secret = Secret::new(entropy.bytes::<KEY_BYTES>());
    write(disk, &secret).map_err(|source| RootKeyError::Io { action: "write", source })?;
    RootKey::new(&secret).ok_or(RootKeyError::WrongLength { bytes: 0 })
}

/// Writes the key so that after a crash it is either whole or not there.
fn write(disk: &Disk, secret: &Secret) -> io::Result<()> {
    match disk.remove(NEW_FILE) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let file = disk.create(NEW_FILE)?;
    file.write_all_at(&[secret.expose()], 0)?;
    file.sync_data()?;
    disk.rename(NEW_FILE, FILE)?;
    disk.sync_dir("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_whole_and_one_of_another_length_is_refused() {
        let disk = Disk::memory();
        assert!(load_root_key(&disk).unwrap().is_none());
        create(&disk, &Entropy::seeded(1)).unwrap();
        let file = disk.open(FILE).unwrap();
        assert_eq!(file.len().unwrap(), KEY_BYTES as u64);
        assert!(load_root_key(&disk).unwrap().is_some());
        assert_eq!(disk.list("").unwrap(), [FILE]);

        file.set_len(7).unwrap();
        assert!(matches!(load_root_key(&disk), Err(RootKeyError::WrongLength { bytes: 7 })));
    }
}
