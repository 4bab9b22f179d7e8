//! `ensign topic`: ordered, durable streams of events.

use clap_complete::ArgValueCandidates;
use serde_json::{Value, json};

use super::{
    Context, complete,
    error::{CliError, Result},
    human,
    output::{Detail, Listing},
    prompt,
};
use crate::{
    client::{Client, Code, TopicInfo, TopicSummary},
    model::TopicName,
};

/// Manage topics
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Create(CreateArgs),
    List(ListArgs),
    Show(ShowArgs),
    Archive(ArchiveArgs),
    Destroy(DestroyArgs),
}

/// Create topics
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign topic create flights
  $ ensign topic create orders payments --exist-ok")]
struct CreateArgs {
    /// The names: a letter, then letters, digits, `.`, `-` and `_`
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,

    /// Take a topic that is there already for success
    #[arg(long)]
    exist_ok: bool,
}

/// List the topics of the project
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign topic list
  $ ensign topic list -o json --jq '.[] | select(.events > 0) | .name'")]
struct ListArgs {}

/// Show a topic
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign topic show flights
  $ ensign topic show flights --jq .events")]
struct ShowArgs {
    /// The topic, by name or id
    #[arg(value_name = "TOPIC", add = ArgValueCandidates::new(complete::topics))]
    topic: String,
}

/// Make a topic refuse new events
///
/// What it holds stays readable. This can't be undone.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign topic archive flights.2025
  $ ensign topic archive flights.2025 -q && ensign topic show flights.2025 --jq .state")]
struct ArchiveArgs {
    /// The topic, by name or id
    #[arg(value_name = "TOPIC", add = ArgValueCandidates::new(complete::topics))]
    topic: String,
}

/// Destroy a topic and its events for good
///
/// Asks for the topic's name on a terminal. There is no way back: what the events were encrypted with is deleted.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign topic destroy scratch
  $ ensign topic destroy scratch --yes")]
struct DestroyArgs {
    /// The topic, by name or id
    #[arg(value_name = "TOPIC", add = ArgValueCandidates::new(complete::topics))]
    topic: String,

    /// Don't ask
    #[arg(short, long)]
    yes: bool,
}

impl Args {
    pub(super) fn run(self, context: &mut Context) -> Result<()> {
        context.block_on(async |context| match self.command {
            Command::Create(args) => create(context, args).await,
            Command::List(_) => list(context).await,
            Command::Show(args) => show(context, &args.topic).await,
            Command::Archive(args) => archive(context, &args.topic).await,
            Command::Destroy(args) => destroy(context, args).await,
        })
    }
}

async fn create(context: &mut Context, args: CreateArgs) -> Result<()> {
    for name in &args.names {
        TopicName::parse(name).map_err(|_| {
            CliError::usage(format!("{name:?} can't be the name of a topic"))
                .hint("use a letter, then letters, digits, `.`, `-` and `_`; at most 512")
        })?;
    }
    let client = context.connect().await?;
    let mut listing =
        Listing { columns: &["name", "id", "state"], rows: Vec::new(), values: Vec::new(), when_empty: "" };
    for name in &args.names {
        let topic = match client.create_topic(name).await {
            Ok(topic) => {
                context.output.note(&format!("created topic {name}"));
                topic
            }
            Err(error) if error.is_already_exists() && args.exist_ok => find(&client, name).await?,
            Err(error) if error.is_already_exists() => {
                return Err(CliError::failed(format!("there is a topic {name} already"))
                    .hint("--exist-ok takes that for success"));
            }
            Err(error) => return Err(CliError::from(error).about(format!("topic {name}"))),
        };
        listing.rows.push(vec![topic.name.clone(), topic.id.to_string(), topic.state_name().to_owned()]);
        listing.values.push(value(&topic, None));
    }
    // People have been told already.
    if context.output.format().is_some() || context.output.jq().is_some() {
        context.output.list(listing)
    } else {
        Ok(())
    }
}

async fn list(context: &mut Context) -> Result<()> {
    let client = context.connect().await?;
    let topics = client.topics().await?;
    let infos = infos(&client).await?;
    let mut rows = Vec::new();
    let mut values = Vec::new();
    for topic in &topics {
        let info = infos.as_ref().and_then(|infos| infos.get(&topic.id));
        rows.push(vec![
            topic.name.clone(),
            topic.state_name().to_owned(),
            human::or_dash(info.map(|info| human::count(info.events))),
            human::or_dash(info.map(|info| human::bytes(info.bytes))),
            human::or_dash(topic.created.map(|time| time.to_string())),
            topic.id.to_string(),
        ]);
        values.push(value(topic, info));
    }
    let columns = &["name", "state", "events", "size", "created", "id"];
    let when_empty = "there are no topics; `ensign topic create NAME` makes one";
    context.output.list(Listing { columns, rows, values, when_empty })
}

/// How much is in the topics; none when the key may not know.
pub(super) async fn infos(
    client: &Client,
) -> Result<Option<std::collections::BTreeMap<crate::model::TopicId, TopicInfo>>> {
    match client.info(&[]).await {
        Ok(info) => Ok(Some(info.topics)),
        Err(error) if error.code() == Some(Code::PermissionDenied) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn show(context: &mut Context, name: &str) -> Result<()> {
    let client = context.connect().await?;
    let topic = find(&client, name).await?;
    let infos = infos(&client).await?;
    let info = infos.as_ref().and_then(|infos| infos.get(&topic.id));
    let mut fields = vec![
        ("name", topic.name.clone()),
        ("id", topic.id.to_string()),
        ("state", topic.state_name().to_owned()),
        ("events", human::or_dash(info.map(|info| human::count(info.events)))),
        ("duplicates", human::or_dash(info.map(|info| human::count(info.duplicates)))),
        ("size", human::or_dash(info.map(|info| human::bytes(info.bytes)))),
        ("deduplication", deduplication(&topic)),
        ("created", human::or_dash(topic.created)),
        ("modified", human::or_dash(topic.modified)),
    ];
    for entry in info.map(|info| info.types.as_slice()).unwrap_or_default() {
        fields
            .push(("type", format!("{}  {}  {}", entry.schema, entry.mimetype, human::counted(entry.events, "event"))));
    }
    let value = value(&topic, info);
    context.output.detail(Detail { fields, value })
}

async fn archive(context: &mut Context, name: &str) -> Result<()> {
    let client = context.connect().await?;
    let topic = find(&client, name).await?;
    let about = |error| CliError::from(error).about(format!("topic {name}"));
    client.archive_topic(topic.id).await.map_err(about)?;
    context.output.note(&format!("archived topic {}", topic.name));
    machine_readable(context, &TopicSummary { readonly: true, ..topic })
}

async fn destroy(context: &mut Context, args: DestroyArgs) -> Result<()> {
    let client = context.connect().await?;
    let topic = find(&client, &args.topic).await?;
    prompt::confirm_by_name(context, args.yes, "topic", &topic.name)?;
    let about = |error| CliError::from(error).about(format!("topic {}", topic.name));
    let state = client.destroy_topic(topic.id).await.map_err(about)?;
    context.output.note(&format!("destroyed topic {}", topic.name));
    machine_readable(context, &TopicSummary { state, ..topic })
}

/// Prints the topic for programs that asked for it.
fn machine_readable(context: &mut Context, topic: &TopicSummary) -> Result<()> {
    if context.output.format().is_none() && context.output.jq().is_none() {
        return Ok(());
    }
    let fields =
        vec![("name", topic.name.clone()), ("id", topic.id.to_string()), ("state", topic.state_name().to_owned())];
    context.output.detail(Detail { fields, value: value(topic, None) })
}

async fn find(client: &Client, name: &str) -> Result<TopicSummary> {
    client.find_topic(name).await?.ok_or_else(|| {
        CliError::not_found(format!("there is no topic {name}")).hint("`ensign topic list` shows what there is")
    })
}

fn deduplication(topic: &TopicSummary) -> String {
    format!("{:?}", topic.deduplication).to_lowercase()
}

fn value(topic: &TopicSummary, info: Option<&TopicInfo>) -> Value {
    let mut value = json!({
        "name": topic.name,
        "id": topic.id.to_string(),
        "state": topic.state_name(),
        "created": topic.created.map(|time| time.to_string()),
        "modified": topic.modified.map(|time| time.to_string()),
    });
    if let (Some(info), Some(object)) = (info, value.as_object_mut()) {
        object.insert("events".to_owned(), json!(info.events));
        object.insert("duplicates".to_owned(), json!(info.duplicates));
        object.insert("bytes".to_owned(), json!(info.bytes));
        let types = info.types.iter().map(|entry| {
            let version = format!("{}.{}.{}", entry.schema.major, entry.schema.minor, entry.schema.patch);
            json!({
                "name": entry.schema.name,
                "version": version,
                "mimetype": entry.mimetype.to_string(),
                "events": entry.events,
                "bytes": entry.bytes,
            })
        });
        object.insert("types".to_owned(), types.collect());
    }
    value
}
