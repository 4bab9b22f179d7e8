//! What can go wrong with a journal.

use std::{io, sync::Arc};

use crate::model::Offset;

/// Why a journal could not be opened or made.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    #[error("could not {action} {file}")]
    Io {
        action: &'static str,
        file: String,
        #[source]
        source: Arc<io::Error>,
    },
    /// What is there is not what was written, and no crash can have done it.
    #[error("{file} is damaged at byte {position}: {what}")]
    Damaged { file: String, position: u64, what: String },
    #[error("{file} is missing")]
    Missing { file: String },
    /// Another segment follows, so this one had been sealed.
    #[error("{file} is not sealed although another segment follows it")]
    Unsealed { file: String },
    #[error("{file} has format version {version}, which this program does not know")]
    Version { file: String, version: u16 },
}

impl JournalError {
    pub(super) fn io(action: &'static str, file: &str) -> impl FnOnce(io::Error) -> JournalError {
        move |source| JournalError::Io { action, file: file.to_owned(), source: Arc::new(source) }
    }

    pub(super) fn damaged(file: &str, position: u64, what: impl Into<String>) -> JournalError {
        JournalError::Damaged { file: file.to_owned(), position, what: what.into() }
    }
}

/// Why frames were not appended.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// There is no room for another segment. Nothing of the group was written; a later attempt may succeed.
    #[error("no space left for another segment")]
    NoSpace {
        #[source]
        source: Arc<io::Error>,
    },
    /// A write or a sync failed, now or earlier. The writer takes nothing more until the journal is opened again.
    #[error("the journal cannot be written any more")]
    Poisoned {
        #[source]
        source: Arc<io::Error>,
    },
}

/// A frame that could not be read.
#[derive(Debug, Clone, thiserror::Error)]
#[error("offsets {first} to {last} are unreadable")]
pub struct UnreadableFrame {
    /// The offsets of the events in it.
    pub first: Offset,
    pub last: Offset,
    #[source]
    pub source: JournalError,
}
