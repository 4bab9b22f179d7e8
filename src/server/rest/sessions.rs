//! Signing in with an API key, and refreshing.

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use serde_json::{Map, Value};

use super::{RestState, body::Fields, reply};
use crate::{
    identity::{AuthError, Tokens},
    model::{OrganizationId, Secret},
};

/// What every refusal of a refresh says; which of many reasons it was is nobody's business but the log's.
const LOGGED_OUT: &str = "Logged out of your account - please log back in!";

/// `POST /v1/authenticate`: `client_id` and `client_secret` for a pair of tokens.
pub(super) async fn authenticate(State(state): State<RestState>, headers: HeaderMap, body: Body) -> Response {
    let read = Fields::read(&headers, body).await;
    let credentials = read.and_then(|fields| Ok((fields.text("client_id")?, fields.text("client_secret")?)));
    let (client_id, secret) = match credentials {
        Ok((client_id, secret)) => (client_id, Secret::new(secret)),
        Err(error) => return error.reply("could not parse request"),
    };
    if client_id.is_empty() || secret.is_empty() {
        return reply::error(StatusCode::BAD_REQUEST, "missing credentials");
    }
    match state.identity.authenticate(&client_id, &secret).await {
        Ok(tokens) => signed_in(&tokens),
        Err(error) => refused(&error, "invalid credentials", "could not complete request"),
    }
}

/// `POST /v1/refresh`: `refresh_token`, and possibly the `org_id` that it has to be for, for a new pair.
pub(super) async fn refresh(State(state): State<RestState>, headers: HeaderMap, body: Body) -> Response {
    let read = Fields::read(&headers, body).await;
    let request = read.and_then(|fields| Ok((fields.text("refresh_token")?, fields.id("org_id")?)));
    let (token, organization) = match request {
        Ok((token, organization)) => (Secret::new(token), organization.map(OrganizationId)),
        Err(error) => return error.reply(LOGGED_OUT),
    };
    if token.is_empty() {
        return reply::error(StatusCode::BAD_REQUEST, LOGGED_OUT);
    }
    match state.identity.refresh(&token, organization).await {
        Ok(tokens) => signed_in(&tokens),
        Err(error) => refused(&error, LOGGED_OUT, "Oops - something went wrong!"),
    }
}

fn signed_in(tokens: &Tokens) -> Response {
    let text = |token: &Secret| Value::from(token.expose_str().expect("tokens are made of text"));
    let mut body = Map::new();
    body.insert("access_token".to_owned(), text(&tokens.access));
    body.insert("refresh_token".to_owned(), text(&tokens.refresh));
    if let Some(last_login) = tokens.last_login {
        body.insert("last_login".to_owned(), Value::from(last_login.to_string()));
    }
    reply::json(StatusCode::OK, &body)
}

fn refused(error: &AuthError, denied: &str, failed: &str) -> Response {
    match error {
        AuthError::InvalidCredentials => reply::error(StatusCode::FORBIDDEN, denied),
        AuthError::Refused { source } => {
            tracing::debug!(reason = %source, "refused a refresh token");
            reply::error(StatusCode::FORBIDDEN, denied)
        }
        AuthError::Busy => {
            let mut reply = reply::error(StatusCode::TOO_MANY_REQUESTS, "rate limit reached: too many requests");
            reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            reply
        }
        AuthError::Failed { source } => {
            tracing::error!(error = source as &dyn std::error::Error, "could not complete a sign-in");
            reply::error(StatusCode::INTERNAL_SERVER_ERROR, failed)
        }
    }
}
