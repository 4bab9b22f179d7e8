//! What the tab key offers: from the text around the cursor and the names that are known, to what could stand there.
//!
//! Nothing is offered within texts and comments. Names are offered as they are, keywords in the letters that were begun with.

use super::meta;
use crate::ensql::{KEYWORDS, Piece, PieceKind, aggregate_names, envelope_names, function_names, pieces};

/// What could stand at the cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) shown: String,
    /// What replaces what was begun; ends with a space where nothing but a space can follow.
    pub(super) text: String,
}

/// Names that the text does not know.
pub(super) trait KnownNames {
    fn topics(&self) -> Vec<String>;
    /// The fields of a topic as a query writes them.
    fn fields(&self, topic: &str) -> Vec<String>;
    fn parameters(&self) -> Vec<String>;
}

/// The formats that `\format` takes.
const FORMATS: [&str; 6] = ["csv", "json", "jsonl", "raw", "table", "yaml"];

/// What a statement goes on with behind its topic.
const CLAUSES: [&str; 8] = ["WHERE", "GROUP BY", "HAVING", "ORDER BY", "LIMIT", "OFFSET", "AFTER", "BEFORE"];

/// What follows a value.
const BEHIND_VALUE: [&str; 13] =
    ["AND", "OR", "AS", "FROM", "IS", "IN", "NOT", "LIKE", "ILIKE", "BETWEEN", "ASC", "DESC", "END"];

/// Keywords behind which a value is to come.
const BEFORE_VALUE: [&str; 17] = [
    "ALL", "AND", "BETWEEN", "BY", "CASE", "DISTINCT", "ELSE", "HAVING", "ILIKE", "IN", "LIKE", "NOT", "OR", "SELECT",
    "THEN", "WHEN", "WHERE",
];

/// What a place in a statement is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Beginning,
    Topic,
    Value,
    BehindTopic,
    BehindValue,
    /// Within a text or a comment, or where something is given a new name.
    Nothing,
}

/// What could stand at the cursor, and where in the line what was begun there starts. `before` are the lines before
/// this one.
pub(super) fn offers(before: &str, line: &str, cursor: usize, names: &dyn KnownNames) -> (usize, Vec<Offer>) {
    let (Some(begun), Some(_)) = (line.get(..cursor), line.get(cursor..)) else { return (cursor, Vec::new()) };
    if meta::is_command(begun, before.is_empty()) {
        return of_command(begun, names);
    }
    let text = format!("{before}{begun}");
    let statement = &text[statement_start(&text)..];
    let cut = pieces(statement);
    let word = begun_word(statement, &cut, line.len().min(cursor));
    let prefix = &statement[statement.len() - word..];
    let ahead = &cut[..cut.iter().position(|piece| piece.range.end > statement.len() - word).unwrap_or(cut.len())];
    let whole = format!("{statement}{}", &line[cursor..]);
    let lowercase = wants_lowercase(prefix, statement);
    let mut found = Vec::new();
    match place(statement, ahead) {
        Place::Nothing => {}
        Place::Beginning => keywords(&["SELECT"], prefix, lowercase, &mut found),
        Place::Topic => plain(names.topics(), prefix, " ", &mut found),
        Place::Value => {
            if let Some(topic) = topic_of(&whole) {
                plain(names.fields(&topic), prefix, "", &mut found);
            }
            plain(envelope_names().map(str::to_owned), prefix, "", &mut found);
            // All of them, unasked for, would hide the fields.
            if !prefix.is_empty() {
                let functions = function_names().chain(aggregate_names());
                plain(functions.map(str::to_owned), prefix, "(", &mut found);
                keywords(&KEYWORDS, prefix, lowercase, &mut found);
            }
        }
        Place::BehindTopic => keywords(&CLAUSES, prefix, lowercase, &mut found),
        Place::BehindValue => {
            keywords(&BEHIND_VALUE, prefix, lowercase, &mut found);
            if topic_of(statement).is_some() {
                found.retain(|offer| !offer.shown.eq_ignore_ascii_case("FROM"));
                keywords(&CLAUSES, prefix, lowercase, &mut found);
            }
            if !prefix.is_empty() && found.is_empty() {
                keywords(&KEYWORDS, prefix, lowercase, &mut found);
            }
        }
    }
    found.dedup();
    (cursor - word, found)
}

/// What could stand in a command.
fn of_command(begun: &str, names: &dyn KnownNames) -> (usize, Vec<Offer>) {
    let start = begun.rfind(char::is_whitespace).map_or(0, |at| {
        let space = begun[at..].chars().next().map_or(0, char::len_utf8);
        at + space
    });
    let (ahead, prefix) = begun.split_at(start);
    let mut found = Vec::new();
    match ahead.trim() {
        "" => {
            let mut commands: Vec<&str> = meta::COMMANDS.iter().map(|(name, ..)| *name).collect();
            commands.dedup();
            plain(commands.into_iter().map(str::to_owned), prefix, " ", &mut found);
        }
        "\\d" => plain(names.topics(), prefix, "", &mut found),
        "\\f" | "\\format" => plain(FORMATS.map(str::to_owned), prefix, "", &mut found),
        "\\timing" => plain(["on", "off"].map(str::to_owned), prefix, "", &mut found),
        "\\set" | "\\unset" => plain(names.parameters(), prefix, "", &mut found),
        _ => {}
    }
    (start, found)
}

/// Where the statement begins that a text ends with.
fn statement_start(text: &str) -> usize {
    let cut = pieces(text);
    let last = cut.iter().rev().find(|piece| piece.kind == PieceKind::Semicolon);
    last.map_or(0, |piece| piece.range.end)
}

/// How many bytes at the end of a statement are what is being completed: the beginning of a name, with its dots, or of a
/// topic, with its dashes. At most so many, which is what the line has.
fn begun_word(statement: &str, cut: &[Piece], bytes_max: usize) -> usize {
    let is_open = |piece: &Piece| {
        matches!(piece.kind, PieceKind::OpenQuote | PieceKind::OpenComment | PieceKind::Comment | PieceKind::Text)
    };
    if cut.last().is_some_and(is_open) {
        return 0;
    }
    let of_name = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '.');
    let name = statement.trim_end_matches(of_name);
    let topic = statement.trim_end_matches(|letter| of_name(letter) || letter == '-');
    let behind_from = pieces(topic).iter().rev().find(|piece| !is_space(piece)).is_some_and(|piece| {
        let ends_with_space = topic.ends_with(char::is_whitespace);
        ends_with_space && statement[piece.range.clone()].eq_ignore_ascii_case("FROM")
    });
    let start = if behind_from { topic.len() } else { name.len() };
    (statement.len() - start).min(bytes_max)
}

fn is_space(piece: &Piece) -> bool {
    matches!(piece.kind, PieceKind::Space | PieceKind::Comment)
}

/// What the place behind these pieces of a statement is for.
fn place(statement: &str, ahead: &[Piece]) -> Place {
    let is_closed = |piece: &Piece| !matches!(piece.kind, PieceKind::OpenQuote | PieceKind::OpenComment);
    let ends_in_comment = ahead.last().is_some_and(|piece| {
        // A comment to the end of the line goes on where the line does.
        piece.kind == PieceKind::Comment && statement[piece.range.clone()].starts_with("--")
    });
    if !ahead.iter().all(is_closed) || ends_in_comment {
        return Place::Nothing;
    }
    let mut said = ahead.iter().rev().filter(|piece| !is_space(piece));
    let Some(last) = said.next() else { return Place::Beginning };
    let before_last = said.next().map(|piece| &statement[piece.range.clone()]);
    let text = &statement[last.range.clone()];
    let is_from = |text: &str| text.eq_ignore_ascii_case("FROM");
    match last.kind {
        PieceKind::Word if is_from(text) => Place::Topic,
        PieceKind::Word if text.eq_ignore_ascii_case("AS") => Place::Nothing,
        PieceKind::Word if BEFORE_VALUE.iter().any(|word| word.eq_ignore_ascii_case(text)) => Place::Value,
        _ if last_name_is_topic(statement, ahead) || before_last.is_some_and(is_from) => Place::BehindTopic,
        PieceKind::Sign if text == "*" && before_last.is_some_and(|text| text.eq_ignore_ascii_case("SELECT")) => {
            Place::BehindValue
        }
        PieceKind::Sign if !matches!(text, ")" | "]") => Place::Value,
        _ => Place::BehindValue,
    }
}

/// Whether what a statement ends with is its topic: words and signs behind FROM, without a space between them.
fn last_name_is_topic(statement: &str, ahead: &[Piece]) -> bool {
    let name = ahead.iter().rev().skip_while(|piece| is_space(piece)).take_while(|piece| !is_space(piece)).count();
    let end = ahead.iter().rev().skip_while(|piece| is_space(piece)).count();
    let mut before = ahead[..end - name].iter().rev().filter(|piece| !is_space(piece));
    before.next().is_some_and(|piece| statement[piece.range.clone()].eq_ignore_ascii_case("FROM"))
}

/// The topic that a statement names, as it is written, also when what is around it is not finished.
pub(super) fn topic_of(statement: &str) -> Option<String> {
    let cut = pieces(statement);
    let is_from =
        |piece: &Piece| piece.kind == PieceKind::Word && statement[piece.range.clone()].eq_ignore_ascii_case("FROM");
    let from = cut.iter().position(is_from)?;
    let mut behind = cut[from + 1..].iter().skip_while(|piece| is_space(piece));
    let first = behind.next()?;
    let text = &statement[first.range.clone()];
    match first.kind {
        PieceKind::QuotedName | PieceKind::Text => {
            let quote = text.chars().next()?;
            let within = text.strip_prefix(quote)?.strip_suffix(quote)?;
            Some(within.replace(&format!("{quote}{quote}"), &quote.to_string()))
        }
        PieceKind::Word | PieceKind::Number => {
            let rest = &statement[first.range.start..];
            let is_of_name = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '-' | '.');
            let end = rest.find(|letter| !is_of_name(letter)).unwrap_or(rest.len());
            Some(rest[..end].trim_end_matches('.').to_owned())
        }
        _ => None,
    }
}

/// Whether keywords are to be in small letters: when what was begun is, or else what the statement begins with.
fn wants_lowercase(prefix: &str, statement: &str) -> bool {
    let sample = if prefix.is_empty() { statement.trim_start() } else { prefix };
    sample.chars().find(|letter| letter.is_alphabetic()).is_some_and(char::is_lowercase)
}

fn keywords(words: &[&str], prefix: &str, lowercase: bool, found: &mut Vec<Offer>) {
    for word in words {
        let begins = word.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
        // What is written already need not be offered, unless all that is left is the space behind it.
        if begins {
            let shown = if lowercase { word.to_lowercase() } else { (*word).to_owned() };
            let text = format!("{shown} ");
            found.push(Offer { shown, text });
        }
    }
}

/// Names that begin so: in the letters that were typed if there are any, otherwise in others.
fn plain(names: impl IntoIterator<Item = String>, prefix: &str, behind: &str, found: &mut Vec<Offer>) {
    let bare = |name: &str| name.trim_start_matches('"').to_lowercase();
    let lower = prefix.to_lowercase();
    let begins = |name: &String| name.to_lowercase().starts_with(&lower) || bare(name).starts_with(&lower);
    let fitting: Vec<String> = names.into_iter().filter(begins).collect();
    let exact = fitting.iter().any(|name| name.starts_with(prefix));
    let kept = fitting.into_iter().filter(|name| !exact || name.starts_with(prefix) || name.starts_with('"'));
    found.extend(kept.map(|shown| {
        let text = format!("{shown}{behind}");
        Offer { shown, text }
    }));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Known;

    impl KnownNames for Known {
        fn topics(&self) -> Vec<String> {
            ["flights", "flights-2025", "orders.eu"].map(str::to_owned).into()
        }

        fn fields(&self, topic: &str) -> Vec<String> {
            match topic {
                "flights" => ["carrier", "Delay", "origin.city", "\"unit-price\""].map(str::to_owned).into(),
                "flights-2025" => vec!["y2025".to_owned()],
                _ => Vec::new(),
            }
        }

        fn parameters(&self) -> Vec<String> {
            vec!["min".to_owned()]
        }
    }

    /// What is offered at the `|`.
    fn check(marked: &str, expected: &[&str]) {
        let (before, line) = marked.rsplit_once('\n').map_or(("", marked), |(before, line)| (before, line));
        let before = if before.is_empty() { String::new() } else { format!("{before}\n") };
        let cursor = line.find('|').unwrap();
        let line = line.replacen('|', "", 1);
        let (start, found) = offers(&before, &line, cursor, &Known);
        let texts: Vec<String> = found.iter().map(|offer| format!("{}{}", &line[..start], offer.text)).collect();
        let shown: Vec<&str> = found.iter().map(|offer| offer.shown.as_str()).collect();
        assert!(expected == shown || expected == texts, "{marked}: {shown:?} {texts:?}");
    }

    #[test]
    fn statements() {
        check("|", &["SELECT"]);
        check("sel|", &["select "]);
        check("SELECT * FROM |", &["flights", "flights-2025", "orders.eu"]);
        check("SELECT * FROM fl|", &["flights", "flights-2025"]);
        check("SELECT * FROM flights-|", &["SELECT * FROM flights-2025 "]);
        check("SELECT * FROM orders.|", &["SELECT * FROM orders.eu "]);
        check("SELECT *\nFROM fl|", &["flights", "flights-2025"]);
        check("SELECT * FROM flights |", &CLAUSES);
        check("SELECT * FROM flights-2025 w|", &["SELECT * FROM flights-2025 where "]);
        check(
            "SELECT * FROM flights WHERE c|",
            &[
                "carrier",
                "ceil",
                "ceiling",
                "char_length",
                "coalesce",
                "concat",
                "contains",
                "character_length",
                "current_timestamp",
                "count",
                "case",
                "cast",
            ],
        );
        check("SELECT car| FROM flights", &["SELECT carrier"]);
        check("SELECT DEL| FROM flights", &["SELECT Delay"]);
        check("SELECT origin.| FROM flights", &["SELECT origin.city"]);
        check("SELECT uni| FROM flights", &["SELECT \"unit-price\""]);
        check("SELECT y| FROM flights-2025 WHERE", &["SELECT y2025"]);
        check("SELECT y| FROM \"flights-2025\"", &["SELECT y2025"]);
        check("SELECT _of|", &["SELECT _offset"]);
        check("SELECT * FROM flights WHERE Delay > 1 an|", &["SELECT * FROM flights WHERE Delay > 1 and "]);
        check("SELECT * FROM flights ORDER BY Delay de|", &["SELECT * FROM flights ORDER BY Delay desc "]);
        check("SELECT carrier FR|", &["SELECT carrier FROM "]);
        check(
            "select * |",
            &["and", "or", "as", "from", "is", "in", "not", "like", "ilike", "between", "asc", "desc", "end"],
        );
        check("a; sel|", &["a; select "]);
    }

    #[test]
    fn nothing_within_texts() {
        check("SELECT 'sel|", &[]);
        check("SELECT a -- sel|", &[]);
        check("SELECT /* sel|", &[]);
        check("SELECT 'a\nsel|", &[]);
        check("SELECT a AS sel|", &[]);
        check("SELECT \"sel|", &[]);
    }

    #[test]
    fn commands() {
        check("\\ti|", &["\\timing "]);
        check("\\d fl|", &["\\d flights", "\\d flights-2025"]);
        check("\\format js|", &["json", "jsonl"]);
        check("\\timing o|", &["on", "off"]);
        check("\\unset |", &["min"]);
        check("\\o fl|", &[]);
    }

    #[test]
    fn topics_of_statements() {
        let check = |text: &str, topic: Option<&str>| assert_eq!(topic_of(text).as_deref(), topic, "{text}");
        check("SELECT a FROM b.c-d WHERE", Some("b.c-d"));
        check("select x from 'it''s'", Some("it's"));
        check("select \"from\" from `a b` limit", Some("a b"));
        check("SELECT a FROM", None);
        check("SELECT 'FROM x'", None);
    }

    proptest! {
        #[test]
        fn no_text_panics(
            before in "[a-c '\"`/*;\u{e9}\n-]{0,12}",
            line in "\\PC{0,20}|(SELECT|FROM|flights|WHERE|AS|[ .,'\"`*;()\\\\\u{e9}\u{1f600}-]){0,9}",
            cursor in 0_usize..40,
        ) {
            let (start, found) = offers(&before, &line, cursor, &Known);
            if !found.is_empty() {
                prop_assert!(start <= cursor);
                prop_assert!(line.get(start..cursor).is_some());
                prop_assert!(found.iter().all(|offer| offer.text.starts_with(&offer.shown)));
            }
        }
    }
}
