//! The ceiling, and how near publish and tail come to it.

use crate::{
    Error, Payload, Plan,
    broker::{Broker, number},
    disk, echo,
    table::{Row, Unit, Wanted, median},
};

/// How much of the newest events is read from the cache, in bytes of data. The server holds more than that.
const CACHED_BYTES: u64 = 12 * 1024 * 1024;

/// How often the cache is read: it is soon done, and many readers in a row are the rule.
const CACHED_READS: usize = 5;

const ECHO: &str = "echo";

pub(crate) fn measure(plan: &Plan, payload: &Payload) -> Result<Vec<Row>, Error> {
    let echo = echo::measure(payload, plan.time, &plan.clock)?;
    let disk = disk::measure(&plan.scratch, plan.time, &plan.clock)? / mean(payload);
    let mut broker = Broker::start(&plan.scratch)?;
    let time = plan.seconds();
    let mut arguments = vec!["publish", "load", "--warm-up", "0s", "--duration", &time];
    let file = payload.arguments();
    arguments.extend(file.iter().map(String::as_str));
    let published = broker.bench(&arguments)?;
    let (publish, events) = (number(&published, "/events_per_second")?, count(&published)?);
    let cached = tail_cached(&broker, payload, events)?;
    broker.restart()?;
    let paged = tail(&broker)?;
    broker.stop()?;
    let cold = if disk::drop_page_cache() {
        broker.begin()?;
        Some(tail(&broker)?)
    } else {
        None
    };
    let small = payload.bytes_mean() < 200;
    let rate = |name: &str, rate: f64| Row::new(name, Unit::Rate, rate).to(ECHO, echo);
    let mut rows = vec![
        Row::new("stock tonic echo: the ceiling", Unit::Rate, echo),
        rate("plain writes of 1 MiB, each with fdatasync", disk),
        rate("publish, acks after fsync", publish).wanted(Wanted::AtLeast(if small { 0.6 } else { 0.35 })),
    ];
    if !small {
        let beyond = Row::new("the same against what the disk takes uncompressed", Unit::Rate, publish);
        rows.push(beyond.to("plain writes", disk).wanted(Wanted::AtLeast(1.0)));
    }
    rows.push(rate("tail from the cache", cached).wanted(Wanted::AtLeast(1.0)));
    rows.push(rate("tail from disk, in the page cache", paged).wanted(Wanted::AtLeast(0.7)));
    rows.extend(cold.map(|cold| rate("tail from disk, cold page cache", cold)));
    Ok(rows)
}

#[expect(clippy::cast_precision_loss, reason = "events are small")]
fn mean(payload: &Payload) -> f64 {
    payload.bytes_mean() as f64
}

/// How many events a report counts.
pub(crate) fn count(report: &serde_json::Value) -> Result<u64, Error> {
    report["events"].as_u64().ok_or_else(|| "no events in the report".into())
}

/// Reads the newest events, which the server still holds in memory. Gives events a second.
fn tail_cached(broker: &Broker, payload: &Payload, events: u64) -> Result<f64, Error> {
    let count = (CACHED_BYTES / payload.bytes_mean()).min(events);
    let from = (events - count + 1).to_string();
    let mut rates = Vec::new();
    for _ in 0..CACHED_READS {
        let report = broker.bench(&["tail", "load", "--from", &from, "--count", &count.to_string()])?;
        rates.push(number(&report, "/events_per_second")?);
    }
    Ok(median(rates))
}

/// Reads from the beginning to the end. Gives events a second.
fn tail(broker: &Broker) -> Result<f64, Error> {
    number(&broker.bench(&["tail", "load"])?, "/events_per_second")
}
