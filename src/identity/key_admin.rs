//! API keys as those who manage an organization see them, and tokens for one project.

use std::time::Duration;

use super::{
    ApiKey, Identity, IdentityError, IssuedKey, NewKey, ResourceError,
    record::{KeyRecord, Project, encode, place},
    service::scan_all,
    tenants::short,
    token::{Bearer, Whom},
};
use crate::{
    model::{KeyId, OrganizationId, Permission, Permissions, Principal, ProjectId, Secret, Subject},
    store::Transaction,
    sys::new_ulid,
};

/// How long a token for one project is good for.
const PROJECT_ACCESS: Duration = Duration::from_mins(5);

/// What a token for one project may permit.
const PROJECT_PERMISSIONS: [Permission; 5] = [
    Permission::TopicsCreate,
    Permission::TopicsEdit,
    Permission::TopicsDestroy,
    Permission::TopicsRead,
    Permission::MetricsRead,
];

/// What asked for a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyOrigin {
    /// What the client says that the key is for.
    pub source: String,
    /// The program that asked.
    pub user_agent: String,
}

impl Identity {
    /// Makes a key for a project of this organization. Takes the time of one Argon2id hash.
    pub async fn create_key_of(
        &self,
        organization: OrganizationId,
        new: NewKey,
        origin: KeyOrigin,
    ) -> Result<IssuedKey, ResourceError> {
        let place = place::project(new.project);
        let (project, revision) = self.project_record(organization, new.project).await?;
        if project.removing {
            return Err(ResourceError::Removing);
        }
        let new = NewKey { name: short("name", &new.name)?, ..new };
        let (issued, transaction) = self.new_key(organization, new, origin).await?;
        self.inner.records.commit(transaction.check(place, Some(revision))).await?;
        self.inner.live.add_key(issued.key.id);
        Ok(issued)
    }

    /// The live keys of an organization, or of one of its projects.
    pub async fn keys_of(
        &self,
        organization: OrganizationId,
        project: Option<ProjectId>,
    ) -> Result<Vec<ApiKey>, IdentityError> {
        let mut keys = Vec::new();
        for Project { id, .. } in self.projects(organization).await? {
            if project.is_none_or(|project| project == id) {
                keys.extend(self.keys(id).await?);
            }
        }
        Ok(keys)
    }

    /// A live key of this organization.
    pub async fn key_of(&self, organization: OrganizationId, id: KeyId) -> Result<ApiKey, ResourceError> {
        let key = self.key(id).await?;
        if key.organization != organization || key.revoked.is_some() {
            return Err(ResourceError::NotFound { what: "API key" });
        }
        Ok(key)
    }

    pub async fn rename_key(
        &self,
        organization: OrganizationId,
        id: KeyId,
        name: &str,
    ) -> Result<ApiKey, ResourceError> {
        let place = place::key(id);
        let (mut record, revision) = self.read::<KeyRecord>("API key", &id, place.clone()).await?;
        if record.organization.0 != organization.0 {
            return Err(ResourceError::NotFound { what: "API key" });
        }
        record.name = short("name", name)?;
        record.modified_ns = Some(self.inner.clock.now().nanos());
        let transaction = Transaction::new().check(place.clone(), Some(revision)).put(place, encode(&record));
        self.inner.records.commit(transaction).await?;
        Ok(record.into_key(id, self.inner.live.key_used(id)))
    }

    /// Ends a key of this organization.
    pub async fn revoke_key_of(&self, organization: OrganizationId, id: KeyId) -> Result<(), ResourceError> {
        self.key_of(organization, id).await?;
        self.revoke_key(id).await?;
        Ok(())
    }

    /// An access token for one project, with what the caller may do with topics. A caller whose token is for one
    /// project already, as an API key's is, gets no other; a user's would never end if it gave
    /// another one.
    pub async fn project_access(&self, caller: &Principal, project: ProjectId) -> Result<Secret, ResourceError> {
        const NOT_FOUND: ResourceError = ResourceError::NotFound { what: "project" };
        if caller.project.is_some_and(|own| own != project) {
            return Err(NOT_FOUND);
        }
        if self.project_of(caller.organization, project).await?.removing {
            return Err(NOT_FOUND);
        }
        let whom = match caller.subject {
            Subject::Key(key) => Whom::Key(key),
            Subject::User { id, epoch } if caller.project.is_none() => {
                match self.member_bearer((id, caller.organization)).await? {
                    // The permissions are those of a role that the member has still.
                    Some((bearer, standing)) if standing.epoch == epoch => bearer.whom,
                    _ => return Err(NOT_FOUND),
                }
            }
            Subject::User { .. } => return Err(NOT_FOUND),
        };
        let held = PROJECT_PERMISSIONS.into_iter().filter(|permission| caller.permissions.contains(*permission));
        let permissions: Permissions = held.collect();
        let bearer = Bearer { whom, organization: caller.organization, project: Some(project), permissions };
        let id = new_ulid(&self.inner.clock, &self.inner.entropy);
        let now = self.inner.clock.now();
        Ok(self.inner.rules.issue_project(&self.signing(), id, &bearer, PROJECT_ACCESS, now))
    }

    /// The organization that the server was set up with, or the first that registered: its owners manage the server.
    pub async fn first_organization(&self) -> Result<Option<OrganizationId>, IdentityError> {
        let found = scan_all(&self.inner.records, place::ORGANIZATIONS).await?;
        let first = found.first().map(|(key, _)| super::service::id_behind(place::ORGANIZATIONS, key)).transpose()?;
        Ok(first.map(OrganizationId))
    }
}
