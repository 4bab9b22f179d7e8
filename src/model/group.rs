//! Consumer groups: what tells one from the others of its project, and how often an event may reach it.

use std::{fmt, str::FromStr};

use super::murmur3_128;

/// How often an event may reach a group. The numbers are those of the Ensign API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum DeliverySemantic {
    /// Once or never: an event is consumed when it is sent.
    #[default]
    AtMostOnce = 1,
    /// Once or more often: an event is consumed when it is acked.
    AtLeastOnce = 2,
    /// As [`DeliverySemantic::AtLeastOnce`], and an ack counts only from the member that holds the event.
    ExactlyOnce = 3,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a delivery semantic; use at-most-once, at-least-once or exactly-once")]
pub struct UnknownSemantic {
    text: String,
}

impl DeliverySemantic {
    pub const ALL: [DeliverySemantic; 3] =
        [DeliverySemantic::AtMostOnce, DeliverySemantic::AtLeastOnce, DeliverySemantic::ExactlyOnce];

    /// The semantic with a number of the Ensign API; none has 0, which means that nothing was chosen.
    pub fn from_number(number: i32) -> Option<DeliverySemantic> {
        DeliverySemantic::ALL.into_iter().find(|semantic| semantic.number() == number)
    }

    pub fn number(self) -> i32 {
        i32::from(self as u8)
    }

    pub const fn name(self) -> &'static str {
        match self {
            DeliverySemantic::AtMostOnce => "at-most-once",
            DeliverySemantic::AtLeastOnce => "at-least-once",
            DeliverySemantic::ExactlyOnce => "exactly-once",
        }
    }
}

impl fmt::Display for DeliverySemantic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for DeliverySemantic {
    type Err = UnknownSemantic;

    fn from_str(text: &str) -> Result<DeliverySemantic, UnknownSemantic> {
        let found = DeliverySemantic::ALL.into_iter().find(|semantic| semantic.name() == text);
        found.ok_or_else(|| UnknownSemantic { text: text.to_owned() })
    }
}

/// What tells a group from the others of its project: 16 bytes, written as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupKey([u8; GroupKey::BYTES]);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("consumer group requires either id or name")]
pub struct NamelessGroup;

impl GroupKey {
    pub const BYTES: usize = 16;

    /// The key of a group that a client calls so, by the rule of the Ensign API: an identifier of 16 bytes is the key, any
    /// other is hashed, and without one the name is.
    ///
    /// # Errors
    ///
    /// When there is neither.
    pub fn of(id: &[u8], name: &str) -> Result<GroupKey, NamelessGroup> {
        if let Ok(key) = <[u8; GroupKey::BYTES]>::try_from(id) {
            return Ok(GroupKey(key));
        }
        match (id, name) {
            ([], "") => Err(NamelessGroup),
            ([], name) => Ok(GroupKey(murmur3_128(name.as_bytes()))),
            (id, _) => Ok(GroupKey(murmur3_128(id))),
        }
    }

    pub const fn from_bytes(bytes: [u8; GroupKey::BYTES]) -> GroupKey {
        GroupKey(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; GroupKey::BYTES] {
        &self.0
    }

    /// Reads the 32 digits.
    pub fn parse(text: &str) -> Option<GroupKey> {
        if text.len() != 2 * GroupKey::BYTES || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(|number| GroupKey(number.to_be_bytes()))
    }
}

impl fmt::Display for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GroupKey({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Worked examples of the Ensign API.
    #[test]
    fn keys_come_from_identifiers_and_names() {
        let check = |id: &[u8], name: &str, expected: &str| {
            let key = GroupKey::of(id, name).unwrap();
            assert_eq!(key.to_string(), expected);
            assert_eq!(GroupKey::parse(expected), Some(key));
        };
        check(b"", "testing.test.consumergroup.alpha", "f0a5b9500d4b78e0dd7f150a39155952");
        let id = [16, 32, 255, 129, 82, 91, 255, 0, 21, 48, 198, 122, 219, 42];
        check(&id, "", "8f08f56c7164c655e74795b4a052b705");
        check(&id, "not looked at", "8f08f56c7164c655e74795b4a052b705");
        check(b"0123456789abcdef", "not looked at", "30313233343536373839616263646566");
        assert_eq!(GroupKey::of(b"", ""), Err(NamelessGroup));
        assert_eq!(GroupKey::parse("+0a5b9500d4b78e0dd7f150a39155952"), None);
        assert_eq!(GroupKey::parse("f0"), None);
    }

    #[test]
    fn semantics_have_names_and_numbers() {
        for semantic in DeliverySemantic::ALL {
            assert_eq!(semantic.name().parse(), Ok(semantic));
            assert_eq!(DeliverySemantic::from_number(semantic.number()), Some(semantic));
        }
        assert_eq!(DeliverySemantic::from_number(0), None);
        assert!("often".parse::<DeliverySemantic>().is_err());
    }
}
