//! Calls: functions, aggregates, and what SQL has a way of its own to write, as CAST and EXTRACT.

use sqlparser::{
    ast::{
        CeilFloorKind, DateTimeField, DuplicateTreatment, Expr, FunctionArg, FunctionArgExpr, FunctionArguments,
        Interval, ObjectNamePart, TrimWhereField, Value as Literal, ValueWithSpan,
    },
    tokenizer::Location,
};

use super::{Clause, Translator};
use crate::{
    ensql::{
        QueryError, Value,
        aggregate::{self, Aggregate, AggregateFunction},
        expression::{Expression, Kind},
        function::{self, Function},
        moment,
    },
    model::Time,
};

impl Translator<'_> {
    /// What is a function, although SQL writes it in a way of its own.
    pub(super) fn call_like(&mut self, expr: Expr, at: Location) -> Result<Expression, QueryError> {
        match expr {
            Expr::Cast { expr, data_type, format: None, .. } => {
                let Some(kind) = kind(&data_type.to_string()) else {
                    return Err(self.error(at, format!("the type {data_type} is not known")));
                };
                Ok(Expression::Cast { kind, operand: self.boxed(expr)? })
            }
            Expr::Function(function) => self.function(function, at),
            Expr::Extract { field, expr, .. } => {
                let unit = Expression::Literal(Value::Text(field.to_string().to_lowercase().into()));
                let arguments = vec![unit, self.expression(*expr)?];
                self.call(Function::DatePart, arguments, at)
            }
            Expr::Ceil { expr, field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) } => {
                let arguments = vec![self.expression(*expr)?];
                self.call(Function::Ceil, arguments, at)
            }
            Expr::Floor { expr, field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) } => {
                let arguments = vec![self.expression(*expr)?];
                self.call(Function::Floor, arguments, at)
            }
            Expr::Position { expr, r#in } => {
                let part = self.expression(*expr)?;
                let arguments = vec![self.expression(*r#in)?, part];
                self.call(Function::Instr, arguments, at)
            }
            Expr::Substring { expr, substring_from, substring_for, .. } => {
                let mut arguments = vec![self.expression(*expr)?];
                let from = substring_from.map(|from| self.expression(*from)).transpose()?;
                arguments.push(from.unwrap_or(Expression::Literal(Value::Int(1))));
                if let Some(length) = substring_for {
                    arguments.push(self.expression(*length)?);
                }
                self.call(Function::Substr, arguments, at)
            }
            Expr::Trim { trim_where, trim_what, expr, trim_characters } => {
                let function = match trim_where {
                    Some(TrimWhereField::Leading) => Function::Ltrim,
                    Some(TrimWhereField::Trailing) => Function::Rtrim,
                    _ => Function::Trim,
                };
                let mut arguments = vec![self.expression(*expr)?];
                let letters = trim_what.map(|what| *what).into_iter().chain(trim_characters.into_iter().flatten());
                arguments.extend(self.list(letters.collect())?);
                if arguments.len() > 2 {
                    return Err(self.error(at, "trim takes one or two arguments"));
                }
                self.call(function, arguments, at)
            }
            Expr::Interval(interval) => self.interval(&interval, at),
            Expr::TypedString(typed) => {
                let Literal::SingleQuotedString(text) = &typed.value.value else {
                    return Err(self.error(at, "a literal of this type is not supported"));
                };
                let kind = kind(&typed.data_type.to_string());
                match (kind, Value::text(text).as_time()) {
                    (Some(Kind::Time | Kind::Date), Some(time)) => Ok(Expression::Literal(Value::Time(time))),
                    (Some(Kind::Time | Kind::Date), None) => {
                        Err(self.error(typed.value.span.start, "this is not a time like 2026-11-21T09:30:00Z"))
                    }
                    _ => Err(self.error(at, "a literal of this type is not supported")),
                }
            }
            Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => {
                Err(self.error(at, "a query within a query is not supported"))
            }
            _ => Err(self.error(at, "this expression is not supported")),
        }
    }

    fn interval(&mut self, interval: &Interval, at: Location) -> Result<Expression, QueryError> {
        let text = match &*interval.value {
            Expr::Value(ValueWithSpan { value: Literal::SingleQuotedString(text), .. }) => text.clone(),
            Expr::Value(ValueWithSpan { value: Literal::Number(digits, _), .. }) => digits.clone(),
            _ => return Err(self.error(at, "an interval is written like INTERVAL '5 minutes'")),
        };
        let nanos = match &interval.leading_field {
            None => moment::interval(&text),
            Some(field) => moment::unit(&field.to_string()).and_then(|unit| moment::times(text.trim(), unit)),
        };
        match nanos {
            Some(nanos) if interval.last_field.is_none() => Ok(Expression::Literal(Value::Interval(nanos))),
            _ => Err(self.error(at, "an interval is a number of weeks, days, hours, minutes, seconds or milliseconds")),
        }
    }

    fn function(&mut self, call: sqlparser::ast::Function, at: Location) -> Result<Expression, QueryError> {
        let [ObjectNamePart::Identifier(ident)] = call.name.0.as_slice() else {
            return Err(self.error(at, "a function has a name without dots"));
        };
        let name = ident.value.to_lowercase();
        if call.over.is_some() {
            return Err(self.error(at, "OVER is not supported"));
        }
        if !call.within_group.is_empty() || !matches!(call.parameters, FunctionArguments::None) {
            return Err(self.error(at, "WITHIN GROUP and parameters of functions are not supported"));
        }
        let (arguments, distinct, is_list) = match call.args {
            FunctionArguments::None => (Vec::new(), false, false),
            FunctionArguments::List(list) if list.clauses.is_empty() => {
                (list.args, list.duplicate_treatment == Some(DuplicateTreatment::Distinct), true)
            }
            _ => return Err(self.error(at, "these arguments are not supported")),
        };
        if matches!(name.as_str(), "now" | "current_timestamp") && arguments.is_empty() {
            return Ok(Expression::Now);
        }
        if !is_list {
            return Err(self.error(at, format!("the function {name} is not known")));
        }
        let known = aggregate::NAMES.iter().find(|(known, ..)| *known == name);
        // SQLite's min and max of several arguments are of one row.
        let is_of_row = matches!(name.as_str(), "min" | "max") && arguments.len() > 1;
        if let Some((_, function, count)) = known.filter(|_| !is_of_row) {
            return self.aggregate(&name, *function, *count, arguments, distinct, call.filter, at);
        }
        if distinct || call.filter.is_some() {
            return Err(self.error(at, "DISTINCT and FILTER are for aggregates"));
        }
        let name = match name.as_str() {
            "min" => "least",
            "max" => "greatest",
            name => name,
        };
        let Some((_, function, least, most)) = function::NAMES.iter().find(|(known, ..)| *known == name) else {
            return Err(self.error(at, format!("the function {name} is not known")));
        };
        if !(*least..=*most).contains(&arguments.len()) {
            return Err(self.error(at, format!("wrong number of arguments for {name}")));
        }
        let arguments: Result<_, QueryError> =
            arguments.into_iter().map(|argument| self.argument(argument, at)).collect();
        self.call(*function, arguments?, at)
    }

    /// A function with the right number of arguments; those that say what to do have to be known words.
    fn call(
        &mut self,
        function: Function,
        mut arguments: Vec<Expression>,
        at: Location,
    ) -> Result<Expression, QueryError> {
        if function == Function::Window {
            // `time_bucket` and its like may be given the time first.
            let literal = |argument: &Expression| matches!(argument, Expression::Literal(_));
            if arguments.len() == 2 && !literal(&arguments[0]) && literal(&arguments[1]) {
                arguments.swap(0, 1);
            }
            if !moment::is_interval(&arguments[0]) {
                return Err(self.error(at, "a window has a length like '1 minute'"));
            }
        }
        let known = match (function, arguments.first()) {
            (Function::DatePart, Some(Expression::Literal(unit))) => {
                !moment::part(unit, &Value::Time(Time::EPOCH)).is_null()
            }
            (Function::DateTrunc, Some(Expression::Literal(unit))) => {
                !moment::truncated(unit, &Value::Time(Time::EPOCH)).is_null()
            }
            _ => true,
        };
        if !known {
            return Err(self.error(at, "the unit of time is not known"));
        }
        Ok(Expression::Call { function, arguments })
    }

    fn argument(&mut self, argument: FunctionArg, at: Location) -> Result<Expression, QueryError> {
        match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => self.expression(expr),
            FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => Err(self.error(at, "* is for count(*) alone")),
            _ => Err(self.error(at, "arguments have no names")),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "they are the parts of a call, which are used once")]
    fn aggregate(
        &mut self,
        name: &str,
        function: AggregateFunction,
        count: usize,
        mut arguments: Vec<FunctionArg>,
        distinct: bool,
        filter: Option<Box<Expr>>,
        at: Location,
    ) -> Result<Expression, QueryError> {
        match self.clause {
            Clause::Select | Clause::Having | Clause::OrderBy => {}
            Clause::Where => return Err(self.error(at, "aggregates are not allowed in WHERE; use HAVING")),
            Clause::GroupBy => return Err(self.error(at, "aggregates are not allowed in GROUP BY")),
            Clause::Aggregate => return Err(self.error(at, "an aggregate has no aggregates within")),
        }
        if arguments.len() != count {
            return Err(self.error(at, format!("wrong number of arguments for {name}")));
        }
        let outer = std::mem::replace(&mut self.clause, Clause::Aggregate);
        let is_star = matches!(arguments.as_slice(), [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)]);
        let share = if count == 2 { arguments.pop() } else { None };
        let operand = match arguments.pop() {
            Some(_) if is_star && function == AggregateFunction::Count && !distinct => None,
            Some(argument) => Some(self.argument(argument, at)?),
            None => None,
        };
        let share = share.map(|share| self.argument(share, at)).transpose()?;
        let filter = filter.map(|filter| self.expression(*filter)).transpose()?;
        self.clause = outer;
        self.first_aggregate.get_or_insert(at);
        let aggregate = Aggregate { function, operand, distinct, filter, share };
        let known = self.aggregates.iter().position(|known| *known == aggregate);
        Ok(Expression::Aggregate(known.unwrap_or_else(|| {
            self.aggregates.push(aggregate);
            self.aggregates.len() - 1
        })))
    }
}

/// The type that a name of a type means, whatever its length and precision.
fn kind(name: &str) -> Option<Kind> {
    let name = name.to_uppercase();
    let word = name.split(['(', ' ']).next().unwrap_or_default();
    Some(match word {
        "BOOL" | "BOOLEAN" => Kind::Bool,
        "INT" | "INTEGER" | "BIGINT" | "SMALLINT" | "TINYINT" | "INT2" | "INT4" | "INT8" | "INT16" | "INT32"
        | "INT64" | "SIGNED" => Kind::Int,
        "FLOAT" | "REAL" | "DOUBLE" | "FLOAT4" | "FLOAT8" | "FLOAT32" | "FLOAT64" => Kind::Float,
        "NUMERIC" | "DECIMAL" | "DEC" | "NUMBER" => Kind::Number,
        "TEXT" | "VARCHAR" | "CHAR" | "CHARACTER" | "STRING" | "NVARCHAR" | "CLOB" => Kind::Text,
        "BLOB" | "BYTEA" | "BYTES" | "BINARY" | "VARBINARY" => Kind::Bytes,
        "TIMESTAMP" | "TIMESTAMPTZ" | "DATETIME" | "DATETIME64" => Kind::Time,
        "DATE" => Kind::Date,
        _ => return None,
    })
}
