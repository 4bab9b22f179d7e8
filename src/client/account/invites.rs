//! Invitations to an organization.

use std::sync::Arc;

use http::Method;
use serde::{Deserialize, Serialize};

use super::{Account, Registration, wire};
use crate::{
    client::{
        AccountCredentials, ClientError,
        rest::{NO_BODY, encoded},
        session::{LoginReply, Session},
    },
    model::{Secret, Time},
};

/// An invitation that was made.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Invitation {
    pub email: String,
    pub role: String,
    #[serde(default)]
    pub organization: String,
    #[serde(default, rename = "expires_at", deserialize_with = "wire::time")]
    pub expires: Option<Time>,
}

/// What an invitation says to who has its token.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct InvitationPreview {
    pub email: String,
    #[serde(default, rename = "org_name")]
    pub organization: String,
    #[serde(default, rename = "inviter_name")]
    pub inviter: String,
    pub role: String,
    /// Whether the address has an account already.
    #[serde(default)]
    pub user_exists: bool,
}

#[derive(Serialize)]
struct InviteRequest<'a> {
    email: &'a str,
    role: &'a str,
}

#[derive(Serialize)]
struct AcceptRequest<'a> {
    token: &'a str,
}

#[derive(Serialize)]
struct LoginRequest<'a> {
    email: &'a str,
    password: &'a str,
    invite_token: &'a str,
}

impl Account {
    /// Invites an address to the organization.
    pub async fn invite(&self, email: &str, role: &str) -> Result<Invitation, ClientError> {
        self.post("/v1/invites", &InviteRequest { email, role }).await
    }

    /// Accepts an invitation; gives the same account in the organization that it now is a member of.
    pub async fn accept_invitation(&self, token: &Secret) -> Result<Account, ClientError> {
        let token = token.expose_str().unwrap_or_default();
        let reply: LoginReply = self.post("/v1/invites/accept", &AcceptRequest { token }).await?;
        self.begun(reply)
    }
}

impl Registration {
    /// What an invitation says.
    pub async fn invitation(&self, token: &Secret) -> Result<InvitationPreview, ClientError> {
        let path = format!("/v1/invites/{}", encoded(token.expose_str().unwrap_or_default()));
        self.rest.json((Method::GET, &path), None, NO_BODY).await
    }

    /// Accepts an invitation while signing in.
    pub async fn sign_in_invited(
        &self,
        credentials: AccountCredentials,
        token: &Secret,
    ) -> Result<Account, ClientError> {
        let request = LoginRequest {
            email: &credentials.email,
            password: credentials.password.expose_str().unwrap_or_default(),
            invite_token: token.expose_str().unwrap_or_default(),
        };
        let reply: LoginReply = self.rest.json((Method::POST, "/v1/login"), None, Some(&request)).await?;
        let session = Session::begun(self.rest.clone(), credentials, reply)?;
        Ok(Account { session: Arc::new(session) })
    }
}
