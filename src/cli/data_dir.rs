//! Data directories that commands work on while no server does.

use std::path::Path;

use serde_json::{Value, json};

use super::error::{CliError, Result};
use crate::{
    journal::{CutTail, JournalError},
    store::local::{self, OpenError},
    sys::{Disk, LockError, files::exists},
};

/// The directory of a store; nothing is made where there is none.
pub(super) fn open(dir: &Path) -> Result<Disk> {
    if !exists(dir) {
        return Err(CliError::not_found("there is no such directory"));
    }
    let disk = Disk::real(dir).map_err(|error| CliError::chain(&error))?;
    match local::is_store(&disk) {
        Ok(true) => Ok(disk),
        Ok(false) => {
            Err(CliError::not_found("nothing is stored there").hint("name the directory that has the journal in it"))
        }
        Err(error) => Err(CliError::chain(&error)),
    }
}

/// Why a store could not be opened, and what to do about it when another process has it.
pub(super) fn refused(error: &OpenError, when_in_use: &str) -> CliError {
    let chained = CliError::chain(error);
    match error {
        OpenError::Lock(LockError::Held { .. }) => chained.hint(when_in_use),
        OpenError::Catalogue { .. }
        | OpenError::Orphaned { .. }
        | OpenError::Journal(
            JournalError::Damaged { .. } | JournalError::Missing { .. } | JournalError::Unsealed { .. },
        ) => CliError::check_failed(chained.message),
        _ => chained,
    }
}

/// The torn end of a journal, as reports have it: null when there is none.
pub(super) fn torn_tail(tail: Option<&CutTail>) -> Value {
    tail.map_or(
        Value::Null,
        |CutTail { file, position, bytes }| json!({ "file": file, "position": position, "bytes": bytes }),
    )
}
