//! The asynchronous Rust SDK: signing in, the unary calls, publishing, subscribing and querying, and what an account may manage.
//!
//! Invariants: a secret or a token goes to the authentication service and the server of its [`Endpoint`] alone, and is
//! never logged. What may have been stored is never sent again silently: when a publish stream breaks, events whose
//! acks had not come are reported as unacknowledged. A [`Subscriber`] that had to connect again goes on exactly behind
//! the last event that it gave out. A [`GroupSubscriber`] that had to connect again never acks on the new stream what it was
//! given on an old one. Events travel in batches: no channel message, lock or wake-up is paid per event.
//!
//! What it does not do: read configuration, keep secrets, print anything.

mod account;
mod admin;
mod backoff;
mod connection;
mod data_keys;
mod definition;
mod encryption;
mod endpoint;
mod error;
mod event;
mod frames;
mod group;
mod groups;
mod ledger;
mod outbox;
mod publisher;
mod query;
mod rest;
mod sealing;
mod session;
mod storage;
mod subscriber;
mod subscription;
mod track;
mod trust;
mod wanted;
mod webhook;

#[cfg(any(test, fuzzing))]
pub mod fuzzing;

pub use account::{
    Account, Invitation, InvitationPreview, Key, KeyDetail, Mail, Member, NewAccount, NewKey, NewProject, Organization,
    Project, ProjectOwner, Registered, Registration, Removal, Storage, Tenant,
};
pub use admin::{Health, ProjectInfo, ServerStatus, TopicInfo, TopicSummary, TypeInfo};
pub use connection::Client;
pub use data_keys::{EncryptionStatus, KeyVersionStatus, RewriteStatus};
pub use definition::TopicDefinition;
pub use encryption::Encryption;
pub use endpoint::{Address, Endpoint, ParseAddressError};
pub use error::{ClientError, Code};
pub use event::{Draft, Envelope, Event, Publisher as PublisherInfo};
pub use group::{GroupDelivery, GroupOptions, GroupSubscriber, Lease, Settled};
pub use groups::{GroupInfo, GroupMember, GroupSettings, GroupSummary, GroupTopic};
pub use publisher::{AckListener, Outcome, Progress, Publisher, PublisherOptions, Refusal, Unacknowledged};
pub use query::{Answer, Found, Parameter, ParameterValue, Query, QueryPlan};
pub use sealing::{OpenError, OpenFailure, Opener, Overused, SealedEnvelope, Sealer};
pub use session::{AccountCredentials, Claims, Credentials};
pub use storage::StorageInfo;
pub use subscriber::{Delivery, Subscriber, SubscriberOptions};
pub use trust::{TlsProblem, Trust, TrustError};
pub use wanted::Wanted;
pub use webhook::{Post, Posted, Webhook, WebhookError};

#[cfg(test)]
mod sealing_tests;
