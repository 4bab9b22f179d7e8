//! The account of a publish stream: what was sent, and what became of it.

use std::collections::VecDeque;

use super::ClientError;
use crate::model::NackCode;

/// What an event weighs in the window beyond its own bytes, so that empty ones are bounded too.
const OVERHEAD_BYTES: usize = 64;

/// How many refusals are kept one by one; beyond, they are only counted.
const REFUSALS_MAX: usize = 1_000;

/// How far a publisher is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    pub sent: u64,
    pub acked: u64,
    /// The bytes of the acked events' data.
    pub acked_bytes: u64,
    /// Nacked by the server, or too large to be sent.
    pub refused: u64,
    /// Sent on a stream that broke before their acks came: they may be stored or not.
    pub unacknowledged: u64,
    /// Why the stream broke last; none while it never did.
    pub interruption: Option<String>,
}

/// An event that was not stored, and never will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub tag: u64,
    pub code: NackCode,
    pub message: String,
}

/// Consecutive events whose fate is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unacknowledged {
    pub first_tag: u64,
    pub last_tag: u64,
    pub count: u64,
}

/// The account when all is over.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub progress: Progress,
    /// The first thousand.
    pub refusals: Vec<Refusal>,
    pub unacknowledged: Vec<Unacknowledged>,
    /// What ended the stream, when it was not the caller.
    pub failure: Option<ClientError>,
}

/// One event in flight.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its size, encoded.
    bytes: u32,
    /// The size of its data.
    data_bytes: u32,
    tag: u64,
    done: bool,
}

impl Entry {
    pub(super) fn new(bytes: u32, data_bytes: u32, tag: u64) -> Entry {
        Entry { bytes, data_bytes, tag, done: false }
    }

    /// How much of the window it takes.
    pub(super) fn weight(&self) -> usize {
        usize::try_from(self.bytes).expect("events are small") + OVERHEAD_BYTES
    }
}

#[derive(Debug)]
pub(super) enum Reply {
    Ack,
    Nack(NackCode, String),
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// The number of the first entry in flight.
    base: u64,
    inflight: VecDeque<Entry>,
    /// How much the entries weigh beyond what was taken from the window.
    excess: usize,
    progress: Progress,
    refusals: Vec<Refusal>,
    unacknowledged: Vec<Unacknowledged>,
    pub(super) failure: Option<ClientError>,
}

impl Ledger {
    /// Notes events that are about to be sent, which weigh `excess` more than the window gave.
    pub(super) fn sent(&mut self, entries: Vec<Entry>, excess: usize) {
        self.progress.sent += entries.len() as u64;
        self.inflight.extend(entries);
        self.excess += excess;
    }

    /// Notes replies by the numbers of their events, and adds the tags of those that were acked where they are wanted.
    /// Returns how much of the window is free again; nothing when an event was answered that isn't in flight.
    pub(super) fn settle(
        &mut self,
        replies: impl IntoIterator<Item = (u64, Reply)>,
        mut acked: Option<&mut Vec<u64>>,
    ) -> Option<usize> {
        let mut released = 0;
        for (number, reply) in replies {
            let index = usize::try_from(number.checked_sub(self.base)?).ok()?;
            let entry = self.inflight.get_mut(index).filter(|entry| !entry.done)?;
            entry.done = true;
            released += entry.weight();
            match reply {
                Reply::Ack => {
                    self.progress.acked += 1;
                    self.progress.acked_bytes += u64::from(entry.data_bytes);
                    if let Some(tags) = acked.as_mut() {
                        tags.push(entry.tag);
                    }
                }
                Reply::Nack(code, message) => {
                    let refusal = Refusal { tag: entry.tag, code, message };
                    self.refuse(refusal);
                }
            }
            // An answer that is out of order leaves the front as it is, which is not looked at for nothing.
            if index == 0 {
                while self.inflight.pop_front_if(|entry| entry.done).is_some() {
                    self.base += 1;
                }
            }
        }
        Some(self.discount(released))
    }

    /// Notes an event that was refused.
    pub(super) fn refuse(&mut self, refusal: Refusal) {
        self.progress.refused += 1;
        if self.refusals.len() < REFUSALS_MAX {
            self.refusals.push(refusal);
        }
    }

    /// Gives up on the events below a number: the stream that they were sent on is gone. Returns how much of the window
    /// is free again.
    pub(super) fn abandon(&mut self, end: u64) -> usize {
        let mut released = 0;
        let mut lost: Option<Unacknowledged> = None;
        while self.base < end {
            let Some(entry) = self.inflight.pop_front() else {
                break;
            };
            self.base += 1;
            if entry.done {
                continue;
            }
            released += entry.weight();
            self.progress.unacknowledged += 1;
            let lost = lost.get_or_insert(Unacknowledged { first_tag: entry.tag, last_tag: entry.tag, count: 0 });
            lost.last_tag = entry.tag;
            lost.count += 1;
        }
        self.unacknowledged.extend(lost);
        self.discount(released)
    }

    pub(super) fn interrupted(&mut self, reason: String) {
        self.progress.interruption = Some(reason);
    }

    pub(super) fn is_settled(&self) -> bool {
        self.inflight.is_empty()
    }

    pub(super) fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// The account, in which everything that is still in flight counts as unacknowledged.
    pub(super) fn outcome(&mut self) -> Outcome {
        self.abandon(u64::MAX);
        Outcome {
            progress: self.progress.clone(),
            refusals: std::mem::take(&mut self.refusals),
            unacknowledged: std::mem::take(&mut self.unacknowledged),
            failure: self.failure.take(),
        }
    }

    /// What goes back to the window, of what was released: never more than was taken from it.
    fn discount(&mut self, released: usize) -> usize {
        let kept = released.min(self.excess);
        self.excess -= kept;
        released - kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(count: u64) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.sent((0..count).map(|number| Entry::new(10, 5, 100 + number)).collect(), 0);
        ledger
    }

    const WEIGHT: usize = 10 + OVERHEAD_BYTES;

    #[test]
    fn acks_in_and_out_of_order() {
        let mut ledger = ledger(4);
        let mut acked = Vec::new();
        assert_eq!(ledger.settle(vec![(0, Reply::Ack), (2, Reply::Ack)], Some(&mut acked)), Some(2 * WEIGHT));
        assert_eq!(acked, [100, 102]);
        assert_eq!(ledger.settle(vec![(2, Reply::Ack)], None), None, "it was acked before");
        let nack = Reply::Nack(NackCode::TopicArchived, "no".to_owned());
        assert_eq!(ledger.settle(vec![(3, nack), (1, Reply::Ack)], None), Some(2 * WEIGHT));
        assert!(ledger.is_settled());
        let outcome = ledger.outcome();
        assert_eq!((outcome.progress.acked, outcome.progress.acked_bytes, outcome.progress.refused), (3, 15, 1));
        assert_eq!(outcome.refusals[0].tag, 103);
        assert_eq!(outcome.unacknowledged, []);
    }

    #[test]
    fn what_was_not_sent_can_not_be_acked() {
        assert_eq!(ledger(1).settle(vec![(1, Reply::Ack)], None), None);
    }

    #[test]
    fn a_broken_stream_leaves_what_it_took() {
        let mut ledger = ledger(5);
        assert_eq!(ledger.settle(vec![(0, Reply::Ack), (2, Reply::Ack)], None), Some(2 * WEIGHT));
        assert_eq!(ledger.abandon(4), 2 * WEIGHT);
        assert!(!ledger.is_settled(), "the last one was not taken and goes on");
        assert_eq!(ledger.settle(vec![(4, Reply::Ack)], None), Some(WEIGHT));
        let outcome = ledger.outcome();
        assert_eq!((outcome.progress.acked, outcome.progress.unacknowledged), (3, 2));
        assert_eq!(outcome.unacknowledged, [Unacknowledged { first_tag: 101, last_tag: 103, count: 2 }]);
    }

    #[test]
    fn the_window_gets_back_what_it_gave() {
        let mut ledger = Ledger::default();
        ledger.sent(vec![Entry::new(1_000, 999, 1)], 900);
        assert_eq!(ledger.settle(vec![(0, Reply::Ack)], None), Some(1_000 + OVERHEAD_BYTES - 900));
    }
}
