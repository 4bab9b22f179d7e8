//! The unary calls: the server's state, topics and their policies, and what a project holds.

use std::{collections::BTreeMap, time::Duration};

use super::{Client, ClientError, Code};
use crate::{
    api::{DURABILITY_HEADER, ensign as wire},
    model::{Durability, Mimetype, Rlid, Schema, Strategy, Time, TopicId, TopicState, Ulid},
};

/// How many topics are asked for at once.
const PAGE_SIZE: u32 = 1_000;

/// How a server feels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    Healthy,
    Unhealthy,
    Danger,
    Offline,
    Maintenance,
    Unknown,
}

impl Health {
    pub fn name(self) -> &'static str {
        match self {
            Health::Healthy => "healthy",
            Health::Unhealthy => "unhealthy",
            Health::Danger => "danger",
            Health::Offline => "offline",
            Health::Maintenance => "maintenance",
            Health::Unknown => "unknown",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerStatus {
    pub health: Health,
    pub version: String,
    pub uptime: Duration,
    /// What an ack means, if the server says.
    pub durability: Option<Durability>,
}

/// A topic as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSummary {
    pub id: TopicId,
    pub name: String,
    pub state: TopicState,
    pub readonly: bool,
    pub deduplication: Strategy,
    pub created: Option<Time>,
    pub modified: Option<Time>,
}

impl TopicSummary {
    /// The state in one word: what the topic does with events.
    pub fn state_name(&self) -> &'static str {
        match self.state {
            TopicState::Ready if self.readonly => "archived",
            TopicState::Ready => "ready",
            TopicState::Readonly => "archived",
            TopicState::Deleting => "deleting",
            TopicState::Pending => "pending",
            TopicState::Allocating => "allocating",
            TopicState::Repairing => "repairing",
            TopicState::Undefined => "undefined",
        }
    }
}

/// What a project holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectInfo {
    pub topics: BTreeMap<TopicId, TopicInfo>,
    pub events: u64,
    pub duplicates: u64,
    pub bytes: u64,
}

/// What a topic holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicInfo {
    pub events: u64,
    pub duplicates: u64,
    pub bytes: u64,
    pub last: Option<Rlid>,
    pub types: Vec<TypeInfo>,
}

/// How many events of one type and media type a topic holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeInfo {
    pub schema: Schema,
    pub mimetype: Mimetype,
    pub events: u64,
    pub bytes: u64,
}

impl Client {
    /// Asks how the server feels. Needs no credentials.
    pub async fn status(&self) -> Result<ServerStatus, ClientError> {
        let reply = self.stub().status(wire::HealthCheck::default()).await;
        let reply = reply.map_err(|status| ClientError::from_status(self.endpoint(), &status))?;
        let durability = reply.metadata().get(DURABILITY_HEADER).and_then(|value| value.to_str().ok()?.parse().ok());
        let state = reply.into_inner();
        let uptime = state.uptime.unwrap_or_default();
        let nanos = u32::try_from(uptime.nanos).unwrap_or(0);
        Ok(ServerStatus {
            health: match state.status {
                1 => Health::Healthy,
                2 => Health::Unhealthy,
                3 => Health::Danger,
                4 => Health::Offline,
                5 => Health::Maintenance,
                _ => Health::Unknown,
            },
            version: state.version,
            durability,
            uptime: Duration::new(u64::try_from(uptime.seconds).unwrap_or(0), nanos),
        })
    }

    /// All topics of the project, by name.
    pub async fn topics(&self) -> Result<Vec<TopicSummary>, ClientError> {
        let topics = self.topic_messages().await?;
        let mut topics = topics.into_iter().map(|topic| self.summary(topic)).collect::<Result<Vec<_>, _>>()?;
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    /// All topics of the project, page by page.
    pub(super) async fn topic_messages(&self) -> Result<Vec<wire::Topic>, ClientError> {
        let mut topics = Vec::new();
        let mut token = String::new();
        loop {
            let request = wire::PageInfo { page_size: PAGE_SIZE, next_page_token: token };
            let page = self.unary(request, |mut stub, request| async move { stub.list_topics(request).await }).await?;
            topics.extend(page.topics);
            token = page.next_page_token;
            if token.is_empty() {
                return Ok(topics);
            }
        }
    }

    /// The topic with this name, or else with this id; none when there is neither.
    pub async fn find_topic(&self, name_or_id: &str) -> Result<Option<TopicSummary>, ClientError> {
        let topics = self.topics().await?;
        let named = topics.iter().find(|topic| topic.name == name_or_id);
        let id = Ulid::parse(name_or_id).ok();
        let found = named.or_else(|| topics.iter().find(|topic| Some(topic.id.0) == id));
        Ok(found.cloned())
    }

    pub async fn create_topic(&self, name: &str) -> Result<TopicSummary, ClientError> {
        let request = wire::Topic { name: name.to_owned(), ..wire::Topic::default() };
        let topic = self.unary(request, |mut stub, request| async move { stub.create_topic(request).await }).await?;
        self.summary(topic)
    }

    /// Makes a topic refuse events from now on; what it holds stays readable.
    pub async fn archive_topic(&self, topic: TopicId) -> Result<TopicState, ClientError> {
        self.modify_topic(topic, wire::topic_mod::Operation::Archive).await
    }

    /// Deletes a topic with all its events, for good.
    pub async fn destroy_topic(&self, topic: TopicId) -> Result<TopicState, ClientError> {
        self.modify_topic(topic, wire::topic_mod::Operation::Destroy).await
    }

    async fn modify_topic(
        &self,
        topic: TopicId,
        operation: wire::topic_mod::Operation,
    ) -> Result<TopicState, ClientError> {
        let request = wire::TopicMod { id: topic.to_string(), operation: operation.into() };
        let status = self.unary(request, |mut stub, request| async move { stub.delete_topic(request).await }).await?;
        Ok(TopicState::from_number(status.state).unwrap_or(TopicState::Undefined))
    }

    /// Whether a topic with this name exists. Needs less permission than looking for it does.
    pub async fn topic_exists(&self, name: &str) -> Result<bool, ClientError> {
        let request = wire::TopicName { name: name.to_owned(), ..wire::TopicName::default() };
        let reply = self.unary(request, |mut stub, request| async move { stub.topic_exists(request).await }).await?;
        Ok(reply.exists)
    }

    /// What the project holds: all of it, or these topics.
    pub async fn info(&self, topics: &[TopicId]) -> Result<ProjectInfo, ClientError> {
        let topics = topics.iter().map(|topic| bytes::Bytes::copy_from_slice(topic.as_bytes())).collect();
        let request = wire::InfoRequest { topics };
        let reply = self.unary(request, |mut stub, request| async move { stub.info(request).await }).await?;
        let mut topics = BTreeMap::new();
        for info in reply.topics {
            let id = self.topic_id(&info.topic_id)?;
            topics.insert(id, topic_info(info));
        }
        Ok(ProjectInfo { topics, events: reply.events, duplicates: reply.duplicates, bytes: reply.data_size_bytes })
    }

    fn summary(&self, topic: wire::Topic) -> Result<TopicSummary, ClientError> {
        let time = |time: Option<prost_types::Timestamp>| time.map(|time| Time::from_parts(time.seconds, time.nanos));
        let strategy = topic.deduplication.map_or(Strategy::None.number(), |policy| policy.strategy);
        Ok(TopicSummary {
            id: self.topic_id(&topic.id)?,
            name: topic.name,
            state: TopicState::from_number(topic.status).unwrap_or(TopicState::Undefined),
            readonly: topic.readonly,
            deduplication: Strategy::from_number(strategy).unwrap_or(Strategy::Unknown),
            created: time(topic.created),
            modified: time(topic.modified),
        })
    }

    pub(super) fn topic_id(&self, bytes: &[u8]) -> Result<TopicId, ClientError> {
        let id = Ulid::from_slice(bytes);
        id.map(TopicId).map_err(|_| self.protocol_error(format!("a topic id of {} bytes", bytes.len())))
    }
}

impl ClientError {
    /// Whether the server said that this is there already.
    pub fn is_already_exists(&self) -> bool {
        self.code() == Some(Code::AlreadyExists)
    }
}

fn topic_info(info: wire::TopicInfo) -> TopicInfo {
    let types = info.types.into_iter().map(|entry| TypeInfo {
        schema: entry.r#type.map_or_else(Schema::unspecified, |schema| Schema {
            name: schema.name,
            major: schema.major_version,
            minor: schema.minor_version,
            patch: schema.patch_version,
        }),
        mimetype: Mimetype(entry.mimetype),
        events: entry.events,
        bytes: entry.data_size_bytes,
    });
    TopicInfo {
        events: info.events,
        duplicates: info.duplicates,
        bytes: info.data_size_bytes,
        last: Rlid::from_slice(&info.event_offset_id).ok(),
        types: types.collect(),
    }
}
