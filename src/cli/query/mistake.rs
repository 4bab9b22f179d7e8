//! What is wrong with a query, shown in the query: its line, and a caret under the place.
//!
//! The server names a place by bytes of the text without the space around it. What is shown is plain, one column for each that the
//! terminal has, and of a long line the part around the place.

use unicode_width::UnicodeWidthStr as _;

use crate::{
    cli::{
        error::{CliError, Kind},
        output::visible,
    },
    client::{ClientError, Code},
    ensql::Statement,
};

/// How many columns of a line are shown, and how many of them before the place.
const SHOWN: usize = 100;
const BEFORE: usize = 60;

/// What the server said about a query, for the person who wrote it.
pub(super) fn explain(error: ClientError, query: &str) -> CliError {
    let is_about_query = error.code() == Some(Code::InvalidArgument) || error.status() == Some(400);
    if !is_about_query {
        let is_unreadable = error.code() == Some(Code::FailedPrecondition);
        let error = CliError::from(error);
        return if is_unreadable { error.hint("--skip-unreadable leaves such events out") } else { error };
    }
    let error = CliError { kind: Kind::Usage, hint: None, ..CliError::from(error) };
    if error.message == "unknown topic in query" {
        return match topic(query) {
            Some(topic) => CliError::not_found(format!("there is no topic {topic}")),
            None => CliError { kind: Kind::NotFound, ..error },
        }
        .hint("`ensign topic list` shows what there is");
    }
    shown(&error.message, query)
}

/// What is wrong with a query, and the place if it names one.
pub(super) fn shown(message: &str, query: &str) -> CliError {
    let error = CliError::usage(message);
    let error = match hint(message) {
        Some(hint) => error.hint(hint),
        None => error,
    };
    match position(message).and_then(|position| excerpt(query, position)) {
        Some(lines) => error.excerpt(lines),
        None => error,
    }
}

/// What helps with a mistake that comes from the habits of other languages.
fn hint(message: &str) -> Option<&'static str> {
    let (place, what) = message.rsplit_once(": ")?;
    match what {
        "invalid query type" if place.to_ascii_uppercase().ends_with("NEAR \"EXPLAIN\"") => {
            Some("`ensign query --explain 'SELECT …'` says what a query would do")
        }
        "invalid query type" => {
            Some("there is only SELECT; `\\d` lists the topics in the shell, `ensign topic list` elsewhere")
        }
        "invalid after clause" | "invalid before clause" => {
            Some("for example '-1h', '2026-11-21T09:30:00Z', or an offset")
        }
        "invalid select fields statement" => {
            Some("an alias needs AS; a comma stands between columns, and FROM behind them")
        }
        _ => None,
    }
}

/// The topic that a query names.
fn topic(query: &str) -> Option<String> {
    Some(Statement::parse(query).ok()?.sources().first()?.written.clone())
}

/// The place that an error speaks of.
fn position(message: &str) -> Option<usize> {
    let rest = message.strip_prefix("syntax error at position ")?;
    rest.split(' ').next()?.parse().ok()
}

/// The line of a place in a query, and a caret under the place; nothing when the query has no such place.
pub(in crate::cli) fn excerpt(query: &str, position: usize) -> Option<String> {
    let text = query.trim();
    let (before, behind) = text.split_at_checked(position)?;
    let start = before.rfind('\n').map_or(0, |end| end + 1);
    let before = plain(&before[start..]);
    let behind = plain(behind.split(['\n', '\r']).next().unwrap_or_default());
    let (head, tail) = (kept_end(&before, BEFORE), kept_start(&behind, SHOWN - BEFORE));
    let number = text[..position].matches('\n').count() + 1;
    let label = if text.contains('\n') { format!("line {number}: ") } else { "  ".to_owned() };
    let (cut_before, cut_behind) = (head.len() < before.len(), tail.len() < behind.len());
    let dots = |cut| if cut { "..." } else { "" };
    let column = label.width() + dots(cut_before).len() + head.width();
    let line = format!("{label}{}{head}{tail}{}", dots(cut_before), dots(cut_behind));
    Some(format!("{}\n{:column$}^\n", line.trim_end(), ""))
}

/// A part of a line as it is shown: a tab is a space, and nothing moves the cursor.
fn plain(text: &str) -> String {
    visible(&text.replace('\t', " "))
}

/// The end of a text that has so many columns at most.
fn kept_end(text: &str, columns: usize) -> &str {
    let fits = text.char_indices().map(|(start, _)| &text[start..]).find(|end| end.width() <= columns);
    fits.unwrap_or_default()
}

/// The start of a text that has so many columns at most.
fn kept_start(text: &str, columns: usize) -> &str {
    let ends = text.char_indices().map(|(end, _)| end).chain([text.len()]);
    ends.map(|end| &text[..end]).take_while(|start| start.width() <= columns).last().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ensql::QueryError;

    #[test]
    fn the_caret_is_under_the_place() {
        let check = |query: &str, position, expected: Option<&str>| {
            assert_eq!(excerpt(query, position).as_deref(), expected, "{query}");
        };
        check("SELECT * FORM t", 9, Some("  SELECT * FORM t\n           ^\n"));
        check("\n  SELECT *\n\tFORM\tt;\nLIMIT 1\n", 10, Some("line 2:  FORM t;\n         ^\n"));
        check("SELECT 'größe', 日本 FORM t", 25, Some("  SELECT 'größe', 日本 FORM t\n                       ^\n"));
        check("SELECT *\r\nFORM t\r\n", 10, Some("line 2: FORM t\n        ^\n"));
        check("SELECT\x1b[2J x", 6, Some("  SELECT\\u{1b}[2J x\n        ^\n"));
        check("SELECT a FROM", 13, Some("  SELECT a FROM\n               ^\n"));
        check("SELECT é", 8, None);
        check("SELECT", 7, None);
    }

    #[test]
    fn of_a_long_line_the_part_around_the_place() {
        let query = format!("SELECT {}x y{} FROM t", "a, ".repeat(100), ", b".repeat(100));
        let shown = excerpt(&query, 309).unwrap();
        let (line, caret) = shown.split_once('\n').unwrap();
        assert_eq!(caret.find('^'), line.find("y, b"), "{shown}");
        assert!(line.starts_with("  ...") && line.ends_with("...") && line.len() == SHOWN + 8, "{shown}");
    }

    #[test]
    fn what_the_server_says_becomes_an_error() {
        let refused = |code, message: &str| ClientError::Refused { code, message: message.to_owned() };
        let error = explain(
            refused(
                Code::InvalidArgument,
                r#"syntax error at position 9 near "FORM": invalid select fields statement"#,
            ),
            "SELECT * FORM t",
        );
        assert_eq!(
            error.render(false, false),
            "error: syntax error at position 9 near \"FORM\": invalid select fields statement\n  \
             SELECT * FORM t\n           ^\n\
             hint: an alias needs AS; a comma stands between columns, and FROM behind them\n"
        );
        assert_eq!(error.kind, Kind::Usage);
        let error = explain(refused(Code::InvalidArgument, "unknown topic in query"), "SELECT * FROM flihgts");
        assert_eq!((error.kind, error.message), (Kind::NotFound, "there is no topic flihgts".to_owned()));
        let error = explain(refused(Code::FailedPrecondition, "suspended"), "SELECT * FROM t");
        assert_eq!(error.hint.as_deref(), Some("--skip-unreadable leaves such events out"));
    }

    #[test]
    fn habits_of_other_languages_are_answered() {
        let check = |query: &str, expected: Option<&str>| {
            let error = shown(&Statement::parse(query).unwrap_err().to_string(), query);
            let hint = error.hint.unwrap_or_default();
            assert!(expected.map_or(hint.is_empty(), |part| hint.contains(part)), "{query}: {hint}");
        };
        check("SHOW TABLES", Some("only SELECT"));
        check("explain SELECT * FROM t", Some("--explain"));
        check("SELECT * FROM t AFTER yesterday", Some("'-1h'"));
        check("SELECT * FROM t BEFORE -3", Some("an offset"));
        check("SELECT a b FROM t", Some("needs AS"));
        check("SELECT a FROM t LIMIT x", None);
    }

    proptest! {
        /// Wherever the place is, the caret stands under it, and the text before it is what is above.
        #[test]
        fn a_caret_has_its_column(
            lines in prop::collection::vec("[ a-zé日\t]{0,80}", 1..4),
            place in any::<prop::sample::Index>(),
        ) {
            let query = lines.join("\n");
            let text = query.trim();
            let places: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
            let position = *place.get(&places);
            let shown = excerpt(&query, position).unwrap();
            let (line, caret) = shown.split_once('\n').unwrap();
            let column = caret.strip_suffix("^\n").unwrap().len();
            let start = text[..position].rfind('\n').map_or(0, |end| end + 1);
            let before = text[start..position].replace('\t', " ");
            let label = line.find(": ").map_or(2, |end| end + 2);
            if before.width() <= BEFORE {
                prop_assert_eq!(column, label + before.width());
                prop_assert!(line[label.min(line.len())..].starts_with(before.trim_end()));
            } else {
                prop_assert!(line[label..].starts_with("..."));
                prop_assert!(column <= label + 3 + BEFORE);
            }
        }

        /// Every place that a query's error names can be shown.
        #[test]
        fn places_of_errors_are_in_the_query(query in "[ \n]{0,2}(SELECT|a|,|\\*|FROM|t|é|'|\\(|=|LIMIT|1| |\n){0,9}") {
            if let Err(error) = Statement::parse(&query) {
                prop_assert_eq!(position(&error.to_string()), error.position());
                if let QueryError::Syntax { position, .. } = error {
                    prop_assert!(excerpt(&query, position).is_some(), "{position}");
                }
            }
        }
    }
}
