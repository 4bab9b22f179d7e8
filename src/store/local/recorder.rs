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

pub(super) type CommitReply = oneshot::Sender<Result<Revision, RecordError>>;

#[derive(Debug)]
pub(super) enum Task {
    Commit(Transaction, CommitReply),
    Register(Sealed),
    Forget(TopicId, oneshot::Sender<Result<(), AppendError>>),
    /// Notes the end, if the journal was closed in order, and stops.
    Stop(Option<Tail>, oneshot::Sender<Result<(), String>>),
}

/// What a task came to, once the transaction is durable.
enum Outcome {
    Committed(CommitReply, Result<Revision, RecordError>),
    Registered(Sealed),
    Forgotten(TopicId, oneshot::Sender<Result<(), AppendError>>),
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
            let mut stop = matches!(tasks.last(), Some(Task::Stop(..)));
            while !stop && tasks.len() < TASKS_MAX {
                match self.tasks.try_recv() {
                    Ok(task) => {
                        stop = matches!(task, Task::Stop(..));
                        tasks.push(task);
                    }
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
                }
            }
            self.carry_out(tasks);
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
                self.answer(to_outcome(task, Ok(Revision(0))));
            }
            return;
        }
        let written = self.shared.meta.write(|transaction| tasks.iter().map(|task| apply(transaction, task)).collect());
        match written {
            Ok(results) => {
                let results: Vec<Result<Revision, RecordError>> = results;
                for (task, result) in tasks.into_iter().zip(results) {
                    self.answer(to_outcome(task, result));
                }
            }
            Err(error) => tasks.into_iter().for_each(|task| self.fail(task, &error)),
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
            Outcome::Forgotten(topic, reply) => {
                self.shared.heads().forgotten(topic);
                drop(reply.send(Ok(())));
            }
            Outcome::Stopped(reply) => drop(reply.send(Ok(()))),
        }
    }

    fn fail(&mut self, task: Task, error: &redb::Error) {
        match task {
            Task::Commit(_, reply) => drop(reply.send(Err(record_error("write", error)))),
            Task::Register(sealed) => self.unregistered.push(sealed),
            Task::Forget(_, reply) => drop(reply.send(Err(append_error(error)))),
            Task::Stop(_, reply) => drop(reply.send(Err(error.to_string()))),
        }
    }
}

fn to_outcome(task: Task, result: Result<Revision, RecordError>) -> Outcome {
    match task {
        Task::Commit(_, reply) => Outcome::Committed(reply, result),
        Task::Register(sealed) => Outcome::Registered(sealed),
        Task::Forget(topic, reply) => Outcome::Forgotten(topic, reply),
        Task::Stop(_, reply) => Outcome::Stopped(reply),
    }
}

/// Carries a task out within a transaction. The inner result is the answer to a record transaction.
fn apply(transaction: &WriteTransaction, task: &Task) -> Result<Result<Revision, RecordError>, redb::Error> {
    match task {
        Task::Commit(change, _) => return apply_change(transaction, change),
        Task::Register(sealed) => catalogue::register(transaction, sealed)?,
        Task::Forget(topic, _) => catalogue::forget(transaction, *topic)?,
        Task::Stop(Some(tail), _) => catalogue::set_mark(transaction, *tail)?,
        Task::Stop(None, _) => {}
    }
    Ok(Ok(Revision(0)))
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
