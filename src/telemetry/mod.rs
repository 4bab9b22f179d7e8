//! What the program says about itself: logs, a word before it panics, and metrics.
//!
//! Invariants: logs go to standard error, never to standard output, which belongs to data. Metrics are handles that are
//! made once; counting takes an atomic addition, never a lock or a lookup. No label has a value that a client chooses.
//!
//! What it does not do: read a file or a clock. What it shows of memory, uptime or the store is read, when somebody
//! asks for the metrics, by functions that are given to it ([`Metrics::observe_counter`] and its siblings).

mod logging;
mod metrics;
mod observed;
mod requests;
mod rpc;

pub use logging::{LogError, LogFormat, init};
pub use metrics::{METRICS_CONTENT_TYPE, Metrics, Online};
pub use observed::{Labelled, Times};
pub use requests::UserKind;
pub use rpc::{RPCS, Rpc};
