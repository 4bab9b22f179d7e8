//! Tenants: the environments of an organization, which its projects belong to.
//!
//! Every organization has three from the start, and keeps at least one. A project that was made without a tenant belongs
//! to the oldest one. Whatever gives a project to a tenant writes the tenant's record again, so that a tenant is never
//! removed in the same moment.

use serde::{Deserialize, Serialize};

use super::{
    Identity, IdentityError, ResourceError,
    record::{Id, decode, encode, place},
    service::{id_behind, scan_all},
};
use crate::{
    model::{OrganizationId, TenantId, Time, limits::NAME_CHARS_MAX},
    store::{RecordError, Revision, Transaction},
    sys::new_ulid,
};

/// The tenants of a new organization: name and kind of environment.
const FIRST: [(&str, &str); 3] = [("Development", "Development"), ("Staging", "Staging"), ("Production", "Production")];

/// An environment of an organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    pub id: TenantId,
    pub organization: OrganizationId,
    pub name: String,
    /// What it is for, in a word: `Development`, `Staging`, `Production`, or another one.
    pub environment: String,
    pub created: Time,
    pub modified: Time,
}

#[derive(Serialize, Deserialize)]
pub(super) struct TenantRecord {
    organization: Id,
    name: String,
    environment: String,
    created_ns: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    modified_ns: Option<i64>,
}

impl TenantRecord {
    fn into_tenant(self, id: TenantId) -> Tenant {
        Tenant {
            id,
            organization: OrganizationId(self.organization.0),
            name: self.name,
            environment: self.environment,
            created: Time::from_nanos(self.created_ns),
            modified: Time::from_nanos(self.modified_ns.unwrap_or(self.created_ns)),
        }
    }
}

impl Identity {
    /// An organization's tenants, from old to new. One that was made before there were tenants gets its first ones.
    pub async fn tenants(&self, organization: OrganizationId) -> Result<Vec<Tenant>, ResourceError> {
        if self.inner.records.get(place::tenants_made(organization)).await?.is_none() {
            let transaction = self.add_first_tenants(organization, Transaction::new());
            match self.inner.records.commit(transaction).await {
                // Another call was faster; what it made is what there is.
                Ok(_) | Err(RecordError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let prefix = place::tenants_of(organization);
        let mut tenants = Vec::new();
        for (key, record) in scan_all(&self.inner.records, &prefix).await? {
            let record: TenantRecord = decode(&key, &record.value)?;
            tenants.push(record.into_tenant(TenantId(id_behind(&prefix, &key)?)));
        }
        tenants.sort_by_key(|tenant| (tenant.created, tenant.id));
        Ok(tenants)
    }

    pub async fn tenant(&self, organization: OrganizationId, id: TenantId) -> Result<Tenant, ResourceError> {
        let (record, _) = self.tenant_record(organization, id).await?;
        Ok(record.into_tenant(id))
    }

    pub async fn create_tenant(
        &self,
        organization: OrganizationId,
        name: &str,
        environment: &str,
    ) -> Result<Tenant, ResourceError> {
        let (name, environment) = (short("name", name)?, short("environment_type", environment)?);
        let tenants = self.tenants(organization).await?;
        if tenants.iter().any(|tenant| tenant.name == name) {
            return Err(ResourceError::Exists { what: "tenant" });
        }
        let id = TenantId(new_ulid(&self.inner.clock, &self.inner.entropy));
        // Younger than all others, also when the clock was set back: the oldest one has a meaning.
        let youngest = tenants.last().map_or(i64::MIN, |tenant| tenant.created.nanos());
        let created_ns = self.inner.clock.now().nanos().max(youngest.saturating_add(1));
        let record =
            TenantRecord { organization: Id(organization.0), name, environment, created_ns, modified_ns: None };
        let place = place::tenant(organization, id);
        let transaction = self.with_marker(organization, Transaction::new()).await?;
        self.inner.records.commit(transaction.check(place.clone(), None).put(place, encode(&record))).await?;
        Ok(record.into_tenant(id))
    }

    /// Gives a tenant another name or kind of environment; what is empty stays as it is.
    pub async fn change_tenant(
        &self,
        organization: OrganizationId,
        id: TenantId,
        name: &str,
        environment: &str,
    ) -> Result<Tenant, ResourceError> {
        let (mut record, revision) = self.tenant_record(organization, id).await?;
        if !name.trim().is_empty() {
            record.name = short("name", name)?;
        }
        if !environment.trim().is_empty() {
            record.environment = short("environment_type", environment)?;
        }
        let tenants = self.tenants(organization).await?;
        if tenants.iter().any(|tenant| tenant.name == record.name && tenant.id != id) {
            return Err(ResourceError::Exists { what: "tenant" });
        }
        record.modified_ns = Some(self.inner.clock.now().nanos());
        let place = place::tenant(organization, id);
        let transaction = self.with_marker(organization, Transaction::new()).await?;
        let transaction = transaction.check(place.clone(), Some(revision)).put(place, encode(&record));
        self.inner.records.commit(transaction).await?;
        Ok(record.into_tenant(id))
    }

    /// Removes a tenant without projects.
    pub async fn remove_tenant(&self, organization: OrganizationId, id: TenantId) -> Result<(), ResourceError> {
        let (_, revision) = self.tenant_record(organization, id).await?;
        let tenants = self.tenants(organization).await?;
        if tenants.len() < 2 {
            return Err(ResourceError::LastTenant);
        }
        let oldest = tenants.first().map(|tenant| tenant.id);
        let projects = self.projects(organization).await?;
        if projects.iter().any(|project| project.tenant.or(oldest) == Some(id)) {
            return Err(ResourceError::NotEmpty);
        }
        let place = place::tenant(organization, id);
        let transaction = self.with_marker(organization, Transaction::new()).await?;
        self.inner.records.commit(transaction.check(place.clone(), Some(revision)).delete(place)).await?;
        Ok(())
    }

    /// Adds the first tenants of an organization to a transaction, which fails when it has them already.
    pub(super) fn add_first_tenants(&self, organization: OrganizationId, transaction: Transaction) -> Transaction {
        let marker = place::tenants_made(organization);
        let mut transaction = transaction.check(marker.clone(), None).put(marker, Vec::new());
        let now = self.inner.clock.now();
        // Each a nanosecond younger than the one before, so that they stay in this order.
        for (later, (name, environment)) in (0..).zip(FIRST) {
            let id = TenantId(new_ulid(&self.inner.clock, &self.inner.entropy));
            let record = TenantRecord {
                organization: Id(organization.0),
                name: name.to_owned(),
                environment: environment.to_owned(),
                created_ns: now.plus_nanos(later).nanos(),
                modified_ns: None,
            };
            transaction = transaction.put(place::tenant(organization, id), encode(&record));
        }
        transaction
    }

    /// Makes a transaction fail when the organization's tenants, or what belongs to them, change in the same moment.
    pub(super) async fn with_marker(
        &self,
        organization: OrganizationId,
        transaction: Transaction,
    ) -> Result<Transaction, ResourceError> {
        let marker = place::tenants_made(organization);
        Ok(match self.inner.records.get(marker.clone()).await? {
            Some(found) => transaction.check(marker.clone(), Some(found.revision)).put(marker, Vec::new()),
            // Nothing can belong to a tenant yet.
            None => transaction.check(marker, None),
        })
    }

    async fn tenant_record(
        &self,
        organization: OrganizationId,
        id: TenantId,
    ) -> Result<(TenantRecord, Revision), ResourceError> {
        let read = self.read("tenant", &id, place::tenant(organization, id)).await;
        read.map_err(|error: IdentityError| error.into())
    }
}

/// A text that is there, without the blanks around it, and not too long to be a name.
pub(super) fn short(field: &'static str, text: &str) -> Result<String, ResourceError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(ResourceError::Missing { field });
    }
    if text.chars().count() > NAME_CHARS_MAX {
        return Err(ResourceError::TooLong { field });
    }
    Ok(text.to_owned())
}
