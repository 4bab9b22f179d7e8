//! What becomes of verdicts, and what is done to a group from outside: show, seek, remove.

use tokio::sync::oneshot;

use super::{
    actor::{Actor, Reply},
    info::{GroupInfo, GroupTopicInfo, MemberInfo},
    keeping::Answer,
    ledger::{MemberId, Outcome, Verdict},
    member::Receipt,
    track::Track,
};
use crate::{
    broker::{Availability, BrokerError, InvalidRequest},
    engine::{FetchError, Topic},
    model::{DeliverySemantic, Offset, Position, Rlid, TopicId},
};

/// What the actor tells of its group; the ages of events are found out by whoever wants to know.
pub(super) struct Shown {
    pub(super) info: GroupInfo,
    /// The topics, in the order in which they are told.
    pub(super) topics: Vec<Topic>,
}

impl Actor {
    /// Takes what a member says of events.
    pub(super) fn settle(&mut self, member: MemberId, verdicts: &[(Rlid, Verdict)], reply: oneshot::Sender<Receipt>) {
        let now = self.now();
        let mut receipt = Receipt::default();
        // The events of one topic mostly come together.
        let mut likely = 0;
        for (rlid, verdict) in verdicts {
            let mut outcome = Outcome::Unknown;
            for step in 0..self.tracks.len() {
                let at = (likely + step) % self.tracks.len();
                outcome = self.tracks[at].ledger.settle(member, *rlid, *verdict, now);
                if outcome != Outcome::Unknown {
                    likely = at;
                    break;
                }
            }
            match (verdict, outcome) {
                (Verdict::Ack, Outcome::Accepted | Outcome::Already) => receipt.acked.push(*rlid),
                (Verdict::Ack, Outcome::Refused | Outcome::Unknown) => receipt.refused.push(*rlid),
                (Verdict::Nack(_), _) => {}
            }
        }
        self.groups.tallies.refused(receipt.refused.len());
        if self.terms.delivery == DeliverySemantic::ExactlyOnce && !receipt.acked.is_empty() {
            self.answer_when_kept(Answer::Settled { receipt, reply });
        } else {
            reply.send(receipt).ok();
        }
    }

    pub(super) fn show(&self) -> Result<Shown, BrokerError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let record = self.entry.record();
        let members = self.members.iter().map(|(id, seat)| MemberInfo {
            client_id: seat.client_id.clone(),
            address: seat.address.clone(),
            subject: seat.subject.clone(),
            joined: seat.joined,
            leased: self.tracks.iter().map(|track| u64::from(track.ledger.held(*id))).sum(),
            delivered: seat.delivered,
        });
        let mut tracks: Vec<&Track> =
            self.tracks.iter().filter(|track| track.entry.availability() != Availability::Deleting).collect();
        tracks.sort_by_key(|track| track.entry.id());
        let info = GroupInfo {
            key: self.entry.key,
            name: record.name.clone(),
            terms: self.terms.clone(),
            created: record.created,
            modified: record.modified,
            members: members.collect(),
            topics: tracks.iter().map(|track| describe(track)).collect(),
        };
        Ok(Shown { info, topics: tracks.iter().map(|track| track.topic.clone()).collect() })
    }

    /// Moves the group in a topic, or in all that it has a position in.
    pub(super) async fn seek(&mut self, topic: Option<TopicId>, to: Position, reply: Reply<()>) {
        match self.sought(topic, to).await {
            Ok(places) => {
                for (topic, offset) in places {
                    if let Some(track) = self.tracks.iter_mut().find(|track| track.entry.id() == topic) {
                        track.seek(offset);
                    }
                }
                self.answer_when_kept(Answer::Sought { reply });
            }
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    /// Where the group is to stand; nothing is moved when one of the places can't be found.
    async fn sought(&mut self, topic: Option<TopicId>, to: Position) -> Result<Vec<(TopicId, Offset)>, BrokerError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        if let Some(topic) = topic
            && !self.tracks.iter().any(|track| track.entry.id() == topic)
        {
            let entry = self.groups.directory.get(self.entry.project, topic).ok_or(BrokerError::NotFound)?;
            let (stream, offset) = self.place(&entry, to, false).await?;
            self.add_track(entry, stream, offset);
            return Ok(Vec::new());
        }
        let mut places = Vec::new();
        for track in self.tracks.iter().filter(|track| topic.is_none_or(|topic| track.entry.id() == topic)) {
            match track.topic.seek(to).await {
                Ok(offset) => places.push((track.entry.id(), offset)),
                // Where within the block nobody can tell.
                Err(FetchError::Closed { first, .. }) => places.push((track.entry.id(), first)),
                Err(FetchError::BeyondEnd { offset, end }) => {
                    return Err(InvalidRequest::BeyondEnd { offset, end }.into());
                }
                Err(FetchError::Destroyed) => {}
                Err(error) => return Err(BrokerError::stream(error)),
            }
        }
        Ok(places)
    }

    /// Deletes the group. Members that are connected are disconnected, if that is wanted.
    pub(super) async fn remove(&mut self, force: bool) -> Result<(), BrokerError> {
        if !force && !self.members.is_empty() {
            return Err(BrokerError::GroupInUse);
        }
        self.groups.keeper.remove(self.entry.clone()).await?;
        self.fail(BrokerError::GroupRemoved);
        Ok(())
    }
}

fn describe(track: &Track) -> GroupTopicInfo {
    let counts = track.ledger.counts();
    let (position, end) = (track.ledger.position(), track.topic.end_offset());
    GroupTopicInfo {
        id: track.entry.id(),
        name: track.entry.name().to_string(),
        position,
        end,
        lag_events: end.distance_from(position).saturating_sub(counts.settled_beyond),
        lag_ns: 0,
        leased: counts.leased,
        waiting_again: counts.waiting,
        redelivered: counts.redelivered,
        dead_lettered: counts.dead_lettered,
    }
}
