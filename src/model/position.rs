//! The one language for places in a topic, which everything that reads understands.

use std::{fmt, str::FromStr};

use super::{Offset, Rlid, Time};

/// A place in a topic, between two events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// Before the first event.
    Start,
    /// After the last event that is committed now.
    End,
    /// Before the event with this offset.
    Offset(Offset),
    /// Before the event with this identifier.
    Event(Rlid),
    /// Before the first event that was committed at or after this time.
    Time(Time),
    /// As [`Position::Time`], this many nanoseconds ago.
    Ago(i64),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a position; use start, end, now, an offset, an event id, a time (RFC 3339) or an age like -15m"
)]
pub struct ParsePositionError {
    text: String,
}

impl FromStr for Position {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Position, ParsePositionError> {
        let error = || ParsePositionError { text: text.to_owned() };
        match text {
            "start" => return Ok(Position::Start),
            "end" | "now" => return Ok(Position::End),
            _ => {}
        }
        if let Some(age) = text.strip_prefix('-') {
            return parse_age(age).map(Position::Ago).ok_or_else(error);
        }
        // An event id may consist of digits alone, and an offset never has sixteen of them in practice.
        if text.len() != 16 && text.bytes().all(|byte| byte.is_ascii_digit()) {
            let number = text.parse::<u64>().map_err(|_| error())?;
            return Ok(Position::Offset(Offset::new(number)));
        }
        if let Ok(id) = Rlid::parse(text) {
            return Ok(Position::Event(id));
        }
        Time::parse(text).map(Position::Time).map_err(|_| error())
    }
}

/// Reads `15m`, `90s`, `1h30m`, `250ms`, `2d`: nanoseconds, or nothing when it is no such age.
fn parse_age(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut total = 0_i64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number = rest[..digits].parse::<i64>().ok()?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit: i64 = match &rest[..letters] {
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "d" => 86_400_000_000_000,
            "w" => 604_800_000_000_000,
            _ => return None,
        };
        rest = &rest[letters..];
        total = total.checked_add(number.checked_mul(unit)?)?;
    }
    Some(total)
}

/// The text that reads back as the same position; an age is shown in milliseconds.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Position::Start => f.write_str("start"),
            Position::End => f.write_str("end"),
            Position::Offset(offset) => offset.fmt(f),
            Position::Event(id) => id.fmt(f),
            Position::Time(time) => time.fmt(f),
            Position::Ago(nanos) => write!(f, "-{}ms", nanos / 1_000_000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Position) {
        assert_eq!(text.parse(), Ok(expected), "{text:?}");
        assert_eq!(expected.to_string().parse(), Ok(expected), "{expected}");
    }

    #[test]
    fn positions() {
        check("start", Position::Start);
        check("end", Position::End);
        check("now", Position::End);
        check("17", Position::Offset(Offset::new(17)));
        check("061m4qv6dw06ztvb", Position::Event(Rlid::parse("061m4qv6dw06ztvb").unwrap()));
        check("-15m", Position::Ago(900_000_000_000));
        check("-1h30m", Position::Ago(5_400_000_000_000));
        check("2026-11-21", Position::Time(Time::parse("2026-11-21T00:00:00Z").unwrap()));
    }

    #[test]
    fn what_is_not_a_position() {
        for text in ["", "-", "-5", "-5y", "-99999999999w", "begin", "1.5", "99999999999999999999", "é"] {
            assert!(text.parse::<Position>().is_err(), "{text:?}");
        }
    }
}
