//! Settings and where their values come from: flag over environment over file or profile over default.
//!
//! Invariants: the environment is read once, here, and passed on as a value, so that everything that depends on it can
//! be tested without touching the process. A variable that is set to nothing counts as not set. Every value that was
//! settled remembers its source.
//!
//! What it does not do: parse command lines, open files, read profiles, know what a setting means.

mod document;
mod environment;
mod setting;

pub use document::{Document, DocumentError};
pub use environment::Environment;
pub use setting::{Setting, Source};
