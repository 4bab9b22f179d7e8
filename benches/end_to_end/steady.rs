//! What many topics cost, and how soon events are acked.

use crate::{
    Error, Plan,
    broker::{Broker, number},
    table::{Row, Unit, Wanted},
};

/// How many idle topics there are, and how many with few events each.
const TOPICS: &str = "1000";

const RATE: &str = "10000";

/// Publishes to as many topics by as many streams; gives events a second.
fn publish(broker: &Broker, plan: &Plan, topic: &str, streams: &str) -> Result<f64, Error> {
    let time = plan.seconds();
    let arguments = ["publish", topic, "--streams", streams, "--topics", streams, "--duration", &time];
    number(&broker.bench(&arguments)?, "/events_per_second")
}

/// Publishes at the rate to so many topics; gives the report.
fn paced(broker: &Broker, plan: &Plan, topic: &str, topics: &str) -> Result<serde_json::Value, Error> {
    let time = plan.seconds();
    broker.bench(&["publish", topic, "--rate", RATE, "--topics", topics, "--duration", &time])
}

/// Many topics against one.
pub(crate) fn topics(plan: &Plan) -> Result<Vec<Row>, Error> {
    let broker = Broker::start(&plan.scratch)?;
    let one = publish(&broker, plan, "one", "1")?;
    let many = publish(&broker, plan, "many", "16")?;
    let single = number(&paced(&broker, plan, "steady", "1")?, "/latency_us/p99")?;
    let spread = number(&paced(&broker, plan, "spread", TOPICS)?, "/latency_us/p99")?;
    let among = publish(&broker, plan, "one", "1")?;
    Ok(vec![
        Row::new("one publisher, one topic, 100 B", Unit::Rate, one),
        Row::new("16 publishers, 16 topics", Unit::Rate, many).to("one", one).wanted(Wanted::AtLeast(0.8)),
        Row::new("one publisher beside 1,000 idle topics", Unit::Rate, among)
            .to("one", one)
            .wanted(Wanted::AtLeast(0.95)),
        Row::new("p99 of acks, 10,000 events/s to one topic", Unit::Micros, single),
        Row::new("p99 of acks, 10 events/s to each of 1,000 topics", Unit::Micros, spread)
            .to("one topic", single)
            .wanted(Wanted::AtMost(2.0)),
    ])
}

/// Acks against the disk's own syncs, which are measured right behind them.
pub(crate) fn latency(plan: &Plan) -> Result<Vec<Row>, Error> {
    let broker = Broker::start(&plan.scratch)?;
    let report = paced(&broker, plan, "load", "1")?;
    let mut rows = Vec::new();
    for (percentile, wanted) in [("p50", 2.0), ("p99", 4.0)] {
        let disk = number(&report, &format!("/disk/fdatasync_us/{percentile}"))?;
        let ack = number(&report, &format!("/latency_us/{percentile}"))?;
        rows.push(Row::new(format!("fdatasync of 4 KiB, {percentile}"), Unit::Micros, disk));
        let row = Row::new(format!("ack, {percentile}"), Unit::Micros, ack);
        rows.push(row.to("fdatasync", disk).wanted(Wanted::AtMost(wanted)));
    }
    Ok(rows)
}
