//! Signing in, refreshing, and verifying tokens.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{
    AuthError, Identity, IdentityError, TokenError,
    record::{KeyRecord, decode, place},
    service::{Use, Verified, locked},
    token::{Subject, check_end},
};
use crate::{
    model::{KeyId, OrganizationId, Principal, ProjectId, Secret, Time, Ulid},
    sys::new_ulid,
};

/// What a sign-in gives.
#[derive(Debug, Clone)]
pub struct Tokens {
    pub access: Secret,
    pub refresh: Secret,
    /// When a key signed in before, to the nanosecond; or when the refreshed token was issued, in whole seconds.
    pub last_login: Option<Time>,
}

impl Identity {
    /// Signs in with an API key.
    ///
    /// A secret that has been verified is remembered as a salted SHA-256, so that clients that sign in again and again
    /// pay for Argon2 once. That loses nothing: secrets are 64 random characters, and what is remembered stays in
    /// memory.
    pub async fn authenticate(&self, client_id: &str, secret: &Secret) -> Result<Tokens, AuthError> {
        let found = self.key_of_client(client_id).await?;
        let digest = self.digest(secret);
        let known = locked(&self.inner.secrets).get(&client_id.to_owned());
        let remembered = known.is_some_and(|known| bool::from(known.ct_eq(&digest)));
        if !(remembered && found.is_some()) {
            let hash = found.as_ref().map(|(_, key)| key.secret_hash.clone());
            if !self.inner.hasher.verify(secret.clone(), hash).await? {
                return Err(AuthError::InvalidCredentials);
            }
        }
        let (id, key) = found.ok_or(AuthError::InvalidCredentials)?;
        let now = self.inner.clock.now();
        // The key may have been revoked while its secret was being verified.
        let last_login = self.inner.live.used(id, now).map_err(|_| AuthError::InvalidCredentials)?;
        locked(&self.inner.secrets).insert(key.client_id.clone(), digest);
        // If the uses already wait in masses, this one may go unrecorded; the sign-in itself must not wait for it.
        self.inner.uses.try_send(Use::Key(id, now)).ok();
        let (access, refresh) = self.issue(id, &key, now);
        Ok(Tokens { access, refresh, last_login })
    }

    /// Exchanges a refresh token for a new pair, with the permissions that its key has now. With an organization given,
    /// the token has to be for that one.
    pub async fn refresh(&self, token: &Secret, organization: Option<OrganizationId>) -> Result<Tokens, AuthError> {
        let text = token.expose_str().ok_or_else(|| TokenError::Malformed { what: "it is not text".to_owned() })?;
        let now = self.inner.clock.now();
        let claims = self.inner.rules.read_refresh(&self.inner.signing, text, now)?;
        if organization.is_some_and(|organization| organization != claims.organization) {
            return Err(TokenError::WrongOrganization.into());
        }
        let id = KeyId(claims.subject);
        let found = self.inner.records.get(place::key(id)).await?;
        let Some(found) = found.filter(|_| self.inner.live.contains(id)) else {
            return Err(TokenError::Revoked.into());
        };
        let key: KeyRecord = decode(place::key(id).as_bytes(), &found.value)?;
        if key.organization.0 != claims.organization.0 {
            return Err(TokenError::WrongOrganization.into());
        }
        let (access, refresh) = self.issue(id, &key, now);
        Ok(Tokens { access, refresh, last_login: Some(claims.issued) })
    }

    /// Who the bearer of an access token is. Does not touch the store: a token seen before costs a hash and two
    /// lookups, a new one a signature.
    pub fn verify(&self, token: &str) -> Result<Principal, TokenError> {
        let now = self.inner.clock.now();
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let cached = locked(&self.inner.tokens).get(&digest);
        let verified = if let Some(verified) = cached {
            check_end(verified.exp, now)?;
            verified
        } else {
            let (principal, exp) = self.inner.rules.read_access(&self.inner.signing, token, now)?;
            let verified = Verified { principal, exp };
            locked(&self.inner.tokens).insert(digest, verified.clone());
            verified
        };
        if !self.inner.live.contains(KeyId(verified.principal.subject)) {
            return Err(TokenError::Revoked);
        }
        Ok(verified.principal)
    }

    /// Resolves when the caller's key is revoked, at once if it is already: what the caller has open is to end then.
    pub async fn revoked(&self, principal: &Principal) {
        self.inner.live.revoked(KeyId(principal.subject)).await;
    }

    /// The key that signs in under a client id. What cannot be a client id is not looked for.
    async fn key_of_client(&self, client_id: &str) -> Result<Option<(KeyId, KeyRecord)>, AuthError> {
        if client_id.len() != 32 || !client_id.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Ok(None);
        }
        let Some(index) = self.inner.records.get(place::client(client_id)).await? else {
            return Ok(None);
        };
        let damaged =
            || IdentityError::Damaged { key: place::client(client_id), what: "it does not name a key".to_owned() };
        let text = std::str::from_utf8(&index.value).ok();
        let id = KeyId(text.and_then(|text| Ulid::parse(text).ok()).ok_or_else(damaged)?);
        let place = place::key(id);
        match self.inner.records.get(place.clone()).await? {
            Some(found) => Ok(Some((id, decode(place.as_bytes(), &found.value)?))),
            None => Ok(None),
        }
    }

    fn issue(&self, id: KeyId, key: &KeyRecord, now: Time) -> (Secret, Secret) {
        let subject = Subject {
            key: id,
            organization: OrganizationId(key.organization.0),
            project: ProjectId(key.project.0),
            permissions: key.permissions(),
        };
        let token_id = new_ulid(&self.inner.clock, &self.inner.entropy);
        self.inner.rules.issue(&self.inner.signing, token_id, &subject, now)
    }

    fn digest(&self, secret: &Secret) -> [u8; 32] {
        Sha256::new().chain_update(self.inner.salt).chain_update(secret.expose()).finalize().into()
    }
}
