//! The one gate that every route stands behind: who is calling, and whether that is enough.

use axum::{
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, StatusCode, header, request::Parts},
    middleware::Next,
    response::Response,
};

use super::{RestState, reply::Refusal, route::Pattern};
use crate::model::{Needs, Principal};

/// The cookie that is read when there is no header, as browsers send it.
const COOKIE: &str = "access_token";

/// What stands in front of one route.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    pub(super) state: RestState,
    pub(super) needs: Needs,
    pub(super) pattern: Pattern,
}

/// Who is calling. A handler that asks for it gets nobody on a route that lets anybody in, and then answers as if the
/// token were missing.
#[derive(Debug, Clone)]
pub(super) struct Caller(pub(super) Principal);

/// Lets a request through to its route when the route's needs are met.
pub(super) async fn admit(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let mut reply = match check(&gate, request.headers()) {
        Ok(caller) => {
            if let Some(caller) = caller {
                request.extensions_mut().insert(caller);
            }
            next.run(request).await
        }
        Err(refusal) => refusal.reply(),
    };
    reply.extensions_mut().insert(gate.pattern);
    reply
}

/// The caller, unless the route does not ask for one. Nothing of the request but its headers has been read by then.
fn check(gate: &Gate, headers: &HeaderMap) -> Result<Option<Caller>, Refusal> {
    if gate.needs == Needs::Nothing {
        return Ok(None);
    }
    let token = bearer(headers).ok_or_else(unauthenticated)?;
    let principal = gate.state.identity.verify(token).map_err(|error| {
        tracing::debug!(error = &error as &dyn std::error::Error, "token refused");
        unauthenticated()
    })?;
    if principal.organization.0.is_zero() || principal.subject.id().is_zero() {
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, "user claims invalid or unavailable"));
    }
    if !gate.needs.are_met_by(principal.permissions) {
        return Err(Refusal::new(StatusCode::FORBIDDEN, "user does not have permission to perform this operation"));
    }
    Ok(Some(Caller(principal)))
}

fn unauthenticated() -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, "this endpoint requires authentication")
}

/// The token of a request: that of the first `Authorization` header, or, without one, of the cookie.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let Some(header) = headers.get(header::AUTHORIZATION) else {
        return cookie(headers);
    };
    let text = header.to_str().ok()?.trim_ascii();
    let token = text.strip_prefix("Bearer").or_else(|| text.strip_prefix("bearer"))?;
    let is_apart = token.starts_with(|first: char| first.is_ascii_whitespace());
    Some(token.trim_ascii()).filter(|token| is_apart && is_token(token))
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim_ascii().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, token)| token).filter(|token| is_token(token))
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Caller, Refusal> {
        parts.extensions.get::<Caller>().cloned().ok_or_else(unauthenticated)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn tokens_in_headers() {
        let check = |headers: &[(HeaderName, &str)], expected: Option<&str>| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(name, HeaderValue::from_str(value).unwrap());
            }
            assert_eq!(bearer(&map), expected, "{headers:?}");
        };
        let (header, cookie) = (header::AUTHORIZATION, header::COOKIE);
        for good in ["Bearer a.b-c_D9", "bearer a.b-c_D9", "  Bearer  a.b-c_D9 ", "Bearer\ta.b-c_D9"] {
            check(&[(header.clone(), good)], Some("a.b-c_D9"));
        }
        for bad in ["", "Bearer", "Bearer ", "BEARER a", "Bearera", "Basic a", "Bearer a b", "Bearer a=", "a"] {
            check(&[(header.clone(), bad)], None);
        }
        check(&[(cookie.clone(), "x=1; access_token=a.b.c; y=2")], Some("a.b.c"));
        check(&[(cookie.clone(), "x=1"), (cookie.clone(), "access_token=t")], Some("t"));
        check(&[(cookie.clone(), "access_token=; xaccess_token=t")], None);
        check(&[(header, "garbage"), (cookie, "access_token=t")], None);
        check(&[], None);
    }
}
