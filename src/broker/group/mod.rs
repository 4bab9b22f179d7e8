//! Consumer groups: subscribers that share a position in each topic, which the broker remembers.
//!
//! A group that is in use has an actor: one task that owns a ledger and a reader for each topic. The pure part, which decides who
//! gets which event and when an event is settled, is the ledger; the actor feeds it with time and events. One task for all groups,
//! the keeper, writes what must be remembered. A group that nobody uses is an entry of the registry, and records.
//!
//! Invariants: a group's position in a topic never lies behind an event that was not settled as the group's delivery semantic
//! asks for; no answer is given before what it promises is durable; what a group holds in memory is bounded by its window and its
//! members.
//!
//! What it does not do: know wire messages, or what an event's bytes mean beyond [`EventForm`].

mod actor;
mod administration;
mod dead_letter;
mod entry;
mod form;
mod giving;
mod info;
mod join;
mod joining;
mod keeper;
mod keeping;
mod ledger;
mod member;
mod record;
mod registry;
mod settings;
mod steering;
mod tallies;
mod track;

use std::{collections::HashMap, sync::Arc};

use tokio::sync::watch;

pub use form::EventForm;
pub use info::{GroupCounts, GroupInfo, GroupLag, GroupSummary, GroupTopicInfo, MemberInfo};
pub use ledger::Verdict;
pub use member::{Acks, Member, Receipt};
pub use settings::{GroupSettings, Terms};

pub(super) use keeper::Keeper;
use registry::Registry;

use super::{Directory, OpenBrokerError, SubscribeRequest, registrar::Registrar};
use crate::{
    engine::Engine,
    model::{GroupKey, ProjectId, TopicId},
    store::Records,
    sys::{Clock, Entropy},
};

/// What a subscriber asks for who joins a group.
#[derive(Debug, Clone)]
pub struct JoinRequest {
    pub group: GroupKey,
    /// Empty: the key in hexadecimal digits.
    pub name: String,
    pub settings: GroupSettings,
    /// The offset of the next event to deliver, for topics in which the group has no position yet; by names, ULIDs or hashes.
    pub topic_offsets: HashMap<String, u64>,
    pub subscribe: SubscribeRequest,
    pub client_id: String,
    pub address: String,
}

/// What is kept of groups: those that there are, and the task that writes.
pub(super) struct KeptGroups {
    registry: Registry,
    pub(super) keeper: Keeper,
}

/// All groups. A cheap handle.
#[derive(Debug, Clone)]
pub(super) struct Groups {
    records: Records,
    engine: Engine,
    directory: Directory,
    registrar: Registrar,
    clock: Clock,
    entropy: Entropy,
    form: EventForm,
    registry: Registry,
    keeper: Keeper,
    tallies: tallies::Tallies,
    /// Set when the broker closes. Each actor holds a receiver for as long as it runs.
    closing: Arc<watch::Sender<bool>>,
}

impl KeptGroups {
    /// Loads all groups. Needs a Tokio runtime.
    pub(super) async fn load(
        records: &Records,
        directory: &Directory,
        clock: &Clock,
    ) -> Result<KeptGroups, OpenBrokerError> {
        let (registry, orphans) = Registry::load(records, directory).await?;
        let keeper = Keeper::start(records.clone(), clock.clone(), registry.clone(), orphans);
        Ok(KeptGroups { registry, keeper })
    }
}

impl Groups {
    pub(super) fn start(
        KeptGroups { registry, keeper }: KeptGroups,
        (records, engine): (Records, Engine),
        (directory, registrar): (Directory, Registrar),
        (clock, entropy): (Clock, Entropy),
        form: EventForm,
    ) -> Groups {
        let closing = Arc::new(watch::Sender::new(false));
        let tallies = tallies::Tallies::default();
        let groups =
            Groups { records, engine, directory, registrar, clock, entropy, form, registry, keeper, tallies, closing };
        tokio::spawn(groups.clone().open_topics());
        groups
    }

    /// Opens the topics that groups have positions in, so that it is known how far the groups are behind.
    async fn open_topics(self) {
        let mut topics: Vec<(TopicId, ProjectId)> = Vec::new();
        for entry in self.registry.all() {
            topics.extend(entry.standings().into_keys().map(|topic| (topic, entry.project)));
        }
        topics.sort_unstable();
        topics.dedup();
        for (topic, project) in topics {
            if *self.closing.borrow() {
                return;
            }
            if let Err(error) = self.engine.topic(topic, project).await {
                tracing::debug!(%topic, %error, "a topic of a consumer group was not opened");
            }
        }
    }

    /// Ends all members' streams; returns when everything that they did is kept.
    pub(super) async fn close(&self) {
        self.keeper.give_up().await;
        self.closing.send_replace(true);
        self.closing.closed().await;
        self.keeper.close().await;
    }
}

#[cfg(test)]
mod tests;
