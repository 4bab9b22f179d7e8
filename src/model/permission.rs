//! What a caller may do, and who the caller is once its token has been verified.

use std::{fmt, str::FromStr};

use super::{KeyId, OrganizationId, ProjectId, Ulid, UserId};

/// A permission. The numbers are those of the Quarterdeck API, and stored as such.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Permission {
    OrganizationsEdit = 1,
    OrganizationsDelete = 2,
    OrganizationsRead = 3,
    CollaboratorsAdd = 4,
    CollaboratorsRemove = 5,
    CollaboratorsEdit = 6,
    CollaboratorsRead = 7,
    ProjectsEdit = 8,
    ProjectsDelete = 9,
    ProjectsRead = 10,
    ApiKeysEdit = 11,
    ApiKeysDelete = 12,
    ApiKeysRead = 13,
    TopicsCreate = 14,
    TopicsEdit = 15,
    TopicsDestroy = 16,
    TopicsRead = 17,
    MetricsRead = 18,
    Publisher = 19,
    Subscriber = 20,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown permission {text:?}")]
pub struct UnknownPermission {
    text: String,
}

const NAMES: [(Permission, &str); 20] = [
    (Permission::OrganizationsEdit, "organizations:edit"),
    (Permission::OrganizationsDelete, "organizations:delete"),
    (Permission::OrganizationsRead, "organizations:read"),
    (Permission::CollaboratorsAdd, "collaborators:add"),
    (Permission::CollaboratorsRemove, "collaborators:remove"),
    (Permission::CollaboratorsEdit, "collaborators:edit"),
    (Permission::CollaboratorsRead, "collaborators:read"),
    (Permission::ProjectsEdit, "projects:edit"),
    (Permission::ProjectsDelete, "projects:delete"),
    (Permission::ProjectsRead, "projects:read"),
    (Permission::ApiKeysEdit, "apikeys:edit"),
    (Permission::ApiKeysDelete, "apikeys:delete"),
    (Permission::ApiKeysRead, "apikeys:read"),
    (Permission::TopicsCreate, "topics:create"),
    (Permission::TopicsEdit, "topics:edit"),
    (Permission::TopicsDestroy, "topics:destroy"),
    (Permission::TopicsRead, "topics:read"),
    (Permission::MetricsRead, "metrics:read"),
    (Permission::Publisher, "publisher"),
    (Permission::Subscriber, "subscriber"),
];

impl Permission {
    pub fn name(self) -> &'static str {
        NAMES[usize::from(self as u8 - 1)].1
    }

    pub fn from_number(number: u8) -> Option<Permission> {
        NAMES.get(usize::from(number.checked_sub(1)?)).map(|(permission, _)| *permission)
    }

    /// Whether an API key can have it.
    pub fn is_for_keys(self) -> bool {
        self >= Permission::TopicsCreate
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Permission {
    type Err = UnknownPermission;

    fn from_str(text: &str) -> Result<Permission, UnknownPermission> {
        let known = NAMES.iter().find(|(_, name)| *name == text);
        known.map(|(permission, _)| *permission).ok_or_else(|| UnknownPermission { text: text.to_owned() })
    }
}

/// A set of permissions.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Permissions(u32);

impl Permissions {
    pub const NONE: Permissions = Permissions(0);

    /// All that an API key can have: a "full access" key.
    pub fn full_key() -> Permissions {
        NAMES.iter().map(|(permission, _)| *permission).filter(|permission| permission.is_for_keys()).collect()
    }

    pub fn contains(self, permission: Permission) -> bool {
        self.0 & (1 << permission as u8) != 0
    }

    /// In the order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        NAMES.iter().map(|(permission, _)| *permission).filter(move |permission| self.contains(*permission))
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<T: IntoIterator<Item = Permission>>(permissions: T) -> Permissions {
        Permissions(permissions.into_iter().fold(0, |set, permission| set | (1 << permission as u8)))
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Permission::name)).finish()
    }
}

/// What an operation asks of its caller. Every route and every method names one of these, and nothing else decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Anybody may, without saying who it is.
    Nothing,
    /// Whoever is known may.
    SignedIn,
    /// Whoever has every one of these.
    All(&'static [Permission]),
    /// Whoever has one of these.
    Any(&'static [Permission]),
}

impl Needs {
    /// Whether a caller who is known, and has these permissions, may.
    pub fn are_met_by(self, held: Permissions) -> bool {
        match self {
            Needs::Nothing | Needs::SignedIn => true,
            Needs::All(permissions) => permissions.iter().all(|permission| held.contains(*permission)),
            Needs::Any(permissions) => permissions.iter().any(|permission| held.contains(*permission)),
        }
    }
}

/// Whom a token stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    Key(KeyId),
    /// A member of an organization. The epoch is the one of the membership when the token was issued: once the
    /// membership has another, what the token says of it is not true any more.
    User {
        id: UserId,
        epoch: Ulid,
    },
}

impl Subject {
    /// The identifier of the key or the user.
    pub fn id(self) -> Ulid {
        match self {
            Subject::Key(id) => id.0,
            Subject::User { id, .. } => id.0,
        }
    }

    /// The user, if it is one.
    pub fn user(self) -> Option<UserId> {
        match self {
            Subject::Key(_) => None,
            Subject::User { id, .. } => Some(id),
        }
    }
}

/// Shows the identifier.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id().fmt(f)
    }
}

/// Who is calling: what is left of a token once it has been verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    pub subject: Subject,
    pub organization: OrganizationId,
    /// The project that the caller acts in; a user's own token names none.
    pub project: Option<ProjectId>,
    pub permissions: Permissions,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_read_back() {
        for (index, (permission, name)) in NAMES.iter().enumerate() {
            assert_eq!(usize::from(*permission as u8), index + 1);
            assert_eq!(name.parse(), Ok(*permission));
            assert_eq!(permission.name(), *name);
            assert_eq!(Permission::from_number(*permission as u8), Some(*permission));
        }
        assert_eq!(Permission::from_number(0), None);
        assert_eq!(Permission::from_number(21), None);
        assert!("topics:write".parse::<Permission>().is_err());
    }

    #[test]
    fn needs() {
        const BOTH: &[Permission] = &[Permission::TopicsRead, Permission::MetricsRead];
        let held = |permissions: &[Permission]| permissions.iter().copied().collect::<Permissions>();
        let check = |needs: Needs, expected: [bool; 3]| {
            let sets = [held(&[]), held(&[Permission::TopicsRead]), held(BOTH)];
            assert_eq!(sets.map(|held| needs.are_met_by(held)), expected, "{needs:?}");
        };
        check(Needs::Nothing, [true, true, true]);
        check(Needs::SignedIn, [true, true, true]);
        check(Needs::All(BOTH), [false, false, true]);
        check(Needs::Any(BOTH), [false, true, true]);
        check(Needs::Any(&[]), [false, false, false]);
    }

    #[test]
    fn a_full_key_has_the_seven_permissions_of_keys() {
        let names: Vec<_> = Permissions::full_key().iter().map(Permission::name).collect();
        let expected = [
            "topics:create",
            "topics:edit",
            "topics:destroy",
            "topics:read",
            "metrics:read",
            "publisher",
            "subscriber",
        ];
        assert_eq!(names, expected);
    }
}
