//! A query from its text to its output, over a connection that is there: what the command does once, and the shell again and again.
//!
//! A [`Runner`] is made of a client, and runs one query after the other:
//!
//! ```ignore
//! let runner = Runner::new(context.connect().await?, context.clock.clone());
//! match runner.run(&query, &mut output).await {
//!     Ok(summary) => summary.tell(&output),
//!     Err(error) => error_text(&error.render(false, colored)),
//! }
//! ```
//!
//! The output is where the result goes, in its format: the command's own, or one made with
//! [`Output::over`](crate::cli::output::Output::over) for a file. The errors know the place in the query
//! ([`CliError::excerpt`]), and nothing here ends the process: ctrl-c ends the query, on the server too, and is an error of the kind
//! [`Kind::Interrupted`], after which the next query can be run. An error of the kind [`Kind::ClosedPipe`] says that nobody reads the
//! output any more.
//!
//! Invariants: what was found is written before an error is told, whatever the error; memory does not grow with the result.

use std::{pin::pin, time::Duration};

use super::{mistake, writer::AnswerWriter};
use crate::{
    cli::{
        decryption::Decryptor,
        error::{CliError, Kind, Result},
        human,
        output::Output,
    },
    client::{Answer, Client, Found, Query, QueryPlan},
    sys::Clock,
};

/// For how long rows are held back that a table is laid out by.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);

/// Runs queries over one connection.
#[derive(Debug)]
pub(super) struct Runner {
    pub(super) client: Client,
    pub(super) clock: Clock,
    /// What decrypts events that are given whole.
    pub(super) decryptor: Option<Decryptor>,
}

/// What there is to say about an answer besides its rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) rows: u64,
    /// Events that could not be decoded, and were left out.
    pub(super) undecodable: u64,
    /// Events under a suspended or revoked data key that were left out.
    pub(super) skipped: u64,
    pub(super) elapsed: Duration,
    /// What could not be shown in the form that was chosen.
    pub(super) notes: Vec<String>,
}

impl Runner {
    pub(super) fn new(client: Client, clock: Clock) -> Runner {
        Runner { client, clock, decryptor: None }
    }

    /// Decrypts the events of a topic with this.
    pub(super) fn decrypting(self, decryptor: Option<Decryptor>) -> Runner {
        Runner { decryptor, ..self }
    }

    /// Asks what a query would do.
    ///
    /// # Errors
    ///
    /// When the query could not be run.
    pub(super) async fn plan(&self, query: &Query) -> Result<QueryPlan> {
        self.client.explain(query).await.map_err(|error| mistake::explain(error, &query.text))
    }

    /// Runs a query and writes its result.
    ///
    /// # Errors
    ///
    /// When the query is wrong or can't be finished, when ctrl-c ended it, when the output can't be written.
    pub(super) async fn run(&self, query: &Query, output: &mut Output) -> Result<Summary> {
        let began = self.clock.elapsed();
        let mut writer = AnswerWriter::new(output, query)?;
        let mut interrupt = pin!(tokio::signal::ctrl_c());
        let opened = tokio::select! {
            biased;
            _ = &mut interrupt => return Err(CliError::interrupted()),
            opened = self.open(query, &writer) => opened,
        };
        let (mut answer, topic) = opened?;
        let mut reading = Reading { runner: self, query, topic, writer: &mut writer, output };
        let result = tokio::select! {
            biased;
            _ = &mut interrupt => Err(CliError::interrupted()),
            result = reading.read(&mut answer) => result,
        };
        // What was found is finished, whatever came then; a query that failed at once has nothing to finish.
        let is_closed = matches!(&result, Err(error) if error.kind == Kind::ClosedPipe);
        if !is_closed && (result.is_ok() || writer.rows() > 0) {
            writer.finish(output)?;
            output.flush()?;
        }
        result?;
        Ok(Summary {
            rows: writer.rows(),
            undecodable: answer.undecodable(),
            skipped: answer.skipped(),
            elapsed: self.clock.elapsed().saturating_sub(began),
            notes: writer.notes(),
        })
    }

    /// Asks the query, and for the topic's name if that is written.
    async fn open(&self, query: &Query, writer: &AnswerWriter) -> Result<(Answer, String)> {
        let topic = if writer.names_topic() { self.plan(query).await?.topic } else { String::new() };
        let answer = self.client.query(query).await.map_err(|error| mistake::explain(error, &query.text))?;
        Ok((answer, topic))
    }
}

/// An answer on its way to the output.
struct Reading<'a> {
    runner: &'a Runner,
    query: &'a Query,
    topic: String,
    writer: &'a mut AnswerWriter,
    output: &'a mut Output,
}

impl Reading<'_> {
    /// Writes what comes, until nothing more does.
    async fn read(&mut self, answer: &mut Answer) -> Result<()> {
        loop {
            self.write_arrived(answer)?;
            let at_once = tokio::select! {
                biased;
                more = answer.more() => Some(more),
                () = std::future::ready(()) => None,
            };
            let more = if let Some(more) = at_once {
                more
            } else {
                // Nothing more is there now: what was gathered has to be seen.
                self.writer.flush(self.output)?;
                let patience = if self.writer.holds() { PATIENCE } else { Duration::MAX };
                tokio::select! {
                    more = answer.more() => more,
                    () = self.runner.clock.sleep(patience) => {
                        self.writer.settle(self.output)?;
                        continue;
                    }
                }
            };
            if !more.map_err(|error| mistake::explain(error, &self.query.text))? {
                return Ok(());
            }
        }
    }

    fn write_arrived(&mut self, answer: &mut Answer) -> Result<()> {
        let explained = |error| mistake::explain(error, &self.query.text);
        while let Some(mut found) = answer.next_found().map_err(explained)? {
            if let (Found::Event(event), Some(decryptor)) = (&mut found, &self.runner.decryptor) {
                decryptor.open(event)?;
            }
            self.writer.write(self.output, &found, &self.topic)?;
        }
        Ok(())
    }
}

impl Summary {
    /// Tells a person, on standard error.
    pub(super) fn tell(&self, output: &Output) {
        for note in &self.notes {
            output.note(note);
        }
        output.note(&self.line(true));
    }

    /// `12 rows in 3 ms`, if the time is wanted, and what is not among them.
    pub(super) fn line(&self, with_time: bool) -> String {
        let rows = human::counted(self.rows, "row");
        let mut parts = vec![if with_time { format!("{rows} in {}", human::duration(self.elapsed)) } else { rows }];
        if self.undecodable > 0 {
            parts.push(format!("{} could not be decoded", human::counted(self.undecodable, "event")));
        }
        if self.skipped > 0 {
            let events = human::counted(self.skipped, "event");
            parts.push(format!("{events} left out, whose data key is suspended or revoked"));
        }
        parts.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line() {
        let summary = Summary { rows: 1_234, elapsed: Duration::from_millis(3), ..Summary::default() };
        assert_eq!(summary.line(true), "1,234 rows in 3 ms");
        assert_eq!(summary.line(false), "1,234 rows");
        let summary = Summary { rows: 1, undecodable: 2, skipped: 1, ..summary };
        assert_eq!(
            summary.line(true),
            "1 row in 3 ms; 2 events could not be decoded; 1 event left out, whose data key is suspended or revoked"
        );
    }
}
