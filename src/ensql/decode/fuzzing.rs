//! What fuzzers feed with arbitrary data of events, and what decides whether it was read rightly.

use super::{Fields, Path, Step, Value};
use crate::model::Mimetype;

/// The paths that are looked for: beginnings of each other, siblings, elements, and what is never there.
pub(super) fn paths() -> Vec<Path> {
    let key = |key: &str| Step::Key(key.to_owned());
    vec![
        vec![key("a")],
        vec![key("a"), key("b")],
        vec![key("a"), Step::Index(0)],
        vec![key("a"), Step::Index(1), key("b")],
        vec![key("b")],
        vec![key("b"), key("a"), key("a")],
        vec![key("")],
        vec![key("é\n\"")],
        vec![key("a")],
        vec![Step::Index(1)],
        vec![],
    ]
}

/// What a path finds in a value that another decoder has read.
fn found<'a>(value: &'a serde_json::Value, path: &[Step]) -> Option<&'a serde_json::Value> {
    path.iter().try_fold(value, |value, step| match step {
        Step::Key(key) => value.as_object()?.get(key),
        Step::Index(index) => value.as_array()?.get(*index),
    })
}

/// Whether a value is the one that another decoder has read. That one does not round long fractions correctly.
fn is_same(value: &Value<'_>, expected: Option<&serde_json::Value>) -> bool {
    use serde_json::Value as Json;
    match (value, expected) {
        (Value::Null, None | Some(Json::Null)) => true,
        (Value::Bool(is), Some(Json::Bool(expected))) => is == expected,
        (Value::Int(number), Some(Json::Number(expected))) => expected.as_i64() == Some(*number),
        (Value::Float(number), Some(Json::Number(expected))) => {
            let expected = expected.as_f64().expect("every number is one");
            let near = (number - expected).abs() <= expected.abs() * 1e-15 + f64::MIN_POSITIVE;
            near && number.is_sign_negative() == expected.is_sign_negative()
        }
        (Value::Text(text), Some(Json::String(expected))) => text == expected,
        (Value::Json(text), Some(expected @ (Json::Array(_) | Json::Object(_)))) => {
            serde_json::from_str::<Json>(text).is_ok_and(|read| read == *expected)
        }
        _ => false,
    }
}

/// JSON is read, or refused, as `serde_json` does it.
pub fn fuzz_json(data: &[u8]) {
    let paths = paths();
    let mut values = vec![Value::Null; paths.len()];
    let fields = Fields::new(&paths);
    let mut rows = fields.rows(Mimetype::JSON, data, &());
    let read = rows.next(&mut values).expect("an event has a row");
    // A member of this name means something else to the other decoder.
    if data.windows(12).any(|part| part == b"$serde_json:" || part == br"\u0024serde_") {
        return;
    }
    match (read, serde_json::from_slice::<serde_json::Value>(data)) {
        (Ok(()), Ok(expected)) => {
            for (path, value) in paths.iter().zip(&values) {
                let expected = found(&expected, path);
                assert!(is_same(value, expected), "{path:?}: {value:?} for {expected:?}");
            }
        }
        (Err(_), Err(_)) => {}
        (read, expected) => {
            // At the very end of the range the other decoder may round to infinity, or not.
            let text = String::from_utf8_lossy(data);
            assert!(text.contains("308") || text.len() > 300, "{read:?} for {expected:?} in {text:?}");
        }
    }
    assert!(rows.next(&mut values).is_none());
}

/// Data of any media type end, and give no more rows than they have bytes, and one more.
pub fn fuzz_data(data: &[u8]) {
    let Some((&mimetype, data)) = data.split_first() else { return };
    let paths = [paths(), vec![vec![Step::Key("data".to_owned())]]].concat();
    let mut values = vec![Value::Null; paths.len()];
    let fields = Fields::new(&paths);
    let mut rows = fields.rows(Mimetype(i32::from(mimetype)), data, &());
    let mut count = 0;
    while let Some(read) = rows.next(&mut values) {
        count += 1;
        assert!(count <= data.len() + 1, "{count} rows");
        for value in &values {
            if let (Ok(()), Value::Json(text)) = (&read, value) {
                serde_json::from_str::<serde_json::Value>(text).expect("what is said to be JSON is");
            }
        }
    }
    assert!(rows.next(&mut values).is_none());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fuzzing::run_bounded;

    #[test]
    fn json() {
        let seeds: [&[u8]; 8] = [
            br#"{"a": {"b": 1, "b": [2]}, "b": {"a": {"a": "x\ud83d\ude00"}}}"#,
            br#"{"a": [true, {"b": null}, -0.5e-3], "": "", "\u00e9\n\"": 12345678901234567890}"#,
            br#" [1, [2, {"a": {}}], 9223372036854775807, -9223372036854775808, -0] "#,
            br#"{"a": 1.7976931348623157e308, "b": 1e-400, "c": 0e99999, "d": 1e400}"#,
            b"\"\\u12\"",
            b"\"\xff\"",
            b"",
            &[b'['; 130],
        ];
        run_bounded("JSON", &seeds, fuzz_json);
    }

    #[test]
    fn data_of_any_kind() {
        let seeds: [&[u8]; 8] = [
            b"\x32{\"a\": 1}",
            b"\x34{\"a\": 1}\n\n{\"a\": [2\n{\"a\": 3}\r\n",
            b"\x02a,b\n1,\"x\ny\"\n2\n",
            b"\xfc\x82\xa1a\x81\xa1b\x93\x01\xcb\x40\x09\x21\xfb\x54\x44\x2d\x18\xd6\xff\x00\x00\x00\x00\xa1b\xc4\x02ab",
            b"\xfc\xdd\xff\xff\xff\xff",
            b"\xfc\x91\x81\xcf\xff\xff\xff\xff\xff\xff\xff\xff\xc7\x0c\xff\x00\x00\x00\x01\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x01text",
            b"\x00\x01\x02",
        ];
        run_bounded("an event's data", &seeds, fuzz_data);
    }
}
