//! `ensign expect`: waits until the events are there that should be.

mod condition;
mod search;

use std::{fmt::Write as _, pin::pin, time::Duration};

use clap_complete::ArgValueCandidates;

use super::{
    Context, complete,
    condition::EventCondition,
    error::{CliError, Kind, Result},
    event_args::{MetaArg, MimetypeArg},
    human::{self, Span},
    output::{EventWriter, Format, error_text},
    range::{self, Range},
};
use crate::{
    client::{Client, ClientError, Delivery, Event, Subscriber, Wanted},
    model::{Offset, Position},
    sys::Clock,
};
use condition::{Condition, TypePattern};
use search::Search;

/// How long what is there already may keep us waiting for its next part.
const PATIENCE: Duration = Duration::from_mins(1);

/// Wait until a matching event arrives
///
/// Succeeds as soon as enough events have come that meet every condition, and prints them. When they don't come in time, the
/// exit code is 6, and standard error names the events that came nearest and what they miss.
///
/// Only events from --from on count, which is where the topic ends when the command starts. What was published just before
/// is found with --from -1m, or with a position that was noted before. What is there already is read before the
/// time of --timeout begins.
#[derive(Debug, clap::Args)]
#[command(after_help = format!("Examples:
  $ ensign expect orders --type order@1 --meta source=web --timeout 30s
  $ ./place-order && ensign expect orders --from -1m --data-contains '\"total\":12'
  $ ensign expect orders --where \"total > 100 AND customer.country IN ('DE', 'FR')\"
  $ ensign expect orders --from start --timeout 0s --key k1 --count 2 -o jsonl

{}", range::POSITIONS))]
pub(super) struct Args {
    /// The topic, by name or id
    #[arg(value_name = "TOPIC", add = ArgValueCandidates::new(complete::topics))]
    topic: String,

    /// Expect this type; numbers of the version that are left away may be any
    #[arg(long = "type", value_name = "NAME[@VERSION]")]
    schema: Option<TypePattern>,

    /// Expect this media type
    #[arg(long, value_name = "TYPE/SUBTYPE")]
    mimetype: Option<MimetypeArg>,

    /// Expect this in the metadata; can be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    meta: Vec<MetaArg>,

    /// Expect this key
    #[arg(long, value_name = "KEY")]
    key: Option<String>,

    /// Expect exactly this data
    #[arg(long, value_name = "TEXT", conflicts_with = "data_contains", allow_hyphen_values = true)]
    data: Option<String>,

    /// Expect data with this text in it
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    data_contains: Option<String>,

    /// Expect events for which this is true, as EnSQL's WHERE has it; it is evaluated here
    #[arg(long = "where", value_name = "CONDITION", allow_hyphen_values = true)]
    condition: Option<String>,

    /// Expect so many events
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,

    /// How long to wait for events that are not there yet
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    timeout: Span,

    /// Where to start: with the event at this position
    #[arg(long, value_name = "POSITION", default_value = "end", allow_hyphen_values = true)]
    from: Position,
}

impl Args {
    pub(super) fn run(self, context: &mut Context) -> Result<()> {
        context.block_on(async |context| {
            let mut writer = EventWriter::new(&context.output, false);
            let result = self.expect(context, &mut writer).await;
            if !matches!(&result, Err(error) if matches!(error.kind, Kind::ClosedPipe | Kind::Usage)) {
                writer.finish(&mut context.output)?;
                context.output.flush()?;
            }
            result
        })
    }

    fn conditions(&self, clock: &Clock) -> Result<Vec<Condition>> {
        let metadata = |meta: &MetaArg| Condition::Metadata { name: meta.name.clone(), value: meta.value.clone() };
        let mut conditions = Vec::new();
        conditions.extend(self.schema.clone().map(Condition::Type));
        conditions.extend(self.mimetype.map(|mimetype| Condition::Mimetype(mimetype.0)));
        conditions.extend(self.meta.iter().map(metadata));
        conditions.extend(self.key.clone().map(Condition::Key));
        conditions.extend(self.data.clone().map(Condition::Data));
        conditions.extend(self.data_contains.clone().map(Condition::DataContains));
        if let Some(text) = &self.condition {
            conditions.push(Condition::Where(Box::new(EventCondition::read(text)?), clock.clone()));
        }
        Ok(conditions)
    }
}

impl Args {
    async fn expect(&self, context: &mut Context, writer: &mut EventWriter) -> Result<()> {
        let search = Search::new(self.conditions(&context.clock)?);
        let client = context.connect_with_key("subscriber").await?;
        let mut interrupt = pin!(tokio::signal::ctrl_c());
        let next = self.first(&context.clock);
        let mut watch = Watch { args: self, context, writer, search, next };
        tokio::select! {
            result = watch.run(&client) => result,
            _ = &mut interrupt => Err(CliError::interrupted()),
        }
    }

    /// Where to start; an age counts from now on, also when the topic is opened later.
    fn first(&self, clock: &Clock) -> Position {
        match self.from {
            Position::Ago(nanos) => Position::Time(clock.now().plus_nanos(-nanos)),
            other => other,
        }
    }

    async fn open(&self, client: &Client, from: Position, until: Option<Position>) -> Result<Subscriber> {
        Range { from, until, limit: None, idle: None }
            .open(client, std::slice::from_ref(&self.topic), false, Wanted::default())
            .await
    }
}

/// The search while it is under way.
struct Watch<'a> {
    args: &'a Args,
    context: &'a mut Context,
    writer: &'a mut EventWriter,
    search: Search,
    /// Where to go on.
    next: Position,
}

impl Watch<'_> {
    /// Looks at what is there already, and then at what comes, until it is enough.
    async fn run(&mut self, client: &Client) -> Result<()> {
        if self.next != Position::End {
            let mut there = self.args.open(client, self.next, Some(Position::End)).await?;
            let patience = self.args.timeout.0.max(PATIENCE);
            loop {
                let delivery = tokio::select! {
                    delivery = there.next() => delivery,
                    () = self.context.clock.sleep(patience) => return Err(self.silent(patience)),
                };
                if !self.take(delivery)? {
                    break;
                }
            }
        }
        if self.is_met() {
            return Ok(());
        }
        let mut coming = self.args.open(client, self.next, None).await?;
        self.say_what_is_awaited()?;
        let clock = self.context.clock.clone();
        let mut over = pin!(clock.sleep(self.args.timeout.0));
        loop {
            let delivery = tokio::select! {
                delivery = coming.next() => delivery,
                () = &mut over => return Err(self.unmet()),
            };
            if !self.take(delivery)? {
                return if self.is_met() { Ok(()) } else { Err(self.unmet()) };
            }
            // What was found has to be seen while the rest is awaited.
            self.context.output.flush()?;
        }
    }

    fn is_met(&self) -> bool {
        self.search.found() >= self.args.count
    }

    /// Looks at what came; says whether to go on.
    fn take(&mut self, delivery: std::result::Result<Delivery, ClientError>) -> Result<bool> {
        let topic = &self.args.topic;
        match delivery.map_err(|error| CliError::from(error).about(format!("topic {topic}")))? {
            Delivery::Ended => return Ok(false),
            Delivery::Interrupted { reason } => self.context.output.note(&format!("{reason}; connecting again")),
            // They are left out only where that was asked for.
            Delivery::Skipped { .. } | Delivery::SkippedMore { .. } | Delivery::Lost { .. } => {}
            Delivery::Events(events) => {
                for event in events {
                    self.next = Position::Offset(Offset::new(event.offset.get() + 1));
                    let Some(event) = self.search.look_at(event) else { continue };
                    self.writer.write(&mut self.context.output, &event, topic)?;
                    if self.is_met() {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(true)
    }

    /// Says to people, and to scripts that wait for it, that from now on no event is missed.
    fn say_what_is_awaited(&mut self) -> Result<()> {
        self.context.output.flush()?;
        let missing = human::counted(self.args.count - self.search.found(), "event");
        let time = human::duration(self.args.timeout.0);
        self.context.output.note(&format!("waiting for {missing} in {} for {time}", self.args.topic));
        Ok(())
    }

    fn silent(&self, patience: Duration) -> CliError {
        let time = human::duration(patience);
        CliError::unreachable(format!("topic {}: the server has sent nothing for {time}", self.args.topic))
    }

    /// The expectation was not met; what came near is said first.
    fn unmet(&self) -> CliError {
        let Args { topic, count, timeout, from, .. } = self.args;
        let found = self.search.found();
        let what =
            if *count == 1 { "no expected event".to_owned() } else { format!("{found} of {count} expected events") };
        let looked_at = human::counted(self.search.looked_at(), "event");
        let time = human::duration(timeout.0);
        let mut message = format!("topic {topic}: {what} in {time}, {looked_at} looked at");
        let is_for_programs = matches!(self.context.output.format(), Some(Format::Json | Format::Jsonl));
        for (event, misses) in self.search.nearest() {
            let misses: Vec<String> = misses.iter().map(ToString::to_string).collect();
            let text = near_miss(event, &misses);
            if is_for_programs {
                write!(message, "; {text}").expect("text takes everything");
            } else {
                error_text(&format!("{text}\n"));
            }
        }
        let error = CliError::check_failed(message);
        match from {
            Position::End => error.hint("what was there before does not count; --from -1m looks back, too"),
            _ => error,
        }
    }
}

fn near_miss(event: &Event, misses: &[String]) -> String {
    format!("near miss at offset {}: {}", event.offset, misses.join("; "))
}
