//! What fuzzers feed with arbitrary text: queries.

use super::{RangeError, RangeQuery, TopicRange};

/// A query is read or refused at a place that is in the text; one that is read means the same with quotes around its topic.
pub fn fuzz_range(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match RangeQuery::parse(text) {
        Ok(query) => {
            assert_eq!(RangeQuery::parse(&format!(" {text};")), Ok(query.clone()), "{text:?}");
            for TopicRange { topic, .. } in query.topics.into_iter().filter(|range| !range.topic.contains(['\'', '\\']))
            {
                let quoted = format!("select * from other, '{topic}'");
                let read = RangeQuery::parse(&quoted).map(|again| again.topics.into_iter().map(|range| range.topic));
                let alone = topic == "other";
                assert_eq!(read.is_err(), alone, "{text:?}");
                assert!(alone || read.is_ok_and(|mut topics| topics.nth(1) == Some(topic)), "{text:?}");
            }
        }
        Err(RangeError::Empty) => assert!(text.trim().is_empty()),
        Err(RangeError::Syntax { position, near, .. }) => {
            let text = text.trim();
            assert!(text.is_char_boundary(position), "position {position} in {text:?}");
            assert!(text.contains(&near), "{near:?} in {text:?}");
        }
        Err(RangeError::Unsupported { position, .. }) => {
            assert!(text.trim().is_char_boundary(position), "position {position} in {text:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fuzzing::run_bounded;

    #[test]
    fn queries() {
        let seeds: [&[u8]; 7] = [
            b"SELECT * FROM flights OFFSET 5, orders.eu AFTER '-15m' BEFORE 'now','two words' BEFORE 17",
            b"SELECT * FROM orders.eu OFFSET 12 BEFORE '2026-11-21T12:00:00Z'",
            b"select * from 'two words' after '064zsevshm000016';",
            b"SELECT * FROM \"quoted\" OFFSET '064zsevshm000016' -- remark",
            b"SELECT * FROM a WHERE x = 1 LIMIT 5",
            "SELECT * FROM straße OFFSET 1 /* a \u{1f980} */".as_bytes(),
            b"SELECT name, other FROM x",
        ];
        run_bounded("a query", &seeds, fuzz_range);
    }
}
