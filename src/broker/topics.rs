//! Topics: create, retrieve, list, archive and destroy.

use std::sync::Arc;

use super::{
    access::{self, Operation},
    error::{BrokerError, FailedRequest, InvalidRequest},
    handle::Broker,
    page::{List, Page, PageRequest},
    policy::PolicyRequest,
};
use crate::{
    model::{
        Deduplication, Principal, ProjectId, Sharding, Time, Topic, TopicId, TopicName, TopicState, Ulid,
        limits::{PAGE_BYTES_TARGET, TOPIC_BYTES_MAX},
    },
    sys::new_ulid,
};

/// A topic as a client wants it.
#[derive(Debug, Clone, Default)]
pub struct NewTopic {
    /// 16 bytes, or none for an identifier of the broker's choice.
    pub id: Vec<u8>,
    /// 16 bytes, or none for the caller's project.
    pub project: Vec<u8>,
    pub name: String,
    pub readonly: bool,
    pub deduplication: PolicyRequest,
    /// Further fields of the message, encoded, which are kept as they are.
    pub extra: Vec<u8>,
}

impl Broker {
    /// Creates a topic in the caller's project.
    pub async fn create_topic(&self, principal: &Principal, wanted: NewTopic) -> Result<Arc<Topic>, BrokerError> {
        access::require(principal, Operation::CreateTopic)?;
        let own = access::own_project(principal);
        let project = match &*wanted.project {
            [] => own.ok_or(InvalidRequest::MissingProject)?,
            bytes => ProjectId(Ulid::from_slice(bytes).map_err(|_| InvalidRequest::InvalidProject)?),
        };
        if own != Some(project) {
            return Err(BrokerError::NotAuthorized);
        }
        let deduplication = wanted.deduplication.parse()?.normalized();
        if deduplication.keys.iter().chain(&deduplication.fields).any(String::is_empty) {
            deduplication.validate().map_err(InvalidRequest::Policy)?;
        }
        let id = match &*wanted.id {
            [] => TopicId(new_ulid(&self.clock, &self.entropy)),
            bytes => TopicId(Ulid::from_slice(bytes).map_err(|_| InvalidRequest::UnusableId)?),
        };
        if id.0.is_zero() {
            return Err(InvalidRequest::UnusableId.into());
        }
        let name = TopicName::parse(&wanted.name).map_err(InvalidRequest::Name)?;
        let topic = Topic {
            readonly: wanted.readonly,
            deduplication,
            extra: wanted.extra,
            ..plain_topic(id, project, name, self.clock.now())
        };
        if bytes_of(&topic) > TOPIC_BYTES_MAX {
            return Err(InvalidRequest::TopicTooLarge.into());
        }
        // The records decide in the end; this spares them the question.
        if self.directory.hashed(project, topic.name.hash()).is_some() {
            return Err(BrokerError::NameTaken);
        }
        Ok(self.registrar.create(topic).await?.topic())
    }

    /// A topic of the caller's project by the bytes of its identifier.
    pub fn retrieve_topic(&self, principal: &Principal, id: &[u8]) -> Result<Arc<Topic>, BrokerError> {
        access::require(principal, Operation::RetrieveTopic)?;
        if id.is_empty() {
            return Err(InvalidRequest::MissingTopic.into());
        }
        let id = TopicId(Ulid::from_slice(id).map_err(|_| InvalidRequest::InvalidTopic)?);
        let project = access::own_project(principal).ok_or(BrokerError::NotFound)?;
        self.directory.get(project, id).map(|entry| entry.topic()).ok_or(BrokerError::NotFound)
    }

    /// A page of the topics of the caller's project, in the order of their identifiers. A page ends early when its
    /// topics are large.
    pub fn list_topics(&self, principal: &Principal, page: &PageRequest) -> Result<Page<Arc<Topic>>, BrokerError> {
        access::require(principal, Operation::ListTopics)?;
        let project = access::project(principal)?;
        let now = self.clock.now();
        let after = self.tokens.read(List::Topics, project, &page.token, now)?;
        let after = after.map(|bytes| TopicId(Ulid::from_bytes(bytes)));
        let count = page.count();
        let found = self.directory.by_id(project, after, count + 1);
        let mut items = Vec::new();
        let mut bytes = 0;
        for entry in found.iter().take(count) {
            if bytes >= PAGE_BYTES_TARGET {
                break;
            }
            let topic = entry.topic();
            bytes += bytes_of(&topic);
            items.push(topic);
        }
        let next_token = match items.last() {
            Some(last) if items.len() < found.len() => {
                self.tokens.issue(List::Topics, project, *last.id.as_bytes(), now)
            }
            _ => String::new(),
        };
        Ok(Page { items, next_token })
    }

    /// Archives (operation 1) or destroys (operation 2) a topic of the caller's project, and says which state that
    /// brings it to. The operation is looked at before the permissions.
    pub async fn remove_topic(
        &self,
        principal: &Principal,
        id: &str,
        operation: i32,
    ) -> Result<(TopicId, TopicState), BrokerError> {
        let removal = match operation {
            1 => Operation::ArchiveTopic,
            2 => Operation::DestroyTopic,
            _ => return Err(InvalidRequest::InvalidOperation.into()),
        };
        access::require(principal, removal)?;
        let entry = self.entry(principal, id)?;
        if removal == Operation::ArchiveTopic {
            self.registrar.change(entry.clone(), FailedRequest::Delete, Box::new(archive)).await?;
            return Ok((entry.id(), TopicState::Readonly));
        }
        self.registrar.destroy(entry.clone()).await?;
        Ok((entry.id(), TopicState::Deleting))
    }
}

/// A topic as it is when nothing else is asked for.
pub(super) fn plain_topic(id: TopicId, project: ProjectId, name: TopicName, now: Time) -> Topic {
    Topic {
        id,
        project,
        name,
        state: TopicState::Ready,
        readonly: false,
        deduplication: Deduplication::default(),
        sharding: Sharding::Unknown,
        created: now,
        modified: now,
        extra: Vec::new(),
    }
}

/// An archived topic is marked as such; its state stays what it was.
fn archive(topic: &Topic) -> Result<Option<Topic>, BrokerError> {
    if !matches!(topic.state, TopicState::Ready | TopicState::Readonly) {
        return Err(BrokerError::NotRemovable(topic.state));
    }
    Ok((!topic.readonly).then(|| Topic { readonly: true, ..topic.clone() }))
}

/// About how many bytes a topic's message has: its own texts and bytes, and what the rest comes to at most.
fn bytes_of(topic: &Topic) -> usize {
    const FIXED_BYTES: usize = 128;
    const LENGTH_BYTES: usize = 5;
    let listed = topic.deduplication.keys.iter().chain(&topic.deduplication.fields);
    let texts: usize = listed.map(|text| text.len() + LENGTH_BYTES).sum();
    FIXED_BYTES + topic.name.as_str().len() + topic.extra.len() + texts
}
