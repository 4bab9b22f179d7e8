//! Users sign in, change the organization, and set another password: `/v1/login`, `/v1/switch`, `/v1/forgot-password`,
//! `/v1/reset-password`.

use axum::{extract::State, http::StatusCode};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    RestState,
    account::{self, INVALID_INVITATION, OOPS, UNLIKELY_EMAIL_BYTES, UNVERIFIED},
    caller::Caller,
    input::{Input, RequestBody},
    reply::{self, Answer, Refusal},
    route::Route,
    sessions::{LoginReply, signed_in},
    wire::{WireId, WireSecret},
};
use crate::{
    identity::AccountError,
    model::{Needs, OrganizationId},
    telemetry::UserKind,
};

/// What a login is refused with, whatever was wrong.
const REFUSED: &str = "Unable to login with those details - please try again!";

const NOT_SENT: &str = "Unable to send password reset email. Please contact support@rotational.io for assistance.";

const NOT_RESET: &str = "Unable to reset your password. Please contact support@rotational.io for assistance.";

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post("/v1/login", Needs::Nothing, "Sign in with an address and a password", login)
            .takes::<LoginRequest>()
            .gives::<LoginReply>(StatusCode::OK),
        Route::post("/v1/switch", Needs::SignedIn, "Sign in to another organization of yours", switch)
            .takes::<SwitchRequest>()
            .gives::<LoginReply>(StatusCode::OK),
        Route::post("/v1/forgot-password", Needs::Nothing, "Have a token mailed for another password", forgot)
            .takes::<ForgotPasswordRequest>()
            .gives_plain(StatusCode::NO_CONTENT),
        Route::post("/v1/reset-password", Needs::Nothing, "Set another password with the token that was mailed", reset)
            .takes::<ResetPasswordRequest>()
            .gives_plain(StatusCode::NO_CONTENT),
    ]
}

/// An address and a password, and either the organization to sign in to or an invitation to one.
#[derive(Debug, Deserialize, ToSchema)]
struct LoginRequest {
    #[serde(default)]
    #[schema(required)]
    email: String,
    #[serde(default)]
    #[schema(required)]
    password: WireSecret,
    #[serde(default)]
    org_id: WireId,
    #[serde(default)]
    invite_token: WireSecret,
}

impl RequestBody for LoginRequest {
    const MALFORMED: &'static str = REFUSED;
}

/// An organization.
#[derive(Debug, Deserialize, ToSchema)]
struct SwitchRequest {
    #[serde(default)]
    #[schema(required)]
    org_id: WireId,
}

impl RequestBody for SwitchRequest {}

/// An address.
#[derive(Debug, Deserialize, ToSchema)]
struct ForgotPasswordRequest {
    #[serde(default)]
    #[schema(required)]
    email: String,
}

impl RequestBody for ForgotPasswordRequest {
    const MALFORMED: &'static str = NOT_SENT;
}

/// A token that was mailed, and the password to be, twice.
#[derive(Debug, Deserialize, ToSchema)]
struct ResetPasswordRequest {
    #[serde(default)]
    #[schema(required)]
    token: WireSecret,
    #[serde(default)]
    #[schema(required)]
    password: WireSecret,
    #[serde(default)]
    #[schema(required)]
    pwcheck: WireSecret,
}

impl RequestBody for ResetPasswordRequest {
    const MALFORMED: &'static str = NOT_RESET;
}

/// `POST /v1/login`
async fn login(State(state): State<RestState>, Input(request): Input<LoginRequest>) -> Answer {
    let (email, password) = (request.email.trim(), account::trimmed(&request.password.0));
    let organization = request.org_id.known().map(OrganizationId);
    let invitation = account::trimmed(&request.invite_token.0);
    if email.is_empty() || password.is_empty() || (organization.is_some() && !invitation.is_empty()) {
        return Err(Refusal::bad_request(REFUSED));
    }
    // As addresses compare, so that letter case does not give more attempts.
    let name = email.to_lowercase();
    state.allow_attempt(&name)?;
    let tokens = if invitation.is_empty() {
        state.identity.login(email, &password, organization).await
    } else {
        state.identity.login_invited(email, &password, account::text(&invitation)).await
    };
    let is_wrong = matches!(tokens, Err(AccountError::InvalidCredentials));
    state.attempt_ended(&name, is_wrong, UserKind::Human)?;
    if tokens.is_ok() {
        state.metrics.signed_in(UserKind::Human);
    }
    tokens.map(|tokens| signed_in(&tokens)).map_err(|error| match error {
        AccountError::InvalidCredentials => Refusal::forbidden(REFUSED),
        AccountError::Unverified => Refusal::unverified(UNVERIFIED),
        AccountError::UnknownToken | AccountError::ExpiredToken => Refusal::bad_request(INVALID_INVITATION),
        error => account::failed(&error, OOPS),
    })
}

/// `POST /v1/switch`
async fn switch(
    State(state): State<RestState>,
    Caller(caller): Caller,
    Input(request): Input<SwitchRequest>,
) -> Answer {
    let Some(organization) = request.org_id.known().map(OrganizationId) else {
        return Err(Refusal::bad_request("missing organization id"));
    };
    if organization == caller.organization {
        return Err(Refusal::bad_request("cannot switch into the organization you are currently logged into"));
    }
    let tokens = state.identity.switch(&caller, organization).await;
    tokens.map(|tokens| signed_in(&tokens)).map_err(|error| match error {
        AccountError::InvalidCredentials => Refusal::forbidden("invalid credentials"),
        error => account::failed(&error, "could not process switch request"),
    })
}

/// `POST /v1/forgot-password`: what comes of it is not told, so that nobody learns who has an account.
async fn forgot(State(state): State<RestState>, Input(request): Input<ForgotPasswordRequest>) -> Answer {
    let email = request.email.trim();
    if email.is_empty() || email.len() > UNLIKELY_EMAIL_BYTES {
        return Err(Refusal::bad_request("Please enter a valid email address."));
    }
    state.identity.forgot_password(email);
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// `POST /v1/reset-password`
async fn reset(State(state): State<RestState>, Input(request): Input<ResetPasswordRequest>) -> Answer {
    let (token, password) = (account::trimmed(&request.token.0), account::trimmed(&request.password.0));
    if token.is_empty() {
        return Err(Refusal::bad_request("missing required field: token"));
    }
    account::check_new_password(&state, &password, &account::trimmed(&request.pwcheck.0), &[]).await?;
    match state.identity.reset_password(account::text(&token), password).await {
        Ok(()) => Ok(reply::empty(StatusCode::NO_CONTENT)),
        Err(AccountError::UnknownToken) => Err(Refusal::bad_request(NOT_RESET)),
        Err(AccountError::ExpiredToken) => {
            Err(Refusal::bad_request("Unable to reset your password - please request a new password reset."))
        }
        Err(error) => Err(account::failed(&error, NOT_RESET)),
    }
}
