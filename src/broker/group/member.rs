//! One member's stream, and what a member says of the events that it was given.

use std::{collections::VecDeque, sync::Arc};

use tokio::sync::{mpsc, oneshot};

use super::{
    actor::Message,
    ledger::{MemberId, Verdict},
};
use crate::{
    broker::{BrokerError, Delivery, Next, TopicEntry},
    model::{DeliverySemantic, Rlid},
};

/// What became of verdicts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Receipt {
    /// The acks that are durable, or, where an ack need not be exact, that were taken.
    pub acked: Vec<Rlid>,
    /// The acks that do not count: another member holds the event, or none does.
    pub refused: Vec<Rlid>,
}

/// What a member is told when it has joined.
pub(super) struct Joined {
    pub(super) member: MemberId,
    /// Dropped when the member leaves.
    pub(super) stays: oneshot::Sender<std::convert::Infallible>,
    pub(super) topics: Vec<Arc<TopicEntry>>,
    pub(super) delivery: DeliverySemantic,
}

/// What a member is given when it asks.
#[derive(Debug)]
pub(super) enum Granted {
    Events {
        deliveries: VecDeque<Delivery>,
        skipped: u64,
    },
    /// All its topics have been destroyed.
    Gone,
}

/// One member's stream. Dropping it is leaving the group: what it holds goes to others at once.
#[derive(Debug)]
pub struct Member {
    acks: Acks,
    topics: Vec<Arc<TopicEntry>>,
    /// What was given and not taken yet.
    ready: VecDeque<Delivery>,
    asked: Option<oneshot::Receiver<Result<Granted, BrokerError>>>,
    skipped: u64,
    _stays: oneshot::Sender<std::convert::Infallible>,
}

/// For the task that reads what a member says.
#[derive(Debug, Clone)]
pub struct Acks {
    member: MemberId,
    delivery: DeliverySemantic,
    actor: mpsc::Sender<Message>,
}

impl Member {
    pub(super) fn new(joined: Joined, actor: mpsc::Sender<Message>) -> Member {
        let Joined { member, stays, topics, delivery } = joined;
        let acks = Acks { member, delivery, actor };
        Member { acks, topics, ready: VecDeque::new(), asked: None, skipped: 0, _stays: stays }
    }

    /// The topics that the member had when it joined.
    pub fn topics(&self) -> Vec<Arc<TopicEntry>> {
        self.topics.clone()
    }

    /// The next events for this member. Cancel-safe: events that were not returned come with the next call.
    ///
    /// # Errors
    ///
    /// When the group was removed, when what it hands out can't be remembered any more, or when stored events can't be read; the
    /// stream can't be used any more.
    pub async fn next(&mut self) -> Result<Next, BrokerError> {
        loop {
            if let Some(delivery) = self.ready.pop_front() {
                return Ok(Next::Events(delivery));
            }
            let asked = match &mut self.asked {
                Some(asked) => asked,
                None => self.asked.insert(self.acks.ask().await?),
            };
            let granted = asked.await.unwrap_or(Err(BrokerError::Closed));
            self.asked = None;
            match granted? {
                Granted::Gone => return Ok(Next::Gone),
                Granted::Events { deliveries, skipped } => {
                    self.skipped += skipped;
                    self.ready = deliveries;
                    if self.acks.delivery == DeliverySemantic::AtMostOnce {
                        // The next events become durable as consumed while these are on their way.
                        self.asked = Some(self.acks.ask().await?);
                    }
                    if self.ready.is_empty() {
                        return Ok(Next::Passed);
                    }
                }
            }
        }
    }

    /// Whether events can be given without waiting, unless they turn out not to be readable: [`Next::Passed`] says so.
    pub fn is_ready(&self) -> bool {
        !self.ready.is_empty() || self.asked.as_ref().is_some_and(|asked| !asked.is_empty() || asked.is_terminated())
    }

    /// How many events were left out because they can't be read.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// For the task that reads what the member says.
    pub fn acks(&self) -> Acks {
        self.acks.clone()
    }
}

impl Acks {
    /// Takes verdicts. Resolves when what is acked is durable under exactly-once, and at once otherwise. Under at-most-once there is
    /// nothing to be said: what was handed out is consumed.
    pub async fn settle(&self, verdicts: Vec<(Rlid, Verdict)>) -> Receipt {
        let acks = verdicts.iter().filter(|(_, verdict)| *verdict == Verdict::Ack).map(|(rlid, _)| *rlid).collect();
        if self.delivery == DeliverySemantic::AtMostOnce {
            return Receipt { acked: acks, refused: Vec::new() };
        }
        let (reply, receipt) = oneshot::channel();
        let message = Message::Settle { member: self.member, verdicts, reply };
        // When the actor is gone the message comes back and is dropped, and with it the sender of the reply.
        drop(self.actor.send(message).await);
        receipt.await.unwrap_or(Receipt { acked: Vec::new(), refused: acks })
    }

    /// Asks for events.
    async fn ask(&self) -> Result<oneshot::Receiver<Result<Granted, BrokerError>>, BrokerError> {
        let (reply, granted) = oneshot::channel();
        let message = Message::Take { member: self.member, reply };
        self.actor.send(message).await.map_err(|_| BrokerError::Closed)?;
        Ok(granted)
    }
}
