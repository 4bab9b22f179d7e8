//! Organizations, and the names of their workspaces.

use super::{
    AccountError, Identity, IdentityError,
    keys::{named, random_text},
    record::{Organization, OrganizationRecord, decode, encode, place},
    registration::{check_text, workspace},
    service::{id_behind, scan_all},
};
use crate::{
    model::{OrganizationId, Time, UserId},
    store::{RecordError, Transaction},
    sys::new_ulid,
};

/// How many letters a workspace has that nobody gave a name.
const DOMAIN_LETTERS: usize = 8;

const LOWER_CASE: &[u8] = b"abcdefghijklmnopqrstuvwxyz";

/// An organization as one of its members sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrganizationOfUser {
    pub organization: Organization,
    /// How many projects it has.
    pub projects: usize,
    /// When the user signed in to it last.
    pub last_login: Option<Time>,
}

/// Whose a workspace is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Workspace {
    /// The caller's own organization's.
    Own(Organization),
    /// Another organization's, about which nothing is told.
    Taken,
    Free,
}

impl Identity {
    /// Makes an organization without members, whose workspace gets a name of eight random letters.
    pub async fn create_organization(&self, name: &str) -> Result<Organization, IdentityError> {
        let name = named("organization", name)?;
        let (organization, transaction) = self.new_organization(&name, &self.random_domain());
        self.inner.records.commit(transaction).await?;
        Ok(organization)
    }

    pub async fn organization(&self, id: OrganizationId) -> Result<Organization, IdentityError> {
        let place = place::organization(id);
        let (record, _) = self.read::<OrganizationRecord>("organization", &id, place).await?;
        Ok(record.into_organization(id))
    }

    /// All organizations, from old to new.
    pub async fn organizations(&self) -> Result<Vec<Organization>, IdentityError> {
        let found = scan_all(&self.inner.records, place::ORGANIZATIONS).await?;
        let read = |(key, record): (bytes::Bytes, crate::store::Record)| {
            let id = OrganizationId(id_behind(place::ORGANIZATIONS, &key)?);
            Ok(decode::<OrganizationRecord>(&key, &record.value)?.into_organization(id))
        };
        found.into_iter().map(read).collect()
    }

    /// The organizations of a user, from old to new.
    pub async fn organizations_of_user(&self, user: UserId) -> Result<Vec<OrganizationOfUser>, IdentityError> {
        let mut found = Vec::new();
        for id in self.organizations_of(user).await? {
            found.push(self.organization_of_user(user, id).await?);
        }
        Ok(found)
    }

    /// One organization as a user sees it.
    pub async fn organization_of_user(
        &self,
        user: UserId,
        id: OrganizationId,
    ) -> Result<OrganizationOfUser, IdentityError> {
        let organization = self.organization(id).await?;
        let projects = scan_all(&self.inner.records, &place::projects_of(id)).await?.len();
        Ok(OrganizationOfUser { organization, projects, last_login: self.inner.live.member_login((user, id)) })
    }

    /// Gives an organization another name, and its workspace too.
    pub async fn update_organization(
        &self,
        id: OrganizationId,
        name: &str,
        domain: &str,
    ) -> Result<Organization, AccountError> {
        check_text("name", name)?;
        let domain = workspace(domain)?;
        loop {
            let place = place::organization(id);
            let (mut record, revision) = self
                .read::<OrganizationRecord>("organization", &id, place.clone())
                .await
                .map_err(|error| match error {
                    IdentityError::NotFound { .. } => AccountError::NotFound { what: "organization" },
                    error => error.into(),
                })?;
            let mut transaction = Transaction::new();
            if record.domain != domain {
                let (old, new) = (place::domain(&record.domain), place::domain(&domain));
                if self.inner.records.get(new.clone()).await?.is_some() {
                    return Err(AccountError::Exists { what: "workspace" });
                }
                transaction = transaction.check(new.clone(), None).put(new, id.to_string());
                if !record.domain.is_empty() {
                    transaction = transaction.delete(old);
                }
            }
            name.trim().clone_into(&mut record.name);
            record.domain.clone_from(&domain);
            record.modified_ns = Some(self.inner.clock.now().nanos());
            let transaction = transaction.check(place.clone(), Some(revision)).put(place, encode(&record));
            match self.inner.records.commit(transaction).await {
                Ok(_) => return Ok(record.into_organization(id)),
                // Somebody else was faster, with the organization or with the workspace.
                Err(RecordError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whose a workspace is, as far as members of an organization may know.
    pub async fn workspace(&self, own: OrganizationId, domain: &str) -> Result<Workspace, IdentityError> {
        let Some(found) = self.inner.records.get(place::domain(&domain.trim().to_lowercase())).await? else {
            return Ok(Workspace::Free);
        };
        if *found.value == *own.to_string().as_bytes() {
            return Ok(Workspace::Own(self.organization(own).await?));
        }
        Ok(Workspace::Taken)
    }

    pub(super) fn random_domain(&self) -> String {
        random_text(&self.inner.entropy, LOWER_CASE, DOMAIN_LETTERS)
    }

    /// A new organization, and the transaction that makes it. The transaction fails on the place of the workspace when
    /// there is one of that name.
    pub(super) fn new_organization(&self, name: &str, domain: &str) -> (Organization, Transaction) {
        let id = OrganizationId(new_ulid(&self.inner.clock, &self.inner.entropy));
        let record = OrganizationRecord {
            name: name.to_owned(),
            domain: domain.to_owned(),
            created_ns: self.inner.clock.now().nanos(),
            modified_ns: None,
        };
        let place = place::organization(id);
        let transaction = Transaction::new()
            .check(place.clone(), None)
            .check(place::domain(domain), None)
            .put(place, encode(&record))
            .put(place::domain(domain), id.to_string());
        let transaction = self.add_first_tenants(id, transaction);
        (record.into_organization(id), transaction)
    }
}
