//! What a query would do, without doing it: `/api/explain`.

use axum::{extract::State, http::StatusCode};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
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
    /// Values of its parameters.
    params: ParametersBody,
}

impl RequestBody for ExplainBody {}

/// Values of parameters: by their names, or in their order.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = ExplainParameters)]
enum ParametersBody {
    InOrder(Vec<ParameterBody>),
    #[schema(value_type = HashMap<String, Value>)]
    ByName(Map<String, Value>),
}

impl Default for ParametersBody {
    fn default() -> ParametersBody {
        ParametersBody::InOrder(Vec::new())
    }
}

/// The value of a parameter, which need not have a name: a number, a text, true, false, null, or bytes as `{"base64": "…"}`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = ExplainParameter)]
struct ParameterBody {
    #[serde(default)]
    name: String,
    value: Value,
}

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
    let named: Vec<(String, Value)> = match asked.params {
        ParametersBody::InOrder(parameters) => parameters.into_iter().map(|given| (given.name, given.value)).collect(),
        ParametersBody::ByName(parameters) => parameters.into_iter().collect(),
    };
    let parameters = named.into_iter().map(|(name, value)| Some(Parameter { name, value: parameter(value)? }));
    let parameters: Option<Vec<_>> = parameters.collect();
    let parameters = parameters.ok_or_else(|| {
        Refusal::bad_request("a parameter is a number, a text, true, false, null, or bytes in base 64")
    })?;
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
        Value::Object(bytes) if bytes.len() == 1 => {
            let bytes = STANDARD.decode(bytes.get("base64")?.as_str()?).ok()?;
            ParameterValue::Bytes(bytes.into())
        }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parameters_by_name_or_in_order() {
        let read = |params: Value| {
            let body: ExplainBody = serde_json::from_value(json!({ "query": "", "params": params })).unwrap();
            match body.params {
                ParametersBody::InOrder(given) => given.into_iter().map(|given| (given.name, given.value)).collect(),
                ParametersBody::ByName(given) => given.into_iter().collect::<Vec<_>>(),
            }
        };
        let expected = [("b".to_owned(), json!(1)), ("a".to_owned(), json!("x"))];
        assert_eq!(read(json!({ "b": 1, "a": "x" })), expected);
        assert_eq!(read(json!([{ "name": "b", "value": 1 }, { "name": "a", "value": "x" }])), expected);
        assert_eq!(read(json!([{ "value": null }])), [(String::new(), Value::Null)]);
        assert!(serde_json::from_str::<ExplainBody>("{}").is_ok());
    }

    #[test]
    fn values() {
        assert_eq!(parameter(json!(7)), Some(ParameterValue::Int(7)));
        assert_eq!(parameter(json!(1.5)), Some(ParameterValue::Float(1.5)));
        assert_eq!(parameter(json!({ "base64": "AP8=" })), Some(ParameterValue::Bytes(vec![0, 255].into())));
        for wrong in [json!([]), json!({}), json!({ "base64": "?" }), json!({ "base64": "", "a": 1 })] {
            assert_eq!(parameter(wrong), None);
        }
    }
}
