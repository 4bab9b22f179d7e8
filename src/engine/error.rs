//! What can go wrong in the engine, by operation.

use super::versions::KeyState;
use crate::{
    model::{Offset, TopicId},
    store::{AppendError, ReadError, RecordError},
};

/// The engine could not be opened, or a topic's stream could not.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    #[error("the root key does not fit this data: it was written under another one")]
    RootKeyMismatch,
    #[error("the {what} record of {of} is damaged")]
    DamagedRecord { what: &'static str, of: String },
    #[error("the {what} record of {of} was written by a newer version")]
    TooNew { what: &'static str, of: String },
    #[error("topic {topic} has been destroyed: its salt is gone, and nothing can be read or written without it")]
    Destroyed { topic: TopicId },
    #[error("could not reach the records")]
    Records(#[from] RecordError),
    #[error("could not reach the blocks")]
    Blocks(#[from] ReadError),
}

/// A data key, or the root key, was not changed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum KeyChangeError {
    #[error("there is no data key version {version}")]
    Unknown { version: u32 },
    /// New events are sealed under it, so it can't be closed.
    #[error("data key version {version} is the newest, under which new events are sealed")]
    Newest { version: u32 },
    #[error("data key version {version} has been revoked, for good")]
    Revoked { version: u32 },
    /// Somebody else changed a key at the same time.
    #[error("the keys have been changed meanwhile")]
    Changed,
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// Events were not committed. Nothing of the batch was stored, unless the error says that it is unknown.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    #[error("topic is currently being deleted")]
    Destroyed,
    #[error("no space left to store events")]
    NoSpace,
    /// An earlier block of the topic failed; this one was never written.
    #[error("an earlier commit of the topic failed")]
    Skipped,
    /// The write failed, and whether the events are there shows when the store is opened again.
    #[error("the journal cannot be written any more; restart the broker to recover")]
    Poisoned,
    #[error("the broker is shutting down")]
    Closed,
}

impl From<&AppendError> for CommitError {
    fn from(error: &AppendError) -> CommitError {
        match error {
            AppendError::NoSpace { .. } => CommitError::NoSpace,
            AppendError::WrongBase { .. } => CommitError::Skipped,
            AppendError::Forgotten { .. } => CommitError::Destroyed,
            AppendError::Closed => CommitError::Closed,
            AppendError::Poisoned { .. } => CommitError::Poisoned,
        }
    }
}

/// Stored events could not be given to a reader.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    #[error("topic is currently being deleted")]
    Destroyed,
    #[error("offset {offset} lies behind the end of the topic, which is {end}")]
    BeyondEnd { offset: Offset, end: Offset },
    /// The block is not what was written: it does not decrypt, does not decompress, or has no meaning.
    #[error("topic {topic}, offsets {first} to {last}: the block is damaged: {what}")]
    Damaged { topic: TopicId, first: Offset, last: Offset, what: &'static str },
    /// The data key that the block was encrypted under does not exist.
    #[error("topic {topic}, offsets {first} to {last}: data key version {version} is not available")]
    MissingKey { topic: TopicId, first: Offset, last: Offset, version: u32 },
    /// The data key version that the block was encrypted under is suspended or revoked.
    #[error("topic {topic}, offsets {first} to {last}: data key version {version} {}", because(*.state))]
    Closed { topic: TopicId, first: Offset, last: Offset, version: u32, state: KeyState },
    #[error(transparent)]
    Store(#[from] ReadError),
    #[error("could not reach the records")]
    Records(#[from] RecordError),
}

fn because(state: KeyState) -> &'static str {
    match state {
        KeyState::Active => "can be read again",
        KeyState::Suspended => "is suspended; nobody can read these events until it is resumed",
        KeyState::Revoked => "has been revoked; these events can't be read any more",
    }
}
