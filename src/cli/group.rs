//! `ensign group`: consumer groups, their members and how far they have read.

use std::fmt::Write as _;

use clap_complete::ArgValueCandidates;
use serde_json::{Value, json};

use super::{
    Context, complete,
    error::{CliError, Kind, Result},
    human,
    output::{Detail, Listing},
    prompt, range,
};
use crate::{
    client::{ClientError, GroupInfo, GroupMember, GroupSettings, GroupTopic},
    model::Position,
};

/// Look after consumer groups
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    List(ListArgs),
    Show(ShowArgs),
    Seek(SeekArgs),
    Remove(RemoveArgs),
}

/// List the consumer groups of the project
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign group list
  $ ensign group list --jq '.[] | select(.lag_events > 1000) | .name'")]
struct ListArgs {}

/// Show a consumer group: its settings, members, positions and lag
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign group show billing
  $ ensign group show billing --jq '.topics[] | [.name, .position, .lag_events]'")]
struct ShowArgs {
    /// The group, by name or id
    #[arg(value_name = "GROUP", add = ArgValueCandidates::new(complete::groups))]
    group: String,
}

/// Move a consumer group to another position
///
/// Members that are connected go on there. What they hold is taken from them, and acks of it come too late.
#[derive(Debug, clap::Args)]
#[command(after_help = format!("Examples:
  $ ensign group seek billing --to start
  $ ensign group seek billing --to -15m --topic orders

{}", range::POSITIONS))]
struct SeekArgs {
    /// The group, by name or id
    #[arg(value_name = "GROUP", add = ArgValueCandidates::new(complete::groups))]
    group: String,

    /// The event at this position is to be the next
    #[arg(long, value_name = "POSITION", allow_hyphen_values = true)]
    to: Position,

    /// Move it in this topic only, given by name or id
    #[arg(long, value_name = "TOPIC", add = ArgValueCandidates::new(complete::topics))]
    topic: Option<String>,
}

/// Remove a consumer group and its positions
///
/// Asks for the group's name on a terminal. The events stay. Who joins a group of this name later makes a new one.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign group remove billing
  $ ensign group remove billing --yes --force")]
struct RemoveArgs {
    /// The group, by name or id
    #[arg(value_name = "GROUP", add = ArgValueCandidates::new(complete::groups))]
    group: String,

    /// Don't ask
    #[arg(short, long)]
    yes: bool,

    /// Remove it also when members are connected, and disconnect them
    #[arg(long)]
    force: bool,
}

impl Args {
    pub(super) fn run(self, context: &mut Context) -> Result<()> {
        context.block_on(async |context| match self.command {
            Command::List(_) => list(context).await,
            Command::Show(args) => show(context, &args.group).await,
            Command::Seek(args) => seek(context, &args).await,
            Command::Remove(args) => remove(context, &args).await,
        })
    }
}

async fn list(context: &mut Context) -> Result<()> {
    let groups = context.connect().await?.groups().await?;
    let row = |group: &crate::client::GroupSummary| {
        vec![
            group.name.clone(),
            group.settings.delivery.clone(),
            human::count(group.members),
            human::count(group.topics),
            human::count(group.lag_events),
            group.created.clone(),
        ]
    };
    let rows = groups.iter().map(row).collect();
    let values = groups.iter().map(|group| json!(group)).collect();
    let columns = &["name", "delivery", "members", "topics", "lag", "created"];
    let when_empty = "there are no consumer groups; `ensign tail TOPIC --group NAME` makes one";
    context.output.list(Listing { columns, rows, values, when_empty })
}

async fn show(context: &mut Context, name: &str) -> Result<()> {
    let group = context.connect().await?.group(name).await.map_err(|error| about(name, error))?;
    context.output.detail(detail(&group))
}

async fn seek(context: &mut Context, args: &SeekArgs) -> Result<()> {
    let client = context.connect().await?;
    let moved = client.seek_group(&args.group, args.topic.as_deref(), args.to).await;
    let group = moved.map_err(|error| about(&args.group, error))?;
    let is_moved =
        |topic: &&GroupTopic| args.topic.as_ref().is_none_or(|name| [&topic.name, &topic.id].contains(&name));
    for topic in group.topics.iter().filter(is_moved) {
        context.output.note(&format!("moved group {} in {} to offset {}", group.name, topic.name, topic.position));
    }
    context.output.result(detail(&group))
}

async fn remove(context: &mut Context, args: &RemoveArgs) -> Result<()> {
    let client = context.connect().await?;
    let group = client.group(&args.group).await.map_err(|error| about(&args.group, error))?;
    prompt::confirm_removal(context, args.yes, "group", &group.name)?;
    client.remove_group(&group.id, args.force).await.map_err(|error| match error {
        ClientError::Rejected { status: 409, .. } => about(&args.group, error).hint("--force disconnects its members"),
        error => about(&args.group, error),
    })?;
    context.output.note(&format!("removed group {}", group.name));
    context.output.result(detail(&group))
}

fn about(group: &str, error: ClientError) -> CliError {
    let error = CliError::from(error);
    if error.kind == Kind::NotFound && !error.message.contains("topic") {
        return CliError::not_found(format!("there is no consumer group {group}"))
            .hint("`ensign group list` shows what there is");
    }
    error.about(format!("group {group}"))
}

/// A group on a screen, and for programs.
fn detail(group: &GroupInfo) -> Detail {
    let GroupSettings { delivery, ordered_by_key, max_deliveries, dead_letter_topic, window, .. } = &group.settings;
    let timeout = std::time::Duration::try_from_secs_f64(group.settings.delivery_timeout_seconds).unwrap_or_default();
    let max = if *max_deliveries == 0 { "no limit".to_owned() } else { human::count((*max_deliveries).into()) };
    let dead_letter = dead_letter_topic.clone().unwrap_or_else(|| "TOPIC.dead-letter".to_owned());
    let mut fields = vec![
        ("name", group.name.clone()),
        ("id", group.id.clone()),
        ("delivery", delivery.clone()),
        ("ack timeout", human::duration(timeout)),
        ("ordered by key", if *ordered_by_key { "yes" } else { "no" }.to_owned()),
        ("max deliveries", max),
        ("dead letters", dead_letter),
        ("window", human::counted((*window).into(), "event")),
        ("created", group.created.clone()),
        ("modified", group.modified.clone()),
        ("lag", format!("{}, {}", human::counted(group.lag_events(), "event"), human::duration(group.lag()))),
    ];
    fields.extend(group.topics.iter().map(|topic| ("topic", topic_text(topic))));
    fields.extend(group.members.iter().map(|member| ("member", member_text(member))));
    let mut value = json!(group);
    if let Value::Object(object) = &mut value {
        object.insert("lag_events".to_owned(), json!(group.lag_events()));
        object.insert("lag_seconds".to_owned(), json!(group.lag().as_secs_f64()));
    }
    Detail { fields, value }
}

fn topic_text(topic: &GroupTopic) -> String {
    let lag = std::time::Duration::try_from_secs_f64(topic.lag_seconds).unwrap_or_default();
    let mut text = format!(
        "{}  position {}, end {}, lag {} ({})",
        topic.name,
        topic.position,
        topic.end,
        human::counted(topic.lag_events, "event"),
        human::duration(lag),
    );
    let counts = [
        (topic.leased, "leased"),
        (topic.waiting_again, "waiting to come again"),
        (topic.redelivered, "redelivered"),
        (topic.dead_lettered, "dead-lettered"),
    ];
    for (count, what) in counts.into_iter().filter(|(count, _)| *count > 0) {
        write!(text, ", {} {what}", human::count(count)).expect("text takes everything");
    }
    text
}

fn member_text(member: &GroupMember) -> String {
    format!(
        "{}  {}  {}  {} leased, {} delivered, since {}",
        member.client_id,
        member.address,
        member.subject,
        human::count(member.leased),
        human::count(member.delivered),
        member.joined,
    )
}
