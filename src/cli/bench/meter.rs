//! Measuring: how many events, how many bytes, and how long each of them took.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::{client::AckListener, sys::Clock};

/// The longest latency that is told apart from longer ones.
const LATENCY_MAX: Duration = Duration::from_hours(1);

/// The unit of time in a stamp, in nanoseconds.
const TICK_NANOS: u128 = 100;

/// How many bits of a stamp are for the length of the event.
const LENGTH_BITS: u32 = 24;

/// The percentiles that are reported, with their names in JSON.
pub(super) const PERCENTILES: [(&str, f64); 5] =
    [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99_9", 99.9), ("p99_99", 99.99)];

/// What an event carries through its stream as its tag: when it was due, and how long its data is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp(u64);

impl Stamp {
    /// A stamp of an event that was due at this time of the clock.
    pub(super) fn new(due: Duration, bytes: usize) -> Stamp {
        let ticks = u64::try_from(due.as_nanos() / TICK_NANOS).unwrap_or(u64::MAX);
        Stamp(ticks << LENGTH_BITS | bytes as u64 & ((1 << LENGTH_BITS) - 1))
    }

    pub(super) fn tag(self) -> u64 {
        self.0
    }

    fn due(self) -> Duration {
        Duration::from_nanos((self.0 >> LENGTH_BITS) * 100)
    }

    fn bytes(self) -> u64 {
        self.0 & ((1 << LENGTH_BITS) - 1)
    }
}

/// How long things took, to three digits.
#[derive(Debug, Clone)]
pub(super) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(super) fn new() -> Latencies {
        let max = u64::try_from(LATENCY_MAX.as_nanos()).expect("an hour is short");
        Latencies(Histogram::new_with_bounds(1, max, 3).expect("the bounds are valid"))
    }

    pub(super) fn record(&mut self, latency: Duration, count: u64) {
        self.0.saturating_record_n(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX), count);
    }

    /// A percentile in microseconds, rounded.
    pub(super) fn micros(&self, percentile: f64) -> u64 {
        (self.0.value_at_percentile(percentile) + 500) / 1_000
    }

    pub(super) fn max_micros(&self) -> u64 {
        (self.0.max() + 500) / 1_000
    }

    /// How many were recorded.
    pub(super) fn count(&self) -> u64 {
        self.0.len()
    }

    /// All percentiles as an object.
    pub(super) fn json(&self) -> Value {
        let mut object: serde_json::Map<String, Value> = PERCENTILES
            .iter()
            .map(|(name, percentile)| ((*name).to_owned(), json!(self.micros(*percentile))))
            .collect();
        object.insert("max".to_owned(), json!(self.max_micros()));
        Value::Object(object)
    }
}

/// What a meter has seen.
#[derive(Debug, Clone)]
pub(super) struct Readings {
    pub(super) events: u64,
    pub(super) bytes: u64,
    pub(super) latencies: Latencies,
    /// From the start to the last event.
    pub(super) elapsed: Duration,
}

/// Counts events. Cheap to clone; clones count together.
#[derive(Debug, Clone)]
pub(super) struct Meter {
    clock: Clock,
    state: Arc<Mutex<State>>,
}

/// Locked once for all events that came together.
#[derive(Debug)]
struct State {
    started: Duration,
    last: Duration,
    events: u64,
    bytes: u64,
    latencies: Latencies,
}

impl Meter {
    pub(super) fn new(clock: &Clock) -> Meter {
        let started = clock.elapsed();
        let state = State { started, last: started, events: 0, bytes: 0, latencies: Latencies::new() };
        Meter { clock: clock.clone(), state: Arc::new(Mutex::new(state)) }
    }

    /// Forgets everything, and starts now.
    pub(super) fn restart(&self) {
        let fresh = Meter::new(&self.clock);
        std::mem::swap(&mut *self.state(), &mut *fresh.state());
    }

    /// Counts acks, by the stamps in their tags.
    pub(super) fn listener(&self, then: impl Fn(usize) + Send + Sync + 'static) -> AckListener {
        let meter = self.clone();
        AckListener::new(move |tags| {
            meter.acked(tags);
            then(tags.len());
        })
    }

    fn acked(&self, tags: &[u64]) {
        let now = self.clock.elapsed();
        let mut state = self.state();
        state.last = now;
        state.events += tags.len() as u64;
        // Events that were due at the same instant were acked at the same instant, and are recorded together.
        for together in tags.chunk_by(|a, b| Stamp(*a).due() == Stamp(*b).due()) {
            let latency = now.saturating_sub(Stamp(together[0]).due());
            state.latencies.record(latency, together.len() as u64);
        }
        state.bytes += tags.iter().map(|tag| Stamp(*tag).bytes()).sum::<u64>();
    }

    /// Counts events that arrived together, with how long each took.
    pub(super) fn arrived(&self, events: impl Iterator<Item = (u64, Duration)>) {
        let mut state = self.state();
        state.last = self.clock.elapsed();
        for (bytes, latency) in events {
            state.events += 1;
            state.bytes += bytes;
            state.latencies.record(latency, 1);
        }
    }

    /// Counts events that arrived together and all took as long.
    pub(super) fn arrived_together(&self, events: u64, bytes: u64, latency: Duration) {
        let mut state = self.state();
        state.last = self.clock.elapsed();
        state.events += events;
        state.bytes += bytes;
        state.latencies.record(latency, events);
    }

    pub(super) fn events(&self) -> u64 {
        self.state().events
    }

    pub(super) fn read(&self) -> Readings {
        let state = self.state();
        Readings {
            events: state.events,
            bytes: state.bytes,
            latencies: state.latencies.clone(),
            elapsed: state.last.saturating_sub(state.started),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::ManualClock;

    #[test]
    fn acks_are_measured_from_when_their_events_were_due() {
        let hand = ManualClock::default();
        let meter = Meter::new(&Clock::manual(hand.clone()));
        let stamp = |millis, bytes| Stamp::new(Duration::from_millis(millis), bytes).tag();
        hand.advance(Duration::from_millis(10));
        meter.acked(&[stamp(4, 100), stamp(4, 7), stamp(10, 5_243_000)]);
        let readings = meter.read();
        assert_eq!((readings.events, readings.bytes), (3, 5_243_107));
        assert_eq!(readings.elapsed, Duration::from_millis(10));
        assert_eq!((readings.latencies.micros(50.0) + 5) / 10, 600);
        assert_eq!(readings.latencies.json()["max"], readings.latencies.max_micros());
        meter.restart();
        assert_eq!(meter.events(), 0);
        assert_eq!(meter.read().latencies.count(), 0);
    }
}
