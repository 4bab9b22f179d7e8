//! EnSQL: text in, plan out. Pure: no storage, nothing async.
//!
//! [`Statement::parse`] reads a query, [`Statement::bind`] makes a [`Plan`] of it, [`Plan::start`] an [`Execution`], which is
//! given events one after the other. It decodes nothing: [`Plan::fields`] says what of an event's data it wants, and
//! [`Fields`] finds that.
//!
//! A query of a subscription is read by the same parser. [`Statement::require_endless`] says whether it can go on for ever.

mod aggregate;
mod decode;
mod error;
mod evaluate;
mod execution;
mod expression;
mod function;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
#[cfg(test)]
mod hostile_tests;
mod input;
mod key;
mod like;
mod moment;
mod piece;
mod plan;
mod range;
#[cfg(test)]
mod reference;
mod sketch;
mod source;
#[cfg(test)]
mod source_tests;
mod source_text;
mod statement;
#[cfg(test)]
mod tests;
mod translate;
mod value;
mod words;

pub use decode::{CSV_HEADER_NAME, Fields, Undecodable};
pub use error::{ExecutionError, QueryError};
pub use execution::{Execution, Finish, MEMORY_BYTES_MAX, Outcome, Rows};
pub use input::{Input, Metadata, Path, Step};
pub use piece::{Piece, PieceKind, pieces};
pub use plan::{Explanation, Plan, Shape};
pub use source::{EventType, ResolvedTopic, Source};
pub use statement::{Parameter, Statement};
pub use value::Value;
pub use words::{KEYWORDS, aggregate_names, envelope_names, function_names, written_field};
