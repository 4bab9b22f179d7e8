//! What is in a token, and how it is made and read.

use std::time::Duration;

use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header, encode, errors::ErrorKind};
use serde::{Deserialize, Serialize};

use super::{TokenError, live::Standing, signing::SigningKeys};
use crate::model::{KeyId, OrganizationId, Permissions, Principal, ProjectId, Secret, Subject, Time, Ulid, UserId};

/// Whom tokens come from, whom they are for, and how long they live.
#[derive(Debug, Clone)]
pub(super) struct TokenRules {
    pub(super) issuer: String,
    pub(super) audience: String,
    pub(super) refresh_audience: String,
    pub(super) access: Duration,
    pub(super) refresh: Duration,
    pub(super) overlap: Duration,
}

/// The claims. Dates are whole seconds since 1970. Only access tokens carry permissions, a name and an address.
///
/// `epoch` is our own, and what tells a user's token from a key's. In an access token it is the epoch of the membership,
/// which changes with the role; in a refresh token that of its session, which outlives a change of the role, so that
/// whoever gets another one need not sign in again. Both are random, and compared for equality with what is in memory:
/// no clock decides which of two tokens is the older, not even within one second or after the clock was set back.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    jti: String,
    sub: String,
    aud: Vec<String>,
    iss: String,
    iat: i64,
    nbf: i64,
    exp: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    org: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    project: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    permissions: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    epoch: Option<String>,
}

/// Whom tokens are made for.
#[derive(Debug, Clone)]
pub(super) struct Bearer {
    pub(super) whom: Whom,
    pub(super) organization: OrganizationId,
    pub(super) project: Option<ProjectId>,
    pub(super) permissions: Permissions,
}

/// A key, or a user with what tokens say of one.
#[derive(Debug, Clone)]
pub(super) enum Whom {
    Key(KeyId),
    User { id: UserId, name: String, email: String, standing: Standing },
}

/// What a refresh token says, once it has been verified.
pub(super) struct RefreshClaims {
    pub(super) subject: RefreshSubject,
    pub(super) organization: OrganizationId,
    pub(super) issued: Time,
}

/// Whom a refresh token was issued to.
pub(super) enum RefreshSubject {
    Key(KeyId),
    User { id: UserId, session: Ulid },
}

impl TokenRules {
    /// An access token and its refresh token, which becomes valid a while before the access token ends.
    pub(super) fn issue(&self, keys: &SigningKeys, id: Ulid, bearer: &Bearer, now: Time) -> (Secret, Secret) {
        let access = self.access_claims(id, bearer, self.access, now);
        let access_token = sign(keys, &access);
        let session = match &bearer.whom {
            Whom::Key(_) => None,
            Whom::User { standing, .. } => Some(standing.session.to_string()),
        };
        let refresh = Claims {
            aud: vec![self.audience.clone(), self.refresh_audience.clone()],
            nbf: access.exp - seconds(self.overlap),
            exp: access.iat + seconds(self.refresh),
            permissions: None,
            account: None,
            name: None,
            email: None,
            epoch: session,
            ..access
        };
        (access_token, sign(keys, &refresh))
    }

    /// An access token for one project alone, which says nothing more of its bearer.
    pub(super) fn issue_project(
        &self,
        keys: &SigningKeys,
        id: Ulid,
        bearer: &Bearer,
        lifetime: Duration,
        now: Time,
    ) -> Secret {
        let claims = self.access_claims(id, bearer, lifetime, now);
        sign(keys, &Claims { jti: id.to_string(), name: None, email: None, ..claims })
    }

    fn access_claims(&self, id: Ulid, bearer: &Bearer, lifetime: Duration, now: Time) -> Claims {
        let iat = now.seconds();
        let permissions = bearer.permissions.iter().map(|permission| permission.name().to_owned()).collect();
        let claims = Claims {
            jti: id.to_string().to_ascii_lowercase(),
            sub: String::new(),
            aud: vec![self.audience.clone()],
            iss: self.issuer.clone(),
            iat,
            nbf: iat,
            exp: iat + seconds(lifetime),
            name: None,
            email: None,
            org: bearer.organization.to_string(),
            project: bearer.project.map(|project| project.to_string()),
            permissions: Some(permissions),
            account: None,
            epoch: None,
        };
        match &bearer.whom {
            Whom::Key(key) => Claims { sub: key.to_string(), account: Some("sandbox".to_owned()), ..claims },
            Whom::User { id, name, email, standing } => Claims {
                sub: id.to_string(),
                name: Some(name.clone()),
                email: Some(email.clone()),
                epoch: Some(standing.epoch.to_string()),
                ..claims
            },
        }
    }

    /// Reads an access token. Gives the second from which on it is not valid any more, too.
    pub(super) fn read_access(
        &self,
        keys: &SigningKeys,
        token: &str,
        now: Time,
    ) -> Result<(Principal, i64), TokenError> {
        let claims = self.read(keys, token, now)?;
        let permissions = match claims.permissions {
            Some(permissions) if !claims.aud.contains(&self.refresh_audience) => permissions,
            _ => return Err(TokenError::NotAnAccessToken),
        };
        let id = ulid(&claims.sub)?;
        let subject = match &claims.epoch {
            None => Subject::Key(KeyId(id)),
            Some(epoch) => Subject::User { id: UserId(id), epoch: ulid(epoch)? },
        };
        let principal = Principal {
            subject,
            organization: OrganizationId(ulid(&claims.org)?),
            project: claims.project.as_deref().map(ulid).transpose()?.map(ProjectId),
            // A permission that this version does not know is nothing that it could allow.
            permissions: permissions.iter().filter_map(|name| name.parse().ok()).collect(),
        };
        Ok((principal, claims.exp))
    }

    pub(super) fn read_refresh(&self, keys: &SigningKeys, token: &str, now: Time) -> Result<RefreshClaims, TokenError> {
        let claims = self.read(keys, token, now)?;
        if claims.permissions.is_some() || !claims.aud.contains(&self.refresh_audience) {
            return Err(TokenError::NotARefreshToken);
        }
        let id = ulid(&claims.sub)?;
        let subject = match &claims.epoch {
            None => RefreshSubject::Key(KeyId(id)),
            Some(session) => RefreshSubject::User { id: UserId(id), session: ulid(session)? },
        };
        Ok(RefreshClaims {
            subject,
            organization: OrganizationId(ulid(&claims.org)?),
            issued: Time::from_parts(claims.iat, 0),
        })
    }

    /// Verifies what access and refresh tokens have in common: the key by its id, the one algorithm, signature, issuer,
    /// audience and dates. The dates are compared with our own clock, without leeway.
    fn read(&self, keys: &SigningKeys, token: &str, now: Time) -> Result<Claims, TokenError> {
        let header = decode_header(token).map_err(|error| refusal(&error))?;
        let key = header.kid.as_deref().and_then(|kid| keys.find(kid)).ok_or(TokenError::UnknownKey)?;
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_required_spec_claims(&["exp", "nbf", "aud", "iss", "sub"]);
        validation.set_audience(&[&self.audience]);
        validation.set_issuer(&[&self.issuer]);
        validation.validate_exp = false;
        let claims = decode::<Claims>(token, &key.decoding, &validation).map_err(|error| refusal(&error))?.claims;

        let seconds = now.seconds();
        let from = claims.nbf.max(claims.iat);
        if seconds < from {
            return Err(TokenError::NotYetValid { from: Time::from_parts(from, 0) });
        }
        check_end(claims.exp, now)?;
        Ok(claims)
    }
}

/// Whether a token that ends in this second is still valid.
pub(super) fn check_end(exp: i64, now: Time) -> Result<(), TokenError> {
    if now.seconds() >= exp {
        return Err(TokenError::Expired { end: Time::from_parts(exp, 0) });
    }
    Ok(())
}

fn sign(keys: &SigningKeys, claims: &Claims) -> Secret {
    let key = keys.newest();
    let header = Header { kid: Some(key.id.clone()), ..Header::new(Algorithm::EdDSA) };
    let token = encode(&header, claims, &key.encoding).expect("the key has signed before, and claims are plain text");
    Secret::new(token)
}

fn ulid(text: &str) -> Result<Ulid, TokenError> {
    Ulid::parse(text).map_err(|error| TokenError::Malformed { what: error.to_string() })
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

fn refusal(error: &jsonwebtoken::errors::Error) -> TokenError {
    match error.kind() {
        ErrorKind::InvalidSignature => TokenError::Signature,
        ErrorKind::InvalidIssuer => TokenError::WrongIssuer,
        ErrorKind::InvalidAudience => TokenError::WrongAudience,
        _ => TokenError::Malformed { what: error.to_string() },
    }
}
