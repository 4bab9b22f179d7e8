//! Events as CloudEvents 1.0, in both modes of the HTTP binding: structured, all of it in a JSON document; binary, the data as
//! it is and the rest in headers.
//!
//! The id is the event's, the type that of the event, the time when it was created, or else committed. The extensions
//! are topic, offset, typeversion, partitionkey (or partitionkeybase64, when the key is no text), encryptionkey, and meta
//! followed by a name for each entry of the metadata, in which nothing is left but small letters and digits, as CloudEvents
//! wants it; where two names become one, a number follows.

use std::{collections::BTreeMap, fmt::Write as _};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use clap::ValueEnum;
use serde_json::{Map, Value, value::RawValue};

use crate::client::{Event, Post};

/// What an event without a type has for one.
const UNTYPED: &str = "dev.ensign.event";

/// The mode of the binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Mode {
    Structured,
    Binary,
}

/// An event as the request that carries it.
pub(super) fn post(mode: Mode, source: &str, topic: &str, event: &Event) -> Post {
    let attributes = attributes(source, topic, event);
    match mode {
        Mode::Binary => {
            let headers = attributes.into_iter().map(|(name, value)| (format!("ce-{name}"), header_value(&value)));
            Post { content_type: event.mimetype.to_string(), headers: headers.collect(), body: event.data.clone() }
        }
        Mode::Structured => {
            let mut document: Map<String, Value> =
                attributes.into_iter().map(|(name, value)| (name, Value::String(value))).collect();
            document.insert("datacontenttype".to_owned(), Value::String(event.mimetype.to_string()));
            let content_type = "application/cloudevents+json; charset=utf-8".to_owned();
            Post { content_type, headers: Vec::new(), body: with_data(document, event) }
        }
    }
}

/// All attributes but for the media type, in their text form.
fn attributes(source: &str, topic: &str, event: &Event) -> Vec<(String, String)> {
    let mut attributes = vec![
        ("specversion".to_owned(), "1.0".to_owned()),
        ("id".to_owned(), event.id.to_string()),
        ("source".to_owned(), source.to_owned()),
    ];
    let mut add = |name: &str, value: String| attributes.push((name.to_owned(), value));
    let named = event.schema.as_ref().filter(|schema| !schema.is_unspecified());
    add("type", named.map_or_else(|| UNTYPED.to_owned(), |schema| schema.name.clone()));
    if let Some(time) = event.created.or(event.committed) {
        add("time", time.to_string());
    }
    add("topic", topic.to_owned());
    add("offset", event.offset.to_string());
    if let Some(schema) = named {
        add("typeversion", format!("{}.{}.{}", schema.major, schema.minor, schema.patch));
    }
    if !event.key.is_empty() {
        match std::str::from_utf8(&event.key) {
            Ok(key) => add("partitionkey", key.to_owned()),
            Err(_) => add("partitionkeybase64", STANDARD.encode(&event.key)),
        }
    }
    if let Some(encryption) = event.encryption.as_ref().filter(|_| event.is_encrypted()) {
        add("encryptionkey", encryption.public_key_id.clone());
    }
    attributes.extend(metadata(&event.metadata));
    attributes
}

/// The metadata, under names that CloudEvents allow.
fn metadata(metadata: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut named = BTreeMap::new();
    for (name, value) in metadata {
        let letters = name.chars().map(|letter| letter.to_ascii_lowercase());
        let plain: String = letters.filter(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit()).collect();
        let first = format!("meta{plain}");
        let mut chosen = first.clone();
        let mut number = 2;
        while named.contains_key(&chosen) {
            chosen = format!("{first}{number}");
            number += 1;
        }
        named.insert(chosen, value.clone());
    }
    named
}

/// The document with the data: JSON as it is, other text as a string, everything else in base 64.
fn with_data(mut document: Map<String, Value>, event: &Event) -> Bytes {
    let mimetype = event.mimetype.to_string();
    let is_json = mimetype == "application/json" || mimetype.ends_with("+json");
    let text = std::str::from_utf8(&event.data).ok().filter(|_| !event.is_encrypted());
    match text {
        Some(text) if is_json && serde_json::from_str::<&RawValue>(text).is_ok() => {
            // Numbers and the order of what is in it stay as they were written.
            let mut bytes = Value::Object(document).to_string().into_bytes();
            bytes.pop();
            bytes.extend_from_slice(b",\"data\":");
            bytes.extend_from_slice(&event.data);
            bytes.push(b'}');
            return bytes.into();
        }
        Some(text) if !is_json => document.insert("data".to_owned(), Value::String(text.to_owned())),
        _ => document.insert("data_base64".to_owned(), Value::String(STANDARD.encode(&event.data))),
    };
    Value::Object(document).to_string().into_bytes().into()
}

/// A value as the binding writes it in a header: what is no visible letter of ASCII, and `"` and `%`, with its bytes in
/// hexadecimal digits.
fn header_value(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'!' | b'#' | b'$' | b'&'..=b'~' => text.push(char::from(byte)),
            _ => write!(text, "%{byte:02X}").expect("text takes everything"),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::{
        client::Encryption,
        model::{Mimetype, Offset, Rlid, Time, TopicId, Ulid},
    };

    fn event(data: &'static [u8], mimetype: Mimetype) -> Event {
        Event {
            topic: TopicId(Ulid::from_bytes([1; 16])),
            offset: Offset::new(7),
            id: Rlid::from_parts(1_700_000_000_000, 5),
            committed: Some(Time::from_parts(1_700_000_000, 0)),
            created: None,
            mimetype,
            schema: None,
            metadata: BTreeMap::new(),
            key: Bytes::new(),
            data: Bytes::from_static(data),
            encryption: None,
            publisher: None,
        }
    }

    fn structured(event: &Event) -> Value {
        let post = post(Mode::Structured, "ensign://h/p/orders", "orders", event);
        assert_eq!((&*post.content_type, post.headers), ("application/cloudevents+json; charset=utf-8", Vec::new()));
        serde_json::from_slice(&post.body).unwrap()
    }

    #[test]
    fn everything_that_an_event_has() {
        let mut event = event(b"{\"a\": 1.50}", Mimetype::JSON);
        event.schema = Some("order@1.2.3".parse().unwrap());
        event.created = Some(Time::from_parts(1_600_000_000, 0));
        event.key = Bytes::from_static("ké\"1%".as_bytes());
        for (name, value) in [("Trace-Id", "a b"), ("trace_id", "c"), ("ü", "d")] {
            event.metadata.insert(name.to_owned(), value.to_owned());
        }
        let expected = json!({
            "specversion": "1.0", "id": event.id.to_string(), "source": "ensign://h/p/orders", "type": "order",
            "time": "2020-09-13T12:26:40Z", "topic": "orders", "offset": "7", "typeversion": "1.2.3",
            "partitionkey": "ké\"1%", "meta": "d", "metatraceid": "a b", "metatraceid2": "c",
            "datacontenttype": "application/json", "data": { "a": 1.5 },
        });
        assert_eq!(structured(&event), expected);
        let post = post(Mode::Binary, "ensign://h/p/orders", "orders", &event);
        assert_eq!((&*post.content_type, &post.body[..]), ("application/json", &event.data[..]));
        let headers: BTreeMap<String, String> = post.headers.into_iter().collect();
        let expected = [
            ("ce-id", &*event.id.to_string()),
            ("ce-meta", "d"),
            ("ce-metatraceid", "a%20b"),
            ("ce-metatraceid2", "c"),
            ("ce-offset", "7"),
            ("ce-partitionkey", "k%C3%A9%221%25"),
            ("ce-source", "ensign://h/p/orders"),
            ("ce-specversion", "1.0"),
            ("ce-time", "2020-09-13T12:26:40Z"),
            ("ce-topic", "orders"),
            ("ce-type", "order"),
            ("ce-typeversion", "1.2.3"),
        ];
        assert_eq!(headers, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    }

    #[test]
    fn data_in_a_document() {
        let check = |event: &Event, name: &str, expected: Value| {
            let document = structured(event);
            let other = if name == "data" { "data_base64" } else { "data" };
            assert_eq!((document.get(name), document.get(other)), (Some(&expected), None));
        };
        check(&event(b"plain \"text\"", Mimetype::TEXT_PLAIN), "data", json!("plain \"text\""));
        check(&event(b"\xff", Mimetype::TEXT_PLAIN), "data_base64", json!("/w=="));
        check(&event(b"{", Mimetype::JSON), "data_base64", json!("ew=="));
        check(&event(b" [1] ", Mimetype::JSON), "data", json!([1]));
        let raw = post(Mode::Structured, "s", "t", &event(b"{\"b\":1.50,\"a\":1e400}", Mimetype::JSON)).body;
        assert!(raw.ends_with(b",\"data\":{\"b\":1.50,\"a\":1e400}}"), "{raw:?}");
        let mut sealed = event(b"abc", Mimetype::JSON);
        let encryption =
            Encryption { public_key_id: "k".to_owned(), encryption_algorithm: 110, ..Encryption::default() };
        sealed.encryption = Some(Arc::new(encryption));
        check(&sealed, "data_base64", json!("YWJj"));
        assert_eq!(structured(&sealed)["encryptionkey"], "k");
    }

    #[test]
    fn what_an_event_does_not_have() {
        let mut bare = event(b"", Mimetype::OCTET_STREAM);
        bare.key = Bytes::from_static(b"\xff");
        let document = structured(&bare);
        assert_eq!((&document["type"], &document["time"]), (&json!(UNTYPED), &json!("2023-11-14T22:13:20Z")));
        assert_eq!((&document["partitionkeybase64"], document.get("partitionkey")), (&json!("/w=="), None));
        assert_eq!(document.get("typeversion"), None);
    }
}
