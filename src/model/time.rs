//! Points in time as the broker keeps them.

use std::fmt;

/// Nanoseconds since 1970-01-01T00:00:00Z; negative before. Covers the years 1677 to 2262.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(i64);

/// The text is not an RFC 3339 time or a date.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a time; write one like 2026-11-21T09:30:00Z, or a date like 2026-11-21")]
pub struct ParseTimeError {
    text: String,
}

const NANOS: i64 = 1_000_000_000;

impl Time {
    pub const EPOCH: Time = Time(0);

    pub const fn from_nanos(nanos: i64) -> Time {
        Time(nanos)
    }

    pub const fn from_millis(millis: i64) -> Time {
        Time(millis.saturating_mul(1_000_000))
    }

    /// From a protobuf timestamp's two fields; what lies outside of the covered years becomes the nearest time in it.
    pub const fn from_parts(seconds: i64, nanos: i32) -> Time {
        Time(seconds.saturating_mul(NANOS).saturating_add(nanos as i64))
    }

    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970, rounded down.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(NANOS)
    }

    /// The nanoseconds within the second, as protobuf's timestamp has them.
    pub fn subsecond_nanos(self) -> i32 {
        i32::try_from(self.0.rem_euclid(NANOS)).expect("less than a thousand million")
    }

    /// Milliseconds since 1970, and zero for a time before.
    pub fn millis(self) -> u64 {
        u64::try_from(self.0 / 1_000_000).unwrap_or(0)
    }

    /// Microseconds since 1970, rounded down.
    pub const fn micros(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// From microseconds since 1970; `None` outside of the covered years.
    pub const fn from_micros(micros: i64) -> Option<Time> {
        match micros.checked_mul(1_000) {
            Some(nanos) => Some(Time(nanos)),
            None => None,
        }
    }

    /// The last whole microsecond, which is as exactly as commit times are kept.
    #[must_use]
    pub const fn whole_micros(self) -> Time {
        Time(self.0.saturating_sub(self.0.rem_euclid(1_000)))
    }

    #[must_use]
    pub const fn plus_nanos(self, nanos: i64) -> Time {
        Time(self.0.saturating_add(nanos))
    }

    /// Reads RFC 3339 (`2026-11-21T09:30:00Z`, any offset, a space for the `T`) or a date, which means its start in
    /// UTC.
    pub fn parse(text: &str) -> Result<Time, ParseTimeError> {
        let error = || ParseTimeError { text: text.to_owned() };
        let timestamp = match text.parse::<jiff::civil::Date>() {
            Ok(date) if text.len() <= 10 => date.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| error())?.timestamp(),
            _ => text.parse::<jiff::Timestamp>().map_err(|_| error())?,
        };
        i64::try_from(timestamp.as_nanosecond()).map(Time).map_err(|_| error())
    }
}

/// RFC 3339 in UTC, with as many digits of the second as the time has.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_nanosecond(i128::from(self.0)) {
            Ok(timestamp) => timestamp.fmt(f),
            Err(_) => write!(f, "{} ns", self.0),
        }
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, shown: &str) {
        assert_eq!(Time::parse(text).map(|time| time.to_string()).as_deref(), Ok(shown));
    }

    #[test]
    fn times_and_dates() {
        check("2026-11-21T09:30:00Z", "2026-11-21T09:30:00Z");
        check("2026-11-21 10:30:00.25+01:00", "2026-11-21T09:30:00.25Z");
        check("2026-11-21", "2026-11-21T00:00:00Z");
        check("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59.5Z");
        assert!(Time::parse("yesterday").is_err());
        assert!(Time::parse("9999-11-21T09:30:00Z").is_err());
    }

    #[test]
    fn parts_of_a_time_before_1970() {
        let time = Time::from_nanos(-1);
        assert_eq!((time.seconds(), time.subsecond_nanos()), (-1, 999_999_999));
        assert_eq!(Time::from_parts(-1, 999_999_999), time);
        assert_eq!(time.millis(), 0);
    }
}
