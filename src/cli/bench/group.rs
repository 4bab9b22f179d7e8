//! `ensign bench group`: events in through consumer groups, beside the same events without one.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::task::JoinSet;

use super::{
    load::{Content, Load},
    meter::{Meter, Readings},
    publish,
    report::Report,
    tail,
};
use crate::{
    cli::{
        Context,
        error::{CliError, Kind, Result},
    },
    client::{Client, GroupDelivery, GroupOptions, GroupSubscriber},
    model::{DeliverySemantic, Position, TopicId},
    sys::{self, Clock, Entropy},
};

/// How many members share a connection.
const MEMBERS_PER_CONNECTION: usize = 16;

/// How often it is looked whether every group has everything. When it was complete, the meter knows.
const GLANCE: Duration = Duration::from_millis(5);

/// How long nothing new may come. That is longer than it takes until an event is delivered again.
const PATIENCE: Duration = Duration::from_mins(1);

/// Measure how fast events come through consumer groups
///
/// Fills a topic of its own, and reads it twice: with a plain subscription, and with consumer groups whose members ack
/// everything at once, until every group has seen every event. The ratio is that of all that the groups were given
/// together to what the plain subscription was. All members have joined before the groups are moved to the start of the
/// topic, and the clock starts just before that. Latency is how long members waited: the time from asking for more until
/// it was there. The topic and the groups are removed afterwards.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  $ ensign bench group
  $ ensign bench group --groups 3 --members 2 --delivery exactly-once --count 200000 -o json")]
pub(super) struct GroupArgs {
    /// How many groups read the topic at the same time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    groups: u16,

    /// How many members each group has
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    members: u16,

    /// at-most-once, at-least-once or exactly-once
    #[arg(long, value_name = "DELIVERY", default_value_t = DeliverySemantic::AtLeastOnce)]
    delivery: DeliverySemantic,

    /// How many events the topic has
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    count: u64,

    /// The size of each event's data, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(..=5_242_000))]
    size: u32,

    /// What the events are made of
    #[arg(long, value_name = "CONTENT", value_enum, default_value_t = Content::Json)]
    content: Content,

    #[command(flatten)]
    pub(super) comparing: super::CompareArgs,
}

impl GroupArgs {
    /// What two reports must have in common to be comparable.
    pub(super) fn setting(&self) -> serde_json::Value {
        serde_json::json!({
            "content": self.content.name(),
            "count": self.count,
            "delivery": self.delivery.name(),
            "groups": self.groups,
            "members": self.members,
            "size": self.size,
        })
    }
}

/// What the groups were given, beside what a plain subscription was.
#[derive(Debug, Clone)]
pub(super) struct Comparison {
    pub(super) plain: Readings,
    /// How many deliveries were of events that the group had seen before.
    pub(super) again: u64,
}

/// What is measured with, and removed afterwards.
struct Ground {
    client: Client,
    topic: String,
    id: TopicId,
    groups: Vec<String>,
}

/// Which events a group has seen. What is kept is the way from the first one that is missing to the last one that came,
/// which the group's window and what is on its way to members limit.
#[derive(Debug)]
struct Seen {
    /// The first offset that is missing.
    missing: u64,
    ahead: VecDeque<bool>,
}

/// What the members of a group count together.
#[derive(Clone)]
struct Tally {
    seen: Arc<Mutex<Seen>>,
    again: Arc<AtomicU64>,
    meter: Meter,
    clock: Clock,
}

/// Runs the benchmark until it is done or interrupted, and clears away what it made.
pub(super) async fn run(args: &GroupArgs, context: &mut Context) -> Result<Report> {
    let client = context.connect_with_key("publisher").await?;
    let topic = format!("bench-{}", sys::new_ulid(&context.clock, &Entropy::real()));
    let created = client.create_topic(&topic).await;
    let id = created.map_err(|error| CliError::from(error).about(format!("topic {topic}")))?.id;
    let groups = (1..=args.groups).map(|number| format!("{topic}-{number}")).collect();
    let ground = Ground { client, topic, id, groups };
    let report = tokio::select! {
        report = measure(args, &ground, &context.clock) => report,
        _ = tokio::signal::ctrl_c() => Err(CliError::interrupted()),
    };
    ground.clear(context).await;
    report
}

async fn measure(args: &GroupArgs, ground: &Ground, clock: &Clock) -> Result<Report> {
    let Ground { client, topic, id, .. } = ground;
    let load = Load::made_up(args.content, usize::try_from(args.size).unwrap_or(usize::MAX), super::SEED);
    publish::fill(client, &(topic.clone(), *id), load, args.count, clock).await?;
    let plain = plain(client, topic, clock).await?;
    if plain.events != args.count {
        return Err(CliError::failed(format!("the plain subscription got {} of {} events", plain.events, args.count)));
    }
    let (readings, again) = grouped(args, ground, clock).await?;
    let report = Report::of_groups(topic, args, readings, Comparison { plain, again });
    Ok(report.on_server(client, client.status().await?))
}

/// All events, without a group.
async fn plain(client: &Client, topic: &str, clock: &Clock) -> Result<Readings> {
    let subscriber = tail::subscribe(client, topic, Position::Start, Some(Position::End)).await?;
    let meter = Meter::new(clock);
    tail::read(subscriber, meter.clone(), clock.clone(), u64::MAX).await?;
    Ok(meter.read())
}

/// All events through each of the groups, and how many deliveries were not the first of their events.
async fn grouped(args: &GroupArgs, ground: &Ground, clock: &Clock) -> Result<(Readings, u64)> {
    let members = join(args, ground).await?;
    let (meter, again) = (Meter::new(clock), Arc::new(AtomicU64::new(0)));
    let tallies: Vec<Tally> = ground
        .groups
        .iter()
        .map(|_| Tally {
            seen: Arc::new(Mutex::new(Seen { missing: 1, ahead: VecDeque::new() })),
            again: again.clone(),
            meter: meter.clone(),
            clock: clock.clone(),
        })
        .collect();
    // Until the groups are moved there is nothing to read for them: they stand at the end.
    let mut tasks = JoinSet::new();
    for (group, member) in members {
        tasks.spawn(read(member, tallies[group].clone()));
    }
    for group in &ground.groups {
        let (client, group) = (ground.client.clone(), group.clone());
        tasks.spawn(async move { Ok(client.seek_group(&group, None, Position::Start).await.map(drop)?) });
    }
    wait_for(args.count * u64::from(args.groups), &meter, clock, &mut tasks).await?;
    let readings = meter.read();
    tasks.shutdown().await;
    Ok((readings, again.load(Ordering::Relaxed)))
}

/// Has all members join, with the numbers of their groups. They stand at the end of the topic.
async fn join(args: &GroupArgs, ground: &Ground) -> Result<Vec<(usize, GroupSubscriber)>> {
    let mut client = ground.client.clone();
    let mut members = Vec::new();
    for _ in 0..args.members {
        for (number, group) in ground.groups.iter().enumerate() {
            if members.len() % MEMBERS_PER_CONNECTION == 0 {
                client = ground.client.with_own_connection()?;
            }
            let options = GroupOptions {
                group: group.clone(),
                topics: vec![ground.topic.clone()],
                delivery: Some(args.delivery),
                receipts: args.delivery == DeliverySemantic::ExactlyOnce,
                // A benchmark that had to connect again has measured something else.
                retry_for: Some(Duration::ZERO),
                ..GroupOptions::default()
            };
            let joined = GroupSubscriber::open(&client, options).await;
            let member = joined.map_err(|error| CliError::from(error).about(format!("group {group}")))?;
            members.push((number, member));
        }
    }
    Ok(members)
}

/// Reads and acks for as long as it is let.
async fn read(mut member: GroupSubscriber, tally: Tally) -> Result<()> {
    let mut asked = tally.clock.elapsed();
    loop {
        match member.next().await? {
            GroupDelivery::Events { lease, events } => {
                let now = tally.clock.elapsed();
                member.ack(lease, events.iter().map(|event| event.id));
                tally.count(&events, now.saturating_sub(asked));
                asked = now;
            }
            GroupDelivery::Receipt { .. } => {}
            GroupDelivery::Interrupted { reason } => {
                return Err(CliError::failed(format!("the benchmark was cut short: {reason}")));
            }
            GroupDelivery::Ended => {
                return Err(CliError::failed("the benchmark was cut short: the server ended a membership"));
            }
        }
    }
}

/// Waits until so many events were seen for the first time by their groups.
async fn wait_for(events: u64, meter: &Meter, clock: &Clock, tasks: &mut JoinSet<Result<()>>) -> Result<()> {
    let (mut arrived, mut since) = (0, clock.elapsed());
    while meter.events() < events {
        while let Some(ended) = tasks.try_join_next() {
            ended.map_err(|error| CliError::failed(error.to_string()))??;
        }
        let now = clock.elapsed();
        if meter.events() > arrived {
            (arrived, since) = (meter.events(), now);
        } else if now.saturating_sub(since) > PATIENCE {
            return Err(CliError::failed(format!("{arrived} of {events} events reached the groups")));
        }
        clock.sleep(GLANCE).await;
    }
    Ok(())
}

impl Ground {
    /// Removes the groups and the topic. What can't be removed is named.
    async fn clear(&self, context: &Context) {
        for group in &self.groups {
            if let Err(error) = self.client.remove_group(group, true).await.map_err(CliError::from)
                // It had not been made yet.
                && error.kind != Kind::NotFound
            {
                context.output.note(&format!("group {group} could not be removed: {}", error.message));
            }
        }
        if let Err(error) = self.client.destroy_topic(self.id).await {
            context.output.note(&format!("topic {} could not be destroyed: {error}", self.topic));
        }
    }
}

impl Tally {
    /// Counts what came together, as far as the group sees it for the first time.
    fn count(&self, events: &[crate::client::Event], waited: Duration) {
        let (mut number, mut bytes) = (0, 0);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            if seen.note(event.offset.get()) {
                number += 1;
                bytes += event.data.len() as u64;
            }
        }
        drop(seen);
        self.again.fetch_add(events.len() as u64 - number, Ordering::Relaxed);
        if number > 0 {
            self.meter.arrived_together(number, bytes, waited);
        }
    }
}

impl Seen {
    /// Whether this is the first time that this offset is seen.
    fn note(&mut self, offset: u64) -> bool {
        let Some(at) = offset.checked_sub(self.missing).and_then(|at| usize::try_from(at).ok()) else { return false };
        if at >= self.ahead.len() {
            self.ahead.resize(at + 1, false);
        }
        if std::mem::replace(&mut self.ahead[at], true) {
            return false;
        }
        while self.ahead.front() == Some(&true) {
            self.ahead.pop_front();
            self.missing += 1;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_offset_is_seen_once_and_only_gaps_are_kept() {
        let mut seen = Seen { missing: 1, ahead: VecDeque::new() };
        let noted: Vec<bool> = [1, 1, 4, 3, 4, 2, 2, 5].into_iter().map(|offset| seen.note(offset)).collect();
        assert_eq!(noted, [true, false, true, true, false, true, false, true]);
        assert_eq!((seen.missing, seen.ahead.len()), (6, 0));
    }
}
