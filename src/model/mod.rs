//! The nouns of the domain, as pure data: identifiers, positions, events' envelopes, topics, permissions, limits.
//!
//! Nothing here touches a file, a clock, a source of randomness or a wire format, and nothing is async. What can be
//! malformed is parsed here once; a value that exists is well-formed.

mod base32;
mod block;
mod code;
mod digest;
mod durability;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod group;
mod mimetype;
mod nack;
mod name;
mod offset;
mod permission;
mod position;
mod rlid;
mod role;
mod schema;
mod secret;
mod time;
mod topic;
mod topic_key;
mod ulid;

pub mod limits;

pub use block::BlockHead;
pub use code::Code;
pub use digest::murmur3_128;
pub use durability::{Durability, UnknownDurability};
pub use group::{DeliverySemantic, GroupKey, NamelessGroup, UnknownSemantic};
pub use mimetype::{Mimetype, UnknownMimetype};
pub use nack::NackCode;
pub use name::{NameError, NameHash, TopicName};
pub use offset::Offset;
pub use permission::{Needs, Permission, Permissions, Principal, Subject, UnknownPermission};
pub use position::{ParsePositionError, Position};
pub use rlid::{ParseRlidError, Rlid};
pub use role::{Role, UnknownRole};
pub use schema::{ParseSchemaError, Schema};
pub use secret::Secret;
pub use time::{ParseTimeError, Time};
pub use topic::{Deduplication, OffsetPolicy, PolicyError, Sharding, Strategy, Topic, TopicState};
pub use topic_key::{ParseTopicKeyIdError, TopicKey, TopicKeyId};
pub use ulid::{KeyId, OrganizationId, ParseUlidError, ProjectId, TenantId, TopicId, Ulid, UserId};

/// The version of the Ensign API that servers report. The published SDKs compare its first two numbers with their own
/// and refuse to work with another, so it is not the version of this program.
pub const API_VERSION: &str = "0.12.9";
