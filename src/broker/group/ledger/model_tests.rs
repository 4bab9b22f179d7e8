//! The ledger against a model that knows each event by itself and looks at all of them each time.

use std::{collections::BTreeMap, num::NonZero, time::Duration};

use proptest::prelude::*;

use super::*;

/// How many events the topic has.
const EVENTS: u64 = 80;
/// Events whose identifiers follow each other.
const RUN: u64 = 9;
const MEMBERS: u64 = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Unread,
    Leased { member: MemberId, deadline: Time },
    Waiting { due: Option<Time> },
    Dead,
    Settled { by: Option<MemberId> },
}

#[derive(Debug, Clone)]
struct Event {
    key: Key,
    state: State,
    /// It has an identifier that the ledger has heard.
    is_known: bool,
    failures: u32,
    reason: Option<Reason>,
    refused: Vec<MemberId>,
}

/// What is done next. Members and events are chosen among those that there are.
#[derive(Debug, Clone)]
enum Step {
    Join(u64),
    Leave(u64),
    Again {
        member: u64,
        limit: u32,
    },
    Fresh {
        member: u64,
        count: u64,
        limit: u32,
    },
    /// Of an event that the member holds.
    Held {
        member: u64,
        event: usize,
        verdict: Verdict,
    },
    /// Of any event.
    Any {
        member: u64,
        event: u64,
        verdict: Verdict,
    },
    Pass {
        millis: i64,
    },
    Expire,
    Bury {
        event: usize,
    },
    Skip {
        event: u64,
        count: u64,
    },
    Seek {
        event: u64,
    },
    Crash,
    Rules {
        window: u32,
    },
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        4 => Just(Verdict::Ack),
        1 => prop::sample::select(NackCode::ALL.to_vec()).prop_map(Verdict::Nack),
        1 => Just(Verdict::Nack(NackCode::DeliverAgainNotMe)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let member = || 1..=MEMBERS;
    prop_oneof![
        6 => member().prop_map(Step::Join),
        1 => member().prop_map(Step::Leave),
        12 => (member(), 1_u32..20).prop_map(|(member, limit)| Step::Again { member, limit }),
        12 => (member(), 1..=RUN, 1_u32..12).prop_map(|(member, count, limit)| Step::Fresh { member, count, limit }),
        40 => (member(), any::<usize>(), verdict())
            .prop_map(|(member, event, verdict)| Step::Held { member, event, verdict }),
        4 => (member(), 1..=EVENTS, verdict()).prop_map(|(member, event, verdict)| Step::Any { member, event, verdict }),
        6 => (0_i64..1_500).prop_map(|millis| Step::Pass { millis }),
        3 => Just(Step::Expire),
        3 => any::<usize>().prop_map(|event| Step::Bury { event }),
        1 => (1..=EVENTS, 1_u64..6).prop_map(|(event, count)| Step::Skip { event, count }),
        1 => (1..=EVENTS).prop_map(|event| Step::Seek { event }),
        1 => Just(Step::Crash),
        1 => (4_u32..60).prop_map(|window| Step::Rules { window }),
    ]
}

fn rules() -> impl Strategy<Value = Rules> {
    let delivery = prop::sample::select(DeliverySemantic::ALL.to_vec());
    (delivery, any::<bool>(), 4_u32..60, 0_u32..4).prop_map(|(delivery, ordered, window, most)| Rules {
        delivery,
        timeout: Duration::from_secs(2),
        window,
        max_deliveries: NonZero::new(most),
        ordered,
    })
}

fn rlid(offset: u64) -> Rlid {
    Rlid::from_parts(1_000 + offset / RUN * 3, u32::try_from(offset % RUN).unwrap())
}

type Kept = (u64, Vec<u64>, Vec<(u64, u32, Option<Reason>)>);

struct Model {
    ledger: Ledger,
    rules: Rules,
    events: BTreeMap<u64, Event>,
    members: Vec<MemberId>,
    unread: u64,
    now: Time,
    /// Of the ledger, when it was last looked at.
    generation: u64,
    /// The position, what is settled beyond it, and what has failed, of that generation.
    kept: Kept,
}

impl Model {
    fn new(rules: Rules, start: u64, keys: &[u8]) -> Model {
        let event = |(offset, key): (u64, &u8)| {
            let key = if *key == 0 { Key::NONE } else { Key::of(&[*key]) };
            let state = if offset < start { State::Settled { by: None } } else { State::Unread };
            (offset, Event { key, state, is_known: false, failures: 0, reason: None, refused: Vec::new() })
        };
        let progress = Progress::at(Offset::new(start));
        let ledger = Ledger::open(rules.clone(), &progress);
        Model {
            generation: ledger.generation(),
            kept: (start, Vec::new(), Vec::new()),
            ledger,
            rules,
            events: (1..).zip(keys).map(event).collect(),
            members: Vec::new(),
            unread: start,
            now: Time::from_millis(1_000_000),
        }
    }

    fn is_leasing(&self) -> bool {
        self.rules.delivery != DeliverySemantic::AtMostOnce
    }

    fn position(&self) -> u64 {
        let unsettled = self.events.iter().find(|(_, event)| !matches!(event.state, State::Settled { .. }));
        unsettled.map_or(EVENTS + 1, |(offset, _)| *offset)
    }

    /// By keys alone: no earlier event of its key is with another member, or waits.
    fn may_take(&self, offset: u64, member: MemberId) -> bool {
        let key = self.events[&offset].key;
        if !self.rules.ordered || key == Key::NONE {
            return true;
        }
        let is_owner = self.is_leasing() || key.owner(self.members.iter().copied()) == Some(member);
        let mut earlier = self.events.range(self.position()..offset).filter(|(_, event)| event.key == key);
        is_owner
            && earlier.all(|(_, event)| match event.state {
                State::Leased { member: holder, .. } => holder == member,
                State::Settled { .. } => true,
                _ => false,
            })
    }

    fn may_take_again(&self, offset: u64, member: MemberId) -> bool {
        let event = &self.events[&offset];
        let State::Waiting { due } = event.state else { return false };
        let refused = |member: &MemberId| event.refused.contains(member);
        due.is_none_or(|due| due <= self.now)
            && (!refused(&member) || self.members.iter().all(refused))
            && self.may_take(offset, member)
    }

    fn hand_out(&mut self, offset: u64, member: MemberId) {
        let state = if self.is_leasing() {
            let deadline = self.now.plus_nanos(i64::try_from(self.rules.timeout.as_nanos()).unwrap());
            State::Leased { member, deadline }
        } else {
            State::Settled { by: Some(member) }
        };
        self.events.get_mut(&offset).unwrap().state = state;
    }

    fn again(&mut self, member: MemberId, limit: u32) {
        let allowed = u64::from(self.ledger.allowance(member).min(limit));
        let first = self.events.keys().copied().find(|offset| self.may_take_again(*offset, member));
        let first = first.filter(|_| allowed > 0 && self.members.contains(&member));
        let grant = self.ledger.take_again(member, self.now, limit);
        assert_eq!(grant.map(|grant| grant.first.get()), first, "the lowest that it may have");
        let Some(Grant { first, count, deliveries }) = grant else { return };
        assert!((1..=allowed).contains(&u64::from(count)), "{count} of {allowed}");
        for offset in first.get()..first.get() + u64::from(count) {
            assert!(self.may_take_again(offset, member), "{offset} is not {member:?}'s");
            assert_eq!(self.events[&offset].failures + 1, deliveries);
            self.hand_out(offset, member);
        }
    }

    fn fresh(&mut self, member: MemberId, count: u64, limit: u32) {
        let first = self.unread;
        let count = count.min(RUN - first % RUN).min((EVENTS + 1).saturating_sub(first));
        if count == 0 {
            return;
        }
        let keys: Vec<Key> = (first..first + count).map(|offset| self.events[&offset].key).collect();
        let mut left = if self.members.contains(&member) { self.ledger.allowance(member).min(limit) } else { 0 };
        let room = (self.position() + u64::from(self.rules.window)).saturating_sub(first);
        let fresh = Fresh {
            first: Offset::new(first),
            rlid: rlid(first),
            count: u32::try_from(count).unwrap(),
            keys: if self.rules.ordered { &keys } else { &[] },
        };
        let elsewhere = Fresh { first: Offset::new(first + 1), ..fresh };
        assert_eq!(self.ledger.take_fresh(member, self.now, &elsewhere, limit), []);
        let grants = self.ledger.take_fresh(member, self.now, &fresh, limit);
        let mut granted = grants.iter().flat_map(|grant| {
            (grant.first.get()..).zip((0..grant.count).map(|_| grant.deliveries)).collect::<Vec<_>>()
        });
        for offset in first..first + count.min(room) {
            if left == 0 {
                break;
            }
            self.unread = offset + 1;
            self.events.get_mut(&offset).unwrap().is_known = self.is_leasing();
            if self.events[&offset].state != State::Unread {
                continue;
            }
            if self.may_take(offset, member) {
                assert_eq!(granted.next(), Some((offset, self.events[&offset].failures + 1)));
                self.hand_out(offset, member);
                left -= 1;
            } else {
                self.events.get_mut(&offset).unwrap().state = State::Waiting { due: None };
            }
        }
        assert_eq!(granted.next(), None);
    }

    fn settle(&mut self, member: MemberId, offset: u64, verdict: Verdict) {
        let outcome = self.ledger.settle(member, rlid(offset), verdict, self.now);
        let (position, event) = (self.position(), &self.events[&offset]);
        if !event.is_known {
            return assert_eq!(outcome, Outcome::Unknown);
        }
        if offset < position && outcome == Outcome::Unknown {
            // It is long past.
            return;
        }
        let is_strict = self.rules.delivery == DeliverySemantic::ExactlyOnce;
        match (event.state, verdict) {
            (State::Settled { by }, _) if is_strict && by.is_none_or(|by| by == member) => {
                assert!(matches!(outcome, Outcome::Already | Outcome::Refused));
            }
            (State::Settled { .. }, _) => {
                assert_eq!(outcome, if is_strict { Outcome::Refused } else { Outcome::Already });
            }
            (State::Leased { member: holder, .. }, Verdict::Nack(code)) if holder == member => {
                assert_eq!(outcome, Outcome::Accepted);
                let not_me = [NackCode::UnhandledMimetype, NackCode::UnknownType, NackCode::DeliverAgainNotMe];
                if not_me.contains(&code) {
                    self.events.get_mut(&offset).unwrap().refused.push(member);
                }
                self.fail(offset, Reason::Nack(code));
            }
            (State::Leased { member: holder, .. }, Verdict::Ack) if holder == member => {
                assert_eq!(outcome, Outcome::Accepted);
                self.events.get_mut(&offset).unwrap().state = State::Settled { by: Some(member) };
            }
            (_, Verdict::Ack) if !is_strict => {
                assert_eq!(outcome, Outcome::Accepted);
                self.events.get_mut(&offset).unwrap().state = State::Settled { by: Some(member) };
            }
            _ => assert_eq!(outcome, Outcome::Refused),
        }
    }

    /// The delivery of an event that is leased has failed.
    fn fail(&mut self, offset: u64, reason: Reason) {
        let event = self.events.get_mut(&offset).unwrap();
        let State::Leased { .. } = event.state else { return };
        event.failures += 1;
        event.reason = Some(reason);
        event.state = match (event.failures, self.rules.max_deliveries) {
            (failures, Some(most)) if failures >= most.get() => State::Dead,
            (1, _) => State::Waiting { due: None },
            (failures, _) => {
                let pause = Duration::from_millis(100 << (failures - 2).min(20)).min(self.rules.timeout);
                State::Waiting { due: Some(self.now.plus_nanos(i64::try_from(pause.as_nanos()).unwrap())) }
            }
        };
        let key = event.key;
        if self.rules.ordered && key != Key::NONE {
            for (_, event) in self.events.range_mut(offset + 1..).filter(|(_, event)| event.key == key) {
                if matches!(event.state, State::Leased { .. }) {
                    event.state = State::Waiting { due: None };
                }
            }
        }
    }

    fn fail_all(&mut self, reason: Reason, which: impl Fn(MemberId, Time) -> bool) -> bool {
        let failing = self.events.iter().filter_map(|(offset, event)| match event.state {
            State::Leased { member, deadline } if which(member, deadline) => Some((deadline, *offset)),
            _ => None,
        });
        let mut failing: Vec<(Time, u64)> = failing.collect();
        match reason {
            Reason::Timeout => failing.sort_unstable(),
            _ => failing.sort_unstable_by_key(|(_, offset)| *offset),
        }
        for (_, offset) in &failing {
            self.fail(*offset, reason);
        }
        !failing.is_empty()
    }

    /// All that was read is unread again.
    fn forget(&mut self) {
        self.unread = self.position();
        for event in self.events.values_mut() {
            event.is_known = false;
            event.refused.clear();
            let is_dead =
                event.failures > 0 && self.rules.max_deliveries.is_some_and(|most| event.failures >= most.get());
            if !matches!(event.state, State::Settled { .. }) {
                event.state = if is_dead { State::Dead } else { State::Unread };
            }
        }
    }

    fn crash(&mut self) {
        let bytes = self.ledger.progress().encode();
        self.ledger = Ledger::open(self.rules.clone(), &Progress::decode(&bytes).unwrap());
        self.members.clear();
        self.forget();
        // The generations of another ledger are others.
        self.generation = u64::MAX;
    }

    fn skip(&mut self, first: u64, count: u64) {
        let first = first.min(self.unread);
        let until = (first + count).min(EVENTS + 1);
        let position = self.position();
        self.ledger.skip(Offset::new(first), Offset::new(until));
        let limit = if first.max(position) > position {
            self.unread.max(position + u64::from(self.rules.window))
        } else {
            u64::MAX
        };
        for offset in first.max(position)..until.min(limit) {
            let event = self.events.get_mut(&offset).unwrap();
            if !matches!(event.state, State::Settled { .. }) {
                event.state = State::Settled { by: None };
            }
            self.unread = self.unread.max(offset + 1);
        }
    }

    fn seek(&mut self, to: u64) {
        self.ledger.seek(Offset::new(to));
        for (offset, event) in &mut self.events {
            event.state = if *offset < to { State::Settled { by: None } } else { State::Unread };
            event.failures = 0;
            event.reason = None;
            event.is_known = false;
            event.refused.clear();
        }
        self.unread = to;
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Join(member) => {
                self.ledger.add_member(MemberId(member));
                if !self.members.contains(&MemberId(member)) {
                    self.members.push(MemberId(member));
                }
            }
            Step::Leave(member) => {
                let member = MemberId(member);
                self.ledger.leave(member, self.now);
                self.members.retain(|one| *one != member);
                self.fail_all(Reason::Disconnected, |holder, _| holder == member);
            }
            Step::Again { member, limit } => self.again(MemberId(member), limit),
            Step::Fresh { member, count, limit } => self.fresh(MemberId(member), count, limit),
            Step::Held { member, event, verdict } => {
                let holds = |state| matches!(state, State::Leased { member: holder, .. } if holder == MemberId(member));
                let held: Vec<u64> =
                    self.events.iter().filter(|(_, event)| holds(event.state)).map(|(offset, _)| *offset).collect();
                if !held.is_empty() {
                    self.settle(MemberId(member), held[event % held.len()], verdict);
                }
            }
            Step::Any { member, event, verdict } => self.settle(MemberId(member), event, verdict),
            Step::Pass { millis } => self.now = self.now.plus_nanos(millis * 1_000_000),
            Step::Expire => {
                let now = self.now;
                let any = self.ledger.expire(now);
                assert_eq!(any, self.fail_all(Reason::Timeout, |_, deadline| deadline <= now));
            }
            Step::Bury { event } => {
                let dead: Vec<DeadLetter> = self.ledger.dead_letters().collect();
                if !dead.is_empty() {
                    let offset = dead[event % dead.len()].offset;
                    assert!(self.ledger.buried(offset) && !self.ledger.buried(offset));
                    self.events.get_mut(&offset.get()).unwrap().state = State::Settled { by: None };
                }
            }
            Step::Skip { event, count } => self.skip(event, count),
            Step::Seek { event } => self.seek(event),
            Step::Crash => self.crash(),
            Step::Rules { window } => {
                self.rules.window = window;
                self.ledger.set_rules(self.rules.clone());
                self.forget();
            }
        }
        self.unread = self.unread.max(self.position());
        self.check();
    }

    /// What can be seen of the ledger is what the model says.
    fn check(&mut self) {
        let position = self.position();
        assert_eq!(self.ledger.position().get(), position);
        assert_eq!(self.ledger.next_unread().get(), self.unread);
        let room = (position + u64::from(self.rules.window)).saturating_sub(self.unread);
        assert_eq!(u64::from(self.ledger.room()), room);
        for member in (1..=MEMBERS).map(MemberId) {
            let holds =
                |event: &&Event| matches!(event.state, State::Leased { member: holder, .. } if holder == member);
            assert_eq!(self.ledger.held(member) as usize, self.events.values().filter(holds).count(), "{member:?}");
        }
        let count = |which: fn(&State) -> bool| {
            u64::try_from(self.events.range(position..).filter(|(_, event)| which(&event.state)).count()).unwrap()
        };
        let counts = self.ledger.counts();
        assert_eq!(counts.leased, count(|state| matches!(state, State::Leased { .. })));
        assert_eq!(counts.waiting, count(|state| matches!(state, State::Waiting { .. })));
        assert_eq!(counts.dead, count(|state| matches!(state, State::Dead)));
        assert_eq!(counts.settled_beyond, count(|state| matches!(state, State::Settled { .. })));
        let dead: Vec<(u64, u32, Option<Reason>)> =
            self.ledger.dead_letters().map(|dead| (dead.offset.get(), dead.deliveries, Some(dead.reason))).collect();
        let expected: Vec<(u64, u32, Option<Reason>)> = self
            .events
            .iter()
            .filter(|(_, event)| event.state == State::Dead)
            .map(|(offset, event)| (*offset, event.failures, event.reason))
            .collect();
        assert_eq!(dead, expected);
        let now = self.now;
        let times = self.events.values().filter_map(|event| match event.state {
            State::Leased { deadline, .. } => Some(deadline),
            State::Waiting { due } => due,
            _ => None,
        });
        let times: Vec<Time> = times.collect();
        match self.ledger.next_deadline() {
            Some(passed) if passed <= now => assert!(times.contains(&passed)),
            next => assert_eq!(next, times.into_iter().filter(|time| *time > now).min()),
        }
        self.check_progress();
    }

    /// What has to be kept says the same of every event as the model, and is looked at again when it has changed.
    fn check_progress(&mut self) {
        let progress = self.ledger.progress();
        let settled = |offset: &u64| matches!(self.events[offset].state, State::Settled { .. });
        assert_eq!(progress.next, self.position());
        assert_eq!(Progress::decode(&progress.encode()).as_ref(), Ok(&progress));
        let beyond: Vec<u64> = progress.settled.iter().cloned().flatten().collect();
        assert_eq!(beyond, (progress.next..=EVENTS).filter(settled).collect::<Vec<_>>());
        let tries: Vec<(u64, u32, Option<Reason>)> = progress
            .tries
            .iter()
            .flat_map(|tries| tries.range.clone().map(|offset| (offset, tries.failures, Some(tries.reason))))
            .filter(|(offset, ..)| !settled(offset))
            .collect();
        let failed = self.events.iter().filter(|(offset, event)| event.failures > 0 && !settled(offset));
        let failed: Vec<_> = failed.map(|(offset, event)| (*offset, event.failures, event.reason)).collect();
        assert_eq!(tries, failed);
        let kept = (progress.next, beyond, tries);
        if self.ledger.generation() == self.generation {
            assert_eq!(kept, self.kept);
        }
        (self.generation, self.kept) = (self.ledger.generation(), kept);
    }

    /// One member takes and acks all that is left; nothing may be missing.
    fn finish(&mut self) {
        self.step(&Step::Join(1));
        for member in 2..=MEMBERS {
            self.step(&Step::Leave(member));
        }
        for _ in 0..4 * EVENTS {
            self.step(&Step::Pass { millis: 5_000 });
            self.step(&Step::Bury { event: 0 });
            self.step(&Step::Again { member: 1, limit: 1_000 });
            self.step(&Step::Fresh { member: 1, count: RUN, limit: 1_000 });
            while self.ledger.held(MemberId(1)) > 0 {
                self.step(&Step::Held { member: 1, event: 0, verdict: Verdict::Ack });
            }
            if self.position() > EVENTS {
                return;
            }
        }
        panic!("position {} of {EVENTS}: {:?}", self.position(), self.ledger);
    }
}

proptest! {
    #[test]
    fn it_is_as_the_model(
        rules in rules(),
        start in 1_u64..8,
        keys in prop::collection::vec(0_u8..5, usize::try_from(EVENTS).unwrap()),
        steps in prop::collection::vec(step(), 0..300),
    ) {
        let mut model = Model::new(rules, start, &keys);
        for step in &steps {
            model.step(step);
        }
        model.finish();
    }
}
