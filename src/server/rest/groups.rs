//! The consumer groups of a project: `/api/groups`.

use axum::{extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    RestState,
    caller::Caller,
    encryption::project,
    input::{Input, Parameters, PathText, RequestBody},
    paging::{self, PAGING},
    reply::{self, Answer, Refusal},
    route::Route,
    wire::{WireId, WireTime},
};
use crate::{
    broker::{BrokerError, GroupInfo, GroupSummary, GroupTopicInfo, MemberInfo, Operation, PageRequest, Terms},
    model::{Code, Position},
};

const LIST: &str = "/api/groups";
const GROUP: &str = "/api/groups/{group}";
const SEEK: &str = "/api/groups/{group}/seek";

pub(super) fn routes() -> Vec<Route> {
    let done = StatusCode::OK;
    vec![
        Route::get(LIST, Operation::ListGroups.needs(), "List the project's consumer groups", list)
            .asks(&PAGING)
            .gives::<GroupList>(done),
        Route::get(GROUP, Operation::ShowGroup.needs(), "A consumer group, its members and its positions", show)
            .gives::<GroupBody>(done),
        Route::post(SEEK, Operation::SeekGroup.needs(), "Move a consumer group to another position", seek)
            .takes::<SeekBody>()
            .gives::<GroupBody>(done),
        Route::delete(GROUP, Operation::RemoveGroup.needs(), "Remove a consumer group and its positions", remove)
            .asks(&[("force", "Whether members that are connected are disconnected; no when it does not say")])
            .gives_plain(StatusCode::NO_CONTENT),
    ]
}

/// Where a group is to go.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
#[schema(as = GroupSeek)]
struct SeekBody {
    /// The name or the id of a topic; all of the group's when it does not say.
    topic: Option<String>,
    /// start, end, now, an offset, an event's id, a time (RFC 3339) or an age like -15m.
    position: String,
}

impl RequestBody for SeekBody {}

/// How a group works.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GroupSettings)]
struct SettingsBody {
    /// at-most-once, at-least-once or exactly-once.
    delivery: &'static str,
    /// How long a member may take for an event before another one gets it.
    delivery_timeout_seconds: f64,
    /// Whether events with equal keys go to one member at a time, in order.
    ordered_by_key: bool,
    /// How often an event is delivered before it is put away; 0: as often as it takes.
    max_deliveries: u32,
    /// Where such events go to; the topic's own name with `.dead-letter` behind it when it does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_letter_topic: Option<String>,
    /// How many events may lie between the lowest that is not settled and the furthest that was handed out.
    window: u32,
}

impl SettingsBody {
    fn new(terms: &Terms) -> SettingsBody {
        SettingsBody {
            delivery: terms.delivery.name(),
            delivery_timeout_seconds: terms.timeout.as_secs_f64(),
            ordered_by_key: terms.ordered_by_key,
            max_deliveries: terms.max_deliveries,
            dead_letter_topic: terms.dead_letter.as_ref().map(ToString::to_string),
            window: terms.window,
        }
    }
}

/// A part of the groups.
#[derive(Debug, Serialize, ToSchema)]
struct GroupList {
    groups: Vec<SummaryBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

/// A group in a list.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GroupSummary)]
struct SummaryBody {
    /// 32 hexadecimal digits.
    id: String,
    name: String,
    settings: SettingsBody,
    created: WireTime,
    modified: WireTime,
    /// How many members are connected.
    members: u64,
    /// How many topics it has a position in.
    topics: u64,
    /// How many events of them are not settled.
    lag_events: u64,
}

impl SummaryBody {
    fn new(group: &GroupSummary) -> SummaryBody {
        SummaryBody {
            id: group.key.to_string(),
            name: group.name.clone(),
            settings: SettingsBody::new(&group.terms),
            created: group.created.into(),
            modified: group.modified.into(),
            members: group.members,
            topics: group.topics,
            lag_events: group.lag_events,
        }
    }
}

/// A group.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Group)]
struct GroupBody {
    /// 32 hexadecimal digits.
    id: String,
    name: String,
    settings: SettingsBody,
    created: WireTime,
    modified: WireTime,
    members: Vec<MemberBody>,
    topics: Vec<TopicBody>,
}

impl GroupBody {
    fn new(group: &GroupInfo) -> GroupBody {
        GroupBody {
            id: group.key.to_string(),
            name: group.name.clone(),
            settings: SettingsBody::new(&group.terms),
            created: group.created.into(),
            modified: group.modified.into(),
            members: group.members.iter().map(MemberBody::new).collect(),
            topics: group.topics.iter().map(TopicBody::new).collect(),
        }
    }
}

/// A member that is connected.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GroupMember)]
struct MemberBody {
    /// What it calls itself.
    client_id: String,
    address: String,
    /// The API key or user that it is connected with.
    subject: String,
    joined: WireTime,
    /// How many events it holds now.
    leased: u64,
    /// How many events it was given.
    delivered: u64,
}

impl MemberBody {
    fn new(member: &MemberInfo) -> MemberBody {
        MemberBody {
            client_id: member.client_id.clone(),
            address: member.address.clone(),
            subject: member.subject.clone(),
            joined: member.joined.into(),
            leased: member.leased,
            delivered: member.delivered,
        }
    }
}

/// A group's progress in one topic.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GroupTopic)]
struct TopicBody {
    id: WireId,
    name: String,
    /// The lowest offset that is not settled.
    position: u64,
    /// The offset that the next event of the topic will have.
    end: u64,
    /// How many events are not settled.
    lag_events: u64,
    /// The age of the oldest event that is not settled; 0 when there is none.
    lag_seconds: f64,
    /// How many events members hold now.
    leased: u64,
    /// How many events wait to be delivered once more.
    waiting_again: u64,
    /// How many deliveries were not the first of their events.
    redelivered: u64,
    /// How many events were put away.
    dead_lettered: u64,
}

impl TopicBody {
    fn new(topic: &GroupTopicInfo) -> TopicBody {
        let lag = std::time::Duration::from_nanos(u64::try_from(topic.lag_ns).unwrap_or(0));
        TopicBody {
            id: WireId(topic.id.0),
            name: topic.name.clone(),
            position: topic.position.get(),
            end: topic.end.get(),
            lag_events: topic.lag_events,
            lag_seconds: lag.as_secs_f64(),
            leased: topic.leased,
            waiting_again: topic.waiting_again,
            redelivered: topic.redelivered,
            dead_lettered: topic.dead_lettered,
        }
    }
}

async fn list(State(state): State<RestState>, Caller(caller): Caller, parameters: Parameters) -> Answer {
    project(&caller)?;
    let asked = paging::request(&parameters)?;
    let size = u32::try_from(asked.size).map_err(|_| Refusal::bad_request("page size cannot be negative"))?;
    let request = PageRequest { size, token: asked.token };
    let page = state.broker.list_groups(&caller, &request).map_err(|error| refusal(&error))?;
    let groups = page.items.iter().map(SummaryBody::new).collect();
    let next_page_token = Some(page.next_token).filter(|token| !token.is_empty());
    Ok(reply::json(StatusCode::OK, &GroupList { groups, next_page_token }))
}

async fn show(State(state): State<RestState>, Caller(caller): Caller, PathText(group): PathText) -> Answer {
    project(&caller)?;
    let group = state.broker.show_group(&caller, &group).await.map_err(|error| refusal(&error))?;
    Ok(reply::json(StatusCode::OK, &GroupBody::new(&group)))
}

async fn seek(
    State(state): State<RestState>,
    Caller(caller): Caller,
    PathText(group): PathText,
    Input(asked): Input<SeekBody>,
) -> Answer {
    project(&caller)?;
    let to: Position = asked.position.parse().map_err(|error| Refusal::bad_request(format!("{error}")))?;
    let topic = asked.topic.as_deref().filter(|topic| !topic.is_empty());
    let group = state.broker.seek_group(&caller, &group, topic, to).await.map_err(|error| refusal(&error))?;
    Ok(reply::json(StatusCode::OK, &GroupBody::new(&group)))
}

async fn remove(
    State(state): State<RestState>,
    Caller(caller): Caller,
    PathText(group): PathText,
    parameters: Parameters,
) -> Answer {
    project(&caller)?;
    let force = parameters.flag("force")?;
    state.broker.remove_group(&caller, &group, force).await.map_err(|error| refusal(&error))?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

fn refusal(error: &BrokerError) -> Refusal {
    let status = match error.code() {
        Code::InvalidArgument => StatusCode::BAD_REQUEST,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::FailedPrecondition | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::INSUFFICIENT_STORAGE,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        _ => return Refusal::failed(error, "could not complete request"),
    };
    Refusal::new(status, error.to_string())
}
