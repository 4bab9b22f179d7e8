//! How long a server with many topics and events takes to be ready, and to find a place in one of them.

use std::time::Duration;

use ensign::{
    client::{self, Delivery, Subscriber, SubscriberOptions},
    model::Position,
};

use crate::{
    Error, Plan,
    broker::Broker,
    echo,
    table::{Row, Unit, Wanted, median},
};

/// How often the server is started.
const STARTS: usize = 5;

/// How often a place is looked for.
const SEEKS: usize = 21;

pub(crate) fn measure(plan: &Plan) -> Result<Vec<Row>, Error> {
    let mut broker = Broker::start(&plan.scratch)?;
    let half = (plan.events / 2).to_string();
    // With all events allowed under way every batch is full, however late the acks come: this is not what is measured.
    let arguments = ["publish", "load", "--topics", "1000", "--count", &half, "--window", &half];
    broker.bench(&arguments)?;
    let middle = plan.clock.now();
    broker.bench(&arguments)?;
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        starts.push(millis(broker.restart()?));
    }
    let seeks = echo::runtime()?.block_on(seek(plan, &broker, Position::Time(middle)))?;
    Ok(vec![
        Row::new("from exec to ready", Unit::Millis, median(starts)).wanted(Wanted::AtMost(150.0)),
        Row::new("the first event of a tail from a time in the middle", Unit::Millis, seeks)
            .wanted(Wanted::AtMost(10.0)),
    ])
}

/// How long the first event of a subscription is waited for, in a client that has signed in already.
async fn seek(plan: &Plan, broker: &Broker, from: Position) -> Result<f64, Error> {
    let client = broker.connect().await?;
    let mut times = Vec::new();
    for number in 1..=SEEKS {
        let options = SubscriberOptions {
            // A batch goes to each topic in turn, from the second one on: these have events however few there are.
            topics: vec![format!("load-{}", number + 1)],
            from,
            // A topic without events behind the place is an error, and nothing to wait for.
            until: Some(Position::End),
            retry_for: Some(Duration::ZERO),
            skip_unreadable: false,
            wanted: client::Wanted::default(),
        };
        let started = plan.clock.elapsed();
        let mut subscriber = Subscriber::open(&client, options).await?;
        if !matches!(subscriber.next().await?, Delivery::Events(_)) {
            return Err("no event behind the middle".into());
        }
        times.push(millis(plan.clock.elapsed().saturating_sub(started)));
    }
    Ok(median(times))
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
