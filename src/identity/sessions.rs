//! Signing in, refreshing, and verifying tokens.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{
    AuthError, Identity, IdentityError, TokenError,
    record::{KeyRecord, decode, place},
    service::{Use, Verified, locked},
    token::{Bearer, RefreshSubject, Whom, check_end},
};
use crate::{
    model::{KeyId, OrganizationId, Principal, ProjectId, Secret, Time, Ulid, UserId},
    sys::new_ulid,
};

/// What a sign-in gives.
#[derive(Debug, Clone)]
pub struct Tokens {
    pub access: Secret,
    pub refresh: Secret,
    /// When the key or the member signed in before, to the nanosecond; or when the refreshed token was issued, in whole seconds.
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
        let last_login = self.inner.live.use_key(id, now).map_err(|_| AuthError::InvalidCredentials)?;
        locked(&self.inner.secrets).insert(key.client_id.clone(), digest);
        // If the uses already wait in masses, this one may go unrecorded; the sign-in itself must not wait for it.
        self.inner.uses.try_send(Use::Key(id, now)).ok();
        self.rotate_when_due().await;
        Ok(self.issue(&key_bearer(id, &key), last_login, now))
    }

    /// Exchanges a refresh token for a new pair, with the permissions that its key or its member has now. With an
    /// organization given, the token has to be for that one.
    pub async fn refresh(&self, token: &Secret, organization: Option<OrganizationId>) -> Result<Tokens, AuthError> {
        let text = token.expose_str().ok_or_else(|| TokenError::Malformed { what: "it is not text".to_owned() })?;
        let now = self.inner.clock.now();
        let claims = self.inner.rules.read_refresh(&self.signing(), text, now)?;
        if organization.is_some_and(|organization| organization != claims.organization) {
            return Err(TokenError::WrongOrganization.into());
        }
        let bearer = match claims.subject {
            RefreshSubject::Key(id) => self.refreshed_key(id, claims.organization).await?,
            RefreshSubject::User { id, session } => self.refreshed_user(id, claims.organization, session).await?,
        };
        self.rotate_when_due().await;
        Ok(self.issue(&bearer, Some(claims.issued), now))
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
            let (principal, exp) = self.inner.rules.read_access(&self.signing(), token, now)?;
            let verified = Verified { principal, exp };
            locked(&self.inner.tokens).insert(digest, verified.clone());
            verified
        };
        if !self.inner.live.holds(&verified.principal) {
            return Err(TokenError::Revoked);
        }
        Ok(verified.principal)
    }

    /// Resolves when the caller's key is revoked, or when the caller's membership ends or is another one, at once if
    /// that is so already: what the caller has open is to end then.
    pub async fn revoked(&self, principal: &Principal) {
        self.inner.live.ended(principal).await;
    }

    async fn refreshed_key(&self, id: KeyId, organization: OrganizationId) -> Result<Bearer, AuthError> {
        let found = self.inner.records.get(place::key(id)).await?;
        let Some(found) = found.filter(|_| self.inner.live.has_key(id)) else {
            return Err(TokenError::Revoked.into());
        };
        let key: KeyRecord = decode(place::key(id).as_bytes(), &found.value)?;
        if key.organization.0 != organization.0 {
            return Err(TokenError::WrongOrganization.into());
        }
        Ok(key_bearer(id, &key))
    }

    async fn refreshed_user(
        &self,
        id: UserId,
        organization: OrganizationId,
        session: Ulid,
    ) -> Result<Bearer, AuthError> {
        match self.member_bearer((id, organization)).await? {
            Some((bearer, standing)) if standing.session == session => Ok(bearer),
            _ => Err(TokenError::Revoked.into()),
        }
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

    /// A pair of tokens for whoever has shown to be this one.
    pub(super) fn issue(&self, bearer: &Bearer, last_login: Option<Time>, now: Time) -> Tokens {
        let id = new_ulid(&self.inner.clock, &self.inner.entropy);
        let (access, refresh) = self.inner.rules.issue(&self.signing(), id, bearer, now);
        Tokens { access, refresh, last_login }
    }

    fn digest(&self, secret: &Secret) -> [u8; 32] {
        Sha256::new().chain_update(self.inner.salt).chain_update(secret.expose()).finalize().into()
    }
}

fn key_bearer(id: KeyId, key: &KeyRecord) -> Bearer {
    Bearer {
        whom: Whom::Key(id),
        organization: OrganizationId(key.organization.0),
        project: Some(ProjectId(key.project.0)),
        permissions: key.permissions(),
    }
}
