//! `ensign export`: topics to one file.

use std::{fmt::Write as _, path::PathBuf, time::Duration};

use clap::ValueHint;
use clap_complete::ArgValueCandidates;
use serde_json::json;

use super::{
    file::{Resumption, Sink},
    line::Selection,
    plan::{Extent, Survey},
    transfer::{self, Transfer, Written},
    writer::ArchiveWriter,
};
use crate::{
    cli::{
        Context, complete,
        error::{CliError, Result},
        human,
        output::Detail,
        range,
    },
    client::Client,
    model::Position,
};

/// Write topics to one checked file, for `ensign import`
///
/// The file holds the topics with their policies, and their events up to the last one that there is when the export starts. The
/// server goes on working meanwhile. The file is checked as a whole when it is read; it is compressed JSON lines (zstd), so
/// `zstd -dc FILE` shows it.
///
/// Until it is whole, the file is called FILE.partial. An export that was interrupted goes on there when the same command is run
/// again, with the topics and the ends that it had.
///
/// The events are in the file as a subscriber gets them: not encrypted, unless their publisher encrypted them. The file is
/// readable for its owner alone. API keys, topic keys and consumer groups are not in it.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each of them is a flag of its own")]
#[command(after_help = format!("Examples:
  $ ensign export flights -f flights.ensign
  $ ensign export --all -f project.ensign
  $ ensign export orders --from -24h -f - | ssh backup 'cat > orders.ensign'

{}", range::POSITIONS))]
pub(in crate::cli) struct Args {
    /// The topics, by name or id
    #[arg(required_unless_present = "all", value_name = "TOPIC", add = ArgValueCandidates::new(complete::topics))]
    topics: Vec<String>,

    /// Export all topics of the project
    #[arg(long, conflicts_with = "topics")]
    all: bool,

    /// The file to write, - for standard output
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath, allow_hyphen_values = true)]
    file: PathBuf,

    /// Where to start in each topic: with the event at this position
    #[arg(long, value_name = "POSITION", default_value = "start", allow_hyphen_values = true)]
    from: Position,

    /// Where to stop in each topic: before the event at this position
    #[arg(long, value_name = "POSITION", allow_hyphen_values = true)]
    until: Option<Position>,

    /// Leave out events under a suspended or revoked data key, instead of ending there with an error
    #[arg(long)]
    skip_unreadable: bool,

    /// Replace a file that is there already, once the new one is whole
    #[arg(long)]
    overwrite: bool,

    /// Start over, instead of going on with what an interrupted export left
    #[arg(long)]
    start_over: bool,
}

impl Args {
    pub(in crate::cli) fn run(self, context: &mut Context) -> Result<()> {
        let is_stdout = self.file.as_os_str() == "-";
        if is_stdout && context.output.is_terminal() {
            return Err(CliError::usage("an archive is no text for a terminal").hint("name a file with -f FILE"));
        }
        if is_stdout && (context.output.format().is_some() || context.output.jq().is_some()) {
            return Err(CliError::usage("-f - and -o both want standard output").hint("name a file with -f FILE"));
        }
        context.block_on(async |context| self.export(context).await)
    }

    fn selection(&self) -> Selection {
        Selection {
            topics: (!self.all).then(|| self.topics.clone()),
            from: self.from.to_string(),
            until: self.until.map(|until| until.to_string()),
            skip_unreadable: self.skip_unreadable,
        }
    }

    async fn export(self, context: &mut Context) -> Result<()> {
        let started = context.clock.elapsed();
        let client = context.connect_with_key("subscriber").await?;
        let wanted = (!self.all).then_some(&self.topics[..]);
        let survey = Survey::make(&client, wanted).await?;
        let mut sink = Sink::open(&self.file, self.overwrite, self.start_over)?;
        let partial = sink.partial_path();
        let (writer, last) = match sink.resumption()? {
            Some(Resumption { end: Some(end), bytes, .. }) => {
                // All that was missing is the name.
                sink.finish()?;
                return self.report(context, &Written { end, bytes }, Duration::ZERO);
            }
            Some(found) => self.go_on(context, &survey, sink, found)?,
            None => (self.start(context, &client, &survey, sink).await?, Vec::new()),
        };
        let transfer = Transfer { client, survey, skip_unreadable: self.skip_unreadable, last };
        let written = transfer.run(context, writer, &self.file).await.inspect_err(|_| {
            if let Some(partial) = &partial {
                context
                    .output
                    .note(&format!("{} keeps what is whole; the same command goes on there", partial.display()));
            }
        })?;
        let elapsed = context.clock.elapsed().saturating_sub(started);
        self.report(context, &written, elapsed)
    }

    /// Starts an archive.
    async fn start(
        &self,
        context: &Context,
        client: &Client,
        survey: &Survey,
        sink: Sink,
    ) -> Result<ArchiveWriter<Sink>> {
        let extent = Extent { from: self.from, until: self.until, skip_unreadable: self.skip_unreadable };
        match survey.plan(client, self.selection(), extent, context.clock.now()).await {
            Ok((begin, topics)) => {
                ArchiveWriter::new(sink, begin, topics).map_err(|error| transfer::not_written(&self.file, error))
            }
            Err(error) => sink.abandon().and(Err(error)),
        }
    }

    /// Goes on with an archive that an earlier run began, if that is what this one is to write and the topics are what they were.
    fn go_on(
        &self,
        context: &Context,
        survey: &Survey,
        sink: Sink,
        found: Resumption,
    ) -> Result<(ArchiveWriter<Sink>, Vec<u8>)> {
        let Resumption { course, bytes, last, .. } = found;
        let partial = sink.partial_path().unwrap_or_default();
        let begun = course.beginning().map(|begin| &begin.selection);
        if begun != Some(&self.selection()) {
            let message = format!("{} was begun with other topics or options", partial.display());
            return Err(CliError::failed(message).hint("--start-over leaves it, and exports what you ask for now"));
        }
        if let Some(topic) = course.topics().iter().find(|topic| survey.topic_of(topic).is_none()) {
            return Err(transfer::changed(&topic.name));
        }
        let events = human::counted(course.events(), "event");
        context.output.note(&format!("going on behind the {events} that {} holds", partial.display()));
        let writer = ArchiveWriter::resume(sink, course, bytes);
        Ok((writer.map_err(|error| transfer::not_written(&self.file, error))?, last))
    }

    fn report(&self, context: &mut Context, written: &Written, elapsed: Duration) -> Result<()> {
        let Written { end, bytes } = written;
        let file = self.file.display().to_string();
        let (events, topics) = (human::counted(end.events, "event"), human::counted(end.topics, "topic"));
        let place = if file == "-" { String::new() } else { format!(" to {file}") };
        let rate = human::rate(end.events, elapsed);
        let mut text =
            format!("exported {events} of {topics}{place} ({}) in {}", human::bytes(*bytes), human::duration(elapsed));
        if end.events > 1 && !elapsed.is_zero() {
            write!(text, ", {rate} events/s").expect("text takes everything");
        }
        context.output.note(&text);
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let value = json!({
            "file": file,
            "topics": end.topics,
            "events": end.events,
            "skipped": end.skipped,
            "bytes": bytes,
            "sha256": end.sha256,
            "elapsed_ms": millis,
        });
        let fields = vec![
            ("file", file),
            ("topics", end.topics.to_string()),
            ("events", end.events.to_string()),
            ("skipped", end.skipped.to_string()),
            ("bytes", bytes.to_string()),
            ("sha256", end.sha256.clone()),
            ("elapsed_ms", millis.to_string()),
        ];
        context.output.result(Detail { fields, value })
    }
}
