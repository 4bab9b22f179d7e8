//! The commands that people use, against `ensign bench`.

use std::process::{Command, Stdio};

use ensign::sys::files;

use crate::{
    Error, Payload, Plan,
    broker::{Broker, number, succeed},
    table::{Row, Unit, Wanted},
};

/// How often the file's lines are in the file that is published: starting a process takes a part of a second that is not
/// of interest here.
const COPIES: usize = 100;

pub(crate) fn measure(plan: &Plan, payload: &Payload) -> Result<Vec<Row>, Error> {
    let broker = Broker::start(&plan.scratch)?;
    let large = broker.dir().join("large.jsonl");
    files::write_file(&large, &files::read_file(&payload.file, 1 << 30)?.repeat(COPIES))?;
    let events = payload.events.len() * COPIES;
    let count = events.to_string();

    let mut arguments = vec!["publish", "bench", "--count", &count];
    let file = payload.arguments();
    arguments.extend(file.iter().map(String::as_str));
    let publish = number(&broker.bench(&arguments)?, "/events_per_second")?;
    let tail = number(&broker.bench(&["tail", "bench"])?, "/events_per_second")?;

    let mut command = broker.ensign(&["--quiet", "publish", "cli", "--format", "lines", "-f"])?;
    let published = rate(plan, events, command.arg(&large))?;
    let mut command = broker.ensign(&["--quiet", "tail", "cli", "--from", "start", "--until", "now", "-o", "raw"])?;
    let tailed = rate(plan, events, &mut command)?;
    Ok(vec![
        Row::new("ensign bench publish", Unit::Rate, publish),
        Row::new("ensign publish -f", Unit::Rate, published).to("bench", publish).wanted(Wanted::AtLeast(0.6)),
        Row::new("ensign bench tail", Unit::Rate, tail),
        Row::new("ensign tail -o raw", Unit::Rate, tailed).to("bench", tail).wanted(Wanted::AtLeast(0.6)),
    ])
}

/// Events a second of a command, its start and its end included.
fn rate(plan: &Plan, events: usize, command: &mut Command) -> Result<f64, Error> {
    let started = plan.clock.elapsed();
    succeed(command.stdin(Stdio::null()).stdout(Stdio::null()))?;
    let seconds = plan.clock.elapsed().saturating_sub(started).as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "there are some millions")]
    Ok(events as f64 / seconds)
}
