//! `ensign publish`: events from an argument, files or standard input.

mod document;
mod format;
mod input;
mod lines;
mod report;
mod wrapping;

use std::{collections::BTreeMap, path::PathBuf, pin::pin, time::Duration};

use bytes::Bytes;
use clap::ValueEnum as _;
use clap_complete::ArgValueCandidates;

use super::{
    Context, complete,
    destination::Destination,
    error::{CliError, Result},
    event_args::{MetaArg, MimetypeArg},
    progress::ProgressLine,
    topic_keys,
};
use crate::{
    client::{Outcome, Publisher, PublisherOptions, Sealer},
    model::{Schema, TopicId},
};
use format::InputFormat;
use input::{Batch, Input, Recipe};
use report::Report;

/// How often progress is shown.
const TICK: Duration = Duration::from_millis(200);

/// Publish events from an argument, files or standard input
///
/// Waits until every event is acknowledged, which means that it is on stable storage. A topic that does not exist is made,
/// unless --no-create says otherwise.
///
/// Each line is an event, and its bytes are the event's data, untouched: no end of line, everything else. Empty lines are
/// skipped and counted. A line that is a record of `ensign tail -o jsonl` is published as the event that it describes, with its
/// media type, type, metadata, key and time of creation; --no-records switches that off.
///
/// With --encrypt the data of each event is encrypted with the topic's newest key before it is sent, so that the server can't
/// read it. Media type, type, metadata, key and time stay readable. Records that are encrypted already are published as they
/// are.
///
/// An event can have up to 5,243,000 bytes. Larger ones are refused before they are sent.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each of them is a flag of its own")]
#[command(after_help = "Formats (the default is what a file's name says, or else lines):
  lines  each line is an event (text/plain)
  jsonl  each line is an event, and has to be JSON (application/json)
  json   each element of an array, and each value that stands alone, is an
         event (application/json)
  csv    each row is an event, quotes and all; the first row names the columns,
         and each event has it in its metadata as csv.header (text/csv)
  raw    the whole file is an event (the media type of the file's name)

Examples:
  $ ensign publish hello -m 'world'
  $ ensign publish flights -f flights.jsonl --type flight@1.0.0 --meta source=bts
  $ tail -F access.log | ensign publish access
  $ ensign publish orders --encrypt -f orders.jsonl")]
pub(super) struct Args {
    /// The topic, by name or id
    #[arg(value_name = "TOPIC", add = ArgValueCandidates::new(complete::topics))]
    topic: String,

    /// More files to read, after those of --file
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,

    /// A file to read, - for standard input, which is the default; can be repeated
    #[arg(short, long = "file", value_name = "FILE", allow_hyphen_values = true)]
    first_files: Vec<PathBuf>,

    /// Publish this text; can be repeated
    #[arg(short, long, value_name = "DATA", conflicts_with_all = ["files", "first_files"], allow_hyphen_values = true)]
    message: Vec<String>,

    /// What the input looks like
    #[arg(long, value_name = "FORMAT", value_enum)]
    format: Option<InputFormat>,

    /// The media type of the events
    #[arg(long, value_name = "TYPE/SUBTYPE")]
    mimetype: Option<MimetypeArg>,

    /// The events' type and its version
    #[arg(long = "type", value_name = "NAME@VERSION")]
    schema: Option<Schema>,

    /// Metadata for each event; can be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    meta: Vec<MetaArg>,

    /// The key of each event
    #[arg(long, value_name = "KEY")]
    key: Option<String>,

    /// Take the first row of CSV for data and not for the names of the columns
    #[arg(long)]
    no_header: bool,

    /// Publish lines that are records of `ensign tail` as they are
    #[arg(long)]
    no_records: bool,

    /// Fail when the topic does not exist, instead of making it
    #[arg(long)]
    no_create: bool,

    /// Encrypt the data of the events with the topic's newest key (see `ensign encryption topic-key`)
    #[arg(long)]
    encrypt: bool,
}

impl Args {
    pub(super) fn run(self, context: &mut Context) -> Result<()> {
        if self.no_header && self.format.is_some_and(|format| format != InputFormat::Csv) {
            return Err(CliError::usage("--no-header is about CSV").hint("add --format csv, or leave --no-header away"));
        }
        context.block_on(async |context| self.publish(context).await)
    }

    fn recipe(&self, sealer: Option<Sealer>) -> Recipe {
        let metadata: BTreeMap<String, String> =
            self.meta.iter().map(|meta| (meta.name.clone(), meta.value.clone())).collect();
        Recipe {
            format: self.format,
            mimetype: self.mimetype.map(|mimetype| mimetype.0),
            schema: self.schema.clone(),
            metadata,
            key: self.key.as_ref().map(|key| Bytes::from(key.clone())),
            header: !self.no_header,
            records: !self.no_records,
            sealer,
        }
    }

    async fn publish(self, context: &mut Context) -> Result<()> {
        let files = [&self.first_files[..], &self.files].concat();
        let inputs = Input::list(&files, &self.message)?;
        if self.encrypt {
            topic_keys::require(context, &self.topic)?;
        }
        let client = context.connect_with_key("publisher").await?;
        // A key for a topic that is yet to be made can't be there.
        let destination = Destination { topic: &self.topic, may_create: !self.no_create && !self.encrypt };
        let (publisher, topic) = destination.open(context, &client, PublisherOptions::default()).await?;
        let sealer = self.encrypt.then(|| topic_keys::sealer(context, &self.topic, topic)).transpose()?;
        let sealed_before = sealer.as_ref().map_or(0, Sealer::sealed);
        let mut report = Report::new(&self.topic, &inputs, context.clock.clone());
        let mut batches = input::spawn(inputs, self.recipe(sealer.clone()), context.clock.clone());

        let mut stream = Stream { publisher, topic };
        let line = ProgressLine::new(&context.output, report.input_bytes());
        let ended = stream.pump(&mut batches, &mut report, &line).await;
        line.clear();
        let outcome = match ended {
            End::Done => stream.publisher.close().await,
            End::Interrupted | End::Failed(_) => stream.publisher.abort(),
        };
        if let Some(sealer) = &sealer {
            topic_keys::count(context, &self.topic, sealer, sealed_before);
        }
        report.finish(context, outcome, ended)
    }
}

/// How the pumping of events ended.
#[derive(Debug)]
enum End {
    Done,
    Interrupted,
    Failed(CliError),
}

struct Stream {
    publisher: Publisher,
    topic: TopicId,
}

impl Stream {
    /// Moves what is read into the stream, and waits for the acks.
    async fn pump(
        &mut self,
        batches: &mut tokio::sync::mpsc::Receiver<Batch>,
        report: &mut Report,
        line: &ProgressLine,
    ) -> End {
        let mut interrupt = pin!(tokio::signal::ctrl_c());
        let mut tick = tokio::time::interval(TICK);
        let mut sending = true;
        loop {
            if !sending {
                let publisher = &self.publisher;
                tokio::select! {
                    biased;
                    _ = &mut interrupt => return End::Interrupted,
                    flushed = publisher.flush() => return match flushed {
                        Ok(()) => End::Done,
                        Err(error) => End::Failed(error.into()),
                    },
                    _ = tick.tick() => report.show(line, &publisher.progress()),
                }
                continue;
            }
            let batch = tokio::select! {
                biased;
                _ = &mut interrupt => return End::Interrupted,
                batch = batches.recv() => batch,
                _ = tick.tick() => {
                    report.show(line, &self.publisher.progress());
                    continue;
                }
            };
            let Some(batch) = batch else {
                sending = false;
                continue;
            };
            let drafts = match report.add(batch) {
                Ok(drafts) => drafts,
                Err(error) => return End::Failed(error),
            };
            // Dropping `send` midway would tear a batch apart, so it is not polled again after an interruption.
            tokio::select! {
                biased;
                _ = &mut interrupt => return End::Interrupted,
                sent = self.publisher.send(self.topic, &drafts) => if let Err(error) = sent {
                    return End::Failed(error.into());
                },
            }
            report.show(line, &self.publisher.progress());
        }
    }
}

/// The names of the formats, for messages.
fn format_name(format: InputFormat) -> String {
    format.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

impl Report {
    /// The account of an outcome, on standard error, and the exit code.
    fn finish(mut self, context: &mut Context, outcome: Outcome, end: End) -> Result<()> {
        self.close(outcome);
        self.print(context)?;
        match end {
            End::Interrupted => Err(CliError::interrupted()),
            End::Failed(error) => Err(error),
            End::Done => self.verdict(),
        }
    }
}
