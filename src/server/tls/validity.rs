//! From when to when a certificate holds.
//!
//! TLS itself reads certificates by other means; this reads the two times alone, for messages and for renewing in time.
//! It survives any bytes.

use crate::model::Time;

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

const LAST_YEAR: &str = "2262";

/// The first and the last moment of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) begins: Time,
    pub(super) ends: Time,
}

impl Validity {
    /// Of a certificate in DER; none when the bytes are none.
    pub(super) fn of(certificate: &[u8]) -> Option<Validity> {
        let (mut outer, _) = enter(certificate, SEQUENCE)?;
        let (mut inner, _) = enter(outer, SEQUENCE)?;
        outer = inner;
        // Certificates of the first version do not say so.
        if let Some((_, rest)) = enter(outer, VERSION) {
            inner = rest;
        }
        let (_serial, rest) = enter(inner, INTEGER)?;
        let (_algorithm, rest) = enter(rest, SEQUENCE)?;
        let (_issuer, rest) = enter(rest, SEQUENCE)?;
        let (validity, _) = enter(rest, SEQUENCE)?;
        let (begins, rest) = time(validity)?;
        let (ends, _) = time(rest)?;
        Some(Validity { begins, ends })
    }
}

/// The content of the value at the beginning, which has to have this tag, and what comes behind it.
fn enter(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        let length = digits.iter().try_fold(0_usize, |length, digit| {
            length.checked_mul(256).and_then(|length| length.checked_add(usize::from(*digit)))
        });
        (length?, rest)
    };
    if *found != tag {
        return None;
    }
    rest.split_at_checked(length)
}

/// A time as certificates have it: in UTC and to the second, the year with two digits or with four.
fn time(bytes: &[u8]) -> Option<(Time, &[u8])> {
    let (text, rest, century) = if let Some((text, rest)) = enter(bytes, UTC_TIME) {
        // Two digits mean the years from 1950 to 2049.
        let century = if text.first().is_some_and(|digit| *digit >= b'5') { "19" } else { "20" };
        (text, rest, century)
    } else {
        let (text, rest) = enter(bytes, GENERALIZED_TIME)?;
        (text, rest, "")
    };
    let text = format!("{century}{}", std::str::from_utf8(text).ok()?);
    let digits = text.strip_suffix('Z').filter(|digits| digits.len() == 14 && digits.is_ascii())?;
    let (date, clock) = digits.split_at(8);
    // Some certificates have no end but the last second of the year 9999, which is behind all times that we know.
    if date >= LAST_YEAR {
        return Some((Time::from_nanos(i64::MAX), rest));
    }
    let written =
        format!("{}-{}-{}T{}:{}:{}Z", &date[..4], &date[4..6], &date[6..], &clock[..2], &clock[2..4], &clock[4..]);
    Some((Time::parse(&written).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(begins: i32, ends: i32) -> Vec<u8> {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_before = date_time_ymd(begins, 1, 2);
        params.not_after = date_time_ymd(ends, 12, 31);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    fn check(begins: i32, ends: i32) {
        let time = |text: String| Time::parse(&text).unwrap();
        let expected = Validity {
            begins: time(format!("{begins}-01-02T00:00:00Z")),
            ends: time(format!("{ends}-12-31T00:00:00Z")),
        };
        assert_eq!(Validity::of(&certificate(begins, ends)), Some(expected));
    }

    #[test]
    fn both_ways_of_writing_a_year() {
        check(1975, 2049);
        check(2026, 2050);
        let endless = Validity::of(&certificate(2026, 9999)).unwrap();
        assert_eq!(endless.ends, Time::from_nanos(i64::MAX));
        assert_eq!(Validity::of(b""), None);
        assert_eq!(Validity::of(b"-----BEGIN CERTIFICATE-----"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(at in 0_usize..300, bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut damaged = certificate(2026, 2027);
            let at = at.min(damaged.len());
            damaged.splice(at.., bytes.iter().copied());
            Validity::of(&damaged);
            Validity::of(&bytes);
        }
    }
}
