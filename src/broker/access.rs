//! Who may do what.

use super::error::BrokerError;
use crate::model::{Permission, Principal, ProjectId};

/// Refuses a caller that lacks the permission.
pub(super) fn require(principal: &Principal, permission: Permission) -> Result<(), BrokerError> {
    require_any(principal, &[permission])
}

/// Refuses a caller that has none of the permissions.
pub(super) fn require_any(principal: &Principal, permissions: &[Permission]) -> Result<(), BrokerError> {
    let allowed = permissions.iter().any(|permission| principal.permissions.contains(*permission));
    if allowed { Ok(()) } else { Err(BrokerError::NotAuthorized) }
}

/// The project that the caller's token is for, if it names one.
pub(super) fn own_project(principal: &Principal) -> Option<ProjectId> {
    principal.project.filter(|project| !project.0.is_zero())
}

/// The project that the caller's token is for; a token without one is refused.
pub(super) fn project(principal: &Principal) -> Result<ProjectId, BrokerError> {
    own_project(principal).ok_or(BrokerError::NotAuthorized)
}
