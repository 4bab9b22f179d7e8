//! How a table is laid out whose rows are still to come: two spaces between columns, numbers to the right.
//!
//! On a terminal a line is not longer than the terminal is wide. Numbers keep their digits; texts share what is left, the short ones
//! whole, and columns at the end for which there is no room are left out. Nothing in a cell can move the cursor.

use std::borrow::Cow;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::cli::output::visible;

/// The widest that a column gets.
const WIDTH_MAX: usize = 200;

/// What a text needs at least to be worth showing, if it is that long.
const WIDTH_MIN: usize = 16;

/// What is between columns.
const GAP: usize = 2;

/// What a row says in a column.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cell<'a> {
    pub(super) text: Cow<'a, str>,
    pub(super) number: bool,
}

/// The columns that are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    columns: Vec<Column>,
    hidden: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Column {
    width: usize,
    /// Whether it has numbers, which stand to the right.
    numbers: bool,
}

/// What is known of columns after some rows: how wide they are, and whether all that is in one is numbers.
#[derive(Debug)]
pub(super) struct Measure(Vec<(usize, Option<bool>)>);

impl Measure {
    /// Begins with the names of the columns.
    pub(super) fn of(names: &[String]) -> Measure {
        Measure(names.iter().map(|name| (shown(name, WIDTH_MAX).width().max(1), None)).collect())
    }

    /// Takes one more row.
    pub(super) fn add(&mut self, cells: &[Cell<'_>]) {
        for ((width, numbers), cell) in self.0.iter_mut().zip(cells) {
            if !cell.text.is_empty() {
                *width = (*width).max(shown(&cell.text, WIDTH_MAX).width());
                *numbers = Some(numbers.unwrap_or(true) && cell.number);
            }
        }
    }
}

impl Layout {
    /// Lays out columns that were measured, in lines that are so wide at most.
    pub(super) fn of(measure: &Measure, width: Option<usize>) -> Layout {
        let columns =
            measure.0.iter().map(|(width, numbers)| Column { width: *width, numbers: *numbers == Some(true) });
        let mut columns: Vec<Column> = columns.collect();
        let hidden = width.map_or(0, |width| fit(&mut columns, width));
        Layout { columns, hidden: hidden as u64 }
    }

    /// How many columns are left out.
    pub(super) fn hidden(&self) -> u64 {
        self.hidden
    }

    /// The line with the names.
    pub(super) fn head(&self, names: &[String], color: bool) -> String {
        let names: Vec<Cell<'_>> = names.iter().map(|name| Cell { text: Cow::Borrowed(name), number: false }).collect();
        let line = self.line(&names);
        if color { format!("\x1b[1m{}\x1b[0m\n", line.trim_end()) } else { line }
    }

    /// A row, with its end of line.
    pub(super) fn line(&self, cells: &[Cell<'_>]) -> String {
        let mut line = String::new();
        for (place, (column, cell)) in self.columns.iter().zip(cells).enumerate() {
            if place > 0 {
                line.push_str("  ");
            }
            // A number that came later and is longer is better out of line than wrong.
            let text = shown(&cell.text, if cell.number { WIDTH_MAX } else { column.width });
            let space = " ".repeat(column.width.saturating_sub(text.width()));
            if column.numbers {
                line.extend([&space, &*text]);
            } else {
                line.extend([&*text, &space]);
            }
        }
        line.truncate(line.trim_end().len());
        line.push('\n');
        line
    }
}

/// Makes columns fit into a line; says how many had to be left out.
fn fit(columns: &mut Vec<Column>, width: usize) -> usize {
    let all = columns.len();
    let least = |column: &Column| if column.numbers { column.width } else { column.width.min(WIDTH_MIN) };
    let mut needed = 0;
    let fitting = columns.iter().take_while(|column| {
        needed += least(column) + if needed > 0 { GAP } else { 0 };
        needed <= width
    });
    let shown = fitting.count().max(1);
    columns.truncate(shown);
    let room = width.saturating_sub(GAP * (shown - 1));
    let numbers: usize = columns.iter().filter(|column| column.numbers).map(|column| column.width).sum();
    // Texts share the room: from the shortest on, each has an equal part of what is left, or less if it needs less.
    let mut texts: Vec<&mut Column> = columns.iter_mut().filter(|column| !column.numbers).collect();
    texts.sort_by_key(|column| column.width);
    let (mut room, mut left) = (room.saturating_sub(numbers), texts.len());
    for column in texts {
        column.width = column.width.min((room / left).max(1));
        room = room.saturating_sub(column.width);
        left -= 1;
    }
    all - shown
}

/// A text as it is shown in so many columns of a terminal: what is longer ends with an ellipsis.
fn shown(text: &str, width: usize) -> Cow<'_, str> {
    // Longer ones are cut before they are looked at; a character with a width of nothing may stand behind another one.
    let limit = text.char_indices().nth(4 * WIDTH_MAX).map_or(text.len(), |(end, _)| end);
    let text = if text[..limit].chars().any(char::is_control) {
        Cow::Owned(visible(&text[..limit]))
    } else {
        Cow::Borrowed(&text[..limit])
    };
    if text.width() <= width {
        return text;
    }
    let mut end = 0;
    let mut used = 0;
    for (start, letter) in text.char_indices() {
        used += letter.width().unwrap_or(0);
        if used >= width.max(1) {
            break;
        }
        end = start + letter.len_utf8();
    }
    Cow::Owned(format!("{}…", &text[..end]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cells<'a>(row: &[&'a str]) -> Vec<Cell<'a>> {
        let number = |text: &str| text.parse::<f64>().is_ok();
        row.iter().map(|text| Cell { text: Cow::Borrowed(*text), number: number(text) }).collect()
    }

    fn layout(names: &[String], rows: &[Vec<Cell<'_>>], width: Option<usize>) -> Layout {
        let mut measure = Measure::of(names);
        for row in rows {
            measure.add(row);
        }
        Layout::of(&measure, width)
    }

    fn table(names: &[&str], rows: &[&[&str]], width: Option<usize>) -> String {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let rows: Vec<Vec<Cell<'_>>> = rows.iter().map(|row| cells(row)).collect();
        let layout = layout(&names, &rows, width);
        layout.head(&names, false) + &rows.iter().map(|row| layout.line(row)).collect::<String>()
    }

    #[test]
    fn numbers_stand_to_the_right() {
        let rows: &[&[&str]] = &[&["DE", "12", ""], &["Österreich", "1.5", "x\ty\x1b[2J"], &["日本", "", "z"]];
        assert_eq!(
            table(&["country", "n", "note"], rows, None),
            "country       n  note\nDE           12\nÖsterreich  1.5  x\\ty\\u{1b}[2J\n日本             z\n"
        );
        assert_eq!(table(&["a", "b"], &[], Some(80)), "a  b\n");
    }

    #[test]
    fn texts_share_the_room() {
        let rows: &[&[&str]] = &[&["123456", "a text that is long", "short", "another text that is long"]];
        assert_eq!(
            table(&["n", "one", "two", "three"], rows, Some(52)),
            "     n  one                two    three\n123456  a text that is l…  short  another text that…\n"
        );
        assert_eq!(table(&["n", "one", "two", "three"], rows, Some(25)), "     n  one\n123456  a text that is l…\n");
        assert_eq!(table(&["n", "one"], rows, Some(3)), "     n\n123456\n");
        assert_eq!(table(&["w"], &[&["日本日本日本"]], Some(6)), "w\n日本…\n");
    }

    #[test]
    fn what_comes_later_does_not_change_the_layout() {
        let names = ["n".to_owned(), "t".to_owned()];
        let layout = layout(&names, &[cells(&["1", "ab"])], None);
        assert_eq!(layout.line(&cells(&["1234", "abcdef"])), "1234  a…\n");
        assert_eq!(layout.line(&cells(&["", ""])), "\n");
    }

    proptest! {
        /// No line is wider than the terminal as long as a column of numbers is not, and none moves the cursor.
        #[test]
        fn lines_fit(
            rows in prop::collection::vec(prop::collection::vec("\\PC{0,30}|[a\\x00-\\x1f\u{7f}-\u{9f}日]{0,9}", 3), 0..5),
            width in 1..100_usize,
        ) {
            let names = ["one".to_owned(), "zwei".to_owned(), "三".to_owned()];
            let rows: Vec<Vec<Cell<'_>>> = rows
                .iter()
                .map(|row| row.iter().map(|text| Cell { text: Cow::Borrowed(&**text), number: false }).collect())
                .collect();
            let layout = layout(&names, &rows, Some(width));
            for row in rows {
                let line = layout.line(&row);
                let line = line.strip_suffix('\n').unwrap();
                prop_assert!(!line.chars().any(char::is_control), "{line:?}");
                prop_assert!(line.width() <= width.max(8), "{line:?} in {width}");
            }
        }
    }
}
