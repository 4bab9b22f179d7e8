//! Where a query reads: a topic's name, which events of it by their type, and from where to where.

use super::{
    QueryError,
    source_text::{Place, SourceText},
};
use crate::model::Position;

/// What stands behind FROM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// A topic's name or its ULID, perhaps with a type and a version behind it, without quotes.
    pub written: String,
    /// Whether it stood in quotes. Then it is a topic's name as it is.
    pub quoted: bool,
    /// Where to start; `None` when the query does not say.
    pub from: Option<Position>,
    /// What to stop before; `None` when the query does not say.
    pub until: Option<Position>,
    /// Where it stands in the query, for errors that are only found once the topics are known.
    place: Place,
}

/// The events whose type has this name, and this version as far as it is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventType {
    pub name: String,
    pub major: Option<u32>,
    pub minor: Option<u32>,
    pub patch: Option<u32>,
}

impl EventType {
    pub(super) fn accepts(&self, name: &str, version: (u32, u32, u32)) -> bool {
        self.name == name
            && self.major.is_none_or(|major| major == version.0)
            && self.minor.is_none_or(|minor| minor == version.1)
            && self.patch.is_none_or(|patch| patch == version.2)
    }
}

/// A topic that exists, and which of its events are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedTopic {
    pub name: String,
    /// `None`: events of every type.
    pub event_type: Option<EventType>,
}

impl Source {
    pub(super) fn new(written: String, quoted: bool, place: Place) -> Source {
        Source { written, quoted, from: None, until: None, place }
    }

    /// Finds the topic among those that exist. The longest name that exists is the topic, so a topic `a.b` is found before
    /// the type `b` in the topic `a`; what follows is a type, and its version.
    ///
    /// # Errors
    ///
    /// When there is no such topic, or what follows its name is no type.
    pub fn resolve(&self, exists: impl Fn(&str) -> bool) -> Result<ResolvedTopic, QueryError> {
        if exists(&self.written) {
            return Ok(ResolvedTopic { name: self.written.clone(), event_type: None });
        }
        let dots = self.written.match_indices('.').map(|(at, _)| at).rev();
        for dot in dots.filter(|_| !self.quoted) {
            let name = &self.written[..dot];
            if exists(name) {
                return Ok(ResolvedTopic { name: name.to_owned(), event_type: self.event_type(dot + 1)? });
            }
        }
        Err(QueryError::UnknownTopic { name: self.written.clone() })
    }

    /// Reads `type`, `type.1`, `type.1.2`, `type.1.2.3` or `*`, from a byte of what was written on.
    fn event_type(&self, start: usize) -> Result<Option<EventType>, QueryError> {
        let error = |at: usize, near: &str, what: &'static str| {
            let position = self.place.position + at;
            QueryError::Syntax { position, near: near.to_owned(), what: what.into() }
        };
        let mut parts = self.written[start..].split('.');
        let name = parts.next().unwrap_or_default();
        let mut at = start + name.len() + 1;
        if name.is_empty() || (name.contains('*') && name != "*") {
            return Err(error(start, name, "invalid schema identifier"));
        }
        let mut versions = [None; 3];
        for (number, part) in parts.enumerate() {
            if name == "*" {
                return Err(error(at, part, "cannot specify version for * schema"));
            }
            if !part.starts_with(|first: char| first.is_ascii_digit()) || number >= versions.len() {
                return Err(error(at, part, "invalid version identifier"));
            }
            versions[number] = Some(version(part).ok_or_else(|| error(at, part, "could not parse schema version"))?);
            at += part.len() + 1;
        }
        let [major, minor, patch] = versions;
        Ok((name != "*").then(|| EventType { name: name.to_owned(), major, minor, patch }))
    }
}

/// Reads a number as Go does: `010` is octal, `0x10` is hexadecimal.
fn version(text: &str) -> Option<u32> {
    let lower = text.to_ascii_lowercase();
    if let Some(digits) = lower.strip_prefix("0x") {
        u32::from_str_radix(digits, 16).ok()
    } else if let Some(digits) = lower.strip_prefix("0b") {
        u32::from_str_radix(digits, 2).ok()
    } else if lower.len() > 1 && lower.starts_with('0') {
        u32::from_str_radix(lower[1..].trim_start_matches('o'), 8).ok()
    } else {
        lower.parse().ok()
    }
}

/// The end of a topic's name that stands without quotes, and whether something stands right behind it that can't.
pub(super) fn end_of_name(source: &SourceText<'_>, start: usize) -> Result<usize, usize> {
    let rest = &source.text[start..];
    let is_name = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '-' | '.' | '*');
    let mut length = rest.find(|letter: char| !is_name(letter)).unwrap_or(rest.len());
    if let Some(comment) = rest[..length].find("--") {
        length = comment;
    }
    let behind = &rest[length..];
    let ends = behind.is_empty()
        || behind.starts_with(|letter: char| letter.is_whitespace() || matches!(letter, ';' | ','))
        || behind.starts_with("--")
        || behind.starts_with("/*");
    if ends { Ok(start + length) } else { Err(start + length) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(written: &str, topics: &[&str], expected: &str) {
        let source = Source::new(written.to_owned(), false, Place { position: 14, near: String::new() });
        let shown = match source.resolve(|name| topics.contains(&name)) {
            Ok(ResolvedTopic { name, event_type: None }) => name,
            Ok(ResolvedTopic { name, event_type: Some(EventType { name: event, major, minor, patch }) }) => {
                let versions: Vec<String> =
                    [major, minor, patch].into_iter().flatten().map(|number| number.to_string()).collect();
                format!("{name}: {event} {}", versions.join(" "))
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(shown, expected, "{written}");
    }

    #[test]
    fn topics_and_types() {
        check("a", &["a"], "a");
        check("a.b.c", &["a.b.c", "a"], "a.b.c");
        check("a.b", &["a"], "a: b ");
        check("a.b.c", &["a", "a.b"], "a.b: c ");
        check("a.b.1", &["a"], "a: b 1");
        check("a.b.010", &["a"], "a: b 8");
        check("a.b.0x1F", &["a"], "a: b 31");
        check("a.b.1.2.3", &["a"], "a: b 1 2 3");
        check("a.*", &["a"], "a");
        check("a.b", &["b"], "the topic \"a.b\" does not exist");
        check("a.*.1", &["a"], r#"syntax error at position 18 near "1": cannot specify version for * schema"#);
        check("a.b.c", &["a"], r#"syntax error at position 18 near "c": invalid version identifier"#);
        check("a.b.09", &["a"], r#"syntax error at position 18 near "09": could not parse schema version"#);
        check("a.b.1.2.3.4", &["a"], r#"syntax error at position 24 near "4": invalid version identifier"#);
        check("a.", &["a"], r#"syntax error at position 16 near "": invalid schema identifier"#);
    }

    #[test]
    fn a_name_in_quotes_is_whole() {
        let source = Source::new("a.b".to_owned(), true, Place { position: 0, near: String::new() });
        assert_eq!(source.resolve(|name| name == "a"), Err(QueryError::UnknownTopic { name: "a.b".to_owned() }));
    }

    #[test]
    fn types_that_are_accepted() {
        let any = EventType { name: "order".to_owned(), major: Some(1), minor: None, patch: None };
        assert!(any.accepts("order", (1, 2, 3)));
        assert!(!any.accepts("order", (2, 0, 0)) && !any.accepts("other", (1, 0, 0)));
    }
}
