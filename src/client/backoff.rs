//! How long to wait before the next attempt to connect.

use std::time::Duration;

use crate::sys::{Clock, Entropy};

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// Waits that double from a tenth of a second to five seconds, each shortened by up to a half at random so that many
/// clients do not come back at the same instant; and a limit for all of them together.
#[derive(Debug)]
pub(super) struct Backoff {
    clock: Clock,
    entropy: Entropy,
    limit: Option<Duration>,
    started: Option<Duration>,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(clock: Clock, entropy: Entropy, limit: Option<Duration>) -> Backoff {
        Backoff { clock, entropy, limit, started: None, next: FIRST }
    }

    /// Starts over: the last attempt succeeded.
    pub(super) fn reset(&mut self) {
        self.started = None;
        self.next = FIRST;
    }

    /// Waits before another attempt. False: the time for attempts is over.
    pub(super) async fn wait(&mut self) -> bool {
        let now = self.clock.elapsed();
        let started = *self.started.get_or_insert(now);
        if self.limit.is_some_and(|limit| now.saturating_sub(started) >= limit) {
            return false;
        }
        let half = self.next / 2;
        let random = u32::try_from(self.entropy.number() % 1_000).expect("less than a thousand");
        self.clock.sleep(half + half * random / 1_000).await;
        self.next = (self.next * 2).min(LONGEST);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::ManualClock;

    #[tokio::test]
    async fn gives_up_at_the_limit_and_starts_over_after_a_success() {
        let manual = ManualClock::default();
        let clock = Clock::manual(manual.clone());
        let mut backoff = Backoff::new(clock, Entropy::seeded(1), Some(Duration::from_secs(10)));
        assert!(backoff.wait().await);
        manual.advance(Duration::from_secs(9));
        assert!(backoff.wait().await);
        manual.advance(Duration::from_secs(1));
        assert!(!backoff.wait().await);
        backoff.reset();
        assert!(backoff.wait().await);
    }
}
