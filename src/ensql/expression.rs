//! Expressions as they are evaluated.
//!
//! They come from [`super::translate`]. Before they are evaluated, [`Expression::bind`] puts values in the place of parameters
//! and evaluates once what does not depend on an event, so a pattern is compiled and a list is hashed once a query.

use std::{cmp::Ordering, collections::HashSet};

use super::{Value, evaluate::Row, function::Function, key, like::Pattern};

/// An expression. Its depth is bounded, so that whoever walks it may recur.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expression {
    Literal(Value<'static>),
    /// A parameter of the query, by its place in the list of those that occur. None is left after [`Expression::bind`].
    Parameter(usize),
    /// A value of the event's data, by its place in the list of wanted ones.
    Field(usize),
    Envelope(Envelope),
    Now,
    /// What the rows of a group have in common, by its place in GROUP BY.
    Group(usize),
    /// What an aggregate came to, by its place in the list of those that occur.
    Aggregate(usize),
    And(Vec<Expression>),
    Or(Vec<Expression>),
    Not(Box<Expression>),
    Compare {
        comparison: Comparison,
        operands: Box<[Expression; 2]>,
    },
    /// IS DISTINCT FROM, which knows NULL from other values.
    Differs {
        negated: bool,
        operands: Box<[Expression; 2]>,
    },
    Arithmetic {
        operator: Arithmetic,
        operands: Box<[Expression; 2]>,
    },
    Negate(Box<Expression>),
    Concat(Vec<Expression>),
    IsNull {
        negated: bool,
        operand: Box<Expression>,
    },
    /// IS TRUE, IS FALSE and, with `None`, IS UNKNOWN.
    IsTruth {
        truth: Option<bool>,
        negated: bool,
        operand: Box<Expression>,
    },
    Like {
        negated: bool,
        style: LikeStyle,
        operands: Box<[Expression; 2]>,
    },
    /// LIKE with a pattern that is known.
    Matches {
        negated: bool,
        pattern: Box<Pattern>,
        operand: Box<Expression>,
    },
    In {
        negated: bool,
        operand: Box<Expression>,
        list: Vec<Expression>,
    },
    /// IN with a list that is known.
    InSet {
        negated: bool,
        operand: Box<Expression>,
        set: Box<Set>,
    },
    /// The value, the least and the greatest.
    Between {
        negated: bool,
        operands: Box<[Expression; 3]>,
    },
    /// Conditions with their results; the last is ELSE.
    Case {
        operand: Option<Box<Expression>>,
        branches: Vec<[Expression; 2]>,
        otherwise: Box<Expression>,
    },
    Cast {
        kind: Kind,
        operand: Box<Expression>,
    },
    Call {
        function: Function,
        arguments: Vec<Expression>,
    },
}

/// What an event's envelope says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Envelope {
    Id,
    Offset,
    Committed,
    Created,
    Type,
    Version,
    Mimetype,
    Key,
    Size,
    /// One entry of the metadata.
    Meta(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

/// How LIKE compares letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LikeStyle {
    /// ILIKE.
    pub(super) any_case: bool,
    /// The letter that takes the meaning from `%` and `_`.
    pub(super) escape: Option<char>,
}

/// The types that CAST knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Int,
    Float,
    /// Whole when the value is whole.
    Number,
    Text,
    Bytes,
    Time,
    /// A time without its time of day.
    Date,
}

/// The values of a long IN, to be looked up at once.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Set {
    texts: HashSet<Box<str>>,
    numbers: HashSet<key::NumberKey>,
    has_null: bool,
    /// All of them, for what is neither a text nor a number.
    items: Vec<Value<'static>>,
}

/// What is put in the place of a query's parameters, and how much room there is for it. Each use of a parameter has a value of
/// its own, so that a few large ones could be many.
#[derive(Debug)]
pub(super) struct Binding<'a> {
    parameters: &'a [Value<'static>],
    /// Bytes that are left; `None` once they were not enough.
    room: Option<usize>,
}

/// Bytes of the values of parameters, and of what is computed of literals, in all expressions of a query.
pub(super) const CONSTANT_BYTES_MAX: usize = 64 << 20;

impl<'a> Binding<'a> {
    pub(super) fn new(parameters: &'a [Value<'static>]) -> Binding<'a> {
        Binding { parameters, room: Some(CONSTANT_BYTES_MAX) }
    }

    /// Whether there was too little room. What was bound then is not to be used.
    pub(super) fn is_full(&self) -> bool {
        self.room.is_none()
    }

    fn literal(&mut self, value: Value<'static>) -> Expression {
        self.room = self.room.and_then(|room| room.checked_sub(value.heap_bytes()));
        if self.is_full() { Expression::NULL } else { Expression::Literal(value) }
    }
}

/// Bytes of a literal that count as one part of an expression more.
const LITERAL_PART_BYTES: usize = 1_024;

/// How many parts an expression has at most that takes no time to speak of for a row.
const LIGHT_PARTS_MAX: usize = 200;

/// Lists from this length on are looked up in a set.
const SET_ITEMS_MIN: usize = 8;

impl Set {
    /// `None` when one of the items is of another kind than texts, numbers and NULL.
    fn new(list: &[Expression]) -> Option<Set> {
        let mut set = Set::default();
        for item in list {
            let Expression::Literal(item) = item else { return None };
            match item {
                Value::Null => set.has_null = true,
                Value::Text(text) => drop(set.texts.insert(text.as_ref().into())),
                number => drop(set.numbers.insert(key::number(number)?)),
            }
            set.items.push(item.clone());
        }
        Some(set)
    }

    /// Whether a value is equal to one of the items, as if it were compared with each.
    pub(super) fn contains(&self, value: &Value<'_>) -> Option<bool> {
        let (found, unknown) = match value {
            Value::Text(text) => (self.texts.contains(text.as_ref()), !self.numbers.is_empty()),
            Value::Int(_) | Value::Float(_) => {
                let number = key::number(value)?;
                (self.numbers.contains(&number), !self.texts.is_empty())
            }
            _ => return is_among(value, self.items.iter().map(Value::borrowed)),
        };
        if found {
            return Some(true);
        }
        if unknown || self.has_null { None } else { Some(false) }
    }
}

/// Whether a value is equal to one of some others: unknown when it is not, but may be.
pub(super) fn is_among<'a>(value: &Value<'_>, items: impl Iterator<Item = Value<'a>>) -> Option<bool> {
    let mut truth = Some(false);
    for item in items {
        match value.compare(&item) {
            Some(Ordering::Equal) => return Some(true),
            Some(_) => {}
            None => truth = None,
        }
    }
    truth
}

impl Expression {
    pub(super) const NULL: Expression = Expression::Literal(Value::Null);

    pub(super) fn compare(comparison: Comparison, left: Expression, right: Expression) -> Expression {
        Expression::Compare { comparison, operands: Box::new([left, right]) }
    }

    /// Shows each part to a function, which may change it.
    pub(super) fn each_part<E>(&mut self, visit: &mut dyn FnMut(&mut Expression) -> Result<(), E>) -> Result<(), E> {
        match self {
            Expression::Literal(_)
            | Expression::Parameter(_)
            | Expression::Field(_)
            | Expression::Envelope(_)
            | Expression::Now
            | Expression::Group(_)
            | Expression::Aggregate(_) => Ok(()),
            Expression::And(parts) | Expression::Or(parts) | Expression::Concat(parts) => {
                parts.iter_mut().try_for_each(visit)
            }
            Expression::Not(operand)
            | Expression::Negate(operand)
            | Expression::IsNull { operand, .. }
            | Expression::IsTruth { operand, .. }
            | Expression::Matches { operand, .. }
            | Expression::InSet { operand, .. }
            | Expression::Cast { operand, .. } => visit(operand),
            Expression::Compare { operands, .. }
            | Expression::Differs { operands, .. }
            | Expression::Arithmetic { operands, .. }
            | Expression::Like { operands, .. } => operands.iter_mut().try_for_each(visit),
            Expression::Between { operands, .. } => operands.iter_mut().try_for_each(visit),
            Expression::In { operand, list, .. } => {
                visit(operand)?;
                list.iter_mut().try_for_each(visit)
            }
            Expression::Case { operand, branches, otherwise } => {
                operand.as_deref_mut().into_iter().try_for_each(&mut *visit)?;
                branches.iter_mut().flatten().try_for_each(&mut *visit)?;
                visit(otherwise)
            }
            Expression::Call { arguments, .. } => arguments.iter_mut().try_for_each(visit),
        }
    }

    /// Whether it takes no longer than what it is about is long, because it has few parts and makes no texts of others.
    pub(super) fn is_light(&mut self) -> bool {
        self.count() <= LIGHT_PARTS_MAX && self.makes_nothing()
    }

    fn makes_nothing(&mut self) -> bool {
        if matches!(self, Expression::Call { .. } | Expression::Concat(_) | Expression::Like { .. }) {
            return false;
        }
        self.each_part(&mut |part| if part.makes_nothing() { Ok(()) } else { Err(()) }).is_ok()
    }

    /// Parts within parts, with this one. A long literal counts as several, because a copy of it takes as much room.
    pub(super) fn count(&mut self) -> usize {
        let mut count = match self {
            Expression::Literal(value) => 1 + value.heap_bytes() / LITERAL_PART_BYTES,
            _ => 1,
        };
        let counted: Result<(), std::convert::Infallible> = self.each_part(&mut |part| {
            count += part.count();
            Ok(())
        });
        let Ok(()) = counted;
        count
    }

    /// Puts the parameters' values in, and evaluates what depends on nothing else.
    pub(super) fn bind(&mut self, binding: &mut Binding<'_>) {
        let bound: Result<(), ()> = self.each_part(&mut |part| {
            part.bind(binding);
            if binding.is_full() { Err(()) } else { Ok(()) }
        });
        if bound.is_err() {
            return;
        }
        if let Expression::Parameter(number) = self {
            *self = binding.literal(binding.parameters.get(*number).cloned().unwrap_or_default());
            return;
        }
        self.read_times();
        if self.is_constant() {
            *self = binding.literal(self.value(&Row::default()).into_owned());
            return;
        }
        self.prepare();
    }

    /// Whether all parts are literals, and the value is the same whenever it is asked for.
    fn is_constant(&mut self) -> bool {
        let is_leaf = matches!(
            self,
            Expression::Field(_)
                | Expression::Envelope(_)
                | Expression::Now
                | Expression::Group(_)
                | Expression::Aggregate(_)
                | Expression::Parameter(_)
        );
        // `window('1 minute')` looks at the event's time of commit.
        let is_window =
            matches!(self, Expression::Call { function: Function::Window, arguments } if arguments.len() == 1);
        !is_leaf
            && !is_window
            && self.each_part(&mut |part| if matches!(part, Expression::Literal(_)) { Ok(()) } else { Err(()) }).is_ok()
    }

    /// Whether the value is a time whatever the event, if it is not NULL.
    fn is_time(&self) -> bool {
        match self {
            Expression::Envelope(Envelope::Committed | Envelope::Created)
            | Expression::Now
            | Expression::Literal(Value::Time(_))
            | Expression::Cast { kind: Kind::Time | Kind::Date, .. } => true,
            Expression::Call { function, .. } => function.gives_time(),
            _ => false,
        }
    }

    /// Reads the texts that are compared with a time, so that this is not done for each event.
    fn read_times(&mut self) {
        let read = |part: &mut Expression| {
            if let Expression::Literal(value @ Value::Text(_)) = part {
                *value = value.as_time().map_or(Value::Null, Value::Time);
            }
        };
        match self {
            Expression::Compare { operands, .. } if operands.iter().any(Expression::is_time) => {
                operands.iter_mut().for_each(read);
            }
            Expression::Between { operands, .. } if operands[0].is_time() => operands.iter_mut().for_each(read),
            Expression::In { operand, list, .. } if operand.is_time() => list.iter_mut().for_each(read),
            _ => {}
        }
    }

    /// Compiles a pattern, and makes a set of a long list.
    fn prepare(&mut self) {
        let prepared = match self {
            Expression::Like { negated, style, operands } => match &operands[1] {
                Expression::Literal(Value::Text(pattern)) => Expression::Matches {
                    negated: *negated,
                    pattern: Box::new(Pattern::new(pattern, *style)),
                    operand: Box::new(std::mem::replace(&mut operands[0], Expression::NULL)),
                },
                _ => return,
            },
            Expression::In { negated, operand, list } if list.len() >= SET_ITEMS_MIN => {
                // A text and a time may be equal, which a set does not know.
                let Some(set) = Set::new(list).filter(|_| !operand.is_time()) else { return };
                let operand = Box::new(std::mem::replace(&mut **operand, Expression::NULL));
                Expression::InSet { negated: *negated, operand, set: Box::new(set) }
            }
            _ => return,
        };
        *self = prepared;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(mut expression: Expression, parameters: &[Value<'static>]) -> Expression {
        expression.bind(&mut Binding::new(parameters));
        expression
    }

    #[test]
    fn what_is_constant_is_evaluated_once() {
        let one = Expression::Literal(Value::Int(1));
        let sum = Expression::Arithmetic {
            operator: Arithmetic::Add,
            operands: Box::new([one.clone(), Expression::Parameter(0)]),
        };
        assert_eq!(bound(sum.clone(), &[Value::Int(2)]), Expression::Literal(Value::Int(3)));
        let field = Expression::compare(Comparison::Less, Expression::Field(0), sum);
        let expected = Expression::compare(Comparison::Less, Expression::Field(0), Expression::Literal(Value::Int(3)));
        assert_eq!(bound(field, &[Value::Int(2)]), expected);
    }

    #[test]
    fn texts_that_are_compared_with_times_are_read_once() {
        let committed = Expression::Envelope(Envelope::Committed);
        let text = Expression::Literal(Value::text("1970-01-01"));
        let expected = Expression::Literal(Value::Time(crate::model::Time::EPOCH));
        let compared = bound(Expression::compare(Comparison::Less, committed.clone(), text.clone()), &[]);
        assert_eq!(compared, Expression::compare(Comparison::Less, committed, expected));
        let fields = Expression::compare(Comparison::Less, Expression::Field(0), text);
        assert_eq!(bound(fields.clone(), &[]), fields);
    }

    #[test]
    fn long_lists_become_sets() {
        let list = |items: i64| Expression::In {
            negated: false,
            operand: Box::new(Expression::Field(0)),
            list: (0..items).map(|item| Expression::Literal(Value::Int(item))).collect(),
        };
        assert!(matches!(bound(list(7), &[]), Expression::In { .. }));
        assert!(matches!(bound(list(8), &[]), Expression::InSet { .. }));
    }
}
