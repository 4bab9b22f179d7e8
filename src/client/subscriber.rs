//! Subscribing: events of topics from any point on, each topic in its order, without a gap or a repetition when the connection
//! breaks.
//!
//! One stream carries all topics of a subscriber; what is there already comes merged by commit time. Each topic remembers for
//! itself how far it has come, so a stream that breaks is taken up for each where it was. With a condition, that is behind the last
//! event for which it was true.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};

use http::HeaderMap;

use super::{
    Client, ClientError, Code, Event,
    backoff::Backoff,
    event::Publishers,
    frames::{MessageReader, Read},
    outbox::Outbox,
    subscription::{self, Arrived},
    track::Track,
    wanted::Wanted,
};
use crate::{
    api::ensign::{StreamReady, Subscription},
    model::{Position, TopicId, Ulid},
    sys,
};

/// What to read, and how to behave.
#[derive(Debug, Clone)]
pub struct SubscriberOptions {
    /// The topics, by name or id; each at most once, and at least one.
    pub topics: Vec<String>,
    /// Where to start in each of them. Now and ages are taken by the server's clock.
    pub from: Position,
    /// Where to stop, before the event at this place; without it, the subscriber waits for what comes.
    pub until: Option<Position>,
    /// For how long to try to connect again after the connection broke; without it, for ever.
    pub retry_for: Option<Duration>,
    /// Leave out what the server can't read for want of its data key, instead of ending there with an error.
    pub skip_unreadable: bool,
    pub wanted: Wanted,
}

/// What a subscriber has to say.
#[derive(Debug)]
pub enum Delivery {
    /// The next events, those of each topic in order; never none.
    Events(Vec<Event>),
    /// The events of a topic from one offset up to another one can't be read by the server, and were left out.
    Skipped { topic: TopicId, first: u64, last: u64 },
    /// So many more events were left out, at the start or the end of what was read: nothing around them shows where.
    SkippedMore { events: u64 },
    /// One of several topics has been destroyed. The next call connects again for the others.
    Lost { topic: TopicId },
    /// The connection broke. The next call connects again and goes on behind the last event.
    Interrupted { reason: String },
    /// The place where to stop has been reached.
    Ended,
}

/// An open subscription.
#[derive(Debug)]
pub struct Subscriber {
    client: Client,
    /// The topics that are there, in the order in which they were named.
    tracks: Vec<Track>,
    /// Where the track of a topic stands.
    places: HashMap<TopicId, usize>,
    /// The topic of the event that came last, and where its track stands.
    last: Option<(TopicId, usize)>,
    /// When the first stream was asked for, by the time that only goes forward.
    asked: Option<Duration>,
    /// Keeps the request open: a half-closed subscription ends.
    outbox: Outbox,
    reader: Option<MessageReader>,
    publishers: Publishers,
    /// How many events came together the last time.
    expected: usize,
    backoff: Backoff,
    ended: bool,
    skip_unreadable: bool,
    wanted: Wanted,
    /// How many results are wanted yet, if they are counted.
    left: Option<u64>,
    /// What was left out and not told yet.
    gaps: VecDeque<(TopicId, u64, u64)>,
    /// How many events of the stream that is open the gaps were, told and not told.
    skipped: u64,
    /// Events that have arrived with it.
    held: Vec<Event>,
    /// Topics that are gone, and not told yet.
    lost: VecDeque<TopicId>,
}

impl Subscriber {
    /// Opens a subscription. The server must answer that it is ready before this returns, so that an event published
    /// afterwards is not missed.
    pub async fn open(client: &Client, options: SubscriberOptions) -> Result<Subscriber, ClientError> {
        let SubscriberOptions { topics, from, until, retry_for, skip_unreadable, wanted } = options;
        let mut subscriber = Subscriber {
            client: client.clone(),
            tracks: topics.into_iter().map(|name| Track::new(name, from, until)).collect(),
            places: HashMap::new(),
            last: None,
            asked: None,
            outbox: Outbox::default(),
            reader: None,
            publishers: Publishers::default(),
            expected: 0,
            backoff: Backoff::new(client.clock.clone(), client.entropy.clone(), retry_for),
            ended: false,
            skip_unreadable,
            left: wanted.limit,
            wanted,
            gaps: VecDeque::new(),
            skipped: 0,
            held: Vec::new(),
            lost: VecDeque::new(),
        };
        subscriber.connect().await?;
        Ok(subscriber)
    }

    /// The topics that are there, in the order in which they were asked for, with their names.
    pub fn topics(&self) -> impl Iterator<Item = (TopicId, &str)> {
        self.tracks.iter().filter_map(|track| Some((track.id?, &*track.name)))
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
            if let Some((topic, first, last)) = self.gaps.pop_front() {
                return Ok(Delivery::Skipped { topic, first, last });
            }
            let arrived = std::mem::take(&mut self.held);
            if !arrived.is_empty() {
                return Ok(Delivery::Events(arrived));
            }
            if let Some(topic) = self.lost.pop_front() {
                return Ok(Delivery::Lost { topic });
            }
            if self.ended {
                continue;
            }
            let Some(reader) = self.reader.as_mut() else {
                self.reconnect().await?;
                continue;
            };
            let mut error = match reader.read().await {
                Ok(Read::More) => continue,
                Ok(Read::Ended) if self.left == Some(0) || self.tracks.iter().all(|track| track.until.is_some()) => {
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
            if error.code() == Some(Code::NotFound) {
                match self.find_lost().await {
                    Ok(true) => {
                        self.backoff.reset();
                        continue;
                    }
                    Ok(false) => {}
                    Err(other) => error = other,
                }
            }
            if !error.is_retryable() {
                return Err(error);
            }
            tracing::warn!(%error, topics = self.tracks.len(), "the subscription broke");
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
                // A topic that is named and not there any more.
                Err(error) if error.code() == Some(Code::InvalidArgument) => match self.find_lost().await {
                    Ok(true) => {}
                    Ok(false) => return Err(error),
                    Err(other) if other.is_retryable() => last = Some(other),
                    Err(other) => return Err(other),
                },
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| self.client.protocol_error("the connection could not be made again")))
    }

    /// Finds out which topics are gone, and goes on without them; says whether others are left and some are gone.
    async fn find_lost(&mut self) -> Result<bool, ClientError> {
        if self.tracks.len() < 2 {
            return Ok(false);
        }
        // Without a query, what is not there is no error.
        let outbox = Outbox::default();
        let opened = subscription::open(&self.client, self.subscription(None), &HeaderMap::new(), &outbox).await;
        let ready = match opened {
            Ok((_, ready)) => ready,
            // None of them is there.
            Err(error) if error.code() == Some(Code::FailedPrecondition) => return Ok(false),
            Err(error) => return Err(error),
        };
        let there: HashSet<TopicId> = ids(&ready).map(|(_, id)| id).collect();
        let before = self.tracks.len();
        for track in std::mem::take(&mut self.tracks) {
            match track.id {
                Some(id) if !there.contains(&id) => self.lost.push_back(id),
                _ => self.tracks.push(track),
            }
        }
        self.places.clear();
        self.last = None;
        Ok(self.tracks.len() < before)
    }

    /// Takes the events that have arrived, and remembers how far they go.
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
            let place = match self.last {
                Some((topic, place)) if topic == event.topic => place,
                _ => {
                    let place = self.places.get(&event.topic).copied();
                    place.ok_or_else(|| self.client.protocol_error("an event of a topic that was not asked for"))?
                }
            };
            self.last = Some((event.topic, place));
            let track = &mut self.tracks[place];
            // One so large that there was no room for it has no offset.
            let offset = event.offset.get();
            if let Some(seen) = track.seen().filter(|_| offset > 0) {
                if offset <= seen && !(self.wanted.gives_rows() && track.is_next_row(event.offset)) {
                    continue;
                }
                if self.skip_unreadable && self.wanted.is_everything() && offset > seen + 1 {
                    // Offsets are dense, so what is missing was left out.
                    self.gaps.push_back((event.topic, seen + 1, offset - 1));
                    self.skipped += offset - 1 - seen;
                }
            }
            if offset > 0 {
                track.reached(event.offset);
            }
            if events.is_empty() {
                events.reserve(self.expected);
            }
            events.push(event);
            self.left = self.left.map(|left| left.saturating_sub(1));
            if self.left == Some(0) {
                self.ended = true;
                return Ok(events);
            }
        }
        if !events.is_empty() {
            self.expected = events.len();
        }
        self.reader = Some(reader);
        Ok(events)
    }

    /// What the server is asked for: all topics that are there.
    fn subscription(&self, ranges: Option<String>) -> Subscription {
        let name = |track: &Track| track.id.map_or_else(|| track.name.clone(), |id| id.to_string());
        Subscription {
            client_id: sys::new_ulid(&self.client.clock, &self.client.entropy).to_string(),
            topics: self.tracks.iter().map(name).collect(),
            query: ranges.map(|ranges| {
                let again: u64 = self.tracks.iter().map(Track::again).sum();
                self.wanted.query(&ranges, self.left.map(|left| left.saturating_add(again)))
            }),
            group: None,
        }
    }

    /// Opens a stream and waits until the server is ready.
    async fn connect(&mut self) -> Result<(), ClientError> {
        let now = self.client.clock.elapsed();
        let since = self.asked.map_or(Duration::ZERO, |asked| now.saturating_sub(asked));
        let wanted = &self.wanted;
        let ranges: Vec<String> = self.tracks.iter_mut().map(|track| track.clauses(since, wanted)).collect();
        let subscription = self.subscription(Some(ranges.join(", ")));
        let asks: HeaderMap = self.skip_unreadable.then_some(subscription::SKIP_HEADER).into_iter().collect();
        let (reader, ready) = subscription::open(&self.client, subscription, &asks, &self.outbox).await?;
        self.asked.get_or_insert(now);
        self.find_places(&ready)?;
        self.reader = Some(reader);
        self.skipped = 0;
        Ok(())
    }

    /// Learns the identifiers of the topics.
    fn find_places(&mut self, ready: &StreamReady) -> Result<(), ClientError> {
        let by_name: HashMap<_, _> = ids(ready).collect();
        let by_id: HashMap<_, _> = ids(ready).map(|(name, id)| (id, name)).collect();
        self.places.clear();
        for (place, track) in self.tracks.iter_mut().enumerate() {
            // A name of an identifier's form goes before the identifier, as it does for the server.
            let named = track.id.or_else(|| by_name.get(&*track.name).copied());
            let id = named.or_else(|| Ulid::parse(&track.name).ok().map(TopicId));
            let Some((id, name)) = id.and_then(|id| Some((id, by_id.get(&id)?))) else {
                return Err(self.client.protocol_error("a subscription without a topic that was asked for"));
            };
            (track.id, track.name) = (Some(id), (*name).to_owned());
            self.places.insert(id, place);
        }
        Ok(())
    }
}

/// The topics of a stream, with their identifiers.
fn ids(ready: &StreamReady) -> impl Iterator<Item = (&str, TopicId)> {
    let read = |bytes: &[u8]| Ulid::from_slice(bytes).ok().map(TopicId);
    ready.topics.iter().filter_map(move |(name, id)| Some((&**name, read(id)?)))
}
