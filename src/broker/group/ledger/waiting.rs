//! Events that were read before and wait to be handed out: ranges that have the same story.
//!
//! Invariants: ranges are disjoint and not empty; each is either ready, or parked until it is due.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Arc,
};

use super::terms::{MemberId, Reason};
use crate::model::Time;

/// Who has refused an event so that another should get it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Refusals(Option<Arc<[MemberId]>>);

/// What is known of events that have been handed out, or passed over.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Story {
    /// How many deliveries have failed.
    pub(super) failures: u32,
    /// How the last one failed; `None` when none did.
    pub(super) reason: Option<Reason>,
    pub(super) refused: Refusals,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Wait {
    end: u64,
    story: Story,
    /// From when on it may be handed out; `None`: it is ready.
    due: Option<Time>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Waiting {
    ranges: BTreeMap<u64, Wait>,
    ready: BTreeSet<u64>,
    parked: BTreeSet<(Time, u64)>,
    events: u64,
}

impl Refusals {
    pub(super) fn contains(&self, member: MemberId) -> bool {
        self.0.as_ref().is_some_and(|members| members.contains(&member))
    }

    #[must_use]
    pub(super) fn with(&self, member: MemberId) -> Refusals {
        if self.contains(member) {
            return self.clone();
        }
        let members = self.0.iter().flat_map(|members| members.iter().copied());
        Refusals(Some(members.chain([member]).collect()))
    }
}

impl Waiting {
    /// How many events wait.
    pub(super) fn events(&self) -> u64 {
        self.events
    }

    /// Adds events that are not there.
    pub(super) fn insert(&mut self, range: Range<u64>, story: Story, due: Option<Time>) {
        self.events += range.end - range.start;
        if let Some((_, last)) = self.ranges.range_mut(..range.start).next_back()
            && last.end == range.start
            && last.due == due
            && last.story == story
        {
            last.end = range.end;
            return;
        }
        self.add(range.start, Wait { end: range.end, story, due });
    }

    fn add(&mut self, first: u64, wait: Wait) {
        match wait.due {
            Some(due) => self.parked.insert((due, first)),
            None => self.ready.insert(first),
        };
        self.ranges.insert(first, wait);
    }

    /// Takes events out that are within one range; `None` when they are not.
    pub(super) fn remove(&mut self, range: Range<u64>) -> Option<Story> {
        let (&first, wait) = self.ranges.range(..=range.start).next_back()?;
        if wait.end < range.end {
            return None;
        }
        let wait = self.ranges.remove(&first)?;
        match wait.due {
            Some(due) => self.parked.remove(&(due, first)),
            None => self.ready.remove(&first),
        };
        self.events -= range.end - range.start;
        if first < range.start {
            self.add(first, Wait { end: range.start, ..wait.clone() });
        }
        if range.end < wait.end {
            self.add(range.end, wait.clone());
        }
        Some(wait.story)
    }

    /// Makes ready what is due, and returns it.
    pub(super) fn unpark(&mut self, now: Time) -> Vec<Range<u64>> {
        let mut unparked = Vec::new();
        while let Some(&(due, first)) = self.parked.first()
            && due <= now
        {
            self.parked.pop_first();
            self.ready.insert(first);
            if let Some(wait) = self.ranges.get_mut(&first) {
                wait.due = None;
                unparked.push(first..wait.end);
            }
        }
        unparked
    }

    /// The part of a range that is ready, from an event in it on.
    pub(super) fn ready_at(&self, offset: u64) -> Option<(Range<u64>, &Story)> {
        let (_, wait) = self.ranges.range(..=offset).next_back()?;
        (wait.due.is_none() && offset < wait.end).then_some((offset..wait.end, &wait.story))
    }

    /// When the next events get ready.
    pub(super) fn next_due(&self) -> Option<Time> {
        self.parked.first().map(|(due, _)| *due)
    }

    /// What is ready, lowest first.
    pub(super) fn ready(&self) -> impl Iterator<Item = (Range<u64>, &Story)> {
        self.ready.iter().filter_map(|first| self.ranges.get(first).map(|wait| (*first..wait.end, &wait.story)))
    }

    /// All that waits, lowest first.
    pub(super) fn all(&self) -> impl Iterator<Item = (Range<u64>, &Story)> {
        self.ranges.iter().map(|(first, wait)| (*first..wait.end, &wait.story))
    }
}
