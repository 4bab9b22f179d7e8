//! What `-o` and `--color` say.

use std::str::FromStr;

use clap::ValueEnum;

/// An output format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum Format {
    Table,
    /// One array, or one object.
    Json,
    /// One object a line.
    Jsonl,
    Yaml,
    Csv,
    /// The events' data and nothing else.
    Raw,
    /// A line for each event, made after this pattern.
    Template(Template),
}

const NAMES: &str = "table, json, jsonl, yaml, csv, raw or template=TEXT";

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Format, String> {
        Ok(match text {
            "table" => Format::Table,
            "json" => Format::Json,
            "jsonl" => Format::Jsonl,
            "yaml" => Format::Yaml,
            "csv" => Format::Csv,
            "raw" => Format::Raw,
            _ => match text.strip_prefix("template=") {
                Some(template) => Format::Template(Template::parse(template)?),
                None => return Err(format!("use {NAMES}")),
            },
        })
    }
}

/// A pattern with fields in braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Template(pub(in crate::cli) Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum Part {
    Text(String),
    Data,
    Offset,
    Id,
    Topic,
    Type,
    Mimetype,
    Key,
    Committed,
    Created,
    Meta(String),
}

impl Template {
    /// Reads `{offset}\t{data}`; `{{` and `}}` are braces, `\n`, `\t`, `\r`, `\0` and `\\` what they are elsewhere.
    fn parse(text: &str) -> Result<Template, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut letters = text.chars().peekable();
        while let Some(letter) = letters.next() {
            match letter {
                '{' | '}' if letters.next_if_eq(&letter).is_some() => plain.push(letter),
                '}' => return Err("a } without a {; write }} for the brace itself".to_owned()),
                '{' => {
                    let mut name = String::new();
                    loop {
                        match letters.next() {
                            Some('}') => break,
                            Some(letter) => name.push(letter),
                            None => return Err(format!("{{{name} has no }}")),
                        }
                    }
                    if !plain.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut plain)));
                    }
                    parts.push(Part::parse(&name)?);
                }
                '\\' => plain.push(match letters.next() {
                    Some('n') => '\n',
                    Some('t') => '\t',
                    Some('r') => '\r',
                    Some('0') => '\0',
                    Some('\\') => '\\',
                    other => return Err(format!("\\{} means nothing", other.map_or(String::new(), String::from))),
                }),
                other => plain.push(other),
            }
        }
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Template(parts))
    }
}

impl Part {
    fn parse(name: &str) -> Result<Part, String> {
        Ok(match name {
            "data" => Part::Data,
            "offset" => Part::Offset,
            "id" => Part::Id,
            "topic" => Part::Topic,
            "type" => Part::Type,
            "mimetype" => Part::Mimetype,
            "key" => Part::Key,
            "committed" => Part::Committed,
            "created" => Part::Created,
            _ => match name.strip_prefix("meta.") {
                Some(key) if !key.is_empty() => Part::Meta(key.to_owned()),
                _ => {
                    return Err(format!(
                        "{{{name}}} is nothing that an event has, and a template is for events; they have data, offset, \
                         id, topic, type, mimetype, key, committed, created and meta.NAME"
                    ));
                }
            },
        })
    }
}

/// When to use color.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Color {
    Auto,
    Always,
    Never,
}

impl Color {
    pub(in crate::cli) fn applies_to(self, terminal: bool) -> bool {
        match self {
            Color::Auto => terminal,
            Color::Always => true,
            Color::Never => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        assert_eq!("jsonl".parse(), Ok(Format::Jsonl));
        assert!("xml".parse::<Format>().is_err());
        let parts =
            vec![Part::Offset, Part::Text("\t{".to_owned()), Part::Meta("a.b".to_owned()), Part::Text("}".to_owned())];
        assert_eq!("template={offset}\\t{{{meta.a.b}}}".parse(), Ok(Format::Template(Template(parts))));
        for bad in ["template={nothing}", "template={data", "template=}", "template=\\q", "template={meta.}"] {
            assert!(bad.parse::<Format>().is_err(), "{bad}");
        }
    }
}
