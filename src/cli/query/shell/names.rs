//! What the project has names for: its topics, and the fields of their events. Asked of the server when they are needed, and
//! remembered for a while.
//!
//! Invariants: who waits for a completion does not wait long; what a server is slow to say, or does not say, is not offered. What is
//! remembered is bounded in number.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::runtime::Handle;

use super::{completion::KnownNames, sample::Sample};
use crate::{
    cli::{error::Result, query::mistake},
    client::{Client, Found, Query},
    sys::Clock,
};

/// How long a person who pressed the tab key can be kept waiting.
const PATIENCE: Duration = Duration::from_millis(800);

/// For how long topics are what they were.
const TOPICS_FOR: Duration = Duration::from_secs(10);

/// For how long fields are.
const FIELDS_FOR: Duration = Duration::from_mins(2);

/// Topics whose fields are remembered.
const REMEMBERED_MAX: usize = 50;

/// Events that are looked at, at each end of the topic, and bytes of them.
const SAMPLE_EVENTS: u64 = 100;
const SAMPLE_BYTES: usize = 2 * 1024 * 1024;

/// The names, over a connection.
#[derive(Debug)]
pub(super) struct Names {
    client: Client,
    clock: Clock,
    runtime: Handle,
    skip_unreadable: bool,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    topics: Option<Remembered<Vec<String>>>,
    fields: BTreeMap<String, Remembered<Vec<String>>>,
    parameters: Vec<String>,
}

#[derive(Debug, Clone)]
struct Remembered<T> {
    value: T,
    /// By the clock's [`Clock::elapsed`].
    since: Duration,
}

/// A topic and how much it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TopicLine {
    pub(super) name: String,
    /// Nothing when the key may not know.
    pub(super) holds: Option<Held>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) events: u64,
    pub(super) bytes: u64,
}

impl Names {
    /// Must be made on the runtime that the client is used on.
    pub(super) fn new(client: Client, clock: Clock, skip_unreadable: bool) -> Names {
        Names { client, clock, runtime: Handle::current(), skip_unreadable, known: Mutex::default() }
    }

    /// The topics, from the server.
    pub(super) async fn topics(&self) -> Result<Vec<TopicLine>> {
        let topics = self.client.topics().await?;
        let held = crate::cli::topic::infos(&self.client).await?;
        let lines: Vec<TopicLine> = topics
            .into_iter()
            .map(|topic| {
                let held = held.as_ref().and_then(|held| held.get(&topic.id));
                TopicLine { name: topic.name, holds: held.map(|held| Held { events: held.events, bytes: held.bytes }) }
            })
            .collect();
        self.remember_topics(lines.iter().map(|line| line.name.clone()).collect());
        Ok(lines)
    }

    fn remember_topics(&self, value: Vec<String>) {
        let since = self.clock.elapsed();
        self.with(|known| known.topics = Some(Remembered { value, since }));
    }

    /// The fields of a topic, found by looking at some of its first and its last events.
    pub(super) async fn fields(&self, topic: &str) -> Result<Sample> {
        let mut sample = Sample::default();
        let from = format!("SELECT * FROM {}", written_topic(topic));
        let events = self.ask(&from).await?;
        self.look(format!("{from} LIMIT {SAMPLE_EVENTS}"), &mut sample).await?;
        if events > SAMPLE_EVENTS {
            let start = events.saturating_sub(SAMPLE_EVENTS).max(SAMPLE_EVENTS);
            self.look(format!("{from} OFFSET {start} LIMIT {SAMPLE_EVENTS}"), &mut sample).await?;
        }
        let value = sample.fields().iter().map(|field| field.name.clone()).collect();
        let since = self.clock.elapsed();
        self.with(|known| {
            if known.fields.len() >= REMEMBERED_MAX {
                known.fields.clear();
            }
            known.fields.insert(topic.to_owned(), Remembered { value, since });
        });
        Ok(sample)
    }

    /// How many events a query would read, which are all of its topic's.
    async fn ask(&self, text: &str) -> Result<u64> {
        let query = self.query(text.to_owned());
        let plan = self.client.explain(&query).await.map_err(|error| mistake::explain(error, &query.text))?;
        Ok(plan.until_offset.saturating_sub(1))
    }

    /// Looks at what a query gives, up to a number of bytes.
    async fn look(&self, text: String, sample: &mut Sample) -> Result<()> {
        let query = self.query(text);
        let explained = |error| mistake::explain(error, &query.text);
        let mut answer = self.client.query(&query).await.map_err(explained)?;
        let mut bytes = 0;
        loop {
            while let Some(found) = answer.next_found().map_err(explained)? {
                if let Found::Event(event) = found {
                    sample.add(&event);
                    bytes += event.data.len();
                }
                if bytes >= SAMPLE_BYTES {
                    return Ok(());
                }
            }
            if !answer.more().await.map_err(explained)? {
                return Ok(());
            }
        }
    }

    fn query(&self, text: String) -> Query {
        Query { text, skip_unreadable: self.skip_unreadable, ..Query::default() }
    }

    /// Says which parameters have values now.
    pub(super) fn set_parameters(&self, names: Vec<String>) {
        self.with(|known| known.parameters = names);
    }

    /// Asks, as long as a person has patience. Must not be called on the runtime.
    fn in_time<T>(&self, asked: impl Future<Output = Result<T>>) -> Option<T> {
        self.runtime.block_on(async {
            tokio::select! {
                said = asked => said.ok(),
                () = self.clock.sleep(PATIENCE) => None,
            }
        })
    }

    /// Whether what is remembered is not too old.
    fn is_fresh<T>(&self, remembered: Option<&Remembered<T>>, age_max: Duration) -> bool {
        remembered.is_some_and(|remembered| self.clock.elapsed().saturating_sub(remembered.since) < age_max)
    }

    fn with<T>(&self, look: impl FnOnce(&mut Known) -> T) -> T {
        // Names that were half written are still names.
        look(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A topic as a query writes it: without quotes where that is possible, because a type may stand behind it then.
fn written_topic(topic: &str) -> String {
    let is_plain = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '-' | '.');
    let is_name = topic.starts_with(char::is_alphanumeric) && topic.chars().all(is_plain) && !topic.contains("--");
    if is_name { topic.to_owned() } else { format!("\"{}\"", topic.replace('"', "\"\"")) }
}

impl KnownNames for Names {
    fn topics(&self) -> Vec<String> {
        if !self.with(|known| self.is_fresh(known.topics.as_ref(), TOPICS_FOR)) {
            let asked = async { Ok(self.client.topics().await?) };
            if let Some(topics) = self.in_time(asked) {
                self.remember_topics(topics.into_iter().map(|topic| topic.name).collect());
            }
        }
        self.with(|known| known.topics.as_ref().map(|topics| topics.value.clone()).unwrap_or_default())
    }

    fn fields(&self, topic: &str) -> Vec<String> {
        if !self.with(|known| self.is_fresh(known.fields.get(topic), FIELDS_FOR)) {
            // What it finds is remembered; an error is said when the query is run.
            drop(self.in_time(Names::fields(self, topic)));
        }
        let names = self.with(|known| known.fields.get(topic).map(|fields| fields.value.clone()));
        // What would move the cursor is nothing to type.
        names.unwrap_or_default().into_iter().filter(|name| !name.chars().any(char::is_control)).collect()
    }

    fn parameters(&self) -> Vec<String> {
        self.with(|known| known.parameters.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ensql::Statement;

    #[test]
    fn topics_are_read_as_they_are_written() {
        for topic in ["flights", "a.b-c", "orders.Order", "a b", "say \"x\"", "a--b", "-a", "from"] {
            let statement = Statement::parse(&format!("SELECT * FROM {}", written_topic(topic))).unwrap();
            assert_eq!(statement.sources()[0].written, topic);
        }
        assert_eq!((written_topic("a.b"), written_topic("a b")), ("a.b".to_owned(), "\"a b\"".to_owned()));
    }
}
