//! Who is calling.

use http::{HeaderMap, header::AUTHORIZATION};
use tonic::Status;

use super::error::token_status;
use crate::{identity::Identity, model::Principal};

/// The caller of a request, by its `authorization` headers. There may be several; those that do not start with exactly
/// `Bearer ` are passed over, and the first of the others whose token verifies counts.
///
/// # Errors
///
/// Unauthenticated: `missing credentials` without any such header, `invalid credentials` when none will do.
pub(super) fn principal(headers: &HeaderMap, identity: &Identity) -> Result<Principal, Status> {
    let mut refusal = Status::unauthenticated("missing credentials");
    for value in headers.get_all(AUTHORIZATION) {
        refusal = match value.to_str().ok().and_then(|value| value.strip_prefix("Bearer ")) {
            Some(token) => match identity.verify(token) {
                Ok(principal) => return Ok(principal),
                Err(error) => token_status(&error),
            },
            None => Status::unauthenticated("invalid credentials"),
        };
    }
    Err(refusal)
}

/// What the client says it is, in one text.
pub(super) fn user_agent(headers: &HeaderMap) -> String {
    let values = headers.get_all(http::header::USER_AGENT).iter();
    values.filter_map(|value| value.to_str().ok()).collect::<Vec<_>>().join(",")
}
