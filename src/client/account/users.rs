//! The members of an organization.

use http::Method;
use serde::{Deserialize, Serialize};

use super::{Account, page::Page, wire};
use crate::{
    client::{
        ClientError,
        rest::{NO_BODY, encoded},
    },
    model::{Secret, Time},
};

/// A user in an organization.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Member {
    #[serde(rename = "user_id")]
    pub id: String,
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub email: String,
    /// Owner, Admin, Member or Observer.
    #[serde(default)]
    pub role: String,
    #[serde(default, deserialize_with = "wire::time")]
    pub last_login: Option<Time>,
}

/// What became of the wish to remove a member.
#[derive(Debug, Clone)]
pub enum Removal {
    Done,
    /// The member made API keys, which the removal concerns; it has to be confirmed with the token.
    Unconfirmed {
        keys: Vec<String>,
        token: Secret,
    },
}

#[derive(Deserialize)]
struct UserList {
    #[serde(default)]
    users: Vec<Member>,
    #[serde(default)]
    next_page_token: String,
}

impl Page for UserList {
    type Item = Member;

    fn into_parts(self) -> (Vec<Member>, String) {
        (self.users, self.next_page_token)
    }
}

#[derive(Serialize)]
struct UpdateRoleRequest<'a> {
    id: &'a str,
    role: &'a str,
}

#[derive(Serialize)]
struct UpdateUserRequest<'a> {
    user_id: &'a str,
    name: &'a str,
}

#[derive(Deserialize)]
struct RemoveReply {
    #[serde(default)]
    api_keys: Vec<String>,
    #[serde(default)]
    token: String,
    #[serde(default)]
    deleted: bool,
}

#[derive(Serialize)]
struct RemoveConfirm<'a> {
    id: &'a str,
    token: &'a str,
}

impl Account {
    /// The members of the organization.
    pub async fn members(&self) -> Result<Vec<Member>, ClientError> {
        self.all::<UserList>("/v1/users").await
    }

    /// A member of the organization.
    pub async fn member(&self, id: &str) -> Result<Member, ClientError> {
        self.get(&format!("/v1/users/{}", encoded(id))).await
    }

    /// Gives a member another role.
    pub async fn set_role(&self, id: &str, role: &str) -> Result<Member, ClientError> {
        self.post(&format!("/v1/users/{}", encoded(id)), &UpdateRoleRequest { id, role }).await
    }

    /// Gives the account itself another name.
    pub async fn rename(&self, name: &str) -> Result<Member, ClientError> {
        let user_id = &self.claims().await?.subject;
        let path = format!("/v1/accounts/{}", encoded(user_id));
        self.json(Method::PUT, &path, Some(&UpdateUserRequest { user_id, name })).await
    }

    /// Removes a member, unless that has to be confirmed.
    pub async fn remove_member(&self, id: &str) -> Result<Removal, ClientError> {
        let path = format!("/v1/users/{}", encoded(id));
        let reply: RemoveReply = self.json(Method::DELETE, &path, NO_BODY).await?;
        if reply.deleted {
            return Ok(Removal::Done);
        }
        Ok(Removal::Unconfirmed { keys: reply.api_keys, token: Secret::new(reply.token) })
    }

    /// Removes a member with the token that [`Account::remove_member`] gave for that.
    pub async fn confirm_removal(&self, id: &str, token: &Secret) -> Result<(), ClientError> {
        let token = token.expose_str().unwrap_or_default();
        let path = format!("/v1/users/{}/confirm", encoded(id));
        self.call(Method::DELETE, &path, Some(&RemoveConfirm { id, token })).await.map(drop)
    }
}
