//! An event's data, read by its media type: the wanted values of each of its rows.
//!
//! | media type | rows | what a path finds |
//! | --- | --- | --- |
//! | JSON, JSON-LD | one | the member or element |
//! | JSON lines | one a line | the member or element |
//! | CSV | one a record behind the header; each record when the header is in the metadata | the column |
//! | MessagePack | one | the member or element |
//! | plain text, HTML, XML and other texts | one | the text, as `data` |
//! | all others | one | the bytes, as `data` |
//!
//! Invariants: what is not there is `Null`; nothing is allocated for a value that lies in the data as it is. A row that can't
//! be decoded is told apart and says nothing of the next one. Time and memory grow with the data alone, whatever they say of
//! themselves.
//!
//! What it does not do: decide what matches, or decode what only a schema explains. Avro is left as bytes, with a schema too: what
//! a schema from a stranger can do to the library for it is not bounded.

#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;
mod json;
mod msgpack;
mod table;
mod wanted;

use std::borrow::Cow;

use self::{table::Table, wanted::Tree};
use super::{
    input::{Metadata, Path, Step},
    value::Value,
};
use crate::model::Mimetype;

/// The name of the metadata that holds the header of CSV data. With it, each record of the data is a row.
pub const CSV_HEADER_NAME: &str = "csv.header";

/// Why a row's data can't be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    #[error("the data is not UTF-8")]
    NotUtf8,
    #[error("the data is not JSON from byte {at} on")]
    Json { at: usize },
    #[error("the data is not MessagePack from byte {at} on")]
    MessagePack { at: usize },
    #[error("the data is nested too deep")]
    TooDeep,
    #[error("the data is not CSV")]
    Csv,
}

/// What is wanted of an event's data, compiled once for all events of a query.
#[derive(Debug, Clone)]
pub struct Fields {
    tree: Tree,
}

impl Fields {
    /// The value of a row at an index is what the path at that index finds.
    pub fn new(paths: &[Path]) -> Fields {
        Fields { tree: Tree::new(paths) }
    }

    /// The rows of an event.
    pub fn rows<'f, 'a>(&'f self, mimetype: Mimetype, data: &'a [u8], metadata: &dyn Metadata) -> Rows<'f, 'a> {
        let data = match mimetype {
            Mimetype::JSON | Mimetype::LD_JSON => Data::Json(data),
            Mimetype::JSON_LINES => Data::Lines(data),
            Mimetype::CSV => Data::Table(Box::new(Table::new(metadata.get(CSV_HEADER_NAME), data, &self.tree))),
            Mimetype::MESSAGE_PACK => Data::MessagePack(data),
            text if text.is_text() => Data::Text(data),
            _ => Data::Bytes(data),
        };
        Rows { tree: &self.tree, data }
    }
}

/// The rows of one event, not read yet.
#[expect(missing_debug_implementations, reason = "it holds nothing to look at that its event does not show")]
pub struct Rows<'f, 'a> {
    tree: &'f Tree,
    data: Data<'a>,
}

enum Data<'a> {
    Json(&'a [u8]),
    Lines(&'a [u8]),
    Table(Box<Table<'a>>),
    MessagePack(&'a [u8]),
    Text(&'a [u8]),
    Bytes(&'a [u8]),
    Done,
}

impl<'a> Rows<'_, 'a> {
    /// Reads the next row and sets all of its values; `None` behind the last one.
    pub fn next(&mut self, values: &mut [Value<'a>]) -> Option<Result<(), Undecodable>> {
        values.fill(Value::Null);
        match &mut self.data {
            Data::Done => return None,
            Data::Lines(rest) => return next_line(rest).map(|line| json::read(line, self.tree, values)),
            Data::Table(table) => return table.next(self.tree, values),
            _ => {}
        }
        Some(match std::mem::replace(&mut self.data, Data::Done) {
            Data::Json(data) => json::read(data, self.tree, values),
            Data::MessagePack(data) => msgpack::read(data, self.tree, values),
            Data::Text(data) => match std::str::from_utf8(data) {
                Ok(text) => {
                    self.set_data(Value::Text(Cow::Borrowed(text)), values);
                    Ok(())
                }
                Err(_) => Err(Undecodable::NotUtf8),
            },
            Data::Bytes(data) => {
                self.set_data(Value::Bytes(Cow::Borrowed(data)), values);
                Ok(())
            }
            Data::Lines(_) | Data::Table(_) | Data::Done => return None,
        })
    }

    fn set_data(&self, value: Value<'a>, values: &mut [Value<'a>]) {
        if let Some(place) = self.tree.member(Tree::ROOT, "data") {
            self.tree.set(place, value, values);
        }
    }
}

/// Takes the next line that is not blank.
fn next_line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        let line = rest[..end].trim_ascii();
        *rest = rest.get(end + 1..).unwrap_or_default();
        if !line.is_empty() {
            return Some(line);
        }
    }
    None
}

#[cfg(test)]
mod tests;
