//! From what `sqlparser` read to what is evaluated.
//!
//! Whatever of SQL has no meaning here is refused by name, never ignored.

mod call;

use std::collections::HashMap;

use sqlparser::{
    ast::{
        AccessExpr, BinaryOperator, Expr, Ident, ObjectNamePart, Subscript, UnaryOperator, Value as Literal,
        ValueWithSpan,
    },
    tokenizer::Location,
};

use super::{
    Path, QueryError, Step, Value,
    aggregate::Aggregate,
    expression::{Arithmetic, Comparison, Envelope, Expression, LikeStyle},
    source_text::{SourceText, unquote, unquote_name},
};

/// Levels of an expression. It is walked by recursion.
const DEPTH_MAX: usize = 64;

/// Parts of all expressions of a query. A name from SELECT that is used again counts with all of its parts.
const PARTS_MAX: usize = 50_000;

/// Different fields of the data that a query may use.
const FIELDS_MAX: usize = 500;

/// Steps of the way to a field.
const STEPS_MAX: usize = 32;

/// What a value is given for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ParameterName {
    /// `:name` or `@name`, without the sign.
    Named(String),
    /// The how many-th `?`.
    Numbered(usize),
}

/// The part of the query that is translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clause {
    Select,
    Where,
    GroupBy,
    Having,
    OrderBy,
    /// The argument of an aggregate.
    Aggregate,
}

/// Translates the expressions of one query, and gathers what they need.
#[derive(Debug)]
pub(super) struct Translator<'a> {
    source: &'a SourceText<'a>,
    /// Where each `?` is.
    marks: Vec<Location>,
    clause: Clause,
    start: Location,
    depth: usize,
    parts: usize,
    pub(super) parameters: Vec<ParameterName>,
    pub(super) fields: Vec<Path>,
    slots: HashMap<Path, usize>,
    pub(super) aggregates: Vec<Aggregate>,
    pub(super) first_aggregate: Option<Location>,
    /// The names that SELECT gives, for the clauses behind it.
    pub(super) names: Vec<(String, Expression)>,
}

impl<'a> Translator<'a> {
    pub(super) fn new(source: &'a SourceText<'a>, marks: Vec<Location>) -> Translator<'a> {
        Translator {
            source,
            marks,
            clause: Clause::Select,
            start: Location::empty(),
            depth: 0,
            parts: 0,
            parameters: Vec::new(),
            fields: Vec::new(),
            slots: HashMap::new(),
            aggregates: Vec::new(),
            first_aggregate: None,
            names: Vec::new(),
        }
    }

    /// `start` is where the expression stands.
    pub(super) fn translate(&mut self, expr: Expr, clause: Clause, start: Location) -> Result<Expression, QueryError> {
        self.clause = clause;
        self.start = start;
        self.depth = 0;
        self.expression(expr)
    }

    fn error(&self, at: Location, what: impl Into<std::borrow::Cow<'static, str>>) -> QueryError {
        self.source.error(at, what)
    }

    /// Counts parts that are evaluated.
    pub(super) fn count_parts(&mut self, parts: usize, at: Location) -> Result<(), QueryError> {
        self.parts += parts;
        if self.parts > PARTS_MAX {
            return Err(self.error(at, format!("the expressions of a query have at most {PARTS_MAX} parts")));
        }
        Ok(())
    }

    fn expression(&mut self, mut expr: Expr) -> Result<Expression, QueryError> {
        while let Expr::Nested(inner) = expr {
            expr = *inner;
        }
        let at = start(&expr).unwrap_or(self.start);
        if self.depth == DEPTH_MAX {
            return Err(self.error(at, format!("an expression is nested at most {DEPTH_MAX} deep")));
        }
        self.depth += 1;
        self.count_parts(1, at)?;
        let expression = self.one(expr, at)?;
        self.depth -= 1;
        Ok(expression)
    }

    fn boxed(&mut self, expr: Box<Expr>) -> Result<Box<Expression>, QueryError> {
        self.expression(*expr).map(Box::new)
    }

    fn pair(&mut self, left: Box<Expr>, right: Box<Expr>) -> Result<Box<[Expression; 2]>, QueryError> {
        Ok(Box::new([self.expression(*left)?, self.expression(*right)?]))
    }

    fn list(&mut self, exprs: Vec<Expr>) -> Result<Vec<Expression>, QueryError> {
        exprs.into_iter().map(|expr| self.expression(expr)).collect()
    }

    fn one(&mut self, expr: Expr, at: Location) -> Result<Expression, QueryError> {
        match expr {
            Expr::Identifier(ident) => self.name(&ident),
            Expr::CompoundIdentifier(idents) => self.compound(&idents, at),
            Expr::CompoundFieldAccess { root, access_chain } => self.access(*root, access_chain, at),
            Expr::Value(value) => self.literal(&value),
            Expr::UnaryOp { op, expr } => self.unary(op, *expr, at),
            Expr::BinaryOp { left, op, right } => self.binary(*left, &op, *right, at),
            Expr::IsNull(operand) => Ok(Expression::IsNull { negated: false, operand: self.boxed(operand)? }),
            Expr::IsNotNull(operand) => Ok(Expression::IsNull { negated: true, operand: self.boxed(operand)? }),
            Expr::IsTrue(operand) => self.is_truth(operand, Some(true), false),
            Expr::IsNotTrue(operand) => self.is_truth(operand, Some(true), true),
            Expr::IsFalse(operand) => self.is_truth(operand, Some(false), false),
            Expr::IsNotFalse(operand) => self.is_truth(operand, Some(false), true),
            Expr::IsUnknown(operand) => self.is_truth(operand, None, false),
            Expr::IsNotUnknown(operand) => self.is_truth(operand, None, true),
            Expr::IsDistinctFrom(left, right) => {
                Ok(Expression::Differs { negated: false, operands: self.pair(left, right)? })
            }
            Expr::IsNotDistinctFrom(left, right) => {
                Ok(Expression::Differs { negated: true, operands: self.pair(left, right)? })
            }
            Expr::InList { expr, list, negated } => {
                Ok(Expression::In { negated, operand: self.boxed(expr)?, list: self.list(list)? })
            }
            Expr::Between { expr, negated, low, high } => {
                let operands = [self.expression(*expr)?, self.expression(*low)?, self.expression(*high)?];
                Ok(Expression::Between { negated, operands: Box::new(operands) })
            }
            Expr::Like { negated, any: false, expr, pattern, escape_char } => {
                let style = LikeStyle { any_case: false, escape: self.escape(escape_char.as_deref())? };
                Ok(Expression::Like { negated, style, operands: self.pair(expr, pattern)? })
            }
            Expr::ILike { negated, any: false, expr, pattern, escape_char } => {
                let style = LikeStyle { any_case: true, escape: self.escape(escape_char.as_deref())? };
                Ok(Expression::Like { negated, style, operands: self.pair(expr, pattern)? })
            }
            Expr::Case { operand, conditions, else_result, .. } => {
                let operand = operand.map(|operand| self.boxed(operand)).transpose()?;
                let branches: Result<_, QueryError> = conditions
                    .into_iter()
                    .map(|branch| Ok([self.expression(branch.condition)?, self.expression(branch.result)?]))
                    .collect();
                let branches = branches?;
                let otherwise =
                    else_result.map_or_else(|| Ok(Box::new(Expression::NULL)), |result| self.boxed(result))?;
                Ok(Expression::Case { operand, branches, otherwise })
            }
            other => self.call_like(other, at),
        }
    }

    fn is_truth(&mut self, operand: Box<Expr>, truth: Option<bool>, negated: bool) -> Result<Expression, QueryError> {
        Ok(Expression::IsTruth { truth, negated, operand: self.boxed(operand)? })
    }

    fn escape(&self, escape: Option<&Expr>) -> Result<Option<char>, QueryError> {
        let Some(escape) = escape else { return Ok(None) };
        if let Expr::Value(ValueWithSpan { value: Literal::SingleQuotedString(text), .. }) = escape {
            let text = unquote(text);
            let mut letters = text.chars();
            if let (Some(letter), None) = (letters.next(), letters.next()) {
                return Ok(Some(letter));
            }
        }
        Err(self.error(start(escape).unwrap_or(self.start), "ESCAPE needs one character in quotes"))
    }

    /// A name alone: of the envelope, of a result of SELECT, or of a field.
    fn name(&mut self, ident: &Ident) -> Result<Expression, QueryError> {
        if ident.quote_style.is_none()
            && let Some(envelope) = envelope(&ident.value)
        {
            return Ok(Expression::Envelope(envelope));
        }
        let name = unquote_name(&ident.value, ident.quote_style);
        if matches!(self.clause, Clause::GroupBy | Clause::Having | Clause::OrderBy)
            && let Some((_, expression)) = self.names.iter().find(|(known, _)| *known == name)
        {
            let mut expression = expression.clone();
            self.count_parts(expression.count(), ident.span.start)?;
            return Ok(expression);
        }
        self.field(vec![Step::Key(name)], ident.span.start)
    }

    fn compound(&mut self, idents: &[Ident], at: Location) -> Result<Expression, QueryError> {
        let mut names = idents.iter().map(|ident| unquote_name(&ident.value, ident.quote_style));
        if idents.first().is_some_and(|first| first.quote_style.is_none() && first.value == META) {
            let name: Vec<String> = names.skip(1).collect();
            return Ok(Expression::Envelope(Envelope::Meta(name.join("."))));
        }
        let path = names.by_ref().map(Step::Key).collect();
        self.field(path, at)
    }

    /// `a.b[0].c` and `a['b']`.
    fn access(&mut self, root: Expr, chain: Vec<AccessExpr>, at: Location) -> Result<Expression, QueryError> {
        let Expr::Identifier(root) = root else {
            return Err(self.error(at, "only a field of an event has parts"));
        };
        let mut path = vec![Step::Key(unquote_name(&root.value, root.quote_style))];
        for access in chain {
            path.push(match access {
                AccessExpr::Dot(Expr::Identifier(ident)) => Step::Key(unquote_name(&ident.value, ident.quote_style)),
                AccessExpr::Subscript(Subscript::Index { index }) => self.step(&index)?,
                _ => return Err(self.error(at, "a part of a field is a name, or a number in brackets")),
            });
        }
        if root.quote_style.is_none() && root.value == META {
            return match path.as_slice() {
                [_, Step::Key(name)] => Ok(Expression::Envelope(Envelope::Meta(name.clone()))),
                _ => Err(self.error(at, "metadata has no parts within parts")),
            };
        }
        self.field(path, at)
    }

    fn step(&self, index: &Expr) -> Result<Step, QueryError> {
        match index {
            Expr::Value(ValueWithSpan { value: Literal::Number(digits, _), .. }) => {
                digits.parse().ok().map(Step::Index)
            }
            Expr::Value(ValueWithSpan { value: Literal::SingleQuotedString(text), .. }) => {
                Some(Step::Key(unquote(text)))
            }
            Expr::Identifier(ident) if ident.quote_style.is_some() => {
                Some(Step::Key(unquote_name(&ident.value, ident.quote_style)))
            }
            _ => None,
        }
        .ok_or_else(|| {
            self.error(start(index).unwrap_or(self.start), "an element is a number from 0, or a name in quotes")
        })
    }

    fn field(&mut self, path: Path, at: Location) -> Result<Expression, QueryError> {
        if path.len() > STEPS_MAX {
            return Err(self.error(at, format!("a field is at most {STEPS_MAX} levels deep")));
        }
        if let Some(slot) = self.slots.get(&path) {
            return Ok(Expression::Field(*slot));
        }
        let slot = self.fields.len();
        if slot == FIELDS_MAX {
            return Err(self.error(at, format!("a query uses at most {FIELDS_MAX} fields")));
        }
        self.fields.push(path.clone());
        self.slots.insert(path, slot);
        Ok(Expression::Field(slot))
    }

    fn literal(&mut self, literal: &ValueWithSpan) -> Result<Expression, QueryError> {
        let at = literal.span.start;
        Ok(Expression::Literal(match &literal.value {
            Literal::Number(digits, _) => number(digits).ok_or_else(|| self.error(at, "this is not a number"))?,
            Literal::SingleQuotedString(text) => Value::Text(unquote(text).into()),
            Literal::Boolean(truth) => Value::Bool(*truth),
            Literal::Null => Value::Null,
            Literal::HexStringLiteral(digits) => Value::Bytes(
                bytes(digits).ok_or_else(|| self.error(at, "bytes are pairs of hexadecimal digits"))?.into(),
            ),
            Literal::Placeholder(name) => return self.parameter(name, at),
            _ => return Err(self.error(at, "this kind of literal is not supported")),
        }))
    }

    fn parameter(&mut self, written: &str, at: Location) -> Result<Expression, QueryError> {
        let name = match written.strip_prefix([':', '@']) {
            Some(name) if !name.is_empty() => ParameterName::Named(name.to_owned()),
            _ if written == "?" => ParameterName::Numbered(self.marks.iter().position(|mark| *mark == at).unwrap_or(0)),
            _ => return Err(self.error(at, "a parameter is :name, @name or ?")),
        };
        let known = self.parameters.iter().position(|known| *known == name);
        Ok(Expression::Parameter(known.unwrap_or_else(|| {
            self.parameters.push(name);
            self.parameters.len() - 1
        })))
    }

    fn unary(&mut self, op: UnaryOperator, operand: Expr, at: Location) -> Result<Expression, QueryError> {
        match op {
            UnaryOperator::Not => Ok(Expression::Not(Box::new(self.expression(operand)?))),
            UnaryOperator::Plus => self.expression(operand),
            UnaryOperator::Minus => {
                // So that the least whole number can be written.
                if let Expr::Value(ValueWithSpan { value: Literal::Number(digits, _), .. }) = &operand
                    && let Some(number) = number(&format!("-{digits}"))
                {
                    return Ok(Expression::Literal(number));
                }
                Ok(Expression::Negate(Box::new(self.expression(operand)?)))
            }
            _ => Err(self.error(at, format!("the operator {op} is not supported"))),
        }
    }

    fn binary(&mut self, left: Expr, op: &BinaryOperator, right: Expr, at: Location) -> Result<Expression, QueryError> {
        let comparison = match op {
            BinaryOperator::And | BinaryOperator::Or | BinaryOperator::StringConcat => {
                let parts = self.list(chain(left, op, right))?;
                return Ok(match op {
                    BinaryOperator::And => Expression::And(parts),
                    BinaryOperator::Or => Expression::Or(parts),
                    _ => Expression::Concat(parts),
                });
            }
            BinaryOperator::Eq => Comparison::Equal,
            BinaryOperator::NotEq => Comparison::NotEqual,
            BinaryOperator::Lt => Comparison::Less,
            BinaryOperator::LtEq => Comparison::LessOrEqual,
            BinaryOperator::Gt => Comparison::Greater,
            BinaryOperator::GtEq => Comparison::GreaterOrEqual,
            _ => {
                let operator = match op {
                    BinaryOperator::Plus => Arithmetic::Add,
                    BinaryOperator::Minus => Arithmetic::Subtract,
                    BinaryOperator::Multiply => Arithmetic::Multiply,
                    BinaryOperator::Divide => Arithmetic::Divide,
                    BinaryOperator::Modulo => Arithmetic::Remainder,
                    _ => return Err(self.error(at, format!("the operator {op} is not supported"))),
                };
                let operands = Box::new([self.expression(left)?, self.expression(right)?]);
                return Ok(Expression::Arithmetic { operator, operands });
            }
        };
        Ok(Expression::compare(comparison, self.expression(left)?, self.expression(right)?))
    }
}

/// Where an expression begins, as far as it is known. The way there is not one of recursion, since an expression of many
/// operators leans to the left.
fn start(expr: &Expr) -> Option<Location> {
    let mut at = expr;
    loop {
        at = match at {
            Expr::Identifier(ident) => return Some(ident.span.start),
            Expr::CompoundIdentifier(idents) => return idents.first().map(|ident| ident.span.start),
            Expr::Value(value) => return Some(value.span.start),
            Expr::TypedString(typed) => return Some(typed.value.span.start),
            Expr::Case { case_token, .. } => return Some(case_token.0.span.start),
            Expr::Function(function) => match function.name.0.first() {
                Some(ObjectNamePart::Identifier(ident)) => return Some(ident.span.start),
                _ => return None,
            },
            Expr::BinaryOp { left: inner, .. }
            | Expr::IsDistinctFrom(inner, _)
            | Expr::IsNotDistinctFrom(inner, _)
            | Expr::Nested(inner)
            | Expr::UnaryOp { expr: inner, .. }
            | Expr::IsNull(inner)
            | Expr::IsNotNull(inner)
            | Expr::IsTrue(inner)
            | Expr::IsNotTrue(inner)
            | Expr::IsFalse(inner)
            | Expr::IsNotFalse(inner)
            | Expr::IsUnknown(inner)
            | Expr::IsNotUnknown(inner)
            | Expr::InList { expr: inner, .. }
            | Expr::InSubquery { expr: inner, .. }
            | Expr::Between { expr: inner, .. }
            | Expr::Like { expr: inner, .. }
            | Expr::ILike { expr: inner, .. }
            | Expr::Cast { expr: inner, .. }
            | Expr::Collate { expr: inner, .. }
            | Expr::CompoundFieldAccess { root: inner, .. } => inner,
            _ => return None,
        };
    }
}

pub(super) const META: &str = "_meta";

/// What is known of an event besides its data, without its metadata.
pub(super) const ENVELOPE: [(&str, Envelope); 9] = [
    ("_id", Envelope::Id),
    ("_offset", Envelope::Offset),
    ("_committed", Envelope::Committed),
    ("_created", Envelope::Created),
    ("_type", Envelope::Type),
    ("_version", Envelope::Version),
    ("_mimetype", Envelope::Mimetype),
    ("_key", Envelope::Key),
    ("_size", Envelope::Size),
];

fn envelope(name: &str) -> Option<Envelope> {
    ENVELOPE.into_iter().find(|(known, _)| *known == name).map(|(_, part)| part)
}

/// The operands of one operator that stands several times in a row. Long rows lean to the left, and are taken apart without
/// recursion.
fn chain(left: Expr, op: &BinaryOperator, right: Expr) -> Vec<Expr> {
    let mut operands = vec![right];
    let mut rest = left;
    loop {
        match rest {
            Expr::BinaryOp { left, op: inner, right } if inner == *op => {
                operands.push(*right);
                rest = *left;
            }
            other => {
                operands.push(other);
                break;
            }
        }
    }
    operands.reverse();
    operands
}

fn number(digits: &str) -> Option<Value<'static>> {
    if let Ok(whole) = digits.parse::<i64>() {
        return Some(Value::Int(whole));
    }
    digits.parse::<f64>().ok().filter(|number| number.is_finite()).map(Value::Float)
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.as_bytes();
    let pair = |pair: &[u8]| {
        let [high, low] = pair else { return None };
        let digit = |digit: u8| char::from(digit).to_digit(16);
        u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
    };
    digits.chunks(2).map(pair).collect()
}
