//! `ensign bench`: measuring a server honestly.
//!
//! Two kinds of load. In a closed loop so many events are under way, and the next one is sent when an earlier one was acked:
//! that finds out how much a server can take. In an open loop events are due at a fixed rate, whatever the server does, and
//! their latency is measured from when they were due: a server that stalls can't hide it by having been sent less.

mod baseline;
mod delivery;
mod disk;
mod group;
mod load;
mod meter;
mod pace;
mod publish;
mod query;
mod report;
mod tail;
mod topics;
mod verify;

use std::{path::PathBuf, time::Duration};

use super::{
    Context,
    error::{CliError, Result},
    human::Span,
};
use group::GroupArgs;
use load::{Content, Load};
use publish::Loop;
use query::QueryArgs;
use report::Report;
use tail::TailArgs;
use verify::VerifyArgs;

/// The seed of made-up events: the same in every run, so that runs can be compared.
const SEED: u64 = 42;

/// How many events may be under way on a stream that was not told.
const WINDOW: u32 = 16_384;

/// How long a benchmark takes that was not told.
const DURATION: Duration = Duration::from_secs(10);

/// How long to warm up before measuring for some time. Before a count of events nothing is sent that was not asked for.
const WARM_UP: Duration = Duration::from_secs(1);

/// Measure a server honestly
///
/// Every report says what an ack of the server promises (its durability), and how long the disk itself takes to make a page
/// durable, because no ack that waits for the disk can be faster than that.
///
/// With --verify instead of a benchmark, a server is started on a directory of its own, killed at random moments (SIGKILL) while
/// events are published to it, and started again; sometimes it is killed again while it starts. No other server, no profile
/// and no network is needed or touched. It fails (exit code 6) when an event that had been acked is missing, changed, there
/// twice or out of order, and leaves the directory for whoever wants to know why. A process that is killed leaves what it
/// wrote to the system's care: what a power cut does is tested elsewhere, on simulated disks.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true,
    after_help = "Examples:
  $ ensign bench publish load --size 100 --count 1000000
  $ ensign bench publish load --file flights.jsonl --duration 30s --streams 4 -o json > old.json
  $ ensign bench publish load --file flights.jsonl --duration 30s --streams 4 --baseline old.json
  $ ensign bench latency load --rate 10000 --duration 1m
  $ ensign bench tail load
  $ ensign bench group --groups 3 --members 2
  $ ensign bench query 'SELECT origin, count(*) FROM flights GROUP BY origin'
  $ ensign bench --verify
  $ ensign bench --verify --duration 10m"
)]
pub(super) struct Args {
    #[command(subcommand)]
    benchmark: Option<Benchmark>,

    /// Find out whether a server that is killed keeps what it acked
    #[arg(long, required = true)]
    verify: bool,

    #[command(flatten)]
    verifying: VerifyArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Benchmark {
    Publish(PublishArgs),
    Latency(LatencyArgs),
    Tail(TailArgs),
    Group(GroupArgs),
    Query(QueryArgs),
}

/// Measure how many events a server takes, or how soon it acks them
///
/// Without --rate, so many events are under way as --window says. With --rate, events are due at that rate whatever the
/// server does, and latency is measured from when they were due.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign bench publish load --size 1000 --duration 30s
  $ ensign bench publish load --topics 1000 --rate 10000
  $ ensign bench publish load --window 1 --count 1000")]
struct PublishArgs {
    #[command(flatten)]
    load: LoadArgs,

    /// How many events may be under way on each stream
    #[arg(long, value_name = "N", default_value_t = WINDOW, conflicts_with = "rate",
        value_parser = clap::value_parser!(u32).range(1..))]
    window: u32,

    /// Publish this many events a second, over all streams
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
}

/// Measure how soon events are acked and reach a subscriber
///
/// Events are due at a fixed rate whatever the server does, and both latencies are measured from when they were due.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign bench latency load
  $ ensign bench latency load --rate 100 --size 1000 --duration 1m")]
struct LatencyArgs {
    #[command(flatten)]
    load: LoadArgs,

    /// Publish this many events a second, over all streams
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    rate: u64,
}

/// What is published.
#[derive(Debug, clap::Args)]
struct LoadArgs {
    /// The topic to publish to, by name; it is made when it does not exist
    #[arg(value_name = "TOPIC")]
    topic: String,

    /// The size of each event's data, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 100, conflicts_with = "file",
        value_parser = clap::value_parser!(u32).range(..=5_242_000))]
    size: u32,

    /// What made-up events are made of
    #[arg(long, value_name = "CONTENT", value_enum, default_value_t = Content::Json, conflicts_with = "file")]
    content: Content,

    /// Publish the lines of this file, over and over
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// Publish this many events
    #[arg(long, value_name = "N", conflicts_with = "duration", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// Publish for this long [default: 10s]
    #[arg(long, value_name = "DURATION")]
    duration: Option<Span>,

    /// Publish without measuring for this long first [default: 1s, and nothing before --count]
    #[arg(long, value_name = "DURATION")]
    warm_up: Option<Span>,

    /// How many streams publish, each on a connection of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    streams: usize,

    /// Spread the events over this many topics, named TOPIC-1, TOPIC-2 and so on
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    topics: usize,

    /// Fail when a topic does not exist
    #[arg(long)]
    no_create: bool,

    #[command(flatten)]
    comparing: CompareArgs,
}

/// What the result is compared with.
#[derive(Debug, Clone, clap::Args)]
struct CompareArgs {
    /// Measure the disk of this directory [default: the data directory of a dev-server on this machine, otherwise where
    /// temporary files go]
    #[arg(long, value_name = "DIR")]
    disk: Option<PathBuf>,

    /// Compare with this report (-o json) of the same benchmark; exit with 6 if it was better
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,

    /// How much worse than the baseline is still good, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 10, requires = "baseline",
        value_parser = clap::value_parser!(u64).range(..1_000))]
    tolerance: u64,
}

/// How much is published.
#[derive(Debug, Clone, Copy)]
enum Amount {
    Count(u64),
    Time(Duration),
}

fn at_least_one(text: &str) -> std::result::Result<usize, String> {
    text.parse().ok().filter(|number| (1..=100_000).contains(number)).ok_or("use a number from 1 on".to_owned())
}

impl LoadArgs {
    fn load(&self) -> Result<Load> {
        match &self.file {
            Some(file) => Load::lines(file),
            None => Ok(Load::made_up(self.content, usize::try_from(self.size).unwrap_or(usize::MAX), SEED)),
        }
    }

    fn amount(&self) -> Amount {
        match (self.count, self.duration) {
            (Some(count), _) => Amount::Count(count),
            (None, duration) => Amount::Time(duration.map_or(DURATION, |span| span.0)),
        }
    }

    fn warm_up(&self) -> Option<Duration> {
        let default = if self.count.is_some() { Duration::ZERO } else { WARM_UP };
        let time = self.warm_up.map_or(default, |span| span.0);
        (time > Duration::ZERO).then_some(time)
    }
}

impl Args {
    pub(super) fn run(self, context: &mut Context) -> Result<()> {
        let Some(benchmark) = self.benchmark else {
            return self.verifying.run(context);
        };
        let (comparing, report) = match benchmark {
            Benchmark::Publish(args) => {
                let sending = args.rate.map_or(Loop::Closed { window: args.window }, |rate| Loop::Open { rate });
                (
                    args.load.comparing.clone(),
                    measure(context, async |context| publish::run(&args.load, sending, false, context).await)?,
                )
            }
            Benchmark::Latency(args) => {
                let sending = Loop::Open { rate: args.rate };
                (
                    args.load.comparing.clone(),
                    measure(context, async |context| publish::run(&args.load, sending, true, context).await)?,
                )
            }
            Benchmark::Tail(args) => {
                (args.comparing.clone(), measure(context, async |context| tail::run(&args, context).await)?)
            }
            Benchmark::Query(args) => {
                (args.comparing.clone(), measure(context, async |context| query::run(&args, context).await)?)
            }
            // It clears away what it made also when it is interrupted.
            Benchmark::Group(args) => {
                (args.comparing.clone(), context.block_on(async |context| group::run(&args, context).await)?)
            }
        };
        // Every report says what the disk can do, be it that of the server's data or not; and it says which.
        let dir = match comparing.disk {
            Some(dir) => dir,
            None => context.target()?.data_dir().unwrap_or_else(std::env::temp_dir),
        };
        let report = report.on_disk(disk::measure(&dir, &context.clock)?);
        // What can't be compared is said before the report, so that nobody takes it for a success.
        let verdict = match &comparing.baseline {
            Some(path) => Some(baseline::compare(&report, path, comparing.tolerance)?),
            None => None,
        };
        context.output.detail(report.detail())?;
        context.output.flush()?;
        verdict.map_or(Ok(()), |verdict| verdict.settle(&context.output))
    }
}

/// Runs a benchmark until it is done or interrupted.
fn measure(context: &mut Context, run: impl AsyncFnOnce(&mut Context) -> Result<Report>) -> Result<Report> {
    context.block_on(async |context| {
        tokio::select! {
            report = run(context) => report,
            _ = tokio::signal::ctrl_c() => Err(CliError::interrupted()),
        }
    })
}
