//! Evaluation: an expression and a row give a value, or a truth that may be unknown.
//!
//! Nothing fails: what has no value is NULL. Nothing is allocated where the result is a part of the event or a number.

use std::{borrow::Cow, cmp::Ordering};

use super::{
    Input, Value,
    expression::{Arithmetic, Comparison, Envelope, Expression, Kind, is_among},
    function::{self, TEXT_BYTES_MAX},
    like::Pattern,
};
use crate::model::Time;

/// What an expression is evaluated over: an event, a group, or nothing.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Row<'a> {
    /// `None` behind GROUP BY, where no single event is meant.
    pub(super) input: Option<&'a Input<'a>>,
    /// The wanted values of the event's data.
    pub(super) fields: &'a [Value<'a>],
    /// The values that the group has in common.
    pub(super) groups: &'a [Value<'a>],
    /// What the aggregates came to.
    pub(super) aggregates: &'a [Value<'a>],
    /// When the query was started.
    pub(super) now: Time,
}

const NANOS_IN_DAY: i64 = 86_400_000_000_000;

impl Expression {
    pub(super) fn value<'a>(&'a self, row: &Row<'a>) -> Value<'a> {
        match self {
            Expression::Literal(value) => value.borrowed(),
            Expression::Parameter(_) => Value::Null,
            Expression::Field(slot) => row.fields.get(*slot).map_or(Value::Null, Value::borrowed),
            Expression::Envelope(what) => row.input.map_or(Value::Null, |input| envelope(what, input)),
            Expression::Now => Value::Time(row.now),
            Expression::Group(slot) => row.groups.get(*slot).map_or(Value::Null, Value::borrowed),
            Expression::Aggregate(slot) => row.aggregates.get(*slot).map_or(Value::Null, Value::borrowed),
            Expression::Arithmetic { operator, operands } => {
                arithmetic(*operator, &operands[0].value(row), &operands[1].value(row))
            }
            Expression::Negate(operand) => negate(&operand.value(row)),
            Expression::Concat(parts) => concat(parts, row),
            Expression::Case { operand, branches, otherwise } => {
                let operand = operand.as_ref().map(|operand| operand.value(row));
                let taken = branches.iter().find(|[condition, _]| match &operand {
                    Some(operand) => operand.compare(&condition.value(row)) == Some(Ordering::Equal),
                    None => condition.truth(row) == Some(true),
                });
                taken.map_or(&**otherwise, |[_, result]| result).value(row)
            }
            Expression::Cast { kind, operand } => cast(*kind, operand.value(row)),
            Expression::Call { function, arguments } => function::call(*function, arguments, row),
            _ => Value::from_truth(self.truth(row)),
        }
    }

    /// What the expression is as a condition.
    pub(super) fn truth(&self, row: &Row<'_>) -> Option<bool> {
        match self {
            Expression::And(parts) => {
                let mut truth = Some(true);
                for part in parts {
                    match part.truth(row) {
                        Some(false) => return Some(false),
                        Some(true) => {}
                        None => truth = None,
                    }
                }
                truth
            }
            Expression::Or(parts) => {
                let mut truth = Some(false);
                for part in parts {
                    match part.truth(row) {
                        Some(true) => return Some(true),
                        Some(false) => {}
                        None => truth = None,
                    }
                }
                truth
            }
            Expression::Not(operand) => operand.truth(row).map(|truth| !truth),
            Expression::Compare { comparison, operands } => {
                operands[0].value(row).compare(&operands[1].value(row)).map(|ordering| comparison.holds(ordering))
            }
            Expression::Differs { negated, operands } => {
                let (left, right) = (operands[0].value(row), operands[1].value(row));
                let same = match (left.is_null(), right.is_null()) {
                    (false, false) => left.compare(&right) == Some(Ordering::Equal),
                    (left, right) => left == right,
                };
                Some(same == *negated)
            }
            Expression::IsNull { negated, operand } => Some(operand.value(row).is_null() != *negated),
            Expression::IsTruth { truth, negated, operand } => Some((operand.truth(row) == *truth) != *negated),
            Expression::Like { negated, style, operands } => match (operands[0].value(row), operands[1].value(row)) {
                (Value::Text(text), Value::Text(pattern)) => {
                    Some(Pattern::new(&pattern, *style).matches(&text) != *negated)
                }
                _ => None,
            },
            Expression::Matches { negated, pattern, operand } => match operand.value(row) {
                Value::Text(text) => Some(pattern.matches(&text) != *negated),
                _ => None,
            },
            Expression::In { negated, operand, list } => {
                let value = operand.value(row);
                Some(is_among(&value, list.iter().map(|item| item.value(row)))? != *negated)
            }
            Expression::InSet { negated, operand, set } => Some(set.contains(&operand.value(row))? != *negated),
            Expression::Between { negated, operands } => Some(between(operands, row)? != *negated),
            _ => self.value(row).truth(),
        }
    }
}

impl Comparison {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Comparison::Equal => ordering.is_eq(),
            Comparison::NotEqual => ordering.is_ne(),
            Comparison::Less => ordering.is_lt(),
            Comparison::LessOrEqual => ordering.is_le(),
            Comparison::Greater => ordering.is_gt(),
            Comparison::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

/// As `low <= value AND value <= high`.
fn between(operands: &[Expression; 3], row: &Row<'_>) -> Option<bool> {
    let value = operands[0].value(row);
    let above = value.compare(&operands[1].value(row)).map(Ordering::is_ge);
    let below = value.compare(&operands[2].value(row)).map(Ordering::is_le);
    match (above, below) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

fn envelope<'a>(what: &Envelope, input: &Input<'a>) -> Value<'a> {
    let number = |number: u64| i64::try_from(number).map_or(Value::Null, Value::Int);
    match what {
        Envelope::Id => Value::Text(Cow::Owned(input.id.to_string())),
        Envelope::Offset => number(input.offset.get()),
        Envelope::Committed => Value::Time(input.committed),
        Envelope::Created => input.created.map_or(Value::Null, Value::Time),
        Envelope::Type if input.type_name.is_empty() => Value::Null,
        Envelope::Type => Value::text(input.type_name),
        Envelope::Version if input.type_name.is_empty() && input.type_version == (0, 0, 0) => Value::Null,
        Envelope::Version => {
            let (major, minor, patch) = input.type_version;
            Value::Text(Cow::Owned(format!("{major}.{minor}.{patch}")))
        }
        Envelope::Mimetype => Value::Text(Cow::Owned(input.mimetype.to_string())),
        Envelope::Key if input.key.is_empty() => Value::Null,
        Envelope::Key => std::str::from_utf8(input.key).map_or(Value::Bytes(Cow::Borrowed(input.key)), Value::text),
        Envelope::Size => number(input.size),
        Envelope::Meta(name) => input.metadata.get(name).map_or(Value::Null, Value::text),
    }
}

/// Whole numbers stay whole as long as the result fits, and become floats then. Nothing divides by zero.
fn arithmetic(operator: Arithmetic, left: &Value<'_>, right: &Value<'_>) -> Value<'static> {
    if let (Value::Int(left), Value::Int(right)) = (left, right) {
        let whole = match operator {
            Arithmetic::Add => left.checked_add(*right),
            Arithmetic::Subtract => left.checked_sub(*right),
            Arithmetic::Multiply => left.checked_mul(*right),
            Arithmetic::Divide | Arithmetic::Remainder if *right == 0 => return Value::Null,
            Arithmetic::Divide => left.checked_div(*right),
            Arithmetic::Remainder => Some(left.wrapping_rem(*right)),
        };
        if let Some(whole) = whole {
            return Value::Int(whole);
        }
    }
    if let Some(value) = time_arithmetic(operator, left, right) {
        return value;
    }
    let (Some(left_number), Some(right_number)) = (left.as_float(), right.as_float()) else { return Value::Null };
    let number = match operator {
        Arithmetic::Add => left_number + right_number,
        Arithmetic::Subtract => left_number - right_number,
        Arithmetic::Multiply => left_number * right_number,
        Arithmetic::Divide | Arithmetic::Remainder if right_number == 0.0 => return Value::Null,
        Arithmetic::Divide => left_number / right_number,
        Arithmetic::Remainder => left_number % right_number,
    };
    from_float(number)
}

/// What has to do with times: `None` when it is a matter of numbers.
fn time_arithmetic(operator: Arithmetic, left: &Value<'_>, right: &Value<'_>) -> Option<Value<'static>> {
    let moved = |time: Time, nanos: Option<i64>| {
        let moved = nanos.and_then(|nanos| time.nanos().checked_add(nanos));
        moved.map_or(Value::Null, |nanos| Value::Time(Time::from_nanos(nanos)))
    };
    let interval = |nanos: Option<i64>| nanos.map_or(Value::Null, Value::Interval);
    Some(match (operator, left, right) {
        (Arithmetic::Add, Value::Interval(left), Value::Interval(right)) => interval(left.checked_add(*right)),
        (Arithmetic::Subtract, Value::Interval(left), Value::Interval(right)) => interval(left.checked_sub(*right)),
        (Arithmetic::Multiply, Value::Interval(nanos), Value::Int(factor))
        | (Arithmetic::Multiply, Value::Int(factor), Value::Interval(nanos)) => interval(nanos.checked_mul(*factor)),
        (Arithmetic::Divide, Value::Interval(nanos), Value::Int(divisor)) => interval(nanos.checked_div(*divisor)),
        (Arithmetic::Add, time @ (Value::Time(_) | Value::Text(_)), Value::Interval(nanos))
        | (Arithmetic::Add, Value::Interval(nanos), time @ (Value::Time(_) | Value::Text(_))) => {
            time.as_time().map_or(Value::Null, |time| moved(time, Some(*nanos)))
        }
        (Arithmetic::Subtract, time @ (Value::Time(_) | Value::Text(_)), Value::Interval(nanos)) => {
            time.as_time().map_or(Value::Null, |time| moved(time, nanos.checked_neg()))
        }
        (Arithmetic::Subtract, Value::Time(_), Value::Time(_) | Value::Text(_))
        | (Arithmetic::Subtract, Value::Text(_), Value::Time(_)) => match (left.as_time(), right.as_time()) {
            (Some(left), Some(right)) => interval(left.nanos().checked_sub(right.nanos())),
            _ => Value::Null,
        },
        _ => return None,
    })
}

fn negate(value: &Value<'_>) -> Value<'static> {
    match value {
        Value::Int(number) => number
            .checked_neg()
            .map_or_else(|| value.as_float().map_or(Value::Null, |number| Value::Float(-number)), Value::Int),
        Value::Float(number) => Value::Float(-number),
        Value::Interval(nanos) => nanos.checked_neg().map_or(Value::Null, Value::Interval),
        _ => Value::Null,
    }
}

/// A float that is a number; everything else is NULL.
pub(super) fn from_float(number: f64) -> Value<'static> {
    if number.is_nan() { Value::Null } else { Value::Float(number) }
}

/// One NULL makes all of it NULL.
fn concat<'a>(parts: &'a [Expression], row: &Row<'a>) -> Value<'a> {
    let mut text = String::new();
    for part in parts {
        let value = part.value(row);
        let Some(part) = value.to_text() else { return Value::Null };
        if text.len() + part.len() > TEXT_BYTES_MAX {
            return Value::Null;
        }
        text.push_str(&part);
    }
    Value::Text(Cow::Owned(text))
}

/// What does not read as the wanted type is NULL.
fn cast(kind: Kind, value: Value<'_>) -> Value<'_> {
    match kind {
        Kind::Text => match value {
            Value::Text(text) => Value::Text(text),
            value => value.to_text().map_or(Value::Null, |text| Value::Text(Cow::Owned(text.into_owned()))),
        },
        Kind::Bytes => match value {
            Value::Bytes(bytes) => Value::Bytes(bytes),
            Value::Text(text) => Value::Bytes(Cow::Owned(text.into_owned().into_bytes())),
            _ => Value::Null,
        },
        Kind::Bool => match &value {
            Value::Text(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "t" | "yes" | "on" | "1" => Value::Bool(true),
                "false" | "f" | "no" | "off" | "0" => Value::Bool(false),
                _ => Value::Null,
            },
            value => Value::from_truth(value.truth()),
        },
        Kind::Int | Kind::Number | Kind::Float => to_number(kind, &value),
        Kind::Time => to_time(&value).map_or(Value::Null, Value::Time),
        Kind::Date => to_time(&value).map_or(Value::Null, |time| {
            let start = time.nanos().checked_sub(time.nanos().rem_euclid(NANOS_IN_DAY));
            start.map_or(Value::Null, |nanos| Value::Time(Time::from_nanos(nanos)))
        }),
    }
}

/// Numbers are seconds since 1970.
pub(super) fn to_time(value: &Value<'_>) -> Option<Time> {
    match value {
        Value::Int(seconds) => seconds.checked_mul(1_000_000_000).map(Time::from_nanos),
        Value::Float(seconds) => to_int(seconds * 1e9).map(Time::from_nanos),
        value => value.as_time(),
    }
}

fn to_number(kind: Kind, value: &Value<'_>) -> Value<'static> {
    let read = match value {
        Value::Text(text) => {
            let text = text.trim();
            match text.parse::<i64>() {
                Ok(number) => Value::Int(number),
                // Rust reads words too, which are no numbers in SQL.
                Err(_) if text.bytes().any(|byte| byte.is_ascii_digit()) => {
                    text.parse::<f64>().map_or(Value::Null, Value::Float)
                }
                Err(_) => Value::Null,
            }
        }
        Value::Bool(truth) => Value::Int(i64::from(*truth)),
        Value::Time(time) if kind == Kind::Int => Value::Int(time.seconds()),
        Value::Time(time) => Value::Interval(time.nanos()).as_float().map_or(Value::Null, Value::Float),
        Value::Interval(_) => value.as_float().map_or(Value::Null, Value::Float),
        value => value.borrowed().into_owned(),
    };
    match (kind, &read) {
        (Kind::Int, Value::Float(number)) => to_int(*number).map_or(Value::Null, Value::Int),
        (Kind::Float, Value::Int(_)) => read.as_float().map_or(Value::Null, Value::Float),
        (_, Value::Int(_) | Value::Float(_)) => read,
        _ => Value::Null,
    }
}

/// A float without what is behind the point; `None` when no whole number is that large.
#[expect(clippy::cast_possible_truncation, reason = "the range is looked at, and a part of a unit is meant to be lost")]
pub(super) fn to_int(number: f64) -> Option<i64> {
    (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&number).then_some(number as i64)
}
