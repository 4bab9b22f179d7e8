//! The media types that an event's data can have, by number and by text.

use std::fmt;

/// A media type by its wire number. Numbers that this version has no text for are kept as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mimetype(pub i32);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown media type {text:?}")]
pub struct UnknownMimetype {
    text: String,
}

const KNOWN: [(i32, &str); 29] = [
    (0, "application/octet-stream"),
    (1, "text/plain"),
    (2, "text/csv"),
    (3, "text/html"),
    (4, "text/calendar"),
    (50, "application/json"),
    (51, "application/ld+json"),
    (52, "application/jsonlines"),
    (53, "application/ubjson"),
    (54, "application/bson"),
    (100, "application/xml"),
    (101, "application/atom+xml"),
    (252, "application/msgpack"),
    (253, "application/parquet"),
    (254, "application/avro"),
    (255, "application/protobuf"),
    (512, "application/pdf"),
    (513, "application/java-archive"),
    (514, "application/python-pickle"),
    (1000, "user/format-0"),
    (1001, "user/format-1"),
    (1002, "user/format-2"),
    (1003, "user/format-3"),
    (1004, "user/format-4"),
    (1005, "user/format-5"),
    (1006, "user/format-6"),
    (1007, "user/format-7"),
    (1008, "user/format-8"),
    (1009, "user/format-9"),
];

impl Mimetype {
    pub const OCTET_STREAM: Mimetype = Mimetype(0);
    pub const TEXT_PLAIN: Mimetype = Mimetype(1);
    pub const CSV: Mimetype = Mimetype(2);
    pub const HTML: Mimetype = Mimetype(3);
    pub const JSON: Mimetype = Mimetype(50);
    pub const LD_JSON: Mimetype = Mimetype(51);
    pub const JSON_LINES: Mimetype = Mimetype(52);
    pub const XML: Mimetype = Mimetype(100);
    pub const MESSAGE_PACK: Mimetype = Mimetype(252);

    /// Reads `application/json`, with surrounding space, in any case, with parameters after a `;`. A structured suffix
    /// (`application/vnd.x+json`) and a swap of `application` and `text` are followed where they lead to a known type.
    pub fn parse(text: &str) -> Result<Mimetype, UnknownMimetype> {
        let lower = text.trim().to_ascii_lowercase();
        let essence = lower.split(';').next().unwrap_or_default().trim_end();
        let error = || UnknownMimetype { text: text.to_owned() };
        if let Some(found) = lookup(essence) {
            return Ok(found);
        }
        let (prefix, rest) = essence.split_once('/').ok_or_else(error)?;
        let (mime, suffix) = rest.split_once('+').unwrap_or((rest, ""));
        let swapped = match prefix {
            "application" => "text",
            "text" => "application",
            "user" => "user",
            _ => return Err(error()),
        };
        [prefix, swapped]
            .iter()
            .flat_map(|prefix| {
                [format!("{prefix}/{mime}+{suffix}"), format!("{prefix}/{mime}"), format!("{prefix}/{suffix}")]
            })
            .find_map(|candidate| lookup(&candidate))
            .ok_or_else(error)
    }

    /// The text of a known type.
    pub fn name(self) -> Option<&'static str> {
        KNOWN.iter().find(|(number, _)| *number == self.0).map(|(_, name)| *name)
    }

    /// Whether the data of such events are text by definition, so that they can be shown as they are.
    pub fn is_text(self) -> bool {
        matches!(self.0, 1..=4 | 50..=52 | 100 | 101)
    }
}

fn lookup(text: &str) -> Option<Mimetype> {
    let alias = match text {
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => "application/jsonlines",
        other => other,
    };
    KNOWN.iter().find(|(_, name)| *name == alias).map(|(number, _)| Mimetype(*number))
}

/// The text form; an unknown number is shown as `unknown/N`.
impl fmt::Display for Mimetype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "unknown/{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, number: Option<i32>) {
        assert_eq!(Mimetype::parse(text).ok().map(|mimetype| mimetype.0), number, "{text:?}");
    }

    #[test]
    fn texts() {
        check("application/json", Some(50));
        check(" Application/JSON; charset=utf-8 ", Some(50));
        check("text/json", Some(50));
        check("application/vnd.api+json", Some(50));
        check("application/atom+xml", Some(101));
        check("text/xml", Some(100));
        check("application/x-ndjson", Some(52));
        check("user/format-9", Some(1009));
        check("user/format-10", None);
        check("image/png", None);
        check("json", None);
        check("", None);
    }

    #[test]
    fn every_known_name_reads_back() {
        for (number, name) in KNOWN {
            check(name, Some(number));
            assert_eq!(Mimetype(number).to_string(), name);
        }
        assert_eq!(Mimetype(77).to_string(), "unknown/77");
    }
}
