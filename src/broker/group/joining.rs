//! Members that come and go, and the topics that come with them.

use std::{
    collections::{HashMap, HashSet},
    num::NonZero,
    sync::Arc,
};

use tokio::sync::oneshot;

use super::{
    actor::{Actor, Leaving, Reply, Seat},
    keeping::Answer,
    ledger::{MemberId, Progress, Rules},
    member::Joined,
    record::{self, GroupRecord},
    settings::{GroupSettings, Terms},
    track::Track,
};
use crate::{
    broker::{Availability, BrokerError, InvalidRequest, TopicEntry, error::FailedRequest},
    engine::{FetchError, Topic},
    model::{Offset, Position, TopicId},
};

/// How many members a group may have at a time.
pub(super) const MEMBERS_MAX: usize = 1_000;

/// Who joins, once what could be looked at without the group has been looked at.
pub(super) struct Joining {
    pub(super) settings: GroupSettings,
    pub(super) topics: Vec<Arc<TopicEntry>>,
    /// Where the group starts in topics in which it has no position yet; in those that are not here at the end.
    pub(super) starts: HashMap<TopicId, Position>,
    /// The generation of the project's topics that the list comes from, when those that come later belong to it.
    pub(super) follows: Option<u64>,
    pub(super) skips: bool,
    pub(super) client_id: String,
    pub(super) address: String,
    pub(super) subject: String,
}

impl Actor {
    /// Takes up what was kept.
    pub(super) async fn load(&mut self) -> Result<(), BrokerError> {
        let failed = |error| BrokerError::failed(FailedRequest::Group, error);
        let prefix = record::progress_prefix(self.entry.project, self.entry.key);
        for (key, stored) in self.groups.records.scan(prefix, None, usize::MAX).await.map_err(failed)? {
            // All of them were looked at when the broker was opened, and written by it since.
            let known = record::read_progress_key(&key).zip(Progress::decode(&stored.value).ok());
            let ((_, _, topic), progress) = known.ok_or(BrokerError::GroupStopped)?;
            let entry = self.groups.directory.get(self.entry.project, topic);
            let Some(entry) = entry.filter(|entry| entry.availability() != Availability::Deleting) else { continue };
            let stream = match self.groups.engine.topic(topic, self.entry.project).await {
                Ok(stream) => stream,
                Err(_) if entry.availability() == Availability::Deleting => continue,
                Err(error) => return Err(BrokerError::stream(error)),
            };
            // A loss of power took events that had not waited for the disk; other events will have their offsets.
            let left = progress.before(stream.end_offset());
            self.tracks.push(Track::new(entry, stream, self.rules(), &left, left == progress));
        }
        Ok(())
    }

    fn rules(&self) -> Rules {
        Rules {
            delivery: self.terms.delivery,
            timeout: self.terms.timeout,
            window: self.terms.window,
            max_deliveries: NonZero::new(self.terms.max_deliveries),
            ordered: self.terms.ordered_by_key,
        }
    }

    /// Takes a member in, when where it starts is durable.
    pub(super) async fn join(&mut self, joining: Joining, reply: Reply<Joined>) {
        match self.seat(joining).await {
            Ok(joined) => self.answer_when_kept(Answer::Joined { joined, reply }),
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    async fn seat(&mut self, mut joining: Joining) -> Result<Joined, BrokerError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        if self.is_closing() {
            return Err(BrokerError::Closed);
        }
        if self.members.len() >= MEMBERS_MAX {
            return Err(BrokerError::TooManyMembers(MEMBERS_MAX));
        }
        let wanted = joining.settings.over(&self.terms)?;
        if !self.members.is_empty() {
            self.terms.require_equal(&wanted)?;
        }
        if joining.follows.is_some() {
            joining.topics.retain(|entry| !wanted.is_dead_letter(entry.name()));
        }
        let mut found = Vec::new();
        for entry in &joining.topics {
            if self.tracks.iter().any(|track| track.entry.id() == entry.id()) {
                continue;
            }
            let start = joining.starts.get(&entry.id()).copied().unwrap_or(Position::End);
            match self.place(entry, start, joining.skips).await {
                Ok((stream, offset)) => found.push((entry.clone(), stream, offset)),
                // It was destroyed while the member was joining.
                Err(_) if entry.availability() == Availability::Deleting => {}
                Err(error) => return Err(error),
            }
        }
        if wanted != self.terms {
            self.change_terms(wanted).await?;
        }
        for (entry, stream, offset) in found {
            self.add_track(entry, stream, offset);
        }
        Ok(self.add_member(joining))
    }

    fn add_member(&mut self, joining: Joining) -> Joined {
        self.last_member += 1;
        let member = MemberId(self.last_member);
        let wanted: HashSet<TopicId> = joining.topics.iter().map(|entry| entry.id()).collect();
        let (mut topics, mut entries) = (HashSet::new(), Vec::new());
        for track in self.tracks.iter_mut().filter(|track| wanted.contains(&track.entry.id())) {
            track.ledger.add_member(member);
            topics.insert(track.entry.id());
            entries.push(track.entry.clone());
        }
        if let Some(generation) = joining.follows
            && !self.members.values().any(|seat| seat.follows)
        {
            self.follow.seen = generation;
        }
        let seat = Seat {
            client_id: joining.client_id,
            address: joining.address,
            subject: joining.subject,
            joined: self.groups.clock.now(),
            delivered: 0,
            skips: joining.skips,
            topics,
            follows: joining.follows.is_some(),
        };
        self.members.insert(member, seat);
        self.entry.set_members(self.members.len());
        let (stays, left) = oneshot::channel::<std::convert::Infallible>();
        self.leaving.push(Leaving { member, left });
        Joined { member, stays, topics: entries, delivery: self.terms.delivery }
    }

    /// Takes back what a member holds.
    pub(super) fn leave(&mut self, member: MemberId) {
        let now = self.now();
        self.members.remove(&member);
        self.entry.set_members(self.members.len());
        self.askers.retain(|asker| asker.member != member);
        for track in &mut self.tracks {
            track.ledger.leave(member, now);
        }
    }

    async fn change_terms(&mut self, terms: Terms) -> Result<(), BrokerError> {
        let before = self.entry.record();
        let modified = self.groups.clock.now().max(before.modified);
        let record = GroupRecord { terms: terms.clone(), modified, ..(*before).clone() };
        self.groups.keeper.change(self.entry.clone(), record).await?;
        self.terms = terms;
        let rules = self.rules();
        for track in &mut self.tracks {
            track.set_rules(rules.clone());
        }
        Ok(())
    }

    /// Adds the topics that were created since the last look, for members that follow the project. They are read from their start:
    /// nothing in them is older than these members.
    pub(super) async fn follow_changes(&mut self) {
        self.follow.seen = *self.follow.changes.borrow();
        let known: HashSet<TopicId> = self.tracks.iter().map(|track| track.entry.id()).collect();
        let topics = self.groups.directory.topics(self.entry.project).into_iter();
        let created = topics
            .filter(|entry| entry.availability() != Availability::Deleting && !known.contains(&entry.id()))
            .filter(|entry| !self.terms.is_dead_letter(entry.name()))
            .collect::<Vec<_>>();
        for entry in created {
            match self.place(&entry, Position::Start, false).await {
                Ok((stream, offset)) => self.add_track(entry, stream, offset),
                Err(_) if entry.availability() == Availability::Deleting => {}
                Err(error) => return self.fail(error),
            }
        }
        let followed = self.tracks.iter_mut().filter(|track| !self.terms.is_dead_letter(track.entry.name()));
        for track in followed {
            let topic = track.entry.id();
            for (member, seat) in self.members.iter_mut().filter(|(_, seat)| seat.follows) {
                if seat.topics.insert(topic) {
                    track.ledger.add_member(*member);
                }
            }
        }
    }

    /// The stream of a topic, and where a position is in it.
    pub(super) async fn place(
        &self,
        entry: &TopicEntry,
        position: Position,
        skips: bool,
    ) -> Result<(Topic, Offset), BrokerError> {
        let topic = self.groups.engine.topic(entry.id(), entry.project()).await.map_err(BrokerError::stream)?;
        match topic.seek(position).await {
            Ok(offset) => Ok((topic, offset)),
            // Where within the block nobody can tell; all of it is left out.
            Err(FetchError::Closed { first, .. }) if skips => Ok((topic, first)),
            Err(FetchError::BeyondEnd { offset, end }) => Err(InvalidRequest::BeyondEnd { offset, end }.into()),
            Err(error) => Err(BrokerError::stream(error)),
        }
    }

    /// Starts in a topic; the start is kept with the next progress.
    pub(super) fn add_track(&mut self, entry: Arc<TopicEntry>, topic: Topic, start: Offset) {
        self.tracks.push(Track::new(entry, topic, self.rules(), &Progress::at(start), false));
    }
}
