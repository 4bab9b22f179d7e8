//! Subscribing as a member of a consumer group: the server remembers how far the group has read, and shares the events out.

use std::{collections::HashMap, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{
    Client, ClientError, Code, Event,
    backoff::Backoff,
    event::Publishers,
    frames::{MessageReader, Read},
    outbox::Outbox,
    subscription::{self, Arrived},
};
use crate::{
    api::{
        self, GroupReceipt,
        ensign::{ConsumerGroup, Query, StreamReady, Subscription},
    },
    model::{DeliverySemantic, NackCode, Position, Rlid, Time, TopicId, Ulid},
    sys,
};

const ORDERED_HEADER: HeaderName = HeaderName::from_static("x-ensign-group-ordered-by-key");
const DELIVERIES_HEADER: HeaderName = HeaderName::from_static("x-ensign-group-max-deliveries");
const DEAD_LETTER_HEADER: HeaderName = HeaderName::from_static("x-ensign-group-dead-letter");
const WINDOW_HEADER: HeaderName = HeaderName::from_static("x-ensign-group-window");
const RECEIPTS_HEADER: HeaderName = HeaderName::from_static("x-ensign-group-receipts");

/// How long a server may take to say something after the stream was closed on this side.
const FAREWELL: Duration = Duration::from_secs(5);

/// Which group to join, and how it is to work. What is `None` is left as the group has it.
#[derive(Debug, Clone, Default)]
pub struct GroupOptions {
    pub group: String,
    /// What the member calls itself; without a name it gets one.
    pub client_id: String,
    /// The names or ids of the topics; none: all of the project, also those that are created later.
    pub topics: Vec<String>,
    /// Where the group starts in those of the named topics that are new to it; at their ends when it does not say.
    pub from: Option<Position>,
    pub delivery: Option<DeliverySemantic>,
    /// How long a member may take for an event before another one gets it.
    pub timeout: Option<Duration>,
    /// Whether events with equal keys go to one member at a time, in order.
    pub ordered_by_key: Option<bool>,
    /// How often an event is delivered before it is put away; 0: as often as it takes.
    pub max_deliveries: Option<u32>,
    /// The topic that such events go to; empty: the topic's own name with `.dead-letter` behind it.
    pub dead_letter: Option<String>,
    /// How many events may lie between the lowest that is not settled and the furthest that was handed out.
    pub window: Option<u32>,
    /// Whether to be told what became of acks.
    pub receipts: bool,
    /// For how long to try to connect again after the connection broke; without it, for ever.
    pub retry_for: Option<Duration>,
    /// Leave out what the server can't read for want of its data key, instead of ending there with an error.
    pub skip_unreadable: bool,
}

/// The stream that events came on. They can be acked and refused as long as it lasts; when it breaks, they go to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease(u64);

/// What became of verdicts on this side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// They are on their way. What becomes of acks, a receipt says to whoever asked for receipts.
    Sent,
    /// The stream that the events came on is gone, and the verdicts were not sent. The events are delivered again unless
    /// they count as consumed when they are sent.
    Lost,
}

/// What a member of a group has to say.
#[derive(Debug)]
pub enum GroupDelivery {
    /// The next events, those of each topic in order as far as they are delivered for the first time; never none.
    Events { lease: Lease, events: Vec<Event> },
    /// Which acks count for good, and which don't because their events had been taken from this member.
    Receipt { acked: Vec<Rlid>, refused: Vec<Rlid> },
    /// The connection broke, and with it went all leases. Acks without a receipt may count or not. The next call connects
    /// again.
    Interrupted { reason: String },
    /// The server has taken everything that was said before [`GroupSubscriber::close`].
    Ended,
}

/// A member of a consumer group.
#[derive(Debug)]
pub struct GroupSubscriber {
    client: Client,
    subscription: Subscription,
    headers: HeaderMap,
    outbox: Outbox,
    reader: Option<MessageReader>,
    /// How many streams there have been.
    streams: u64,
    topics: HashMap<TopicId, String>,
    publishers: Publishers,
    backoff: Backoff,
    closed: bool,
    /// What has arrived and was not given out yet.
    held: Vec<Event>,
    receipt: GroupReceipt,
}

impl GroupSubscriber {
    /// Joins the group. The server must answer that it is ready before this returns.
    ///
    /// # Errors
    ///
    /// When the group does not take the member or the settings, or nobody answers.
    pub async fn open(client: &Client, options: GroupOptions) -> Result<GroupSubscriber, ClientError> {
        let subscription = subscription(client, &options)?;
        let mut subscriber = GroupSubscriber {
            client: client.clone(),
            subscription,
            headers: headers(&options)?,
            outbox: Outbox::default(),
            reader: None,
            streams: 0,
            topics: HashMap::new(),
            publishers: Publishers::default(),
            backoff: Backoff::new(client.clock.clone(), client.entropy.clone(), options.retry_for),
            closed: false,
            held: Vec::new(),
            receipt: GroupReceipt::default(),
        };
        subscriber.connect().await?;
        Ok(subscriber)
    }

    /// The name of a topic that was there when the stream was opened.
    pub fn topic_name(&self, topic: &TopicId) -> Option<&str> {
        self.topics.get(topic).map(String::as_str)
    }

    /// Says that events are settled. What is said before the transport takes it is sent together.
    pub fn ack(&self, lease: Lease, ids: impl IntoIterator<Item = Rlid>) -> Settled {
        self.say(lease, |buffer| ids.into_iter().for_each(|id| api::write_event_ack(buffer, id)))
    }

    /// Says that events are not settled, and why: it decides who gets them next.
    pub fn nack(&self, lease: Lease, ids: impl IntoIterator<Item = Rlid>, code: NackCode) -> Settled {
        self.say(lease, |buffer| ids.into_iter().for_each(|id| api::write_event_nack(buffer, id, code)))
    }

    fn say(&self, lease: Lease, write: impl FnOnce(&mut Vec<u8>)) -> Settled {
        if self.closed || self.reader.is_none() || lease.0 != self.streams {
            return Settled::Lost;
        }
        self.outbox.gather(write);
        Settled::Sent
    }

    /// Leaves the group once everything that was said has been taken. What the server had sent before still comes, then
    /// [`GroupDelivery::Ended`]; nothing of it can be acked any more.
    pub fn close(&mut self) {
        self.closed = true;
        self.outbox.finish();
    }

    /// Waits for what comes next. Nothing is lost when the future is dropped and the method called again.
    ///
    /// # Errors
    ///
    /// When the group can't be read any more: it was removed, the member was refused, or the connection could not be made
    /// again in time, or broke after [`GroupSubscriber::close`].
    pub async fn next(&mut self) -> Result<GroupDelivery, ClientError> {
        loop {
            if self.held.is_empty() {
                self.take_arrived()?;
            }
            let GroupReceipt { acked, refused } = std::mem::take(&mut self.receipt);
            if !acked.is_empty() || !refused.is_empty() {
                return Ok(GroupDelivery::Receipt { acked, refused });
            }
            let events = std::mem::take(&mut self.held);
            if !events.is_empty() {
                return Ok(GroupDelivery::Events { lease: Lease(self.streams), events });
            }
            let Some(reader) = self.reader.as_mut() else {
                if self.closed {
                    return Ok(GroupDelivery::Ended);
                }
                self.reconnect().await?;
                continue;
            };
            let clock = self.client.clock.clone();
            let farewell =
                async { if self.closed { clock.sleep(FAREWELL).await } else { std::future::pending().await } };
            let read = tokio::select! {
                read = reader.read() => read,
                () = farewell => Err(tonic::Status::unavailable("the server did not end the stream")),
            };
            let error = match read {
                Ok(Read::More) => continue,
                Ok(Read::Ended) if self.closed => {
                    self.reader = None;
                    continue;
                }
                Ok(Read::Ended) => ClientError::Unreachable {
                    address: self.client.endpoint().address().to_string(),
                    reason: "the server ended the stream".to_owned(),
                },
                Err(status) => ClientError::from_status(self.client.endpoint(), &status),
            };
            self.reader = None;
            if self.closed || !error.is_retryable() {
                return Err(error);
            }
            tracing::warn!(%error, group = self.group(), "the subscription broke");
            self.backoff.reset();
            return Ok(GroupDelivery::Interrupted { reason: error.to_string() });
        }
    }

    fn group(&self) -> &str {
        self.subscription.group.as_ref().map_or("", |group| &group.name)
    }

    /// Takes all messages that have arrived whole.
    fn take_arrived(&mut self) -> Result<(), ClientError> {
        let Some(reader) = self.reader.as_mut() else { return Ok(()) };
        while let Some(frame) =
            reader.message().map_err(|status| ClientError::from_status(self.client.endpoint(), &status))?
        {
            match subscription::read(&self.client, &frame, &mut self.publishers)? {
                Arrived::Event(event) => self.held.push(event),
                Arrived::Receipt(GroupReceipt { mut acked, mut refused }) => {
                    self.receipt.acked.append(&mut acked);
                    self.receipt.refused.append(&mut refused);
                }
                Arrived::Closing => {}
            }
        }
        Ok(())
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

    /// Opens a stream and waits until the server is ready. What was said on the one before and not sent is forgotten with
    /// its leases.
    async fn connect(&mut self) -> Result<(), ClientError> {
        self.outbox = Outbox::default();
        let opened = subscription::open(&self.client, self.subscription.clone(), &self.headers, &self.outbox).await;
        let (reader, StreamReady { topics, .. }) = opened?;
        let topics = topics.into_iter().filter_map(|(name, id)| Some((TopicId(Ulid::from_slice(&id).ok()?), name)));
        self.topics = topics.collect();
        self.reader = Some(reader);
        self.streams += 1;
        Ok(())
    }
}

/// What the stream is opened with.
fn subscription(client: &Client, options: &GroupOptions) -> Result<Subscription, ClientError> {
    let query = match options.from {
        Some(_) if options.topics.is_empty() => {
            return Err(refused("a group can start at a position only in topics that are named"));
        }
        Some(from) => query(&options.topics, from, client.clock.now()),
        None => None,
    };
    let delivery_timeout = match options.timeout.map(prost_types::Duration::try_from) {
        None => None,
        Some(Ok(timeout)) => Some(timeout),
        Some(Err(_)) => return Err(refused("the delivery timeout is too long")),
    };
    let client_id = match &*options.client_id {
        "" => sys::new_ulid(&client.clock, &client.entropy).to_string(),
        name => name.to_owned(),
    };
    let group = ConsumerGroup {
        name: options.group.clone(),
        delivery: options.delivery.map_or(0, DeliverySemantic::number),
        delivery_timeout,
        ..ConsumerGroup::default()
    };
    let query = query.map(|query| Query { query, ..Query::default() });
    Ok(Subscription { client_id, topics: options.topics.clone(), query, group: Some(group) })
}

/// Where to start, in the words that the server understands; none for the topics' ends.
fn query(topics: &[String], from: Position, now: Time) -> Option<String> {
    // What lies behind the nanosecond before is what was committed at this time or later.
    let since = |time: Time| format!("AFTER '{}'", time.plus_nanos(-1));
    let clause = match from {
        Position::End => return None,
        Position::Start => "OFFSET 0".to_owned(),
        Position::Offset(offset) => format!("OFFSET {}", offset.get().saturating_sub(1)),
        Position::Event(id) => format!("OFFSET '{id}'"),
        Position::Time(time) => since(time),
        Position::Ago(nanos) => since(now.plus_nanos(-nanos)),
    };
    let ranges: Vec<String> = topics.iter().map(|topic| format!("{topic} {clause}")).collect();
    Some(format!("SELECT * FROM {}", ranges.join(", ")))
}

/// What the message has no field for.
fn headers(options: &GroupOptions) -> Result<HeaderMap, ClientError> {
    let dead_letter = match options.dead_letter.as_deref().map(HeaderValue::from_str) {
        None => None,
        Some(Ok(name)) => Some(name),
        Some(Err(_)) => return Err(refused("the name of the dead-letter topic is invalid")),
    };
    let flag = |set: bool| HeaderValue::from_static(if set { "true" } else { "false" });
    let said = [
        (ORDERED_HEADER, options.ordered_by_key.map(flag)),
        (DELIVERIES_HEADER, options.max_deliveries.map(HeaderValue::from)),
        (DEAD_LETTER_HEADER, dead_letter),
        (WINDOW_HEADER, options.window.map(HeaderValue::from)),
        (RECEIPTS_HEADER, options.receipts.then(|| flag(true))),
    ];
    let skips = options.skip_unreadable.then_some(subscription::SKIP_HEADER);
    Ok(said.into_iter().filter_map(|(name, value)| Some((name, value?))).chain(skips).collect())
}

/// What no server has to be asked for.
fn refused(message: &str) -> ClientError {
    ClientError::Refused { code: Code::InvalidArgument, message: message.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Offset;

    #[test]
    fn positions_are_said_in_the_words_of_the_server() {
        let topics = ["a".to_owned(), "b".to_owned()];
        let now = Time::from_parts(1_795_000_000, 0);
        let check = |from, expected: Option<&str>| assert_eq!(query(&topics, from, now).as_deref(), expected);
        check(Position::End, None);
        check(Position::Start, Some("SELECT * FROM a OFFSET 0, b OFFSET 0"));
        check(Position::Offset(Offset::new(5)), Some("SELECT * FROM a OFFSET 4, b OFFSET 4"));
        check(
            Position::Ago(1_000_000_000),
            Some("SELECT * FROM a AFTER '2026-11-18T11:06:38.999999999Z', b AFTER '2026-11-18T11:06:38.999999999Z'"),
        );
    }

    #[test]
    fn only_what_is_asked_for_is_in_the_headers() {
        assert_eq!(headers(&GroupOptions::default()).unwrap(), HeaderMap::new());
        let options = GroupOptions {
            ordered_by_key: Some(false),
            max_deliveries: Some(0),
            dead_letter: Some(String::new()),
            window: Some(64),
            receipts: true,
            skip_unreadable: true,
            ..GroupOptions::default()
        };
        let said = headers(&options).unwrap();
        let mut said: Vec<(&str, &str)> =
            said.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        said.sort_unstable();
        let expected = [
            ("x-ensign-group-dead-letter", ""),
            ("x-ensign-group-max-deliveries", "0"),
            ("x-ensign-group-ordered-by-key", "false"),
            ("x-ensign-group-receipts", "true"),
            ("x-ensign-group-window", "64"),
            ("x-ensign-skip-unreadable", "true"),
        ];
        assert_eq!(said, expected);
        let garbled = GroupOptions { dead_letter: Some("a\nb".to_owned()), ..GroupOptions::default() };
        assert_eq!(headers(&garbled).unwrap_err().code(), Some(Code::InvalidArgument));
    }
}
