//! The journal: what all topics' blocks are appended to, one sequence of segment files in one directory.
//!
//! Invariants: what [`JournalWriter::append`] returned is durable, and is found again by [`JournalWriter::recover`] after any
//! crash; frames have dense sequences; a group of frames takes one write and one sync, and the next begins only after
//! it. Where an ack needs no sync ([`Durability`](crate::model::Durability)), a group lasts from one sync to the next,
//! and a crash may leave any first part of it. After a write or sync that failed nothing more is written. A torn tail is cut
//! and reported; any other damage is an error with file and position, never skipped. A compacted segment is written whole
//! beside the journal and takes the place of sealed ones only when its owner says so; what is left of one that was not is
//! known by its name. docs/format.md is the specification of the bytes and of recovery.
//!
//! What it does not do: know what is in a payload, remember which segments there are (its owner does, see
//! [`KnownJournal`]), have threads of its own or wait for anything but the disk.

mod compacted;
mod error;
mod frame;
mod index;
mod recover;
mod scan;
mod segment;
mod verify;
mod writer;

pub use compacted::{Compacted, CompactedWriter, remove_segments};
#[cfg(any(test, fuzzing))]
pub mod fuzzing;

pub use error::{JournalError, UnreadableFrame, WriteError};
pub use frame::Frame;
pub use index::{FrameEntry, SegmentIndex};
pub use recover::{
    CutTail, KnownJournal, RecoveredJournal, Unregistered, find_journal_id, find_orphaned_journal, list_segments,
};
pub use segment::{FIRST_COMPACTED, JournalId, Segment, SegmentKind, SegmentPlace, segment_path};
pub use verify::{Damage, DamagedEvents, ExpectedSegment, VerifiedSegment, verify_segment};
pub use writer::{Group, JournalOptions, JournalWriter, Sealed, Tail};

#[cfg(test)]
mod compacted_tests;
#[cfg(test)]
mod tests;
