//! The server: one port for gRPC and REST, from the moment it is bound until it has stopped in order.
//!
//! [`Server::start`] opens a data directory and answers when it returns; [`Server::stop`] tells every stream, lets what
//! was accepted be committed, and closes the store. Publish, Subscribe and EnSQL are handled inside of the HTTP body, many
//! gRPC frames at a time; the other methods go through tonic, and REST through axum.
//!
//! Invariants: nothing of a request is read before its caller is known. What was received is stored, also when its
//! sender is gone. Open streams never keep the server from stopping.
//!
//! What it does not do: decide what a caller may do, know a segment or a block.

mod answer;
mod auth;
mod body;
mod call;
mod compact;
mod compression;
mod encryption;
mod error;
mod group;
mod grpc;
mod lifecycle;
mod listen;
mod mail;
mod node;
mod observe;
mod publish;
mod query;
mod rest;
mod root_key;
mod route;
mod start;
mod stream;
mod subscribe;
mod tls;
mod verdicts;

#[cfg(any(test, fuzzing))]
pub mod fuzzing;

pub use compact::{CompactDirectoryError, CompactedDirectory, compact_directory};
pub use mail::{MailError, MailOptions, MailSecurity};
pub use rest::{DEFAULT_ORIGIN, Network, ParseNetworkError, RateLimit, RestOptions};
pub use root_key::{
    AskPassphrase, ChangeRootKeyError, KeepSecrets, KeySafe, NewRootKey, RootKeyError, RootKeyOptions, RootKeySource,
    change_root_key, open_root_key,
};
pub use start::{Server, ServerOptions, StartError, Storage, TOKEN_KEY_AGE};
pub use tls::{AuthorityError, Certificates, LocalAuthority, LocalName, TlsError, TlsFiles, TlsIdentity, TlsOptions};

#[cfg(test)]
mod filter_tests;
#[cfg(test)]
mod group_tests;
#[cfg(test)]
mod query_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod wire_tests;
