//! Request bodies: one JSON object, read as the published clients and their users expect.
//!
//! Names match in any case, the last of several counts, unknown ones do no harm, and `null` is the same as no field.
//! What follows the first value is ignored.

use axum::{
    body::{Body, to_bytes},
    http::{HeaderMap, StatusCode, header},
};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::reply::Refusal;
use crate::model::limits::REST_BODY_BYTES_MAX;

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
    pub(super) fn refusal(self, malformed: &'static str) -> Refusal {
        match self {
            BodyError::TooLarge => Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "request body is too large"),
            BodyError::Malformed => Refusal::new(StatusCode::BAD_REQUEST, malformed),
        }
    }
}

/// Reads the bytes of a body that is not too large.
pub(super) async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, BodyError> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > REST_BODY_BYTES_MAX as u64) {
        return Err(BodyError::TooLarge);
    }
    to_bytes(body, REST_BODY_BYTES_MAX).await.map_err(|error| {
        let too_large = match std::error::Error::source(&error) {
            Some(source) => source.is::<http_body_util::LengthLimitError>(),
            None => false,
        };
        if too_large { BodyError::TooLarge } else { BodyError::Malformed }
    })
}

/// Reads the object that a body is.
pub(in crate::server) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BodyError> {
    let Some(Ok(Value::Object(fields))) = serde_json::Deserializer::from_slice(bytes).into_iter::<Value>().next()
    else {
        return Err(BodyError::Malformed);
    };
    let said = fields.into_iter().filter(|(_, value)| !value.is_null());
    let fields: Map<String, Value> = said.map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
    serde_json::from_value(Value::Object(fields)).map_err(|_| BodyError::Malformed)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::{model::Ulid, server::rest::wire::WireId};

    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Request {
        client_id: String,
        org_id: WireId,
    }

    fn check(body: &str, expected: Result<&str, BodyError>) {
        let text = parse::<Request>(body.as_bytes()).map(|request| request.client_id);
        assert_eq!(text.as_deref(), expected.as_ref().map(|text| *text), "{body}");
    }

    #[test]
    fn bodies() {
        check(r#"{"client_id":"a"}"#, Ok("a"));
        check(r#"{"CLIENT_ID":"a"}"#, Ok("a"));
        check(r#"{"client_id":"a","Client_Id":"b"}"#, Ok("b"));
        check(r#"{"client_id":"a","client_id":"b"}"#, Ok("b"));
        check(r#"{"client_id":"a","x":{"y":[1]}} trailing"#, Ok("a"));
        check(r#"{"client_id":null}"#, Ok(""));
        check("{}", Ok(""));
        for bad in ["", "null", "[]", "{bad", "5", "client_id=a", "\u{feff}{}", r#"{"client_id":5}"#] {
            check(bad, Err(BodyError::Malformed));
        }
    }

    #[test]
    fn identifiers() {
        let id = |text: &str| {
            let parsed = parse::<Request>(format!(r#"{{"org_id":{text}}}"#).as_bytes());
            parsed.map(|request| request.org_id.known())
        };
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
