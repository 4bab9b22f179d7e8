//! `ensign bench query`: how fast a query is answered, beside how fast the same events come without one.

use std::time::Duration;

use super::{
    meter::{Latencies, Meter, Readings},
    report::Report,
    tail,
};
use crate::{
    cli::{
        Context,
        error::{CliError, Result},
    },
    client::{Client, Query, QueryPlan},
    model::{Offset, Position},
    sys::Clock,
};

/// Measure how fast a query is answered
///
/// Reads the events that the query has to look at with a plain subscription, then asks the query, and does both once more,
/// so that neither is slower because it was the first to read from the disk; the second time counts. The rate is that of the
/// events that were looked at, and the ratio is that to the plain subscription. Latency is how long results were waited for.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  $ ensign bench query 'SELECT * FROM flights WHERE delay > 60'
  $ ensign bench query 'SELECT origin, count(*) FROM flights GROUP BY origin' -o json")]
pub(super) struct QueryArgs {
    /// A query in EnSQL, without LIMIT
    #[arg(value_name = "QUERY")]
    query: String,

    #[command(flatten)]
    pub(super) comparing: super::CompareArgs,
}

impl QueryArgs {
    pub(super) fn query(&self) -> &str {
        &self.query
    }
}

/// What a query gave, and what a plain subscription to its events did.
#[derive(Debug, Clone)]
pub(super) struct Answered {
    pub(super) results: u64,
    pub(super) plain: Readings,
}

pub(super) async fn run(args: &QueryArgs, context: &mut Context) -> Result<Report> {
    let client = context.connect_with_key("subscriber").await?;
    let query = Query { text: args.query.clone(), ..Query::default() };
    let plan = client.explain(&query).await?;
    if plan.limit.is_some() {
        return Err(CliError::usage("a query with LIMIT may end before it has looked at all events")
            .hint("leave LIMIT out: results are counted, and not shown"));
    }
    if plan.events == 0 {
        return Err(CliError::failed(format!("topic {} has no events that the query would look at", plan.topic)));
    }
    let mut measured = None;
    for _ in 0..2 {
        let plain = plain(&client, &plan, &context.clock).await?;
        measured = Some((answered(&client, &query, &context.clock).await?, plain));
    }
    let Some(((results, latencies, elapsed), plain)) = measured else { unreachable!("it was measured twice") };
    // The query has looked at what the subscription gave.
    let readings = Readings { events: plain.events, bytes: plain.bytes, latencies, elapsed };
    let report = Report::of_query(&plan.topic, args, readings, Answered { results, plain });
    Ok(report.on_server(&client, client.status().await?))
}

/// Reads the events that a query has to look at.
async fn plain(client: &Client, plan: &QueryPlan, clock: &Clock) -> Result<Readings> {
    let position = |offset| Position::Offset(Offset::new(offset));
    let (from, until) = (position(plan.from_offset), position(plan.until_offset));
    let subscriber = tail::subscribe(client, &plan.topic, from, Some(until)).await?;
    let meter = Meter::new(clock);
    tail::read(subscriber, meter.clone(), clock.clone(), u64::MAX).await?;
    Ok(meter.read())
}

/// Asks a query: how many results there were, how long they were waited for, and when the answer had ended.
async fn answered(client: &Client, query: &Query, clock: &Clock) -> Result<(u64, Latencies, Duration)> {
    let client = client.with_own_connection()?;
    // The connection and its token are there before the clock starts, as they are with a subscription.
    client.explain(query).await?;
    let (mut results, mut latencies) = (0, Latencies::new());
    let started = clock.elapsed();
    let mut asked = started;
    let mut answer = client.query(query).await?;
    while answer.more().await? {
        let now = clock.elapsed();
        let before = results;
        while answer.next_found()?.is_some() {
            results += 1;
        }
        latencies.record(now.saturating_sub(asked), results - before);
        asked = now;
    }
    Ok((results, latencies, clock.elapsed().saturating_sub(started)))
}
