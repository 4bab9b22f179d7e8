//! Where the vault's passphrase comes from.

use std::{fmt, path::PathBuf, sync::Arc};

use super::SecretError;
use crate::{model::Secret, sys::files::read_file};

/// The longest passphrase, in bytes.
const BYTES_MAX: u64 = 64 * 1024;

/// What a passphrase is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To open the vault.
    Open,
    /// To make the vault: worth being asked for twice.
    Create,
}

type Ask = dyn Fn(Purpose) -> std::io::Result<Secret> + Send + Sync;

/// A source of the passphrase.
#[derive(Clone)]
pub enum Passphrase {
    /// There is none: whatever needs it fails.
    Unavailable,
    Given(Secret),
    /// A file; a line break at its end does not belong to the passphrase.
    File(PathBuf),
    /// A prompt.
    Ask(Arc<Ask>),
}

impl Passphrase {
    pub fn ask(prompt: impl Fn(Purpose) -> std::io::Result<Secret> + Send + Sync + 'static) -> Passphrase {
        Passphrase::Ask(Arc::new(prompt))
    }

    pub(super) fn get(&self, purpose: Purpose) -> Result<Secret, SecretError> {
        let passphrase = match self {
            Passphrase::Unavailable => return Err(SecretError::NoPassphrase),
            Passphrase::Given(passphrase) => passphrase.clone(),
            Passphrase::File(path) => without_line_break(read_file(path, BYTES_MAX)?),
            Passphrase::Ask(prompt) => {
                prompt(purpose).map_err(|error| SecretError::PassphraseUnread { source: Arc::new(error) })?
            }
        };
        if passphrase.is_empty() { Err(SecretError::EmptyPassphrase) } else { Ok(passphrase) }
    }
}

/// A secret that was read from somewhere, without the line break at its end.
pub(super) fn without_line_break(mut bytes: Vec<u8>) -> Secret {
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    Secret::new(bytes)
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Passphrase::Unavailable => "Unavailable",
            Passphrase::Given(_) => "Given",
            Passphrase::File(_) => "File",
            Passphrase::Ask(_) => "Ask",
        })
    }
}
