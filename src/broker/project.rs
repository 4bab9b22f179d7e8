//! A project's topics, for whoever manages the project.

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{
    error::{BrokerError, FailedRequest},
    handle::Broker,
    info::COUNT_AT_ONCE,
};
use crate::model::ProjectId;

/// What a project holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProjectTotals {
    /// Topics that can be published to.
    pub active_topics: u64,
    pub topics: u64,
    pub events: u64,
    pub data_bytes: u64,
}

impl Broker {
    /// What a project holds. The caller has made sure that whoever asks may know.
    pub async fn project_totals(&self, project: ProjectId) -> Result<ProjectTotals, BrokerError> {
        let entries: Vec<_> = self.live_topics(project).collect();
        let active = entries.iter().filter(|entry| !entry.topic().readonly).count();
        let mut totals = ProjectTotals { active_topics: active as u64, ..ProjectTotals::default() };
        let counts = stream::iter(entries).map(|entry| self.count(entry)).buffered(COUNT_AT_ONCE);
        let counts: Vec<_> =
            counts.try_collect().await.map_err(|cause| BrokerError::failed(FailedRequest::Info, cause))?;
        for count in counts {
            totals.topics += 1;
            totals.events += count.tally.events;
            totals.data_bytes += count.tally.data_bytes;
        }
        Ok(totals)
    }

    /// Destroys all topics and consumer groups of a project. The caller has made sure that whoever asks may do so, and that nobody makes
    /// another one. What was destroyed before a failure stays so.
    pub async fn destroy_topics(&self, project: ProjectId) -> Result<(), BrokerError> {
        loop {
            // Without a topic nobody joins a group any more.
            let Some(entry) = self.live_topics(project).next() else { return self.remove_groups(project).await };
            match self.registrar.destroy(entry).await {
                // Somebody else was faster.
                Ok(()) | Err(BrokerError::NotRemovable(crate::model::TopicState::Deleting)) => {}
                Err(error) => return Err(error),
            }
        }
    }
}
