//! What of the wire's and the disk's speed reaches the user, measured in one run on one machine.
//!
//! `cargo bench --bench end_to_end [-- PART… --rounds N --seconds N --million-events N --gigabytes N]`
//!
//! The parts, all of which run when none is named:
//!
//! - `wire`: the ceiling, which is a bidirectional gRPC echo through tonic's and prost's own codec at its best, one ack for
//!   each event, nothing stored; against it durable publish, and tail from the server's cache, from its disk through
//!   the system's page cache, and from the disk alone (where this program may empty the page cache); and plain
//!   sequential writes with fdatasync;
//! - `topics`: many topics and many publishers against one;
//! - `latency`: acks at a fixed rate against the disk's own fdatasync;
//! - `start`: from the start of the process to a server that is ready, with many topics and events;
//! - `cli`: `ensign publish -f` and `ensign tail -o raw` against `ensign bench`;
//! - `memory`: of an idle server, and while much goes through it to fast subscribers and a slow one;
//! - `go`: go-ensign against the echo and against the server; skipped loudly where Go is missing.
//!
//! Client and server are always two processes. The parts take turns over the rounds, so that a machine that is busy for a while
//! is busy for all of them; the medians are printed, and their ratios, which can be compared between machines. The table on standard
//! output is Markdown.

mod broker;
mod disk;
mod echo;
mod go;
mod memory;
mod start;
mod steady;
mod table;
mod tools;
mod wire;

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use ensign::sys::Clock;

use table::{Row, Table};

/// As in the `ensign` binary: with chunks of 64 KiB the system's allocator spends its time in the kernel.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Error = Box<dyn std::error::Error>;

/// The argument that makes this program the echo's server.
const ECHO_SERVER: &str = "--echo-server";

/// What events are made of.
#[derive(Debug, Clone)]
struct Payload {
    name: &'static str,
    file: PathBuf,
    events: Vec<bytes::Bytes>,
}

impl Payload {
    fn lines(name: &'static str, file: &str) -> Result<Payload, Error> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(file);
        let bytes = bytes::Bytes::from(ensign::sys::files::read_file(&file, 1 << 30)?);
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let events = lines.map(|line| bytes.slice_ref(line)).collect();
        Ok(Payload { name, file, events })
    }

    /// Small events: flights of about 90 bytes.
    fn flights() -> Result<Payload, Error> {
        Payload::lines("flights", "flights.jsonl")
    }

    /// Larger ones: earthquakes of about 670 bytes.
    fn earthquakes() -> Result<Payload, Error> {
        Payload::lines("earthquakes", "earthquakes.jsonl")
    }

    fn bytes_mean(&self) -> u64 {
        self.events.iter().map(|event| event.len() as u64).sum::<u64>() / self.events.len() as u64
    }

    /// The arguments of `ensign bench publish` that publish it.
    fn arguments(&self) -> [String; 2] {
        ["--file".to_owned(), self.file.display().to_string()]
    }
}

/// How long, how often and how much.
#[derive(Debug, Clone)]
struct Plan {
    parts: Vec<String>,
    rounds: usize,
    time: Duration,
    events: u64,
    bytes: u64,
    /// A directory on the disk that is measured.
    scratch: PathBuf,
    clock: Clock,
}

const PARTS: [&str; 7] = ["wire", "topics", "latency", "start", "cli", "memory", "go"];

impl Plan {
    fn parse(arguments: &[String]) -> Result<Plan, Error> {
        let mut plan = Plan {
            parts: Vec::new(),
            rounds: 1,
            time: Duration::from_secs(3),
            events: 2_000_000,
            bytes: 500_000_000,
            scratch: PathBuf::from(env!("CARGO_TARGET_TMPDIR")),
            clock: Clock::real(),
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut number = || {
                let number = arguments.next().and_then(|text| text.parse::<u32>().ok()).filter(|number| *number > 0);
                number.ok_or_else(|| format!("{argument} needs a number from 1 on"))
            };
            match argument.as_str() {
                "--rounds" => plan.rounds = number()? as usize,
                "--seconds" => plan.time = Duration::from_secs(number()?.into()),
                "--million-events" => plan.events = u64::from(number()?) * 1_000_000,
                "--gigabytes" => plan.bytes = u64::from(number()?) * 1_000_000_000,
                // Cargo says so to every benchmark.
                "--bench" => {}
                part if PARTS.contains(&part) => plan.parts.push(part.to_owned()),
                other => return Err(format!("{other} is neither an option nor a part: {}", PARTS.join(", ")).into()),
            }
        }
        Ok(plan)
    }

    fn wants(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|wanted| wanted == part)
    }

    fn seconds(&self) -> String {
        format!("{}s", self.time.as_secs())
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = if arguments.first().is_some_and(|first| first == ECHO_SERVER) {
        echo::serve()
    } else {
        Plan::parse(&arguments).and_then(|plan| measure(&plan))
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn measure(plan: &Plan) -> Result<(), Error> {
    let (flights, earthquakes) = (Payload::flights()?, Payload::earthquakes()?);
    let mut table = Table::default();
    for round in 1..=plan.rounds {
        let mut run = |part: &str, section: &str, measure: &dyn Fn() -> Result<Vec<Row>, Error>| {
            if !plan.wants(part) {
                return Ok::<(), Error>(());
            }
            note(&format!("round {round} of {}: {section}", plan.rounds));
            table.add(section, measure()?);
            Ok(())
        };
        for payload in [&flights, &earthquakes] {
            let section = format!("{}, {} bytes an event", payload.name, payload.bytes_mean());
            run("wire", &section, &|| wire::measure(plan, payload))?;
        }
        run("topics", "many topics", &|| steady::topics(plan))?;
        run("latency", "acks at 10,000 events/s", &|| steady::latency(plan))?;
        let section = format!("1,000 topics with {} million events in all", plan.events / 1_000_000);
        run("start", &section, &|| start::measure(plan))?;
        run("cli", "the command line, flights", &|| tools::measure(plan, &flights))?;
        let section = format!("memory, {:.1} GB to eight fast subscribers and a slow one", plan.gigabytes());
        run("memory", &section, &|| memory::measure(plan, &earthquakes))?;
        if plan.wants("go") && go::is_installed() {
            run("go", "go-ensign, flights", &|| go::measure(plan, &flights))?;
        }
    }
    let cpus = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let head = format!("{cpus} CPUs, {}, median of {}:\n\n", std::env::consts::OS, plan.rounds);
    io::stdout().write_all((head + &table.text()).as_bytes())?;
    Ok(())
}

impl Plan {
    #[expect(clippy::cast_precision_loss, reason = "it is only shown")]
    fn gigabytes(&self) -> f64 {
        self.bytes as f64 / 1e9
    }
}

/// Tells whoever waits what is going on.
fn note(text: &str) {
    // Nobody has to read it.
    writeln!(io::stderr(), "{text}").ok();
}
