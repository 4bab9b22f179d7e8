//! The one place that writes to standard output: values in the format that was asked for, and notes to standard error.

mod events;
mod format;
mod jq;
mod table;

use std::{
    fmt,
    io::{self, BufWriter, IsTerminal as _, Write},
};

use dialoguer::console::Term;
use serde_json::Value;

use super::error::{CliError, Result};

pub(super) use events::EventWriter;
pub(super) use format::{Color, Format};
pub(super) use jq::Jq;
pub(super) use table::visible;

/// How much is gathered before it is written; streams are also written whenever nothing more is there.
const BUFFER_BYTES: usize = 256 * 1024;

/// Things of one kind.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) columns: &'static [&'static str],
    /// One cell for each column.
    pub(super) rows: Vec<Vec<String>>,
    /// The same things for machines.
    pub(super) values: Vec<Value>,
    /// What a person is told when there are none.
    pub(super) when_empty: &'static str,
}

/// One thing.
#[derive(Debug)]
pub(super) struct Detail {
    pub(super) fields: Vec<(&'static str, String)>,
    /// The same thing for machines.
    pub(super) value: Value,
}

/// Where output goes.
pub(super) struct Sink {
    pub(super) writer: Box<dyn Write + Send>,
    /// What errors call it.
    pub(super) name: String,
    /// Whether it is a terminal.
    pub(super) terminal: bool,
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink").field("name", &self.name).field("terminal", &self.terminal).finish_non_exhaustive()
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl Sink {
    pub(super) fn stdout() -> Sink {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        Sink { writer: Box::new(stdout), name: "standard output".to_owned(), terminal }
    }
}

/// Where output goes and what it looks like.
#[derive(Debug)]
pub(super) struct Output {
    sink: BufWriter<Sink>,
    /// What `-o` said.
    format: Option<Format>,
    jq: Option<Jq>,
    color: Color,
    quiet: bool,
}

impl Output {
    pub(super) fn new(format: Option<Format>, jq: Option<&str>, color: Color, quiet: bool) -> Result<Output> {
        Output::over(Sink::stdout(), format, jq, color, quiet)
    }

    /// An output that goes elsewhere, such as to a file.
    pub(super) fn over(
        sink: Sink,
        format: Option<Format>,
        jq: Option<&str>,
        color: Color,
        quiet: bool,
    ) -> Result<Output> {
        let jq = jq.map(Jq::compile).transpose()?;
        let sink = BufWriter::with_capacity(BUFFER_BYTES, sink);
        let mut output = Output { sink, format: None, jq, color, quiet };
        if let Some(format) = format {
            output.set_format(format)?;
        }
        Ok(output)
    }

    /// Writes in another format from now on.
    pub(super) fn set_format(&mut self, format: Format) -> Result<()> {
        if self.jq.is_some() && !matches!(format, Format::Json | Format::Jsonl) {
            return Err(CliError::usage("--jq works on JSON and can't be combined with this -o")
                .hint("leave -o away, or use `-o json`"));
        }
        self.format = Some(format);
        Ok(())
    }

    /// Writes elsewhere from now on. What was gathered still goes where it was to go.
    ///
    /// # Errors
    ///
    /// When that could not be written; the output goes elsewhere all the same.
    pub(super) fn redirect(&mut self, sink: Sink) -> Result<()> {
        let flushed = self.flush();
        self.sink = BufWriter::with_capacity(BUFFER_BYTES, sink);
        flushed
    }

    pub(super) fn format(&self) -> Option<&Format> {
        self.format.as_ref()
    }

    pub(super) fn jq(&self) -> Option<&Jq> {
        self.jq.as_ref()
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.sink.get_ref().terminal
    }

    /// How many columns a line may have to be seen whole; none when that does not matter, as in a file.
    pub(super) fn width(&self) -> Option<usize> {
        if !self.is_terminal() {
            return None;
        }
        Term::stdout().size_checked().map(|(_, columns)| usize::from(columns))
    }

    /// Whether values are laid out for people.
    pub(super) fn is_for_people(&self) -> bool {
        self.jq.is_none() && matches!(self.format, None | Some(Format::Table))
    }

    /// Whether standard output is to be colored.
    pub(super) fn is_colored(&self) -> bool {
        self.color.applies_to(self.is_terminal())
    }

    /// Whether standard error is read by a person who wants to hear of progress.
    pub(super) fn shows_progress(&self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.quiet
    }

    pub(super) fn list(&mut self, listing: Listing) -> Result<()> {
        if self.is_for_people() {
            if listing.rows.is_empty() {
                self.note(listing.when_empty);
                return Ok(());
            }
            let text = table::render(listing.columns, &listing.rows, self.is_colored());
            return self.text(text.as_bytes());
        }
        match &self.format {
            Some(Format::Csv) => {
                let head = listing.columns.iter().map(|column| column.to_lowercase()).collect();
                self.csv(std::iter::once(head).chain(listing.rows))
            }
            Some(Format::Jsonl) if self.jq.is_none() => listing.values.iter().try_for_each(|value| self.line(value)),
            _ => self.value(&Value::Array(listing.values)),
        }
    }

    pub(super) fn detail(&mut self, detail: Detail) -> Result<()> {
        if self.is_for_people() {
            let text = table::fields(&detail.fields, self.is_colored());
            return self.text(text.as_bytes());
        }
        match &self.format {
            Some(Format::Csv) => {
                let (names, values): (Vec<_>, Vec<_>) =
                    detail.fields.into_iter().map(|(name, value)| (name.to_lowercase(), value)).unzip();
                self.csv([names, values])
            }
            Some(Format::Jsonl) if self.jq.is_none() => self.line(&detail.value),
            _ => self.value(&detail.value),
        }
    }

    /// Prints a thing for programs that asked for it. People have been told already.
    pub(super) fn result(&mut self, detail: Detail) -> Result<()> {
        if self.format.is_none() && self.jq.is_none() { Ok(()) } else { self.detail(detail) }
    }

    /// A value as JSON or YAML, or what `--jq` makes of it.
    fn value(&mut self, value: &Value) -> Result<()> {
        if let Some(jq) = &self.jq {
            let text = jq.run(value.to_string().as_bytes())?;
            return self.text(&text);
        }
        match &self.format {
            Some(Format::Yaml) => {
                let text = serde_yaml::to_string(value).expect("a JSON value has a YAML form");
                self.text(text.as_bytes())
            }
            Some(Format::Json) => self.text(format!("{value:#}\n").as_bytes()),
            _ => Err(events_only()),
        }
    }

    fn line(&mut self, value: &Value) -> Result<()> {
        self.text(format!("{value}\n").as_bytes())
    }

    fn csv(&mut self, rows: impl IntoIterator<Item = Vec<String>>) -> Result<()> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        for row in rows {
            writer.write_record(row).expect("a vector takes every record");
        }
        let text = writer.into_inner().expect("a vector can be flushed");
        self.text(&text)
    }

    /// Bytes as they are.
    pub(super) fn text(&mut self, bytes: &[u8]) -> Result<()> {
        self.sink.write_all(bytes).map_err(|error| self.failed(&error))
    }

    /// Sends what was gathered on its way.
    pub(super) fn flush(&mut self) -> Result<()> {
        self.sink.flush().map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &io::Error) -> CliError {
        CliError::not_written(error, &self.sink.get_ref().name)
    }

    /// Tells the person something, on standard error. With `-o json` a program is listening there, too.
    pub(super) fn note(&self, text: &str) {
        if !self.quiet && self.format != Some(Format::Json) {
            error_text(&format!("{text}\n"));
        }
    }
}

/// Refuses the formats that only events have.
pub(super) fn events_only() -> CliError {
    CliError::usage("raw and template are formats for events").hint("use -o table, json, jsonl, yaml or csv")
}

/// Writes to standard error. When that is closed there is nobody left to tell.
pub(super) fn error_text(text: &str) {
    drop(io::stderr().write_all(text.as_bytes()));
}

/// Standard output without anything before it, for bytes that another thread writes.
pub(super) fn bare_stdout() -> io::Stdout {
    io::stdout()
}

/// Prints what clap renders for `--help` and `--version`.
pub(super) fn print_help(text: &clap::builder::StyledStr) -> Result<()> {
    let mut stdout = io::stdout();
    let text = if stdout.is_terminal() { text.ansi().to_string() } else { text.to_string() };
    stdout.write_all(text.as_bytes()).map_err(|error| CliError::output(&error))
}
