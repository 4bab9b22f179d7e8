//! Which events are settled: everything before the position, and a bit for each event from there on.
//!
//! Invariants: the event at the position is not settled; the bits reach as far as the furthest settled event, so they are
//! bounded by whoever bounds that.

use std::{collections::VecDeque, ops::Range};

const BITS: u64 = u64::BITS as u64;

/// The position, and what is settled beyond it.
#[derive(Debug, Clone)]
pub(super) struct Settled {
    position: u64,
    /// One bit for each event, from the word that the position is in on.
    words: VecDeque<u64>,
    /// How many are settled beyond the position.
    beyond: u64,
}

impl Settled {
    pub(super) fn at(position: u64) -> Settled {
        Settled { position, words: VecDeque::new(), beyond: 0 }
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    pub(super) fn beyond(&self) -> u64 {
        self.beyond
    }

    #[inline]
    pub(super) fn contains(&self, offset: u64) -> bool {
        offset < self.position || self.word(offset / BITS).is_some_and(|word| word >> (offset % BITS) & 1 == 1)
    }

    /// Settles an event; false when it was settled before.
    #[inline]
    pub(super) fn insert(&mut self, offset: u64) -> bool {
        if offset < self.position {
            return false;
        }
        let index = index(offset / BITS - self.position / BITS);
        if index >= self.words.len() {
            self.words.resize(index + 1, 0);
        }
        let (word, bit) = (&mut self.words[index], 1 << (offset % BITS));
        if *word & bit != 0 {
            return false;
        }
        *word |= bit;
        self.beyond += 1;
        if offset == self.position {
            self.advance();
        }
        true
    }

    /// Moves the position over what is settled.
    #[inline]
    fn advance(&mut self) {
        while let Some(word) = self.words.front() {
            let at = self.position % BITS;
            let ones = u64::from((word >> at).trailing_ones());
            self.position += ones;
            self.beyond -= ones;
            if at + ones < BITS {
                return;
            }
            self.words.pop_front();
        }
    }

    /// The first event from `offset` on that is not settled.
    pub(super) fn next_unsettled(&self, offset: u64) -> u64 {
        let offset = offset.max(self.position);
        let mut number = offset / BITS;
        let mut skip = offset % BITS;
        while let Some(word) = self.word(number) {
            let ones = u64::from((word >> skip).trailing_ones());
            if skip + ones < BITS {
                return number * BITS + skip + ones;
            }
            (number, skip) = (number + 1, 0);
        }
        number * BITS + skip
    }

    /// The first event from `offset` on that is settled; `None` when there is none.
    pub(super) fn next_settled(&self, offset: u64) -> Option<u64> {
        if offset < self.position {
            return Some(offset);
        }
        let mut number = offset / BITS;
        let mut skip = offset % BITS;
        while let Some(word) = self.word(number) {
            let rest = word >> skip;
            if rest != 0 {
                return Some(number * BITS + skip + u64::from(rest.trailing_zeros()));
            }
            (number, skip) = (number + 1, 0);
        }
        None
    }

    /// The parts of a range that are not settled, in order.
    pub(super) fn gaps(&self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let mut from = range.start;
        std::iter::from_fn(move || {
            let start = self.next_unsettled(from);
            if start >= range.end {
                return None;
            }
            let end = self.next_settled(start).unwrap_or(range.end).min(range.end);
            from = end;
            Some(start..end)
        })
    }

    /// What is settled beyond the position, in order.
    pub(super) fn ranges(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        let mut from = self.position;
        std::iter::from_fn(move || {
            let start = self.next_settled(from)?;
            from = self.next_unsettled(start);
            Some(start..from)
        })
    }

    fn word(&self, number: u64) -> Option<u64> {
        let index = usize::try_from(number.checked_sub(self.position / BITS)?).ok()?;
        self.words.get(index).copied()
    }
}

fn index(words: u64) -> usize {
    usize::try_from(words).expect("the window's words are few")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(start in 0_u64..200, inserted in prop::collection::vec(0_u64..400, 0..400), from in 0_u64..700) {
            let mut settled = Settled::at(start);
            let mut model: BTreeSet<u64> = (0..start).collect();
            for offset in inserted {
                let offset = start + offset;
                prop_assert_eq!(settled.insert(offset), model.insert(offset));
                let position = (0..1_000).find(|at| !model.contains(at)).unwrap();
                prop_assert_eq!(settled.position(), position);
                prop_assert_eq!(settled.beyond(), model.range(position..).count() as u64);
            }
            prop_assert_eq!(settled.contains(from), model.contains(&from));
            prop_assert_eq!(settled.next_settled(from), model.range(from..).next().copied());
            let unsettled = (from..from + 1_000).find(|at| !model.contains(at)).unwrap();
            prop_assert_eq!(settled.next_unsettled(from), unsettled);
            let all: Vec<u64> = settled.ranges().flatten().collect();
            let beyond: Vec<u64> = model.range(settled.position()..).copied().collect();
            prop_assert_eq!(all, beyond);
            let gaps: Vec<u64> = settled.gaps(from..from + 300).flatten().collect();
            let missing: Vec<u64> = (from..from + 300).filter(|at| !model.contains(at)).collect();
            prop_assert_eq!(gaps, missing);
        }
    }
}
