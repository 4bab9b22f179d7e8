//! What the command line remembers: profiles, topic keys, and where each one's secret is.
//!
//! Invariants: a profile names where its secret is and never holds it. A secret goes to the operating system's keyring;
//! where there is none, to the vault, one file that is encrypted under a passphrase; to a plain file only when that is
//! asked for by name. Which place was taken, and why, is part of the result ([`Stored`]), so that nobody falls back in
//! silence. A file that cannot be read or understood is never written over. Two processes that change something at the
//! same time do so one after the other.
//!
//! What it does not do: prompt (it asks a function that is given to it), talk to a server, or know how a profile's
//! values rank against flags and the environment. All calls block; a keyring may ask its user first.

mod error;
mod insecure;
mod os_keyring;
mod passphrase;
mod profile;
mod reference;
mod sdk_file;
mod store;
mod topic_key_file;
mod topic_keys;
mod vault;

#[cfg(any(test, fuzzing))]
pub mod fuzzing;

pub use error::{ProfileError, SecretError};
pub use os_keyring::SystemKeyring;
pub use passphrase::{Passphrase, Purpose};
pub use profile::{Profile, Profiles, SecretPlace};
pub use reference::{ParseReferenceError, Reference};
pub use sdk_file::{ClientCredentials, read_credential_file, write_credential_file};
pub use store::{Credentials, Stored, Wanted, Why, default_dir};
pub use topic_key_file::{ExportedTopicKey, ParseTopicKeysError, parse_topic_keys, write_topic_keys};
pub use topic_keys::{Imported, KnownTopicKey};

#[cfg(test)]
mod tests;
