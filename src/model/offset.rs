//! An event's position in its topic.

use std::fmt;

/// A position in a topic: dense, and 1 for the first event.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(u64);

impl Offset {
    pub const FIRST: Offset = Offset(1);

    pub const fn new(number: u64) -> Offset {
        Offset(number)
    }

    pub const fn get(self) -> u64 {
        self.0
    }

    /// The position `count` events further on.
    #[must_use]
    pub const fn plus(self, count: u64) -> Offset {
        Offset(self.0.saturating_add(count))
    }

    /// How many events lie from `earlier` up to, and without, this one; zero when it is not earlier.
    pub const fn distance_from(self, earlier: Offset) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
