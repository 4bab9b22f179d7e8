//! The words in which a ledger is spoken to.

use std::{fmt, num::NonZero, time::Duration};

use super::keys::Key;
use crate::model::{DeliverySemantic, NackCode, Offset, Rlid};

/// How the group works, as far as its ledgers are concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::broker::group) struct Rules {
    pub(in crate::broker::group) delivery: DeliverySemantic,
    /// How long a member may take for an event.
    pub(in crate::broker::group) timeout: Duration,
    /// How many events may lie between the position and the furthest that was handed out.
    pub(in crate::broker::group) window: u32,
    /// After how many deliveries an event that fails once more is dead.
    pub(in crate::broker::group) max_deliveries: Option<NonZero<u32>>,
    /// Whether events with equal keys go to one member at a time, in order.
    pub(in crate::broker::group) ordered: bool,
}

/// A member of the group, while it is connected; never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::broker::group) struct MemberId(pub(in crate::broker::group) u64);

/// What a member says of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Ack,
    Nack(NackCode),
}

/// What came of a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker::group) enum Outcome {
    /// It counts: the event is settled, or will come again.
    Accepted,
    /// The event was settled before. Under exactly-once this is said to the member that settled it alone.
    Already,
    /// It does not count: the member does not hold the event.
    Refused,
    /// The ledger does not know such an event, or not any more.
    Unknown,
}

/// Why an event has to come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker::group) enum Reason {
    Nack(NackCode),
    Timeout,
    /// The member that held it has gone.
    Disconnected,
}

/// Events that were read for the first time: consecutive ones of one run.
#[derive(Debug, Clone, Copy)]
pub(in crate::broker::group) struct Fresh<'a> {
    pub(in crate::broker::group) first: Offset,
    pub(in crate::broker::group) rlid: Rlid,
    pub(in crate::broker::group) count: u32,
    /// One for each event when the group is ordered, and not looked at otherwise.
    pub(in crate::broker::group) keys: &'a [Key],
}

/// Consecutive events that a member gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker::group) struct Grant {
    pub(in crate::broker::group) first: Offset,
    pub(in crate::broker::group) count: u32,
    /// How often they have been delivered, with this time.
    pub(in crate::broker::group) deliveries: u32,
}

/// An event that was delivered as often as it may be, and failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker::group) struct DeadLetter {
    pub(in crate::broker::group) offset: Offset,
    pub(in crate::broker::group) deliveries: u32,
    pub(in crate::broker::group) reason: Reason,
}

/// Counts of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::broker::group) struct LedgerCounts {
    /// With members, now.
    pub(in crate::broker::group) leased: u64,
    /// Read before, and waiting to be handed out, now.
    pub(in crate::broker::group) waiting: u64,
    /// Waiting to be put away, now.
    pub(in crate::broker::group) dead: u64,
    /// Settled beyond the position, now.
    pub(in crate::broker::group) settled_beyond: u64,
    /// Handed out not for the first time, since the ledger was opened.
    pub(in crate::broker::group) redelivered: u64,
    /// Put away, since the ledger was opened.
    pub(in crate::broker::group) dead_lettered: u64,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Nack(code) => f.write_str(code.name()),
            Reason::Timeout => f.write_str("timeout"),
            Reason::Disconnected => f.write_str("disconnected"),
        }
    }
}
