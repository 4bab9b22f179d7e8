//! Which member holds which events, and until when.
//!
//! A lease is a range of events that one member got at once. What of it has been settled stays in the range until all
//! of it is; what is taken back is cut out.
//!
//! Invariants: leases are disjoint, and each has an event that is not settled.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use super::{settled::Settled, terms::MemberId, waiting::Story};
use crate::model::Time;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) range: Range<u64>,
    pub(super) member: MemberId,
    /// What had happened to the events before.
    pub(super) story: Story,
    pub(super) taken: Time,
    pub(super) deadline: Time,
    /// How many of its events are not settled.
    pub(super) unsettled: u64,
}

/// Where a lease lies in the list; only valid until leases change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot(usize);

#[derive(Debug, Clone, Default)]
pub(super) struct Leases {
    /// Those that have ended are there with an empty range, until others take their places.
    slots: Vec<Lease>,
    free: Vec<usize>,
    by_first: BTreeMap<u64, usize>,
    deadlines: BTreeSet<(Time, u64)>,
    /// Where the last event was found.
    hint: usize,
}

impl Leases {
    /// Adds a lease of events none of which is leased; it becomes part of the one before when they were taken together.
    pub(super) fn grant(&mut self, lease: Lease) {
        if let Some((_, &slot)) = self.by_first.range(..lease.range.start).next_back() {
            let last = &mut self.slots[slot];
            let is_same = last.range.end == lease.range.start
                && (last.member, last.taken, last.deadline) == (lease.member, lease.taken, lease.deadline)
                && last.story == lease.story;
            if is_same {
                last.range.end = lease.range.end;
                last.unsettled += lease.unsettled;
                return;
            }
        }
        self.add(lease);
    }

    fn add(&mut self, lease: Lease) {
        self.deadlines.insert((lease.deadline, lease.range.start));
        let first = lease.range.start;
        let slot = if let Some(slot) = self.free.pop() {
            self.slots[slot] = lease;
            slot
        } else {
            self.slots.push(lease);
            self.slots.len() - 1
        };
        self.by_first.insert(first, slot);
    }

    /// The lease whose range an event lies in.
    #[inline]
    pub(super) fn find(&mut self, offset: u64) -> Option<Slot> {
        if self.slots.get(self.hint).is_some_and(|lease| lease.range.contains(&offset)) {
            return Some(Slot(self.hint));
        }
        let (_, &slot) = self.by_first.range(..=offset).next_back()?;
        self.hint = slot;
        self.slots[slot].range.contains(&offset).then_some(Slot(slot))
    }

    #[inline]
    pub(super) fn get(&self, slot: Slot) -> &Lease {
        &self.slots[slot.0]
    }

    /// One more event of a lease is settled.
    #[inline]
    pub(super) fn settle_one(&mut self, slot: Slot) {
        let lease = &mut self.slots[slot.0];
        lease.unsettled -= 1;
        if lease.unsettled == 0 {
            self.remove(slot);
        }
    }

    /// Ends a lease.
    pub(super) fn remove(&mut self, slot: Slot) -> Lease {
        let lease = &mut self.slots[slot.0];
        let ended = lease.clone();
        lease.range = 0..0;
        self.free.push(slot.0);
        self.by_first.remove(&ended.range.start);
        self.deadlines.remove(&(ended.deadline, ended.range.start));
        ended
    }

    /// Cuts one event that is not settled out of a lease; returns what is known of it.
    pub(super) fn cut(&mut self, slot: Slot, offset: u64, settled: &Settled) -> Story {
        let lease = self.remove(slot);
        let before = lease.range.start..offset;
        let after = offset + 1..lease.range.end;
        for range in [before, after] {
            let unsettled = settled.gaps(range.clone()).map(|gap| gap.end - gap.start).sum();
            if unsettled > 0 {
                self.add(Lease { range, unsettled, ..lease.clone() });
            }
        }
        lease.story
    }

    /// A lease whose time is over.
    pub(super) fn expired(&self, now: Time) -> Option<Slot> {
        let (_, first) = self.deadlines.first().filter(|(deadline, _)| *deadline <= now)?;
        self.by_first.get(first).copied().map(Slot)
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// The lowest lease of a member from an event on.
    pub(super) fn next_of(&self, member: MemberId, from: u64) -> Option<Slot> {
        self.by_first.range(from..).map(|(_, slot)| *slot).find(|slot| self.slots[*slot].member == member).map(Slot)
    }

    /// All leases, lowest first.
    pub(super) fn all(&self) -> impl Iterator<Item = &Lease> {
        self.by_first.values().map(|slot| &self.slots[*slot])
    }
}
