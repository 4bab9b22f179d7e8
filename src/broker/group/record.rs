//! A group's records: what it is, and how far it is in each topic.
//!
//! | key                                    | value                                         |
//! | -------------------------------------- | --------------------------------------------- |
//! | `group/` + project + group             | the group, as JSON with a version             |
//! | `progress/` + project + group + topic  | its progress in a topic, as the ledger writes it |
//!
//! Every key of a group begins with its project, so that what belongs to a group that is removed is found by prefix.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::settings::{GroupSettings, Terms};
use crate::{
    broker::OpenBrokerError,
    model::{DeliverySemantic, GroupKey, ProjectId, Time, TopicId, Ulid},
};

pub(super) const GROUP_PREFIX: &[u8] = b"group/";
pub(super) const PROGRESS_PREFIX: &[u8] = b"progress/";

const VERSION: u32 = 1;

/// What is kept of a group besides its progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GroupRecord {
    pub(super) name: String,
    pub(super) terms: Terms,
    pub(super) created: Time,
    pub(super) modified: Time,
}

pub(super) fn group_key(project: ProjectId, group: GroupKey) -> Bytes {
    [GROUP_PREFIX, project.as_bytes(), group.as_bytes()].concat().into()
}

/// The prefix of a group's progress in all topics.
pub(super) fn progress_prefix(project: ProjectId, group: GroupKey) -> Bytes {
    [PROGRESS_PREFIX, project.as_bytes(), group.as_bytes()].concat().into()
}

pub(super) fn progress_key(project: ProjectId, group: GroupKey, topic: TopicId) -> Bytes {
    [PROGRESS_PREFIX, project.as_bytes(), group.as_bytes(), topic.as_bytes()].concat().into()
}

/// The project and the group of the key of a group.
pub(super) fn read_group_key(key: &[u8]) -> Option<(ProjectId, GroupKey)> {
    let (project, group) = key.strip_prefix(GROUP_PREFIX)?.split_first_chunk::<16>()?;
    Some((ProjectId(Ulid::from_bytes(*project)), GroupKey::from_bytes(group.try_into().ok()?)))
}

/// The project, the group and the topic of the key of a progress.
pub(super) fn read_progress_key(key: &[u8]) -> Option<(ProjectId, GroupKey, TopicId)> {
    let (project, rest) = key.strip_prefix(PROGRESS_PREFIX)?.split_first_chunk::<16>()?;
    let (group, topic) = rest.split_first_chunk::<16>()?;
    let topic = TopicId(Ulid::from_bytes(topic.try_into().ok()?));
    Some((ProjectId(Ulid::from_bytes(*project)), GroupKey::from_bytes(*group), topic))
}

/// A group as it is written; the semantic by the wire's number.
#[derive(Serialize, Deserialize)]
struct Written {
    version: u32,
    name: String,
    delivery: i32,
    timeout_ns: u64,
    ordered_by_key: bool,
    max_deliveries: u32,
    /// Empty: the topic's own name with `.dead-letter` behind it.
    dead_letter: String,
    window: u32,
    /// Nanoseconds since 1970.
    created: i64,
    modified: i64,
}

pub(super) fn encode_group(group: &GroupRecord) -> Vec<u8> {
    let terms = &group.terms;
    let written = Written {
        version: VERSION,
        name: group.name.clone(),
        delivery: terms.delivery.number(),
        timeout_ns: u64::try_from(terms.timeout.as_nanos()).unwrap_or(u64::MAX),
        ordered_by_key: terms.ordered_by_key,
        max_deliveries: terms.max_deliveries,
        dead_letter: terms.dead_letter.as_ref().map_or_else(String::new, ToString::to_string),
        window: terms.window,
        created: group.created.nanos(),
        modified: group.modified.nanos(),
    };
    serde_json::to_vec(&written).expect("numbers and texts can always be written as JSON")
}

pub(super) fn decode_group(key: &Bytes, value: &[u8]) -> Result<GroupRecord, OpenBrokerError> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let damaged = || OpenBrokerError::Damaged { what: "consumer group", key: key.clone() };
    let Versioned { version } = serde_json::from_slice(value).map_err(|_| damaged())?;
    if version > VERSION {
        return Err(OpenBrokerError::TooNew { what: "consumer group", key: key.clone() });
    }
    let written: Written = serde_json::from_slice(value).map_err(|_| damaged())?;
    let delivery = DeliverySemantic::from_number(written.delivery).ok_or_else(damaged)?;
    let settings = GroupSettings {
        delivery: Some(delivery),
        timeout: Some(std::time::Duration::from_nanos(written.timeout_ns)),
        ordered_by_key: Some(written.ordered_by_key),
        max_deliveries: Some(written.max_deliveries),
        dead_letter: Some(written.dead_letter),
        window: Some(written.window),
    };
    let terms = settings.over(&Terms::default()).map_err(|_| damaged())?;
    let (created, modified) = (Time::from_nanos(written.created), Time::from_nanos(written.modified));
    Ok(GroupRecord { name: written.name, terms, created, modified })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::TopicName;

    prop_compose! {
        fn groups()(
            name in ".{0,40}",
            delivery in prop::sample::select(&DeliverySemantic::ALL),
            timeout in 1_u64..86_400_000_000_000,
            ordered_by_key: bool,
            max_deliveries: u32,
            dead_letter in prop::option::of("[a-zA-Z][a-zA-Z0-9._-]{0,40}"),
            window in 16_u32..=1_000_000,
            times: [i64; 2],
        ) -> GroupRecord {
            let terms = Terms {
                delivery,
                timeout: std::time::Duration::from_nanos(timeout),
                ordered_by_key,
                max_deliveries,
                dead_letter: dead_letter.map(|name| TopicName::parse(&name).unwrap()),
                window,
            };
            GroupRecord { name, terms, created: Time::from_nanos(times[0]), modified: Time::from_nanos(times[1]) }
        }
    }

    proptest! {
        #[test]
        fn groups_round_trip(group in groups()) {
            let read = decode_group(&Bytes::new(), &encode_group(&group));
            prop_assert_eq!(read.unwrap(), group);
        }

        #[test]
        fn a_cut_record_is_damaged(group in groups(), cut in 1_usize..50) {
            let mut value = encode_group(&group);
            value.truncate(value.len() - cut);
            let is_damaged = matches!(decode_group(&Bytes::new(), &value), Err(OpenBrokerError::Damaged { .. }));
            prop_assert!(is_damaged);
        }

        #[test]
        fn keys_read_back(ids: [[u8; 16]; 3]) {
            let (project, group) = (ProjectId(Ulid::from_bytes(ids[0])), GroupKey::from_bytes(ids[1]));
            let topic = TopicId(Ulid::from_bytes(ids[2]));
            prop_assert_eq!(read_group_key(&group_key(project, group)), Some((project, group)));
            let key = progress_key(project, group, topic);
            prop_assert!(key.starts_with(&progress_prefix(project, group)));
            prop_assert_eq!(read_progress_key(&key), Some((project, group, topic)));
            prop_assert_eq!(read_group_key(&key), None);
            prop_assert_eq!(read_progress_key(&key[..key.len() - 1]), None);
        }
    }

    #[test]
    fn a_record_of_a_later_version_is_told_apart() {
        let read = decode_group(&Bytes::new(), br#"{"version":2,"shape":"unknown"}"#);
        assert!(matches!(read, Err(OpenBrokerError::TooNew { .. })));
    }

    #[test]
    fn what_is_outside_of_its_limits_is_damaged() {
        let group = GroupRecord {
            name: "g".to_owned(),
            terms: Terms { window: 1, ..Terms::default() },
            created: Time::EPOCH,
            modified: Time::EPOCH,
        };
        let read = decode_group(&Bytes::new(), &encode_group(&group));
        assert!(matches!(read, Err(OpenBrokerError::Damaged { .. })));
    }
}
