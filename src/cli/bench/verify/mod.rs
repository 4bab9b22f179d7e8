//! `ensign bench --verify`: whether a broker that is killed keeps its promises.
//!
//! A server of its own is started on a directory of its own, events are published with a record of every ack, the server is
//! killed at a random moment, started again, and everything is read back. Then the next round goes on with the same
//! directory. What is checked is in `record`.

mod child;
mod numbers;
mod record;
mod writer;

use std::{path::PathBuf, sync::Arc, time::Duration};

use serde_json::{Map, Value, json};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::{JoinError, JoinSet},
};

use super::topics;
use crate::{
    cli::{
        Context,
        error::{CliError, Kind, Result},
        human::{self, Span},
        output::Detail,
    },
    client::{Client, Delivery, Subscriber, SubscriberOptions, Wanted},
    model::{Position, TopicId},
    sys::{Entropy, files},
};
use child::{Child, DATA};
use record::{Record, Violation};
use writer::{Signs, Stopped, Writer};

/// The name of the topics.
const TOPIC: &str = "verify";

/// The shortest and the longest time that a server may live with writers.
const ROUND_MILLIS: (u64, u64) = (20, 1_500);

/// One of so many rounds begins with a server that is killed while it starts.
const ABORTED_STARTS: u64 = 3;

/// How long a server that is killed while it starts may live.
const START_MILLIS_MAX: u64 = 60;

/// What `--verify` does.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Options of --verify")]
pub(super) struct VerifyArgs {
    /// How often the server is killed
    #[arg(long, value_name = "N", default_value_t = 10, requires = "verify", conflicts_with = "duration",
        value_parser = clap::value_parser!(u64).range(1..))]
    kills: u64,

    /// Go on killing it for this long
    #[arg(long, value_name = "DURATION", requires = "verify")]
    duration: Option<Span>,

    /// How many publishers there are
    #[arg(long, value_name = "N", default_value_t = 4, requires = "verify", value_parser = super::at_least_one)]
    writers: usize,

    /// How many topics they publish to
    #[arg(long, value_name = "N", default_value_t = 2, requires = "verify", value_parser = super::at_least_one)]
    topics: usize,

    /// Repeat the choices of an earlier run: the events, and when the server is killed
    #[arg(long, value_name = "N", requires = "verify")]
    seed: Option<u64>,

    /// Keep the data here, instead of in a temporary directory that is removed when all is well
    #[arg(long, value_name = "DIR", requires = "verify")]
    dir: Option<PathBuf>,
}

impl VerifyArgs {
    pub(super) fn run(&self, context: &mut Context) -> Result<()> {
        // Not all of a number: what a person has to type again should be short.
        let seed = self.seed.unwrap_or_else(|| Entropy::real().number() >> 32);
        let dir = match &self.dir {
            Some(dir) => std::path::absolute(dir).map_err(|error| CliError::failed(error.to_string()))?,
            None => std::env::temp_dir().join(format!("ensign-verify-{:016x}", Entropy::real().number())),
        };
        if files::exists(&dir.join(DATA)) {
            return Err(CliError::usage(format!("{} has data already", dir.display())).hint("name an empty directory"));
        }
        files::create_private_dir(&dir).map_err(|error| CliError::chain(&error))?;
        context.output.note(&format!("seed {seed}, in {}", dir.display()));
        let mut run = Run::new(self.clone(), dir.clone(), seed);
        let verdict = context.block_on(async |context| {
            tokio::select! {
                verdict = run.rounds(context) => verdict,
                stopped = stopped() => Err(stopped),
            }
        });
        let kept = match &verdict {
            Ok(()) => self.dir.is_some(),
            Err(error) => self.dir.is_some() || error.kind != Kind::Interrupted,
        };
        if !kept {
            files::remove_dir(&dir).map_err(|error| CliError::chain(&error))?;
        }
        match verdict {
            Err(error) if error.kind == Kind::Interrupted => Err(error),
            verdict => {
                context.output.detail(run.detail(verdict.as_ref().err(), kept))?;
                context.output.flush()?;
                verdict.map_err(|error| error.hint(format!("what the server stored and said is in {}", dir.display())))
            }
        }
    }
}

/// A run of several rounds.
struct Run {
    args: VerifyArgs,
    dir: PathBuf,
    seed: u64,
    /// What decides what is random here. Not when events are sent and acked: that is up to the machine.
    chance: Entropy,
    record: Record,
    kills: u64,
    aborted_starts: u64,
}

impl Run {
    fn new(args: VerifyArgs, dir: PathBuf, seed: u64) -> Run {
        let (chance, record) = (Entropy::seeded(seed), Record::default());
        Run { args, dir, seed, chance, record, kills: 0, aborted_starts: 0 }
    }

    async fn rounds(&mut self, context: &Context) -> Result<()> {
        let started = context.clock.elapsed();
        let mut writers: Vec<Writer> = (0..self.args.writers).map(|number| Writer::new(number, self.seed)).collect();
        loop {
            let is_over = match self.args.duration {
                Some(Span(duration)) => context.clock.elapsed().saturating_sub(started) >= duration,
                None => self.kills == self.args.kills,
            };
            if is_over && self.kills > 0 {
                break;
            }
            if self.chance.number().is_multiple_of(ABORTED_STARTS) {
                let child = Child::spawn(&self.dir)?;
                context.clock.sleep(Duration::from_millis(self.chance.number() % START_MILLIS_MAX)).await;
                child.kill().await?;
                self.aborted_starts += 1;
            }
            let mut child = Child::spawn(&self.dir)?;
            let client = child.ready(&context.clock).await?;
            let topics = topics::ensure(context, &client, TOPIC, self.args.topics, self.kills == 0).await?;
            self.check(&client, &topics).await?;
            writers = self.publish(context, child, &client, &topics, writers).await?;
            let of = self.args.duration.map_or_else(|| format!(" of {}", self.args.kills), |_| String::new());
            let (acked, sent) = (human::count(self.record.acked()), human::count(self.record.sent()));
            context.output.note(&format!("kill {}{of}: {acked} of {sent} events acked", self.kills));
        }
        let mut child = Child::spawn(&self.dir)?;
        let client = child.ready(&context.clock).await?;
        let topics = topics::ensure(context, &client, TOPIC, self.args.topics, false).await?;
        self.check(&client, &topics).await?;
        child.kill().await
    }

    /// Publishes until the server is killed.
    async fn publish(
        &mut self,
        context: &Context,
        child: Child,
        client: &Client,
        topics: &[(String, TopicId)],
        writers: Vec<Writer>,
    ) -> Result<Vec<Writer>> {
        let signs = Arc::new(Signs::default());
        let mut tasks = JoinSet::new();
        for (number, writer) in writers.into_iter().enumerate() {
            let (name, topic) = topics[number % topics.len()].clone();
            tasks.spawn(writer.publish(client.with_own_connection()?, name, topic, signs.clone()));
        }
        let (shortest, longest) = ROUND_MILLIS;
        let life = Duration::from_millis(shortest + self.chance.number() % (longest - shortest));
        // The first kill leaves something to find again, however slow the machine is. Later ones come when they come.
        let sign = if self.kills == 0 { &signs.acked } else { &signs.opened };
        let kill = async {
            sign.notified().await;
            context.clock.sleep(life).await;
        };
        tokio::select! {
            () = kill => {}
            Some(early) = tasks.join_next() => {
                let Stopped { reason, refusal, .. } = ended(early)?;
                let reason = refusal.unwrap_or(reason);
                return Err(CliError::check_failed(format!("the server ended a stream by itself: {reason}")));
            }
        }
        child.kill().await?;
        self.kills += 1;
        let mut writers = Vec::new();
        while let Some(stopped) = tasks.join_next().await {
            let Stopped { writer, topic, refusal, .. } = ended(stopped)?;
            if let Some(refusal) = refusal {
                return Err(CliError::check_failed(format!("the server refused events: {refusal}")));
            }
            self.record.note(topic, writer.number(), writer.sent(), writer.take_acked());
            writers.push(writer);
        }
        writers.sort_by_key(Writer::number);
        Ok(writers)
    }

    /// Reads everything back, and compares it with what was promised and with what was read before.
    async fn check(&mut self, client: &Client, topics: &[(String, TopicId)]) -> Result<()> {
        for (name, topic) in topics {
            let unreadable = |reason: &dyn std::fmt::Display| {
                CliError::check_failed(format!("topic {name} can't be read: {reason}"))
            };
            let broken = |violation: Violation| CliError::check_failed(format!("topic {name}: {violation}"));
            let options = SubscriberOptions {
                topics: vec![name.clone()],
                from: Position::Start,
                until: Some(Position::End),
                retry_for: Some(Duration::ZERO),
                skip_unreadable: false,
                wanted: Wanted::default(),
            };
            let mut subscriber = Subscriber::open(client, options).await.map_err(|error| unreadable(&error))?;
            let mut reading = self.record.read(*topic, self.seed);
            loop {
                match subscriber.next().await.map_err(|error| unreadable(&error))? {
                    Delivery::Events(events) => {
                        events.iter().try_for_each(|event| reading.event(event)).map_err(broken)?;
                    }
                    Delivery::Interrupted { reason } => return Err(unreadable(&reason)),
                    Delivery::Skipped { .. } | Delivery::SkippedMore { .. } | Delivery::Lost { .. } => {
                        return Err(unreadable(&"events were left out"));
                    }
                    Delivery::Ended => break,
                }
            }
            reading.finish().map_err(broken)?;
        }
        Ok(())
    }

    /// The account of the run, and of what went wrong.
    fn detail(&self, failure: Option<&CliError>, kept: bool) -> Detail {
        let record = &self.record;
        let numbers = [
            ("seed", self.seed),
            ("kills", self.kills),
            ("aborted_starts", self.aborted_starts),
            ("sent", record.sent()),
            ("acked", record.acked()),
            ("found", record.found()),
            ("found_unacked", record.found_unacked()),
        ];
        let mut value: Map<String, Value> =
            numbers.iter().map(|(name, number)| ((*name).to_owned(), json!(number))).collect();
        value.insert("failure".to_owned(), json!(failure.map(|error| &error.message)));
        value.insert("dir".to_owned(), json!(kept.then(|| self.dir.display().to_string())));
        let mut fields: Vec<(&str, String)> = vec![
            ("seed", self.seed.to_string()),
            (
                "kills",
                format!("{}, and {} while it started", human::count(self.kills), human::count(self.aborted_starts)),
            ),
            ("sent", human::counted(record.sent(), "event")),
            ("acked", human::count(record.acked())),
            (
                "found",
                format!(
                    "{}, {} of them never acked",
                    human::count(record.found()),
                    human::count(record.found_unacked())
                ),
            ),
        ];
        if failure.is_none() {
            fields.push(("verdict", "every acked event is there, once, unchanged and in order".to_owned()));
        }
        Detail { fields, value: Value::Object(value) }
    }
}

/// Waits until this process is asked to end. The server has to be killed then, too, and the data to be removed.
async fn stopped() -> CliError {
    let terminate = signal(SignalKind::terminate());
    let terminated = async {
        match terminate {
            Ok(mut terminate) => terminate.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => CliError::interrupted(),
        _ = terminated => CliError::interrupted(),
    }
}

/// A task that has ended.
fn ended(task: std::result::Result<Stopped, JoinError>) -> Result<Stopped> {
    task.map_err(|error| CliError::failed(error.to_string()))
}
