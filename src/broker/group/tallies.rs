//! What is counted of all groups since the broker was opened.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Counts, raised once per batch. A cheap handle.
#[derive(Debug, Clone, Default)]
pub(super) struct Tallies(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    redelivered: AtomicU64,
    dead_lettered: AtomicU64,
    refused: AtomicU64,
}

impl Tallies {
    pub(super) fn redelivered(&self, events: u64) {
        self.0.redelivered.fetch_add(events, Ordering::Relaxed);
    }

    pub(super) fn dead_lettered(&self, events: usize) {
        self.0.dead_lettered.fetch_add(events as u64, Ordering::Relaxed);
    }

    pub(super) fn refused(&self, acks: usize) {
        self.0.refused.fetch_add(acks as u64, Ordering::Relaxed);
    }

    /// How many events were delivered once more, how many were put away, and how many acks were refused.
    pub(super) fn read(&self) -> [u64; 3] {
        [&self.0.redelivered, &self.0.dead_lettered, &self.0.refused].map(|count| count.load(Ordering::Relaxed))
    }
}
