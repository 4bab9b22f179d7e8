//! All topics in memory: by project, and there by identifier, by name and by the hash of the name.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use tokio::sync::watch;

use super::entry::TopicEntry;
use crate::model::{NameHash, ProjectId, TopicId, TopicName, Ulid};

/// The topics of all projects. A cheap handle; lookups never wait for storage.
#[derive(Debug, Clone, Default)]
pub struct Directory(Arc<RwLock<HashMap<ProjectId, ProjectTopics>>>);

#[derive(Debug)]
struct ProjectTopics {
    /// All topics, also those that are being deleted.
    by_id: BTreeMap<TopicId, Arc<TopicEntry>>,
    /// Those that have a name, which a topic loses when it is destroyed.
    by_hash: BTreeMap<NameHash, Arc<TopicEntry>>,
    /// Grows whenever a topic comes or goes.
    generation: watch::Sender<u64>,
}

impl Default for ProjectTopics {
    fn default() -> ProjectTopics {
        ProjectTopics { by_id: BTreeMap::new(), by_hash: BTreeMap::new(), generation: watch::Sender::new(0) }
    }
}

impl Directory {
    /// The topic that a client means by a text: its name, its ULID, or the hash of its name in base64url without
    /// padding, tried in this order. A topic that is being deleted is found by its ULID only.
    pub fn resolve(&self, project: ProjectId, text: &str) -> Option<Arc<TopicEntry>> {
        self.named(project, text)
            .or_else(|| self.get(project, TopicId(Ulid::parse(text).ok()?)))
            .or_else(|| self.hashed(project, NameHash(URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?)))
    }

    /// The topic of this name.
    pub fn named(&self, project: ProjectId, name: &str) -> Option<Arc<TopicEntry>> {
        let name = TopicName::parse(name).ok()?;
        self.hashed(project, name.hash()).filter(|entry| *entry.name() == name)
    }

    /// The topic whose name has this hash; names are unique by it.
    pub fn hashed(&self, project: ProjectId, hash: NameHash) -> Option<Arc<TopicEntry>> {
        self.read().get(&project)?.by_hash.get(&hash).cloned()
    }

    /// The topic of this identifier, if it belongs to the project.
    pub fn get(&self, project: ProjectId, topic: TopicId) -> Option<Arc<TopicEntry>> {
        self.read().get(&project)?.by_id.get(&topic).cloned()
    }

    /// The project that a topic belongs to.
    pub(super) fn project_of(&self, topic: TopicId) -> Option<ProjectId> {
        let projects = self.read();
        projects.iter().find(|(_, topics)| topics.by_id.contains_key(&topic)).map(|(project, _)| *project)
    }

    /// The project's topics in the order of their identifiers, also those that are being deleted.
    pub fn topics(&self, project: ProjectId) -> Vec<Arc<TopicEntry>> {
        self.by_id(project, None, usize::MAX)
    }

    /// The project's generation, which grows whenever one of its topics comes or goes.
    pub fn changes(&self, project: ProjectId) -> watch::Receiver<u64> {
        if let Some(topics) = self.read().get(&project) {
            return topics.generation.subscribe();
        }
        self.write().entry(project).or_default().generation.subscribe()
    }

    /// At most `count` topics behind an identifier, in the order of identifiers.
    pub(super) fn by_id(&self, project: ProjectId, after: Option<TopicId>, count: usize) -> Vec<Arc<TopicEntry>> {
        self.read().get(&project).map_or_else(Vec::new, |topics| behind(&topics.by_id, after, count))
    }

    /// At most `count` topics behind the hash of a name, in the order of hashes.
    pub(super) fn by_hash(&self, project: ProjectId, after: Option<NameHash>, count: usize) -> Vec<Arc<TopicEntry>> {
        self.read().get(&project).map_or_else(Vec::new, |topics| behind(&topics.by_hash, after, count))
    }

    pub(super) fn insert(&self, entry: Arc<TopicEntry>) {
        self.change(entry.project(), |topics| {
            if entry.availability() != super::Availability::Deleting {
                topics.by_hash.insert(entry.hash(), entry.clone());
            }
            topics.by_id.insert(entry.id(), entry);
        });
    }

    /// Takes the name away from a topic that is being deleted, so that another may have it.
    pub(super) fn release_name(&self, entry: &TopicEntry) {
        self.change(entry.project(), |topics| {
            if topics.by_hash.get(&entry.hash()).is_some_and(|named| named.id() == entry.id()) {
                topics.by_hash.remove(&entry.hash());
            }
        });
    }

    pub(super) fn remove(&self, entry: &TopicEntry) {
        self.release_name(entry);
        self.change(entry.project(), |topics| {
            topics.by_id.remove(&entry.id());
        });
    }

    fn change(&self, project: ProjectId, change: impl FnOnce(&mut ProjectTopics)) {
        let mut projects = self.write();
        let topics = projects.entry(project).or_default();
        change(topics);
        topics.generation.send_modify(|generation| *generation += 1);
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<ProjectId, ProjectTopics>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<ProjectId, ProjectTopics>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// At most `count` of the entries of an index behind a place.
fn behind<K: Ord>(index: &BTreeMap<K, Arc<TopicEntry>>, after: Option<K>, count: usize) -> Vec<Arc<TopicEntry>> {
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    index.range((from, Bound::Unbounded)).take(count).map(|(_, entry)| entry.clone()).collect()
}
