//! Signing in with an API key, and refreshing.

use axum::{extract::State, http::StatusCode, response::Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    RestState,
    input::{Input, RequestBody},
    reply::{self, Answer, Refusal},
    route::Route,
    wire::{WireId, WireSecret},
};
use crate::{
    identity::{AuthError, Tokens},
    model::{Needs, OrganizationId, Secret},
    telemetry::UserKind,
};

/// What every refusal of a refresh says; which of many reasons it was is nobody's business but the log's.
const LOGGED_OUT: &str = "Logged out of your account - please log back in!";

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post("/v1/authenticate", Needs::Nothing, "Sign in with an API key", authenticate)
            .takes::<ApiAuthentication>()
            .gives::<LoginReply>(StatusCode::OK),
        Route::post("/v1/refresh", Needs::Nothing, "Exchange a refresh token for a new pair", refresh)
            .takes::<RefreshRequest>()
            .gives::<LoginReply>(StatusCode::OK),
    ]
}

/// An API key.
#[derive(Debug, Deserialize, ToSchema)]
struct ApiAuthentication {
    #[serde(default)]
    #[schema(required)]
    client_id: String,
    #[serde(default)]
    #[schema(required)]
    client_secret: WireSecret,
}

impl RequestBody for ApiAuthentication {}

/// A refresh token, and possibly the organization that it has to be for.
#[derive(Debug, Deserialize, ToSchema)]
struct RefreshRequest {
    #[serde(default)]
    #[schema(required)]
    refresh_token: WireSecret,
    #[serde(default)]
    org_id: WireId,
}

impl RequestBody for RefreshRequest {
    const MALFORMED: &'static str = LOGGED_OUT;
}

/// A pair of tokens.
#[derive(Serialize, ToSchema)]
pub(super) struct LoginReply {
    access_token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    /// When the caller signed in before.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_login: Option<String>,
}

impl LoginReply {
    pub(super) fn access_alone(token: &Secret) -> LoginReply {
        LoginReply { access_token: text(token), refresh_token: None, last_login: None }
    }
}

fn text(token: &Secret) -> String {
    token.expose_str().expect("tokens are made of text").to_owned()
}

/// `POST /v1/authenticate`: `client_id` and `client_secret` for a pair of tokens.
async fn authenticate(State(state): State<RestState>, Input(request): Input<ApiAuthentication>) -> Answer {
    let (client_id, secret) = (request.client_id, request.client_secret.0);
    if client_id.is_empty() || secret.is_empty() {
        return Err(Refusal::bad_request("missing credentials"));
    }
    state.allow_attempt(&client_id)?;
    let tokens = state.identity.authenticate(&client_id, &secret).await;
    let is_wrong = matches!(tokens, Err(AuthError::InvalidCredentials));
    state.attempt_ended(&client_id, is_wrong, UserKind::Machine)?;
    let tokens = tokens.map_err(|error| refusal(&error, "invalid credentials", "could not complete request"))?;
    state.metrics.signed_in(UserKind::Machine);
    Ok(signed_in(&tokens))
}

/// `POST /v1/refresh`: `refresh_token`, and possibly the `org_id` that it has to be for, for a new pair.
async fn refresh(State(state): State<RestState>, Input(request): Input<RefreshRequest>) -> Answer {
    let token = request.refresh_token.0;
    if token.is_empty() {
        return Err(Refusal::bad_request(LOGGED_OUT));
    }
    let tokens = state.identity.refresh(&token, request.org_id.known().map(OrganizationId)).await;
    tokens.map(|tokens| signed_in(&tokens)).map_err(|error| refusal(&error, LOGGED_OUT, "Oops - something went wrong!"))
}

/// The answer to whoever has signed in.
pub(super) fn signed_in(tokens: &Tokens) -> Response {
    let body = LoginReply {
        access_token: text(&tokens.access),
        refresh_token: Some(text(&tokens.refresh)),
        last_login: tokens.last_login.map(|time| time.to_string()),
    };
    reply::json(StatusCode::OK, &body)
}

/// The answer to whoever has not, in the route's words.
pub(super) fn refusal(error: &AuthError, denied: &'static str, failed: &'static str) -> Refusal {
    match error {
        AuthError::InvalidCredentials => Refusal::forbidden(denied),
        AuthError::Refused { source } => {
            tracing::debug!(reason = %source, "refused a refresh token");
            Refusal::forbidden(denied)
        }
        AuthError::Busy => Refusal::too_many_requests(),
        AuthError::Failed { source } => Refusal::failed(source, failed),
    }
}
