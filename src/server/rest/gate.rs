//! What a request passes before its route: how many its client has made, the server's phase, and the page it comes from.

use std::net::{IpAddr, Ipv4Addr};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::Response,
};

use super::{
    RestState, health,
    limit::{Allowance, Peer},
    reply,
    route::Pattern,
};

/// What is let pass always, and counted nowhere.
pub(super) const PROBES: [&str; 3] = ["/livez", "/healthz", "/readyz"];

/// How long a browser may remember what a preflight said: half a day, in seconds.
const MAX_AGE: &str = "43200";

/// Where a request comes from.
#[derive(Debug, PartialEq, Eq)]
enum Origin {
    /// Not from a page, or from a page of this server.
    Own,
    Allowed(HeaderValue),
    Foreign,
}

/// What a path is called that is no route's.
const UNKNOWN: Pattern = Pattern("unknown");

/// Lets probes pass always; anything else only as often as its client may ask, and counts it.
pub(super) async fn pass(State(state): State<RestState>, request: Request, next: Next) -> Response {
    if PROBES.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let began = state.clock.elapsed();
    let allowance = state.limiter.as_ref().map(|limiter| {
        let peer = request.extensions().get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0);
        limiter.take(peer, request.headers())
    });
    let reply = if let Some(refusal) = allowance.and_then(Allowance::refusal) {
        refusal
    } else {
        let reply = serve(&state, request, next).await;
        match allowance {
            Some(allowance) => allowance.show(reply),
            None => reply,
        }
    };
    let pattern = reply.extensions().get::<Pattern>().copied().unwrap_or(UNKNOWN);
    state.metrics.request(pattern.0, reply.status().as_u16(), state.clock.elapsed().saturating_sub(began));
    reply
}

/// Serves only while anything is, and not the pages of strangers.
async fn serve(state: &RestState, request: Request, next: Next) -> Response {
    if let Some(unavailable) = health::unavailable(state, state.lifecycle.phase()) {
        return unavailable;
    }
    let host = request.uri().authority().map(|authority| authority.as_str().to_owned());
    match origin(request.headers(), host.as_deref(), &state.origins) {
        Origin::Own => next.run(request).await,
        Origin::Foreign => reply::empty(StatusCode::FORBIDDEN),
        Origin::Allowed(origin) if request.method() == Method::OPTIONS => preflight(origin),
        Origin::Allowed(origin) => {
            let mut reply = next.run(request).await;
            let headers = reply.headers_mut();
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            headers.insert(header::VARY, HeaderValue::from_static("Origin"));
            reply
        }
    }
}

/// Tells an `Origin` header apart. The host is in the `Host` header in HTTP/1 and in the address in HTTP/2.
fn origin(headers: &HeaderMap, authority: Option<&str>, allowed: &[String]) -> Origin {
    let Some(origin) = headers.get(header::ORIGIN).filter(|origin| !origin.is_empty()) else {
        return Origin::Own;
    };
    let host = authority.or_else(|| headers.get(header::HOST)?.to_str().ok());
    let Ok(text) = origin.to_str() else {
        return Origin::Foreign;
    };
    let page = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    if page.is_some() && page == host {
        Origin::Own
    } else if allowed.iter().any(|allowed| allowed == text) {
        Origin::Allowed(origin.clone())
    } else {
        Origin::Foreign
    }
}

/// The answer to a browser that asks whether it may, on any path.
fn preflight(origin: HeaderValue) -> Response {
    const HEADERS: [(HeaderName, &str); 5] = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET,POST,PUT,PATCH,DELETE,HEAD"),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "Origin,Content-Length,Content-Type,Authorization,X-Csrf-Token,Sentry-Trace,Baggage",
        ),
        (header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true"),
        (header::ACCESS_CONTROL_MAX_AGE, MAX_AGE),
        (header::VARY, "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
    ];
    let mut reply = reply::empty(StatusCode::NO_CONTENT);
    reply.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    for (name, value) in HEADERS {
        reply.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    reply
}
