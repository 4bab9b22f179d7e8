//! What the routes of accounts have in common: texts, passwords, and errors.

use axum::http::StatusCode;

use super::{RestState, reply::Refusal};
use crate::{
    identity::AccountError,
    model::{Principal, Secret, UserId},
};

/// What went wrong is ours alone to know.
pub(super) const OOPS: &str = "Oops - something went wrong!";

pub(super) const INVALID_INVITATION: &str = "Invalid invitation link - please request a new one!";

pub(super) const UNVERIFIED: &str = "Please verify your email address and try again!";

const WEAK: &str =
    "password is too weak: use a combination of upper and lower case letters, numbers, and special characters";

/// An address that is longer is none.
pub(super) const UNLIKELY_EMAIL_BYTES: usize = 254;

/// A secret without the space around it.
pub(super) fn trimmed(secret: &Secret) -> Secret {
    match secret.expose_str() {
        Some(text) => Secret::new(text.trim()),
        None => secret.clone(),
    }
}

/// The text of a secret that came in a JSON body, where everything is text.
pub(super) fn text(secret: &Secret) -> &str {
    secret.expose_str().unwrap_or_default()
}

/// Refuses a new password that is missing, mistyped, or too easy to guess for who knows these words of its user.
pub(super) async fn check_new_password(
    state: &RestState,
    password: &Secret,
    again: &Secret,
    known: &[&str],
) -> Result<(), Refusal> {
    if password.is_empty() {
        return Err(Refusal::bad_request("missing required field: password"));
    }
    if password.expose() != again.expose() {
        return Err(Refusal::bad_request("passwords do not match"));
    }
    state.identity.check_password(password, known).await.map_err(|error| match error {
        AccountError::WeakPassword => Refusal::bad_request(WEAK),
        error => failed(&error, OOPS),
    })
}

/// The user who calls; API keys have no account.
pub(super) fn user(caller: &Principal) -> Result<UserId, Refusal> {
    caller.subject.user().ok_or_else(not_permitted)
}

pub(super) fn not_permitted() -> Refusal {
    Refusal::forbidden("user does not have permission to perform this operation")
}

/// What is no fault of the client, in the route's words.
pub(super) fn failed(error: &AccountError, words: &'static str) -> Refusal {
    match error {
        AccountError::Busy => Refusal::too_many_requests(),
        AccountError::Invalid { field } => Refusal::bad_request(format!("invalid or unparsable field: {field}")),
        AccountError::OwnersOnly => not_permitted(),
        AccountError::Failed { source } => Refusal::failed(source, words),
        error => {
            tracing::error!(error = error as &dyn std::error::Error, "request failed");
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, words)
        }
    }
}
