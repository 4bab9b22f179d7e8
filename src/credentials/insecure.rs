//! Secrets in the clear, in a file for its owner alone: for those who ask for it by name.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::SecretError;
use crate::{
    model::Secret,
    sys::files::{Access, access, read_file, write_private_file},
};

/// The largest file, in bytes.
const BYTES_MAX: u64 = 1024 * 1024;

#[derive(Debug)]
pub(super) struct InsecureFile {
    path: PathBuf,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    secrets: BTreeMap<String, Zeroizing<String>>,
}

impl InsecureFile {
    pub(super) fn at(path: PathBuf) -> InsecureFile {
        InsecureFile { path }
    }

    pub(super) fn get(&self, account: &str) -> Result<Option<Secret>, SecretError> {
        Ok(self.load()?.secrets.get(account).map(|secret| Secret::new(secret.as_bytes())))
    }

    pub(super) fn put(&self, account: &str, secret: &str) -> Result<(), SecretError> {
        let mut document = self.load()?;
        document.secrets.insert(account.to_owned(), Zeroizing::new(secret.to_owned()));
        self.save(&document)
    }

    pub(super) fn remove(&self, account: &str) -> Result<bool, SecretError> {
        let mut document = self.load()?;
        let removed = document.secrets.remove(account).is_some();
        if removed {
            self.save(&document)?;
        }
        Ok(removed)
    }

    /// Refuses a file that others can read: its secrets have to be taken for known.
    fn load(&self) -> Result<Document, SecretError> {
        let bytes = match read_file(&self.path, BYTES_MAX) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(error) if error.is_not_found() => return Ok(Document { version: 1, secrets: BTreeMap::new() }),
            Err(error) => return Err(error.into()),
        };
        if let Access::Shared { mode } = access(&self.path)? {
            return Err(SecretError::Exposed { path: self.path.clone().into(), mode });
        }
        let damaged = |what: String| SecretError::FileDamaged { path: self.path.clone().into(), what };
        let document: Document = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if document.version != 1 {
            return Err(damaged(format!("it has version {}", document.version)));
        }
        Ok(document)
    }

    fn save(&self, document: &Document) -> Result<(), SecretError> {
        let text = Zeroizing::new(serde_json::to_vec_pretty(document).expect("texts can be written as JSON"));
        Ok(write_private_file(&self.path, &text)?)
    }
}
