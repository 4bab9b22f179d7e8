//! The fields of a topic, as some of its events have them: their names, types and an example.
//!
//! Invariants: what is kept is bounded, whatever the events hold. A field is named as a query would write it. The members of an object are
//! fields of their own; an array is one field.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use crate::{
    client::Event,
    ensql::{CSV_HEADER_NAME, Fields, Metadata, Path, Step, Value, envelope_names, written_field},
    model::Mimetype,
};

/// Fields that are kept.
const FIELDS_MAX: usize = 300;

/// How deep members of objects are looked for.
const LEVELS_MAX: usize = 6;

/// Bytes of a field's names that are kept. What has longer ones is no field that anybody types.
const NAMES_BYTES_MAX: usize = 256;

/// Rows of one event that are looked at.
const ROWS_MAX: usize = 20;

/// Characters of an example.
const EXAMPLE_CHARS: usize = 60;

/// A field that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SeenField {
    /// As a query writes it.
    pub(super) name: String,
    /// What `typeof` calls the types that its values have.
    pub(super) types: BTreeSet<&'static str>,
    pub(super) example: String,
    /// In how many rows there was a value.
    pub(super) rows: u64,
}

/// What was seen of a topic.
#[derive(Debug, Default)]
pub(super) struct Sample {
    fields: Vec<SeenField>,
    /// Where each of them is in the list, by the names on the way to it.
    places: BTreeMap<Vec<String>, usize>,
    pub(super) events: u64,
    pub(super) rows: u64,
    pub(super) undecodable: u64,
    /// There are more fields than are kept.
    pub(super) is_cut: bool,
}

impl Sample {
    /// The fields, in the order in which they were first seen.
    pub(super) fn fields(&self) -> &[SeenField] {
        &self.fields
    }

    /// Looks at one more event.
    pub(super) fn add(&mut self, event: &Event) {
        self.events += 1;
        // What only the owner of a key can read has no fields.
        let mimetype = if event.is_encrypted() { Mimetype::OCTET_STREAM } else { event.mimetype };
        self.add_rows(mimetype, &event.data, &event.metadata);
    }

    /// The rows of an event. But for tables, each is one value: an object with fields, or data.
    fn add_rows(&mut self, mimetype: Mimetype, data: &[u8], metadata: &dyn Metadata) {
        let is_whole =
            matches!(mimetype, Mimetype::JSON | Mimetype::LD_JSON | Mimetype::JSON_LINES | Mimetype::MESSAGE_PACK);
        let names = match mimetype {
            Mimetype::CSV => columns(metadata.get(CSV_HEADER_NAME).map_or(data, str::as_bytes)),
            _ if is_whole => Vec::new(),
            _ => vec!["data".to_owned()],
        };
        let mut paths: Vec<Path> = names.iter().map(|name| vec![Step::Key(name.clone())]).collect();
        if is_whole {
            paths.push(Path::new());
        }
        let fields = Fields::new(&paths);
        let mut values = vec![Value::Null; paths.len()];
        let mut rows = fields.rows(mimetype, data, metadata);
        for _ in 0..ROWS_MAX {
            match rows.next(&mut values) {
                None => break,
                Some(Err(_)) => self.undecodable += 1,
                Some(Ok(())) if is_whole => {
                    self.rows += 1;
                    self.add_whole(&values[0]);
                }
                Some(Ok(())) => {
                    self.rows += 1;
                    for (name, value) in names.iter().zip(&values) {
                        self.see(std::slice::from_ref(name), value);
                    }
                }
            }
        }
    }

    fn add_whole(&mut self, value: &Value<'_>) {
        let Value::Json(text) = value else { return };
        if let Ok(Json::Object(members)) = serde_json::from_str(text) {
            for (name, member) in &members {
                self.add_member(&mut vec![name.clone()], member);
            }
        }
    }

    fn add_member(&mut self, path: &mut Vec<String>, member: &Json) {
        let value = match member {
            Json::Null => Value::Null,
            Json::Bool(truth) => Value::Bool(*truth),
            Json::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => Value::Int(whole),
                (None, float) => Value::Float(float.unwrap_or_default()),
            },
            Json::String(text) => Value::text(text),
            Json::Object(members) if !members.is_empty() && path.len() < LEVELS_MAX => {
                for (name, member) in members {
                    path.push(name.clone());
                    self.add_member(path, member);
                    path.pop();
                }
                return;
            }
            Json::Array(_) | Json::Object(_) => Value::Json(member.to_string().into()),
        };
        self.see(path, &value);
    }

    fn see(&mut self, path: &[String], value: &Value<'_>) {
        let place = match self.places.get(path) {
            Some(place) => *place,
            None if self.fields.len() >= FIELDS_MAX
                || path.iter().map(String::len).sum::<usize>() > NAMES_BYTES_MAX =>
            {
                self.is_cut = true;
                return;
            }
            None => {
                let name = written_field(&path.iter().cloned().map(Step::Key).collect());
                self.fields.push(SeenField { name, types: BTreeSet::new(), example: String::new(), rows: 0 });
                self.places.insert(path.to_vec(), self.fields.len() - 1);
                self.fields.len() - 1
            }
        };
        let Some(field) = self.fields.get_mut(place).filter(|_| !value.is_null()) else { return };
        field.rows += 1;
        field.types.insert(value.type_name());
        if field.example.is_empty() {
            field.example = example(value);
        }
    }
}

/// The names in the header that a text begins with.
fn columns(data: &[u8]) -> Vec<String> {
    let data = data.strip_prefix("\u{feff}".as_bytes()).unwrap_or(data);
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(data);
    let names = reader.headers().map(|names| names.iter().take(FIELDS_MAX).map(str::to_owned).collect());
    names.unwrap_or_default()
}

/// The beginning of a value, as a query would write it.
fn example(value: &Value<'_>) -> String {
    let text = match value {
        Value::Text(text) | Value::Json(text) => text.chars().take(EXAMPLE_CHARS + 1).collect(),
        Value::Bytes(bytes) => format!("x'{}'", hexadecimal(&bytes[..bytes.len().min(EXAMPLE_CHARS / 2)])),
        other => other.to_text().map(std::borrow::Cow::into_owned).unwrap_or_default(),
    };
    if text.chars().count() <= EXAMPLE_CHARS {
        return text;
    }
    let kept: String = text.chars().take(EXAMPLE_CHARS - 1).collect();
    format!("{kept}…")
}

/// Bytes as a query writes them, without what is around them.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

/// The names of what is known of an event besides its data, as one line.
pub(super) fn envelope_line() -> String {
    let names: Vec<&str> = envelope_names().collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(mimetype: Mimetype, data: &[u8], expected: &[(&str, &str, &str)]) {
        let mut sample = Sample::default();
        sample.add_rows(mimetype, data, &());
        let found: Vec<(&str, String, &str)> = sample
            .fields()
            .iter()
            .map(|field| {
                let types: Vec<&str> = field.types.iter().copied().collect();
                (field.name.as_str(), types.join(", "), field.example.as_str())
            })
            .collect();
        let expected: Vec<(&str, String, &str)> =
            expected.iter().map(|(name, types, example)| (*name, (*types).to_owned(), *example)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn fields_of_every_kind_of_data() {
        let json = br#"{"a":1,"from":null,"o":{"x":1.5,"y z":"t","e":{}},"l":[1,2],"b":true}"#;
        check(
            Mimetype::JSON,
            json,
            &[
                ("a", "integer", "1"),
                ("\"from\"", "", ""),
                ("o.x", "float", "1.5"),
                ("o.\"y z\"", "text", "t"),
                ("o.e", "json", "{}"),
                ("l", "json", "[1,2]"),
                ("b", "boolean", "true"),
            ],
        );
        check(
            Mimetype::JSON_LINES,
            b"{\"a\":1}\n{\"a\":\"x\",\"_id\":2}\n",
            &[("a", "integer, text", "1"), ("\"_id\"", "integer", "2")],
        );
        check(Mimetype::CSV, b"a,b-c\n,x\n2,y\n", &[("a", "integer", "2"), ("\"b-c\"", "text", "x")]);
        check(Mimetype::MESSAGE_PACK, &[0x81, 0xa1, b'a', 0xc4, 1, 0xff], &[("a", "text", "/w==")]);
        check(Mimetype::TEXT_PLAIN, b"hello", &[("data", "text", "hello")]);
        check(Mimetype::OCTET_STREAM, &[0, 255], &[("data", "bytes", "x'00ff'")]);
        check(Mimetype::JSON, b"[1,2]", &[]);
        check(Mimetype::JSON, b"{\"a\":1", &[]);
    }

    #[test]
    fn a_record_has_the_columns_of_its_header() {
        let metadata = BTreeMap::from([(CSV_HEADER_NAME.to_owned(), "a,b".to_owned())]);
        let mut sample = Sample::default();
        sample.add_rows(Mimetype::CSV, b"1,x", &metadata);
        sample.add_rows(Mimetype::CSV, b"2,y", &metadata);
        let names: Vec<&str> = sample.fields().iter().map(|field| field.name.as_str()).collect();
        assert_eq!((names, sample.rows), (vec!["a", "b"], 2));
    }

    #[test]
    fn what_is_much_is_cut() {
        let members: Vec<String> =
            (0..=FIELDS_MAX).map(|number| format!("\"f{number}\":\"{}\"", "x".repeat(99))).collect();
        let mut sample = Sample::default();
        sample.add_rows(Mimetype::JSON, format!("{{{}}}", members.join(",")).as_bytes(), &());
        assert!(sample.is_cut && sample.fields().len() == FIELDS_MAX);
        assert_eq!(sample.fields()[0].example.chars().count(), EXAMPLE_CHARS);
        let mut sample = Sample::default();
        sample.add_rows(Mimetype::JSON, format!("{{\"{}\":1}}", "x".repeat(300)).as_bytes(), &());
        assert!(sample.is_cut && sample.fields().is_empty());
        let lines = "{\"a\":1}\n".repeat(ROWS_MAX + 1);
        sample.add_rows(Mimetype::JSON_LINES, lines.as_bytes(), &());
        assert_eq!(sample.rows, ROWS_MAX as u64 + 1);
    }

    proptest! {
        #[test]
        fn no_data_panics(data in prop::collection::vec(any::<u8>(), 0..60), kind in 0_usize..5) {
            let mimetype = [Mimetype::JSON, Mimetype::JSON_LINES, Mimetype::CSV, Mimetype::MESSAGE_PACK, Mimetype::HTML][kind];
            let mut sample = Sample::default();
            sample.add_rows(mimetype, &data, &());
        }
    }
}
