//! Why a text is not a query, or a query can't be run.

use std::borrow::Cow;

/// Why a text is not a query that can be run. The texts are what a client sees.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    #[error("empty query is invalid")]
    Empty,
    #[error("topic name cannot be empty")]
    NoTopic,
    #[error("SELECT requires field projection or *")]
    NoFields,
    #[error("cannot select * and specify fields")]
    StarAndFields,
    /// Positions are byte offsets in the text without surrounding space.
    #[error("syntax error at position {position} near {near:?}: {what}")]
    Syntax { position: usize, near: String, what: Cow<'static, str> },
    #[error("the query is {length} bytes long, more than the {limit} that are allowed")]
    TooLong { length: usize, limit: usize },
    #[error("{what}")]
    Invalid { what: &'static str },
    #[error("no value is given for the parameter {name}")]
    MissingParameter { name: String },
    #[error(
        "the values of the query's parameters, each as often as it is used, need more than {} MiB of memory; use large ones less often",
        .limit >> 20
    )]
    ConstantsTooLarge { limit: usize },
    #[error("the topic {name:?} does not exist")]
    UnknownTopic { name: String },
}

impl QueryError {
    /// Where in the trimmed text it is, in bytes.
    pub fn position(&self) -> Option<usize> {
        match self {
            QueryError::Syntax { position, .. } => Some(*position),
            _ => None,
        }
    }
}

/// Why a query that runs has to end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExecutionError {
    #[error(
        "the query's {held} need more than {} MiB of memory; narrow it with WHERE, group by fewer values, or give ORDER BY a LIMIT",
        .limit >> 20
    )]
    MemoryExceeded { held: &'static str, limit: usize },
    #[error("a row of the result is larger than {limit} bytes; select less")]
    RowTooLarge { limit: usize },
}
