//! The keys that tokens are signed with: `/api/signing-keys`.

use axum::{extract::State, http::StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    RestState,
    caller::Caller,
    reply::{self, Answer, Refusal},
    route::Route,
};
use crate::{
    identity::IdentityError,
    model::{Needs, Permission},
};

/// What owners alone have; of these, only those of the server's first organization may.
const OWNER: Needs = Needs::All(&[Permission::OrganizationsDelete]);

pub(super) fn routes() -> Vec<Route> {
    let summary = "Sign tokens with a new key; for owners of the server's first organization";
    vec![Route::post("/api/signing-keys/rotate", OWNER, summary, rotate).gives::<SigningKeysBody>(StatusCode::OK)]
}

/// The keys that tokens verify against.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SigningKeys)]
struct SigningKeysBody {
    /// Their identifiers, as tokens name them; the last one signs.
    keys: Vec<String>,
}

async fn rotate(State(state): State<RestState>, Caller(caller): Caller) -> Answer {
    let failed = |error: IdentityError| Refusal::failed(&error, "could not make a signing key");
    if state.identity.first_organization().await.map_err(failed)? != Some(caller.organization) {
        return Err(Refusal::forbidden("user does not have permission to perform this operation"));
    }
    let keys = state.identity.rotate_signing_key().await.map_err(failed)?;
    Ok(reply::json(StatusCode::OK, &SigningKeysBody { keys }))
}
