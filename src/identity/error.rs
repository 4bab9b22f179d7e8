//! What can go wrong, by operation.

use crate::{
    model::{Permission, Time, Ulid},
    store::RecordError,
};

/// Why identity's records could not be read, or not be changed as asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    #[error("could not read or write the records of organizations, projects and keys")]
    Records {
        #[from]
        source: RecordError,
    },
    #[error("the record {key} is damaged: {what}")]
    Damaged { key: String, what: String },
    #[error("the record {key} has version {version}, which a newer ensign wrote")]
    TooNew { key: String, version: u32 },
    /// The root key is another one, or the record was changed.
    #[error("the token signing key {id} cannot be opened with this root key")]
    SigningKeySealed { id: Ulid },
    /// The root key is another one, or the record was changed.
    #[error("the record {context} cannot be opened with this root key")]
    Sealed { context: String },
    #[error("there is no {kind} {id}")]
    NotFound { kind: &'static str, id: String },
    #[error("a {kind} needs a name")]
    MissingName { kind: &'static str },
    #[error("an API key needs at least one permission")]
    NoPermissions,
    #[error("an API key cannot have the permission {permission}")]
    NotForKeys { permission: Permission },
    /// More secrets are waiting to be hashed than will be within a few seconds.
    #[error("too many sign-ins are waiting")]
    Busy,
    #[error("sign-ins have been closed")]
    Closed,
}

/// Why nobody was signed in.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// The client id is unknown or the secret is wrong; which of the two is not told.
    #[error("invalid credentials")]
    InvalidCredentials,
    #[error("the refresh token was refused")]
    Refused {
        #[source]
        source: TokenError,
    },
    #[error("too many sign-ins are waiting")]
    Busy,
    #[error("could not complete the sign-in")]
    Failed {
        #[source]
        source: IdentityError,
    },
}

impl From<IdentityError> for AuthError {
    fn from(source: IdentityError) -> AuthError {
        match source {
            IdentityError::Busy => AuthError::Busy,
            source => AuthError::Failed { source },
        }
    }
}

impl From<RecordError> for AuthError {
    fn from(source: RecordError) -> AuthError {
        AuthError::Failed { source: source.into() }
    }
}

impl From<TokenError> for AuthError {
    fn from(source: TokenError) -> AuthError {
        AuthError::Refused { source }
    }
}

/// Why a token is not good for what it was presented for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    #[error("the token is malformed: {what}")]
    Malformed { what: String },
    #[error("the token was signed with a key that is not known here")]
    UnknownKey,
    #[error("the token's signature does not verify")]
    Signature,
    #[error("the token is from another issuer")]
    WrongIssuer,
    #[error("the token is for another audience")]
    WrongAudience,
    #[error("the token is not valid before {from}")]
    NotYetValid { from: Time },
    #[error("the token expired at {end}")]
    Expired { end: Time },
    #[error("a refresh token cannot be used as an access token")]
    NotAnAccessToken,
    #[error("only a refresh token can be refreshed")]
    NotARefreshToken,
    #[error("whom the token was issued to has been removed")]
    Revoked,
    #[error("the token is for another organization")]
    WrongOrganization,
}
