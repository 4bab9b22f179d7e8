//! Functions of one row's values.
//!
//! An argument that is NULL makes the result NULL, unless the function is about NULL. So does an argument of a type that the
//! function is not made for.

use std::borrow::Cow;

use super::{
    Value,
    evaluate::{Row, from_float, to_int, to_time},
    expression::Expression,
    moment,
};

/// Bytes of a text that an expression makes. What would be longer is NULL, so that no query needs more memory than its events
/// make it.
pub(super) const TEXT_BYTES_MAX: usize = 16 << 20;

/// A function. Each has a row in [`NAMES`], where its other names are too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Abs,
    Ceil,
    Coalesce,
    Concat,
    Contains,
    DatePart,
    DateTrunc,
    EndsWith,
    Floor,
    Greatest,
    Hex,
    If,
    Instr,
    Least,
    Left,
    Length,
    Lower,
    Ltrim,
    Mod,
    NullIf,
    OctetLength,
    Power,
    Replace,
    Reverse,
    Right,
    Round,
    Rtrim,
    Sign,
    SplitPart,
    Sqrt,
    StartsWith,
    Strftime,
    Substr,
    ToTimestamp,
    Trim,
    TypeOf,
    Upper,
    Window,
}

/// Names with the least and the greatest number of arguments.
pub(super) const NAMES: [(&str, Function, usize, usize); 48] = [
    ("abs", Function::Abs, 1, 1),
    ("ceil", Function::Ceil, 1, 1),
    ("ceiling", Function::Ceil, 1, 1),
    ("char_length", Function::Length, 1, 1),
    ("coalesce", Function::Coalesce, 1, usize::MAX),
    ("concat", Function::Concat, 1, usize::MAX),
    ("contains", Function::Contains, 2, 2),
    ("date_part", Function::DatePart, 2, 2),
    ("date_trunc", Function::DateTrunc, 2, 2),
    ("ends_with", Function::EndsWith, 2, 2),
    ("floor", Function::Floor, 1, 1),
    ("greatest", Function::Greatest, 1, usize::MAX),
    ("hex", Function::Hex, 1, 1),
    ("if", Function::If, 3, 3),
    ("ifnull", Function::Coalesce, 2, 2),
    ("iif", Function::If, 3, 3),
    ("instr", Function::Instr, 2, 2),
    ("least", Function::Least, 1, usize::MAX),
    ("left", Function::Left, 2, 2),
    ("len", Function::Length, 1, 1),
    ("length", Function::Length, 1, 1),
    ("lower", Function::Lower, 1, 1),
    ("ltrim", Function::Ltrim, 1, 2),
    ("mod", Function::Mod, 2, 2),
    ("nullif", Function::NullIf, 2, 2),
    ("octet_length", Function::OctetLength, 1, 1),
    ("pow", Function::Power, 2, 2),
    ("power", Function::Power, 2, 2),
    ("replace", Function::Replace, 3, 3),
    ("reverse", Function::Reverse, 1, 1),
    ("right", Function::Right, 2, 2),
    ("round", Function::Round, 1, 2),
    ("rtrim", Function::Rtrim, 1, 2),
    ("sign", Function::Sign, 1, 1),
    ("split_part", Function::SplitPart, 3, 3),
    ("sqrt", Function::Sqrt, 1, 1),
    ("starts_with", Function::StartsWith, 2, 2),
    ("strftime", Function::Strftime, 2, 2),
    ("strpos", Function::Instr, 2, 2),
    ("substr", Function::Substr, 2, 3),
    ("substring", Function::Substr, 2, 3),
    ("to_timestamp", Function::ToTimestamp, 1, 1),
    ("trim", Function::Trim, 1, 2),
    ("typeof", Function::TypeOf, 1, 1),
    ("upper", Function::Upper, 1, 1),
    ("window", Function::Window, 1, 2),
    ("time_bucket", Function::Window, 1, 2),
    ("character_length", Function::Length, 1, 1),
];

impl Function {
    /// Whether the result is a time or NULL.
    pub(super) fn gives_time(self) -> bool {
        matches!(self, Function::DateTrunc | Function::ToTimestamp | Function::Window)
    }
}

/// Calls a function whose number of arguments was checked.
pub(super) fn call<'a>(function: Function, arguments: &'a [Expression], row: &Row<'a>) -> Value<'a> {
    let argument = |number: usize| arguments.get(number).map_or(Value::Null, |argument| argument.value(row));
    match function {
        Function::Coalesce => {
            arguments.iter().map(|argument| argument.value(row)).find(|value| !value.is_null()).unwrap_or_default()
        }
        Function::If => {
            let taken =
                if arguments.first().is_some_and(|condition| condition.truth(row) == Some(true)) { 1 } else { 2 };
            argument(taken)
        }
        Function::NullIf => {
            let value = argument(0);
            if value.compare(&argument(1)) == Some(std::cmp::Ordering::Equal) { Value::Null } else { value }
        }
        Function::Greatest | Function::Least => extreme(function, arguments, row),
        Function::Concat => join(arguments, row),
        Function::TypeOf => Value::text(argument(0).type_name()),
        Function::Window => moment::window(&argument(0), arguments.get(1).map(|time| time.value(row)), row),
        Function::DatePart => moment::part(&argument(0), &argument(1)),
        Function::DateTrunc => moment::truncated(&argument(0), &argument(1)),
        Function::Strftime => moment::formatted(&argument(0), &argument(1)),
        Function::ToTimestamp => to_time(&argument(0)).map_or(Value::Null, Value::Time),
        Function::Abs | Function::Ceil | Function::Floor | Function::Round | Function::Sign | Function::Sqrt => {
            number_of_one(function, &argument(0), &argument(1))
        }
        Function::Mod | Function::Power => number_of_two(function, &argument(0), &argument(1)),
        Function::Length | Function::OctetLength | Function::Hex => of_any_bytes(function, &argument(0)),
        _ => match argument(0) {
            Value::Text(text) => of_text(function, text, &argument(1), &argument(2), arguments.len()),
            _ => Value::Null,
        },
    }
}

/// NULL when one of them is, or they do not compare.
fn extreme<'a>(function: Function, arguments: &'a [Expression], row: &Row<'a>) -> Value<'a> {
    let wanted = if function == Function::Greatest { std::cmp::Ordering::Greater } else { std::cmp::Ordering::Less };
    let mut values = arguments.iter().map(|argument| argument.value(row));
    let Some(mut best) = values.next() else { return Value::Null };
    for value in values {
        match value.compare(&best) {
            Some(ordering) if ordering == wanted => best = value,
            Some(_) => {}
            None => return Value::Null,
        }
    }
    best
}

/// All that is not NULL, one behind the other.
fn join<'a>(arguments: &'a [Expression], row: &Row<'a>) -> Value<'a> {
    let mut text = String::new();
    for argument in arguments {
        text.push_str(&argument.value(row).to_text().unwrap_or_default());
        if text.len() > TEXT_BYTES_MAX {
            return Value::Null;
        }
    }
    Value::Text(Cow::Owned(text))
}

fn number_of_one(function: Function, value: &Value<'_>, digits: &Value<'_>) -> Value<'static> {
    match (function, value) {
        (Function::Abs, Value::Int(number)) => number.checked_abs().map_or(Value::Null, Value::Int),
        (Function::Sign, Value::Int(number)) => Value::Int(number.signum()),
        (Function::Ceil | Function::Floor | Function::Round, Value::Int(number)) => Value::Int(*number),
        (_, Value::Int(_) | Value::Float(_)) => {
            let Some(number) = value.as_float() else { return Value::Null };
            from_float(match function {
                Function::Abs => number.abs(),
                Function::Ceil => number.ceil(),
                Function::Floor => number.floor(),
                Function::Sqrt => number.sqrt(),
                Function::Sign if number == 0.0 => 0.0,
                Function::Sign => number.signum(),
                _ => rounded(number, digits),
            })
        }
        _ => Value::Null,
    }
}

/// To a number of digits behind the point, halves away from zero.
fn rounded(number: f64, digits: &Value<'_>) -> f64 {
    let digits = match digits {
        Value::Int(digits) => usize::try_from(*digits).unwrap_or(0).min(30),
        _ => 0,
    };
    if digits == 0 {
        return number.round();
    }
    let factor = 10_f64.powi(i32::try_from(digits).unwrap_or(0));
    let scaled = number * factor;
    // Numbers this large have no digits behind the point to lose.
    if scaled.abs() >= 4_503_599_627_370_496.0 { number } else { scaled.round() / factor }
}

fn number_of_two(function: Function, left: &Value<'_>, right: &Value<'_>) -> Value<'static> {
    if let (Function::Mod, Value::Int(left), Value::Int(right)) = (function, left, right) {
        return if *right == 0 { Value::Null } else { Value::Int(left.wrapping_rem(*right)) };
    }
    match (left, right) {
        (Value::Int(_) | Value::Float(_), Value::Int(_) | Value::Float(_)) => {
            let (Some(left), Some(right)) = (left.as_float(), right.as_float()) else { return Value::Null };
            from_float(if function == Function::Mod { left % right } else { left.powf(right) })
        }
        _ => Value::Null,
    }
}

fn of_any_bytes(function: Function, value: &Value<'_>) -> Value<'static> {
    let count = |count: usize| i64::try_from(count).map_or(Value::Null, Value::Int);
    let bytes = match value {
        Value::Text(text) if function == Function::Length => return count(text.chars().count()),
        Value::Text(text) => text.as_bytes(),
        Value::Bytes(bytes) => bytes,
        _ => return Value::Null,
    };
    if function != Function::Hex {
        return count(bytes.len());
    }
    if bytes.len() > TEXT_BYTES_MAX / 2 {
        return Value::Null;
    }
    let digit = |digit: u8| char::from_digit(u32::from(digit), 16).map(|digit| digit.to_ascii_uppercase());
    Value::Text(Cow::Owned(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).flatten().collect()))
}

/// Functions whose first argument is a text.
fn of_text<'a>(
    function: Function,
    text: Cow<'a, str>,
    second: &Value<'a>,
    third: &Value<'a>,
    arguments: usize,
) -> Value<'a> {
    match (function, second, third) {
        (Function::Lower, ..) => Value::Text(Cow::Owned(text.to_lowercase())),
        (Function::Upper, ..) => Value::Text(Cow::Owned(text.to_uppercase())),
        (Function::Reverse, ..) => Value::Text(Cow::Owned(text.chars().rev().collect())),
        (Function::Trim | Function::Ltrim | Function::Rtrim, Value::Text(letters), _) => trim(function, &text, letters),
        (Function::Trim | Function::Ltrim | Function::Rtrim, ..) if arguments == 1 => trim(function, &text, " "),
        (Function::Contains, Value::Text(part), _) => Value::Bool(text.contains(part.as_ref())),
        (Function::StartsWith, Value::Text(part), _) => Value::Bool(text.starts_with(part.as_ref())),
        (Function::EndsWith, Value::Text(part), _) => Value::Bool(text.ends_with(part.as_ref())),
        (Function::Instr, Value::Text(part), _) => {
            let place = text.find(part.as_ref()).map_or(0, |at| text[..at].chars().count() + 1);
            i64::try_from(place).map_or(Value::Null, Value::Int)
        }
        (Function::Replace, Value::Text(from), Value::Text(to)) => replace(text, from, to),
        (Function::SplitPart, Value::Text(separator), Value::Int(number)) => split_part(&text, separator, *number),
        (Function::Left, Value::Int(count), _) => {
            let count = if *count < 0 { length(&text) + count } else { *count };
            letters(&text, 0, count.max(0))
        }
        (Function::Right, Value::Int(count), _) => {
            let all = length(&text);
            let skipped = if *count < 0 { count.saturating_neg() } else { all - count };
            letters(&text, skipped.max(0), all)
        }
        (Function::Substr, Value::Int(_) | Value::Float(_), _) if arguments == 2 => {
            whole(second).map_or(Value::Null, |start| substring(&text, start, i64::MAX))
        }
        (Function::Substr, Value::Int(_) | Value::Float(_), Value::Int(_) | Value::Float(_)) => {
            match (whole(second), whole(third)) {
                (Some(start), Some(count)) => substring(&text, start, count),
                _ => Value::Null,
            }
        }
        _ => Value::Null,
    }
}

fn whole(value: &Value<'_>) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        Value::Float(number) => to_int(*number),
        _ => None,
    }
}

fn length(text: &str) -> i64 {
    i64::try_from(text.chars().count()).unwrap_or(i64::MAX)
}

/// As SQLite: positions count from one, negative ones from the end, and a negative count takes what is before.
fn substring(text: &str, start: i64, count: i64) -> Value<'static> {
    let all = i128::from(length(text));
    let (start, count) = (i128::from(start), i128::from(count));
    // The first letter is at 1; a start of 0 is one before it, which uses up one of the count.
    let first = if start < 0 { start + all } else { start - 1 };
    let (from, to) = if count < 0 { (first + count, first) } else { (first, first + count) };
    let clamp = |place: i128| i64::try_from(place.clamp(0, all)).unwrap_or(i64::MAX);
    letters(text, clamp(from), clamp(to))
}

/// From one letter up to another one.
fn letters(text: &str, from: i64, to: i64) -> Value<'static> {
    let skip = usize::try_from(from).unwrap_or(0);
    let take = usize::try_from(to.saturating_sub(from)).unwrap_or(0);
    Value::Text(Cow::Owned(text.chars().skip(skip).take(take).collect()))
}

fn trim<'a>(function: Function, text: &str, letters: &str) -> Value<'a> {
    let is_cut = |letter: char| letters.contains(letter);
    let trimmed = match function {
        Function::Ltrim => text.trim_start_matches(is_cut),
        Function::Rtrim => text.trim_end_matches(is_cut),
        _ => text.trim_matches(is_cut),
    };
    Value::Text(Cow::Owned(trimmed.to_owned()))
}

fn replace<'a>(text: Cow<'a, str>, from: &str, to: &str) -> Value<'a> {
    if from.is_empty() || !text.contains(from) {
        return Value::Text(text);
    }
    let places = text.matches(from).count();
    if text.len().saturating_add(places.saturating_mul(to.len())) > TEXT_BYTES_MAX {
        return Value::Null;
    }
    Value::Text(Cow::Owned(text.replace(from, to)))
}

/// The parts count from one, negative ones from the end; one that is not there is empty.
fn split_part<'a>(text: &str, separator: &str, number: i64) -> Value<'a> {
    let place = |number: i64| usize::try_from(number - 1).ok();
    let part = if separator.is_empty() {
        (number.unsigned_abs() == 1).then_some(text)
    } else if number < 0 {
        place(number.saturating_neg()).and_then(|place| text.rsplit(separator).nth(place))
    } else {
        place(number).and_then(|place| text.split(separator).nth(place))
    };
    Value::Text(Cow::Owned(part.unwrap_or_default().to_owned()))
}
