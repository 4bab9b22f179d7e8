//! The REST API: signing in with API keys, the keys that tokens verify against, status, probes and metrics.
//!
//! Clients are particular about some of this: replies are `application/json; charset=utf-8` to the letter, requests are
//! read as JSON whatever their content type says, keys match in any case, an `Authorization` header on a sign-in is
//! ignored. Errors are `{"success": false, "error": "…"}`.
//!
//! Every route is a row of one table ([`route::Route`]), which says what it needs; one gate (`caller`) lets through to
//! it who has that, and hands it the caller. There is no other way in. A file for each resource holds its rows, the
//! shapes of its bodies, and its handlers: small functions of a caller and typed input.
//!
//! What it does not do yet: users' routes, and a limit on how many requests a client may make. How many secrets are
//! hashed at a time is bounded by `identity`; what comes on top gets a 429.

mod body;
#[allow(dead_code, reason = "every kind of input and answer has a resource soon")]
mod caller;
mod gate;
mod health;
#[allow(dead_code, reason = "every kind of input and answer has a resource soon")]
mod input;
#[allow(dead_code, reason = "every kind of input and answer has a resource soon")]
mod reply;
#[allow(dead_code, reason = "every kind of input and answer has a resource soon")]
mod route;
mod sessions;
mod wellknown;
#[allow(dead_code, reason = "every kind of input and answer has a resource soon")]
mod wire;

#[cfg(any(test, fuzzing))]
pub(super) use self::body::parse;

use std::{fmt, sync::Arc};

use axum::{Router, middleware};

use self::route::Route;
use super::lifecycle::Lifecycle;
use crate::{identity::Identity, model::Durability, telemetry::Metrics};

/// What the routes need. Cheap to clone.
#[derive(Clone)]
pub(super) struct RestState {
    pub(super) identity: Identity,
    pub(super) metrics: Arc<Metrics>,
    pub(super) lifecycle: Lifecycle,
    /// Whether events can be stored; when they cannot, the server is not ready.
    pub(super) healthy: Arc<dyn Fn() -> bool + Send + Sync>,
    /// What an ack means.
    pub(super) durability: Durability,
    /// The origins, besides its own, whose pages may call this server from a browser.
    pub(super) origins: Arc<[String]>,
}

impl fmt::Debug for RestState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestState").field("lifecycle", &self.lifecycle).finish_non_exhaustive()
    }
}

/// The origin that may call from a browser unless it is configured otherwise: a web application under development.
pub(super) const DEFAULT_ORIGIN: &str = "http://localhost:3000";

/// All routes of the REST API.
fn table() -> Vec<Route> {
    [health::routes(), sessions::routes(), wellknown::routes()].into_iter().flatten().collect()
}

/// What answers all routes, and 404 to what is none.
pub(super) fn router(state: RestState) -> Router {
    route::router(table(), &state).layer(middleware::from_fn_with_state(state.clone(), gate::pass)).with_state(state)
}

#[cfg(test)]
mod tests;
