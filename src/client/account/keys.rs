//! API keys.

use http::Method;
use serde::{Deserialize, Deserializer, Serialize};

use super::{Account, page::Page, wire};
use crate::{
    client::{
        ClientError,
        rest::{NO_BODY, encoded},
    },
    model::{Secret, Time},
};

/// A key as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Key {
    pub id: String,
    pub client_id: String,
    #[serde(default)]
    pub name: String,
    pub project_id: String,
    /// Whether it has fewer than all permissions that a key can have.
    #[serde(default)]
    pub partial: bool,
    /// Unused, Active, Stale or Revoked.
    #[serde(default)]
    pub status: String,
    #[serde(default, deserialize_with = "wire::time")]
    pub last_used: Option<Time>,
    #[serde(default, deserialize_with = "wire::time")]
    pub created: Option<Time>,
}

/// All about a key. Its secret is there when it has just been made.
#[derive(Debug, Clone, Deserialize)]
pub struct KeyDetail {
    pub id: String,
    pub client_id: String,
    #[serde(default, deserialize_with = "secret")]
    pub client_secret: Option<Secret>,
    #[serde(default)]
    pub name: String,
    pub project_id: String,
    #[serde(default)]
    pub created_by: String,
    #[serde(default)]
    pub permissions: Vec<String>,
    #[serde(default, deserialize_with = "wire::time")]
    pub last_used: Option<Time>,
    #[serde(default, deserialize_with = "wire::time")]
    pub created: Option<Time>,
}

/// A key that is to be made.
#[derive(Debug, Clone, Serialize)]
pub struct NewKey {
    pub name: String,
    pub project_id: String,
    pub permissions: Vec<String>,
}

#[derive(Deserialize)]
struct KeyList {
    #[serde(default)]
    apikeys: Vec<Key>,
    #[serde(default)]
    next_page_token: String,
}

impl Page for KeyList {
    type Item = Key;

    fn into_parts(self) -> (Vec<Key>, String) {
        (self.apikeys, self.next_page_token)
    }
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.filter(|text| !text.is_empty()).map(Secret::new))
}

impl Account {
    /// The keys of the organization, or of one project of it.
    pub async fn keys(&self, project: Option<&str>) -> Result<Vec<Key>, ClientError> {
        let query = project.map(|project| format!("?project_id={}", encoded(project))).unwrap_or_default();
        self.all::<KeyList>(&format!("/v1/apikeys{query}")).await
    }

    pub async fn key(&self, id: &str) -> Result<KeyDetail, ClientError> {
        self.get(&format!("/v1/apikeys/{}", encoded(id))).await
    }

    /// Makes a key. Nobody can ask for its secret later.
    pub async fn create_key(&self, key: &NewKey) -> Result<KeyDetail, ClientError> {
        self.post("/v1/apikeys", key).await
    }

    /// Makes a key useless, and ends what it has open.
    pub async fn revoke_key(&self, id: &str) -> Result<(), ClientError> {
        self.call(Method::DELETE, &format!("/v1/apikeys/{}", encoded(id)), NO_BODY).await.map(drop)
    }

    /// The permissions that the account can give to keys.
    pub async fn key_permissions(&self) -> Result<Vec<String>, ClientError> {
        self.get("/v1/apikeys/permissions").await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_once_and_never_shown() {
        let read = |text: &str| serde_json::from_str::<KeyDetail>(text).unwrap();
        let made =
            read(r#"{"id":"K","client_id":"C","client_secret":"hush","project_id":"P","permissions":["publisher"]}"#);
        assert_eq!(made.client_secret.as_ref().and_then(Secret::expose_str), Some("hush"));
        assert!(!format!("{made:?}").contains("hush"));
        assert!(read(r#"{"id":"K","client_id":"C","client_secret":"","project_id":"P"}"#).client_secret.is_none());
    }
}
