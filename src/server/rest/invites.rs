//! Invitations to the caller's organization, and what nothing mailed: `/v1/invites`, `/api/mail`.

use axum::{extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    RestState,
    account::{self, INVALID_INVITATION, UNVERIFIED},
    caller::Caller,
    input::{Input, PathText, RequestBody},
    reply::{self, Answer, Refusal},
    route::Route,
    sessions::{LoginReply, signed_in},
    wire::{WireId, WireSecret, WireTime},
};
use crate::{
    identity::AccountError,
    model::{Needs, Permission, Role},
};

const ADD: Needs = Needs::All(&[Permission::CollaboratorsAdd]);

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/v1/invites/{token}", Needs::Nothing, "Show what an invitation says", preview)
            .gives::<PreviewReply>(StatusCode::OK),
        Route::post("/v1/invites", ADD, "Invite somebody to the organization", create)
            .takes::<InviteRequest>()
            .gives::<InviteReply>(StatusCode::OK),
        Route::post("/v1/invites/accept", Needs::SignedIn, "Accept an invitation", accept)
            .takes::<AcceptRequest>()
            .gives::<LoginReply>(StatusCode::OK),
        Route::get("/api/mail", ADD, "List the mail that was not sent, because nothing here sends mail", mail)
            .gives::<MailListReply>(StatusCode::OK),
    ]
}

/// Who is invited as what.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = UserInviteRequest)]
struct InviteRequest {
    #[serde(default)]
    #[schema(required)]
    email: String,
    /// `Owner`, `Admin`, `Member` or `Observer`.
    #[serde(default)]
    #[schema(required)]
    role: String,
}

impl RequestBody for InviteRequest {}

/// The token of an invitation.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = UserInviteToken)]
struct AcceptRequest {
    #[serde(default)]
    #[schema(required)]
    token: WireSecret,
}

impl RequestBody for AcceptRequest {}

/// What an invitation says to who has its token.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UserInvitePreview)]
struct PreviewReply {
    email: String,
    org_name: String,
    inviter_name: String,
    role: &'static str,
    user_exists: bool,
}

/// An invitation that was made.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UserInviteReply)]
struct InviteReply {
    /// Who is invited; all zeros as long as the address has no user.
    user_id: WireId,
    org_id: WireId,
    email: String,
    role: &'static str,
    name: String,
    organization: String,
    workspace: String,
    expires_at: String,
    created_by: WireId,
    created: String,
}

/// Mail that was not sent, with the token that is in it.
#[derive(Serialize, ToSchema)]
#[schema(as = Mail)]
struct MailReply {
    /// `verification`, `password reset` or `invitation`.
    purpose: String,
    to: String,
    token: String,
    created: WireTime,
    expires: WireTime,
}

/// All mail that was not sent and that is of use still, from old to new.
#[derive(Serialize, ToSchema)]
#[schema(as = MailList)]
struct MailListReply {
    mail: Vec<MailReply>,
}

/// `GET /v1/invites/{token}`
async fn preview(State(state): State<RestState>, PathText(token): PathText) -> Answer {
    let found = state.identity.preview_invitation(&token).await.map_err(|error| match error {
        AccountError::UnknownToken => Refusal::bad_request("invalid invitation"),
        AccountError::ExpiredToken => Refusal::bad_request("invitation has expired"),
        error => account::failed(&error, "could not complete request"),
    })?;
    let reply = PreviewReply {
        email: found.email,
        org_name: found.organization,
        inviter_name: found.inviter,
        role: found.role.name(),
        user_exists: found.user_exists,
    };
    Ok(reply::json(StatusCode::OK, &reply))
}

/// `POST /v1/invites`
async fn create(
    State(state): State<RestState>,
    Caller(caller): Caller,
    Input(request): Input<InviteRequest>,
) -> Answer {
    if request.email.trim().is_empty() {
        return Err(Refusal::bad_request("missing required field: email"));
    }
    if request.role.is_empty() {
        return Err(Refusal::bad_request("missing required field: role"));
    }
    let role = request.role.parse::<Role>().map_err(|_| Refusal::bad_request("unknown user role"))?;
    let made = state.identity.invite(&caller, &request.email, role).await.map_err(|error| match error {
        AccountError::Exists { .. } => Refusal::conflict("user is a member of the organization already"),
        error => account::failed(&error, "could not invite user"),
    })?;
    let (user_id, name) = match made.user {
        Some(user) => (WireId(user.id.0), user.name),
        None => (WireId::default(), String::new()),
    };
    let reply = InviteReply {
        user_id,
        org_id: WireId(made.organization.id.0),
        email: made.email,
        role: made.role.name(),
        name,
        organization: made.organization.name,
        workspace: made.organization.domain,
        expires_at: made.expires.to_string(),
        created_by: WireId(made.created_by.0),
        created: made.created.to_string(),
    };
    Ok(reply::json(StatusCode::OK, &reply))
}

/// `POST /v1/invites/accept`
async fn accept(
    State(state): State<RestState>,
    Caller(caller): Caller,
    Input(request): Input<AcceptRequest>,
) -> Answer {
    const REFUSED: &str = "Unable to login with those details - please try again!";
    let token = account::trimmed(&request.token.0);
    if token.is_empty() {
        return Err(Refusal::bad_request(REFUSED));
    }
    let tokens = state.identity.accept_invitation(&caller, account::text(&token)).await;
    tokens.map(|tokens| signed_in(&tokens)).map_err(|error| match error {
        AccountError::UnknownToken | AccountError::ExpiredToken => Refusal::bad_request(INVALID_INVITATION),
        AccountError::Unverified => Refusal::unverified(UNVERIFIED),
        AccountError::InvalidCredentials => account::not_permitted(),
        error => account::failed(&error, "could not complete request"),
    })
}

/// `GET /api/mail`
async fn mail(State(state): State<RestState>, Caller(caller): Caller) -> Answer {
    let kept = state.identity.kept_mail(&caller).await;
    let kept = kept.map_err(|error| account::failed(&error.into(), "could not complete request"))?;
    let mail = kept.into_iter().map(|mail| MailReply {
        purpose: mail.purpose.to_string(),
        to: mail.to,
        token: account::text(&mail.token).to_owned(),
        created: mail.created.into(),
        expires: mail.expires.into(),
    });
    Ok(reply::json(StatusCode::OK, &MailListReply { mail: mail.collect() }))
}
