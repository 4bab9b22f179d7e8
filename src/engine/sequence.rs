//! Where events' identifiers come from.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{model::Rlid, sys::Clock};

/// Hands out ranges of identifiers, over all topics. They only grow: when the wall clock steps back, they go on from the
/// last one until it has caught up.
#[derive(Debug, Clone)]
pub(super) struct Sequence {
    clock: Clock,
    /// The identifier after the last one that was handed out. Taken once per block.
    next: Arc<Mutex<Rlid>>,
}

impl Sequence {
    pub(super) fn new(clock: Clock) -> Sequence {
        Sequence { clock, next: Arc::new(Mutex::new(Rlid::NULL)) }
    }

    /// The first of `count` consecutive identifiers, all of them later than `floor`.
    pub(super) fn take(&self, count: u64, floor: Option<Rlid>) -> Rlid {
        let now = Rlid::from_parts(self.clock.now().millis(), 1);
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let first = now.max(*next).max(floor.map_or(Rlid::NULL, |floor| floor.plus(1)));
        *next = first.plus(count);
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::Time, sys::ManualClock};

    #[test]
    fn identifiers_grow_whatever_the_clock_does() {
        let clock = ManualClock::default();
        clock.set(Time::from_millis(1_000));
        let sequence = Sequence::new(Clock::manual(clock.clone()));
        let first = sequence.take(3, None);
        assert_eq!(first, Rlid::from_parts(1_000, 1));
        clock.set(Time::from_millis(10));
        assert_eq!(sequence.take(1, None), first.plus(3));
        assert_eq!(sequence.take(1, Some(Rlid::from_parts(5_000, 9))), Rlid::from_parts(5_000, 10));
        clock.set(Time::from_millis(6_000));
        assert_eq!(sequence.take(1, None), Rlid::from_parts(6_000, 1));
    }
}
