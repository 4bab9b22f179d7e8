//! `SELECT * FROM topic [OFFSET n | OFFSET 'id' | AFTER 'time or id'] [BEFORE 'time or id']`.

use sqlparser::{
    dialect::GenericDialect,
    tokenizer::{Location, Token, TokenWithSpan, Tokenizer},
};

use crate::model::{Offset, Position, Rlid, Time};

/// Which part of which topic is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeQuery {
    /// The topic's name or its ULID, as it was written.
    pub topic: String,
    /// Where to start; `None` when the query does not say.
    pub from: Option<Position>,
    /// What to stop before; `None` when the query does not say. Either an event or a time.
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
        let topic = self.topic()?;
        let mut query = RangeQuery { topic, from: None, until: None };
        loop {
            if query.from.is_none() && self.keyword("OFFSET") {
                query.from = Some(self.offset()?);
            } else if query.from.is_none() && self.keyword("AFTER") {
                query.from = Some(match self.place("invalid after clause")? {
                    Position::Event(id) => Position::Event(id.plus(1)),
                    Position::Time(time) => Position::Time(time.plus_nanos(1)),
                    other => other,
                });
            } else if query.until.is_none() && self.keyword("BEFORE") {
                query.until = Some(self.place("invalid before clause")?);
            } else {
                break;
            }
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
            && !matches!(self.peek(), Token::Whitespace(_) | Token::SemiColon | Token::EOF)
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

    /// A quoted time or event id.
    fn place(&mut self, what: &'static str) -> Result<Position, RangeError> {
        let Token::SingleQuotedString(text) = self.peek() else {
            return Err(self.syntax(what));
        };
        let position = Rlid::parse(text)
            .map(Position::Event)
            .or_else(|_| Time::parse(text).map(Position::Time))
            .map_err(|_| self.syntax(what))?;
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

    fn check(text: &str, topic: &str, from: Option<Position>, until: Option<Position>) {
        assert_eq!(RangeQuery::parse(text), Ok(RangeQuery { topic: topic.to_owned(), from, until }), "{text}");
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
