//! `ensign query`: asks a topic with EnSQL.
//!
//! `run` is the way of a query from its text to its output, `writer` the formats, `mistake` what is said of a query that is
//! wrong, `shell` asks one query after the other.

mod event_row;
mod explain;
mod fields;
mod follow;
mod grid;
mod input;
mod mistake;
mod parameter;
mod run;
mod shell;
mod table;
mod writer;

use std::path::PathBuf;

use super::{
    Context,
    decryption::{Decryption, Decryptor},
    error::{CliError, Result},
};
use crate::client::Query;
pub(super) use mistake::excerpt;
use parameter::ParameterArg;
use run::Runner;

/// Ask a topic with EnSQL
///
/// Without an argument, the query is read from standard input; on a terminal, a shell begins that runs one query after the
/// other, with history, completion, and commands that \? lists. The result is a table on a terminal, and otherwise
/// JSON lines; how many rows there were, and how long it took, is said on standard error.
///
/// Several queries, each with a semicolon behind it, are run one after the other, until one fails; each has its own result.
///
/// SELECT * gives the events: their offset, as _offset, and the fields of their data. Of data that is no JSON object there is one
/// field, data. With -o raw it is the data and nothing else.
///
/// A query sees what is committed when it begins, and ends. With --follow it goes on with what comes, until ctrl-c, its LIMIT or its
/// BEFORE end it; this is for queries that make each row of one event, without aggregates, DISTINCT, GROUP BY and ORDER BY.
///
/// Data that is encrypted with a topic key is shown as such, unless --decrypt is given, and the server can't look into it: a
/// condition on its fields is never met.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign query 'SELECT * FROM flights LIMIT 10'
  $ ensign query 'SELECT carrier, count(*) AS n FROM flights GROUP BY carrier ORDER BY n DESC' -o csv
  $ ensign query 'SELECT * FROM orders WHERE total > :min AND country = :country' --param min=100 --param country=DE
  $ ensign query --follow 'SELECT _offset, total FROM orders WHERE total > 100'
  $ ensign query -f report.sql -o json > report.json

Values of parameters: 12 is a whole number, 1.5 and 1e3 are floats, true and false are what they are, null is
NULL, x'00ff' is bytes, '12' and \"12\" are texts, and so is everything else. =VALUE is for a ? in the query.")]
pub(super) struct Args {
    /// The query
    #[arg(value_name = "QUERY", conflicts_with = "file")]
    text: Option<String>,

    /// Read the query from this file; - is standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// What a placeholder (:name, @name or ?) stands for; can be repeated
    #[arg(long = "param", value_name = "NAME=VALUE")]
    parameters: Vec<ParameterArg>,

    #[command(flatten)]
    instead: Instead,

    /// Give duplicates, too
    #[arg(long)]
    include_duplicates: bool,

    /// Leave out events under a suspended or revoked data key, instead of ending there with an error
    #[arg(long)]
    skip_unreadable: bool,

    #[command(flatten)]
    decryption: Decryption,
}

/// What is done instead of running the query once.
#[derive(Debug, clap::Args)]
struct Instead {
    /// Say what the query would do, and don't do it
    #[arg(long)]
    explain: bool,

    /// Go on with what comes
    #[arg(long, conflicts_with = "explain")]
    follow: bool,
}

impl Args {
    pub(super) fn run(mut self, context: &mut Context) -> Result<()> {
        let text = input::text(self.text.take(), self.file.as_deref())?;
        let begins_shell = text.is_none() && context.may_prompt() && context.output.is_terminal();
        let is_for_one_query = self.instead.explain || self.instead.follow || self.decryption.is_wanted();
        let query = Query {
            text: text.unwrap_or_default(),
            parameters: std::mem::take(&mut self.parameters).into_iter().map(|argument| argument.0).collect(),
            include_duplicates: self.include_duplicates,
            skip_unreadable: self.skip_unreadable,
        };
        if begins_shell && !is_for_one_query {
            return context.block_on(async |context| Box::pin(shell::run(context, query)).await);
        }
        let queries: Vec<Query> = input::statements(&query.text)
            .into_iter()
            .map(|text| Query { text: text.to_owned(), ..query.clone() })
            .collect();
        if queries.is_empty() {
            return Err(CliError::usage("there is no query")
                .hint("for example `ensign query 'SELECT * FROM flights LIMIT 10'`; -f FILE reads it from a file"));
        }
        if self.instead.follow && queries.len() > 1 {
            return Err(CliError::usage(format!("--follow takes one query, and these are {}", queries.len()))
                .hint("a query that is followed goes on until it is ended"));
        }
        context.block_on(async |context| self.ask(context, &queries).await)
    }

    /// Asks one query after the other, until one fails.
    async fn ask(&self, context: &mut Context, queries: &[Query]) -> Result<()> {
        let client =
            if self.instead.follow { context.connect_with_key("subscriber").await? } else { context.connect().await? };
        let mut runner = Runner::new(client, context.clock.clone());
        for (place, query) in queries.iter().enumerate() {
            if place > 0 {
                writer::separate(&mut context.output)?;
            }
            if self.instead.explain {
                runner.explain(query, &mut context.output).await?;
                continue;
            }
            let decryptor = decryptor(context, &self.decryption, &runner, query).await?;
            runner = runner.decrypting(decryptor);
            let summary = if self.instead.follow {
                runner.follow(query, &mut context.output).await?
            } else {
                runner.run(query, &mut context.output).await?
            };
            summary.tell(&context.output);
        }
        Ok(())
    }
}

/// What decrypts the events that a query gives, if they are to be decrypted.
async fn decryptor(
    context: &Context,
    decryption: &Decryption,
    runner: &Runner,
    query: &Query,
) -> Result<Option<Decryptor>> {
    if !decryption.is_wanted() {
        return Ok(None);
    }
    let plan = runner.plan(query).await?;
    if !plan.columns.is_empty() {
        return Err(CliError::usage("the server can't read fields of what is encrypted, and the query names some")
            .hint("--decrypt works with SELECT *"));
    }
    decryption.decryptor(context, &plan.topic)
}
