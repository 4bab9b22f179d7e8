//! How often an account may be tried in vain: so that the guesses of many addresses at one account are no more than one
//! address could make.
//!
//! What counts is failure alone, so that an account that many machines sign in to at the same time is not kept out. An
//! account that does not exist counts like one that does. The number of accounts that are remembered is bounded.

use std::{
    collections::HashMap,
    mem,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use sha2::{Digest, Sha256};

use super::reply::Refusal;
use crate::sys::Clock;

/// How many attempts may fail one behind the other.
const FAILURES_MAX: u32 = 10;

/// After how long one failure is forgiven.
const FORGIVEN: Duration = Duration::from_secs(6);

/// How many accounts one generation remembers; there are two.
const REMEMBERED_MAX: usize = 16_384;

/// An account by a digest of its name, so that no name takes more memory than another.
type Account = [u8; 16];

/// The failed attempts at every account.
#[derive(Debug)]
pub(super) struct Attempts {
    clock: Clock,
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Account, Failures>,
    old: HashMap<Account, Failures>,
}

/// When the last of the failures will have been forgiven, on the clock's scale of elapsed time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Failures(Duration);

impl Attempts {
    pub(super) fn new(clock: Clock) -> Attempts {
        Attempts { clock, generations: Mutex::default() }
    }

    /// Refuses an attempt at an account at which too many have failed.
    pub(super) fn allow(&self, account: &str) -> Result<(), Refusal> {
        let now = self.clock.elapsed();
        let failures = self.with(|generations| generations.find(digest(account)));
        let is_full = failures.is_some_and(|Failures(until)| until > now + FORGIVEN * (FAILURES_MAX - 1));
        if is_full { Err(Refusal::too_many_requests()) } else { Ok(()) }
    }

    /// Counts an attempt that failed.
    pub(super) fn failed(&self, account: &str) {
        let now = self.clock.elapsed();
        let account = digest(account);
        self.with(|generations| {
            let until = generations.find(account).map_or(now, |Failures(until)| until.max(now));
            generations.insert(account, Failures(until + FORGIVEN));
        });
    }

    fn with<T>(&self, change: impl FnOnce(&mut Generations) -> T) -> T {
        change(&mut self.generations.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Generations {
    fn find(&self, account: Account) -> Option<Failures> {
        self.young.get(&account).or_else(|| self.old.get(&account)).copied()
    }

    fn insert(&mut self, account: Account, failures: Failures) {
        if self.young.len() >= REMEMBERED_MAX {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(account, failures);
    }
}

/// Names that differ in case alone are one account.
fn digest(account: &str) -> Account {
    let digest = Sha256::digest(account.trim().to_lowercase().as_bytes());
    *digest.first_chunk().expect("a digest has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::ManualClock;

    #[test]
    fn an_account_rests_after_too_many_failures() {
        let time = ManualClock::default();
        let attempts = Attempts::new(Clock::manual(time.clone()));
        let allowed = |account| attempts.allow(account).is_ok();
        for _ in 0..FAILURES_MAX {
            assert!(allowed("ann@example.com"));
            attempts.failed("ann@example.com");
        }
        assert_eq!((allowed("ann@example.com"), allowed(" ANN@example.com")), (false, false));
        assert!(allowed("bob@example.com"));
        time.advance(FORGIVEN);
        assert!(allowed("ann@example.com"));
        attempts.failed("ann@example.com");
        assert!(!allowed("ann@example.com"));
        time.advance(FORGIVEN * FAILURES_MAX);
        for _ in 0..FAILURES_MAX {
            assert!(allowed("ann@example.com"));
            attempts.failed("ann@example.com");
        }
        assert!(!allowed("ann@example.com"));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let attempts = Attempts::new(Clock::manual(ManualClock::default()));
        for number in 0..3 * REMEMBERED_MAX {
            attempts.failed(&number.to_string());
        }
        attempts.with(|generations| assert!(generations.young.len() + generations.old.len() <= 2 * REMEMBERED_MAX));
    }
}
