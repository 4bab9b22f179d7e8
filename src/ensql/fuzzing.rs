//! What fuzzers feed with arbitrary text: queries, which are read and run over a few rows.

use std::borrow::Cow;

pub use super::decode::fuzzing::{fuzz_data, fuzz_json};
use super::{Finish, Input, Metadata, Outcome, Parameter, Plan, QueryError, Statement, Value};
use crate::model::{Mimetype, Offset, Rlid, Time};

/// A query is read or refused at a place that is in the text; one that is read names topics that mean the same in quotes, and
/// gives JSON, and no more than it says.
pub fn fuzz_query(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let statement = match Statement::parse(text) {
        Ok(statement) => statement,
        Err(QueryError::Empty) => {
            assert!(text.trim().is_empty());
            return;
        }
        Err(error) => {
            check_error(&error, text.trim());
            return;
        }
    };
    for source in statement.sources() {
        if let Err(error) = source.resolve(|name| name == "t") {
            check_error(&error, text.trim());
        }
        if !source.written.contains(['\'', '\\']) {
            let quoted = format!("select * from other, '{}' ;", source.written);
            let read = Statement::parse(&quoted);
            let again = read.as_ref().ok().and_then(|read| read.sources().get(1)).map(|source| &*source.written);
            assert_eq!(again, Some(&*source.written).filter(|written| *written != "other"), "{text:?}");
        }
    }
    if let Err(error) = statement.require_endless() {
        check_error(&error, text.trim());
        assert!(!statement.is_range(), "{text:?}");
    }
    match statement.bind(&[]) {
        Ok(plan) => run(plan),
        Err(error) => check_error(&error, text.trim()),
    }
    let names = ["", "", "a", "p"];
    let values = [Value::Int(3), Value::text("%x"), Value::Float(0.5), Value::Bytes(Cow::Borrowed(b"\xff"))];
    let parameters = names.into_iter().zip(values).map(|(name, value)| Parameter { name: name.to_owned(), value });
    if let Ok(plan) = statement.bind(&parameters.collect::<Vec<Parameter>>()) {
        run(plan);
    }
}

fn check_error(error: &QueryError, text: &str) {
    if let QueryError::Syntax { position, near, .. } = error {
        assert!(text.is_char_boundary(*position), "position {position} in {text:?}");
        assert!(text.contains(near.as_str()), "{near:?} in {text:?}");
    }
}

struct Notes;

impl Metadata for Notes {
    fn get(&self, name: &str) -> Option<&str> {
        (name.len() == 1).then_some("x")
    }
}

/// Values of every type, and those at the edges of their types.
pub(super) fn values() -> [Value<'static>; 20] {
    [
        Value::Null,
        Value::Bool(true),
        Value::Bool(false),
        Value::Int(0),
        Value::Int(-7),
        Value::Int(i64::MIN),
        Value::Int(i64::MAX),
        Value::Float(-0.0),
        Value::Float(1.5),
        Value::Float(f64::NAN),
        Value::Float(f64::INFINITY),
        Value::text(""),
        Value::text("a\u{e9}\u{1f980}x%_"),
        Value::text("2026-11-21T09:30:00Z"),
        Value::Bytes(Cow::Borrowed(b"\xff\x00")),
        Value::Time(Time::from_nanos(i64::MAX)),
        Value::Time(Time::from_nanos(i64::MIN)),
        Value::Interval(i64::MIN),
        Value::Interval(i64::MAX),
        Value::Json(Cow::Borrowed("[1,{}]")),
    ]
}

/// Each row has the values at other places, so that every field is everything once.
fn run(plan: Plan) {
    let (shape, limit, fields) = (plan.shape(), plan.limit(), plan.fields().len());
    let is_whole = plan.is_whole();
    let values = values();
    let mut execution = plan.start(Time::from_millis(1_000_000));
    let mut given = 0_u64;
    let mut out = Vec::new();
    for number in 0..values.len() {
        let millis = i64::try_from(number).expect("a few rows") * 30_000;
        let input = Input {
            offset: Offset::new(number as u64 + 1),
            id: Rlid::from_parts(1, 1),
            committed: Time::from_millis(millis),
            created: (number % 2 == 0).then_some(Time::EPOCH),
            type_name: "x",
            type_version: (1, 0, 0),
            mimetype: Mimetype::JSON,
            key: if number % 3 == 0 { b"" } else { b"\xffk" },
            size: 5,
            metadata: &Notes,
        };
        let row: Vec<Value<'_>> = (0..fields).map(|slot| values[(slot + number) % values.len()].borrowed()).collect();
        out.clear();
        match execution.push(&input, &row, &mut out) {
            Ok(Outcome::Row) => {
                given += 1;
                check_row(&out);
            }
            Ok(outcome) => {
                given += u64::from(outcome == Outcome::Whole);
                assert!(out.is_empty() && (outcome != Outcome::Whole || is_whole));
            }
            Err(_) => return,
        }
    }
    match execution.finish() {
        Ok(Finish::Rows(mut rows)) => {
            out.clear();
            while rows.next(&mut out) {
                given += 1;
                check_row(&out);
                out.clear();
            }
        }
        Ok(Finish::Events(offsets)) => given += offsets.len() as u64,
        Ok(Finish::Nothing) | Err(_) => {}
    }
    assert!(limit.is_none_or(|limit| given <= limit), "{given} results of {shape:?}");
}

fn check_row(row: &[u8]) {
    let read: Result<serde_json::Map<String, serde_json::Value>, _> = serde_json::from_slice(row);
    assert!(read.is_ok(), "{:?} is no JSON object", String::from_utf8_lossy(row));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fuzzing::run_bounded;

    #[test]
    fn queries() {
        let seeds: [&[u8]; 15] = [
            b"SELECT a.b[0].c AS x, upper(b) || 'y', _meta.k FROM t.x.1 WHERE a > 1.5 AND NOT b LIKE '%x_' OFFSET 3 LIMIT 5;",
            b"SELECT * FROM t WHERE a IN (1, 2, 'x', NULL, 5, 6, 7, 8, 9) OR b BETWEEN :a AND ? ORDER BY a DESC NULLS LAST, b LIMIT 2",
            b"SELECT a, count(*), sum(b), avg(b), min(c), approx_percentile(b, 0.9) FROM t GROUP BY a HAVING count(*) > 1 ORDER BY 2",
            b"SELECT window('1 minute') AS w, count(DISTINCT a) FILTER (WHERE b < 3) FROM t GROUP BY w",
            b"SELECT DISTINCT CASE WHEN a THEN CAST(b AS INT) ELSE b::text END AS v FROM t AFTER '-15m' BEFORE 9",
            b"SELECT substr(a, -2, 3), replace(b, 'a', 'bb'), split_part(a, ',', -1), round(b, 2), a % b, -a / b AS q FROM t",
            b"SELECT * FROM t WHERE _committed > now() - INTERVAL '5 minutes' AND _created IS NOT NULL OR _key = x'ff6b'",
            b"SELECT date_trunc('month', a), extract(week FROM b), strftime('%Y', c), left(a, -1) FROM 't' LIMIT :p",
            b"SELECT * FROM flights OFFSET 5, orders.eu AFTER '-15m' BEFORE 'now','two words' BEFORE 17",
            b"SELECT * FROM orders.eu OFFSET 12 BEFORE '2026-11-21T12:00:00Z'",
            b"select * from \"quoted\", 'two words' after '064zsevshm000016' where a = 1 limit 5;",
            "SELECT * FROM straße OFFSET 1 /* a \u{1f980} */".as_bytes(),
            b"SELECT trim(a, 'x'), iif(NOT NOT a, b, 1), split_part(a, '', -9), a['b'].c FROM t ORDER BY 2 DESC, 1",
            b"SELECT sum(DISTINCT a) + max(b), strftime('%j', last(b)) FROM t WHERE a IS NOT DISTINCT FROM b HAVING count(*) > 0",
            "SELECT \"straße\" FROM t /* \u{1f980} */ WHERE ((a = 'it''s') IS NOT TRUE) -- x".as_bytes(),
        ];
        run_bounded("a query", &seeds, fuzz_query);
    }
}
