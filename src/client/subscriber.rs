//! Subscribing: a topic's events from any point on, in order, without a gap or a repetition when the connection breaks.

use std::{collections::VecDeque, time::Duration};

use http::HeaderMap;

use super::{
    Client, ClientError, Event,
    backoff::Backoff,
    event::Publishers,
    frames::{MessageReader, Read},
    outbox::Outbox,
    subscription::{self, Arrived},
};
use crate::{
    api::ensign::{Query, Subscription},
    model::{Position, Time},
    sys,
};

/// What to read, and how to behave.
#[derive(Debug, Clone)]
pub struct SubscriberOptions {
    /// The name of the topic.
    pub topic: String,
    pub from: Position,
    /// Where to stop, before the event at this place; without it, the subscriber waits for what comes.
    pub until: Option<Position>,
    /// For how long to try to connect again after the connection broke; without it, for ever.
    pub retry_for: Option<Duration>,
    /// Leave out what the server can't read for want of its data key, instead of ending there with an error.
    pub skip_unreadable: bool,
}

/// What a subscriber has to say.
#[derive(Debug)]
pub enum Delivery {
    /// The next events, in order; never none.
    Events(Vec<Event>),
    /// The events from one offset up to another one can't be read by the server, and were left out.
    Skipped { first: u64, last: u64 },
    /// So many more events were left out, at the start or the end of what was read: nothing around them shows where.
    SkippedMore { events: u64 },
    /// The connection broke. The next call connects again and goes on behind the last event.
    Interrupted { reason: String },
    /// The place where to stop has been reached.
    Ended,
}

/// An open subscription to one topic.
#[derive(Debug)]
pub struct Subscriber {
    client: Client,
    topic: String,
    start: Start,
    stop: Stop,
    /// Keeps the request open: a half-closed subscription ends.
    outbox: Outbox,
    reader: Option<MessageReader>,
    publishers: Publishers,
    /// How many events came together the last time.
    expected: usize,
    backoff: Backoff,
    ended: bool,
    skip_unreadable: bool,
    /// What was left out and not told yet.
    gaps: VecDeque<(u64, u64)>,
    /// How many events of the stream that is open the gaps were, told and not told.
    skipped: u64,
    /// Events that have arrived with it.
    held: Vec<Event>,
}

/// Where the next connection starts reading.
#[derive(Debug, Clone, Copy)]
enum Start {
    /// With what is committed from now on.
    Now,
    /// Behind this many events.
    Behind(u64),
    Event(crate::model::Rlid),
    /// With what was committed at this time or later.
    Time(Time),
}

/// Where reading ends.
#[derive(Debug, Clone, Copy)]
enum Stop {
    Never,
    /// Behind the event with this offset.
    Behind(u64),
    Event(crate::model::Rlid),
    Time(Time),
}

impl Subscriber {
    /// Opens a subscription. The server must answer that it is ready before this returns, so that an event published
    /// afterwards is not missed.
    pub async fn open(client: &Client, options: SubscriberOptions) -> Result<Subscriber, ClientError> {
        let now = client.clock.now();
        let start = match options.from {
            Position::Start => Start::Behind(0),
            Position::End => Start::Now,
            Position::Offset(offset) => Start::Behind(offset.get().saturating_sub(1)),
            Position::Event(id) => Start::Event(id),
            Position::Time(time) => Start::Time(time),
            Position::Ago(nanos) => Start::Time(now.plus_nanos(-nanos)),
        };
        let stop = match options.until {
            None => Stop::Never,
            Some(Position::Start) => Stop::Behind(0),
            Some(Position::End) => Stop::Time(now),
            Some(Position::Offset(offset)) => Stop::Behind(offset.get().saturating_sub(1)),
            Some(Position::Event(id)) => Stop::Event(id),
            Some(Position::Time(time)) => Stop::Time(time),
            Some(Position::Ago(nanos)) => Stop::Time(now.plus_nanos(-nanos)),
        };
        // A query that only says where to stop would start at the beginning.
        let start = match (start, stop) {
            (Start::Now, Stop::Event(_) | Stop::Time(_)) => Start::Time(now),
            (start, _) => start,
        };
        let mut subscriber = Subscriber {
            client: client.clone(),
            topic: options.topic,
            start,
            stop,
            outbox: Outbox::default(),
            reader: None,
            publishers: Publishers::default(),
            expected: 0,
            backoff: Backoff::new(client.clock.clone(), client.entropy.clone(), options.retry_for),
            ended: false,
            skip_unreadable: options.skip_unreadable,
            gaps: VecDeque::new(),
            skipped: 0,
            held: Vec::new(),
        };
        subscriber.connect().await?;
        subscriber.ended = subscriber.is_behind_stop();
        Ok(subscriber)
    }

    /// The name of the topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Waits for what comes next. Nothing is lost when the future is dropped and the method called again.
    ///
    /// # Errors
    ///
    /// When the subscription can't go on: it was refused, or the connection could not be made again in time.
    pub async fn next(&mut self) -> Result<Delivery, ClientError> {
        loop {
            if self.gaps.is_empty() && self.held.is_empty() {
                if self.ended {
                    return Ok(Delivery::Ended);
                }
                self.held = self.arrived()?;
            }
            // What was left out is told before what came behind it.
            if let Some((first, last)) = self.gaps.pop_front() {
                return Ok(Delivery::Skipped { first, last });
            }
            let arrived = std::mem::take(&mut self.held);
            if !arrived.is_empty() {
                return Ok(Delivery::Events(arrived));
            }
            if self.ended {
                continue;
            }
            let Some(reader) = self.reader.as_mut() else {
                self.reconnect().await?;
                continue;
            };
            let error = match reader.read().await {
                Ok(Read::More) => continue,
                Ok(Read::Ended) if !matches!(self.stop, Stop::Never) => {
                    self.ended = true;
                    match reader.skipped().saturating_sub(self.skipped) {
                        0 => continue,
                        events => return Ok(Delivery::SkippedMore { events }),
                    }
                }
                Ok(Read::Ended) => ClientError::Unreachable {
                    address: self.client.endpoint().address().to_string(),
                    reason: "the server ended the stream".to_owned(),
                },
                Err(status) => ClientError::from_status(self.client.endpoint(), &status),
            };
            self.reader = None;
            if !error.is_retryable() {
                return Err(error);
            }
            tracing::warn!(%error, topic = self.topic, "the subscription broke");
            self.backoff.reset();
            return Ok(Delivery::Interrupted { reason: error.to_string() });
        }
    }

    async fn reconnect(&mut self) -> Result<(), ClientError> {
        let mut last = None;
        while self.backoff.wait().await {
            match self.connect().await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_retryable() => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| self.client.protocol_error("the connection could not be made again")))
    }

    /// Takes the events that have arrived, remembers how far they go, and leaves out what lies behind the place where to
    /// stop.
    fn arrived(&mut self) -> Result<Vec<Event>, ClientError> {
        let mut events = Vec::new();
        let Some(mut reader) = self.reader.take() else { return Ok(events) };
        while let Some(frame) =
            reader.message().map_err(|status| ClientError::from_status(self.client.endpoint(), &status))?
        {
            let event = match subscription::read(&self.client, &frame, &mut self.publishers)? {
                Arrived::Event(event) => event,
                // The server drains.
                Arrived::Closing => continue,
                Arrived::Receipt(_) => return Err(self.client.protocol_error("a receipt without a consumer group")),
            };
            if matches!(self.start, Start::Behind(seen) if event.offset.get() <= seen && event.offset.get() > 0) {
                continue;
            }
            if self.is_behind_stop() {
                break;
            }
            if let Start::Behind(seen) = self.start
                && self.skip_unreadable
                && event.offset.get() > seen + 1
            {
                // Offsets are dense, so what is missing was left out.
                self.gaps.push_back((seen + 1, event.offset.get() - 1));
                self.skipped += event.offset.get() - 1 - seen;
            }
            if event.offset.get() > 0 {
                self.start = Start::Behind(event.offset.get());
            }
            if events.is_empty() {
                events.reserve(self.expected);
            }
            events.push(event);
        }
        if !events.is_empty() {
            self.expected = events.len();
        }
        self.reader = Some(reader);
        self.ended |= self.is_behind_stop();
        Ok(events)
    }

    /// Whether nothing that is wanted can come any more.
    fn is_behind_stop(&self) -> bool {
        matches!((self.start, self.stop), (Start::Behind(seen), Stop::Behind(last)) if seen >= last)
            || matches!(self.stop, Stop::Behind(0))
    }

    /// Where to read from, in the words that the server understands; none for what comes from now on.
    fn query(&self) -> Option<String> {
        let from = match self.start {
            Start::Now => None,
            Start::Behind(count) => Some(format!("OFFSET {count}")),
            Start::Event(id) => Some(format!("OFFSET '{id}'")),
            // What lies behind the time before is what was committed at this time or later.
            Start::Time(time) => Some(format!("AFTER '{}'", time.plus_nanos(-1))),
        };
        let until = match self.stop {
            Stop::Never | Stop::Behind(_) => None,
            Stop::Event(id) => Some(format!("BEFORE '{id}'")),
            Stop::Time(time) => Some(format!("BEFORE '{time}'")),
        };
        let clauses: Vec<String> = from.into_iter().chain(until).collect();
        let topic = &self.topic;
        (!clauses.is_empty()).then(|| format!("SELECT * FROM {topic} {}", clauses.join(" ")))
    }

    /// Opens a stream and waits until the server is ready.
    async fn connect(&mut self) -> Result<(), ClientError> {
        let subscription = Subscription {
            client_id: sys::new_ulid(&self.client.clock, &self.client.entropy).to_string(),
            topics: vec![self.topic.clone()],
            query: self.query().map(|query| Query { query, ..Query::default() }),
            group: None,
        };
        let asks: HeaderMap = self.skip_unreadable.then_some(subscription::SKIP_HEADER).into_iter().collect();
        let (reader, _) = subscription::open(&self.client, subscription, &asks, &self.outbox).await?;
        if matches!(self.start, Start::Now) {
            // Should the connection break before the first event, the next one has to start here and not then.
            self.start = Start::Time(self.client.clock.now());
        }
        self.reader = Some(reader);
        self.skipped = 0;
        Ok(())
    }
}
