//! API keys.

use super::{
    Identity, IdentityError, KeyOrigin,
    record::{ApiKey, Id, KeyRecord, ProjectRecord, decode, encode, place},
    service::{id_behind, locked, scan_all},
};
use crate::{
    model::{KeyId, OrganizationId, Permissions, ProjectId, Secret, UserId},
    store::{Revision, Transaction},
    sys::{Entropy, new_ulid},
};

const CLIENT_ID_LETTERS: usize = 32;
pub(super) const SECRET_CHARACTERS: usize = 64;
const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
pub(super) const ALPHANUMERIC: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/// What a new API key is to be.
#[derive(Debug, Clone)]
pub struct NewKey {
    pub name: String,
    pub project: ProjectId,
    pub permissions: Permissions,
    /// The user who asked for it; when that user leaves the organization, the key ends.
    pub created_by: Option<UserId>,
}

/// A new key with its secret, which can be had here and nowhere else.
#[derive(Debug, Clone)]
pub struct IssuedKey {
    pub key: ApiKey,
    pub secret: Secret,
}

impl Identity {
    /// Makes a key. Takes the time of one Argon2id hash.
    pub async fn create_key(&self, new: NewKey) -> Result<IssuedKey, IdentityError> {
        let place = place::project(new.project);
        let (project, revision) = self.read::<ProjectRecord>("project", &new.project, place.clone()).await?;
        if project.removing {
            return Err(IdentityError::NotFound { kind: "project", id: new.project.to_string() });
        }
        let (issued, transaction) =
            self.new_key(OrganizationId(project.organization.0), new, KeyOrigin::default()).await?;
        self.inner.records.commit(transaction.check(place, Some(revision))).await?;
        self.inner.live.add_key(issued.key.id);
        Ok(issued)
    }

    /// A key, live or revoked.
    pub async fn key(&self, id: KeyId) -> Result<ApiKey, IdentityError> {
        let read = match self.read::<KeyRecord>("API key", &id, place::key(id)).await {
            Err(IdentityError::NotFound { .. }) => self.read("API key", &id, place::revoked_key(id)).await,
            read => read,
        };
        Ok(read?.0.into_key(id, self.inner.live.key_used(id)))
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
        let (key, transaction) = self.end_key(id, Transaction::new()).await?;
        self.inner.records.commit(transaction).await?;
        let last_used = self.inner.live.key_used(id);
        self.forget_key(&key);
        Ok(ApiKey { last_used, ..key })
    }

    /// Adds the end of a live key to a transaction. Once that is stored, the key has to be forgotten.
    pub(super) async fn end_key(
        &self,
        id: KeyId,
        transaction: Transaction,
    ) -> Result<(ApiKey, Transaction), IdentityError> {
        let place = place::key(id);
        let (mut record, revision) = self.read::<KeyRecord>("API key", &id, place.clone()).await?;
        record.revoked_ns = Some(self.inner.clock.now().nanos());
        let transaction = transaction
            .check(place.clone(), Some(revision))
            .delete(place)
            .delete(place::key_used(id))
            .delete(place::client(&record.client_id))
            .delete(format!("{}{id}", place::keys_of(ProjectId(record.project.0))))
            .put(format!("{}{id}", place::revoked_keys_of(ProjectId(record.project.0))), Vec::new())
            .put(place::revoked_key(id), encode(&record));
        Ok((record.into_key(id, None), transaction))
    }

    /// Makes the end of a key known.
    pub(super) fn forget_key(&self, key: &ApiKey) {
        self.inner.live.revoke_key(key.id);
        locked(&self.inner.secrets).remove(&key.client_id);
        tracing::info!(key = %key.id, "API key revoked");
    }

    pub(super) async fn new_key(
        &self,
        organization: OrganizationId,
        new: NewKey,
        origin: KeyOrigin,
    ) -> Result<(IssuedKey, Transaction), IdentityError> {
        let name = named("API key", &new.name)?;
        if new.permissions == Permissions::NONE {
            return Err(IdentityError::NoPermissions);
        }
        if let Some(permission) = new.permissions.iter().find(|permission| !permission.is_for_keys()) {
            return Err(IdentityError::NotForKeys { permission });
        }
        let mut transaction = Transaction::new();
        if let Some(user) = new.created_by {
            // Hashing may have to wait its turn, and whoever is removed or gets another role meanwhile gets no key.
            let not_found = || IdentityError::NotFound { kind: "user", id: user.to_string() };
            let membership = self.membership((user, organization)).await?.ok_or_else(not_found)?;
            transaction = transaction.check(place::member((user, organization)), Some(membership.revision));
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
            created_by: new.created_by.map(|user| Id(user.0)),
            source: origin.source,
            user_agent: origin.user_agent,
            created_ns: self.inner.clock.now().nanos(),
            modified_ns: None,
            revoked_ns: None,
        };
        let (place, client) = (place::key(id), place::client(&client_id));
        let transaction = transaction
            .check(place.clone(), None)
            .check(client.clone(), None)
            .put(place, encode(&record))
            .put(client, id.to_string())
            .put(format!("{}{id}", place::keys_of(new.project)), Vec::new());
        Ok((IssuedKey { key: record.into_key(id, None), secret }, transaction))
    }

    pub(super) async fn read<T: serde::de::DeserializeOwned>(
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

pub(super) fn named(kind: &'static str, name: &str) -> Result<String, IdentityError> {
    match name.trim() {
        "" => Err(IdentityError::MissingName { kind }),
        name => Ok(name.to_owned()),
    }
}

/// Characters of an alphabet, each as likely as the others: bytes that would favour the first ones are thrown away.
pub(super) fn random_text(entropy: &Entropy, alphabet: &[u8], length: usize) -> String {
    let fair = 256 / alphabet.len() * alphabet.len();
    let mut text = String::with_capacity(length);
    while text.len() < length {
        let bytes: [u8; 64] = entropy.bytes();
        let usable = bytes.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < fair);
        text.extend(usable.take(length - text.len()).map(|byte| char::from(alphabet[byte % alphabet.len()])));
    }
    text
}
