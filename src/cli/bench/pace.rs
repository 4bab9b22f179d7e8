//! Keeping a rate whatever the server does: an event is due when it is due, also when those before it are late.

use std::{ops::Range, time::Duration};

use tokio::sync::mpsc;

use crate::{
    cli::error::{CliError, Result},
    sys::Clock,
};

/// The least time between two looks at the clock.
const STEP: Duration = Duration::from_micros(50);

/// How many announcements may wait for the sender. When it is later than that, the next one covers more events.
const ANNOUNCEMENTS: usize = 1_024;

/// The instants at which the events of an open loop are due.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    start: Duration,
    /// Events a second.
    rate: u64,
    /// How many there are in all.
    count: u64,
}

impl Schedule {
    pub(super) fn new(start: Duration, rate: u64, count: u64) -> Schedule {
        Schedule { start, rate, count }
    }

    /// When an event is due, on the clock's scale.
    pub(super) fn due(&self, number: u64) -> Duration {
        let nanos = u128::from(number) * 1_000_000_000 / u128::from(self.rate);
        self.start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// How many events are due at a time of the clock, or were before.
    fn due_by(&self, now: Duration) -> u64 {
        let nanos = now.saturating_sub(self.start).as_nanos();
        let due = nanos * u128::from(self.rate) / 1_000_000_000 + 1;
        u64::try_from(due).unwrap_or(u64::MAX).min(self.count)
    }

    /// Announces the events as they become due, from a thread of its own, which ends with the schedule or the receiver.
    pub(super) fn announce(self, clock: Clock) -> Result<mpsc::Receiver<Range<u64>>> {
        let (sender, receiver) = mpsc::channel(ANNOUNCEMENTS);
        let keep = move || {
            let mut announced = 0;
            while announced < self.count {
                let due = self.due_by(clock.elapsed());
                if due > announced {
                    if sender.blocking_send(announced..due).is_err() {
                        return;
                    }
                    announced = due;
                }
                clock.block(self.due(announced).saturating_sub(clock.elapsed()).max(STEP));
            }
        };
        let thread = std::thread::Builder::new().name("ensign-pace".to_owned()).spawn(keep);
        thread.map_err(|error| CliError::failed(format!("can't start a thread: {error}")))?;
        Ok(receiver)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_due_at_their_rate() {
        let start = Duration::from_secs(1);
        let schedule = Schedule::new(start, 4, 10);
        assert_eq!(schedule.due(0), start);
        assert_eq!(schedule.due(6), Duration::from_millis(2_500));
        assert_eq!(schedule.due_by(start), 1);
        assert_eq!(schedule.due_by(Duration::from_millis(1_249)), 1);
        assert_eq!(schedule.due_by(Duration::from_millis(1_250)), 2);
        assert_eq!(schedule.due_by(Duration::from_mins(1)), 10);
    }

    #[test]
    fn every_event_is_announced_once() {
        let mut announcements = Schedule::new(Duration::ZERO, 1_000_000, 5_000).announce(Clock::real()).unwrap();
        let mut next = 0;
        while let Some(due) = announcements.blocking_recv() {
            assert_eq!(due.start, next);
            next = due.end;
        }
        assert_eq!(next, 5_000);
    }
}
