//! The broker's records: where they are kept, and how a topic is written.
//!
//! | key                               | value                                                  |
//! | --------------------------------- | ------------------------------------------------------ |
//! | `topic/` + topic                  | the topic, as JSON with a version                      |
//! | `name/` + project + hash of name  | the topic's identifier                                 |
//! | `gone/` + topic                   | the project that a destroyed topic belonged to         |
//! | `page-key`                        | the key that page tokens are authenticated with        |
//!
//! A topic's key does not hold its project, because an identifier names one topic in the whole broker. It does so for
//! ever: what a destroyed topic leaves in the store must never be taken for another's, so its identifier is kept as
//! used.

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::error::OpenBrokerError;
use crate::model::{
    Deduplication, NameHash, OffsetPolicy, ProjectId, Sharding, Strategy, Time, Topic, TopicId, TopicName, TopicState,
    Ulid,
};

pub(super) const TOPIC_PREFIX: &[u8] = b"topic/";
pub(super) const PAGE_KEY: &[u8] = b"page-key";

const VERSION: u32 = 1;

pub(super) fn topic_key(topic: TopicId) -> Bytes {
    [TOPIC_PREFIX, topic.as_bytes()].concat().into()
}

pub(super) fn name_key(project: ProjectId, name: NameHash) -> Bytes {
    [b"name/", project.as_bytes().as_slice(), &name.0].concat().into()
}

pub(super) fn gone_key(topic: TopicId) -> Bytes {
    [b"gone/".as_slice(), topic.as_bytes()].concat().into()
}

/// A topic as it is written. Enumerations are kept by the wire's numbers, which never change.
#[derive(Serialize, Deserialize)]
struct TopicRecord {
    version: u32,
    id: String,
    project: String,
    name: String,
    state: i32,
    readonly: bool,
    sharding: i32,
    deduplication: DeduplicationRecord,
    /// Nanoseconds since 1970.
    created: i64,
    modified: i64,
    /// Base64; bytes that are given back as they came.
    extra: String,
}

#[derive(Serialize, Deserialize)]
struct DeduplicationRecord {
    strategy: i32,
    offset: i32,
    keys: Vec<String>,
    fields: Vec<String>,
    overwrite_duplicate: bool,
}

pub(super) fn encode(topic: &Topic) -> Vec<u8> {
    let record = TopicRecord {
        version: VERSION,
        id: topic.id.to_string(),
        project: topic.project.to_string(),
        name: topic.name.to_string(),
        state: topic.state.number(),
        readonly: topic.readonly,
        sharding: topic.sharding.number(),
        deduplication: DeduplicationRecord {
            strategy: topic.deduplication.strategy.number(),
            offset: topic.deduplication.offset.number(),
            keys: topic.deduplication.keys.clone(),
            fields: topic.deduplication.fields.clone(),
            overwrite_duplicate: topic.deduplication.overwrite_duplicate,
        },
        created: topic.created.nanos(),
        modified: topic.modified.nanos(),
        extra: STANDARD_NO_PAD.encode(&topic.extra),
    };
    serde_json::to_vec(&record).expect("numbers, texts and lists of texts can always be written as JSON")
}

pub(super) fn decode(key: &Bytes, value: &[u8]) -> Result<Topic, OpenBrokerError> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let damaged = || OpenBrokerError::Damaged { what: "topic", key: key.clone() };
    let Versioned { version } = serde_json::from_slice(value).map_err(|_| damaged())?;
    if version > VERSION {
        return Err(OpenBrokerError::TooNew { what: "topic", key: key.clone() });
    }
    let record = serde_json::from_slice(value).map_err(|_| damaged())?;
    topic(record).filter(|topic| topic_key(topic.id) == key).ok_or_else(damaged)
}

fn topic(record: TopicRecord) -> Option<Topic> {
    Some(Topic {
        id: TopicId(Ulid::parse(&record.id).ok()?),
        project: ProjectId(Ulid::parse(&record.project).ok()?),
        name: TopicName::parse(&record.name).ok()?,
        state: TopicState::from_number(record.state)?,
        readonly: record.readonly,
        deduplication: Deduplication {
            strategy: Strategy::from_number(record.deduplication.strategy)?,
            offset: OffsetPolicy::from_number(record.deduplication.offset)?,
            keys: record.deduplication.keys,
            fields: record.deduplication.fields,
            overwrite_duplicate: record.deduplication.overwrite_duplicate,
        },
        sharding: Sharding::from_number(record.sharding)?,
        created: Time::from_nanos(record.created),
        modified: Time::from_nanos(record.modified),
        extra: STANDARD_NO_PAD.decode(record.extra).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Strategy;

    prop_compose! {
        fn topics()(
            ids: [[u8; 16]; 2],
            name in "[a-zA-Z][a-zA-Z0-9._-]{0,40}",
            numbers in (0..7, 0..5, 0..7, 0..3),
            flags: [bool; 2],
            keys in prop::collection::vec(".*", 0..3),
            fields in prop::collection::vec(".*", 0..3),
            times: [i64; 2],
            extra: Vec<u8>,
        ) -> Topic {
            Topic {
                id: TopicId(Ulid::from_bytes(ids[0])),
                project: ProjectId(Ulid::from_bytes(ids[1])),
                name: TopicName::parse(&name).unwrap(),
                state: TopicState::from_number(numbers.0).unwrap(),
                readonly: flags[0],
                sharding: Sharding::from_number(numbers.1).unwrap(),
                deduplication: Deduplication {
                    strategy: Strategy::from_number(numbers.2).unwrap(),
                    offset: OffsetPolicy::from_number(numbers.3).unwrap(),
                    keys,
                    fields,
                    overwrite_duplicate: flags[1],
                },
                created: Time::from_nanos(times[0]),
                modified: Time::from_nanos(times[1]),
                extra,
            }
        }
    }

    proptest! {
        #[test]
        fn topics_round_trip(topic in topics()) {
            let read = decode(&topic_key(topic.id), &encode(&topic));
            prop_assert_eq!(read.unwrap(), topic);
        }

        #[test]
        fn a_cut_record_is_damaged(topic in topics(), cut in 1_usize..50) {
            let mut value = encode(&topic);
            value.truncate(value.len() - cut);
            let read = decode(&topic_key(topic.id), &value);
            let damaged = matches!(read, Err(OpenBrokerError::Damaged { .. }));
            prop_assert!(damaged);
        }

        #[test]
        fn a_record_under_another_key_is_damaged(topic in topics(), other: [u8; 16]) {
            prop_assume!(topic.id.as_bytes() != &other);
            let read = decode(&topic_key(TopicId(Ulid::from_bytes(other))), &encode(&topic));
            let damaged = matches!(read, Err(OpenBrokerError::Damaged { .. }));
            prop_assert!(damaged);
        }
    }

    #[test]
    fn a_record_of_a_later_version_is_told_apart() {
        let read = decode(&topic_key(TopicId::default()), br#"{"version":2,"shape":"unknown"}"#);
        assert!(matches!(read, Err(OpenBrokerError::TooNew { .. })));
    }
}
