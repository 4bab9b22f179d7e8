//! Values as bytes that sort and compare as the values do: what groups, DISTINCT, IN and ORDER BY are keyed by.
//!
//! Across types the order is NULL, truth values, numbers, intervals, times, texts, bytes, JSON. Numbers are equal when they
//! are the same number, whatever their kind. No key is the beginning of another one of the same length in values.

use super::Value;

const NULL: u8 = 1;
const BOOL: u8 = 2;
const NUMBER: u8 = 3;
const INTERVAL: u8 = 4;
const TIME: u8 = 5;
const TEXT: u8 = 6;
const BYTES: u8 = 7;
const JSON: u8 = 8;
/// Behind everything else.
const NULL_LAST: u8 = 9;

const SIGN: u64 = 1 << 63;

/// Appends a value's key.
pub(super) fn write(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(NULL),
        Value::Bool(truth) => out.extend_from_slice(&[BOOL, u8::from(*truth)]),
        Value::Int(number) => out.extend_from_slice(&int_key(*number)),
        Value::Float(number) => out.extend_from_slice(&number_key(*number, 0)),
        Value::Interval(nanos) => write_fixed(INTERVAL, *nanos, out),
        Value::Time(time) => write_fixed(TIME, time.nanos(), out),
        Value::Text(text) => write_bytes(TEXT, text.as_bytes(), out),
        Value::Bytes(bytes) => write_bytes(BYTES, bytes, out),
        Value::Json(text) => write_bytes(JSON, text.as_bytes(), out),
    }
}

/// The key of a number.
pub(super) type NumberKey = [u8; 11];

/// The key of a value that is a number.
pub(super) fn number(value: &Value<'_>) -> Option<NumberKey> {
    match value {
        Value::Int(number) => Some(int_key(*number)),
        Value::Float(number) if !number.is_nan() => Some(number_key(*number, 0)),
        _ => None,
    }
}

/// Appends a key for ORDER BY.
pub(super) fn write_ordered(value: &Value<'_>, descending: bool, nulls_first: bool, out: &mut Vec<u8>) {
    if value.is_null() {
        out.push(if nulls_first { 0 } else { u8::MAX });
        return;
    }
    let start = out.len();
    write(value, out);
    debug_assert!(out[start] < NULL_LAST, "types are between the two places of NULL");
    if descending {
        for byte in &mut out[start..] {
            *byte = !*byte;
        }
    }
}

/// A whole number as the nearest float and what is left, so that it sorts among floats without being rounded.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "what is lost is written behind it")]
fn int_key(number: i64) -> NumberKey {
    let nearest = number as f64;
    let rest = i128::from(number) - nearest as i128;
    number_key(nearest, rest as i16)
}

fn number_key(number: f64, rest: i16) -> NumberKey {
    // Minus zero is zero, and all that is no number is the same.
    let number = if number == 0.0 {
        0.0
    } else if number.is_nan() {
        f64::NAN.abs()
    } else {
        number
    };
    let bits = number.to_bits();
    let sorted = if bits & SIGN == 0 { bits | SIGN } else { !bits };
    let mut key = [NUMBER; 11];
    key[1..9].copy_from_slice(&sorted.to_be_bytes());
    key[9..].copy_from_slice(&(rest.cast_unsigned() ^ 0x8000).to_be_bytes());
    key
}

fn write_fixed(kind: u8, number: i64, out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(&(number.cast_unsigned() ^ SIGN).to_be_bytes());
}

/// Zeros are doubled by another byte, so that the end, two zeros, comes before everything that is longer.
fn write_bytes(kind: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(kind);
    for part in bytes.split_inclusive(|byte| *byte == 0) {
        out.extend_from_slice(part);
        if part.ends_with(&[0]) {
            out.push(u8::MAX);
        }
    }
    out.extend_from_slice(&[0, 0]);
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use proptest::prelude::*;

    use super::*;
    use crate::model::Time;

    fn key(values: &[Value<'_>]) -> Vec<u8> {
        let mut out = Vec::new();
        for value in values {
            write(value, &mut out);
        }
        out
    }

    #[test]
    fn types_have_an_order() {
        let values = [
            Value::Null,
            Value::Bool(false),
            Value::Bool(true),
            Value::Float(f64::NEG_INFINITY),
            Value::Int(i64::MIN),
            Value::Float(-1.5),
            Value::Int(0),
            Value::Int(9_007_199_254_740_992),
            Value::Int(9_007_199_254_740_993),
            Value::Float(1e300),
            Value::Time(Time::from_nanos(-1)),
            Value::Time(Time::EPOCH),
            Value::text(""),
            Value::text("a"),
            Value::text("a\0"),
            Value::text("ab"),
            Value::Bytes(b"\xff".as_slice().into()),
        ];
        for pair in values.windows(2) {
            assert!(key(&pair[..1]) < key(&pair[1..]), "{pair:?}");
        }
        assert_eq!(key(&[Value::Int(1)]), key(&[Value::Float(1.0)]));
        assert_eq!(key(&[Value::Float(0.0)]), key(&[Value::Float(-0.0)]));
    }

    fn value() -> impl Strategy<Value = Value<'static>> {
        prop_oneof![
            any::<i64>().prop_map(Value::Int),
            (-3_i64..3).prop_map(Value::Int),
            any::<f64>().prop_filter("a number", |number| !number.is_nan()).prop_map(Value::Float),
            (-3_i32..3).prop_map(|number| Value::Float(f64::from(number) / 2.0)),
            "[a\0\u{1}]{0,3}".prop_map(|text| Value::Text(text.into())),
            any::<bool>().prop_map(Value::Bool),
        ]
    }

    proptest! {
        #[test]
        fn keys_compare_as_values(left in value(), right in value(), descending: bool) {
            let ordering = key(std::slice::from_ref(&left)).cmp(&key(std::slice::from_ref(&right)));
            if let Some(expected) = left.compare(&right) {
                prop_assert_eq!(ordering, expected);
            }
            let sorted = |value: &Value<'_>| {
                let mut out = Vec::new();
                write_ordered(value, descending, true, &mut out);
                out
            };
            let expected = if descending { ordering.reverse() } else { ordering };
            prop_assert_eq!(sorted(&left).cmp(&sorted(&right)), expected);
            prop_assert_eq!(sorted(&Value::Null).cmp(&sorted(&left)), Ordering::Less);
        }

        #[test]
        fn several_values_are_compared_one_after_the_other(left in value(), middle in value(), right in value()) {
            let ordering = key(&[left.clone(), middle.clone()]).cmp(&key(&[left, right.clone()]));
            prop_assert_eq!(ordering, key(&[middle]).cmp(&key(&[right])));
        }
    }
}
