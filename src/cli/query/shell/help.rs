//! What `\?` and `\h` show.

use super::meta::COMMANDS;
use crate::ensql::{aggregate_names, envelope_names, function_names};

/// Columns of a line of names.
const WIDTH: usize = 96;

/// The commands and the keys.
pub(super) fn commands() -> String {
    let mut text = "A statement ends with ; and may have several lines.\n\n".to_owned();
    text.extend(COMMANDS.map(|(name, behind, does)| format!("  {:<18}  {does}\n", format!("{name} {behind}"))));
    text + "
  tab                 complete keywords, functions, topics and fields
  ctrl-r              search what was typed before; what begins with a space is not remembered
  ctrl-c              forget what was typed, or cancel the query
  ctrl-d              leave
"
}

/// What a query consists of.
pub(super) fn language() -> String {
    let mut functions: Vec<&str> = function_names().collect();
    functions.sort_unstable();
    let mut text = "SELECT * | expression [AS name], … FROM topic
  [OFFSET n] [AFTER '-1h' | '2026-11-21' | n] [BEFORE …]
  [WHERE condition] [GROUP BY expression, …] [HAVING condition]
  [ORDER BY expression [ASC | DESC], …] [LIMIT n];

"
    .to_owned();
    text += &paragraph("functions", functions);
    text += &paragraph("aggregates", aggregate_names());
    text += &paragraph("of every event", envelope_names());
    text += "\nText is in 'single quotes', a name that is a keyword or has odd letters in \"double quotes\".\n";
    text + "\\d TOPIC lists the fields of a topic.\n"
}

/// Names under a head, in lines.
fn paragraph<'a>(head: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let mut lines = vec![format!("{head}:")];
    let mut line = String::new();
    for name in names {
        if !line.is_empty() && line.len() + 2 + name.len() > WIDTH {
            lines.push(format!("  {line},"));
            line.clear();
        }
        if !line.is_empty() {
            line += ", ";
        }
        line += name;
    }
    lines.push(format!("  {line}\n"));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_short() {
        for text in [commands(), language()] {
            assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
            assert!(text.ends_with('\n'));
        }
        assert_eq!(paragraph("a", ["b", "c"]), "a:\n  b, c\n");
    }

    #[test]
    fn everything_is_listed() {
        assert!(COMMANDS.iter().all(|(name, ..)| commands().contains(name)));
        assert!(language().contains("approx_percentile,") && language().contains("split_part"));
    }
}
