//! Organizations: those that somebody is a member of, and the one that they act in.

use http::Method;
use serde::{Deserialize, Serialize};

use super::{Account, page::Page, wire};
use crate::{
    client::{ClientError, rest::encoded, session::LoginReply},
    model::Time,
};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Organization {
    pub id: String,
    #[serde(default)]
    pub name: String,
    /// The short name of its workspace.
    #[serde(default)]
    pub domain: String,
    #[serde(default)]
    pub projects: u64,
    /// When the caller signed in to it last.
    #[serde(default, skip_serializing, deserialize_with = "wire::time")]
    pub last_login: Option<Time>,
    #[serde(default, skip_serializing, deserialize_with = "wire::time")]
    pub created: Option<Time>,
    #[serde(default, skip_serializing, deserialize_with = "wire::time")]
    pub modified: Option<Time>,
}

impl Organization {
    /// What to call it: some have no name, and all have a workspace.
    pub fn label(&self) -> &str {
        if self.name.is_empty() { &self.domain } else { &self.name }
    }
}

#[derive(Deserialize)]
struct OrganizationList {
    #[serde(default)]
    organizations: Vec<Organization>,
    #[serde(default)]
    next_page_token: String,
}

impl Page for OrganizationList {
    type Item = Organization;

    fn into_parts(self) -> (Vec<Organization>, String) {
        (self.organizations, self.next_page_token)
    }
}

#[derive(Serialize)]
struct SwitchRequest<'a> {
    org_id: &'a str,
}

impl Account {
    /// The organizations that the account is a member of.
    pub async fn organizations(&self) -> Result<Vec<Organization>, ClientError> {
        self.all::<OrganizationList>("/v1/organizations").await
    }

    /// Gives the organization that is acted in another name and workspace.
    pub async fn update_organization(&self, organization: &Organization) -> Result<Organization, ClientError> {
        let path = format!("/v1/organizations/{}", encoded(&organization.id));
        self.json(Method::PUT, &path, Some(organization)).await
    }

    /// The same account in another organization.
    pub async fn switch(&self, organization: &str) -> Result<Account, ClientError> {
        let reply: LoginReply = self.post("/v1/switch", &SwitchRequest { org_id: organization }).await?;
        self.begun(reply)
    }
}
