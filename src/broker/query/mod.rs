//! What a query reads and gives: one topic, as it is when the query begins, a block at a time.
//!
//! The index says where to begin and where to end; nothing outside is read, and nothing behind what the query's limit
//! needs. A block that is long to look at is handed to a thread that may take its time, and the next one is read meanwhile. A
//! query that is dropped looks at no further block. It holds two blocks, and what its plan may hold.
//!
//! What it does not do: know the wire. What a record says of itself is told by a function that comes with the request.

mod block;
mod explain;

use std::sync::Arc;

pub(super) use self::block::{FoundRows, Looked, Running, Stopper};
pub use self::explain::{Explained, ReadRange};
use super::{
    Availability, Broker, BrokerError, FailedRequest, InvalidRequest, TopicEntry,
    access::{self, Operation},
    workers::{Begun, Workers},
};
use crate::{
    engine::{EventRef, FetchError, Reader, Slice, Topic as Stream},
    ensql::{self, EventType, ExecutionError, Finish, Parameter, Plan, QueryError, Shape, Source, Statement},
    model::{Mimetype, Offset, Position, Principal, ProjectId, Rlid, Time, TopicId},
};

/// How many bytes of rows that were held back to the end are given together.
const ROWS_TOGETHER_BYTES: usize = 64 * 1024;

/// What a record says of itself.
#[derive(Clone, Copy)]
pub struct EventView<'a> {
    /// Empty when it has none.
    pub key: &'a [u8],
    pub data: &'a [u8],
    pub mimetype: Mimetype,
    pub created: Option<Time>,
    /// Empty when it has none.
    pub type_name: &'a str,
    /// Major, minor, patch.
    pub type_version: (u32, u32, u32),
    /// Looks up an entry of the metadata.
    pub metadata: &'a dyn Fn(&str) -> Option<&'a str>,
}

impl std::fmt::Debug for EventView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventView").field("mimetype", &self.mimetype).finish_non_exhaustive()
    }
}

/// Shows what a record says of itself; false when that can't be told.
pub type ShowEvent = fn(record: &[u8], see: &mut dyn FnMut(&EventView<'_>)) -> bool;

/// What is asked.
#[derive(Debug, Clone)]
pub struct QueryRequest {
    /// EnSQL.
    pub text: String,
    pub parameters: Vec<Parameter>,
    /// Leave out what is under a suspended or revoked data key, instead of ending there.
    pub skip_unreadable: bool,
    pub show: ShowEvent,
}

/// A query that is under way.
#[derive(Debug)]
pub struct Query {
    entry: Arc<TopicEntry>,
    stream: Stream,
    reader: Reader,
    workers: Workers,
    /// Where the topic ended when the query began, or what the query itself says.
    end: Offset,
    begun: Time,
    /// What the next row is called.
    row_id: Rlid,
    stage: Stage,
    _stopper: Stopper,
    /// Whether a block is read while the one before it is looked at: it is when that can't be the last one.
    reads_ahead: bool,
    /// What was read ahead.
    ahead: Option<Result<Option<Slice>, BrokerError>>,
    skips: bool,
    skipped: u64,
    undecodable: u64,
}

/// How far a query is.
#[derive(Debug)]
enum Stage {
    Reading(Box<Running>),
    /// A block is being looked at on another thread.
    Looking(Begun<(Box<Running>, Result<Looked, ExecutionError>)>),
    /// Rows that were held back are given.
    Rows(ensql::Rows),
    /// Events that were found are given in their order.
    Events(std::vec::IntoIter<Offset>),
    Done,
}

/// A part of the answer.
#[derive(Debug)]
pub enum Found {
    /// Events as they are stored.
    Events(Selection),
    /// Rows that the query made.
    Rows(Rows),
}

/// Events of a slice that were chosen.
#[derive(Debug)]
pub struct Selection {
    slice: Slice,
    /// For each event of the slice whether it was chosen; what is behind the last one was not.
    chosen: Vec<bool>,
}

/// Rows of JSON, one behind the other.
#[derive(Debug)]
pub struct Rows {
    json: Vec<u8>,
    ends: Vec<usize>,
    first_id: Rlid,
    /// When the query began.
    pub created: Time,
}

impl Selection {
    pub fn events(&self) -> impl Iterator<Item = EventRef<'_>> {
        self.slice.events().zip(&self.chosen).filter(|(_, chosen)| **chosen).map(|(event, _)| event)
    }
}

impl Rows {
    /// The rows, each with an identifier that no other row of the answer has.
    pub fn iter(&self) -> impl Iterator<Item = (Rlid, &[u8])> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let ids = (0..).map(|at| self.first_id.plus(at));
        ids.zip(starts.zip(&self.ends).map(|(start, end)| &self.json[start..*end]))
    }
}

impl Broker {
    /// Opens a caller's query, before anything was heard of it.
    ///
    /// # Errors
    ///
    /// When the caller may not query, or is of no project.
    pub fn check_querier(&self, principal: &Principal) -> Result<ProjectId, BrokerError> {
        access::require(principal, Operation::Query)?;
        access::project(principal)
    }

    /// Begins a query of what is there now.
    ///
    /// # Errors
    ///
    /// When the text is no query, its parameters do not fit, or it names a topic that the project does not have.
    pub async fn query(&self, project: ProjectId, request: &QueryRequest) -> Result<Query, BrokerError> {
        let Sought { entry, stream, plan, from, end, .. } = self.seek_query(project, request).await?;
        let begun = self.clock.now();
        let mut low = [0; 4];
        self.entropy.fill(&mut low);
        let reads_ahead = plan.limit().is_none() || matches!(plan.shape(), Shape::Groups | Shape::Sorted);
        let running = Box::new(Running::new(plan, begun, request.show));
        Ok(Query {
            entry,
            reader: stream.reader(from),
            stream,
            workers: self.workers.clone(),
            end,
            begun,
            row_id: Rlid::from_parts(begun.millis(), u32::from_le_bytes(low)),
            _stopper: running.stopper(),
            stage: Stage::Reading(running),
            reads_ahead,
            ahead: None,
            skips: request.skip_unreadable,
            skipped: 0,
            undecodable: 0,
        })
    }

    /// Reads a query, and finds its topic and the part of it that has to be read.
    pub(super) async fn seek_query(&self, project: ProjectId, request: &QueryRequest) -> Result<Sought, BrokerError> {
        if request.text.is_empty() {
            return Err(InvalidRequest::EmptyQuery.into());
        }
        let statement = Statement::parse(&request.text).map_err(InvalidRequest::Statement)?;
        let [source] = statement.sources() else {
            return Err(InvalidRequest::SeveralTopics.into());
        };
        let (entry, event_type) = self.query_topic(project, source)?;
        let plan = statement.bind(&request.parameters).map_err(InvalidRequest::Statement)?.only_of(event_type.clone());
        let failed = |error: FetchError| BrokerError::failed(FailedRequest::Query, error);
        let stream = match self.engine.topic(entry.id(), project).await {
            Ok(stream) => stream,
            // It was destroyed while it was looked for.
            Err(_) if entry.availability() == Availability::Deleting => {
                return Err(InvalidRequest::UnknownTopicInQuery.into());
            }
            Err(error) => return Err(BrokerError::failed(FailedRequest::Query, error)),
        };
        let end = stream.end_offset();
        let from = match seek(&stream, source.from.unwrap_or(Position::Start)).await {
            // Where within the block nobody can tell; all of it is left out.
            Err(FetchError::Closed { first, .. }) if request.skip_unreadable => first,
            sought => sought.map_err(failed)?,
        };
        let until = match source.until {
            Some(until) => match seek(&stream, until).await {
                // Whoever comes there learns that it can't be read.
                Err(FetchError::Closed { last, .. }) => last.plus(1),
                sought => sought.map_err(failed)?,
            },
            None => end,
        };
        Ok(Sought { entry, event_type, stream, plan, from, end: until.min(end) })
    }

    /// The topic that is named behind FROM, and which of its events are meant, unless all are.
    pub(super) fn query_topic(
        &self,
        project: ProjectId,
        source: &Source,
    ) -> Result<(Arc<TopicEntry>, Option<EventType>), InvalidRequest> {
        let named = |name: &str| self.directory().resolve(project, name);
        let resolved = source.resolve(|name| named(name).is_some()).map_err(|error| match error {
            QueryError::UnknownTopic { .. } => InvalidRequest::UnknownTopicInQuery,
            other => InvalidRequest::Statement(other),
        })?;
        let entry = named(&resolved.name).ok_or(InvalidRequest::UnknownTopicInQuery)?;
        Ok((entry, resolved.event_type))
    }
}

/// What a query is about.
pub(super) struct Sought {
    pub(super) entry: Arc<TopicEntry>,
    pub(super) event_type: Option<EventType>,
    pub(super) stream: Stream,
    pub(super) plan: Plan,
    /// The first offset that is read, and the one that is not read any more.
    pub(super) from: Offset,
    pub(super) end: Offset,
}

/// The offset of a position; what lies behind the end is at the end, where there is nothing.
async fn seek(stream: &Stream, position: Position) -> Result<Offset, FetchError> {
    match stream.seek(position).await {
        Err(FetchError::BeyondEnd { end, .. }) => Ok(end),
        sought => sought,
    }
}

impl Query {
    pub fn topic(&self) -> TopicId {
        self.entry.id()
    }

    /// How many events were left out because they can't be read.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// How many events, or rows of events, did not match because their data can't be decoded.
    pub fn undecodable(&self) -> u64 {
        self.undecodable
    }

    /// The next part of the answer; `None` when there is no more. To be dropped after an error, and when it is not waited for
    /// to its end.
    ///
    /// # Errors
    ///
    /// When stored events can't be read, or the query needs more memory than it may have.
    pub async fn next(&mut self) -> Result<Option<Found>, BrokerError> {
        loop {
            match std::mem::replace(&mut self.stage, Stage::Done) {
                Stage::Reading(running) => {
                    if let Some(found) = self.look(running).await? {
                        return Ok(Some(found));
                    }
                }
                Stage::Looking(begun) => {
                    if let Some(found) = self.looked(begun).await? {
                        return Ok(Some(found));
                    }
                }
                Stage::Rows(mut rows) => {
                    let (mut json, mut ends) = (Vec::new(), Vec::new());
                    while json.len() < ROWS_TOGETHER_BYTES && rows.next(&mut json) {
                        ends.push(json.len());
                    }
                    if !ends.is_empty() {
                        self.stage = Stage::Rows(rows);
                        return Ok(Some(self.rows(json, ends)));
                    }
                }
                Stage::Events(mut offsets) => {
                    let Some(offset) = offsets.next() else { continue };
                    self.stage = Stage::Events(offsets);
                    let slice = self.stream.reader(offset).read().await.map_err(unread)?;
                    if let Some(slice) = slice {
                        let (slice, chosen) = (slice.before(offset.plus(1)), vec![true]);
                        return Ok(Some(Found::Events(Selection { slice, chosen })));
                    }
                }
                Stage::Done => return Ok(None),
            }
        }
    }

    /// Looks at the next block, or begins to; when there is none, takes what was held back to the end.
    async fn look(&mut self, running: Box<Running>) -> Result<Option<Found>, BrokerError> {
        // What lies in the cache is there without waiting.
        tokio::task::consume_budget().await;
        let slice = match self.ahead.take() {
            _ if running.is_finished() => None,
            Some(ahead) => ahead?,
            None => self.read().await?,
        };
        let Some(slice) = slice else {
            self.undecodable = running.undecodable();
            self.stage = match self.workers.run(move || running.finish()).await?.map_err(BrokerError::Execution)? {
                Finish::Nothing => Stage::Done,
                Finish::Rows(rows) => Stage::Rows(rows),
                Finish::Events(offsets) => Stage::Events(offsets.into_iter()),
            };
            return Ok(None);
        };
        if running.takes_long(&slice) {
            self.stage = Stage::Looking(self.workers.begin(move || running.look(slice)).await?);
            return Ok(None);
        }
        let (running, looked) = running.look(slice);
        self.undecodable = running.undecodable();
        self.stage = Stage::Reading(running);
        looked.map(|looked| self.found(looked)).map_err(BrokerError::Execution)
    }

    /// Waits for a block to be looked at. The next one is read meanwhile, and is looked at while what was found is given.
    async fn looked(
        &mut self,
        begun: Begun<(Box<Running>, Result<Looked, ExecutionError>)>,
    ) -> Result<Option<Found>, BrokerError> {
        if self.reads_ahead {
            self.ahead = Some(self.read().await);
        }
        let (running, looked) = begun.done().await?;
        let looked = looked.map_err(BrokerError::Execution)?;
        self.undecodable = running.undecodable();
        self.stage = match self.ahead.take() {
            Some(Ok(Some(slice))) if running.takes_long(&slice) => {
                Stage::Looking(self.workers.begin(move || running.look(slice)).await?)
            }
            ahead => {
                self.ahead = ahead;
                Stage::Reading(running)
            }
        };
        Ok(self.found(looked))
    }

    fn found(&mut self, looked: Looked) -> Option<Found> {
        match looked {
            Looked { slice, chosen, .. } if !chosen.is_empty() => Some(Found::Events(Selection { slice, chosen })),
            Looked { rows: FoundRows { json, ends, .. }, .. } if !ends.is_empty() => Some(self.rows(json, ends)),
            Looked { .. } => None,
        }
    }

    /// The next events that the query has to look at.
    async fn read(&mut self) -> Result<Option<Slice>, BrokerError> {
        while self.reader.next() < self.end {
            match self.reader.read().await {
                Ok(Some(slice)) => return Ok(Some(slice.before(self.end))),
                Ok(None) => break,
                Err(FetchError::Closed { last, .. }) if self.skips => {
                    self.skipped += self.reader.skip_to(last.plus(1).min(self.end));
                }
                Err(error) => return Err(unread(error)),
            }
        }
        Ok(None)
    }

    fn rows(&mut self, json: Vec<u8>, ends: Vec<usize>) -> Found {
        let first_id = self.row_id;
        self.row_id = first_id.plus(ends.len() as u64);
        Found::Rows(Rows { json, ends, first_id, created: self.begun })
    }
}

/// Why events that were there when the query began can't be read.
fn unread(error: FetchError) -> BrokerError {
    match error {
        FetchError::Destroyed => BrokerError::NotFound,
        error => BrokerError::stream(error),
    }
}

#[cfg(test)]
pub(super) mod tests;
