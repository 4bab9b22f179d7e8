//! What a query would do, for people and for programs.

use serde_json::Value;

use super::run::Runner;
use crate::{
    cli::{
        error::Result,
        human,
        output::{Detail, Output},
    },
    client::{Query, QueryPlan},
};

impl Runner {
    /// Writes what a query would do, without doing it.
    ///
    /// # Errors
    ///
    /// When the query could not be run, and when the output can't be written.
    pub(super) async fn explain(&self, query: &Query, output: &mut Output) -> Result<()> {
        let plan = self.plan(query).await?;
        let value = serde_json::to_value(&plan).unwrap_or(Value::Null);
        output.detail(Detail { fields: described(&plan), value })
    }
}

fn described(plan: &QueryPlan) -> Vec<(&'static str, String)> {
    let mut fields = vec![("topic", plan.topic.clone())];
    let mut add = |name, text: String| {
        if !text.is_empty() {
            fields.push((name, text));
        }
    };
    add("type", plan.event_type.clone().unwrap_or_default());
    add("reads", reads(plan));
    let of_data = match plan.fields.join(", ") {
        none if none.is_empty() && plan.gives == "events" => "nothing, events are given as they are stored".to_owned(),
        none if none.is_empty() => "nothing, it is not decoded".to_owned(),
        fields => fields,
    };
    add("of the data", of_data);
    add("where", plan.filter.clone().unwrap_or_default());
    add("group by", plan.group_by.join(", "));
    add("having", plan.having.clone().unwrap_or_default());
    add("order by", plan.order_by.join(", "));
    add("limit", plan.limit.map(human::count).unwrap_or_default());
    let gives = match plan.gives.as_str() {
        "events" => "events, as they are found",
        "rows" => "rows, as they are found",
        "sorted" => "all in order, at the end",
        "groups" => "a row for each group, at the end",
        other => other,
    };
    add("gives", if plan.distinct { format!("{gives}, each once") } else { gives.to_owned() });
    add("columns", plan.columns.join(", "));
    fields
}

/// Which part of the topic is read.
fn reads(plan: &QueryPlan) -> String {
    if plan.events == 0 {
        return "nothing".to_owned();
    }
    let last = plan.until_offset.saturating_sub(1);
    format!(
        "{}, offsets {} to {last}, in about {} with {}",
        human::counted(plan.events, "event"),
        plan.from_offset,
        human::counted(plan.blocks, "block"),
        human::bytes(plan.bytes),
    )
}
