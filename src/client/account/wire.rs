//! Texts that stand for something that is not there.

use serde::{Deserialize, Deserializer, de::Error};

use crate::model::Time;

/// How a time is written that never was.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// A time; none where the server writes that it never was, or writes nothing.
pub(super) fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Time>, D::Error> {
    match Option::<String>::deserialize(deserializer)?.as_deref() {
        None | Some("" | NEVER) => Ok(None),
        Some(text) => Time::parse(text).map(Some).map_err(D::Error::custom),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Timed {
        #[serde(default, deserialize_with = "time")]
        created: Option<Time>,
    }

    #[test]
    fn times_that_never_were() {
        let check = |text: &str, expected: Option<&str>| {
            let read: Result<Timed, _> = serde_json::from_str(text);
            assert_eq!(read.unwrap().created.map(|time| time.to_string()).as_deref(), expected, "{text}");
        };
        check(r#"{"created":"2026-11-18T11:06:40.5Z"}"#, Some("2026-11-18T11:06:40.5Z"));
        for never in [r#"{"created":"0001-01-01T00:00:00Z"}"#, r#"{"created":""}"#, r#"{"created":null}"#, "{}"] {
            check(never, None);
        }
        assert!(serde_json::from_str::<Timed>(r#"{"created":"soon"}"#).is_err());
    }
}
