//! What somebody manages who has an account: organizations, their members, tenants, projects and API keys.
//!
//! An [`Account`] is somebody who is signed in with an e-mail address and a password, in one organization. Who has no
//! account yet registers ([`Registration`]). A file for each resource has its shapes and calls. Identifiers are texts as
//! the server writes them.
//!
//! Invariants: a password and a token go to the authentication service of the [`Endpoint`] alone. A key's secret is in
//! the answer that makes the key, and nowhere else.
//!
//! What it does not do: events. Users may not publish or subscribe; what they may do with topics, a [`Client`] does that
//! [`Account::project_client`] gives.

mod invites;
mod keys;
mod mail;
mod organizations;
mod page;
mod projects;
mod registration;
mod tenants;
mod users;
mod wire;

use std::sync::Arc;

use http::Method;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    AccountCredentials, Claims, Client, ClientError, Endpoint,
    rest::NO_BODY,
    session::{Grant, LoginReply, Session},
};
use crate::sys::Clock;

pub use invites::{Invitation, InvitationPreview};
pub use keys::{Key, KeyDetail, NewKey};
pub use mail::Mail;
pub use organizations::Organization;
pub use projects::{NewProject, Project, ProjectOwner, Storage};
pub use registration::{NewAccount, Registered, Registration};
pub use tenants::Tenant;
pub use users::{Member, Removal};

/// Somebody who is signed in with an account. Cheap to clone; clones share the session.
#[derive(Debug, Clone)]
pub struct Account {
    session: Arc<Session>,
}

impl Account {
    /// Signs in, and says so if that is refused.
    pub async fn sign_in(
        endpoint: Endpoint,
        credentials: AccountCredentials,
        clock: Clock,
    ) -> Result<Account, ClientError> {
        let session = Arc::new(Session::new(endpoint, Grant::Account(credentials), clock));
        session.token().await?;
        Ok(Account { session })
    }

    /// What the access token says about its bearer.
    pub async fn claims(&self) -> Result<Claims, ClientError> {
        Ok(self.session.token().await?.claims.clone())
    }

    /// A client that may do in a project what the account may do there. It signs in when it is first used. Must be
    /// called on a Tokio runtime.
    pub fn project_client(&self, project: &str) -> Result<Client, ClientError> {
        let grant = Grant::Project { account: self.session.clone(), project: project.to_owned() };
        let session = Session::new(self.session.rest.endpoint().clone(), grant, self.session.rest.clock.clone());
        Client::of_session(session)
    }

    /// The same account, as a server has just signed it in to another organization.
    fn begun(&self, reply: LoginReply) -> Result<Account, ClientError> {
        let Grant::Account(credentials) = &self.session.grant else { unreachable!("it signed in with a password") };
        let session = Session::begun(self.session.rest.clone(), credentials.clone(), reply)?;
        Ok(Account { session: Arc::new(session) })
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.json(Method::GET, path, NO_BODY).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        self.json(Method::POST, path, Some(body)).await
    }

    /// Makes a call whose answer is JSON.
    async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, ClientError> {
        let answer = self.call(method, path, body).await?;
        self.session.rest.read(&answer)
    }

    /// Makes a call; once more, signed in anew, when the server doesn't know the token (any more).
    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<bytes::Bytes, ClientError> {
        let token = self.session.token().await?;
        let result = self.session.rest.send((method.clone(), path), Some(&token), body).await;
        if result.as_ref().is_err_and(|error| error.status() == Some(401)) {
            let token = self.session.replace(&token).await?;
            return self.session.rest.send((method, path), Some(&token), body).await;
        }
        result
    }
}
