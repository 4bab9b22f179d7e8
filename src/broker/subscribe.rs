//! Opening a subscription: what a subscriber asks for becomes cursors in the topics that it means.
//!
//! A subscription is registered before anybody is told that it is ready: its cursors stand where they will start, and
//! what `now` and ages mean is settled by this machine's clock. What its query wants of the events is a filter.
//!
//! What it does not do: read, write messages, remember positions.

use std::{collections::HashMap, sync::Arc};

use super::{
    Availability, Broker, BrokerError, InvalidRequest, Lags, Subscription, TopicEntry,
    access::Operation,
    cursor::{self, Cursor, Place},
    filter::Filter,
    query::{Running, ShowEvent},
    subscription::Follow,
};
use crate::{
    engine::FetchError,
    ensql::{EventType, Parameter, Statement},
    model::{Position, Principal, ProjectId, TopicId},
};

/// What a subscriber asks for.
#[derive(Debug, Clone, Default)]
pub struct SubscribeRequest {
    /// Names, ULIDs or hashes; none: all topics of the project.
    pub topics: Vec<String>,
    /// Where to start and stop, and what is wanted of the events.
    pub query: Option<SubscriptionQuery>,
    /// Leave out what is under a suspended or revoked data key, instead of ending there.
    pub skip_unreadable: bool,
}

/// The query of a subscription.
#[derive(Debug, Clone)]
pub struct SubscriptionQuery {
    /// EnSQL.
    pub text: String,
    pub parameters: Vec<Parameter>,
    pub show: ShowEvent,
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

    /// Registers a subscription: what is committed from now on, or from the positions that its query names, will be
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
        let entries = self.chosen_topics(project, &request.topics)?;
        let mut filter = None;
        let chosen: Vec<Range> = match &request.query {
            Some(query) => {
                let statement = Statement::parse(&query.text).map_err(InvalidRequest::Statement)?;
                statement.require_endless().map_err(InvalidRequest::Statement)?;
                let plan = statement.bind(&query.parameters).map_err(InvalidRequest::Statement)?;
                let ranges = self.ranges(project, &entries, &statement)?;
                if !statement.is_range() || ranges.iter().any(|range| range.event_type.is_some()) {
                    let running = Running::new(plan, self.clock.now(), query.show);
                    filter = Some(Filter::new(running, &ranges, self.workers.clone()));
                }
                ranges
            }
            None => entries.into_iter().map(Range::from_now_on).collect(),
        };
        let follows = (request.topics.is_empty() && request.query.is_none()).then_some(Follow { changes, seen });
        let mut subscription = Subscription::new(self.clone(), lags.clone(), project, follows, request, filter);
        for Range { entry, from, until, .. } in chosen {
            // BEFORE alone means everything that lies before, not what comes from now on.
            let default = if until.is_some() { Position::Start } else { Position::End };
            if let Some(cursor) = subscription.cursor(entry, from.unwrap_or(default), until).await? {
                subscription.add(cursor);
            }
        }
        Ok(subscription)
    }

    /// The topics that a query names, among those that the subscription has, with where they start and stop.
    pub(super) fn ranges(
        &self,
        project: ProjectId,
        entries: &[Arc<TopicEntry>],
        statement: &Statement,
    ) -> Result<Vec<Range>, BrokerError> {
        let mut wanted: HashMap<TopicId, &Arc<TopicEntry>> = entries.iter().map(|entry| (entry.id(), entry)).collect();
        let mut chosen = Vec::new();
        for source in statement.sources() {
            let (named, event_type) = self.query_topic(project, source)?;
            let (from, until) = (source.from, source.until);
            match wanted.remove(&named.id()) {
                Some(entry) => chosen.push(Range { entry: entry.clone(), event_type, from, until }),
                None if chosen.iter().any(|range| range.entry.id() == named.id()) => {
                    return Err(InvalidRequest::TopicTwiceInQuery.into());
                }
                None => return Err(InvalidRequest::UnknownTopicInQuery.into()),
            }
        }
        Ok(chosen)
    }
}

/// A part of a topic that is to be read.
pub(super) struct Range {
    pub(super) entry: Arc<TopicEntry>,
    /// Which of its events are meant, unless all are.
    pub(super) event_type: Option<EventType>,
    /// Where to start, and what to stop before, if that is said.
    pub(super) from: Option<Position>,
    pub(super) until: Option<Position>,
}

impl Range {
    fn from_now_on(entry: Arc<TopicEntry>) -> Range {
        Range { entry, event_type: None, from: None, until: None }
    }
}

impl Subscription {
    /// A cursor in a topic; none when it has been destroyed meanwhile.
    pub(super) async fn cursor(
        &mut self,
        entry: Arc<TopicEntry>,
        from: Position,
        until: Option<Position>,
    ) -> Result<Option<Cursor>, BrokerError> {
        let topic = match self.broker.engine.topic(entry.id(), self.project).await {
            Ok(topic) => topic,
            Err(_) if entry.availability() == Availability::Deleting => return Ok(None),
            Err(error) => return Err(BrokerError::stream(error)),
        };
        let now = self.broker.clock.now();
        // The end is looked at first, so that from now until now is nothing.
        let until = match until {
            Some(position) => Some(cursor::bound(&topic, position, now).await.map_err(outside)?),
            None => None,
        };
        let start = match topic.seek(from).await {
            // Where within the block nobody can tell; all of it is left out.
            Err(FetchError::Closed { first, .. }) if self.skips => first,
            sought => sought.map_err(outside)?,
        };
        let since = Place::of(from, now).filter(|place| place.passed_at() > now);
        let lag = self.lags.follow(topic.head(), start);
        Ok(Some(Cursor { entry, reader: topic.reader(start), since, until, lag }))
    }
}

fn outside(error: FetchError) -> BrokerError {
    match error {
        FetchError::BeyondEnd { offset, end } => InvalidRequest::BeyondEnd { offset, end }.into(),
        other => BrokerError::stream(other),
    }
}
