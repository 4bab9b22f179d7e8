//! What a member of an organization is there, and what that allows.

use std::{fmt, str::FromStr};

use super::{
    Permission::{self, ApiKeysRead, CollaboratorsRead, MetricsRead, OrganizationsRead, ProjectsRead, TopicsRead},
    Permissions,
};

/// A role. The numbers are those of the Quarterdeck API, and stored as such.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Role {
    Owner = 1,
    Admin = 2,
    Member = 3,
    Observer = 4,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown role {text:?}")]
pub struct UnknownRole {
    text: String,
}

impl Role {
    /// From what may do most to what may do least.
    pub const ALL: [Role; 4] = [Role::Owner, Role::Admin, Role::Member, Role::Observer];

    pub fn name(self) -> &'static str {
        match self {
            Role::Owner => "Owner",
            Role::Admin => "Admin",
            Role::Member => "Member",
            Role::Observer => "Observer",
        }
    }

    pub fn from_number(number: u8) -> Option<Role> {
        Role::ALL.into_iter().find(|role| *role as u8 == number)
    }

    /// What the role allows. Publishing and subscribing are for API keys alone.
    pub fn permissions(self) -> Permissions {
        let all = (1..).map_while(Permission::from_number);
        all.filter(|permission| self.allows(*permission)).collect()
    }

    fn allows(self, permission: Permission) -> bool {
        match permission {
            Permission::OrganizationsEdit | Permission::OrganizationsDelete => self == Role::Owner,
            Permission::CollaboratorsAdd | Permission::CollaboratorsRemove | Permission::CollaboratorsEdit => {
                self <= Role::Admin
            }
            Permission::ProjectsEdit
            | Permission::ProjectsDelete
            | Permission::ApiKeysEdit
            | Permission::ApiKeysDelete
            | Permission::TopicsCreate
            | Permission::TopicsEdit
            | Permission::TopicsDestroy => self <= Role::Member,
            OrganizationsRead | CollaboratorsRead | ProjectsRead | ApiKeysRead | TopicsRead | MetricsRead => true,
            Permission::Publisher | Permission::Subscriber => false,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Letter case matters.
impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Role, UnknownRole> {
        let known = Role::ALL.into_iter().find(|role| role.name() == text);
        known.ok_or_else(|| UnknownRole { text: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_read_back() {
        for (index, role) in Role::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(role as u8), index + 1);
            assert_eq!(Role::from_number(role as u8), Some(role));
            assert_eq!(role.name().parse(), Ok(role));
        }
        assert_eq!((Role::from_number(0), Role::from_number(5)), (None, None));
        for bad in ["owner", "OWNER", " Owner", "", "Guest"] {
            assert!(bad.parse::<Role>().is_err(), "{bad:?}");
        }
    }

    /// The numbers of the permissions of each role, as they are published.
    #[test]
    fn what_roles_allow() {
        let numbers = |role: Role| role.permissions().iter().map(|permission| permission as u8).collect::<Vec<_>>();
        assert_eq!(numbers(Role::Owner), (1..=18).collect::<Vec<_>>());
        assert_eq!(numbers(Role::Admin), (3..=18).collect::<Vec<_>>());
        assert_eq!(numbers(Role::Member), [3, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18]);
        assert_eq!(numbers(Role::Observer), [3, 7, 10, 13, 17, 18]);
    }
}
