//! Request bodies: one JSON object, read as the published clients and their users expect.

use axum::{
    body::{Body, to_bytes},
    http::{HeaderMap, StatusCode, header},
};
use serde_json::{Map, Value};

use super::reply;
use crate::model::{ParseUlidError, Ulid, limits::REST_BODY_BYTES_MAX};

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum BodyError {
    /// It has more than [`REST_BODY_BYTES_MAX`] bytes.
    TooLarge,
    /// It is not a JSON object with fields of the expected types, or it did not arrive whole.
    Malformed,
}

impl BodyError {
    /// The reply, with the route's own words for a malformed body.
    pub(super) fn reply(self, malformed: &str) -> axum::response::Response {
        match self {
            BodyError::TooLarge => reply::error(StatusCode::PAYLOAD_TOO_LARGE, "request body is too large"),
            BodyError::Malformed => reply::error(StatusCode::BAD_REQUEST, malformed),
        }
    }
}

/// The fields of an object. Names match in any case, the last of several counts, unknown ones do no harm, and `null` is
/// the same as no field.
#[derive(Debug)]
pub(in crate::server) struct Fields(Map<String, Value>);

impl Fields {
    /// Reads the first JSON value of a body; what follows it is ignored.
    pub(super) async fn read(headers: &HeaderMap, body: Body) -> Result<Fields, BodyError> {
        let announced =
            headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|length| length > REST_BODY_BYTES_MAX as u64) {
            return Err(BodyError::TooLarge);
        }
        let bytes = to_bytes(body, REST_BODY_BYTES_MAX).await.map_err(|error| {
            let too_large = match std::error::Error::source(&error) {
                Some(source) => source.is::<http_body_util::LengthLimitError>(),
                None => false,
            };
            if too_large { BodyError::TooLarge } else { BodyError::Malformed }
        })?;
        Fields::parse(&bytes)
    }

    pub(in crate::server) fn parse(bytes: &[u8]) -> Result<Fields, BodyError> {
        match serde_json::Deserializer::from_slice(bytes).into_iter::<Value>().next() {
            Some(Ok(Value::Object(fields))) => Ok(Fields(fields)),
            _ => Err(BodyError::Malformed),
        }
    }

    /// A text field; empty when there is none.
    pub(in crate::server) fn text(&self, name: &str) -> Result<String, BodyError> {
        match self.find(name) {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(_) => Err(BodyError::Malformed),
        }
    }

    /// An identifier; none when the field is missing or all zeros. An empty text is malformed.
    pub(in crate::server) fn id(&self, name: &str) -> Result<Option<Ulid>, BodyError> {
        match self.find(name) {
            None => Ok(None),
            Some(Value::String(text)) => {
                let id = Ulid::parse_lenient(text).map_err(|ParseUlidError| BodyError::Malformed)?;
                Ok(Some(id).filter(|id| !id.is_zero()))
            }
            Some(_) => Err(BodyError::Malformed),
        }
    }

    fn find(&self, name: &str) -> Option<&Value> {
        let found = self.0.iter().rfind(|(key, value)| key.eq_ignore_ascii_case(name) && !value.is_null());
        found.map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, expected: Result<&str, BodyError>) {
        let text = Fields::parse(body.as_bytes()).and_then(|fields| fields.text("client_id"));
        assert_eq!(text.as_deref(), expected.as_ref().map(|text| *text), "{body}");
    }

    #[test]
    fn bodies() {
        check(r#"{"client_id":"a"}"#, Ok("a"));
        check(r#"{"CLIENT_ID":"a"}"#, Ok("a"));
        check(r#"{"client_id":"a","Client_Id":"b"}"#, Ok("b"));
        check(r#"{"client_id":"a","x":{"y":[1]}} trailing"#, Ok("a"));
        check(r#"{"client_id":null}"#, Ok(""));
        check("{}", Ok(""));
        for bad in ["", "null", "[]", "{bad", "5", "client_id=a", "\u{feff}{}", r#"{"client_id":5}"#] {
            check(bad, Err(BodyError::Malformed));
        }
    }

    #[test]
    fn identifiers() {
        let id = |text: &str| Fields::parse(format!(r#"{{"org_id":{text}}}"#).as_bytes()).unwrap().id("org_id");
        assert_eq!(id("null"), Ok(None));
        assert_eq!(id(r#""00000000000000000000000000""#), Ok(None));
        let known = Ulid::parse("01ARYZ6S41041061050R3GG28A").ok();
        assert_eq!(id(r#""01ARYZ6S41041061050R3GG28A""#), Ok(known));
        assert_eq!(id(r#""01aryz6s41041061050r3gg28a""#), Ok(known));
        for bad in [r#""""#, r#""garbage""#, "5"] {
            assert_eq!(id(bad), Err(BodyError::Malformed));
        }
    }
}
