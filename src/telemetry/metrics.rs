//! The metrics and their text.

use std::{collections::HashSet, sync::Arc, time::Duration};

use prometheus_client::{
    encoding::text::encode_registry,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::{
    Labelled, Times, UserKind,
    observed::{Observations, Source},
    requests::Requests,
    rpc::{self, Rpc},
};
use crate::model::Durability;

/// The type of [`Metrics::text`]: the text format that every Prometheus reads.
pub const METRICS_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Counters whose names on the wire do not end in `_total`, as dashboards for Ensign know them.
const WITHOUT_SUFFIX: [&str; 6] = [
    "ensign_events",
    "grpc_server_stream_messages_sent",
    "grpc_server_stream_messages_recv",
    "http_stats_requests_handled",
    "user_metrics_active_users",
    "user_metrics_failed_logins",
];

/// Handles to everything that is counted. Shared as an `Arc`.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    observations: Arc<Observations>,
    rpcs: Vec<Rpc>,
    requests: Requests,
    events: Counter,
    publishers: Gauge,
    subscribers: Gauge,
    durability: Family<Vec<(&'static str, &'static str)>, Gauge>,
}

/// Counts one open stream for as long as it lives.
#[derive(Debug)]
pub struct Online(Gauge);

impl Drop for Online {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

impl Metrics {
    pub fn new() -> Metrics {
        let mut registry = Registry::default();
        let events = Family::<Vec<(&'static str, &'static str)>, Counter>::default();
        let (publishers, subscribers) = (Gauge::default(), Gauge::default());
        registry.register("ensign_events", "Events that were committed", events.clone());
        registry.register("ensign_online_publishers", "Open publish streams", publishers.clone());
        registry.register("ensign_online_subscribers", "Open subscribe streams", subscribers.clone());
        let durability = Family::<Vec<(&'static str, &'static str)>, Gauge>::default();
        registry.register("ensign_durability", "What an ack means, in its label", durability.clone());
        let observations = Arc::new(Observations::default());
        registry.register_collector(Box::new(observations.clone()));
        let rpcs = rpc::register(&mut registry);
        let requests = Requests::register(&mut registry);
        let events = events.get_or_create_owned(&vec![("node", "unk"), ("region", "unk")]);
        Metrics { registry, observations, rpcs, requests, events, publishers, subscribers, durability }
    }

    /// Counts committed events.
    pub fn events(&self, committed: u64) {
        self.events.inc_by(committed);
    }

    /// Shows what an ack means. It does not change while a server runs.
    pub fn durability(&self, durability: Durability) {
        self.durability.get_or_create_owned(&vec![("mode", durability.name())]).set(1);
    }

    /// Counts an open publish stream until what it gives is dropped.
    #[must_use]
    pub fn publisher_online(&self) -> Online {
        self.publishers.inc();
        Online(self.publishers.clone())
    }

    /// Counts an open subscribe stream until what it gives is dropped.
    #[must_use]
    pub fn subscriber_online(&self) -> Online {
        self.subscribers.inc();
        Online(self.subscribers.clone())
    }

    /// Counts a REST request. The path is its route's, which nobody but the program chooses.
    pub fn request(&self, path: &'static str, code: u16, took: Duration) {
        self.requests.handled(path, code, took);
    }

    /// Counts a sign-in.
    pub fn signed_in(&self, kind: UserKind) {
        self.requests.signed_in(kind);
    }

    /// Counts a sign-in that was refused.
    pub fn sign_in_failed(&self, kind: UserKind, cause: &'static str) {
        self.requests.sign_in_failed(kind, cause);
    }

    /// The counters of a method, by its path (`/ensign.v1beta1.Ensign/Publish`). `None` for what is not served.
    pub fn rpc(&self, path: &str) -> Option<&Rpc> {
        self.rpcs.iter().find(|rpc| rpc.is_at(path))
    }

    /// Shows a number that only grows and that somebody else keeps. The name is without `_total`, which its text has.
    pub fn observe_counter(
        &self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> u64 + Send + Sync + 'static,
    ) {
        self.observations.add(name, help, Source::Counter(Box::new(read)));
    }

    /// Shows a number that goes up and down and that somebody else keeps.
    pub fn observe_gauge(
        &self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> u64 + Send + Sync + 'static,
    ) {
        self.observations.add(name, help, Source::Gauge(Box::new(read)));
    }

    /// Shows numbers of one name that go up and down and that somebody else keeps, each with its labels.
    pub fn observe_gauges(
        &self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> Vec<Labelled> + Send + Sync + 'static,
    ) {
        self.observations.add(name, help, Source::Gauges(Box::new(read)));
    }

    /// Shows how long something took that somebody else measures. The name ends in its unit, `_seconds`.
    pub fn observe_times(
        &self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> Times + Send + Sync + 'static,
    ) {
        self.observations.add(name, help, Source::Times(Box::new(read)));
    }

    /// Everything, in Prometheus's text format 0.0.4. The registry writes OpenMetrics, in which a counter's family has
    /// no suffix and its sample always has `_total`; in the older format both have the same name, with or without it.
    pub fn text(&self) -> String {
        let mut open_metrics = String::new();
        encode_registry(&mut open_metrics, &self.registry).expect("writing to a string does not fail");
        let counters: HashSet<&str> =
            open_metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
        let mut text = String::with_capacity(open_metrics.len());
        for line in open_metrics.lines() {
            let comment = line.strip_prefix("# HELP ").map(|rest| ("# HELP ", rest));
            let comment = comment.or_else(|| line.strip_prefix("# TYPE ").map(|rest| ("# TYPE ", rest)));
            let (mark, rest) = comment.unwrap_or(("", line));
            let end = rest.find(['{', ' ']).unwrap_or(rest.len());
            let (name, behind) = rest.split_at(end);
            let family = if mark.is_empty() { name.strip_suffix("_total").unwrap_or(name) } else { name };
            let suffix = if counters.contains(family) && !WITHOUT_SUFFIX.contains(&family) { "_total" } else { "" };
            let name = if counters.contains(family) { family } else { name };
            text.extend([mark, name, suffix, behind, "\n"]);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample<'a>(text: &'a str, name: &str) -> Option<&'a str> {
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
    }

    #[test]
    fn names_types_and_labels() {
        let metrics = Metrics::new();
        metrics.events(3);
        metrics.durability(Durability::Os);
        let publish = metrics.rpc("/ensign.v1beta1.Ensign/Publish").unwrap();
        publish.started();
        publish.received(5);
        publish.sent(4);
        publish.handled(0, std::time::Duration::from_millis(30));
        publish.handled(99, std::time::Duration::from_secs(3));
        let text = metrics.text();
        let labels = r#"{type="stream",service="ensign.v1beta1.Ensign",method="Publish"}"#;
        let check = |name: &str, expected: &str| assert_eq!(sample(&text, name), Some(expected), "{name} in\n{text}");
        check(r#"ensign_events{node="unk",region="unk"}"#, "3");
        check("# TYPE ensign_events", "counter");
        check(r#"ensign_durability{mode="os"}"#, "1");
        check("# TYPE ensign_durability", "gauge");
        check("ensign_online_publishers", "0");
        check("# TYPE ensign_online_subscribers", "gauge");
        check("# TYPE grpc_server_started_total", "counter");
        check(&format!("grpc_server_started_total{labels}"), "1");
        check(&format!("grpc_server_stream_messages_recv{labels}"), "5");
        check(&format!("grpc_server_stream_messages_sent{labels}"), "4");
        let code = |code: &str| format!("grpc_server_handled_total{},code=\"{code}\"}}", &labels[..labels.len() - 1]);
        check(&code("OK"), "1");
        check(&code("Unknown"), "1");
        check(&code("Unauthenticated"), "0");
        check("# TYPE grpc_server_handler_duration", "histogram");
        check(&format!("grpc_server_handler_duration_count{labels}"), "2");
        let bucket = format!("grpc_server_handler_duration_bucket{{le=\"0.05\",{}", &labels[1..]);
        check(&bucket, "1");
        assert!(!text.contains("ensign_events_total"));
        assert!(!text.contains("EOF"));
    }

    #[test]
    fn every_method_has_all_its_labels_from_the_start() {
        let text = Metrics::new().text();
        let count = |prefix: &str| text.lines().filter(|line| line.starts_with(prefix)).count();
        assert_eq!(count("grpc_server_started_total{"), rpc::RPCS.len());
        assert_eq!(count("grpc_server_handled_total{"), 17 * rpc::RPCS.len());
        assert_eq!(count("grpc_server_stream_messages_sent{"), 4);
        assert_eq!(count("grpc_server_stream_messages_recv{"), 4);
    }

    #[test]
    fn what_others_keep_is_read_when_asked_for() {
        let metrics = Metrics::new();
        metrics.observe_counter("ensign_commits", "Commits", || 7);
        metrics.observe_gauge("ensign_lag", "Lag", || 8);
        let times = || Times { buckets: vec![(0.5, 1), (f64::INFINITY, 2)], sum_seconds: 4.5 };
        metrics.observe_times("ensign_sync_seconds", "Syncs", times);
        let lags = || ["a", "b\"\n{ "].map(|group| (vec![("group", group.to_owned())], 9)).to_vec();
        metrics.observe_gauges("ensign_lags", "Lags", lags);
        let text = metrics.text();
        assert_eq!(sample(&text, "ensign_commits_total"), Some("7"));
        assert_eq!(sample(&text, "# TYPE ensign_commits_total"), Some("counter"));
        assert_eq!(sample(&text, "ensign_lag"), Some("8"));
        assert_eq!(sample(&text, "# TYPE ensign_lags"), Some("gauge"));
        assert_eq!(sample(&text, "ensign_lags{group=\"a\"}"), Some("9"));
        assert_eq!(sample(&text, "ensign_lags{group=\"b\\\"\\n{ \"}"), Some("9"));
        assert_eq!(sample(&text, "ensign_sync_seconds_bucket{le=\"0.5\"}"), Some("1"));
        assert_eq!(sample(&text, "ensign_sync_seconds_bucket{le=\"+Inf\"}"), Some("3"));
        assert_eq!(sample(&text, "ensign_sync_seconds_count"), Some("3"));
        assert_eq!(sample(&text, "ensign_sync_seconds_sum"), Some("4.5"));
    }

    #[test]
    fn requests_are_counted_by_route_and_status() {
        let metrics = Metrics::new();
        metrics.request("/v1/apikeys/{id}", 404, Duration::from_millis(3));
        metrics.signed_in(UserKind::Machine);
        metrics.sign_in_failed(UserKind::Human, "password");
        let text = metrics.text();
        let labels = "{service=\"ensign\",code=\"404\",path=\"/v1/apikeys/{id}\"}";
        assert_eq!(sample(&text, &format!("http_stats_requests_handled{labels}")), Some("1"));
        assert_eq!(sample(&text, &format!("http_stats_request_duration_count{labels}")), Some("1"));
        let active = |kind| sample(&text, &format!("user_metrics_active_users{{service=\"ensign\",type=\"{kind}\"}}"));
        assert_eq!((active("machine"), active("human")), (Some("1"), Some("0")));
        let failed = "user_metrics_failed_logins{service=\"ensign\",type=\"human\",cause=\"password\"}";
        assert_eq!(sample(&text, failed), Some("1"));
    }

    #[test]
    fn open_streams_are_counted_while_they_live() {
        let metrics = Metrics::new();
        let (one, other) = (metrics.subscriber_online(), metrics.subscriber_online());
        assert_eq!(sample(&metrics.text(), "ensign_online_subscribers"), Some("2"));
        drop((one, other));
        assert_eq!(sample(&metrics.text(), "ensign_online_subscribers"), Some("0"));
    }
}
