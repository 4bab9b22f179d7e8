//! A history of a run, and what must hold of it whatever happened to servers and clients meanwhile.
//!
//! Offsets are the order in which a log came about, so each check is one pass over what was noted: nothing is invented, a
//! place in a topic holds one event whoever reads it, no acked event is lost, each publisher's events stand in the order
//! in which it sent them and only once, and a reader that goes on skips nothing.

use std::collections::{BTreeMap, BTreeSet};

/// Which event it is: who published it, as the how manieth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EventKey {
    pub(crate) publisher: u64,
    pub(crate) number: u64,
}

/// What a publisher knows of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Acked,
    /// It was sent, and nobody knows.
    InDoubt,
}

/// An event as a reader got it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Delivered {
    pub(crate) offset: u64,
    pub(crate) data: Vec<u8>,
}

/// What one reader got of one topic, in the order in which it came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reading {
    pub(crate) topic: usize,
    /// The offset that had to come first.
    pub(crate) from: u64,
    pub(crate) events: Vec<Delivered>,
    /// It was made when all was over, from the beginning: what it has not is not there.
    pub(crate) is_complete: bool,
}

/// Everything that was noted.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    /// By topic and event.
    pub(crate) sent: BTreeMap<(usize, EventKey), Fate>,
    pub(crate) readings: Vec<Reading>,
}

/// What must not be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Violation {
    /// A reader got what nobody sent to the topic, or not as it was sent.
    Invented { topic: usize, offset: u64, data: String },
    /// Two readers, or one twice, got different events from one place.
    Disagreement { topic: usize, offset: u64 },
    /// An acked event is in no complete reading.
    Lost { topic: usize, event: EventKey },
    /// An event stands before one that its publisher had sent earlier.
    Reordered { topic: usize, event: EventKey },
    /// An event stands in a topic twice.
    Duplicated { topic: usize, event: EventKey },
    /// A reader got this offset where another had to come.
    Skipped { reading: usize, expected: u64, found: u64 },
}

/// The data of an event. It says which one it is, and its length and its content depend on that.
pub(crate) fn data(event: EventKey) -> Vec<u8> {
    let EventKey { publisher, number } = event;
    let padding = usize::try_from((publisher * 31 + number * 7) % 120).unwrap();
    format!("{publisher}/{number}/{}", "x".repeat(padding)).into_bytes()
}

/// The event that has this data.
pub(crate) fn event_of(bytes: &[u8]) -> Option<EventKey> {
    let mut parts = std::str::from_utf8(bytes).ok()?.split('/');
    let event = EventKey { publisher: parts.next()?.parse().ok()?, number: parts.next()?.parse().ok()? };
    (data(event) == bytes).then_some(event)
}

impl History {
    /// All that is wrong with it.
    pub(crate) fn violations(&self) -> Vec<Violation> {
        let mut found = BTreeSet::new();
        // What stands at each place, whoever has read it.
        let mut places: BTreeMap<(usize, u64), EventKey> = BTreeMap::new();
        for (number, reading) in self.readings.iter().enumerate() {
            let topic = reading.topic;
            let mut expected = reading.from;
            for Delivered { offset, data } in &reading.events {
                if *offset != expected {
                    found.insert(Violation::Skipped { reading: number, expected, found: *offset });
                }
                expected = offset + 1;
                let Some(event) = event_of(data).filter(|event| self.sent.contains_key(&(topic, *event))) else {
                    let data = String::from_utf8_lossy(data).into_owned();
                    found.insert(Violation::Invented { topic, offset: *offset, data });
                    continue;
                };
                if *places.entry((topic, *offset)).or_insert(event) != event {
                    found.insert(Violation::Disagreement { topic, offset: *offset });
                }
            }
        }
        found.extend(order_violations(&places));
        found.extend(self.lost());
        found.into_iter().collect()
    }

    fn lost(&self) -> Vec<Violation> {
        let complete = self.readings.iter().filter(|reading| reading.is_complete);
        let there: BTreeSet<(usize, EventKey)> = complete
            .flat_map(|reading| reading.events.iter().filter_map(|event| Some((reading.topic, event_of(&event.data)?))))
            .collect();
        let acked = self.sent.iter().filter(|(_, fate)| **fate == Fate::Acked);
        let lost = acked.filter(|(event, _)| !there.contains(event));
        lost.map(|((topic, event), _)| Violation::Lost { topic: *topic, event: *event }).collect()
    }
}

fn order_violations(places: &BTreeMap<(usize, u64), EventKey>) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let mut last: BTreeMap<(usize, u64), u64> = BTreeMap::new();
    for ((topic, _), event) in places {
        let (topic, event) = (*topic, *event);
        if !seen.insert((topic, event)) {
            found.push(Violation::Duplicated { topic, event });
            continue;
        }
        let last = last.entry((topic, event.publisher)).or_insert(event.number);
        if *last > event.number {
            found.push(Violation::Reordered { topic, event });
        }
        *last = event.number.max(*last);
    }
    found
}

mod tests {
    use super::*;

    const fn event(number: u64) -> EventKey {
        EventKey { publisher: 1, number }
    }

    /// Two publishers' events in two topics, all acked but one, and read by one reader each and to the end.
    fn good() -> History {
        let mut history = History::default();
        for topic in 0..2 {
            let events: Vec<EventKey> = (1..=6).map(|at| EventKey { publisher: at % 2 + 1, number: at }).collect();
            for event in &events {
                history.sent.insert((topic, *event), Fate::Acked);
            }
            history.sent.insert((topic, event(99)), Fate::InDoubt);
            let delivered = |from: u64| {
                (from..=6)
                    .zip(&events[usize::try_from(from).unwrap() - 1..])
                    .map(|(offset, event)| Delivered { offset, data: data(*event) })
                    .collect()
            };
            history.readings.push(Reading { topic, from: 1, events: delivered(1), is_complete: true });
            history.readings.push(Reading { topic, from: 3, events: delivered(3), is_complete: false });
        }
        history
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut History), expected: &[Violation]) {
        let mut history = good();
        change(&mut history);
        assert_eq!(history.violations(), expected);
    }

    #[test]
    fn a_good_history_is_good() {
        check(|_| {}, &[]);
        // An event in doubt may be there.
        let stored = Delivered { offset: 7, data: data(event(99)) };
        check(|history| history.readings[0].events.push(stored), &[]);
    }

    #[test]
    fn what_nobody_sent_is_invented() {
        let other = EventKey { publisher: 7, number: 7 };
        let invented = |data: &[u8]| {
            [Violation::Invented { topic: 0, offset: 7, data: String::from_utf8(data.to_vec()).unwrap() }]
        };
        for bytes in [data(other), b"1/99/".to_vec(), b"".to_vec()] {
            let delivered = Delivered { offset: 7, data: bytes.clone() };
            check(|history| history.readings[0].events.push(delivered), &invented(&bytes));
        }
        // To another topic is not to this one.
        check(
            |history| history.sent.retain(|sent, _| *sent != (1, event(2))),
            &[Violation::Invented { topic: 1, offset: 2, data: String::from_utf8(data(event(2))).unwrap() }],
        );
    }

    #[test]
    fn two_readers_that_disagree_are_found() {
        let other = data(event(99));
        check(|history| history.readings[1].events[1].data = other, &[Violation::Disagreement { topic: 0, offset: 4 }]);
    }

    #[test]
    fn an_acked_event_that_is_gone_is_lost() {
        let lost = Violation::Lost { topic: 1, event: event(6) };
        check(|history| drop(history.readings[2].events.pop()), std::slice::from_ref(&lost));
        // Whoever stopped reading earlier has lost nothing.
        check(|history| drop(history.readings[3].events.pop()), &[]);
        check(
            |history| history.readings[2].is_complete = false,
            &(1..=6)
                .map(|at| Violation::Lost { topic: 1, event: EventKey { publisher: at % 2 + 1, number: at } })
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect::<Vec<_>>(),
        );
    }

    #[test]
    fn a_publishers_events_in_another_order_are_found() {
        let swap = |history: &mut History| {
            for reading in 0..2 {
                let events = &mut history.readings[reading].events;
                let (from, to) = (events.len() - 3, events.len() - 1);
                let other = events[from].data.clone();
                events[from].data = std::mem::replace(&mut events[to].data, other);
            }
        };
        check(swap, &[Violation::Reordered { topic: 0, event: event(4) }]);
    }

    #[test]
    fn an_event_that_is_there_twice_is_found() {
        let again = Delivered { offset: 7, data: data(event(6)) };
        check(|history| history.readings[0].events.push(again), &[Violation::Duplicated { topic: 0, event: event(6) }]);
    }

    #[test]
    fn a_reader_that_skips_or_goes_back_is_found() {
        let skipped = |expected, found| Violation::Skipped { reading: 3, expected, found };
        check(|history| drop(history.readings[3].events.remove(1)), &[skipped(4, 5)]);
        check(|history| drop(history.readings[3].events.remove(0)), &[skipped(3, 4)]);
        check(
            |history| {
                let again = history.readings[3].events[3].clone();
                history.readings[3].events.push(again);
            },
            &[skipped(7, 6)],
        );
    }
}
