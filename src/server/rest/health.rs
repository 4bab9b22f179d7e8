//! Status, probes and metrics.

use std::{fmt::Write, time::Duration};

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode},
    response::Response,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{RestState, reply, route::Route};
use crate::{
    model::{API_VERSION, Needs},
    server::lifecycle::Phase,
    telemetry::METRICS_CONTENT_TYPE,
};

pub(super) fn routes() -> Vec<Route> {
    let probe =
        |route: Route| route.gives_plain(StatusCode::OK).gives_plain(StatusCode::SERVICE_UNAVAILABLE).with_head();
    vec![
        Route::get("/v1/status", Needs::Nothing, "The state of the server", status)
            .gives::<StatusReply>(StatusCode::OK),
        probe(Route::get("/livez", Needs::Nothing, "Whether the process answers", live)),
        probe(Route::get("/healthz", Needs::Nothing, "Whether everything can be stored", healthy)),
        probe(Route::get("/readyz", Needs::Nothing, "Whether it makes sense to send work here", ready)),
        Route::get("/metrics", Needs::Nothing, "Metrics in Prometheus's text format", metrics)
            .gives_plain(StatusCode::OK)
            .with_head(),
    ]
}

/// The state of the server.
#[derive(Debug, Serialize, ToSchema)]
struct StatusReply {
    /// `ok` or `unhealthy`; with a 503 `maintenance` or `stopping`.
    status: &'static str,
    /// How long it has been running, as Go writes durations: `1h2m3.4s`.
    uptime: String,
    /// The version of the Ensign API.
    version: &'static str,
    /// What an acknowledged event survives.
    durability: &'static str,
}

const PLAIN: HeaderValue = HeaderValue::from_static("text/plain");

/// What the probes say once the disk has failed.
const UNHEALTHY: &str = "the disk failed and nothing more is written to it, restart to recover";

/// `GET /v1/status`.
async fn status(State(state): State<RestState>) -> Response {
    with_status(&state, StatusCode::OK, if (state.healthy)() { "ok" } else { "unhealthy" })
}

/// What every route but the probes answers while nothing is served.
pub(super) fn unavailable(state: &RestState, phase: Phase) -> Option<Response> {
    let status = match phase {
        Phase::Serving => return None,
        Phase::Maintenance => "maintenance",
        Phase::Stopping => "stopping",
    };
    Some(with_status(state, StatusCode::SERVICE_UNAVAILABLE, status))
}

fn with_status(state: &RestState, code: StatusCode, status: &'static str) -> Response {
    let uptime = duration_text(state.lifecycle.uptime());
    let durability = state.durability.name();
    reply::json(code, &StatusReply { status, uptime, version: API_VERSION, durability })
}

/// `GET /livez`: the process answers.
async fn live() -> Response {
    reply::with_type(StatusCode::OK, PLAIN, "ok")
}

/// `GET /healthz`: whether everything can be stored. When not, nothing but a restart helps.
async fn healthy(State(state): State<RestState>) -> Response {
    if (state.healthy)() { live().await } else { reply::with_type(StatusCode::SERVICE_UNAVAILABLE, PLAIN, UNHEALTHY) }
}

/// `GET /readyz`: whether it makes sense to send work here. Maintenance is not a reason to look for another server.
async fn ready(State(state): State<RestState>) -> Response {
    if state.lifecycle.phase() == Phase::Stopping {
        return reply::with_type(StatusCode::SERVICE_UNAVAILABLE, PLAIN, "stopping");
    }
    if !(state.healthy)() {
        return reply::with_type(StatusCode::SERVICE_UNAVAILABLE, PLAIN, UNHEALTHY);
    }
    live().await
}

/// `GET /metrics`.
async fn metrics(State(state): State<RestState>) -> Response {
    let content_type = HeaderValue::from_static(METRICS_CONTENT_TYPE);
    reply::with_type(StatusCode::OK, content_type, state.metrics.text())
}

/// A duration as Go writes it, which clients parse: `1h2m3.4s`, `250ms`, `1.5µs`.
fn duration_text(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let (unit, name) = match nanos {
        0 => return "0s".to_owned(),
        1..1_000 => (1, "ns"),
        1_000..1_000_000 => (1_000, "µs"),
        1_000_000..1_000_000_000 => (1_000_000, "ms"),
        _ => (1_000_000_000, "s"),
    };
    let seconds = duration.as_secs();
    let mut text = String::new();
    let expect = "writing to a string does not fail";
    if seconds >= 3600 {
        write!(text, "{}h", seconds / 3600).expect(expect);
    }
    if seconds >= 60 {
        write!(text, "{}m", seconds / 60 % 60).expect(expect);
    }
    let rest = nanos % 60_000_000_000;
    write!(text, "{}", rest / unit).expect(expect);
    if !rest.is_multiple_of(unit) {
        let digits = unit.ilog10() as usize;
        let fraction = format!("{:0digits$}", rest % unit);
        write!(text, ".{}", fraction.trim_end_matches('0')).expect(expect);
    }
    text.push_str(name);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_go_writes_them() {
        let check = |nanos: u64, expected: &str| assert_eq!(duration_text(Duration::from_nanos(nanos)), expected);
        check(0, "0s");
        check(7, "7ns");
        check(1_500, "1.5µs");
        check(250_000_000, "250ms");
        check(250_040_000, "250.04ms");
        check(1_000_000_000, "1s");
        check(59_999_999_999, "59.999999999s");
        check(60_000_000_000, "1m0s");
        check(3_723_400_000_000, "1h2m3.4s");
        check(360_000_000_000_000, "100h0m0s");
    }
}
