//! The language as a whole: what is read, what is refused with which words, and what comes out.

use std::borrow::Cow;

use proptest::prelude::*;

use super::*;
use crate::model::{Mimetype, Offset, Position, Rlid, Time};

/// What a test's event has in its metadata.
struct Notes;

impl Metadata for Notes {
    fn get(&self, name: &str) -> Option<&str> {
        (name == "trace-id").then_some("t1")
    }
}

fn input(number: u64, data: &str) -> Input<'_> {
    let millis = 1_000 * number;
    Input {
        offset: Offset::new(number),
        id: Rlid::from_parts(millis, 1),
        committed: Time::from_millis(i64::try_from(millis).unwrap()),
        created: None,
        type_name: if number.is_multiple_of(2) { "even" } else { "odd" },
        type_version: (1, 2, 3),
        mimetype: Mimetype::JSON,
        key: b"k",
        size: data.len() as u64,
        metadata: &Notes,
    }
}

/// A slow and simple way to the values of JSON.
pub(super) fn decode(paths: &[Path], data: &str) -> Option<Vec<Value<'static>>> {
    let json: serde_json::Value = serde_json::from_str(data).ok()?;
    let value = |path: &Path| {
        let mut at = Some(&json);
        for step in path {
            at = match step {
                Step::Key(name) => at.and_then(|value| value.as_object()?.get(name)),
                Step::Index(index) => at.and_then(|value| value.as_array()?.get(*index)),
            };
        }
        match at {
            None | Some(serde_json::Value::Null) => Value::Null,
            Some(serde_json::Value::Bool(truth)) => Value::Bool(*truth),
            Some(serde_json::Value::String(text)) => Value::Text(Cow::Owned(text.clone())),
            Some(serde_json::Value::Number(number)) => match number.as_i64() {
                Some(whole) => Value::Int(whole),
                None => number.as_f64().map_or(Value::Null, Value::Float),
            },
            Some(nested) => Value::Json(Cow::Owned(nested.to_string())),
        }
    };
    Some(paths.iter().map(value).collect())
}

/// The results of a query over events, one a line: rows, and whole events as `#` and their offset.
pub(super) fn run(query: &str, parameters: &[Parameter], events: &[&str]) -> Result<Vec<String>, String> {
    let statement = Statement::parse(query).map_err(|error| error.to_string())?;
    let plan = statement.bind(parameters).map_err(|error| error.to_string())?;
    let topic = statement.sources()[0].resolve(|name| name == "t").map_err(|error| error.to_string())?;
    let mut execution = plan.only_of(topic.event_type).start(Time::from_millis(86_400_000));
    let mut results = Vec::new();
    let text = |row: Vec<u8>| String::from_utf8(row).unwrap();
    for (number, data) in (1..).zip(events) {
        let Some(fields) = decode(execution.plan().fields(), data) else {
            execution.add_undecodable();
            continue;
        };
        let mut row = Vec::new();
        let outcome = execution.push(&input(number, data), &fields, &mut row).map_err(|error| error.to_string())?;
        match outcome {
            Outcome::Whole => results.push(format!("#{number}")),
            Outcome::Row => results.push(text(row)),
            Outcome::Skip | Outcome::Kept => assert!(row.is_empty(), "{query}"),
        }
    }
    match execution.finish().map_err(|error| error.to_string())? {
        Finish::Nothing => {}
        Finish::Events(offsets) => results.extend(offsets.iter().map(|offset| format!("#{offset}"))),
        Finish::Rows(mut rows) => {
            let mut row = Vec::new();
            while rows.next(&mut row) {
                results.push(text(std::mem::take(&mut row)));
            }
        }
    }
    Ok(results)
}

const EVENTS: [&str; 5] = [
    r#"{"a": 1, "b": "x", "c": {"d": [10, {"e": "deep"}]}, "ok": true}"#,
    r#"{"a": 2.5, "b": "Y", "at": "2026-11-21T09:00:00Z"}"#,
    r#"{"a": null, "b": "z%", "ok": false}"#,
    r#"{"a": 3, "b": "x"}"#,
    r#"{"a": "4"}"#,
];

/// Which of the events a condition is true for.
fn check_where(condition: &str, expected: &[u64]) {
    let found = run(&format!("SELECT * FROM t WHERE {condition}"), &[], &EVENTS);
    let expected: Vec<String> = expected.iter().map(|offset| format!("#{offset}")).collect();
    assert_eq!(found, Ok(expected), "{condition}");
}

/// What an expression without an event is.
fn check_value(expression: &str, expected: &str) {
    let found = run(&format!("SELECT {expression} AS v FROM t"), &[], &["{}"]);
    assert_eq!(found, Ok(vec![format!("{{\"v\":{expected}}}")]), "{expression}");
}

fn check_rows(query: &str, expected: &[&str]) {
    assert_eq!(run(query, &[], &EVENTS), Ok(expected.iter().map(|&row| row.to_owned()).collect()), "{query}");
}

fn check_error(query: &str, expected: &str) {
    assert_eq!(run(query, &[], &EVENTS), Err(expected.to_owned()), "{query}");
}

#[test]
fn comparisons() {
    check_where("a = 1", &[1]);
    check_where("a == 1.0", &[1]);
    check_where("a <> 1", &[2, 4]);
    check_where("a != 1", &[2, 4]);
    check_where("a > 1", &[2, 4]);
    check_where("a >= 2.5", &[2, 4]);
    check_where("2 > a", &[1]);
    check_where("b = 'x'", &[1, 4]);
    check_where("a = '4'", &[5]);
    check_where("b > 'x'", &[3]);
    check_where("ok", &[1]);
    check_where("NOT ok", &[3]);
    check_where("ok = true", &[1]);
    check_where("missing = 1", &[]);
    check_where("NOT missing = 1", &[]);
    check_where("c.d[0] = 10", &[1]);
    check_where("c.d[1].e LIKE 'd__p'", &[1]);
    check_where("c['d'][0] = 10 AND \"c\".\"d\"[0] = 10", &[1]);
    check_where("c = 1", &[]);
    check_where("at < TIMESTAMP '2026-11-21T10:30:00+01:00'", &[2]);
    check_where("at = TIMESTAMP '2026-11-21T10:00:00+01:00'", &[2]);
    check_where("CAST(at AS TIMESTAMP) BETWEEN '2026-11-21' AND '2026-11-22'", &[2]);
}

#[test]
fn truth_has_three_values() {
    check_where("a = 1 OR b = 'x'", &[1, 4]);
    check_where("a = 1 OR a = 3 AND b = 'y'", &[1]);
    check_where("(a = 1 OR a = 3) AND b = 'x'", &[1, 4]);
    check_where("a IS NULL", &[3]);
    check_where("a IS NOT NULL AND b IS NULL", &[5]);
    check_where("a > 0 OR a <= 0 OR a IS NULL", &[1, 2, 3, 4]);
    check_where("(a > 1) IS UNKNOWN", &[3, 5]);
    check_where("(a > 1) IS NOT TRUE", &[1, 3, 5]);
    check_where("a IS DISTINCT FROM 1", &[2, 3, 4, 5]);
    check_where("a IS NOT DISTINCT FROM NULL", &[3]);
    check_where("a IN (1, 3)", &[1, 4]);
    check_where("a NOT IN (1, 3)", &[2]);
    check_where("a NOT IN (1, NULL)", &[]);
    check_where("a IN ()", &[]);
    check_where("a IN (1, 10, 11, 12, 13, 14, 15, 16, '4')", &[1, 5]);
    check_where("a NOT IN (1, 10, 11, 12, 13, 14, 15, 16)", &[2, 4]);
    check_where("a NOT IN (1, 10, 11, 12, 13, 14, 15, NULL)", &[]);
    check_where("a BETWEEN 1 AND 2.5", &[1, 2]);
    check_where("a NOT BETWEEN 1 AND 2.5", &[4]);
    check_where("b LIKE 'x'", &[1, 4]);
    check_where("b LIKE 'y'", &[]);
    check_where("b ILIKE 'y'", &[2]);
    check_where("b NOT ILIKE 'y'", &[1, 3, 4]);
    check_where("b LIKE '%!%' ESCAPE '!'", &[3]);
    check_where("b LIKE b", &[1, 2, 3, 4]);
    check_where("a LIKE '%'", &[5]);
}

#[test]
fn the_envelope() {
    check_where("_offset > 3", &[4, 5]);
    check_where("_type = 'even'", &[2, 4]);
    check_where("_version = '1.2.3' AND _key = 'k' AND _mimetype = 'application/json'", &[1, 2, 3, 4, 5]);
    check_where("_committed >= '1970-01-01T00:00:04Z'", &[4, 5]);
    check_where("_committed > now() - INTERVAL '1 day' + INTERVAL '2 seconds'", &[3, 4, 5]);
    check_where("_created IS NULL", &[1, 2, 3, 4, 5]);
    check_where("_size = 10", &[5]);
    check_where("_meta['trace-id'] = 't1' AND _meta.other IS NULL AND _meta.\"trace-id\" = 't1'", &[1, 2, 3, 4, 5]);
    check_where(&format!("_id = '{}'", Rlid::from_parts(2_000, 1)), &[2]);
    check_where("\"_offset\" IS NULL", &[1, 2, 3, 4, 5]);
    check_rows("SELECT * FROM t.even", &["#2", "#4"]);
    check_rows("SELECT * FROM t.even.1", &["#2", "#4"]);
    check_rows("SELECT * FROM t.even.2", &[]);
    check_rows("SELECT * FROM t.*", &["#1", "#2", "#3", "#4", "#5"]);
}

#[test]
fn numbers() {
    check_value("1 + 2 * 3", "7");
    check_value("(1 + 2) * 3", "9");
    check_value("7 / 2", "3");
    check_value("-7 / 2", "-3");
    check_value("7 / 2.0", "3.5");
    check_value("7 % 3", "1");
    check_value("1 / 0", "null");
    check_value("1 % 0", "null");
    check_value("1.5 / 0", "null");
    check_value("9223372036854775807 + 1", "9.223372036854776e+18");
    check_value("-9223372036854775808", "-9223372036854775808");
    check_value("1 + NULL", "null");
    check_value("1 + 'a'", "null");
    check_value("1e3", "1000.0");
    check_value("abs(-2)", "2");
    check_value("round(2.5)", "3.0");
    check_value("round(-2.567, 2)", "-2.57");
    check_value("floor(-1.5)", "-2.0");
    check_value("ceil(1.2)", "2.0");
    check_value("sqrt(-1)", "null");
    check_value("power(2, 10)", "1024.0");
    check_value("mod(7, 4)", "3");
    check_value("sign(-3)", "-1");
    check_value("greatest(1, 3, 2)", "3");
    check_value("max(1, 3, 2)", "3");
    check_value("least(1, NULL)", "null");
}

#[test]
fn texts() {
    check_value("'a' || 1 || 'b'", "\"a1b\"");
    check_value("'a' || NULL", "null");
    check_value("concat('a', NULL, 2)", "\"a2\"");
    check_value("lower('ÄB')", "\"äb\"");
    check_value("length('äb')", "2");
    check_value("octet_length('äb')", "3");
    check_value("length(x'00ff')", "2");
    check_value("substr('hello', 2, 3)", "\"ell\"");
    check_value("substr('hello', -3)", "\"llo\"");
    check_value("substr('hello', 0, 3)", "\"he\"");
    check_value("substr('hello', 3, -2)", "\"he\"");
    check_value("substring('hello' FROM 2 FOR 2)", "\"el\"");
    check_value("trim('  a ')", "\"a\"");
    check_value("ltrim('xxa', 'x')", "\"a\"");
    check_value("trim('xxax', 'x')", "\"a\"");
    check_value("trim(LEADING 'x' FROM 'xax')", "\"ax\"");
    check_value("replace('aXbX', 'X', '-')", "\"a-b-\"");
    check_value("instr('hello', 'l')", "3");
    check_value("position('l' IN 'hello')", "3");
    check_value("left('hello', 2)", "\"he\"");
    check_value("right('hello', 2)", "\"lo\"");
    check_value("left('hello', -1)", "\"hell\"");
    check_value("split_part('a,b,c', ',', 2)", "\"b\"");
    check_value("split_part('a,b,c', ',', -1)", "\"c\"");
    check_value("split_part('a,b,c', ',', 9)", "\"\"");
    check_value("split_part('a,b', '', -1)", "\"a,b\"");
    check_value("split_part('a,b', '', -9223372036854775808)", "\"\"");
    check_value("reverse('abc')", "\"cba\"");
    check_value("hex('AB')", "\"4142\"");
    check_value("starts_with('abc', 'ab') AND ends_with('abc', 'c') AND contains('abc', 'b')", "true");
    check_value("'it''s'", "\"it's\"");
    check_value(r"'it\'s'", "\"it's\"");
    check_value("upper(1)", "null");
}

#[test]
fn choices_and_casts() {
    check_value("CASE WHEN 1 > 2 THEN 'a' WHEN NULL THEN 'b' ELSE 'c' END", "\"c\"");
    check_value("CASE 2 WHEN 1 THEN 'a' WHEN 2 THEN 'b' END", "\"b\"");
    check_value("CASE NULL WHEN NULL THEN 1 END", "null");
    check_value("coalesce(NULL, 2, 3)", "2");
    check_value("ifnull(NULL, 2)", "2");
    check_value("nullif(1, 1)", "null");
    check_value("iif(1 < 2, 'y', 'n')", "\"y\"");
    check_value("CAST('12' AS INTEGER)", "12");
    check_value("CAST(' 12.7 ' AS INT)", "12");
    check_value("CAST('x' AS INT)", "null");
    check_value("CAST('inf' AS FLOAT)", "null");
    check_value("'1.5'::float", "1.5");
    check_value("CAST('3' AS NUMERIC)", "3");
    check_value("CAST(1.0 AS TEXT)", "\"1.0\"");
    check_value("CAST(1e300 AS INT)", "null");
    check_value("CAST('yes' AS BOOLEAN)", "true");
    check_value("CAST('abc' AS BLOB)", "\"YWJj\"");
    check_value("CAST('2026-11-21T09:30:00+01:00' AS TIMESTAMP)", "\"2026-11-21T08:30:00Z\"");
    check_value("CAST('2026-11-21T09:30:00Z' AS DATE)", "\"2026-11-21T00:00:00Z\"");
    check_value("CAST(1.5 AS TIMESTAMP)", "\"1970-01-01T00:00:01.5Z\"");
    check_value("typeof(1) || typeof('a') || typeof(NULL) || typeof(now())", "\"integertextnulltimestamp\"");
}

#[test]
fn times() {
    check_value("extract(year FROM TIMESTAMP '2026-11-21T09:30:00Z')", "2026");
    check_value("extract(epoch FROM TIMESTAMP '1970-01-02')", "86400.0");
    check_value("date_trunc('hour', '2026-11-21T09:30:00Z')", "\"2026-11-21T09:00:00Z\"");
    check_value("TIMESTAMP '2026-11-21' + INTERVAL '90 minutes'", "\"2026-11-21T01:30:00Z\"");
    check_value("TIMESTAMP '2026-11-21' - INTERVAL 1 DAY", "\"2026-11-20T00:00:00Z\"");
    check_value("TIMESTAMP '2026-11-21' - TIMESTAMP '2026-11-20'", "86400.0");
    check_value("strftime('%Y/%m/%d', '2026-11-21T09:30:00Z')", "\"2026/11/21\"");
    check_value("now()", "\"1970-01-02T00:00:00Z\"");
    check_value("window('1 minute', '2026-11-21T09:30:40Z')", "\"2026-11-21T09:30:00Z\"");
    check_value("to_timestamp(60)", "\"1970-01-01T00:01:00Z\"");
}

#[test]
fn projections() {
    check_rows("SELECT a, b AS name FROM t LIMIT 2", &[r#"{"a":1,"name":"x"}"#, r#"{"a":2.5,"name":"Y"}"#]);
    check_rows(
        "SELECT c.d, c.d[1].e AS e, _offset FROM t LIMIT 1",
        &[r#"{"c.d":[10,{"e":"deep"}],"e":"deep","_offset":1}"#],
    );
    check_rows("SELECT a + 1 FROM t WHERE a = 1", &[r#"{"a + 1":2}"#]);
    check_rows("SELECT \"b\", `a` FROM t LIMIT 1", &[r#"{"b":"x","a":1}"#]);
    check_rows("SELECT a FROM t LIMIT 0", &[]);
    check_rows("SELECT * FROM t LIMIT 2", &["#1", "#2"]);
    check_rows("SELECT DISTINCT b FROM t", &[r#"{"b":"x"}"#, r#"{"b":"Y"}"#, r#"{"b":"z%"}"#, r#"{"b":null}"#]);
    check_rows("SELECT DISTINCT b FROM t LIMIT 2", &[r#"{"b":"x"}"#, r#"{"b":"Y"}"#]);
}

#[test]
fn orders() {
    check_rows("SELECT * FROM t ORDER BY a", &["#3", "#1", "#2", "#4", "#5"]);
    check_rows("SELECT * FROM t ORDER BY a DESC", &["#5", "#4", "#2", "#1", "#3"]);
    check_rows("SELECT * FROM t ORDER BY a DESC NULLS FIRST LIMIT 2", &["#3", "#5"]);
    check_rows("SELECT * FROM t ORDER BY a NULLS LAST LIMIT 1", &["#1"]);
    check_rows("SELECT * FROM t ORDER BY _offset DESC LIMIT 2", &["#5", "#4"]);
    check_rows("SELECT a AS n FROM t WHERE a < 3 ORDER BY n DESC", &[r#"{"n":2.5}"#, r#"{"n":1}"#]);
    check_rows("SELECT b, a FROM t WHERE b = 'x' ORDER BY 1, 2 DESC", &[r#"{"b":"x","a":3}"#, r#"{"b":"x","a":1}"#]);
    check_rows("SELECT DISTINCT b FROM t ORDER BY b LIMIT 2", &[r#"{"b":null}"#, r#"{"b":"Y"}"#]);
    check_rows("SELECT * FROM t ORDER BY a LIMIT 0", &[]);
}

#[test]
fn groups() {
    check_rows("SELECT count(*) FROM t", &[r#"{"count(*)":5}"#]);
    check_rows(
        "SELECT count(*) AS n, count(a), sum(a), avg(a), min(a), max(a) FROM t WHERE a < 10",
        &[r#"{"n":3,"count(a)":3,"sum(a)":6.5,"avg(a)":2.1666666666666665,"min(a)":1,"max(a)":3}"#],
    );
    check_rows("SELECT count(*), sum(a) FROM t WHERE a = 99", &[r#"{"count(*)":0,"sum(a)":null}"#]);
    check_rows("SELECT b, count(*) AS n FROM t GROUP BY b HAVING n > 1", &[r#"{"b":"x","n":2}"#]);
    check_rows(
        "SELECT b, count(*) AS n FROM t WHERE b IS NOT NULL GROUP BY 1 ORDER BY n DESC, b LIMIT 2",
        &[r#"{"b":"x","n":2}"#, r#"{"b":"Y","n":1}"#],
    );
    check_rows("SELECT b FROM t GROUP BY b ORDER BY count(*) DESC LIMIT 1", &[r#"{"b":"x"}"#]);
    check_rows(
        "SELECT upper(b) AS u, count(DISTINCT a) AS n FROM t GROUP BY upper(b) ORDER BY u",
        &[r#"{"u":null,"n":1}"#, r#"{"u":"X","n":2}"#, r#"{"u":"Y","n":1}"#, r#"{"u":"Z%","n":0}"#],
    );
    check_rows(
        "SELECT count(*) FILTER (WHERE b = 'x') AS x, first(b) AS f, last(a) AS l FROM t",
        &[r#"{"x":2,"f":"x","l":"4"}"#],
    );
    check_rows(
        "SELECT window('2 seconds') AS w, count(*) AS n FROM t GROUP BY window('2 seconds')",
        &[
            r#"{"w":"1970-01-01T00:00:00Z","n":1}"#,
            r#"{"w":"1970-01-01T00:00:02Z","n":2}"#,
            r#"{"w":"1970-01-01T00:00:04Z","n":2}"#,
        ],
    );
    check_rows(
        "SELECT approx_percentile(_offset, 0.5) AS m, median(_offset) AS n FROM t",
        &[r#"{"m":3.0058836921382213,"n":3.0058836921382213}"#],
    );
    check_rows("SELECT count(*) * 2 + 1 AS n FROM t HAVING count(*) > 5", &[]);
    check_rows("SELECT count(*) AS n FROM t GROUP BY b LIMIT 0", &[]);
}

#[test]
fn parameters() {
    let named = |name: &str, value| Parameter { name: name.to_owned(), value };
    let check = |condition: &str, parameters: &[Parameter], expected: &[&str]| {
        let found = run(&format!("SELECT * FROM t WHERE {condition}"), parameters, &EVENTS);
        assert_eq!(found, Ok(expected.iter().map(|&row| row.to_owned()).collect()), "{condition}");
    };
    check("a = :n", &[named("n", Value::Int(1))], &["#1"]);
    check("a = @n AND b = :b", &[named("b", Value::text("x")), named("n", Value::Float(3.0))], &["#4"]);
    check("a = ? AND b = ?", &[named("", Value::Int(1)), named("", Value::text("x"))], &["#1"]);
    check("a = ? AND b = ?", &[named("p", Value::Int(1)), named("q", Value::text("x"))], &["#1"]);
    check("ok = :t LIMIT :n", &[named(":t", Value::TRUE), named("n", Value::Int(1))], &["#1"]);
    check("CAST(b AS BLOB) = :b", &[named("b", Value::Bytes(Cow::Borrowed(b"Y")))], &["#2"]);
    check("b LIKE :p", &[named("p", Value::text("z%")), named("unused", Value::Null)], &["#3"]);
    let missing = run("SELECT * FROM t WHERE a = :n", &[named("m", Value::Null)], &[]);
    assert_eq!(missing, Err("no value is given for the parameter :n".to_owned()));
    let missing = run("SELECT * FROM t WHERE a = ?", &[], &[]);
    assert_eq!(missing, Err("no value is given for the parameter number 1".to_owned()));
    let negative = run("SELECT * FROM t LIMIT ?", &[named("", Value::Int(-1))], &[]);
    assert_eq!(negative, Err("LIMIT needs a whole number, not below zero".to_owned()));
}

#[test]
fn an_event_without_a_type() {
    let matches = |condition: &str, input: &Input<'_>| {
        let statement = Statement::parse(&format!("SELECT * FROM t WHERE {condition}")).unwrap();
        statement.bind(&[]).unwrap().matches(input, &[], Time::EPOCH)
    };
    let typed = input(1, "");
    let bare = Input { type_name: "", type_version: (0, 0, 0), ..typed };
    let first = Input { type_version: (0, 0, 0), ..typed };
    for (condition, expected) in [
        ("_type IS NULL", [false, true, false]),
        ("_version IS NULL", [false, true, false]),
        ("_type <> 'even'", [true, false, true]),
        ("_version = '0.0.0'", [false, false, true]),
    ] {
        assert_eq!([&typed, &bare, &first].map(|input| matches(condition, input)), expected, "{condition}");
    }
}

#[test]
fn times_without_an_offset() {
    let event = [r#"{"at": "2026-11-21 23:00"}"#];
    let check = |condition: &str| {
        let found = run(&format!("SELECT * FROM t WHERE {condition}"), &[], &event);
        assert_eq!(found, Ok(vec!["#1".to_owned()]), "{condition}");
    };
    check("TIMESTAMP '2026-11-21 23:00:00' = TIMESTAMP '2026-11-21T23:00:00Z'");
    check("CAST(at AS TIMESTAMP) = '2026-11-22T00:00:00+01:00'");
    check("at = TIMESTAMP '2026-11-21T23:00'");
    check("_committed BETWEEN '1970-01-01 00:00' AND '1970-01-01 00:00:01.5'");
    check("_committed < '1970-01-01T00:00:02'");
    check("date_trunc('hour', at) = at::TIMESTAMP");
    let position = run("SELECT * FROM t AFTER '2026-11-21 23:00'", &[], &event);
    assert!(position.is_err(), "a position says its offset");
}

fn check_source(query: &str, topic: &str, from: Option<Position>, until: Option<Position>) {
    let statement = Statement::parse(query).unwrap();
    let [source] = statement.sources() else { panic!("{query}") };
    assert_eq!((source.written.as_str(), source.from, source.until), (topic, from, until), "{query}");
}

#[test]
fn topics_and_ranges() {
    let id = Rlid::parse("061m4qv6dw06ztvb").unwrap();
    let time = Time::parse("2026-11-21T09:00:00Z").unwrap();
    let at = |offset| Some(Position::Offset(Offset::new(offset)));
    check_source("select * from flights", "flights", None, None);
    check_source("SELECT*FROM flights;;", "flights", None, None);
    check_source("SELECT * FROM orders.v1-final_2 ; ;", "orders.v1-final_2", None, None);
    check_source("-- c\nSELECT /* c */ *\r\nFROM\t'two words' -- d", "two words", None, None);
    check_source("SELECT * FROM \"a\" OFFSET 0", "a", at(1), None);
    check_source("SELECT * FROM `a` WHERE x = 1 LIMIT 3 OFFSET 17", "a", at(18), None);
    check_source("SELECT * FROM a OFFSET 2 WHERE x = 1 LIMIT 3", "a", at(3), None);
    check_source("SELECT * FROM a--remark\nOFFSET '061m4qv6dw06ztvb'", "a", Some(Position::Event(id)), None);
    check_source("SELECT * FROM a AFTER '061m4qv6dw06ztvb'", "a", Some(Position::Event(id.plus(1))), None);
    check_source("SELECT * FROM a AFTER 5 BEFORE 7", "a", at(6), at(7));
    check_source(
        "SELECT b FROM a BEFORE '2026-11-21T09:00:00Z' ORDER BY b AFTER '-15m'",
        "a",
        Some(Position::Ago(899_999_999_999)),
        Some(Position::Time(time)),
    );
    check_source("SELECT * FROM 01ARYZ6S41041061050R3GG28A", "01ARYZ6S41041061050R3GG28A", None, None);
    for name in ["orders", "assets", "limits", "true", "fromage", "selected", "1.2", "a.b.c-d"] {
        check_source(&format!("SELECT * FROM {name} LIMIT 1"), name, None, None);
    }
    let several = Statement::parse("SELECT * FROM a OFFSET 1, b BEFORE 9 WHERE x = 1").unwrap();
    assert_eq!(several.sources().iter().map(|source| source.written.as_str()).collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn errors_that_the_original_has_too() {
    check_error("   ", "empty query is invalid");
    check_error("SELECT", "topic name cannot be empty");
    check_error("SELECT FROM t", "SELECT requires field projection or *");
    check_error("SELECT a, FROM t", "SELECT requires field projection or *");
    check_error("SELECT *, a FROM t", "cannot select * and specify fields");
    check_error("SELECT a, * FROM t", "cannot select * and specify fields");
    for (query, expected) in [
        ("hello", r#"0 near "hello": invalid query type"#),
        ("INSERT INTO t VALUES (1)", r#"0 near "INSERT": invalid query type"#),
        (";", r#"0 near ";": invalid query type"#),
        ("SELECT * AS x FROM t", r#"9 near "AS": cannot alias *"#),
        ("SELECT *", r#"8 near "": invalid select fields statement"#),
        ("SELECT * LIMIT 3 FROM t", r#"9 near "LIMIT": invalid select fields statement"#),
        ("SELECT a b FROM t", r#"9 near "b": invalid select fields statement"#),
        ("SELECT a@b FROM t", r#"8 near "@": invalid select fields statement"#),
        ("SELECT a AS * FROM t", r#"12 near "*": invalid alias identifier"#),
        ("SELECT ) FROM t", r#"7 near ")": invalid field identifier"#),
        ("SELECT * FROM", r#"13 near "": invalid topic identifier"#),
        ("SELECT * FROM @t", r#"14 near "@": invalid topic identifier"#),
        ("SELECT * FROM t@x", r#"15 near "@": invalid from clause"#),
        ("SELECT * FROM t extra", r#"16 near "extra": invalid from clause"#),
        ("SELECT * FROM t AS x", r#"16 near "AS": invalid from clause"#),
        ("SELECT * FROM t JOIN t", r#"16 near "JOIN": invalid from clause"#),
        ("SELECT * FROM t\0", r#"15 near "\0": invalid from clause"#),
        ("SELECT * FROM t.", r#"16 near "": invalid schema identifier"#),
        ("SELECT * FROM t.*.1", r#"18 near "1": cannot specify version for * schema"#),
        ("SELECT * FROM t.b.c", r#"18 near "c": invalid version identifier"#),
        ("SELECT * FROM t.b.09", r#"18 near "09": could not parse schema version"#),
        ("SELECT * FROM t WHERE", r#"21 near "": invalid where clause"#),
        ("SELECT * FROM t WHERE a =", r#"25 near "": invalid where clause"#),
        ("SELECT * FROM t WHERE a = 1 AND", r#"31 near "": invalid where clause"#),
        ("SELECT * FROM t WHERE (a = 1", r#"28 near "": invalid where clause"#),
        ("SELECT * FROM t WHERE a = 1)", r#"27 near ")": cannot close expression parentheses"#),
        ("SELECT * FROM t WHERE a = 1 2", r#"28 near "2": cannot append or update condition in group"#),
        ("SELECT * FROM t WHERE (a = 1) b = 2", r#"30 near "b": invalid where clause"#),
        ("SELECT * FROM t WHERE a = 1 @", r#"28 near "@": invalid where clause"#),
        ("SELECT * FROM t WHERE a = 'x", r#"26 near "'x": quoted string missing closing quote"#),
        ("SELECT * FROM t LIMIT", r#"21 near "": invalid limit"#),
        ("SELECT * FROM t LIMIT '3'", r#"22 near "'3'": invalid limit"#),
        ("SELECT * FROM t LIMIT +3", r#"22 near "+": invalid limit"#),
        ("SELECT * FROM t LIMIT -1", r#"22 near "-1": could not parse limit"#),
        ("SELECT * FROM t LIMIT 1.5", r#"22 near "1.5": could not parse limit"#),
        ("SELECT * FROM t LIMIT 18446744073709551616", r#"22 near "18446744073709551616": could not parse limit"#),
        ("SELECT * FROM t LIMIT 3 rows", r#"24 near "rows": invalid limit clause"#),
        ("SELECT * FROM t LIMIT 2 LIMIT 2", r#"24 near "LIMIT": invalid limit clause"#),
        ("SELECT * FROM t LIMIT 3 OFFSET 2 LIMIT 3", r#"33 near "LIMIT": limit has already been set"#),
        ("SELECT * FROM t LIMIT 2 WHERE a = 1", r#"24 near "WHERE": invalid limit clause"#),
        ("SELECT * FROM t OFFSET", r#"22 near "": invalid offset"#),
        ("SELECT * FROM t OFFSET -1", r#"23 near "-1": could not parse offset"#),
        ("SELECT * FROM t OFFSET 1.5", r#"23 near "1.5": could not parse offset"#),
        ("SELECT * FROM t OFFSET 1 x", r#"25 near "x": invalid offset clause"#),
        ("SELECT * FROM t OFFSET 1 OFFSET 1", r#"25 near "OFFSET": invalid offset clause"#),
        ("SELECT * FROM t OFFSET 1 LIMIT 1 OFFSET 1", r#"33 near "OFFSET": offset has already been set"#),
        ("SELECT * FROM t; SELECT * FROM t", r#"17 near "SELECT": a query ends with its semicolon"#),
        ("SELECT * FROM t, t", r#"17 near "t": topic has already been named"#),
    ] {
        check_error(query, &format!("syntax error at position {expected}"));
    }
}

#[test]
fn errors_of_what_the_original_does_not_have() {
    check_error("SELECT * FROM other.a", "the topic \"other.a\" does not exist");
    for (query, expected) in [
        ("SELECT * FROM t AFTER 'soon'", r#"22 near "'soon'": invalid after clause"#),
        ("SELECT * FROM t BEFORE x", r#"23 near "x": invalid before clause"#),
        ("SELECT a, a FROM t", r#"10 near "a": this name is given twice; give one of them another with AS"#),
        ("SELECT nosuch(a) FROM t", r#"7 near "nosuch": the function nosuch is not known"#),
        ("SELECT lower(a, b) FROM t", r#"7 near "lower": wrong number of arguments for lower"#),
        ("SELECT lower(*) FROM t", r#"7 near "lower": * is for count(*) alone"#),
        ("SELECT * FROM t WHERE count(*) > 1", r#"22 near "count": aggregates are not allowed in WHERE; use HAVING"#),
        ("SELECT sum(max(a)) FROM t", r#"11 near "max": an aggregate has no aggregates within"#),
        ("SELECT a, count(*) FROM t", r#"7 near "a": what is not in GROUP BY has to be within an aggregate"#),
        (
            "SELECT window('1 s'), count(*) FROM t",
            r#"7 near "window": what is not in GROUP BY has to be within an aggregate"#,
        ),
        (
            "SELECT b FROM t GROUP BY b HAVING a > 1",
            r#"34 near "a": what is not in GROUP BY has to be within an aggregate"#,
        ),
        (
            "SELECT * FROM t GROUP BY a",
            r#"0 near "SELECT": SELECT * gives whole events; name fields for DISTINCT, GROUP BY and aggregates"#,
        ),
        ("SELECT a FROM t ORDER BY 2", r#"25 near "2": there is no column with this number"#),
        ("SELECT count(*) OVER () FROM t", r#"7 near "count": OVER is not supported"#),
        ("SELECT * FROM t WHERE a IN (SELECT b FROM u)", r#"22 near "a": a query within a query is not supported"#),
        ("SELECT CAST(a AS JSONB) FROM t", r#"12 near "a": the type JSONB is not known"#),
        ("SELECT window('fast') FROM t", r#"7 near "window": a window has a length like '1 minute'"#),
        ("SELECT date_trunc('eon', a) FROM t", r#"7 near "date_trunc": the unit of time is not known"#),
        ("SELECT TIMESTAMP 'soon' FROM t", r#"17 near "'soon'": this is not a time like 2026-11-21T09:30:00Z"#),
        (
            "SELECT INTERVAL '1 month' FROM t",
            r#"7 near "INTERVAL": an interval is a number of weeks, days, hours, minutes, seconds or milliseconds"#,
        ),
        ("SELECT * FROM t WHERE a & 1 = 1", r#"22 near "a": the operator & is not supported"#),
        ("SELECT * FROM t WHERE a = $1", r#"26 near "$": a parameter is :name, @name or ?"#),
        ("SELECT not FROM t", r#"16 near "t": invalid select fields statement"#),
        ("SELECT * FROM t WHERE NOT", r#"25 near "": invalid where clause"#),
        ("SELECT * FROM t GROUP a", r#"22 near "a": invalid group by clause"#),
        ("SELECT a FROM t ORDER BY a NULLS", r#"32 near "": invalid order by clause"#),
        ("SELECT a FROM t HAVING", r#"22 near "": invalid having clause"#),
    ] {
        check_error(query, &format!("syntax error at position {expected}"));
    }
    check_error("SELECT approx_percentile(a, 2) FROM t", "a percentile is a number from 0 to 1");
}

#[test]
fn what_is_too_much_is_refused() {
    let deep = format!("SELECT * FROM t WHERE {}1{}", "(".repeat(500), ")".repeat(500));
    check_error(
        &deep,
        r#"syntax error at position 71 near "((((((((((((((((((((((((((((((((": an expression is nested at most 50 deep"#,
    );
    let long = format!("SELECT 1{} FROM t", "+1".repeat(200));
    assert!(run(&long, &[], &[]).unwrap_err().ends_with("an expression is nested at most 64 deep"));
    let long = format!("SELECT a{} FROM t", "::int".repeat(2_000));
    assert!(run(&long, &[], &[]).unwrap_err().ends_with("an expression is nested at most 64 deep"));
    let words = format!("SELECT * FROM t WHERE a = 1{}", " AND b = 2".repeat(4_000));
    assert!(run(&words, &[], &[]).unwrap_err().ends_with("a query has at most 8000 words and signs"));
    let fields: Vec<String> = (0..501).map(|number| format!("f{number}")).collect();
    let fields = run(&format!("SELECT {} FROM t", fields.join(",")), &[], &[]);
    assert!(fields.unwrap_err().ends_with("a query uses at most 500 fields"));
    let doubled = format!("SELECT {} AS a FROM t ORDER BY {}", vec!["1"; 100].join("||"), vec!["a"; 1_000].join(","));
    assert!(run(&doubled, &[], &[]).unwrap_err().ends_with("the expressions of a query have at most 50000 parts"));
    let numbered = format!("SELECT {} AS a FROM t ORDER BY {}", vec!["1"; 100].join("||"), vec!["1"; 1_000].join(","));
    assert!(run(&numbered, &[], &[]).unwrap_err().ends_with("the expressions of a query have at most 50000 parts"));
}

#[test]
fn what_is_much_is_read() {
    let conditions = format!("SELECT * FROM t WHERE a = 1{}", " AND b = 'x'".repeat(2_000));
    assert_eq!(run(&conditions, &[], &EVENTS), Ok(vec!["#1".to_owned()]));
    let long = format!("SELECT * FROM t WHERE a = '{}'", "x".repeat(200_000));
    assert_eq!(run(&long, &[], &EVENTS), Ok(vec![]));
    let list: Vec<String> = (0..40_000).map(|number| number.to_string()).collect();
    assert_eq!(
        run(&format!("SELECT * FROM t WHERE a IN ({})", list.join(",")), &[], &EVENTS),
        Ok(vec!["#1".to_owned(), "#4".to_owned()])
    );
}

#[test]
fn memory_is_bounded() {
    let check = |query: &str, held: &str| {
        let plan = Statement::parse(query).unwrap().bind(&[]).unwrap();
        let mut execution = plan.start(Time::EPOCH).with_memory(1 << 20);
        let mut out = Vec::new();
        for number in 0..1_000_000 {
            let value = [Value::Int(number)];
            out.clear();
            if let Err(error) = execution.push(&input(1, ""), &value, &mut out) {
                assert!(error.to_string().starts_with(&format!("the query's {held} need more than 1 MiB")), "{error}");
                assert!(number > 1_000, "{number} rows are not a mebibyte");
                return;
            }
        }
        panic!("{query} has no limit");
    };
    check("SELECT a, count(*) FROM t GROUP BY a", "groups");
    check("SELECT count(DISTINCT a) FROM t", "groups");
    check("SELECT DISTINCT a FROM t", "distinct rows");
    check("SELECT a FROM t ORDER BY a", "order");
    check("SELECT * FROM t ORDER BY a", "order");
}

/// What one row needs is counted while it is made, and not when all of it is there.
#[test]
fn memory_of_one_row_is_bounded() {
    let field = "x".repeat(200_000);
    let parts: Vec<String> = (0..1_000).map(|number| format!("a || {number}")).collect();
    let parts = parts.join(", ");
    let check = |query: &str, held: &str| {
        let plan = Statement::parse(query).unwrap().bind(&[]).unwrap();
        let mut execution = plan.start(Time::EPOCH).with_memory(1 << 20);
        let refused = match execution.push(&input(1, ""), &[Value::text(&field)], &mut Vec::new()) {
            Ok(_) => execution.finish().map(drop),
            Err(error) => Err(error),
        };
        let error = refused.unwrap_err().to_string();
        assert!(error.starts_with(&format!("the query's {held} need more than 1 MiB")), "{error}");
    };
    check(&format!("SELECT count(*) FROM t GROUP BY {parts}"), "groups");
    check(&format!("SELECT DISTINCT {parts} FROM t"), "distinct rows");
    check(&format!("SELECT * FROM t ORDER BY {parts}"), "order");
    let least: Vec<String> = (0..100).map(|number| format!("min(a || {number})")).collect();
    check(&format!("SELECT {} FROM t", least.join(", ")), "groups");
    let repeated: Vec<String> = (0..20).map(|number| format!("min(a) || {number} AS c{number}")).collect();
    check(&format!("SELECT DISTINCT {} FROM t", repeated.join(", ")), "distinct rows");
}

#[test]
fn work_that_nobody_waits_for_ends() {
    let plan = Statement::parse("SELECT a, count(*) FROM t GROUP BY a").unwrap().bind(&[]).unwrap();
    let mut execution = plan.start(Time::EPOCH);
    for number in 0..3 {
        assert_eq!(execution.push(&input(1, ""), &[Value::Int(number)], &mut Vec::new()), Ok(Outcome::Kept));
    }
    assert!(!execution.is_finished());
    execution.stopped().store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(execution.is_finished());
    assert_eq!(execution.push(&input(1, ""), &[Value::Int(9)], &mut Vec::new()), Ok(Outcome::Skip));
    let Ok(Finish::Rows(mut rows)) = execution.finish() else { panic!("rows") };
    assert!(!rows.next(&mut Vec::new()));
}

#[test]
fn a_row_is_not_larger_than_an_event() {
    let columns: Vec<String> = (0..1_000).map(|number| format!("b AS c{number}")).collect();
    let event = format!("{{\"b\": \"{}\"}}", "x".repeat(1_000_000));
    let refused = Err("a row of the result is larger than 5000000 bytes; select less".to_owned());
    assert_eq!(run(&format!("SELECT {} FROM t", columns.join(",")), &[], &[&event]), refused);
    let columns: Vec<String> = (0..10).map(|number| format!("max(b) AS c{number}")).collect();
    assert_eq!(run(&format!("SELECT {} FROM t", columns.join(",")), &[], &[&event]), refused);
    assert_eq!(run("SELECT b AS c, b AS d FROM t", &[], &[&event]).map(|rows| rows.len()), Ok(1));
}

#[test]
fn an_order_with_a_limit_needs_little_memory() {
    let plan = Statement::parse("SELECT a FROM t ORDER BY a DESC LIMIT 2").unwrap().bind(&[]).unwrap();
    let mut execution = plan.start(Time::EPOCH).with_memory(1_000);
    for number in 0..10_000 {
        assert_eq!(execution.push(&input(1, ""), &[Value::Int(number)], &mut Vec::new()), Ok(Outcome::Kept));
    }
    let Ok(Finish::Rows(mut rows)) = execution.finish() else { panic!("rows") };
    let mut out = Vec::new();
    while rows.next(&mut out) {}
    assert_eq!(out, b"{\"a\":9999}{\"a\":9998}");
}

#[test]
fn plans_say_what_they_need() {
    let plan = |query: &str| Statement::parse(query).unwrap().bind(&[]).unwrap();
    assert_eq!(plan("SELECT * FROM t WHERE _offset > 1").fields(), &[] as &[Path]);
    assert_eq!(plan("SELECT * FROM t WHERE a = 1").shape(), Shape::Whole);
    assert_eq!(plan("SELECT a FROM t").shape(), Shape::Rows);
    assert_eq!(plan("SELECT * FROM t ORDER BY a").shape(), Shape::Sorted);
    assert_eq!(plan("SELECT count(*) FROM t").shape(), Shape::Groups);
    let plan = plan(
        "SELECT a.b[0].\"c d\" AS x, count(*) FROM t WHERE a.b[0].\"c d\" > 1 GROUP BY 1 HAVING count(*) > 2 ORDER BY x DESC LIMIT 3",
    );
    assert_eq!(plan.limit(), Some(3));
    let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<String>>();
    let expected = Explanation {
        columns: texts(&["x", "count(*)"]),
        fields: texts(&["a.b[0].\"c d\""]),
        distinct: false,
        filter: Some("a.b[0].\"c d\" > 1".to_owned()),
        group_by: texts(&["1"]),
        having: Some("count(*) > 2".to_owned()),
        order_by: texts(&["x DESC"]),
        limit: Some(3),
    };
    assert_eq!(plan.explain(), &expected);
}

#[test]
fn what_is_not_json_does_not_match() {
    let statement = Statement::parse("SELECT a FROM t").unwrap();
    let mut execution = statement.bind(&[]).unwrap().start(Time::EPOCH);
    execution.add_undecodable();
    assert_eq!(execution.undecodable(), 1);
    assert_eq!(run("SELECT a FROM t", &[], &["{", "{\"a\":1}"]), Ok(vec!["{\"a\":1}".to_owned()]));
}

proptest! {
    #[test]
    fn no_text_panics(text in ".{0,80}") {
        drop(run(&text, &[], &EVENTS));
        drop(run(&format!("SELECT * FROM t WHERE {text}"), &[], &EVENTS));
        drop(run(&format!("SELECT {text} FROM t"), &[], &EVENTS));
    }

    #[test]
    fn no_words_panic(words in proptest::collection::vec(proptest::sample::select(WORDS), 0..20)) {
        let text = words.join(" ");
        drop(run(&text, &[], &EVENTS));
        drop(run(&format!("SELECT * FROM t WHERE {text}"), &[], &EVENTS));
        drop(run(&format!("SELECT {text} FROM t GROUP BY a ORDER BY {text}"), &[], &EVENTS));
    }
}

/// What queries are made of.
pub(super) const WORDS: &[&str] = &[
    "SELECT",
    "*",
    "FROM",
    "t",
    "WHERE",
    "a",
    "b",
    "c.d[0]",
    "_offset",
    "_meta.x",
    "=",
    "<",
    ">=",
    "<>",
    "AND",
    "OR",
    "NOT",
    "LIKE",
    "ILIKE",
    "IN",
    "BETWEEN",
    "IS",
    "NULL",
    "(",
    ")",
    ",",
    "1",
    "2.5",
    "-",
    "+",
    "/",
    "%",
    "||",
    "'x'",
    "'%a_'",
    "'1 minute'",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "CAST",
    "AS",
    "INT",
    "TIMESTAMP",
    "INTERVAL",
    "lower(",
    "count(",
    "count(*)",
    "sum(",
    "substr(",
    "window(",
    "DISTINCT",
    "GROUP BY",
    "HAVING",
    "ORDER BY",
    "DESC",
    "LIMIT",
    "OFFSET",
    "AFTER",
    "BEFORE",
    ";",
    ":p",
    "?",
    "[",
    "]",
    "true",
    "extract(",
    "year",
    "round(",
    "replace(",
    "FILTER",
    "date_trunc(",
    "::",
];
