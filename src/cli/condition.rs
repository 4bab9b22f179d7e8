//! A condition on events, in the words of EnSQL's WHERE: what is wrong with it is said before anybody is asked, and events that
//! only this program can read are judged here.
//!
//! What it does not do: filter what the server can filter.

use super::{
    error::{CliError, Result},
    query,
};
use crate::{
    client::Event,
    ensql::{Fields, Input, Plan, QueryError, Statement, Value},
    model::{Schema, Time},
};

/// What stands before a condition so that it is a query.
const BEFORE: &str = "SELECT * FROM t WHERE ";

/// A condition that can be evaluated.
#[derive(Debug, Clone)]
pub(super) struct EventCondition {
    text: String,
    plan: Plan,
    fields: Fields,
}

/// What a condition says of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Judgement {
    Met,
    /// The values of the fields that it looks at, as a text; empty when it looks at none.
    Unmet(String),
    /// The data is not what its media type says.
    Undecodable,
    /// The data is encrypted, and it looks at the data.
    Encrypted,
}

impl EventCondition {
    /// Reads a condition, and nothing but a condition.
    pub(super) fn read(text: &str) -> Result<EventCondition> {
        let wrong = |error: QueryError| {
            let Some(position) = error.position() else { return CliError::usage(format!("--where: {error}")) };
            // A place before the condition is that of the whole of it.
            let position = position.saturating_sub(BEFORE.len());
            let error = CliError::usage(match &error {
                QueryError::Syntax { near, what, .. } => {
                    format!("--where: syntax error at position {position} near {near:?}: {what}")
                }
                other => format!("--where: {other}"),
            });
            match query::excerpt(text, position) {
                Some(lines) => error.excerpt(lines),
                None => error,
            }
        };
        if text.trim().is_empty() {
            return Err(CliError::usage("--where: there is no condition").hint("--where 'total > 100'"));
        }
        let statement = Statement::parse(&format!("{BEFORE}{}", text.trim())).map_err(wrong)?;
        if !statement.is_condition() {
            return Err(CliError::usage("--where: a condition, and no clauses behind it")
                .hint("--from, --until and -n say where to start and to stop"));
        }
        let plan = statement.bind(&[]).map_err(wrong)?;
        Ok(EventCondition { text: text.trim().to_owned(), fields: Fields::new(plan.fields()), plan })
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether it looks at the data of events.
    pub(super) fn wants_data(&self) -> bool {
        !self.plan.fields().is_empty()
    }

    /// Judges an event, as the server would if it could read it.
    pub(super) fn judge(&self, event: &Event, now: Time) -> Judgement {
        let schema = event.schema.as_ref();
        let number = |number: fn(&Schema) -> u32| schema.map_or(0, number);
        let input = Input {
            offset: event.offset,
            id: event.id,
            // An identifier is made when its event is committed.
            committed: event
                .committed
                .unwrap_or_else(|| Time::from_millis(i64::try_from(event.id.millis()).unwrap_or(i64::MAX))),
            created: event.created,
            type_name: schema.map_or("", |schema| &schema.name),
            type_version: (number(|schema| schema.major), number(|schema| schema.minor), number(|schema| schema.patch)),
            mimetype: event.mimetype,
            key: &event.key,
            size: event.data.len() as u64,
            metadata: &event.metadata,
        };
        if !self.wants_data() {
            let is_met = self.plan.matches(&input, &[], now);
            return if is_met { Judgement::Met } else { Judgement::Unmet(String::new()) };
        }
        if event.is_encrypted() {
            return Judgement::Encrypted;
        }
        let mut values = vec![Value::Null; self.plan.fields().len()];
        let mut found = None;
        let mut rows = self.fields.rows(event.mimetype, &event.data, &event.metadata);
        while let Some(read) = rows.next(&mut values) {
            if read.is_err() {
                continue;
            }
            if self.plan.matches(&input, &values, now) {
                return Judgement::Met;
            }
            found.get_or_insert_with(|| self.shown(&values));
        }
        found.map_or(Judgement::Undecodable, Judgement::Unmet)
    }

    /// `total 12, customer.name "Ada"`.
    fn shown(&self, values: &[Value<'_>]) -> String {
        let shown = self.plan.explain().fields.iter().zip(values).map(|(field, value)| {
            let mut json = Vec::new();
            value.write_json(&mut json);
            format!("{field} {}", String::from_utf8_lossy(&json))
        });
        shown.collect::<Vec<String>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;

    use super::*;
    use crate::{
        client::Encryption,
        model::{Mimetype, Offset, Rlid, TopicId},
    };

    fn event() -> Event {
        Event {
            topic: TopicId::default(),
            offset: Offset::new(7),
            id: Rlid::from_parts(1_700_000_000_000, 5),
            committed: None,
            created: None,
            mimetype: Mimetype::JSON,
            schema: Some("order@1.2.3".parse().unwrap()),
            metadata: BTreeMap::from([("source".to_owned(), "web".to_owned())]),
            key: Bytes::from_static(b"k1"),
            data: Bytes::from_static(br#"{"total":12,"customer":{"name":"Ada"}}"#),
            encryption: None,
            publisher: None,
        }
    }

    fn judge(text: &str, event: &Event) -> Judgement {
        EventCondition::read(text).unwrap().judge(event, Time::from_millis(1_700_000_060_000))
    }

    #[test]
    fn events_are_judged_as_by_the_server() {
        let check = |text: &str, expected: Judgement| assert_eq!(judge(text, &event()), expected, "{text}");
        let unmet = |found: &str| Judgement::Unmet(found.to_owned());
        check("total > 10 AND customer.name = 'Ada'", Judgement::Met);
        check("total > 12", unmet("total 12"));
        check("customer.name = 'Eve' OR missing IS TRUE", unmet("customer.name \"Ada\", missing null"));
        check("_type = 'order' AND _version = '1.2.3' AND _key = 'k1' AND _meta.source = 'web'", Judgement::Met);
        check("_offset = 8", unmet(""));
        check("_type IS NULL", unmet(""));
        assert_eq!(judge("_type IS NULL AND _version IS NULL", &Event { schema: None, ..event() }), Judgement::Met);
        check("now() - _committed = INTERVAL '1 minute' -- a remark", Judgement::Met);
    }

    #[test]
    fn data_of_every_kind() {
        let lines = Event {
            mimetype: Mimetype::JSON_LINES,
            data: Bytes::from_static(b"x\n{\"total\":1}\n{\"total\":2}"),
            ..event()
        };
        assert_eq!(judge("total = 2", &lines), Judgement::Met);
        assert_eq!(judge("total = 3", &lines), Judgement::Unmet("total 1".to_owned()));
        let record = Event {
            mimetype: Mimetype::CSV,
            metadata: BTreeMap::from([("csv.header".to_owned(), "total,name".to_owned())]),
            data: Bytes::from_static(b"2,Ada"),
            ..event()
        };
        assert_eq!(judge("total = 2 AND name = 'Ada'", &record), Judgement::Met);
        assert_eq!(judge("total = 3", &record), Judgement::Unmet("total 2".to_owned()));
        let damaged = Event { data: Bytes::from_static(b"{"), ..event() };
        assert_eq!(judge("total = 2", &damaged), Judgement::Undecodable);
        assert_eq!(judge("_offset = 7", &damaged), Judgement::Met);
        let encryption = Encryption { encryption_algorithm: Encryption::AES256_GCM, ..Encryption::default() };
        let sealed = Event { encryption: Some(std::sync::Arc::new(encryption)), ..event() };
        assert_eq!(judge("total = 12", &sealed), Judgement::Encrypted);
        assert_eq!(judge("_offset = 7", &sealed), Judgement::Met);
    }

    #[test]
    fn what_is_no_condition() {
        let check = |text: &str, expected: &str| {
            assert_eq!(EventCondition::read(text).unwrap_err().render(false, false), expected, "{text}");
        };
        check(
            "total >",
            "error: --where: syntax error at position 7 near \"\": invalid where clause\n  total >\n         ^\n",
        );
        check(
            "  a = 1 AND lowr(b) = 'x'",
            "error: --where: syntax error at position 10 near \"lowr\": the function lowr is not known\n  \
             a = 1 AND lowr(b) = 'x'\n            ^\n",
        );
        check(" ", "error: --where: there is no condition\nhint: --where 'total > 100'\n");
        check("a = :b", "error: --where: no value is given for the parameter :b\n");
        for text in ["a = 1 LIMIT 3", "a = 1 OFFSET 3", "a = 1 ORDER BY a", "true BEFORE 9"] {
            let error = EventCondition::read(text).unwrap_err();
            assert_eq!(error.message, "--where: a condition, and no clauses behind it", "{text}");
        }
    }
}
