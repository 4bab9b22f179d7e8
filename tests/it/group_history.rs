//! A history of a consumer group, and what must hold of it whatever happened to servers and members meanwhile.
//!
//! What members and the test saw and did stands in the order in which it was noted: what somebody does is noted before it
//! is done, and what somebody sees after it was seen. So what the server did lies between the two, and a violation that is found
//! is one whatever the machine's speed. What the server had sent before it was killed, or the member left, may be read later;
//! deliveries on such streams are judged with that in mind.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use ensign::model::DeliverySemantic;

use crate::history::{EventKey, event_of};

/// Where an event stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) topic: usize,
    pub(crate) offset: u64,
}

/// What happened, on the stream of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Happening {
    /// A member is about to connect. A stream that comes after another one of the same member is another stream.
    Opened,
    Delivered(Place, Vec<u8>),
    Acked(Place),
    Nacked(Place),
    /// An ack is durable.
    Confirmed(Place),
    Refused(Place),
    /// The stream has ended, or is about to.
    Gone,
    /// The server is about to be killed. The stream's number says nothing.
    Killed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) stream: u64,
    pub(crate) what: Happening,
}

/// Everything that was noted of a group.
#[derive(Debug, Clone)]
pub(crate) struct GroupHistory {
    pub(crate) delivery: DeliverySemantic,
    pub(crate) is_ordered: bool,
    /// Leases may run out, at any time.
    pub(crate) has_timeouts: bool,
    /// The data of each topic's events, as they stand there when all is over.
    pub(crate) topics: Vec<Vec<Vec<u8>>>,
    pub(crate) notes: Vec<Note>,
}

/// What must not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Violation {
    /// A member got what does not stand there.
    Invented(Place),
    /// An event was never delivered, or, where events are acked, never acked.
    Lost(Place),
    /// An event came again to the member that had it, for no reason.
    Again(Place),
    /// An event came to a member while another one had it.
    HeldByTwo(Place),
    /// An event came after its ack had been confirmed.
    AfterSettled(Place),
    /// Acks of one event were confirmed to two members.
    SettledTwice(Place),
    /// An event came while an earlier one with its key was elsewhere.
    Reordered(Place),
    /// An ack was refused to the member that had the event.
    RefusedHeld(Place),
}

impl Happening {
    const fn place(&self) -> Option<Place> {
        match self {
            Self::Delivered(place, _)
            | Self::Acked(place)
            | Self::Nacked(place)
            | Self::Confirmed(place)
            | Self::Refused(place) => Some(*place),
            Self::Opened | Self::Gone | Self::Killed => None,
        }
    }
}

impl Violation {
    const fn place(self) -> Place {
        match self {
            Self::Invented(place)
            | Self::Lost(place)
            | Self::Again(place)
            | Self::HeldByTwo(place)
            | Self::AfterSettled(place)
            | Self::SettledTwice(place)
            | Self::Reordered(place)
            | Self::RefusedHeld(place) => place,
        }
    }
}

/// The key of an event; every fourth has none.
pub(crate) fn key(event: EventKey) -> Option<String> {
    (!event.number.is_multiple_of(4)).then(|| format!("key {}", event.number % 12))
}

/// When something was noted.
type At = usize;

/// What was noted of one event.
#[derive(Debug, Default)]
struct Story {
    delivered: Vec<(At, u64)>,
    acked: Vec<(At, u64)>,
    nacked: Vec<(At, u64)>,
    confirmed: Vec<(At, u64)>,
    refused: Vec<(At, u64)>,
}

/// What was noted, sorted.
struct Sorted<'a> {
    history: &'a GroupHistory,
    stories: BTreeMap<Place, Story>,
    opened: BTreeMap<u64, At>,
    gone: BTreeMap<u64, At>,
    killed: Vec<At>,
    /// By key, lowest first.
    keys: BTreeMap<(usize, String), Vec<Place>>,
}

impl GroupHistory {
    /// All that is wrong with it, when everything has been taken.
    pub(crate) fn violations(&self) -> Vec<Violation> {
        let sorted = self.sorted();
        let mut found: BTreeSet<Violation> = self.invented().map(Violation::Invented).collect();
        for (place, story) in &sorted.stories {
            found.extend(sorted.lost(*place, story));
            match self.delivery {
                DeliverySemantic::AtMostOnce if story.delivered.len() > 1 => {
                    found.insert(Violation::Again(*place));
                }
                DeliverySemantic::AtMostOnce => {}
                DeliverySemantic::AtLeastOnce => found.extend(sorted.again(*place, story)),
                DeliverySemantic::ExactlyOnce => {
                    found.extend(sorted.again(*place, story));
                    found.extend(sorted.settled(*place, story));
                }
            }
        }
        if self.is_ordered {
            found.extend(sorted.reordered());
        }
        found.into_iter().collect()
    }

    /// What was noted of the event of a violation and of those with its key, and of all streams that this concerns.
    pub(crate) fn story(&self, violation: Violation) -> String {
        let place = violation.place();
        let key_of = |place: Place| self.data(place).and_then(|data| event_of(data)).and_then(key);
        let wanted = key_of(place);
        let is_concerned = |of: &Place| {
            of == &place || self.is_ordered && of.topic == place.topic && wanted.is_some() && key_of(*of) == wanted
        };
        let mut streams = BTreeSet::new();
        for note in &self.notes {
            if note.what.place() == Some(place) {
                streams.insert(note.stream);
            }
        }
        let mut told = String::new();
        for (at, Note { stream, what }) in self.notes.iter().enumerate() {
            let is_told = match what.place() {
                Some(of) => is_concerned(&of),
                None => streams.contains(stream) || *what == Happening::Killed,
            };
            if is_told {
                let what = match what {
                    Happening::Delivered(place, _) => format!("Delivered({place:?})"),
                    other => format!("{other:?}"),
                };
                writeln!(told, "  {at}: stream {stream}: {what}").unwrap();
            }
        }
        told
    }

    fn data(&self, place: Place) -> Option<&Vec<u8>> {
        let at = usize::try_from(place.offset.checked_sub(1)?).unwrap();
        self.topics.get(place.topic)?.get(at)
    }

    fn invented(&self) -> impl Iterator<Item = Place> + '_ {
        self.notes.iter().filter_map(|note| match &note.what {
            Happening::Delivered(place, data) if self.data(*place) != Some(data) => Some(*place),
            _ => None,
        })
    }

    fn sorted(&self) -> Sorted<'_> {
        let mut sorted = Sorted {
            history: self,
            stories: BTreeMap::new(),
            opened: BTreeMap::new(),
            gone: BTreeMap::new(),
            killed: Vec::new(),
            keys: BTreeMap::new(),
        };
        for (topic, events) in self.topics.iter().enumerate() {
            for (offset, data) in (1..).zip(events) {
                let place = Place { topic, offset };
                sorted.stories.insert(place, Story::default());
                if let Some(key) = event_of(data).and_then(key) {
                    sorted.keys.entry((topic, key)).or_default().push(place);
                }
            }
        }
        for (at, Note { stream, what }) in self.notes.iter().enumerate() {
            let mut story = |place: &Place, list: fn(&mut Story) -> &mut Vec<(At, u64)>| {
                list(sorted.stories.entry(*place).or_default()).push((at, *stream));
            };
            match what {
                Happening::Opened => drop(sorted.opened.insert(*stream, at)),
                Happening::Gone => drop(sorted.gone.entry(*stream).or_insert(at)),
                Happening::Killed => sorted.killed.push(at),
                Happening::Delivered(place, _) => story(place, |story| &mut story.delivered),
                Happening::Acked(place) => story(place, |story| &mut story.acked),
                Happening::Nacked(place) => story(place, |story| &mut story.nacked),
                Happening::Confirmed(place) => story(place, |story| &mut story.confirmed),
                Happening::Refused(place) => story(place, |story| &mut story.refused),
            }
        }
        sorted
    }
}

impl Sorted<'_> {
    /// Whether the server was killed under a stream before this moment.
    fn is_killed(&self, stream: u64, at: At) -> bool {
        let opened = self.opened.get(&stream).copied().unwrap_or(0);
        self.killed.iter().any(|killed| (opened..at).contains(killed))
    }

    fn is_over(&self, stream: u64, at: At) -> bool {
        self.gone.get(&stream).is_some_and(|gone| *gone < at) || self.is_killed(stream, at)
    }

    /// Whether a member has said that it does not want an event, or, where keys are ordered, an earlier one with its key.
    fn is_nacked(&self, place: Place, story: &Story, stream: u64, at: At) -> bool {
        let by_it = |story: &Story| story.nacked.iter().any(|(nacked, by)| *by == stream && *nacked < at);
        by_it(story) || self.history.is_ordered && self.earlier(place).any(|earlier| by_it(&self.stories[&earlier]))
    }

    /// The events with the same key that stand before one.
    fn earlier(&self, place: Place) -> impl Iterator<Item = Place> + '_ {
        let key = self.history.data(place).and_then(|data| event_of(data)).and_then(key);
        let places = key.and_then(|key| self.keys.get(&(place.topic, key)));
        places.into_iter().flatten().copied().take_while(move |earlier| *earlier < place)
    }

    fn lost(&self, place: Place, story: &Story) -> Option<Violation> {
        let is_there = match self.history.delivery {
            // Whatever was under way to a member that is gone is consumed.
            DeliverySemantic::AtMostOnce => {
                !story.delivered.is_empty() || !self.gone.is_empty() || !self.killed.is_empty()
            }
            DeliverySemantic::AtLeastOnce | DeliverySemantic::ExactlyOnce => !story.acked.is_empty(),
        };
        (!is_there).then_some(Violation::Lost(place))
    }

    /// Deliveries that have no reason, when there is one before them.
    fn again(&self, place: Place, story: &Story) -> Option<Violation> {
        if self.history.has_timeouts {
            return None;
        }
        story.delivered.windows(2).find_map(|pair| {
            let [(_, before), (at, stream)] = *pair else { return None };
            // What was taken back from a member because it left, or refused an earlier event of the key, may have been under
            // way to it, and is read when another member has had it.
            let is_explained = self.is_over(before, at)
                || self.is_over(stream, at)
                || [before, stream].iter().any(|stream| self.is_nacked(place, story, *stream, at));
            match is_explained {
                true => None,
                false if before == stream => Some(Violation::Again(place)),
                false => Some(Violation::HeldByTwo(place)),
            }
        })
    }

    /// What is wrong with the acks of one event, where they count once.
    fn settled(&self, place: Place, story: &Story) -> Vec<Violation> {
        let mut found = Vec::new();
        let streams: BTreeSet<u64> = story.confirmed.iter().map(|(_, stream)| *stream).collect();
        if streams.len() > 1 {
            found.push(Violation::SettledTwice(place));
        }
        if let Some((confirmed, _)) = story.confirmed.first() {
            let is_late = |(at, stream): &&(At, u64)| {
                let is_new = self.opened.get(stream).is_some_and(|opened| opened > confirmed);
                let is_stale = self.is_over(*stream, *at) || self.is_nacked(place, story, *stream, *at);
                at > confirmed && (is_new || !(self.history.has_timeouts || is_stale))
            };
            found.extend(story.delivered.iter().find(is_late).map(|_| Violation::AfterSettled(place)));
        }
        let is_held = |(at, stream): &&(At, u64)| {
            !self.history.has_timeouts
                && story.delivered.iter().any(|(delivered, to)| to == stream && delivered < at)
                && !self.is_nacked(place, story, *stream, *at)
                && !self.is_killed(*stream, *at)
        };
        found.extend(story.refused.iter().find(is_held).map(|_| Violation::RefusedHeld(place)));
        found
    }

    /// Events that came before earlier ones with their keys were settled, and not behind them on the same stream.
    fn reordered(&self) -> Vec<Violation> {
        let is_leasing = self.history.delivery != DeliverySemantic::AtMostOnce;
        let mut found = Vec::new();
        for places in self.keys.values() {
            for (number, place) in places.iter().enumerate() {
                for (at, stream) in &self.stories[place].delivered {
                    let before = |list: &[(At, u64)], on: Option<u64>| {
                        list.iter().any(|(then, by)| then < at && on.is_none_or(|stream| stream == *by))
                    };
                    let is_out_of_order = |earlier: &Place| {
                        let story = &self.stories[earlier];
                        if is_leasing {
                            !before(&story.acked, None) && !before(&story.delivered, Some(*stream))
                        } else {
                            story.delivered.iter().any(|(then, by)| then > at && by == stream)
                        }
                    };
                    if places[..number].iter().any(is_out_of_order) {
                        found.push(Violation::Reordered(*place));
                    }
                }
            }
        }
        found
    }
}

mod tests {
    use super::*;
    use crate::history::data;

    const fn event(number: u64) -> EventKey {
        EventKey { publisher: 1, number }
    }

    const fn place(offset: u64) -> Place {
        Place { topic: 0, offset }
    }

    fn delivered(offset: u64) -> Happening {
        Happening::Delivered(place(offset), data(event(offset)))
    }

    fn note(stream: u64, what: Happening) -> Note {
        Note { stream, what }
    }

    /// A topic of 14 events, of which the first two are judged in the tests and the others are all right. The keys of 1 and 13 are
    /// equal.
    fn history(delivery: DeliverySemantic, notes: Vec<(u64, Happening)>) -> GroupHistory {
        let mut all = vec![note(1, Happening::Opened), note(2, Happening::Opened)];
        all.extend(notes.into_iter().map(|(stream, what)| note(stream, what)));
        for offset in 3..=14 {
            let fine = [delivered(offset), Happening::Acked(place(offset)), Happening::Confirmed(place(offset))];
            let is_told = |what: &Happening| !all.iter().any(|note| note.what == *what);
            let fine: Vec<Note> = fine.into_iter().filter(is_told).map(|what| note(3, what)).collect();
            all.extend(fine);
        }
        GroupHistory {
            delivery,
            is_ordered: true,
            has_timeouts: false,
            topics: vec![(1..=14).map(|offset| data(event(offset))).collect()],
            notes: all,
        }
    }

    #[track_caller]
    fn check(delivery: DeliverySemantic, notes: Vec<(u64, Happening)>, expected: &[Violation]) {
        assert_eq!(history(delivery, notes).violations(), expected);
    }

    /// The second event, delivered and acked.
    fn second(stream: u64) -> [(u64, Happening); 3] {
        [delivered(2), Happening::Acked(place(2)), Happening::Confirmed(place(2))].map(|what| (stream, what))
    }

    fn with_second(notes: impl IntoIterator<Item = (u64, Happening)>) -> Vec<(u64, Happening)> {
        second(1).into_iter().chain(notes).collect()
    }

    use DeliverySemantic::{AtLeastOnce, AtMostOnce, ExactlyOnce};
    use Happening::{Acked, Confirmed, Gone, Killed, Nacked, Opened, Refused};

    #[test]
    fn good_histories_are_good() {
        let once = with_second([(1, delivered(1)), (1, Acked(place(1))), (1, Confirmed(place(1)))]);
        for delivery in DeliverySemantic::ALL {
            check(delivery, once.clone(), &[]);
        }
        for reason in [(1, Nacked(place(1))), (1, Gone), (9, Killed)] {
            let again = with_second([(1, delivered(1)), reason, (2, delivered(1)), (2, Acked(place(1)))]);
            check(AtLeastOnce, again.clone(), &[]);
            check(ExactlyOnce, again, &[]);
        }
    }

    #[test]
    fn what_was_under_way_when_it_was_taken_back_is_read_late() {
        let refused = [(1, delivered(1)), (1, Nacked(place(1))), (2, delivered(1)), (2, Acked(place(1)))];
        let taken_over = [(2, delivered(13)), (2, Acked(place(13))), (2, Confirmed(place(13))), (1, delivered(13))];
        let late: Vec<_> = refused.into_iter().chain(taken_over).collect();
        for delivery in [AtLeastOnce, ExactlyOnce] {
            check(delivery, with_second(late.clone()), &[]);
            // Without the refusal nothing was taken back.
            let kept = late.iter().filter(|(_, what)| *what != Nacked(place(1))).cloned();
            let found = history(delivery, with_second(kept)).violations();
            assert!(found.contains(&Violation::HeldByTwo(place(13))), "{found:?}");
        }
    }

    #[test]
    fn what_was_under_way_to_a_member_that_leaves_is_read_late() {
        let taken_over = [(2, delivered(1)), (2, Acked(place(1))), (2, Confirmed(place(1))), (1, delivered(1))];
        for delivery in [AtLeastOnce, ExactlyOnce] {
            check(delivery, with_second([(1, Gone)].into_iter().chain(taken_over.clone())), &[]);
            // Nothing had been taken from a member that stays, or leaves later.
            let stays = history(delivery, with_second(taken_over.clone())).violations();
            assert!(stays.contains(&Violation::HeldByTwo(place(1))), "{stays:?}");
        }
    }

    #[test]
    fn the_story_of_a_violation_is_told() {
        let notes = with_second([(1, delivered(1)), (2, delivered(1)), (1, Acked(place(1))), (1, delivered(13))]);
        let history = history(AtLeastOnce, notes);
        let told = history.story(Violation::HeldByTwo(place(1)));
        for line in ["stream 1: Opened", "stream 2: Opened", "stream 2: Delivered", "stream 1: Acked", "offset: 13 })"]
        {
            assert!(told.contains(line), "{line} is not in:\n{told}");
        }
        assert!(!told.contains("offset: 2 })"), "{told}");
    }

    #[test]
    fn what_does_not_stand_there_is_invented() {
        let other = Happening::Delivered(place(1), data(event(9)));
        let beyond = Happening::Delivered(place(15), data(event(15)));
        let notes = with_second([(1, other), (1, Acked(place(1))), (1, beyond), (1, Acked(place(15)))]);
        check(AtLeastOnce, notes, &[Violation::Invented(place(1)), Violation::Invented(place(15))]);
    }

    #[test]
    fn what_never_comes_or_is_never_settled_is_lost() {
        check(AtMostOnce, with_second([]), &[Violation::Lost(place(1))]);
        for delivery in [AtLeastOnce, ExactlyOnce] {
            check(delivery, with_second([]), &[Violation::Lost(place(1)), Violation::Reordered(place(13))]);
        }
        let unsettled = [Violation::Lost(place(1)), Violation::Reordered(place(13))];
        check(AtLeastOnce, with_second([(1, delivered(1)), (1, Gone)]), &unsettled);
        // At most once, it may have been under way to a member that is gone.
        check(AtMostOnce, with_second([(1, Gone)]), &[]);
    }

    #[test]
    fn what_comes_again_for_no_reason_is_found() {
        let notes = |second: u64| with_second([(1, delivered(1)), (second, delivered(1)), (1, Acked(place(1)))]);
        for delivery in [AtLeastOnce, ExactlyOnce] {
            check(delivery, notes(1), &[Violation::Again(place(1))]);
            check(delivery, notes(2), &[Violation::HeldByTwo(place(1))]);
            let mut timed = history(delivery, notes(2));
            timed.has_timeouts = true;
            assert_eq!(timed.violations(), []);
        }
        check(AtMostOnce, notes(2), &[Violation::Again(place(1))]);
        // Another member's reasons are none.
        let notes = with_second([(1, delivered(1)), (2, Gone), (1, delivered(1)), (1, Acked(place(1)))]);
        check(AtLeastOnce, notes, &[Violation::Again(place(1))]);
    }

    #[test]
    fn what_comes_after_it_was_settled_is_found() {
        let settled = [(1, delivered(1)), (1, Acked(place(1))), (1, Confirmed(place(1))), (1, Gone)];
        let notes = with_second(settled.clone().into_iter().chain([(2, delivered(1))]));
        check(ExactlyOnce, notes.clone(), &[Violation::AfterSettled(place(1))]);
        // Where acks are not confirmed, this one may have been lost with the stream.
        check(AtLeastOnce, notes, &[]);
        let again = [(9, Killed), (4, Opened), (4, delivered(1))];
        let mut timed = history(ExactlyOnce, with_second(settled.clone().into_iter().chain(again)));
        timed.has_timeouts = true;
        assert_eq!(timed.violations(), [Violation::AfterSettled(place(1))]);
        // What had been sent before the server was killed may be read late.
        check(ExactlyOnce, with_second(settled.into_iter().chain([(9, Killed), (2, delivered(1))])), &[]);
    }

    #[test]
    fn acks_that_count_twice_are_found() {
        let notes = [(1, delivered(1)), (1, Acked(place(1))), (2, delivered(1)), (2, Acked(place(1)))];
        let confirmed = [(1, Confirmed(place(1))), (2, Confirmed(place(1)))];
        let mut timed = history(ExactlyOnce, with_second(notes.into_iter().chain(confirmed)));
        timed.has_timeouts = true;
        assert_eq!(timed.violations(), [Violation::SettledTwice(place(1))]);
    }

    #[test]
    fn acks_that_are_refused_for_no_reason_are_found() {
        let notes = |why: Option<(u64, Happening)>| {
            let refused = [(1, Acked(place(1))), (1, Refused(place(1))), (2, Acked(place(1)))];
            with_second([(1, delivered(1))].into_iter().chain(why).chain(refused))
        };
        check(ExactlyOnce, notes(None), &[Violation::RefusedHeld(place(1))]);
        check(ExactlyOnce, notes(Some((1, Nacked(place(1))))), &[]);
        check(ExactlyOnce, notes(Some((9, Killed))), &[]);
    }

    #[test]
    fn keys_out_of_order_are_found() {
        let settled = [(1, delivered(1)), (1, Acked(place(1)))];
        let notes = |first: u64| with_second([(first, delivered(13))].into_iter().chain(settled.clone()));
        let elsewhere = with_second([(1, delivered(1)), (2, delivered(13)), (1, Acked(place(1)))]);
        let behind = with_second([(1, delivered(1)), (1, delivered(13)), (1, Acked(place(1)))]);
        for delivery in [AtLeastOnce, ExactlyOnce] {
            check(delivery, notes(2), &[Violation::Reordered(place(13))]);
            check(delivery, elsewhere.clone(), &[Violation::Reordered(place(13))]);
            check(delivery, behind.clone(), &[]);
        }
        check(AtMostOnce, notes(1), &[Violation::Reordered(place(13))]);
        // Nobody knows which of two streams was given its event first.
        check(AtMostOnce, notes(2), &[]);
        let mut free = history(AtLeastOnce, notes(2));
        free.is_ordered = false;
        assert_eq!(free.violations(), []);
    }
}
