//! Aggregates: what a group's rows come to.

use std::{borrow::Cow, cmp::Ordering, collections::HashSet};

use super::{Value, evaluate::Row, expression::Expression, key, sketch::Sketch};

/// One aggregate of a query.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Aggregate {
    pub(super) function: AggregateFunction,
    /// `None` for `count(*)`.
    pub(super) operand: Option<Expression>,
    pub(super) distinct: bool,
    /// FILTER (WHERE …).
    pub(super) filter: Option<Expression>,
    /// What `approx_percentile` is asked for, from 0 to 1.
    pub(super) share: Option<Expression>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AggregateFunction {
    Count,
    Sum,
    Average,
    Least,
    Greatest,
    First,
    Last,
    Percentile,
}

/// Names with the number of arguments.
pub(super) const NAMES: [(&str, AggregateFunction, usize); 11] = [
    ("approx_median", AggregateFunction::Percentile, 1),
    ("approx_percentile", AggregateFunction::Percentile, 2),
    ("approx_percentile_cont", AggregateFunction::Percentile, 2),
    ("avg", AggregateFunction::Average, 1),
    ("count", AggregateFunction::Count, 1),
    ("first", AggregateFunction::First, 1),
    ("last", AggregateFunction::Last, 1),
    ("max", AggregateFunction::Greatest, 1),
    ("median", AggregateFunction::Percentile, 1),
    ("min", AggregateFunction::Least, 1),
    ("sum", AggregateFunction::Sum, 1),
];

/// What is kept of one aggregate while rows come.
#[derive(Debug)]
pub(super) enum Accumulator {
    Count(i64),
    Sum(Sum),
    /// The least, the greatest, the first or the last value.
    One(Value<'static>),
    Percentile(Sketch),
    /// DISTINCT: the values that were seen.
    Distinct {
        seen: HashSet<Box<[u8]>>,
        inner: Box<Accumulator>,
    },
}

/// A sum that is exact as long as all is whole, and of small error otherwise.
#[derive(Debug, Default)]
pub(super) struct Sum {
    count: u64,
    whole: i128,
    float: f64,
    /// What was lost by rounding, after Neumaier.
    lost: f64,
    has_float: bool,
}

/// Bytes of memory that an entry of a set takes besides its key.
const ENTRY_BYTES: usize = 48;

impl Accumulator {
    pub(super) fn new(aggregate: &Aggregate) -> Accumulator {
        let inner = match aggregate.function {
            AggregateFunction::Count => Accumulator::Count(0),
            AggregateFunction::Sum | AggregateFunction::Average => Accumulator::Sum(Sum::default()),
            AggregateFunction::Percentile => Accumulator::Percentile(Sketch::default()),
            _ => Accumulator::One(Value::Null),
        };
        if aggregate.distinct {
            return Accumulator::Distinct { seen: HashSet::new(), inner: Box::new(inner) };
        }
        inner
    }

    /// Takes a row, and gives the bytes of memory by which it has grown. `scratch` is memory to work in.
    pub(super) fn add(&mut self, aggregate: &Aggregate, row: &Row<'_>, scratch: &mut Vec<u8>) -> usize {
        if aggregate.filter.as_ref().is_some_and(|filter| filter.truth(row) != Some(true)) {
            return 0;
        }
        let value = aggregate.operand.as_ref().map_or(Value::TRUE, |operand| operand.value(row));
        if value.is_null() {
            return 0;
        }
        self.take(aggregate.function, &value, scratch)
    }

    fn take(&mut self, function: AggregateFunction, value: &Value<'_>, scratch: &mut Vec<u8>) -> usize {
        match self {
            Accumulator::Count(count) => *count = count.saturating_add(1),
            Accumulator::Sum(sum) => sum.add(value),
            Accumulator::One(best) => return replace(function, best, value, scratch),
            Accumulator::Percentile(sketch) => return value.as_float().map_or(0, |number| sketch.add(number)),
            Accumulator::Distinct { seen, inner } => {
                scratch.clear();
                key::write(value, scratch);
                if seen.contains(scratch.as_slice()) {
                    return 0;
                }
                seen.insert(scratch.as_slice().into());
                let grown = scratch.len() + ENTRY_BYTES;
                return grown + inner.take(function, value, scratch);
            }
        }
        0
    }

    pub(super) fn result(&self, aggregate: &Aggregate) -> Value<'static> {
        match self {
            Accumulator::Count(count) => Value::Int(*count),
            Accumulator::Sum(sum) if aggregate.function == AggregateFunction::Average => sum.average(),
            Accumulator::Sum(sum) => sum.total(),
            Accumulator::One(value) => value.clone(),
            Accumulator::Percentile(sketch) => {
                let share = match &aggregate.share {
                    Some(Expression::Literal(share)) => share.as_float().unwrap_or(0.5),
                    _ => 0.5,
                };
                sketch.at(share).map_or(Value::Null, Value::Float)
            }
            Accumulator::Distinct { inner, .. } => inner.result(aggregate),
        }
    }
}

/// Takes the other value where it is less, greater, later or the first. Values of different types are in the order of keys.
fn replace(function: AggregateFunction, best: &mut Value<'static>, value: &Value<'_>, scratch: &mut Vec<u8>) -> usize {
    let takes = best.is_null()
        || match function {
            AggregateFunction::Least => order(value, best, scratch) == Ordering::Less,
            AggregateFunction::Greatest => order(value, best, scratch) == Ordering::Greater,
            function => function == AggregateFunction::Last,
        };
    if !takes {
        return 0;
    }
    let grown = value.heap_bytes().saturating_sub(best.heap_bytes());
    *best = match value {
        // The part of an event that is kept must not keep the rest of it.
        Value::Text(text) => Value::Text(Cow::Owned(text.as_ref().to_owned())),
        value => value.clone().into_owned(),
    };
    grown
}

fn order(left: &Value<'_>, right: &Value<'_>, scratch: &mut Vec<u8>) -> Ordering {
    if let Some(ordering) = left.compare(right)
        && !matches!((left, right), (Value::Text(_), Value::Time(_)) | (Value::Time(_), Value::Text(_)))
    {
        return ordering;
    }
    scratch.clear();
    key::write(left, scratch);
    let middle = scratch.len();
    key::write(right, scratch);
    scratch[..middle].cmp(&scratch[middle..])
}

impl Sum {
    /// What is no number is left out.
    fn add(&mut self, value: &Value<'_>) {
        match value {
            Value::Int(number) => self.whole += i128::from(*number),
            value => {
                let Some(number) = value.as_float() else { return };
                self.has_float = true;
                let total = self.float + number;
                if total.is_finite() {
                    self.lost += if self.float.abs() >= number.abs() {
                        (self.float - total) + number
                    } else {
                        (number - total) + self.float
                    };
                }
                self.float = total;
            }
        }
        self.count += 1;
    }

    fn total(&self) -> Value<'static> {
        if self.count == 0 {
            return Value::Null;
        }
        if !self.has_float
            && let Ok(whole) = i64::try_from(self.whole)
        {
            return Value::Int(whole);
        }
        super::evaluate::from_float(self.as_float())
    }

    #[expect(clippy::cast_precision_loss, reason = "an average is a float")]
    fn average(&self) -> Value<'static> {
        if self.count == 0 {
            return Value::Null;
        }
        super::evaluate::from_float(self.as_float() / self.count as f64)
    }

    #[expect(clippy::cast_precision_loss, reason = "the nearest float is what is asked for")]
    fn as_float(&self) -> f64 {
        self.whole as f64 + (self.float + self.lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(function: AggregateFunction, distinct: bool, values: &[Value<'static>], expected: &Value<'_>) {
        let operand = Some(Expression::Field(0));
        let aggregate = Aggregate { function, operand, distinct, filter: None, share: None };
        let mut accumulator = Accumulator::new(&aggregate);
        for value in values {
            let fields = [value.borrowed()];
            accumulator.add(&aggregate, &Row { fields: &fields, ..Row::default() }, &mut Vec::new());
        }
        assert_eq!(&accumulator.result(&aggregate), expected, "{function:?} of {values:?}");
    }

    #[test]
    fn results() {
        use AggregateFunction::{Average, Count, First, Greatest, Last, Least, Percentile, Sum};
        let numbers = [Value::Int(3), Value::Null, Value::Int(1), Value::Float(1.5), Value::Int(3)];
        check(Count, false, &numbers, &Value::Int(4));
        check(Count, true, &numbers, &Value::Int(3));
        check(Sum, false, &numbers, &Value::Float(8.5));
        check(Sum, true, &numbers, &Value::Float(5.5));
        check(Average, false, &numbers, &Value::Float(2.125));
        check(Least, false, &numbers, &Value::Int(1));
        check(Greatest, false, &numbers, &Value::Int(3));
        check(First, false, &numbers[1..], &Value::Int(1));
        check(Last, false, &numbers[..2], &Value::Int(3));
        for function in [Sum, Average, Least, Greatest, First, Last, Percentile] {
            check(function, false, &[Value::Null], &Value::Null);
        }
        check(Count, false, &[], &Value::Int(0));
    }

    #[test]
    fn sums_are_exact_where_they_can_be() {
        let sum = AggregateFunction::Sum;
        check(sum, false, &[Value::Int(i64::MAX), Value::Int(1), Value::Int(-2)], &Value::Int(i64::MAX - 1));
        check(sum, false, &[Value::Int(i64::MAX), Value::Int(1)], &Value::Float(9_223_372_036_854_775_808.0));
        let small = [Value::Float(1e16), Value::Float(1.0), Value::Float(-1e16)];
        check(sum, false, &small, &Value::Float(1.0));
        check(sum, false, &[Value::text("a"), Value::Int(1)], &Value::Int(1));
    }

    #[test]
    fn the_least_of_several_types() {
        let mixed = [Value::text("a"), Value::Int(5), Value::Bool(true)];
        check(AggregateFunction::Least, false, &mixed, &Value::Bool(true));
        check(AggregateFunction::Greatest, false, &mixed, &Value::text("a"));
    }
}
