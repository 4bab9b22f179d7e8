//! What a project holds, counted; exact at once.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{
    access::{self, Operation},
    entry::{Availability, TopicEntry},
    error::{BrokerError, Cause, FailedRequest, InvalidRequest},
    handle::Broker,
};
use crate::{
    engine::Tally,
    model::{Principal, ProjectId, TopicId, Ulid},
};

/// How many topics are counted at the same time.
pub(super) const COUNT_AT_ONCE: usize = 8;

/// A project and its topics, in the order of their identifiers.
#[derive(Debug, Clone)]
pub struct ProjectInfo {
    pub project: ProjectId,
    pub topics: Vec<TopicInfo>,
}

/// A topic and what it holds.
#[derive(Debug, Clone)]
pub struct TopicInfo {
    pub entry: Arc<TopicEntry>,
    pub tally: Tally,
}

impl Broker {
    /// Counts the topics of the caller's project: all of them, or those of these identifiers, of which the ones that
    /// there are not are left out.
    pub async fn info<I>(&self, principal: &Principal, only: &[I]) -> Result<ProjectInfo, BrokerError>
    where
        I: AsRef<[u8]>,
    {
        access::require(principal, Operation::Info)?;
        let project = access::project(principal)?;
        let only = only
            .iter()
            .map(|id| Ulid::from_slice(id.as_ref()).map(TopicId))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| InvalidRequest::InfoFilter)?;
        let mut entries = self.directory.topics(project);
        if !only.is_empty() {
            entries.retain(|entry| only.contains(&entry.id()));
        }
        let counts = stream::iter(entries).map(|entry| self.count(entry)).buffered(COUNT_AT_ONCE);
        let topics = counts.try_collect().await.map_err(|cause| BrokerError::failed(FailedRequest::Info, cause))?;
        Ok(ProjectInfo { project, topics })
    }

    pub(super) async fn count(&self, entry: Arc<TopicEntry>) -> Result<TopicInfo, Cause> {
        let counted = async {
            let topic = self.engine.topic(entry.id(), entry.project()).await?;
            Ok::<_, Cause>(topic.tally().await?)
        };
        match counted.await {
            Ok(tally) => Ok(TopicInfo { entry, tally }),
            // Nothing is left of a topic that is being deleted.
            Err(_) if entry.availability() == Availability::Deleting => {
                Ok(TopicInfo { entry, tally: Tally::default() })
            }
            Err(cause) => Err(cause),
        }
    }
}
