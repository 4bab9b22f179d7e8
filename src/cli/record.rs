//! An event as one line of JSON, which holds everything that publishing it again needs.
//!
//! The line starts with `{"ensign":1,`. The data is there as it was, byte for byte: JSON stands verbatim, other text as
//! a string, everything else in base 64; `encoding` says which. What is encrypted stays so, and says how. What the server
//! assigns (topic, offset, id, publisher, commit time) is there to be read and not used when the line is published.

use std::{borrow::Cow, collections::BTreeMap, io::Write as _};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::value::RawValue;

use crate::{
    client::{Encryption, Event, PublisherInfo},
    model::{Mimetype, Schema, Time},
};

/// What every record starts with, and hardly anything else does.
pub(super) const MARK: &[u8] = b"{\"ensign\":1,";

/// What is kept of a record when it is published again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) data: Bytes,
    pub(super) mimetype: Mimetype,
    pub(super) schema: Option<Schema>,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) key: Bytes,
    pub(super) created: Option<Time>,
    pub(super) encryption: Option<Encryption>,
}

/// Appends an event as a record, without an end of line.
pub(super) fn write(event: &Event, topic: &str, line: &mut Vec<u8>) {
    put_start(topic, line);
    put_rest(event, "", line);
}

/// Appends what all records of a topic start with, up to the offset.
pub(super) fn put_start(topic: &str, line: &mut Vec<u8>) {
    line.extend_from_slice(MARK);
    put(line, format_args!("\"topic\":"));
    put_string(line, topic);
    put(line, format_args!(",\"offset\":"));
}

/// Appends what follows, from the offset on. Who published the event stands in it as [`publisher`] says, or not at all.
pub(super) fn put_rest(event: &Event, publisher: &str, line: &mut Vec<u8>) {
    put(line, format_args!("{},\"id\":\"{}\"{publisher}", event.offset, event.id));
    if let Some(time) = event.committed {
        put(line, format_args!(",\"committed\":\"{time}\""));
    }
    if let Some(time) = event.created {
        put(line, format_args!(",\"created\":\"{time}\""));
    }
    put(line, format_args!(",\"mimetype\":\"{}\"", event.mimetype));
    if let Some(schema) = &event.schema {
        put(line, format_args!(",\"type\":{{\"name\":"));
        put_string(line, &schema.name);
        put(line, format_args!(",\"version\":\"{}.{}.{}\"}}", schema.major, schema.minor, schema.patch));
    }
    if !event.metadata.is_empty() {
        put(line, format_args!(",\"metadata\":"));
        serde_json::to_writer(&mut *line, &event.metadata).expect("a map of texts can be written to memory");
    }
    if !event.key.is_empty() {
        put(line, format_args!(",\"key\":"));
        match std::str::from_utf8(&event.key) {
            Ok(text) => put_string(line, text),
            Err(_) => put(line, format_args!("{{\"base64\":\"{}\"}}", STANDARD.encode(&event.key))),
        }
    }
    if let Some(encryption) = &event.encryption {
        let field = EncryptionField::of(encryption);
        put(line, format_args!(",\"encryption\":"));
        serde_json::to_writer(&mut *line, &field).expect("numbers and texts can be written to memory");
    }
    put_data(line, event);
    line.push(b'}');
}

/// Who published an event, as the part of its record for [`put_rest`].
pub(super) fn publisher(publisher: &PublisherInfo) -> String {
    let PublisherInfo { id, client_id, address, user_agent } = publisher;
    let texts = [("id", id), ("client_id", client_id), ("address", address), ("user_agent", user_agent)];
    let known: BTreeMap<_, _> = texts.into_iter().filter(|(_, text)| !text.is_empty()).collect();
    format!(",\"publisher\":{}", serde_json::to_string(&known).expect("a map of texts can be written to memory"))
}

fn put_data(line: &mut Vec<u8>, event: &Event) {
    if event.is_encrypted() {
        put(line, format_args!(",\"encoding\":\"base64\",\"data\":\"{}\"", STANDARD.encode(&event.data)));
    } else if matches!(event.mimetype, Mimetype::JSON | JSON_LD) && stands_verbatim(&event.data) {
        put(line, format_args!(",\"encoding\":\"json\",\"data\":"));
        line.extend_from_slice(&event.data);
    } else if let Ok(text) = std::str::from_utf8(&event.data) {
        put(line, format_args!(",\"encoding\":\"text\",\"data\":"));
        put_string(line, text);
    } else {
        put(line, format_args!(",\"encoding\":\"base64\",\"data\":\"{}\"", STANDARD.encode(&event.data)));
    }
}

const JSON_LD: Mimetype = Mimetype(51);

/// Whether this is JSON that can be a part of a line and be found again as it was.
fn stands_verbatim(data: &[u8]) -> bool {
    let edges = [data.first(), data.last()];
    let spaced = edges.iter().any(|edge| edge.is_none_or(u8::is_ascii_whitespace));
    !spaced
        && !data.iter().any(|byte| matches!(byte, b'\n' | b'\r'))
        && serde_json::from_slice::<&RawValue>(data).is_ok()
}

fn put(line: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    line.write_fmt(text).expect("memory takes everything");
}

fn put_string(line: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(line, text).expect("text can be written to memory");
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    ensign: u8,
    #[serde(rename = "topic")]
    _topic: Option<Cow<'a, str>>,
    #[serde(rename = "offset")]
    _offset: Option<u64>,
    #[serde(rename = "id")]
    _id: Option<Cow<'a, str>>,
    #[serde(rename = "committed")]
    _committed: Option<Cow<'a, str>>,
    #[serde(rename = "publisher")]
    _publisher: Option<IgnoredAny>,
    created: Option<Cow<'a, str>>,
    mimetype: Cow<'a, str>,
    #[serde(rename = "type")]
    schema: Option<TypeField<'a>>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    key: Option<KeyField<'a>>,
    encryption: Option<EncryptionField<'a>>,
    encoding: Encoding,
    #[serde(borrow)]
    data: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TypeField<'a> {
    name: Cow<'a, str>,
    version: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum KeyField<'a> {
    Text(Cow<'a, str>),
    Bytes { base64: Cow<'a, str> },
}

/// How the data is encrypted. Algorithms are the numbers of the protocol; bytes are in base 64.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EncryptionField<'a> {
    algorithm: i32,
    key_id: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "is_zero")]
    sealing_algorithm: i32,
    #[serde(default, skip_serializing_if = "is_zero")]
    signature_algorithm: i32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    encryption_key: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    hmac_secret: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    signature: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &i32) -> bool {
    *number == 0
}

impl EncryptionField<'_> {
    fn of(encryption: &Encryption) -> EncryptionField<'_> {
        EncryptionField {
            algorithm: encryption.encryption_algorithm,
            key_id: Cow::Borrowed(&encryption.public_key_id),
            sealing_algorithm: encryption.sealing_algorithm,
            signature_algorithm: encryption.signature_algorithm,
            encryption_key: STANDARD.encode(&encryption.encryption_key),
            hmac_secret: STANDARD.encode(&encryption.hmac_secret),
            signature: STANDARD.encode(&encryption.signature),
        }
    }

    fn read(self) -> Result<Encryption, String> {
        Ok(Encryption {
            public_key_id: self.key_id.into_owned(),
            encryption_key: unbase64(&self.encryption_key)?.into(),
            hmac_secret: unbase64(&self.hmac_secret)?.into(),
            signature: unbase64(&self.signature)?.into(),
            sealing_algorithm: self.sealing_algorithm,
            encryption_algorithm: self.algorithm,
            signature_algorithm: self.signature_algorithm,
        })
    }
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    Json,
    Text,
    Base64,
}

/// Reads a line that starts with [`MARK`]; says what is wrong with one that is no record.
pub(super) fn read(line: &[u8]) -> Result<Record, String> {
    let line: Line<'_> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    if line.ensign != 1 {
        return Err(format!("version {} is unknown", line.ensign));
    }
    let data = match line.encoding {
        Encoding::Json => line.data.get().as_bytes().to_vec(),
        encoding => {
            let text: String = serde_json::from_str(line.data.get()).map_err(|error| format!("data: {error}"))?;
            if encoding == Encoding::Base64 { unbase64(&text)? } else { text.into_bytes() }
        }
    };
    let key = match line.key {
        None => Vec::new(),
        Some(KeyField::Text(text)) => text.into_owned().into_bytes(),
        Some(KeyField::Bytes { base64 }) => unbase64(&base64)?,
    };
    let created = line.created.as_deref().map(Time::parse).transpose();
    Ok(Record {
        data: data.into(),
        mimetype: read_mimetype(&line.mimetype)?,
        schema: line.schema.map(|schema| read_schema(&schema)).transpose()?,
        metadata: line.metadata,
        key: key.into(),
        created: created.map_err(|error| error.to_string())?,
        encryption: line.encryption.map(EncryptionField::read).transpose()?,
    })
}

fn unbase64(text: &str) -> Result<Vec<u8>, String> {
    STANDARD.decode(text).map_err(|error| format!("base 64: {error}"))
}

fn read_mimetype(text: &str) -> Result<Mimetype, String> {
    match text.strip_prefix("unknown/").map(str::parse) {
        Some(Ok(number)) => Ok(Mimetype(number)),
        _ => Mimetype::parse(text).map_err(|error| error.to_string()),
    }
}

/// Name and version apart, so that a name may hold whatever it likes.
fn read_schema(field: &TypeField<'_>) -> Result<Schema, String> {
    let wrong = || format!("{:?} is not a version", field.version);
    let numbers: Result<Vec<u32>, _> = field.version.split('.').map(str::parse).collect();
    match numbers.map_err(|_| wrong())?[..] {
        [major, minor, patch] => Ok(Schema { name: field.name.clone().into_owned(), major, minor, patch }),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Offset, Rlid, TopicId, Ulid};

    fn event(data: &[u8], mimetype: Mimetype) -> Event {
        Event {
            topic: TopicId(Ulid::from_bytes([1; 16])),
            offset: Offset::new(7),
            id: Rlid::from_parts(1_700_000_000_000, 5),
            committed: Some(Time::from_nanos(1_700_000_000_000_000_001)),
            created: None,
            mimetype,
            schema: None,
            metadata: BTreeMap::new(),
            key: Bytes::new(),
            data: Bytes::copy_from_slice(data),
            encryption: None,
            publisher: None,
        }
    }

    fn line(event: &Event) -> String {
        let mut line = Vec::new();
        write(event, "t", &mut line);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn the_form_of_a_record() {
        let mut event = event(b"{\"a\": 1.50}", Mimetype::JSON);
        event.key = Bytes::from_static(b"k");
        event.schema = Some("order@1.2.3".parse().unwrap());
        event.metadata.insert("m".to_owned(), "v".to_owned());
        let expected = concat!(
            r#"{"ensign":1,"topic":"t","offset":7,"id":"ID","#,
            r#""committed":"2023-11-14T22:13:20.000000001Z","mimetype":"application/json","#,
            r#""type":{"name":"order","version":"1.2.3"},"metadata":{"m":"v"},"key":"k","encoding":"json","#,
            r#""data":{"a": 1.50}}"#,
        );
        assert_eq!(line(&event).replace(&event.id.to_string(), "ID"), expected);
    }

    #[test]
    fn data_that_is_not_verbatim_json() {
        let check = |data: &[u8], mimetype, part: &str| {
            let line = line(&event(data, mimetype));
            assert!(line.ends_with(part), "{line}");
            assert_eq!(read(line.as_bytes()).unwrap().data, data);
        };
        check(b" 1", Mimetype::JSON, r#""encoding":"text","data":" 1"}"#);
        check(b"{\n}", Mimetype::JSON, r#""encoding":"text","data":"{\n}"}"#);
        check(b"{}", Mimetype::TEXT_PLAIN, r#""encoding":"text","data":"{}"}"#);
        check(b"{", Mimetype::JSON, r#""encoding":"text","data":"{"}"#);
        check(b"", Mimetype::JSON, r#""encoding":"text","data":""}"#);
        check(b"\xff\0", Mimetype::JSON, r#""encoding":"base64","data":"/wA="}"#);
    }

    /// Also where ciphertext happens to be text, it is not shown as such.
    #[test]
    fn what_is_encrypted_says_how() {
        let mut event = event(b"abc", Mimetype::JSON);
        let encryption = Encryption {
            public_key_id: "01JD2W7Q1M8KQX3V9Z4T5B6C7D.1".to_owned(),
            encryption_algorithm: Encryption::AES256_GCM,
            ..Encryption::default()
        };
        event.encryption = Some(std::sync::Arc::new(encryption));
        let expected = concat!(
            r#","encryption":{"algorithm":110,"key_id":"01JD2W7Q1M8KQX3V9Z4T5B6C7D.1"},"#,
            r#""encoding":"base64","data":"YWJj"}"#,
        );
        assert!(line(&event).ends_with(expected), "{}", line(&event));
    }

    #[test]
    fn what_is_no_record() {
        for bad in [
            r#"{"ensign":1,"mimetype":"text/plain","encoding":"text"}"#,
            r#"{"ensign":1,"mimetype":"text/plain","encoding":"text","data":"x","more":1}"#,
            r#"{"ensign":2,"mimetype":"text/plain","encoding":"text","data":"x"}"#,
            r#"{"ensign":1,"mimetype":"text/plain","encoding":"text","data":1}"#,
            r#"{"ensign":1,"mimetype":"text/plain","encoding":"base64","data":"!"}"#,
            r#"{"ensign":1,"mimetype":"nothing","encoding":"text","data":"x"}"#,
            r#"{"ensign":1,"mimetype":"text/plain","encryption":{"algorithm":110},"encoding":"base64","data":"eA=="}"#,
            r#"{"ensign":1,"mimetype":"text/plain","encoding":"text","data":"x","type":{"name":"a","version":"1"}}"#,
        ] {
            assert!(read(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost(
            data in prop::collection::vec(any::<u8>(), 0..80),
            text in ".{0,40}",
            as_text in any::<bool>(),
            key in prop::collection::vec(any::<u8>(), 0..8),
            name in ".{0,8}",
            versions: (u32, u32, u32),
            typed in any::<bool>(),
            metadata in prop::collection::btree_map(".{0,5}", ".{0,5}", 0..3),
            mimetype in prop::sample::select(vec![0, 1, 2, 50, 51, 52, 77, 100, 1009]),
            nanos in prop::option::of(any::<i64>()),
            encryption in prop::option::of((any::<i32>(), any::<i32>(), ".{0,9}", prop::collection::vec(any::<u8>(), 0..5))),
        ) {
            let bytes = if as_text { text.as_bytes() } else { &data };
            let mut event = event(bytes, Mimetype(mimetype));
            event.key = key.into();
            let (major, minor, patch) = versions;
            event.schema = typed.then_some(Schema { name, major, minor, patch });
            event.metadata = metadata;
            event.created = nanos.map(Time::from_nanos);
            event.encryption = encryption.map(|(algorithm, other, public_key_id, bytes)| {
                let (encryption_key, hmac_secret) = (Bytes::from(bytes.clone()), Bytes::from(bytes.repeat(2)));
                let signature = Bytes::from(bytes.repeat(3));
                std::sync::Arc::new(Encryption {
                    public_key_id,
                    encryption_key,
                    hmac_secret,
                    signature,
                    sealing_algorithm: other,
                    encryption_algorithm: algorithm,
                    signature_algorithm: other.wrapping_add(1),
                })
            });
            let line = line(&event);
            prop_assert!(!line.contains('\n'));
            prop_assert!(line.as_bytes().starts_with(MARK));
            let record = read(line.as_bytes()).unwrap();
            prop_assert_eq!(record.data, event.data);
            prop_assert_eq!(record.mimetype, event.mimetype);
            prop_assert_eq!(record.schema, event.schema);
            prop_assert_eq!(record.metadata, event.metadata);
            prop_assert_eq!(record.key, event.key);
            prop_assert_eq!(record.created, event.created);
            prop_assert_eq!(record.encryption.as_ref(), event.encryption.as_deref());
        }
    }
}
