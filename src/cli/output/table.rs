//! Tables for people: no lines, two spaces between columns.

use comfy_table::{ContentArrangement, Table, presets};

/// Renders rows under bold heads.
pub(super) fn render(columns: &[&str], rows: &[Vec<String>], color: bool) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|column| column.to_uppercase()));
    for row in rows {
        table.add_row(row.iter().map(|cell| visible(cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let text = trimmed(table.lines());
    match text.split_once('\n') {
        Some((head, rest)) if color => format!("\x1b[1m{head}\x1b[0m\n{rest}"),
        _ => text,
    }
}

/// Renders one thing: a name and a value on each line.
pub(super) fn fields(fields: &[(&str, String)], color: bool) -> String {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let (bold, off) = if color { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    let lines = fields.iter().map(|(name, value)| format!("{bold}{name:width$}{off}  {}", visible(value)));
    trimmed(lines)
}

fn trimmed(lines: impl Iterator<Item = String>) -> String {
    let mut text = String::new();
    for line in lines {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Text that can't move the cursor or change the terminal, whatever a stranger put into it.
pub(in crate::cli) fn visible(text: &str) -> String {
    if !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    text.chars()
        .flat_map(|letter| {
            let shown: Box<dyn Iterator<Item = char>> =
                if letter.is_control() { Box::new(letter.escape_default()) } else { Box::new(std::iter::once(letter)) };
            shown
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = vec![vec!["a".to_owned(), "1".to_owned()], vec!["längst".to_owned(), "\x1b[2J".to_owned()]];
        assert_eq!(render(&["name", "events"], &rows, false), "NAME    EVENTS\na       1\nlängst  \\u{1b}[2J\n");
        assert_eq!(fields(&[("a", "x".to_owned()), ("long", "y".to_owned())], false), "a     x\nlong  y\n");
    }
}
