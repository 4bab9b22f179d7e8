//! Functions of times. All times are UTC.

use std::borrow::Cow;

use jiff::{Timestamp, Zoned, fmt::temporal::Pieces, tz::TimeZone};

use super::{Value, evaluate::Row, expression::Expression};
use crate::model::Time;

const SECOND: i64 = 1_000_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const WEEK: i64 = 7 * DAY;

/// 1970-01-05, a Monday, from which weeks are counted.
const FIRST_MONDAY: i64 = 4 * DAY;

/// Reads `1 minute`, `90 seconds`, `1 hour 30 minutes`, `15m`, `250 ms`: nanoseconds. Months and years have no fixed length.
pub(super) fn interval(text: &str) -> Option<i64> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    let mut total = 0_i64;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'.')).count();
        let number = &rest[..digits];
        rest = rest[digits..].trim_start();
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = unit(&rest[..letters])?;
        rest = rest[letters..].trim_start_matches([' ', ',']);
        total = total.checked_add(times(number, unit)?)?;
    }
    Some(total)
}

/// A number of units, in nanoseconds.
pub(super) fn times(number: &str, unit: i64) -> Option<i64> {
    if let Ok(number) = number.parse::<i64>() {
        return number.checked_mul(unit);
    }
    let nanos = Value::Int(unit).as_float()? * number.parse::<f64>().ok()?;
    super::evaluate::to_int(nanos.round())
}

/// The time that a text says. Without an offset, which positions in a topic have to have, it is UTC like all times.
pub(super) fn time(text: &str) -> Option<Time> {
    Time::parse(text).ok().or_else(|| {
        let pieces = Pieces::parse(text).ok()?;
        if pieces.offset().is_some() || pieces.time_zone_annotation().is_some() {
            return None;
        }
        let moment = pieces.date().to_datetime(pieces.time()?).to_zoned(TimeZone::UTC).ok()?;
        i64::try_from(moment.timestamp().as_nanosecond()).ok().map(Time::from_nanos)
    })
}

/// The nanoseconds of a unit of fixed length.
pub(super) fn unit(name: &str) -> Option<i64> {
    let name = name.to_ascii_lowercase();
    let singular = name.strip_suffix('s').filter(|name| name.len() > 1).unwrap_or(&name);
    Some(match singular {
        "ns" | "nanosecond" => 1,
        "us" | "microsecond" => 1_000,
        "ms" | "m" if name == "ms" => 1_000_000,
        "millisecond" => 1_000_000,
        "s" | "sec" | "second" => SECOND,
        "m" | "min" | "minute" => MINUTE,
        "h" | "hr" | "hour" => HOUR,
        "d" | "day" => DAY,
        "w" | "week" => WEEK,
        _ => return None,
    })
}

/// The interval that a value is or says.
fn as_interval(value: &Value<'_>) -> Option<i64> {
    match value {
        Value::Interval(nanos) => Some(*nanos),
        Value::Text(text) => interval(text),
        _ => None,
    }
}

/// The start of the window that a time is in. Windows are counted from 1970. Without a time it is the event's commit.
pub(super) fn window(length: &Value<'_>, time: Option<Value<'_>>, row: &Row<'_>) -> Value<'static> {
    let time = match time {
        Some(time) => time.as_time(),
        None => row.input.map(|input| input.committed),
    };
    let (Some(length), Some(time)) = (as_interval(length).filter(|length| *length > 0), time) else {
        return Value::Null;
    };
    start_of(time, length, if length % WEEK == 0 { FIRST_MONDAY } else { 0 })
}

fn start_of(time: Time, length: i64, origin: i64) -> Value<'static> {
    let start = time
        .nanos()
        .checked_sub(origin)
        .map(|nanos| nanos.rem_euclid(length))
        .and_then(|passed| time.nanos().checked_sub(passed));
    start.map_or(Value::Null, |nanos| Value::Time(Time::from_nanos(nanos)))
}

fn zoned(value: &Value<'_>) -> Option<Zoned> {
    let time = value.as_time()?;
    Some(Timestamp::from_nanosecond(i128::from(time.nanos())).ok()?.to_zoned(TimeZone::UTC))
}

/// `date_part` and `extract`.
pub(super) fn part(unit: &Value<'_>, value: &Value<'_>) -> Value<'static> {
    let Value::Text(unit) = unit else { return Value::Null };
    let unit = unit.to_ascii_lowercase();
    if unit == "epoch" {
        let nanos = match value {
            Value::Interval(nanos) => Some(*nanos),
            value => value.as_time().map(Time::nanos),
        };
        return nanos.and_then(|nanos| Value::Interval(nanos).as_float()).map_or(Value::Null, Value::Float);
    }
    let Some(time) = zoned(value) else { return Value::Null };
    Value::Int(match unit.as_str() {
        "year" => time.year().into(),
        "quarter" => (time.month() + 2).div_euclid(3).into(),
        "month" => time.month().into(),
        "week" => time.date().iso_week_date().week().into(),
        "day" => time.day().into(),
        "dow" => time.weekday().to_sunday_zero_offset().into(),
        "isodow" => time.weekday().to_monday_one_offset().into(),
        "doy" => time.day_of_year().into(),
        "hour" => time.hour().into(),
        "minute" => time.minute().into(),
        "second" => time.second().into(),
        "millisecond" | "milliseconds" => time.millisecond().into(),
        "microsecond" | "microseconds" => i64::from(time.millisecond()) * 1_000 + i64::from(time.microsecond()),
        _ => return Value::Null,
    })
}

/// `date_trunc`.
pub(super) fn truncated(to: &Value<'_>, value: &Value<'_>) -> Value<'static> {
    let Value::Text(to) = to else { return Value::Null };
    let to = to.to_ascii_lowercase();
    if let Some(length) = unit(&to) {
        let Some(time) = value.as_time() else { return Value::Null };
        return start_of(time, length, if length == WEEK { FIRST_MONDAY } else { 0 });
    }
    let Some(time) = zoned(value) else { return Value::Null };
    let date = time.date();
    let first = match to.as_str() {
        "year" => date.first_of_year(),
        "month" => date.first_of_month(),
        "quarter" => {
            let months = (date.month() - 1) % 3;
            date.first_of_month().saturating_sub(jiff::Span::new().months(months))
        }
        _ => return Value::Null,
    };
    let nanos = first.to_zoned(TimeZone::UTC).ok().map(|first| first.timestamp().as_nanosecond());
    nanos.and_then(|nanos| i64::try_from(nanos).ok()).map_or(Value::Null, |nanos| Value::Time(Time::from_nanos(nanos)))
}

/// `strftime`: the format of C's function.
pub(super) fn formatted(format: &Value<'_>, value: &Value<'_>) -> Value<'static> {
    let (Value::Text(format), Some(time)) = (format, zoned(value)) else { return Value::Null };
    // A width within the format could ask for any number of characters.
    if format.len() > 256 || format.bytes().any(|byte| byte.is_ascii_digit()) {
        return Value::Null;
    }
    jiff::fmt::strtime::format(format.as_ref(), &time).map_or(Value::Null, |text| Value::Text(Cow::Owned(text)))
}

/// What the `n`th argument of `window` and its like has to be.
pub(super) fn is_interval(argument: &Expression) -> bool {
    match argument {
        Expression::Literal(value) => as_interval(value).is_some_and(|nanos| nanos > 0),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Value<'static> {
        Value::Time(Time::parse(text).unwrap())
    }

    #[test]
    fn texts_without_an_offset_are_utc() {
        let check = |text: &str, expected: Option<&str>| {
            let expected = expected.map(|text| Time::parse(text).unwrap());
            assert_eq!(super::time(text), expected, "{text:?}");
        };
        check("2026-11-21 23:00:00", Some("2026-11-21T23:00:00Z"));
        check("2026-11-21T23:00", Some("2026-11-21T23:00:00Z"));
        check("2026-11-21 23:00", Some("2026-11-21T23:00:00Z"));
        check("2026-11-21 23:00:00.25", Some("2026-11-21T23:00:00.25Z"));
        check("2026-11-21 23:00:00+01:00", Some("2026-11-21T22:00:00Z"));
        check("2026-11-21", Some("2026-11-21T00:00:00Z"));
        check("1969-12-31 23:59:59", Some("1969-12-31T23:59:59Z"));
        for none in
            ["", "23:00", "2026-11-21 ", "2026-11-21 25:00", "2026-02-30 01:00", "9999-01-01 00:00", "1600-01-01 00:00"]
        {
            check(none, None);
        }
        check("2026-11-21 23:00[Europe/Berlin]", None);
        check("2026-11-21 23:00:00 noon", None);
    }

    #[test]
    fn intervals() {
        let check = |text: &str, expected: Option<i64>| assert_eq!(interval(text), expected, "{text:?}");
        check("1 minute", Some(MINUTE));
        check("1 hour 30 minutes", Some(90 * MINUTE));
        check("1h30m", Some(90 * MINUTE));
        check("250ms", Some(SECOND / 4));
        check("0.5 seconds", Some(SECOND / 2));
        check("-2 days", Some(-2 * DAY));
        check("1 week", Some(WEEK));
        check("1 month", None);
        check("minute", None);
        check("", None);
        check("9999999999999 weeks", None);
    }

    #[test]
    fn parts_of_times() {
        let moment = time("2026-11-21T19:30:05.25Z");
        let check = |unit: &'static str, expected: Value<'_>| {
            assert_eq!(part(&Value::text(unit), &moment), expected, "{unit}");
        };
        check("year", Value::Int(2026));
        check("quarter", Value::Int(4));
        check("month", Value::Int(11));
        check("dow", Value::Int(6));
        check("week", Value::Int(47));
        check("hour", Value::Int(19));
        check("second", Value::Int(5));
        check("millisecond", Value::Int(250));
        check("epoch", Value::Float(1_795_289_405.25));
        check("fortnight", Value::Null);
        assert_eq!(part(&Value::text("year"), &Value::text("2026-01-01")), Value::Int(2026));
        assert_eq!(part(&Value::text("year"), &Value::Int(1)), Value::Null);
    }

    #[test]
    fn starts_of_units() {
        let moment = time("2026-11-21T19:30:05.25Z");
        let check = |unit: &'static str, expected: &str| {
            assert_eq!(truncated(&Value::text(unit), &moment), time(expected), "{unit}");
        };
        check("minute", "2026-11-21T19:30:00Z");
        check("day", "2026-11-21");
        check("week", "2026-11-16");
        check("month", "2026-11-01");
        check("quarter", "2026-10-01");
        check("year", "2026-01-01");
        let before = time("1969-12-31T23:59:59Z");
        assert_eq!(truncated(&Value::text("hour"), &before), time("1969-12-31T23:00:00Z"));
        let windows = window(&Value::text("15 minutes"), Some(moment), &Row::default());
        assert_eq!(windows, time("2026-11-21T19:30:00Z"));
        assert_eq!(window(&Value::text("0 s"), Some(before), &Row::default()), Value::Null);
    }

    #[test]
    fn formats() {
        let moment = time("2026-11-21T19:30:05Z");
        assert_eq!(formatted(&Value::text("%Y-%m"), &moment), Value::text("2026-11"));
        assert_eq!(formatted(&Value::text("%10Y"), &moment), Value::Null);
        assert_eq!(formatted(&Value::text("%!"), &moment), Value::Null);
    }
}
