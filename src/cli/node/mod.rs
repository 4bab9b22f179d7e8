//! What `dev-server` and `serve` share: groups of options, starting, signals, the ready file.
//!
//! A group of options is a `clap::Args` struct that both commands flatten. No option of a group may be `required` or have
//! `requires`: `serve` takes values from a file as well, and says everything that is wrong at once. What a group has to say
//! about its values goes into [`Problems`]. Every option has a long name and the variable `ENSIGN_<NAME>`, which makes its
//! name a key of the configuration file.
//!
//! What it does not do: decide the defaults in which the two commands differ.

mod access;
mod accounts;
mod options;
mod owner;
mod problems;
mod ready;
mod rest;
mod root_key;
mod signals;
mod start;
mod tls;

pub(super) use access::{Access, KEY_FILE, KeyFile, trust_variables};
pub(super) use accounts::{AccountArgs, AccountSettings};
pub(super) use options::{ListenArgs, PORT, StorageArgs, host_and_port};
pub(super) use owner::{Owner, PASSWORD_FILE};
pub(super) use problems::Problems;
pub(super) use ready::{ReadyFile, ReadyTls};
pub(super) use rest::{RestArgs, Unless};
pub(super) use root_key::{Place, RootKeyArgs, explain_root_key, key_in_file, passphrase_in_file};
pub(super) use signals::{Interrupt, Interrupts};
pub(super) use start::{PURGE_DELAY, explain, is_taken, keep_little_memory, runtime};
pub(super) use tls::{Reloader, TlsArgs};
