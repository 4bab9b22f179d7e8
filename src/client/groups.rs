//! Consumer groups as they are looked after: over the REST API of a server of one's own.

use std::time::Duration;

use http::Method;
use serde::{Deserialize, Serialize};

use super::{
    Client, ClientError,
    rest::{NO_BODY, Rest, encoded},
};
use crate::model::Position;

const PATH: &str = "/api/groups";

/// How many groups are asked for at a time.
const PAGE_SIZE: usize = 500;

/// How a group works.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupSettings {
    /// at-most-once, at-least-once or exactly-once.
    pub delivery: String,
    pub delivery_timeout_seconds: f64,
    pub ordered_by_key: bool,
    /// 0: events are delivered as often as it takes.
    pub max_deliveries: u32,
    /// `None`: the topic's own name with `.dead-letter` behind it.
    #[serde(default)]
    pub dead_letter_topic: Option<String>,
    pub window: u32,
}

/// A group in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupSummary {
    /// 32 hexadecimal digits.
    pub id: String,
    pub name: String,
    pub settings: GroupSettings,
    pub created: String,
    pub modified: String,
    /// How many members are connected.
    pub members: u64,
    /// How many topics it has a position in.
    pub topics: u64,
    /// How many events of them are not settled.
    pub lag_events: u64,
}

/// A group with its members and positions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupInfo {
    /// 32 hexadecimal digits.
    pub id: String,
    pub name: String,
    pub settings: GroupSettings,
    pub created: String,
    pub modified: String,
    pub members: Vec<GroupMember>,
    pub topics: Vec<GroupTopic>,
}

/// A member that is connected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupMember {
    pub client_id: String,
    pub address: String,
    /// The API key or user that it is connected with.
    pub subject: String,
    pub joined: String,
    /// How many events it holds now.
    pub leased: u64,
    /// How many events it was given.
    pub delivered: u64,
}

/// A group's progress in one topic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupTopic {
    pub id: String,
    pub name: String,
    /// The lowest offset that is not settled.
    pub position: u64,
    /// The offset that the next event of the topic will have.
    pub end: u64,
    /// How many events are not settled.
    pub lag_events: u64,
    /// The age of the oldest event that is not settled; 0 when there is none.
    pub lag_seconds: f64,
    /// How many events members hold now.
    pub leased: u64,
    /// How many events wait to be delivered once more.
    pub waiting_again: u64,
    /// How many deliveries were not the first of their events.
    pub redelivered: u64,
    /// How many events were put away.
    pub dead_lettered: u64,
}

impl GroupInfo {
    /// How many events of all topics are not settled.
    pub fn lag_events(&self) -> u64 {
        self.topics.iter().map(|topic| topic.lag_events).sum()
    }

    /// The age of the oldest event that is not settled; zero when there is none.
    pub fn lag(&self) -> Duration {
        let seconds = self.topics.iter().map(|topic| topic.lag_seconds).fold(0.0, f64::max);
        Duration::try_from_secs_f64(seconds).unwrap_or_default()
    }
}

#[derive(Deserialize)]
struct GroupList {
    groups: Vec<GroupSummary>,
    #[serde(default)]
    next_page_token: String,
}

#[derive(Serialize)]
struct SeekRequest<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<&'a str>,
    position: String,
}

impl Client {
    /// All consumer groups of the project, by name.
    pub async fn groups(&self) -> Result<Vec<GroupSummary>, ClientError> {
        let mut groups = Vec::new();
        let mut token = String::new();
        loop {
            let path = format!("{PATH}?page_size={PAGE_SIZE}&next_page_token={}", encoded(&token));
            let page: GroupList =
                self.group_rest().json((Method::GET, &path), Some(&*self.token().await?), NO_BODY).await?;
            groups.extend(page.groups);
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        groups.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| a.id.cmp(&b.id)));
        Ok(groups)
    }

    /// The group with this name, or else with this id.
    pub async fn group(&self, group: &str) -> Result<GroupInfo, ClientError> {
        let path = format!("{PATH}/{}", encoded(group));
        self.group_rest().json((Method::GET, &path), Some(&*self.token().await?), NO_BODY).await
    }

    /// Moves a group to another position in a topic, given by its name or id, or in all of its topics. Whatever its members
    /// hold there is delivered again.
    pub async fn seek_group(&self, group: &str, topic: Option<&str>, to: Position) -> Result<GroupInfo, ClientError> {
        let path = format!("{PATH}/{}/seek", encoded(group));
        let request = SeekRequest { topic, position: to.to_string() };
        self.group_rest().json((Method::POST, &path), Some(&*self.token().await?), Some(&request)).await
    }

    /// Removes a group with its positions. One with members that are connected is removed by force only.
    pub async fn remove_group(&self, group: &str, force: bool) -> Result<(), ClientError> {
        let path = format!("{PATH}/{}?force={force}", encoded(group));
        self.group_rest().send((Method::DELETE, &path), Some(&*self.token().await?), NO_BODY).await.map(drop)
    }

    fn group_rest(&self) -> Rest {
        Rest::new(self.endpoint().clone(), self.clock.clone())
    }
}
