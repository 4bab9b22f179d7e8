//! One topic of a subscription: where it is read, and between which bounds.
//!
//! A bound that the topic has reached is an offset. One that lies in the future stays what it was, and is compared with what
//! comes, until its time has passed: then it is sought as well.
//!
//! What it does not do: choose whose turn it is.

use std::sync::Arc;

use super::{TopicEntry, lag::CursorLag};
use crate::{
    engine::{FetchError, Reader, Slice, Topic as Stream},
    model::{Offset, Position, Rlid, Time},
};

/// A cursor in one topic.
#[derive(Debug)]
pub(super) struct Cursor {
    pub(super) entry: Arc<TopicEntry>,
    pub(super) reader: Reader,
    /// What lies before it is left out, when that is in the future.
    pub(super) since: Option<Place>,
    pub(super) until: Option<Until>,
    pub(super) lag: Arc<CursorLag>,
}

/// What a cursor stops before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    Offset(Offset),
    /// A place that nobody knows the offset of before its time has passed.
    Later(Place),
}

/// A place that is found by what an event says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Event(Rlid),
    Time(Time),
}

impl Place {
    /// The place of a position; none for one that is not found in this way.
    pub(super) fn of(position: Position, now: Time) -> Option<Place> {
        match position {
            Position::Event(id) => Some(Place::Event(id)),
            Position::Time(time) => Some(Place::Time(time)),
            Position::Ago(nanos) => Some(Place::Time(now.plus_nanos(nanos.saturating_neg()))),
            Position::Start | Position::End | Position::Offset(_) => None,
        }
    }

    pub(super) fn position(self) -> Position {
        match self {
            Place::Event(id) => Position::Event(id),
            Place::Time(time) => Position::Time(time),
        }
    }

    /// From when on no event can be committed any more that lies before it.
    pub(super) fn passed_at(self) -> Time {
        match self {
            Place::Event(id) => Time::from_millis(i64::try_from(id.millis()).unwrap_or(i64::MAX)),
            Place::Time(time) => time,
        }
    }

    /// The offset of the first event in a slice that does not lie before it.
    fn first_in(self, slice: &Slice) -> Option<Offset> {
        match self {
            Place::Event(id) => slice.first_from(id),
            Place::Time(time) => slice.first_since(time),
        }
    }
}

/// Where reading has to stop so that nothing at a position or behind it is given.
///
/// # Errors
///
/// `BeyondEnd` when the position is an offset behind the end of the topic; others when the store can't be read.
pub(super) async fn bound(stream: &Stream, position: Position, now: Time) -> Result<Until, FetchError> {
    match Place::of(position, now) {
        Some(place) if place.passed_at() > now => Ok(Until::Later(place)),
        Some(place) => reached(stream, place).await.map(Until::Offset),
        None => stream.seek(position).await.map(Until::Offset),
    }
}

/// The offset of a place whose time has passed.
pub(super) async fn reached(stream: &Stream, place: Place) -> Result<Offset, FetchError> {
    match stream.seek(place.position()).await {
        // It lies within what can't be read, and nobody can tell where: whoever comes there learns that.
        Err(FetchError::Closed { last, .. }) => Ok(last.plus(1)),
        sought => sought,
    }
}

impl Cursor {
    /// Whether all that is wanted has been given.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.until, Some(Until::Offset(end)) if self.reader.next() >= end)
    }

    /// The part of a slice that was read which is wanted; there may be none.
    pub(super) fn wanted(&mut self, mut slice: Slice) -> Slice {
        if let Some(since) = self.since {
            match since.first_in(&slice) {
                Some(first) => {
                    self.since = None;
                    slice = slice.behind(first);
                }
                None => slice = slice.behind(self.reader.next()),
            }
        }
        if let Some(Until::Later(place)) = self.until
            && let Some(end) = place.first_in(&slice)
        {
            self.until = Some(Until::Offset(end));
        }
        match self.until {
            Some(Until::Offset(end)) => slice.before(end),
            _ => slice,
        }
    }

    /// Leaves out what lies before an offset and is wanted; says how many events that are.
    pub(super) fn skip_to(&mut self, offset: Offset) -> u64 {
        let end = match self.until {
            Some(Until::Offset(end)) => offset.min(end),
            _ => offset,
        };
        let skipped = self.reader.skip_to(end);
        self.lag.reached(self.reader.next());
        skipped
    }
}
