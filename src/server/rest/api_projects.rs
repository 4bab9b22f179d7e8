//! Projects with all that is known of them: `/api/projects`.
//!
//! Removing one takes two requests: the first gives a token, the second confirms with it. Then the project's tokens end,
//! its topics are destroyed, and its keys and itself are gone.

use axum::{extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    RestState,
    api_tenants::refusal,
    caller::Caller,
    input::{Input, Parameters, PathId, RequestBody},
    paging::{self, PAGING},
    reply::{self, Answer, Refusal},
    route::Route,
    wire::{WireId, WireSecret, WireTime},
};
use crate::{
    broker::BrokerError,
    identity::{List, NewProject, Project, ProjectChange, ResourceError, Tenant},
    model::{Needs, OrganizationId, Permission, ProjectId, Subject, TenantId, Ulid},
};

const LIST: List = List::newest_first("api-projects");

const READ: Needs = Needs::All(&[Permission::ProjectsRead]);
const EDIT: Needs = Needs::All(&[Permission::ProjectsEdit]);
const DELETE: Needs = Needs::All(&[Permission::ProjectsDelete]);

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/projects", READ, "List the organization's projects, newest first", list)
            .asks(&PAGING)
            .gives::<ProjectList>(StatusCode::OK),
        Route::post("/api/projects", EDIT, "Make a project", create)
            .takes::<ProjectRequest>()
            .gives::<ProjectBody>(StatusCode::CREATED),
        Route::get("/api/tenants/{id}/projects", READ, "List a tenant's projects, newest first", of_tenant)
            .asks(&PAGING)
            .gives::<ProjectList>(StatusCode::OK),
        Route::get("/api/projects/{id}", READ, "A project", detail).gives::<ProjectBody>(StatusCode::OK),
        Route::patch("/api/projects/{id}", EDIT, "Change a project's name, description or tenant", update)
            .takes::<ProjectRequest>()
            .gives::<ProjectBody>(StatusCode::OK),
        Route::delete("/api/projects/{id}", DELETE, "Remove a project with its topics and keys, in two steps", delete)
            .takes::<RemovalRequest>()
            .gives::<RemovalReply>(StatusCode::OK)
            .gives::<RemovalReply>(StatusCode::ACCEPTED),
    ]
}

/// A project on its way in; what is not said stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = ManagedProjectRequest)]
struct ProjectRequest {
    /// Not the client's to say.
    #[serde(default)]
    id: WireId,
    /// The oldest tenant when a new project does not say.
    #[serde(default)]
    tenant_id: WireId,
    #[serde(default)]
    name: Option<String>,
    /// At most 2000 bytes.
    #[serde(default)]
    description: Option<String>,
}

impl RequestBody for ProjectRequest {}

/// Which project is to be removed, and in the second step the token that the first one gave.
#[derive(Debug, Deserialize, ToSchema)]
struct RemovalRequest {
    #[serde(default)]
    id: WireId,
    #[serde(default)]
    token: WireSecret,
}

impl RequestBody for RemovalRequest {}

/// What comes of a step.
#[derive(Serialize, ToSchema)]
struct RemovalReply {
    id: WireId,
    name: String,
    /// What confirms the removal, for five minutes.
    token: String,
    /// `DELETED` after the second step.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
}

/// A project.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ManagedProject)]
struct ProjectBody {
    id: WireId,
    tenant_id: WireId,
    name: String,
    description: String,
    /// Who made it; none when the server did, or when that user is no member any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<OwnerBody>,
    /// `Incomplete` without topics or keys, `Active`, or `Deleting` when its removal was begun and not finished.
    status: &'static str,
    active_topics: u64,
    data_storage: StorageBody,
    created: WireTime,
    modified: WireTime,
}

/// A member of the organization, in short.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProjectOwner)]
struct OwnerBody {
    id: WireId,
    name: String,
    email: String,
}

/// How much something takes.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Storage)]
struct StorageBody {
    name: &'static str,
    value: u64,
    units: &'static str,
}

/// A part of the projects.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ManagedProjectList)]
struct ProjectList {
    projects: Vec<ProjectBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

async fn list(State(state): State<RestState>, Caller(caller): Caller, parameters: Parameters) -> Answer {
    listed(&state, caller.organization, None, &parameters).await
}

async fn of_tenant(
    State(state): State<RestState>,
    Caller(caller): Caller,
    PathId(id): PathId,
    parameters: Parameters,
) -> Answer {
    let id = TenantId(id.ok_or_else(|| Refusal::not_found("tenant not found"))?);
    state.identity.tenant(caller.organization, id).await.map_err(|error| refusal(&error))?;
    listed(&state, caller.organization, Some(id), &parameters).await
}

/// The projects of an organization, or of one of its tenants.
async fn listed(
    state: &RestState,
    organization: OrganizationId,
    tenant: Option<TenantId>,
    parameters: &Parameters,
) -> Answer {
    let request = paging::request(parameters)?;
    let identity = &state.identity;
    let mut projects = identity.projects(organization).await.map_err(|error| refusal(&error.into()))?;
    let oldest = oldest_tenant(state, organization).await?;
    projects.retain(|project| tenant.is_none_or(|tenant| project.tenant.or(oldest) == Some(tenant)));
    let place = |project: &Project| (project.created, project.id.0);
    let page = identity.page(LIST, organization, &request, projects, place).map_err(paging::refusal)?;
    let mut projects = Vec::new();
    for project in page.items {
        projects.push(body(state, project, oldest).await?);
    }
    Ok(reply::json(StatusCode::OK, &ProjectList { projects, next_page_token: page.next_token }))
}

async fn create(
    State(state): State<RestState>,
    Caller(caller): Caller,
    Input(request): Input<ProjectRequest>,
) -> Answer {
    if request.id.known().is_some() {
        return Err(Refusal::bad_request("project id cannot be specified on create"));
    }
    let owner = match caller.subject {
        Subject::User { id, .. } => Some(id),
        Subject::Key(_) => None,
    };
    let new = NewProject {
        id: None,
        organization: caller.organization,
        tenant: request.tenant_id.known().map(TenantId),
        name: request.name.unwrap_or_default(),
        description: request.description.unwrap_or_default(),
        owner,
    };
    let project = state.identity.add_project(new).await.map_err(|error| refusal(&error))?;
    let oldest = oldest_tenant(&state, caller.organization).await?;
    Ok(reply::json(StatusCode::CREATED, &body(&state, project, oldest).await?))
}

async fn detail(State(state): State<RestState>, Caller(caller): Caller, PathId(id): PathId) -> Answer {
    let project = state.identity.project_of(caller.organization, project_id(id)?).await;
    let oldest = oldest_tenant(&state, caller.organization).await?;
    Ok(reply::json(StatusCode::OK, &body(&state, project.map_err(|error| refusal(&error))?, oldest).await?))
}

async fn update(
    State(state): State<RestState>,
    Caller(caller): Caller,
    PathId(id): PathId,
    Input(request): Input<ProjectRequest>,
) -> Answer {
    let id = project_id(id)?;
    if request.id.known().is_some_and(|other| other != id.0) {
        return Err(Refusal::bad_request("id in request body does not match id in URL"));
    }
    let change = ProjectChange {
        name: request.name,
        description: request.description,
        tenant: request.tenant_id.known().map(TenantId),
    };
    let project = state.identity.change_project(caller.organization, id, change).await;
    let oldest = oldest_tenant(&state, caller.organization).await?;
    Ok(reply::json(StatusCode::OK, &body(&state, project.map_err(|error| refusal(&error))?, oldest).await?))
}

async fn delete(
    State(state): State<RestState>,
    Caller(caller): Caller,
    PathId(id): PathId,
    Input(request): Input<RemovalRequest>,
) -> Answer {
    let id = project_id(id)?;
    if request.id.known() != Some(id.0) {
        return Err(Refusal::bad_request("id in request body does not match id in URL"));
    }
    let (identity, organization) = (&state.identity, caller.organization);
    if request.token.0.is_empty() {
        let prepared = identity.prepare_project_removal(organization, id).await;
        let (project, token) = prepared.map_err(|error| refusal(&error))?;
        let token = token.expose_str().unwrap_or_default().to_owned();
        let reply = RemovalReply { id: WireId(id.0), name: project.name, token, status: None };
        return Ok(reply::json(StatusCode::OK, &reply));
    }
    let begun = identity.begin_project_removal(organization, id, &request.token.0).await;
    let project = begun.map_err(|error| refusal(&error))?;
    state.broker.destroy_topics(id).await.map_err(|error| failed(&error))?;
    identity.finish_project_removal(organization, id).await.map_err(|error| refusal(&error))?;
    let token = request.token.0.expose_str().unwrap_or_default().to_owned();
    let reply = RemovalReply { id: WireId(id.0), name: project.name, token, status: Some("DELETED") };
    Ok(reply::json(StatusCode::ACCEPTED, &reply))
}

fn project_id(id: Option<Ulid>) -> Result<ProjectId, Refusal> {
    id.map(ProjectId).ok_or_else(|| Refusal::not_found("project not found"))
}

/// The tenant of projects that name none.
async fn oldest_tenant(state: &RestState, organization: OrganizationId) -> Result<Option<TenantId>, Refusal> {
    let tenants: Result<Vec<Tenant>, ResourceError> = state.identity.tenants(organization).await;
    Ok(tenants.map_err(|error| refusal(&error))?.first().map(|tenant| tenant.id))
}

async fn body(state: &RestState, project: Project, oldest: Option<TenantId>) -> Result<ProjectBody, Refusal> {
    let identity = &state.identity;
    let totals = state.broker.project_totals(project.id).await.map_err(|error| failed(&error))?;
    let counts = identity.key_counts(project.id).await.map_err(|error| refusal(&error.into()))?;
    let owner = match project.owner {
        Some(owner) => identity.member(owner, project.organization).await.map_err(|error| refusal(&error.into()))?,
        None => None,
    };
    let status = match () {
        () if project.removing => "Deleting",
        () if totals.topics == 0 || counts.live == 0 => "Incomplete",
        () => "Active",
    };
    Ok(ProjectBody {
        id: WireId(project.id.0),
        tenant_id: WireId(project.tenant.or(oldest).unwrap_or_default().0),
        name: project.name,
        description: project.description,
        owner: owner.map(|member| OwnerBody {
            id: WireId(member.user.id.0),
            name: member.user.name,
            email: member.user.email,
        }),
        status,
        active_topics: totals.active_topics,
        data_storage: StorageBody { name: "storage", value: totals.data_bytes, units: "bytes" },
        created: project.created.into(),
        modified: project.modified.into(),
    })
}

fn failed(error: &BrokerError) -> Refusal {
    Refusal::failed(error, "could not complete request")
}
