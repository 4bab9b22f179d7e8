//! What can go wrong with users, memberships and organizations.

use super::IdentityError;
use crate::store::RecordError;

/// Why something was not done with an account.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AccountError {
    #[error("{field} is malformed")]
    Invalid { field: &'static str },
    #[error("the password is too weak")]
    WeakPassword,
    /// The address has a user, the workspace an organization, or the project identifier a project.
    #[error("{what} is there already")]
    Exists { what: &'static str },
    /// New organizations are not taken, or not any more.
    #[error("registrations are closed")]
    RegistrationClosed,
    /// The address is unknown or the password is wrong; which of the two is not told. Or the user is no member.
    #[error("invalid credentials")]
    InvalidCredentials,
    #[error("the address has not been verified")]
    Unverified,
    /// It was never issued, has been used, has been replaced, or is for somebody else or something else.
    #[error("the token is not known")]
    UnknownToken,
    #[error("the token has expired")]
    ExpiredToken,
    #[error("there is no such {what} in the organization")]
    NotFound { what: &'static str },
    #[error("only an owner may do this")]
    OwnersOnly,
    #[error("an organization must have at least one owner")]
    LastOwner,
    #[error("the user has the role already")]
    SameRole,
    #[error("too many sign-ins are waiting")]
    Busy,
    #[error("could not complete the request")]
    Failed {
        #[source]
        source: IdentityError,
    },
}

impl From<IdentityError> for AccountError {
    fn from(source: IdentityError) -> AccountError {
        match source {
            IdentityError::Busy => AccountError::Busy,
            source => AccountError::Failed { source },
        }
    }
}

impl From<RecordError> for AccountError {
    fn from(source: RecordError) -> AccountError {
        AccountError::Failed { source: source.into() }
    }
}
