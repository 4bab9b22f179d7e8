//! The thread that writes to redb: records, the catalogue's changes and the mark of a clean stop, one transaction for all
//! that waits.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{Receiver, TryRecvError},
    },
};

use bytes::Bytes;
use redb::{ReadableTable, WriteTransaction};
use tokio::sync::oneshot;

use super::{
    Shared, catalogue,
    database::{RECORDS, STATE, is_no_space},
    exchange::{self, Exchange, ExtentChange},
    heads::Asked,
    rows,
};
use crate::{
    journal::{Sealed, Tail},
    model::TopicId,
    store::{AppendError, Record, RecordError, Revision, Transaction},
};

pub(super) const REVISION: &[u8] = b"revision";

/// How many tasks one transaction of redb takes.
const TASKS_MAX: usize = 256;

/// Why an exchange was not carried out.
#[derive(Debug)]
pub(super) enum ExchangeError {
    /// It does not fit what is there. Nothing was written.
    Refused(String),
    /// It may be durable or not.
    Undecided(String),
}

pub(super) type ExchangeReply = oneshot::Sender<Result<(), ExchangeError>>;

/// What a task came to within its transaction.
#[derive(Debug)]
enum Applied {
    Nothing,
    Change(Result<Revision, RecordError>),
    Exchange(Vec<ExtentChange>),
}

pub(super) type CommitReply = oneshot::Sender<Result<Revision, RecordError>>;

#[derive(Debug)]
pub(super) enum Task {
    Commit(Transaction, CommitReply),
    Register(Sealed),
    Forget(TopicId, oneshot::Sender<Result<(), AppendError>>),
    /// Puts compacted segments in the place of others.
    Exchange(Exchange, ExchangeReply),
    /// Asks for everything to be compacted that has been sealed by now.
    Compact(Asked),
    /// The files of these replaced segments are gone.
    Removed(Vec<u64>),
    /// Writes the database anew, so that nothing is left of what was deleted.
    Scrub(oneshot::Sender<Result<(), RecordError>>),
    /// Notes the end, if the journal was closed in order, and stops.
    Stop(Option<Tail>, oneshot::Sender<Result<(), String>>),
}

/// What a task came to, once the transaction is durable.
enum Outcome {
    Committed(CommitReply, Result<Revision, RecordError>),
    Registered(Sealed),
    Forgotten(TopicId, oneshot::Sender<Result<(), AppendError>>),
    Exchanged(Exchange, Vec<ExtentChange>, ExchangeReply),
    Compact(Asked),
    Removed,
    Stopped(oneshot::Sender<Result<(), String>>),
}

#[derive(Debug)]
pub(super) struct Recorder {
    pub(super) shared: Arc<Shared>,
    pub(super) tasks: Receiver<Task>,
    /// Segments that could not be registered yet.
    pub(super) unregistered: Vec<Sealed>,
}

impl Recorder {
    /// Works until it is stopped.
    pub(super) fn run(mut self) {
        while let Ok(first) = self.tasks.recv() {
            let mut tasks: Vec<Task> = self.unregistered.drain(..).map(Task::Register).collect();
            tasks.push(first);
            let mut last = take_last(&mut tasks);
            while last.is_none() && tasks.len() < TASKS_MAX {
                match self.tasks.try_recv() {
                    Ok(task) => tasks.push(task),
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
                }
                last = take_last(&mut tasks);
            }
            let stop = matches!(last, Some(Task::Stop(..)));
            if !tasks.is_empty() {
                self.carry_out(tasks);
            }
            match last {
                Some(Task::Scrub(reply)) => {
                    let scrubbed = self.shared.meta.rewrite().map_err(|error| record_error("scrub", &error));
                    // It is done, whoever waits for it.
                    drop(reply.send(scrubbed));
                }
                Some(last) => self.carry_out(vec![last]),
                None => {}
            }
            if stop {
                break;
            }
        }
        self.shared.meta.close();
    }

    fn carry_out(&mut self, tasks: Vec<Task>) {
        // A stop without a mark has nothing to write.
        if let [Task::Stop(None, _)] = &tasks[..] {
            for task in tasks {
                self.answer(to_outcome(task, Applied::Nothing));
            }
            return;
        }
        let mut applied = false;
        let written = self.shared.meta.write(|transaction| {
            let results: Vec<Applied> =
                tasks.iter().map(|task| apply(transaction, task)).collect::<Result<_, redb::Error>>()?;
            applied = true;
            Ok(results)
        });
        match written {
            Ok(results) => {
                let segments_changed = tasks.iter().any(changes_segments);
                let outcomes: Vec<Outcome> =
                    tasks.into_iter().zip(results).map(|(task, applied)| to_outcome(task, applied)).collect();
                if segments_changed {
                    self.segments_changed();
                }
                for outcome in outcomes {
                    self.answer(outcome);
                }
            }
            Err(error) => tasks.into_iter().for_each(|task| self.fail(task, &error, applied)),
        }
    }

    /// Tells compaction what there is now.
    fn segments_changed(&self) {
        match catalogue::segments(&self.shared.meta) {
            Ok(segments) => self.shared.compaction.set_segments(segments),
            Err(error) => tracing::warn!(%error, "compaction goes by what was known before"),
        }
    }

    fn answer(&mut self, outcome: Outcome) {
        // Whoever asked may not wait for the answer any more; it is done all the same.
        match outcome {
            Outcome::Committed(reply, result) => drop(reply.send(result)),
            Outcome::Registered(sealed) => {
                self.shared.segments.insert(Arc::clone(&sealed.segment), Arc::clone(&sealed.index));
                let mut heads = self.shared.heads();
                for (topic, _) in sealed.index.topics() {
                    heads.registered(topic, sealed.segment.number());
                }
            }
            Outcome::Exchanged(exchange, changes, reply) => {
                for new in &exchange.new {
                    self.shared.segments.insert(Arc::clone(&new.segment), Arc::clone(&new.index));
                }
                self.shared.segments.remove(&exchange.old);
                let mut heads = self.shared.heads();
                for change in &changes {
                    heads.exchanged(change);
                }
                drop(heads);
                drop(reply.send(Ok(())));
            }
            Outcome::Compact(asked) => self.shared.compaction.ask(asked),
            Outcome::Removed => {}
            Outcome::Forgotten(topic, reply) => {
                self.shared.heads().forgotten(topic);
                drop(reply.send(Ok(())));
            }
            Outcome::Stopped(reply) => drop(reply.send(Ok(()))),
        }
    }

    /// Answers for a task whose transaction failed: when it was applied, while that was made durable.
    fn fail(&mut self, task: Task, error: &redb::Error, applied: bool) {
        match task {
            Task::Commit(_, reply) => drop(reply.send(Err(record_error("write", error)))),
            Task::Register(sealed) => self.unregistered.push(sealed),
            Task::Forget(_, reply) => drop(reply.send(Err(append_error(error)))),
            Task::Exchange(_, reply) => {
                let error = error.to_string();
                let error = if applied { ExchangeError::Undecided(error) } else { ExchangeError::Refused(error) };
                drop(reply.send(Err(error)));
            }
            Task::Compact(asked) => self.shared.compaction.ask(asked),
            Task::Scrub(reply) => drop(reply.send(Err(record_error("scrub", error)))),
            Task::Stop(_, reply) => drop(reply.send(Err(error.to_string()))),
            // The next opening finds their files gone.
            Task::Removed(_) => {}
        }
    }
}

/// Takes off the last task if it is one that nothing may stand in one transaction with: a stop, because nothing follows it, an
/// exchange, so that nothing else fails with it, and a scrubbing, which is none.
fn take_last(tasks: &mut Vec<Task>) -> Option<Task> {
    tasks.pop_if(|task| matches!(task, Task::Stop(..) | Task::Exchange(..) | Task::Scrub(_)))
}

fn changes_segments(task: &Task) -> bool {
    match task {
        Task::Register(_) | Task::Forget(..) | Task::Exchange(..) | Task::Removed(_) => true,
        Task::Commit(..) | Task::Compact(..) | Task::Scrub(_) | Task::Stop(..) => false,
    }
}

fn to_outcome(task: Task, applied: Applied) -> Outcome {
    match task {
        Task::Commit(_, reply) => {
            let Applied::Change(result) = applied else { unreachable!("a change was applied as one") };
            Outcome::Committed(reply, result)
        }
        Task::Exchange(exchange, reply) => {
            let Applied::Exchange(changes) = applied else { unreachable!("an exchange was applied as one") };
            Outcome::Exchanged(exchange, changes, reply)
        }
        Task::Compact(asked) => Outcome::Compact(asked),
        Task::Removed(_) => Outcome::Removed,
        Task::Scrub(_) => unreachable!("it is no part of a transaction"),
        Task::Register(sealed) => Outcome::Registered(sealed),
        Task::Forget(topic, reply) => Outcome::Forgotten(topic, reply),
        Task::Stop(_, reply) => Outcome::Stopped(reply),
    }
}

/// Carries a task out within a transaction.
fn apply(transaction: &WriteTransaction, task: &Task) -> Result<Applied, redb::Error> {
    match task {
        Task::Commit(change, _) => return apply_change(transaction, change).map(Applied::Change),
        Task::Exchange(exchange, _) => return exchange::exchange(transaction, exchange).map(Applied::Exchange),
        Task::Removed(numbers) => exchange::forget_replaced(transaction, numbers)?,
        Task::Register(sealed) => catalogue::register(transaction, sealed)?,
        Task::Forget(topic, _) => catalogue::forget(transaction, *topic)?,
        Task::Stop(Some(tail), _) => catalogue::set_mark(transaction, *tail)?,
        Task::Compact(..) | Task::Scrub(_) | Task::Stop(None, _) => {}
    }
    Ok(Applied::Nothing)
}

fn apply_change(
    transaction: &WriteTransaction,
    change: &Transaction,
) -> Result<Result<Revision, RecordError>, redb::Error> {
    let mut records = transaction.open_table(RECORDS)?;
    for (key, expected) in &change.checks {
        let revision = match records.get(&key[..])? {
            Some(value) => Some(decode(value.value())?.revision),
            None => None,
        };
        if revision != *expected {
            return Ok(Err(RecordError::Conflict { key: key.clone() }));
        }
    }
    let mut state = transaction.open_table(STATE)?;
    let last = state.get(REVISION)?.and_then(|row| rows::decode_revision(row.value())).unwrap_or(0);
    let revision = last + 1;
    state.insert(REVISION, &rows::encode_revision(revision)[..])?;
    for (key, value) in &change.changes {
        match value {
            Some(value) => records.insert(&key[..], &[&revision.to_le_bytes()[..], value].concat()[..])?,
            None => records.remove(&key[..])?,
        };
    }
    Ok(Ok(Revision(revision)))
}

pub(super) fn decode(value: &[u8]) -> Result<Record, redb::Error> {
    let Some((revision, value)) = value.split_first_chunk() else {
        return Err(redb::Error::Corrupted("a record is too short".to_owned()));
    };
    Ok(Record { value: Bytes::copy_from_slice(value), revision: Revision(u64::from_le_bytes(*revision)) })
}

pub(super) fn record_error(action: &'static str, error: &redb::Error) -> RecordError {
    match error {
        redb::Error::Io(error) if is_no_space(error) => {
            RecordError::NoSpace { source: Arc::new(io::Error::new(error.kind(), error.to_string())) }
        }
        redb::Error::DatabaseClosed => RecordError::Closed,
        other => RecordError::Failed { action, message: other.to_string() },
    }
}

fn append_error(error: &redb::Error) -> AppendError {
    match error {
        redb::Error::Io(error) if is_no_space(error) => {
            AppendError::NoSpace { source: Arc::new(io::Error::new(error.kind(), error.to_string())) }
        }
        redb::Error::DatabaseClosed => AppendError::Closed,
        other => AppendError::Poisoned { source: Some(Arc::new(io::Error::other(other.to_string()))) },
    }
}
