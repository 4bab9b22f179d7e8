//! Sets of numbers that mostly follow each other: a run of millions takes the room of one pair.

use std::collections::BTreeMap;

/// A set of numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    /// From the first number of each run to the one behind its last. Runs neither touch nor overlap.
    runs: BTreeMap<u64, u64>,
    count: u64,
}

impl Numbers {
    /// Adds a number; gives whether it was not there yet.
    pub(super) fn insert(&mut self, number: u64) -> bool {
        if self.contains(number) {
            return false;
        }
        let end = self.runs.remove(&(number + 1)).unwrap_or(number + 1);
        match self.runs.range_mut(..number).next_back() {
            Some((_, before)) if *before == number => *before = end,
            _ => drop(self.runs.insert(number, end)),
        }
        self.count += 1;
        true
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        self.runs.range(..=number).next_back().is_some_and(|(_, end)| number < *end)
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The first number that another set does not have, and how many it does not have.
    pub(super) fn missing_in(&self, other: &Numbers) -> Option<(u64, u64)> {
        let (mut first, mut missing) = (None, 0);
        for (start, end) in &self.runs {
            let mut at = *start;
            while at < *end {
                // Either the other set goes on from here, or there is a hole up to its next run.
                let covered = other.runs.range(..=at).next_back().map(|(_, end)| *end).filter(|end| at < *end);
                if let Some(covered) = covered {
                    at = covered;
                    continue;
                }
                let hole = other.runs.range(at..).next().map_or(*end, |(next, _)| *next).min(*end);
                first.get_or_insert(at);
                missing += hole - at;
                at = hole;
            }
        }
        first.map(|first| (first, missing))
    }
}

impl FromIterator<u64> for Numbers {
    fn from_iter<I: IntoIterator<Item = u64>>(numbers: I) -> Numbers {
        let mut set = Numbers::default();
        for number in numbers {
            set.insert(number);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_run_takes_the_room_of_one_pair() {
        let numbers: Numbers = (5..1_000).chain(2_000..3_000).chain([1_001, 1_000]).collect();
        assert_eq!(numbers.runs, BTreeMap::from([(5, 1_002), (2_000, 3_000)]));
    }

    fn few() -> impl Strategy<Value = Vec<u64>> {
        prop::collection::vec(0_u64..40, 0..60)
    }

    proptest! {
        #[test]
        fn it_is_what_an_ordinary_set_is(ours in few(), theirs in few()) {
            let mut numbers = Numbers::default();
            let mut set = BTreeSet::new();
            for number in &ours {
                prop_assert_eq!(numbers.insert(*number), set.insert(*number));
            }
            for number in 0..41 {
                prop_assert_eq!(numbers.contains(number), set.contains(&number));
            }
            prop_assert_eq!(numbers.count(), set.len() as u64);
            let other: BTreeSet<u64> = theirs.iter().copied().collect();
            let missing: Vec<u64> = set.difference(&other).copied().collect();
            let expected = missing.first().map(|first| (*first, missing.len() as u64));
            prop_assert_eq!(numbers.missing_in(&theirs.into_iter().collect()), expected);
        }
    }
}
