//! The integration tests: one binary, one module a subject.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stderr,
    reason = "a test stops at what it does not expect, and looks at the world itself"
)]

mod cli;
mod conformance;
mod damage;
mod documented_queries;
mod documents;
mod faults;
mod golden;
mod group_history;
mod groups;
mod harness;
mod history;
mod keyring;
mod layers;
mod node;
mod proto;
mod python;
mod sdks;
mod slow_subscriber;
mod source;
mod sqlite;
mod style;
