//! Rows in columns: a table for people, and CSV.
//!
//! Rows come in a stream, and memory does not grow with them. The first ones are held back until it is known which columns there
//! are and how wide they have to be; then they are written, and all others as they come. Of a query with named columns the columns
//! are known before. With `SELECT *` they are the fields of the first events, not more than 500; what other fields later events have is
//! said at the end.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
};

use super::{
    fields::{cell, fields, is_number},
    table::{Cell, Layout, Measure},
    writer::no_row,
};
use crate::cli::{error::Result, human, output::Output};

/// How many rows a table is laid out by, and how many bytes of them.
const HELD_ROWS: usize = 1_000;
const HELD_BYTES: usize = 256 * 1024;

/// How much CSV is gathered before it goes on its way.
const CSV_BYTES: usize = 64 * 1024;

/// How many columns the fields of events become at most. Each row has a cell in each of them.
const COLUMNS_MAX: usize = 500;

/// How many fields are named that are no columns.
const NAMED_FIELDS: usize = 10;

/// Rows on their way into columns.
#[derive(Debug)]
pub(super) struct Grid {
    form: Form,
    /// The columns, once they are known.
    columns: Option<Columns>,
    /// Rows that wait for the layout, one behind the other, and where each ends.
    held: Vec<u8>,
    ends: Vec<usize>,
    /// Fields of later rows that are no columns.
    others: BTreeSet<String>,
}

#[derive(Debug)]
enum Form {
    Table(Option<Layout>),
    Csv { writer: Box<csv::Writer<Vec<u8>>>, gathered: usize, is_headed: bool },
}

/// The names of the columns, and where each stands.
#[derive(Debug, Default)]
struct Columns {
    names: Vec<String>,
    places: HashMap<String, usize>,
    /// Whether there were more fields than there can be columns.
    is_cut: bool,
}

impl Columns {
    fn of(names: Vec<String>) -> Columns {
        let places = names.iter().enumerate().map(|(place, name)| (name.clone(), place)).collect();
        Columns { names, places, is_cut: false }
    }

    fn add(&mut self, name: &str) {
        if self.places.contains_key(name) {
            return;
        }
        self.is_cut |= self.names.len() >= COLUMNS_MAX;
        if !self.is_cut {
            self.places.insert(name.to_owned(), self.names.len());
            self.names.push(name.to_owned());
        }
    }

    /// The cells of a row, one for each column. What has no column is given to `other`.
    fn cells<'a>(&self, row: &'a [u8], mut other: impl FnMut(&str)) -> Result<Vec<Cell<'a>>> {
        let mut cells = vec![Cell { text: Cow::Borrowed(""), number: false }; self.names.len()];
        for (name, value) in fields(row).ok_or_else(no_row)? {
            match self.places.get(&*name) {
                Some(place) => cells[*place] = Cell { text: cell(value), number: is_number(value) },
                None => other(&name),
            }
        }
        Ok(cells)
    }
}

impl Grid {
    /// A table, with these columns if they are known.
    pub(super) fn table(columns: Option<Vec<String>>) -> Grid {
        Grid::new(Form::Table(None), columns)
    }

    /// CSV, with these columns if they are known.
    pub(super) fn csv(columns: Option<Vec<String>>) -> Grid {
        Grid::new(Form::Csv { writer: csv_writer(), gathered: 0, is_headed: false }, columns)
    }

    fn new(form: Form, columns: Option<Vec<String>>) -> Grid {
        Grid { form, columns: columns.map(Columns::of), held: Vec::new(), ends: Vec::new(), others: BTreeSet::new() }
    }

    pub(super) fn is_for_people(&self) -> bool {
        matches!(self.form, Form::Table(_))
    }

    /// Whether rows wait.
    pub(super) fn holds(&self) -> bool {
        !self.ends.is_empty()
    }

    /// Whether rows have to wait.
    fn has_to_hold(&self) -> bool {
        match self.form {
            Form::Table(ref layout) => layout.is_none(),
            Form::Csv { .. } => self.columns.is_none(),
        }
    }

    /// Takes the next row.
    pub(super) fn push(&mut self, output: &mut Output, row: &[u8]) -> Result<()> {
        if !self.has_to_hold() {
            return self.write(output, row);
        }
        self.held.extend_from_slice(row);
        self.ends.push(self.held.len());
        if self.ends.len() >= HELD_ROWS || self.held.len() >= HELD_BYTES { self.settle(output) } else { Ok(()) }
    }

    /// Decides about columns and layout by the rows that are held, and writes them.
    pub(super) fn settle(&mut self, output: &mut Output) -> Result<()> {
        let (held, ends) = (std::mem::take(&mut self.held), std::mem::take(&mut self.ends));
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let rows: Vec<&[u8]> = starts.zip(&ends).map(|(start, end)| &held[start..*end]).collect();
        let columns = match self.columns.take() {
            Some(columns) => columns,
            None => columns_of(&rows)?,
        };
        if let Form::Table(layout @ None) = &mut self.form {
            let mut measure = Measure::of(&columns.names);
            for row in &rows {
                measure.add(&columns.cells(row, |_| ())?);
            }
            let settled = Layout::of(&measure, output.width());
            output.text(settled.head(&columns.names, output.is_colored()).as_bytes())?;
            *layout = Some(settled);
        }
        self.columns = Some(columns);
        rows.into_iter().try_for_each(|row| self.write(output, row))
    }

    /// Writes a row into the columns.
    fn write(&mut self, output: &mut Output, row: &[u8]) -> Result<()> {
        let Grid { form, columns, others, .. } = self;
        let Some(columns) = columns else { return Ok(()) };
        let cells = columns.cells(row, |name| {
            if others.len() <= NAMED_FIELDS && !others.contains(name) {
                others.insert(name.to_owned());
            }
        })?;
        match form {
            Form::Table(Some(layout)) => output.text(layout.line(&cells).as_bytes()),
            Form::Table(None) => Ok(()),
            Form::Csv { writer, gathered, is_headed } => {
                if !std::mem::replace(is_headed, true) {
                    writer.write_record(&columns.names).expect("memory takes every record");
                }
                writer.write_record(cells.iter().map(|cell| &*cell.text)).expect("memory takes every record");
                *gathered += row.len();
                if *gathered >= CSV_BYTES { self.pass_on(output) } else { Ok(()) }
            }
        }
    }

    /// Gives the output what was gathered.
    pub(super) fn pass_on(&mut self, output: &mut Output) -> Result<()> {
        let Form::Csv { writer, gathered, .. } = &mut self.form else { return Ok(()) };
        *gathered = 0;
        let full = std::mem::replace(writer, csv_writer());
        let written = full.into_inner().expect("memory can be flushed");
        output.text(&written)
    }

    /// Writes what is held back, and a head if there was no row and the columns are known.
    pub(super) fn finish(&mut self, output: &mut Output) -> Result<()> {
        if self.has_to_hold() && (self.holds() || self.columns.is_some()) {
            self.settle(output)?;
        }
        if let (Form::Csv { writer, is_headed: false, .. }, Some(columns)) = (&mut self.form, &self.columns) {
            writer.write_record(&columns.names).expect("memory takes every record");
        }
        self.pass_on(output)
    }

    /// What is not there to be seen.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Form::Table(Some(layout)) = &self.form
            && layout.hidden() > 0
        {
            let columns = human::counted(layout.hidden(), "column");
            notes.push(format!(
                "{columns} left out for want of room; `-o jsonl` shows all, and so does a SELECT of fewer"
            ));
        }
        if self.columns.as_ref().is_some_and(|columns| columns.is_cut) {
            notes.push(format!(
                "there are more than {COLUMNS_MAX} fields, and what comes behind them is left out; `-o jsonl` shows all, and so \
                 does a SELECT of fewer"
            ));
        } else if !self.others.is_empty() {
            let mut names: Vec<&str> = self.others.iter().take(NAMED_FIELDS).map(String::as_str).collect();
            if self.others.len() > NAMED_FIELDS {
                names.push("…");
            }
            let names = names.join(", ");
            notes.push(format!(
                "later events have fields that are no columns: {names}; a SELECT that names them shows them"
            ));
        }
        notes
    }
}

fn csv_writer() -> Box<csv::Writer<Vec<u8>>> {
    Box::new(csv::Writer::from_writer(Vec::new()))
}

/// The fields of all rows, in the order in which they come.
fn columns_of(rows: &[&[u8]]) -> Result<Columns> {
    let mut columns = Columns::default();
    for row in rows {
        for (name, _) in fields(row).ok_or_else(no_row)? {
            columns.add(&name);
        }
    }
    Ok(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_an_end_to_the_columns_of_events() {
        let rows: Vec<String> = (0..COLUMNS_MAX).map(|row| format!(r#"{{"_offset":{row},"k{row}":1}}"#)).collect();
        let rows: Vec<&[u8]> = rows.iter().map(String::as_bytes).collect();
        let columns = columns_of(&rows[..COLUMNS_MAX - 1]).unwrap();
        assert_eq!((columns.names.len(), columns.is_cut), (COLUMNS_MAX, false));
        let columns = columns_of(&rows).unwrap();
        assert_eq!((columns.names.len(), columns.is_cut), (COLUMNS_MAX, true));
        let mut others = Vec::new();
        let cells = columns.cells(rows[COLUMNS_MAX - 1], |name| others.push(name.to_owned())).unwrap();
        assert_eq!((cells.len(), others), (COLUMNS_MAX, vec![format!("k{}", COLUMNS_MAX - 1)]));
    }
}
