//! What is told of groups.

use std::time::Duration;

use super::settings::Terms;
use crate::model::{GroupKey, Offset, ProjectId, Time, TopicId};

/// A group in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSummary {
    pub key: GroupKey,
    pub name: String,
    pub terms: Terms,
    pub created: Time,
    pub modified: Time,
    /// How many members are connected.
    pub members: u64,
    /// How many topics the group has a position in.
    pub topics: u64,
    /// How many events of them are not settled.
    pub lag_events: u64,
}

/// A group, its members and its positions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupInfo {
    pub key: GroupKey,
    pub name: String,
    pub terms: Terms,
    pub created: Time,
    pub modified: Time,
    pub members: Vec<MemberInfo>,
    pub topics: Vec<GroupTopicInfo>,
}

/// A member that is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberInfo {
    pub client_id: String,
    pub address: String,
    /// The API key or user that it is connected with.
    pub subject: String,
    pub joined: Time,
    /// How many events it holds now.
    pub leased: u64,
    /// How many events it was given.
    pub delivered: u64,
}

/// A group's progress in one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupTopicInfo {
    pub id: TopicId,
    pub name: String,
    /// The lowest offset that is not settled.
    pub position: Offset,
    pub end: Offset,
    /// How many events are not settled.
    pub lag_events: u64,
    /// The age of the oldest event that is not settled, in nanoseconds; 0 when there is none.
    pub lag_ns: i64,
    /// How many events members hold now.
    pub leased: u64,
    /// How many events wait to be delivered once more.
    pub waiting_again: u64,
    /// How many deliveries were not the first of their events, and how many events were put away, since a member was
    /// first connected.
    pub redelivered: u64,
    pub dead_lettered: u64,
}

/// How far a group is behind, for metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupLag {
    pub project: ProjectId,
    pub group: String,
    pub events: u64,
}

/// What all groups together did since the broker was opened, and how many members are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GroupCounts {
    pub members: u64,
    pub redelivered: u64,
    pub dead_lettered: u64,
    pub refused_acks: u64,
}

impl GroupInfo {
    /// How long an event is leased.
    pub fn timeout(&self) -> Duration {
        self.terms.timeout
    }
}
