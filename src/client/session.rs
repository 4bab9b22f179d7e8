//! Signing in: an access token for every call, refreshed or asked for anew when it is due.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use super::{ClientError, Endpoint, TlsProblem, connection::http_client, error::root_cause, trust::tls_problem};
use crate::{
    model::{Secret, Time},
    sys::Clock,
};

/// How long before its end an access token is no longer used: what a call may take to get to the server.
const LEEWAY_NANOS: i64 = 5_000_000_000;

/// The most bytes of an error's body that are looked at.
const ERROR_BYTES_MAX: usize = 4096;

/// An API key.
#[derive(Debug, Clone)]
pub struct Credentials {
    pub client_id: String,
    pub client_secret: Secret,
}

/// What an access token says about its bearer. The signature is the server's to verify, not ours.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Claims {
    #[serde(rename = "sub", default)]
    pub subject: String,
    #[serde(rename = "org", default)]
    pub organization: String,
    #[serde(default)]
    pub project: String,
    #[serde(default)]
    pub permissions: Vec<String>,
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub email: String,
    exp: i64,
    #[serde(default)]
    nbf: i64,
}

impl Claims {
    pub fn expires(&self) -> Time {
        Time::from_parts(self.exp, 0)
    }

    fn not_before(&self) -> Time {
        Time::from_parts(self.nbf, 0)
    }

    fn decode(token: &str) -> Option<Claims> {
        let payload = token.split('.').nth(1)?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
    }
}

/// A token and what it says.
#[derive(Debug)]
pub(super) struct Token {
    text: Secret,
    pub(super) claims: Claims,
}

impl Token {
    fn new(text: String) -> Option<Token> {
        let claims = Claims::decode(&text)?;
        Some(Token { text: Secret::new(text), claims })
    }

    /// The value of an `authorization` header, marked so that it isn't shown or kept in a compression table.
    pub(super) fn header(&self) -> http::HeaderValue {
        let text = format!("Bearer {}", self.text.expose_str().expect("made from text"));
        let mut value = http::HeaderValue::from_str(&text).expect("base64url and dots are fit for a header");
        value.set_sensitive(true);
        value
    }
}

#[derive(Debug)]
struct Tokens {
    access: Arc<Token>,
    refresh: Option<Token>,
}

/// The state of being signed in, shared by all calls of a client.
pub(super) struct Session {
    endpoint: Endpoint,
    credentials: Credentials,
    clock: Clock,
    http: OnceLock<reqwest::Client>,
    /// Held while signing in, so that calls which start together sign in once.
    tokens: tokio::sync::Mutex<Option<Tokens>>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("client_id", &self.credentials.client_id).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct AuthenticateRequest<'a> {
    client_id: &'a str,
    client_secret: &'a str,
}

#[derive(Serialize)]
struct RefreshRequest<'a> {
    refresh_token: &'a str,
}

#[derive(Deserialize)]
struct LoginReply {
    access_token: String,
    #[serde(default)]
    refresh_token: String,
}

#[derive(Deserialize)]
struct ErrorReply {
    error: String,
}

impl Session {
    pub(super) fn new(endpoint: Endpoint, credentials: Credentials, clock: Clock) -> Session {
        Session { endpoint, credentials, clock, http: OnceLock::new(), tokens: tokio::sync::Mutex::new(None) }
    }

    /// A token that can be used now. A refresh that fails falls back to signing in again.
    pub(super) async fn token(&self) -> Result<Arc<Token>, ClientError> {
        let mut tokens = self.tokens.lock().await;
        let now = self.clock.now();
        if let Some(current) = tokens.as_ref() {
            if now < current.access.claims.expires().plus_nanos(-LEEWAY_NANOS) {
                return Ok(current.access.clone());
            }
            let refresh = current.refresh.as_ref();
            let due = refresh.filter(|token| token.claims.not_before() < now && now < token.claims.expires());
            if let Some(token) = due
                && let Ok(renewed) = self.refresh(token).await
            {
                let access = renewed.access.clone();
                *tokens = Some(renewed);
                return Ok(access);
            }
        }
        self.authenticate(&mut tokens).await
    }

    /// Signs in again because the server refused this token; when another call did so meanwhile, that one's token.
    pub(super) async fn replace(&self, refused: &Arc<Token>) -> Result<Arc<Token>, ClientError> {
        let mut tokens = self.tokens.lock().await;
        match tokens.as_ref() {
            Some(current) if !Arc::ptr_eq(&current.access, refused) => Ok(current.access.clone()),
            _ => self.authenticate(&mut tokens).await,
        }
    }

    async fn authenticate(&self, tokens: &mut Option<Tokens>) -> Result<Arc<Token>, ClientError> {
        let secret = self.credentials.client_secret.expose_str().ok_or_else(|| ClientError::LoginRefused {
            auth_url: self.endpoint.auth_url().to_owned(),
            reason: "the client secret is not text".to_owned(),
        })?;
        let request = AuthenticateRequest { client_id: &self.credentials.client_id, client_secret: secret };
        let fresh = self.post("/v1/authenticate", &request).await?;
        let access = fresh.access.clone();
        *tokens = Some(fresh);
        tracing::debug!(auth_url = self.endpoint.auth_url(), "signed in");
        Ok(access)
    }

    async fn refresh(&self, token: &Token) -> Result<Tokens, ClientError> {
        let text = token.text.expose_str().expect("made from text");
        self.post("/v1/refresh", &RefreshRequest { refresh_token: text }).await
    }

    async fn post(&self, path: &str, body: &impl Serialize) -> Result<Tokens, ClientError> {
        let auth_url = self.endpoint.auth_url();
        let failed = |reason: String| ClientError::LoginFailed { auth_url: auth_url.to_owned(), reason };
        let response = self.http()?.post(format!("{auth_url}{path}")).json(body).send().await;
        let response = response.map_err(|error| {
            if error.is_builder() {
                return failed(root_cause(&error));
            }
            if let Some(problem) = tls_problem(&error) {
                return ClientError::Untrusted { address: auth_url.to_owned(), problem };
            }
            let reason = if error.is_timeout() { "no answer in time".to_owned() } else { root_cause(&error) };
            ClientError::Unreachable { address: auth_url.to_owned(), reason }
        })?;
        let status = response.status();
        if status.is_success() {
            let reply: LoginReply = response.json().await.map_err(|error| failed(root_cause(&error)))?;
            let access = Token::new(reply.access_token).map(Arc::new);
            let access = access.ok_or_else(|| failed("it gave a token that can't be read".to_owned()))?;
            return Ok(Tokens { access, refresh: Token::new(reply.refresh_token) });
        }
        let body = response.bytes().await.unwrap_or_default();
        let body = &body[..body.len().min(ERROR_BYTES_MAX)];
        let reason = match serde_json::from_slice::<ErrorReply>(body) {
            Ok(reply) => reply.error,
            Err(_) => format!("HTTP status {status}"),
        };
        Err(match status.as_u16() {
            400 | 401 | 403 => ClientError::LoginRefused { auth_url: auth_url.to_owned(), reason },
            426 if auth_url.starts_with("http://") => {
                ClientError::Untrusted { address: auth_url.to_owned(), problem: TlsProblem::ServerSpeaksTls }
            }
            429 | 503 => ClientError::Unreachable { address: auth_url.to_owned(), reason },
            _ => failed(reason),
        })
    }

    /// The HTTP client, made when it is first needed: with TLS it reads the machine's root certificates.
    fn http(&self) -> Result<&reqwest::Client, ClientError> {
        if let Some(client) = self.http.get() {
            return Ok(client);
        }
        let client = http_client(&self.endpoint, self.endpoint.auth_url())?;
        Ok(self.http.get_or_init(|| client))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_read_without_the_signature() {
        let payload = URL_SAFE_NO_PAD.encode(br#"{"sub":"K","org":"O","project":"P","exp":100,"permissions":["a"]}"#);
        let claims = Claims::decode(&format!("x.{payload}.y")).unwrap();
        assert_eq!((claims.subject.as_str(), claims.project.as_str()), ("K", "P"));
        assert_eq!(claims.expires(), Time::from_parts(100, 0));
        assert_eq!(Claims::decode("x"), None);
        assert_eq!(Claims::decode("x.!.y"), None);
    }
}
