//! What is done without being signed in: registering, and proving that an address is one's own.

use http::Method;
use serde::{Deserialize, Serialize};

use crate::{
    client::{ClientError, Endpoint, rest::Rest},
    model::Secret,
    sys::Clock,
};

/// The way to an account on a server.
#[derive(Debug, Clone)]
pub struct Registration {
    pub(super) rest: Rest,
}

/// Who registers. The terms and the privacy policy are those of whoever runs the server.
#[derive(Debug, Clone)]
pub struct NewAccount {
    pub name: String,
    pub email: String,
    pub password: Secret,
    pub organization: String,
    /// The short name of the organization's workspace; if empty, the server makes one up.
    pub domain: String,
    pub accepts_terms: bool,
    pub accepts_privacy_policy: bool,
    /// The token of an invitation: then the user joins the organization that it is for, and makes none.
    pub invitation: Option<Secret>,
}

/// What registering made.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Registered {
    pub user_id: String,
    #[serde(rename = "org_id")]
    pub organization_id: String,
    pub email: String,
    #[serde(default, rename = "org_name")]
    pub organization: String,
    #[serde(default, rename = "org_domain")]
    pub domain: String,
    #[serde(default)]
    pub role: String,
}

#[derive(Serialize)]
struct RegisterRequest<'a> {
    name: &'a str,
    email: &'a str,
    password: &'a str,
    pwcheck: &'a str,
    organization: &'a str,
    domain: &'a str,
    terms_agreement: bool,
    privacy_agreement: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    invite_token: Option<&'a str>,
}

#[derive(Serialize)]
struct EmailRequest<'a> {
    email: &'a str,
}

#[derive(Serialize)]
struct TokenRequest<'a> {
    token: &'a str,
}

#[derive(Serialize)]
struct ResetRequest<'a> {
    token: &'a str,
    password: &'a str,
    pwcheck: &'a str,
}

impl Registration {
    pub fn at(endpoint: Endpoint, clock: Clock) -> Registration {
        Registration { rest: Rest::new(endpoint, clock) }
    }

    /// Makes a user, and an organization that the user owns; the address has to be verified before the first sign-in.
    /// With an invitation, it makes a user alone, who can sign in at once.
    pub async fn register(&self, account: &NewAccount) -> Result<Registered, ClientError> {
        let password = text(&account.password);
        let request = RegisterRequest {
            name: &account.name,
            email: &account.email,
            password,
            pwcheck: password,
            organization: &account.organization,
            domain: &account.domain,
            terms_agreement: account.accepts_terms,
            privacy_agreement: account.accepts_privacy_policy,
            invite_token: account.invitation.as_ref().map(text),
        };
        self.rest.json((Method::POST, "/v1/register"), None, Some(&request)).await
    }

    /// Proves with the token of a mail that an address is one's own.
    pub async fn verify(&self, token: &Secret) -> Result<(), ClientError> {
        // The answer signs in as well; who wants that has a password.
        self.post("/v1/verify", &TokenRequest { token: text(token) }).await
    }

    /// Has the mail for verifying an address sent again.
    pub async fn resend(&self, email: &str) -> Result<(), ClientError> {
        self.post("/v1/resend", &EmailRequest { email }).await
    }

    /// Has a mail sent with which a forgotten password can be replaced. Whether the address has an account is not said.
    pub async fn forgot_password(&self, email: &str) -> Result<(), ClientError> {
        self.post("/v1/forgot-password", &EmailRequest { email }).await
    }

    /// Replaces a forgotten password with the token of a mail.
    pub async fn reset_password(&self, token: &Secret, password: &Secret) -> Result<(), ClientError> {
        let password = text(password);
        self.post("/v1/reset-password", &ResetRequest { token: text(token), password, pwcheck: password }).await
    }

    async fn post(&self, path: &str, body: &impl Serialize) -> Result<(), ClientError> {
        self.rest.send((Method::POST, path), None, Some(body)).await.map(drop)
    }
}

/// Something that is not text is not what the server knows either, and so it refuses it.
fn text(secret: &Secret) -> &str {
    secret.expose_str().unwrap_or_default()
}
