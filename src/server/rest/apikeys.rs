//! API keys: `/v1/apikeys`.

use std::time::Duration;

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    RestState,
    caller::Caller,
    input::{Input, Parameters, PathId, RequestBody},
    paging::{self, PAGING},
    reply::{self, Answer, Refusal},
    route::Route,
    wire::{WireId, WireSecret, WireTime},
};
use crate::{
    identity::{ApiKey, KeyOrigin, List, NewKey, ResourceError},
    model::{KeyId, Needs, Permission, Permissions, ProjectId, Subject, Time, Ulid},
    server::auth,
};

const LIST: List = List::newest_first("apikeys");

const READ: Needs = Needs::All(&[Permission::ApiKeysRead]);
const EDIT: Needs = Needs::All(&[Permission::ApiKeysEdit]);
const DELETE: Needs = Needs::All(&[Permission::ApiKeysDelete]);

/// After how long without use a key is stale.
const STALE: Duration = Duration::from_hours(90 * 24);

const PARAMETERS: &[(&str, &str)] = &[PAGING[0], PAGING[1], ("project_id", "Only the keys of this project")];

const NOT_FOUND: &str = "api key not found";

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/v1/apikeys", READ, "List the organization's API keys, newest first", list)
            .asks(PARAMETERS)
            .gives::<ApiKeyList>(StatusCode::OK),
        Route::post("/v1/apikeys", EDIT, "Make an API key; its secret is shown in the reply and never again", create)
            .takes::<KeyRequest>()
            .gives::<KeyBody>(StatusCode::CREATED),
        Route::get(
            "/v1/apikeys/permissions",
            Needs::SignedIn,
            "The permissions that the caller can give a key",
            permissions,
        )
        .gives::<Vec<String>>(StatusCode::OK),
        Route::get("/v1/apikeys/{id}", READ, "An API key, without its secret", detail).gives::<KeyBody>(StatusCode::OK),
        Route::put("/v1/apikeys/{id}", EDIT, "Give an API key another name", update)
            .takes::<KeyRequest>()
            .gives::<KeyBody>(StatusCode::OK),
        Route::delete("/v1/apikeys/{id}", DELETE, "End an API key, its tokens and its streams", delete)
            .gives_plain(StatusCode::NO_CONTENT),
    ]
}

/// An API key on its way in. Most of it is not the client's to say.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = ApiKeyRequest)]
struct KeyRequest {
    #[serde(default)]
    id: WireId,
    #[serde(default)]
    client_id: String,
    #[serde(default)]
    client_secret: WireSecret,
    #[serde(default)]
    #[schema(required)]
    name: String,
    #[serde(default)]
    org_id: WireId,
    #[serde(default)]
    project_id: WireId,
    #[serde(default)]
    created_by: WireId,
    #[serde(default)]
    source: String,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    last_used: WireTime,
    #[serde(default)]
    permissions: Vec<String>,
}

impl RequestBody for KeyRequest {}

/// An API key.
#[derive(Serialize, ToSchema)]
#[schema(as = ApiKey)]
struct KeyBody {
    id: WireId,
    client_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<String>,
    name: String,
    org_id: WireId,
    project_id: WireId,
    /// The user who made it; zero when the server did.
    created_by: WireId,
    #[serde(skip_serializing_if = "String::is_empty")]
    source: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    user_agent: String,
    last_used: WireTime,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    permissions: Vec<&'static str>,
    created: WireTime,
    modified: WireTime,
}

/// A part of the keys.
#[derive(Debug, Serialize, ToSchema)]
struct ApiKeyList {
    apikeys: Vec<KeyPreview>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

/// What a list says of a key.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ApiKeyPreview)]
struct KeyPreview {
    id: WireId,
    client_id: String,
    name: String,
    project_id: WireId,
    /// Whether it has less than all permissions.
    partial: bool,
    /// `Unused`, `Active`, `Stale` or `Revoked`.
    status: &'static str,
    last_used: WireTime,
    created: WireTime,
    modified: WireTime,
}

async fn list(State(state): State<RestState>, Caller(caller): Caller, parameters: Parameters) -> Answer {
    let request = paging::request(&parameters)?;
    let project = match parameters.text("project_id") {
        "" => None,
        text => {
            let id = Ulid::parse_lenient(text);
            Some(ProjectId(id.map_err(|_| Refusal::bad_request("invalid or unparsable field: project_id"))?))
        }
    };
    let identity = &state.identity;
    let keys = identity.keys_of(caller.organization, project).await;
    let keys = keys.map_err(|error| Refusal::failed(&error, "could not list apikeys"))?;
    let place = |key: &ApiKey| (key.created, key.id.0);
    let page = identity.page(LIST, caller.organization, &request, keys, place).map_err(paging::refusal)?;
    let now = state.clock.now();
    let apikeys = page.items.into_iter().map(|key| preview(key, now)).collect();
    Ok(reply::json(StatusCode::OK, &ApiKeyList { apikeys, next_page_token: page.next_token }))
}

async fn create(
    State(state): State<RestState>,
    Caller(caller): Caller,
    headers: HeaderMap,
    Input(request): Input<KeyRequest>,
) -> Answer {
    let missing = |field: &str| Refusal::bad_request(format!("missing required field: {field}"));
    request.restricted(&["id", "client_id", "client_secret"])?;
    if request.name.trim().is_empty() {
        return Err(missing("name"));
    }
    request.restricted(&["org_id"])?;
    let project = ProjectId(request.project_id.known().ok_or_else(|| missing("project_id"))?);
    request.restricted(&["created_by", "user_agent", "last_used"])?;
    if request.permissions.is_empty() {
        return Err(missing("permissions"));
    }
    let permissions = grantable(&request.permissions, caller.permissions)?;
    let created_by = match caller.subject {
        Subject::User { id, .. } => Some(id),
        Subject::Key(_) => None,
    };
    let new = NewKey { name: request.name, project, permissions, created_by };
    let origin = KeyOrigin { source: request.source, user_agent: auth::user_agent(&headers) };
    let issued = state.identity.create_key_of(caller.organization, new, origin).await.map_err(|error| match error {
        ResourceError::NotFound { .. } | ResourceError::Removing => {
            Refusal::bad_request("validation error: invalid project id for apikey")
        }
        error => refusal(&error, "could not create apikey"),
    })?;
    let secret = issued.secret.expose_str().map(str::to_owned);
    Ok(reply::json(StatusCode::CREATED, &KeyBody { client_secret: secret, ..body(issued.key) }))
}

async fn permissions(Caller(caller): Caller) -> Answer {
    let held = caller.permissions;
    let mut names: Vec<&str> =
        Permissions::full_key().iter().filter(|one| can_give(*one, held)).map(Permission::name).collect();
    names.sort_unstable();
    Ok(reply::json(StatusCode::OK, &names))
}

async fn detail(State(state): State<RestState>, Caller(caller): Caller, PathId(id): PathId) -> Answer {
    let id = id.ok_or_else(|| Refusal::not_found("apikey not found"))?;
    let key = state.identity.key_of(caller.organization, KeyId(id)).await;
    let key = key.map_err(|error| refusal(&error, "could not retrieve apikey"))?;
    Ok(reply::json(StatusCode::OK, &body(key)))
}

async fn update(
    State(state): State<RestState>,
    Caller(caller): Caller,
    PathId(id): PathId,
    Input(request): Input<KeyRequest>,
) -> Answer {
    let id = id.ok_or_else(|| Refusal::not_found("apikey not found"))?;
    if id.is_zero() {
        return Err(Refusal::bad_request("missing required field: id"));
    }
    if request.id.known().is_some_and(|other| other != id) {
        return Err(Refusal::bad_request("resource id does not match id of endpoint"));
    }
    request.restricted(&["client_id", "client_secret"])?;
    if request.name.trim().is_empty() {
        return Err(Refusal::bad_request("missing required field: name"));
    }
    request.restricted(&["org_id", "project_id", "created_by", "source", "user_agent", "last_used", "permissions"])?;
    let key = state.identity.rename_key(caller.organization, KeyId(id), &request.name).await;
    let key = key.map_err(|error| refusal(&error, "could not update apikey"))?;
    Ok(reply::json(StatusCode::OK, &body(key)))
}

async fn delete(State(state): State<RestState>, Caller(caller): Caller, PathId(id): PathId) -> Answer {
    let id = id.ok_or_else(|| Refusal::not_found("apikey not found"))?;
    let ended = state.identity.revoke_key_of(caller.organization, KeyId(id)).await;
    ended.map_err(|error| refusal(&error, "could not delete apikey"))?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

impl KeyRequest {
    /// Refuses what the client may not say.
    fn restricted(&self, fields: &[&str]) -> Result<(), Refusal> {
        let is_said = |field: &str| match field {
            "id" => self.id.known().is_some(),
            "client_id" => !self.client_id.is_empty(),
            "client_secret" => !self.client_secret.0.is_empty(),
            "org_id" => self.org_id.known().is_some(),
            "project_id" => self.project_id.known().is_some(),
            "created_by" => self.created_by.known().is_some(),
            "source" => !self.source.is_empty(),
            "user_agent" => !self.user_agent.is_empty(),
            "last_used" => self.last_used.0.is_some(),
            _ => !self.permissions.is_empty(),
        };
        match fields.iter().find(|field| is_said(field)) {
            Some(field) => Err(Refusal::bad_request(format!("field restricted for request: {field}"))),
            None => Ok(()),
        }
    }
}

/// Whether somebody with these permissions can give one to a key: those that only keys have can be given by anybody who
/// may make keys, the others by who has them.
fn can_give(permission: Permission, held: Permissions) -> bool {
    matches!(permission, Permission::Publisher | Permission::Subscriber) || held.contains(permission)
}

fn grantable(names: &[String], held: Permissions) -> Result<Permissions, Refusal> {
    let mut permissions = Vec::new();
    for name in names {
        let known = name.parse::<Permission>().ok().filter(|permission| permission.is_for_keys());
        let permission =
            known.ok_or_else(|| Refusal::bad_request("validation error: invalid permission specified for apikey"))?;
        if !can_give(permission, held) {
            return Err(Refusal::bad_request("invalid permissions requested for apikey"));
        }
        permissions.push(permission);
    }
    Ok(permissions.into_iter().collect())
}

fn body(key: ApiKey) -> KeyBody {
    let mut permissions: Vec<&str> = key.permissions.iter().map(Permission::name).collect();
    permissions.sort_unstable();
    KeyBody {
        id: WireId(key.id.0),
        client_id: key.client_id,
        client_secret: None,
        name: key.name,
        org_id: WireId(key.organization.0),
        project_id: WireId(key.project.0),
        created_by: WireId(key.created_by.map_or_else(Ulid::default, |user| user.0)),
        source: key.source,
        user_agent: key.user_agent,
        last_used: WireTime(key.last_used),
        permissions,
        created: key.created.into(),
        modified: key.modified.into(),
    }
}

fn preview(key: ApiKey, now: Time) -> KeyPreview {
    let stale = i64::try_from(STALE.as_nanos()).unwrap_or(i64::MAX);
    let status = match key.last_used {
        _ if key.revoked.is_some() => "Revoked",
        None => "Unused",
        Some(used) if used.plus_nanos(stale) < now => "Stale",
        Some(_) => "Active",
    };
    KeyPreview {
        id: WireId(key.id.0),
        client_id: key.client_id,
        name: key.name,
        project_id: WireId(key.project.0),
        partial: key.permissions != Permissions::full_key(),
        status,
        last_used: WireTime(key.last_used),
        created: key.created.into(),
        modified: key.modified.into(),
    }
}

fn refusal(error: &ResourceError, failed: &'static str) -> Refusal {
    match error {
        ResourceError::NotFound { .. } => Refusal::not_found(NOT_FOUND),
        ResourceError::Missing { field } => Refusal::bad_request(format!("missing required field: {field}")),
        ResourceError::TooLong { field } => Refusal::bad_request(format!("invalid or unparsable field: {field}")),
        ResourceError::Changed => Refusal::conflict("the resource has been changed meanwhile, please try again"),
        ResourceError::Busy => Refusal::too_many_requests(),
        error => Refusal::failed(error, failed),
    }
}
