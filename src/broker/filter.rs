//! What a subscription's query wants of its events: those that match, whole or as rows.
//!
//! It is a query that never ends. It looks at a slice at a time, as other queries do, and elsewhere when that takes long. What it
//! looks at is not lost when nobody waits for it any more: whoever waits next gets it.
//!
//! Invariants: what it gives of an event depends on that event and on the moment alone, so that a subscription that is taken up
//! again goes on as if it had not been interrupted. It holds what is found in one slice.
//!
//! What it does not do: read, or decide where to stop, but for the query's limit.

use std::{collections::HashMap, pin::Pin, sync::Arc};

use super::{
    BrokerError, Delivery, TopicEntry,
    query::{Looked, Running, Stopper},
    subscribe::Range,
    workers::Workers,
};
use crate::{
    engine::EventRef,
    ensql::{EventType, ExecutionError},
    model::{Time, TopicId},
};

/// The query's state comes back with what was found.
type Looking =
    Pin<Box<dyn Future<Output = Result<(Box<Running>, Result<Looked, ExecutionError>), BrokerError>> + Send>>;

/// What a subscription wants of its events.
pub(super) struct Filter {
    stage: Stage,
    _stopper: Stopper,
    /// Of the topics of which only events of one type are wanted.
    types: HashMap<TopicId, EventType>,
    workers: Workers,
    undecodable: u64,
}

enum Stage {
    Idle(Box<Running>),
    Looking(Arc<TopicEntry>, Looking),
    /// It has failed.
    Lost,
}

/// What a subscription's query wants of events of one topic: events as they are stored, or rows.
#[derive(Debug)]
pub struct Matches {
    pub topic: Arc<TopicEntry>,
    looked: Looked,
}

impl Matches {
    /// Whether rows were made of the events. Otherwise they are given as they are stored.
    pub fn has_rows(&self) -> bool {
        !self.looked.rows.ends.is_empty()
    }

    /// The events that are to be given as they are stored.
    pub fn events(&self) -> impl Iterator<Item = EventRef<'_>> {
        let Looked { slice, chosen, .. } = &self.looked;
        slice.events().zip(chosen).filter(|(_, chosen)| **chosen).map(|(event, _)| event)
    }

    /// Rows of JSON, each with its event. An event may have several, one behind the other.
    pub fn rows(&self) -> impl Iterator<Item = (EventRef<'_>, &[u8])> {
        let Looked { slice, rows, .. } = &self.looked;
        let mut events = slice.events().enumerate();
        let mut last = None;
        let starts = std::iter::once(0).chain(rows.ends.iter().copied());
        let rows = rows.events.iter().zip(starts.zip(&rows.ends).map(|(start, end)| &rows.json[start..*end]));
        rows.filter_map(move |(event, row)| {
            if last.as_ref().is_none_or(|(at, _)| at != event) {
                last = events.find(|(at, _)| at == event);
            }
            last.map(|(_, event)| (event, row))
        })
    }
}

impl Filter {
    pub(super) fn new(running: Running, ranges: &[Range], workers: Workers) -> Filter {
        let types = ranges.iter().filter_map(|range| Some((range.entry.id(), range.event_type.clone()?)));
        let (types, stopper) = (types.collect(), running.stopper());
        Filter { stage: Stage::Idle(Box::new(running)), _stopper: stopper, types, workers, undecodable: 0 }
    }

    /// Whether the query has all that it wants.
    pub(super) fn is_finished(&self) -> bool {
        matches!(&self.stage, Stage::Idle(running) if running.is_finished())
    }

    pub(super) fn is_looking(&self) -> bool {
        matches!(self.stage, Stage::Looking(..))
    }

    pub(super) fn undecodable(&self) -> u64 {
        self.undecodable
    }

    /// Begins to look at events, once it is not looking at others any more. This is now for them.
    pub(super) fn begin(&mut self, delivery: Delivery, now: Time) {
        let Delivery { topic, events } = delivery;
        let Stage::Idle(mut running) = std::mem::replace(&mut self.stage, Stage::Lost) else { return };
        running.go_on(self.types.get(&topic.id()), now);
        let workers = self.workers.clone();
        let looking = Box::pin(async move {
            if running.takes_long(&events) {
                return workers.run(move || running.look(events)).await;
            }
            Ok(running.look(events))
        });
        self.stage = Stage::Looking(topic, looking);
    }

    /// What it has found in the events that it looks at, if that is anything. Cancel-safe.
    pub(super) async fn looked(&mut self) -> Result<Option<Matches>, BrokerError> {
        let Stage::Looking(topic, looking) = &mut self.stage else { return Err(BrokerError::Closed) };
        let looked = looking.await;
        let topic = topic.clone();
        self.stage = Stage::Lost;
        let (running, looked) = looked?;
        self.undecodable = running.undecodable();
        let looked = looked.map_err(BrokerError::Execution)?;
        self.stage = Stage::Idle(running);
        let is_found = !looked.chosen.is_empty() || !looked.rows.ends.is_empty();
        Ok(is_found.then_some(Matches { topic, looked }))
    }
}
