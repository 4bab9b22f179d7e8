//! EnSQL: text in, plan out. Pure: no storage, nothing async.
//!
//! What is here is the part that says where to read: `SELECT * FROM topic` with OFFSET, AFTER and BEFORE, for one topic or
//! several. It is how a subscription starts in the past without leaving the Ensign API. Everything else of the language
//! is refused by name, never ignored.

#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod range;

pub use range::{RangeError, RangeQuery, TopicRange};
