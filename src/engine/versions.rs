//! The versions of a project's data key: which there are, what may be read under each, and which one is for new blocks.
//!
//! One record holds them all, so that a change is a check and a put. Who seals or reads follows a [`Versions`] by a watch
//! channel: looking at it costs a block an atomic load or two, and an event nothing.
//!
//! Invariants: numbers are never used again, not even those of revoked versions; the highest one is active, and new blocks are
//! sealed under it.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{error::OpenError, keys::DataKey};
use crate::{
    model::{ProjectId, Time},
    store::Revision,
};

/// What may be done with what is under a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    Active,
    /// Nobody reads it, until it is resumed.
    Suspended,
    /// Its key has been destroyed: nobody will ever read it.
    Revoked,
}

impl KeyState {
    pub fn name(self) -> &'static str {
        match self {
            KeyState::Active => "active",
            KeyState::Suspended => "suspended",
            KeyState::Revoked => "revoked",
        }
    }
}

/// A version of a project's data key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyVersion {
    pub version: u32,
    pub state: KeyState,
    /// Not known of versions that were made before this was kept.
    pub created: Option<Time>,
    /// When the state was changed last.
    pub changed: Option<Time>,
}

/// What was asked for in the background: that blocks under earlier versions are sealed anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewrite {
    /// Versions below this one are left behind.
    pub below: u32,
    pub started: Time,
    pub finished: Option<Time>,
}

/// All that is kept of a project's versions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyStatus {
    /// From the first to the newest.
    pub versions: Vec<KeyVersion>,
    pub rewrite: Option<Rewrite>,
}

impl KeyStatus {
    pub(super) fn get_mut(&mut self, version: u32) -> Option<&mut KeyVersion> {
        self.versions.iter_mut().find(|known| known.version == version)
    }

    pub fn newest(&self) -> Option<u32> {
        self.versions.last().map(|known| known.version)
    }
}

/// The record as it is written.
#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    versions: Vec<StoredVersion>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rewrite: Option<StoredRewrite>,
}

#[derive(Serialize, Deserialize)]
struct StoredVersion {
    number: u32,
    state: KeyState,
    created_ns: Option<i64>,
    changed_ns: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct StoredRewrite {
    below: u32,
    started_ns: i64,
    finished_ns: Option<i64>,
}

#[derive(Deserialize)]
struct Head {
    version: u32,
}

/// The version of the record.
const VERSION: u32 = 1;

pub(super) const PREFIX: &[u8] = b"key/versions/";

pub(super) fn record_key(project: ProjectId) -> Bytes {
    [PREFIX, project.as_bytes()].concat().into()
}

pub(super) fn encode(status: &KeyStatus) -> Vec<u8> {
    let versions = status.versions.iter().map(|known| StoredVersion {
        number: known.version,
        state: known.state,
        created_ns: known.created.map(Time::nanos),
        changed_ns: known.changed.map(Time::nanos),
    });
    let rewrite = status.rewrite.map(|rewrite| StoredRewrite {
        below: rewrite.below,
        started_ns: rewrite.started.nanos(),
        finished_ns: rewrite.finished.map(Time::nanos),
    });
    let stored = Stored { version: VERSION, versions: versions.collect(), rewrite };
    serde_json::to_vec(&stored).expect("numbers and names can be written as JSON")
}

pub(super) fn decode(project: ProjectId, value: &[u8]) -> Result<KeyStatus, OpenError> {
    let damaged = || OpenError::DamagedRecord { what: "key versions", of: format!("project {project}") };
    let head: Head = serde_json::from_slice(value).map_err(|_| damaged())?;
    if head.version > VERSION {
        return Err(OpenError::TooNew { what: "key versions", of: format!("project {project}") });
    }
    let stored: Stored = serde_json::from_slice(value).map_err(|_| damaged())?;
    let versions: Vec<KeyVersion> = stored
        .versions
        .into_iter()
        .map(|known| KeyVersion {
            version: known.number,
            state: known.state,
            created: known.created_ns.map(Time::from_nanos),
            changed: known.changed_ns.map(Time::from_nanos),
        })
        .collect();
    let rewrite = stored.rewrite.map(|rewrite| Rewrite {
        below: rewrite.below,
        started: Time::from_nanos(rewrite.started_ns),
        finished: rewrite.finished_ns.map(Time::from_nanos),
    });
    let ascending = versions.is_sorted_by(|a, b| a.version < b.version);
    let newest_is_active = versions.last().is_some_and(|newest| newest.state == KeyState::Active);
    if ascending && newest_is_active { Ok(KeyStatus { versions, rewrite }) } else { Err(damaged()) }
}

/// What sealing and reading need to know, as of one change of the record.
pub(super) struct Versions {
    /// The record's; nothing of a project whose record was never written.
    pub(super) revision: Option<Revision>,
    /// The version for new blocks.
    pub(super) newest: u32,
    pub(super) key: DataKey,
    /// Those that are not active.
    closed: BTreeMap<u32, KeyState>,
    /// Blocks under versions below are to be sealed anew.
    rewrite_below: u32,
}

impl Versions {
    pub(super) fn new(status: &KeyStatus, revision: Option<Revision>, newest: u32, key: DataKey) -> Arc<Versions> {
        let closed = status.versions.iter().filter(|known| known.state != KeyState::Active);
        let rewrite = status.rewrite.filter(|rewrite| rewrite.finished.is_none());
        Arc::new(Versions {
            revision,
            newest,
            key,
            closed: closed.map(|known| (known.version, known.state)).collect(),
            rewrite_below: rewrite.map_or(0, |rewrite| rewrite.below),
        })
    }

    /// Why what is under a version can't be read, if so.
    pub(super) fn closed(&self, version: u32) -> Option<KeyState> {
        if self.closed.is_empty() { None } else { self.closed.get(&version).copied() }
    }

    /// Whether a block under this version is to be sealed anew.
    pub(super) fn is_stale(&self, version: u32) -> bool {
        version < self.rewrite_below && self.closed(version).is_none()
    }
}

impl std::fmt::Debug for Versions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Versions").field("newest", &self.newest).field("closed", &self.closed).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Ulid;

    const PROJECT: ProjectId = ProjectId(Ulid::from_bytes([1; 16]));

    proptest! {
        #[test]
        fn the_record_round_trips(numbers: Vec<(u8, Option<i64>)>, rewrite: Option<(u32, i64, Option<i64>)>) {
            let mut version = 0;
            let mut versions: Vec<KeyVersion> = numbers.into_iter().map(|(step, at)| {
                version += u32::from(step) + 1;
                let state = [KeyState::Active, KeyState::Suspended, KeyState::Revoked][usize::from(step % 3)];
                KeyVersion { version, state, created: at.map(Time::from_nanos), changed: at.map(Time::from_nanos) }
            }).collect();
            versions.push(KeyVersion { version: version + 1, state: KeyState::Active, created: None, changed: None });
            let rewrite = rewrite.map(|(below, started, finished)| Rewrite {
                below, started: Time::from_nanos(started), finished: finished.map(Time::from_nanos),
            });
            let status = KeyStatus { versions, rewrite };
            let written = encode(&status);
            prop_assert_eq!(decode(PROJECT, &written).unwrap(), status);
            let cut = decode(PROJECT, &written[..written.len() - 1]);
            let damaged = matches!(cut, Err(OpenError::DamagedRecord { .. }));
            prop_assert!(damaged);
        }
    }

    #[test]
    fn a_record_that_makes_no_sense_is_damaged() {
        let damaged =
            |text: &str| assert!(matches!(decode(PROJECT, text.as_bytes()), Err(OpenError::DamagedRecord { .. })));
        damaged(r#"{"version":1,"versions":[]}"#);
        damaged(r#"{"version":1,"versions":[{"number":1,"state":"revoked","created_ns":null,"changed_ns":null}]}"#);
        let newer = decode(PROJECT, br#"{"version":2,"versions":"elsewhere"}"#);
        assert!(matches!(newer, Err(OpenError::TooNew { .. })));
    }
}
