//! Which format a file has and which media type its events, by its name.

use std::path::Path;

use crate::model::Mimetype;

/// How input is cut into events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum InputFormat {
    Lines,
    Json,
    Jsonl,
    Csv,
    Raw,
}

impl InputFormat {
    /// The media type of events that were cut this way, when nothing else says what they are.
    pub(super) fn mimetype(self) -> Mimetype {
        match self {
            InputFormat::Lines => Mimetype::TEXT_PLAIN,
            InputFormat::Json | InputFormat::Jsonl => Mimetype::JSON,
            InputFormat::Csv => Mimetype::CSV,
            InputFormat::Raw => Mimetype::OCTET_STREAM,
        }
    }

    /// What a file's name says about how to cut it.
    pub(super) fn of_file(path: &Path) -> Option<InputFormat> {
        Some(match extension(path)?.as_str() {
            "jsonl" | "ndjson" | "jsonlines" => InputFormat::Jsonl,
            "json" => InputFormat::Json,
            "csv" => InputFormat::Csv,
            "txt" | "log" => InputFormat::Lines,
            other => {
                mimetype_of(other)?;
                InputFormat::Raw
            }
        })
    }
}

/// What a file's name says about the whole file's media type.
pub(super) fn mimetype_of_file(path: &Path) -> Option<Mimetype> {
    mimetype_of(&extension(path)?)
}

fn extension(path: &Path) -> Option<String> {
    Some(path.extension()?.to_str()?.to_ascii_lowercase())
}

fn mimetype_of(extension: &str) -> Option<Mimetype> {
    let name = match extension {
        "txt" | "log" => "text/plain",
        "csv" => "text/csv",
        "html" | "htm" => "text/html",
        "ics" => "text/calendar",
        "json" => "application/json",
        "jsonld" => "application/ld+json",
        "jsonl" | "ndjson" | "jsonlines" => "application/jsonlines",
        "ubj" | "ubjson" => "application/ubjson",
        "bson" => "application/bson",
        "xml" => "application/xml",
        "atom" => "application/atom+xml",
        "msgpack" | "mpk" => "application/msgpack",
        "parquet" => "application/parquet",
        "avro" => "application/avro",
        "pb" | "binpb" => "application/protobuf",
        "pdf" => "application/pdf",
        "jar" => "application/java-archive",
        "pkl" | "pickle" => "application/python-pickle",
        _ => return None,
    };
    Mimetype::parse(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_name() {
        let check = |name: &str, format, mimetype: Option<&str>| {
            let path = Path::new(name);
            assert_eq!(InputFormat::of_file(path), format, "{name}");
            assert_eq!(mimetype_of_file(path).and_then(Mimetype::name), mimetype, "{name}");
        };
        check("a/flights.jsonl", Some(InputFormat::Jsonl), Some("application/jsonlines"));
        check("x.JSON", Some(InputFormat::Json), Some("application/json"));
        check("x.csv", Some(InputFormat::Csv), Some("text/csv"));
        check("x.pdf", Some(InputFormat::Raw), Some("application/pdf"));
        check("x.log", Some(InputFormat::Lines), Some("text/plain"));
        check("x.dat", None, None);
        check("README", None, None);
    }
}
