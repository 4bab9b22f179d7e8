//! One topic of a group while the group is in use: its ledger, and the events that members get by it.
//!
//! Fresh events come from a reader that goes along with the ledger, block by block, and what is handed out is a part of a
//! decoded block, so that nothing is copied. What has to be delivered again is read by its offset.
//!
//! What it does not do: know members, wait for events, keep anything.

use std::sync::Arc;

use super::{
    entry::Standing,
    form::EventForm,
    keeper::Kept,
    ledger::{Fresh, Grant, Key, Ledger, MemberId, Progress, Rules},
};
use crate::{
    broker::{Delivery, TopicEntry},
    engine::{FetchError, Reader, Slice, Topic},
    model::{Offset, Time},
};

/// See the module.
#[derive(Debug)]
pub(super) struct Track {
    pub(super) entry: Arc<TopicEntry>,
    pub(super) topic: Topic,
    pub(super) ledger: Ledger,
    reader: Reader,
    /// What is left of the block that was read last.
    block: Option<Block>,
    /// The generation of the ledger whose progress was given to be kept last; `None` before the first.
    given: Option<u64>,
}

/// Events that were read and not handed out yet.
#[derive(Debug)]
struct Block {
    slice: Slice,
    /// The keys of the events from `keyed` on; none when nobody asks for them.
    keys: Vec<Key>,
    keyed: Offset,
}

/// What a member asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn {
    pub(super) member: MemberId,
    pub(super) now: Time,
    /// How many members ask at the same time, this one included.
    pub(super) askers: usize,
    /// Whether the member wants what can't be read to be left out.
    pub(super) skips: bool,
}

/// What a member is given.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub(super) deliveries: Vec<Delivery>,
    /// How many events, and how many of them not for the first time.
    pub(super) events: u64,
    pub(super) again: u64,
    /// How many events were settled because they can't be read.
    pub(super) skipped: u64,
}

impl Given {
    pub(super) fn is_empty(&self) -> bool {
        self.deliveries.is_empty() && self.skipped == 0
    }
}

impl Track {
    /// Goes on from what was kept, which `is_kept`, or starts.
    pub(super) fn new(entry: Arc<TopicEntry>, topic: Topic, rules: Rules, progress: &Progress, is_kept: bool) -> Track {
        let ledger = Ledger::open(rules, progress);
        let reader = topic.reader(ledger.next_unread());
        let given = is_kept.then(|| ledger.generation());
        Track { entry, topic, ledger, reader, block: None, given }
    }

    /// Waits until there are events that were not read yet, or the topic has been destroyed. Cancel-safe.
    pub(super) async fn ready(&mut self) {
        self.reader.ready().await;
    }

    /// Whether nothing is to be had without waiting for the topic to grow.
    pub(super) fn is_read(&self) -> bool {
        self.block.is_none() && !self.reader.is_ready()
    }

    /// Whether a member may find something here.
    pub(super) fn has_something(&self) -> bool {
        self.ledger.counts().waiting > 0 || (!self.is_read() && self.ledger.room() > 0)
    }

    /// How many events wait for members.
    fn waiting(&self) -> u64 {
        self.topic.end_offset().distance_from(self.ledger.next_unread()) + self.ledger.counts().waiting
    }

    /// Whether there is progress that was not given to be kept yet.
    pub(super) fn is_dirty(&self) -> bool {
        self.given != Some(self.ledger.generation())
    }

    /// The progress, to be kept.
    pub(super) fn keep(&mut self) -> Kept {
        self.given = Some(self.ledger.generation());
        let standing = Standing { position: self.ledger.position(), settled: self.ledger.counts().settled_beyond };
        Kept { topic: self.entry.clone(), standing, encoded: self.ledger.progress().encode() }
    }

    /// Changes how the group works; nothing is with members then.
    pub(super) fn set_rules(&mut self, rules: Rules) {
        self.ledger.set_rules(rules);
        // Events that were read and passed over may come once more.
        self.block = None;
    }

    /// Moves to another place; what members hold is taken from them.
    pub(super) fn seek(&mut self, to: Offset) {
        self.ledger.seek(to);
        self.block = None;
        self.reader = self.topic.reader(to);
    }

    /// What a member gets in its turn: what has to come again first. At most its share, and at most what one block has.
    ///
    /// # Errors
    ///
    /// When stored events can't be read, or the topic was destroyed.
    pub(super) async fn take(&mut self, turn: Turn, form: EventForm) -> Result<Given, FetchError> {
        let share = super::ledger::share(self.waiting(), turn.askers);
        let limit = share.min(self.ledger.allowance(turn.member));
        let mut given = Given::default();
        if limit == 0 {
            return Ok(given);
        }
        if let Some(grant) = self.ledger.take_again(turn.member, turn.now, limit) {
            self.read_again(grant, turn.skips, &mut given).await?;
            return Ok(given);
        }
        while given.is_empty() && self.ledger.room() > 0 && self.fill(turn.skips, form, &mut given).await? {
            if !self.take_fresh(turn, limit, &mut given) {
                break;
            }
        }
        Ok(given)
    }

    /// Makes sure that events which were not read yet are there; says whether.
    async fn fill(&mut self, skips: bool, form: EventForm, given: &mut Given) -> Result<bool, FetchError> {
        let next = self.ledger.next_unread();
        if let Some(block) = self.block.take_if(|block| block.slice.bounds().0 != next) {
            let slice = block.slice.starting_at(next);
            // In front of what is left lies what was sought, and nobody has read it.
            if slice.bounds().0 == next && !slice.is_empty() {
                self.block = Some(Block { slice, ..block });
            }
        }
        if self.block.is_some() {
            return Ok(true);
        }
        if self.reader.next() != next {
            self.reader = self.topic.reader(next);
        }
        match self.reader.read().await {
            Ok(Some(slice)) => {
                let mut keys = Vec::new();
                if self.ledger.rules().ordered {
                    keys.extend(slice.events().map(|event| (form.key)(event.record).map_or(Key::NONE, Key::of)));
                }
                self.block = Some(Block { slice, keys, keyed: next });
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(FetchError::Closed { last, .. }) if skips => {
                self.ledger.skip(next, last.plus(1));
                given.skipped += self.ledger.next_unread().distance_from(next);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Gives what may be given of the block that was read; says whether the next one may have more.
    fn take_fresh(&mut self, turn: Turn, limit: u32, given: &mut Given) -> bool {
        let Some(block) = &self.block else { return false };
        let mut left = limit;
        let mut ranges: Vec<(Offset, Offset)> = Vec::new();
        for (first, rlid, count) in block.slice.parts() {
            let from = usize::try_from(first.distance_from(block.keyed)).unwrap_or(usize::MAX);
            let keys = block.keys.get(from..).and_then(|keys| keys.get(..count as usize)).unwrap_or_default();
            let fresh = Fresh { first, rlid, count, keys };
            for Grant { first, count, deliveries } in self.ledger.take_fresh(turn.member, turn.now, &fresh, left) {
                left -= count.min(left);
                given.again += if deliveries > 1 { u64::from(count) } else { 0 };
                let end = first.plus(u64::from(count));
                match ranges.last_mut() {
                    Some((_, last)) if *last == first => *last = end,
                    _ => ranges.push((first, end)),
                }
            }
            if left == 0 || self.ledger.next_unread() != first.plus(u64::from(count)) {
                break;
            }
        }
        given.events += u64::from(limit - left);
        let parts = ranges.into_iter().map(|(from, until)| block.slice.clone().starting_at(from).before(until));
        given.deliveries.extend(parts.map(|events| Delivery { topic: self.entry.clone(), events }));
        self.ledger.next_unread() >= block.slice.bounds().1
    }

    /// Reads what a member gets once more.
    async fn read_again(&mut self, grant: Grant, skips: bool, given: &mut Given) -> Result<(), FetchError> {
        let until = grant.first.plus(u64::from(grant.count));
        let mut reader = self.topic.reader(grant.first);
        while reader.next() < until {
            match reader.read().await {
                Ok(Some(slice)) => {
                    let events = slice.before(until);
                    let (first, end) = events.bounds();
                    given.events += end.distance_from(first);
                    given.deliveries.push(Delivery { topic: self.entry.clone(), events });
                }
                // The ledger knows no events that there are not.
                Ok(None) => break,
                Err(FetchError::Closed { last, .. }) if skips => {
                    let end = last.plus(1).min(until);
                    self.ledger.skip(reader.next(), end);
                    given.skipped += reader.skip_to(end);
                }
                Err(error) => return Err(error),
            }
        }
        if grant.deliveries > 1 {
            given.again = given.events;
        }
        Ok(())
    }
}
