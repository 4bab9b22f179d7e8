//! A query that was read: EnSQL's clauses, with `sqlparser` for the expressions within.
//!
//! `SELECT * | expression [AS name], … FROM topic [WHERE …] [GROUP BY …] [HAVING …] [ORDER BY …] [LIMIT n]`, with OFFSET, AFTER and
//! BEFORE anywhere behind the topic. With several topics, as the query of a subscription may have, they stand behind each.
//!
//! `sqlparser` recurs for what is nested, and so does dropping what it has read, a level for each operator in a row. Both are
//! bounded, and happen on a stack with room for the worst that fits within the bounds, whatever the caller's stack is.

use std::collections::HashSet;

use sqlparser::{
    ast::Expr,
    parser::{Parser, ParserError},
    tokenizer::{Location, Token, Word},
};

use super::{
    Path, QueryError, Source, Value,
    aggregate::Aggregate,
    expression::Expression,
    plan::{Column, Order},
    source_text::{EnSql, Place, RANGES, SourceText, unquote, unquote_name},
    translate::{Clause, ParameterName, Translator},
    words::KEYWORDS,
};

/// Levels that `sqlparser` may recur.
const NESTING_MAX: usize = 50;

/// What reading a query may need of the stack. Measured, the worst needs less than half of it, in a build that is not optimized.
/// It is address space; memory is taken as it is needed.
const STACK_BYTES: usize = 16 << 20;

/// Columns of a result, and expressions in GROUP BY and in ORDER BY.
const COLUMNS_MAX: usize = 1_000;

const INVALID_FIELD: &str = "invalid field identifier";

/// A query, before its parameters have values.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    pub(super) sources: Vec<Source>,
    /// `None` for `SELECT *`.
    pub(super) columns: Option<Vec<Column>>,
    pub(super) distinct: bool,
    pub(super) filter: Option<Expression>,
    pub(super) group_by: Vec<Expression>,
    /// Whether there is GROUP BY, HAVING or an aggregate.
    pub(super) is_grouped: bool,
    pub(super) having: Option<(Expression, Place)>,
    pub(super) order_by: Vec<Order>,
    pub(super) limit: Option<Limit>,
    pub(super) fields: Vec<Path>,
    pub(super) aggregates: Vec<Aggregate>,
    pub(super) parameters: Vec<ParameterName>,
    pub(super) texts: Texts,
    /// The first part that can't be given before the last event is known, or that remembers every result.
    ending: Option<(&'static str, Place)>,
}

/// LIMIT's number, or what stands for it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Limit {
    Number(u64),
    Parameter(Expression),
}

/// The clauses as they were written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Texts {
    pub(super) columns: Option<String>,
    pub(super) filter: Option<String>,
    pub(super) group_by: Vec<String>,
    pub(super) having: Option<String>,
    pub(super) order_by: Vec<String>,
}

/// A value for a parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Without `:` or `@`; empty for one that stands for a `?`.
    pub name: String,
    pub value: Value<'static>,
}

/// The clauses, in the order in which they may follow each other. OFFSET, AFTER and BEFORE may be anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    From,
    Where,
    GroupBy,
    Having,
    OrderBy,
    Limit,
}

impl Statement {
    /// Reads a query.
    ///
    /// # Errors
    ///
    /// With the byte position and the token where the text stops making sense.
    pub fn parse(text: &str) -> Result<Statement, QueryError> {
        stacker::maybe_grow(STACK_BYTES, STACK_BYTES, || Statement::parse_here(text))
    }

    fn parse_here(text: &str) -> Result<Statement, QueryError> {
        let source = SourceText::new(text)?;
        let tokens = source.tokens()?;
        let marks = tokens.iter().filter(|token| matches!(&token.token, Token::Placeholder(name) if name == "?"));
        let translator = Translator::new(&source, marks.map(|token| token.span.start).collect());
        let ends = tokens.iter().map(|token| token.span.end).collect();
        let parser = Parser::new(&EnSql).with_recursion_limit(NESTING_MAX).with_tokens_with_locations(tokens);
        let reader = Reader {
            source: &source,
            ends,
            parser,
            translator,
            behind: Behind::Source,
            endings: Vec::new(),
            columns_text: None,
        };
        reader.statement()
    }

    /// Where it reads. There is at least one.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// The names of the results; `None` when they are events.
    pub fn column_names(&self) -> Option<impl Iterator<Item = &str>> {
        Some(self.columns.as_ref()?.iter().map(|column| column.name.as_str()))
    }

    /// What stands behind SELECT, unless that is `*`.
    pub fn columns_text(&self) -> Option<&str> {
        self.texts.columns.as_deref()
    }

    /// What stands behind WHERE.
    pub fn condition_text(&self) -> Option<&str> {
        self.texts.filter.as_deref()
    }

    /// Whether it gives whatever it reads, as it is stored. Which types of events it reads its sources say.
    pub fn is_range(&self) -> bool {
        let Statement { columns, filter, limit, ending, .. } = self;
        columns.is_none() && filter.is_none() && limit.is_none() && ending.is_none()
    }

    /// Whether it gives the events of a type for which a condition is true, and says nothing else, not even where to read.
    pub fn is_condition(&self) -> bool {
        let Statement { sources, columns, limit, ending, .. } = self;
        let is_placed = sources.iter().any(|source| source.from.is_some() || source.until.is_some());
        columns.is_none() && limit.is_none() && ending.is_none() && !is_placed
    }

    /// Makes sure that it can be run over events that never end: each result depends on one event alone.
    ///
    /// # Errors
    ///
    /// With the first part for which that is not so.
    pub fn require_endless(&self) -> Result<(), QueryError> {
        match &self.ending {
            Some((what, place)) => {
                Err(place.error(format!("{what} is not possible in the query of a subscription, which never ends")))
            }
            None => Ok(()),
        }
    }
}

/// What was read last, which says what is wrong with what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behind {
    Source,
    Offset,
    Other(Stage),
}

pub(super) struct Reader<'a> {
    pub(super) source: &'a SourceText<'a>,
    /// Where each token ends.
    ends: Vec<Location>,
    parser: Parser<'a>,
    translator: Translator<'a>,
    pub(super) behind: Behind,
    /// What can't be given before the last event is known, and where it stands.
    endings: Vec<(&'static str, usize)>,
    columns_text: Option<String>,
}

impl Reader<'_> {
    fn statement(mut self) -> Result<Statement, QueryError> {
        if !self.keyword("SELECT") {
            return Err(self.error("invalid query type"));
        }
        let start = self.position();
        let distinct = self.keyword("DISTINCT");
        if distinct {
            self.endings.push(("DISTINCT", start));
        } else {
            self.keyword("ALL");
        }
        let columns = self.columns()?;
        if let Some(columns) = &columns {
            self.translator.names =
                columns.iter().map(|column| (column.name.clone(), column.expression.clone())).collect();
        }
        let mut statement = Statement {
            sources: self.sources()?,
            columns,
            distinct,
            filter: None,
            group_by: Vec::new(),
            is_grouped: false,
            having: None,
            order_by: Vec::new(),
            limit: None,
            fields: Vec::new(),
            aggregates: Vec::new(),
            parameters: Vec::new(),
            texts: Texts::default(),
            ending: None,
        };
        self.clauses(&mut statement)?;
        statement.is_grouped |= statement.having.is_some() || !self.translator.aggregates.is_empty();
        if statement.columns.is_none() && (distinct || statement.is_grouped) {
            return Err(self
                .source
                .error_at(0, "SELECT * gives whole events; name fields for DISTINCT, GROUP BY and aggregates"));
        }
        let aggregate = self.translator.first_aggregate.map(|at| ("an aggregate", self.source.byte(at)));
        let first = self.endings.into_iter().chain(aggregate).min_by_key(|(_, position)| *position);
        statement.ending = first.map(|(what, position)| (what, self.source.place(position)));
        statement.texts.columns = self.columns_text;
        statement.fields = self.translator.fields;
        statement.aggregates = self.translator.aggregates;
        statement.parameters = self.translator.parameters;
        Ok(statement)
    }

    fn columns(&mut self) -> Result<Option<Vec<Column>>, QueryError> {
        match self.peek() {
            Token::EOF => return Err(QueryError::NoTopic),
            Token::Mul => {
                self.advance();
                if self.is_keyword("AS") {
                    return Err(self.error("cannot alias *"));
                }
                if *self.peek() == Token::Comma {
                    return Err(QueryError::StarAndFields);
                }
                if !self.keyword("FROM") {
                    return Err(self.error("invalid select fields statement"));
                }
                return Ok(None);
            }
            _ => {}
        }
        let start = self.position();
        let mut columns: Vec<Column> = Vec::new();
        let mut names = HashSet::new();
        loop {
            if *self.peek() == Token::Mul {
                return Err(QueryError::StarAndFields);
            }
            if ["FROM", "WHERE", "AS", "SELECT"].iter().any(|word| self.is_keyword(word)) {
                return Err(QueryError::NoFields);
            }
            let column = self.column()?;
            if !names.insert(column.name.clone()) {
                return Err(column.place.error("this name is given twice; give one of them another with AS"));
            }
            if columns.len() == COLUMNS_MAX {
                return Err(column.place.error(format!("a result has at most {COLUMNS_MAX} columns")));
            }
            columns.push(column);
            if self.is_keyword("FROM") {
                self.columns_text = Some(self.written_from(start));
                self.advance();
                return Ok(Some(columns));
            }
            if *self.peek() != Token::Comma {
                return Err(self.error("invalid select fields statement"));
            }
            self.advance();
        }
    }

    fn column(&mut self) -> Result<Column, QueryError> {
        let (start, location) = (self.position(), self.location());
        let place = self.source.place(start);
        let expr = self.expr(INVALID_FIELD).map_err(|error| match error {
            // What is wrong stands behind the field.
            QueryError::Syntax { position, what, .. } if position != start && what == INVALID_FIELD => {
                self.source.error_at(position, "invalid select fields statement")
            }
            error => error,
        })?;
        let mut name = match &expr {
            Expr::Identifier(ident) => unquote_name(&ident.value, ident.quote_style),
            _ => self.written_from(start),
        };
        if self.keyword("AS") {
            name = match self.peek().clone() {
                Token::Word(word) if word.quote_style.is_some() || !is(&word, "FROM") => {
                    unquote_name(&word.value, word.quote_style)
                }
                Token::SingleQuotedString(text) => unquote(&text),
                _ => return Err(self.error("invalid alias identifier")),
            };
            self.advance();
        }
        let expression = self.translator.translate(expr, Clause::Select, location)?;
        Ok(Column { name, expression, place })
    }

    fn clauses(&mut self, statement: &mut Statement) -> Result<(), QueryError> {
        let mut stage = Stage::From;
        loop {
            if RANGES.iter().any(|word| self.is_keyword(word)) {
                let [source] = statement.sources.as_mut_slice() else {
                    return Err(self.error("with several topics, OFFSET, AFTER and BEFORE stand behind each topic"));
                };
                if self.range(source)? {
                    continue;
                }
            }
            let Some(next) = self.stage().filter(|next| *next > stage) else { break };
            stage = next;
            self.clause(stage, statement)?;
            self.behind = Behind::Other(stage);
        }
        if *self.peek() == Token::SemiColon {
            while *self.peek() == Token::SemiColon {
                self.advance();
            }
            if *self.peek() != Token::EOF {
                return Err(self.error("a query ends with its semicolon"));
            }
        }
        if *self.peek() == Token::EOF {
            return Ok(());
        }
        Err(self.unexpected(statement))
    }

    fn stage(&self) -> Option<Stage> {
        let Token::Word(word) = self.peek() else { return None };
        let words = [
            ("WHERE", Stage::Where),
            ("GROUP", Stage::GroupBy),
            ("HAVING", Stage::Having),
            ("ORDER", Stage::OrderBy),
            ("LIMIT", Stage::Limit),
        ];
        words.into_iter().find(|(name, _)| is(word, name)).map(|(_, stage)| stage)
    }

    /// One clause, at its first word.
    fn clause(&mut self, stage: Stage, statement: &mut Statement) -> Result<(), QueryError> {
        let ending = match stage {
            Stage::From | Stage::Where | Stage::Limit => None,
            Stage::GroupBy => Some("GROUP BY"),
            Stage::Having => Some("HAVING"),
            Stage::OrderBy => Some("ORDER BY"),
        };
        let start = self.position();
        self.endings.extend(ending.map(|what| (what, start)));
        self.advance();
        match stage {
            Stage::From => {}
            Stage::Where => {
                let (start, location) = (self.position(), self.location());
                let expr = self.expr("invalid where clause")?;
                statement.texts.filter = Some(self.written_from(start));
                statement.filter = Some(self.translator.translate(expr, Clause::Where, location)?);
            }
            Stage::GroupBy => {
                self.by("invalid group by clause")?;
                statement.is_grouped = true;
                loop {
                    let (start, location) = (self.position(), self.location());
                    let expr = self.expr("invalid group by clause")?;
                    statement.texts.group_by.push(self.written_from(start));
                    let expression = self.translator.translate(expr, Clause::GroupBy, location)?;
                    let expression = self.numbered(expression, location, statement)?;
                    self.check_list(statement.group_by.len(), "GROUP BY", location)?;
                    statement.group_by.push(expression);
                    if !self.comma() {
                        break;
                    }
                }
            }
            Stage::Having => {
                let (start, location) = (self.position(), self.location());
                let expr = self.expr("invalid having clause")?;
                statement.texts.having = Some(self.written_from(start));
                let expression = self.translator.translate(expr, Clause::Having, location)?;
                statement.having = Some((expression, self.source.place(start)));
            }
            Stage::OrderBy => {
                self.by("invalid order by clause")?;
                loop {
                    let order = self.order(statement)?;
                    statement.order_by.push(order);
                    if !self.comma() {
                        break;
                    }
                }
            }
            Stage::Limit => statement.limit = Some(self.limit()?),
        }
        Ok(())
    }

    fn order(&mut self, statement: &mut Statement) -> Result<Order, QueryError> {
        let (start, location) = (self.position(), self.location());
        let expr = self.expr("invalid order by clause")?;
        let descending = self.keyword("DESC");
        if !descending {
            self.keyword("ASC");
        }
        let mut nulls_first = !descending;
        if self.keyword("NULLS") {
            nulls_first = self.keyword("FIRST");
            if !nulls_first && !self.keyword("LAST") {
                return Err(self.error("invalid order by clause"));
            }
        }
        statement.texts.order_by.push(self.written_from(start));
        let expression = self.translator.translate(expr, Clause::OrderBy, location)?;
        let expression = self.numbered(expression, location, statement)?;
        self.check_list(statement.order_by.len(), "ORDER BY", location)?;
        Ok(Order { expression, descending, nulls_first, place: self.source.place(start) })
    }

    /// Checks that one more expression fits in a clause.
    fn check_list(&self, known: usize, clause: &str, at: Location) -> Result<(), QueryError> {
        if known == COLUMNS_MAX {
            return Err(self.source.error(at, format!("{clause} has at most {COLUMNS_MAX} expressions")));
        }
        Ok(())
    }

    /// A number in GROUP BY and ORDER BY is that of a column, from one.
    fn numbered(
        &mut self,
        expression: Expression,
        location: Location,
        statement: &Statement,
    ) -> Result<Expression, QueryError> {
        let Expression::Literal(Value::Int(number)) = expression else { return Ok(expression) };
        let columns = statement.columns.as_deref().unwrap_or_default();
        let column = usize::try_from(number).ok().and_then(|number| columns.get(number.checked_sub(1)?));
        let Some(mut expression) = column.map(|column| column.expression.clone()) else {
            return Err(self.source.error(location, "there is no column with this number"));
        };
        self.translator.count_parts(expression.count(), location)?;
        Ok(expression)
    }

    fn limit(&mut self) -> Result<Limit, QueryError> {
        match self.peek() {
            Token::Number(digits, _) => {
                let limit = digits.parse().map_err(|_| self.error("could not parse limit"))?;
                self.advance();
                Ok(Limit::Number(limit))
            }
            Token::Minus => Err(self.error("could not parse limit")),
            Token::Placeholder(_) | Token::Colon | Token::AtSign => {
                let location = self.location();
                let expr = self.expr("invalid limit")?;
                let expression = self.translator.translate(expr, Clause::Select, location)?;
                match expression {
                    Expression::Parameter(_) => Ok(Limit::Parameter(expression)),
                    _ => Err(self.error("invalid limit clause")),
                }
            }
            _ => Err(self.error("invalid limit")),
        }
    }

    /// What is wrong with what stands behind the last clause.
    fn unexpected(&self, statement: &Statement) -> QueryError {
        self.error(match (self.behind, self.peek()) {
            (_, Token::Word(word)) if is(word, "LIMIT") && self.behind == Behind::Other(Stage::Limit) => {
                "invalid limit clause"
            }
            (_, Token::Word(word)) if is(word, "LIMIT") && statement.limit.is_some() => "limit has already been set",
            (Behind::Source | Behind::Other(Stage::From), _) => "invalid from clause",
            (Behind::Offset, _) => "invalid offset clause",
            (Behind::Other(Stage::Where), Token::RParen) => "cannot close expression parentheses",
            (Behind::Other(Stage::Where), Token::Number(..) | Token::SingleQuotedString(_)) => {
                "cannot append or update condition in group"
            }
            (Behind::Other(Stage::Where), _) => "invalid where clause",
            (Behind::Other(Stage::GroupBy), _) => "invalid group by clause",
            (Behind::Other(Stage::Having), _) => "invalid having clause",
            (Behind::Other(Stage::OrderBy), _) => "invalid order by clause",
            (Behind::Other(Stage::Limit), _) => "invalid limit clause",
        })
    }

    fn by(&mut self, what: &'static str) -> Result<(), QueryError> {
        if self.keyword("BY") { Ok(()) } else { Err(self.error(what)) }
    }

    fn comma(&mut self) -> bool {
        let found = *self.peek() == Token::Comma;
        if found {
            self.advance();
        }
        found
    }

    /// An expression; `what` is the error when there is none.
    fn expr(&mut self, what: &'static str) -> Result<Expr, QueryError> {
        if *self.peek() == Token::EOF {
            return Err(self.error(what));
        }
        self.parser.parse_expr().map_err(|error| match error {
            ParserError::RecursionLimitExceeded => {
                self.error(format!("an expression is nested at most {NESTING_MAX} deep"))
            }
            ParserError::ParserError(message) | ParserError::TokenizerError(message) => {
                let position = location(&message).map_or(self.source.text.len(), |at| self.source.byte(at));
                self.source.error_at(position, what)
            }
        })
    }

    /// What was read since a position.
    fn written_from(&self, start: usize) -> String {
        let last = self.parser.index().min(self.ends.len()).checked_sub(1);
        let end = last.map_or(start, |last| self.source.byte(self.ends[last]));
        self.source.text.get(start..end).unwrap_or_default().to_owned()
    }

    pub(super) fn keyword(&mut self, keyword: &str) -> bool {
        let found = self.is_keyword(keyword);
        if found {
            self.advance();
        }
        found
    }

    pub(super) fn is_keyword(&self, keyword: &str) -> bool {
        matches!(self.peek(), Token::Word(word) if is(word, keyword))
    }

    pub(super) fn peek(&self) -> &Token {
        &self.parser.peek_token_ref().token
    }

    pub(super) fn advance(&mut self) {
        self.parser.advance_token();
    }

    fn location(&self) -> Location {
        self.parser.peek_token_ref().span.start
    }

    pub(super) fn position(&self) -> usize {
        let next = self.parser.peek_token_ref();
        if next.token == Token::EOF { self.source.text.len() } else { self.source.byte(next.span.start) }
    }

    pub(super) fn error(&self, what: impl Into<std::borrow::Cow<'static, str>>) -> QueryError {
        self.source.error_at(self.position(), what)
    }
}

fn is(word: &Word, keyword: &str) -> bool {
    debug_assert!(KEYWORDS.contains(&keyword), "{keyword} is missing in the list");
    word.quote_style.is_none() && word.value.eq_ignore_ascii_case(keyword)
}

/// `sqlparser` says where an error is in its text.
fn location(message: &str) -> Option<Location> {
    let (_, place) = message.rsplit_once(" at Line: ")?;
    let (line, column) = place.split_once(", Column: ")?;
    Some(Location { line: line.trim().parse().ok()?, column: column.trim().parse().ok()? })
}
