//! A query with its parameters' values, ready to be run: what it reads, what it gives.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
};

use super::{
    EventType, Execution, Input, Path, QueryError, Statement, Step, Value,
    aggregate::Aggregate,
    evaluate::Row,
    expression::{Binding, CONSTANT_BYTES_MAX, Expression},
    function::Function,
    source_text::Place,
    statement::{Limit, Parameter},
    translate::ParameterName,
};
use crate::model::Time;

/// One thing that SELECT names.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) expression: Expression,
    pub(super) place: Place,
}

/// One thing that ORDER BY names.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Order {
    pub(super) expression: Expression,
    pub(super) descending: bool,
    pub(super) nulls_first: bool,
    pub(super) place: Place,
}

/// What a query gives, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Stored events, as they are found.
    Whole,
    /// Rows, as they are found.
    Rows,
    /// Stored events or rows at the end, in an order.
    Sorted,
    /// Rows at the end, each for a group of events.
    Groups,
}

/// A query that can be run.
#[derive(Debug, Clone)]
pub struct Plan {
    pub(super) columns: Option<Vec<Column>>,
    pub(super) distinct: bool,
    pub(super) event_type: Option<EventType>,
    pub(super) filter: Option<Expression>,
    pub(super) groups: Option<Groups>,
    pub(super) order_by: Vec<Order>,
    pub(super) limit: Option<u64>,
    fields: Vec<Path>,
    is_light: bool,
    explanation: Explanation,
}

/// GROUP BY with what is computed for each group.
#[derive(Debug, Clone)]
pub(super) struct Groups {
    pub(super) keys: Vec<Expression>,
    pub(super) aggregates: Vec<Aggregate>,
    pub(super) having: Option<Expression>,
}

/// A plan for people.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Explanation {
    /// Names of the results; empty for whole events.
    pub columns: Vec<String>,
    /// What of the events' data is read; when it is empty, data is not decoded.
    pub fields: Vec<String>,
    pub distinct: bool,
    pub filter: Option<String>,
    pub group_by: Vec<String>,
    pub having: Option<String>,
    pub order_by: Vec<String>,
    pub limit: Option<u64>,
}

impl Statement {
    /// Puts values in the place of parameters. Values that no parameter of the query asks for are ignored.
    ///
    /// # Errors
    ///
    /// When a value is missing, or the parts of the query do not fit together.
    pub fn bind(&self, parameters: &[Parameter]) -> Result<Plan, QueryError> {
        let values = self.values(parameters)?;
        let binding = RefCell::new(Binding::new(&values));
        let is_light = Cell::new(true);
        let bound = |expression: &Expression| {
            let mut expression = expression.clone();
            expression.bind(&mut binding.borrow_mut());
            is_light.set(is_light.get() && expression.is_light());
            expression
        };
        let require_room = || {
            let is_full = binding.borrow().is_full();
            if is_full { Err(QueryError::ConstantsTooLarge { limit: CONSTANT_BYTES_MAX }) } else { Ok(()) }
        };
        let limit = match &self.limit {
            None => None,
            Some(Limit::Number(limit)) => Some(*limit),
            Some(Limit::Parameter(parameter)) => match bound(parameter) {
                Expression::Literal(Value::Int(limit)) if limit >= 0 => Some(limit.unsigned_abs()),
                _ => return Err(QueryError::Invalid { what: "LIMIT needs a whole number, not below zero" }),
            },
        };
        let keys: Vec<Expression> = self.group_by.iter().map(bound).collect();
        let of_group = |expression: &Expression, place: &Place| {
            let mut expression = bound(expression);
            // What there was no room for is no longer what it was.
            require_room()?;
            if self.is_grouped && into_group(&mut expression, &keys).is_err() {
                return Err(place.error("what is not in GROUP BY has to be within an aggregate"));
            }
            Ok(expression)
        };
        let columns = self.columns.as_ref().map(|columns| {
            let bound = columns.iter().map(|column| {
                Ok(Column { expression: of_group(&column.expression, &column.place)?, ..column.clone() })
            });
            bound.collect::<Result<Vec<Column>, QueryError>>()
        });
        let order_by = self
            .order_by
            .iter()
            .map(|order| Ok(Order { expression: of_group(&order.expression, &order.place)?, ..order.clone() }));
        let order_by = order_by.collect::<Result<Vec<Order>, QueryError>>()?;
        let having = self.having.as_ref().map(|(having, place)| of_group(having, place)).transpose()?;
        let aggregates = self.aggregates.iter().map(|aggregate| {
            let share = aggregate.share.as_ref().map(bound);
            require_room()?;
            if share.as_ref().is_some_and(|share| !is_share(share)) {
                return Err(QueryError::Invalid { what: "a percentile is a number from 0 to 1" });
            }
            let operand = aggregate.operand.as_ref().map(bound);
            Ok(Aggregate { operand, filter: aggregate.filter.as_ref().map(bound), share, ..aggregate.clone() })
        });
        let aggregates = aggregates.collect::<Result<Vec<Aggregate>, QueryError>>()?;
        let columns = columns.transpose()?;
        let filter = self.filter.as_ref().map(bound);
        require_room()?;
        let explanation = self.explain(limit);
        Ok(Plan {
            columns,
            distinct: self.distinct,
            event_type: None,
            filter,
            groups: self.is_grouped.then_some(Groups { keys, aggregates, having }),
            order_by,
            limit,
            fields: self.fields.clone(),
            is_light: is_light.get(),
            explanation,
        })
    }

    fn values(&self, parameters: &[Parameter]) -> Result<Vec<Value<'static>>, QueryError> {
        // Looked up rather than searched: both the query and its caller may bring thousands.
        let mut named = HashMap::new();
        for given in parameters {
            named.entry(given.name.trim_start_matches([':', '@'])).or_insert(given);
        }
        let has_unnamed = parameters.iter().any(|parameter| parameter.name.is_empty());
        // Some clients give every value a name. Then they are taken in their order.
        let numbered: Vec<&Parameter> =
            parameters.iter().filter(|given| given.name.is_empty() || !has_unnamed).collect();
        let find = |wanted: &ParameterName| match wanted {
            ParameterName::Named(wanted) => named.get(wanted.as_str()),
            ParameterName::Numbered(wanted) => numbered.get(*wanted),
        };
        let value = |wanted: &ParameterName| match find(wanted) {
            Some(given) => Ok(given.value.clone()),
            None => Err(QueryError::MissingParameter {
                name: match wanted {
                    ParameterName::Named(name) => format!(":{name}"),
                    ParameterName::Numbered(number) => format!("number {}", number + 1),
                },
            }),
        };
        self.parameters.iter().map(value).collect()
    }

    fn explain(&self, limit: Option<u64>) -> Explanation {
        let columns = self.columns.iter().flatten().map(|column| column.name.clone());
        Explanation {
            columns: columns.collect(),
            fields: self.fields.iter().map(path_text).collect(),
            distinct: self.distinct,
            filter: self.texts.filter.clone(),
            group_by: self.texts.group_by.clone(),
            having: self.texts.having.clone(),
            order_by: self.texts.order_by.clone(),
            limit,
        }
    }
}

impl Plan {
    /// Leaves out events of other types.
    #[must_use]
    pub fn only_of(mut self, event_type: Option<EventType>) -> Plan {
        self.event_type = event_type;
        self
    }

    /// What of the events' data is wanted. A row has a value for each, in this order. When there are none, the data need not be
    /// looked at.
    pub fn fields(&self) -> &[Path] {
        &self.fields
    }

    /// Whether a row matches, whatever is then done with it. `fields` are the values of [`Plan::fields`].
    pub fn matches<'a>(&self, input: &Input<'a>, fields: &[Value<'a>], now: Time) -> bool {
        self.takes(input, &Row { input: Some(input), fields, now, ..Row::default() })
    }

    /// Whether an event is of a type that is wanted. Nothing else need be known of one that is not.
    #[inline]
    pub fn wants_type(&self, input: &Input<'_>) -> bool {
        self.event_type.as_ref().is_none_or(|wanted| wanted.accepts(input.type_name, input.type_version))
    }

    #[inline]
    pub(super) fn takes(&self, input: &Input<'_>, row: &Row<'_>) -> bool {
        self.wants_type(input) && self.filter.as_ref().is_none_or(|filter| filter.truth(row) == Some(true))
    }

    pub fn shape(&self) -> Shape {
        if self.groups.is_some() {
            Shape::Groups
        } else if !self.order_by.is_empty() {
            Shape::Sorted
        } else if self.is_whole() {
            Shape::Whole
        } else {
            Shape::Rows
        }
    }

    /// Whether the results are events as they are stored.
    pub fn is_whole(&self) -> bool {
        self.columns.is_none()
    }

    /// Whether a row takes no longer than its data is long: no text is made of others.
    pub fn is_light(&self) -> bool {
        self.is_light
    }

    pub fn limit(&self) -> Option<u64> {
        self.limit
    }

    pub fn explain(&self) -> &Explanation {
        &self.explanation
    }

    /// Begins to run.
    pub fn start(self, now: Time) -> Execution {
        Execution::new(self, now)
    }
}

/// Changes what is evaluated for an event into what is evaluated for its group.
///
/// # Errors
///
/// When the value is not the same for all events of a group.
fn into_group(expression: &mut Expression, keys: &[Expression]) -> Result<(), ()> {
    if let Some(slot) = keys.iter().position(|key| key == expression) {
        *expression = Expression::Group(slot);
        return Ok(());
    }
    match expression {
        Expression::Field(_) | Expression::Envelope(_) => Err(()),
        // Looks at the event's time of commit.
        Expression::Call { function: Function::Window, arguments } if arguments.len() == 1 => Err(()),
        other => other.each_part(&mut |part| into_group(part, keys)),
    }
}

fn is_share(expression: &Expression) -> bool {
    let Expression::Literal(value) = expression else { return false };
    value.as_float().is_some_and(|share| (0.0..=1.0).contains(&share))
}

/// A path as it is written in a query.
fn path_text(path: &Path) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Index(index) => text.extend(["[", &index.to_string(), "]"]),
            Step::Key(name) => {
                let is_word = name.chars().all(|letter| letter.is_alphanumeric() || letter == '_')
                    && name.starts_with(|first: char| first.is_alphabetic() || first == '_');
                if !text.is_empty() {
                    text.push('.');
                }
                if is_word {
                    text.push_str(name);
                } else {
                    text.extend(["\"", &name.replace('"', "\"\""), "\""]);
                }
            }
        }
    }
    text
}
