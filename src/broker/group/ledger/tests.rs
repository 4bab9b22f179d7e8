//! Examples: what the ledger does for a group, one thing at a time.

use std::{num::NonZero, time::Duration};

use super::*;

const ONE: MemberId = MemberId(1);
const TWO: MemberId = MemberId(2);
const START: Time = Time::from_millis(1_000_000);

fn ledger(delivery: DeliverySemantic, change: impl FnOnce(&mut Rules)) -> Ledger {
    let timeout = Duration::from_secs(20);
    let mut rules = Rules { delivery, timeout, window: 100, max_deliveries: None, ordered: false };
    change(&mut rules);
    let mut ledger = Ledger::open(rules, &Progress::at(Offset::FIRST));
    ledger.add_member(ONE);
    ledger.add_member(TWO);
    ledger
}

fn after(millis: i64) -> Time {
    START.plus_nanos(millis * 1_000_000)
}

fn rlid(offset: u64) -> Rlid {
    Rlid::from_parts(7, u32::try_from(offset).unwrap())
}

fn offsets(grants: impl IntoIterator<Item = Grant>) -> Vec<u64> {
    grants.into_iter().flat_map(|grant| (grant.first.get()..).take(grant.count as usize)).collect()
}

impl Ledger {
    fn fresh(&mut self, member: MemberId, count: u32, keys: &[u8]) -> Vec<u64> {
        let keys: Vec<Key> = keys.iter().map(|key| Key::of(&[*key])).collect();
        let first = self.next_unread();
        offsets(self.take_fresh(member, START, &Fresh { first, rlid: rlid(first.get()), count, keys: &keys }, count))
    }

    fn again(&mut self, member: MemberId, now: Time) -> Vec<u64> {
        offsets(self.take_again(member, now, 100))
    }

    fn acked(&mut self, member: MemberId, offset: u64) -> Outcome {
        self.settle(member, rlid(offset), Verdict::Ack, after(1))
    }

    fn nacked(&mut self, member: MemberId, offset: u64, code: NackCode, now: Time) -> Outcome {
        self.settle(member, rlid(offset), Verdict::Nack(code), now)
    }
}

#[test]
fn the_position_is_the_lowest_event_that_is_not_settled() {
    let mut ledger = ledger(DeliverySemantic::AtLeastOnce, |_| ());
    assert_eq!((ledger.fresh(ONE, 3, &[]), ledger.fresh(TWO, 2, &[])), (vec![1, 2, 3], vec![4, 5]));
    for (member, offset, position) in [(TWO, 5, 1), (ONE, 1, 2), (ONE, 3, 2), (ONE, 2, 4), (TWO, 4, 6)] {
        assert_eq!((ledger.acked(member, offset), ledger.position().get()), (Outcome::Accepted, position));
    }
    assert_eq!((ledger.acked(ONE, 3), ledger.acked(ONE, 6)), (Outcome::Already, Outcome::Unknown));
}

#[test]
fn a_late_ack_counts_at_least_once_and_is_refused_exactly_once() {
    for (delivery, late) in
        [(DeliverySemantic::AtLeastOnce, Outcome::Accepted), (DeliverySemantic::ExactlyOnce, Outcome::Refused)]
    {
        let mut ledger = ledger(delivery, |_| ());
        ledger.fresh(ONE, 1, &[]);
        assert_eq!(ledger.next_deadline(), Some(after(20_000)));
        assert!(!ledger.expire(after(19_999)) && ledger.expire(after(20_000)));
        assert_eq!(ledger.again(TWO, after(20_000)), [1]);
        assert_eq!(ledger.acked(ONE, 1), late, "{delivery}");
        let second = if late == Outcome::Accepted { Outcome::Already } else { Outcome::Accepted };
        assert_eq!(ledger.acked(TWO, 1), second, "{delivery}");
        assert_eq!(ledger.position().get(), 2);
    }
}

#[test]
fn at_most_once_what_is_handed_out_is_settled() {
    let mut ledger = ledger(DeliverySemantic::AtMostOnce, |_| ());
    let generation = ledger.generation();
    assert_eq!(ledger.fresh(ONE, 5, &[]), [1, 2, 3, 4, 5]);
    assert!(ledger.generation() > generation);
    ledger.leave(ONE, START);
    assert_eq!((ledger.position().get(), ledger.again(TWO, START)), (6, vec![]));
}

#[test]
fn what_a_member_refuses_goes_to_another_if_there_is_one() {
    let mut ledger = ledger(DeliverySemantic::AtLeastOnce, |_| ());
    ledger.fresh(ONE, 2, &[]);
    ledger.nacked(ONE, 1, NackCode::UnknownType, START);
    ledger.nacked(ONE, 2, NackCode::DeliverAgainAny, START);
    assert_eq!(ledger.again(ONE, START), [2]);
    assert_eq!(ledger.again(TWO, START), [1]);
    ledger.nacked(TWO, 1, NackCode::DeliverAgainNotMe, START);
    // Nobody is left who has not refused it.
    assert_eq!(ledger.again(ONE, after(100)), [1]);
}

#[test]
fn an_event_that_fails_waits_ever_longer_and_is_put_away_in_the_end() {
    let mut ledger = ledger(DeliverySemantic::ExactlyOnce, |rules| {
        rules.max_deliveries = NonZero::new(6);
        rules.timeout = Duration::from_millis(350);
    });
    ledger.fresh(ONE, 1, &[]);
    let mut now = 0;
    for pause in [0, 100, 200, 350, 350] {
        ledger.nacked(ONE, 1, NackCode::Unprocessed, after(now));
        if pause > 0 {
            assert_eq!(ledger.again(ONE, after(now + pause - 1)), [] as [u64; 0]);
        }
        now += pause;
        assert_eq!(ledger.again(ONE, after(now)), [1]);
    }
    assert_eq!(ledger.counts().redelivered, 5);
    ledger.leave(ONE, after(now));
    let dead = DeadLetter { offset: Offset::FIRST, deliveries: 6, reason: Reason::Disconnected };
    assert_eq!(ledger.dead_letters().collect::<Vec<_>>(), [dead]);
    // It stays dead when the broker starts again, until it has been put away.
    let mut ledger = Ledger::open(ledger.rules().clone(), &ledger.progress());
    assert_eq!(ledger.dead_letters().collect::<Vec<_>>(), [dead]);
    ledger.add_member(ONE);
    assert_eq!(ledger.fresh(ONE, 2, &[]), [2]);
    assert!(ledger.buried(Offset::FIRST));
    assert_eq!((ledger.position().get(), ledger.counts().dead_lettered), (2, 1));
}

#[test]
fn a_key_is_with_one_member_at_a_time_and_in_order() {
    let mut ledger = ledger(DeliverySemantic::AtLeastOnce, |rules| rules.ordered = true);
    assert_eq!(ledger.fresh(ONE, 2, b"ab"), [1, 2]);
    // 3 and 5 have the keys that the first member holds.
    assert_eq!(ledger.fresh(TWO, 3, b"aca"), [4]);
    assert_eq!(ledger.again(ONE, START), [3]);
    // What comes behind an event that failed comes again behind it.
    ledger.nacked(ONE, 1, NackCode::DeliverAgainAny, START);
    assert_eq!(ledger.held(ONE), 1);
    assert_eq!(ledger.again(TWO, START), [1]);
    assert_eq!(ledger.again(ONE, START), [] as [u64; 0]);
    ledger.acked(TWO, 1);
    assert_eq!(ledger.again(ONE, START), [3]);
}

#[test]
fn the_window_holds_back_who_is_far_ahead() {
    let mut ledger = ledger(DeliverySemantic::AtLeastOnce, |rules| rules.window = 20);
    assert_eq!(ledger.fresh(ONE, 15, &[]).len(), 10, "a member holds half the window at most");
    assert_eq!((ledger.room(), ledger.fresh(TWO, 15, &[]).len()), (10, 10));
    for offset in 2..=20 {
        ledger.acked(if offset > 10 { TWO } else { ONE }, offset);
    }
    assert_eq!((ledger.room(), ledger.fresh(TWO, 5, &[])), (0, vec![]));
    ledger.acked(ONE, 1);
    assert_eq!((ledger.room(), ledger.fresh(TWO, 5, &[]).len()), (20, 5));
}

#[test]
fn what_a_member_may_hold_follows_how_quick_it_is() {
    let mut ledger = ledger(DeliverySemantic::AtLeastOnce, |rules| rules.window = 1_000);
    assert_eq!(ledger.fresh(ONE, 100, &[]).len(), 16);
    (1..=16).for_each(|offset| assert_eq!(ledger.acked(ONE, offset), Outcome::Accepted));
    assert_eq!((ledger.allowance(ONE), ledger.allowance(TWO)), (32, 16));
    assert_eq!(ledger.fresh(ONE, 100, &[]).len(), 32);
    // Acks that come late are no reason to give more.
    for offset in 17..=48 {
        ledger.settle(ONE, rlid(offset), Verdict::Ack, after(5_001));
    }
    assert_eq!(ledger.allowance(ONE), 32);
    ledger.fresh(ONE, 1, &[]);
    ledger.expire(after(20_000));
    assert_eq!((ledger.allowance(ONE), ledger.allowance(TWO), ledger.allowance(MemberId(3))), (16, 16, 0));
}

#[test]
fn what_was_handed_out_before_a_restart_comes_again_and_what_was_settled_does_not() {
    let mut ledger = ledger(DeliverySemantic::ExactlyOnce, |_| ());
    ledger.fresh(ONE, 6, &[]);
    ledger.nacked(ONE, 4, NackCode::Unprocessed, START);
    for offset in [1, 3, 5] {
        assert_eq!(ledger.acked(ONE, offset), Outcome::Accepted);
    }
    let bytes = ledger.progress().encode();
    let mut ledger = Ledger::open(ledger.rules().clone(), &Progress::decode(&bytes).unwrap());
    ledger.add_member(TWO);
    let first = ledger.next_unread();
    let grants = ledger.take_fresh(TWO, START, &Fresh { first, rlid: rlid(first.get()), count: 9, keys: &[] }, 9);
    let deliveries: Vec<(u64, u32, u32)> =
        grants.iter().map(|grant| (grant.first.get(), grant.count, grant.deliveries)).collect();
    assert_eq!(deliveries, [(2, 1, 1), (4, 1, 2), (6, 5, 1)]);
}

#[test]
fn what_cannot_be_read_is_settled_and_a_seek_forgets() {
    let mut ledger = ledger(DeliverySemantic::AtLeastOnce, |_| ());
    ledger.fresh(ONE, 4, &[]);
    ledger.skip(Offset::new(3), Offset::new(9));
    assert_eq!((ledger.position().get(), ledger.next_unread().get(), ledger.held(ONE)), (1, 9, 2));
    ledger.acked(ONE, 1);
    ledger.acked(ONE, 2);
    assert_eq!(ledger.position().get(), 9);
    ledger.fresh(ONE, 4, &[]);
    ledger.seek(Offset::new(2));
    assert_eq!((ledger.acked(ONE, 9), ledger.held(ONE)), (Outcome::Unknown, 0));
    assert_eq!((ledger.position().get(), ledger.fresh(TWO, 2, &[])), (2, vec![2, 3]));
}

#[test]
fn what_was_due_is_not_due_any_more_when_nobody_asks_for_it() {
    let mut ledger = ledger(DeliverySemantic::AtLeastOnce, |_| ());
    ledger.fresh(ONE, 1, &[]);
    ledger.nacked(ONE, 1, NackCode::Unprocessed, after(1));
    assert_eq!(ledger.again(ONE, after(1)), [1]);
    ledger.nacked(ONE, 1, NackCode::Unprocessed, after(2));
    assert_eq!(ledger.next_deadline(), Some(after(102)));
    ledger.expire(after(102));
    assert_eq!(ledger.next_deadline(), None);
    assert_eq!(ledger.again(ONE, after(102)), [1]);
}
