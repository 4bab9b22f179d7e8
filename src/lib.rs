//! `ensign`: event streams for developers, as a command line and a durable, ordered, encrypted, single-node broker.
//!
//! The modules are listed from the ground up; one imports only what stands above it here. `ARCHITECTURE.md` holds
//! the map, the invariants and the reasons, and a test enforces the table of imports.

pub mod config;
pub mod model;
pub mod sys;
pub mod telemetry;

pub mod api;
pub mod journal;

pub mod store;

pub mod engine;
pub mod ensql;

pub mod broker;
pub mod identity;

pub mod client;
pub mod credentials;
pub mod server;

pub mod cli;
