//! How fast a topic is replayed: when each event is due, so that the gaps between events are what they were, as many times
//! shorter as the speed says.
//!
//! A gap is that between the times of commit: these never go backwards within a topic, and say when an event could
//! first be read. The time of creation is the publisher's word, may be anything, and is kept with the event.
//!
//! An event is due by the first one, not by the one before it, so that delays do not add up: what is late is
//! published at once.

use std::{fmt, str::FromStr, time::Duration};

use crate::model::Time;

/// The slowest and the fastest speed that is kept.
const TIMES_MIN: f64 = 0.001;
const TIMES_MAX: f64 = 1_000_000.0;

/// `1x`, `10x`, `0.5x`, `max`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Speed {
    /// As fast as the server takes it.
    Max,
    /// So many times as fast as it was.
    Times(f64),
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Speed, String> {
        if text == "max" {
            return Ok(Speed::Max);
        }
        let times = text.strip_suffix('x').and_then(|number| number.parse::<f64>().ok());
        match times.filter(|times| (TIMES_MIN..=TIMES_MAX).contains(times)) {
            Some(times) => Ok(Speed::Times(times)),
            None => Err(format!("write it like 1x, 10x or 0.5x, from {TIMES_MIN}x to {TIMES_MAX}x, or max")),
        }
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Speed::Max => f.write_str("max"),
            Speed::Times(times) => write!(f, "{times}x"),
        }
    }
}

/// When events are due.
#[derive(Debug)]
pub(super) struct Pace {
    speed: Speed,
    /// When the first event was committed, and when it was published again.
    first: Option<(Time, Duration)>,
}

impl Pace {
    pub(super) fn new(speed: Speed) -> Pace {
        Pace { speed, first: None }
    }

    /// When an event is due, on the scale that `now` is on; none for one that is due whenever it is there.
    pub(super) fn due(&mut self, committed: Option<Time>, now: impl FnOnce() -> Duration) -> Option<Duration> {
        let (Speed::Times(times), Some(committed)) = (self.speed, committed) else { return None };
        let (first, start) = *self.first.get_or_insert_with(|| (committed, now()));
        let gap = committed.nanos().saturating_sub(first.nanos());
        Some(start + Duration::from_nanos(u64::try_from(gap).unwrap_or(0)).div_f64(times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds() {
        for text in ["1x", "10x", "0.5x", "0.001x", "1000000x", "max"] {
            assert_eq!(text.parse::<Speed>().unwrap().to_string(), text);
        }
        for bad in ["", "1", "x", "0x", "-1x", "infx", "NaNx", "0.0001x", "fast", "1000001x"] {
            assert!(bad.parse::<Speed>().is_err(), "{bad}");
        }
    }

    #[test]
    fn gaps_are_kept_from_the_first_event_on() {
        let check = |speed: &str, expected: [u64; 4]| {
            let mut pace = Pace::new(speed.parse().unwrap());
            let start = Duration::from_secs(100);
            let mut due = |seconds: i64| {
                let due = pace.due(Some(Time::from_parts(1_700_000_000 + seconds, 0)), || start).unwrap();
                u64::try_from(due.checked_sub(start).unwrap().as_millis()).unwrap()
            };
            // An event without a gap, and one from before the first, are due with it.
            assert_eq!([due(0), due(0), due(3), due(-5)], expected, "{speed}");
        };
        check("1x", [0, 0, 3_000, 0]);
        check("10x", [0, 0, 300, 0]);
        check("0.5x", [0, 0, 6_000, 0]);
    }

    #[test]
    fn what_is_due_at_once() {
        let time = Some(Time::from_parts(1, 0));
        assert_eq!(Pace::new(Speed::Max).due(time, || Duration::ZERO), None);
        assert_eq!(Pace::new(Speed::Times(1.0)).due(None, || Duration::ZERO), None);
        // The longest gap at the lowest speed is still a time.
        let mut pace = Pace::new(Speed::Times(TIMES_MIN));
        pace.due(Some(Time::from_nanos(i64::MIN)), || Duration::ZERO).unwrap();
        pace.due(Some(Time::from_nanos(i64::MAX)), || Duration::ZERO).unwrap();
    }
}
