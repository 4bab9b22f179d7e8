//! What an archive is to hold: which topics, and of each a range of offsets that is settled before the first event is read.
//! What is published meanwhile is not in it.

use std::collections::BTreeMap;

use super::line::{Begin, Selection, Topic, VERSION};
use crate::{
    cli::{
        error::{CliError, Result},
        range,
    },
    client::{Client, Delivery, Subscriber, SubscriberOptions, TopicDefinition, TopicInfo, Wanted},
    model::{Position, Rlid, TopicId, Ulid},
};

/// The topics of a project as they are now.
#[derive(Debug)]
pub(super) struct Survey {
    server: String,
    topics: Vec<TopicDefinition>,
    infos: BTreeMap<TopicId, TopicInfo>,
}

/// Which events of each topic are wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    pub(super) from: Position,
    pub(super) until: Option<Position>,
    pub(super) skip_unreadable: bool,
}

impl Survey {
    /// Looks at the topics with these names or ids, or at all of them.
    pub(super) async fn make(client: &Client, wanted: Option<&[String]>) -> Result<Survey> {
        let mut topics = client.topic_definitions().await?;
        if let Some(wanted) = wanted {
            let mut chosen: Vec<TopicDefinition> = Vec::new();
            for name in wanted {
                let found = find(&topics, name).ok_or_else(|| range::unknown_topic(name))?;
                if chosen.iter().all(|topic| topic.id != found.id) {
                    chosen.push(found.clone());
                }
            }
            topics = chosen;
        }
        let ids: Vec<TopicId> = wanted.map_or_else(Vec::new, |_| topics.iter().map(|topic| topic.id).collect());
        let infos = client.info(&ids).await?.topics;
        Ok(Survey { server: client.status().await?.version, topics, infos })
    }

    /// Settles what is to be in the archive.
    pub(super) async fn plan(
        &self,
        client: &Client,
        selection: Selection,
        extent: Extent,
        created: crate::model::Time,
    ) -> Result<(Begin, Vec<Topic>)> {
        let mut topics = Vec::with_capacity(self.topics.len());
        for definition in &self.topics {
            let (events, last_id) = self.end(definition.id);
            let bounds = Bounds { client, topic: &definition.name, events, last_id, extent };
            let first = bounds.offset(extent.from).await?;
            let end = bounds.offset(extent.until.unwrap_or(Position::End)).await?.max(first);
            topics.push(Topic::new(definition, first, end - 1));
        }
        let begin = Begin {
            version: VERSION,
            program: format!("ensign {}", env!("CARGO_PKG_VERSION")),
            server: self.server.clone(),
            created: created.to_string(),
            topics: topics.len() as u64,
            selection,
        };
        Ok((begin, topics))
    }

    /// How many events a topic has, and the id of the last one.
    pub(super) fn end(&self, topic: TopicId) -> (u64, Option<Rlid>) {
        self.infos.get(&topic).map_or((0, None), |info| (info.events, info.last))
    }

    /// The topic that is meant in an archive, as long as it is the same and holds the events that are to be in there.
    pub(super) fn topic_of(&self, planned: &Topic) -> Option<&TopicDefinition> {
        let found = self.topics.iter().find(|topic| topic.id.to_string() == planned.id)?;
        Some(found).filter(|topic| self.end(topic.id).0 >= planned.last)
    }
}

fn find<'a>(topics: &'a [TopicDefinition], name: &str) -> Option<&'a TopicDefinition> {
    let id = Ulid::parse(name).ok();
    let named = topics.iter().find(|topic| topic.name == name);
    named.or_else(|| topics.iter().find(|topic| Some(topic.id.0) == id))
}

/// A topic whose end is known, in which positions are to be found.
struct Bounds<'a> {
    client: &'a Client,
    topic: &'a str,
    events: u64,
    last_id: Option<Rlid>,
    extent: Extent,
}

impl Bounds<'_> {
    /// The offset of the first event that does not lie before a position.
    async fn offset(&self, position: Position) -> Result<u64> {
        let end = self.events + 1;
        match position {
            Position::Start => Ok(1),
            Position::End => Ok(end),
            Position::Offset(offset) if offset.get() > end => {
                let topic = self.topic;
                Err(CliError::failed(format!("topic {topic} has no offset {offset}: it ends with {}", self.events)))
            }
            Position::Offset(offset) => Ok(offset.get().max(1)),
            Position::Event(_) | Position::Time(_) | Position::Ago(_) => match self.last_id {
                None => Ok(end),
                Some(last) => Ok(self.seek(position, last).await?.unwrap_or(end).min(end)),
            },
        }
    }

    /// The same by asking the server; none when no event up to the last one lies there.
    async fn seek(&self, position: Position, last: Rlid) -> Result<Option<u64>> {
        let about = |error| CliError::from(error).about(format!("topic {}", self.topic));
        let options = SubscriberOptions {
            topics: vec![self.topic.to_owned()],
            from: position,
            until: Some(Position::Event(last.plus(1))),
            retry_for: Some(super::RETRY_FOR),
            skip_unreadable: self.extent.skip_unreadable,
            wanted: Wanted::default(),
        };
        let mut subscriber = Subscriber::open(self.client, options).await.map_err(about)?;
        loop {
            match subscriber.next().await.map_err(about)? {
                Delivery::Events(events) => return Ok(events.first().map(|event| event.offset.get())),
                Delivery::Ended | Delivery::Lost { .. } => return Ok(None),
                Delivery::Skipped { .. } | Delivery::SkippedMore { .. } | Delivery::Interrupted { .. } => {}
            }
        }
    }
}
