//! What every handler of the server needs.

use std::sync::Arc;

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{call::Call, encryption::DataKeys, stream::Revoked};
use crate::{
    broker::{Broker, Lags},
    engine::Engine,
    identity::Identity,
    model::Principal,
    sys::Clock,
    telemetry::{Metrics, Rpc},
};

/// The path of the Publish method.
pub(super) const PUBLISH: &str = "/ensign.v1beta1.Ensign/Publish";

/// The path of the Subscribe method.
pub(super) const SUBSCRIBE: &str = "/ensign.v1beta1.Ensign/Subscribe";

/// The path of the EnSQL method.
pub(super) const ENSQL: &str = "/ensign.v1beta1.Ensign/EnSQL";

/// A running node's parts. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) engine: Engine,
    pub(super) broker: Broker,
    pub(super) data_keys: DataKeys,
    pub(super) identity: Identity,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Clock,
    /// How far the open subscriptions are behind.
    pub(super) lags: Lags,
    /// What streams are told the server is called; may be empty.
    pub(super) server_id: String,
    /// The tasks of open streams: the server stops when they have ended.
    pub(super) tasks: TaskTracker,
    /// Set when the server stops: streams end by themselves, and soon.
    pub(super) draining: CancellationToken,
}

impl Node {
    /// The counters of a streaming method.
    pub(super) fn rpc(&self, path: &str) -> &Rpc {
        self.metrics.rpc(path).expect("the streaming methods are registered")
    }

    /// Answers whether everything can be stored that clients ask for.
    pub(super) fn healthy(&self) -> Arc<dyn Fn() -> bool + Send + Sync> {
        let engine = self.engine.clone();
        Arc::new(move || engine.health().is_ok())
    }

    /// Resolves when the caller's key is revoked.
    pub(super) fn revoked(&self, principal: &Principal) -> Revoked {
        let (identity, principal) = (self.identity.clone(), principal.clone());
        Revoked(Box::pin(async move { identity.revoked(&principal).await }))
    }

    /// Counts a call that begins.
    pub(super) fn call(&self, path: &'static str) -> Call {
        Call::begin(&self.metrics, &self.clock, path)
    }
}
