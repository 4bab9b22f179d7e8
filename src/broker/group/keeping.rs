//! What of a group waits for the records: its progress, and the answers that are given when the progress is durable.
//!
//! One request to the keeper is under way at a time; what comes meanwhile gathers for the next.

use std::time::Duration;

use tokio::sync::oneshot;

use super::{
    actor::Actor,
    keeper::Keep,
    member::{Granted, Joined, Receipt},
};
use crate::{broker::BrokerError, model::DeliverySemantic};

/// How long acks may wait for the disk, where nobody waits for them.
const COMMIT_INTERVAL: Duration = Duration::from_millis(100);

/// An answer that is given when what it is about is durable.
pub(super) enum Answer {
    Granted { granted: Granted, reply: oneshot::Sender<Result<Granted, BrokerError>> },
    Settled { receipt: Receipt, reply: oneshot::Sender<Receipt> },
    Joined { joined: Joined, reply: oneshot::Sender<Result<Joined, BrokerError>> },
    Sought { reply: oneshot::Sender<Result<(), BrokerError>> },
}

impl Answer {
    /// Whoever has gone away does not want it: what it was given goes back when its leaving is noticed.
    fn give(self, kept: Result<(), &BrokerError>) {
        match self {
            Answer::Granted { granted, reply } => {
                reply.send(kept.map(|()| granted).map_err(Clone::clone)).ok();
            }
            Answer::Settled { mut receipt, reply } => {
                if kept.is_err() {
                    receipt.refused.append(&mut receipt.acked);
                }
                reply.send(receipt).ok();
            }
            Answer::Joined { joined, reply } => {
                reply.send(kept.map(|()| joined).map_err(Clone::clone)).ok();
            }
            Answer::Sought { reply } => {
                reply.send(kept.map_err(Clone::clone)).ok();
            }
        }
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Keeping {
    /// What waits for the next request, and what waits for the one that is under way.
    answers: Vec<Answer>,
    covered: Vec<Answer>,
    under_way: Option<oneshot::Receiver<Result<(), BrokerError>>>,
    /// By the clock's elapsed time, when progress that nobody waits for is to be kept.
    due: Option<Duration>,
}

impl Keeping {
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// When the next request is to be made, if that is not now.
    pub(super) fn due(&self) -> Option<Duration> {
        self.due.filter(|_| self.under_way.is_none())
    }

    /// Waits for the request that is under way. Cancel-safe.
    pub(super) async fn done(&mut self) -> Result<(), BrokerError> {
        let Some(reply) = &mut self.under_way else { return std::future::pending().await };
        let kept = reply.await.unwrap_or(Err(BrokerError::Closed));
        self.under_way = None;
        kept
    }

    /// Answers who waits for what was under way.
    pub(super) fn settle(&mut self, kept: Result<(), &BrokerError>) {
        self.covered.drain(..).for_each(|answer| answer.give(kept));
    }

    /// Answers everybody: nothing will be kept any more.
    pub(super) fn fail(&mut self, error: &BrokerError) {
        self.covered.drain(..).chain(self.answers.drain(..)).for_each(|answer| answer.give(Err(error)));
    }
}

impl Actor {
    /// Gives an answer when everything that is known now is durable.
    pub(super) fn answer_when_kept(&mut self, answer: Answer) {
        match &self.broken {
            Some(error) => answer.give(Err(error)),
            None => self.keeping.answers.push(answer),
        }
    }

    fn is_dirty(&self) -> bool {
        self.tracks.iter().any(super::track::Track::is_dirty)
    }

    /// Whether everything is kept and everybody answered.
    pub(super) fn is_kept(&self) -> bool {
        let waits = self.keeping.is_under_way() || !self.keeping.answers.is_empty();
        self.broken.is_some() || (!waits && !self.is_dirty())
    }

    /// Has progress kept, if it is time.
    pub(super) async fn keep(&mut self) {
        if self.broken.is_some() || self.keeping.is_under_way() {
            return;
        }
        if !self.is_dirty() {
            // Nothing has happened that is not durable.
            self.keeping.due = None;
            return self.keeping.answers.drain(..).for_each(|answer| answer.give(Ok(())));
        }
        let elapsed = self.groups.clock.elapsed();
        let is_awaited = !self.keeping.answers.is_empty() || self.terms.delivery == DeliverySemantic::AtMostOnce;
        if !is_awaited && !self.members.is_empty() && !self.is_closing() {
            // At the same moments in all groups, so that they share transactions.
            let due = *self.keeping.due.get_or_insert_with(|| next_interval(elapsed));
            if due > elapsed {
                return;
            }
        }
        self.keeping.due = None;
        let dirty = self.tracks.iter_mut().filter(|track| track.is_dirty());
        let progress = dirty.map(super::track::Track::keep).collect();
        let (reply, kept) = oneshot::channel();
        self.keeping.covered = std::mem::take(&mut self.keeping.answers);
        self.keeping.under_way = Some(kept);
        self.groups.keeper.keep(Keep { entry: self.entry.clone(), progress, reply }).await;
    }
}

/// The next whole interval, by the clock's elapsed time.
fn next_interval(elapsed: Duration) -> Duration {
    let past = elapsed.as_nanos() % COMMIT_INTERVAL.as_nanos();
    let left = COMMIT_INTERVAL.as_nanos() - past;
    elapsed + Duration::from_nanos(u64::try_from(left).expect("it is no more than the interval"))
}
