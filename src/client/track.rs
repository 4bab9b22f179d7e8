//! One topic of a subscriber: where the next stream has to go on reading it, and where to stop, in the words of EnSQL.
//!
//! The server's clock says what now and ages mean. A stream that is opened later than the first one, before any event of the
//! topic has come, asks for what is older by the time that has gone by since: only differences are taken from the clock
//! that is here.
//!
//! What it does not do: connect, or hold events.

use std::time::Duration;

use super::Wanted;
use crate::model::{Offset, Position, TopicId};

/// One topic of a subscriber.
#[derive(Debug)]
pub(super) struct Track {
    /// As it was named to the subscriber; its name since the first stream was ready.
    pub(super) name: String,
    /// Known since then.
    pub(super) id: Option<TopicId>,
    /// What comes next.
    pub(super) from: Position,
    pub(super) until: Option<Position>,
    /// How many rows have come of the event before that, and how many of them come again.
    rows: u64,
    again: u64,
}

impl Track {
    pub(super) fn new(name: String, from: Position, until: Option<Position>) -> Track {
        Track { name, id: None, from, until, rows: 0, again: 0 }
    }

    /// The offset of the last event that came, or of the one before the first that is wanted, if that is known.
    pub(super) fn seen(&self) -> Option<u64> {
        match self.from {
            Position::Start => Some(0),
            Position::Offset(next) => Some(next.get().saturating_sub(1)),
            _ => None,
        }
    }

    /// How many rows come that have come before.
    pub(super) fn again(&self) -> u64 {
        self.again
    }

    /// Whether a row of an event that was reached before has not come yet.
    pub(super) fn is_next_row(&mut self, offset: Offset) -> bool {
        let is_of_last = self.rows > 0 && self.from == Position::Offset(offset.plus(1));
        if is_of_last && self.again > 0 {
            self.again -= 1;
            return false;
        }
        is_of_last
    }

    /// An event has come, or a row of it.
    pub(super) fn reached(&mut self, offset: Offset) {
        let next = Position::Offset(offset.plus(1));
        self.rows = if self.from == next { self.rows + 1 } else { 1 };
        self.from = next;
        self.again = 0;
    }

    /// The topic with its clauses, so long after the first stream was asked for. When there is more than a row of an event, it
    /// may have more than have come: then it is asked for once more.
    pub(super) fn clauses(&mut self, since: Duration, wanted: &Wanted) -> String {
        self.again = if wanted.gives_rows() { self.rows } else { 0 };
        // An id stays that of the topic that was meant, also when another gets the name.
        let topic = self.id.map_or_else(|| self.name.clone(), |id| id.to_string());
        let from = match (self.from, self.until) {
            // A query that only says where to stop would start at the beginning.
            (Position::End, None) if since.is_zero() => String::new(),
            (Position::Start, _) => " OFFSET 0".to_owned(),
            (Position::Offset(next), _) => {
                format!(" OFFSET {}", next.get().saturating_sub(1 + u64::from(self.again > 0)))
            }
            (Position::Event(id), _) => format!(" OFFSET '{id}'"),
            // What lies behind the time before is what was committed at this time or later.
            (Position::Time(time), _) => format!(" AFTER '{}'", time.plus_nanos(-1)),
            (moment @ (Position::End | Position::Ago(_)), _) => format!(" AFTER '{}'", later(moment, since)),
        };
        let until = self.until.map(|until| match until {
            Position::Offset(end) => format!(" BEFORE {end}"),
            other => format!(" BEFORE '{}'", later(other, since)),
        });
        let topic = match &wanted.event_type {
            Some(event_type) => format!("{topic}.{event_type}"),
            None => format!("'{topic}'"),
        };
        format!("{topic}{from}{}", until.unwrap_or_default())
    }
}

/// What a position that was given so long ago is called now.
fn later(position: Position, since: Duration) -> Position {
    let nanos = match position {
        Position::End if since.is_zero() => return position,
        Position::End => 0,
        Position::Ago(nanos) => nanos,
        other => return other,
    };
    // Ages are written in milliseconds: rather one too many than one too few.
    let since = i64::try_from(since.as_nanos()).unwrap_or(i64::MAX);
    let millis = nanos.saturating_add(since).saturating_add(999_999) / 1_000_000;
    Position::Ago(millis.saturating_mul(1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Rlid, Time, Ulid};

    fn check(from: Position, until: Option<Position>, since: u64, expected: &str) {
        let mut track = Track::new("t".to_owned(), from, until);
        assert_eq!(track.clauses(Duration::from_micros(since), &Wanted::default()), expected);
    }

    #[test]
    fn positions_become_clauses() {
        let offset = |number| Position::Offset(Offset::new(number));
        let id = Rlid::parse("061m4qv6dw06ztvb").unwrap();
        let time = Time::parse("2026-11-21T09:00:00.000000001Z").unwrap();
        check(Position::End, None, 0, "'t'");
        check(Position::Start, Some(Position::End), 0, "'t' OFFSET 0 BEFORE 'end'");
        check(offset(3), Some(offset(7)), 5, "'t' OFFSET 2 BEFORE 7");
        check(offset(0), Some(Position::Start), 0, "'t' OFFSET 0 BEFORE 'start'");
        check(Position::Event(id), Some(Position::Event(id)), 9, &format!("'t' OFFSET '{id}' BEFORE '{id}'"));
        let before = time.plus_nanos(-1);
        check(Position::Time(time), Some(Position::Time(time)), 9, &format!("'t' AFTER '{before}' BEFORE '{time}'"));
        check(Position::End, Some(Position::Ago(60_000_000_000)), 0, "'t' AFTER 'end' BEFORE '-60000ms'");
    }

    #[test]
    fn a_moment_grows_older() {
        check(Position::End, None, 1_500_001, "'t' AFTER '-1501ms'");
        check(Position::Ago(60_000_000_000), Some(Position::End), 2_000, "'t' AFTER '-60002ms' BEFORE '-2ms'");
        let id = TopicId(Ulid::from_bytes([1; 16]));
        let mut track = Track { id: Some(id), ..Track::new("t".to_owned(), Position::End, None) };
        assert_eq!(track.seen(), None);
        track.reached(Offset::new(9));
        assert_eq!(
            (track.seen(), track.clauses(Duration::MAX, &Wanted::default())),
            (Some(9), format!("'{id}' OFFSET 9"))
        );
    }

    /// Each row comes once, wherever the stream broke.
    #[test]
    fn rows_of_an_event_that_was_begun_come_again() {
        let mut track = Track::new("t".to_owned(), Position::Start, None);
        let take = |track: &mut Track, offset: u64| {
            let is_new = track.seen().is_none_or(|seen| offset > seen) || track.is_next_row(Offset::new(offset));
            if is_new {
                track.reached(Offset::new(offset));
            }
            is_new
        };
        let rows = Wanted { columns: Some("a".to_owned()), ..Wanted::default() };
        assert!(!track.is_next_row(Offset::new(0)));
        assert!(take(&mut track, 3) && take(&mut track, 3) && !take(&mut track, 2));
        assert_eq!(track.clauses(Duration::ZERO, &rows), "'t' OFFSET 2");
        assert_eq!([3, 3, 3, 4, 4, 3].map(|offset| take(&mut track, offset)), [false, false, true, true, true, false]);
        // It had more rows before.
        assert_eq!(track.clauses(Duration::ZERO, &rows), "'t' OFFSET 3");
        assert_eq!([4, 5, 5, 6].map(|offset| take(&mut track, offset)), [false, true, true, true]);
        assert_eq!(track.clauses(Duration::ZERO, &Wanted::default()), "'t' OFFSET 6");
        let typed = Wanted { event_type: Some("Order.1".to_owned()), ..Wanted::default() };
        assert_eq!(track.clauses(Duration::ZERO, &typed), "t.Order.1 OFFSET 6");
    }
}
