//! A project's data keys: their state, rotation, suspension and revocation, over the REST API of a server of one's own.

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Client, ClientError, rest::Rest};

const PATH: &str = "/api/encryption";

/// What a time is when there is none.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// A project's data keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncryptionStatus {
    pub project_id: String,
    /// From the first to the newest.
    pub versions: Vec<KeyVersionStatus>,
    /// The last rewriting that was asked for.
    pub rewrite: Option<RewriteStatus>,
    /// Where the server's root key comes from.
    pub root_key_source: String,
    pub root_key_changed: String,
    /// Whether copies of the data directory from before a revocation can be read with the root key of today.
    pub copies_readable: bool,
}

/// A version of the data key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyVersionStatus {
    pub version: u32,
    pub newest: bool,
    /// active, suspended or revoked.
    pub state: String,
    pub created: String,
    pub changed: String,
    pub events: u64,
    pub blocks: u64,
    pub bytes: u64,
    pub copies_readable: bool,
}

/// What is encrypted anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RewriteStatus {
    /// Versions below are left.
    pub below: u32,
    pub started: String,
    pub finished: String,
    pub events_left: u64,
    pub bytes_left: u64,
}

impl RewriteStatus {
    pub fn is_finished(&self) -> bool {
        self.finished != NEVER
    }
}

impl KeyVersionStatus {
    /// When it was made, if that is known.
    pub fn created(&self) -> Option<&str> {
        Some(self.created.as_str()).filter(|time| *time != NEVER)
    }
}

impl Client {
    /// The data keys of the caller's project, with what is under each version.
    pub async fn encryption(&self) -> Result<EncryptionStatus, ClientError> {
        self.ask_for_keys(Method::GET, PATH, None).await
    }

    /// Starts a new version for new events; with `rewrite` what is stored is encrypted anew as well, in the background.
    pub async fn rotate_key(&self, rewrite: bool) -> Result<EncryptionStatus, ClientError> {
        self.ask_for_keys(Method::POST, &format!("{PATH}/rotate"), Some(json!({ "rewrite": rewrite }))).await
    }

    /// Closes what is under a version to all readers.
    pub async fn suspend_key(&self, version: u32) -> Result<EncryptionStatus, ClientError> {
        self.ask_for_keys(Method::POST, &format!("{PATH}/versions/{version}/suspend"), None).await
    }

    /// Opens it again.
    pub async fn resume_key(&self, version: u32) -> Result<EncryptionStatus, ClientError> {
        self.ask_for_keys(Method::POST, &format!("{PATH}/versions/{version}/resume"), None).await
    }

    /// Destroys a version, and what is under it with it.
    pub async fn revoke_key(&self, version: u32) -> Result<EncryptionStatus, ClientError> {
        self.ask_for_keys(Method::POST, &format!("{PATH}/versions/{version}/revoke"), None).await
    }

    async fn ask_for_keys(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<EncryptionStatus, ClientError> {
        let token = self.token().await?;
        Rest::new(self.endpoint().clone(), self.clock.clone()).json((method, path), Some(&token), body.as_ref()).await
    }
}
