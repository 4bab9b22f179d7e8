//! The order of events with one key, in groups that are ordered by key.
//!
//! Invariants: of the events with one key that were read and are not settled, those that are leased come first, and one
//! member has them all. Whose turn the first of the others is stands in a list, if it is ready, so that nobody has to look
//! at what waits for others.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::terms::MemberId;
use crate::model::murmur3_128;

/// What an event's key comes to: 64 bits. Two keys that come to the same are kept in order together, which costs
/// nothing but a little freedom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::broker::group) struct Key(u64);

#[derive(Debug, Clone)]
struct Line {
    /// Events that are not settled, in order.
    events: VecDeque<u64>,
    /// How many of them are leased.
    leased: usize,
    /// Who has these.
    holder: MemberId,
    /// The event behind them, if it is ready, and whose turn it is.
    turn: Option<Turn>,
}

/// An event, and who may have it; `None`: anybody.
type Turn = (Option<MemberId>, u64);

/// The keys of the events from the position on.
#[derive(Debug, Clone, Default)]
pub(super) struct Keys {
    /// The event that the first of `of_events` belongs to.
    base: u64,
    of_events: VecDeque<Key>,
    lines: HashMap<Key, Line>,
    /// The events that are ready, and that anybody may have.
    anybodys: BTreeSet<u64>,
    /// Those that one member may have.
    turns: HashMap<MemberId, BTreeSet<u64>>,
}

impl Key {
    /// Of events that have no key, which are free.
    pub(in crate::broker::group) const NONE: Key = Key(0);

    pub(in crate::broker::group) fn of(bytes: &[u8]) -> Key {
        let digest = murmur3_128(bytes);
        Key(u64::from_be_bytes(*digest.first_chunk().expect("sixteen bytes begin with eight")).max(1))
    }

    /// To which of the members the events with this key belong: the one whose number and the key make the largest
    /// number together. So one that comes or goes moves no other member's keys.
    pub(super) fn owner(self, members: impl Iterator<Item = MemberId>) -> Option<MemberId> {
        members.max_by_key(|member| mix(self.0 ^ mix(member.0)))
    }
}

/// Spreads the bits of a number, so that numbers that are close to each other are not afterwards. (The last step of `SplitMix64`.)
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

impl Keys {
    /// Without events, of which the next is this one.
    pub(super) fn at(base: u64) -> Keys {
        Keys { base, ..Keys::default() }
    }

    /// Adds the next event.
    pub(super) fn push(&mut self, offset: u64, key: Key, is_settled: bool) {
        if self.of_events.is_empty() {
            self.base = offset;
        }
        self.of_events.push_back(key);
        if key != Key::NONE && !is_settled {
            let line = Line { events: VecDeque::new(), leased: 0, holder: MemberId(0), turn: None };
            self.lines.entry(key).or_insert(line).events.push_back(offset);
        }
    }

    pub(super) fn key(&self, offset: u64) -> Key {
        let at = offset.checked_sub(self.base).and_then(|at| usize::try_from(at).ok());
        at.and_then(|at| self.of_events.get(at)).copied().unwrap_or(Key::NONE)
    }

    /// Whether a member may have an event that is not leased: none before it waits, and no other member has one.
    pub(super) fn may_take(&self, offset: u64, member: MemberId) -> bool {
        let Some(line) = self.lines.get(&self.key(offset)) else { return true };
        line.events.get(line.leased) == Some(&offset) && (line.leased == 0 || line.holder == member)
    }

    /// Notes that a member got an event that it may take.
    pub(super) fn take(&mut self, offset: u64, member: MemberId) {
        if let Some(line) = self.lines.get_mut(&self.key(offset)) {
            line.leased += 1;
            line.holder = member;
        }
    }

    /// Whether an event that is not settled is leased, as far as its key says: those without one always are.
    pub(super) fn is_leased(&self, offset: u64) -> bool {
        let is_leased = |line: &Line| line.events.binary_search(&offset).is_ok_and(|at| at < line.leased);
        self.lines.get(&self.key(offset)).is_none_or(is_leased)
    }

    pub(super) fn settle(&mut self, offset: u64) {
        let key = self.key(offset);
        let Some(line) = self.lines.get_mut(&key) else { return };
        let Ok(at) = line.events.binary_search(&offset) else { return };
        line.events.remove(at);
        if at < line.leased {
            line.leased -= 1;
        }
        if line.events.is_empty() {
            let turn = line.turn;
            self.lines.remove(&key);
            self.change_turn(turn, None);
        }
    }

    /// Has to follow when an event, or one with its key, was handed out, settled, or taken back, or got ready.
    pub(super) fn refresh(
        &mut self,
        offset: u64,
        is_ready: impl Fn(u64) -> bool,
        owner: impl Fn(Key) -> Option<MemberId>,
    ) {
        let key = self.key(offset);
        if key == Key::NONE {
            if is_ready(offset) {
                self.anybodys.insert(offset);
            } else {
                self.anybodys.remove(&offset);
            }
            return;
        }
        let Some(line) = self.lines.get_mut(&key) else { return };
        let next = line.events.get(line.leased).copied().filter(|next| is_ready(*next));
        let turn = next.map(|next| (if line.leased > 0 { Some(line.holder) } else { owner(key) }, next));
        let before = std::mem::replace(&mut line.turn, turn);
        self.change_turn(before, turn);
    }

    fn change_turn(&mut self, before: Option<Turn>, turn: Option<Turn>) {
        if before == turn {
            return;
        }
        match before {
            Some((None, offset)) => drop(self.anybodys.remove(&offset)),
            Some((Some(member), offset)) => {
                if let Some(turns) = self.turns.get_mut(&member) {
                    turns.remove(&offset);
                    if turns.is_empty() {
                        self.turns.remove(&member);
                    }
                }
            }
            None => {}
        }
        match turn {
            Some((None, offset)) => drop(self.anybodys.insert(offset)),
            Some((Some(member), offset)) => drop(self.turns.entry(member).or_default().insert(offset)),
            None => {}
        }
    }

    /// The lowest event that is a member's turn, among those that it would take.
    pub(super) fn next_turn(&self, member: MemberId, would_take: impl Fn(u64) -> bool) -> Option<u64> {
        let own = self.turns.get(&member).into_iter().flatten().copied().find(|offset| would_take(*offset));
        let free = self.anybodys.iter().copied().take_while(|offset| own.is_none_or(|own| *offset < own));
        free.into_iter().find(|offset| would_take(*offset)).or(own)
    }

    /// The first event of each key that was read and is not settled.
    pub(super) fn firsts(&self) -> Vec<u64> {
        self.lines.values().filter_map(|line| line.events.front().copied()).collect()
    }

    /// Notes that an event is not leased any more. What is leased of its key behind it is not any more either: these
    /// events are returned.
    pub(super) fn take_back(&mut self, offset: u64) -> Vec<u64> {
        let Some(line) = self.lines.get_mut(&self.key(offset)) else { return Vec::new() };
        let Ok(at) = line.events.binary_search(&offset) else { return Vec::new() };
        let leased = line.leased;
        line.leased = at.min(leased);
        line.events.range(leased.min(at + 1)..leased).copied().collect()
    }

    /// Forgets the keys of what lies before the position.
    pub(super) fn pass(&mut self, position: u64) {
        let passed =
            usize::try_from(position.saturating_sub(self.base)).unwrap_or(usize::MAX).min(self.of_events.len());
        self.of_events.drain(..passed);
        self.base = position.max(self.base);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Key = Key(1);
    const B: Key = Key(2);
    const ONE: MemberId = MemberId(1);
    const TWO: MemberId = MemberId(2);

    #[test]
    fn a_key_is_with_one_member_and_in_order() {
        let mut keys = Keys::at(1);
        for (offset, key) in (1..).zip([A, B, A, Key::NONE, A]) {
            keys.push(offset, key, false);
        }
        assert!(!keys.may_take(3, ONE), "1 comes before it");
        keys.take(1, ONE);
        assert!(keys.may_take(3, ONE) && !keys.may_take(3, TWO) && keys.may_take(2, TWO) && keys.may_take(4, TWO));
        keys.take(3, ONE);
        keys.take(5, ONE);
        assert_eq!(keys.take_back(3), [5]);
        assert!(!keys.may_take(3, TWO), "1 is still with another member");
        keys.settle(1);
        assert!(keys.may_take(3, TWO) && !keys.may_take(5, TWO));
        keys.settle(3);
        keys.settle(5);
        keys.settle(2);
        keys.pass(5);
        assert!(keys.lines.is_empty());
        assert_eq!((keys.of_events.len(), keys.base), (1, 5));
    }

    #[test]
    fn a_member_that_goes_moves_only_its_own_keys() {
        let members = || (0..5).map(MemberId);
        let mut counts = HashMap::new();
        for number in 0..10_000_u64 {
            let key = Key::of(&number.to_be_bytes());
            let owner = key.owner(members()).unwrap();
            *counts.entry(owner).or_insert(0) += 1;
            let left = key.owner(members().filter(|member| *member != MemberId(3))).unwrap();
            assert!(owner == MemberId(3) || owner == left);
        }
        assert!(counts.values().all(|count| (1_800..2_200).contains(count)), "{counts:?}");
    }
}
