//! CSV with a header: the first record names the columns, each further one is a row.
//!
//! A value that is written as JSON writes a number is a number; so `01234` and `+49` stay texts. An empty one is missing, and
//! so is what a record lacks at its end; what it has beyond the header is left out.

use std::borrow::Cow;

use csv::{ByteRecord, Reader, ReaderBuilder};

use super::{
    Undecodable, Value, json,
    wanted::{Place, Tree},
};

/// The memory that a table's reader takes, whatever the size of the event.
const BUFFER_BYTES: usize = 8 * 1024;

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
    pub(super) fn new(data: &'a [u8], tree: &Tree) -> Table<'a> {
        let data = data.strip_prefix("\u{feff}".as_bytes()).unwrap_or(data);
        let mut reader = ReaderBuilder::new().flexible(true).buffer_capacity(BUFFER_BYTES).from_reader(data);
        let (columns, damaged) = match reader.headers() {
            Ok(names) => {
                // Of columns with one name the last counts, as of an object's members.
                let place =
                    |wanted| names.iter().enumerate().filter(|(_, name)| *name == wanted).last().map(|(at, _)| at);
                (tree.columns().filter_map(|(name, to)| Some((place(name)?, to))).collect(), None)
            }
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

fn reason(error: &csv::Error) -> Undecodable {
    match error.kind() {
        csv::ErrorKind::Utf8 { .. } => Undecodable::NotUtf8,
        _ => Undecodable::Csv,
    }
}
