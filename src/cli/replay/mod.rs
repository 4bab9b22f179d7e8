//! `ensign replay`: publishes a part of a topic again, with the gaps that were between the events.

mod pace;
mod report;

use std::{pin::pin, time::Duration};

use clap_complete::ArgValueCandidates;

use super::{
    Context, complete,
    copies::Copies,
    destination::{self, Destination},
    error::{CliError, Result},
    human,
    progress::ProgressLine,
    range::{self, Range},
};
use crate::{
    client::{Delivery, Draft, Event, Publisher, PublisherOptions, Subscriber, Wanted},
    model::{Position, TopicId},
    sys::Clock,
};
use pace::{Pace, Speed};
use report::Report;

/// How often progress is shown.
const TICK: Duration = Duration::from_millis(200);

/// How long acks may take that are still to come when the replay is interrupted.
const FAREWELL: Duration = Duration::from_secs(5);

/// Publish a part of a topic again
///
/// Reads the events of a topic, and publishes them to another one, or to the same: with their data, media type, type, metadata,
/// key and time of creation, and still encrypted where their publisher encrypted them. Offset, id, time of commit and
/// publisher are new.
///
/// At --speed 1x the gaps between the events are what they were between their times of commit; at 10x they are a
/// tenth of it, and at max there are none. What is there when the command starts is replayed, and nothing that comes later, unless
/// --until says otherwise; so a topic can be replayed into itself. A topic that does not exist is made, unless --no-create
/// says otherwise.
#[derive(Debug, clap::Args)]
#[command(after_help = format!("Examples:
  $ ensign replay orders --to orders.test --speed 10x
  $ ensign replay orders --to orders --from 1200 --until 1300 --speed max
  $ ensign replay orders --to demo --from -1h -n 500

{}", range::POSITIONS))]
pub(super) struct Args {
    /// The topic to read, by name or id
    #[arg(value_name = "TOPIC", add = ArgValueCandidates::new(complete::topics))]
    topic: String,

    /// The topic to publish to, by name or id
    #[arg(long, value_name = "TOPIC", add = ArgValueCandidates::new(complete::topics))]
    to: String,

    #[command(flatten)]
    range: Range,

    /// How fast, compared to how it was: 1x, 10x, 0.5x, or max for no gaps
    #[arg(long, value_name = "SPEED", default_value = "1x")]
    speed: Speed,

    /// Leave out events under a suspended or revoked data key, instead of ending there with an error
    #[arg(long)]
    skip_unreadable: bool,

    /// Fail when the topic to publish to does not exist, instead of making it
    #[arg(long)]
    no_create: bool,
}

impl Args {
    pub(super) fn run(self, context: &mut Context) -> Result<()> {
        context.block_on(async |context| self.replay(context).await)
    }

    async fn replay(&self, context: &mut Context) -> Result<()> {
        let client = context.connect_with_key("subscriber").await?;
        let report = Report::new(self, &context.clock);
        let until = Some(self.range.until.unwrap_or(Position::End));
        let range = Range { until, ..self.range.clone() };
        // The range ends where the topic does now, so it is opened before anything is published.
        let subscriber =
            range.open(&client, std::slice::from_ref(&self.topic), self.skip_unreadable, Wanted::default()).await?;
        let destination = Destination { topic: &self.to, may_create: !self.no_create };
        let options = PublisherOptions { listener: Some(report.listener()), ..PublisherOptions::default() };
        let (publisher, topic) = destination.open(context, &client, options).await?;

        let line = ProgressLine::new(&context.output, None);
        let (copies, pace, clock) = (Copies::default(), Pace::new(self.speed), context.clock.clone());
        let mut run = Run { args: self, publisher, topic, copies, pace, report, line, clock };
        let mut interrupt = pin!(tokio::signal::ctrl_c());
        let end = tokio::select! {
            result = run.pump(context, subscriber) => result,
            _ = &mut interrupt => Err(CliError::interrupted()),
        };
        run.finish(context, end).await
    }
}

/// A replay while it is under way.
struct Run<'a> {
    args: &'a Args,
    publisher: Publisher,
    topic: TopicId,
    copies: Copies,
    pace: Pace,
    report: Report,
    line: ProgressLine,
    clock: Clock,
}

impl Run<'_> {
    /// Publishes what is read, and waits for the acks.
    async fn pump(&mut self, context: &Context, mut subscriber: Subscriber) -> Result<()> {
        let idle = self.args.range.idle.map_or(Duration::MAX, |span| span.0);
        let mut left = self.args.range.limit.unwrap_or(u64::MAX);
        while left > 0 {
            let delivery = tokio::select! {
                delivery = self.ticking(subscriber.next()) => delivery,
                () = self.clock.sleep(idle) => break,
            };
            let about = |error| CliError::from(error).about(format!("topic {}", self.args.topic));
            match delivery.map_err(about)? {
                Delivery::Ended => break,
                Delivery::Interrupted { reason } => context.output.note(&format!("{reason}; connecting again")),
                Delivery::Skipped { first, last, .. } => self.note_skipped(context, last - first + 1),
                Delivery::SkippedMore { events } => self.note_skipped(context, events),
                // Only one of several topics is lost; a single one ends with an error.
                Delivery::Lost { .. } => {}
                Delivery::Events(mut events) => {
                    events.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                    left -= events.len() as u64;
                    self.publish(events).await?;
                }
            }
        }
        Ok(self.ticking(self.publisher.flush()).await?)
    }

    /// Publishes events, each when it is due.
    async fn publish(&mut self, events: Vec<Event>) -> Result<()> {
        let mut drafts = Vec::with_capacity(events.len());
        let mut now = Duration::ZERO;
        for event in events {
            let clock = &self.clock;
            if let Some(due) = self.pace.due(event.committed, || clock.elapsed()) {
                if due > now {
                    now = self.clock.elapsed();
                }
                if due > now {
                    self.send(&mut drafts).await?;
                    now = self.wait_until(due).await;
                }
            }
            self.report.add(&event);
            // A tag is an offset.
            let tag = event.offset.get();
            drafts.push(self.copies.draft(&event.into(), tag));
        }
        self.send(&mut drafts).await
    }

    async fn send(&mut self, drafts: &mut Vec<Draft>) -> Result<()> {
        // Dropped midway, it leaves a batch half sent; then nothing more is sent.
        self.publisher.send(self.topic, drafts).await?;
        drafts.clear();
        self.show(None);
        Ok(())
    }

    async fn wait_until(&self, due: Duration) -> Duration {
        loop {
            let now = self.clock.elapsed();
            let left = due.saturating_sub(now);
            if left.is_zero() {
                return now;
            }
            self.show(Some(left));
            self.clock.sleep(left.min(TICK)).await;
        }
    }

    /// Shows progress while something else is awaited.
    async fn ticking<T>(&self, awaited: impl Future<Output = T>) -> T {
        let mut awaited = pin!(awaited);
        loop {
            tokio::select! {
                biased;
                value = &mut awaited => return value,
                () = self.clock.sleep(TICK) => self.show(None),
            }
        }
    }

    fn show(&self, next: Option<Duration>) {
        self.report.show(&self.line, &self.publisher.progress(), next);
    }

    fn note_skipped(&self, context: &Context, events: u64) {
        let (events, topic) = (human::counted(events, "event"), &self.args.topic);
        context.output.note(&format!("topic {topic}: {events} left out: their data key is suspended or revoked"));
    }

    /// Ends the stream, and gives the account of it.
    async fn finish(self, context: &mut Context, end: Result<()>) -> Result<()> {
        let Run { args, publisher, report, line, clock, .. } = self;
        line.clear();
        let outcome = if end.is_ok() {
            publisher.close().await
        } else {
            // What was sent is most likely stored in a moment, and then need not be sent again.
            tokio::select! {
                _ = publisher.flush() => {}
                () = clock.sleep(FAREWELL) => {}
            }
            publisher.abort()
        };
        report.finish(context, args, &outcome, end.is_ok())?;
        end.and_then(|()| destination::verdict(&args.to, (&outcome.progress).into()))
    }
}
