//! What a subscriber wants of the events that it reads, in the words of EnSQL. The server sends nothing else.

use super::query::{self, Parameter};
use crate::api::ensign::Query;

/// What is wanted of events; by default all of them, as they are.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wanted {
    /// The type of events, with as much of its version as matters: `Order.1.2`; without it, events of every type are wanted.
    pub event_type: Option<String>,
    /// What stands behind SELECT, for rows of JSON; without it, events come as they are stored. Rows have the identifier, the
    /// offset and the commit time of the event that they are of, and several may be of one.
    pub columns: Option<String>,
    /// What stands behind WHERE; without it, every event is wanted.
    pub condition: Option<String>,
    /// What placeholders in the two stand for.
    pub parameters: Vec<Parameter>,
    /// How many events or rows are wanted; without it, all of them.
    pub limit: Option<u64>,
}

impl Wanted {
    /// Events for which this is true, as they are.
    pub fn of(condition: &str) -> Wanted {
        Wanted { condition: Some(condition.to_owned()), ..Wanted::default() }
    }

    pub(super) fn gives_rows(&self) -> bool {
        self.columns.is_some()
    }

    /// Whether each event of the topics comes.
    pub(super) fn is_everything(&self) -> bool {
        self.columns.is_none() && self.condition.is_none() && self.event_type.is_none()
    }

    /// The query of a subscription to parts of topics, which gives so many results. A remark at the end of what was written does not
    /// reach beyond its line.
    pub(super) fn query(&self, ranges: &str, limit: Option<u64>) -> Query {
        let columns = self.columns.as_deref().unwrap_or("*");
        let condition = self.condition.as_ref().map(|condition| format!("\nWHERE {condition}"));
        let limit = limit.map(|limit| format!("\nLIMIT {limit}"));
        let text =
            format!("SELECT {columns}\nFROM {ranges}{}{}", condition.unwrap_or_default(), limit.unwrap_or_default());
        Query { query: text, params: query::wire_parameters(&self.parameters), ..Query::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked() {
        let check = |wanted: Wanted, everything, expected: &str| {
            assert_eq!(
                (wanted.query("'t' OFFSET 0", None).query.as_str(), wanted.is_everything()),
                (expected, everything)
            );
        };
        check(Wanted::default(), true, "SELECT *\nFROM 't' OFFSET 0");
        check(Wanted::of("a = 1 -- one"), false, "SELECT *\nFROM 't' OFFSET 0\nWHERE a = 1 -- one");
        let limited = Wanted::of("a = 1 -- one").query("'t'", Some(3));
        assert_eq!(limited.query, "SELECT *\nFROM 't'\nWHERE a = 1 -- one\nLIMIT 3");
        let columns = Some("a, b AS c -- two".to_owned());
        check(Wanted { columns, ..Wanted::default() }, false, "SELECT a, b AS c -- two\nFROM 't' OFFSET 0");
    }
}
