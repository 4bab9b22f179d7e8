//! Organizations, projects and API keys.

use super::{
    Identity, IdentityError,
    record::{
        ApiKey, BootstrapRecord, Id, KeyRecord, Organization, OrganizationRecord, Project, ProjectRecord, decode,
        encode, place,
    },
    service::{id_behind, locked, scan_all},
};
use crate::{
    model::{KeyId, OrganizationId, Permissions, ProjectId, Secret},
    store::{RecordError, Revision, Transaction},
    sys::{Entropy, new_ulid},
};

const CLIENT_ID_LETTERS: usize = 32;
const SECRET_CHARACTERS: usize = 64;
const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
const ALPHANUMERIC: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/// What a new API key is to be.
#[derive(Debug, Clone)]
pub struct NewKey {
    pub name: String,
    pub project: ProjectId,
    pub permissions: Permissions,
}

/// A new key with its secret, which can be had here and nowhere else.
#[derive(Debug, Clone)]
pub struct IssuedKey {
    pub key: ApiKey,
    pub secret: Secret,
}

/// What a server that nobody has configured starts with.
#[derive(Debug, Clone)]
pub struct Bootstrap {
    pub organization: Organization,
    pub project: Project,
    /// A key with all permissions; only when this call made it all, because its secret cannot be had again.
    pub issued: Option<IssuedKey>,
}

impl Identity {
    pub async fn create_organization(&self, name: &str) -> Result<Organization, IdentityError> {
        let (organization, transaction) = self.new_organization(name)?;
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

    pub async fn create_project(&self, organization: OrganizationId, name: &str) -> Result<Project, IdentityError> {
        let place = place::organization(organization);
        let (_, revision) = self.read::<OrganizationRecord>("organization", &organization, place.clone()).await?;
        let (project, transaction) = self.new_project(organization, name)?;
        self.inner.records.commit(transaction.check(place, Some(revision))).await?;
        Ok(project)
    }

    pub async fn project(&self, id: ProjectId) -> Result<Project, IdentityError> {
        let (record, _) = self.read::<ProjectRecord>("project", &id, place::project(id)).await?;
        Ok(record.into_project(id))
    }

    /// An organization's projects, from old to new.
    pub async fn projects(&self, organization: OrganizationId) -> Result<Vec<Project>, IdentityError> {
        let prefix = place::projects_of(organization);
        let mut projects = Vec::new();
        for (key, _) in scan_all(&self.inner.records, &prefix).await? {
            projects.push(self.project(ProjectId(id_behind(&prefix, &key)?)).await?);
        }
        Ok(projects)
    }

    /// Makes a key. Takes the time of one Argon2id hash.
    pub async fn create_key(&self, new: NewKey) -> Result<IssuedKey, IdentityError> {
        let place = place::project(new.project);
        let (project, revision) = self.read::<ProjectRecord>("project", &new.project, place.clone()).await?;
        let (issued, transaction) = self.new_key(OrganizationId(project.organization.0), new).await?;
        self.inner.records.commit(transaction.check(place, Some(revision))).await?;
        self.inner.live.add(issued.key.id);
        Ok(issued)
    }

    /// A key, live or revoked.
    pub async fn key(&self, id: KeyId) -> Result<ApiKey, IdentityError> {
        let read = match self.read::<KeyRecord>("API key", &id, place::key(id)).await {
            Err(IdentityError::NotFound { .. }) => self.read("API key", &id, place::revoked_key(id)).await,
            read => read,
        };
        Ok(read?.0.into_key(id, self.inner.live.last_used(id)))
    }

    /// A project's live keys, from old to new.
    pub async fn keys(&self, project: ProjectId) -> Result<Vec<ApiKey>, IdentityError> {
        let prefix = place::keys_of(project);
        let mut keys = Vec::new();
        for (place, _) in scan_all(&self.inner.records, &prefix).await? {
            let id = KeyId(id_behind(&prefix, &place)?);
            match self.key(id).await {
                // Revoked since the scan.
                Ok(ApiKey { revoked: Some(_), .. }) | Err(IdentityError::NotFound { .. }) => {}
                key => keys.push(key?),
            }
        }
        Ok(keys)
    }

    /// Ends a key for good: it signs in no more, and its tokens are refused from now on.
    pub async fn revoke_key(&self, id: KeyId) -> Result<ApiKey, IdentityError> {
        let place = place::key(id);
        let (mut record, revision) = self.read::<KeyRecord>("API key", &id, place.clone()).await?;
        record.revoked_ns = Some(self.inner.clock.now().nanos());
        let transaction = Transaction::new()
            .check(place.clone(), Some(revision))
            .delete(place)
            .delete(place::key_used(id))
            .delete(place::client(&record.client_id))
            .delete(format!("{}{id}", place::keys_of(ProjectId(record.project.0))))
            .put(place::revoked_key(id), encode(&record));
        self.inner.records.commit(transaction).await?;
        let last_used = self.inner.live.last_used(id);
        self.inner.live.revoke(id);
        locked(&self.inner.secrets).remove(&record.client_id);
        tracing::info!(key = %id, "API key revoked");
        Ok(record.into_key(id, last_used))
    }

    /// Makes the organization "Local", its project "dev" and a key with all permissions, all at once, the first time it
    /// is called on these records; afterwards gives what was made then, without the key.
    pub async fn ensure_default(&self) -> Result<Bootstrap, IdentityError> {
        loop {
            if let Some(found) = self.inner.records.get(place::BOOTSTRAP).await? {
                let record: BootstrapRecord = decode(place::BOOTSTRAP.as_bytes(), &found.value)?;
                let organization = self.organization(OrganizationId(record.organization.0)).await?;
                let project = self.project(ProjectId(record.project.0)).await?;
                return Ok(Bootstrap { organization, project, issued: None });
            }
            let (organization, first) = self.new_organization("Local")?;
            let (project, second) = self.new_project(organization.id, "dev")?;
            let new = NewKey { name: "dev".to_owned(), project: project.id, permissions: Permissions::full_key() };
            let (issued, third) = self.new_key(organization.id, new).await?;
            let record = BootstrapRecord { organization: Id(organization.id.0), project: Id(project.id.0) };
            let mut all = Transaction::new().check(place::BOOTSTRAP, None).put(place::BOOTSTRAP, encode(&record));
            for part in [first, second, third] {
                all.checks.extend(part.checks);
                all.changes.extend(part.changes);
            }
            match self.inner.records.commit(all).await {
                Ok(_) => {
                    self.inner.live.add(issued.key.id);
                    return Ok(Bootstrap { organization, project, issued: Some(issued) });
                }
                // Another call was faster; what it made is what there is.
                Err(RecordError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn new_organization(&self, name: &str) -> Result<(Organization, Transaction), IdentityError> {
        let name = named("organization", name)?;
        let id = OrganizationId(new_ulid(&self.inner.clock, &self.inner.entropy));
        let record = OrganizationRecord { name, created_ns: self.inner.clock.now().nanos() };
        let place = place::organization(id);
        let transaction = Transaction::new().check(place.clone(), None).put(place, encode(&record));
        Ok((record.into_organization(id), transaction))
    }

    fn new_project(&self, organization: OrganizationId, name: &str) -> Result<(Project, Transaction), IdentityError> {
        let name = named("project", name)?;
        let id = ProjectId(new_ulid(&self.inner.clock, &self.inner.entropy));
        let created_ns = self.inner.clock.now().nanos();
        let record = ProjectRecord { organization: Id(organization.0), name, created_ns };
        let place = place::project(id);
        let transaction = Transaction::new()
            .check(place.clone(), None)
            .put(place, encode(&record))
            .put(format!("{}{id}", place::projects_of(organization)), Vec::new());
        Ok((record.into_project(id), transaction))
    }

    async fn new_key(
        &self,
        organization: OrganizationId,
        new: NewKey,
    ) -> Result<(IssuedKey, Transaction), IdentityError> {
        let name = named("API key", &new.name)?;
        if new.permissions == Permissions::NONE {
            return Err(IdentityError::NoPermissions);
        }
        if let Some(permission) = new.permissions.iter().find(|permission| !permission.is_for_keys()) {
            return Err(IdentityError::NotForKeys { permission });
        }
        let id = KeyId(new_ulid(&self.inner.clock, &self.inner.entropy));
        let client_id = random_text(&self.inner.entropy, LETTERS, CLIENT_ID_LETTERS);
        let secret = Secret::new(random_text(&self.inner.entropy, ALPHANUMERIC, SECRET_CHARACTERS));
        let record = KeyRecord {
            secret_hash: self.inner.hasher.hash(secret.clone()).await?,
            client_id: client_id.clone(),
            name,
            organization: Id(organization.0),
            project: Id(new.project.0),
            permissions: new.permissions.iter().map(|permission| permission as u8).collect(),
            created_ns: self.inner.clock.now().nanos(),
            revoked_ns: None,
        };
        let (place, client) = (place::key(id), place::client(&client_id));
        let transaction = Transaction::new()
            .check(place.clone(), None)
            .check(client.clone(), None)
            .put(place, encode(&record))
            .put(client, id.to_string())
            .put(format!("{}{id}", place::keys_of(new.project)), Vec::new());
        Ok((IssuedKey { key: record.into_key(id, None), secret }, transaction))
    }

    async fn read<T: serde::de::DeserializeOwned>(
        &self,
        kind: &'static str,
        id: &impl ToString,
        place: String,
    ) -> Result<(T, Revision), IdentityError> {
        match self.inner.records.get(place.clone()).await? {
            Some(found) => Ok((decode(place.as_bytes(), &found.value)?, found.revision)),
            None => Err(IdentityError::NotFound { kind, id: id.to_string() }),
        }
    }
}

fn named(kind: &'static str, name: &str) -> Result<String, IdentityError> {
    match name.trim() {
        "" => Err(IdentityError::MissingName { kind }),
        name => Ok(name.to_owned()),
    }
}

/// Characters of an alphabet, each as likely as the others: bytes that would favour the first ones are thrown away.
fn random_text(entropy: &Entropy, alphabet: &[u8], length: usize) -> String {
    let fair = 256 / alphabet.len() * alphabet.len();
    let mut text = String::with_capacity(length);
    while text.len() < length {
        let bytes: [u8; 64] = entropy.bytes();
        let usable = bytes.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < fair);
        text.extend(usable.take(length - text.len()).map(|byte| char::from(alphabet[byte % alphabet.len()])));
    }
    text
}
