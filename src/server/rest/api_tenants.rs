//! Tenants: `/api/tenants`.

use axum::{extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    RestState,
    caller::Caller,
    input::{Input, Parameters, PathId, RequestBody},
    paging::{self, PAGING},
    reply::{self, Answer, Refusal},
    route::Route,
    wire::{WireId, WireTime},
};
use crate::{
    identity::{List, ResourceError, Tenant},
    model::{Needs, Permission, TenantId},
};

const LIST: List = List::newest_first("tenants");

const READ: Needs = Needs::All(&[Permission::OrganizationsRead]);
const EDIT: Needs = Needs::All(&[Permission::OrganizationsEdit]);
const DELETE: Needs = Needs::All(&[Permission::OrganizationsDelete]);

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/tenants", READ, "List the organization's tenants, newest first", list)
            .asks(&PAGING)
            .gives::<TenantList>(StatusCode::OK),
        Route::post("/api/tenants", EDIT, "Make a tenant", create)
            .takes::<TenantRequest>()
            .gives::<TenantBody>(StatusCode::CREATED),
        Route::get("/api/tenants/{id}", READ, "A tenant", detail).gives::<TenantBody>(StatusCode::OK),
        Route::put("/api/tenants/{id}", EDIT, "Give a tenant another name or kind of environment", update)
            .takes::<TenantRequest>()
            .gives::<TenantBody>(StatusCode::OK),
        Route::delete("/api/tenants/{id}", DELETE, "Remove a tenant that has no projects", delete)
            .gives_plain(StatusCode::NO_CONTENT),
    ]
}

/// A tenant on its way in.
#[derive(Debug, Deserialize, ToSchema)]
struct TenantRequest {
    #[serde(default)]
    name: String,
    /// `Development`, `Staging`, `Production`, or another word.
    #[serde(default)]
    environment_type: String,
}

impl RequestBody for TenantRequest {}

/// A tenant.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Tenant)]
struct TenantBody {
    id: WireId,
    name: String,
    environment_type: String,
    created: WireTime,
    modified: WireTime,
}

/// A part of the tenants.
#[derive(Debug, Serialize, ToSchema)]
struct TenantList {
    tenants: Vec<TenantBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

async fn list(State(state): State<RestState>, Caller(caller): Caller, parameters: Parameters) -> Answer {
    let request = paging::request(&parameters)?;
    let identity = &state.identity;
    let tenants = identity.tenants(caller.organization).await.map_err(|error| refusal(&error))?;
    let place = |tenant: &Tenant| (tenant.created, tenant.id.0);
    let page = identity.page(LIST, caller.organization, &request, tenants, place).map_err(paging::refusal)?;
    let tenants = page.items.into_iter().map(body).collect();
    Ok(reply::json(StatusCode::OK, &TenantList { tenants, next_page_token: page.next_token }))
}

async fn create(
    State(state): State<RestState>,
    Caller(caller): Caller,
    Input(request): Input<TenantRequest>,
) -> Answer {
    let (name, environment) = (&request.name, &request.environment_type);
    let tenant = state.identity.create_tenant(caller.organization, name, environment).await;
    Ok(reply::json(StatusCode::CREATED, &body(tenant.map_err(|error| refusal(&error))?)))
}

async fn detail(State(state): State<RestState>, Caller(caller): Caller, PathId(id): PathId) -> Answer {
    let tenant = state.identity.tenant(caller.organization, tenant_id(id)?).await;
    Ok(reply::json(StatusCode::OK, &body(tenant.map_err(|error| refusal(&error))?)))
}

async fn update(
    State(state): State<RestState>,
    Caller(caller): Caller,
    PathId(id): PathId,
    Input(request): Input<TenantRequest>,
) -> Answer {
    let (name, environment) = (&request.name, &request.environment_type);
    let tenant = state.identity.change_tenant(caller.organization, tenant_id(id)?, name, environment).await;
    Ok(reply::json(StatusCode::OK, &body(tenant.map_err(|error| refusal(&error))?)))
}

async fn delete(State(state): State<RestState>, Caller(caller): Caller, PathId(id): PathId) -> Answer {
    let removed = state.identity.remove_tenant(caller.organization, tenant_id(id)?).await;
    removed.map_err(|error| refusal(&error))?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

fn tenant_id(id: Option<crate::model::Ulid>) -> Result<TenantId, Refusal> {
    id.map(TenantId).ok_or_else(|| Refusal::not_found("tenant not found"))
}

fn body(tenant: Tenant) -> TenantBody {
    TenantBody {
        id: WireId(tenant.id.0),
        name: tenant.name,
        environment_type: tenant.environment,
        created: tenant.created.into(),
        modified: tenant.modified.into(),
    }
}

/// What went wrong with tenants and projects under `/api`, in its words.
pub(super) fn refusal(error: &ResourceError) -> Refusal {
    match error {
        ResourceError::NotFound { what } => Refusal::not_found(format!("{what} not found")),
        ResourceError::Exists { what } => Refusal::conflict(format!("a {what} with this name or id exists already")),
        ResourceError::Missing { field } => Refusal::bad_request(format!("missing required field: {field}")),
        ResourceError::TooLong { field } => Refusal::bad_request(format!("the {field} is too long")),
        ResourceError::Unconfirmed => Refusal::new(StatusCode::PRECONDITION_FAILED, "invalid confirmation token"),
        ResourceError::NotEmpty | ResourceError::LastTenant | ResourceError::Removing | ResourceError::Changed => {
            Refusal::conflict(error.to_string())
        }
        ResourceError::Busy => Refusal::too_many_requests(),
        error => Refusal::failed(error, "could not complete request"),
    }
}
