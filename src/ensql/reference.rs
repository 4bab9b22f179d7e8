//! Generated expressions, evaluated twice: by the language, and by what SQL says about each operator alone.

use proptest::prelude::*;

use super::tests::run;

/// What a simple implementation works with.
#[derive(Debug, Clone, PartialEq)]
enum Simple {
    Null,
    Truth(bool),
    Number(i64),
    Text(String),
}

/// An expression that is always of one type, so that nothing in it is NULL for a reason of types.
#[derive(Debug, Clone)]
enum Number {
    Literal(i64),
    Null,
    Field(usize),
    Negative(Box<Number>),
    Two(char, Box<Number>, Box<Number>),
    Coalesce(Box<Number>, Box<Number>),
    NullIf(Box<Number>, Box<Number>),
    Case(Box<Condition>, Box<Number>, Box<Number>),
    Length(Box<Text>),
}

#[derive(Debug, Clone)]
enum Text {
    Literal(String),
    Null,
    Field,
    Concat(Box<Text>, Box<Text>),
    Upper(Box<Text>),
    Case(Box<Condition>, Box<Text>, Box<Text>),
}

#[derive(Debug, Clone)]
enum Condition {
    Compare(&'static str, Number, Number),
    CompareTexts(&'static str, Text, Text),
    And(Box<Condition>, Box<Condition>),
    Or(Box<Condition>, Box<Condition>),
    Not(Box<Condition>),
    IsNull(Number, bool),
    Is(Box<Condition>, &'static str),
    In(Number, Vec<Number>, bool),
    Between(Number, Number, Number),
    StartsWith(Text, String),
}

const FIELDS: [&str; 3] = ["n", "m", "missing"];

impl Number {
    fn text(&self) -> String {
        match self {
            Number::Literal(number) => number.to_string(),
            Number::Null => "NULL".to_owned(),
            Number::Field(slot) => FIELDS[*slot].to_owned(),
            Number::Negative(operand) => format!("-({})", operand.text()),
            Number::Two(sign, left, right) => format!("({} {sign} {})", left.text(), right.text()),
            Number::Coalesce(left, right) => format!("coalesce({}, {})", left.text(), right.text()),
            Number::NullIf(left, right) => format!("nullif({}, {})", left.text(), right.text()),
            Number::Case(condition, left, right) => {
                format!("CASE WHEN {} THEN {} ELSE {} END", condition.text(), left.text(), right.text())
            }
            Number::Length(text) => format!("length({})", text.text()),
        }
    }

    /// All numbers are small, so nothing overflows.
    fn value(&self, row: &Fields) -> Option<i64> {
        match self {
            Number::Literal(number) => Some(*number),
            Number::Null => None,
            Number::Field(slot) => [row.n, row.m, None][*slot],
            Number::Negative(operand) => Some(-operand.value(row)?),
            Number::Two(sign, left, right) => {
                let (left, right) = (left.value(row)?, right.value(row)?);
                match sign {
                    '+' => Some(left + right),
                    '-' => Some(left - right),
                    '*' => Some(left * right),
                    '/' => left.checked_div(right),
                    _ => left.checked_rem(right),
                }
            }
            Number::Coalesce(left, right) => left.value(row).or_else(|| right.value(row)),
            Number::NullIf(left, right) => left.value(row).filter(|left| right.value(row) != Some(*left)),
            Number::Case(condition, left, right) => {
                if condition.value(row) == Some(true) {
                    left.value(row)
                } else {
                    right.value(row)
                }
            }
            Number::Length(text) => text.value(row).map(|text| i64::try_from(text.chars().count()).unwrap()),
        }
    }
}

impl Text {
    fn text(&self) -> String {
        match self {
            Text::Literal(text) => format!("'{}'", text.replace('\'', "''")),
            Text::Null => "NULL".to_owned(),
            Text::Field => "s".to_owned(),
            Text::Concat(left, right) => format!("({} || {})", left.text(), right.text()),
            Text::Upper(operand) => format!("upper({})", operand.text()),
            Text::Case(condition, left, right) => {
                format!("iif({}, {}, {})", condition.text(), left.text(), right.text())
            }
        }
    }

    fn value(&self, row: &Fields) -> Option<String> {
        match self {
            Text::Literal(text) => Some(text.clone()),
            Text::Null => None,
            Text::Field => row.s.clone(),
            Text::Concat(left, right) => Some(left.value(row)? + &right.value(row)?),
            Text::Upper(operand) => Some(operand.value(row)?.to_uppercase()),
            Text::Case(condition, left, right) => {
                if condition.value(row) == Some(true) {
                    left.value(row)
                } else {
                    right.value(row)
                }
            }
        }
    }
}

impl Condition {
    fn text(&self) -> String {
        let not = |negated: bool| if negated { "NOT " } else { "" };
        match self {
            Condition::Compare(sign, left, right) => format!("{} {sign} {}", left.text(), right.text()),
            Condition::CompareTexts(sign, left, right) => format!("{} {sign} {}", left.text(), right.text()),
            Condition::And(left, right) => format!("({} AND {})", left.text(), right.text()),
            Condition::Or(left, right) => format!("({} OR {})", left.text(), right.text()),
            Condition::Not(operand) => format!("NOT ({})", operand.text()),
            Condition::IsNull(operand, negated) => format!("{} IS {}NULL", operand.text(), not(*negated)),
            Condition::Is(operand, what) => format!("({}) IS {what}", operand.text()),
            Condition::In(operand, list, negated) => {
                let list: Vec<String> = list.iter().map(Number::text).collect();
                format!("{} {}IN ({})", operand.text(), not(*negated), list.join(", "))
            }
            Condition::Between(operand, low, high) => {
                format!("{} BETWEEN {} AND {}", operand.text(), low.text(), high.text())
            }
            Condition::StartsWith(text, start) => format!("{} LIKE '{start}%'", text.text()),
        }
    }

    fn value(&self, row: &Fields) -> Option<bool> {
        match self {
            Condition::Compare(sign, left, right) => Some(holds(sign, left.value(row)?.cmp(&right.value(row)?))),
            Condition::CompareTexts(sign, left, right) => Some(holds(sign, left.value(row)?.cmp(&right.value(row)?))),
            Condition::And(left, right) => and(left.value(row), right.value(row)),
            Condition::Or(left, right) => {
                and(left.value(row).map(|l| !l), right.value(row).map(|r| !r)).map(|all| !all)
            }
            Condition::Not(operand) => Some(!operand.value(row)?),
            Condition::IsNull(operand, negated) => Some(operand.value(row).is_none() != *negated),
            Condition::Is(operand, what) => Some(match *what {
                "TRUE" => operand.value(row) == Some(true),
                "NOT TRUE" => operand.value(row) != Some(true),
                "FALSE" => operand.value(row) == Some(false),
                _ => operand.value(row).is_none(),
            }),
            Condition::In(operand, list, negated) => {
                let wanted = operand.value(row);
                let equal = |item: &Number| Some(wanted? == item.value(row)?);
                let mut is_none = Some(true);
                for item in list {
                    is_none = and(is_none, equal(item).map(|equal| !equal));
                }
                is_none.map(|is_none| is_none == *negated)
            }
            Condition::Between(operand, low, high) => {
                let value = operand.value(row);
                let above = low.value(row).and_then(|low| Some(value? >= low));
                and(above, high.value(row).and_then(|high| Some(value? <= high)))
            }
            Condition::StartsWith(text, start) => Some(text.value(row)?.starts_with(start)),
        }
    }
}

fn holds(sign: &str, ordering: std::cmp::Ordering) -> bool {
    match sign {
        "=" => ordering.is_eq(),
        "<>" => ordering.is_ne(),
        "<" => ordering.is_lt(),
        _ => ordering.is_ge(),
    }
}

fn and(left: Option<bool>, right: Option<bool>) -> Option<bool> {
    if left == Some(false) || right == Some(false) { Some(false) } else { left.zip(right).map(|_| true) }
}

/// An event's fields.
#[derive(Debug, Clone)]
struct Fields {
    n: Option<i64>,
    m: Option<i64>,
    s: Option<String>,
}

fn numbers(depth: u32) -> BoxedStrategy<Number> {
    let leaf = prop_oneof![
        (-5_i64..6).prop_map(Number::Literal),
        Just(Number::Null),
        (0_usize..3).prop_map(Number::Field),
        (0_usize..2).prop_map(Number::Field),
    ];
    if depth == 0 {
        return leaf.boxed();
    }
    let inner = || numbers(depth - 1).prop_map(Box::new);
    prop_oneof![
        2 => leaf,
        1 => inner().prop_map(Number::Negative),
        3 => (proptest::sample::select(&['+', '-', '*', '/', '%'][..]), inner(), inner())
            .prop_map(|(sign, left, right)| Number::Two(sign, left, right)),
        1 => (inner(), inner()).prop_map(|(left, right)| Number::Coalesce(left, right)),
        1 => (inner(), inner()).prop_map(|(left, right)| Number::NullIf(left, right)),
        1 => (conditions(depth - 1).prop_map(Box::new), inner(), inner())
            .prop_map(|(condition, left, right)| Number::Case(condition, left, right)),
        1 => texts(depth - 1).prop_map(|text| Number::Length(Box::new(text))),
    ]
    .boxed()
}

fn texts(depth: u32) -> BoxedStrategy<Text> {
    let leaf = prop_oneof![Just(Text::Field), Just(Text::Null), "[a'b]{0,3}".prop_map(Text::Literal)];
    if depth == 0 {
        return leaf.boxed();
    }
    let inner = || texts(depth - 1).prop_map(Box::new);
    prop_oneof![
        2 => leaf,
        1 => (inner(), inner()).prop_map(|(left, right)| Text::Concat(left, right)),
        1 => inner().prop_map(Text::Upper),
        1 => (conditions(depth - 1).prop_map(Box::new), inner(), inner())
            .prop_map(|(condition, left, right)| Text::Case(condition, left, right)),
    ]
    .boxed()
}

fn conditions(depth: u32) -> BoxedStrategy<Condition> {
    let sign = || proptest::sample::select(&["=", "<>", "<", ">="][..]);
    let number = || numbers(depth.saturating_sub(1));
    let leaf = prop_oneof![
        (sign(), number(), number()).prop_map(|(sign, left, right)| Condition::Compare(sign, left, right)),
        (sign(), texts(depth.saturating_sub(1)), texts(0))
            .prop_map(|(sign, left, right)| Condition::CompareTexts(sign, left, right)),
        (number(), any::<bool>()).prop_map(|(operand, negated)| Condition::IsNull(operand, negated)),
        (number(), proptest::collection::vec(numbers(0), 0..10), any::<bool>())
            .prop_map(|(operand, list, negated)| Condition::In(operand, list, negated)),
        (number(), numbers(0), numbers(0)).prop_map(|(operand, low, high)| Condition::Between(operand, low, high)),
        (texts(0), "[ab]{0,2}").prop_map(|(text, start)| Condition::StartsWith(text, start)),
    ];
    if depth == 0 {
        return leaf.boxed();
    }
    let inner = || conditions(depth - 1).prop_map(Box::new);
    prop_oneof![
        2 => leaf,
        1 => (inner(), inner()).prop_map(|(left, right)| Condition::And(left, right)),
        1 => (inner(), inner()).prop_map(|(left, right)| Condition::Or(left, right)),
        1 => inner().prop_map(Condition::Not),
        1 => (inner(), proptest::sample::select(&["TRUE", "NOT TRUE", "FALSE", "UNKNOWN"][..]))
            .prop_map(|(operand, what)| Condition::Is(operand, what)),
    ]
    .boxed()
}

fn rows() -> impl Strategy<Value = Vec<Fields>> {
    let field = || proptest::option::weighted(0.8, -5_i64..6);
    let row = (field(), field(), proptest::option::weighted(0.8, "[a'b]{0,3}"));
    proptest::collection::vec(row.prop_map(|(n, m, s)| Fields { n, m, s }), 1..5)
}

/// What the language gives for an expression over rows.
fn found(expression: &str, rows: &[Fields]) -> Vec<Simple> {
    let events: Vec<String> =
        rows.iter().map(|row| serde_json::json!({"n": row.n, "m": row.m, "s": row.s}).to_string()).collect();
    let events: Vec<&str> = events.iter().map(String::as_str).collect();
    let found = run(&format!("SELECT {expression} AS v FROM t"), &[], &events).unwrap();
    let simple = |row: &String| match &serde_json::from_str::<serde_json::Value>(row).unwrap()["v"] {
        serde_json::Value::Bool(truth) => Simple::Truth(*truth),
        serde_json::Value::Number(number) => Simple::Number(number.as_i64().unwrap()),
        serde_json::Value::String(text) => Simple::Text(text.clone()),
        _ => Simple::Null,
    };
    found.iter().map(simple).collect()
}

proptest! {
    #[test]
    fn numbers_are_as_expected(number in numbers(3), rows in rows()) {
        let expected = rows.iter().map(|row| number.value(row).map_or(Simple::Null, Simple::Number));
        prop_assert_eq!(found(&number.text(), &rows), expected.collect::<Vec<_>>(), "{}", number.text());
    }

    #[test]
    fn texts_are_as_expected(text in texts(3), rows in rows()) {
        let expected = rows.iter().map(|row| text.value(row).map_or(Simple::Null, Simple::Text));
        prop_assert_eq!(found(&text.text(), &rows), expected.collect::<Vec<_>>(), "{}", text.text());
    }

    #[test]
    fn conditions_are_as_expected(condition in conditions(3), rows in rows()) {
        let expected = rows.iter().map(|row| condition.value(row).map_or(Simple::Null, Simple::Truth));
        prop_assert_eq!(found(&condition.text(), &rows), expected.collect::<Vec<_>>(), "{}", condition.text());
    }
}
