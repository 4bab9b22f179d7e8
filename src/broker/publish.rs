//! What a publisher may do, on a stream that stays open: which topics it reaches, and how its events become batches.
//!
//! A session is driven by whoever holds the wire: it is told of each event in the order of arrival, gathers them by topic,
//! and hands the gathered batches to the engine. One round of gathering costs a message per topic, not per event.
//!
//! What it does not do: parse messages, answer publishers.

use std::{collections::HashSet, sync::Arc};

use bytes::Bytes;

use super::{
    Availability, Broker, BrokerError, TopicEntry,
    access::{self, Operation},
};
use crate::{
    engine::{self, Batch, CommitError, CommitReply, TypeCount},
    model::{NackCode, Principal, ProjectId, TopicId, Ulid, limits},
};

/// Why an event is refused without asking the journal, with the text for its publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    pub code: NackCode,
    pub text: &'static str,
}

impl From<NackCode> for Refusal {
    fn from(code: NackCode) -> Refusal {
        Refusal { code, text: code.text() }
    }
}

impl From<&CommitError> for Refusal {
    fn from(error: &CommitError) -> Refusal {
        match error {
            CommitError::Destroyed => NackCode::TopicDeleted.into(),
            CommitError::NoSpace => Refusal { code: NackCode::Internal, text: "no space left to store events" },
            CommitError::Skipped => NackCode::ConsensusFailure.into(),
            CommitError::Poisoned => Refusal {
                code: NackCode::Internal,
                text: "the journal cannot be written any more; restart the broker to recover",
            },
            CommitError::Closed => Refusal { code: NackCode::Internal, text: "the broker is shutting down" },
        }
    }
}

/// Where in a session a topic's events are gathered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slot(usize);

/// One publisher's stream.
#[derive(Debug)]
pub struct PublishSession {
    broker: Broker,
    project: ProjectId,
    /// The topics that the publisher was told of when the stream opened.
    announced: HashSet<TopicId>,
    /// The publisher limited itself to these; otherwise it reaches all of the project, also those that come later.
    is_limited: bool,
    /// The encoded description of the publisher that is kept with its events.
    publisher: Bytes,
    slots: Vec<Gathering>,
    /// The slot of the last event: most streams have one topic.
    current: usize,
    /// What an event takes besides its record when it is delivered, as it is counted for statistics, in bytes.
    envelope_bytes: u64,
}

/// A topic of a session, and what has been gathered for it.
#[derive(Debug)]
struct Gathering {
    entry: Arc<TopicEntry>,
    topic: engine::Topic,
    records: Vec<u8>,
    /// How long the records of the batch before were: the next one is about as long.
    expected_bytes: usize,
    count: u32,
    types: Vec<TypeCount>,
}

impl Broker {
    /// Opens a publisher's session, before anything was heard of it.
    ///
    /// # Errors
    ///
    /// When the caller may not publish, or its project has no topics.
    pub fn publisher(&self, principal: &Principal) -> Result<PublishSession, BrokerError> {
        let project = self.streaming_project(principal, Operation::Publish)?;
        Ok(PublishSession {
            broker: self.clone(),
            project,
            announced: HashSet::new(),
            is_limited: false,
            publisher: Bytes::new(),
            slots: Vec::new(),
            current: 0,
            envelope_bytes: 0,
        })
    }

    /// The checks that every stream starts with.
    pub(super) fn streaming_project(
        &self,
        principal: &Principal,
        operation: Operation,
    ) -> Result<ProjectId, BrokerError> {
        access::require(principal, operation)?;
        let project = access::project(principal)?;
        if self.live_topics(project).next().is_none() {
            return Err(BrokerError::NoTopics);
        }
        Ok(project)
    }

    /// The project's topics but those that are being deleted.
    pub(super) fn live_topics(&self, project: ProjectId) -> impl Iterator<Item = Arc<TopicEntry>> {
        let topics = self.directory().topics(project).into_iter();
        topics.filter(|entry| entry.availability() != Availability::Deleting)
    }

    /// The topics that a stream asks for by name, ULID or hash; all of the project when it asks for none. What is not
    /// known is left out.
    pub(super) fn chosen_topics(
        &self,
        project: ProjectId,
        wanted: &[String],
    ) -> Result<Vec<Arc<TopicEntry>>, BrokerError> {
        let mut chosen: Vec<_> = if wanted.is_empty() {
            self.live_topics(project).collect()
        } else {
            let found = wanted.iter().filter_map(|text| self.directory().resolve(project, text));
            found.filter(|entry| entry.availability() != Availability::Deleting).collect()
        };
        chosen.sort_by_key(|entry| entry.id());
        chosen.dedup_by_key(|entry| entry.id());
        if chosen.is_empty() { Err(BrokerError::NoTopics) } else { Ok(chosen) }
    }
}

impl PublishSession {
    /// Starts the session with what the publisher says of itself, and what an event takes besides its record when it is
    /// delivered; gives the topics that it reaches.
    ///
    /// # Errors
    ///
    /// When none of the topics that it wants exists.
    pub fn start(
        &mut self,
        wanted: &[String],
        publisher: Bytes,
        envelope_bytes: u64,
    ) -> Result<Vec<Arc<TopicEntry>>, BrokerError> {
        let chosen = self.broker.chosen_topics(self.project, wanted)?;
        self.announced = chosen.iter().map(|entry| entry.id()).collect();
        self.is_limited = !wanted.is_empty();
        self.publisher = publisher;
        self.envelope_bytes = envelope_bytes;
        Ok(chosen)
    }

    /// The slot of an event's topic, or why there is none.
    pub async fn slot(&mut self, topic: &[u8]) -> Result<Slot, Refusal> {
        if let Some(gathering) = self.slots.get(self.current)
            && gathering.entry.id().as_bytes() == topic
        {
            return available(&gathering.entry).map(|()| Slot(self.current));
        }
        let unknown = |text| Refusal { code: NackCode::TopicUnknown, text };
        if topic.is_empty() {
            return Err(unknown("no topic id specified"));
        }
        let id = TopicId(Ulid::from_slice(topic).map_err(|_| unknown("invalid topic id"))?);
        if let Some(at) = self.slots.iter().position(|gathering| gathering.entry.id() == id) {
            self.current = at;
            return available(&self.slots[at].entry).map(|()| Slot(at));
        }
        let was_announced = self.announced.contains(&id);
        if self.is_limited && !was_announced {
            return Err(NackCode::TopicUnknown.into());
        }
        // A topic that the publisher was told of and that is gone has been destroyed since.
        let gone = if was_announced { NackCode::TopicDeleted } else { NackCode::TopicUnknown };
        let entry = self.broker.directory().get(self.project, id).ok_or(gone)?;
        available(&entry)?;
        let topic = self.broker.engine.topic(id, self.project).await.map_err(|error| {
            tracing::error!(topic = %id, %error, "topic not opened");
            Refusal::from(NackCode::Internal)
        })?;
        self.slots.push(Gathering {
            entry,
            topic,
            records: Vec::new(),
            expected_bytes: 0,
            count: 0,
            types: Vec::new(),
        });
        self.current = self.slots.len() - 1;
        Ok(Slot(self.current))
    }

    /// Whether an event of this size may be stored, and a record of that size: the rest of its wrapper, such as its key,
    /// is bounded too.
    pub fn check_size(event_bytes: usize, record_bytes: usize) -> Result<(), Refusal> {
        let fits = event_bytes <= limits::EVENT_BYTES_MAX
            && record_bytes - event_bytes.min(record_bytes) <= limits::WRAPPER_BYTES_MAX;
        if fits { Ok(()) } else { Err(NackCode::MaxEventSizeExceeded.into()) }
    }

    /// Gathers one event. `write` appends its record, behind its length, and gives the record's bytes.
    pub fn gather(&mut self, slot: Slot, mimetype: i32, schema: &[u8], write: impl FnOnce(&mut Vec<u8>) -> usize) {
        let gathering = &mut self.slots[slot.0];
        if gathering.count == 0 {
            gathering.records.reserve(gathering.expected_bytes);
        }
        let data_bytes = write(&mut gathering.records) as u64 + self.envelope_bytes;
        gathering.count += 1;
        let known = gathering.types.iter_mut().find(|count| {
            // Most events have no type, and comparing nothing with nothing is dearer than it looks.
            count.mimetype == mimetype && ((schema.is_empty() && count.schema.is_empty()) || count.schema == schema)
        });
        match known {
            Some(count) => {
                count.events += 1;
                count.data_bytes += data_bytes;
            }
            None => gathering.types.push(TypeCount {
                schema: Bytes::copy_from_slice(schema),
                mimetype,
                events: 1,
                data_bytes,
            }),
        }
    }

    /// Whether a slot has gathered as much as a block takes, so that it should be handed over before more comes.
    pub fn is_full(&self, slot: Slot) -> bool {
        self.slots[slot.0].records.len() >= limits::BLOCK_BYTES_TARGET
    }

    /// Hands over what has been gathered, and gives the slots that had something, each with what will become of it. Waits
    /// while too much is under way: this is the back pressure that publishers feel.
    pub async fn hand_over(&mut self) -> Vec<(Slot, CommitReply)> {
        let mut replies = Vec::new();
        for (at, gathering) in self.slots.iter_mut().enumerate().filter(|(_, gathering)| gathering.count > 0) {
            gathering.expected_bytes = gathering.records.len();
            let batch = Batch {
                records: std::mem::take(&mut gathering.records),
                count: std::mem::take(&mut gathering.count),
                publisher: self.publisher.clone(),
                types: std::mem::take(&mut gathering.types),
            };
            let permit = self.broker.engine.admit(batch.records.len()).await;
            replies.push((Slot(at), gathering.topic.append(batch, permit).await));
        }
        replies
    }
}

fn available(entry: &TopicEntry) -> Result<(), Refusal> {
    match entry.availability() {
        Availability::Open => Ok(()),
        Availability::Archived => Err(NackCode::TopicArchived.into()),
        Availability::Deleting => Err(NackCode::TopicDeleted.into()),
    }
}
