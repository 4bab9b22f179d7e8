//! The type of an event: a name and a version, which the wire calls `Type`.

use std::{fmt, str::FromStr};

/// A named, versioned schema. Text form `name v1.2.3`; `name@1.2.3` is read as well.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Schema {
    pub name: String,
    pub major: u32,
    pub minor: u32,
    pub patch: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an event type; write one like order@1.2.3")]
pub struct ParseSchemaError {
    text: String,
}

impl Schema {
    /// The schema that an event without one counts under.
    pub fn unspecified() -> Schema {
        Schema { name: "Unspecified".to_owned(), ..Schema::default() }
    }

    /// Whether this is a missing type on the wire: no name, or `Unspecified`, and version 0.0.0.
    pub fn is_unspecified(&self) -> bool {
        (self.name.is_empty() || self.name == "Unspecified") && (self.major, self.minor, self.patch) == (0, 0, 0)
    }
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} v{}.{}.{}", self.name, self.major, self.minor, self.patch)
    }
}

impl FromStr for Schema {
    type Err = ParseSchemaError;

    /// Reads `name`, `name@1`, `name@1.2`, `name@1.2.3`, `name@v1.2.3` and `name v1.2.3`; a pre-release or a build part
    /// of the version is dropped, as the wire has no place for it.
    fn from_str(text: &str) -> Result<Schema, ParseSchemaError> {
        let error = || ParseSchemaError { text: text.to_owned() };
        let (name, version) = match text.rsplit_once('@').or_else(|| text.rsplit_once(" v")) {
            Some((name, version)) => (name.trim(), version.trim_start_matches('v')),
            None => (text.trim(), "0"),
        };
        let numbers = version.split(['-', '+']).next().unwrap_or_default();
        let mut parts = numbers.split('.').map(|part| part.parse::<u32>().map_err(|_| error()));
        let major = parts.next().ok_or_else(error)??;
        let minor = parts.next().unwrap_or(Ok(0))?;
        let patch = parts.next().unwrap_or(Ok(0))?;
        if name.is_empty() || parts.next().is_some() {
            return Err(error());
        }
        Ok(Schema { name: name.to_owned(), major, minor, patch })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, shown: Option<&str>) {
        assert_eq!(text.parse::<Schema>().ok().map(|schema| schema.to_string()).as_deref(), shown, "{text:?}");
    }

    #[test]
    fn texts() {
        check("order@1.2.3", Some("order v1.2.3"));
        check("order@v1.2.3-beta.1+5", Some("order v1.2.3"));
        check("order v1.2.3", Some("order v1.2.3"));
        check("order@2", Some("order v2.0.0"));
        check("order", Some("order v0.0.0"));
        check("My Event@1.0.0", Some("My Event v1.0.0"));
        for bad in ["", "@1.2.3", "order@", "order@1.2.3.4", "order@x", "order@-1"] {
            check(bad, None);
        }
    }
}
