//! Universally unique, sortable identifiers: 48 bits of milliseconds and 80 random bits.

use std::fmt;

use super::base32;

/// A 16-byte identifier. Its text form is 26 characters of upper-case Crockford base 32.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ulid([u8; 16]);

/// The text is not a ULID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a ULID: 26 characters, of which the first is at most 7, are needed")]
pub struct ParseUlidError;

impl Ulid {
    /// The identifier of all zero bits, which no object has.
    pub const ZERO: Ulid = Ulid([0; 16]);

    /// Makes an identifier from a time in milliseconds since 1970 and ten random bytes.
    pub fn from_parts(millis: u64, random: [u8; 10]) -> Ulid {
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
        bytes[6..].copy_from_slice(&random);
        Ulid(bytes)
    }

    pub const fn from_bytes(bytes: [u8; 16]) -> Ulid {
        Ulid(bytes)
    }

    /// Reads the binary form; anything but 16 bytes is refused.
    #[inline]
    pub fn from_slice(bytes: &[u8]) -> Result<Ulid, ParseUlidError> {
        bytes.try_into().map(Ulid).map_err(|_| ParseUlidError)
    }

    /// Reads the text form as the original servers do: letter case does not matter, and a
    /// character outside of the alphabet counts as the last digit instead of being refused, so that junk of the right
    /// length is an identifier that nothing has, and never the one of all zeros.
    pub fn parse_lenient(text: &str) -> Result<Ulid, ParseUlidError> {
        Self::parse_with(text, |character| Some(base32::digit(character).unwrap_or(31)))
    }

    /// Reads the text form and refuses characters outside of the alphabet. Used where a text may be a name as well.
    pub fn parse(text: &str) -> Result<Ulid, ParseUlidError> {
        Self::parse_with(text, base32::digit)
    }

    fn parse_with(text: &str, digit: fn(u8) -> Option<u8>) -> Result<Ulid, ParseUlidError> {
        if text.len() != 26 || text.as_bytes()[0] > b'7' {
            return Err(ParseUlidError);
        }
        let mut number = 0_u128;
        for character in text.bytes() {
            number = (number << 5) | u128::from(digit(character).ok_or(ParseUlidError)?);
        }
        Ok(Ulid(number.to_be_bytes()))
    }

    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    pub fn is_zero(self) -> bool {
        self == Ulid::ZERO
    }

    /// The time in the identifier, in milliseconds since 1970.
    pub fn millis(self) -> u64 {
        let mut bytes = [0; 8];
        bytes[2..].copy_from_slice(&self.0[..6]);
        u64::from_be_bytes(bytes)
    }
}

impl fmt::Display for Ulid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base32::encode(u128::from_be_bytes(self.0), 26, base32::UPPER))
    }
}

impl fmt::Debug for Ulid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Gives a kind of object its own type of identifier, so that one cannot be taken for another.
macro_rules! identifier {
    ($name:ident, $of:literal) => {
        #[doc = concat!("The identifier of ", $of, ".")]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub Ulid);

        impl $name {
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

identifier!(TopicId, "a topic");
identifier!(ProjectId, "a project");
identifier!(TenantId, "a tenant");
identifier!(OrganizationId, "an organization");
identifier!(UserId, "a user");
identifier!(KeyId, "an API key (the record, not its client id)");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_of_a_known_identifier() {
        let ulid = Ulid::from_parts(1_469_918_176_385, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        assert_eq!(ulid.to_string(), "01ARYZ6S41041061050R3GG28A");
        assert_eq!(ulid.millis(), 1_469_918_176_385);
    }

    #[test]
    fn junk_of_the_right_length_parses_leniently_only() {
        let junk = "0!ARYZ6S41!!!!!!!!!!!!!!!!";
        assert!(Ulid::parse_lenient(junk).is_ok());
        assert_eq!(Ulid::parse(junk), Err(ParseUlidError));
        assert_eq!(Ulid::parse_lenient("81ARYZ6S4104106105"), Err(ParseUlidError));
        assert_eq!(Ulid::parse_lenient("81ARYZ6S41041061050R3GG28A"), Err(ParseUlidError));
    }

    proptest! {
        #[test]
        fn text_round_trips(bytes: [u8; 16]) {
            let ulid = Ulid::from_bytes(bytes);
            prop_assert_eq!(Ulid::parse(&ulid.to_string()), Ok(ulid));
            prop_assert_eq!(Ulid::parse_lenient(&ulid.to_string().to_lowercase()), Ok(ulid));
        }
    }
}
