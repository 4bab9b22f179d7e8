//! Who may use the broker: organizations, projects, API keys, and the tokens that stand for them.
//!
//! [`Identity`] is a cheap handle. It keeps its records under the prefix `identity/`, signs tokens with an Ed25519 key
//! that outlives restarts, sealed under the root key, and verifies them without touching the store, so that a call
//! costs a hash and a map lookup.
//!
//! Invariants: a client secret is shown once, when its key is made, and kept as an Argon2id hash alone; an unknown
//! client id costs as much work as a wrong secret; a refresh token is never an access token, and a token without an end
//! is none at all; a revoked key's tokens are refused from the moment the revocation is durable, and what it has open
//! can learn of it ([`Identity::revoked`]).
//!
//! What it does not do: decide whether a permission is enough for an operation, speak HTTP or gRPC, or see an event.
//! The map of live keys is read when `Identity` is opened and changed by this handle, so two processes on the same
//! records would not learn of each other's revocations.

mod cache;
mod error;
mod hasher;
mod keys;
mod live;
mod record;
mod service;
mod sessions;
mod signing;
mod token;

pub use error::{AuthError, IdentityError, TokenError};
pub use keys::{Bootstrap, IssuedKey, NewKey};
pub use record::{ApiKey, Organization, Project};
pub use service::{Identity, IdentityOptions};
pub use sessions::Tokens;

#[cfg(test)]
mod tests;
