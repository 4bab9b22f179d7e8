//! The command line: one file for each command; `output` is the one place that writes to standard output, and `error`
//! turns errors into text and exit codes.
//!
//! Invariants: data goes to standard output, everything else to standard error; a closed pipe is no failure. Nothing is
//! asked when standard input is not a terminal. No secret is taken from or put on a command line, and a profile's
//! secret goes to the profile's server alone. What was typed (`Args`) and what is meant (`Target`) are two types.
//!
//! What it does not do: anything that a program that links this crate could want; that is in `client` and `server`.

mod archive;
mod args;
mod bench;
mod compact;
mod complete;
mod completions;
mod condition;
mod context;
mod copies;
mod data_dir;
mod decryption;
mod destination;
mod dev_server;
mod encryption;
mod env;
mod error;
mod event_args;
mod exit_codes;
mod expect;
mod find;
mod group;
mod human;
mod info;
mod invite;
mod key;
mod login;
mod logout;
mod mail;
mod man;
mod member;
mod node;
mod org;
mod output;
mod password;
mod profile;
mod progress;
mod project;
mod prompt;
mod publish;
mod query;
mod range;
mod record;
mod register;
mod replay;
mod run;
mod secret_input;
mod serve;
mod status;
mod storage;
mod tail;
mod target;
mod tenant;
mod topic;
mod topic_keys;
mod trust;
mod verify;
mod whoami;

use context::Context;

#[cfg(any(test, fuzzing))]
pub use archive::fuzzing;
pub use run::main;
