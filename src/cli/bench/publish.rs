//! `ensign bench publish` and `ensign bench latency`: events out, acks back, and for latency also events in.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Semaphore, task::JoinSet};

use super::{
    Amount, LoadArgs,
    delivery::Deliveries,
    load::Load,
    meter::{Meter, Stamp},
    pace::Schedule,
    report::Report,
    topics,
};
use crate::{
    cli::{
        Context,
        error::{CliError, Result},
    },
    client::{Client, Draft, Publisher, PublisherOptions, Refusal},
    model::TopicId,
    sys::Clock,
};

/// How many bytes of events are handed over at a time, at most.
const BATCH_BYTES: usize = 64 * 1024;

/// How many events are handed over at a time, at most.
const BATCH_EVENTS_MAX: usize = 1_024;

/// How many bytes a stream may have under way, whatever its window.
const INFLIGHT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How often a stream that waits looks whether anything was refused.
const GLANCE: Duration = Duration::from_millis(100);

/// When events are sent.
#[derive(Debug, Clone, Copy)]
pub(super) enum Loop {
    /// The next event is sent when an earlier one was acked; so many may be under way on each stream.
    Closed { window: u32 },
    /// So many events a second, over all streams, whatever the server does.
    Open { rate: u64 },
}

/// A publish stream and what it sends.
struct Stream {
    publisher: Publisher,
    /// The topics it publishes to, in turns.
    topics: Vec<TopicId>,
    turn: usize,
    load: Load,
    /// How many more events may be under way.
    window: Arc<Semaphore>,
    clock: Clock,
    batch: usize,
}

/// How much is left to be sent, over all streams.
#[derive(Debug)]
struct Quota {
    left: AtomicU64,
    until: Duration,
}

impl Quota {
    fn new(amount: Amount, clock: &Clock) -> Quota {
        match amount {
            Amount::Count(count) => Quota { left: AtomicU64::new(count), until: Duration::MAX },
            Amount::Time(time) => Quota { left: AtomicU64::new(u64::MAX), until: clock.elapsed() + time },
        }
    }

    fn is_over(&self, now: Duration) -> bool {
        now >= self.until || self.left.load(Ordering::Relaxed) == 0
    }

    /// Takes some of what is left, and gives how much that was.
    fn take(&self, wanted: u64) -> u64 {
        let before = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left - left.min(wanted)));
        before.map_or(0, |left| left.min(wanted))
    }
}

/// Runs a benchmark of publishing. With `deliver`, every event is also read back, and its way to a subscriber measured.
pub(super) async fn run(args: &LoadArgs, sending: Loop, deliver: bool, context: &mut Context) -> Result<Report> {
    let load = args.load()?;
    let client = context.connect_with_key("publisher").await?;
    let topics = topics::ensure(context, &client, &args.topic, args.topics, !args.no_create).await?;
    let mut deliveries = if deliver { Some(Deliveries::open(&client, &topics, &context.clock).await?) } else { None };
    let meter = Meter::new(&context.clock);
    let mut streams = Vec::new();
    for number in 0..args.streams {
        let load = load.starting_at(number, args.streams);
        let own: Vec<_> = if topics.len() > args.streams {
            topics.iter().skip(number).step_by(args.streams).collect()
        } else {
            vec![&topics[number % topics.len()]]
        };
        streams.push(Stream::open(&client, own, load, sending, &meter, &context.clock).await?);
    }
    if let Some(warm_up) = args.warm_up() {
        streams = play(streams, Amount::Time(warm_up), sending, deliver).await?;
        if let Some(deliveries) = &mut deliveries {
            deliveries.restart_after(meter.events()).await?;
        }
        meter.restart();
    }
    streams = play(streams, args.amount(), sending, deliver).await?;
    let published = meter.read();
    for stream in streams {
        stream.close().await?;
    }
    let delivered = match deliveries {
        Some(deliveries) => Some(deliveries.finish(published.events).await?),
        None => None,
    };
    let benchmark = if deliver { "latency" } else { "publish" };
    let report = Report::of_publishing(benchmark, args, sending, published, delivered);
    Ok(report.on_server(&client, client.status().await?))
}

/// Publishes so many events to a topic, as fast as it takes them.
pub(super) async fn fill(
    client: &Client,
    topic: &(String, TopicId),
    load: Load,
    count: u64,
    clock: &Clock,
) -> Result<()> {
    let sending = Loop::Closed { window: super::WINDOW };
    let stream = Stream::open(client, vec![topic], load, sending, &Meter::new(clock), clock).await?;
    for stream in play_closed(vec![stream], Amount::Count(count)).await? {
        stream.close().await?;
    }
    Ok(())
}

/// Sends so much over the streams, and waits for all acks.
async fn play(streams: Vec<Stream>, amount: Amount, sending: Loop, dated: bool) -> Result<Vec<Stream>> {
    match sending {
        Loop::Closed { .. } => play_closed(streams, amount).await,
        Loop::Open { rate } => play_open(streams, amount, rate, dated).await,
    }
}

async fn play_closed(streams: Vec<Stream>, amount: Amount) -> Result<Vec<Stream>> {
    let Some(first) = streams.first() else { return Ok(streams) };
    let quota = Arc::new(Quota::new(amount, &first.clock));
    let mut tasks = JoinSet::new();
    for mut stream in streams {
        let quota = quota.clone();
        tasks.spawn(async move {
            stream.send_closed(&quota).await?;
            stream.settle().await?;
            Ok::<_, CliError>(stream)
        });
    }
    let mut streams = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        streams.push(ended.map_err(|error| CliError::failed(error.to_string()))??);
    }
    Ok(streams)
}

async fn play_open(mut streams: Vec<Stream>, amount: Amount, rate: u64, dated: bool) -> Result<Vec<Stream>> {
    let Some(first) = streams.first() else { return Ok(streams) };
    let count = match amount {
        Amount::Count(count) => count,
        Amount::Time(time) => u64::try_from(u128::from(rate) * time.as_nanos() / 1_000_000_000).unwrap_or(u64::MAX),
    };
    let clock = first.clock.clone();
    let schedule = Schedule::new(clock.elapsed(), rate, count);
    let mut announcements = schedule.announce(clock)?;
    while let Some(mut due) = announcements.recv().await {
        // What was announced meanwhile is sent together; when it was due does not change.
        while let Ok(more) = announcements.try_recv() {
            due.end = more.end;
        }
        send_due(&mut streams, &schedule, due, dated).await?;
    }
    for stream in &streams {
        stream.settle().await?;
    }
    Ok(streams)
}

/// Sends the events of an open loop that are due, spread over streams and topics by their numbers.
async fn send_due(streams: &mut [Stream], schedule: &Schedule, due: Range<u64>, dated: bool) -> Result<()> {
    let (step, count) = (streams.len(), streams.len() as u64);
    for (at, stream) in streams.iter_mut().enumerate() {
        let first = due.start + (at as u64 + count - due.start % count) % count;
        let numbers: Vec<u64> = (first..due.end).step_by(step).collect();
        stream.send_dated(schedule, &numbers, dated).await?;
    }
    Ok(())
}

impl Stream {
    async fn open(
        client: &Client,
        topics: Vec<&(String, TopicId)>,
        load: Load,
        sending: Loop,
        meter: &Meter,
        clock: &Clock,
    ) -> Result<Stream> {
        let window = match sending {
            Loop::Closed { window } => usize::try_from(window).unwrap_or(Semaphore::MAX_PERMITS),
            Loop::Open { .. } => Semaphore::MAX_PERMITS / 2,
        };
        let window = Arc::new(Semaphore::new(window));
        let opened = window.clone();
        let closed = matches!(sending, Loop::Closed { .. });
        let listener = meter.listener(move |acks| {
            if closed {
                opened.add_permits(acks);
            }
        });
        let options = PublisherOptions {
            topics: topics.iter().map(|(name, _)| name.clone()).collect(),
            inflight_bytes_max: INFLIGHT_BYTES_MAX,
            // A benchmark that had to connect again has measured something else.
            retry_for: Duration::ZERO,
            listener: Some(listener),
        };
        let publisher = Publisher::open(&client.with_own_connection()?, options).await?;
        let batch = (BATCH_BYTES / load.bytes_mean().max(1)).clamp(1, BATCH_EVENTS_MAX);
        let topics = topics.iter().map(|(_, id)| *id).collect();
        Ok(Stream { publisher, topics, turn: 0, load, window, clock: clock.clone(), batch })
    }

    fn topic(&mut self) -> TopicId {
        self.turn = (self.turn + 1) % self.topics.len();
        self.topics[self.turn]
    }

    async fn send_closed(&mut self, quota: &Quota) -> Result<()> {
        loop {
            self.wait_for_room().await?;
            let now = self.clock.elapsed();
            if quota.is_over(now) {
                return Ok(());
            }
            let room = self.window.available_permits().clamp(1, self.batch);
            let count = quota.take(room as u64);
            let count = u32::try_from(count).expect("a batch is small");
            match self.window.try_acquire_many(count) {
                Ok(permits) => permits.forget(),
                // Only this task takes permits.
                Err(_) => unreachable!("there was room"),
            }
            let drafts: Vec<Draft> =
                (0..count).map(|_| self.load.draft(|bytes| Stamp::new(now, bytes).tag(), None)).collect();
            let topic = self.topic();
            self.publisher.send(topic, &drafts).await?;
        }
    }

    /// Waits until one more event may be under way.
    async fn wait_for_room(&self) -> Result<()> {
        loop {
            if self.window.available_permits() > 0 {
                return Ok(());
            }
            tokio::select! {
                permit = self.window.acquire() => drop(permit),
                () = self.clock.sleep(GLANCE) => self.check()?,
            }
        }
    }

    async fn send_dated(&mut self, schedule: &Schedule, numbers: &[u64], dated: bool) -> Result<()> {
        let many = self.topics.len() > 1;
        for batch in numbers.chunks(if many { 1 } else { self.batch }) {
            // The wall clock of an event's due time, for the subscriber's side of the measurement.
            let (now, wall) = (self.clock.elapsed(), self.clock.now());
            let drafts: Vec<Draft> = batch
                .iter()
                .map(|number| {
                    let due = schedule.due(*number);
                    let late = i64::try_from(now.saturating_sub(due).as_nanos()).unwrap_or(i64::MAX);
                    self.load.draft(|bytes| Stamp::new(due, bytes).tag(), dated.then(|| wall.plus_nanos(-late)))
                })
                .collect();
            let topic = self.topic();
            self.publisher.send(topic, &drafts).await?;
        }
        Ok(())
    }

    /// Waits for all acks.
    async fn settle(&self) -> Result<()> {
        self.publisher.flush().await?;
        self.check()
    }

    /// Whether everything was taken so far: a benchmark of refusals is none.
    fn check(&self) -> Result<()> {
        let progress = self.publisher.progress();
        if progress.unacknowledged > 0 {
            let reason = progress.interruption.unwrap_or_else(|| "the stream broke".to_owned());
            return Err(CliError::failed(format!("the benchmark was cut short: {reason}")));
        }
        if progress.refused > 0 {
            return Err(CliError::failed("the server refused events"));
        }
        Ok(())
    }

    async fn close(self) -> Result<()> {
        let outcome = self.publisher.close().await;
        match outcome.refusals.first() {
            Some(Refusal { message, .. }) => Err(CliError::failed(format!("the server refused events: {message}"))),
            None => outcome.failure.map_or(Ok(()), |error| Err(error.into())),
        }
    }
}
