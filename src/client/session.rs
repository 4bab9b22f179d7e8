//! Signing in: an access token for every call, refreshed or asked for anew when it is due.

use std::{fmt, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::{FutureExt as _, future::BoxFuture};
use http::Method;
use serde::{Deserialize, Serialize};

use super::{ClientError, Endpoint, rest::Rest};
use crate::{
    model::{Secret, Time},
    sys::Clock,
};

/// How long before its end an access token is no longer used: what a call may take to get to the server.
const LEEWAY_NANOS: i64 = 5_000_000_000;

/// An API key.
#[derive(Debug, Clone)]
pub struct Credentials {
    pub client_id: String,
    pub client_secret: Secret,
}

/// An account, and in which organization it is to act.
#[derive(Debug, Clone)]
pub struct AccountCredentials {
    pub email: String,
    pub password: Secret,
    /// The identifier of the organization; without it, the one that was signed in to last.
    pub organization: Option<String>,
}

/// What is signed in with.
#[derive(Debug, Clone)]
pub(super) enum Grant {
    Key(Credentials),
    Account(AccountCredentials),
    /// What an account may do in a project.
    Project {
        account: Arc<Session>,
        project: String,
    },
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
    pub(super) rest: Rest,
    pub(super) grant: Grant,
    /// Held while signing in, so that calls which start together sign in once.
    tokens: tokio::sync::Mutex<Option<Tokens>>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("grant", &self.grant).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct AuthenticateRequest<'a> {
    client_id: &'a str,
    client_secret: &'a str,
}

#[derive(Serialize)]
struct LoginRequest<'a> {
    email: &'a str,
    password: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    org_id: Option<&'a str>,
}

#[derive(Serialize)]
struct AccessRequest<'a> {
    project_id: &'a str,
}

#[derive(Serialize)]
struct RefreshRequest<'a> {
    refresh_token: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    org_id: Option<&'a str>,
}

/// What every route answers that signs somebody in.
#[derive(Deserialize)]
pub(super) struct LoginReply {
    access_token: String,
    #[serde(default)]
    refresh_token: String,
}

impl Session {
    pub(super) fn new(endpoint: Endpoint, grant: Grant, clock: Clock) -> Session {
        Session { rest: Rest::new(endpoint, clock), grant, tokens: tokio::sync::Mutex::new(None) }
    }

    /// The session of an account that a server has just signed in, in the organization that this was for.
    pub(super) fn begun(rest: Rest, account: AccountCredentials, reply: LoginReply) -> Result<Session, ClientError> {
        let tokens = read(&rest, reply)?;
        let organization = Some(tokens.access.claims.organization.clone());
        let grant = Grant::Account(AccountCredentials { organization, ..account });
        Ok(Session { rest, grant, tokens: tokio::sync::Mutex::new(Some(tokens)) })
    }

    /// A token that can be used now. A refresh that fails falls back to signing in again.
    pub(super) async fn token(&self) -> Result<Arc<Token>, ClientError> {
        let mut tokens = self.tokens.lock().await;
        let now = self.rest.clock.now();
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
        let fresh = match &self.grant {
            Grant::Key(key) => {
                let client_secret = self.text(&key.client_secret)?;
                self.sign_in("/v1/authenticate", &AuthenticateRequest { client_id: &key.client_id, client_secret })
                    .await?
            }
            Grant::Account(account) => {
                let password = self.text(&account.password)?;
                let org_id = account.organization.as_deref();
                self.sign_in("/v1/login", &LoginRequest { email: &account.email, password, org_id }).await?
            }
            Grant::Project { account, project } => self.enter_project(account, project).await?,
        };
        let access = fresh.access.clone();
        *tokens = Some(fresh);
        tracing::debug!(auth_url = self.rest.endpoint().auth_url(), "signed in");
        Ok(access)
    }

    /// Exchanges the token of an account for one of a project; with a fresh one if the account's was ended meanwhile.
    /// The session of a project is never made from one of a project, but the compiler can't know: hence the box.
    fn enter_project<'a>(
        &'a self,
        account: &'a Session,
        project: &'a str,
    ) -> BoxFuture<'a, Result<Tokens, ClientError>> {
        let enter = async move {
            let path = (Method::POST, "/v1/projects/access");
            let request = AccessRequest { project_id: project };
            let token = account.token().await?;
            let mut reply = self.rest.json::<LoginReply>(path.clone(), Some(&token), Some(&request)).await;
            if reply.as_ref().is_err_and(|error| error.status() == Some(401)) {
                let token = account.replace(&token).await?;
                reply = self.rest.json(path, Some(&token), Some(&request)).await;
            }
            read(&self.rest, reply?)
        };
        enter.boxed()
    }

    async fn refresh(&self, token: &Token) -> Result<Tokens, ClientError> {
        let refresh_token = token.text.expose_str().expect("made from text");
        let org_id = match &self.grant {
            Grant::Account(account) => account.organization.as_deref(),
            Grant::Key(_) | Grant::Project { .. } => None,
        };
        self.sign_in("/v1/refresh", &RefreshRequest { refresh_token, org_id }).await
    }

    /// Sends credentials. That they are not good is told apart from every other error.
    async fn sign_in(&self, path: &str, request: &impl Serialize) -> Result<Tokens, ClientError> {
        let reply = self.rest.json((Method::POST, path), None, Some(request)).await;
        let auth_url = || self.rest.endpoint().auth_url().to_owned();
        let reply: LoginReply = reply.map_err(|error| match error {
            ClientError::Rejected { status: 400 | 401 | 403, message: reason } => {
                ClientError::LoginRefused { auth_url: auth_url(), reason }
            }
            ClientError::Rejected { status: 429, message: reason } => {
                ClientError::Unreachable { address: auth_url(), reason }
            }
            ClientError::Rejected { message: reason, .. } | ClientError::Protocol { what: reason, .. } => {
                ClientError::LoginFailed { auth_url: auth_url(), reason }
            }
            other => other,
        })?;
        read(&self.rest, reply)
    }

    fn text<'a>(&self, secret: &'a Secret) -> Result<&'a str, ClientError> {
        secret.expose_str().ok_or_else(|| ClientError::LoginRefused {
            auth_url: self.rest.endpoint().auth_url().to_owned(),
            reason: "the secret is not text".to_owned(),
        })
    }
}

/// The tokens of a reply.
fn read(rest: &Rest, reply: LoginReply) -> Result<Tokens, ClientError> {
    let access = Token::new(reply.access_token).map(Arc::new).ok_or_else(|| ClientError::LoginFailed {
        auth_url: rest.endpoint().auth_url().to_owned(),
        reason: "it gave a token that can't be read".to_owned(),
    })?;
    Ok(Tokens { access, refresh: Token::new(reply.refresh_token) })
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
