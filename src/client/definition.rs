//! Topics as they can be made again: everything about a topic that its creator, and whoever set its policies, said.
//!
//! What it does not do: carry what the server decides (when a topic was made and changed), or how it is sharded, which the
//! server takes and does not tell.

use bytes::Bytes;
use prost::Message as _;

use super::{Client, ClientError};
use crate::{
    api::ensign as wire,
    model::{Deduplication, TopicId, TopicState},
};

/// What a topic is, without its events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicDefinition {
    pub id: TopicId,
    pub name: String,
    /// Archived: it takes no events.
    pub readonly: bool,
    pub deduplication: Deduplication,
    /// Further fields that its creator sent along, encoded. The server keeps them, and gives them no meaning.
    pub rest: Bytes,
}

impl Client {
    /// The definitions of all topics of the project that are not being destroyed, by name.
    pub async fn topic_definitions(&self) -> Result<Vec<TopicDefinition>, ClientError> {
        let topics = self.topic_messages().await?;
        let living = topics.into_iter().filter(|topic| topic.status != TopicState::Deleting.number());
        let mut topics = living.map(|topic| self.definition(topic)).collect::<Result<Vec<_>, _>>()?;
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    /// Makes a topic as it is defined, ready for events also when it is archived by its definition; with the identifier of
    /// the definition, or else with a new one.
    pub async fn create_defined_topic(
        &self,
        definition: &TopicDefinition,
        with_id: bool,
    ) -> Result<TopicDefinition, ClientError> {
        let rest = wire::Topic::decode(definition.rest.clone());
        let rest = rest.map_err(|_| self.protocol_error("fields of a topic that can't be decoded"))?;
        let id = if with_id { Bytes::copy_from_slice(definition.id.as_bytes()) } else { Bytes::new() };
        let deduplication = Some(definition.deduplication.clone().into());
        let request = wire::Topic { id, name: definition.name.clone(), deduplication, ..rest };
        let topic = self.unary(request, |mut stub, request| async move { stub.create_topic(request).await }).await?;
        self.definition(topic)
    }

    fn definition(&self, topic: wire::Topic) -> Result<TopicDefinition, ClientError> {
        let id = self.topic_id(&topic.id)?;
        let deduplication = Deduplication::try_from(topic.deduplication.unwrap_or_default());
        let deduplication =
            deduplication.map_err(|error| self.protocol_error(format!("topic {}: {error}", topic.name)))?;
        let readonly = topic.readonly || topic.status == TopicState::Readonly.number();
        let rest = wire::Topic {
            offset: topic.offset,
            shards: topic.shards,
            placements: topic.placements,
            types: topic.types,
            ..wire::Topic::default()
        };
        Ok(TopicDefinition { id, name: topic.name, readonly, deduplication, rest: rest.encode_to_vec().into() })
    }
}
