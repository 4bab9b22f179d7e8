//! `ensign export` and `ensign import`: topics in one file, and back.
//!
//! docs/format.md describes the file, which is made of lines: `line` has those that are not events, `course` says which line may
//! follow which, `writer` and `reader` are alone with the bytes. The commands stand above: `plan` settles what is exported, `file`
//! is where it goes, `transfer` reads the events.
//! And back: `feed` takes the file apart, `landing` finds out what a topic lacks and publishes it.
//!
//! Invariant: whoever reads an archive gets checked events or an error that says where it is damaged, never anything else.

mod course;
mod export;
mod feed;
mod file;
mod frames;
mod import;
mod landing;
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
pub(super) use import::Args as ImportArgs;
pub(super) use line::MARK;

/// How much of a file is read in one go.
const READ_BYTES: usize = 256 * 1024;

/// For how long a connection that broke is tried to be made again. What is there by then can be gone on with.
const RETRY_FOR: Duration = Duration::from_secs(30);
