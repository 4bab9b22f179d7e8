//! How members that wait get events: first come, first served, each its share.

use super::{
    actor::{Actor, Asker},
    keeping::Answer,
    member::Granted,
    track::{Given, Turn},
};
use crate::{broker::BrokerError, engine::FetchError, model::DeliverySemantic};

impl Actor {
    /// Gives what there is to those who wait.
    pub(super) async fn serve(&mut self) {
        if self.askers.is_empty() {
            return;
        }
        let over = self.broken.clone().or_else(|| self.is_closing().then_some(BrokerError::Closed));
        if let Some(error) = over {
            return self.askers.drain(..).for_each(|asker| drop(asker.reply.send(Err(error.clone()))));
        }
        let mut askers = std::mem::take(&mut self.askers);
        // Who is gone would be given events that nobody gets.
        askers.retain(|asker| !asker.reply.is_closed() && self.members.contains_key(&asker.member));
        while let Some(asker) = askers.pop_front() {
            match self.take(&asker, askers.len() + 1).await {
                Ok(given) if !given.is_empty() => self.hand_over(asker, given),
                Ok(_) if self.has_no_topic(&asker) => drop(asker.reply.send(Ok(Granted::Gone))),
                Ok(_) => self.askers.push_back(asker),
                Err(error) => drop(asker.reply.send(Err(BrokerError::stream(error)))),
            }
        }
    }

    /// Looks for events for a member, topic by topic.
    async fn take(&mut self, asker: &Asker, askers: usize) -> Result<Given, FetchError> {
        let Some(seat) = self.members.get(&asker.member) else { return Ok(Given::default()) };
        let turn = Turn { member: asker.member, now: self.now(), askers, skips: seat.skips };
        let mut asked = 0;
        while asked < self.tracks.len() {
            let at = self.turn % self.tracks.len();
            self.turn = at + 1;
            let track = &mut self.tracks[at];
            asked += 1;
            if !track.has_something() || !self.members[&asker.member].topics.contains(&track.entry.id()) {
                continue;
            }
            match track.take(turn, self.groups.form).await {
                Ok(given) if given.is_empty() => {}
                Err(FetchError::Destroyed) => {
                    self.forget_track(at);
                    asked = 0;
                }
                taken => return taken,
            }
        }
        Ok(Given::default())
    }

    fn hand_over(&mut self, asker: Asker, given: Given) {
        if let Some(seat) = self.members.get_mut(&asker.member) {
            seat.delivered += given.events;
        }
        self.groups.tallies.redelivered(given.again);
        let granted = Granted::Events { deliveries: given.deliveries.into(), skipped: given.skipped };
        match self.terms.delivery {
            // What is handed out is consumed, and that must not be forgotten.
            DeliverySemantic::AtMostOnce => self.answer_when_kept(Answer::Granted { granted, reply: asker.reply }),
            DeliverySemantic::AtLeastOnce | DeliverySemantic::ExactlyOnce => drop(asker.reply.send(Ok(granted))),
        }
    }

    /// Whether all topics of a member are gone, and no other will come.
    fn has_no_topic(&self, asker: &Asker) -> bool {
        self.members.get(&asker.member).is_some_and(|seat| seat.topics.is_empty() && !seat.follows)
    }

    /// Lets go of a topic that has been destroyed. Its progress goes with it.
    pub(super) fn forget_track(&mut self, at: usize) {
        let topic = self.tracks.swap_remove(at).entry.id();
        for seat in self.members.values_mut() {
            seat.topics.remove(&topic);
        }
    }
}
