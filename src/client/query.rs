//! Queries: an EnSQL statement goes to the server, and its answer comes as a stream of rows or of stored events.
//!
//! Rows are handed on as the bytes that the server wrote. Dropping an [`Answer`] ends its query on the server. A query whose
//! connection breaks is not asked again: what it gave already would come twice.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, Method};
use prost::Message as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Client, ClientError, Event,
    frames::{self, MessageReader, Read},
    outbox::Outbox,
    rest::Rest,
    session::Token,
    subscription,
};
use crate::api::{
    self,
    ensign::{EventWrapper, parameter},
};

const PATH: &str = "/ensign.v1beta1.Ensign/EnSQL";
const EXPLAIN_PATH: &str = "/api/explain";

/// What is asked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Query {
    pub text: String,
    /// In their order, which is what a placeholder without a name goes by.
    pub parameters: Vec<Parameter>,
    /// Whether duplicates are wanted, too.
    pub include_duplicates: bool,
    /// Leave out events that the server can't read for want of their data key, instead of ending there with an error.
    pub skip_unreadable: bool,
}

/// What a placeholder stands for.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Empty for a placeholder that has no name.
    pub name: String,
    pub value: ParameterValue,
}

#[derive(Debug, Clone, PartialEq)]
pub enum ParameterValue {
    Null,
    Int(i64),
    Float(f64),
    Bool(bool),
    Bytes(Bytes),
    Text(String),
}

/// What the server would do for a query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryPlan {
    pub topic: String,
    pub topic_id: String,
    /// The type of the events that the query is limited to, with its version as far as it is given.
    pub event_type: Option<String>,
    /// events (as they are stored), rows, sorted or groups.
    pub gives: String,
    /// The names of the results; none when they are events.
    pub columns: Vec<String>,
    /// What of the events' data is read; when there is nothing, data is not decoded.
    pub fields: Vec<String>,
    pub distinct: bool,
    pub filter: Option<String>,
    pub group_by: Vec<String>,
    pub having: Option<String>,
    pub order_by: Vec<String>,
    pub limit: Option<u64>,
    /// The first offset that is read, and the first behind it that is not.
    pub from_offset: u64,
    pub until_offset: u64,
    /// How many events lie between them.
    pub events: u64,
    /// About how many blocks hold them, and how many bytes these take on disk.
    pub blocks: u64,
    pub bytes: u64,
}

/// A query's answer as it comes.
#[derive(Debug)]
pub struct Answer {
    client: Client,
    reader: MessageReader,
}

/// A part of an answer.
#[derive(Debug, PartialEq)]
pub enum Found<'a> {
    /// A JSON object with the columns in their order.
    Row(&'a [u8]),
    /// An event as it is stored.
    Event(Box<Event>),
}

impl Client {
    /// Asks a query. What is wrong with it is said by the answer.
    pub async fn query(&self, query: &Query) -> Result<Answer, ClientError> {
        let message = Bytes::from(api::frame(&query.message()));
        let asks: HeaderMap = query.skip_unreadable.then_some(subscription::SKIP_HEADER).into_iter().collect();
        let outbox = Outbox::default();
        let once = async |token: Arc<Token>| {
            let body = tonic::body::Body::new(outbox.body(message.clone()));
            let tether = outbox.tether();
            Ok(frames::open(self.channel(), PATH, &token, &asks, body).await?.tethered(tether))
        };
        Ok(Answer { reader: self.with_token(once).await?, client: self.clone() })
    }

    /// Asks what a query would do.
    pub async fn explain(&self, query: &Query) -> Result<QueryPlan, ClientError> {
        let asked =
            json!({ "query": query.text, "params": query.parameters.iter().map(Parameter::json).collect::<Vec<_>>() });
        let token = self.token().await?;
        let rest = Rest::new(self.endpoint().clone(), self.clock.clone());
        rest.json((Method::POST, EXPLAIN_PATH), Some(&*token), Some(&asked)).await
    }
}

impl Query {
    fn message(&self) -> api::ensign::Query {
        api::ensign::Query {
            query: self.text.clone(),
            params: wire_parameters(&self.parameters),
            include_duplicates: self.include_duplicates,
        }
    }
}

impl Parameter {
    fn json(&self) -> Value {
        let value = match &self.value {
            ParameterValue::Null => Value::Null,
            ParameterValue::Int(number) => json!(number),
            ParameterValue::Float(number) => json!(number),
            ParameterValue::Bool(is) => json!(is),
            ParameterValue::Bytes(bytes) => json!({ "base64": STANDARD.encode(bytes) }),
            ParameterValue::Text(text) => json!(text),
        };
        json!({ "name": self.name, "value": value })
    }
}

/// The values of placeholders as they are sent.
pub(super) fn wire_parameters(parameters: &[Parameter]) -> Vec<api::ensign::Parameter> {
    let parameters = parameters.iter().map(|Parameter { name, value }| api::ensign::Parameter {
        name: name.clone(),
        value: match value {
            ParameterValue::Null => None,
            ParameterValue::Int(number) => Some(parameter::Value::I(*number)),
            ParameterValue::Float(number) => Some(parameter::Value::D(*number)),
            ParameterValue::Bool(is) => Some(parameter::Value::B(*is)),
            ParameterValue::Bytes(bytes) => Some(parameter::Value::Y(bytes.clone())),
            ParameterValue::Text(text) => Some(parameter::Value::S(text.clone())),
        },
    });
    parameters.collect()
}

impl Answer {
    /// Waits until more of the answer has come; false at its end. Nothing is lost when the future is dropped.
    ///
    /// # Errors
    ///
    /// When the query was refused, or can't be finished.
    pub async fn more(&mut self) -> Result<bool, ClientError> {
        match self.reader.read().await {
            Ok(Read::More) => Ok(true),
            Ok(Read::Ended) => Ok(false),
            Err(status) => Err(ClientError::from_status(self.client.endpoint(), &status)),
        }
    }

    /// The next of what has come; nothing when there is none now.
    #[inline]
    pub fn next_found(&mut self) -> Result<Option<Found<'_>>, ClientError> {
        let Answer { client, reader } = self;
        let frame = reader.message().map_err(|status| ClientError::from_status(client.endpoint(), &status))?;
        let Some(frame) = frame else { return Ok(None) };
        if let Some(row) = api::answered_row(frame.body) {
            return Ok(Some(Found::Row(row)));
        }
        let wrapper = EventWrapper::decode(frame.part(frame.body));
        let event = wrapper.map_err(|_| "an event that can't be decoded".to_owned()).and_then(Event::from_wire);
        event.map(|event| Some(Found::Event(Box::new(event)))).map_err(|what| client.protocol_error(what))
    }

    /// How many events could not be decoded, as the server says at the end.
    pub fn undecodable(&self) -> u64 {
        self.reader.undecodable()
    }

    /// How many events were left out that the server could not read, as it says at the end.
    pub fn skipped(&self) -> u64 {
        self.reader.skipped()
    }
}
