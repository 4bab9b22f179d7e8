//! How a command takes part in a consumer group: `--group` and what goes with it.

use clap::ValueEnum;
use clap_complete::ArgValueCandidates;

use super::{
    Args,
    forward::{ACK_TIMEOUT, WINDOW},
};
use crate::{
    cli::{
        Context, complete,
        error::{CliError, Kind, Result},
        human::{self, Span},
    },
    client::{Client, ClientError, Code, GroupDelivery, GroupOptions, GroupSettings, GroupSubscriber},
    model::{DeliverySemantic, Rlid, TopicId},
};

/// What a server says when a subscription names no topic that is there.
const NO_TOPICS: &str = "no topics available";

/// How many ids a note names.
const NAMED_MAX: usize = 5;

/// The flags about a consumer group.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Consumer groups")]
pub(super) struct Membership {
    /// Read as a member of this consumer group
    #[arg(long, value_name = "NAME", conflicts_with = "until", group = "taking_part", add = ArgValueCandidates::new(complete::groups))]
    pub(super) group: Option<String>,

    /// at-most-once, at-least-once or exactly-once; as the group has it, and at-least-once for a new one
    #[arg(long, value_name = "DELIVERY", requires = "taking_part")]
    delivery: Option<DeliverySemantic>,

    /// Who says that an event was read: the output when it was written, standard input, or nobody
    #[arg(long, value_name = "ACK", requires = "taking_part", value_enum, default_value = "auto")]
    pub(super) ack: Acking,

    /// How long an event may take before another member gets it [20s for a new group]
    #[arg(long, value_name = "DURATION", requires = "taking_part")]
    ack_timeout: Option<Span>,

    /// Keep events with equal keys on one member at a time, in order
    #[arg(long, value_name = "BOOL", requires = "taking_part", num_args = 0..=1, require_equals = true,
        default_missing_value = "true")]
    ordered_by_key: Option<bool>,

    /// Put an event away that was delivered so often in vain; 0 for never, as it is for a new group
    #[arg(long, value_name = "COUNT", requires = "taking_part")]
    max_deliveries: Option<u32>,

    /// The topic that such events go to [TOPIC.dead-letter for a new group]
    #[arg(long, value_name = "TOPIC", requires = "taking_part", add = ArgValueCandidates::new(complete::topics))]
    dead_letter: Option<String>,
}

/// Who says that an event was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Acking {
    Auto,
    Manual,
    None,
}

/// A member, and what its group is like.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) subscriber: GroupSubscriber,
    /// Whether an event that is refused too often goes to another topic.
    pub(super) puts_away: bool,
    client: Client,
    group: String,
}

impl Joined {
    /// What a topic is called. One that was made meanwhile the stream does not know.
    pub(super) async fn topic_name(&self, topic: &TopicId) -> String {
        if let Some(name) = self.subscriber.topic_name(topic) {
            return name.to_owned();
        }
        let found = self.client.topics().await.unwrap_or_default();
        found.into_iter().find(|other| other.id == *topic).map_or_else(|| topic.to_string(), |found| found.name)
    }

    /// What comes next.
    pub(super) async fn next(&mut self) -> Result<GroupDelivery> {
        let next = self.subscriber.next().await;
        next.map_err(|error| CliError::from(error).about(format!("group {}", self.group)))
    }

    /// Leaves the group once the server has taken what was said.
    pub(super) async fn leave(&mut self, context: &Context) -> Result<()> {
        self.subscriber.close();
        loop {
            match self.next().await? {
                GroupDelivery::Ended => return Ok(()),
                GroupDelivery::Receipt { refused, .. } => note_refused(context, &refused),
                GroupDelivery::Events { .. } | GroupDelivery::Interrupted { .. } => {}
            }
        }
    }
}

/// Says of which events the acks don't count, because they had been taken from this member.
pub(super) fn note_refused(context: &Context, refused: &[Rlid]) {
    if refused.is_empty() {
        return;
    }
    let ids: Vec<String> = refused.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    let more = if refused.len() > NAMED_MAX { ", …" } else { "" };
    let acks = human::counted(refused.len() as u64, "ack");
    context.output.note(&format!("{acks} refused: the events had gone to another member ({}{more})", ids.join(", ")));
}

impl Membership {
    /// Joins the group.
    pub(super) async fn join(&self, context: &Context, client: &Client, group: &str, args: &Args) -> Result<Joined> {
        let Args { topics, range, .. } = args;
        let about = |error: ClientError| CliError::from(error).about(format!("group {group}"));
        let known = match client.group(group).await {
            Ok(info) => Some(info.settings),
            Err(error) if CliError::from(error.clone()).kind == Kind::NotFound => None,
            Err(error) => return Err(about(error)),
        };
        let delivery = self.delivery(group, args, known.as_ref())?;
        let is_patient = known.is_none() && args.forwarding.forward.is_some();
        let options = GroupOptions {
            group: group.to_owned(),
            topics: topics.clone(),
            from: (!topics.is_empty()).then_some(range.from),
            delivery: Some(delivery),
            timeout: self.ack_timeout.map(|span| span.0).or(is_patient.then_some(ACK_TIMEOUT)),
            ordered_by_key: self.ordered_by_key,
            max_deliveries: self.max_deliveries,
            dead_letter: self.dead_letter.clone(),
            window: is_patient.then_some(WINDOW),
            receipts: delivery == DeliverySemantic::ExactlyOnce,
            skip_unreadable: args.skip_unreadable,
            ..GroupOptions::default()
        };
        let joined = GroupSubscriber::open(client, options).await;
        let subscriber = joined.map_err(|error| match error.code() {
            Some(Code::FailedPrecondition | Code::NotFound) if error.to_string() == NO_TOPICS => {
                CliError::not_found(format!("there is no topic {}", topics.join(", ")))
                    .hint("`ensign topic list` shows what there is")
            }
            _ => about(error),
        })?;
        let topics = if topics.is_empty() { "all topics".to_owned() } else { topics.join(", ") };
        context.output.note(&format!("joined group {group}, {delivery}, for {topics}"));
        let max_deliveries = self.max_deliveries.or(known.map(|known| known.max_deliveries));
        let puts_away = max_deliveries.is_some_and(|max| max > 0);
        Ok(Joined { subscriber, puts_away, client: client.clone(), group: group.to_owned() })
    }

    /// What was asked for, or else what the group has. A person loses nothing unless that was wanted.
    fn delivery(&self, group: &str, args: &Args, known: Option<&GroupSettings>) -> Result<DeliverySemantic> {
        let of_group = known.map(|known| known.delivery.parse().unwrap_or_default());
        let delivery = self.delivery.or(of_group).unwrap_or(DeliverySemantic::AtLeastOnce);
        if delivery == DeliverySemantic::AtMostOnce {
            let flag = match self.ack {
                Acking::Manual => Some("--ack manual"),
                Acking::None => Some("--ack none"),
                Acking::Auto if args.forwarding.forward.is_some() => Some("--forward"),
                Acking::Auto => args.range.limit.map(|_| "-n"),
            };
            if let Some(flag) = flag {
                let why = "an event of it counts as read when it is sent";
                return Err(CliError::usage(format!("group {group} is at-most-once, and {flag} can't hold: {why}"))
                    .hint(format!("leave {flag} away, or add --delivery at-least-once")));
            }
        }
        Ok(delivery)
    }
}
