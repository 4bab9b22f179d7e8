//! A row taken apart: its columns in their order, each value as it was written.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// The members of a JSON object; nothing when it is none.
pub(super) fn fields(row: &[u8]) -> Option<Vec<(Cow<'_, str>, &RawValue)>> {
    serde_json::from_slice::<Fields<'_>>(row).ok().map(|fields| fields.0)
}

/// A value as a text: a text without its quotes, NULL as nothing, everything else as JSON writes it.
pub(super) fn cell(value: &RawValue) -> Cow<'_, str> {
    let text = value.get();
    match text.as_bytes().first() {
        Some(b'n') => Cow::Borrowed(""),
        Some(b'"') => serde_json::from_str::<Name<'_>>(text).map_or(Cow::Borrowed(text), |text| text.0),
        _ => Cow::Borrowed(text),
    }
}

/// Whether a value is a number.
pub(super) fn is_number(value: &RawValue) -> bool {
    value.get().starts_with(|first: char| first == '-' || first.is_ascii_digit())
}

struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

/// A text, which is copied only if it is not written as it is.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Deserialize<'a> for Fields<'a> {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Fields<'a>, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'a> Visitor<'a> for FieldsVisitor {
    type Value = Fields<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Fields<'a>, A::Error> {
        let mut fields = Vec::new();
        while let Some((Name(name), value)) = map.next_entry::<Name<'a>, &'a RawValue>()? {
            fields.push((name, value));
        }
        Ok(Fields(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_taken_apart_in_their_order() {
        let row = br#"{"b":1.50,"a\n":"x\ty","n":null,"o":{"k": [1]},"t":true}"#;
        let fields = fields(row).unwrap();
        let shown: Vec<(&str, Cow<'_, str>, bool)> =
            fields.iter().map(|(name, value)| (&**name, cell(value), is_number(value))).collect();
        let cell = |text| Cow::Borrowed(text);
        assert_eq!(
            shown,
            [
                ("b", cell("1.50"), true),
                ("a\n", cell("x\ty"), false),
                ("n", cell(""), false),
                ("o", cell("{\"k\": [1]}"), false),
                ("t", cell("true"), false)
            ]
        );
        assert!(super::fields(b"[1]").is_none() && super::fields(b"{").is_none());
    }
}
