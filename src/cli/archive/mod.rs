//! `ensign export`: topics in one file.
//!
//! docs/format.md describes the file, which is made of lines: `line` has those that are not events, `course` says which line may
//! follow which, `writer` and `reader` are alone with the bytes. The commands stand above: `plan` settles what is exported, `file`
//! is where it goes, `transfer` reads the events.
//!
//! Invariant: whoever reads an archive gets checked events or an error that says where it is damaged, never anything else.

mod course;
mod export;
mod file;
mod frames;
mod line;
mod plan;
mod reader;
mod transfer;
mod writer;

#[cfg(any(test, fuzzing))]
pub mod fuzzing;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub(super) use export::Args as ExportArgs;

/// For how long a connection that broke is tried to be made again. What is there by then can be gone on with.
const RETRY_FOR: Duration = Duration::from_secs(30);
