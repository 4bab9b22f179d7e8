//! The shapes of replies.

use std::borrow::Cow;

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

/// What clients compare the content type with, character by character.
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let body = serde_json::to_vec(body).expect("replies have text keys and no failing parts");
    with_type(status, JSON, body)
}

/// What every error is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Error)]
pub(super) struct ErrorBody<'a> {
    /// Always false.
    success: bool,
    /// What went wrong, for people.
    error: &'a str,
    /// Whether the caller's e-mail address has yet to be verified.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unverified: bool,
}

/// Why a route did not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    status: StatusCode,
    message: Cow<'static, str>,
    unverified: bool,
    /// Whether it is worth trying again in a second.
    again: bool,
}

/// What a handler answers.
pub(super) type Answer = Result<Response, Refusal>;

impl Refusal {
    pub(super) fn new(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { status, message: message.into(), unverified: false, again: false }
    }

    pub(super) fn bad_request(message: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn forbidden(message: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal::new(StatusCode::FORBIDDEN, message)
    }

    pub(super) fn not_found(message: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal::new(StatusCode::NOT_FOUND, message)
    }

    pub(super) fn conflict(message: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal::new(StatusCode::CONFLICT, message)
    }

    /// The caller has to verify an e-mail address before this works.
    pub(super) fn unverified(message: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { unverified: true, ..Refusal::forbidden(message) }
    }

    pub(super) fn too_many_requests() -> Refusal {
        let message = "rate limit reached: too many requests";
        Refusal { again: true, ..Refusal::new(StatusCode::TOO_MANY_REQUESTS, message) }
    }

    /// Something of ours failed: it is logged with its causes, of which the client learns nothing.
    pub(super) fn failed(cause: &(dyn std::error::Error + 'static), message: impl Into<Cow<'static, str>>) -> Refusal {
        tracing::error!(error = cause, "request failed");
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    pub(super) fn reply(&self) -> Response {
        let body = ErrorBody { success: false, error: &self.message, unverified: self.unverified };
        let mut reply = json(self.status, &body);
        if self.again {
            reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        reply
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        self.reply()
    }
}

pub(super) fn not_found() -> Response {
    Refusal::not_found("resource not found").reply()
}

pub(super) fn method_not_allowed(allowed: &str) -> Response {
    let mut reply = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method not allowed").reply();
    let allowed = HeaderValue::from_str(allowed).expect("methods are letters");
    reply.headers_mut().insert(header::ALLOW, allowed);
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
