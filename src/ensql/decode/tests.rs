//! Every kind of data against what it says, whole and damaged.

use std::{borrow::Cow, collections::BTreeMap};

use proptest::prelude::*;

use super::{Fields, Path, Step, Undecodable, Value, fuzzing};
use crate::model::{Mimetype, Time};

/// `a.b[0]` as a path.
fn path(text: &str) -> Path {
    let mut steps = Vec::new();
    for part in text.split('.').filter(|part| !part.is_empty()) {
        let (key, elements) = part.split_once('[').unwrap_or((part, ""));
        steps.push(Step::Key(key.to_owned()));
        let elements = elements.split('[').filter_map(|index| index.strip_suffix(']'));
        steps.extend(elements.map(|index| Step::Index(index.parse().unwrap())));
    }
    steps
}

fn rows<'a>(mimetype: Mimetype, data: &'a [u8], wanted: &[&str]) -> Vec<Result<Vec<Value<'a>>, Undecodable>> {
    let paths: Vec<_> = wanted.iter().map(|text| path(text)).collect();
    let fields = Fields::new(&paths);
    let mut values = vec![Value::Null; paths.len()];
    let mut rows = fields.rows(mimetype, data, &());
    let mut read = Vec::new();
    while let Some(row) = rows.next(&mut values) {
        read.push(row.map(|()| values.clone()));
    }
    read
}

fn row<'a>(mimetype: Mimetype, data: &'a [u8], wanted: &[&str]) -> Vec<Value<'a>> {
    let mut rows = rows(mimetype, data, wanted);
    assert_eq!(rows.len(), 1);
    rows.remove(0).unwrap()
}

fn text(text: &str) -> Value<'_> {
    Value::Text(Cow::Borrowed(text))
}

fn json(text: &str) -> Value<'_> {
    Value::Json(Cow::Borrowed(text))
}

#[test]
fn fields_of_json() {
    let data = br#"{"a": {"b": [10, {"c": "x"}], "d": null}, "e": -2.5, "f": true, "a.b": 1, "g": "tab\t", "h": []}"#;
    let wanted = ["a.b[1].c", "a.b[0]", "a.b", "a.d", "e", "f", "g", "h", "h[0]", "a.b.c", "none"];
    let expected = [
        text("x"),
        Value::Int(10),
        json(r#"[10, {"c": "x"}]"#),
        Value::Null,
        Value::Float(-2.5),
        Value::Bool(true),
        text("tab\t"),
        json("[]"),
        Value::Null,
        Value::Null,
        Value::Null,
    ];
    assert_eq!(row(Mimetype::JSON, data, &wanted), expected);
}

#[test]
fn what_lies_in_the_data_is_borrowed() {
    let data = br#"{"plain": "as it is", "escaped": "a\nb", "nested": {"x": 1}}"#;
    let values = row(Mimetype::JSON, data, &["plain", "escaped", "nested"]);
    assert!(matches!(&values[0], Value::Text(Cow::Borrowed("as it is"))));
    assert!(matches!(&values[1], Value::Text(Cow::Owned(text)) if text == "a\nb"));
    assert!(matches!(&values[2], Value::Json(Cow::Borrowed(r#"{"x": 1}"#))));
}

#[test]
fn of_members_with_one_name_the_last_counts_whole() {
    let data = br#"{"a": {"b": 1, "c": 2}, "a": {"c": 3}, "x": 1, "x": "two"}"#;
    let values = row(Mimetype::JSON, data, &["a.b", "a.c", "a", "x"]);
    assert_eq!(values, [Value::Null, Value::Int(3), json(r#"{"c": 3}"#), text("two")]);
}

#[test]
fn json_is_nested_as_deep_as_elsewhere() {
    for (depth, fits) in [(127, true), (128, false)] {
        let nested = ["[".repeat(depth), "]".repeat(depth)].concat();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&nested).is_ok(), fits);
        assert_eq!(rows(Mimetype::JSON, nested.as_bytes(), &["a"])[0].is_ok(), fits);
        let nested = [r#"{"a":"#.repeat(depth), "1".to_owned(), "}".repeat(depth)].concat();
        assert_eq!(rows(Mimetype::JSON, nested.as_bytes(), &["a.a"])[0].is_ok(), fits);
        assert_eq!(rows(Mimetype::JSON, nested.as_bytes(), &["b"])[0].is_ok(), fits);
    }
}

#[test]
fn json_that_is_none() {
    for (data, expected) in [
        (&b""[..], Undecodable::Json { at: 0 }),
        (b"{\"b\": 1", Undecodable::Json { at: 7 }),
        (b"{\"b\": 01}", Undecodable::Json { at: 7 }),
        (b"{\"b\": 1} x", Undecodable::Json { at: 9 }),
        (b"\xff", Undecodable::NotUtf8),
    ] {
        assert_eq!(rows(Mimetype::JSON, data, &["a"]), [Err(expected)], "{data:?}");
    }
}

#[test]
fn each_line_of_json_lines_is_a_row() {
    let data = b"{\"a\": 1}\r\n\n  \n{\"a\": \n{\"a\": 3, \"b\": 4}";
    let rows = rows(Mimetype::JSON_LINES, data, &["a", "b"]);
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[0], Ok(vec![Value::Int(1), Value::Null]));
    assert!(rows[1].is_err());
    assert_eq!(rows[2], Ok(vec![Value::Int(3), Value::Int(4)]));
    assert_eq!(super::Fields::new(&[]).rows(Mimetype::JSON_LINES, b" \n ", &()).next(&mut []), None);
}

#[test]
fn each_record_of_csv_is_a_row() {
    let data = b"\xef\xbb\xbfid,name,price,id\n1,\"Smith, J\",2.50,01\n-3,\"a \"\"b\"\"\"\n";
    let owned = |text: &str| Value::Text(Cow::Owned(text.to_owned()));
    let read = rows(Mimetype::CSV, data, &["id", "name", "price", "none"]);
    assert_eq!(read[0], Ok(vec![owned("01"), owned("Smith, J"), Value::Float(2.5), Value::Null]));
    assert_eq!(read[1], Ok(vec![Value::Null, owned("a \"b\""), Value::Null, Value::Null]));
    assert_eq!(read.len(), 2);
    assert_eq!(rows(Mimetype::CSV, b"", &["a"]), []);
    assert_eq!(rows(Mimetype::CSV, b"a\n\xff\n2\n", &["a"]), [Err(Undecodable::NotUtf8), Ok(vec![Value::Int(2)])]);
    assert_eq!(rows(Mimetype::CSV, b"\xff\n1\n", &["a"])[0], Err(Undecodable::NotUtf8));
}

#[test]
fn with_the_header_in_the_metadata_each_record_is_a_row() {
    type Row = Result<Vec<Value<'static>>, Undecodable>;
    let read = |header: &str, data: &[u8], wanted: &[&str]| -> Vec<Row> {
        let paths: Vec<_> = wanted.iter().map(|text| path(text)).collect();
        let metadata = BTreeMap::from([(super::CSV_HEADER_NAME.to_owned(), header.to_owned())]);
        let (fields, mut values) = (Fields::new(&paths), vec![Value::Null; paths.len()]);
        let mut rows = fields.rows(Mimetype::CSV, data, &metadata);
        let mut read = Vec::new();
        while let Some(row) = rows.next(&mut values) {
            read.push(row.map(|()| values.iter().map(|value| value.clone().into_owned()).collect()));
        }
        read
    };
    let owned = |text: &str| Value::Text(Cow::Owned(text.to_owned()));
    let check = |header: &str, data: &[u8], expected: &[Value<'static>]| {
        assert_eq!(read(header, data, &["name", "n"]), [Ok(expected.to_vec())], "{header:?}");
    };
    check("name,n", b"Ada,7", &[owned("Ada"), Value::Int(7)]);
    check("\u{feff}n,\"name\"", b"7,\"Lovelace, \"\"Ada\"\"\nB.\"", &[owned("Lovelace, \"Ada\"\nB."), Value::Int(7)]);
    check("\"na\"\"me\",x", b"1,2", &[Value::Null, Value::Null]);
    check("", b"1,2", &[Value::Null, Value::Null]);
    check("n,name", b"3", &[Value::Null, Value::Int(3)]);
    assert_eq!(read("n", b"1\n2\r\n\xff", &["n"]).len(), 3);
    assert_eq!(read("n", b"", &["n"]), []);
    assert_eq!(read("n", b"\xff", &["n"]), [Err(Undecodable::NotUtf8)]);
}

#[test]
fn text_and_bytes_are_data() {
    assert_eq!(row(Mimetype::TEXT_PLAIN, "grüße".as_bytes(), &["data", "x"]), [text("grüße"), Value::Null]);
    assert_eq!(row(Mimetype::XML, b"<a/>", &["data"]), [text("<a/>")]);
    assert_eq!(rows(Mimetype::HTML, b"\xff", &["data"]), [Err(Undecodable::NotUtf8)]);
    for mimetype in [Mimetype::OCTET_STREAM, Mimetype(254), Mimetype(1009), Mimetype(-7)] {
        assert_eq!(row(mimetype, b"\xff\0", &["data"]), [Value::Bytes(Cow::Borrowed(b"\xff\0"))]);
    }
}

#[test]
fn fields_of_message_pack() {
    let mut data = vec![0x87];
    data.extend_from_slice(b"\xa1t\xd6\xff\x00\x00\x00\x07");
    data.extend_from_slice(b"\xa1u\xd7\xff\x77\x35\x93\xfc\x00\x00\x00\x01");
    data.extend_from_slice(b"\x07\x93\xc0\xc3\xd0\x80");
    data.extend_from_slice(b"\xa1y\xc4\x02hi");
    data.extend_from_slice(b"\x91\x01\xa1n");
    data.extend_from_slice(b"\xa1b\xcf\xff\xff\xff\xff\xff\xff\xff\xff");
    data.extend_from_slice(b"\xa1m\x82\xa1k\xca\x3f\x00\x00\x00\xc2\xc0");
    let wanted = ["t", "u", "7[2]", "7", "y", "b", "m.k", "m", "n"];
    let expected = [
        Value::Time(Time::from_parts(7, 0)),
        Value::Time(Time::from_parts(1, 500_000_000 - 1)),
        Value::Int(-128),
        json("[null,true,-128]"),
        Value::Bytes(Cow::Borrowed(b"hi")),
        Value::Float(18_446_744_073_709_551_615.0),
        Value::Float(0.5),
        json(r#"{"k":0.5}"#),
        Value::Null,
    ];
    let values = row(Mimetype::MESSAGE_PACK, &data, &wanted);
    for ((value, expected), wanted) in values.iter().zip(&expected).zip(wanted) {
        if wanted != "u" {
            assert_eq!(value, expected, "{wanted}");
        }
    }
    assert!(matches!(values[1], Value::Time(time) if time.seconds() == 1));
    for broken in [&data[..data.len() - 1], &[0x01, 0x01], b"\xc1", b"", b"\xa1\xff", &[0x91; 200]] {
        assert!(rows(Mimetype::MESSAGE_PACK, broken, &["t"])[0].is_err(), "{broken:?}");
    }
}

#[test]
fn the_json_of_message_pack_has_a_bound() {
    let text = |length: usize, byte: u8| {
        [&b"\xdb"[..], &u32::try_from(length).unwrap().to_be_bytes(), &vec![byte; length]].concat()
    };
    // Each level is wanted whole, and has all of the text within it.
    let levels: Vec<String> = (1..=31).map(|depth| vec!["a"; depth].join(".")).collect();
    let wanted: Vec<&str> = levels.iter().map(String::as_str).chain(["b"]).collect();
    let nested = [b"\x81\xa1a".repeat(31), b"\x91".to_vec(), text(4_500_000, b'x')].concat();
    let data = [b"\x82", &nested[1..], b"\xa1b\x01"].concat();
    let values = row(Mimetype::MESSAGE_PACK, &data, &wanted);
    let bytes: usize = values.iter().map(Value::heap_bytes).sum();
    assert!((13_500_000..16 << 20).contains(&bytes), "{bytes}");
    assert!(values[..28].iter().all(Value::is_null), "the outermost do not fit");
    assert!(values[28..31].iter().all(|value| matches!(value, Value::Json(_))));
    assert_eq!(values[31], Value::Int(1));

    let controls = |length: usize| [b"\x81\xa1a\x91", &text(length, 1)[..]].concat();
    assert_eq!(row(Mimetype::MESSAGE_PACK, &controls(2_700_000), &["a"])[0].heap_bytes(), 6 * 2_700_000 + 4);
    assert_eq!(row(Mimetype::MESSAGE_PACK, &controls(2_800_000), &["a"]), [Value::Null]);
    // What lies in the data as it is needs no room.
    let whole = controls(2_800_000);
    assert_eq!(row(Mimetype::MESSAGE_PACK, &whole, &["a", "a[0]"])[1].heap_bytes(), 2_800_000);
}

/// JSON as MessagePack.
fn packed(value: &serde_json::Value, out: &mut Vec<u8>) {
    use serde_json::Value as Json;
    let length = |length: usize| u32::try_from(length).unwrap().to_be_bytes();
    match value {
        Json::Number(number) if number.as_i64().is_none() && number.is_u64() => {
            out.push(0xcf);
            out.extend_from_slice(&number.as_u64().unwrap().to_be_bytes());
        }
        Json::Null => out.push(0xc0),
        Json::Bool(is) => out.push(0xc2 + u8::from(*is)),
        Json::Number(number) => {
            if let Some(number) = number.as_i64() {
                out.push(0xd3);
                out.extend_from_slice(&number.to_be_bytes());
            } else {
                out.push(0xcb);
                out.extend_from_slice(&number.as_f64().unwrap().to_be_bytes());
            }
        }
        Json::String(text) => {
            out.push(0xdb);
            out.extend_from_slice(&length(text.len()));
            out.extend_from_slice(text.as_bytes());
        }
        Json::Array(elements) => {
            out.push(0xdd);
            out.extend_from_slice(&length(elements.len()));
            for element in elements {
                packed(element, out);
            }
        }
        Json::Object(members) => {
            out.push(0xdf);
            out.extend_from_slice(&length(members.len()));
            for (key, member) in members {
                packed(&Json::from(key.as_str()), out);
                packed(member, out);
            }
        }
    }
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        any::<u64>().prop_map(serde_json::Value::from),
        (-1e9..1e9_f64).prop_map(serde_json::Value::from),
        any::<f64>().prop_map(serde_json::Value::from),
        "[ab\"\\\\\n\u{1}é🦀]{0,12}".prop_map(serde_json::Value::from),
    ];
    let key = prop_oneof![Just("a"), Just("b"), Just(""), Just("é\n\""), Just("other")];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(serde_json::Value::from),
            prop::collection::vec((key.clone(), inner), 0..5)
                .prop_map(|members| members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn json_is_what_serde_reads(value in any_json(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
        fuzzing::fuzz_json(text.unwrap().as_bytes());
    }

    /// Damaged in a few places: most of it is refused, and some is read, as elsewhere.
    #[test]
    fn damaged_json_is_judged_as_by_serde(
        value in any_json(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), "[\\]\\[{}:,\"\\\\0-9eE+. aubnt-]"), 1..4),
    ) {
        let mut text = serde_json::to_vec(&value).unwrap();
        for (at, byte) in &damage {
            let at = at.index(text.len());
            text[at] = byte.as_bytes()[0];
        }
        fuzzing::fuzz_json(&text);
    }

    #[test]
    fn texts_of_json_characters_are_judged_as_by_serde(text in "[\\]\\[{}:,\"\\\\0-9eE+. abu-]{0,24}") {
        fuzzing::fuzz_json(text.as_bytes());
    }

    #[test]
    fn numbers_are_judged_as_by_serde(text in "-?[0-9]{1,22}(\\.[0-9]{0,22})?([eE][+-]?[0-9]{1,3})?") {
        fuzzing::fuzz_json(text.as_bytes());
    }

    /// The same document means the same in both formats.
    #[test]
    fn message_pack_is_what_json_is(value in any_json()) {
        let mut data = Vec::new();
        packed(&value, &mut data);
        let text = serde_json::to_vec(&value).unwrap();
        let fields = Fields::new(&fuzzing::paths());
        let (mut from_json, mut from_packed) = ([const { Value::Null }; 11], [const { Value::Null }; 11]);
        prop_assert_eq!(fields.rows(Mimetype::JSON, &text, &()).next(&mut from_json), Some(Ok(())));
        prop_assert_eq!(fields.rows(Mimetype::MESSAGE_PACK, &data, &()).next(&mut from_packed), Some(Ok(())));
        for (one, other) in from_json.iter().zip(&from_packed) {
            match (one, other) {
                (Value::Json(one), Value::Json(other)) => {
                    let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
                    prop_assert_eq!(read(one), read(other));
                }
                // Beyond an `i64` both are floats.
                (Value::Float(one), Value::Float(other)) => {
                    prop_assert!((one - other).abs() <= one.abs() * 1e-15);
                }
                _ => prop_assert_eq!(one, other),
            }
        }
    }
}
