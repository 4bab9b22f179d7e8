//! Posting to an address of somebody else's: one request, and what its answer means for whoever wants to try again.
//!
//! Invariants: neither the headers nor what is behind the `?` of the address is in a message or a log. Redirects are not
//! followed: a POST that became a GET would lose the event.
//!
//! What it does not do: try again, or know what is posted.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{Endpoint, connection::http_client, error::root_cause};

/// How much of the answer to a refusal is read.
const ANSWER_BYTES_MAX: usize = 4_096;

/// How many characters of it a message has.
const ANSWER_LETTERS: usize = 200;

/// Where to post to.
#[derive(Clone)]
pub struct Webhook {
    http: reqwest::Client,
    url: reqwest::Url,
    headers: HeaderMap,
}

/// What is wrong with an address or a header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    #[error("{url:?} is not an address that can be posted to; write it like https://example.com/events")]
    Address { url: String },
    #[error("the address holds a user or a password")]
    Credentials,
    #[error("the header {name} is invalid")]
    Header { name: String },
    #[error("TLS can't be used: {reason}")]
    Tls { reason: String },
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Post {
    pub content_type: String,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Posted {
    Taken,
    /// It may be taken at another time: the receiver was not there, busy or broken.
    NotNow {
        reason: String,
        retry_after: Option<Duration>,
    },
    /// The receiver does not want it.
    Refused {
        reason: String,
    },
}

impl Webhook {
    /// What is trusted besides the authorities of this machine is what is trusted at the endpoint.
    ///
    /// # Errors
    ///
    /// When nothing can be posted there, whatever it is.
    pub fn new(endpoint: &Endpoint, url: &str, headers: &[(String, String)]) -> Result<Webhook, WebhookError> {
        let parsed =
            reqwest::Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        // An address that is wrong may hold anything.
        let mut shown = url.to_owned();
        shown.truncate(shown.find(['?', '#', '@']).unwrap_or(shown.len()));
        let url = parsed.ok_or(WebhookError::Address { url: shown })?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(WebhookError::Credentials);
        }
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let wrong = || WebhookError::Header { name: name.clone() };
            let mut value = HeaderValue::from_str(value).map_err(|_| wrong())?;
            value.set_sensitive(true);
            map.append(HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?, value);
        }
        let http =
            http_client(endpoint, url.as_str()).map_err(|error| WebhookError::Tls { reason: error.to_string() })?;
        Ok(Webhook { http, url, headers: map })
    }

    /// The address, without what may be secret in it.
    pub fn address(&self) -> String {
        let mut shown = self.url.clone();
        shown.set_query(None);
        shown.set_fragment(None);
        shown.to_string()
    }

    pub async fn post(&self, post: Post) -> Posted {
        let mut request = self.http.post(self.url.clone()).header(header::CONTENT_TYPE, post.content_type);
        for (name, value) in post.headers {
            request = request.header(name, value);
        }
        // What the caller says goes before everything else.
        let answer = match request.headers(self.headers.clone()).body(post.body).send().await {
            Ok(answer) => answer,
            Err(error) if error.is_builder() => return Posted::Refused { reason: root_cause(&error) },
            Err(error) => {
                let reason = if error.is_timeout() { "no answer in time".to_owned() } else { root_cause(&error) };
                return Posted::NotNow { reason, retry_after: None };
            }
        };
        let status = answer.status();
        if status.is_success() {
            return Posted::Taken;
        }
        let retry_after = retry_after(answer.headers());
        let reason = format!("{status}{}", excerpt(answer).await);
        match status.as_u16() {
            408 | 425 | 429 | 500.. => Posted::NotNow { reason, retry_after },
            _ => Posted::Refused { reason },
        }
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("url", &self.address()).finish_non_exhaustive()
    }
}

/// How long the receiver wants to be left alone, when it says so in seconds.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// The beginning of an answer, as it goes behind the status.
async fn excerpt(mut answer: reqwest::Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < ANSWER_BYTES_MAX
        && let Ok(Some(chunk)) = answer.chunk().await
    {
        bytes.extend_from_slice(&chunk);
    }
    shown(&bytes)
}

fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let words: Vec<&str> = text.split(|letter: char| letter.is_whitespace() || letter.is_control()).collect();
    let line: String = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(ANSWER_LETTERS) {
        _ if line.is_empty() => String::new(),
        Some((end, _)) => format!(": {}…", &line[..end]),
        None => format!(": {line}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhook(url: &str, headers: &[(&str, &str)]) -> Result<Webhook, WebhookError> {
        let endpoint = Endpoint::new("localhost:5356".parse().unwrap(), None, None);
        let headers: Vec<_> = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Webhook::new(&endpoint, url, &headers)
    }

    #[test]
    fn no_secret_is_shown() {
        let webhook = webhook("http://localhost:1/in?token=hidden#part", &[("authorization", "hidden")]).unwrap();
        assert_eq!(webhook.address(), "http://localhost:1/in");
        assert!(!format!("{webhook:?}").contains("hidden"), "{webhook:?}");
    }

    #[test]
    fn what_can_not_be_posted_to() {
        let address = |url: &str| WebhookError::Address { url: url.to_owned() };
        assert_eq!(webhook("ftp://localhost/in?hidden", &[]).unwrap_err(), address("ftp://localhost/in"));
        assert_eq!(webhook("localhost", &[]).unwrap_err(), address("localhost"));
        assert_eq!(webhook("http://me:hidden@localhost/", &[]).unwrap_err(), WebhookError::Credentials);
        let header = |name: &str| WebhookError::Header { name: name.to_owned() };
        assert_eq!(webhook("http://localhost/", &[("a b", "")]).unwrap_err(), header("a b"));
        assert_eq!(webhook("http://localhost/", &[("a", "b\nc")]).unwrap_err(), header("a"));
    }

    #[test]
    fn answers_in_a_line() {
        assert_eq!(shown(b""), "");
        assert_eq!(shown(b" no\r\n\tsuch \x1b[1mthing\xff "), ": no such [1mthing\u{fffd}");
        assert_eq!(shown("é".repeat(300).as_bytes()), format!(": {}…", "é".repeat(200)));
        let after = |text: &str| retry_after(&[(header::RETRY_AFTER, text.parse().unwrap())].into_iter().collect());
        assert_eq!((after("7"), after("soon"), after("-1")), (Some(Duration::from_secs(7)), None, None));
    }
}
