//! Who may use the broker: organizations, their members, projects, API keys, and the tokens that stand for them.
//!
//! [`Identity`] is a cheap handle. It keeps its records under the prefix `identity/`, signs tokens with an Ed25519 key
//! that outlives restarts, sealed under the root key, and verifies them without touching the store, so that a call
//! costs a hash and a map lookup.
//!
//! Invariants: a client secret is shown once, when its key is made; it and passwords are kept as Argon2id hashes alone; an
//! unknown client id or address costs as much work as a wrong secret; a refresh token is never an access token, and a token without an end
//! is none at all; the tokens of a revoked key, of a removed member, and of one whose role or password is another one
//! now are refused from the moment the change is durable, and what they have open can learn of it
//! ([`Identity::revoked`]). Every change is one transaction.
//!
//! What it does not do: decide whether a permission is enough for an operation, speak HTTP or gRPC, or see an event.
//! The map of who is live is read when `Identity` is opened and changed by this handle, so two processes on the same
//! records would not learn of each other's revocations.

mod account_error;
mod bootstrap;
mod cache;
mod email;
mod errands;
mod error;
mod hasher;
mod invitations;
mod key_admin;
mod keys;
mod links;
mod live;
mod login;
mod mail;
mod management;
mod members;
mod organizations;
mod page;
mod passwords;
mod projects;
mod record;
mod registration;
mod resource_error;
mod rotation;
mod sealed;
mod service;
mod sessions;
mod signing;
mod tenants;
mod token;
mod user_record;

pub use account_error::AccountError;
pub use bootstrap::{Bootstrap, BootstrapOwner};
pub use error::{AuthError, IdentityError, TokenError};
pub use invitations::{Invitation, InvitationPreview};
pub use key_admin::KeyOrigin;
pub use keys::{IssuedKey, NewKey};
pub use links::Purpose;
pub use mail::{KeptMail, Mail};
pub use management::Removal;
pub use organizations::{OrganizationOfUser, Workspace};
pub use page::{List, Page, PageError, PageRequest};
pub use projects::{KeyCounts, NewProject, ProjectChange};
pub use record::{ApiKey, Organization, Project};
pub use registration::{NewAccount, NewOrganization, Registered, Verified};
pub use resource_error::ResourceError;
pub use sealed::reseal;
pub use service::{Identity, IdentityOptions, Registration};
pub use sessions::Tokens;
pub use tenants::Tenant;
pub use user_record::{Member, User};

#[cfg(test)]
mod account_tests;
#[cfg(test)]
mod registration_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
