//! Users and memberships: the nouns, and how they are written.

use serde::{Deserialize, Serialize};

use super::{
    IdentityError,
    live::{MemberId, Standing},
    record::Id,
};
use crate::model::{OrganizationId, Role, Time, Ulid, UserId};

/// A person, who signs in with an address and a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub id: UserId,
    /// As the user wrote it; no other user's differs from it in letter case alone.
    pub email: String,
    pub name: String,
    /// When it was shown that mail to the address reaches the user.
    pub verified: Option<Time>,
    pub created: Time,
    pub modified: Time,
}

/// A user in an organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub user: User,
    pub organization: OrganizationId,
    pub role: Role,
    pub joined: Time,
    pub last_login: Option<Time>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct UserRecord {
    pub(super) email: String,
    pub(super) name: String,
    /// The password's Argon2id hash, as a PHC string.
    pub(super) password_hash: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) verified_ns: Option<i64>,
    pub(super) created_ns: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) modified_ns: Option<i64>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct MembershipRecord {
    pub(super) role: u8,
    /// What access tokens have to name.
    pub(super) epoch: Id,
    /// What refresh tokens have to name.
    pub(super) session: Id,
    pub(super) joined_ns: i64,
}

impl UserRecord {
    pub(super) fn into_user(self, id: UserId) -> User {
        User {
            id,
            email: self.email,
            name: self.name,
            verified: self.verified_ns.map(Time::from_nanos),
            created: Time::from_nanos(self.created_ns),
            modified: Time::from_nanos(self.modified_ns.unwrap_or(self.created_ns)),
        }
    }
}

impl MembershipRecord {
    pub(super) fn standing(&self) -> Standing {
        Standing { epoch: self.epoch.0, session: self.session.0 }
    }

    /// The role; what this version does not know allows nothing, so it is damage.
    pub(super) fn role(&self, place: &str) -> Result<Role, IdentityError> {
        Role::from_number(self.role).ok_or_else(|| IdentityError::Damaged {
            key: place.to_owned(),
            what: format!("there is no role number {}", self.role),
        })
    }
}

/// The member at the end of a record's key, behind a prefix: organization and user.
pub(super) fn member_behind(prefix: &str, key: &[u8]) -> Result<MemberId, IdentityError> {
    let text = std::str::from_utf8(key).ok().and_then(|key| key.strip_prefix(prefix));
    let pair = text.and_then(|text| text.split_once('/'));
    let parsed = pair.and_then(|(organization, user)| Some((Ulid::parse(user).ok()?, Ulid::parse(organization).ok()?)));
    let (user, organization) = parsed.ok_or_else(|| IdentityError::Damaged {
        key: String::from_utf8_lossy(key).into_owned(),
        what: "its key does not end in an organization and a user".to_owned(),
    })?;
    Ok((UserId(user), OrganizationId(organization)))
}

#[cfg(test)]
mod tests {
    use super::{super::record::place, *};

    #[test]
    fn a_member_is_read_back_from_its_key() {
        let member = (UserId(Ulid::from_bytes([1; 16])), OrganizationId(Ulid::from_bytes([2; 16])));
        assert_eq!(member_behind(place::MEMBERS, place::member(member).as_bytes()).unwrap(), member);
        for bad in ["identity/member/x", "identity/member/x/y", "identity/other"] {
            assert!(matches!(member_behind(place::MEMBERS, bad.as_bytes()), Err(IdentityError::Damaged { .. })));
        }
    }
}
