//! What is asked about groups, and done to them, from outside: list, show, seek, remove.

use std::sync::Arc;

use super::{
    Groups,
    actor::{Message, Reply},
    entry::GroupEntry,
    info::{GroupCounts, GroupInfo, GroupLag, GroupSummary},
    steering::Shown,
};
use crate::{
    broker::{Broker, BrokerError, Page, PageRequest, access, access::Operation, page::List},
    engine::{FetchError, Topic},
    model::{GroupKey, Offset, Position, Principal, ProjectId, TopicId},
};

impl Broker {
    /// A page of the groups of the caller's project, in the order of their keys.
    ///
    /// # Errors
    ///
    /// When the caller may not know, or the page's token is none.
    pub fn list_groups(&self, principal: &Principal, page: &PageRequest) -> Result<Page<GroupSummary>, BrokerError> {
        access::require(principal, Operation::ListGroups)?;
        let project = access::project(principal)?;
        let now = self.clock.now();
        let after = self.tokens.read(List::Groups, project, &page.token, now)?.map(GroupKey::from_bytes);
        let count = page.count();
        let mut found = self.groups.registry.behind(project, after, count + 1);
        let more = found.len() > count;
        found.truncate(count);
        let next_token = match found.last() {
            Some(last) if more => self.tokens.issue(List::Groups, project, *last.key.as_bytes(), now),
            _ => String::new(),
        };
        Ok(Page { items: found.iter().map(|entry| self.groups.summary(entry)).collect(), next_token })
    }

    /// A group of the caller's project: by its name, or else by the 32 hexadecimal digits of its key.
    ///
    /// # Errors
    ///
    /// When the caller may not know, or there is no such group.
    pub async fn show_group(&self, principal: &Principal, group: &str) -> Result<GroupInfo, BrokerError> {
        let (project, entry) = self.group(principal, Operation::ShowGroup, group)?;
        self.describe(project, entry).await
    }

    /// Moves a group in a topic, or in all that it has a position in. What its members hold there is taken from them. Resolves when
    /// that is durable.
    ///
    /// # Errors
    ///
    /// When the caller may not, when there is no such group, topic or place.
    pub async fn seek_group(
        &self,
        principal: &Principal,
        group: &str,
        topic: Option<&str>,
        to: Position,
    ) -> Result<GroupInfo, BrokerError> {
        let (project, entry) = self.group(principal, Operation::SeekGroup, group)?;
        let topic = match topic {
            Some(text) => Some(self.directory().resolve(project, text).ok_or(BrokerError::NotFound)?.id()),
            None => None,
        };
        self.groups.order(project, entry.clone(), |reply| Message::Seek { topic, to, reply }).await?;
        self.describe(project, entry).await
    }

    /// Deletes a group. When this returns it is gone for good, and another one with its name starts anew.
    ///
    /// # Errors
    ///
    /// When the caller may not, when there is no such group, or when members are connected and that is not to be `force`d.
    pub async fn remove_group(&self, principal: &Principal, group: &str, force: bool) -> Result<(), BrokerError> {
        let (project, entry) = self.group(principal, Operation::RemoveGroup, group)?;
        self.groups.order(project, entry, |reply| Message::Remove { force, reply }).await
    }

    /// How far each group is behind in the topics that are open.
    pub fn group_lags(&self) -> Vec<GroupLag> {
        let groups = self.groups.registry.all();
        groups
            .iter()
            .map(|entry| GroupLag {
                project: entry.project,
                group: entry.record().name.clone(),
                events: self.groups.lag(entry),
            })
            .collect()
    }

    /// What all groups together did since the broker was opened.
    pub fn group_counts(&self) -> GroupCounts {
        let members = self.groups.registry.all().iter().map(|entry| entry.members()).sum();
        let [redelivered, dead_lettered, refused_acks] = self.groups.tallies.read();
        GroupCounts { members, redelivered, dead_lettered, refused_acks }
    }

    /// Deletes all groups of a project, and disconnects their members. The caller has made sure that nobody makes another one.
    pub(in crate::broker) async fn remove_groups(&self, project: ProjectId) -> Result<(), BrokerError> {
        for entry in self.groups.registry.of_project(project) {
            let removed = self.groups.order(project, entry, |reply| Message::Remove { force: true, reply }).await;
            match removed {
                // Somebody else was faster.
                Ok(()) | Err(BrokerError::GroupNotFound | BrokerError::GroupRemoved) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn group(
        &self,
        principal: &Principal,
        operation: Operation,
        group: &str,
    ) -> Result<(ProjectId, Arc<GroupEntry>), BrokerError> {
        access::require(principal, operation)?;
        let project = access::project(principal)?;
        let entry = self.groups.registry.resolve(project, group).ok_or(BrokerError::GroupNotFound)?;
        Ok((project, entry))
    }

    async fn describe(&self, project: ProjectId, entry: Arc<GroupEntry>) -> Result<GroupInfo, BrokerError> {
        let Shown { mut info, topics } = self.groups.order(project, entry, |reply| Message::Show { reply }).await?;
        for (told, topic) in info.topics.iter_mut().zip(topics) {
            if told.lag_events > 0 {
                told.lag_ns = self.age(&topic, told.position).await?;
            }
        }
        Ok(info)
    }

    /// How long ago an event was committed, in nanoseconds; 0 when it is gone, or nobody can tell.
    async fn age(&self, topic: &Topic, offset: Offset) -> Result<i64, BrokerError> {
        let slice = match topic.reader(offset).read().await {
            Ok(slice) => slice,
            Err(FetchError::Closed { .. } | FetchError::Destroyed) => None,
            Err(error) => return Err(BrokerError::stream(error)),
        };
        let committed = slice.as_ref().and_then(|slice| slice.events().next()).map(|event| event.committed());
        Ok(committed.map_or(0, |time| self.clock.now().nanos().saturating_sub(time.nanos()).max(0)))
    }
}

impl Groups {
    /// Has the actor of a group do something.
    async fn order<T>(
        &self,
        project: ProjectId,
        mut entry: Arc<GroupEntry>,
        message: impl Fn(Reply<T>) -> Message,
    ) -> Result<T, BrokerError> {
        loop {
            if let Some((answer, _)) = self.ask(&entry, &message).await? {
                return answer;
            }
            entry = self.registry.get(project, entry.key).ok_or(BrokerError::GroupNotFound)?;
        }
    }

    fn summary(&self, entry: &GroupEntry) -> GroupSummary {
        let record = entry.record();
        GroupSummary {
            key: entry.key,
            name: record.name.clone(),
            terms: record.terms.clone(),
            created: record.created,
            modified: record.modified,
            members: entry.members(),
            topics: entry.standings().len() as u64,
            lag_events: self.lag(entry),
        }
    }

    /// How many events are not settled in the topics that are open.
    fn lag(&self, entry: &GroupEntry) -> u64 {
        let end = |topic: TopicId| self.engine.end_offset(topic);
        let standings = entry.standings();
        standings.into_iter().filter_map(|(topic, standing)| Some(standing.lag(end(topic)?))).sum()
    }
}
