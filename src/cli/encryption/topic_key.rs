//! `ensign encryption topic-key`: keys that only clients have.

use std::{
    io::{IsTerminal as _, Read as _},
    path::{Path, PathBuf},
};

use clap_complete::ArgValueCandidates;
use serde_json::{Value, json};

use crate::{
    cli::{
        Context,
        args::Uses,
        complete,
        error::{CliError, Result},
        human,
        output::{Detail, Listing},
        prompt,
        storage::{Storage, kept},
        topic_keys,
    },
    credentials::{ExportedTopicKey, Imported, KnownTopicKey, parse_topic_keys, write_topic_keys},
    model::{Secret, TopicKey, TopicKeyId},
    sys::{
        self, Entropy,
        files::{exists, read_file, write_private_file},
    },
};

/// The largest file of topic keys, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Manage the keys that events are encrypted with before they are sent
///
/// A topic key is for one topic. `ensign publish --encrypt` encrypts the data of events with its newest key, `ensign tail --decrypt`
/// decrypts with whichever key an event needs. The server never sees a key, nor what was encrypted with it: whoever
/// loses all copies of a key has lost the events.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    New(NewArgs),
    List(ListArgs),
    Export(ExportArgs),
    Import(ImportArgs),
    Remove(RemoveArgs),
}

/// Make a new key for a topic
///
/// From now on, `publish --encrypt` uses it. Keys from before stay, so that older events can be read.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign encryption topic-key new orders
  $ ensign encryption topic-key new orders --storage vault")]
struct NewArgs {
    /// The topic, by name or id
    #[arg(value_name = "TOPIC", add = ArgValueCandidates::new(complete::topics))]
    topic: String,

    /// Where to keep the key
    #[arg(long, value_name = "PLACE", default_value = "best")]
    storage: Storage,
}

/// List the topic keys that are here
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign encryption topic-key list
  $ ensign encryption topic-key list orders --jq '.[].key'")]
struct ListArgs {
    /// Only the keys of this topic, by name or id
    #[arg(value_name = "TOPIC", add = ArgValueCandidates::new(complete::topics_with_keys))]
    topic: Option<String>,
}

/// Write the keys of a topic to a file, to keep it or hand it on
///
/// The file is for its owner alone (mode 0600). Whoever has it can read all that was and will be encrypted with these keys.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign encryption topic-key export orders --file orders.key
  $ ensign encryption topic-key export orders --file - | ssh other ensign encryption topic-key import")]
struct ExportArgs {
    /// The topic, by name or id
    #[arg(value_name = "TOPIC", add = ArgValueCandidates::new(complete::topics_with_keys))]
    topic: String,

    /// The file to write, which must not exist; - for standard output
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    file: PathBuf,

    /// Only this key
    #[arg(long, value_name = "KEY", add = ArgValueCandidates::new(complete::topic_keys))]
    key: Option<TopicKeyId>,
}

/// Take over keys that were exported elsewhere
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign encryption topic-key import orders.key
  $ ssh other ensign encryption topic-key export orders --file - | ensign encryption topic-key import")]
struct ImportArgs {
    /// The file to read; without it, standard input
    #[arg(value_name = "FILE", allow_hyphen_values = true)]
    file: Option<PathBuf>,

    /// Where to keep the keys
    #[arg(long, value_name = "PLACE", default_value = "best")]
    storage: Storage,
}

/// Destroy a key
///
/// Asks for the key on a terminal. What was encrypted with it can't be read any more, except where there is a copy.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign encryption topic-key remove 01JD2W7Q1M8KQX3V9Z4T5B6C7D.1
  $ ensign encryption topic-key remove 01JD2W7Q1M8KQX3V9Z4T5B6C7D.1 --yes")]
struct RemoveArgs {
    /// The key, as `ensign encryption topic-key list` names it
    #[arg(value_name = "KEY", add = ArgValueCandidates::new(complete::topic_keys))]
    key: TopicKeyId,

    /// Don't ask
    #[arg(short, long)]
    yes: bool,
}

impl Args {
    /// Only making a key needs a server.
    pub(super) fn uses(&self) -> Uses {
        match &self.command {
            Command::New(_) => Uses { profile: true, server: true, output: true },
            Command::List(_) | Command::Import(_) => Uses { profile: false, server: false, output: true },
            Command::Export(_) | Command::Remove(_) => Uses { profile: false, server: false, output: false },
        }
    }

    pub(super) fn run(self, context: &mut Context) -> Result<()> {
        match self.command {
            Command::New(args) => make(context, &args),
            Command::List(args) => list(context, args.topic.as_deref()),
            Command::Export(args) => export(context, &args),
            Command::Import(args) => import(context, &args),
            Command::Remove(args) => remove(context, &args),
        }
    }
}

fn make(context: &mut Context, args: &NewArgs) -> Result<()> {
    let name = &args.topic;
    let found = context.block_on(async |context| Ok(context.connect().await?.find_topic(name).await?))?;
    let topic = found.ok_or_else(|| {
        CliError::not_found(format!("there is no topic {name}"))
            .hint(format!("make it with `ensign topic create {name}`"))
    })?;
    let entropy = Entropy::real();
    let ulid = sys::new_ulid(&context.clock, &entropy);
    let secret = Secret::new(entropy.bytes::<{ TopicKey::BYTES }>());
    let credentials = context.credentials()?;
    let (id, stored) = credentials.create_topic_key(&topic.name, topic.id, ulid, secret, args.storage.wanted())?;
    context.output.note(&format!("made topic key {id} for topic {}; {}", topic.name, kept("the key", &stored)));
    context.output.note(&format!(
        "without it nobody can read what it encrypts; `ensign encryption topic-key export {} --file FILE` makes a copy",
        topic.name
    ));
    if context.output.format().is_none() && context.output.jq().is_none() {
        return Ok(());
    }
    let known = KnownTopicKey { id, topic_name: topic.name, topic: topic.id, events: 0, place: stored.place };
    let fields = COLUMNS.into_iter().zip(row(&known)).collect();
    context.output.detail(Detail { fields, value: value(&known) })
}

const COLUMNS: [&str; 5] = ["topic", "version", "key", "events", "kept in"];

fn row(key: &KnownTopicKey) -> Vec<String> {
    vec![
        key.topic_name.clone(),
        key.id.version.to_string(),
        key.id.to_string(),
        human::count(key.events),
        String::from(key.place.clone()),
    ]
}

fn value(key: &KnownTopicKey) -> Value {
    json!({
        "key": key.id.to_string(),
        "version": key.id.version,
        "topic": key.topic_name,
        "topic_id": key.topic.to_string(),
        "events": key.events,
        "secret": String::from(key.place.clone()),
    })
}

fn listing<'a>(keys: impl Iterator<Item = &'a KnownTopicKey> + Clone) -> Listing {
    Listing {
        columns: &COLUMNS,
        rows: keys.clone().map(row).collect(),
        values: keys.map(value).collect(),
        when_empty: "no topic keys; `ensign encryption topic-key new TOPIC` makes one",
    }
}

fn list(context: &mut Context, topic: Option<&str>) -> Result<()> {
    let keys = context.credentials()?.topic_keys()?;
    let wanted = keys.iter().filter(|key| topic.is_none_or(|topic| key.is_for(topic)));
    context.output.list(listing(wanted))
}

fn export(context: &mut Context, args: &ExportArgs) -> Result<()> {
    let to_stdout = args.file.as_os_str() == "-";
    if !to_stdout && exists(&args.file) {
        return Err(CliError::failed(format!("{} is there already", args.file.display()))
            .hint("name another file; it may hold the only copy of a key"));
    }
    let credentials = context.credentials()?;
    let known = credentials.topic_keys()?;
    let wanted: Vec<&KnownTopicKey> =
        known.iter().filter(|key| key.is_for(&args.topic) && args.key.is_none_or(|id| id == key.id)).collect();
    if wanted.is_empty() {
        return Err(match args.key {
            Some(id) => CliError::not_found(format!("there is no topic key {id} for topic {} here", args.topic))
                .hint("`ensign encryption topic-key list` shows what there is"),
            None => topic_keys::none_for(&args.topic),
        });
    }
    let secrets = credentials.topic_key_secrets(&wanted)?;
    let mut exported = Vec::new();
    for key in &wanted {
        let secret = secrets.iter().find(|secret| secret.id() == key.id).ok_or_else(|| topic_keys::lost(key))?;
        exported.push(ExportedTopicKey { topic_name: key.topic_name.clone(), key: secret.clone() });
    }
    let text = write_topic_keys(&exported);
    if to_stdout {
        return context.output.text(text.expose());
    }
    write_private_file(&args.file, text.expose()).map_err(|error| CliError::chain(&error))?;
    let count = human::counted(exported.len() as u64, "topic key");
    context
        .output
        .note(&format!("wrote {count} to {}; whoever has this file can read the events", args.file.display()));
    Ok(())
}

fn import(context: &mut Context, args: &ImportArgs) -> Result<()> {
    let file = args.file.as_deref().filter(|path| path.as_os_str() != "-");
    let (name, text) = match file {
        Some(path) => (path.display().to_string(), read_keys(path)?),
        None => ("standard input".to_owned(), read_stdin()?),
    };
    let keys = parse_topic_keys(&text).map_err(|error| CliError::from(error).about(name))?;
    let credentials = context.credentials()?;
    for ExportedTopicKey { topic_name, key } in &keys {
        let of = format!("topic key {} of topic {topic_name}", key.id());
        match credentials.import_topic_key(topic_name, key, args.storage.wanted())? {
            Imported::Stored(stored) => {
                context.output.note(&format!("imported {of}; {}", kept("the key", &stored)));
            }
            Imported::Known => context.output.note(&format!("{of} was here already")),
        }
    }
    if context.output.format().is_none() && context.output.jq().is_none() {
        return Ok(());
    }
    let known = credentials.topic_keys()?;
    let imported = known.iter().filter(|known| keys.iter().any(|imported| imported.key.id() == known.id));
    context.output.list(listing(imported))
}

fn read_keys(path: &Path) -> Result<Secret> {
    match read_file(path, FILE_BYTES_MAX) {
        Ok(bytes) => Ok(Secret::new(bytes)),
        Err(error) if error.is_not_found() => Err(CliError::not_found(format!("there is no file {}", path.display()))),
        Err(error) => Err(CliError::chain(&error)),
    }
}

fn read_stdin() -> Result<Secret> {
    if std::io::stdin().is_terminal() {
        return Err(CliError::usage("there is no file to import, and nothing on standard input")
            .hint("`ensign encryption topic-key import FILE` reads a file"));
    }
    let mut bytes = Vec::new();
    let read = std::io::stdin().lock().take(FILE_BYTES_MAX).read_to_end(&mut bytes);
    read.map_err(|error| CliError::failed(format!("can't read the keys from standard input: {error}")))?;
    Ok(Secret::new(bytes))
}

fn remove(context: &mut Context, args: &RemoveArgs) -> Result<()> {
    let credentials = context.credentials()?;
    if !credentials.topic_keys()?.iter().any(|key| key.id == args.key) {
        return Err(crate::credentials::SecretError::TopicKeyUnknown { id: args.key }.into());
    }
    prompt::confirm_by_name(context, args.yes, "topic key", &args.key.to_string())?;
    let removed = credentials.remove_topic_key(args.key)?;
    context.output.note(&format!("removed topic key {} of topic {}", removed.id, removed.topic_name));
    Ok(())
}
