//! What is counted of each REST request, and of those who sign in.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};

/// The service that the labels name.
const SERVICE: &str = "ensign";

/// Upper bounds of the duration's buckets, in seconds.
const DURATION_BOUNDS: [f64; 11] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    service: &'static str,
    code: u16,
    path: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UserLabels {
    service: &'static str,
    r#type: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailureLabels {
    service: &'static str,
    r#type: &'static str,
    cause: &'static str,
}

/// Who signs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserKind {
    Human,
    /// An API key.
    Machine,
}

impl UserKind {
    fn name(self) -> &'static str {
        match self {
            UserKind::Human => "human",
            UserKind::Machine => "machine",
        }
    }
}

/// The counters of REST.
#[derive(Debug)]
pub(super) struct Requests {
    handled: Family<RequestLabels, Counter>,
    duration: Family<RequestLabels, Histogram, fn() -> Histogram>,
    active: Family<UserLabels, Counter>,
    failed: Family<FailureLabels, Counter>,
}

impl Requests {
    pub(super) fn register(registry: &mut Registry) -> Requests {
        let requests = Requests {
            handled: Family::default(),
            duration: Family::new_with_constructor(|| Histogram::new(DURATION_BOUNDS)),
            active: Family::default(),
            failed: Family::default(),
        };
        registry.register(
            "http_stats_requests_handled",
            "REST requests, by route and status",
            requests.handled.clone(),
        );
        let help = "How long REST requests took, in seconds";
        registry.register("http_stats_request_duration", help, requests.duration.clone());
        registry.register("user_metrics_active_users", "Sign-ins", requests.active.clone());
        registry.register("user_metrics_failed_logins", "Sign-ins that were refused", requests.failed.clone());
        for kind in [UserKind::Human, UserKind::Machine] {
            requests.active.get_or_create_owned(&UserLabels { service: SERVICE, r#type: kind.name() });
        }
        requests
    }

    pub(super) fn handled(&self, path: &'static str, code: u16, took: Duration) {
        let labels = RequestLabels { service: SERVICE, code, path };
        self.handled.get_or_create_owned(&labels).inc();
        self.duration.get_or_create_owned(&labels).observe(took.as_secs_f64());
    }

    pub(super) fn signed_in(&self, kind: UserKind) {
        self.active.get_or_create_owned(&UserLabels { service: SERVICE, r#type: kind.name() }).inc();
    }

    pub(super) fn sign_in_failed(&self, kind: UserKind, cause: &'static str) {
        self.failed.get_or_create_owned(&FailureLabels { service: SERVICE, r#type: kind.name(), cause }).inc();
    }
}
