//! An answer in every format that there is, row by row as they come.
//!
//! A row of the answer is written as the bytes that the server sent, where the format is JSON. A stored event, which `SELECT *`
//! gives, becomes a row of its offset and the fields of its data ([`event_row`]).

use serde_json::Value;

use super::{event_row, grid::Grid};
use crate::{
    cli::{
        error::{CliError, Result},
        output::{EventWriter, Format, Output},
    },
    client::{Found, Query},
    ensql::Statement,
};

/// Writes an answer to an output.
#[derive(Debug)]
pub(super) struct AnswerWriter {
    style: Style,
    rows: u64,
    line: Vec<u8>,
}

#[derive(Debug)]
enum Style {
    Json,
    Jsonl,
    Yaml,
    Jq,
    /// A table, or CSV.
    Grid(Box<Grid>),
    /// The data alone.
    Raw,
    /// What only events have.
    Template(EventWriter),
}

impl AnswerWriter {
    /// In the format that was asked for; without one, a table for people and JSON lines for programs.
    pub(super) fn new(output: &Output, query: &Query) -> Result<AnswerWriter> {
        // A query that this program can't read may be one that the server can.
        let statement = Statement::parse(&query.text).ok();
        let columns = statement.as_ref().and_then(Statement::column_names);
        let columns = columns.map(|columns| columns.map(str::to_owned).collect());
        let style = match output.format() {
            _ if output.jq().is_some() => Style::Jq,
            None if output.is_terminal() => Style::Grid(Box::new(Grid::table(columns))),
            None | Some(Format::Jsonl) => Style::Jsonl,
            Some(Format::Table) => Style::Grid(Box::new(Grid::table(columns))),
            Some(Format::Json) => Style::Json,
            Some(Format::Yaml) => Style::Yaml,
            Some(Format::Csv) => Style::Grid(Box::new(Grid::csv(columns))),
            Some(Format::Raw) => Style::Raw,
            Some(Format::Template(_)) if columns.is_some() => return Err(no_template()),
            Some(Format::Template(_)) => Style::Template(EventWriter::new(output, false)),
        };
        Ok(AnswerWriter { style, rows: 0, line: Vec::new() })
    }

    /// Writes a part of an answer about a topic that is called so.
    pub(super) fn write(&mut self, output: &mut Output, found: &Found<'_>, topic: &str) -> Result<()> {
        let first = self.rows == 0;
        self.rows += 1;
        self.line.clear();
        let row: &[u8] = match (found, &mut self.style) {
            (Found::Event(event), Style::Raw) => {
                self.line.extend_from_slice(&event.data);
                self.line.push(b'\n');
                return output.text(&self.line);
            }
            (Found::Event(event), Style::Template(writer)) => {
                return writer.write(output, event, topic);
            }
            (Found::Row(_), Style::Template(_)) => return Err(no_template()),
            (Found::Row(row), _) if !row.contains(&b'\n') && !row.contains(&b'\r') => row,
            (Found::Row(row), _) => {
                event_row::put_on_one_line(row, &mut self.line);
                &self.line
            }
            (Found::Event(event), style) => {
                event_row::write(event, matches!(style, Style::Grid(grid) if grid.is_for_people()), &mut self.line);
                &self.line
            }
        };
        match &mut self.style {
            Style::Json => {
                output.text(if first { b"[\n" } else { b",\n" })?;
                output.text(row)
            }
            Style::Jsonl | Style::Raw | Style::Template(_) => {
                output.text(row)?;
                output.text(b"\n")
            }
            Style::Yaml => {
                let value: Value = serde_json::from_slice(row).map_err(|_| no_row())?;
                let text = serde_yaml::to_string(&[value]).expect("a JSON value has a YAML form");
                output.text(text.as_bytes())
            }
            Style::Jq => {
                let jq = output.jq().expect("it is why this style was chosen");
                let text = jq.run(row)?;
                output.text(&text)
            }
            Style::Grid(grid) => grid.push(output, row),
        }
    }

    /// How many rows there were.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Whether rows are held back until it is known how to lay them out.
    pub(super) fn holds(&self) -> bool {
        matches!(&self.style, Style::Grid(grid) if grid.holds())
    }

    /// Writes the rows that were held back.
    pub(super) fn settle(&mut self, output: &mut Output) -> Result<()> {
        match &mut self.style {
            Style::Grid(grid) => grid.settle(output),
            _ => Ok(()),
        }
    }

    /// Sends what was gathered on its way.
    pub(super) fn flush(&mut self, output: &mut Output) -> Result<()> {
        if let Style::Grid(grid) = &mut self.style {
            grid.pass_on(output)?;
        }
        output.flush()
    }

    /// Whether the topic's name is written.
    pub(super) fn names_topic(&self) -> bool {
        matches!(self.style, Style::Template(_))
    }

    /// Writes what a format needs at its end.
    pub(super) fn finish(&mut self, output: &mut Output) -> Result<()> {
        match &mut self.style {
            Style::Json | Style::Yaml if self.rows == 0 => output.text(b"[]\n"),
            Style::Json => output.text(b"\n]\n"),
            Style::Grid(grid) => grid.finish(output),
            _ => Ok(()),
        }
    }

    /// What could not be shown.
    pub(super) fn notes(&self) -> Vec<String> {
        match &self.style {
            Style::Grid(grid) => grid.notes(),
            _ => Vec::new(),
        }
    }
}

/// Writes what stands between the results of two queries.
pub(super) fn separate(output: &mut Output) -> Result<()> {
    match output.format() {
        _ if output.jq().is_some() => Ok(()),
        None if output.is_terminal() => output.text(b"\n"),
        Some(Format::Table | Format::Csv) => output.text(b"\n"),
        Some(Format::Yaml) => output.text(b"---\n"),
        _ => Ok(()),
    }
}

/// Refuses a template for rows.
fn no_template() -> CliError {
    CliError::usage("a template is for events, which SELECT * gives; this query gives rows")
        .hint("use -o table, json, jsonl, yaml, csv or raw")
}

/// What is said of a row that is no JSON object.
pub(super) fn no_row() -> CliError {
    CliError::failed("the server sent a row that is no JSON object")
}
