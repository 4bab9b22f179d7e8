//! Topic names and the hash by which lists refer to them.

use std::fmt;

use super::{digest::murmur3_128, limits::TOPIC_NAME_BYTES_MAX};

/// A well-formed topic name: a letter, then letters, digits, `.`, `-` and `_`; at most 512 bytes; case-sensitive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(String);

/// Why a text is not a topic name, in the order in which they are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("missing name field")]
    Missing,
    #[error("topic name is too long")]
    TooLong,
    #[error("topic name is invalid")]
    Invalid,
}

/// MurmurHash3 of a topic's name: the order of `TopicNames` and what it shows of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameHash(pub [u8; 16]);

impl TopicName {
    pub fn parse(text: &str) -> Result<TopicName, NameError> {
        let Some(first) = text.bytes().next() else {
            return Err(NameError::Missing);
        };
        if text.len() > TOPIC_NAME_BYTES_MAX {
            return Err(NameError::TooLong);
        }
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if !first.is_ascii_alphabetic() || !text.bytes().all(allowed) {
            return Err(NameError::Invalid);
        }
        Ok(TopicName(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn hash(&self) -> NameHash {
        NameHash(murmur3_128(self.0.as_bytes()))
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<(), NameError>) {
        assert_eq!(TopicName::parse(text).map(drop), expected, "{text:?}");
    }

    #[test]
    fn names() {
        check("flights", Ok(()));
        check("testing.random.01h-A_b", Ok(()));
        check(&"a".repeat(512), Ok(()));
        check(&"a".repeat(513), Err(NameError::TooLong));
        check("", Err(NameError::Missing));
        for bad in ["1a", ".a", "-a", "_a", "a b", " a", "a\n", "é", "a/b"] {
            check(bad, Err(NameError::Invalid));
        }
    }
}
