//! The results: medians of what was measured in turns, as a table that can be pasted into a document.

use std::fmt::Write as _;

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Events a second.
    Rate,
    Micros,
    Millis,
    Megabytes,
}

/// What is wanted of a ratio, or of a value that has none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Wanted {
    AtLeast(f64),
    AtMost(f64),
    /// It is there to compare others with, or to be known.
    Nothing,
}

/// One line: what was measured, and what it is compared with.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    name: String,
    unit: Unit,
    value: f64,
    /// The name of what it is compared with, and how many times that it is.
    ratio: Option<(&'static str, f64)>,
    wanted: Wanted,
}

impl Row {
    pub(crate) fn new(name: impl Into<String>, unit: Unit, value: f64) -> Row {
        Row { name: name.into(), unit, value, ratio: None, wanted: Wanted::Nothing }
    }

    /// Compares the value with another one of the same unit.
    pub(crate) fn to(self, of: &'static str, other: f64) -> Row {
        let ratio = if other > 0.0 { self.value / other } else { 0.0 };
        Row { ratio: Some((of, ratio)), ..self }
    }

    pub(crate) fn wanted(self, wanted: Wanted) -> Row {
        Row { wanted, ..self }
    }
}

/// Rows of several rounds.
#[derive(Debug, Default)]
pub(crate) struct Table {
    sections: Vec<(String, Vec<Vec<Row>>)>,
}

impl Table {
    /// Adds the rows of one round. Every round of a section has the same rows.
    pub(crate) fn add(&mut self, section: &str, rows: Vec<Row>) {
        match self.sections.iter_mut().find(|(name, _)| name == section) {
            Some((_, rounds)) => rounds.push(rows),
            None => self.sections.push((section.to_owned(), vec![rows])),
        }
    }

    /// The table as text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::from("| what | measured | ratio | wanted | |\n| --- | ---: | --- | --- | --- |\n");
        for (section, rounds) in &self.sections {
            line(&mut text, [&format!("**{section}**"), "", "", "", ""]);
            let Some(first) = rounds.first() else { continue };
            for (at, row) in first.iter().enumerate() {
                let all: Vec<&Row> = rounds.iter().filter_map(|rows| rows.get(at)).collect();
                let value = median(all.iter().map(|row| row.value).collect());
                let ratio = median(all.iter().filter_map(|row| Some(row.ratio?.1)).collect());
                let judged = if row.ratio.is_some() { ratio } else { value };
                let ratio = row.ratio.map_or_else(String::new, |(of, _)| format!("{ratio:.2} of {of}"));
                let (wanted, verdict) = match row.wanted {
                    Wanted::AtLeast(bound) => (format!("≥ {bound}"), judged >= bound),
                    Wanted::AtMost(bound) => (format!("≤ {bound}"), judged <= bound),
                    Wanted::Nothing => (String::new(), true),
                };
                line(
                    &mut text,
                    [&row.name, &shown(value, row.unit), &ratio, &wanted, if verdict { "" } else { "missed" }],
                );
            }
        }
        text
    }
}

fn line(text: &mut String, cells: [&str; 5]) {
    writeln!(text, "| {} |", cells.join(" | ")).expect("text takes everything");
}

fn shown(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Rate if value >= 100_000.0 => format!("{:.2} M/s", value / 1_000_000.0),
        Unit::Rate => format!("{value:.0}/s"),
        Unit::Micros => format!("{value:.0} µs"),
        Unit::Millis => format!("{value:.1} ms"),
        Unit::Megabytes => format!("{value:.1} MB"),
    }
}

/// The middle one of some numbers.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
