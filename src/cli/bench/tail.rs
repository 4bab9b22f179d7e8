//! `ensign bench tail`: events in, as fast as they come.

use std::time::Duration;

use tokio::task::JoinSet;

use super::{meter::Meter, report::Report, topics};
use crate::{
    cli::{
        Context,
        error::{CliError, Result},
        human::Span,
    },
    client::{Client, Code, Delivery, Subscriber, SubscriberOptions, Wanted},
    model::Position,
    sys::Clock,
};

/// Measure how fast a topic's events come back
///
/// Reads from --from to the end of the topic as it is now, or until --count or --duration say that it is enough; those
/// two also wait for events that come later. Latency is how long each event was waited for: the time from asking for
/// more until it was there. What the server still holds in memory is read faster than what it gets from its disk.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  $ ensign bench tail load
  $ ensign bench tail load --from end --duration 10s -o json")]
pub(super) struct TailArgs {
    /// The topic to read, by name
    #[arg(value_name = "TOPIC")]
    pub(super) topic: String,

    /// Where to start: with the event at this position
    #[arg(long, value_name = "POSITION", default_value = "start", allow_hyphen_values = true)]
    from: Position,

    /// Stop after this many events, over all streams
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// Stop after this long
    #[arg(long, value_name = "DURATION")]
    duration: Option<Span>,

    /// How many streams read, each on a connection of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = super::at_least_one)]
    pub(super) streams: usize,

    /// Read this many topics, named TOPIC-1, TOPIC-2 and so on
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = super::at_least_one)]
    pub(super) topics: usize,

    #[command(flatten)]
    pub(super) comparing: super::CompareArgs,
}

pub(super) async fn run(args: &TailArgs, context: &mut Context) -> Result<Report> {
    let client = context.connect_with_key("subscriber").await?;
    let names = topics::names(&args.topic, args.topics);
    let follow = args.count.is_some() || args.duration.is_some();
    let mut subscribers = Vec::new();
    for number in 0..args.streams.max(names.len()) {
        let name = &names[number % names.len()];
        subscribers.push(subscribe(&client, name, args.from, (!follow).then_some(Position::End)).await?);
    }
    let meter = Meter::new(&context.clock);
    let (count, until) = (args.count.unwrap_or(u64::MAX), args.duration.map(|span| span.0));
    let mut tasks = JoinSet::new();
    for subscriber in subscribers {
        tasks.spawn(read(subscriber, meter.clone(), context.clock.clone(), count));
    }
    let all = async {
        while let Some(ended) = tasks.join_next().await {
            ended.map_err(|error| CliError::failed(error.to_string()))??;
            // The others may wait for events that do not come.
            if meter.events() >= count {
                break;
            }
        }
        Ok::<(), CliError>(())
    };
    match until {
        Some(until) => tokio::select! {
            ended = all => ended?,
            () = context.clock.sleep(until) => {}
        },
        None => all.await?,
    }
    let report = Report::of_tail(args, meter.read());
    Ok(report.on_server(&client, client.status().await?))
}

/// Subscribes on a connection of its own.
pub(super) async fn subscribe(
    client: &Client,
    topic: &str,
    from: Position,
    until: Option<Position>,
) -> Result<Subscriber> {
    // A benchmark that had to connect again has measured something else.
    let retry_for = Some(Duration::ZERO);
    let options = SubscriberOptions {
        topics: vec![topic.to_owned()],
        from,
        until,
        retry_for,
        skip_unreadable: false,
        wanted: Wanted::default(),
    };
    Subscriber::open(&client.with_own_connection()?, options).await.map_err(|error| match error.code() {
        Some(Code::FailedPrecondition | Code::NotFound | Code::InvalidArgument) => topics::unknown(topic),
        _ => CliError::from(error).about(format!("topic {topic}")),
    })
}

/// Reads until so many events are there, or there are no more.
pub(super) async fn read(mut subscriber: Subscriber, meter: Meter, clock: Clock, count: u64) -> Result<()> {
    let mut asked = clock.elapsed();
    while meter.events() < count {
        match subscriber.next().await? {
            Delivery::Events(events) => {
                let now = clock.elapsed();
                let bytes = events.iter().map(|event| event.data.len() as u64).sum();
                meter.arrived_together(events.len() as u64, bytes, now.saturating_sub(asked));
                asked = now;
            }
            Delivery::Interrupted { reason } => {
                return Err(CliError::failed(format!("the benchmark was cut short: {reason}")));
            }
            Delivery::Skipped { .. } | Delivery::SkippedMore { .. } | Delivery::Lost { .. } => {
                return Err(CliError::failed("the benchmark was cut short: events can't be read"));
            }
            Delivery::Ended => break,
        }
    }
    Ok(())
}
