//! Tenants: what projects are kept apart by, such as development and production.

use http::Method;
use serde::{Deserialize, Serialize};

use super::{Account, page::Page, wire};
use crate::{
    client::{
        ClientError,
        rest::{NO_BODY, encoded},
    },
    model::Time,
};

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Tenant {
    pub id: String,
    #[serde(default)]
    pub name: String,
    /// Development, Staging or Production.
    #[serde(default)]
    pub environment_type: String,
    #[serde(default, deserialize_with = "wire::time")]
    pub created: Option<Time>,
}

#[derive(Deserialize)]
struct TenantList {
    #[serde(default)]
    tenants: Vec<Tenant>,
    #[serde(default)]
    next_page_token: String,
}

impl Page for TenantList {
    type Item = Tenant;

    fn into_parts(self) -> (Vec<Tenant>, String) {
        (self.tenants, self.next_page_token)
    }
}

#[derive(Serialize)]
struct NewTenant<'a> {
    name: &'a str,
    environment_type: &'a str,
}

impl Account {
    /// The tenants of the organization.
    pub async fn tenants(&self) -> Result<Vec<Tenant>, ClientError> {
        self.all::<TenantList>("/api/tenants").await
    }

    pub async fn create_tenant(&self, name: &str, environment_type: &str) -> Result<Tenant, ClientError> {
        self.post("/api/tenants", &NewTenant { name, environment_type }).await
    }

    /// Removes a tenant that has no projects.
    pub async fn remove_tenant(&self, id: &str) -> Result<(), ClientError> {
        self.call(Method::DELETE, &format!("/api/tenants/{}", encoded(id)), NO_BODY).await.map(drop)
    }
}
