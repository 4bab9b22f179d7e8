//! What stands behind FROM is read here: topics, each with OFFSET, AFTER and BEFORE.
//!
//! What it does not do: look for the topics, or say what a position is in them.

use std::collections::HashSet;

use sqlparser::tokenizer::{Token, Word};

use super::{
    QueryError, Source,
    source::end_of_name,
    source_text::{unquote, unquote_name},
    statement::{Behind, Reader},
};
use crate::model::{Offset, Position, Rlid};

impl Reader<'_> {
    pub(super) fn sources(&mut self) -> Result<Vec<Source>, QueryError> {
        let mut sources: Vec<Source> = Vec::new();
        let mut named = HashSet::new();
        loop {
            let place = self.source.place(self.position());
            let (written, quoted) = self.topic()?;
            if !named.insert(written.clone()) {
                return Err(place.error("topic has already been named"));
            }
            let mut source = Source::new(written, quoted, place);
            self.behind = Behind::Source;
            while self.range(&mut source)? {}
            sources.push(source);
            if *self.peek() != Token::Comma {
                return Ok(sources);
            }
            self.advance();
        }
    }

    /// A name in quotes, or letters, digits, `_`, `-`, `.` and `*` that stand together.
    fn topic(&mut self) -> Result<(String, bool), QueryError> {
        let quoted = match self.peek() {
            Token::SingleQuotedString(name) => Some(unquote(name)),
            Token::Word(Word { value, quote_style: Some(quote), .. }) => Some(unquote_name(value, Some(*quote))),
            _ => None,
        };
        if let Some(name) = quoted.filter(|name| !name.is_empty()) {
            self.advance();
            return Ok((name, true));
        }
        let start = self.position();
        let end = end_of_name(self.source, start).map_err(|at| {
            self.source.error_at(at, if at == start { "invalid topic identifier" } else { "invalid from clause" })
        })?;
        let name = &self.source.text[start..end];
        if !name.starts_with(|first: char| first.is_alphanumeric() || first == '_') {
            return Err(self.error("invalid topic identifier"));
        }
        while self.position() < end && *self.peek() != Token::EOF {
            self.advance();
        }
        Ok((name.to_owned(), false))
    }

    /// Reads one of OFFSET, AFTER and BEFORE, if it is there.
    pub(super) fn range(&mut self, source: &mut Source) -> Result<bool, QueryError> {
        let starts = self.is_keyword("OFFSET") || self.is_keyword("AFTER");
        if starts && source.from.is_some() {
            let immediately = self.behind == Behind::Offset;
            return Err(self.error(if immediately { "invalid offset clause" } else { "offset has already been set" }));
        }
        if self.keyword("OFFSET") {
            source.from = Some(self.offset()?);
            self.behind = Behind::Offset;
        } else if self.keyword("AFTER") {
            source.from = Some(behind(self.place("invalid after clause")?));
            self.behind = Behind::Offset;
        } else if source.until.is_none() && self.keyword("BEFORE") {
            source.until = Some(self.place("invalid before clause")?);
            self.behind = Behind::Source;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// `OFFSET n` skips the first n events of the topic; `OFFSET 'id'` starts with that event.
    fn offset(&mut self) -> Result<Position, QueryError> {
        let position = match self.peek() {
            Token::Number(digits, _) => {
                let skipped: u64 = digits.parse().map_err(|_| self.error("could not parse offset"))?;
                Position::Offset(Offset::FIRST.plus(skipped))
            }
            Token::Minus => return Err(self.error("could not parse offset")),
            Token::SingleQuotedString(id) => {
                Position::Event(Rlid::parse(id).map_err(|_| self.error("could not parse offset"))?)
            }
            _ => return Err(self.error("invalid offset")),
        };
        self.advance();
        Ok(position)
    }

    /// An offset, or any position in quotes.
    fn place(&mut self, what: &'static str) -> Result<Position, QueryError> {
        let position = match self.peek() {
            Token::Number(digits, _) => digits.parse().ok().map(|offset| Position::Offset(Offset::new(offset))),
            Token::SingleQuotedString(text) => text.parse().ok(),
            _ => None,
        };
        let position = position.ok_or_else(|| self.error(what))?;
        self.advance();
        Ok(position)
    }
}

/// The place right behind an event or a time.
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
