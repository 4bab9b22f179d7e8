//! Which event has which identifier: the runs that were read, as far as the window reaches.
//!
//! Identifiers strictly increase with the offsets, and are consecutive within a run, so both are found in one list.
//! Events whose identifiers follow each other across runs are one entry. A few runs before the position are kept, so that
//! an ack that comes twice is known for what it is.

use std::collections::VecDeque;

use crate::model::Rlid;

/// How many runs that are settled altogether are kept.
const PASSED_MAX: usize = 64;

#[derive(Debug, Clone, Copy)]
struct Entry {
    first: u64,
    rlid: Rlid,
    count: u64,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Runs {
    entries: VecDeque<Entry>,
    /// How many of them end before the position.
    passed: usize,
    /// Where the last event was found.
    hint: usize,
}

impl Runs {
    /// Adds a run that lies behind all others.
    pub(super) fn push(&mut self, first: u64, rlid: Rlid, count: u64) {
        match self.entries.back_mut() {
            Some(last) if last.first + last.count == first && last.rlid.plus(last.count) == rlid => last.count += count,
            _ => self.entries.push_back(Entry { first, rlid, count }),
        }
    }

    /// The offset of the event.
    #[inline]
    pub(super) fn find(&mut self, rlid: Rlid) -> Option<u64> {
        if let Some(offset) = self.entries.get(self.hint).and_then(|entry| entry.find(rlid)) {
            return Some(offset);
        }
        let next = self.hint + 1;
        self.hint = match self.entries.get(next).and_then(|entry| entry.find(rlid)) {
            Some(_) => next,
            None => self.entries.partition_point(|entry| entry.rlid <= rlid).checked_sub(1)?,
        };
        self.entries[self.hint].find(rlid)
    }

    /// Forgets runs that lie before the position, but for the last few.
    #[inline]
    pub(super) fn pass(&mut self, position: u64) {
        while self.entries.get(self.passed).is_some_and(|entry| entry.first + entry.count <= position) {
            self.passed += 1;
        }
        while self.passed > PASSED_MAX {
            self.entries.pop_front();
            self.passed -= 1;
            self.hint = self.hint.saturating_sub(1);
        }
    }
}

impl Entry {
    #[inline]
    fn find(&self, rlid: Rlid) -> Option<u64> {
        let at = rlid.distance_from(self.rlid)?;
        (at < self.count).then_some(self.first + at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_found_by_their_identifiers() {
        let rlid = |sequence| Rlid::from_parts(7, sequence);
        let mut runs = Runs::default();
        for (first, sequence, count) in [(1, 10, 5), (6, 15, 5), (11, 40, 1), (12, 50, 3)] {
            runs.push(first, rlid(sequence), count);
        }
        assert_eq!(runs.entries.len(), 3);
        for _ in 0..2 {
            let found: Vec<Option<u64>> =
                [9, 10, 19, 20, 40, 41, 49, 50, 52, 53, 14].map(|at| runs.find(rlid(at))).into();
            let expected = [None, Some(1), Some(10), None, Some(11), None, None, Some(12), Some(14), None, Some(5)];
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn the_last_runs_before_the_position_are_kept() {
        let mut runs = Runs::default();
        for run in 0..200_u32 {
            runs.push(u64::from(run) * 2 + 1, Rlid::from_parts(u64::from(run), 0), 2);
        }
        assert_eq!(runs.find(Rlid::from_parts(120, 1)), Some(242));
        // The position is within the run at 100.
        runs.pass(202);
        assert_eq!(runs.entries.len(), 100 + PASSED_MAX);
        assert_eq!(runs.find(Rlid::from_parts(120, 1)), Some(242));
        assert_eq!(runs.find(Rlid::from_parts(36, 0)), Some(73));
        assert_eq!(runs.find(Rlid::from_parts(35, 0)), None);
    }
}
