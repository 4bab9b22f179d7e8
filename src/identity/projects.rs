//! Projects: how they are made, found, changed and removed.
//!
//! A project is removed in steps. The first marks it: from then on its tokens are refused, nobody signs in to it, and no
//! key is made for it. Whoever keeps its topics destroys them, and the last step ends its keys and deletes its record, all
//! at once. When the server dies in between, the project is still there, marked, and can be removed again. Its
//! identifier is never used again.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{
    Identity, IdentityError, ResourceError,
    record::{Id, Project, ProjectRecord, encode, place},
    service::{id_behind, scan_all},
    tenants::short,
};
use crate::{
    model::{KeyId, OrganizationId, ProjectId, Secret, TenantId, UserId, limits::DESCRIPTION_BYTES_MAX},
    store::{RecordError, Revision, Transaction},
    sys::new_ulid,
};

/// How long a removal can be confirmed.
const CONFIRMATION_NS: i64 = 5 * 60 * 1_000_000_000;

/// What a new project is to be.
#[derive(Debug, Clone, Default)]
pub struct NewProject {
    /// None for an identifier of the server's choice.
    pub id: Option<ProjectId>,
    pub organization: OrganizationId,
    /// None for the organization's oldest tenant.
    pub tenant: Option<TenantId>,
    pub name: String,
    pub description: String,
    /// Who made it.
    pub owner: Option<UserId>,
}

/// What is to become of a project; what is none stays as it is.
#[derive(Debug, Clone, Default)]
pub struct ProjectChange {
    pub name: Option<String>,
    pub description: Option<String>,
    pub tenant: Option<TenantId>,
}

/// How many keys a project has, and how many it had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyCounts {
    pub live: usize,
    pub revoked: usize,
}

impl Identity {
    /// Makes a project in the organization's oldest tenant.
    pub async fn create_project(&self, organization: OrganizationId, name: &str) -> Result<Project, IdentityError> {
        let place = place::organization(organization);
        let (_, revision) =
            self.read::<super::record::OrganizationRecord>("organization", &organization, place.clone()).await?;
        let (project, transaction) = self.new_project(organization, name)?;
        self.inner.records.commit(transaction.check(place, Some(revision))).await?;
        Ok(project)
    }

    pub async fn add_project(&self, new: NewProject) -> Result<Project, ResourceError> {
        let id = new.id.unwrap_or_else(|| ProjectId(new_ulid(&self.inner.clock, &self.inner.entropy)));
        let record = ProjectRecord {
            description: description(&new.description)?,
            tenant: new.tenant.map(|tenant| Id(tenant.0)),
            owner: new.owner.map(|owner| Id(owner.0)),
            ..self.bare_project(new.organization, short("name", &new.name)?)
        };
        if let Some(tenant) = new.tenant {
            self.tenant(new.organization, tenant).await?;
        }
        let transaction = self.with_marker(new.organization, add(Transaction::new(), id, &record)).await?;
        match self.inner.records.commit(transaction).await {
            Ok(_) => Ok(record.into_project(id)),
            Err(RecordError::Conflict { key }) if key != place::tenants_made(new.organization) => {
                Err(ResourceError::Exists { what: "project" })
            }
            Err(error) => Err(error.into()),
        }
    }

    pub async fn project(&self, id: ProjectId) -> Result<Project, IdentityError> {
        let (record, _) = self.read::<ProjectRecord>("project", &id, place::project(id)).await?;
        Ok(record.into_project(id))
    }

    /// A project of this organization.
    pub async fn project_of(&self, organization: OrganizationId, id: ProjectId) -> Result<Project, ResourceError> {
        let (record, _) = self.project_record(organization, id).await?;
        Ok(record.into_project(id))
    }

    /// An organization's projects, from old identifiers to new ones.
    pub async fn projects(&self, organization: OrganizationId) -> Result<Vec<Project>, IdentityError> {
        let prefix = place::projects_of(organization);
        let mut projects = Vec::new();
        for (key, _) in scan_all(&self.inner.records, &prefix).await? {
            match self.project(ProjectId(id_behind(&prefix, &key)?)).await {
                // Removed since the scan.
                Err(IdentityError::NotFound { .. }) => {}
                project => projects.push(project?),
            }
        }
        Ok(projects)
    }

    /// How many keys a project has.
    pub async fn key_counts(&self, project: ProjectId) -> Result<KeyCounts, IdentityError> {
        let records = &self.inner.records;
        let live = scan_all(records, &place::keys_of(project)).await?.len();
        let revoked = scan_all(records, &place::revoked_keys_of(project)).await?.len();
        Ok(KeyCounts { live, revoked })
    }

    pub async fn change_project(
        &self,
        organization: OrganizationId,
        id: ProjectId,
        change: ProjectChange,
    ) -> Result<Project, ResourceError> {
        let (mut record, revision) = self.project_record(organization, id).await?;
        if record.removing {
            return Err(ResourceError::Removing);
        }
        if let Some(name) = change.name {
            record.name = short("name", &name)?;
        }
        if let Some(text) = change.description {
            record.description = description(&text)?;
        }
        if let Some(tenant) = change.tenant {
            self.tenant(organization, tenant).await?;
            record.tenant = Some(Id(tenant.0));
        }
        record.modified_ns = Some(self.inner.clock.now().nanos());
        let place = place::project(id);
        let transaction = Transaction::new().check(place.clone(), Some(revision)).put(place, encode(&record));
        let transaction = self.with_marker(organization, transaction).await?;
        self.inner.records.commit(transaction).await?;
        Ok(record.into_project(id))
    }

    /// A token that confirms the removal of a project, for this organization and the next five minutes.
    pub async fn prepare_project_removal(
        &self,
        organization: OrganizationId,
        id: ProjectId,
    ) -> Result<(Project, Secret), ResourceError> {
        let project = self.project_of(organization, id).await?;
        let end = self.inner.clock.now().plus_nanos(CONFIRMATION_NS).nanos().to_be_bytes();
        let context = removal_context(organization, id);
        let sealed = self.inner.root.seal(&self.inner.entropy, context.as_bytes(), &end);
        Ok((project, Secret::new(URL_SAFE_NO_PAD.encode(sealed))))
    }

    fn is_confirmed(&self, organization: OrganizationId, id: ProjectId, token: &Secret) -> bool {
        let sealed = URL_SAFE_NO_PAD.decode(token.expose()).ok();
        let context = removal_context(organization, id);
        let end = sealed.and_then(|sealed| self.inner.root.open(context.as_bytes(), &sealed));
        let end = end.and_then(|end| <[u8; 8]>::try_from(end.as_slice()).ok());
        end.is_some_and(|end| self.inner.clock.now().nanos() < i64::from_be_bytes(end))
    }

    /// Begins the removal of a project that was confirmed. One that was interrupted begins again. What the project's keys
    /// and tokens have open ends.
    pub async fn begin_project_removal(
        &self,
        organization: OrganizationId,
        id: ProjectId,
        token: &Secret,
    ) -> Result<Project, ResourceError> {
        let (mut record, revision) = self.project_record(organization, id).await?;
        if !self.is_confirmed(organization, id, token) {
            return Err(ResourceError::Unconfirmed);
        }
        if !record.removing {
            record.removing = true;
            record.modified_ns = Some(self.inner.clock.now().nanos());
            let place = place::project(id);
            let transaction = Transaction::new().check(place.clone(), Some(revision)).put(place, encode(&record));
            self.inner.records.commit(transaction).await?;
        }
        self.inner.live.close_project(id);
        tracing::info!(project = %id, "a project is being removed");
        Ok(record.into_project(id))
    }

    /// Ends the removal of a project that has no topics any more.
    pub async fn finish_project_removal(
        &self,
        organization: OrganizationId,
        id: ProjectId,
    ) -> Result<(), ResourceError> {
        let (record, revision) = self.project_record(organization, id).await?;
        if !record.removing {
            return Err(ResourceError::Changed);
        }
        let place = place::project(id);
        let mut transaction = Transaction::new()
            .check(place.clone(), Some(revision))
            .delete(place)
            .delete(format!("{}{id}", place::projects_of(organization)))
            .put(place::gone_project(id), Vec::new());
        let prefix = place::keys_of(id);
        let mut ended = Vec::new();
        for (place, _) in scan_all(&self.inner.records, &prefix).await? {
            let (key, with_key) = self.end_key(KeyId(id_behind(&prefix, &place)?), transaction).await?;
            transaction = with_key;
            ended.push(key);
        }
        self.inner.records.commit(transaction).await?;
        for key in &ended {
            self.forget_key(key);
        }
        Ok(())
    }

    /// Adds a project of a given identifier, which is its name too, to the transaction that makes its organization.
    pub(super) fn add_first_project(
        &self,
        transaction: Transaction,
        organization: OrganizationId,
        id: ProjectId,
    ) -> Transaction {
        add(transaction, id, &self.bare_project(organization, id.to_string()))
    }

    /// A project as it is made with its organization, and the transaction that makes it.
    pub(super) fn new_project(
        &self,
        organization: OrganizationId,
        name: &str,
    ) -> Result<(Project, Transaction), IdentityError> {
        let id = ProjectId(new_ulid(&self.inner.clock, &self.inner.entropy));
        let record = self.bare_project(organization, super::keys::named("project", name)?);
        let transaction = add(Transaction::new(), id, &record);
        Ok((record.into_project(id), transaction))
    }

    /// A project of which nothing is known but its organization and its name.
    fn bare_project(&self, organization: OrganizationId, name: String) -> ProjectRecord {
        ProjectRecord {
            organization: Id(organization.0),
            name,
            description: String::new(),
            tenant: None,
            owner: None,
            created_ns: self.inner.clock.now().nanos(),
            modified_ns: None,
            removing: false,
        }
    }

    pub(super) async fn project_record(
        &self,
        organization: OrganizationId,
        id: ProjectId,
    ) -> Result<(ProjectRecord, Revision), ResourceError> {
        let (record, revision) = self.read::<ProjectRecord>("project", &id, place::project(id)).await?;
        if record.organization.0 != organization.0 {
            return Err(ResourceError::NotFound { what: "project" });
        }
        Ok((record, revision))
    }
}

/// Adds a project to a transaction, which fails when there is one of this identifier, or was.
fn add(transaction: Transaction, id: ProjectId, record: &ProjectRecord) -> Transaction {
    let place = place::project(id);
    transaction
        .check(place.clone(), None)
        .check(place::gone_project(id), None)
        .put(place, encode(record))
        .put(format!("{}{id}", place::projects_of(OrganizationId(record.organization.0))), Vec::new())
}

fn removal_context(organization: OrganizationId, id: ProjectId) -> String {
    format!("identity/project-removal/{organization}/{id}")
}

fn description(text: &str) -> Result<String, ResourceError> {
    if text.len() > DESCRIPTION_BYTES_MAX {
        return Err(ResourceError::TooLong { field: "description" });
    }
    Ok(text.trim().to_owned())
}
