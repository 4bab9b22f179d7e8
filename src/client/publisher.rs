//! Publishing: many events in flight on one stream, acks matched to them, and an honest account when the stream breaks.

use std::{
    collections::BTreeMap,
    fmt,
    ops::ControlFlow,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use prost::Message as _;
use tokio::{
    sync::{Notify, Semaphore},
    task::JoinHandle,
};

use super::{
    Client, ClientError, Draft,
    backoff::Backoff,
    frames::{self, MessageReader, Read},
    ledger::{Entry, Ledger, Reply},
    outbox::{Chunk, Outbox},
};
use crate::{
    api::{
        self, PublisherAnswer,
        ensign::{OpenStream, PublisherReply, PublisherRequest, publisher_reply, publisher_request},
    },
    model::{NackCode, TopicId, Ulid, limits::EVENT_BYTES_MAX},
    sys::{self, Clock},
};

pub use super::ledger::{Outcome, Progress, Refusal, Unacknowledged};

const PATH: &str = "/ensign.v1beta1.Ensign/Publish";

/// How many bytes are put into one chunk of the stream; one event alone may be larger.
const CHUNK_BYTES: usize = 64 * 1024;

/// How long a server may take to end a stream that was half-closed.
const FAREWELL: Duration = Duration::from_secs(5);

/// How a publisher behaves.
#[derive(Debug, Clone)]
pub struct PublisherOptions {
    /// The names or ids of the topics that are published to; empty for all of the project.
    pub topics: Vec<String>,
    /// How many bytes of events may be sent and not yet acked. Sending waits at this bound.
    pub inflight_bytes_max: usize,
    /// For how long to try to connect again after the stream broke.
    pub retry_for: Duration,
    /// Who is told of each ack; nobody, when only the sums matter.
    pub listener: Option<AckListener>,
}

/// Is told the tags of the events that were acked, all that came at once, in the order of their acks. Runs on the task
/// that reads the acks, and must not wait.
#[derive(Clone)]
pub struct AckListener(Arc<Listen>);

type Listen = dyn Fn(&[u64]) + Send + Sync;

impl AckListener {
    pub fn new(listen: impl Fn(&[u64]) + Send + Sync + 'static) -> AckListener {
        AckListener(Arc::new(listen))
    }
}

impl fmt::Debug for AckListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AckListener").finish_non_exhaustive()
    }
}

impl Default for PublisherOptions {
    fn default() -> PublisherOptions {
        PublisherOptions {
            topics: Vec::new(),
            inflight_bytes_max: 16 * 1024 * 1024,
            retry_for: Duration::from_secs(30),
            listener: None,
        }
    }
}

/// An open publish stream. A task of its own reads the acks and connects again when the stream breaks; it ends with
/// the publisher.
#[derive(Debug)]
pub struct Publisher {
    topics: BTreeMap<String, TopicId>,
    shared: Arc<Shared>,
    driver: JoinHandle<()>,
    clock: Clock,
    inflight_bytes_max: usize,
    /// The first eight bytes of this publisher's local ids; the rest is the event's number.
    prefix: u64,
    next: u64,
}

#[derive(Debug)]
struct Shared {
    outbox: Outbox,
    /// Locked once for a batch of events or of acks, never across an await.
    ledger: Mutex<Ledger>,
    window: Semaphore,
    changed: Notify,
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn release(&self, bytes: usize) {
        self.window.add_permits(bytes);
        self.changed.notify_waiters();
    }

    fn fail(&self, error: ClientError) {
        self.ledger().failure.get_or_insert(error);
        self.window.close();
        self.changed.notify_waiters();
    }
}

impl Publisher {
    /// Opens a stream. The server must answer that it is ready before this returns.
    pub async fn open(client: &Client, options: PublisherOptions) -> Result<Publisher, ClientError> {
        let shared = Arc::new(Shared {
            outbox: Outbox::default(),
            ledger: Mutex::default(),
            window: Semaphore::new(options.inflight_bytes_max),
            changed: Notify::new(),
        });
        let identifier = sys::new_ulid(&client.clock, &client.entropy);
        let retry_for = Some(options.retry_for);
        let mut driver = Driver {
            backoff: Backoff::new(client.clock.clone(), client.entropy.clone(), retry_for),
            client: client.clone(),
            shared: shared.clone(),
            opening: opening(identifier, options.topics),
            listener: options.listener,
        };
        let (reader, topics) = driver.connect().await?;
        let driver = tokio::spawn(async move { driver.run(reader).await });
        let prefix = u64::from_be_bytes(*identifier.as_bytes().first_chunk().expect("an identifier has sixteen bytes"));
        let inflight_bytes_max = options.inflight_bytes_max;
        let clock = client.clock.clone();
        Ok(Publisher { topics, shared, driver, clock, inflight_bytes_max, prefix, next: 0 })
    }

    /// The topics that the stream may publish to, by name.
    pub fn topics(&self) -> &BTreeMap<String, TopicId> {
        &self.topics
    }

    /// Sends events to a topic, in order. Returns when all are handed to the transport, not when they are acked; waits
    /// while too much is in flight. An event above the size limit is refused here and not sent.
    ///
    /// # Errors
    ///
    /// What ended the publisher: the stream broke and could not be opened again, or the server ended it.
    pub async fn send(&mut self, topic: TopicId, drafts: &[Draft]) -> Result<(), ClientError> {
        let data_bytes: usize = drafts.iter().map(|draft| draft.data.len() + Draft::OVERHEAD_BYTES).sum();
        let mut buffer = Vec::with_capacity(data_bytes.min(CHUNK_BYTES));
        let mut entries = Vec::with_capacity(drafts.len());
        for draft in drafts {
            let event = draft.outgoing();
            let event_bytes = event.event_bytes();
            if event_bytes > EVENT_BYTES_MAX {
                let message = format!("the event has {event_bytes} bytes, and {EVENT_BYTES_MAX} is the limit");
                let refusal = Refusal { tag: draft.tag, code: NackCode::MaxEventSizeExceeded, message };
                self.shared.ledger().refuse(refusal);
                continue;
            }
            if !buffer.is_empty() && buffer.len() + event_bytes > CHUNK_BYTES {
                let full = std::mem::replace(&mut buffer, Vec::with_capacity(CHUNK_BYTES));
                self.push(full.into(), std::mem::take(&mut entries)).await?;
            }
            event.write_request(&mut buffer, &topic, &self.local_id());
            self.next += 1;
            let size = |bytes: usize| u32::try_from(bytes).expect("below the limit");
            entries.push(Entry::new(size(event_bytes), size(draft.data.len()), draft.tag));
        }
        if entries.is_empty() { Ok(()) } else { self.push(buffer.into(), entries).await }
    }

    fn local_id(&self) -> [u8; 16] {
        // One number, and not two copies: bytes that were written in parts are slow to be read whole.
        (u128::from(self.prefix) << 64 | u128::from(self.next)).to_be_bytes()
    }

    async fn push(&self, bytes: Bytes, entries: Vec<Entry>) -> Result<(), ClientError> {
        let weight: usize = entries.iter().map(Entry::weight).sum();
        // One event may be heavier than the whole window; it then waits until nothing else is in flight.
        let permits = weight.min(self.inflight_bytes_max);
        let permits = u32::try_from(permits).expect("the window is far smaller");
        match self.shared.window.acquire_many(permits).await {
            Ok(permit) => permit.forget(),
            Err(_) => return Err(self.failure()),
        }
        let excess = weight - usize::try_from(permits).expect("it came from one");
        self.shared.ledger().sent(entries, excess);
        self.shared.outbox.push(Chunk { bytes, end: self.next });
        Ok(())
    }

    fn failure(&self) -> ClientError {
        self.shared.ledger().failure.clone().expect("the window is closed after the failure is known")
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        self.shared.ledger().progress()
    }

    /// Waits until every event that was sent is acked, refused or known to be unacknowledged.
    ///
    /// # Errors
    ///
    /// As [`Publisher::send`].
    pub async fn flush(&self) -> Result<(), ClientError> {
        loop {
            let changed = self.shared.changed.notified();
            {
                let ledger = self.shared.ledger();
                if ledger.is_settled() {
                    return Ok(());
                }
                if let Some(error) = &ledger.failure {
                    return Err(error.clone());
                }
            }
            changed.await;
        }
    }

    /// Waits for all acks, ends the stream in good order, and gives the account of it.
    pub async fn close(mut self) -> Outcome {
        let flushed = self.flush().await;
        self.shared.outbox.finish();
        if flushed.is_ok() {
            // The driver ends when the server has ended the stream. Nothing is in flight any more: a server that does
            // not end it must not keep us.
            tokio::select! {
                ended = &mut self.driver => drop(ended),
                () = self.clock.sleep(FAREWELL) => {}
            }
        }
        self.shared.ledger().outcome()
    }

    /// Ends at once; what was sent and is not acked yet counts as unacknowledged.
    pub fn abort(self) -> Outcome {
        self.driver.abort();
        self.shared.ledger().outcome()
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// The framed first message of a stream.
fn opening(client_id: Ulid, topics: Vec<String>) -> Bytes {
    let open = OpenStream { client_id: client_id.to_string(), topics };
    api::frame(&PublisherRequest { embed: Some(publisher_request::Embed::OpenStream(open)) }).into()
}

/// The number of the event that a local id was made for.
fn number_of(local_id: &[u8]) -> Option<u64> {
    let bytes: &[u8; 16] = local_id.try_into().ok()?;
    Some(u64::from_be_bytes(bytes[8..].try_into().expect("eight of sixteen bytes")))
}

/// The task behind a publisher.
struct Driver {
    client: Client,
    shared: Arc<Shared>,
    opening: Bytes,
    backoff: Backoff,
    listener: Option<AckListener>,
}

impl Driver {
    async fn run(mut self, mut reader: MessageReader) {
        loop {
            if let Err(error) = self.settle(&mut reader) {
                return self.shared.fail(error);
            }
            let error = match reader.read().await {
                Ok(Read::More) => continue,
                Ok(Read::Ended) => {
                    let reason = "the server ended the stream".to_owned();
                    let address = self.client.endpoint().address().to_string();
                    ClientError::Unreachable { address, reason }
                }
                Err(status) => ClientError::from_status(self.client.endpoint(), &status),
            };
            match self.reconnect(error).await {
                ControlFlow::Continue(next) => reader = next,
                ControlFlow::Break(()) => return,
            }
        }
    }

    /// Writes the replies that have arrived into the ledger, all at once. What came before a reply that is none counts.
    fn settle(&self, reader: &mut MessageReader) -> Result<(), ClientError> {
        let mut failure = None;
        let mut acked = Vec::new();
        let tags = self.listener.is_some().then_some(&mut acked);
        let replies = std::iter::from_fn(|| {
            self.reply(reader).unwrap_or_else(|error| {
                failure = Some(error);
                None
            })
        });
        let settled = self.shared.ledger().settle(replies, tags);
        if let Some(AckListener(listen)) = self.listener.as_ref().filter(|_| !acked.is_empty()) {
            listen(&acked);
        }
        self.shared.release(settled.ok_or_else(|| self.unknown_event())?);
        failure.map_or(Ok(()), Err)
    }

    /// The next reply that has arrived.
    #[inline]
    fn reply(&self, reader: &mut MessageReader) -> Result<Option<(u64, Reply)>, ClientError> {
        loop {
            let message =
                reader.message().map_err(|status| ClientError::from_status(self.client.endpoint(), &status))?;
            let Some(message) = message else { return Ok(None) };
            let reply = match api::parse_publisher_reply(message.body) {
                Ok(PublisherAnswer::Ack(id)) => {
                    let number = number_of(id).ok_or_else(|| self.unknown_event())?;
                    return Ok(Some((number, Reply::Ack)));
                }
                Ok(PublisherAnswer::Other(reply)) => reply,
                Err(_) => return Err(self.client.protocol_error("a publish reply that can't be decoded")),
            };
            match reply.embed {
                Some(publisher_reply::Embed::Ack(ack)) => {
                    let number = number_of(&ack.id).ok_or_else(|| self.unknown_event())?;
                    return Ok(Some((number, Reply::Ack)));
                }
                Some(publisher_reply::Embed::Nack(nack)) => {
                    let number = number_of(&nack.id).ok_or_else(|| self.unknown_event())?;
                    let code = NackCode::from_number(nack.code);
                    let message = if nack.error.is_empty() { code.text().to_owned() } else { nack.error };
                    return Ok(Some((number, Reply::Nack(code, message))));
                }
                // The counts in it are of the server's side; ours are in the ledger.
                Some(publisher_reply::Embed::CloseStream(_)) => {}
                Some(publisher_reply::Embed::Ready(_)) | None => {
                    return Err(self.client.protocol_error("an unexpected publish reply"));
                }
            }
        }
    }

    #[cold]
    fn unknown_event(&self) -> ClientError {
        self.client.protocol_error("it acked an event that was not sent")
    }

    /// Accounts for a stream that ended, and opens the next one if there is anything left to do.
    async fn reconnect(&mut self, error: ClientError) -> ControlFlow<(), MessageReader> {
        let (taken, finished) = self.shared.outbox.abandon();
        let released = self.shared.ledger().abandon(taken);
        self.shared.release(released);
        if finished && self.shared.ledger().is_settled() {
            return ControlFlow::Break(());
        }
        if !error.is_retryable() {
            self.shared.fail(error);
            return ControlFlow::Break(());
        }
        tracing::warn!(%error, "the publish stream broke");
        self.shared.ledger().interrupted(error.to_string());
        let mut last = error;
        self.backoff.reset();
        while self.backoff.wait().await {
            if self.shared.outbox.is_finished() && self.shared.ledger().is_settled() {
                return ControlFlow::Break(());
            }
            match self.connect().await {
                Ok((reader, _)) => return ControlFlow::Continue(reader),
                Err(error) if error.is_retryable() => last = error,
                Err(error) => {
                    last = error;
                    break;
                }
            }
        }
        self.shared.fail(last);
        ControlFlow::Break(())
    }

    /// Opens a stream and waits until the server is ready; only then are events given to it.
    async fn connect(&mut self) -> Result<(MessageReader, BTreeMap<String, TopicId>), ClientError> {
        let once = async |token: Arc<super::session::Token>| {
            let body = tonic::body::Body::new(self.shared.outbox.body(self.opening.clone()));
            let mut reader = frames::open(self.client.channel(), PATH, &token, &http::HeaderMap::new(), body).await?;
            let first = reader.first().await?;
            Ok((reader, first))
        };
        let (reader, first) = self.client.with_token(once).await?;
        let reply = PublisherReply::decode(first).ok().and_then(|reply| reply.embed);
        let Some(publisher_reply::Embed::Ready(ready)) = reply else {
            return Err(self.client.protocol_error("a publish stream that does not start with ready"));
        };
        self.shared.outbox.release();
        let topics = ready.topics.into_iter();
        let topics = topics.filter_map(|(name, id)| Some((name, TopicId(Ulid::from_slice(&id).ok()?)))).collect();
        Ok((reader, topics))
    }
}
