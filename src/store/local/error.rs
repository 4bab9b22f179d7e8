//! Why a store could not be opened or closed.

use std::{io, sync::Arc};

use crate::{journal::JournalError, sys::LockError};

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Somebody else uses the directory, or it cannot be told.
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error("could not {action} {file}")]
    Io {
        action: &'static str,
        file: String,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("could not {action} meta.redb: {message}")]
    Records { action: &'static str, message: String },
    /// A place in the records' database is not what was written.
    #[error("meta.redb is damaged at byte {position}: {what}")]
    Damaged { position: u64, what: String },
    /// The catalogue and the journal do not fit together.
    #[error("meta.redb is damaged: {what}")]
    Catalogue { what: String },
    /// The records are gone, and with them the keys of what is stored.
    #[error("meta.redb is missing, but {file} has events; put meta.redb back, or move the journal away")]
    Orphaned { file: String },
}

impl OpenError {
    pub(super) fn io(action: &'static str, file: &str) -> impl FnOnce(io::Error) -> OpenError {
        move |source| OpenError::Io { action, file: file.to_owned(), source }
    }

    pub(super) fn records(action: &'static str) -> impl FnOnce(redb::Error) -> OpenError {
        move |error| OpenError::Records { action, message: error.to_string() }
    }
}

/// The store stopped, but not in order.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CloseError {
    /// A write had failed before.
    #[error("the store could not write any more")]
    Poisoned {
        #[source]
        source: Arc<io::Error>,
    },
    #[error("could not note that the store was closed: {message}")]
    Mark { message: String },
}
