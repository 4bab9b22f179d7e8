//! A topic's policies: how duplicates are told, and how events are sharded.

use super::{
    access::{self, Operation},
    error::{BrokerError, FailedRequest, InvalidRequest},
    handle::Broker,
};
use crate::model::{Deduplication, OffsetPolicy, Principal, Sharding, Strategy, Topic, TopicId, TopicState};

/// A deduplication policy as it is asked for, with the wire's numbers.
#[derive(Debug, Clone, Default)]
pub struct PolicyRequest {
    pub strategy: i32,
    pub offset: i32,
    pub keys: Vec<String>,
    pub fields: Vec<String>,
    pub overwrite_duplicate: bool,
}

impl PolicyRequest {
    /// The policy, unless a number means nothing.
    pub(super) fn parse(self) -> Result<Deduplication, InvalidRequest> {
        let strategy = Strategy::from_number(self.strategy).ok_or(InvalidRequest::UnknownStrategy(self.strategy))?;
        let offset =
            OffsetPolicy::from_number(self.offset).ok_or(InvalidRequest::UnknownOffsetPosition(self.offset))?;
        let PolicyRequest { keys, fields, overwrite_duplicate, .. } = self;
        Ok(Deduplication { strategy, offset, keys, fields, overwrite_duplicate })
    }

    /// Whether the request asks for a policy at all: one without a strategy, like none, leaves the topic's as it is.
    fn is_set(&self) -> bool {
        self.strategy != Strategy::Unknown.number()
    }
}

impl Broker {
    /// Sets the deduplication policy, the sharding strategy, or both, of a topic of the caller's project.
    ///
    /// A changed deduplication policy is answered with `Pending`, as clients expect of a change that has to be worked
    /// in, and the topic is `Ready` again at once: a policy holds for the events that are committed from then on, so
    /// there is nothing to wait for. What changes nothing, and a changed sharding strategy, are answered with `Ready`.
    pub async fn set_policy(
        &self,
        principal: &Principal,
        id: &str,
        deduplication: PolicyRequest,
        sharding: i32,
    ) -> Result<(TopicId, TopicState), BrokerError> {
        access::require(principal, Operation::SetPolicy)?;
        if id.trim().is_empty() {
            return Err(InvalidRequest::MissingId.into());
        }
        if !deduplication.is_set() && sharding == Sharding::Unknown.number() {
            return Err(InvalidRequest::MissingPolicies.into());
        }
        let entry = self.entry(principal, id)?;
        let decide = move |topic: &Topic| decide(topic, deduplication, sharding);
        let change = self.registrar.change(entry.clone(), FailedRequest::Policy, Box::new(decide)).await?;
        let pending = change.after.deduplication != change.before.deduplication;
        let state = if pending { TopicState::Pending } else { TopicState::Ready };
        Ok((entry.id(), state))
    }
}

/// What a topic becomes under the policies, or `None` when they are what it has already.
fn decide(topic: &Topic, deduplication: PolicyRequest, sharding: i32) -> Result<Option<Topic>, BrokerError> {
    if topic.readonly {
        return Err(BrokerError::Archived);
    }
    if topic.state != TopicState::Ready {
        return Err(BrokerError::NotChangeable(topic.state));
    }
    let sharding = match Sharding::from_number(sharding).ok_or(InvalidRequest::UnknownSharding(sharding))? {
        Sharding::Unknown => topic.sharding,
        strategy => strategy,
    };
    let deduplication = if deduplication.is_set() {
        let policy = deduplication.parse()?.normalized();
        // What the topic was created with is let through, as long as it stays.
        if policy != topic.deduplication {
            policy.validate().map_err(InvalidRequest::Policy)?;
        }
        policy
    } else {
        topic.deduplication.clone()
    };
    let changed = Topic { deduplication, sharding, ..topic.clone() };
    Ok((changed != *topic).then_some(changed))
}
