//! The members of the caller's organization, and the caller's own account: `/v1/users`, `/v1/accounts`.

use axum::{extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    RestState, account,
    caller::Caller,
    input::{Input, Parameters, PathId, RequestBody},
    paging::{self, PAGING},
    reply::{self, Answer, Refusal},
    route::Route,
    wire::{WireId, WireSecret, WireTime},
};
use crate::{
    identity::{AccountError, List, Member, Removal},
    model::{Needs, OrganizationId, Permission, Role, Ulid, UserId},
};

const LIST: List = List::oldest_first("users");

const READ: Needs = Needs::All(&[Permission::CollaboratorsRead]);
const EDIT: Needs = Needs::All(&[Permission::CollaboratorsEdit]);
const REMOVE: Needs = Needs::All(&[Permission::CollaboratorsRemove]);

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/v1/users", READ, "List the members of the organization", list)
            .asks(&PAGING)
            .gives::<UserListReply>(StatusCode::OK),
        Route::get("/v1/users/{id}", READ, "Show a member", detail).gives::<UserReply>(StatusCode::OK),
        Route::put("/v1/users/{id}", EDIT, "Change a member's name", update)
            .takes::<UserRequest>()
            .gives::<UserReply>(StatusCode::OK),
        Route::post("/v1/users/{id}", EDIT, "Change a member's role", change_role)
            .takes::<RoleRequest>()
            .gives::<UserReply>(StatusCode::OK),
        Route::delete("/v1/users/{id}", REMOVE, "Remove a member, or ask for the token that confirms it", remove)
            .gives::<RemovalReply>(StatusCode::OK),
        Route::delete("/v1/users/{id}/confirm", REMOVE, "Remove a member together with their API keys", confirm)
            .takes::<ConfirmRequest>()
            .gives_plain(StatusCode::NO_CONTENT),
        Route::put("/v1/accounts/{id}", Needs::SignedIn, "Change your own name", update_account)
            .takes::<UserRequest>()
            .gives::<UserReply>(StatusCode::OK),
    ]
}

/// A member of the organization.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = User)]
struct UserReply {
    user_id: WireId,
    /// Always all zeros, as published clients know it.
    org_id: WireId,
    name: String,
    email: String,
    role: &'static str,
    last_login: WireTime,
}

/// A page of members.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UserList)]
struct UserListReply {
    users: Vec<UserReply>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

/// What a user is to be called.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = UserUpdate)]
struct UserRequest {
    #[serde(default)]
    #[schema(required)]
    user_id: WireId,
    #[serde(default)]
    #[schema(required)]
    name: String,
}

impl RequestBody for UserRequest {}

/// What a member is to be.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = UpdateRole)]
struct RoleRequest {
    #[serde(default)]
    id: WireId,
    /// `Owner`, `Admin`, `Member` or `Observer`.
    #[serde(default)]
    #[schema(required)]
    role: String,
}

impl RequestBody for RoleRequest {}

/// What became of a removal: either it is done, or these keys would end with it, and the token confirms that.
#[derive(Serialize, ToSchema)]
#[schema(as = UserRemoveReply)]
struct RemovalReply {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    api_keys: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    deleted: bool,
}

/// The token that confirms a removal.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = UserRemoveConfirm)]
struct ConfirmRequest {
    #[serde(default)]
    id: WireId,
    #[serde(default)]
    #[schema(required)]
    token: WireSecret,
}

impl RequestBody for ConfirmRequest {}

impl From<Member> for UserReply {
    fn from(member: Member) -> UserReply {
        UserReply {
            user_id: WireId(member.user.id.0),
            org_id: WireId::default(),
            name: member.user.name,
            email: member.user.email,
            role: member.role.name(),
            last_login: WireTime(member.last_login),
        }
    }
}

/// `GET /v1/users`
async fn list(State(state): State<RestState>, Caller(caller): Caller, parameters: Parameters) -> Answer {
    let all = state.identity.members(caller.organization).await.map_err(|error| refusal(&error.into()))?;
    let place = |member: &Member| (member.user.created, member.user.id.0);
    let request = paging::request(&parameters)?;
    let page = state.identity.page(LIST, caller.organization, &request, all, place).map_err(paging::refusal)?;
    let users = page.items.into_iter().map(UserReply::from).collect();
    Ok(reply::json(StatusCode::OK, &UserListReply { users, next_page_token: page.next_token }))
}

/// `GET /v1/users/{id}`
async fn detail(State(state): State<RestState>, Caller(caller): Caller, PathId(id): PathId) -> Answer {
    let member = state.identity.member(user(id)?, caller.organization).await;
    let member = member.map_err(|error| refusal(&error.into()))?;
    match member {
        Some(member) => Ok(reply::json(StatusCode::OK, &UserReply::from(member))),
        None => Err(Refusal::not_found("user not found")),
    }
}

/// `PUT /v1/users/{id}`
async fn update(
    State(state): State<RestState>,
    Caller(caller): Caller,
    PathId(id): PathId,
    Input(request): Input<UserRequest>,
) -> Answer {
    let id = user(id)?;
    rename(&state, id, caller.organization, &request, "user id not found").await
}

/// `PUT /v1/accounts/{id}`
async fn update_account(
    State(state): State<RestState>,
    Caller(caller): Caller,
    PathId(id): PathId,
    Input(request): Input<UserRequest>,
) -> Answer {
    let id = id.map(UserId).ok_or_else(|| Refusal::not_found("user not found"))?;
    if caller.subject.user() != Some(id) {
        return Err(Refusal::bad_request(OTHER_ID));
    }
    rename(&state, id, caller.organization, &request, "user not found").await
}

const OTHER_ID: &str = "resource id does not match id of endpoint";

async fn rename(
    state: &RestState,
    id: UserId,
    organization: OrganizationId,
    request: &UserRequest,
    not_found: &'static str,
) -> Answer {
    match request.user_id.known() {
        None => return Err(Refusal::bad_request("missing required field: user_id")),
        Some(named) if named != id.0 => return Err(Refusal::bad_request(OTHER_ID)),
        Some(_) => {}
    }
    if request.name.trim().is_empty() {
        return Err(Refusal::bad_request("missing required field: name"));
    }
    let renamed = state.identity.rename_user(id, organization, &request.name).await;
    let member = renamed.map_err(|error| match error {
        AccountError::NotFound { .. } => Refusal::not_found(not_found),
        error => refusal(&error),
    })?;
    Ok(reply::json(StatusCode::OK, &UserReply::from(member)))
}

/// `POST /v1/users/{id}`
async fn change_role(
    State(state): State<RestState>,
    Caller(caller): Caller,
    PathId(id): PathId,
    Input(request): Input<RoleRequest>,
) -> Answer {
    let id = user(id)?;
    if request.id.known().is_some_and(|named| named != id.0) {
        return Err(Refusal::bad_request(OTHER_ID));
    }
    if request.role.is_empty() {
        return Err(Refusal::bad_request("missing required field: role"));
    }
    let role = request.role.parse::<Role>().map_err(|_| Refusal::bad_request("unknown user role"))?;
    let changed = state.identity.set_role(&caller, id, role).await;
    let member = changed.map_err(|error| match error {
        AccountError::LastOwner => Refusal::bad_request("organization must have at least one owner"),
        error => refusal(&error),
    })?;
    Ok(reply::json(StatusCode::OK, &UserReply::from(member)))
}

/// `DELETE /v1/users/{id}`
async fn remove(State(state): State<RestState>, Caller(caller): Caller, PathId(id): PathId) -> Answer {
    let id = id.map(UserId).ok_or_else(|| Refusal::bad_request("could not parse request"))?;
    let reply = match state.identity.remove_member(&caller, id).await.map_err(|error| refusal(&error))? {
        Removal::Done => RemovalReply { api_keys: Vec::new(), token: None, deleted: true },
        Removal::Asked { keys, token } => RemovalReply {
            api_keys: keys.into_iter().map(|key| key.name).collect(),
            token: Some(account::text(&token).to_owned()),
            deleted: false,
        },
    };
    Ok(reply::json(StatusCode::OK, &reply))
}

/// `DELETE /v1/users/{id}/confirm`: path, body and token have to be about the same member of the caller's organization.
async fn confirm(
    State(state): State<RestState>,
    Caller(caller): Caller,
    PathId(id): PathId,
    Input(request): Input<ConfirmRequest>,
) -> Answer {
    let id = id.map(UserId).ok_or_else(|| Refusal::bad_request("could not parse request"))?;
    if request.id.known().is_some_and(|named| named != id.0) {
        return Err(Refusal::bad_request(OTHER_ID));
    }
    let token = account::trimmed(&request.token.0);
    if token.is_empty() {
        return Err(Refusal::bad_request("missing required field: token"));
    }
    let confirmed = state.identity.confirm_removal(&caller, id, account::text(&token)).await;
    confirmed.map_err(|error| refusal(&error))?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// The user that a path names.
fn user(id: Option<Ulid>) -> Result<UserId, Refusal> {
    id.map(UserId).ok_or_else(|| Refusal::not_found("user id not found"))
}

fn refusal(error: &AccountError) -> Refusal {
    match error {
        AccountError::NotFound { .. } => Refusal::not_found("user not found"),
        AccountError::SameRole => Refusal::bad_request("user already has the specified role"),
        AccountError::LastOwner => Refusal::conflict("cannot remove only owner from organization"),
        AccountError::UnknownToken | AccountError::ExpiredToken => Refusal::bad_request("invalid confirmation token"),
        error => account::failed(error, "could not complete request"),
    }
}
