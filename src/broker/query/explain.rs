//! What a query would do, without doing it.

use std::sync::Arc;

use super::{QueryRequest, Sought};
use crate::{
    broker::{
        Broker, BrokerError, FailedRequest, TopicEntry,
        access::{self, Operation},
    },
    ensql::{EventType, Explanation, Shape},
    model::{Offset, Principal},
};

/// A query's plan, and what of its topic it concerns.
#[derive(Debug, Clone)]
pub struct Explained {
    pub entry: Arc<TopicEntry>,
    /// The type of the events that the query is limited to, as it is written in a query.
    pub event_type: Option<String>,
    pub plan: Explanation,
    pub shape: Shape,
    pub reads: ReadRange,
}

/// What a query reads of its topic, if it has no limit or does not reach it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadRange {
    /// The first offset that is read, and the one that is not read any more.
    pub from: Offset,
    pub end: Offset,
    pub events: u64,
    /// As many of the topic's blocks, and of their bytes on disk, as the events are of its events.
    pub blocks: u64,
    pub bytes: u64,
}

impl Broker {
    /// Says what a query would do.
    ///
    /// # Errors
    ///
    /// When the caller may not ask, or the query could not be run.
    pub async fn explain(&self, principal: &Principal, request: &QueryRequest) -> Result<Explained, BrokerError> {
        access::require(principal, Operation::Explain)?;
        let project = access::project(principal)?;
        let Sought { entry, event_type, stream, plan, from, end } = self.seek_query(project, request).await?;
        let extent = stream.extent().await.map_err(|error| BrokerError::failed(FailedRequest::Query, error))?;
        let all = extent.next.distance_from(extent.first);
        let events = end.distance_from(from);
        let share = |count: u64| {
            let share = u128::from(count) * u128::from(events).min(u128::from(all));
            u64::try_from(share.div_ceil(u128::from(all.max(1)))).unwrap_or(u64::MAX)
        };
        let reads = ReadRange { from, end, events, blocks: share(extent.blocks), bytes: share(extent.stored_bytes) };
        Ok(Explained {
            entry,
            event_type: event_type.as_ref().map(type_text),
            shape: plan.shape(),
            plan: plan.explain().clone(),
            reads,
        })
    }
}

fn type_text(event_type: &EventType) -> String {
    let EventType { name, major, minor, patch } = event_type;
    let versions = [major, minor, patch].into_iter().flatten();
    versions.fold(name.clone(), |text, version| format!("{text}.{version}"))
}
