//! Queries and data that were made to hurt: each is answered or refused, on a small stack, in time that grows with its length.

use std::fmt::Write as _;

use super::{
    Execution, Fields, Input, Parameter, Path, Statement, Step, Undecodable, Value, function, fuzzing,
    source_text::TEXT_BYTES_MAX, tests::run,
};
use crate::model::{Mimetype, Offset, Rlid, Time};

/// A quarter of what the server's threads have. The rest is for what calls EnSQL, which is deep in builds that are not optimized.
const STACK_BYTES: usize = 512 << 10;

const EVENT: &str = r#"{"a": 1, "b": "x"}"#;

/// Does something on a thread with little stack.
fn on_small_stack<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::Builder::new().stack_size(STACK_BYTES).spawn(work).unwrap().join().unwrap()
}

/// What a query gives of one event.
fn ask(query: &str) -> Result<Vec<String>, String> {
    let query = query.to_owned();
    on_small_stack(move || run(&query, &[], &[EVENT]))
}

fn check_found(condition: &str, is_found: bool) {
    let found = ask(&format!("SELECT * FROM t WHERE {condition}"));
    let expected = if is_found { vec!["#1".to_owned()] } else { Vec::new() };
    assert_eq!(found, Ok(expected), "{condition:.100}");
}

fn check_refused(query: &str, reason: &str) {
    let found = ask(query);
    assert!(found.as_ref().is_err_and(|error| error.contains(reason)), "{found:?} for {query:.100}");
}

#[test]
fn many_conditions() {
    check_found(&format!("a = 1{}", " AND b = 'x'".repeat(2_000)), true);
    check_found(&format!("a = 1{}", " AND b = 2".repeat(2_000)), false);
    check_found(&format!("a = 2{}", " OR b = 'x'".repeat(2_000)), true);
    check_found(&format!("a = 1{}", " AND (b = 'x')".repeat(1_500)), true);
    let mixed = " OR a = 1 AND b = 'y' AND NOT a = 2".repeat(400);
    check_found(&format!("a = 2{mixed}"), false);
    for count in [4_000, 5_000] {
        let query = format!("SELECT * FROM t WHERE a = 1{}", " AND b = 2".repeat(count));
        check_refused(&query, "a query has at most 8000 words and signs");
    }
}

#[test]
fn deep_expressions() {
    let around = |open: &str, inner: &str, close: &str, depth: usize| {
        format!("{}{inner}{}", open.repeat(depth), close.repeat(depth))
    };
    for (open, inner, close) in [
        ("(", "a = 1", ")"),
        ("NOT NOT ", "a = 1", ""),
        ("coalesce(", "a = 1", ")"),
        ("CASE WHEN ", "a = 1", " THEN true END"),
        ("CASE a WHEN 1 THEN ", "a = 1", " END"),
        ("CAST(", "a = 1", " AS BOOLEAN)"),
        ("iif(", "a = 1", ", true, false)"),
        ("true IN (", "a = 1", ")"),
    ] {
        check_found(&around(open, inner, close, 22), true);
        for depth in [50, 1_000] {
            let query = format!("SELECT * FROM t WHERE {}", around(open, inner, close, depth));
            check_refused(&query, "an expression is nested at most 50 deep");
        }
    }
    check_found(&around("(", "a = 1", ")", 47), true);
    check_found(&format!("{}a = 1", "NOT ".repeat(46)), true);
    check_found(&format!("{}a = 1", "- ".repeat(46)), true);
}

/// What is opened again and again and never closed is refused as soon as it is too deep, and not tried in two ways at each level.
#[test]
fn open_ends() {
    for open in [
        "(",
        "((a), ",
        "NOT ",
        "- ",
        "+ ",
        "~",
        "CASE ",
        "CASE WHEN ",
        "CASE(",
        "CAST(",
        "TRY_CAST(",
        "lower(",
        "f(a => ",
        "f(x -> ",
        "f((x, y) -> ",
        "a IN (",
        "a BETWEEN ",
        "a BETWEEN 1 AND ",
        "a LIKE ",
        "a[",
        "ARRAY[",
        "{",
        "{'a': ",
        "MAP {",
        "STRUCT(",
        "INTERVAL ",
        "DATE ",
        "TIMESTAMP ",
        "EXISTS (",
        "a IN (SELECT a FROM ",
        "a IN (SELECT a FROM (",
        "extract(year FROM ",
        "trim(",
        "substring(",
        "position(",
        "ceil(",
        "overlay(",
        "convert(",
        "f() OVER (",
        "f(a) OVER (PARTITION BY ",
        "MATCH (",
        "PRIOR ",
        "a = ANY(",
        "ROW(",
        "IF(",
        "count(*) FILTER (WHERE ",
        "a::ARRAY<",
        "a::ARRAY(",
        "a::STRUCT<a ",
        "a::Nullable(",
        "a::Map(int, ",
        "a::TABLE(a ",
        "/*",
        "-- ",
        "x'",
        ":",
        "@",
        "?",
        "$",
        "a.",
        "a::",
        ";",
        "WITH x AS (SELECT ",
    ] {
        for count in [40, 49, 3_000] {
            let text = open.repeat(count);
            for query in
                [format!("SELECT * FROM t WHERE {text}"), format!("SELECT {text}"), format!("SELECT * FROM {text}")]
            {
                assert!(ask(&query).is_err(), "{count} times {open}");
            }
        }
    }
}

/// Operators in a row lean to the left, and are as deep as there are operators.
#[test]
fn long_rows_of_operators() {
    for (operator, count) in [
        (" IS NULL", 3_900),
        (" IS NOT TRUE", 2_600),
        ("::int", 3_990),
        ("[0]", 2_600),
        ("::int[]", 1_900),
        (" + a", 3_900),
        (" - a * a", 1_900),
        (" = a", 3_900),
        (" LIKE a", 3_900),
        (".a", 3_900),
        (" COLLATE x", 3_900),
        (" AT TIME ZONE 'x'", 2_600),
        (" IN (1)", 1_900),
        (" IS DISTINCT FROM 1", 1_900),
        (" BETWEEN 1 AND 2", 2_600),
    ] {
        let found = ask(&format!("SELECT * FROM t WHERE a{}", operator.repeat(count)));
        assert!(found.is_err(), "{operator}");
    }
    let found = ask(&format!("SELECT 'x'{} AS v FROM t", " || b".repeat(3_900)));
    assert_eq!(found, Ok(vec![format!("{{\"v\":\"{}\"}}", "x".repeat(3_901))]));
}

#[test]
fn huge_lists() {
    let list = |count: usize| (0..count).fold(String::new(), format_in);
    check_found(&format!("a IN ({}1)", list(49_900)), true);
    check_found(&format!("a NOT IN ({}1)", list(49_900)), false);
    check_refused(&format!("SELECT * FROM t WHERE a IN ({}1)", list(100_000)), "at most 50000 numbers and texts");
    check_refused(
        &format!("SELECT * FROM t WHERE a IN ({}1)", "1,".repeat(520_000)),
        "at most 50000 numbers and texts",
    );
    check_refused(
        &format!("SELECT * FROM t WHERE b IN ({}1)", "'',".repeat(340_000)),
        "at most 50000 numbers and texts",
    );
    check_refused(&format!("SELECT {}1 FROM t", "1,".repeat(40_000)), "this name is given twice");
    check_refused(&format!("SELECT {}1 AS x FROM t", list(40_000)), "a result has at most 1000 columns");
    check_refused(
        &format!("SELECT a FROM t GROUP BY {}1", "1,".repeat(40_000)),
        "GROUP BY has at most 1000 expressions",
    );
    check_refused(
        &format!("SELECT a FROM t ORDER BY {}1", "1,".repeat(40_000)),
        "ORDER BY has at most 1000 expressions",
    );
    check_refused(&format!("SELECT {} FROM t", ",".repeat(1_000_000)), "invalid field identifier");
}

fn format_in(mut list: String, number: usize) -> String {
    write!(list, "{number},").unwrap();
    list
}

#[test]
fn long_texts() {
    check_found(&format!("a = 1{}AND b = 'x'", " ".repeat(1_000_000)), true);
    check_found(&format!("a = 1{}AND b = 'x'", "\n".repeat(1_000_000)), true);
    check_found(&format!("a < {}", "9".repeat(300)), true);
    check_refused(&format!("SELECT * FROM t WHERE a < {}", "9".repeat(1_000_000)), "this is not a number");
    check_refused(&format!("SELECT * FROM t WHERE a < 1e{}", "9".repeat(1_000_000)), "this is not a number");
    check_found(&format!("a >= 0.{}", "9".repeat(1_000_000)), true);
    check_found(&format!("length('{}') = 500000", "''".repeat(500_000)), true);
    check_found(&format!("length(x'{}') = 500000", "00".repeat(500_000)), true);
    check_refused(&format!("SELECT * FROM t WHERE a = 1 {}", "/*".repeat(500_000)), "comment missing its end");
    check_refused(&format!("SELECT * FROM {}", "t.".repeat(500_000)), "at most 8000 words and signs");
    check_refused(&"\u{e9}\n".repeat(300_000), "at most 8000 words and signs");
    check_refused(&"x".repeat(TEXT_BYTES_MAX + 1), "more than the 1048576 that are allowed");
}

/// Patterns that make others try again and again.
#[test]
fn patterns() {
    let text = "a".repeat(100_000);
    check_found(&format!("'{text}' LIKE '{}b'", "%a".repeat(100_000)), false);
    check_found(&format!("'{text}' LIKE '{}'", "%a".repeat(100_000)), true);
    check_found(&format!("'{text}' ILIKE '{}%B%'", "%_".repeat(50_000)), false);
    check_found(&format!("'{text}' LIKE '%{}b%'", "_a".repeat(120)), false);
    check_found(&format!("'{text}' LIKE '%{}%'", "_".repeat(200_000)), false);
    check_found(&format!("'{text}b' LIKE concat('{}', 'b')", "%a%".repeat(50_000)), true);
}

/// Texts that grow with each function around them end as NULL.
#[test]
fn texts_that_grow() {
    let mut grown = "b".to_owned();
    for _ in 0..20 {
        grown = format!("replace({grown}, 'x', 'xxxxxxxxxx')");
    }
    check_found(&format!("{grown} IS NULL"), true);
    let mut doubled = "b || b".to_owned();
    for _ in 0..9 {
        doubled = format!("({doubled}) || ({doubled})");
    }
    check_found(&format!("length({doubled}) = 1024"), true);
}

#[test]
fn many_parameters() {
    let query =
        (0..2_000).fold("SELECT * FROM t WHERE a IN (1".to_owned(), |query, number| format!("{query}, :p{number}"));
    let given = |number: usize| Parameter { name: format!("p{number}"), value: Value::Int(2) };
    let parameters: Vec<Parameter> = (0..200_000).map(given).collect();
    assert_eq!(run(&format!("{query})"), &parameters, &[EVENT]), Ok(vec!["#1".to_owned()]));
}

/// A large value, or what is made of one, is not there as often as a query is long.
#[test]
fn constants_are_bounded() {
    let value = |name: &str, length: usize| Parameter {
        name: name.to_owned(),
        value: Value::text(&"x".repeat(length)).into_owned(),
    };
    let columns = |column: &str, count: usize| {
        (0..count).map(|number| format!("{column} AS c{number}")).collect::<Vec<String>>().join(", ")
    };
    let check = |query: String, given: Vec<Parameter>, expected: &str| {
        let found = run(&query, &given, &[EVENT]).map(|rows| rows.len().to_string());
        assert!(found.as_ref().unwrap_or_else(|error| error).contains(expected), "{found:?} for {query:.100}");
    };
    let refused = "need more than 64 MiB of memory";
    check(format!("SELECT {} FROM t WHERE a = 2", columns(":p", 10)), vec![value("p", 5_000_000)], "0");
    check(format!("SELECT {} FROM t WHERE a = 2", columns(":p", 900)), vec![value("p", 5_000_000)], refused);
    check(format!("SELECT * FROM t WHERE b IN (1{})", ", :p".repeat(3_900)), vec![value("p", 5_000_000)], refused);
    let grown = columns("replace(:p, 'x', :q)", 500);
    check(format!("SELECT {grown} FROM t"), vec![value("p", 1_000), value("q", 16_000)], refused);
    let named = format!("SELECT '{}' AS n FROM t ORDER BY n{}", "x".repeat(1_000_000), ", n".repeat(900));
    check(named, Vec::new(), "the expressions of a query have at most 50000 parts");
}

/// Every function, and every operator, of values at the edges of their types.
#[test]
fn values_at_the_edges() {
    let calls = function::NAMES.iter().flat_map(|(name, _, least, most)| {
        (*least..=(*most).min(3)).map(move |count| format!("{name}({})", ["a", "b", "c"][..count].join(", ")))
    });
    let operators = [
        "a + b",
        "a - b",
        "a * b",
        "a / b",
        "a % b",
        "a || b",
        "-a",
        "a = b",
        "a < b",
        "a LIKE b",
        "a BETWEEN b AND c",
    ];
    let casts = ["BOOLEAN", "INTEGER", "FLOAT", "NUMERIC", "TEXT", "BLOB", "TIMESTAMP", "DATE"];
    let others = operators.map(str::to_owned).into_iter().chain(casts.map(|kind| format!("CAST(a AS {kind})")));
    let aggregates =
        ["sum(a)", "avg(a)", "min(a)", "max(a)", "median(a)", "count(DISTINCT a)", "sum(DISTINCT a)", "first(a)"];
    for expression in calls.chain(others).chain(aggregates.map(str::to_owned)) {
        let plan =
            Statement::parse(&format!("SELECT {expression} AS v FROM t")).and_then(|statement| statement.bind(&[]));
        let mut execution = plan.unwrap_or_else(|error| panic!("{expression}: {error}")).start(Time::EPOCH);
        push_edges(&mut execution, &mut Vec::new(), &fuzzing::values());
        execution.finish().unwrap();
    }
}

/// Gives rows with every combination of values.
fn push_edges(execution: &mut Execution, row: &mut Vec<Value<'static>>, values: &[Value<'static>]) {
    if row.len() < execution.plan().fields().len() {
        for value in values {
            row.push(value.clone());
            push_edges(execution, row, values);
            row.pop();
        }
        return;
    }
    let input = Input {
        offset: Offset::new(1),
        id: Rlid::from_parts(1, 1),
        committed: Time::from_nanos(i64::MIN),
        created: None,
        type_name: "",
        type_version: (0, 0, 0),
        mimetype: Mimetype::JSON,
        key: b"",
        size: 0,
        metadata: &(),
    };
    execution.push(&input, row, &mut Vec::new()).unwrap();
}

/// What the data of an event, read on a small stack, is not.
fn refusal(mimetype: Mimetype, data: Vec<u8>) -> Option<Undecodable> {
    on_small_stack(move || {
        let key = |name: &str| Step::Key(name.to_owned());
        let deep: Path = (0..32).map(|_| key("a")).collect();
        let paths = [vec![key("a")], deep, vec![key("a"), Step::Index(0), Step::Index(0)], vec![key("b")]];
        let fields = Fields::new(&paths);
        let mut values = vec![Value::Null; paths.len()];
        fields.rows(mimetype, &data, &()).next(&mut values).and_then(Result::err)
    })
}

#[test]
fn deep_data() {
    for depth in [128, 100_000] {
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}"), (r#"{"x":"#, "}"), (r#"{"a":["#, "]}")] {
            let text = [&open.repeat(depth), "1", &close.repeat(depth)].concat();
            assert_eq!(refusal(Mimetype::JSON, text.clone().into_bytes()), Some(Undecodable::TooDeep), "{open}");
            let inside = [r#"{"a":"#, &text, "}"].concat().into_bytes();
            assert_eq!(refusal(Mimetype::JSON, inside.clone()), Some(Undecodable::TooDeep), "{open}");
            assert_eq!(refusal(Mimetype::JSON_LINES, inside), Some(Undecodable::TooDeep), "{open}");
        }
        for open in [&b"\x91"[..], b"\x81\xa1a", b"\x81\xa1x", b"\x81\x91"] {
            assert_eq!(refusal(Mimetype::MESSAGE_PACK, open.repeat(depth)), Some(Undecodable::TooDeep), "{open:?}");
        }
    }
}

#[test]
fn data_that_promise_too_much() {
    for head in [
        &b"\xdb\xff\xff\xff\xff"[..],
        b"\xc6\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x01",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\x81\xdd\xff\xff\xff\xff",
        b"\x81\xdb\xff\xff\xff\xff",
        b"\xda\xff\xff",
    ] {
        for inside in [&b""[..], b"\x81\xa1a", b"\x81\xa1x"] {
            let data = [inside, head, b"\xc0\xc0"].concat();
            assert!(matches!(refusal(Mimetype::MESSAGE_PACK, data), Some(Undecodable::MessagePack { .. })), "{head:?}");
        }
    }
    let digits = "9".repeat(1_000_000);
    for number in [digits.clone(), format!("-{digits}"), format!("1e{digits}"), format!("{digits}e{digits}")] {
        for name in ["a", "x"] {
            let data = format!("{{\"{name}\": {number}}}").into_bytes();
            assert!(matches!(refusal(Mimetype::JSON, data), Some(Undecodable::Json { .. })), "{number:.20}");
        }
    }
    for number in [format!("0.{digits}"), format!("1e-{digits}"), format!("0.{digits}e-{digits}")] {
        assert_eq!(refusal(Mimetype::JSON, format!("{{\"a\": {number}}}").into_bytes()), None, "{number:.20}");
        assert_eq!(refusal(Mimetype::CSV, format!("a\n{number}\n").into_bytes()), None, "{number:.20}");
    }
    let members = format!("{{{}\"b\": 1}}", "\"a\": [1, {\"a\": 2}],".repeat(200_000));
    assert_eq!(refusal(Mimetype::JSON, members.into_bytes()), None);
    let table = [",".repeat(1_000_000), "\n".to_owned(), ",".repeat(1_000_000)].concat();
    assert_eq!(refusal(Mimetype::CSV, table.into_bytes()), None);
    assert_eq!(refusal(Mimetype::CSV, b"\"".repeat(1_000_001)), None);
}
