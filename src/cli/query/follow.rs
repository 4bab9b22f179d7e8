//! `ensign query --follow`: what there is so far, and then what comes.
//!
//! A query that makes each result of one event is asked as a subscription, which goes on where it was when the connection breaks. One
//! that needs an end is refused before anybody is asked.

use std::{borrow::Cow, collections::HashSet, pin::pin, time::Duration};

use super::{
    mistake,
    run::{PATIENCE, Runner, Summary},
    writer::AnswerWriter,
};
use crate::{
    cli::{
        error::{CliError, Kind, Result},
        output::Output,
        range::{self, Range},
    },
    client::{Delivery, Event, Found, Parameter, ParameterValue, Query, Subscriber, Wanted},
    ensql::{self, QueryError, Source, Statement, Value},
    model::Position,
};

impl Runner {
    /// Writes what a query gives, until it has its limit or its end, or ctrl-c ends it.
    ///
    /// # Errors
    ///
    /// When the query is wrong or needs an end, when ctrl-c ended it, when the output can't be written.
    pub(super) async fn follow(&self, query: &Query, output: &mut Output) -> Result<Summary> {
        let began = self.clock.elapsed();
        let mut writer = AnswerWriter::new(output, query)?;
        let mut interrupt = pin!(tokio::signal::ctrl_c());
        let opened = tokio::select! {
            biased;
            _ = &mut interrupt => return Err(CliError::interrupted()),
            opened = self.subscribe(query) => opened,
        };
        let (subscriber, gives_rows) = opened?;
        let topic = subscriber.topics().map(|(_, name)| name.to_owned()).next().unwrap_or_default();
        let mut following =
            Following { runner: self, query, subscriber, topic, gives_rows, writer: &mut writer, output, skipped: 0 };
        let result = tokio::select! {
            biased;
            _ = &mut interrupt => Err(CliError::interrupted()),
            result = following.read() => result,
        };
        let skipped = following.skipped;
        let is_closed = matches!(&result, Err(error) if error.kind == Kind::ClosedPipe);
        if !is_closed && (result.is_ok() || writer.rows() > 0) {
            writer.finish(output)?;
            output.flush()?;
        }
        result?;
        let elapsed = self.clock.elapsed().saturating_sub(began);
        Ok(Summary { rows: writer.rows(), skipped, elapsed, notes: writer.notes(), ..Summary::default() })
    }

    /// Opens the subscription that a query asks for; says whether it gives rows.
    async fn subscribe(&self, query: &Query) -> Result<(Subscriber, bool)> {
        let wrong = |error: QueryError| mistake::shown(&error.to_string(), &query.text);
        let statement = Statement::parse(&query.text).map_err(wrong)?;
        statement.require_endless().map_err(wrong)?;
        let [source] = statement.sources() else {
            return Err(CliError::usage("a query reads one topic"));
        };
        let values: Vec<ensql::Parameter> = query.parameters.iter().map(parameter).collect();
        let plan = statement.bind(&values).map_err(wrong)?;
        let (topic, event_type) = self.topic(source, query).await?;
        let wanted = Wanted {
            event_type,
            columns: statement.columns_text().map(str::to_owned),
            condition: statement.condition_text().map(str::to_owned),
            parameters: query.parameters.clone(),
            limit: plan.limit(),
        };
        let (from, until) = (source.from.unwrap_or(Position::Start), source.until);
        let range = Range { from, until, limit: None, idle: None };
        let subscriber = range.open(&self.client, &[topic], query.skip_unreadable, wanted).await?;
        Ok((subscriber, !plan.is_whole()))
    }

    /// The topic that a query names, and the type behind its name.
    async fn topic(&self, source: &Source, query: &Query) -> Result<(String, Option<String>)> {
        if source.quoted || !source.written.contains('.') {
            return Ok((source.written.clone(), None));
        }
        let topics = self.client.topics().await?;
        let known: HashSet<String> = topics.into_iter().flat_map(|topic| [topic.name, topic.id.to_string()]).collect();
        let resolved = source.resolve(|name| known.contains(name)).map_err(|error| match error {
            QueryError::UnknownTopic { name } => range::unknown_topic(&name),
            other => mistake::shown(&other.to_string(), &query.text),
        })?;
        let event_type = resolved.event_type.map(|_| source.written[resolved.name.len() + 1..].to_owned());
        Ok((resolved.name, event_type))
    }
}

/// A value of the client's as the language has it.
fn parameter(given: &Parameter) -> ensql::Parameter {
    let value = match &given.value {
        ParameterValue::Null => Value::Null,
        ParameterValue::Int(number) => Value::Int(*number),
        ParameterValue::Float(number) => Value::Float(*number),
        ParameterValue::Bool(is) => Value::Bool(*is),
        ParameterValue::Bytes(bytes) => Value::Bytes(Cow::Owned(bytes.to_vec())),
        ParameterValue::Text(text) => Value::Text(Cow::Owned(text.clone())),
    };
    ensql::Parameter { name: given.name.clone(), value }
}

/// A subscription on its way to the output.
struct Following<'a> {
    runner: &'a Runner,
    query: &'a Query,
    subscriber: Subscriber,
    topic: String,
    gives_rows: bool,
    writer: &'a mut AnswerWriter,
    output: &'a mut Output,
    skipped: u64,
}

impl Following<'_> {
    /// Writes what comes, until nothing more does.
    async fn read(&mut self) -> Result<()> {
        loop {
            let at_once = tokio::select! {
                biased;
                delivery = self.subscriber.next() => Some(delivery),
                () = std::future::ready(()) => None,
            };
            let delivery = if let Some(delivery) = at_once {
                delivery
            } else {
                // Nothing more is there now: what was gathered has to be seen.
                self.writer.flush(self.output)?;
                let patience = if self.writer.holds() { PATIENCE } else { Duration::MAX };
                tokio::select! {
                    delivery = self.subscriber.next() => delivery,
                    () = self.runner.clock.sleep(patience) => {
                        self.writer.settle(self.output)?;
                        continue;
                    }
                }
            };
            match delivery.map_err(|error| mistake::explain(error, &self.query.text))? {
                Delivery::Ended => return Ok(()),
                Delivery::Events(events) => {
                    for event in events {
                        self.write(event)?;
                    }
                }
                Delivery::Skipped { first, last, .. } => self.skipped += last - first + 1,
                Delivery::SkippedMore { events } => self.skipped += events,
                Delivery::Interrupted { reason } => {
                    self.writer.flush(self.output)?;
                    self.output.note(&format!("{reason}; connecting again"));
                }
                // There is one topic, without which the subscription ends.
                Delivery::Lost { .. } => {}
            }
        }
    }

    fn write(&mut self, mut event: Event) -> Result<()> {
        if self.gives_rows {
            return self.writer.write(self.output, &Found::Row(&event.data), &self.topic);
        }
        if let Some(decryptor) = &self.runner.decryptor {
            decryptor.open(&mut event)?;
        }
        self.writer.write(self.output, &Found::Event(Box::new(event)), &self.topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_what_the_language_has() {
        let check = |value: ParameterValue, expected: Value<'static>| {
            let given = parameter(&Parameter { name: "p".to_owned(), value });
            assert_eq!((given.name.as_str(), given.value), ("p", expected));
        };
        check(ParameterValue::Null, Value::Null);
        check(ParameterValue::Int(-1), Value::Int(-1));
        check(ParameterValue::Float(0.5), Value::Float(0.5));
        check(ParameterValue::Bool(true), Value::Bool(true));
        check(ParameterValue::Bytes(bytes::Bytes::from_static(b"\xff")), Value::Bytes(Cow::Borrowed(b"\xff")));
        check(ParameterValue::Text("x".to_owned()), Value::text("x"));
    }
}
