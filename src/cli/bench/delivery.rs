//! The other side of `ensign bench latency`: subscribers that measure how long events are on their way to them.

use std::time::Duration;

use tokio::task::JoinSet;

use super::meter::{Meter, Readings};
use crate::{
    cli::error::{CliError, Result},
    client::{Client, Delivery, Event, Subscriber, SubscriberOptions, Wanted},
    model::{Position, TopicId},
    sys::Clock,
};

/// How often a wait for the last events looks whether they are there.
const GLANCE: Duration = Duration::from_millis(5);

/// How long the last events may take. Longer means that they do not come.
const PATIENCE: Duration = Duration::from_secs(30);

/// A subscriber of each topic.
pub(super) struct Deliveries {
    meter: Meter,
    clock: Clock,
    tasks: JoinSet<Result<()>>,
}

impl Deliveries {
    /// Subscribes to what is published from now on.
    pub(super) async fn open(client: &Client, topics: &[(String, TopicId)], clock: &Clock) -> Result<Deliveries> {
        let meter = Meter::new(clock);
        let mut tasks = JoinSet::new();
        let client = client.with_own_connection()?;
        for (topic, _) in topics {
            let options = SubscriberOptions {
                topics: vec![topic.clone()],
                from: Position::End,
                until: None,
                retry_for: Some(Duration::ZERO),
                skip_unreadable: false,
                wanted: Wanted::default(),
            };
            let subscriber = Subscriber::open(&client, options).await?;
            tasks.spawn(receive(subscriber, meter.clone(), clock.clone()));
        }
        Ok(Deliveries { meter, clock: clock.clone(), tasks })
    }

    /// Waits until so many events have arrived, and starts again from nothing.
    pub(super) async fn restart_after(&mut self, events: u64) -> Result<()> {
        self.wait_for(events).await?;
        self.meter.restart();
        Ok(())
    }

    /// Waits until so many events have arrived, and gives what was measured.
    pub(super) async fn finish(mut self, events: u64) -> Result<Readings> {
        self.wait_for(events).await?;
        Ok(self.meter.read())
    }

    async fn wait_for(&mut self, events: u64) -> Result<()> {
        let started = self.clock.elapsed();
        while self.meter.events() < events {
            if let Some(ended) = self.tasks.try_join_next() {
                ended.map_err(|error| CliError::failed(error.to_string()))??;
            }
            if self.clock.elapsed().saturating_sub(started) > PATIENCE {
                let arrived = self.meter.events();
                return Err(CliError::failed(format!("{arrived} of {events} acked events reached the subscriber")));
            }
            self.clock.sleep(GLANCE).await;
        }
        Ok(())
    }
}

async fn receive(mut subscriber: Subscriber, meter: Meter, clock: Clock) -> Result<()> {
    loop {
        match subscriber.next().await? {
            Delivery::Events(events) => {
                let now = clock.now();
                meter.arrived(events.iter().map(|event: &Event| {
                    let since = event.created.map_or(0, |created| now.nanos() - created.nanos());
                    (event.data.len() as u64, Duration::from_nanos(u64::try_from(since).unwrap_or(0)))
                }));
            }
            Delivery::Interrupted { reason } => {
                return Err(CliError::failed(format!("the benchmark was cut short: {reason}")));
            }
            Delivery::Skipped { .. } | Delivery::SkippedMore { .. } | Delivery::Lost { .. } => {
                return Err(CliError::failed("the benchmark was cut short: events can't be read"));
            }
            Delivery::Ended => return Err(CliError::failed("the benchmark was cut short: the topic was destroyed")),
        }
    }
}
