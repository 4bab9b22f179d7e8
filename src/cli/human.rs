//! Numbers, sizes and durations as people write them.

use std::{fmt::Display, str::FromStr, time::Duration};

use crate::model::Position;

/// `1234567` as `1,234,567`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 event`, `1,234 events`.
pub(super) fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", count(number))
}

/// Bytes with a unit, in powers of a thousand.
pub(super) fn bytes(number: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if number < 1_000 {
        return format!("{number} B");
    }
    let (mut whole, mut tenths, mut unit) = (number / 1_000, number % 1_000 / 100, 0);
    while whole >= 1_000 && unit + 1 < UNITS.len() {
        (whole, tenths, unit) = (whole / 1_000, whole % 1_000 / 100, unit + 1);
    }
    format!("{whole}.{tenths} {}", UNITS[unit])
}

/// How many a second; the exact number is noise.
pub(super) fn rate(number: u64, elapsed: Duration) -> String {
    let micros = elapsed.as_micros().max(1);
    let per_second = u128::from(number) * 1_000_000 / micros;
    count(u64::try_from(per_second).unwrap_or(u64::MAX))
}

/// `12 ms`, `1.25 s`, `2 min 5 s`, `3 h 20 min`, `4 d 2 h`.
pub(super) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{seconds}.{:02} s", duration.subsec_millis() / 10),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// A duration on the command line: `5s`, `1m30s`, `250ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span(pub(super) Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Span, String> {
        // The same language as that of positions, where `-5s` is five seconds ago.
        match format!("-{text}").parse() {
            Ok(Position::Ago(nanos)) => Ok(Span(Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)))),
            _ => Err("write a duration like 5s, 1m30s or 250ms".to_owned()),
        }
    }
}

/// What there is, or a dash.
pub(super) fn or_dash(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(counted(1, "event"), "1 event");
        assert_eq!(counted(2, "event"), "2 events");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1_784_866), "1.7 MB");
        assert_eq!(bytes(u64::MAX), "18446.7 PB");
        assert_eq!(rate(20_000, Duration::from_millis(500)), "40,000");
    }

    #[test]
    fn durations() {
        assert_eq!(duration(Duration::from_millis(41)), "41 ms");
        assert_eq!(duration(Duration::from_millis(1_259)), "1.25 s");
        assert_eq!(duration(Duration::from_secs(125)), "2 min 5 s");
        assert_eq!(duration(Duration::from_hours(25)), "1 d 1 h");
        assert_eq!("1m30s".parse(), Ok(Span(Duration::from_secs(90))));
        assert!("5".parse::<Span>().is_err());
        assert!("-5s".parse::<Span>().is_err());
    }
}
