//! What a client may ask of the broker, whatever the wire: topics, their policies, what they hold.
//!
//! A [`Broker`] is a cheap handle. Its [`Directory`] holds every topic in memory; a lookup is a map behind a small lock
//! that is never held across an await. One actor changes topics, one change at a time; a change is durable before
//! it is seen.
//!
//! Invariants: every request names its caller, and permissions are looked at before anything that belongs to somebody;
//! what belongs to another project is not found. Errors carry a code and the Ensign API's own words. An identifier and
//! a name are taken in one transaction, so that two requests never both get them. Destroying is final when it is
//! answered: whoever holds the topic's entry sees it at once, and an interrupted deletion is finished at the next
//! start.
//!
//! What it does not do: read tokens, speak a wire format, decode events, or keep keys.

mod access;
mod cursor;
mod directory;
mod entry;
mod error;
mod filter;
mod group;
mod handle;
mod info;
mod lag;
mod names;
mod page;
mod policy;
mod project;
mod publish;
mod query;
mod record;
mod registrar;
mod subscribe;
mod subscription;
mod topics;
mod workers;

#[cfg(any(test, fuzzing))]
pub mod fuzzing;

pub use access::Operation;
pub use directory::Directory;
pub use entry::{Availability, TopicEntry};
pub use error::{BrokerError, Cause, FailedRequest, InvalidRequest, OpenBrokerError};
pub use filter::Matches;
pub use group::{
    Acks, EventForm, GroupCounts, GroupInfo, GroupLag, GroupSettings, GroupSummary, GroupTopicInfo, JoinRequest,
    Member, MemberInfo, Receipt, Terms, Verdict,
};
pub use handle::{Broker, list_topics};
pub use info::{ProjectInfo, TopicInfo};
pub use lag::Lags;
pub use names::Existence;
pub use page::{Page, PageRequest};
pub use policy::PolicyRequest;
pub use project::ProjectTotals;
pub use publish::{PublishSession, Refusal, Slot};
pub use query::{EventView, Explained, Found, Query, QueryRequest, ReadRange, Rows, Selection, ShowEvent};
pub use subscribe::{SubscribeRequest, SubscriptionQuery};
pub use subscription::{Delivery, Next, Subscription};
pub use topics::NewTopic;

/// What a query is asked with and told by, in the language's own words.
pub use crate::ensql::{Explanation, Parameter, Shape, Value as ParameterValue};

#[cfg(test)]
mod filter_tests;
#[cfg(test)]
mod subscription_tests;
#[cfg(test)]
mod tests;
