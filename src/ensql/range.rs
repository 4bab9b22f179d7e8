//! `SELECT * FROM topic [OFFSET n | OFFSET 'id' | AFTER place] [BEFORE place] {, topic …}`, where a place is an offset, or
//! any [`Position`] in quotes.

use std::collections::HashSet;

use sqlparser::{
    dialect::GenericDialect,
    tokenizer::{Location, Token, TokenWithSpan, Tokenizer},
};

use crate::model::{Offset, Position, Rlid};

/// Which parts of which topics are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeQuery {
    /// At least one; none is written twice in the same way.
    pub topics: Vec<TopicRange>,
}

/// Which part of one topic is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicRange {
    /// The topic's name or its ULID, as it was written.
    pub topic: String,
    /// Where to start; `None` when the query does not say.
    pub from: Option<Position>,
    /// What to stop before; `None` when the query does not say.
    pub until: Option<Position>,
}

/// Why a text is not such a query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    #[error("empty query is invalid")]
    Empty,
    /// Positions are byte offsets in the text without surrounding space.
    #[error("syntax error at position {position} near {near:?}: {what}")]
    Syntax { position: usize, near: String, what: &'static str },
    /// It may be EnSQL, but this version does not serve it.
    #[error("{what} at position {position} is not supported in the query of a subscription by this version")]
    Unsupported { position: usize, what: &'static str },
}

impl RangeQuery {
    /// Reads a query.
    ///
    /// # Errors
    ///
    /// With the byte position and the token where the text stops making sense.
    pub fn parse(text: &str) -> Result<RangeQuery, RangeError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(RangeError::Empty);
        }
        let tokens = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location().map_err(|error| {
            let position = byte_position(text, error.location);
            RangeError::Syntax { position, near: near(text, position), what: "unreadable text" }
        })?;
        let mut parser = Parser { text, tokens, at: 0 };
        parser.skip_space();
        parser.query()
    }
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<TokenWithSpan>,
    at: usize,
}

impl Parser<'_> {
    fn query(&mut self) -> Result<RangeQuery, RangeError> {
        if !self.keyword("SELECT") {
            return Err(self.syntax("invalid query type"));
        }
        match self.peek() {
            Token::Mul => self.advance(),
            Token::Word(_) => return Err(self.unsupported("a projection")),
            _ => return Err(self.syntax("SELECT requires field projection or *")),
        }
        if !self.keyword("FROM") {
            return Err(self.syntax("invalid select fields statement"));
        }
        let mut query = RangeQuery { topics: Vec::new() };
        let mut named = HashSet::new();
        loop {
            let start = self.position();
            let range = self.range()?;
            if !named.insert(range.topic.clone()) {
                let near = near(self.text, start);
                return Err(RangeError::Syntax { position: start, near, what: "topic has already been named" });
            }
            query.topics.push(range);
            if *self.peek() != Token::Comma {
                break;
            }
            self.advance();
        }
        while *self.peek() == Token::SemiColon {
            self.advance();
        }
        match self.peek() {
            Token::EOF => Ok(query),
            Token::Word(word) if is(word, "WHERE") => Err(self.unsupported("WHERE")),
            Token::Word(word) if is(word, "LIMIT") => Err(self.unsupported("LIMIT")),
            Token::Word(word) if is(word, "OFFSET") => Err(self.syntax("offset has already been set")),
            _ => Err(self.syntax("invalid from clause")),
        }
    }

    /// A topic with its clauses.
    fn range(&mut self) -> Result<TopicRange, RangeError> {
        let mut range = TopicRange { topic: self.topic()?, from: None, until: None };
        loop {
            if range.from.is_none() && self.keyword("OFFSET") {
                range.from = Some(self.offset()?);
            } else if range.from.is_none() && self.keyword("AFTER") {
                range.from = Some(behind(self.place("invalid after clause")?));
            } else if range.until.is_none() && self.keyword("BEFORE") {
                range.until = Some(self.place("invalid before clause")?);
            } else {
                return Ok(range);
            }
        }
    }

    /// A name is a quoted text, or whatever stands together without a space: names have dots and dashes.
    fn topic(&mut self) -> Result<String, RangeError> {
        if let Token::SingleQuotedString(name) | Token::DoubleQuotedString(name) = self.peek() {
            let name = name.clone();
            self.advance();
            return Ok(name);
        }
        if let Token::Word(word) = self.peek()
            && word.quote_style.is_some()
        {
            let name = word.value.clone();
            self.advance();
            return Ok(name);
        }
        let start = self.position();
        while self.at < self.tokens.len()
            && !matches!(self.peek(), Token::Whitespace(_) | Token::Comma | Token::SemiColon | Token::EOF)
        {
            self.at += 1;
        }
        let name = self.text[start..self.position()].to_owned();
        self.skip_space();
        if name.is_empty() || !name.starts_with(|first: char| first.is_ascii_alphanumeric()) {
            return Err(RangeError::Syntax {
                position: start,
                near: near(self.text, start),
                what: "invalid topic identifier",
            });
        }
        Ok(name)
    }

    /// `OFFSET n` skips the first n events of the topic; `OFFSET 'id'` starts with that event.
    fn offset(&mut self) -> Result<Position, RangeError> {
        let position = match self.peek() {
            Token::Number(digits, _) => {
                let skipped: u64 = digits.parse().map_err(|_| self.syntax("could not parse offset"))?;
                Position::Offset(Offset::FIRST.plus(skipped))
            }
            Token::Minus => return Err(self.syntax("could not parse offset")),
            Token::SingleQuotedString(id) => {
                Position::Event(Rlid::parse(id).map_err(|_| self.syntax("could not parse offset"))?)
            }
            _ => return Err(self.syntax("invalid offset")),
        };
        self.advance();
        Ok(position)
    }

    /// An offset, or any position in quotes.
    fn place(&mut self, what: &'static str) -> Result<Position, RangeError> {
        let position = match self.peek() {
            Token::Number(digits, _) => digits.parse().ok().map(|offset| Position::Offset(Offset::new(offset))),
            Token::SingleQuotedString(text) => text.parse().ok(),
            _ => None,
        };
        let position = position.ok_or_else(|| self.syntax(what))?;
        self.advance();
        Ok(position)
    }

    fn keyword(&mut self, keyword: &str) -> bool {
        let found = matches!(self.peek(), Token::Word(word) if is(word, keyword));
        if found {
            self.advance();
        }
        found
    }

    fn peek(&self) -> &Token {
        self.tokens.get(self.at).map_or(&Token::EOF, |token| &token.token)
    }

    fn advance(&mut self) {
        self.at += 1;
        self.skip_space();
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Token::Whitespace(_)) {
            self.at += 1;
        }
    }

    fn position(&self) -> usize {
        self.tokens.get(self.at).map_or(self.text.len(), |token| byte_position(self.text, token.span.start))
    }

    fn syntax(&self, what: &'static str) -> RangeError {
        let position = self.position();
        RangeError::Syntax { position, near: near(self.text, position), what }
    }

    fn unsupported(&self, what: &'static str) -> RangeError {
        RangeError::Unsupported { position: self.position(), what }
    }
}

/// Behind the event at a position, and later than a time.
fn behind(position: Position) -> Position {
    match position {
        Position::Start | Position::End => position,
        Position::Offset(offset) => Position::Offset(offset.plus(1)),
        // Behind the last identifier that there can be is that one again, not the first.
        Position::Event(id) => Position::Event(id.max(id.plus(1))),
        Position::Time(time) => Position::Time(time.plus_nanos(1)),
        Position::Ago(nanos) => Position::Ago(nanos.saturating_sub(1)),
    }
}

fn is(word: &sqlparser::tokenizer::Word, keyword: &str) -> bool {
    word.quote_style.is_none() && word.value.eq_ignore_ascii_case(keyword)
}

/// The text from a position to the next space.
fn near(text: &str, position: usize) -> String {
    text[position..].split_whitespace().next().unwrap_or_default().chars().take(32).collect()
}

/// The tokenizer counts lines and characters, both from one.
fn byte_position(text: &str, location: Location) -> usize {
    let line = usize::try_from(location.line.saturating_sub(1)).unwrap_or(usize::MAX);
    let column = usize::try_from(location.column.saturating_sub(1)).unwrap_or(usize::MAX);
    let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    text[start..].char_indices().nth(column).map_or(text.len(), |(at, _)| start + at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Time;

    fn range(topic: &str, from: Option<Position>, until: Option<Position>) -> TopicRange {
        TopicRange { topic: topic.to_owned(), from, until }
    }

    fn check(text: &str, topic: &str, from: Option<Position>, until: Option<Position>) {
        assert_eq!(RangeQuery::parse(text), Ok(RangeQuery { topics: vec![range(topic, from, until)] }), "{text}");
    }

    fn check_error(text: &str, expected: &str) {
        assert_eq!(RangeQuery::parse(text).map_err(|error| error.to_string()), Err(expected.to_owned()), "{text}");
    }

    #[test]
    fn ranges() {
        let id = Rlid::parse("061m4qv6dw06ztvb").unwrap();
        let time = Time::parse("2026-11-21T09:00:00Z").unwrap();
        check("SELECT * FROM flights", "flights", None, None);
        check("  select * from orders.v1-final_2 ; ", "orders.v1-final_2", None, None);
        check("SELECT * FROM 'flights'", "flights", None, None);
        check("SELECT * FROM \"flights\"", "flights", None, None);
        check("SELECT * FROM\n  flights -- all\n OFFSET 0", "flights", Some(Position::Offset(Offset::new(1))), None);
        check("SELECT * FROM flights OFFSET 17", "flights", Some(Position::Offset(Offset::new(18))), None);
        check("SELECT * FROM flights OFFSET '061m4qv6dw06ztvb'", "flights", Some(Position::Event(id)), None);
        check("SELECT * FROM f AFTER '061m4qv6dw06ztvb'", "f", Some(Position::Event(id.plus(1))), None);
        check(
            "SELECT * FROM f BEFORE '061m4qv6dw06ztvb' AFTER '2026-11-21T09:00:00Z'",
            "f",
            Some(Position::Time(time.plus_nanos(1))),
            Some(Position::Event(id)),
        );
        check("SELECT * FROM 01ARYZ6S41041061050R3GG28A", "01ARYZ6S41041061050R3GG28A", None, None);
    }

    #[test]
    fn every_position_has_a_clause() {
        let offset = |number| Some(Position::Offset(Offset::new(number)));
        check("SELECT * FROM f AFTER 16 BEFORE 20", "f", offset(17), offset(20));
        check("SELECT * FROM f AFTER '16' BEFORE '20'", "f", offset(17), offset(20));
        check("SELECT * FROM f AFTER 'start' BEFORE 'now'", "f", Some(Position::Start), Some(Position::End));
        check("SELECT * FROM f AFTER 'end'", "f", Some(Position::End), None);
        let last = Rlid::parse("zzzzzzzzzzzzzzzz").unwrap();
        check("SELECT * FROM f AFTER 'zzzzzzzzzzzzzzzz'", "f", Some(Position::Event(last)), None);
        let (from, until) = (Position::Ago(899_999_999_999), Position::Ago(60_000_000_000));
        check("SELECT * FROM f AFTER '-15m' BEFORE '-1m'", "f", Some(from), Some(until));
        check_error(
            "SELECT * FROM f BEFORE 99999999999999999999",
            r#"syntax error at position 23 near "99999999999999999999": invalid before clause"#,
        );
    }

    #[test]
    fn several_topics_have_clauses_of_their_own() {
        let time = Time::parse("2026-11-21T09:00:00Z").unwrap();
        let expected = vec![
            range("flights", Some(Position::Offset(Offset::new(6))), None),
            range("orders.v1", Some(Position::Time(time.plus_nanos(1))), Some(Position::End)),
            range("two words", None, None),
        ];
        for text in [
            "SELECT * FROM flights OFFSET 5, orders.v1 AFTER '2026-11-21T09:00:00Z' BEFORE 'now', 'two words'",
            "SELECT * FROM flights OFFSET 5,orders.v1 BEFORE 'now' AFTER '2026-11-21T09:00:00Z','two words';",
        ] {
            assert_eq!(RangeQuery::parse(text), Ok(RangeQuery { topics: expected.clone() }), "{text}");
        }
        let expected = vec![range("a", None, None), range("b", None, None)];
        assert_eq!(RangeQuery::parse("SELECT * FROM a,b"), Ok(RangeQuery { topics: expected }));
        check_error("SELECT * FROM a, b, a", r#"syntax error at position 20 near "a": topic has already been named"#);
        check_error("SELECT * FROM a,", r#"syntax error at position 16 near "": invalid topic identifier"#);
        check_error("SELECT * FROM a,,b", r#"syntax error at position 16 near ",b": invalid topic identifier"#);
        check_error("SELECT * FROM a OFFSET 1 b", r#"syntax error at position 25 near "b": invalid from clause"#);
        check_error("SELECT * FROM a BEFORE -3", r#"syntax error at position 23 near "-3": invalid before clause"#);
    }

    #[test]
    fn what_is_refused() {
        check_error("   ", "empty query is invalid");
        check_error("DELETE FROM x", r#"syntax error at position 0 near "DELETE": invalid query type"#);
        check_error("SELECT * FROM", r#"syntax error at position 13 near "": invalid topic identifier"#);
        check_error("SELECT * FROM t OFFSET", r#"syntax error at position 22 near "": invalid offset"#);
        check_error("SELECT * FROM t OFFSET -1", r#"syntax error at position 23 near "-1": could not parse offset"#);
        check_error("SELECT * FROM t OFFSET 1.5", r#"syntax error at position 23 near "1.5": could not parse offset"#);
        check_error(
            "SELECT * FROM t OFFSET 1 OFFSET 2",
            r#"syntax error at position 25 near "OFFSET": offset has already been set"#,
        );
        check_error(
            "SELECT * FROM t AFTER 'soon'",
            r#"syntax error at position 22 near "'soon'": invalid after clause"#,
        );
        check_error("SELECT * FROM t x", r#"syntax error at position 16 near "x": invalid from clause"#);
        check_error(
            "SELECT * FROM t WHERE a = 1",
            "WHERE at position 16 is not supported in the query of a subscription by this version",
        );
        check_error(
            "SELECT a FROM t",
            "a projection at position 7 is not supported in the query of a subscription by this version",
        );
        check_error("SELECT * FROM 'é", r#"syntax error at position 14 near "'é": unreadable text"#);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,80}") {
            drop(RangeQuery::parse(&text));
            drop(RangeQuery::parse(&format!("SELECT * FROM {text}")));
        }
    }
}
