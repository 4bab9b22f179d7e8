//! What is counted of each RPC.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};

/// Every method that is counted: service, name, and whether it streams in some direction.
pub const RPCS: [(&str, &str, bool); 15] = [
    ("ensign.v1beta1.Ensign", "Publish", true),
    ("ensign.v1beta1.Ensign", "Subscribe", true),
    ("ensign.v1beta1.Ensign", "EnSQL", true),
    ("ensign.v1beta1.Ensign", "Explain", false),
    ("ensign.v1beta1.Ensign", "ListTopics", false),
    ("ensign.v1beta1.Ensign", "CreateTopic", false),
    ("ensign.v1beta1.Ensign", "RetrieveTopic", false),
    ("ensign.v1beta1.Ensign", "DeleteTopic", false),
    ("ensign.v1beta1.Ensign", "TopicNames", false),
    ("ensign.v1beta1.Ensign", "TopicExists", false),
    ("ensign.v1beta1.Ensign", "SetTopicPolicy", false),
    ("ensign.v1beta1.Ensign", "Info", false),
    ("ensign.v1beta1.Ensign", "Status", false),
    ("grpc.health.v1.Health", "Check", false),
    ("grpc.health.v1.Health", "Watch", true),
];

/// The names of gRPC's status codes, by their numbers, as the label has them.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// Upper bounds of the duration's buckets, in seconds.
const DURATION_BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MethodLabels {
    r#type: &'static str,
    service: &'static str,
    method: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabels {
    r#type: &'static str,
    service: &'static str,
    method: &'static str,
    code: &'static str,
}

/// The counters of one RPC method.
#[derive(Debug)]
pub struct Rpc {
    service: &'static str,
    method: &'static str,
    started: Counter,
    handled: [Counter; CODES.len()],
    duration: Histogram,
    sent: Counter,
    received: Counter,
}

impl Rpc {
    pub fn started(&self) {
        self.started.inc();
    }

    /// Counts a call's end, by the number of its status.
    pub fn handled(&self, code: i32, took: Duration) {
        let unknown = &self.handled[2];
        usize::try_from(code).ok().and_then(|code| self.handled.get(code)).unwrap_or(unknown).inc();
        self.duration.observe(took.as_secs_f64());
    }

    /// Counts messages that were sent on a stream; many at once cost as much as one.
    pub fn sent(&self, messages: u64) {
        self.sent.inc_by(messages);
    }

    pub fn received(&self, messages: u64) {
        self.received.inc_by(messages);
    }

    /// Whether a request's path is this method's.
    pub(super) fn is_at(&self, path: &str) -> bool {
        let service_and_method = path.strip_prefix('/').and_then(|path| path.split_once('/'));
        service_and_method == Some((self.service, self.method))
    }
}

/// Registers the counters of all methods, each with all its labels, so that a counter that never moved shows as zero.
pub(super) fn register(registry: &mut Registry) -> Vec<Rpc> {
    let started = Family::<MethodLabels, Counter>::default();
    let handled = Family::<CodeLabels, Counter>::default();
    let duration: Family<MethodLabels, Histogram, fn() -> Histogram> =
        Family::new_with_constructor(|| Histogram::new(DURATION_BOUNDS));
    let sent = Family::<MethodLabels, Counter>::default();
    let received = Family::<MethodLabels, Counter>::default();
    registry.register("grpc_server_started", "RPCs that were started", started.clone());
    registry.register("grpc_server_handled", "RPCs that ended, by status", handled.clone());
    registry.register("grpc_server_handler_duration", "How long RPCs took, in seconds", duration.clone());
    registry.register("grpc_server_stream_messages_sent", "Messages that were sent on streams", sent.clone());
    registry.register("grpc_server_stream_messages_recv", "Messages that were received on streams", received.clone());

    let rpc = |&(service, method, streaming): &(&'static str, &'static str, bool)| {
        let kind = if streaming { "stream" } else { "unary" };
        let labels = MethodLabels { r#type: kind, service, method };
        let with_code = |code| handled.get_or_create_owned(&CodeLabels { r#type: kind, service, method, code });
        let messages = |family: &Family<MethodLabels, Counter>| {
            if streaming { family.get_or_create_owned(&labels) } else { Counter::default() }
        };
        Rpc {
            service,
            method,
            started: started.get_or_create_owned(&labels),
            handled: CODES.map(with_code),
            duration: duration.get_or_create_owned(&labels),
            sent: messages(&sent),
            received: messages(&received),
        }
    };
    RPCS.iter().map(rpc).collect()
}
