//! A project's data keys: `/api/encryption`.

use axum::{extract::State, http::StatusCode, response::Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    RestState,
    caller::Caller,
    input::{Input, PathText, RequestBody},
    reply::{self, Answer, Refusal},
    route::Route,
    wire::{WireId, WireTime},
};
use crate::{
    engine::KeyChangeError,
    model::{Needs, Permission, Principal, ProjectId},
    server::encryption::{Encryption, EncryptionError, VersionUsage},
    store::KeyUsage,
};

const PATH: &str = "/api/encryption";
const ROTATE: &str = "/api/encryption/rotate";
const SUSPEND: &str = "/api/encryption/versions/{version}/suspend";
const RESUME: &str = "/api/encryption/versions/{version}/resume";
const REVOKE: &str = "/api/encryption/versions/{version}/revoke";

const READ: Needs = Needs::All(&[Permission::TopicsRead]);
const EDIT: Needs = Needs::All(&[Permission::TopicsEdit]);
const DESTROY: Needs = Needs::All(&[Permission::TopicsDestroy]);

pub(super) fn routes() -> Vec<Route> {
    let done = StatusCode::OK;
    vec![
        Route::get(PATH, READ, "The project's data keys", status).gives::<EncryptionBody>(done),
        Route::post(ROTATE, EDIT, "Start a new version of the data key", rotate)
            .takes::<RotateBody>()
            .gives::<EncryptionBody>(done),
        Route::post(SUSPEND, EDIT, "Close what is under a version to all readers", suspend)
            .gives::<EncryptionBody>(done),
        Route::post(RESUME, EDIT, "Open what is under a version again", resume).gives::<EncryptionBody>(done),
        Route::post(REVOKE, DESTROY, "Destroy a version, and what is under it with it", revoke)
            .gives::<EncryptionBody>(done),
    ]
}

/// What a new version is to be used for.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
#[schema(as = RotateEncryption)]
struct RotateBody {
    /// Whether what is stored is to be encrypted anew as well.
    rewrite: bool,
}

impl RequestBody for RotateBody {}

/// A project's data keys.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Encryption)]
struct EncryptionBody {
    project_id: WireId,
    versions: Vec<VersionBody>,
    /// The last rewriting that was asked for.
    rewrite: Option<RewriteBody>,
    /// Where the root key comes from: given, keyring, passphrase or directory.
    root_key_source: &'static str,
    root_key_changed: WireTime,
    /// Whether copies of the data directory from before a revocation can be read with the root key of today.
    copies_readable: bool,
}

/// A version of the data key.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EncryptionVersion)]
struct VersionBody {
    version: u32,
    /// Whether new events are encrypted under it.
    newest: bool,
    /// active, suspended or revoked.
    state: &'static str,
    created: WireTime,
    changed: WireTime,
    events: u64,
    blocks: u64,
    bytes: u64,
    copies_readable: bool,
}

/// What is encrypted anew.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EncryptionRewrite)]
struct RewriteBody {
    /// Versions below are left.
    below: u32,
    started: WireTime,
    finished: WireTime,
    events_left: u64,
    bytes_left: u64,
}

impl VersionBody {
    fn new(version: &VersionUsage, newest: bool) -> VersionBody {
        let VersionUsage { key, usage: KeyUsage { blocks, events, bytes }, copies_readable } = version;
        VersionBody {
            version: key.version,
            newest,
            state: key.state.name(),
            created: WireTime(key.created),
            changed: WireTime(key.changed.or(key.created)),
            events: *events,
            blocks: *blocks,
            bytes: *bytes,
            copies_readable: *copies_readable,
        }
    }
}

fn body(project: ProjectId, encryption: &Encryption) -> EncryptionBody {
    let count = encryption.versions.len();
    let versions = encryption.versions.iter().zip(1..).map(|(version, at)| VersionBody::new(version, at == count));
    let rewrite = encryption.rewrite.as_ref().map(|(rewrite, left)| RewriteBody {
        below: rewrite.below,
        started: rewrite.started.into(),
        finished: WireTime(rewrite.finished),
        events_left: left.events,
        bytes_left: left.bytes,
    });
    EncryptionBody {
        project_id: WireId(project.0),
        versions: versions.collect(),
        rewrite,
        root_key_source: encryption.source.name(),
        root_key_changed: WireTime(encryption.root_changed),
        copies_readable: encryption.versions.iter().any(|version| version.copies_readable),
    }
}

async fn status(State(state): State<RestState>, Caller(caller): Caller) -> Answer {
    answer(&state, project(&caller)?).await
}

async fn rotate(State(state): State<RestState>, Caller(caller): Caller, Input(asked): Input<RotateBody>) -> Answer {
    let project = project(&caller)?;
    state.data_keys.rotate(project, asked.rewrite).await.map_err(|error| refusal(&error))?;
    answer(&state, project).await
}

async fn suspend(State(state): State<RestState>, Caller(caller): Caller, version: PathText) -> Answer {
    let version = number(&version)?;
    let project = project(&caller)?;
    state.data_keys.suspend(project, version).await.map_err(|error| refusal(&error))?;
    answer(&state, project).await
}

async fn resume(State(state): State<RestState>, Caller(caller): Caller, version: PathText) -> Answer {
    let version = number(&version)?;
    let project = project(&caller)?;
    state.data_keys.resume(project, version).await.map_err(|error| refusal(&error))?;
    answer(&state, project).await
}

async fn revoke(State(state): State<RestState>, Caller(caller): Caller, version: PathText) -> Answer {
    let version = number(&version)?;
    let project = project(&caller)?;
    state.data_keys.revoke(project, version).await.map_err(|error| refusal(&error))?;
    answer(&state, project).await
}

async fn answer(state: &RestState, project: ProjectId) -> Result<Response, Refusal> {
    let encryption = state.data_keys.status(project).await.map_err(|error| refusal(&error))?;
    Ok(reply::json(StatusCode::OK, &body(project, &encryption)))
}

/// The project that the caller's token is for.
pub(super) fn project(caller: &Principal) -> Result<ProjectId, Refusal> {
    let project = caller.project.filter(|project| !project.0.is_zero());
    project.ok_or_else(|| Refusal::bad_request("the token is for no project"))
}

fn number(PathText(text): &PathText) -> Result<u32, Refusal> {
    text.parse().map_err(|_| Refusal::not_found("data key version not found"))
}

fn refusal(error: &EncryptionError) -> Refusal {
    match error.refusal() {
        Some(KeyChangeError::Unknown { .. }) => Refusal::not_found("data key version not found"),
        Some(refused @ (KeyChangeError::Newest { .. } | KeyChangeError::Revoked { .. } | KeyChangeError::Changed)) => {
            Refusal::conflict(refused.to_string())
        }
        _ => Refusal::failed(error, "could not change the data keys"),
    }
}
