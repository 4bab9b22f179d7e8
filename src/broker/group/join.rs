//! Joining: what can be looked at without the group, and the way to its actor.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::{mpsc, oneshot};

use super::{
    Groups, JoinRequest,
    actor::{Actor, Message, Reply},
    entry::GroupEntry,
    joining::Joining,
    member::Member,
    record::GroupRecord,
    settings::Terms,
};
use crate::{
    broker::{Broker, BrokerError, InvalidRequest, access, access::Operation, subscribe::Range},
    ensql::Statement,
    model::{Offset, Position, Principal, ProjectId},
};

/// The longest name of a group.
const NAME_BYTES_MAX: usize = 256;

impl Broker {
    /// Makes the caller a member of a group of the project, which is created when there is none with this key.
    ///
    /// # Errors
    ///
    /// When the caller may not subscribe, when none of the topics exists, when a setting is not allowed or differs from what other
    /// members rely on, when the query can't be read or names a place outside of its topic, or when there are too many
    /// groups or members.
    pub async fn join(
        &self,
        principal: &Principal,
        project: ProjectId,
        request: &JoinRequest,
    ) -> Result<Member, BrokerError> {
        access::require(principal, Operation::Subscribe)?;
        let name = match request.name.as_str() {
            "" => request.group.to_string(),
            name if name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control) => name.to_owned(),
            _ => return Err(InvalidRequest::GroupName.into()),
        };
        let terms = request.settings.over(&Terms::default())?;
        loop {
            let entry = if let Some(entry) = self.groups.registry.get(project, request.group) {
                entry
            } else {
                // What is asked for must make sense before a group is made of it.
                self.joining(principal, project, request)?;
                let now = self.clock.now();
                let record = GroupRecord { name: name.clone(), terms: terms.clone(), created: now, modified: now };
                self.groups.keeper.create(project, request.group, record).await?
            };
            let joining = self.joining(principal, project, request)?;
            if request.settings.max_deliveries.is_some_and(|count| count > 0) {
                let terms = request.settings.over(&entry.record().terms)?;
                self.prepare_dead_letters(principal, project, &terms, &joining.topics).await?;
            }
            let asked = self.groups.ask(&entry, |reply| Message::Join { joining: Box::new(joining), reply });
            if let Some((answer, actor)) = asked.await? {
                return answer.map(|joined| Member::new(joined, actor));
            }
        }
    }

    /// What the actor is told of who joins.
    fn joining(
        &self,
        principal: &Principal,
        project: ProjectId,
        request: &JoinRequest,
    ) -> Result<Joining, BrokerError> {
        // Changes are followed from before the topics are listed, so that none is missed in between.
        let generation = *self.directory().changes(project).borrow();
        let subscribe = &request.subscribe;
        let entries = self.chosen_topics(project, &subscribe.topics)?;
        let (mut topics, mut starts) = (Vec::new(), HashMap::new());
        match &subscribe.query {
            Some(query) => {
                let statement = Statement::parse(&query.text).map_err(InvalidRequest::Statement)?;
                let ranges = self.ranges(project, &entries, &statement)?;
                if !statement.is_range() || ranges.iter().any(|range| range.event_type.is_some()) {
                    return Err(InvalidRequest::GroupRange.into());
                }
                for Range { entry, from, until, .. } in ranges {
                    if until.is_some() {
                        return Err(InvalidRequest::GroupEnd.into());
                    }
                    starts.insert(entry.id(), from.unwrap_or(Position::End));
                    topics.push(entry);
                }
            }
            None => topics = entries,
        }
        for (topic, offset) in &request.topic_offsets {
            let entry = self.directory().resolve(project, topic);
            let entry = entry.ok_or_else(|| InvalidRequest::UnknownTopicInOffsets(topic.clone()))?;
            starts.insert(entry.id(), Position::Offset(Offset::new(*offset).max(Offset::FIRST)));
        }
        Ok(Joining {
            settings: request.settings.clone(),
            follows: (subscribe.topics.is_empty() && subscribe.query.is_none()).then_some(generation),
            topics,
            starts,
            skips: subscribe.skip_unreadable,
            client_id: request.client_id.clone(),
            address: request.address.clone(),
            subject: principal.subject.to_string(),
        })
    }
}

impl Groups {
    /// Asks the actor of a group, which is started when it does not run. `None` when the group was removed, or the actor ended, before it
    /// heard of it: the group is to be looked for once more.
    pub(super) async fn ask<T>(
        &self,
        entry: &Arc<GroupEntry>,
        message: impl FnOnce(Reply<T>) -> Message,
    ) -> Result<Option<(Result<T, BrokerError>, mpsc::Sender<Message>)>, BrokerError> {
        if *self.closing.borrow() {
            return Err(BrokerError::Closed);
        }
        if entry.is_removed() {
            return Ok(None);
        }
        let actor = entry.actor(|messages| {
            let actor = Actor::new(self.clone(), entry.clone(), self.closing.subscribe());
            tokio::spawn(actor.run(messages));
        });
        let (reply, answer) = oneshot::channel();
        if actor.send(message(reply)).await.is_err() {
            return Ok(None);
        }
        Ok(answer.await.ok().map(|answer| (answer, actor)))
    }
}
