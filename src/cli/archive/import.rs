//! `ensign import`: topics from the file of an export.

use std::{
    collections::BTreeSet,
    io::{self, BufRead, BufReader},
    path::PathBuf,
    pin::pin,
    str::FromStr,
    time::Duration,
};

use clap::ValueHint;
use serde_json::{Value, json};

use super::{
    READ_BYTES,
    feed::{self, Inventory, Piece},
    landing::{Landed, Landing},
    line::Topic,
};
use crate::{
    cli::{
        Context,
        error::{CliError, Result},
        human,
        output::Listing,
        progress::ProgressLine,
    },
    client::{Client, Code, TopicDefinition},
    model::TopicName,
    sys::files::FileReader,
};

/// How often progress is shown.
const TICK: Duration = Duration::from_millis(200);

/// Make topics again from the file of `ensign export`
///
/// Checks the whole file first. Makes the topics that are not there, with their policies and, where it is free, their id, and
/// publishes their events in order; a topic that was archived is archived again, unless other events stand behind them.
/// With -f - the file is checked while it is read, each part before it is published.
///
/// Running it again adds nothing: what a topic holds of the file is compared at both ends, and only what follows is published. So an
/// import that was interrupted is finished by the same command. A topic that holds something else is refused.
///
/// Offsets are what they were when the file has a topic from its start, without gaps. A file that starts later goes behind the
/// events before it when the topic has those, or else to the start of an empty topic. The server gives the events new ids,
/// times of commit and publishers; those of before are in the file alone.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign import -f project.ensign
  $ ensign import -f project.ensign --topic flights=flights.restored
  $ ensign import -f project.ensign --list")]
pub(in crate::cli) struct Args {
    /// The file to read, - for standard input
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath, allow_hyphen_values = true)]
    file: PathBuf,

    /// Import this topic and no others, under another name with =OTHER; can be repeated
    #[arg(long = "topic", value_name = "NAME[=OTHER]")]
    topics: Vec<Choice>,

    /// Check the file and show what it holds, without a server
    #[arg(long, conflicts_with = "topics")]
    list: bool,
}

/// A topic of the file, and the one that it becomes.
#[derive(Debug, Clone)]
struct Choice {
    name: String,
    becomes: String,
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Choice, String> {
        let (name, becomes) = text.split_once('=').unwrap_or((text, text));
        TopicName::parse(becomes).map_err(|_| format!("{becomes:?} can't be the name of a topic"))?;
        Ok(Choice { name: name.to_owned(), becomes: becomes.to_owned() })
    }
}

/// What became of a topic of the file.
struct Outcome {
    name: String,
    becomes: String,
    landed: Landed,
}

impl Args {
    pub(in crate::cli) fn run(self, context: &mut Context) -> Result<()> {
        let inventory = if self.is_stdin() && !self.list { None } else { Some(self.check(context)?) };
        if self.list {
            let inventory = inventory.expect("it was made");
            return list(context, &inventory);
        }
        context.block_on(async |context| self.import(context).await)
    }

    fn is_stdin(&self) -> bool {
        self.file.as_os_str() == "-"
    }

    fn open(&self) -> Result<Box<dyn BufRead + Send>> {
        if self.is_stdin() {
            return Ok(Box::new(BufReader::with_capacity(READ_BYTES, io::stdin())));
        }
        match FileReader::open(&self.file) {
            Ok(reader) => Ok(Box::new(BufReader::with_capacity(READ_BYTES, reader))),
            Err(error) if error.is_not_found() => {
                Err(CliError::not_found(format!("there is no file {}", self.file.display())))
            }
            Err(error) => Err(CliError::chain(&error)),
        }
    }

    fn name(&self) -> String {
        if self.is_stdin() { "standard input".to_owned() } else { self.file.display().to_string() }
    }

    /// Reads all of the file.
    fn check(&self, context: &Context) -> Result<Inventory> {
        let line = ProgressLine::new(&context.output, None);
        let inventory = feed::check(self.open()?, &self.name(), |events| {
            line.show(events, || format!("checking {}: {}", self.name(), human::counted(events, "event")));
        });
        line.clear();
        inventory
    }

    async fn import(self, context: &mut Context) -> Result<()> {
        let started = context.clock.elapsed();
        let client = context.connect_with_key("publisher").await?;
        let mut interrupt = pin!(tokio::signal::ctrl_c());
        let outcomes = tokio::select! {
            biased;
            _ = &mut interrupt => {
                context.output.note("the same command goes on where this one was interrupted");
                return Err(CliError::interrupted());
            }
            outcomes = self.transfer(context, &client) => outcomes?,
        };
        let elapsed = context.clock.elapsed().saturating_sub(started);
        report(context, &outcomes, elapsed)
    }

    async fn transfer(&self, context: &Context, client: &Client) -> Result<Vec<Outcome>> {
        let mut pieces = feed::spawn(self.open()?, self.name());
        let mut topics = Vec::new();
        let mut landing: Option<Landing> = None;
        let mut outcomes = Vec::new();
        let (mut line, mut done, mut shown) = (None, 0, Duration::ZERO);
        while let Some(piece) = pieces.recv().await {
            match piece? {
                Piece::Topics(found) => {
                    topics = self.choose(found)?;
                    let planned = topics.iter().map(|(topic, _)| topic.last + 1 - topic.first).sum();
                    line = Some(ProgressLine::new(&context.output, Some(planned)));
                }
                Piece::Records { topic, records } => {
                    done += records.len() as u64;
                    let (source, Some(becomes)) = &topics[topic] else { continue };
                    let landing = match &mut landing {
                        Some(landing) => landing,
                        None => landing.insert(land(context, client, source, becomes).await?),
                    };
                    landing.take(context, records).await?;
                }
                Piece::TopicEnd { topic, events } => {
                    let (source, Some(becomes)) = &topics[topic] else { continue };
                    let mut landing = match landing.take() {
                        Some(landing) => landing,
                        None => land(context, client, source, becomes).await?,
                    };
                    let landed = landing.finish(context, events).await?;
                    outcomes.push(Outcome { name: source.name.clone(), becomes: becomes.clone(), landed });
                }
            }
            let now = context.clock.elapsed();
            if let Some(line) = line.as_ref().filter(|_| now.saturating_sub(shown) >= TICK) {
                shown = now;
                line.show(done, || human::counted(done, "event"));
            }
        }
        if let Some(line) = line {
            line.clear();
        }
        Ok(outcomes)
    }

    /// What each topic of the file becomes, or that it is left out.
    fn choose(&self, found: Vec<Topic>) -> Result<Vec<(Topic, Option<String>)>> {
        if let Some(choice) = self.topics.iter().find(|choice| found.iter().all(|topic| topic.name != choice.name)) {
            let message = format!("{} has no topic {}", self.name(), choice.name);
            return Err(CliError::not_found(message).hint("`ensign import --list -f FILE` shows what it has"));
        }
        let mut names = BTreeSet::new();
        if let Some(choice) = self.topics.iter().find(|choice| !names.insert(choice.name.clone())) {
            return Err(CliError::usage(format!("topic {} can't become two topics at once", choice.name)));
        }
        names.clear();
        let mut chosen = Vec::with_capacity(found.len());
        for topic in found {
            let choice = self.topics.iter().find(|choice| choice.name == topic.name);
            let becomes = match choice {
                Some(choice) => Some(choice.becomes.clone()),
                None => self.topics.is_empty().then(|| topic.name.clone()),
            };
            if let Some(name) = becomes.as_ref().filter(|name| !names.insert(String::clone(name))) {
                return Err(CliError::usage(format!("two topics can't both become {name}")));
            }
            chosen.push((topic, becomes));
        }
        Ok(chosen)
    }
}

/// Finds the topic that events go to, or makes it.
async fn land(context: &Context, client: &Client, source: &Topic, becomes: &str) -> Result<Landing> {
    let about = |error| CliError::from(error).about(format!("topic {becomes}"));
    let wrong = |what| CliError::check_failed(format!("topic {} of the file: {what}", source.name));
    let wanted = TopicDefinition { name: becomes.to_owned(), ..source.definition().map_err(wrong)? };
    let find =
        async || Ok::<_, CliError>(client.topic_definitions().await?.into_iter().find(|topic| topic.name == becomes));
    if let Some(found) = find().await? {
        if found.deduplication != wanted.deduplication {
            context.output.note(&format!("topic {becomes} is there with another deduplication policy, and keeps it"));
        }
        return Landing::open(client, source.clone(), found).await?.settled(context).await;
    }
    // A copy beside the topic is another topic.
    let with_id = source.name == becomes;
    let made = match client.create_defined_topic(&wanted, with_id).await {
        Err(error) if error.code() == Some(Code::AlreadyExists) && with_id => {
            context.output.note(&format!("topic {becomes} gets a new id: the one that it had is in use or was"));
            client.create_defined_topic(&wanted, false).await.map_err(about)?
        }
        made => made.map_err(about)?,
    };
    context.output.note(&format!("created topic {becomes}"));
    Landing::open(client, source.clone(), made).await
}

fn list(context: &mut Context, inventory: &Inventory) -> Result<()> {
    let Inventory { topics, counts, end, created } = inventory;
    let mut listing = Listing {
        columns: &["name", "events", "first", "last", "skipped", "archived", "id"],
        rows: Vec::new(),
        values: Vec::new(),
        when_empty: "there are no topics in it",
    };
    for (topic, (events, skipped)) in topics.iter().zip(counts) {
        let Topic { name, first, last, archived, id, .. } = topic;
        let yes = if *archived { "yes" } else { "no" };
        listing.rows.push(vec![
            name.clone(),
            human::count(*events),
            first.to_string(),
            last.to_string(),
            human::count(*skipped),
            yes.to_owned(),
            id.clone(),
        ]);
        listing.values.push(json!({
            "name": name, "events": events, "first": first, "last": last, "skipped": skipped, "archived": archived, "id": id,
        }));
    }
    let events = human::counted(end.events, "event");
    context.output.note(&format!("{events}, exported {created}; every byte is right"));
    context.output.list(listing)
}

fn report(context: &mut Context, outcomes: &[Outcome], elapsed: Duration) -> Result<()> {
    let mut listing = Listing {
        columns: &["topic", "into", "events", "published", "first"],
        rows: Vec::new(),
        values: Vec::new(),
        when_empty: "there are no topics in it",
    };
    let mut published = 0;
    for Outcome { name, becomes, landed } in outcomes {
        let Landed { events, published: new, first, more } = landed;
        published += new;
        let mut text = format!("topic {becomes}: {} published", human::counted(*new, "event"));
        if new < events {
            text = format!("{text}, {} there before", human::count(events - new));
        }
        if *more > 0 {
            text = format!("{text}, {} of others behind them", human::count(*more));
        }
        context.output.note(&text);
        listing.rows.push(vec![name.clone(), becomes.clone(), events.to_string(), new.to_string(), first.to_string()]);
        let value: Value = json!({
            "topic": name, "into": becomes, "events": events, "published": new, "first": first, "more": more,
        });
        listing.values.push(value);
    }
    let (events, topics) = (human::counted(published, "event"), human::counted(outcomes.len() as u64, "topic"));
    let rate = human::rate(published, elapsed);
    context.output.note(&format!("imported {events} into {topics} in {}, {rate} events/s", human::duration(elapsed)));
    if context.output.format().is_some() || context.output.jq().is_some() {
        context.output.list(listing)
    } else {
        Ok(())
    }
}
