//! Who may do what: the one table of operations and what each needs.

use super::error::BrokerError;
use crate::model::{Needs, Permission, Principal, ProjectId};

/// What a client may ask of the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Publish,
    Subscribe,
    Query,
    Explain,
    ListTopics,
    RetrieveTopic,
    CreateTopic,
    ArchiveTopic,
    DestroyTopic,
    SetPolicy,
    TopicNames,
    TopicExists,
    Info,
}

/// Any of these lets a caller ask which topics there are.
const NAME_READERS: &[Permission] = &[Permission::TopicsRead, Permission::Publisher, Permission::Subscriber];

impl Operation {
    pub const ALL: [Operation; 13] = [
        Operation::Publish,
        Operation::Subscribe,
        Operation::Query,
        Operation::Explain,
        Operation::ListTopics,
        Operation::RetrieveTopic,
        Operation::CreateTopic,
        Operation::ArchiveTopic,
        Operation::DestroyTopic,
        Operation::SetPolicy,
        Operation::TopicNames,
        Operation::TopicExists,
        Operation::Info,
    ];

    pub const fn needs(self) -> Needs {
        match self {
            Operation::Publish => Needs::All(&[Permission::Publisher]),
            Operation::Subscribe | Operation::Explain => Needs::All(&[Permission::Subscriber]),
            Operation::Query => Needs::Any(&[Permission::Subscriber, Permission::TopicsRead]),
            Operation::ListTopics | Operation::RetrieveTopic => Needs::All(&[Permission::TopicsRead]),
            Operation::CreateTopic => Needs::All(&[Permission::TopicsCreate]),
            Operation::ArchiveTopic | Operation::SetPolicy => Needs::All(&[Permission::TopicsEdit]),
            Operation::DestroyTopic => Needs::All(&[Permission::TopicsDestroy]),
            Operation::TopicNames | Operation::TopicExists => Needs::Any(NAME_READERS),
            Operation::Info => Needs::All(&[Permission::TopicsRead, Permission::MetricsRead]),
        }
    }
}

/// Refuses a caller who lacks what the operation needs.
pub(super) fn require(principal: &Principal, operation: Operation) -> Result<(), BrokerError> {
    if operation.needs().are_met_by(principal.permissions) { Ok(()) } else { Err(BrokerError::NotAuthorized) }
}

/// The project that the caller's token is for, if it names one.
pub(super) fn own_project(principal: &Principal) -> Option<ProjectId> {
    principal.project.filter(|project| !project.0.is_zero())
}

/// The project that the caller's token is for; a token without one is refused.
pub(super) fn project(principal: &Principal) -> Result<ProjectId, BrokerError> {
    own_project(principal).ok_or(BrokerError::NotAuthorized)
}
