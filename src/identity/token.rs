//! What is in a token, and how it is made and read.

use std::time::Duration;

use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header, encode, errors::ErrorKind};
use serde::{Deserialize, Serialize};

use super::{TokenError, signing::SigningKeys};
use crate::model::{KeyId, OrganizationId, Permissions, Principal, ProjectId, Secret, Time, Ulid};

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

/// The claims. Dates are whole seconds since 1970. Only access tokens carry permissions.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    jti: String,
    sub: String,
    aud: Vec<String>,
    iss: String,
    iat: i64,
    nbf: i64,
    exp: i64,
    org: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    project: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    permissions: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account: Option<String>,
}

/// Whom a pair of tokens is made for.
pub(super) struct Subject {
    pub(super) key: KeyId,
    pub(super) organization: OrganizationId,
    pub(super) project: ProjectId,
    pub(super) permissions: Permissions,
}

/// What a refresh token says, once it has been verified.
pub(super) struct RefreshClaims {
    pub(super) subject: Ulid,
    pub(super) organization: OrganizationId,
    pub(super) issued: Time,
}

impl TokenRules {
    /// An access token and its refresh token, which becomes valid a while before the access token ends.
    pub(super) fn issue(&self, keys: &SigningKeys, id: Ulid, subject: &Subject, now: Time) -> (Secret, Secret) {
        let iat = now.seconds();
        let access_exp = iat + seconds(self.access);
        let access = Claims {
            jti: id.to_string().to_ascii_lowercase(),
            sub: subject.key.to_string(),
            aud: vec![self.audience.clone()],
            iss: self.issuer.clone(),
            iat,
            nbf: iat,
            exp: access_exp,
            org: subject.organization.to_string(),
            project: Some(subject.project.to_string()),
            permissions: Some(subject.permissions.iter().map(|permission| permission.name().to_owned()).collect()),
            account: Some("sandbox".to_owned()),
        };
        let access_token = sign(keys, &access);
        let refresh = Claims {
            aud: vec![self.audience.clone(), self.refresh_audience.clone()],
            nbf: access_exp - seconds(self.overlap),
            exp: iat + seconds(self.refresh),
            permissions: None,
            account: None,
            ..access
        };
        (access_token, sign(keys, &refresh))
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
        let principal = Principal {
            subject: ulid(&claims.sub)?,
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
        Ok(RefreshClaims {
            subject: ulid(&claims.sub)?,
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
