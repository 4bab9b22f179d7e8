//! Putting away what was delivered as often as it may be.
//!
//! Such an event is appended to the dead-letter topic as every other event is, with metadata that says where it comes from and why it
//! is there, and it is settled when that is durable. A crash in between puts it away twice. What can't be put away stays, and is
//! tried again.

use std::{sync::Arc, time::Duration};

use futures_util::future::OptionFuture;
use tokio::task::JoinHandle;

use super::{Groups, actor::Actor, ledger::DeadLetter, settings::Terms};
use crate::{
    broker::{
        Availability, Broker, BrokerError, NewTopic, TopicEntry, access,
        access::Operation,
        error::{Cause, InvalidRequest},
        topics::plain_topic,
    },
    engine::{Batch, CommitError, FetchError, KeyState, TypeCount},
    model::{Offset, Principal, ProjectId, TopicId, TopicName, limits::BLOCK_BYTES_TARGET},
    sys::new_ulid,
};

/// What the metadata that is added begins with.
const PREFIX: &str = "ensign_dead_letter_";

/// How many events are put away together.
const AT_ONCE: usize = 256;

/// How long what failed is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// What of a group is being put away.
#[derive(Default)]
pub(super) struct Burying {
    under_way: Option<(TopicId, JoinHandle<Outcome>)>,
    /// By the clock's elapsed time, when it is tried again.
    not_before: Duration,
}

/// Why events could not be put away.
#[derive(Debug, thiserror::Error)]
enum BurialError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("the dead-letter topic can't be written")]
    Commit(#[from] CommitError),
    #[error("the dead-letter topic can't be opened")]
    Topic(#[source] Cause),
    #[error("there is no dead-letter topic")]
    Create(#[source] BrokerError),
    #[error("the dead-letter topic {0} takes no events")]
    Closed(TopicName),
    #[error("the work was ended")]
    Ended,
}

/// The events that need not be delivered any more.
type Outcome = Result<Vec<Offset>, BurialError>;

/// What has been done in a topic.
pub(super) struct Buried {
    topic: TopicId,
    offsets: Outcome,
}

impl Burying {
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Waits for what is under way. Cancel-safe.
    pub(super) async fn done(&mut self) -> Buried {
        let ended =
            OptionFuture::from(self.under_way.as_mut().map(|(topic, work)| async { (*topic, work.await) })).await;
        let Some((topic, ended)) = ended else { return std::future::pending().await };
        self.under_way = None;
        Buried { topic, offsets: ended.unwrap_or(Err(BurialError::Ended)) }
    }
}

impl Actor {
    /// Begins to put away what is to be put away, if it is time.
    pub(super) fn bury(&mut self) {
        let is_free = self.broken.is_none() && !self.burying.is_under_way() && !self.is_closing();
        if !is_free || self.groups.clock.elapsed() < self.burying.not_before {
            return;
        }
        let Some(track) = self.tracks.iter().find(|track| track.ledger.counts().dead > 0) else { return };
        let letters: Vec<DeadLetter> = track.ledger.dead_letters().take(AT_ONCE).collect();
        let burial = Burial {
            groups: self.groups.clone(),
            group: self.entry.record().name.clone(),
            terms: self.terms.clone(),
            from: track.entry.clone(),
            topic: track.topic.clone(),
        };
        self.burying.under_way = Some((track.entry.id(), tokio::spawn(burial.carry_out(letters))));
    }

    /// When what could not be put away is tried again, by the clock's elapsed time.
    pub(super) fn burial_due(&self) -> Option<Duration> {
        let waits = !self.burying.is_under_way()
            && !self.is_closing()
            && self.tracks.iter().any(|track| track.ledger.counts().dead > 0);
        waits.then_some(self.burying.not_before)
    }

    /// Settles what has been put away.
    pub(super) fn buried(&mut self, Buried { topic, offsets }: Buried) {
        match offsets {
            Ok(offsets) => {
                let Some(track) = self.tracks.iter_mut().find(|track| track.entry.id() == topic) else { return };
                let settled = offsets.into_iter().filter(|offset| track.ledger.buried(*offset)).count();
                self.groups.tallies.dead_lettered(settled);
            }
            Err(error) => {
                let group = &self.entry.record().name;
                let error = &error as &dyn std::error::Error;
                tracing::warn!(group, %topic, error, "events of a consumer group were not put away, and will be tried again");
                self.burying.not_before = self.groups.clock.elapsed() + PAUSE;
            }
        }
    }
}

/// Events of one topic on their way into the dead-letter topic.
struct Burial {
    groups: Groups,
    group: String,
    terms: Terms,
    from: Arc<TopicEntry>,
    topic: crate::engine::Topic,
}

impl Burial {
    /// Gives the events that have been put away, or that nobody can ever read.
    async fn carry_out(self, letters: Vec<DeadLetter>) -> Result<Vec<Offset>, BurialError> {
        let to = self.dead_letter_topic().await?;
        let to =
            self.groups.engine.topic(to.id(), to.project()).await.map_err(|error| BurialError::Topic(error.into()))?;
        let (mut batches, mut offsets, mut bytes) = (Vec::<Batch>::new(), Vec::new(), 0);
        for letter in letters {
            if bytes >= BLOCK_BYTES_TARGET {
                break;
            }
            match self.topic.reader(letter.offset).read().await {
                Ok(Some(slice)) => {
                    let slice = slice.before(letter.offset.plus(1));
                    let Some(event) = slice.events().next() else { continue };
                    let notes = self.notes(&letter, &event.rlid.to_string());
                    // What is no event to those who know events is put away as it is.
                    let record = (self.groups.form.annotate)(event.record, &notes).unwrap_or(event.record.to_vec());
                    bytes += record.len();
                    let kind = match event.run.types.as_slice() {
                        [only] => only.clone(),
                        // Which of several it has, the run does not say.
                        _ => TypeCount { schema: bytes::Bytes::new(), mimetype: 0, events: 0, data_bytes: 0 },
                    };
                    let kind = TypeCount { events: 1, data_bytes: record.len() as u64, ..kind };
                    let mut batch = Batch {
                        records: Vec::with_capacity(record.len() + 5),
                        count: 0,
                        publisher: event.run.publisher.clone(),
                        types: vec![kind],
                    };
                    batch.push(&record);
                    batches.push(batch);
                }
                // The ledger knows no events that there are not.
                Ok(None) => continue,
                Err(FetchError::Closed { state: KeyState::Revoked, .. }) => {
                    tracing::warn!(topic = %self.from.id(), offset = letter.offset.get(), "a dead letter can't be read any more");
                }
                Err(error) => return Err(error.into()),
            }
            offsets.push(letter.offset);
        }
        let mut replies = Vec::new();
        for batch in batches {
            let permit = self.groups.engine.admit(batch.records.len()).await;
            replies.push(to.append(batch, permit).await);
        }
        for reply in replies {
            reply.await.unwrap_or(Err(CommitError::Closed))?;
        }
        Ok(offsets)
    }

    fn notes(&self, letter: &DeadLetter, id: &str) -> Vec<(String, String)> {
        let notes = [
            ("topic", self.from.name().to_string()),
            ("offset", letter.offset.to_string()),
            ("id", id.to_owned()),
            ("group", self.group.clone()),
            ("deliveries", letter.deliveries.to_string()),
            ("reason", letter.reason.to_string()),
        ];
        notes.map(|(name, value)| (format!("{PREFIX}{name}"), value)).into()
    }

    /// The topic that they go to, which is created when it is not there.
    async fn dead_letter_topic(&self) -> Result<Arc<TopicEntry>, BurialError> {
        let name = self.terms.dead_letter_of(self.from.name());
        let name = name.map_err(|error| BurialError::Create(InvalidRequest::DeadLetterTopic(error).into()))?;
        let groups = &self.groups;
        let project = self.from.project();
        let entry = if let Some(entry) = groups.directory.named(project, name.as_str()) {
            entry
        } else {
            let id = TopicId(new_ulid(&groups.clock, &groups.entropy));
            let topic = plain_topic(id, project, name.clone(), groups.clock.now());
            groups.registrar.create(topic).await.map_err(BurialError::Create)?
        };
        if entry.availability() == Availability::Open { Ok(entry) } else { Err(BurialError::Closed(name)) }
    }
}

impl Broker {
    /// Makes sure that there are topics for what is put away, and that the caller may have events put there.
    pub(super) async fn prepare_dead_letters(
        &self,
        principal: &Principal,
        project: ProjectId,
        terms: &Terms,
        topics: &[Arc<TopicEntry>],
    ) -> Result<(), BrokerError> {
        access::require(principal, Operation::Publish)?;
        for topic in topics.iter().filter(|topic| !terms.is_dead_letter(topic.name())) {
            let name = terms.dead_letter_of(topic.name()).map_err(InvalidRequest::DeadLetterTopic)?;
            if self.directory().named(project, name.as_str()).is_some() {
                continue;
            }
            let wanted = NewTopic { name: name.to_string(), ..NewTopic::default() };
            match self.create_topic(principal, wanted).await {
                Ok(_) | Err(BrokerError::NameTaken) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
