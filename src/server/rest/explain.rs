//! What a query would do, without doing it: `/api/explain`.

use std::collections::HashMap;

use axum::{extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    RestState,
    caller::Caller,
    input::{Input, RequestBody},
    reply::{self, Answer, Refusal},
    route::Route,
    wire::WireId,
};
use crate::{
    broker::{BrokerError, Explained, Operation, Parameter, ParameterValue, QueryRequest, Shape},
    model::Code,
    server::query,
};

const PATH: &str = "/api/explain";

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post(PATH, Operation::Explain.needs(), "What a query would do", explain)
            .takes::<ExplainBody>()
            .gives::<PlanBody>(StatusCode::OK),
    ]
}

/// A query.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
#[schema(as = Explain)]
struct ExplainBody {
    /// EnSQL.
    query: String,
    /// Values of its parameters, by their names.
    params: HashMap<String, Value>,
}

impl RequestBody for ExplainBody {}

/// A query's plan.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QueryPlan)]
struct PlanBody {
    topic: String,
    topic_id: WireId,
    /// The type of the events that the query is limited to, with its version as far as it is given.
    event_type: Option<String>,
    /// events (as they are stored), rows, sorted or groups.
    gives: &'static str,
    /// The names of the results; none when they are events.
    columns: Vec<String>,
    /// What of the events' data is read; when there is nothing, data is not decoded.
    fields: Vec<String>,
    distinct: bool,
    filter: Option<String>,
    group_by: Vec<String>,
    having: Option<String>,
    order_by: Vec<String>,
    limit: Option<u64>,
    /// The first offset that is read, and the first behind it that is not.
    from_offset: u64,
    until_offset: u64,
    /// How many events lie between them.
    events: u64,
    /// About how many blocks hold them, and how many bytes these take on disk.
    blocks: u64,
    bytes: u64,
}

impl From<Explained> for PlanBody {
    fn from(explained: Explained) -> PlanBody {
        let Explained { entry, event_type, plan, shape, reads } = explained;
        PlanBody {
            topic: entry.name().to_string(),
            topic_id: WireId(entry.id().0),
            event_type,
            gives: match shape {
                Shape::Whole => "events",
                Shape::Rows => "rows",
                Shape::Sorted => "sorted",
                Shape::Groups => "groups",
            },
            columns: plan.columns,
            fields: plan.fields,
            distinct: plan.distinct,
            filter: plan.filter,
            group_by: plan.group_by,
            having: plan.having,
            order_by: plan.order_by,
            limit: plan.limit,
            from_offset: reads.from.get(),
            until_offset: reads.end.get(),
            events: reads.events,
            blocks: reads.blocks,
            bytes: reads.bytes,
        }
    }
}

async fn explain(State(state): State<RestState>, Caller(caller): Caller, Input(asked): Input<ExplainBody>) -> Answer {
    let parameters = asked.params.into_iter().map(|(name, value)| Some(Parameter { name, value: parameter(value)? }));
    let parameters: Option<Vec<_>> = parameters.collect();
    let parameters =
        parameters.ok_or_else(|| Refusal::bad_request("a parameter is a number, a text, true or false"))?;
    let request = QueryRequest { text: asked.query, parameters, skip_unreadable: false, show: query::show };
    let explained = state.broker.explain(&caller, &request).await.map_err(|error| refusal(&error))?;
    Ok(reply::json(StatusCode::OK, &PlanBody::from(explained)))
}

/// The value of a parameter; none for what a parameter can't be.
fn parameter(value: Value) -> Option<ParameterValue<'static>> {
    Some(match value {
        Value::Null => ParameterValue::Null,
        Value::Bool(is) => ParameterValue::Bool(is),
        Value::Number(number) => match number.as_i64() {
            Some(number) => ParameterValue::Int(number),
            None => ParameterValue::Float(number.as_f64()?),
        },
        Value::String(text) => ParameterValue::Text(text.into()),
        Value::Array(_) | Value::Object(_) => return None,
    })
}

fn refusal(error: &BrokerError) -> Refusal {
    match error.code() {
        Code::InvalidArgument => Refusal::bad_request(error.to_string()),
        Code::PermissionDenied => Refusal::forbidden(error.to_string()),
        Code::FailedPrecondition => Refusal::conflict(error.to_string()),
        _ => Refusal::failed(error, "could not explain the query"),
    }
}
