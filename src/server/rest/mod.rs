//! The REST API: signing in with API keys, the keys that tokens verify against, status, probes and metrics.
//!
//! Clients are particular about some of this: replies are `application/json; charset=utf-8` to the letter, requests are
//! read as JSON whatever their content type says, keys match in any case, an `Authorization` header on a sign-in is
//! ignored. Errors are `{"success": false, "error": "…"}`.
//!
//! What it does not do yet: users' routes, and a limit on how many requests a client may make. How many secrets are
//! hashed at a time is bounded by `identity`; what comes on top gets a 429.

mod body;
mod gate;
mod health;
mod reply;
mod sessions;
mod wellknown;

#[cfg(any(test, fuzzing))]
pub(super) use self::body::Fields;

use std::{fmt, sync::Arc};

use axum::{
    Router,
    extract::Request,
    handler::Handler,
    http::{Method, Uri},
    middleware,
    response::Response,
    routing::{MethodRouter, get, post},
};

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

/// The routes that a request with a slash too many is sent to.
const REDIRECTED: [(Method, &str); 9] = [
    (Method::GET, "/v1/status"),
    (Method::POST, "/v1/authenticate"),
    (Method::POST, "/v1/refresh"),
    (Method::GET, "/.well-known/jwks.json"),
    (Method::GET, "/.well-known/openid-configuration"),
    (Method::GET, "/metrics"),
    (Method::GET, "/livez"),
    (Method::GET, "/readyz"),
    (Method::GET, "/healthz"),
];

/// All routes of the REST API. What it does not know gets a 404, so it comes last when the server looks for who
/// answers.
pub(super) fn router(state: RestState) -> Router {
    Router::new()
        .route("/v1/status", get_alone(health::status))
        .route("/v1/authenticate", post_alone(sessions::authenticate))
        .route("/v1/refresh", post_alone(sessions::refresh))
        .route("/.well-known/jwks.json", get_alone(wellknown::jwks))
        .route("/.well-known/openid-configuration", get_alone(wellknown::openid))
        .route("/metrics", get(health::metrics).fallback(refuse_all_but_get))
        .route("/livez", get(health::live).fallback(refuse_all_but_get))
        .route("/healthz", get(health::healthy).fallback(refuse_all_but_get))
        .route("/readyz", get(health::ready).fallback(refuse_all_but_get))
        .fallback(unknown)
        .layer(middleware::from_fn_with_state(state.clone(), gate::pass))
        .with_state(state)
}

/// GET without the HEAD that would come with it.
fn get_alone<H: Handler<T, RestState>, T: 'static>(handler: H) -> MethodRouter<RestState> {
    get(handler).head(refuse_all_but_get).fallback(refuse_all_but_get)
}

fn post_alone<H: Handler<T, RestState>, T: 'static>(handler: H) -> MethodRouter<RestState> {
    post(handler).fallback(refuse_all_but_post)
}

async fn refuse_all_but_get() -> Response {
    reply::method_not_allowed("GET")
}

async fn refuse_all_but_post() -> Response {
    reply::method_not_allowed("POST")
}

/// Sends a known path with a slash behind it to where it belongs; anything else is not found.
async fn unknown(request: Request) -> Response {
    let uri: &Uri = request.uri();
    let known = uri.path().strip_suffix('/').filter(|path| {
        let is_at = |(method, known): &(Method, &str)| *method == request.method() && known == path;
        REDIRECTED.iter().any(is_at)
    });
    match known {
        Some(path) => {
            let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
            reply::redirect(request.method() == Method::GET, &format!("{path}{query}"))
        }
        None => reply::not_found(),
    }
}

#[cfg(test)]
mod tests;
