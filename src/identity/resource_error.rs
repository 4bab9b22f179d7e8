//! What can go wrong with tenants, projects and keys.

use super::IdentityError;
use crate::store::RecordError;

/// Why something was not done with a tenant, a project or a key.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ResourceError {
    /// Another organization's is not found either.
    #[error("there is no such {what} in the organization")]
    NotFound { what: &'static str },
    #[error("there is such a {what} already")]
    Exists { what: &'static str },
    #[error("the {field} is missing")]
    Missing { field: &'static str },
    #[error("the {field} is too long")]
    TooLong { field: &'static str },
    #[error("an API key cannot have this permission")]
    NotForKeys,
    #[error("the project is being removed")]
    Removing,
    #[error("the removal was not confirmed")]
    Unconfirmed,
    #[error("the tenant has projects")]
    NotEmpty,
    #[error("an organization keeps at least one tenant")]
    LastTenant,
    #[error("it has been changed meanwhile")]
    Changed,
    #[error("too many secrets are waiting")]
    Busy,
    #[error("could not complete the request")]
    Failed {
        #[source]
        source: IdentityError,
    },
}

impl From<IdentityError> for ResourceError {
    fn from(source: IdentityError) -> ResourceError {
        match source {
            IdentityError::Busy => ResourceError::Busy,
            IdentityError::Records { source } => source.into(),
            IdentityError::NotFound { kind, .. } => ResourceError::NotFound { what: kind },
            IdentityError::MissingName { .. } => ResourceError::Missing { field: "name" },
            IdentityError::NoPermissions => ResourceError::Missing { field: "permissions" },
            IdentityError::NotForKeys { .. } => ResourceError::NotForKeys,
            source => ResourceError::Failed { source },
        }
    }
}

impl From<RecordError> for ResourceError {
    fn from(source: RecordError) -> ResourceError {
        match source {
            RecordError::Conflict { .. } => ResourceError::Changed,
            source => ResourceError::Failed { source: source.into() },
        }
    }
}
