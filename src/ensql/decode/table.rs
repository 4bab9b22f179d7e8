//! CSV with a header: the first record names the columns, each further one is a row. When the header is known from elsewhere,
//! as with events of a single record, each record is a row.
//!
//! A value that is written as JSON writes a number is a number; so `01234` and `+49` stay texts. An empty one is missing, and
//! so is what a record lacks at its end; what it has beyond the header is left out.

use std::borrow::Cow;

use csv::{ByteRecord, Reader, ReaderBuilder, StringRecord};

use super::{
    Undecodable, Value, json,
    wanted::{Place, Tree},
};

/// The most memory that a table's reader takes, whatever the size of the event.
const BUFFER_BYTES_MAX: usize = 8 * 1024;

/// The records of one event.
pub(super) struct Table<'a> {
    reader: Reader<&'a [u8]>,
    record: ByteRecord,
    /// Where the columns that are wanted stand.
    columns: Vec<(usize, Place)>,
    /// Set when the header can't be read, until that was said.
    damaged: Option<Undecodable>,
}

impl<'a> Table<'a> {
    /// The header is the first record of the data, unless it is known from elsewhere.
    pub(super) fn new(header: Option<&str>, data: &'a [u8], tree: &Tree) -> Table<'a> {
        let data = without_mark(data);
        let mut reader = reader(data, header.is_none());
        let columns = match header {
            Some(header) => {
                self::reader(without_mark(header.as_bytes()), true).headers().map(|names| places(names, tree))
            }
            None => reader.headers().map(|names| places(names, tree)),
        };
        let (columns, damaged) = match columns {
            Ok(columns) => (columns, None),
            Err(error) => (Vec::new(), Some(reason(&error))),
        };
        Table { reader, record: ByteRecord::new(), columns, damaged }
    }

    pub(super) fn next(&mut self, tree: &Tree, values: &mut [Value<'_>]) -> Option<Result<(), Undecodable>> {
        if let Some(damaged) = self.damaged.take() {
            return Some(Err(damaged));
        }
        match self.reader.read_byte_record(&mut self.record) {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => return Some(Err(reason(&error))),
        }
        for (at, place) in &self.columns {
            let Ok(text) = std::str::from_utf8(self.record.get(*at).unwrap_or_default()) else {
                return Some(Err(Undecodable::NotUtf8));
            };
            let value = match json::number(text) {
                Some(number) => number,
                None if text.is_empty() => Value::Null,
                None => Value::Text(Cow::Owned(text.to_owned())),
            };
            tree.set(*place, value, values);
        }
        Some(Ok(()))
    }
}

/// Without the mark that some programs put before a text to say that it is UTF-8.
fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text)
}

fn reader(data: &[u8], has_header: bool) -> Reader<&[u8]> {
    let buffer_bytes = data.len().clamp(1, BUFFER_BYTES_MAX);
    ReaderBuilder::new().has_headers(has_header).flexible(true).buffer_capacity(buffer_bytes).from_reader(data)
}

/// Where the columns that are wanted stand. Of columns with one name the last counts, as of an object's members.
fn places(names: &StringRecord, tree: &Tree) -> Vec<(usize, Place)> {
    let place = |wanted| names.iter().enumerate().filter(|(_, name)| *name == wanted).last().map(|(at, _)| at);
    tree.columns().filter_map(|(name, to)| Some((place(name)?, to))).collect()
}

fn reason(error: &csv::Error) -> Undecodable {
    match error.kind() {
        csv::ErrorKind::Utf8 { .. } => Undecodable::NotUtf8,
        _ => Undecodable::Csv,
    }
}
