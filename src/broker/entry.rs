//! A topic as the broker holds it in memory.

use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicU8, Ordering},
};

use crate::{
    model::{NameHash, ProjectId, Topic, TopicId, TopicName, TopicState},
    store::Revision,
};

/// What may be done with a topic's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// Events are taken and given.
    Open,
    /// Events are given only.
    Archived,
    /// The topic has been destroyed; nothing is taken or given any more.
    Deleting,
}

impl Availability {
    fn of(topic: &Topic) -> Availability {
        if topic.state == TopicState::Deleting {
            Availability::Deleting
        } else if topic.readonly {
            Availability::Archived
        } else {
            Availability::Open
        }
    }

    const fn number(self) -> u8 {
        match self {
            Availability::Open => 0,
            Availability::Archived => 1,
            Availability::Deleting => 2,
        }
    }
}

/// A topic that is known. Whoever holds an entry sees what becomes of the topic, without a lock and without asking
/// again.
#[derive(Debug)]
pub struct TopicEntry {
    id: TopicId,
    project: ProjectId,
    name: TopicName,
    hash: NameHash,
    availability: AtomicU8,
    /// The record and its revision; held for the time of a clone only.
    record: RwLock<(Arc<Topic>, Revision)>,
}

impl TopicEntry {
    pub(super) fn new(topic: Topic, revision: Revision) -> TopicEntry {
        TopicEntry {
            id: topic.id,
            project: topic.project,
            name: topic.name.clone(),
            hash: topic.name.hash(),
            availability: AtomicU8::new(Availability::of(&topic).number()),
            record: RwLock::new((Arc::new(topic), revision)),
        }
    }

    pub fn id(&self) -> TopicId {
        self.id
    }

    pub fn project(&self) -> ProjectId {
        self.project
    }

    pub fn name(&self) -> &TopicName {
        &self.name
    }

    pub fn hash(&self) -> NameHash {
        self.hash
    }

    /// One atomic read, cheap enough for every event of a stream.
    pub fn availability(&self) -> Availability {
        match self.availability.load(Ordering::Acquire) {
            0 => Availability::Open,
            1 => Availability::Archived,
            _ => Availability::Deleting,
        }
    }

    /// The topic's record as it is now.
    pub fn topic(&self) -> Arc<Topic> {
        self.versioned().0
    }

    pub(super) fn versioned(&self) -> (Arc<Topic>, Revision) {
        self.record.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes over a record that has been committed.
    pub(super) fn replace(&self, topic: Topic, revision: Revision) {
        debug_assert_eq!((topic.id, topic.project, &topic.name), (self.id, self.project, &self.name));
        let availability = Availability::of(&topic);
        *self.record.write().unwrap_or_else(PoisonError::into_inner) = (Arc::new(topic), revision);
        self.availability.store(availability.number(), Ordering::Release);
    }
}
