//! What an expression works with: values, how they compare, and how they are written.
//!
//! Nothing here fails. What has no answer, as the comparison of a text with a number, is `None`, which SQL calls NULL or
//! unknown.

use std::{borrow::Cow, cmp::Ordering};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::moment;
use crate::model::Time;

/// A value of an event, of a literal or of a parameter. It borrows from the event as far as it can.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value<'a> {
    #[default]
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
    Time(Time),
    /// Nanoseconds.
    Interval(i64),
    /// An object or an array, as its JSON text.
    Json(Cow<'a, str>),
}

const NANOS_IN_SECOND: i64 = 1_000_000_000;

/// The first whole number beyond all `i64`, as a float. It is exact.
const BEYOND_INT: f64 = 9_223_372_036_854_775_808.0;

impl<'a> Value<'a> {
    pub const TRUE: Value<'static> = Value::Bool(true);

    /// What a condition comes to: unknown gives NULL.
    pub fn from_truth(truth: Option<bool>) -> Value<'static> {
        truth.map_or(Value::Null, Value::Bool)
    }

    pub fn text(text: &'a str) -> Value<'a> {
        Value::Text(Cow::Borrowed(text))
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// What `typeof` calls its type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Int(_) => "integer",
            Value::Float(_) => "float",
            Value::Text(_) => "text",
            Value::Bytes(_) => "bytes",
            Value::Time(_) => "timestamp",
            Value::Interval(_) => "interval",
            Value::Json(_) => "json",
        }
    }

    /// The same value, borrowed from this one.
    pub fn borrowed(&self) -> Value<'_> {
        match self {
            Value::Null => Value::Null,
            Value::Bool(truth) => Value::Bool(*truth),
            Value::Int(number) => Value::Int(*number),
            Value::Float(number) => Value::Float(*number),
            Value::Text(text) => Value::Text(Cow::Borrowed(text)),
            Value::Bytes(bytes) => Value::Bytes(Cow::Borrowed(bytes)),
            Value::Time(time) => Value::Time(*time),
            Value::Interval(nanos) => Value::Interval(*nanos),
            Value::Json(text) => Value::Json(Cow::Borrowed(text)),
        }
    }

    /// The same value, which outlives what it was read from.
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Value::Null => Value::Null,
            Value::Bool(truth) => Value::Bool(truth),
            Value::Int(number) => Value::Int(number),
            Value::Float(number) => Value::Float(number),
            Value::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
            Value::Bytes(bytes) => Value::Bytes(Cow::Owned(bytes.into_owned())),
            Value::Time(time) => Value::Time(time),
            Value::Interval(nanos) => Value::Interval(nanos),
            Value::Json(text) => Value::Json(Cow::Owned(text.into_owned())),
        }
    }

    /// Bytes of memory behind the value.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Value::Text(text) | Value::Json(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
            _ => 0,
        }
    }

    /// What a condition makes of a value: numbers other than zero are true, and what is no truth value is unknown.
    pub fn truth(&self) -> Option<bool> {
        match self {
            Value::Bool(truth) => Some(*truth),
            Value::Int(number) => Some(*number != 0),
            Value::Float(number) if !number.is_nan() => Some(*number != 0.0),
            _ => None,
        }
    }

    /// The number that the value is, of seconds for an interval.
    #[expect(clippy::cast_precision_loss, reason = "the nearest float is what is asked for")]
    pub fn as_float(&self) -> Option<f64> {
        match self {
            Value::Int(number) => Some(*number as f64),
            Value::Float(number) => Some(*number),
            // The whole seconds apart, which are exact.
            Value::Interval(nanos) => {
                Some((nanos / NANOS_IN_SECOND) as f64 + (nanos % NANOS_IN_SECOND) as f64 / NANOS_IN_SECOND as f64)
            }
            _ => None,
        }
    }

    /// The time that the value is, or that its text says.
    pub fn as_time(&self) -> Option<Time> {
        match self {
            Value::Time(time) => Some(*time),
            Value::Text(text) => moment::time(text),
            _ => None,
        }
    }

    /// Compares as `=` and `<` do. Values of different types do not compare, but numbers of any kind do, and a text that
    /// says a time compares with a time.
    pub fn compare(&self, other: &Value<'_>) -> Option<Ordering> {
        match (self, other) {
            (Value::Int(left), Value::Int(right)) | (Value::Interval(left), Value::Interval(right)) => {
                Some(left.cmp(right))
            }
            (Value::Text(left), Value::Text(right)) => Some(left.as_bytes().cmp(right.as_bytes())),
            (Value::Float(left), Value::Float(right)) => left.partial_cmp(right),
            (Value::Int(left), Value::Float(right)) => compare_mixed(*left, *right),
            (Value::Float(left), Value::Int(right)) => compare_mixed(*right, *left).map(Ordering::reverse),
            (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
            (Value::Bytes(left), Value::Bytes(right)) => Some(left.cmp(right)),
            (Value::Time(left), Value::Time(right)) => Some(left.cmp(right)),
            (Value::Time(left), Value::Text(right)) => Some(left.cmp(&moment::time(right)?)),
            (Value::Text(left), Value::Time(right)) => Some(moment::time(left)?.cmp(right)),
            (Value::Interval(_), Value::Int(_) | Value::Float(_))
            | (Value::Int(_) | Value::Float(_), Value::Interval(_)) => self.as_float()?.partial_cmp(&other.as_float()?),
            _ => None,
        }
    }

    /// Appends the value as JSON. What JSON has no kind for becomes a text: times as RFC 3339, bytes as base64. An interval
    /// becomes its seconds, and a float that is no number becomes null.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        match self {
            Value::Null => out.extend_from_slice(b"null"),
            Value::Bool(truth) => out.extend_from_slice(if *truth { b"true" } else { b"false" }),
            Value::Text(text) => write_json_text(text, out),
            Value::Bytes(bytes) => {
                out.push(b'"');
                out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
                out.push(b'"');
            }
            Value::Time(time) => write_json_text(&time.to_string(), out),
            Value::Json(text) => out.extend_from_slice(text.as_bytes()),
            Value::Int(number) => write_json_number(&serde_json::Number::from(*number), out),
            Value::Float(_) | Value::Interval(_) => match self.as_float().and_then(serde_json::Number::from_f64) {
                Some(number) => write_json_number(&number, out),
                None => out.extend_from_slice(b"null"),
            },
        }
    }

    /// The value as a text, as CAST gives it; NULL has none.
    pub fn to_text(&self) -> Option<Cow<'_, str>> {
        Some(match self {
            Value::Null => return None,
            Value::Text(text) | Value::Json(text) => Cow::Borrowed(text),
            Value::Bool(truth) => Cow::Borrowed(if *truth { "true" } else { "false" }),
            Value::Bytes(bytes) => Cow::Borrowed(std::str::from_utf8(bytes).ok()?),
            Value::Time(time) => Cow::Owned(time.to_string()),
            Value::Int(number) => Cow::Owned(number.to_string()),
            Value::Float(_) | Value::Interval(_) => {
                Cow::Owned(serde_json::Number::from_f64(self.as_float()?)?.to_string())
            }
        })
    }
}

/// Appends a text with the quotes and escapes of JSON.
pub(super) fn write_json_text(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a text is written to memory");
}

fn write_json_number(number: &serde_json::Number, out: &mut Vec<u8>) {
    serde_json::to_writer(out, number).expect("a number is written to memory");
}

/// A whole number and a float, exactly: neither is rounded to the other's kind.
#[expect(clippy::cast_possible_truncation, reason = "the float is whole and in the range of an i64")]
fn compare_mixed(left: i64, right: f64) -> Option<Ordering> {
    if right.is_nan() {
        return None;
    }
    if right >= BEYOND_INT {
        return Some(Ordering::Less);
    }
    if right < -BEYOND_INT {
        return Some(Ordering::Greater);
    }
    let whole = right.trunc();
    Some(left.cmp(&(whole as i64)).then_with(|| 0.0_f64.total_cmp(&(right - whole + 0.0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(left: &Value<'_>, right: &Value<'_>, expected: Option<Ordering>) {
        assert_eq!(left.compare(right), expected, "{left:?} and {right:?}");
        assert_eq!(right.compare(left), expected.map(Ordering::reverse), "{right:?} and {left:?}");
    }

    #[test]
    fn comparisons() {
        use Ordering::{Equal, Greater, Less};
        check(&Value::Int(1), &Value::Float(1.0), Some(Equal));
        check(&Value::Int(1), &Value::Float(1.5), Some(Less));
        check(&Value::Int(-1), &Value::Float(-1.5), Some(Greater));
        check(&Value::Int(0), &Value::Float(-0.0), Some(Equal));
        check(&Value::Int(i64::MAX), &Value::Float(BEYOND_INT), Some(Less));
        check(&Value::Int(i64::MIN), &Value::Float(-BEYOND_INT), Some(Equal));
        check(&Value::Int(9_007_199_254_740_993), &Value::Float(9_007_199_254_740_992.0), Some(Greater));
        check(&Value::Float(f64::NAN), &Value::Int(1), None);
        check(&Value::text("a"), &Value::text("B"), Some(Greater));
        check(&Value::text("1"), &Value::Int(1), None);
        check(&Value::Null, &Value::Null, None);
        check(&Value::Bool(true), &Value::Int(1), None);
        check(&Value::Json("[]".into()), &Value::Json("[]".into()), None);
        let time = Value::Time(Time::parse("2026-11-21T09:00:00Z").unwrap());
        check(&time, &Value::text("2026-11-21T10:00:00+01:00"), Some(Equal));
        check(&time, &Value::text("2026-11-22"), Some(Less));
        check(&time, &Value::text("2026-11-21 09:00"), Some(Equal));
        check(&time, &Value::text("2026-11-21T08:59:59.9"), Some(Greater));
        check(&time, &Value::text("noon"), None);
        check(&Value::Interval(1_500_000_000), &Value::Float(1.5), Some(Equal));
    }

    fn check_json(value: &Value<'_>, expected: &str) {
        let mut out = Vec::new();
        value.write_json(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn json() {
        check_json(&Value::Null, "null");
        check_json(&Value::Float(1.0), "1.0");
        check_json(&Value::Float(f64::INFINITY), "null");
        check_json(&Value::Int(i64::MIN), "-9223372036854775808");
        check_json(&Value::text("a\"b\n\u{1}"), r#""a\"b\n\u0001""#);
        check_json(&Value::Bytes(Cow::Borrowed(b"\xff\x00")), "\"/wA=\"");
        check_json(&Value::Time(Time::EPOCH), "\"1970-01-01T00:00:00Z\"");
        check_json(&Value::Interval(250_000_000), "0.25");
        check_json(&Value::Json("{\"a\":1}".into()), "{\"a\":1}");
    }
}
