//! Opening the broker, and what every request starts from.

use std::sync::Arc;

use super::{
    directory::Directory,
    entry::{Availability, TopicEntry},
    error::OpenBrokerError,
    group::{EventForm, Groups, KeptGroups},
    page::PageTokens,
    record,
    registrar::Registrar,
    workers::Workers,
};
use crate::{
    engine::Engine,
    model::{ProjectId, TopicId},
    store::{CompactError, Records},
    sys::{Clock, Entropy},
};

/// How many topics are read at a time when the broker is opened.
const LOAD_AT_ONCE: usize = 1_000;

/// The broker. A cheap handle.
#[derive(Debug, Clone)]
pub struct Broker {
    pub(super) directory: Directory,
    pub(super) registrar: Registrar,
    pub(super) engine: Engine,
    pub(super) clock: Clock,
    pub(super) entropy: Entropy,
    pub(super) tokens: Arc<PageTokens>,
    pub(super) groups: Groups,
    pub(super) workers: Workers,
}

/// Every topic in the records and the project that it belongs to, for those who look at a store that no broker uses.
///
/// # Errors
///
/// When the records can't be read, or one of them makes no sense.
pub async fn list_topics(records: &Records) -> Result<Vec<(TopicId, ProjectId)>, OpenBrokerError> {
    let found = records.scan(record::TOPIC_PREFIX, None, usize::MAX).await?;
    let topics = found.iter().map(|(key, stored)| record::decode(key, &stored.value));
    topics.map(|topic| topic.map(|topic| (topic.id, topic.project))).collect()
}

impl Broker {
    /// Loads all topics and consumer groups, and takes up the deletions that were interrupted. `form` is what is known of events'
    /// bytes. Needs a Tokio runtime.
    pub async fn open(
        records: Records,
        engine: Engine,
        clock: Clock,
        entropy: Entropy,
        form: EventForm,
    ) -> Result<Broker, OpenBrokerError> {
        let tokens = Arc::new(PageTokens::open(&records, &entropy).await?);
        let directory = Directory::default();
        let mut interrupted = Vec::new();
        let mut after = None;
        loop {
            let found = records.scan(record::TOPIC_PREFIX, after, LOAD_AT_ONCE).await?;
            for (key, stored) in &found {
                let topic = record::decode(key, &stored.value)?;
                let entry = Arc::new(TopicEntry::new(topic, stored.revision));
                if entry.availability() == Availability::Deleting {
                    interrupted.push(entry.clone());
                }
                directory.insert(entry);
            }
            after = found.last().map(|(key, _)| key.clone());
            if found.len() < LOAD_AT_ONCE {
                break;
            }
        }
        let kept = KeptGroups::load(&records, &directory, &clock).await?;
        let workings = (engine.clone(), clock.clone(), directory.clone(), kept.keeper.clone());
        let registrar = Registrar::start(records.clone(), workings, interrupted);
        let streams = (records, engine.clone());
        let topics = (directory.clone(), registrar.clone());
        let groups = Groups::start(kept, streams, topics, (clock.clone(), entropy.clone()), form);
        Ok(Broker { directory, registrar, engine, clock, entropy, tokens, groups, workers: Workers::default() })
    }

    /// The topics that there are, as open streams look them up.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Has what is stored compacted from now on, in the background, until the store is closed.
    pub fn compact_in_background(&self) {
        let directory = self.directory.clone();
        self.engine.compact_in_background(move |topic| directory.project_of(topic));
    }

    /// Compacts everything at once.
    ///
    /// # Errors
    ///
    /// When nothing could be written any more, or the store is being closed. Nothing is lost by it.
    pub async fn compact(&self) -> Result<(), CompactError> {
        let directory = self.directory.clone();
        self.engine.compact(move |topic| directory.project_of(topic)).await
    }

    /// Ends the members of consumer groups and keeps how far they came, and waits for the changes that were asked for, deletions
    /// included; topics and groups cannot be changed afterwards.
    pub async fn close(&self) {
        self.registrar.close().await;
        self.groups.close().await;
    }
}
