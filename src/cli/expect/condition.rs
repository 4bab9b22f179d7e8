//! What an expected event has to be like: conditions, all of which have to be met.

use std::{fmt, str::FromStr};

use crate::{
    cli::{
        condition::{EventCondition, Judgement},
        human,
        output::visible,
    },
    client::Event,
    model::{Mimetype, ParseSchemaError, Schema},
    sys::Clock,
};

/// How many characters of a value a miss shows.
const SHOWN_LETTERS: usize = 60;

/// One thing that is expected of an event.
#[derive(Debug, Clone)]
pub(super) enum Condition {
    Type(TypePattern),
    Mimetype(Mimetype),
    Metadata {
        name: String,
        value: String,
    },
    Key(String),
    Data(String),
    DataContains(String),
    /// The clock says what now is.
    Where(Box<EventCondition>, Clock),
}

/// A condition that an event does not meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Miss {
    /// What it is about, as the flags say it.
    subject: String,
    expected: String,
    found: String,
}

impl Condition {
    pub(super) fn is_met(&self, event: &Event) -> bool {
        match self {
            Condition::Type(pattern) => event.schema.as_ref().is_some_and(|schema| pattern.matches(schema)),
            Condition::Mimetype(mimetype) => event.mimetype == *mimetype,
            Condition::Metadata { name, value } => event.metadata.get(name) == Some(value),
            Condition::Key(key) => event.key == key.as_bytes(),
            // What the ciphertext happens to be says nothing about the data.
            Condition::Data(text) => !event.is_encrypted() && event.data == text.as_bytes(),
            Condition::DataContains(text) => !event.is_encrypted() && contains(&event.data, text.as_bytes()),
            Condition::Where(condition, clock) => condition.judge(event, clock.now()) == Judgement::Met,
        }
    }

    /// In what an event does not meet it; nothing when it meets it.
    pub(super) fn miss(&self, event: &Event) -> Option<Miss> {
        if self.is_met(event) {
            return None;
        }
        let (subject, expected, found) = match self {
            Condition::Type(pattern) => {
                let found = event.schema.as_ref().map(|schema| quoted(&written(schema)));
                ("type".to_owned(), quoted(&pattern.text), found)
            }
            Condition::Mimetype(mimetype) => {
                ("mimetype".to_owned(), mimetype.to_string(), Some(event.mimetype.to_string()))
            }
            Condition::Metadata { name, value } => {
                (format!("metadata {name}"), quoted(value), event.metadata.get(name).map(|found| quoted(found)))
            }
            Condition::Key(key) => {
                ("key".to_owned(), quoted(key), Some(&event.key).filter(|key| !key.is_empty()).map(|key| bytes(key)))
            }
            Condition::Data(text) => ("data".to_owned(), quoted(text), Some(data(event))),
            Condition::DataContains(text) => {
                ("data".to_owned(), format!("something with {}", quoted(text)), Some(data(event)))
            }
            Condition::Where(condition, clock) => {
                let found = match condition.judge(event, clock.now()) {
                    Judgement::Met | Judgement::Unmet(_) if !condition.wants_data() => "that it is not".to_owned(),
                    Judgement::Met => "that it was not".to_owned(),
                    Judgement::Unmet(values) => cut(&values),
                    Judgement::Undecodable => format!("data that is no {}", event.mimetype),
                    Judgement::Encrypted => "encrypted data".to_owned(),
                };
                ("where".to_owned(), cut(condition.text()), Some(found))
            }
        };
        Some(Miss { subject, expected, found: found.unwrap_or_else(|| "none".to_owned()) })
    }
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, found {}", self.subject, self.expected, self.found)
    }
}

/// A type of events, with as much of its version as matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TypePattern {
    schema: Schema,
    /// How many numbers of the version have to be equal, from the left.
    numbers: usize,
    text: String,
}

impl TypePattern {
    fn matches(&self, schema: &Schema) -> bool {
        let numbers = |schema: &Schema| [schema.major, schema.minor, schema.patch];
        schema.name == self.schema.name
            && numbers(schema).iter().zip(numbers(&self.schema)).take(self.numbers).all(|(one, other)| *one == other)
    }
}

impl FromStr for TypePattern {
    type Err = String;

    /// Reads `order`, `order@1`, `order@1.2` and `order@1.2.3`.
    fn from_str(text: &str) -> Result<TypePattern, String> {
        let schema: Schema = text.parse().map_err(|error: ParseSchemaError| error.to_string())?;
        let version = text.rsplit_once('@').or_else(|| text.rsplit_once(" v")).map(|(_, version)| version);
        let numbers = version.map_or(0, |version| version.split('.').count().min(3));
        Ok(TypePattern { schema, numbers, text: text.to_owned() })
    }
}

fn contains(data: &[u8], part: &[u8]) -> bool {
    part.is_empty() || data.windows(part.len()).any(|window| window == part)
}

fn written(schema: &Schema) -> String {
    format!("{}@{}.{}.{}", schema.name, schema.major, schema.minor, schema.patch)
}

fn data(event: &Event) -> String {
    if event.is_encrypted() { "encrypted data".to_owned() } else { bytes(&event.data) }
}

fn bytes(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes).map_or_else(|_| format!("{} that are no text", human::bytes(bytes.len() as u64)), quoted)
}

/// A text within quotes, cut when it is long.
fn quoted(text: &str) -> String {
    match text.char_indices().nth(SHOWN_LETTERS) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// A text as it can be shown in a line, cut when it is long.
fn cut(text: &str) -> String {
    match text.char_indices().nth(2 * SHOWN_LETTERS) {
        Some((end, _)) => format!("{}…", visible(&text[..end])),
        None => visible(text),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;

    use super::*;
    use crate::{
        client::Encryption,
        model::{Offset, Rlid, TopicId, Ulid},
    };

    fn event() -> Event {
        Event {
            topic: TopicId(Ulid::from_bytes([1; 16])),
            offset: Offset::new(7),
            id: Rlid::from_parts(1_700_000_000_000, 5),
            committed: None,
            created: None,
            mimetype: Mimetype::JSON,
            schema: Some("order@1.2.3".parse().unwrap()),
            metadata: BTreeMap::from([("source".to_owned(), "web".to_owned())]),
            key: Bytes::from_static(b"k1"),
            data: Bytes::from_static(br#"{"total":12}"#),
            encryption: None,
            publisher: None,
        }
    }

    fn said(condition: &Condition, event: &Event) -> String {
        condition.miss(event).map_or_else(String::new, |miss| miss.to_string())
    }

    fn metadata(name: &str, value: &str) -> Condition {
        Condition::Metadata { name: name.to_owned(), value: value.to_owned() }
    }

    #[test]
    fn conditions_that_are_met_and_what_is_said_of_others() {
        let check = |condition: Condition, expected: &str| assert_eq!(said(&condition, &event()), expected);
        let kind = |text: &str| Condition::Type(text.parse().unwrap());
        for met in ["order", "order@1", "order@1.2", "order@v1.2.3", "order v1.2"] {
            check(kind(met), "");
        }
        check(kind("order@2"), r#"type: expected "order@2", found "order@1.2.3""#);
        check(kind("order@1.3"), r#"type: expected "order@1.3", found "order@1.2.3""#);
        check(kind("Order"), r#"type: expected "Order", found "order@1.2.3""#);
        check(Condition::Mimetype(Mimetype::JSON), "");
        check(Condition::Mimetype(Mimetype::CSV), "mimetype: expected text/csv, found application/json");
        check(metadata("source", "web"), "");
        check(metadata("source", "app"), r#"metadata source: expected "app", found "web""#);
        check(metadata("version", ""), r#"metadata version: expected "", found none"#);
        check(Condition::Key("k1".to_owned()), "");
        check(Condition::Key("k".to_owned()), r#"key: expected "k", found "k1""#);
        check(Condition::Data(r#"{"total":12}"#.to_owned()), "");
        check(Condition::Data("{".to_owned()), r#"data: expected "{", found "{\"total\":12}""#);
        check(Condition::DataContains("total".to_owned()), "");
        check(Condition::DataContains(String::new()), "");
        check(
            Condition::DataContains("sum".to_owned()),
            r#"data: expected something with "sum", found "{\"total\":12}""#,
        );
    }

    #[test]
    fn what_there_is_none_of() {
        let bare = Event { schema: None, key: Bytes::new(), data: Bytes::from_static(b"\xff"), ..event() };
        assert_eq!(said(&Condition::Type("order".parse().unwrap()), &bare), r#"type: expected "order", found none"#);
        assert_eq!(said(&Condition::Key("k".to_owned()), &bare), r#"key: expected "k", found none"#);
        let found = said(&Condition::Data("x".to_owned()), &bare);
        assert_eq!(found, r#"data: expected "x", found 1 B that are no text"#);
        assert!("order@x".parse::<TypePattern>().is_err());
    }

    #[test]
    fn ciphertext_is_not_looked_at() {
        let encryption = Encryption { encryption_algorithm: Encryption::AES256_GCM, ..Encryption::default() };
        let sealed = Event { encryption: Some(std::sync::Arc::new(encryption)), ..event() };
        let same = String::from_utf8(sealed.data.to_vec()).unwrap();
        assert_eq!(
            said(&Condition::Data(same.clone()), &sealed),
            r#"data: expected "{\"total\":12}", found encrypted data"#
        );
        assert!(Condition::DataContains(same).miss(&sealed).is_some());
    }

    #[test]
    fn conditions_of_the_query_language() {
        let clock = Clock::manual(crate::sys::ManualClock::default());
        let check = |text: &str, expected: &str| {
            let condition = Condition::Where(Box::new(EventCondition::read(text).unwrap()), clock.clone());
            assert_eq!(condition.is_met(&event()), expected.is_empty());
            assert_eq!(said(&condition, &event()), expected);
        };
        check("total = 12", "");
        check("total > 12 AND name = 'x'", "where: expected total > 12 AND name = 'x', found total 12, name null");
        check("_key = 'k2'", "where: expected _key = 'k2', found that it is not");
    }

    #[test]
    fn long_values_are_cut() {
        assert_eq!(quoted(&"é".repeat(SHOWN_LETTERS)), format!("{:?}", "é".repeat(SHOWN_LETTERS)));
        assert_eq!(quoted(&"é".repeat(SHOWN_LETTERS + 1)), format!("{:?}…", "é".repeat(SHOWN_LETTERS)));
    }
}
