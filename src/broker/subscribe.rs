//! What a subscriber may do: cursors in the topics it asked for, which it pulls slices of events from.
//!
//! A subscription is registered before anybody is told that it is ready: its cursors stand where they will start.
//! Nothing is pushed to it, so nothing is dropped when it is slow. A subscription to all topics follows those that are
//! created later; one whose topics are all destroyed ends.
//!
//! What it does not do: write messages, remember positions.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::sync::watch;

use super::{Availability, Broker, BrokerError, InvalidRequest, Lags, TopicEntry, access::Operation, lag::CursorLag};
use crate::{
    engine::{FetchError, Reader, Slice},
    ensql::RangeQuery,
    model::{Offset, Position, Principal, ProjectId, Rlid, Time},
};

/// What a subscriber asks for.
#[derive(Debug, Clone, Default)]
pub struct SubscribeRequest {
    /// Names, ULIDs or hashes; none: all topics of the project.
    pub topics: Vec<String>,
    /// EnSQL that says where to start and stop.
    pub query: Option<String>,
    /// Leave out what is under a suspended or revoked data key, instead of ending there.
    pub skip_unreadable: bool,
}

/// One subscriber's stream.
#[derive(Debug)]
pub struct Subscription {
    broker: Broker,
    lags: Lags,
    project: ProjectId,
    cursors: Vec<Cursor>,
    /// Where the search for a cursor with something to read goes on, so that no topic starves another.
    turn: usize,
    /// Set when topics that are created later belong to the subscription.
    follows: Option<Follow>,
    /// Whether a topic of the subscription was destroyed.
    lost: bool,
    /// Whether what can't be read is left out, and how many events that were.
    skips: bool,
    skipped: u64,
    /// Whether something was passed over since the last delivery that looked as if it could be delivered.
    passed: bool,
}

/// The project's generation of topics, and the one that was looked at last.
#[derive(Debug)]
struct Follow {
    changes: watch::Receiver<u64>,
    seen: u64,
}

#[derive(Debug)]
struct Cursor {
    entry: Arc<TopicEntry>,
    reader: Reader,
    until: Option<Until>,
    lag: Arc<CursorLag>,
}

/// What a cursor stops before.
#[derive(Debug, Clone, Copy)]
enum Until {
    Event(Rlid),
    Time(Time),
}

impl Until {
    /// From when on no event can be committed any more that lies before it.
    fn passed_at(self) -> Time {
        match self {
            Until::Event(id) => Time::from_millis(i64::try_from(id.millis()).unwrap_or(i64::MAX)),
            Until::Time(time) => time,
        }
    }

    /// The offset in a slice from which on the events do not lie before it.
    fn cut(self, slice: &Slice) -> Option<Offset> {
        let reached = |event: &crate::engine::EventRef<'_>| match self {
            Until::Event(id) => event.rlid >= id,
            Until::Time(time) => event.committed() >= time,
        };
        slice.events().find(reached).map(|event| event.offset)
    }
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
    /// [`Subscription::is_ready`] promised more than there is: nothing can be given without waiting.
    Passed,
    /// Everything up to where the subscription was to stop has been given.
    Finished,
    /// All topics of the subscription have been destroyed.
    Gone,
}

impl Broker {
    /// Opens a subscriber's session, before anything was heard of it.
    ///
    /// # Errors
    ///
    /// When the caller may not subscribe, or its project has no topics.
    pub fn check_subscriber(&self, principal: &Principal) -> Result<ProjectId, BrokerError> {
        self.streaming_project(principal, Operation::Subscribe)
    }

    /// Registers a subscription: what is committed from now on, or from the position that its query names, will be
    /// given. Its lag counts among `lags` for as long as it lives.
    ///
    /// # Errors
    ///
    /// When none of the topics exists, when the query can't be read or names a position outside of its topic.
    pub async fn subscribe(
        &self,
        project: ProjectId,
        request: &SubscribeRequest,
        lags: &Lags,
    ) -> Result<Subscription, BrokerError> {
        // Changes are followed from before the topics are listed, so that none is missed in between.
        let changes = self.directory().changes(project);
        let seen = *changes.borrow();
        let range = match &request.query {
            Some(text) => Some(RangeQuery::parse(text).map_err(InvalidRequest::Query)?),
            None => None,
        };
        let mut entries = self.chosen_topics(project, &request.topics)?;
        if let Some(range) = &range {
            let named = self.directory().resolve(project, &range.topic).ok_or(InvalidRequest::UnknownTopicInQuery)?;
            entries.retain(|entry| entry.id() == named.id());
            if entries.is_empty() {
                return Err(InvalidRequest::UnknownTopicInQuery.into());
            }
        }
        let until = range.as_ref().and_then(|range| range.until).and_then(|position| match position {
            Position::Event(id) => Some(Until::Event(id)),
            Position::Time(time) => Some(Until::Time(time)),
            Position::Start | Position::End | Position::Offset(_) | Position::Ago(_) => None,
        });
        // BEFORE alone means everything that lies before, not what comes from now on.
        let default = if until.is_some() { Position::Start } else { Position::End };
        let from = range.as_ref().and_then(|range| range.from).unwrap_or(default);
        let follows = (request.topics.is_empty() && range.is_none()).then_some(Follow { changes, seen });
        let mut subscription = Subscription {
            broker: self.clone(),
            lags: lags.clone(),
            project,
            cursors: Vec::new(),
            turn: 0,
            follows,
            lost: false,
            skips: request.skip_unreadable,
            skipped: 0,
            passed: false,
        };
        for entry in entries {
            subscription.add(entry, from, until).await?;
        }
        Ok(subscription)
    }
}

impl Subscription {
    /// The topics that the subscription has now.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<TopicEntry>> {
        self.cursors.iter().map(|cursor| &cursor.entry)
    }

    async fn add(&mut self, entry: Arc<TopicEntry>, from: Position, until: Option<Until>) -> Result<(), BrokerError> {
        let topic = match self.broker.engine.topic(entry.id(), self.project).await {
            Ok(topic) => topic,
            // It was destroyed while the subscription was being made.
            Err(_) if entry.availability() == Availability::Deleting => return Ok(()),
            Err(error) => return Err(BrokerError::stream(error)),
        };
        let start = match topic.seek(from).await {
            // Where within the block nobody can tell; all of it is left out.
            Err(FetchError::Closed { first, .. }) if self.skips => Ok(first),
            sought => sought,
        };
        let start = start.map_err(|error| match error {
            FetchError::BeyondEnd { offset, end } => InvalidRequest::BeyondEnd { offset, end }.into(),
            other => BrokerError::stream(other),
        })?;
        let lag = self.lags.follow(topic.head(), start);
        self.cursors.push(Cursor { entry, reader: topic.reader(start), until, lag });
        Ok(())
    }

    /// The next events of any of the topics. Cancel-safe: events that were not returned come again.
    ///
    /// # Errors
    ///
    /// When stored events can't be read; the subscription can't be used any more.
    pub async fn next(&mut self) -> Result<Next, BrokerError> {
        loop {
            self.follow_changes().await?;
            if let Some(delivery) = self.poll_cursors().await? {
                self.passed = false;
                return Ok(Next::Events(delivery));
            }
            self.drop_passed();
            if self.cursors.is_empty() && self.follows.is_none() {
                return Ok(if self.lost { Next::Gone } else { Next::Finished });
            }
            if std::mem::take(&mut self.passed) {
                return Ok(Next::Passed);
            }
            self.wait().await;
        }
    }

    /// How many events were left out because they can't be read.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Whether events can be given without waiting, unless they turn out not to be readable: [`Next::Passed`] says so.
    pub fn is_ready(&self) -> bool {
        self.cursors.iter().any(|cursor| cursor.reader.is_ready())
    }

    /// Adds the topics that were created since the last look. They are read from their start: nothing in them is older
    /// than the subscription.
    async fn follow_changes(&mut self) -> Result<(), BrokerError> {
        let Some(follow) = &mut self.follows else { return Ok(()) };
        let generation = *follow.changes.borrow();
        if std::mem::replace(&mut follow.seen, generation) == generation {
            return Ok(());
        }
        let known: std::collections::HashSet<_> = self.cursors.iter().map(|cursor| cursor.entry.id()).collect();
        let created: Vec<_> =
            self.broker.live_topics(self.project).filter(|entry| !known.contains(&entry.id())).collect();
        for entry in created {
            self.add(entry, Position::Start, None).await?;
        }
        Ok(())
    }

    /// Reads from the first cursor that has something, in turns.
    async fn poll_cursors(&mut self) -> Result<Option<Delivery>, BrokerError> {
        let mut asked = 0;
        while asked < self.cursors.len() {
            let at = self.turn % self.cursors.len();
            self.turn = at + 1;
            let cursor = &mut self.cursors[at];
            let read = if cursor.reader.is_ready() { cursor.reader.read().await } else { Ok(None) };
            match read {
                Ok(Some(slice)) => {
                    cursor.lag.reached(cursor.reader.next());
                    let topic = cursor.entry.clone();
                    let Some(end) = cursor.until.and_then(|until| until.cut(&slice)) else {
                        return Ok(Some(Delivery { topic, events: slice }));
                    };
                    self.cursors.remove(at);
                    let events = slice.before(end);
                    if !events.is_empty() {
                        return Ok(Some(Delivery { topic, events }));
                    }
                }
                Ok(None) => asked += 1,
                Err(FetchError::Closed { last, .. }) if self.skips => {
                    self.skipped += cursor.reader.skip_to(last.plus(1));
                    cursor.lag.reached(cursor.reader.next());
                    self.passed = true;
                }
                Err(FetchError::Destroyed) => {
                    self.passed = true;
                    self.cursors.remove(at);
                    self.lost = true;
                }
                Err(error) => return Err(BrokerError::stream(error)),
            }
        }
        Ok(None)
    }

    /// Drops the cursors at the ends of their topics before whose bound nothing can be committed any more.
    fn drop_passed(&mut self) {
        let now = self.broker.clock.now();
        self.cursors
            .retain(|cursor| cursor.reader.is_ready() || cursor.until.is_none_or(|until| until.passed_at() > now));
    }

    /// Waits until a cursor has something, a topic was created, or a bound passes.
    async fn wait(&mut self) {
        let clock = self.broker.clock.clone();
        let bound = self.cursors.iter().filter_map(|cursor| cursor.until).map(Until::passed_at).min();
        let passing = async {
            match bound {
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
        let mut readers: FuturesUnordered<_> = self.cursors.iter_mut().map(|cursor| cursor.reader.ready()).collect();
        let reading = async {
            if readers.next().await.is_none() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = reading => {}
            () = changing => {}
            () = passing => {}
        }
    }
}
