//! The shapes of replies.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use serde::Serialize;
use serde_json::json;

/// What clients compare the content type with, character by character.
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let body = serde_json::to_vec(body).expect("replies have text keys and no failing parts");
    with_type(status, JSON, body)
}

pub(super) fn error(status: StatusCode, message: &str) -> Response {
    json(status, &json!({"success": false, "error": message}))
}

pub(super) fn not_found() -> Response {
    error(StatusCode::NOT_FOUND, "resource not found")
}

pub(super) fn method_not_allowed(allowed: &'static str) -> Response {
    let mut reply = error(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
    reply.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    reply
}

pub(super) fn with_type(status: StatusCode, content_type: HeaderValue, body: impl Into<Body>) -> Response {
    let mut reply = empty(status);
    *reply.body_mut() = body.into();
    reply.headers_mut().insert(header::CONTENT_TYPE, content_type);
    reply
}

pub(super) fn empty(status: StatusCode) -> Response {
    let mut reply = Response::new(Body::empty());
    *reply.status_mut() = status;
    reply
}

/// Sends the client elsewhere: for good with a page that says so for a GET, otherwise with the method and body that it
/// used.
pub(super) fn redirect(for_good: bool, location: &str) -> Response {
    let Ok(target) = HeaderValue::from_str(location) else {
        return not_found();
    };
    let mut reply = if for_good {
        let link = location.replace('&', "&amp;").replace('"', "&#34;").replace('<', "&lt;").replace('>', "&gt;");
        let page = format!("<a href=\"{link}\">Moved Permanently</a>.\n\n");
        with_type(StatusCode::MOVED_PERMANENTLY, HeaderValue::from_static("text/html; charset=utf-8"), page)
    } else {
        empty(StatusCode::TEMPORARY_REDIRECT)
    };
    reply.headers_mut().insert(header::LOCATION, target);
    reply
}
