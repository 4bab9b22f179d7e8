//! What the commands of the shell do.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{
    Next, Shell, help, in_shell,
    meta::Meta,
    names::TopicLine,
    sample::{Sample, SeenField, envelope_line, hexadecimal},
};
use crate::{
    cli::{
        error::{CliError, Result},
        human,
        output::{Format, Listing, Sink, error_text},
    },
    client::{Parameter, ParameterValue},
    sys::files::create_file,
};

/// Does what a command says.
pub(super) async fn execute(shell: &mut Shell<'_>, meta: Meta) -> Result<Next> {
    match meta {
        Meta::Quit => return Ok(Next::Leave),
        Meta::Help => error_text(&help::commands()),
        Meta::Language => error_text(&help::language()),
        Meta::Topics => {
            let topics = until_interrupt(shell.names.topics()).await?;
            list(shell, topic_listing(topics))?;
        }
        Meta::Fields { topic } => {
            let sample = until_interrupt(shell.names.fields(&topic)).await.map_err(in_shell)?;
            let note = sample_note(&sample);
            list(shell, field_listing(sample.fields()))?;
            shell.say(&note);
        }
        Meta::Timing(on) => {
            shell.shows_time = on.unwrap_or(!shell.shows_time);
            shell.say(if shell.shows_time { "timing is on" } else { "timing is off" });
        }
        Meta::Format(None) => {
            let name = shell.output.format().map_or("json", format_name);
            shell.say(&format!("the format is {name}"));
        }
        Meta::Format(Some(format)) => shell.output.set_format(format)?,
        Meta::Output(None) => {
            shell.output.redirect(Sink::stdout())?;
            shell.say("results go to the terminal");
        }
        Meta::Output(Some(path)) => {
            let path = from_home(&path);
            let writer = create_file(&path).map_err(|error| CliError::chain(&error))?;
            let name = path.display().to_string();
            shell.output.redirect(Sink { writer: Box::new(writer), name: name.clone(), terminal: false })?;
            shell.say(&format!("results go to {name}"));
        }
        Meta::Set(parameter) => {
            shell.query.parameters.retain(|known| known.name != parameter.name);
            shell.query.parameters.push(parameter);
            shell.tell_parameters();
        }
        Meta::Parameters => {
            let listing = parameter_listing(&shell.query.parameters);
            list(shell, listing)?;
        }
        Meta::Unset(name) => {
            let count = shell.query.parameters.len();
            shell.query.parameters.retain(|known| known.name != name);
            if shell.query.parameters.len() == count {
                return Err(CliError::not_found(format!("the parameter {name} has no value"))
                    .hint("\\set lists the parameters"));
            }
            shell.tell_parameters();
        }
    }
    Ok(Next::Line)
}

/// Waits, but not longer than the person at the keyboard wants to.
async fn until_interrupt<T>(asked: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        said = asked => said,
        _ = tokio::signal::ctrl_c() => Err(CliError::interrupted()),
    }
}

fn list(shell: &mut Shell<'_>, listing: Listing) -> Result<()> {
    shell.output.list(listing)?;
    shell.output.flush()
}

fn topic_listing(topics: Vec<TopicLine>) -> Listing {
    let values = topics.iter().map(|topic| {
        let (events, bytes) = topic.holds.map(|held| (held.events, held.bytes)).unzip();
        json!({ "name": topic.name, "events": events, "bytes": bytes })
    });
    Listing {
        columns: &["name", "events", "size"],
        values: values.collect(),
        rows: topics
            .into_iter()
            .map(|topic| {
                let events = human::or_dash(topic.holds.map(|held| human::count(held.events)));
                let size = human::or_dash(topic.holds.map(|held| human::bytes(held.bytes)));
                vec![topic.name, events, size]
            })
            .collect(),
        when_empty: "there are no topics",
    }
}

fn field_listing(fields: &[SeenField]) -> Listing {
    let types = |field: &SeenField| field.types.iter().copied().collect::<Vec<_>>();
    let values = fields.iter().map(
        |field| json!({ "field": field.name, "types": types(field), "rows": field.rows, "example": field.example }),
    );
    Listing {
        columns: &["field", "type", "example"],
        values: values.collect(),
        rows: fields
            .iter()
            .map(|field| {
                let types = types(field).join(", ");
                let types = if types.is_empty() { "null".to_owned() } else { types };
                vec![field.name.clone(), types, field.example.clone()]
            })
            .collect(),
        when_empty: "no event that was looked at has fields",
    }
}

/// Where the list of fields comes from.
fn sample_note(sample: &Sample) -> String {
    let mut parts = vec![format!("as {} have them", human::counted(sample.events, "event"))];
    if sample.undecodable > 0 {
        parts.push(format!("{} could not be decoded", human::counted(sample.undecodable, "row")));
    }
    if sample.is_cut {
        parts.push("there are more fields".to_owned());
    }
    format!("{}\nevery event has {}", parts.join("; "), envelope_line())
}

fn parameter_listing(parameters: &[Parameter]) -> Listing {
    let written = |parameter: &Parameter| match &parameter.value {
        ParameterValue::Null => "null".to_owned(),
        ParameterValue::Int(number) => number.to_string(),
        ParameterValue::Float(number) => format!("{number:?}"),
        ParameterValue::Bool(truth) => truth.to_string(),
        ParameterValue::Text(text) => format!("'{text}'"),
        ParameterValue::Bytes(bytes) => format!("x'{}'", hexadecimal(bytes)),
    };
    let name = |parameter: &Parameter| {
        if parameter.name.is_empty() { "?".to_owned() } else { format!(":{}", parameter.name) }
    };
    Listing {
        columns: &["name", "value"],
        values: parameters.iter().map(|known| json!({ "name": known.name, "value": written(known) })).collect(),
        rows: parameters.iter().map(|known| vec![name(known), written(known)]).collect(),
        when_empty: "no parameter has a value; \\set NAME VALUE gives it one",
    }
}

fn format_name(format: &Format) -> &'static str {
    match format {
        Format::Table => "table",
        Format::Json => "json",
        Format::Jsonl => "jsonl",
        Format::Yaml => "yaml",
        Format::Csv => "csv",
        Format::Raw => "raw",
        Format::Template(_) => "template",
    }
}

/// A path whose `~` is the home directory, as a shell of the system would read it.
fn from_home(path: &str) -> PathBuf {
    let home = path.strip_prefix("~/").zip(directories::UserDirs::new());
    home.map_or_else(|| Path::new(path).to_owned(), |(rest, places)| places.home_dir().join(rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::query::shell::names::Held;

    #[test]
    fn listings() {
        let topic = |name: &str, holds| TopicLine { name: name.to_owned(), holds };
        let topics = vec![topic("a", Some(Held { events: 1_000, bytes: 2_500 })), topic("b", None)];
        let listing = topic_listing(topics);
        assert_eq!(listing.rows, [["a", "1,000", "2.5 kB"], ["b", "-", "-"]]);
        assert_eq!(listing.values[0], json!({ "name": "a", "events": 1_000, "bytes": 2_500 }));
        let field = |types: &[&'static str]| SeenField {
            name: "f".to_owned(),
            types: types.iter().copied().collect(),
            example: "1".to_owned(),
            rows: 1,
        };
        let listing = field_listing(&[field(&["text", "integer"]), field(&[])]);
        assert_eq!(listing.rows, [["f", "integer, text", "1"], ["f", "null", "1"]]);
        let parameter = |name: &str, value| Parameter { name: name.to_owned(), value };
        let parameters = [
            parameter("a", ParameterValue::Text("x".to_owned())),
            parameter("", ParameterValue::Bytes(vec![0, 255].into())),
            parameter("b", ParameterValue::Float(1.0)),
        ];
        assert_eq!(parameter_listing(&parameters).rows, [[":a", "'x'"], ["?", "x'00ff'"], [":b", "1.0"]]);
    }

    #[test]
    fn notes_about_a_sample() {
        let mut sample = Sample::default();
        (sample.events, sample.undecodable, sample.is_cut) = (2, 1, true);
        assert_eq!(
            sample_note(&sample),
            format!(
                "as 2 events have them; 1 row could not be decoded; there are more fields\nevery event has {}",
                envelope_line()
            )
        );
    }

    #[test]
    fn paths() {
        assert_eq!(from_home("a/~"), Path::new("a/~"));
        assert!(from_home("~/a").is_absolute());
    }
}
