//! Keys that only clients hold: what the data of a topic's events is encrypted with before it is sent.

use std::{fmt, str::FromStr};

use super::{Secret, TopicId, Ulid};

/// The name of a topic key: an identifier that no other key has, and which of its topic's keys it is. Its text form is
/// `01JD2W7Q1M8KQX3V9Z4T5B6C7D.2`. Keys of one topic are in the order in which they were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TopicKeyId {
    pub ulid: Ulid,
    /// From 1; the key that replaces another one has the next number.
    pub version: u32,
}

/// The text is not the name of a topic key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not the name of a topic key, which is an identifier, a point and a version")]
pub struct ParseTopicKeyIdError {
    text: String,
}

/// A topic key. It is for one topic alone.
#[derive(Debug, Clone)]
pub struct TopicKey {
    id: TopicKeyId,
    topic: TopicId,
    secret: Secret,
}

impl TopicKey {
    /// The length of a key, in bytes.
    pub const BYTES: usize = 32;

    /// How many events may be encrypted under one key. Their nonces are random and have 96 bits: beyond this number,
    /// two that are the same can't be excluded any more, and they would give both events away.
    pub const EVENTS_MAX: u64 = 1 << 32;

    /// A key of a secret of exactly 32 bytes; nothing when it has another length.
    pub fn new(id: TopicKeyId, topic: TopicId, secret: Secret) -> Option<TopicKey> {
        (secret.expose().len() == TopicKey::BYTES).then_some(TopicKey { id, topic, secret })
    }

    pub fn id(&self) -> TopicKeyId {
        self.id
    }

    /// The topic that the key is for.
    pub fn topic(&self) -> TopicId {
        self.topic
    }

    pub fn secret(&self) -> &Secret {
        &self.secret
    }
}

impl TopicKeyId {
    /// The order in which keys of one topic were made, also when two people made a version at the same time.
    fn order(&self) -> (u32, Ulid) {
        (self.version, self.ulid)
    }
}

impl Ord for TopicKeyId {
    fn cmp(&self, other: &TopicKeyId) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

impl PartialOrd for TopicKeyId {
    fn partial_cmp(&self, other: &TopicKeyId) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for TopicKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.ulid, self.version)
    }
}

/// Reads what is written and nothing else: a name has one text, because it is compared and authenticated.
impl FromStr for TopicKeyId {
    type Err = ParseTopicKeyIdError;

    fn from_str(text: &str) -> Result<TopicKeyId, ParseTopicKeyIdError> {
        let read = || {
            let (ulid, version) = text.split_once('.')?;
            Some(TopicKeyId { ulid: Ulid::parse(ulid).ok()?, version: version.parse().ok()? })
        };
        let exact = |id: &TopicKeyId| id.version > 0 && id.to_string() == text;
        read().filter(exact).ok_or_else(|| ParseTopicKeyIdError { text: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_text() {
        let id = TopicKeyId { ulid: Ulid::from_parts(1_469_918_176_385, [7; 10]), version: 12 };
        let text = id.to_string();
        assert_eq!(text, format!("{}.12", id.ulid));
        assert_eq!(text.parse(), Ok(id));
        let bad = [
            "",
            "01ARYZ6S410E1R70E1R70E1R70",
            &text.replace(".12", ".0"),
            &text.replace(".12", ".012"),
            &text.replace(".12", ".+12"),
            &text.replace(".12", ".4294967296"),
            &text.to_lowercase(),
            &format!("{text} "),
        ];
        for bad in bad {
            assert!(bad.parse::<TopicKeyId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn versions_decide_the_order() {
        let id = |millis, version| TopicKeyId { ulid: Ulid::from_parts(millis, [0; 10]), version };
        assert!(id(9, 1) < id(1, 2) && id(1, 2) < id(2, 2));
    }

    #[test]
    fn a_key_has_its_length() {
        let id = TopicKeyId { ulid: Ulid::ZERO, version: 1 };
        assert!(TopicKey::new(id, TopicId::default(), Secret::new([1; 31])).is_none());
        let key = TopicKey::new(id, TopicId::default(), Secret::new([1; 32])).unwrap();
        assert!(format!("{key:?}").contains("[secret]"));
    }
}
