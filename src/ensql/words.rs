//! The words of the language, for those who help to write it: completion, highlighting.
//!
//! The names of functions are the tables that the translator looks them up in. Of the keywords, those that the clauses are
//! read by are checked against the list wherever they are read.

use super::{Path, Statement, Step, aggregate, function, translate};

/// The keywords, in the order of the alphabet.
pub const KEYWORDS: [&str; 51] = [
    "AFTER",
    "ALL",
    "AND",
    "AS",
    "ASC",
    "BEFORE",
    "BETWEEN",
    "BIGINT",
    "BLOB",
    "BOOLEAN",
    "BY",
    "CASE",
    "CAST",
    "DATE",
    "DESC",
    "DISTINCT",
    "ELSE",
    "END",
    "ESCAPE",
    "FALSE",
    "FILTER",
    "FIRST",
    "FLOAT",
    "FROM",
    "GROUP",
    "HAVING",
    "ILIKE",
    "IN",
    "INTEGER",
    "INTERVAL",
    "IS",
    "LAST",
    "LIKE",
    "LIMIT",
    "NOT",
    "NULL",
    "NULLS",
    "NUMERIC",
    "OFFSET",
    "OR",
    "ORDER",
    "REAL",
    "SELECT",
    "TEXT",
    "THEN",
    "TIMESTAMP",
    "TRUE",
    "UNKNOWN",
    "VARCHAR",
    "WHEN",
    "WHERE",
];

/// Functions that have a form of their own, without commas between their arguments, or without arguments.
const OWN_FORM: [&str; 4] = ["current_timestamp", "extract", "now", "position"];

/// The names of the functions of one row.
pub fn function_names() -> impl Iterator<Item = &'static str> {
    function::NAMES.into_iter().map(|(name, ..)| name).chain(OWN_FORM)
}

/// The names of the aggregates.
pub fn aggregate_names() -> impl Iterator<Item = &'static str> {
    aggregate::NAMES.into_iter().map(|(name, ..)| name)
}

/// The names of what is known of an event besides its data.
pub fn envelope_names() -> impl Iterator<Item = &'static str> {
    translate::ENVELOPE.into_iter().map(|(name, _)| name).chain([translate::META])
}

/// How a field is written in a query: in quotes where it would be read as something else without them.
pub fn written_field(path: &Path) -> String {
    let mut written = String::new();
    for (at, step) in path.iter().enumerate() {
        let dot = if at == 0 { "" } else { "." };
        match step {
            Step::Index(index) => written = format!("{written}[{index}]"),
            Step::Key(name) => {
                let bare = format!("{written}{dot}{name}");
                let is_read = Statement::parse(&format!("SELECT {bare} FROM t"))
                    .is_ok_and(|statement| statement.fields.as_slice() == [path[..=at].to_vec()]);
                let quoted = || format!("{written}{dot}\"{}\"", name.replace('"', "\"\""));
                written = if is_read { bare } else { quoted() };
            }
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keywords_are_in_order() {
        assert!(KEYWORDS.is_sorted());
    }

    /// A word that completion offers is one that the language knows.
    #[test]
    fn functions_are_known() {
        for name in function_names().chain(aggregate_names()) {
            let forms = ["", "()", "(a)", "(a, b)", "(a, b, c)", "('1 minute', a)", "(year FROM a)", "('a' IN b)"];
            // Without parentheses, any name would be read, as that of a field.
            let forms = if name == "current_timestamp" { &forms[..1] } else { &forms[1..] };
            let is_read = |form: &&str| Statement::parse(&format!("SELECT {name}{form} FROM t")).is_ok();
            assert!(forms.iter().any(is_read), "{name}");
        }
        let statement = Statement::parse("SELECT current_timestamp FROM t").unwrap();
        assert!(statement.fields.is_empty());
    }

    #[test]
    fn envelope_names_are_known() {
        for name in envelope_names() {
            let field = if name == translate::META { "_meta.a" } else { name };
            let statement = Statement::parse(&format!("SELECT {field} FROM t")).unwrap();
            assert!(statement.fields.is_empty(), "{name} is read from the data");
        }
    }

    /// Every word in capitals of the chapter on the grammar and the expressions is in the list.
    #[test]
    fn keywords_of_the_documentation_are_in_the_list() {
        let document = include_str!("../../docs/ensql.md");
        let (grammar, rest) = document.split_once("## Expressions").unwrap();
        let (operators, _) = rest.split_once("Literals:").unwrap();
        let code = operators.split('`').skip(1).step_by(2);
        let code = code.flat_map(|code| code.split(|letter: char| !letter.is_ascii_alphabetic()));
        let is_keyword = |text: &&str| text.len() > 1 && text.chars().all(|letter| letter.is_ascii_uppercase());
        let words: Vec<&str> = grammar.split('"').chain(code).filter(is_keyword).collect();
        assert!(words.len() > 40, "{words:?}");
        for word in words {
            assert!(KEYWORDS.contains(&word), "{word}");
        }
    }

    #[test]
    fn fields_are_quoted_where_they_have_to_be() {
        let written = |names: &[&str]| written_field(&names.iter().map(|name| Step::Key((*name).to_owned())).collect());
        assert_eq!(written(&["a", "b_1"]), "a.b_1");
        assert_eq!(written(&["from"]), "\"from\"");
        assert_eq!(written(&["unit-price", "a b"]), "\"unit-price\".\"a b\"");
        assert_eq!(written(&["_id"]), "\"_id\"");
        assert_eq!(written(&["a--b"]), "\"a--b\"");
        assert_eq!(written(&["say \"x\""]), "\"say \"\"x\"\"\"");
        assert_eq!(
            written_field(&vec![Step::Key("a".to_owned()), Step::Index(3), Step::Key("b".to_owned())]),
            "a[3].b"
        );
    }

    proptest! {
        #[test]
        fn fields_are_read_as_they_are_written(
            names in prop::collection::vec("[a-z_]{1,5}|select|from|true|end|[a-zA-Z0-9_. \"'`-]{1,6}|\\PC{1,4}", 1..4),
        ) {
            let path: Path = names.into_iter().map(Step::Key).collect();
            let written = written_field(&path);
            let statement = Statement::parse(&format!("SELECT {written} FROM t"));
            let fields = statement.map(|statement| statement.fields);
            prop_assert_eq!(fields, Ok(vec![path]), "{}", written);
        }
    }
}
