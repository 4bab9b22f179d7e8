//! The REST API: accounts, organizations and their members, consumer groups, signing in, the keys that tokens verify against,
//! status, probes and metrics.
//!
//! Clients are particular about some of this: replies are `application/json; charset=utf-8` to the letter, requests are
//! read as JSON whatever their content type says, keys match in any case, an `Authorization` header on a sign-in is
//! ignored. Errors are `{"success": false, "error": "…"}`.
//!
//! Every route is a row of one table ([`route::Route`]), which says what it needs; one gate (`caller`) lets through to
//! it who has that, and hands it the caller. There is no other way in. A file for each resource holds its rows, the
//! shapes of its bodies, and its handlers: small functions of a caller and typed input.
//!
//! How many requests an address may make is limited (`limit`), and how many sign-ins at an account may fail
//! (`attempts`). How many secrets are hashed at a time is bounded by `identity`; what comes on top gets a 429.

mod account;
mod api_projects;
mod api_tenants;
mod apikeys;
mod attempts;
mod body;
mod caller;
mod encryption;
mod explain;
mod gate;
mod groups;
mod health;
mod input;
mod invites;
mod limit;
mod login;
mod openapi;
mod options;
mod organizations;
mod paging;
mod projects;
mod registration;
mod reply;
mod route;
mod sessions;
mod signing_keys;
mod users;
mod wellknown;
mod wire;

#[cfg(any(test, fuzzing))]
pub(super) use self::body::parse;
pub(super) use self::limit::Peer;
pub use self::options::{DEFAULT_ORIGIN, Network, ParseNetworkError, RateLimit, RestOptions};

use std::{fmt, sync::Arc};

use axum::{Router, middleware};

use self::{attempts::Attempts, limit::Limiter, reply::Refusal, route::Route};
use super::{encryption::DataKeys, lifecycle::Lifecycle, node::Node};
use crate::{
    broker::Broker,
    identity::Identity,
    model::Durability,
    sys::Clock,
    telemetry::{Metrics, UserKind},
};

/// What the routes need. Cheap to clone.
#[derive(Clone)]
pub(super) struct RestState {
    pub(super) identity: Identity,
    pub(super) broker: Broker,
    pub(super) data_keys: DataKeys,
    pub(super) metrics: Arc<Metrics>,
    pub(super) lifecycle: Lifecycle,
    /// Whether events can be stored; when they cannot, the server is not ready.
    pub(super) healthy: Arc<dyn Fn() -> bool + Send + Sync>,
    /// What an ack means.
    pub(super) durability: Durability,
    pub(super) clock: Clock,
    /// The origins, besides its own, whose pages may call this server from a browser.
    pub(super) origins: Arc<[String]>,
    /// None when everybody may make any number of requests.
    limiter: Option<Arc<Limiter>>,
    /// None when every account takes any number of attempts.
    attempts: Option<Arc<Attempts>>,
}

impl RestState {
    pub(super) fn new(node: &Node, lifecycle: Lifecycle, durability: Durability, options: RestOptions) -> RestState {
        let limited = |limit| Arc::new(Limiter::new(limit, options.trusted_proxies, node.clock.clone()));
        RestState {
            identity: node.identity.clone(),
            broker: node.broker.clone(),
            data_keys: node.data_keys.clone(),
            metrics: node.metrics.clone(),
            lifecycle,
            healthy: node.healthy(),
            durability,
            clock: node.clock.clone(),
            origins: options.origins.into(),
            attempts: options.rate_limit.map(|_| Arc::new(Attempts::new(node.clock.clone()))),
            limiter: options.rate_limit.map(limited),
        }
    }

    /// Refuses an attempt to sign in to an account at which too many have failed.
    fn allow_attempt(&self, account: &str) -> Result<(), Refusal> {
        self.attempts.as_ref().map_or(Ok(()), |attempts| attempts.allow(account))
    }

    /// Counts an attempt to sign in to an account if it was wrong. When too many others have failed while it was under way,
    /// it is refused whether or not it was right: guesses that are made at the same time would learn more than others.
    fn attempt_ended(&self, account: &str, is_wrong: bool, kind: UserKind) -> Result<(), Refusal> {
        let allowed = self.allow_attempt(account);
        if is_wrong {
            self.metrics.sign_in_failed(kind, "credentials");
            if let Some(attempts) = &self.attempts {
                attempts.failed(account);
            }
        }
        allowed
    }
}

impl fmt::Debug for RestState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestState").field("lifecycle", &self.lifecycle).finish_non_exhaustive()
    }
}

/// All routes of the REST API.
fn table() -> Vec<Route> {
    let tables = [
        health::routes(),
        wellknown::routes(),
        openapi::routes(),
        registration::routes(),
        login::routes(),
        sessions::routes(),
        organizations::routes(),
        users::routes(),
        invites::routes(),
        apikeys::routes(),
        projects::routes(),
        api_tenants::routes(),
        api_projects::routes(),
        encryption::routes(),
        explain::routes(),
        groups::routes(),
        signing_keys::routes(),
    ];
    tables.into_iter().flatten().collect()
}

/// What answers all routes, and 404 to what is none.
pub(super) fn router(state: RestState) -> Router {
    route::router(table(), &state).layer(middleware::from_fn_with_state(state.clone(), gate::pass)).with_state(state)
}

#[cfg(test)]
mod account_tests;
#[cfg(test)]
mod management_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod walk_tests;
