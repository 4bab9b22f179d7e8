//! The identifier of an event: 48 bits of milliseconds and a 32-bit sequence, ten bytes whose order is time's.

use std::fmt;

use super::base32;

/// The identifier of a stored event. Strictly increasing within a topic.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Rlid([u8; 10]);

/// The text is not an RLID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an event id: 16 characters of Crockford base 32 are needed")]
pub struct ParseRlidError;

const MILLIS_MAX: u64 = (1 << 48) - 1;

impl Rlid {
    pub const NULL: Rlid = Rlid([0; 10]);

    /// Makes an identifier from milliseconds since 1970 (the low 48 bits) and a sequence number.
    pub fn from_parts(millis: u64, sequence: u32) -> Rlid {
        Rlid::from_number((u128::from(millis & MILLIS_MAX) << 32) | u128::from(sequence))
    }

    pub const fn from_bytes(bytes: [u8; 10]) -> Rlid {
        Rlid(bytes)
    }

    #[inline]
    pub fn from_slice(bytes: &[u8]) -> Result<Rlid, ParseRlidError> {
        bytes.try_into().map(Rlid).map_err(|_| ParseRlidError)
    }

    /// Reads the text form, in either letter case.
    pub fn parse(text: &str) -> Result<Rlid, ParseRlidError> {
        if text.len() != 16 {
            return Err(ParseRlidError);
        }
        let mut number = 0_u128;
        for character in text.bytes() {
            number = (number << 5) | u128::from(base32::digit(character).ok_or(ParseRlidError)?);
        }
        Ok(Rlid::from_number(number))
    }

    /// The identifier that lies `count` further on: a run of events takes consecutive ones.
    ///
    /// The sequence carries into the milliseconds, so the result is always larger.
    #[must_use]
    #[inline]
    pub fn plus(self, count: u64) -> Rlid {
        Rlid::from_number(self.number() + u128::from(count))
    }

    /// How far `self` lies beyond `first`; `None` when it lies before it or too far away to be in one run.
    pub fn distance_from(self, first: Rlid) -> Option<u64> {
        self.number().checked_sub(first.number()).and_then(|distance| u64::try_from(distance).ok())
    }

    pub const fn as_bytes(&self) -> &[u8; 10] {
        &self.0
    }

    pub fn millis(self) -> u64 {
        u64::try_from(self.number() >> 32).expect("48 bits fit")
    }

    /// The number within the millisecond.
    pub fn sequence(self) -> u32 {
        u32::from_be_bytes(*self.0.last_chunk().expect("ten bytes end in four"))
    }

    #[inline]
    fn number(self) -> u128 {
        // In two pieces as they lie there: bytes that are first copied into a number's place are slow to be read from it.
        let high = u64::from_be_bytes(*self.0.first_chunk().expect("ten bytes begin with eight"));
        let low = u16::from_be_bytes(*self.0.last_chunk().expect("ten bytes end in two"));
        u128::from(high) << 16 | u128::from(low)
    }

    #[inline]
    fn from_number(number: u128) -> Rlid {
        Rlid(*number.to_be_bytes().last_chunk().expect("sixteen bytes end in ten"))
    }
}

impl fmt::Display for Rlid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base32::encode(self.number(), 16, base32::LOWER))
    }
}

impl fmt::Debug for Rlid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(bytes: [u8; 10], text: &str) {
        assert_eq!(Rlid::from_bytes(bytes).to_string(), text);
        assert_eq!(Rlid::parse(text), Ok(Rlid::from_bytes(bytes)));
        assert_eq!(Rlid::parse(&text.to_uppercase()), Ok(Rlid::from_bytes(bytes)));
    }

    /// Vectors that the published SDKs and servers agree on.
    #[test]
    fn published_vectors() {
        check([0x01, 0x83, 0x42, 0x5f, 0x66, 0x6f, 0x00, 0x6f, 0xeb, 0x6b], "061m4qv6dw06ztvb");
        check([0x42; 10], "89144gj289144gj2");
        check([0x08, 0x12, 0xf5, 0x59, 0x12, 0xa2, 0x3b, 0xfe, 0x01, 0x98], "109fap8jm8xzw0cr");
    }

    #[test]
    fn the_sequence_carries_into_the_milliseconds() {
        let last = Rlid::from_parts(7, u32::MAX);
        assert_eq!(last.plus(1), Rlid::from_parts(8, 0));
        assert_eq!(last.plus(1).distance_from(last), Some(1));
        assert_eq!(last.distance_from(last.plus(1)), None);
    }

    #[test]
    fn bad_text_is_refused() {
        assert_eq!(Rlid::parse("061m4qv6dw06ztv"), Err(ParseRlidError));
        assert_eq!(Rlid::parse("061m4qv6dw06ztvi"), Err(ParseRlidError));
        assert_eq!(Rlid::parse("061m4qv6dw06ztéb"), Err(ParseRlidError));
    }

    proptest! {
        #[test]
        fn text_round_trips_and_keeps_the_order(a: [u8; 10], b: [u8; 10]) {
            let (a, b) = (Rlid::from_bytes(a), Rlid::from_bytes(b));
            prop_assert_eq!(Rlid::parse(&a.to_string()), Ok(a));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }
    }
}
