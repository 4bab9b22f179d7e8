//! What a consumer group knows of the events of one topic: which are settled, who holds which, which wait to come again.
//!
//! A [`Ledger`] covers the events between the group's position, which is the lowest event that is not settled, and the
//! window's end. It is a plain value: times are handed in, and what is durable is the caller's matter
//! ([`Ledger::progress`], whose bytes [`Progress`] knows).
//!
//! Invariants: every event from the position on is settled, leased to exactly one member, waiting to come again, dead
//! (waiting to be put away), or unread. At most the window's events lie between the position and the
//! furthest that was handed out. For each of these a bit is kept, and ranges for those that were handed out together;
//! only groups that are ordered by key keep more for each event. Of the events with one key, those that are leased are
//! all with one member, and come before those that wait.
//!
//! What it does not do: wait, read events, store anything.

mod credit;
mod keys;
mod leases;
mod progress;
mod runs;
mod settled;
mod taking;
mod terms;
mod waiting;

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
};

use credit::Credit;
pub(super) use credit::share;
pub(super) use keys::Key;
use keys::Keys;
use leases::{Lease, Leases, Slot};
use progress::Tries;
pub(super) use progress::{DamagedProgress, Progress};
use runs::Runs;
use settled::Settled;
pub use terms::Verdict;
pub(super) use terms::{DeadLetter, Fresh, Grant, LedgerCounts, MemberId, Outcome, Reason, Rules};
use waiting::{Story, Waiting};

use crate::model::{DeliverySemantic, NackCode, Offset, Rlid, Time};

/// How long the second redelivery of an event waits; each later one waits twice as long.
const PAUSE_NANOS: i64 = 100_000_000;

/// See the module.
#[derive(Debug)]
pub(super) struct Ledger {
    rules: Rules,
    settled: Settled,
    /// The first event that was not read.
    unread: u64,
    runs: Runs,
    leases: Leases,
    waiting: Waiting,
    dead: BTreeMap<u64, Failed>,
    /// What is known of events that are unread again.
    tries: VecDeque<Tries>,
    keys: Keys,
    /// In the order of their numbers.
    members: Vec<Member>,
    generation: u64,
    redelivered: u64,
    dead_lettered: u64,
}

/// What a dead event has behind it.
#[derive(Debug, Clone, Copy)]
struct Failed {
    deliveries: u32,
    reason: Reason,
}

#[derive(Debug)]
struct Member {
    id: MemberId,
    credit: Credit,
    /// How many events it holds.
    held: u32,
}

impl Ledger {
    /// A ledger that goes on from what was kept, without members. What had been handed out and was not settled is unread
    /// again; how often its delivery failed is remembered.
    pub(super) fn open(rules: Rules, progress: &Progress) -> Ledger {
        let mut settled = Settled::at(progress.next);
        for offset in progress.settled.iter().cloned().flatten() {
            settled.insert(offset);
        }
        let unread = settled.position();
        let mut ledger = Ledger {
            settled,
            unread,
            runs: Runs::default(),
            leases: Leases::default(),
            waiting: Waiting::default(),
            dead: BTreeMap::new(),
            tries: VecDeque::new(),
            keys: Keys::at(unread),
            members: Vec::new(),
            generation: 0,
            redelivered: 0,
            dead_lettered: 0,
            rules,
        };
        for tries in &progress.tries {
            if ledger.is_last(tries.failures) {
                let failed = Failed { deliveries: tries.failures, reason: tries.reason };
                ledger.dead.extend(ledger.settled.gaps(tries.range.clone()).flatten().map(|offset| (offset, failed)));
            } else {
                ledger.tries.push_back(tries.clone());
            }
        }
        ledger
    }

    /// Goes on under other rules. What members hold is taken back; that is no failure.
    pub(super) fn set_rules(&mut self, rules: Rules) {
        self.begin_anew(rules, &self.progress());
    }

    /// Forgets all that is known, and stands at another event. Members stay.
    pub(super) fn seek(&mut self, to: Offset) {
        self.begin_anew(self.rules.clone(), &Progress::at(to));
    }

    fn begin_anew(&mut self, rules: Rules, progress: &Progress) {
        let before = std::mem::replace(self, Ledger::open(rules, progress));
        before.members.iter().for_each(|member| self.add_member(member.id));
        self.generation = before.generation + 1;
        self.redelivered = before.redelivered;
        self.dead_lettered = before.dead_lettered;
    }

    pub(super) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// A number that grows whenever the progress changes.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// What has to be kept. A delivery that is under way when it is read again does not count as a failure.
    pub(super) fn progress(&self) -> Progress {
        let position = self.settled.position();
        let waiting = self.waiting.all().map(|(range, story)| (range, story.failures, story.reason));
        let leased = self.leases.all().map(|lease| (lease.range.clone(), lease.story.failures, lease.story.reason));
        let dead = self.dead.iter().map(|(at, failed)| (*at..at + 1, failed.deliveries, Some(failed.reason)));
        let unread = self
            .tries
            .iter()
            .map(|tries| (tries.range.start.max(self.unread)..tries.range.end, tries.failures, Some(tries.reason)));
        let failed = waiting.chain(leased).chain(dead).chain(unread).filter_map(|(range, failures, reason)| {
            let range = range.start.max(position)..range.end;
            Some(Tries { range, failures, reason: reason? }).filter(|tries| !tries.range.is_empty())
        });
        let mut tries: Vec<Tries> = failed.collect();
        tries.sort_unstable_by_key(|tries| tries.range.start);
        Progress { next: position, settled: self.settled.ranges().collect(), tries }
    }

    /// The lowest event that is not settled.
    pub(super) fn position(&self) -> Offset {
        Offset::new(self.settled.position())
    }

    /// The first event that was not read yet: what [`Ledger::take_fresh`] is given has to start there.
    pub(super) fn next_unread(&self) -> Offset {
        Offset::new(self.unread)
    }

    /// How many more events may be read before the window is full.
    pub(super) fn room(&self) -> u32 {
        let used = u32::try_from(self.unread - self.settled.position()).unwrap_or(u32::MAX);
        self.rules.window.saturating_sub(used)
    }

    /// How many events a member may be given in one turn.
    pub(super) fn allowance(&self, member: MemberId) -> u32 {
        let Some(at) = self.member(member) else { return 0 };
        let Member { credit, held, .. } = &self.members[at];
        if self.is_leasing() { credit.left(*held) } else { credit::TURN_MAX }
    }

    pub(super) fn add_member(&mut self, member: MemberId) {
        if let Err(at) = self.members.binary_search_by_key(&member, |member| member.id) {
            let credit = Credit::new(self.rules.window);
            self.members.insert(at, Member { id: member, credit, held: 0 });
            self.refresh_all(self.keys.firsts());
        }
    }

    /// Takes everything back that a member holds, and forgets it.
    pub(super) fn leave(&mut self, member: MemberId, now: Time) {
        let mut from = 0;
        while let Some(slot) = self.leases.next_of(member, from) {
            from = self.leases.get(slot).range.end;
            self.end_lease(slot, Reason::Disconnected, now);
        }
        if let Some(at) = self.member(member) {
            self.members.remove(at);
            self.refresh_all(self.keys.firsts());
        }
    }

    /// Takes back what has not been settled in time, and says whether anything was.
    pub(super) fn expire(&mut self, now: Time) -> bool {
        let mut any = false;
        while let Some(slot) = self.leases.expired(now) {
            any = true;
            if let Some(at) = self.member(self.leases.get(slot).member) {
                self.members[at].credit.timed_out();
            }
            self.end_lease(slot, Reason::Timeout, now);
        }
        // What was due is not due any more, whether or not somebody asks for it now.
        self.unpark(now);
        any
    }

    /// When [`Ledger::expire`] has something to do, or [`Ledger::take_again`] may give what it does not give now.
    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.leases.next_deadline().into_iter().chain(self.waiting.next_due()).min()
    }

    /// Hears what a member says of an event.
    #[inline]
    pub(super) fn settle(&mut self, member: MemberId, rlid: Rlid, verdict: Verdict, now: Time) -> Outcome {
        let Some(offset) = self.runs.find(rlid) else { return Outcome::Unknown };
        let held = self.leases.find(offset).filter(|slot| self.leases.get(*slot).member == member);
        if self.settled.contains(offset) {
            let is_late = held.is_none() && self.rules.delivery == DeliverySemantic::ExactlyOnce;
            return if is_late { Outcome::Refused } else { Outcome::Already };
        }
        match (verdict, held) {
            (Verdict::Ack, Some(slot)) => {
                self.ack(slot, offset, now);
                Outcome::Accepted
            }
            (Verdict::Nack(code), Some(slot)) => {
                self.nack(slot, offset, code, now);
                Outcome::Accepted
            }
            (Verdict::Ack, None) if self.rules.delivery == DeliverySemantic::AtLeastOnce => {
                self.settle_any(offset);
                self.settled_some();
                Outcome::Accepted
            }
            (_, None) => Outcome::Refused,
        }
    }

    #[inline]
    fn ack(&mut self, slot: Slot, offset: u64, now: Time) {
        let lease = self.leases.get(slot);
        let took = now.nanos().saturating_sub(lease.taken.nanos());
        let has = lease.deadline.nanos().saturating_sub(lease.taken.nanos());
        if let Some(at) = self.member(lease.member) {
            let member = &mut self.members[at];
            member.held -= 1;
            member.credit.acked(took <= has / 4);
        }
        self.leases.settle_one(slot);
        self.mark(offset);
        self.settled_some();
    }

    fn nack(&mut self, slot: Slot, offset: u64, code: NackCode, now: Time) {
        let member = self.leases.get(slot).member;
        let mut story = self.cut(slot, offset);
        if matches!(code, NackCode::UnhandledMimetype | NackCode::UnknownType | NackCode::DeliverAgainNotMe) {
            story.refused = story.refused.with(member);
        }
        for behind in self.keys.take_back(offset) {
            self.take_back(behind);
        }
        self.failed(offset..offset + 1, story, Reason::Nack(code), now);
    }

    /// Settles what lies from `first` up to `until` whatever its state, because it can't be read; `first` was read before or is
    /// the next to be. What lies beyond the window stays, unless nothing else is under way.
    pub(super) fn skip(&mut self, first: Offset, until: Offset) {
        let (first, mut until) = (first.get().max(self.settled.position()), until.get());
        if first > self.unread {
            return;
        }
        if first > self.settled.position() {
            until = until.min(self.unread + u64::from(self.room()));
        }
        for offset in first..until {
            if self.rules.ordered && offset >= self.unread {
                self.keys.push(offset, Key::NONE, true);
            }
            if !self.settled.contains(offset) {
                self.settle_any(offset);
            }
        }
        self.unread = self.unread.max(until);
        self.settled_some();
    }

    /// The events that are to be put away, lowest first; [`Ledger::buried`] settles them when that has been done.
    pub(super) fn dead_letters(&self) -> impl Iterator<Item = DeadLetter> {
        self.dead.iter().map(|(offset, Failed { deliveries, reason })| DeadLetter {
            offset: Offset::new(*offset),
            deliveries: *deliveries,
            reason: *reason,
        })
    }

    /// Settles a dead event that has been put away; false when it is not dead any more.
    pub(super) fn buried(&mut self, offset: Offset) -> bool {
        let is_dead = self.dead.contains_key(&offset.get());
        if is_dead {
            self.settle_any(offset.get());
            self.settled_some();
            self.dead_lettered += 1;
        }
        is_dead
    }

    /// How many events a member holds.
    pub(super) fn held(&self, member: MemberId) -> u32 {
        self.member(member).map_or(0, |at| self.members[at].held)
    }

    pub(super) fn counts(&self) -> LedgerCounts {
        LedgerCounts {
            leased: self.members.iter().map(|member| u64::from(member.held)).sum(),
            waiting: self.waiting.events(),
            dead: u64::try_from(self.dead.len()).expect("a count fits"),
            settled_beyond: self.settled.beyond(),
            redelivered: self.redelivered,
            dead_lettered: self.dead_lettered,
        }
    }

    fn is_leasing(&self) -> bool {
        self.rules.delivery != DeliverySemantic::AtMostOnce
    }

    /// Whether an event that failed so often is dead.
    fn is_last(&self, failures: u32) -> bool {
        self.rules.max_deliveries.is_some_and(|most| failures >= most.get())
    }

    #[inline]
    fn member(&self, id: MemberId) -> Option<usize> {
        self.members.binary_search_by_key(&id, |member| member.id).ok()
    }

    /// Settles an event that is not settled, whoever has it.
    fn settle_any(&mut self, offset: u64) {
        if let Some(slot) = self.leases.find(offset) {
            if let Some(at) = self.member(self.leases.get(slot).member) {
                self.members[at].held -= 1;
            }
            self.leases.settle_one(slot);
        } else if self.dead.remove(&offset).is_none() {
            self.waiting.remove(offset..offset + 1);
        }
        self.mark(offset);
    }

    #[inline]
    fn mark(&mut self, offset: u64) {
        self.settled.insert(offset);
        if self.rules.ordered {
            self.keys.settle(offset);
            self.refresh(offset);
        }
    }

    /// Has to follow when events were settled.
    #[inline]
    fn settled_some(&mut self) {
        self.generation += 1;
        let position = self.settled.position();
        self.unread = self.unread.max(position);
        self.runs.pass(position);
        if self.rules.ordered {
            self.keys.pass(position);
        }
        while self.tries.front().is_some_and(|tries| tries.range.end <= self.unread) {
            self.tries.pop_front();
        }
    }

    /// Cuts an event out of its lease.
    fn cut(&mut self, slot: Slot, offset: u64) -> Story {
        if let Some(at) = self.member(self.leases.get(slot).member) {
            self.members[at].held -= 1;
        }
        self.leases.cut(slot, offset, &self.settled)
    }

    /// Takes an event back that has not failed, but comes behind one that has.
    fn take_back(&mut self, offset: u64) {
        if let Some(slot) = self.leases.find(offset) {
            let story = self.cut(slot, offset);
            self.waiting.insert(offset..offset + 1, story, None);
            self.refresh(offset);
        }
    }

    /// Takes a whole lease back. Its events have failed, but for those that come behind one with the same key.
    fn end_lease(&mut self, slot: Slot, reason: Reason, now: Time) {
        let Lease { range, member, story, unsettled, .. } = self.leases.remove(slot);
        if let Some(at) = self.member(member) {
            self.members[at].held -= u32::try_from(unsettled).expect("a window is small");
        }
        let gaps: Vec<Range<u64>> = self.settled.gaps(range).collect();
        if !self.rules.ordered {
            for gap in gaps {
                self.failed(gap, story.clone(), reason, now);
            }
            return;
        }
        for offset in gaps.into_iter().flatten() {
            if !self.keys.is_leased(offset) {
                self.waiting.insert(offset..offset + 1, story.clone(), None);
                self.refresh(offset);
                continue;
            }
            for behind in self.keys.take_back(offset) {
                // One of the same lease is not found any more, and comes up below.
                self.take_back(behind);
            }
            self.failed(offset..offset + 1, story.clone(), reason, now);
        }
    }

    /// Notes that the delivery of events failed that nobody holds any more.
    fn failed(&mut self, range: Range<u64>, story: Story, reason: Reason, now: Time) {
        self.generation += 1;
        let failures = story.failures.saturating_add(1);
        if self.is_last(failures) {
            self.dead.extend(range.clone().map(|offset| (offset, Failed { deliveries: failures, reason })));
        } else {
            let story = Story { failures, reason: Some(reason), refused: story.refused };
            self.waiting.insert(range.clone(), story, self.due(failures, now));
        }
        self.refresh_all(range);
    }

    /// When an event that failed so often may be handed out again: at once the first time, and then ever later.
    fn due(&self, failures: u32, now: Time) -> Option<Time> {
        let doublings = failures.checked_sub(2)?;
        let timeout = i64::try_from(self.rules.timeout.as_nanos()).unwrap_or(i64::MAX);
        let pause = PAUSE_NANOS.checked_shl(doublings.min(32)).unwrap_or(i64::MAX);
        Some(now.plus_nanos(pause.min(timeout)))
    }
}

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;
