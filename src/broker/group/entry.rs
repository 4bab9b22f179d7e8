//! A group as the broker holds it in memory, whether or not somebody uses it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::mpsc;

use super::{actor::Message, record::GroupRecord};
use crate::{
    model::{GroupKey, Offset, ProjectId, TopicId},
    store::Revision,
};

/// What a group's actor waits for at most before those who ask it have to wait.
pub(super) const MESSAGES_MAX: usize = 256;

/// A group that is known. Whoever holds the entry of a group that was removed sees that it was.
#[derive(Debug)]
pub(super) struct GroupEntry {
    pub(super) project: ProjectId,
    pub(super) key: GroupKey,
    state: Mutex<State>,
    actor: Mutex<Slot>,
}

#[derive(Debug)]
struct State {
    record: Arc<GroupRecord>,
    revision: Revision,
    standings: BTreeMap<TopicId, Standing>,
    members: u64,
    removed: bool,
}

/// How far a group is in a topic, as it was kept last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) position: Offset,
    /// How many events are settled beyond the position.
    pub(super) settled: u64,
}

impl Standing {
    /// How many of the events before the end are not settled.
    pub(super) fn lag(self, end: Offset) -> u64 {
        end.distance_from(self.position).saturating_sub(self.settled)
    }
}

/// Where the actor of the group is reached.
#[derive(Debug, Default)]
enum Slot {
    #[default]
    Idle,
    Running(mpsc::Sender<Message>),
}

impl GroupEntry {
    pub(super) fn new(project: ProjectId, key: GroupKey, record: GroupRecord, revision: Revision) -> GroupEntry {
        let record = Arc::new(record);
        let state = State { record, revision, standings: BTreeMap::new(), members: 0, removed: false };
        GroupEntry { project, key, state: Mutex::new(state), actor: Mutex::default() }
    }

    pub(super) fn record(&self) -> Arc<GroupRecord> {
        self.state().record.clone()
    }

    pub(super) fn revision(&self) -> Revision {
        self.state().revision
    }

    pub(super) fn replace(&self, record: GroupRecord, revision: Revision) {
        let mut state = self.state();
        (state.record, state.revision) = (Arc::new(record), revision);
    }

    pub(super) fn is_removed(&self) -> bool {
        self.state().removed
    }

    pub(super) fn set_removed(&self) {
        self.state().removed = true;
    }

    pub(super) fn members(&self) -> u64 {
        self.state().members
    }

    pub(super) fn set_members(&self, members: usize) {
        self.state().members = members as u64;
    }

    pub(super) fn standings(&self) -> BTreeMap<TopicId, Standing> {
        self.state().standings.clone()
    }

    pub(super) fn stands(&self, topic: TopicId, standing: Standing) {
        self.state().standings.insert(topic, standing);
    }

    /// Whether the group had a position there.
    pub(super) fn forget_topic(&self, topic: TopicId) -> bool {
        self.state().standings.remove(&topic).is_some()
    }

    /// The way to the group's actor, which `start` starts when there is none.
    pub(super) fn actor(&self, start: impl FnOnce(mpsc::Receiver<Message>)) -> mpsc::Sender<Message> {
        let mut slot = self.slot();
        if let Slot::Running(sender) = &*slot {
            return sender.clone();
        }
        let (sender, messages) = mpsc::channel(MESSAGES_MAX);
        *slot = Slot::Running(sender.clone());
        start(messages);
        sender
    }

    /// Ends what the actor is reached by, unless somebody wants something of it. What somebody sends at this very moment
    /// comes back to him, and he finds another actor.
    pub(super) fn end_actor(&self, messages: &mut mpsc::Receiver<Message>) -> bool {
        let mut slot = self.slot();
        if !messages.is_empty() {
            return false;
        }
        messages.close();
        *slot = Slot::Idle;
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.actor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
