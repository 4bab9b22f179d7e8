//! The time of day, the time that only goes forward, and sleeping.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::sync::Notify;

use crate::model::Time;

/// How late a thread that keeps time may be woken, in nanoseconds; the system's own choice is fifty times more.
#[cfg(target_os = "linux")]
const TIMER_SLACK_NANOS: u64 = 1_000;

/// A clock: the machine's, or one that a test moves by hand.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    Real { start: Instant },
    Manual(ManualClock),
}

/// A clock that stands still until it is told otherwise, also backwards, as clocks that are set by a network do.
#[derive(Debug, Clone, Default)]
pub struct ManualClock {
    nanos: Arc<AtomicI64>,
    moved: Arc<Notify>,
}

impl ManualClock {
    pub fn set(&self, time: Time) {
        self.nanos.store(time.nanos(), Ordering::SeqCst);
        self.moved.notify_waiters();
    }

    pub fn advance(&self, by: Duration) {
        self.nanos.fetch_add(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX), Ordering::SeqCst);
        self.moved.notify_waiters();
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the machine's clocks")]
impl Clock {
    pub fn real() -> Clock {
        Clock(Source::Real { start: Instant::now() })
    }

    pub fn manual(clock: ManualClock) -> Clock {
        Clock(Source::Manual(clock))
    }

    /// The time of day. It may step, in both directions.
    pub fn now(&self) -> Time {
        match &self.0 {
            Source::Real { .. } => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Time::from_nanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
            }
            Source::Manual(clock) => Time::from_nanos(clock.nanos.load(Ordering::SeqCst)),
        }
    }

    /// The time since the clock was made. It never goes backwards.
    pub fn elapsed(&self) -> Duration {
        match &self.0 {
            Source::Real { start } => start.elapsed(),
            Source::Manual(clock) => {
                Duration::from_nanos(u64::try_from(clock.nanos.load(Ordering::SeqCst)).unwrap_or(0))
            }
        }
    }

    /// Waits. A manual clock's sleep is over at once, so that a test that moves the clock need not wait.
    pub async fn sleep(&self, duration: Duration) {
        match &self.0 {
            Source::Real { .. } => tokio::time::sleep(duration).await,
            Source::Manual(_) => tokio::task::yield_now().await,
        }
    }

    /// Waits until [`Clock::elapsed`] has come to this; with a manual clock, until it was moved so far.
    pub async fn reach(&self, elapsed: Duration) {
        match &self.0 {
            Source::Real { start } => tokio::time::sleep_until((*start + elapsed).into()).await,
            Source::Manual(clock) => loop {
                // Whoever waits is in line before it looks, so that no move is missed.
                let mut moved = std::pin::pin!(clock.moved.notified());
                moved.as_mut().enable();
                if self.elapsed() >= elapsed {
                    return;
                }
                moved.await;
            },
        }
    }

    /// Blocks the thread, and wakes it as punctually as the system can: for threads that keep time for others.
    pub fn block(&self, duration: Duration) {
        match &self.0 {
            Source::Real { .. } => {
                #[cfg(target_os = "linux")]
                rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(TIMER_SLACK_NANOS)).unwrap_or(());
                std::thread::sleep(duration);
            }
            Source::Manual(_) => std::thread::yield_now(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_manual_clock_is_waited_for() {
        let manual = ManualClock::default();
        let clock = Clock::manual(manual.clone());
        let waiting = tokio::spawn(async move { clock.reach(Duration::from_secs(2)).await });
        for _ in 0..2 {
            tokio::task::yield_now().await;
            assert!(!waiting.is_finished());
            manual.advance(Duration::from_secs(1));
        }
        waiting.await.unwrap();
    }
}
