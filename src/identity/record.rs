//! What is kept: the nouns, where their records lie, and how they are written.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::IdentityError;
use crate::model::{KeyId, OrganizationId, Permission, Permissions, ProjectId, TenantId, Time, Ulid, UserId};

/// The people who share an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organization {
    pub id: OrganizationId,
    pub name: String,
    /// The name of its workspace, which no other organization has.
    pub domain: String,
    pub created: Time,
    pub modified: Time,
}

/// A collection of topics, in one organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    pub id: ProjectId,
    pub organization: OrganizationId,
    /// None for the organization's oldest one.
    pub tenant: Option<TenantId>,
    pub name: String,
    pub description: String,
    /// Who made it, unless the server did.
    pub owner: Option<UserId>,
    pub created: Time,
    pub modified: Time,
    /// Whether its removal has begun.
    pub removing: bool,
}

/// A key that signs in to one project, without its secret, which nobody knows but who was given it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    pub id: KeyId,
    /// 32 letters, by which the key signs in.
    pub client_id: String,
    pub name: String,
    pub organization: OrganizationId,
    pub project: ProjectId,
    pub permissions: Permissions,
    pub created_by: Option<UserId>,
    /// What the client that made it says it is for.
    pub source: String,
    /// The program that made it.
    pub user_agent: String,
    pub created: Time,
    pub modified: Time,
    pub last_used: Option<Time>,
    pub revoked: Option<Time>,
}

/// The version that records are written with.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Written<'a, T> {
    version: u32,
    record: &'a T,
}

#[derive(Deserialize)]
struct Read<T> {
    record: T,
}

#[derive(Deserialize)]
struct Head {
    version: u32,
}

/// Writes a record as JSON, with its version.
pub(super) fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    serde_json::to_vec(&Written { version: VERSION, record }).expect("records have text keys and no failing parts")
}

/// Reads a record; the key is for the error.
pub(super) fn decode<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T, IdentityError> {
    let key = || String::from_utf8_lossy(key).into_owned();
    let damaged = |error: serde_json::Error| IdentityError::Damaged { key: key(), what: error.to_string() };
    let head: Head = serde_json::from_slice(value).map_err(damaged)?;
    if head.version > VERSION {
        return Err(IdentityError::TooNew { key: key(), version: head.version });
    }
    serde_json::from_slice::<Read<T>>(value).map(|read| read.record).map_err(damaged)
}

/// An identifier in its text form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Id(pub(super) Ulid);

impl Serialize for Id {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Id, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ulid::parse(&text).map(Id).map_err(serde::de::Error::custom)
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct OrganizationRecord {
    pub(super) name: String,
    /// Organizations that were made before there were workspaces have none until they are given one.
    #[serde(default)]
    pub(super) domain: String,
    pub(super) created_ns: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) modified_ns: Option<i64>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct ProjectRecord {
    pub(super) organization: Id,
    pub(super) name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) description: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tenant: Option<Id>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) owner: Option<Id>,
    pub(super) created_ns: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) modified_ns: Option<i64>,
    /// Whether its removal has begun.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) removing: bool,
}

#[derive(Serialize, Deserialize)]
pub(super) struct KeyRecord {
    pub(super) client_id: String,
    /// The secret's Argon2id hash, as a PHC string.
    pub(super) secret_hash: String,
    pub(super) name: String,
    pub(super) organization: Id,
    pub(super) project: Id,
    pub(super) permissions: Vec<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) created_by: Option<Id>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) source: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) user_agent: String,
    pub(super) created_ns: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) modified_ns: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) revoked_ns: Option<i64>,
}

/// When a key last signed in; apart from the key, so that signing in changes nothing that others look after.
#[derive(Serialize, Deserialize)]
pub(super) struct UseRecord {
    pub(super) used_ns: i64,
}

/// All keys that tokens are signed or verified with.
#[derive(Serialize, Deserialize)]
pub(super) struct SigningRecord {
    pub(super) keys: Vec<SigningKeyRecord>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct SigningKeyRecord {
    pub(super) id: Id,
    /// An Ed25519 key in PKCS#8, sealed under the root key with [`place::signing_context`], in base64.
    pub(super) sealed: String,
    /// When another one began to sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) retired_ns: Option<i64>,
}

/// What the first start made.
#[derive(Serialize, Deserialize)]
pub(super) struct BootstrapRecord {
    pub(super) organization: Id,
    pub(super) project: Id,
    /// None until an owner is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) owner: Option<Id>,
}

impl OrganizationRecord {
    pub(super) fn into_organization(self, id: OrganizationId) -> Organization {
        Organization {
            id,
            name: self.name,
            domain: self.domain,
            created: Time::from_nanos(self.created_ns),
            modified: Time::from_nanos(self.modified_ns.unwrap_or(self.created_ns)),
        }
    }
}

impl ProjectRecord {
    pub(super) fn into_project(self, id: ProjectId) -> Project {
        Project {
            id,
            organization: OrganizationId(self.organization.0),
            tenant: self.tenant.map(|tenant| TenantId(tenant.0)),
            name: self.name,
            description: self.description,
            owner: self.owner.map(|owner| UserId(owner.0)),
            created: Time::from_nanos(self.created_ns),
            modified: Time::from_nanos(self.modified_ns.unwrap_or(self.created_ns)),
            removing: self.removing,
        }
    }
}

impl KeyRecord {
    /// The numbers of permissions that this version does not know are left out: what it does not know, it does not
    /// grant.
    pub(super) fn permissions(&self) -> Permissions {
        self.permissions.iter().filter_map(|number| Permission::from_number(*number)).collect()
    }

    pub(super) fn into_key(self, id: KeyId, last_used: Option<Time>) -> ApiKey {
        ApiKey {
            id,
            permissions: self.permissions(),
            client_id: self.client_id,
            name: self.name,
            organization: OrganizationId(self.organization.0),
            project: ProjectId(self.project.0),
            created_by: self.created_by.map(|user| UserId(user.0)),
            source: self.source,
            user_agent: self.user_agent,
            modified: Time::from_nanos(self.modified_ns.unwrap_or(self.created_ns)),
            created: Time::from_nanos(self.created_ns),
            last_used,
            revoked: self.revoked_ns.map(Time::from_nanos),
        }
    }
}

/// Where records lie. Identifiers are in their text form, so that a scan goes through them from old to new.
pub(super) mod place {
    use crate::{
        identity::live::MemberId,
        model::{KeyId, OrganizationId, ProjectId, TenantId, Ulid, UserId},
    };

    pub(in super::super) const SIGNING: &str = "identity/signing";
    pub(in super::super) const BOOTSTRAP: &str = "identity/bootstrap";
    pub(in super::super) const ORGANIZATIONS: &str = "identity/organization/";
    pub(in super::super) const PROJECTS: &str = "identity/project/";
    pub(in super::super) const GONE_PROJECTS: &str = "identity/project-gone/";
    pub(in super::super) const KEYS: &str = "identity/key/";
    pub(in super::super) const USES: &str = "identity/key-used/";
    /// There since somebody registered, with the first user's identifier.
    pub(in super::super) const FIRST_USER: &str = "identity/first-user";
    pub(in super::super) const MEMBERS: &str = "identity/member/";
    pub(in super::super) const LINKS: &str = "identity/link/";
    pub(in super::super) const LOGINS: &str = "identity/member-login/";

    /// What binds a sealed signing key to its identifier.
    pub(in super::super) fn signing_context(id: Ulid) -> String {
        format!("{SIGNING}/{id}")
    }

    pub(in super::super) fn organization(id: OrganizationId) -> String {
        format!("{ORGANIZATIONS}{id}")
    }

    pub(in super::super) fn project(id: ProjectId) -> String {
        format!("{PROJECTS}{id}")
    }

    /// There once a project has been removed, so that its identifier is never used again.
    pub(in super::super) fn gone_project(id: ProjectId) -> String {
        format!("{GONE_PROJECTS}{id}")
    }

    /// The tenants of an organization.
    pub(in super::super) fn tenants_of(organization: OrganizationId) -> String {
        format!("identity/tenant/{organization}/")
    }

    pub(in super::super) fn tenant(organization: OrganizationId, id: TenantId) -> String {
        format!("identity/tenant/{organization}/{id}")
    }

    /// There once an organization has its first tenants; written again with every change of what belongs to tenants.
    pub(in super::super) fn tenants_made(organization: OrganizationId) -> String {
        format!("identity/tenants-made/{organization}")
    }

    /// The projects of an organization: an index of empty records.
    pub(in super::super) fn projects_of(organization: OrganizationId) -> String {
        format!("identity/organization-project/{organization}/")
    }

    pub(in super::super) fn key(id: KeyId) -> String {
        format!("{KEYS}{id}")
    }

    pub(in super::super) fn revoked_key(id: KeyId) -> String {
        format!("identity/key-revoked/{id}")
    }

    pub(in super::super) fn key_used(id: KeyId) -> String {
        format!("{USES}{id}")
    }

    /// The live keys of a project: an index of empty records.
    pub(in super::super) fn keys_of(project: ProjectId) -> String {
        format!("identity/project-key/{project}/")
    }

    /// The revoked keys of a project: an index of empty records.
    pub(in super::super) fn revoked_keys_of(project: ProjectId) -> String {
        format!("identity/project-key-revoked/{project}/")
    }

    pub(in super::super) fn user(id: UserId) -> String {
        format!("identity/user/{id}")
    }

    /// An address's user: the text of the user's identifier. The address is in the form in which addresses compare.
    pub(in super::super) fn email(folded: &str) -> String {
        format!("identity/email/{folded}")
    }

    /// A workspace's organization: the text of the organization's identifier.
    pub(in super::super) fn domain(domain: &str) -> String {
        format!("identity/domain/{domain}")
    }

    /// The members of an organization.
    pub(in super::super) fn members_of(organization: OrganizationId) -> String {
        format!("{MEMBERS}{organization}/")
    }

    pub(in super::super) fn member((user, organization): MemberId) -> String {
        format!("{MEMBERS}{organization}/{user}")
    }

    pub(in super::super) fn member_login((user, organization): MemberId) -> String {
        format!("{LOGINS}{organization}/{user}")
    }

    /// The organizations of a user: an index of empty records.
    pub(in super::super) fn organizations_of(user: UserId) -> String {
        format!("identity/user-organization/{user}/")
    }

    /// A link, by the SHA-256 of its token in base64.
    pub(in super::super) fn link(digest: &str) -> String {
        format!("{LINKS}{digest}")
    }

    /// The place of the newest link for a purpose and somebody.
    pub(in super::super) fn link_slot(purpose: &str, whom: &str) -> String {
        format!("identity/link-of/{purpose}/{whom}")
    }

    /// A client id's key: the text of the key's identifier.
    pub(in super::super) fn client(client_id: &str) -> String {
        format!("identity/client/{client_id}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_a_newer_version_and_damaged_ones_are_told_apart() {
        let record = UseRecord { used_ns: 7 };
        let written = encode(&record);
        assert_eq!(decode::<UseRecord>(b"k", &written).unwrap().used_ns, 7);
        let newer = br#"{"version":2,"record":{"what":"else"}}"#;
        assert!(matches!(decode::<UseRecord>(b"k", newer), Err(IdentityError::TooNew { version: 2, .. })));
        let cut = &written[..written.len() - 1];
        assert!(matches!(decode::<UseRecord>(b"k", cut), Err(IdentityError::Damaged { .. })));
    }
}
