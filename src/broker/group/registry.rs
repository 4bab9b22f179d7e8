//! All groups in memory, as they were kept: what lists need, and where the actor of a group is found.
//!
//! A group that nobody uses costs its entry here, and no task.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::{Arc, PoisonError, RwLock},
};

use bytes::Bytes;

use super::{
    entry::{GroupEntry, Standing},
    ledger::{DamagedProgress, Progress},
    record::{self, GROUP_PREFIX, PROGRESS_PREFIX},
};
use crate::{
    broker::{Availability, Directory, OpenBrokerError},
    model::{GroupKey, ProjectId},
    store::{Records, Revision},
};

/// How many groups a project may have.
pub(super) const GROUPS_MAX: usize = 10_000;

/// How many records are read at a time when the broker is opened.
const LOAD_AT_ONCE: usize = 1_000;

type ProjectGroups = BTreeMap<GroupKey, Arc<GroupEntry>>;

/// The groups of all projects. A cheap handle.
#[derive(Debug, Clone, Default)]
pub(super) struct Registry(Arc<RwLock<HashMap<ProjectId, ProjectGroups>>>);

impl Registry {
    /// Loads all groups. Gives also the keys of progress that belongs to nothing any more.
    pub(super) async fn load(
        records: &Records,
        directory: &Directory,
    ) -> Result<(Registry, Vec<Bytes>), OpenBrokerError> {
        let registry = Registry::default();
        each(records, GROUP_PREFIX, |key, value, revision| {
            let damaged = || OpenBrokerError::Damaged { what: "consumer group", key: key.clone() };
            let (project, group) = record::read_group_key(key).ok_or_else(damaged)?;
            registry.insert(Arc::new(GroupEntry::new(project, group, record::decode_group(key, value)?, revision)));
            Ok(())
        })
        .await?;
        let mut orphans = Vec::new();
        each(records, PROGRESS_PREFIX, |key, value, _| {
            let damaged = || OpenBrokerError::Damaged { what: "progress", key: key.clone() };
            let (project, group, topic) = record::read_progress_key(key).ok_or_else(damaged)?;
            let is_there =
                directory.get(project, topic).is_some_and(|topic| topic.availability() != Availability::Deleting);
            match registry.get(project, group).filter(|_| is_there) {
                Some(entry) => {
                    let progress = Progress::decode(value).map_err(|DamagedProgress| damaged())?;
                    let settled = progress.settled_beyond();
                    entry.stands(topic, Standing { position: progress.position(), settled });
                }
                None => orphans.push(key.clone()),
            }
            Ok(())
        })
        .await?;
        Ok((registry, orphans))
    }

    pub(super) fn get(&self, project: ProjectId, group: GroupKey) -> Option<Arc<GroupEntry>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&project)?.get(&group).cloned()
    }

    /// The group that is meant by a text: by its name, or else by its key. Of several with one name it is the one whose key
    /// comes from the name, or else the first.
    pub(super) fn resolve(&self, project: ProjectId, text: &str) -> Option<Arc<GroupEntry>> {
        let is_called = |entry: &Arc<GroupEntry>| entry.record().name == text;
        let by_name = GroupKey::of(b"", text).ok().and_then(|key| self.get(project, key)).filter(is_called);
        by_name
            .or_else(|| self.of_project(project).into_iter().find(is_called))
            .or_else(|| self.get(project, GroupKey::parse(text)?))
    }

    /// The groups of a project, in the order of their keys.
    pub(super) fn of_project(&self, project: ProjectId) -> Vec<Arc<GroupEntry>> {
        self.behind(project, None, usize::MAX)
    }

    /// At most `count` groups behind a key, in the order of keys.
    pub(super) fn behind(&self, project: ProjectId, after: Option<GroupKey>, count: usize) -> Vec<Arc<GroupEntry>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let groups = self.0.read().unwrap_or_else(PoisonError::into_inner);
        groups.get(&project).map_or_else(Vec::new, |groups| {
            groups.range((from, Bound::Unbounded)).take(count).map(|(_, entry)| entry.clone()).collect()
        })
    }

    pub(super) fn all(&self) -> Vec<Arc<GroupEntry>> {
        let groups = self.0.read().unwrap_or_else(PoisonError::into_inner);
        groups.values().flat_map(BTreeMap::values).cloned().collect()
    }

    pub(super) fn is_full(&self, project: ProjectId) -> bool {
        let groups = self.0.read().unwrap_or_else(PoisonError::into_inner);
        groups.get(&project).is_some_and(|groups| groups.len() >= GROUPS_MAX)
    }

    pub(super) fn insert(&self, entry: Arc<GroupEntry>) {
        let mut groups = self.0.write().unwrap_or_else(PoisonError::into_inner);
        groups.entry(entry.project).or_default().insert(entry.key, entry);
    }

    pub(super) fn remove(&self, entry: &GroupEntry) {
        let mut groups = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(project) = groups.get_mut(&entry.project) {
            project.remove(&entry.key);
        }
    }
}

/// Has a look at all records under a prefix.
async fn each(
    records: &Records,
    prefix: &'static [u8],
    mut look: impl FnMut(&Bytes, &[u8], Revision) -> Result<(), OpenBrokerError>,
) -> Result<(), OpenBrokerError> {
    let mut after = None;
    loop {
        let found = records.scan(prefix, after, LOAD_AT_ONCE).await?;
        for (key, stored) in &found {
            look(key, &stored.value, stored.revision)?;
        }
        after = found.last().map(|(key, _)| key.clone());
        if found.len() < LOAD_AT_ONCE {
            return Ok(());
        }
    }
}
