//! Events in every format that there is, one by one as they come.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::{
    Format, Output,
    format::{Part, Template},
    table::visible,
};
use crate::{
    cli::{error::Result, human, record},
    client::Event,
    model::{Schema, Time},
};

/// How many characters of an event's data a table shows.
const PREVIEW_LETTERS: usize = 200;

const COLUMNS: [&str; 12] = [
    "topic",
    "offset",
    "id",
    "committed",
    "created",
    "mimetype",
    "type",
    "key",
    "metadata",
    "encoding",
    "data",
    "encryption_key",
];

/// Writes events to an output.
#[derive(Debug)]
pub(in crate::cli) struct EventWriter {
    style: Style,
    /// Whether tables say which topic an event is of.
    several_topics: bool,
    written: u64,
    line: Vec<u8>,
}

#[derive(Debug)]
enum Style {
    Table,
    Json,
    Jsonl,
    Yaml,
    Csv,
    Raw,
    Template(Template),
    Jq,
}

impl EventWriter {
    /// In the format that was asked for; without one, a table for people and records for programs.
    pub(in crate::cli) fn new(output: &Output, several_topics: bool) -> EventWriter {
        let style = match output.format() {
            _ if output.jq.is_some() => Style::Jq,
            None if output.is_terminal() => Style::Table,
            None | Some(Format::Jsonl) => Style::Jsonl,
            Some(Format::Table) => Style::Table,
            Some(Format::Json) => Style::Json,
            Some(Format::Yaml) => Style::Yaml,
            Some(Format::Csv) => Style::Csv,
            Some(Format::Raw) => Style::Raw,
            Some(Format::Template(template)) => Style::Template(template.clone()),
        };
        EventWriter { style, several_topics, written: 0, line: Vec::new() }
    }

    pub(in crate::cli) fn write(&mut self, output: &mut Output, event: &Event, topic: &str) -> Result<()> {
        self.line.clear();
        let first = self.written == 0;
        self.written += 1;
        match &self.style {
            Style::Jsonl => record::write(event, topic, &mut self.line),
            Style::Raw => self.line.extend_from_slice(&event.data),
            Style::Json => {
                self.line.extend_from_slice(if first { b"[\n" } else { b",\n" });
                record::write(event, topic, &mut self.line);
                return output.text(&self.line);
            }
            Style::Template(template) => fill(template, event, topic, &mut self.line),
            Style::Table => {
                if first {
                    let head = self.row("topic", "offset", "committed", "type", "data").to_uppercase();
                    output.text(format!("{}\n", head.trim_end()).as_bytes())?;
                }
                let text = self.table_row(event, topic);
                self.line.extend_from_slice(text.as_bytes());
            }
            Style::Csv => {
                if first {
                    output.csv([COLUMNS.map(str::to_owned).to_vec()])?;
                }
                return output.csv([csv_row(event, topic)]);
            }
            Style::Yaml => {
                record::write(event, topic, &mut self.line);
                let value: Value = serde_json::from_slice(&self.line).expect("a record is JSON");
                let text = serde_yaml::to_string(&[value]).expect("a JSON value has a YAML form");
                return output.text(text.as_bytes());
            }
            Style::Jq => {
                record::write(event, topic, &mut self.line);
                let jq = output.jq.as_ref().expect("it is why this style was chosen");
                let text = jq.run(&self.line)?;
                return output.text(&text);
            }
        }
        self.line.push(b'\n');
        output.text(&self.line)
    }

    /// Writes what a format needs at its end.
    pub(in crate::cli) fn finish(&self, output: &mut Output) -> Result<()> {
        match self.style {
            Style::Json | Style::Yaml if self.written == 0 => output.text(b"[]\n"),
            Style::Json => output.text(b"\n]\n"),
            Style::Csv if self.written == 0 => output.csv([COLUMNS.map(str::to_owned).to_vec()]),
            _ => Ok(()),
        }
    }

    fn table_row(&self, event: &Event, topic: &str) -> String {
        let committed = event.committed.map(|time| Time::from_nanos(time.nanos() / 1_000_000 * 1_000_000));
        let committed = human::or_dash(committed);
        let schema = human::or_dash(event.schema.as_ref().map(short_type));
        let preview = match std::str::from_utf8(&event.data) {
            _ if event.is_encrypted() => format!("[encrypted, key {}]", visible(encryption_key(event))),
            Ok(text) => {
                let end = text.char_indices().nth(PREVIEW_LETTERS).map(|(index, _)| index);
                let cut = end.map(|end| format!("{}…", &text[..end]));
                visible(&cut.unwrap_or_else(|| text.to_owned()))
            }
            Err(_) => format!("({} of {})", human::bytes(event.data.len() as u64), event.mimetype),
        };
        self.row(topic, &event.offset.to_string(), &committed, &visible(&schema), &preview).trim_end().to_owned()
    }

    fn row(&self, topic: &str, offset: &str, committed: &str, schema: &str, data: &str) -> String {
        let rest = format!("{offset:>8}  {committed:<24}  {schema:<14}  {data}");
        if self.several_topics { format!("{topic:<16}  {rest}") } else { rest }
    }
}

/// `order@1.2.3`.
fn short_type(schema: &Schema) -> String {
    format!("{}@{}.{}.{}", schema.name, schema.major, schema.minor, schema.patch)
}

/// Text as it is, anything else in base 64.
fn text_or_base64(bytes: &[u8]) -> (&'static str, String) {
    match std::str::from_utf8(bytes) {
        Ok(text) => ("text", text.to_owned()),
        Err(_) => ("base64", STANDARD.encode(bytes)),
    }
}

/// The name of the key that the data is encrypted with; nothing when it is not.
fn encryption_key(event: &Event) -> &str {
    event.encryption.as_ref().filter(|_| event.is_encrypted()).map_or("", |encryption| &encryption.public_key_id)
}

fn csv_row(event: &Event, topic: &str) -> Vec<String> {
    let (encoding, data) =
        if event.is_encrypted() { ("base64", STANDARD.encode(&event.data)) } else { text_or_base64(&event.data) };
    let time = |time: Option<Time>| time.map(|time| time.to_string()).unwrap_or_default();
    let metadata = serde_json::to_string(&event.metadata).expect("a map of texts has a JSON form");
    vec![
        topic.to_owned(),
        event.offset.to_string(),
        event.id.to_string(),
        time(event.committed),
        time(event.created),
        event.mimetype.to_string(),
        event.schema.as_ref().map(short_type).unwrap_or_default(),
        text_or_base64(&event.key).1,
        metadata,
        encoding.to_owned(),
        data,
        encryption_key(event).to_owned(),
    ]
}

fn fill(template: &Template, event: &Event, topic: &str, line: &mut Vec<u8>) {
    let time = |time: Option<Time>| time.map(|time| time.to_string()).unwrap_or_default();
    for part in &template.0 {
        match part {
            Part::Data => line.extend_from_slice(&event.data),
            Part::Key => line.extend_from_slice(&event.key),
            Part::Text(text) => line.extend_from_slice(text.as_bytes()),
            Part::Topic => line.extend_from_slice(topic.as_bytes()),
            Part::Offset => line.extend_from_slice(event.offset.to_string().as_bytes()),
            Part::Id => line.extend_from_slice(event.id.to_string().as_bytes()),
            Part::Type => {
                line.extend_from_slice(event.schema.as_ref().map(short_type).unwrap_or_default().as_bytes());
            }
            Part::Mimetype => line.extend_from_slice(event.mimetype.to_string().as_bytes()),
            Part::Committed => line.extend_from_slice(time(event.committed).as_bytes()),
            Part::Created => line.extend_from_slice(time(event.created).as_bytes()),
            Part::Meta(name) => {
                line.extend_from_slice(event.metadata.get(name).map_or(&b""[..], String::as_bytes));
            }
        }
    }
}
