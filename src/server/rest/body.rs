//! Request bodies: one JSON object, read as the published clients and their users expect.
//!
//! Names match in any case, the last of several counts, unknown ones do no harm, and `null` is the same as no field.
//! What follows the first value is ignored.

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header},
};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::reply::Refusal;
use crate::model::limits::REST_BODY_BYTES_MAX;

/// How many bytes of a body that is too large are taken.
const REFUSED_BYTES_MAX: usize = 1024 * 1024;

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
///
/// One that is too large is taken and thrown away before it is refused, because many clients look for no answer before they
/// have sent everything; but only up to [`REFUSED_BYTES_MAX`].
pub(super) async fn read(headers: &HeaderMap, mut body: Body) -> Result<Bytes, BodyError> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let mut is_too_large = announced.is_some_and(|length| length > REST_BODY_BYTES_MAX as u64);
    let (mut taken, mut bytes) = (0, BytesMut::new());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Malformed)?.into_data() else { continue };
        taken += data.len();
        is_too_large |= taken > REST_BODY_BYTES_MAX;
        if !is_too_large {
            bytes.extend_from_slice(&data);
        } else if taken > REFUSED_BYTES_MAX {
            break;
        }
    }
    if is_too_large { Err(BodyError::TooLarge) } else { Ok(bytes.freeze()) }
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
    use futures_util::StreamExt;
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

    /// A body in pieces of a kilobyte, and how many of them were asked for.
    async fn taken(pieces: usize, announced: bool) -> (Result<usize, BodyError>, usize) {
        let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counter = std::sync::Arc::clone(&asked);
        let stream = futures_util::stream::iter(0..pieces).map(move |_| {
            counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Ok::<_, std::io::Error>(Bytes::from_static(&[b' '; 1024]))
        });
        let mut headers = HeaderMap::new();
        if announced {
            headers.insert(header::CONTENT_LENGTH, (pieces * 1024).into());
        }
        let read = read(&headers, Body::from_stream(stream)).await.map(|bytes| bytes.len());
        (read, asked.load(std::sync::atomic::Ordering::Relaxed))
    }

    /// Whoever reads no answer while sending would otherwise see a broken stream instead of the refusal.
    #[tokio::test]
    async fn what_is_too_large_is_taken_before_it_is_refused() {
        for announced in [false, true] {
            assert_eq!(taken(64, announced).await, (Ok(64 * 1024), 64));
            assert_eq!(taken(65, announced).await, (Err(BodyError::TooLarge), 65));
            assert_eq!(taken(5000, announced).await, (Err(BodyError::TooLarge), 1025));
        }
    }
}
