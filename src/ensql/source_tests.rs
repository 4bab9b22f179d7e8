//! Where a query reads: one topic or several, and what only the query of a subscription may not have.

use super::{QueryError, Source, Statement};
use crate::model::{Offset, Position, Rlid, Time};

/// A topic, where to start, and what to stop before.
type Range<'a> = (&'a str, Option<Position>, Option<Position>);

fn ranges(sources: &[Source]) -> Vec<Range<'_>> {
    sources.iter().map(|source| (&*source.written, source.from, source.until)).collect()
}

fn check(text: &str, topic: &str, from: Option<Position>, until: Option<Position>) {
    let statement = Statement::parse(text).unwrap();
    assert_eq!(ranges(statement.sources()), [(topic, from, until)], "{text}");
    assert_eq!((statement.is_range(), statement.require_endless()), (true, Ok(())), "{text}");
}

fn check_error(text: &str, expected: &str) {
    let read = Statement::parse(text).and_then(|statement| statement.require_endless().map(|()| statement));
    assert_eq!(read.map_err(|error: QueryError| error.to_string()), Err(expected.to_owned()), "{text}");
}

#[test]
fn every_position_has_a_clause() {
    let offset = |number| Some(Position::Offset(Offset::new(number)));
    check("SELECT * FROM f AFTER 16 BEFORE 20", "f", offset(17), offset(20));
    check("SELECT * FROM f AFTER '16' BEFORE '20'", "f", offset(17), offset(20));
    check("SELECT * FROM f AFTER 'start' BEFORE 'now'", "f", Some(Position::Start), Some(Position::End));
    check("SELECT * FROM f AFTER 'end'", "f", Some(Position::End), None);
    let last = Rlid::parse("zzzzzzzzzzzzzzzz").unwrap();
    check("SELECT * FROM f AFTER 'zzzzzzzzzzzzzzzz'", "f", Some(Position::Event(last)), None);
    let (from, until) = (Position::Ago(899_999_999_999), Position::Ago(60_000_000_000));
    check("SELECT * FROM f AFTER '-15m' BEFORE '-1m'", "f", Some(from), Some(until));
    check_error(
        "SELECT * FROM f BEFORE 99999999999999999999",
        r#"syntax error at position 23 near "99999999999999999999": invalid before clause"#,
    );
}

#[test]
fn several_topics_have_clauses_of_their_own() {
    let time = Time::parse("2026-11-21T09:00:00Z").unwrap();
    let expected = [
        ("flights", Some(Position::Offset(Offset::new(6))), None),
        ("orders.v1", Some(Position::Time(time.plus_nanos(1))), Some(Position::End)),
        ("two words", None, None),
    ];
    for text in [
        "SELECT * FROM flights OFFSET 5, orders.v1 AFTER '2026-11-21T09:00:00Z' BEFORE 'now', 'two words'",
        "SELECT * FROM flights OFFSET 5,orders.v1 BEFORE 'now' AFTER '2026-11-21T09:00:00Z','two words';",
        "SELECT * FROM flights OFFSET 5,orders.v1 BEFORE 'now' AFTER '2026-11-21T09:00:00Z','two words' WHERE a = 1",
    ] {
        assert_eq!(ranges(Statement::parse(text).unwrap().sources()), expected, "{text}");
    }
    assert_eq!(
        ranges(Statement::parse("SELECT * FROM a,b").unwrap().sources()),
        [("a", None, None), ("b", None, None)]
    );
    check_error("SELECT * FROM a, b, a", r#"syntax error at position 20 near "a": topic has already been named"#);
    check_error("SELECT * FROM a,", r#"syntax error at position 16 near "": invalid topic identifier"#);
    check_error("SELECT * FROM a,,b", r#"syntax error at position 16 near ",": invalid topic identifier"#);
    check_error("SELECT * FROM a OFFSET 1 b", r#"syntax error at position 25 near "b": invalid offset clause"#);
    check_error("SELECT * FROM a BEFORE -3", r#"syntax error at position 23 near "-3": invalid before clause"#);
}

#[test]
fn what_needs_an_end() {
    let endless = |what: &str, at: usize, near: &str| {
        format!(
            "syntax error at position {at} near {near:?}: {what} is not possible in the query of a subscription, \
             which never ends"
        )
    };
    check_error("SELECT DISTINCT a FROM t", &endless("DISTINCT", 7, "DISTINCT"));
    check_error("SELECT count(*) FROM t", &endless("an aggregate", 7, "count"));
    check_error("SELECT a, 1 + sum(b) FROM t GROUP BY a", &endless("an aggregate", 14, "sum"));
    check_error("SELECT a FROM t GROUP BY a HAVING a > 1", &endless("GROUP BY", 16, "GROUP"));
    check_error("SELECT 1 FROM t HAVING true", &endless("HAVING", 16, "HAVING"));
    check_error("SELECT * FROM t, u WHERE a = 1 ORDER BY a LIMIT 3", &endless("ORDER BY", 31, "ORDER"));
    for text in ["SELECT a FROM t", "SELECT * FROM t WHERE a = 1", "SELECT * FROM t, u.x.1 LIMIT 3"] {
        let statement = Statement::parse(text).unwrap();
        assert_eq!((statement.is_range(), statement.require_endless()), (false, Ok(())), "{text}");
    }
}

#[test]
fn many_topics() {
    let topics: Vec<String> = (0..20_000).map(|number| format!("'{number:026}' OFFSET {number}")).collect();
    let statement = Statement::parse(&format!("SELECT * FROM {}", topics.join(","))).unwrap();
    assert_eq!(statement.sources().len(), 20_000);
}
