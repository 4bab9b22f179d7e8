//! One subscriber's stream: cursors in several topics, from which slices of events are pulled.
//!
//! Each topic comes in its order. Of the topics that have something, the one whose next event was committed first goes
//! first, so that what was committed before is merged by commit time; a topic without committed events holds nobody up. Which
//! one that is is looked up in an order that is kept, and those that have nothing are woken one by one: what a slice
//! costs does not grow with the number of topics.
//!
//! Nothing is pushed to a subscription, so nothing is dropped when it is slow. One to all topics follows those that are
//! created later; one whose topics are all destroyed ends, and so does one whose query names a topic that is destroyed, since
//! without that topic it is not what was asked for. What all its cursors hold is bounded by bytes.
//!
//! When its query wants less than all of the events, a [`Filter`] looks at each slice before it is given. Others pay nothing for that.
//!
//! What it does not do: write messages, remember positions.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet, VecDeque},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use tokio::sync::watch;

use super::{
    Availability, Broker, BrokerError, Lags, SubscribeRequest, TopicEntry,
    cursor::{self, Cursor, Until},
    filter::{Filter, Matches},
};
use crate::{
    engine::{FetchError, Slice},
    model::{Position, ProjectId, Time},
};

/// How many bytes the cursors of a subscription hold of each kind (see [`crate::engine::Reader::hold_at_most`]), in equal shares.
const HELD_BYTES_MAX: usize = 32 * 1024 * 1024;

/// One subscriber's stream.
pub struct Subscription {
    pub(super) broker: Broker,
    pub(super) lags: Lags,
    pub(super) project: ProjectId,
    /// Whether what can't be read is left out, and how many events that were.
    pub(super) skips: bool,
    skipped: u64,
    /// Under numbers that are never used again. Each is in one of the three places below; `waiting` may have more.
    cursors: BTreeMap<Key, Cursor>,
    next_key: Key,
    /// Those that have something, or have to be looked at for another reason.
    ready: VecDeque<Key>,
    /// Those that have something, by the commit time of the next event.
    in_order: BTreeSet<(Time, Key)>,
    /// Those that have nothing, until they have.
    waiting: FuturesUnordered<Pin<Box<dyn Future<Output = Key> + Send>>>,
    /// When the first of the bounds passes that nobody knows the offset of.
    passing: Option<Time>,
    /// Set when topics that are created later belong to the subscription.
    follows: Option<Follow>,
    losing: Losing,
    /// What is wanted of the events, unless that is all of them.
    filter: Option<Filter>,
    /// Whether [`Subscription::is_ready`] said so since the last time that something was given.
    promised: bool,
    /// How many cursors were looked at so far, for tests.
    #[cfg(test)]
    pub(super) looks: u64,
}

type Key = u64;

/// What it means that a topic of the subscription is destroyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Losing {
    /// The end: a query names the topics, and all of them have to be there.
    Ends,
    /// That the others go on, as long as there are any. None has been destroyed so far, or some have.
    Never,
    Before,
}

/// The project's generation of topics, and the one that was looked at last.
#[derive(Debug)]
pub(super) struct Follow {
    pub(super) changes: watch::Receiver<u64>,
    pub(super) seen: u64,
}

/// Events of one topic, ready to be delivered.
#[derive(Debug)]
pub struct Delivery {
    pub topic: Arc<TopicEntry>,
    pub events: Slice,
}

/// What [`Subscription::next`] comes back with.
#[derive(Debug)]
pub enum Next {
    Events(Delivery),
    /// What the subscription's query wants of the next events.
    Matches(Matches),
    /// [`Subscription::is_ready`] promised more than there is: nothing can be given without waiting, or without looking on.
    Passed,
    /// Everything up to where the subscription was to stop has been given.
    Finished,
    /// All topics of the subscription have been destroyed, or one of those that its query names.
    Gone,
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription").field("cursors", &self.cursors).finish_non_exhaustive()
    }
}

impl Subscription {
    /// One without cursors.
    pub(super) fn new(
        broker: Broker,
        lags: Lags,
        project: ProjectId,
        follows: Option<Follow>,
        request: &SubscribeRequest,
        filter: Option<Filter>,
    ) -> Subscription {
        Subscription {
            broker,
            lags,
            project,
            skips: request.skip_unreadable,
            skipped: 0,
            cursors: BTreeMap::new(),
            next_key: 0,
            ready: VecDeque::new(),
            in_order: BTreeSet::new(),
            waiting: FuturesUnordered::new(),
            passing: None,
            follows,
            losing: if request.query.is_some() { Losing::Ends } else { Losing::Never },
            filter,
            promised: false,
            #[cfg(test)]
            looks: 0,
        }
    }

    pub(super) fn add(&mut self, cursor: Cursor) {
        if let Some(Until::Later(place)) = cursor.until {
            self.passing = Some(self.passing.map_or(place.passed_at(), |time| time.min(place.passed_at())));
        }
        self.cursors.insert(self.next_key, cursor);
        self.ready.push_back(self.next_key);
        self.next_key += 1;
    }

    /// The topics that the subscription has now.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<TopicEntry>> {
        self.cursors.values().map(|cursor| &cursor.entry)
    }

    /// The next events of any of the topics. Cancel-safe: events that were not returned come again.
    ///
    /// # Errors
    ///
    /// When stored events can't be read, or what the query makes of them is too large; the subscription can't be used any
    /// more.
    pub async fn next(&mut self) -> Result<Next, BrokerError> {
        if self.filter.is_some() { self.matching().await } else { self.read().await }
    }

    /// What the filter finds in the next events.
    async fn matching(&mut self) -> Result<Next, BrokerError> {
        let is_looking = self.filter.as_ref().is_some_and(Filter::is_looking);
        if !is_looking {
            if self.filter.as_ref().is_some_and(Filter::is_finished) {
                return Ok(Next::Finished);
            }
            let delivery = match self.read().await? {
                Next::Events(delivery) => delivery,
                other => return Ok(other),
            };
            let now = self.broker.clock.now();
            if let Some(filter) = &mut self.filter {
                filter.begin(delivery, now);
            }
        }
        if let Some(filter) = &mut self.filter
            && let Some(matches) = filter.looked().await?
        {
            return Ok(Next::Matches(matches));
        }
        // However long nothing matches, others have their turn, and what ends the subscription is noticed.
        tokio::task::yield_now().await;
        Ok(Next::Passed)
    }

    /// The next events, whatever the filter makes of them.
    async fn read(&mut self) -> Result<Next, BrokerError> {
        loop {
            self.follow_changes().await?;
            if let Some(next) = self.poll_cursors().await? {
                self.promised = false;
                return Ok(next);
            }
            self.pass_bounds().await?;
            if self.cursors.is_empty() && self.follows.is_none() {
                return Ok(if self.losing == Losing::Before { Next::Gone } else { Next::Finished });
            }
            if std::mem::take(&mut self.promised) {
                return Ok(Next::Passed);
            }
            self.wait().await;
        }
    }

    /// How many events were left out because they can't be read.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// How many events, or rows of events, did not match because their data can't be decoded; none when nobody looks.
    pub fn undecodable(&self) -> Option<u64> {
        self.filter.as_ref().map(Filter::undecodable)
    }

    /// Whether events can be given without waiting, unless they turn out not to be wanted or not to be readable:
    /// [`Next::Passed`] says so.
    pub fn is_ready(&mut self) -> bool {
        self.collect_woken();
        self.promised |= !self.ready.is_empty() || !self.in_order.is_empty();
        self.promised |= self.filter.as_ref().is_some_and(Filter::is_looking);
        self.promised
    }

    /// Adds the topics that were created since the last look. They are read from their start: nothing in them is older
    /// than the subscription.
    async fn follow_changes(&mut self) -> Result<(), BrokerError> {
        let Some(follow) = &self.follows else { return Ok(()) };
        let generation = *follow.changes.borrow();
        if follow.seen == generation {
            return Ok(());
        }
        let known: HashSet<_> = self.topics().map(|topic| topic.id()).collect();
        let created: Vec<_> =
            self.broker.live_topics(self.project).filter(|entry| !known.contains(&entry.id())).collect();
        for entry in created {
            if let Some(cursor) = self.cursor(entry, Position::Start, None).await? {
                self.add(cursor);
            }
        }
        if let Some(follow) = &mut self.follows {
            follow.seen = generation;
        }
        Ok(())
    }

    /// Reads from the cursor whose next event was committed first, if there is one.
    async fn poll_cursors(&mut self) -> Result<Option<Next>, BrokerError> {
        loop {
            self.collect_woken();
            while let Some(&key) = self.ready.front() {
                if let Some(next) = self.look(key).await? {
                    return Ok(Some(next));
                }
            }
            let mut in_order = self.in_order.iter().copied();
            let Some((time, key)) = in_order.next() else { return Ok(None) };
            let other = in_order.next().map_or(Time::from_nanos(i64::MAX), |(time, _)| time);
            // It stays where it is until something was read, so that nothing is lost when this is given up.
            let Some(cursor) = self.cursors.get_mut(&key) else {
                self.in_order.remove(&(time, key));
                continue;
            };
            let read = cursor.reader.read_until(other).await;
            self.in_order.remove(&(time, key));
            let slice = match read {
                Ok(Some(slice)) => slice,
                Ok(None) => {
                    self.queue(key);
                    continue;
                }
                Err(error) => match self.failed(key, error)? {
                    Some(gone) => return Ok(Some(gone)),
                    None => continue,
                },
            };
            cursor.lag.reached(cursor.reader.next());
            let events = cursor.wanted(slice);
            let topic = cursor.entry.clone();
            self.queue(key);
            if !events.is_empty() {
                return Ok(Some(Next::Events(Delivery { topic, events })));
            }
        }
    }

    /// Takes the first of those that are to be looked at, and finds out where it belongs. Cancel-safe.
    async fn look(&mut self, key: Key) -> Result<Option<Next>, BrokerError> {
        #[cfg(test)]
        {
            self.looks += 1;
        }
        let share = HELD_BYTES_MAX / self.cursors.len().max(1);
        let alone = self.cursors.len() == 1;
        let Some(cursor) = self.cursors.get_mut(&key).filter(|cursor| !cursor.is_done()) else {
            self.ready.pop_front();
            self.cursors.remove(&key);
            return Ok(None);
        };
        cursor.reader.hold_at_most(share);
        // When there is none to compare with, nothing is read for it.
        let peeked = if alone && cursor.reader.is_ready() {
            Ok(Some(Time::from_nanos(i64::MIN)))
        } else {
            cursor.reader.peek().await
        };
        self.ready.pop_front();
        match peeked {
            Ok(Some(time)) => {
                self.in_order.insert((time, key));
                Ok(None)
            }
            Ok(None) => {
                let arrival = cursor.reader.arrival();
                self.waiting.push(Box::pin(async move {
                    arrival.await;
                    key
                }));
                Ok(None)
            }
            Err(error) => self.failed(key, error),
        }
    }

    /// A cursor is to be looked at again.
    fn queue(&mut self, key: Key) {
        self.ready.push_back(key);
    }

    /// What becomes of a cursor that can't be read where it is.
    fn failed(&mut self, key: Key, error: FetchError) -> Result<Option<Next>, BrokerError> {
        match error {
            FetchError::Closed { last, .. } if self.skips => {
                if let Some(cursor) = self.cursors.get_mut(&key) {
                    self.skipped += cursor.skip_to(last.plus(1));
                    self.queue(key);
                }
                Ok(None)
            }
            FetchError::Destroyed => {
                self.cursors.remove(&key);
                if self.losing == Losing::Ends {
                    return Ok(Some(Next::Gone));
                }
                self.losing = Losing::Before;
                Ok(None)
            }
            error => Err(BrokerError::stream(error)),
        }
    }

    /// Takes up those that have something since they were looked at.
    fn collect_woken(&mut self) {
        while let Some(Some(key)) = self.waiting.next().now_or_never() {
            self.queue(key);
        }
    }

    /// Finds the offsets of the bounds that have passed, before which nothing can be committed any more. Nothing is
    /// there to be given when it is called.
    async fn pass_bounds(&mut self) -> Result<(), BrokerError> {
        let now = match self.passing {
            Some(first) => Some(self.broker.clock.now()).filter(|now| first <= *now),
            None => None,
        };
        let Some(now) = now else { return Ok(()) };
        let mut first = None::<Time>;
        for cursor in self.cursors.values_mut() {
            let Some(Until::Later(place)) = cursor.until else { continue };
            if place.passed_at() > now {
                first = Some(first.map_or(place.passed_at(), |first| first.min(place.passed_at())));
                continue;
            }
            match cursor::reached(cursor.reader.topic(), place).await {
                Ok(end) => cursor.until = Some(Until::Offset(end)),
                // It is about to be found lost.
                Err(_) if cursor.entry.availability() == Availability::Deleting => {}
                Err(error) => return Err(BrokerError::stream(error)),
            }
        }
        // They stand at their ends, where nothing wakes them any more.
        self.cursors.retain(|_, cursor| !cursor.is_done());
        self.passing = first;
        Ok(())
    }

    /// Waits until a cursor has something, a topic was created, or a bound passes.
    async fn wait(&mut self) {
        let clock = self.broker.clock.clone();
        let passing = async {
            match self.passing {
                Some(time) => {
                    let nanos = time.nanos().saturating_sub(clock.now().nanos());
                    clock.sleep(Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))).await;
                }
                None => std::future::pending().await,
            }
        };
        let changing = async {
            match &mut self.follows {
                // The sender lives as long as the broker, which this subscription holds.
                Some(Follow { changes, seen }) => drop(changes.wait_for(|generation| generation != seen).await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(key) = self.waiting.next() => self.ready.push_back(key),
            () = changing => {}
            () = passing => {}
        }
    }
}
