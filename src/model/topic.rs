//! A topic as it is kept, and its policies.

use super::{ProjectId, Time, TopicId, TopicName};

/// A topic's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    pub id: TopicId,
    pub project: ProjectId,
    pub name: TopicName,
    pub state: TopicState,
    /// Archived: events are refused, everything else goes on.
    pub readonly: bool,
    pub deduplication: Deduplication,
    pub sharding: Sharding,
    pub created: Time,
    pub modified: Time,
    /// Further fields of the wire's message that the client sent when it created the topic (`offset`, `shards`,
    /// `placements`, `types` and what this version does not know), encoded; they are given back as they came.
    pub extra: Vec<u8>,
}

/// The wire's `TopicState`, by its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum TopicState {
    Undefined = 0,
    Ready = 1,
    Readonly = 2,
    Deleting = 3,
    Pending = 4,
    Allocating = 5,
    Repairing = 6,
}

impl TopicState {
    pub const fn number(self) -> i32 {
        self as i32
    }

    pub const fn from_number(number: i32) -> Option<TopicState> {
        Some(match number {
            0 => TopicState::Undefined,
            1 => TopicState::Ready,
            2 => TopicState::Readonly,
            3 => TopicState::Deleting,
            4 => TopicState::Pending,
            5 => TopicState::Allocating,
            6 => TopicState::Repairing,
            _ => return None,
        })
    }

    /// The name that messages on the wire use.
    pub const fn name(self) -> &'static str {
        match self {
            TopicState::Undefined => "UNDEFINED",
            TopicState::Ready => "READY",
            TopicState::Readonly => "READONLY",
            TopicState::Deleting => "DELETING",
            TopicState::Pending => "PENDING",
            TopicState::Allocating => "ALLOCATING",
            TopicState::Repairing => "REPAIRING",
        }
    }
}

/// The wire's `ShardingStrategy`, by its numbers. A single node has one shard, so it only remembers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(i32)]
pub enum Sharding {
    #[default]
    Unknown = 0,
    None = 1,
    ConsistentKeyHash = 2,
    Random = 3,
    PublisherOrdering = 4,
}

impl Sharding {
    pub const fn number(self) -> i32 {
        self as i32
    }

    pub const fn from_number(number: i32) -> Option<Sharding> {
        Some(match number {
            0 => Sharding::Unknown,
            1 => Sharding::None,
            2 => Sharding::ConsistentKeyHash,
            3 => Sharding::Random,
            4 => Sharding::PublisherOrdering,
            _ => return None,
        })
    }
}

/// How duplicates are told, by the wire's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(i32)]
pub enum Strategy {
    Unknown = 0,
    #[default]
    None = 1,
    Strict = 2,
    Datagram = 3,
    KeyGrouped = 4,
    UniqueKey = 5,
    UniqueField = 6,
}

impl Strategy {
    pub const fn number(self) -> i32 {
        self as i32
    }

    pub const fn from_number(number: i32) -> Option<Strategy> {
        Some(match number {
            0 => Strategy::Unknown,
            1 => Strategy::None,
            2 => Strategy::Strict,
            3 => Strategy::Datagram,
            4 => Strategy::KeyGrouped,
            5 => Strategy::UniqueKey,
            6 => Strategy::UniqueField,
            _ => return None,
        })
    }
}

/// Which of two duplicates keeps its content, by the wire's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(i32)]
pub enum OffsetPolicy {
    Unknown = 0,
    #[default]
    Earliest = 1,
    Latest = 2,
}

impl OffsetPolicy {
    pub const fn number(self) -> i32 {
        self as i32
    }

    pub const fn from_number(number: i32) -> Option<OffsetPolicy> {
        Some(match number {
            0 => OffsetPolicy::Unknown,
            1 => OffsetPolicy::Earliest,
            2 => OffsetPolicy::Latest,
            _ => return None,
        })
    }
}

/// A topic's deduplication policy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Deduplication {
    pub strategy: Strategy,
    pub offset: OffsetPolicy,
    pub keys: Vec<String>,
    pub fields: Vec<String>,
    pub overwrite_duplicate: bool,
}

/// What is wrong with a policy, in the words of the Ensign API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    #[error("do not specify keys for this policy")]
    UnexpectedKeys,
    #[error("do not specify fields for this policy")]
    UnexpectedFields,
    #[error("no keys specified for key based hashing")]
    MissingKeys,
    #[error("no fields specified for field based hashing")]
    MissingFields,
}

impl Deduplication {
    /// Fills in the defaults, drops the lists that the strategy does not use, and sorts the one that it does.
    #[must_use]
    pub fn normalized(mut self) -> Deduplication {
        if self.offset == OffsetPolicy::Unknown {
            self.offset = OffsetPolicy::Earliest;
        }
        if self.strategy == Strategy::Unknown {
            self.strategy = Strategy::None;
        }
        match self.strategy {
            Strategy::KeyGrouped | Strategy::UniqueKey => {
                self.fields.clear();
                self.keys.sort();
                self.keys.dedup();
            }
            Strategy::UniqueField => {
                self.keys.clear();
                self.fields.sort();
                self.fields.dedup();
            }
            Strategy::Unknown | Strategy::None | Strategy::Strict | Strategy::Datagram => {
                self.keys.clear();
                self.fields.clear();
            }
        }
        self
    }

    pub fn validate(&self) -> Result<(), PolicyError> {
        let (keys, fields) = match self.strategy {
            Strategy::KeyGrouped | Strategy::UniqueKey => (true, false),
            Strategy::UniqueField => (false, true),
            Strategy::Unknown | Strategy::None | Strategy::Strict | Strategy::Datagram => (false, false),
        };
        if keys && (self.keys.is_empty() || self.keys.iter().any(String::is_empty)) {
            return Err(PolicyError::MissingKeys);
        }
        if fields && (self.fields.is_empty() || self.fields.iter().any(String::is_empty)) {
            return Err(PolicyError::MissingFields);
        }
        if !keys && !self.keys.is_empty() {
            return Err(PolicyError::UnexpectedKeys);
        }
        if !fields && !self.fields.is_empty() {
            return Err(PolicyError::UnexpectedFields);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(strategy: Strategy, keys: &[&str], fields: &[&str]) -> Deduplication {
        let own = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        Deduplication { strategy, keys: own(keys), fields: own(fields), ..Deduplication::default() }
    }

    #[test]
    fn normalizing_fills_sorts_and_drops() {
        let unset = Deduplication { offset: OffsetPolicy::Unknown, ..policy(Strategy::Unknown, &["a"], &["b"]) };
        assert_eq!(unset.normalized(), Deduplication::default());
        let keyed = policy(Strategy::UniqueKey, &["b", "a", "b"], &["f"]).normalized();
        assert_eq!(keyed, policy(Strategy::UniqueKey, &["a", "b"], &[]));
    }

    #[test]
    fn validation_in_the_words_of_the_api() {
        let check = |policy: Deduplication, expected| assert_eq!(policy.validate(), expected);
        check(policy(Strategy::Strict, &["a"], &[]), Err(PolicyError::UnexpectedKeys));
        check(policy(Strategy::None, &[], &["a"]), Err(PolicyError::UnexpectedFields));
        check(policy(Strategy::KeyGrouped, &[], &[]), Err(PolicyError::MissingKeys));
        check(policy(Strategy::UniqueKey, &[""], &[]), Err(PolicyError::MissingKeys));
        check(policy(Strategy::UniqueKey, &["a"], &["b"]), Err(PolicyError::UnexpectedFields));
        check(policy(Strategy::UniqueField, &[], &[]), Err(PolicyError::MissingFields));
        check(policy(Strategy::UniqueField, &["a"], &["b"]), Err(PolicyError::UnexpectedKeys));
        check(policy(Strategy::Datagram, &[], &[]), Ok(()));
    }
}
