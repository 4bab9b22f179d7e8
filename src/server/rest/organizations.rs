//! The caller's organizations, and the names of workspaces: `/v1/organizations`, `/v1/workspace`.

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
    wire::{WireId, WireTime},
};
use crate::{
    identity::{AccountError, List, OrganizationOfUser, PageError, Workspace},
    model::{Needs, OrganizationId, Permission},
};

const UNREADABLE: &str = "Unable to create or access that organization - please try again!";

const NO_LOOKUP: &str = "Unable to lookup workspace - please update request and try again.";

const LIST: List = List::oldest_first("organizations");

const READ: Needs = Needs::All(&[Permission::OrganizationsRead]);

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/v1/organizations", READ, "List the organizations that you are a member of", list)
            .asks(&PAGING)
            .gives::<OrganizationListReply>(StatusCode::OK),
        Route::get("/v1/organizations/{id}", READ, "Show the organization that you are signed in to", detail)
            .gives::<OrganizationReply>(StatusCode::OK),
        Route::put(
            "/v1/organizations/{id}",
            Needs::All(&[Permission::OrganizationsEdit]),
            "Give the organization that you are signed in to another name or workspace",
            update,
        )
        .takes::<OrganizationRequest>()
        .gives::<OrganizationReply>(StatusCode::OK),
        Route::get("/v1/workspace", READ, "Look up a workspace", workspace)
            .asks(&[
                ("domain", "The name of the workspace"),
                ("check_available", "Whether to answer that a workspace is free instead of that it is not there"),
            ])
            .gives::<WorkspaceReply>(StatusCode::OK),
    ]
}

/// An organization, as one of its members sees it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Organization)]
struct OrganizationReply {
    id: WireId,
    name: String,
    domain: String,
    /// How many projects it has.
    projects: usize,
    /// When the caller signed in to it last.
    last_login: WireTime,
    created: WireTime,
    modified: WireTime,
}

/// A page of organizations.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OrganizationList)]
struct OrganizationListReply {
    organizations: Vec<OrganizationReply>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

/// What an organization and its workspace are to be called.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = OrganizationUpdate)]
struct OrganizationRequest {
    #[serde(default)]
    #[schema(required)]
    id: WireId,
    #[serde(default)]
    #[schema(required)]
    name: String,
    #[serde(default)]
    #[schema(required)]
    domain: String,
}

impl RequestBody for OrganizationRequest {
    const MALFORMED: &'static str = UNREADABLE;
}

/// Whose a workspace is. Of another organization's, no more than that it is taken is told.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Workspace)]
struct WorkspaceReply {
    org_id: WireId,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    domain: String,
    is_available: bool,
}

impl From<OrganizationOfUser> for OrganizationReply {
    fn from(found: OrganizationOfUser) -> OrganizationReply {
        OrganizationReply {
            id: WireId(found.organization.id.0),
            name: found.organization.name,
            domain: found.organization.domain,
            projects: found.projects,
            last_login: WireTime(found.last_login),
            created: found.organization.created.into(),
            modified: found.organization.modified.into(),
        }
    }
}

/// `GET /v1/organizations`
async fn list(State(state): State<RestState>, Caller(caller): Caller, parameters: Parameters) -> Answer {
    let user = account::user(&caller)?;
    let all = state.identity.organizations_of_user(user).await.map_err(|error| failed(&error.into()))?;
    let place = |found: &OrganizationOfUser| (found.organization.created, found.organization.id.0);
    let request = paging::request(&parameters)?;
    let page = state.identity.page(LIST, caller.organization, &request, all, place);
    let page = page.map_err(|error| match error {
        PageError::NegativeSize => paging::refusal(error),
        _ => Refusal::bad_request("invalid next page token"),
    })?;
    let organizations = page.items.into_iter().map(OrganizationReply::from).collect();
    Ok(reply::json(StatusCode::OK, &OrganizationListReply { organizations, next_page_token: page.next_token }))
}

/// `GET /v1/organizations/{id}`
async fn detail(State(state): State<RestState>, Caller(caller): Caller, PathId(id): PathId) -> Answer {
    let user = account::user(&caller)?;
    if id != Some(caller.organization.0) {
        return Err(Refusal::not_found("organization not found"));
    }
    let found = state.identity.organization_of_user(user, caller.organization).await;
    let found = found.map_err(|error| failed(&error.into()))?;
    Ok(reply::json(StatusCode::OK, &OrganizationReply::from(found)))
}

/// `PUT /v1/organizations/{id}`: the organization is the caller's, whatever path and body say; if they say another one,
/// nothing happens.
async fn update(
    State(state): State<RestState>,
    Caller(caller): Caller,
    PathId(id): PathId,
    Input(request): Input<OrganizationRequest>,
) -> Answer {
    let user = account::user(&caller)?;
    for (is_missing, message) in [
        (request.id.known().is_none(), "missing required field: id"),
        (request.name.trim().is_empty(), "missing required field: name"),
        (request.domain.trim().is_empty(), "missing required field: domain"),
    ] {
        if is_missing {
            return Err(Refusal::bad_request(message));
        }
    }
    let own = caller.organization;
    if id != Some(own.0) || request.id.known().map(OrganizationId) != Some(own) {
        return Err(Refusal::not_found("Organization with the specified ID was not found."));
    }
    let updated = state.identity.update_organization(own, &request.name, &request.domain).await;
    updated.map_err(|error| match error {
        AccountError::Exists { .. } => Refusal::conflict("An organization with that workspace already exists."),
        AccountError::NotFound { .. } => Refusal::not_found("Organization with the specified ID was not found."),
        error => failed(&error),
    })?;
    let found = state.identity.organization_of_user(user, own).await.map_err(|error| failed(&error.into()))?;
    Ok(reply::json(StatusCode::OK, &OrganizationReply::from(found)))
}

/// `GET /v1/workspace`
async fn workspace(State(state): State<RestState>, Caller(caller): Caller, parameters: Parameters) -> Answer {
    let domain = parameters.text("domain").trim();
    let check_available = parameters.flag("check_available").map_err(|_| Refusal::bad_request(NO_LOOKUP))?;
    if domain.is_empty() {
        return Err(Refusal::bad_request(NO_LOOKUP));
    }
    let found = state.identity.workspace(caller.organization, domain).await;
    let (id, name, is_available) = match found.map_err(|error| failed(&error.into()))? {
        Workspace::Own(organization) => (WireId(organization.id.0), organization.name, false),
        Workspace::Taken => (WireId::default(), String::new(), false),
        Workspace::Free if check_available => (WireId::default(), String::new(), true),
        Workspace::Free => return Err(Refusal::not_found("Organization with specified domain not found.")),
    };
    let domain = domain.to_lowercase();
    Ok(reply::json(StatusCode::OK, &WorkspaceReply { org_id: id, name, domain, is_available }))
}

fn failed(error: &AccountError) -> Refusal {
    account::failed(error, "could not complete request")
}
