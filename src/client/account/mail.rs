//! Mail that the server did not send, because it has no mail server.

use serde::{Deserialize, Deserializer};

use super::{Account, wire};
use crate::{
    client::ClientError,
    model::{Secret, Time},
};

#[derive(Debug, Clone, Deserialize)]
pub struct Mail {
    pub to: String,
    /// What it is for: `verification`, `password reset`, `invitation`.
    pub purpose: String,
    /// Whoever has it can do what the mail is for.
    #[serde(deserialize_with = "secret")]
    pub token: Secret,
    #[serde(default, deserialize_with = "wire::time")]
    pub created: Option<Time>,
    #[serde(default, deserialize_with = "wire::time")]
    pub expires: Option<Time>,
}

#[derive(Deserialize)]
struct MailList {
    #[serde(default)]
    mail: Vec<Mail>,
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    String::deserialize(deserializer).map(Secret::new)
}

impl Account {
    /// The mail that was not sent and is of use still, as far as the account may see it, from old to new.
    pub async fn mail(&self) -> Result<Vec<Mail>, ClientError> {
        Ok(self.get::<MailList>("/api/mail").await?.mail)
    }
}
