//! Organizations, and the names of their workspaces.

use super::{
    Identity, IdentityError,
    keys::{named, random_text},
    record::{Organization, OrganizationRecord, decode, encode, place},
    service::{id_behind, scan_all},
};
use crate::{model::OrganizationId, store::Transaction, sys::new_ulid};

/// How many letters a workspace has that nobody gave a name.
const DOMAIN_LETTERS: usize = 8;

const LOWER_CASE: &[u8] = b"abcdefghijklmnopqrstuvwxyz";

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
