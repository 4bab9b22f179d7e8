//! Registering, and showing that an address is one's own: `/v1/register`, `/v1/verify`, `/v1/resend`.

use axum::{extract::State, http::StatusCode, response::Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    RestState,
    account::{self, UNLIKELY_EMAIL_BYTES},
    input::{Input, RequestBody},
    reply::{self, Answer, Refusal},
    route::Route,
    sessions::{LoginReply, signed_in},
    wire::{WireId, WireSecret},
};
use crate::{
    identity::{AccountError, NewAccount, NewOrganization, Verified},
    model::{Needs, OrganizationId, ProjectId, Secret},
};

/// What a registration is refused with that can't be read.
const MALFORMED: &str = "Unable to register with those details - please try again!";

const WELCOME: &str = "Welcome to Ensign!";

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post(
            "/v1/register",
            Needs::Nothing,
            "Make an account and an organization, or accept an invitation",
            register,
        )
        .takes::<RegisterRequest>()
        .gives::<RegisterReply>(StatusCode::CREATED),
        Route::post("/v1/verify", Needs::Nothing, "Verify an address with the token that was mailed to it", verify)
            .takes::<VerifyRequest>()
            .gives::<LoginReply>(StatusCode::OK)
            .gives_plain(StatusCode::NO_CONTENT),
        Route::post("/v1/resend", Needs::Nothing, "Have the token mailed again that verifies an address", resend)
            .takes::<ResendRequest>()
            .gives_plain(StatusCode::NO_CONTENT),
    ]
}

/// An account to be.
#[derive(Debug, Deserialize, ToSchema)]
struct RegisterRequest {
    /// A project to make in the new organization.
    #[serde(default)]
    project_id: ProjectText,
    #[serde(default)]
    name: String,
    #[serde(default)]
    #[schema(required)]
    email: String,
    #[serde(default)]
    #[schema(required)]
    password: WireSecret,
    /// The password again.
    #[serde(default)]
    #[schema(required)]
    pwcheck: WireSecret,
    #[serde(default)]
    organization: String,
    /// The name of the workspace; random letters when there is none.
    #[serde(default)]
    domain: String,
    #[serde(default)]
    #[schema(required)]
    terms_agreement: bool,
    #[serde(default)]
    #[schema(required)]
    privacy_agreement: bool,
    /// An invitation to the address: then no organization is made.
    #[serde(default)]
    invite_token: WireSecret,
}

impl RequestBody for RegisterRequest {
    const MALFORMED: &'static str = MALFORMED;
}

/// The identifier of a project, which may be empty.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(value_type = String, format = "ulid")]
struct ProjectText(String);

impl ProjectText {
    fn known(&self) -> Result<Option<ProjectId>, Refusal> {
        match self.0.as_str() {
            "" => Ok(None),
            text => {
                let id = crate::model::Ulid::parse_lenient(text).map_err(|_| Refusal::bad_request(MALFORMED))?;
                Ok(Some(ProjectId(id)).filter(|id| !id.0.is_zero()))
            }
        }
    }
}

/// What was made.
#[derive(Debug, Serialize, ToSchema)]
struct RegisterReply {
    user_id: WireId,
    org_id: WireId,
    email: String,
    org_name: String,
    org_domain: String,
    message: &'static str,
    role: &'static str,
    created: String,
}

/// A token that was mailed.
#[derive(Debug, Deserialize, ToSchema)]
struct VerifyRequest {
    #[serde(default)]
    #[schema(required)]
    token: WireSecret,
    /// The organization to sign in to.
    #[serde(default)]
    org_id: WireId,
}

impl RequestBody for VerifyRequest {}

/// An address.
#[derive(Debug, Deserialize, ToSchema)]
struct ResendRequest {
    #[serde(default)]
    #[schema(required)]
    email: String,
    /// Read, and of no effect.
    #[serde(default)]
    #[allow(dead_code, reason = "it has to be an identifier, as published clients are told")]
    org_id: WireId,
}

impl RequestBody for ResendRequest {}

/// `POST /v1/register`
async fn register(State(state): State<RestState>, Input(request): Input<RegisterRequest>) -> Answer {
    let project = request.project_id.known()?;
    let email = request.email.trim().to_owned();
    let password = account::trimmed(&request.password.0);
    if email.is_empty() {
        return Err(Refusal::bad_request("missing required field: email"));
    }
    let known = [email.as_str(), &request.name, &request.organization];
    account::check_new_password(&state, &password, &account::trimmed(&request.pwcheck.0), &known).await?;
    for (given, missing) in [
        (request.terms_agreement, "missing required field: terms_agreement"),
        (request.privacy_agreement, "missing required field: privacy_agreement"),
    ] {
        if !given {
            return Err(Refusal::bad_request(missing));
        }
    }
    let wanted = NewOrganization { name: request.organization, domain: request.domain, project };
    let new = NewAccount { email, password, name: request.name };
    let invitation = account::trimmed(&request.invite_token.0);
    let registered = if invitation.is_empty() {
        state.identity.register(new, wanted).await
    } else {
        register_invited(&state, new, wanted, &invitation).await?
    };
    let made = registered.map_err(|error| refusal(&error))?;
    let reply = RegisterReply {
        user_id: WireId(made.user.id.0),
        org_id: WireId(made.organization.id.0),
        email: made.user.email,
        org_name: made.organization.name,
        org_domain: made.organization.domain,
        message: WELCOME,
        role: made.role.name(),
        created: made.user.created.to_string(),
    };
    Ok(reply::json(StatusCode::CREATED, &reply))
}

async fn register_invited(
    state: &RestState,
    new: NewAccount,
    wanted: NewOrganization,
    invitation: &Secret,
) -> Result<Result<crate::identity::Registered, AccountError>, Refusal> {
    for (is_given, restricted) in [
        (wanted.project.is_some(), "field restricted for request: project_id"),
        (!wanted.name.trim().is_empty(), "field restricted for request: organization"),
        (!wanted.domain.trim().is_empty(), "field restricted for request: domain"),
    ] {
        if is_given {
            return Err(Refusal::bad_request(restricted));
        }
    }
    Ok(state.identity.register_invited(new, account::text(invitation)).await)
}

fn refusal(error: &AccountError) -> Refusal {
    match error {
        AccountError::Invalid { field } => Refusal::bad_request(format!("invalid or unparsable field: {field}")),
        AccountError::RegistrationClosed => Refusal::forbidden(
            "this server does not take registrations: ask the owner of an organization on it for an invitation",
        ),
        AccountError::Exists { .. } => Refusal::conflict("user or organization already exists"),
        AccountError::UnknownToken | AccountError::ExpiredToken => Refusal::bad_request(account::INVALID_INVITATION),
        error => account::failed(error, account::OOPS),
    }
}

/// `POST /v1/verify`
async fn verify(State(state): State<RestState>, Input(request): Input<VerifyRequest>) -> Answer {
    let token = account::trimmed(&request.token.0);
    if token.is_empty() {
        return Err(Refusal::bad_request("missing token in request"));
    }
    let organization = request.org_id.known().map(OrganizationId);
    match state.identity.verify_email(account::text(&token), organization).await {
        Ok(Verified::SignedIn(tokens)) => Ok(signed_in(&tokens)),
        Ok(Verified::Already) => Ok(reply::empty(StatusCode::NO_CONTENT)),
        Err(AccountError::UnknownToken) => Err(Refusal::bad_request("invalid token")),
        Err(AccountError::ExpiredToken) => Err(Refusal::new(
            StatusCode::GONE,
            "token expired, a new verification token has been sent to the email associated with the account",
        )),
        Err(AccountError::InvalidCredentials) => Err(Refusal::forbidden("invalid credentials")),
        Err(error) => Err(account::failed(&error, "could not verify email")),
    }
}

/// `POST /v1/resend`: what comes of it is not told, so that nobody learns who has an account.
async fn resend(State(state): State<RestState>, Input(request): Input<ResendRequest>) -> Result<Response, Refusal> {
    let email = request.email.trim();
    if email.is_empty() || email.len() > UNLIKELY_EMAIL_BYTES {
        return Err(Refusal::bad_request("invalid or unparsable field"));
    }
    state.identity.resend_verification(email);
    Ok(reply::empty(StatusCode::NO_CONTENT))
}
