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
    ListGroups,
    ShowGroup,
    SeekGroup,
    RemoveGroup,
}

/// Any of these lets a caller ask which topics there are.
const NAME_READERS: &[Permission] = &[Permission::TopicsRead, Permission::Publisher, Permission::Subscriber];

impl Operation {
    pub const ALL: [Operation; 17] = [
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
        Operation::ListGroups,
        Operation::ShowGroup,
        Operation::SeekGroup,
        Operation::RemoveGroup,
    ];

    pub const fn needs(self) -> Needs {
        match self {
            Operation::Publish => Needs::All(&[Permission::Publisher]),
            Operation::Subscribe | Operation::Explain | Operation::SeekGroup | Operation::RemoveGroup => {
                Needs::All(&[Permission::Subscriber])
            }
            Operation::Query | Operation::ListGroups | Operation::ShowGroup => {
                Needs::Any(&[Permission::Subscriber, Permission::TopicsRead])
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{KeyId, OrganizationId, Subject};

    /// Every operation × every permission that a caller could have alone, as it is published.
    #[test]
    fn what_operations_need() {
        let names = |operation: Operation| {
            let (all, any) = match operation.needs() {
                Needs::All(permissions) => (permissions, &[][..]),
                Needs::Any(permissions) => (&[][..], permissions),
                Needs::Nothing | Needs::SignedIn => panic!("{operation:?} asks for nothing"),
            };
            let text =
                |list: &[Permission], between| list.iter().map(|one| one.name()).collect::<Vec<_>>().join(between);
            text(all, " and ") + &text(any, " or ")
        };
        let table = Operation::ALL.map(|operation| (format!("{operation:?}"), names(operation)));
        let expected = [
            ("Publish", "publisher"),
            ("Subscribe", "subscriber"),
            ("Query", "subscriber or topics:read"),
            ("Explain", "subscriber"),
            ("ListTopics", "topics:read"),
            ("RetrieveTopic", "topics:read"),
            ("CreateTopic", "topics:create"),
            ("ArchiveTopic", "topics:edit"),
            ("DestroyTopic", "topics:destroy"),
            ("SetPolicy", "topics:edit"),
            ("TopicNames", "topics:read or publisher or subscriber"),
            ("TopicExists", "topics:read or publisher or subscriber"),
            ("Info", "topics:read and metrics:read"),
            ("ListGroups", "subscriber or topics:read"),
            ("ShowGroup", "subscriber or topics:read"),
            ("SeekGroup", "subscriber"),
            ("RemoveGroup", "subscriber"),
        ];
        let expected = expected.map(|(operation, needs)| (operation.to_owned(), needs.to_owned()));
        assert_eq!(table, expected);

        for operation in Operation::ALL {
            for number in 1..=20 {
                let permission = Permission::from_number(number).unwrap();
                let caller = Principal {
                    subject: Subject::Key(KeyId::default()),
                    organization: OrganizationId::default(),
                    project: None,
                    permissions: [permission].into_iter().collect(),
                };
                let named = names(operation);
                let may = !named.contains(" and ") && named.split(" or ").any(|name| name == permission.name());
                assert_eq!(require(&caller, operation).is_ok(), may, "{operation:?} with {permission}");
            }
        }
    }
}
