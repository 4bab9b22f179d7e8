//! A query's text and its tokens: where they are, and what they say without quotes.

use std::borrow::Cow;

use sqlparser::{
    dialect::Dialect,
    keywords::{self, Keyword},
    tokenizer::{Location, Token, TokenWithSpan, Tokenizer},
};

use super::QueryError;

/// Bytes of a query. A literal of some hundred kilobytes is a use that occurs.
pub(super) const TEXT_BYTES_MAX: usize = 1 << 20;

/// Tokens of a query without spaces, commas and literals: what makes an expression deep or long.
const WORDS_MAX: usize = 8_000;

/// Numbers and texts of a query. More than these can't be parts of expressions.
const LITERALS_MAX: usize = 50_000;

/// The words by which it is said where to read.
pub(super) const RANGES: [&str; 3] = ["OFFSET", "AFTER", "BEFORE"];

/// Characters of the query that an error repeats.
const NEAR_CHARS: usize = 32;

/// EnSQL's words: letters, digits and `_`; names in double quotes or back-ticks; texts in single quotes.
#[derive(Debug)]
pub(super) struct EnSql;

impl Dialect for EnSql {
    fn is_identifier_start(&self, letter: char) -> bool {
        letter.is_alphabetic() || letter == '_'
    }

    fn is_identifier_part(&self, letter: char) -> bool {
        letter.is_alphanumeric() || letter == '_'
    }

    fn is_delimited_identifier_start(&self, letter: char) -> bool {
        letter == '"' || letter == '`'
    }

    fn supports_string_literal_backslash_escape(&self) -> bool {
        true
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn supports_in_empty_list(&self) -> bool {
        true
    }

    fn supports_comma_separated_trim(&self) -> bool {
        true
    }

    /// Words that begin an expression are no names without quotes, also where what follows makes no expression: it is told what
    /// is wrong with that.
    fn is_reserved_for_identifier(&self, word: Keyword) -> bool {
        matches!(word, Keyword::NOT | Keyword::CASE) || keywords::RESERVED_FOR_IDENTIFIER.contains(&word)
    }

    /// `extract(epoch from t)`.
    fn allow_extract_custom(&self) -> bool {
        true
    }
}

/// The text, trimmed, with what turns the tokenizer's lines and columns into bytes.
#[derive(Debug, Clone)]
pub(super) struct SourceText<'a> {
    pub(super) text: &'a str,
    lines: Vec<Line>,
}

#[derive(Debug, Clone)]
struct Line {
    start: usize,
    /// Where each character is from there; empty when all of them are one byte.
    letters: Vec<usize>,
}

impl<'a> SourceText<'a> {
    pub(super) fn new(text: &'a str) -> Result<SourceText<'a>, QueryError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(QueryError::Empty);
        }
        if text.len() > TEXT_BYTES_MAX {
            return Err(QueryError::TooLong { length: text.len(), limit: TEXT_BYTES_MAX });
        }
        Ok(SourceText::whole(text))
    }

    /// The text as it is, whatever it is.
    pub(super) fn whole(text: &'a str) -> SourceText<'a> {
        let mut start = 0;
        let lines = text.split_inclusive('\n').map(|line| {
            let letters = if line.is_ascii() { Vec::new() } else { line.char_indices().map(|(at, _)| at).collect() };
            start += line.len();
            Line { start: start - line.len(), letters }
        });
        SourceText { text, lines: lines.collect() }
    }

    /// All but spaces and comments. Literals keep their quotes' and backslashes' marks; [`unquote`] takes them away.
    pub(super) fn tokens(&self) -> Result<Vec<TokenWithSpan>, QueryError> {
        let mut tokens =
            Tokenizer::new(&EnSql, self.text).with_unescape(false).tokenize_with_location().map_err(|error| {
                let position = self.byte(error.location);
                if self.text[position..].starts_with(['\'', '"', '`']) {
                    let near = self.text[position..].chars().take(5).collect();
                    return QueryError::Syntax { position, near, what: "quoted string missing closing quote".into() };
                }
                let is_comment = error.message.contains("comment");
                self.error_at(position, if is_comment { "comment missing its end" } else { "unreadable text" })
            })?;
        tokens.retain(|token| !matches!(token.token, Token::Whitespace(_)));
        tokens.shrink_to_fit();
        let (mut words, mut literals) = (0, 0);
        for token in &tokens {
            let (count, most, what) = match &token.token {
                Token::Comma => continue,
                // They stand behind each topic, of which there may be many.
                Token::Word(word) if RANGES.iter().any(|range| word.value.eq_ignore_ascii_case(range)) => continue,
                Token::SingleQuotedString(_) | Token::Number(..) => (&mut literals, LITERALS_MAX, "numbers and texts"),
                _ => (&mut words, WORDS_MAX, "words and signs"),
            };
            *count += 1;
            if *count > most {
                return Err(self.error(token.span.start, format!("a query has at most {most} {what}")));
            }
        }
        Ok(tokens)
    }

    /// The byte position of a line and a column, which both count from one, in characters.
    pub(super) fn byte(&self, location: Location) -> usize {
        let number = |count: u64| usize::try_from(count.saturating_sub(1)).unwrap_or(usize::MAX);
        let (line, column) = (number(location.line), number(location.column));
        let Some(line) = self.lines.get(line) else { return self.text.len() };
        let at = if line.letters.is_empty() { Some(column) } else { line.letters.get(column).copied() };
        at.map_or(self.text.len(), |at| self.text.len().min(line.start.saturating_add(at)))
    }

    pub(super) fn error(&self, location: Location, what: impl Into<Cow<'static, str>>) -> QueryError {
        // A part that was made rather than read has no place.
        let position = if location.line == 0 { 0 } else { self.byte(location) };
        self.error_at(position, what)
    }

    pub(super) fn error_at(&self, position: usize, what: impl Into<Cow<'static, str>>) -> QueryError {
        self.place(position).error(what)
    }

    pub(super) fn place(&self, position: usize) -> Place {
        Place { position, near: self.near(position) }
    }

    /// The word, the number, the quoted text or the sign at a position.
    fn near(&self, position: usize) -> String {
        let rest = self.text.get(position..).unwrap_or_default();
        let Some(first) = rest.chars().next() else { return String::new() };
        let is_word = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '-' | '.');
        let length = if is_word(first) {
            let end = if first.is_alphabetic() { &['_', '-'][..] } else { &['_', '-', '.'][..] };
            rest.find(|letter: char| !letter.is_alphanumeric() && !end.contains(&letter)).unwrap_or(rest.len())
        } else if matches!(first, '\'' | '"' | '`') {
            rest[1..].find(first).map_or(rest.len(), |at| at + 2)
        } else {
            rest.find(|letter: char| is_word(letter) || letter.is_whitespace()).unwrap_or(rest.len())
        };
        rest[..length].chars().take(NEAR_CHARS).collect()
    }
}

/// A place in a query, for errors that are found when its text is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) position: usize,
    pub(super) near: String,
}

impl Place {
    pub(super) fn error(&self, what: impl Into<Cow<'static, str>>) -> QueryError {
        QueryError::Syntax { position: self.position, near: self.near.clone(), what: what.into() }
    }
}

/// What stands between the quotes, without the marks of quotes within: `''` and `\'` are a quote, `\\` is a backslash. Any
/// other backslash is itself.
pub(super) fn unquote(literal: &str) -> String {
    let mut text = String::with_capacity(literal.len());
    let mut letters = literal.chars().peekable();
    while let Some(letter) = letters.next() {
        let escaped = match letter {
            '\'' => letters.next_if_eq(&'\''),
            '\\' => letters.next_if(|next| matches!(next, '\'' | '\\')),
            _ => None,
        };
        text.push(escaped.unwrap_or(letter));
    }
    text
}

/// A name as it is meant: within quotes, a doubled quote is one.
pub(super) fn unquote_name(name: &str, quote: Option<char>) -> String {
    match quote {
        Some(quote) => name.replace(&format!("{quote}{quote}"), &quote.to_string()),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_error(text: &str, expected: &str) {
        let error = SourceText::new(text).and_then(|source| source.tokens()).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn texts_that_are_no_tokens() {
        check_error(" \n", "empty query is invalid");
        check_error("SELECT 'it''s", r#"syntax error at position 7 near "'it''": quoted string missing closing quote"#);
        check_error(
            "a\n\u{e9} 'x\\'",
            r#"syntax error at position 5 near "'x\\'": quoted string missing closing quote"#,
        );
        check_error("a /* b", r#"syntax error at position 6 near "": comment missing its end"#);
        check_error(
            &"x".repeat(TEXT_BYTES_MAX + 1),
            "the query is 1048577 bytes long, more than the 1048576 that are allowed",
        );
        check_error(
            &"a ".repeat(WORDS_MAX + 1),
            r#"syntax error at position 16000 near "a": a query has at most 8000 words and signs"#,
        );
    }

    #[test]
    fn quotes() {
        assert_eq!(unquote(r"it''s"), "it's");
        assert_eq!(unquote(r"it\'s \\ \n 50\%"), r"it's \ \n 50\%");
        assert_eq!(unquote_name("a\"\"b", Some('"')), "a\"b");
    }

    #[test]
    fn what_stands_at_a_position() {
        let source = SourceText::new("a.b-c 1.5 'x y'z <> (1").unwrap();
        let near: Vec<String> = [0, 2, 6, 10, 17, 20, 22].map(|position| source.near(position)).into();
        assert_eq!(near, ["a", "b-c", "1.5", "'x y'", "<>", "(", ""]);
    }
}
