//! The search for expected events: what was looked at, and which events came nearest to what is expected.

use super::condition::{Condition, Miss};
use crate::client::Event;

/// How many events that came near are named.
const NEAREST_MAX: usize = 3;

/// What is expected of an event, and what became of those that were looked at.
#[derive(Debug)]
pub(super) struct Search {
    conditions: Vec<Condition>,
    looked_at: u64,
    found: u64,
    /// The events that met the most conditions, with the number that they did not meet: the nearest first, and of equally
    /// near ones the latest.
    nearest: Vec<(usize, Event)>,
}

impl Search {
    pub(super) fn new(conditions: Vec<Condition>) -> Search {
        Search { conditions, looked_at: 0, found: 0, nearest: Vec::new() }
    }

    /// Looks at an event; gives it back when it meets every condition.
    pub(super) fn look_at(&mut self, event: Event) -> Option<Event> {
        self.looked_at += 1;
        let unmet = self.conditions.iter().filter(|condition| !condition.is_met(&event)).count();
        if unmet == 0 {
            self.found += 1;
            return Some(event);
        }
        let place = self.nearest.partition_point(|(other, _)| *other < unmet);
        if place < NEAREST_MAX {
            self.nearest.truncate(NEAREST_MAX - 1);
            self.nearest.insert(place, (unmet, event));
        }
        None
    }

    pub(super) fn looked_at(&self) -> u64 {
        self.looked_at
    }

    pub(super) fn found(&self) -> u64 {
        self.found
    }

    /// The events that came nearest, and what each of them misses.
    pub(super) fn nearest(&self) -> impl Iterator<Item = (&Event, Vec<Miss>)> {
        let misses =
            |event: &Event| self.conditions.iter().filter_map(|condition| condition.miss(event)).collect::<Vec<_>>();
        self.nearest.iter().map(move |(_, event)| (event, misses(event)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Mimetype, Offset, Rlid, TopicId, Ulid};

    fn event(offset: u64, key: &'static str, data: &'static str) -> Event {
        Event {
            topic: TopicId(Ulid::from_bytes([1; 16])),
            offset: Offset::new(offset),
            id: Rlid::from_parts(offset, 0),
            committed: None,
            created: None,
            mimetype: Mimetype::TEXT_PLAIN,
            schema: None,
            metadata: BTreeMap::new(),
            key: Bytes::from_static(key.as_bytes()),
            data: Bytes::from_static(data.as_bytes()),
            encryption: None,
            publisher: None,
        }
    }

    fn search() -> Search {
        Search::new(vec![Condition::Key("k".to_owned()), Condition::Data("d".to_owned())])
    }

    #[test]
    fn without_conditions_every_event_is_expected() {
        let mut search = Search::new(Vec::new());
        assert!(search.look_at(event(1, "", "")).is_some());
        assert_eq!((search.looked_at(), search.found(), search.nearest().count()), (1, 1, 0));
    }

    proptest! {
        /// What is named is what a sort of all of them would put first.
        #[test]
        fn the_nearest_are_those_that_met_the_most(which in prop::collection::vec(0..4_usize, 0..12)) {
            let mut search = search();
            let mut others = Vec::new();
            for (kind, offset) in which.iter().zip(1..) {
                let event = match kind {
                    0 => event(offset, "k", "d"),
                    1 => event(offset, "k", "x"),
                    2 => event(offset, "x", "d"),
                    _ => event(offset, "x", "x"),
                };
                prop_assert_eq!(search.look_at(event).is_some(), *kind == 0);
                others.extend((*kind > 0).then_some((if *kind == 3 { 2 } else { 1 }, std::cmp::Reverse(offset))));
            }
            prop_assert_eq!(search.looked_at(), which.len() as u64);
            prop_assert_eq!(search.found(), (which.len() - others.len()) as u64);
            others.sort_unstable();
            others.truncate(NEAREST_MAX);
            let nearest = search.nearest().map(|(event, misses)| (misses.len(), std::cmp::Reverse(event.offset.get())));
            prop_assert_eq!(nearest.collect::<Vec<_>>(), others);
        }
    }
}
