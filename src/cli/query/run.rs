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
        error::{CliError, Kind, Result},
        human,
        output::Output,
    },
    client::{Answer, Client, Query},
    sys::Clock,
};

/// For how long rows are held back that a table is laid out by.
const PATIENCE: Duration = Duration::from_millis(500);

/// Runs queries over one connection.
#[derive(Debug)]
pub(super) struct Runner {
    client: Client,
    clock: Clock,
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
        Runner { client, clock }
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
            opened = self.client.query(query) => opened,
        };
        let mut answer = opened.map_err(|error| mistake::explain(error, &query.text))?;
        let result = tokio::select! {
            biased;
            _ = &mut interrupt => Err(CliError::interrupted()),
            result = self.read(query, &mut answer, &mut writer, output) => result,
        };
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

    /// Writes what comes, until nothing more does.
    async fn read(
        &self,
        query: &Query,
        answer: &mut Answer,
        writer: &mut AnswerWriter,
        output: &mut Output,
    ) -> Result<()> {
        let explained = |error| mistake::explain(error, &query.text);
        loop {
            while let Some(found) = answer.next_found().map_err(explained)? {
                writer.write(output, &found)?;
            }
            let more = tokio::select! {
                biased;
                more = answer.more() => Some(more),
                () = std::future::ready(()) => None,
            };
            let more = if let Some(more) = more {
                more
            } else {
                // Nothing more is there now: what was gathered has to be seen.
                output.flush()?;
                let patience = if writer.holds() { PATIENCE } else { Duration::MAX };
                tokio::select! {
                    more = answer.more() => more,
                    () = self.clock.sleep(patience) => {
                        writer.settle(output)?;
                        continue;
                    }
                }
            };
            if !more.map_err(explained)? {
                return Ok(());
            }
        }
    }
}

impl Summary {
    /// Tells a person, on standard error.
    pub(super) fn tell(&self, output: &Output) {
        for note in &self.notes {
            output.note(note);
        }
        output.note(&self.line());
    }

    /// `12 rows in 3 ms`, and what is not among them.
    fn line(&self) -> String {
        let mut parts = vec![format!("{} in {}", human::counted(self.rows, "row"), human::duration(self.elapsed))];
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
        assert_eq!(summary.line(), "1,234 rows in 3 ms");
        let summary = Summary { rows: 1, undecodable: 2, skipped: 1, ..summary };
        assert_eq!(
            summary.line(),
            "1 row in 3 ms; 2 events could not be decoded; 1 event left out, whose data key is suspended or revoked"
        );
    }
}
