//! The actor of a group that is in use: one task that owns the group's ledgers and readers, and hands events to its members.
//!
//! Members ask for events; those that there is nothing for stand in line until a topic grows, an event comes back, or
//! what they hold is acked. So there is a wake-up for a batch, and nothing is pushed at a member that is slow. The actor ends when the
//! group has no members and everything is kept; the next one who wants something of the group starts another.
//!
//! Invariant: nothing that must be remembered before it is told is told before it is durable: what was handed out under
//! at-most-once, acks under exactly-once, the positions that a group starts from.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    Groups,
    dead_letter::{Buried, Burying},
    entry::GroupEntry,
    joining::Joining,
    keeping::Keeping,
    ledger::{MemberId, Verdict},
    member::{Granted, Joined, Receipt},
    settings::Terms,
    steering::Shown,
    track::Track,
};
use crate::{
    broker::BrokerError,
    model::{Position, Rlid, Time, TopicId},
};

/// How many messages are taken before members are looked after again.
const MESSAGES_AT_ONCE: usize = 64;

pub(super) type Reply<T> = oneshot::Sender<Result<T, BrokerError>>;

/// What is asked of the actor.
pub(super) enum Message {
    Join { joining: Box<Joining>, reply: Reply<Joined> },
    Take { member: MemberId, reply: Reply<Granted> },
    Settle { member: MemberId, verdicts: Vec<(Rlid, Verdict)>, reply: oneshot::Sender<Receipt> },
    Show { reply: Reply<Shown> },
    Seek { topic: Option<TopicId>, to: Position, reply: Reply<()> },
    Remove { force: bool, reply: Reply<()> },
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Message::Join { .. } => "Join",
            Message::Take { .. } => "Take",
            Message::Settle { .. } => "Settle",
            Message::Show { .. } => "Show",
            Message::Seek { .. } => "Seek",
            Message::Remove { .. } => "Remove",
        })
    }
}

/// See the module.
pub(super) struct Actor {
    pub(super) groups: Groups,
    pub(super) entry: Arc<GroupEntry>,
    pub(super) terms: Terms,
    pub(super) tracks: Vec<Track>,
    /// The track that the search for events starts with, so that no topic starves another.
    pub(super) turn: usize,
    pub(super) members: BTreeMap<MemberId, Seat>,
    pub(super) last_member: u64,
    /// Those who wait for events, first come first served.
    pub(super) askers: VecDeque<Asker>,
    /// Each tells when its member has gone.
    pub(super) leaving: FuturesUnordered<Leaving>,
    pub(super) keeping: Keeping,
    pub(super) burying: Burying,
    /// The topics of the project, for members that follow them.
    pub(super) follow: Follow,
    /// Why the group can't go on.
    pub(super) broken: Option<BrokerError>,
    closing: watch::Receiver<bool>,
}

/// A member that is connected.
pub(super) struct Seat {
    pub(super) client_id: String,
    pub(super) address: String,
    pub(super) subject: String,
    pub(super) joined: Time,
    pub(super) delivered: u64,
    /// Leave out what can't be read.
    pub(super) skips: bool,
    /// The topics that it wants.
    pub(super) topics: HashSet<TopicId>,
    /// Whether topics that are created later belong to them.
    pub(super) follows: bool,
}

/// A member that wants events.
pub(super) struct Asker {
    pub(super) member: MemberId,
    pub(super) reply: Reply<Granted>,
}

/// Resolves when a member's stream has been dropped.
pub(super) struct Leaving {
    pub(super) member: MemberId,
    pub(super) left: oneshot::Receiver<Infallible>,
}

impl Future for Leaving {
    type Output = MemberId;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<MemberId> {
        // Nothing is ever sent.
        Pin::new(&mut self.left).poll(context).map(|_| self.member)
    }
}

/// What the actor waits for.
enum Happening {
    Asked(Message),
    /// The request to the keeper was carried out, or not.
    Kept(Result<(), BrokerError>),
    Left(MemberId),
    Buried(Buried),
    TopicsChanged,
    /// A topic has events that were not read yet.
    Grown,
    /// A lease ends, an event may come again, or progress is to be kept.
    Due,
    Closing,
}

/// The project's generation of topics, and the one that was looked at last.
pub(super) struct Follow {
    pub(super) changes: watch::Receiver<u64>,
    pub(super) seen: u64,
}

impl Actor {
    pub(super) fn new(groups: Groups, entry: Arc<GroupEntry>, closing: watch::Receiver<bool>) -> Actor {
        let changes = groups.directory.changes(entry.project);
        let seen = *changes.borrow();
        Actor {
            groups,
            terms: entry.record().terms.clone(),
            entry,
            tracks: Vec::new(),
            turn: 0,
            members: BTreeMap::new(),
            last_member: 0,
            askers: VecDeque::new(),
            leaving: FuturesUnordered::new(),
            keeping: Keeping::default(),
            burying: Burying::default(),
            follow: Follow { changes, seen },
            broken: None,
            closing,
        }
    }

    pub(super) async fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        if let Err(error) = self.load().await {
            self.fail(error);
        }
        loop {
            self.serve().await;
            self.bury();
            self.keep().await;
            let is_over = (self.members.is_empty() || self.is_closing()) && !self.burying.is_under_way();
            if is_over && self.is_kept() && self.entry.end_actor(&mut messages) {
                self.entry.set_members(0);
                return;
            }
            let happening = self.wait(&mut messages).await;
            self.note(happening, &mut messages).await;
        }
    }

    /// The time by which the ledgers go, which never steps back.
    pub(super) fn now(&self) -> Time {
        let nanos = self.groups.clock.elapsed().as_nanos();
        Time::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
    }

    pub(super) fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }

    /// Ends everything that goes on: members get the error.
    pub(super) fn fail(&mut self, error: BrokerError) {
        self.keeping.fail(&error);
        for asker in self.askers.drain(..) {
            asker.reply.send(Err(error.clone())).ok();
        }
        self.broken = Some(error);
    }

    /// Waits until something has happened. Cancel-safe.
    async fn wait(&mut self, messages: &mut mpsc::Receiver<Message>) -> Happening {
        let clock = self.groups.clock.clone();
        let deadline = self.deadline();
        let is_asked = !self.askers.is_empty();
        let follows = self.members.values().any(|seat| seat.follows);
        let is_closing = self.is_closing();
        let Actor { tracks, leaving, keeping, burying, follow: Follow { changes, seen }, closing, .. } = self;
        let mut growing: FuturesUnordered<_> = tracks
            .iter_mut()
            .filter(|track| is_asked && track.is_read() && track.ledger.room() > 0)
            .map(Track::ready)
            .collect();
        tokio::select! {
            biased;
            // What a member said before it went counts.
            Some(message) = messages.recv() => Happening::Asked(message),
            kept = keeping.done() => Happening::Kept(kept),
            Some(member) = leaving.next() => Happening::Left(member),
            buried = burying.done() => Happening::Buried(buried),
            // The sender lives as long as the broker, which this actor holds.
            _ = changes.wait_for(|generation| generation != seen), if follows => Happening::TopicsChanged,
            Some(()) = growing.next() => Happening::Grown,
            () = reach(&clock, deadline) => Happening::Due,
            _ = closing.wait_for(|closing| *closing), if !is_closing => Happening::Closing,
        }
    }

    /// Takes note of what has happened. Members are looked after afterwards.
    async fn note(&mut self, happening: Happening, messages: &mut mpsc::Receiver<Message>) {
        match happening {
            Happening::Asked(message) => {
                self.hear(message).await;
                for _ in 1..MESSAGES_AT_ONCE {
                    let Ok(message) = messages.try_recv() else { break };
                    self.hear(message).await;
                }
            }
            Happening::Kept(Ok(())) => self.keeping.settle(Ok(())),
            Happening::Kept(Err(error)) => self.fail(error),
            Happening::Left(member) => self.leave(member),
            Happening::Buried(buried) => self.buried(buried),
            Happening::TopicsChanged => self.follow_changes().await,
            Happening::Due => {
                let now = self.now();
                for track in &mut self.tracks {
                    track.ledger.expire(now);
                }
            }
            Happening::Grown | Happening::Closing => {}
        }
    }

    /// When something is due next, by the clock's elapsed time.
    fn deadline(&self) -> Option<Duration> {
        if self.broken.is_some() {
            return None;
        }
        let ledgers = self.tracks.iter().filter_map(|track| track.ledger.next_deadline()).min();
        let ledgers = ledgers.map(|time| Duration::from_nanos(u64::try_from(time.nanos()).unwrap_or(0)));
        [ledgers, self.keeping.due(), self.burial_due()].into_iter().flatten().min()
    }

    async fn hear(&mut self, message: Message) {
        match message {
            Message::Join { joining, reply } => self.join(*joining, reply).await,
            Message::Take { member, reply } => self.askers.push_back(Asker { member, reply }),
            Message::Settle { member, verdicts, reply } => self.settle(member, &verdicts, reply),
            Message::Show { reply } => drop(reply.send(self.show())),
            Message::Seek { topic, to, reply } => self.seek(topic, to, reply).await,
            Message::Remove { force, reply } => drop(reply.send(self.remove(force).await)),
        }
    }
}

async fn reach(clock: &crate::sys::Clock, deadline: Option<Duration>) {
    match deadline {
        Some(deadline) => clock.reach(deadline).await,
        None => std::future::pending().await,
    }
}
