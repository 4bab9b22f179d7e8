//! What the records remember of the root key: where it comes from, since when it is this one, and what is left to be removed.

use serde::{Deserialize, Serialize};

use super::{RootKeyError, RootKeySource};
use crate::{
    model::Time,
    store::{Record, Records},
};

pub(super) const KEY: &str = "key/source";

const VERSION: u32 = 1;

/// The record's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Remembered {
    pub(super) source: RootKeySource,
    /// The entry in the keyring.
    pub(super) account: Option<String>,
    pub(super) since: Time,
    /// What held the key before, and still has to go: files of the directory, and an entry in the keyring.
    pub(super) stale_files: Vec<String>,
    pub(super) stale_account: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    source: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    since_ns: i64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    stale_files: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stale_account: Option<String>,
}

impl Remembered {
    pub(super) fn new(source: RootKeySource, account: Option<String>, since: Time) -> Remembered {
        Remembered { source, account, since, stale_files: Vec::new(), stale_account: None }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let stored = Stored {
            version: VERSION,
            source: self.source.name().to_owned(),
            account: self.account.clone(),
            since_ns: self.since.nanos(),
            stale_files: self.stale_files.clone(),
            stale_account: self.stale_account.clone(),
        };
        serde_json::to_vec(&stored).expect("numbers and texts can be written as JSON")
    }

    fn decode(bytes: &[u8]) -> Option<Remembered> {
        let stored: Stored = serde_json::from_slice(bytes).ok().filter(|stored: &Stored| stored.version <= VERSION)?;
        let source = RootKeySource::ALL.into_iter().find(|source| source.name() == stored.source)?;
        Some(Remembered {
            source,
            account: stored.account,
            since: Time::from_nanos(stored.since_ns),
            stale_files: stored.stale_files,
            stale_account: stored.stale_account,
        })
    }

    pub(super) async fn load(records: &Records) -> Result<Option<(Remembered, Record)>, RootKeyError> {
        let Some(record) = records.get(KEY).await? else { return Ok(None) };
        let remembered = Remembered::decode(&record.value).ok_or(RootKeyError::DamagedRecord)?;
        Ok(Some((remembered, record)))
    }
}
