//! A topic of an archive and the topic of the server that it goes to: which of its events are there already, and the others.
//!
//! The events of an archive are dense in the topic that they go to: the first one is at the topic's start, or, when the archive
//! starts in the middle of a topic, at the offset that it had. What the topic holds of them is compared at both ends, and what
//! follows is published in order. When the connection breaks, the topic's end says what of that had arrived.

use std::{collections::VecDeque, time::Duration};

use super::{RETRY_FOR, line::Topic};
use crate::{
    cli::{
        Context,
        copies::Copies,
        error::{CliError, Result},
        human,
        record::Record,
    },
    client::{
        Client, ClientError, Delivery, Draft, Encryption, Event, Publisher, PublisherOptions, Subscriber,
        SubscriberOptions, TopicDefinition, Wanted,
    },
    model::{Offset, Position},
};

/// How far apart the looks at a topic's end are that must agree before it is believed.
const SETTLING: Duration = Duration::from_millis(500);

/// A topic of the server, as events of an archive go to it.
pub(super) struct Landing {
    client: Client,
    source: Topic,
    target: TopicDefinition,
    /// How many events the topic held at the start.
    held: u64,
    place: Option<Place>,
    /// How many events of the archive have come.
    seen: u64,
    /// The one that came last, while the topic holds it.
    last: Option<Record>,
    publisher: Option<Stream>,
    copies: Copies,
}

/// Where the events go.
#[derive(Debug, Clone)]
struct Place {
    /// The offset that the first one has.
    base: u64,
    /// How many of them, and of others behind them, are there already.
    there: u64,
    /// The last event that is there.
    last: Option<Event>,
}

/// An open stream, and what was sent on it.
struct Stream {
    publisher: Publisher,
    /// How many events of the archive were there when it was opened.
    start: u64,
    /// What may have to be sent again: the number of the first one, and the events.
    pending: VecDeque<(u64, Vec<Record>)>,
}

/// What became of a topic.
#[derive(Debug)]
pub(super) struct Landed {
    pub(super) events: u64,
    pub(super) published: u64,
    /// The offset that the first event has.
    pub(super) first: u64,
    /// How many other events stand behind those of the archive.
    pub(super) more: u64,
}

impl Landing {
    pub(super) async fn open(client: &Client, source: Topic, target: TopicDefinition) -> Result<Landing> {
        let held = client.info(&[target.id]).await.map(|info| info.events)?;
        Ok(Landing {
            client: client.clone(),
            source,
            target,
            held,
            place: None,
            seen: 0,
            last: None,
            publisher: None,
            copies: Copies::default(),
        })
    }

    /// Waits for the end of a topic that was there before, if it may lack events: what an import that was interrupted had
    /// sent may still arrive, and would be there twice.
    pub(super) async fn settled(mut self, context: &Context) -> Result<Landing> {
        if self.held < self.source.last {
            self.held = self.settled_end(context).await.map_err(|error| self.about(error))?;
        }
        Ok(self)
    }

    /// Takes the next events of the archive.
    pub(super) async fn take(&mut self, context: &Context, mut records: Vec<Record>) -> Result<()> {
        let place = match &self.place {
            Some(place) => place.clone(),
            None => self.settle(&records[0]).await?,
        };
        let first = self.seen;
        self.seen += records.len() as u64;
        if first < place.there {
            let known = usize::try_from(place.there - first).unwrap_or(usize::MAX).min(records.len());
            let unknown = records.split_off(known);
            self.last = records.pop();
            if let Some(event) = place.last.as_ref().filter(|_| first + known as u64 == place.there) {
                self.compare(event, self.last.as_ref())?;
            }
            records = unknown;
        }
        if records.is_empty() { Ok(()) } else { self.publish(context, first.max(place.there), records).await }
    }

    /// Finds out where the events go, by the first of them.
    async fn settle(&mut self, first: &Record) -> Result<Place> {
        let mut place = Place { base: 1, there: self.held, last: None };
        if self.held > 0 {
            let start = self.event(1).await?;
            let begins = difference(&start, first).is_none();
            if !begins && self.source.first > 1 && self.held + 1 >= self.source.first {
                // The events before those of the archive are there, as when one archive goes on where another one ended.
                place = Place { base: self.source.first, there: self.held + 1 - self.source.first, last: None };
                if place.there > 0 {
                    self.compare(&self.event(place.base).await?, Some(first))?;
                }
            } else {
                self.compare(&start, Some(first))?;
            }
            if place.there > 0 {
                place.last = Some(self.event(self.held).await?);
            }
        }
        self.place = Some(place.clone());
        Ok(place)
    }

    /// Ends the topic, of which the archive has so many events.
    pub(super) async fn finish(&mut self, context: &Context, events: u64) -> Result<Landed> {
        let place = self.place.clone().unwrap_or(Place { base: 1, there: self.held, last: None });
        let mut more = place.there.saturating_sub(events);
        if more > 0 && events > 0 {
            self.compare(&self.event(place.base + events - 1).await?, self.last.as_ref())?;
        }
        while let Some(stream) = &self.publisher {
            let flushed = stream.publisher.flush().await;
            match flushed {
                Ok(()) => break,
                Err(error) => self.recover(context, error).await?,
            }
        }
        self.check_refusals()?;
        if let Some(stream) = self.publisher.take() {
            stream.publisher.close().await;
            let held = self.client.info(&[self.target.id]).await?.events;
            let expected = place.base + events - 1;
            if held != expected {
                let others = human::counted(held.abs_diff(expected), "event");
                let message = format!(
                    "topic {} holds {others} {} than it should: somebody else published to it meanwhile",
                    self.target.name,
                    if held > expected { "more" } else { "less" },
                );
                return Err(CliError::failed(message).hint("import into a topic that nobody else publishes to"));
            }
            more = 0;
        }
        if self.source.archived && !self.target.readonly && more == 0 {
            self.client.archive_topic(self.target.id).await.map_err(|error| self.about(error))?;
        }
        Ok(Landed { events, published: events.saturating_sub(place.there), first: place.base, more })
    }

    /// Sends events, the first of which has this number, from 0.
    async fn publish(&mut self, context: &Context, number: u64, records: Vec<Record>) -> Result<()> {
        if self.target.readonly {
            return Err(CliError::failed(format!(
                "topic {} is archived, and lacks events of the file",
                self.target.name
            ))
            .hint("--topic NAME=OTHER imports it into another topic"));
        }
        let drafts = drafts(&mut self.copies, &records, number);
        let stream = match self.publisher.take() {
            Some(stream) => stream,
            None => self.open_stream(number).await.map_err(|error| self.about(error))?,
        };
        let stream = self.publisher.insert(stream);
        stream.pending.push_back((number, records));
        let sent = stream.publisher.send(self.target.id, &drafts).await;
        if let Err(error) = sent {
            return self.recover(context, error).await;
        }
        let acked = stream.start + stream.publisher.progress().acked;
        while stream.pending.front().is_some_and(|(first, records)| first + records.len() as u64 <= acked) {
            stream.pending.pop_front();
        }
        self.check_refusals()
    }

    async fn open_stream(&self, start: u64) -> std::result::Result<Stream, ClientError> {
        // One that connected again by itself could leave out what was in doubt.
        let options = PublisherOptions {
            topics: vec![self.target.name.clone()],
            retry_for: Duration::ZERO,
            ..PublisherOptions::default()
        };
        let publisher = Publisher::open(&self.client, options).await?;
        Ok(Stream { publisher, start, pending: VecDeque::new() })
    }

    /// Goes on after a stream broke: with what the topic does not hold.
    async fn recover(&mut self, context: &Context, mut error: ClientError) -> Result<()> {
        self.check_refusals()?;
        let Some(stream) = self.publisher.take() else { return Ok(()) };
        let acked = stream.start + stream.publisher.progress().acked;
        stream.publisher.abort();
        let pending = stream.pending;
        let started = context.clock.elapsed();
        let mut told = None;
        while error.is_retryable() && context.clock.elapsed().saturating_sub(started) < RETRY_FOR {
            let reason = error.to_string();
            if told.as_ref() != Some(&reason) {
                context.output.note(&format!("{reason}; connecting again"));
                told = Some(reason);
            }
            match self.send_again(context, acked, &pending).await {
                Ok(Ok(stream)) => {
                    self.publisher = Some(stream);
                    return Ok(());
                }
                Ok(Err(again)) => error = again,
                Err(error) => return Err(error),
            }
        }
        Err(self.about(error))
    }

    /// Opens another stream and sends on it what the topic lacks; or why that has to be tried again.
    async fn send_again(
        &mut self,
        context: &Context,
        acked: u64,
        pending: &VecDeque<(u64, Vec<Record>)>,
    ) -> Result<std::result::Result<Stream, ClientError>> {
        let base = self.place.as_ref().map_or(1, |place| place.base);
        let held = match self.settled_end(context).await {
            Ok(held) => held,
            Err(error) => return Ok(Err(error)),
        };
        let there = (held + 1).saturating_sub(base);
        let known = pending
            .iter()
            .find(|(first, records)| (*first..first + records.len() as u64).contains(&(there.wrapping_sub(1))));
        if let Some((first, records)) = known {
            let at = usize::try_from(there - 1 - first).expect("it is in there");
            self.compare(&self.event(held).await?, records.get(at))?;
        }
        if there < acked || there > self.seen {
            return Err(CliError::failed(format!("somebody else published to topic {} meanwhile", self.target.name)));
        }
        let mut stream = match self.open_stream(there).await {
            Ok(stream) => stream,
            Err(error) => return Ok(Err(error)),
        };
        for (first, records) in pending {
            let skip = usize::try_from(there.saturating_sub(*first)).unwrap_or(usize::MAX);
            if skip >= records.len() {
                continue;
            }
            let (number, records) = (first + skip as u64, records[skip..].to_vec());
            let drafts = drafts(&mut self.copies, &records, number);
            stream.pending.push_back((number, records));
            if let Err(error) = stream.publisher.send(self.target.id, &drafts).await {
                return Ok(Err(error));
            }
        }
        Ok(Ok(stream))
    }

    /// The topic's end, once it does not move any more: what the server had taken before a stream broke may still arrive.
    async fn settled_end(&self, context: &Context) -> std::result::Result<u64, ClientError> {
        let mut before = None;
        loop {
            context.clock.sleep(SETTLING).await;
            let held = self.client.info(&[self.target.id]).await?.events;
            if before.replace(held) == Some(held) {
                return Ok(held);
            }
        }
    }

    /// The event with this offset, which is there.
    async fn event(&self, offset: u64) -> Result<Event> {
        let options = SubscriberOptions {
            topics: vec![self.target.name.clone()],
            from: Position::Offset(Offset::new(offset)),
            until: Some(Position::Offset(Offset::new(offset + 1))),
            retry_for: Some(RETRY_FOR),
            skip_unreadable: false,
            wanted: Wanted::default(),
        };
        let mut subscriber = Subscriber::open(&self.client, options).await.map_err(|error| self.about(error))?;
        loop {
            match subscriber.next().await.map_err(|error| self.about(error))? {
                Delivery::Events(events) => {
                    let found = events.into_iter().find(|event| event.offset.get() == offset);
                    return found.ok_or_else(|| self.lost(offset));
                }
                Delivery::Ended | Delivery::Lost { .. } => return Err(self.lost(offset)),
                Delivery::Skipped { .. } | Delivery::SkippedMore { .. } | Delivery::Interrupted { .. } => {}
            }
        }
    }

    fn lost(&self, offset: u64) -> CliError {
        CliError::failed(format!("topic {} no longer has its offset {offset}", self.target.name))
    }

    /// Refuses a topic that holds something else than the archive.
    fn compare(&self, event: &Event, record: Option<&Record>) -> Result<()> {
        let what = record.map_or(Some("place"), |record| difference(event, record));
        let Some(what) = what else { return Ok(()) };
        let Topic { name, .. } = &self.source;
        let message = format!(
            "topic {} holds something else than {name} in the file: at offset {} the {what} is another one",
            self.target.name, event.offset,
        );
        Err(CliError::check_failed(message).hint(format!("--topic {name}=OTHER imports it into another topic")))
    }

    /// An event that was refused leaves a hole, which nothing may follow.
    fn check_refusals(&mut self) -> Result<()> {
        let Some(stream) = self.publisher.take_if(|stream| stream.publisher.progress().refused > 0) else {
            return Ok(());
        };
        let outcome = stream.publisher.abort();
        let first = outcome.refusals.first();
        let reason = first.map_or_else(String::new, |refusal| format!(": {}", refusal.message));
        let number = first.map_or(0, |refusal| refusal.tag);
        let base = self.place.as_ref().map_or(1, |place| place.base);
        let message = format!("topic {}: the event for offset {} was refused{reason}", self.target.name, base + number);
        Err(CliError::failed(message)
            .hint("the same command goes on, unless events behind it were stored; then import into another topic"))
    }

    fn about(&self, error: ClientError) -> CliError {
        CliError::from(error).about(format!("topic {}", self.target.name))
    }
}

/// Events to publish, with their numbers, from 0, as tags.
fn drafts(copies: &mut Copies, records: &[Record], number: u64) -> Vec<Draft> {
    records.iter().zip(number..).map(|(record, tag)| copies.draft(record, tag)).collect()
}

/// What is different about an event that should be the one of a record, if anything is.
fn difference(event: &Event, record: &Record) -> Option<&'static str> {
    let nothing = Encryption::default();
    let encryption = event.encryption.as_deref().filter(|said| **said != nothing);
    let parts = [
        ("data", event.data == record.data),
        ("media type", event.mimetype == record.mimetype),
        ("type", event.schema == record.schema),
        ("metadata", event.metadata == record.metadata),
        ("key", event.key == record.key),
        ("time of creation", event.created == record.created),
        ("encryption", encryption == record.encryption.as_ref().filter(|said| **said != nothing)),
    ];
    parts.into_iter().find(|(_, same)| !same).map(|(what, _)| what)
}
