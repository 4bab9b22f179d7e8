//! The keeper: the one task that writes what is remembered of groups.
//!
//! Whoever wants something kept sends it here and is told when it is durable. What comes while a transaction is under way
//! gathers, whichever groups it is of, and goes into the next one. So the number of transactions does not grow with the number of
//! groups.
//!
//! Invariants: the records of groups are written by this task alone, one transaction after the other, and each checks that the
//! groups that it is about are still those that were meant. So what was removed never comes back. What does not fit on the disk is
//! tried again, and answered when it was kept.
//!
//! What it does not do: decide what is to be kept, or when.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::{
    entry::{GroupEntry, Standing},
    record::{self, GroupRecord, PROGRESS_PREFIX},
    registry::{GROUPS_MAX, Registry},
};
use crate::{
    broker::{Availability, BrokerError, TopicEntry, error::FailedRequest},
    model::{GroupKey, ProjectId, TopicId},
    store::{RecordError, Records, Transaction},
    sys::Clock,
};

/// How many requests may wait for the transaction that is under way.
const WAITING_MAX: usize = 1_024;

/// How many bytes of progress go into one transaction, about.
const TRANSACTION_BYTES: usize = 4 * 1024 * 1024;

/// How many records are deleted in one transaction, about.
const DELETED_AT_ONCE: usize = 1_000;

/// How long a full disk is left alone.
const NO_SPACE_PAUSE: Duration = Duration::from_secs(1);

/// The progress of a group in some topics, to be kept.
pub(super) struct Keep {
    pub(super) entry: Arc<GroupEntry>,
    pub(super) progress: Vec<Kept>,
    pub(super) reply: oneshot::Sender<Result<(), BrokerError>>,
}

/// How far a group is in one topic.
pub(super) struct Kept {
    pub(super) topic: Arc<TopicEntry>,
    pub(super) standing: Standing,
    pub(super) encoded: Vec<u8>,
}

enum Command {
    Create { project: ProjectId, key: GroupKey, record: Box<GroupRecord>, reply: Reply<Arc<GroupEntry>> },
    Change { entry: Arc<GroupEntry>, record: Box<GroupRecord>, reply: Reply<()> },
    Keep(Keep),
    Remove { entry: Arc<GroupEntry>, reply: Reply<()> },
    ForgetTopic { project: ProjectId, topic: TopicId },
    GiveUp,
    Close { reply: oneshot::Sender<()> },
}

type Reply<T> = oneshot::Sender<Result<T, BrokerError>>;

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Command::Create { .. } => "Create",
            Command::Change { .. } => "Change",
            Command::Keep(_) => "Keep",
            Command::Remove { .. } => "Remove",
            Command::ForgetTopic { .. } => "ForgetTopic",
            Command::GiveUp => "GiveUp",
            Command::Close { .. } => "Close",
        })
    }
}

/// The handle of the keeper, which ends when the last handle is dropped or [`Keeper::close`] is called.
#[derive(Debug, Clone)]
pub(in crate::broker) struct Keeper(mpsc::Sender<Command>);

impl Keeper {
    /// Starts the task, which first deletes the records that belong to nothing any more.
    pub(super) fn start(records: Records, clock: Clock, registry: Registry, orphans: Vec<Bytes>) -> Keeper {
        let (sender, commands) = mpsc::channel(WAITING_MAX);
        let task =
            Task { records, clock, registry, waiting: VecDeque::new(), not_before: Duration::ZERO, gives_up: false };
        tokio::spawn(task.run(commands, orphans));
        Keeper(sender)
    }

    /// Makes a group, unless there is one with this key, and gives the one that there is then.
    pub(super) async fn create(
        &self,
        project: ProjectId,
        key: GroupKey,
        record: GroupRecord,
    ) -> Result<Arc<GroupEntry>, BrokerError> {
        self.ask(|reply| Command::Create { project, key, record: Box::new(record), reply }).await
    }

    /// Replaces what is kept of a group besides its progress.
    pub(super) async fn change(&self, entry: Arc<GroupEntry>, record: GroupRecord) -> Result<(), BrokerError> {
        self.ask(|reply| Command::Change { entry, record: Box::new(record), reply }).await
    }

    /// Has progress kept; the answer comes when it is durable. A group has no more than one of these under way.
    pub(super) async fn keep(&self, keep: Keep) {
        // When the keeper is gone the command comes back and is dropped, and with it the sender of the reply.
        drop(self.0.send(Command::Keep(keep)).await);
    }

    /// Deletes a group and its progress. When this returns the group is gone for good.
    pub(super) async fn remove(&self, entry: Arc<GroupEntry>) -> Result<(), BrokerError> {
        self.ask(|reply| Command::Remove { entry, reply }).await
    }

    /// Deletes the progress of all groups in a topic that has been destroyed.
    pub(in crate::broker) async fn forget_topic(&self, project: ProjectId, topic: TopicId) {
        // A keeper that is gone leaves it to the next start.
        drop(self.0.send(Command::ForgetTopic { project, topic }).await);
    }

    /// Waits for room on a full disk no longer: the broker is closing.
    pub(super) async fn give_up(&self) {
        // A task that has ended waits for nothing.
        drop(self.0.send(Command::GiveUp).await);
    }

    /// Ends the task once it has done what was asked before.
    pub(super) async fn close(&self) {
        let (reply, done) = oneshot::channel();
        if self.0.send(Command::Close { reply }).await.is_ok() {
            // A task that has ended already is what was asked for.
            done.await.ok();
        }
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, BrokerError> {
        let (reply, answer) = oneshot::channel();
        self.0.send(command(reply)).await.map_err(|_| BrokerError::Closed)?;
        answer.await.map_err(|_| BrokerError::Closed)?
    }
}

struct Task {
    records: Records,
    clock: Clock,
    registry: Registry,
    /// What is to be kept, in the order in which it came.
    waiting: VecDeque<Keep>,
    /// By [`Clock::elapsed`], when what waits may be tried again.
    not_before: Duration,
    /// What does not fit is not tried again.
    gives_up: bool,
}

impl Task {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>, orphans: Vec<Bytes>) {
        self.delete(orphans).await;
        loop {
            let command = tokio::select! {
                command = commands.recv() => command,
                () = self.clock.reach(self.not_before), if !self.waiting.is_empty() => {
                    self.keep_waiting().await;
                    continue;
                }
            };
            let mut next = command;
            loop {
                match next {
                    Some(Command::Close { reply }) => {
                        commands.close();
                        self.keep_waiting().await;
                        reply.send(()).ok();
                        return;
                    }
                    Some(command) => self.carry_out(command).await,
                    None => {
                        self.keep_waiting().await;
                        return;
                    }
                }
                // What has come meanwhile goes into the same transaction.
                match commands.try_recv() {
                    Ok(command) => next = Some(command),
                    Err(_) => break,
                }
            }
            if self.clock.elapsed() >= self.not_before {
                self.keep_waiting().await;
            }
        }
    }

    /// A caller that has gone away does not want the answer.
    async fn carry_out(&mut self, command: Command) {
        match command {
            Command::Create { project, key, record, reply } => {
                drop(reply.send(self.create(project, key, *record).await));
            }
            Command::Change { entry, record, reply } => drop(reply.send(self.change(&entry, *record).await)),
            Command::Keep(keep) => self.waiting.push_back(keep),
            Command::Remove { entry, reply } => drop(reply.send(self.remove(&entry).await)),
            Command::ForgetTopic { project, topic } => self.forget_topic(project, topic).await,
            Command::GiveUp => (self.gives_up, self.not_before) = (true, Duration::ZERO),
            Command::Close { .. } => {}
        }
    }

    async fn create(
        &mut self,
        project: ProjectId,
        key: GroupKey,
        record: GroupRecord,
    ) -> Result<Arc<GroupEntry>, BrokerError> {
        if let Some(entry) = self.registry.get(project, key) {
            return Ok(entry);
        }
        if self.registry.is_full(project) {
            return Err(BrokerError::TooManyGroups(GROUPS_MAX));
        }
        let transaction = Transaction::new()
            .check(record::group_key(project, key), None)
            .put(record::group_key(project, key), record::encode_group(&record));
        let revision = self.records.commit(transaction).await.map_err(failed)?;
        let entry = Arc::new(GroupEntry::new(project, key, record, revision));
        self.registry.insert(entry.clone());
        Ok(entry)
    }

    async fn change(&mut self, entry: &GroupEntry, record: GroupRecord) -> Result<(), BrokerError> {
        if entry.is_removed() {
            return Err(BrokerError::GroupRemoved);
        }
        let key = record::group_key(entry.project, entry.key);
        let transaction =
            Transaction::new().check(key.clone(), Some(entry.revision())).put(key, record::encode_group(&record));
        let revision = self.records.commit(transaction).await.map_err(failed)?;
        entry.replace(record, revision);
        Ok(())
    }

    async fn remove(&mut self, entry: &GroupEntry) -> Result<(), BrokerError> {
        if entry.is_removed() {
            return Err(BrokerError::GroupNotFound);
        }
        let prefix = record::progress_prefix(entry.project, entry.key);
        let progress = self.records.scan(prefix, None, usize::MAX).await.map_err(failed)?;
        let key = record::group_key(entry.project, entry.key);
        let transaction = Transaction::new().check(key.clone(), Some(entry.revision())).delete(key);
        // All at once: what was left of its progress would be another group's with the same key.
        let transaction = progress.into_iter().fold(transaction, |all, (key, _)| all.delete(key));
        self.records.commit(transaction).await.map_err(failed)?;
        entry.set_removed();
        self.registry.remove(entry);
        Ok(())
    }

    async fn forget_topic(&mut self, project: ProjectId, topic: TopicId) {
        let groups = self.registry.of_project(project);
        let had = groups.iter().filter(|entry| entry.forget_topic(topic));
        self.delete(had.map(|entry| record::progress_key(project, entry.key, topic)).collect()).await;
    }

    /// Deletes records that nobody looks at any more. What is not deleted now is at the next start.
    async fn delete(&mut self, keys: Vec<Bytes>) {
        for keys in keys.chunks(DELETED_AT_ONCE) {
            debug_assert!(keys.iter().all(|key| key.starts_with(PROGRESS_PREFIX)));
            let transaction = keys.iter().fold(Transaction::new(), |all, key| all.delete(key.clone()));
            if let Err(error) = self.records.commit(transaction).await {
                return warn_left(&error);
            }
        }
    }

    /// Keeps what waits, as much at once as goes into a transaction.
    async fn keep_waiting(&mut self) {
        while !self.waiting.is_empty() {
            let (mut gathered, mut bytes) = (Vec::new(), 0);
            while bytes < TRANSACTION_BYTES
                && let Some(keep) = self.waiting.pop_front()
            {
                bytes += keep.progress.iter().map(|kept| kept.encoded.len()).sum::<usize>();
                gathered.push(keep);
            }
            match self.commit(&gathered).await {
                Err(RecordError::NoSpace { .. }) if !self.gives_up => {
                    gathered.into_iter().rev().for_each(|keep| self.waiting.push_front(keep));
                    self.not_before = self.clock.elapsed() + NO_SPACE_PAUSE;
                    return;
                }
                // Somebody outside of this process is at work. Whose group it is shows one by one.
                Err(RecordError::Conflict { .. }) if gathered.len() > 1 => {
                    for keep in gathered {
                        let committed = self.commit(std::slice::from_ref(&keep)).await;
                        answer(keep, committed);
                    }
                }
                committed => gathered.into_iter().for_each(|keep| answer(keep, committed.clone())),
            }
        }
    }

    async fn commit(&self, keeps: &[Keep]) -> Result<(), RecordError> {
        let mut transaction = Transaction::new();
        for Keep { entry, progress, .. } in keeps.iter().filter(|keep| !keep.entry.is_removed()) {
            let group_key = record::group_key(entry.project, entry.key);
            transaction = transaction.check(group_key, Some(entry.revision()));
            // What is kept of a destroyed topic has been deleted, or will be.
            let live = progress.iter().filter(|kept| kept.topic.availability() != Availability::Deleting);
            for Kept { topic, encoded, .. } in live {
                let key = record::progress_key(entry.project, entry.key, topic.id());
                transaction = transaction.put(key, encoded.clone());
            }
        }
        if transaction.changes.is_empty() {
            return Ok(());
        }
        self.records.commit(transaction).await?;
        for Keep { entry, progress, .. } in keeps {
            for Kept { topic, standing, .. } in progress {
                if topic.availability() != Availability::Deleting {
                    entry.stands(topic.id(), *standing);
                }
            }
        }
        Ok(())
    }
}

fn answer(keep: Keep, committed: Result<(), RecordError>) {
    let answer = match committed {
        Ok(()) if keep.entry.is_removed() => Err(BrokerError::GroupRemoved),
        Ok(()) => Ok(()),
        Err(RecordError::Conflict { .. }) => Err(BrokerError::GroupRemoved),
        Err(RecordError::Closed) => Err(BrokerError::Closed),
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::error!(group = keep.entry.record().name, error, "the progress of a consumer group was not kept");
            Err(BrokerError::GroupStopped)
        }
    };
    // Who does not want to know has gone.
    keep.reply.send(answer).ok();
}

fn failed(error: RecordError) -> BrokerError {
    BrokerError::failed(FailedRequest::Group, error)
}

fn warn_left(error: &RecordError) {
    let error = error as &dyn std::error::Error;
    tracing::warn!(error, "the progress of what was removed is left until the next start");
}
