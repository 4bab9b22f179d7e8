//! Requests to the REST API of the authentication service: JSON there and back, and errors in the server's own words.

use std::{
    fmt::{self, Write as _},
    sync::{Arc, OnceLock},
    time::Duration,
};

use http::{Method, StatusCode, header};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    ClientError, Endpoint, TlsProblem, connection::http_client, error::root_cause, session::Token, trust::tls_problem,
};
use crate::sys::Clock;

/// The most bytes of an error's body that are looked at.
const ERROR_BYTES_MAX: usize = 4096;

/// How often a request is made that the server has no time for, and how long is waited in between: its limits refill
/// within a second.
const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_secs(1);

/// Where requests go. Cheap to clone; clones share the connection.
#[derive(Clone)]
pub(super) struct Rest {
    endpoint: Endpoint,
    pub(super) clock: Clock,
    /// Made when it is first needed: with TLS it reads the machine's root certificates.
    http: Arc<OnceLock<reqwest::Client>>,
}

impl fmt::Debug for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rest").field("auth_url", &self.endpoint.auth_url()).finish_non_exhaustive()
    }
}

/// A request without a body.
pub(super) const NO_BODY: Option<&()> = None;

/// What a server says when it doesn't do what it was asked to.
#[derive(Deserialize)]
struct ErrorReply {
    error: String,
    #[serde(default)]
    unverified: bool,
}

impl Rest {
    pub(super) fn new(endpoint: Endpoint, clock: Clock) -> Rest {
        Rest { endpoint, clock, http: Arc::default() }
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Makes a request whose answer is JSON.
    pub(super) async fn json<T: DeserializeOwned>(
        &self,
        request: (Method, &str),
        token: Option<&Token>,
        body: Option<&impl Serialize>,
    ) -> Result<T, ClientError> {
        self.read(&self.send(request, token, body).await?)
    }

    /// Reads an answer. What can't be read may hold a secret, so it is not shown.
    pub(super) fn read<T: DeserializeOwned>(&self, answer: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(answer).map_err(|error| ClientError::Protocol {
            address: self.endpoint.auth_url().to_owned(),
            what: format!("an answer that can't be read, at column {}", error.column()),
        })
    }

    /// Makes a request; gives the body of the answer. One that the server had no time for is made again.
    pub(super) async fn send(
        &self,
        (method, path): (Method, &str),
        token: Option<&Token>,
        body: Option<&impl Serialize>,
    ) -> Result<bytes::Bytes, ClientError> {
        let mut attempts = 1;
        loop {
            let result = self.send_once(method.clone(), path, token, body).await;
            match result {
                Err(ClientError::Rejected { status: 429, .. }) if attempts < ATTEMPTS => {
                    attempts += 1;
                    self.clock.sleep(PAUSE).await;
                }
                result => return result,
            }
        }
    }

    async fn send_once(
        &self,
        method: Method,
        path: &str,
        token: Option<&Token>,
        body: Option<&impl Serialize>,
    ) -> Result<bytes::Bytes, ClientError> {
        let auth_url = self.endpoint.auth_url();
        let mut request = self.http()?.request(method, format!("{auth_url}{path}"));
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, token.header());
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|error| self.unsent(&error))?;
        let status = response.status();
        let body = response.bytes().await.map_err(|error| self.unsent(&error))?;
        if status.is_success() { Ok(body) } else { Err(self.rejected(status, &body)) }
    }

    /// Nothing was answered.
    fn unsent(&self, error: &reqwest::Error) -> ClientError {
        let auth_url = self.endpoint.auth_url().to_owned();
        if error.is_builder() {
            return ClientError::LoginFailed { auth_url, reason: root_cause(error) };
        }
        if let Some(problem) = tls_problem(error) {
            return ClientError::Untrusted { address: auth_url, problem };
        }
        let reason = if error.is_timeout() { "no answer in time".to_owned() } else { root_cause(error) };
        ClientError::Unreachable { address: auth_url, reason }
    }

    /// An error was answered.
    fn rejected(&self, status: StatusCode, body: &[u8]) -> ClientError {
        let auth_url = self.endpoint.auth_url();
        if status == StatusCode::UPGRADE_REQUIRED && auth_url.starts_with("http://") {
            return ClientError::Untrusted { address: auth_url.to_owned(), problem: TlsProblem::ServerSpeaksTls };
        }
        let body = &body[..body.len().min(ERROR_BYTES_MAX)];
        let (message, is_unverified) = match serde_json::from_slice::<ErrorReply>(body) {
            Ok(reply) => (reply.error, reply.unverified),
            Err(_) => (format!("HTTP status {status}"), false),
        };
        if is_unverified {
            return ClientError::Unverified { message };
        }
        match status.as_u16() {
            503 => ClientError::Unreachable { address: auth_url.to_owned(), reason: message },
            status => ClientError::Rejected { status, message },
        }
    }

    fn http(&self) -> Result<&reqwest::Client, ClientError> {
        if let Some(client) = self.http.get() {
            return Ok(client);
        }
        let client = http_client(&self.endpoint, self.endpoint.auth_url())?;
        Ok(self.http.get_or_init(|| client))
    }
}

/// A text as a part of a path or a query.
pub(super) fn encoded(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            result.push(char::from(byte));
        } else {
            write!(result, "%{byte:02X}").expect("a text takes every text");
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_its_part_of_an_address() {
        assert_eq!(encoded("01ARYZ6S41041061050R3GG28A"), "01ARYZ6S41041061050R3GG28A");
        assert_eq!(encoded("../x?y=z#é"), "..%2Fx%3Fy%3Dz%23%C3%A9");
    }

    #[test]
    fn errors_are_told_apart() {
        let endpoint = Endpoint::new("localhost:1".parse().unwrap(), None, None);
        let rest = Rest::new(endpoint, Clock::real());
        let check = |status: u16, body: &str, expected: &str| {
            let error = rest.rejected(StatusCode::from_u16(status).unwrap(), body.as_bytes());
            assert_eq!(format!("{error:?}"), expected);
        };
        check(404, r#"{"success":false,"error":"gone"}"#, "Rejected { status: 404, message: \"gone\" }");
        check(500, "<html>", "Rejected { status: 500, message: \"HTTP status 500 Internal Server Error\" }");
        check(403, r#"{"error":"verify","unverified":true}"#, "Unverified { message: \"verify\" }");
        let unreachable =
            "Unreachable { address: \"http://localhost:1\", reason: \"HTTP status 503 Service Unavailable\" }";
        check(503, "{}", unreachable);
    }
}
