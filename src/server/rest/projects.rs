//! Projects as the Quarterdeck API has them: `/v1/projects`. It knows a project by an identifier that the client chose,
//! and nothing else of it; the rest is in `/api/projects`.

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
    sessions::LoginReply,
    wire::{WireId, WireTime},
};
use crate::{
    identity::{IdentityError, KeyCounts, List, NewProject, Project, ResourceError},
    model::{Needs, Permission, ProjectId, Subject},
};

const LIST: List = List::newest_first("projects");

const READ: Needs = Needs::All(&[Permission::ProjectsRead]);
const EDIT: Needs = Needs::All(&[Permission::ProjectsEdit]);
const ACCESS: Needs = Needs::All(&[Permission::TopicsRead]);

const NO_ACCESS: &str = "Unable to create or access that project - please try again!";
const NOT_CREATED: &str = "Unable to create a project with those details - please correct them and try again!";
const NOT_FOUND: &str = "Project with the specified ID was not found.";

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/v1/projects", READ, "List the organization's projects, newest first", list)
            .asks(&PAGING)
            .gives::<ProjectList>(StatusCode::OK),
        Route::post("/v1/projects", EDIT, "Make a project with an identifier of the client's choice", create)
            .takes::<ProjectRequest>()
            .gives::<ProjectBody>(StatusCode::OK),
        Route::post(
            "/v1/projects/access",
            ACCESS,
            "A token for the topics of one project, good for five minutes",
            access,
        )
        .takes::<ProjectRequest>()
        .gives::<LoginReply>(StatusCode::OK),
        Route::get("/v1/projects/{id}", READ, "A project, with how many keys it has", detail)
            .gives::<ProjectBody>(StatusCode::OK),
    ]
}

/// Which project is meant.
#[derive(Debug, Deserialize, ToSchema)]
struct ProjectRequest {
    /// Not the client's to say.
    #[serde(default)]
    org_id: WireId,
    #[serde(default)]
    #[schema(required)]
    project_id: WireId,
}

impl RequestBody for ProjectRequest {
    const MALFORMED: &'static str = NO_ACCESS;
}

/// A project, as far as keys are concerned.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Project)]
struct ProjectBody {
    org_id: WireId,
    project_id: WireId,
    #[serde(skip_serializing_if = "is_zero")]
    apikeys_count: usize,
    #[serde(skip_serializing_if = "is_zero")]
    revoked_count: usize,
    created: WireTime,
    modified: WireTime,
}

/// A part of the projects.
#[derive(Debug, Serialize, ToSchema)]
struct ProjectList {
    projects: Vec<ProjectBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

async fn list(State(state): State<RestState>, Caller(caller): Caller, parameters: Parameters) -> Answer {
    let request = paging::request(&parameters)?;
    let identity = &state.identity;
    let failed = |error: IdentityError| Refusal::failed(&error, "could not list projects");
    let projects = identity.projects(caller.organization).await.map_err(failed)?;
    let place = |project: &Project| (project.created, project.id.0);
    let page = identity.page(LIST, caller.organization, &request, projects, place).map_err(paging::refusal)?;
    let mut projects = Vec::new();
    for project in page.items {
        let counts = identity.key_counts(project.id).await.map_err(failed)?;
        projects.push(body(&project, counts));
    }
    Ok(reply::json(StatusCode::OK, &ProjectList { projects, next_page_token: page.next_token }))
}

async fn create(
    State(state): State<RestState>,
    Caller(caller): Caller,
    Input(request): Input<ProjectRequest>,
) -> Answer {
    let id = request.project_id.known().filter(|_| request.org_id.known().is_none());
    let id = ProjectId(id.ok_or_else(|| Refusal::bad_request(NOT_CREATED))?);
    let owner = match caller.subject {
        Subject::User { id, .. } => Some(id),
        Subject::Key(_) => None,
    };
    let name = id.to_string();
    let new = NewProject { id: Some(id), organization: caller.organization, name, owner, ..NewProject::default() };
    let project = state.identity.add_project(new).await.map_err(|error| match error {
        ResourceError::Exists { .. } => Refusal::conflict("a project with this id exists already"),
        error => refusal(&error, "could not create project"),
    })?;
    Ok(reply::json(StatusCode::OK, &body(&project, KeyCounts::default())))
}

async fn detail(State(state): State<RestState>, Caller(caller): Caller, PathId(id): PathId) -> Answer {
    let id = ProjectId(id.ok_or_else(|| Refusal::not_found(NOT_FOUND))?);
    let failed = "could not retrieve project";
    let project = state.identity.project_of(caller.organization, id).await;
    let project = project.map_err(|error| refusal(&error, failed))?;
    let counts = state.identity.key_counts(id).await.map_err(|error| Refusal::failed(&error, failed))?;
    Ok(reply::json(StatusCode::OK, &body(&project, counts)))
}

async fn access(
    State(state): State<RestState>,
    Caller(caller): Caller,
    Input(request): Input<ProjectRequest>,
) -> Answer {
    if request.org_id.known().is_some() {
        return Err(Refusal::bad_request("field restricted for request: org_id"));
    }
    let id = request.project_id.known().ok_or_else(|| Refusal::bad_request("missing required field: project_id"))?;
    let token = state.identity.project_access(&caller, ProjectId(id)).await.map_err(|error| match error {
        ResourceError::NotFound { .. } => Refusal::bad_request(NO_ACCESS),
        error => refusal(&error, "could not create credentials"),
    })?;
    Ok(reply::json(StatusCode::OK, &LoginReply::access_alone(&token)))
}

fn body(project: &Project, counts: KeyCounts) -> ProjectBody {
    ProjectBody {
        org_id: WireId(project.organization.0),
        project_id: WireId(project.id.0),
        apikeys_count: counts.live,
        revoked_count: counts.revoked,
        created: project.created.into(),
        modified: project.modified.into(),
    }
}

fn refusal(error: &ResourceError, failed: &'static str) -> Refusal {
    match error {
        ResourceError::NotFound { .. } => Refusal::not_found(NOT_FOUND),
        ResourceError::Changed => Refusal::conflict("the resource has been changed meanwhile, please try again"),
        error => Refusal::failed(error, failed),
    }
}
