//! The methods that answer one message with one message, and the broker's answers to them.

use std::collections::HashMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use prost::Message;
use tonic::Status;

use super::{State, health};
use crate::{
    api::{self, ensign},
    broker::{NewTopic, PageRequest, PolicyRequest, TopicInfo},
    model::{API_VERSION, Principal},
    server::{
        error::{broker_status, decode_status},
        lifecycle::Phase,
        query,
    },
};

/// How long a client should wait before it asks for the status again, at least and at most.
const STATUS_AGAIN_MIN_NS: i64 = 60 * 1_000_000_000;
const STATUS_AGAIN_MAX_NS: i64 = 60 * STATUS_AGAIN_MIN_NS;

/// A method of one request and one reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Status,
    ListTopics,
    CreateTopic,
    RetrieveTopic,
    DeleteTopic,
    SetTopicPolicy,
    TopicNames,
    TopicExists,
    Info,
    Explain,
    HealthCheck,
}

impl Method {
    pub(super) fn at(path: &str) -> Option<Method> {
        Some(match path {
            "/ensign.v1beta1.Ensign/Status" => Method::Status,
            "/ensign.v1beta1.Ensign/ListTopics" => Method::ListTopics,
            "/ensign.v1beta1.Ensign/CreateTopic" => Method::CreateTopic,
            "/ensign.v1beta1.Ensign/RetrieveTopic" => Method::RetrieveTopic,
            "/ensign.v1beta1.Ensign/DeleteTopic" => Method::DeleteTopic,
            "/ensign.v1beta1.Ensign/SetTopicPolicy" => Method::SetTopicPolicy,
            "/ensign.v1beta1.Ensign/TopicNames" => Method::TopicNames,
            "/ensign.v1beta1.Ensign/TopicExists" => Method::TopicExists,
            "/ensign.v1beta1.Ensign/Info" => Method::Info,
            "/ensign.v1beta1.Ensign/Explain" => Method::Explain,
            "/grpc.health.v1.Health/Check" => Method::HealthCheck,
            _ => return None,
        })
    }

    /// Whether anybody may call it, also in maintenance mode.
    pub(super) fn is_public(self) -> bool {
        matches!(self, Method::Status | Method::HealthCheck)
    }
}

/// Answers a public method.
pub(super) fn answer_anybody(state: &State, method: Method, message: Bytes) -> Result<Bytes, Status> {
    if method == Method::HealthCheck {
        return encoded(&health::check(state, &decoded(message)?));
    }
    // What the request says is of no use, but it must be a request.
    decoded::<ensign::HealthCheck>(message)?;
    encoded(&status(state))
}

/// Answers a method to a caller who is known.
pub(super) async fn answer(
    state: &State,
    method: Method,
    principal: &Principal,
    message: Bytes,
) -> Result<Bytes, Status> {
    match method {
        Method::Status | Method::HealthCheck => answer_anybody(state, method, message),
        Method::ListTopics => list_topics(state, principal, message),
        Method::CreateTopic => create_topic(state, principal, message).await,
        Method::RetrieveTopic => retrieve_topic(state, principal, message),
        Method::DeleteTopic => delete_topic(state, principal, message).await,
        Method::SetTopicPolicy => set_topic_policy(state, principal, message).await,
        Method::TopicNames => topic_names(state, principal, message),
        Method::TopicExists => topic_exists(state, principal, message),
        Method::Info => info(state, principal, message).await,
        Method::Explain => explain(state, principal, message).await,
    }
}

fn status(state: &State) -> ensign::ServiceState {
    let status = match state.lifecycle.phase() {
        Phase::Serving if !(state.healthy)() => ensign::service_state::Status::Unhealthy,
        Phase::Serving => ensign::service_state::Status::Healthy,
        Phase::Maintenance => ensign::service_state::Status::Maintenance,
        Phase::Stopping => ensign::service_state::Status::Offline,
    };
    let now = state.clock.now();
    ensign::ServiceState {
        status: status.into(),
        version: API_VERSION.to_owned(),
        uptime: prost_types::Duration::try_from(state.lifecycle.uptime()).ok(),
        not_before: Some(now.plus_nanos(STATUS_AGAIN_MIN_NS).into()),
        not_after: Some(now.plus_nanos(STATUS_AGAIN_MAX_NS).into()),
    }
}

fn list_topics(state: &State, principal: &Principal, message: Bytes) -> Result<Bytes, Status> {
    let page = state.broker.list_topics(principal, &page(decoded(message)?)).map_err(|error| broker_status(&error))?;
    Ok(api::encode_topics_page(page.items.iter().map(|topic| &**topic), &page.next_token).into())
}

async fn create_topic(state: &State, principal: &Principal, message: Bytes) -> Result<Bytes, Status> {
    let (topic, extra) = api::split_topic(&message).map_err(|error| decode_status(&error))?;
    let wanted = NewTopic {
        id: topic.id.to_vec(),
        project: topic.project_id.to_vec(),
        name: topic.name,
        readonly: topic.readonly,
        deduplication: topic.deduplication.map(policy).unwrap_or_default(),
        extra,
    };
    let made = state.broker.create_topic(principal, wanted).await.map_err(|error| broker_status(&error))?;
    Ok(api::encode_topic(&made).into())
}

fn retrieve_topic(state: &State, principal: &Principal, message: Bytes) -> Result<Bytes, Status> {
    let wanted: ensign::Topic = decoded(message)?;
    let topic = state.broker.retrieve_topic(principal, &wanted.id).map_err(|error| broker_status(&error))?;
    Ok(api::encode_topic(&topic).into())
}

async fn delete_topic(state: &State, principal: &Principal, message: Bytes) -> Result<Bytes, Status> {
    let wanted: ensign::TopicMod = decoded(message)?;
    let removed = state.broker.remove_topic(principal, &wanted.id, wanted.operation).await;
    let (topic, now) = removed.map_err(|error| broker_status(&error))?;
    encoded(&ensign::TopicStatus { id: topic.to_string(), state: now.number() })
}

async fn set_topic_policy(state: &State, principal: &Principal, message: Bytes) -> Result<Bytes, Status> {
    let wanted: ensign::TopicPolicy = decoded(message)?;
    let deduplication = wanted.deduplication_policy.map(policy).unwrap_or_default();
    let set = state.broker.set_policy(principal, &wanted.id, deduplication, wanted.sharding_strategy).await;
    let (topic, now) = set.map_err(|error| broker_status(&error))?;
    encoded(&ensign::TopicStatus { id: topic.to_string(), state: now.number() })
}

fn topic_names(state: &State, principal: &Principal, message: Bytes) -> Result<Bytes, Status> {
    let page = state.broker.topic_names(principal, &page(decoded(message)?)).map_err(|error| broker_status(&error))?;
    let topic_names = page.items.iter().map(|entry| ensign::TopicName {
        topic_id: entry.id().to_string(),
        project_id: entry.project().to_string(),
        name: URL_SAFE_NO_PAD.encode(entry.hash().0),
    });
    encoded(&ensign::TopicNamesPage { topic_names: topic_names.collect(), next_page_token: page.next_token })
}

fn topic_exists(state: &State, principal: &Principal, message: Bytes) -> Result<Bytes, Status> {
    let wanted: ensign::TopicName = decoded(message)?;
    let found = state.broker.topic_exists(principal, &wanted.project_id, &wanted.name, &wanted.topic_id);
    let found = found.map_err(|error| broker_status(&error))?;
    encoded(&ensign::TopicExistsInfo { query: found.query, exists: found.exists })
}

/// The reply has no room for a plan, so all that it says is that the query could be run.
async fn explain(state: &State, principal: &Principal, message: Bytes) -> Result<Bytes, Status> {
    let request = query::request(decoded(message)?, false);
    state.broker.explain(principal, &request).await.map_err(|error| broker_status(&error))?;
    encoded(&ensign::QueryExplanation::default())
}

async fn info(state: &State, principal: &Principal, message: Bytes) -> Result<Bytes, Status> {
    let wanted: ensign::InfoRequest = decoded(message)?;
    let found = state.broker.info(principal, &wanted.topics).await.map_err(|error| broker_status(&error))?;
    let sum = |count: fn(&TopicInfo) -> u64| found.topics.iter().map(count).sum();
    let readonly = found.topics.iter().filter(|topic| topic.entry.topic().readonly).count();
    encoded(&ensign::ProjectInfo {
        project_id: Bytes::copy_from_slice(found.project.as_bytes()),
        num_topics: found.topics.len() as u64,
        num_readonly_topics: readonly as u64,
        events: sum(|topic| topic.tally.events),
        duplicates: sum(|topic| topic.tally.duplicates),
        data_size_bytes: sum(|topic| topic.tally.data_bytes),
        topics: found.topics.iter().map(topic_info).collect(),
    })
}

fn topic_info(topic: &TopicInfo) -> ensign::TopicInfo {
    let (last, modified) = topic.tally.last.unzip();
    ensign::TopicInfo {
        topic_id: Bytes::copy_from_slice(topic.entry.id().as_bytes()),
        project_id: Bytes::copy_from_slice(topic.entry.project().as_bytes()),
        event_offset_id: last.map(|id| Bytes::copy_from_slice(id.as_bytes())).unwrap_or_default(),
        events: topic.tally.events,
        duplicates: topic.tally.duplicates,
        data_size_bytes: topic.tally.data_bytes,
        types: types(topic),
        modified: modified.map(<_>::from),
    }
}

/// The types of a topic's events. Encodings that stand for the same type are counted together, where the first stands.
fn types(topic: &TopicInfo) -> Vec<ensign::EventTypeInfo> {
    let mut types: Vec<ensign::EventTypeInfo> = Vec::new();
    let mut places = HashMap::new();
    for tally in &topic.tally.types {
        let schema = api::schema(&tally.schema);
        let place = *places.entry((schema.clone(), tally.mimetype)).or_insert(types.len());
        if place == types.len() {
            let r#type = Some(schema.into());
            types.push(ensign::EventTypeInfo { r#type, mimetype: tally.mimetype, ..Default::default() });
        }
        let info = &mut types[place];
        info.events += tally.events;
        info.duplicates += tally.duplicates;
        info.data_size_bytes += tally.data_bytes;
    }
    types
}

fn page(info: ensign::PageInfo) -> PageRequest {
    PageRequest { size: info.page_size, token: info.next_page_token }
}

fn policy(policy: ensign::Deduplication) -> PolicyRequest {
    PolicyRequest {
        strategy: policy.strategy,
        offset: policy.offset,
        keys: policy.keys,
        fields: policy.fields,
        overwrite_duplicate: policy.overwrite_duplicate,
    }
}

fn decoded<M: Message + Default>(message: Bytes) -> Result<M, Status> {
    M::decode(message).map_err(|error| decode_status(&error))
}

#[expect(clippy::unnecessary_wraps, reason = "every answer ends with it")]
fn encoded(message: &impl Message) -> Result<Bytes, Status> {
    Ok(message.encode_to_vec().into())
}
