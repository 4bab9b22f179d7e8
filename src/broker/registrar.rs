//! The actor that changes topics: one task, so that two changes never race, and so that a caller that goes away in the
//! middle cannot leave the records and the directory apart.
//!
//! A topic is destroyed in three steps: one transaction marks it as being deleted, frees its name and deletes its salt;
//! the engine ends its stream and gives up its blocks; its record goes, and how far groups were in it. The first makes it
//! final, and the other two are taken up again when the broker is opened.

use std::sync::Arc;

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use super::{
    directory::Directory,
    entry::TopicEntry,
    error::{BrokerError, FailedRequest},
    group::Keeper,
    record,
};
use crate::{
    engine::Engine,
    model::{Topic, TopicState},
    store::{RecordError, Records, Revision, Transaction},
    sys::Clock,
};

/// How many changes may wait for the one that is being made.
const WAITING_MAX: usize = 64;

/// Decides what becomes of a topic: its new record, or `None` when there is nothing to change.
pub(super) type Decision = Box<dyn FnOnce(&Topic) -> Result<Option<Topic>, BrokerError> + Send>;

enum Command {
    Create { topic: Box<Topic>, reply: Reply<Arc<TopicEntry>> },
    Change { entry: Arc<TopicEntry>, request: FailedRequest, decide: Decision, reply: Reply<Change> },
    Destroy { entry: Arc<TopicEntry>, reply: Reply<()> },
    Close { reply: oneshot::Sender<()> },
}

type Reply<T> = oneshot::Sender<Result<T, BrokerError>>;

/// A topic's record before and after a change that was asked for; the same when there was nothing to change.
pub(super) struct Change {
    pub(super) before: Arc<Topic>,
    pub(super) after: Arc<Topic>,
}

/// The handle of the actor, which ends when the last handle is dropped or [`Registrar::close`] is called.
#[derive(Debug, Clone)]
pub(super) struct Registrar(mpsc::Sender<Command>);

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Command::Create { .. } => "Create",
            Command::Change { .. } => "Change",
            Command::Destroy { .. } => "Destroy",
            Command::Close { .. } => "Close",
        })
    }
}

impl Registrar {
    /// Starts the actor, which first takes up the topics whose deletion was interrupted.
    pub(super) fn start(
        records: Records,
        (engine, clock, directory, keeper): (Engine, Clock, Directory, Keeper),
        interrupted: Vec<Arc<TopicEntry>>,
    ) -> Registrar {
        let (sender, commands) = mpsc::channel(WAITING_MAX);
        let mut actor = Actor { records, engine, clock, directory, keeper, endings: JoinSet::new() };
        for entry in interrupted {
            actor.end(entry);
        }
        tokio::spawn(actor.run(commands));
        Registrar(sender)
    }

    /// Adds a topic whose identifier and name must be free.
    pub(super) async fn create(&self, topic: Topic) -> Result<Arc<TopicEntry>, BrokerError> {
        self.ask(|reply| Command::Create { topic: Box::new(topic), reply }).await?
    }

    /// Changes a topic's record as `decide` says, which sees no other change in between. It sets no times.
    pub(super) async fn change(
        &self,
        entry: Arc<TopicEntry>,
        request: FailedRequest,
        decide: Decision,
    ) -> Result<Change, BrokerError> {
        self.ask(|reply| Command::Change { entry, request, decide, reply }).await?
    }

    /// Destroys a topic. When this returns, its events can no longer be read and its name is free.
    pub(super) async fn destroy(&self, entry: Arc<TopicEntry>) -> Result<(), BrokerError> {
        self.ask(|reply| Command::Destroy { entry, reply }).await?
    }

    /// Ends the actor once it has done what was asked before.
    pub(super) async fn close(&self) {
        // An actor that has ended already is what was asked for.
        self.ask(|reply| Command::Close { reply }).await.ok();
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, BrokerError> {
        let (reply, answer) = oneshot::channel();
        self.0.send(command(reply)).await.map_err(|_| BrokerError::Closed)?;
        answer.await.map_err(|_| BrokerError::Closed)
    }
}

struct Actor {
    records: Records,
    engine: Engine,
    clock: Clock,
    directory: Directory,
    keeper: Keeper,
    /// The deletions whose second step is under way; each gives its topic when that is done, and nothing when it has to
    /// be tried again at the next start.
    endings: JoinSet<Option<Arc<TopicEntry>>>,
}

impl Actor {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        loop {
            // Both arms can be dropped without losing anything: what they wait for stays where it is.
            let command = tokio::select! {
                command = commands.recv() => command,
                Some(ended) = self.endings.join_next() => {
                    if let Ok(Some(entry)) = ended {
                        self.forget(&entry).await;
                    }
                    continue;
                }
            };
            // A caller that has gone away does not want the answer.
            match command {
                Some(Command::Create { topic, reply }) => drop(reply.send(self.create(*topic).await)),
                Some(Command::Change { entry, request, decide, reply }) => {
                    drop(reply.send(self.change(&entry, request, decide).await));
                }
                Some(Command::Destroy { entry, reply }) => drop(reply.send(self.destroy(entry).await)),
                Some(Command::Close { reply }) => {
                    commands.close();
                    self.finish().await;
                    reply.send(()).ok();
                    return;
                }
                None => return self.finish().await,
            }
        }
    }

    async fn finish(&mut self) {
        while let Some(ended) = self.endings.join_next().await {
            if let Ok(Some(entry)) = ended {
                self.forget(&entry).await;
            }
        }
    }

    async fn create(&mut self, topic: Topic) -> Result<Arc<TopicEntry>, BrokerError> {
        let (topic_key, name_key) = (record::topic_key(topic.id), record::name_key(topic.project, topic.name.hash()));
        let transaction = Transaction::new()
            .check(topic_key.clone(), None)
            .check(name_key.clone(), None)
            .check(record::gone_key(topic.id), None)
            .put(topic_key, record::encode(&topic))
            .put(name_key.clone(), topic.id.as_bytes().to_vec());
        let transaction = self.engine.prepare_create(topic.id, transaction);
        match self.records.commit(transaction).await {
            Ok(revision) => {
                let entry = Arc::new(TopicEntry::new(topic, revision));
                self.directory.insert(entry.clone());
                Ok(entry)
            }
            Err(RecordError::Conflict { key }) if key == name_key => Err(BrokerError::NameTaken),
            // What else is checked is kept by the topic's identifier.
            Err(RecordError::Conflict { .. }) => Err(BrokerError::IdTaken),
            Err(error) => Err(BrokerError::failed(FailedRequest::Create, error)),
        }
    }

    async fn change(
        &mut self,
        entry: &Arc<TopicEntry>,
        request: FailedRequest,
        decide: Decision,
    ) -> Result<Change, BrokerError> {
        let (before, revision) = entry.versioned();
        if let Some(mut changed) = decide(&before)? {
            changed.modified = self.clock.now().max(before.modified);
            self.commit(entry, changed, revision, request, |transaction| transaction).await?;
        }
        Ok(Change { before, after: entry.topic() })
    }

    async fn destroy(&mut self, entry: Arc<TopicEntry>) -> Result<(), BrokerError> {
        let (current, revision) = entry.versioned();
        if !matches!(current.state, TopicState::Ready | TopicState::Readonly) {
            return Err(BrokerError::NotRemovable(current.state));
        }
        let now = self.clock.now().max(current.modified);
        let changed = Topic { state: TopicState::Deleting, modified: now, ..(*current).clone() };
        let name_key = record::name_key(entry.project(), entry.hash());
        let gone_key = record::gone_key(entry.id());
        let engine = self.engine.clone();
        self.commit(&entry, changed, revision, FailedRequest::Delete, |transaction| {
            let transaction = transaction.delete(name_key).put(gone_key, entry.project().as_bytes().to_vec());
            engine.prepare_destroy(entry.id(), transaction)
        })
        .await?;
        self.directory.release_name(&entry);
        self.end(entry);
        Ok(())
    }

    async fn commit(
        &mut self,
        entry: &Arc<TopicEntry>,
        changed: Topic,
        revision: Revision,
        request: FailedRequest,
        also: impl FnOnce(Transaction) -> Transaction,
    ) -> Result<(), BrokerError> {
        let key = record::topic_key(entry.id());
        let transaction = Transaction::new().check(key.clone(), Some(revision)).put(key, record::encode(&changed));
        let revision =
            self.records.commit(also(transaction)).await.map_err(|error| BrokerError::failed(request, error))?;
        entry.replace(changed, revision);
        Ok(())
    }

    /// Begins the second step of a deletion.
    fn end(&mut self, entry: Arc<TopicEntry>) {
        let engine = self.engine.clone();
        self.endings.spawn(async move {
            if let Err(error) = engine.destroyed(entry.id()).await {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(topic = %entry.id(), error, "the space of a destroyed topic is not given back yet");
                return None;
            }
            Some(entry)
        });
    }

    /// The third step of a deletion.
    async fn forget(&mut self, entry: &TopicEntry) {
        self.keeper.forget_topic(entry.project(), entry.id()).await;
        let key = record::topic_key(entry.id());
        let transaction = Transaction::new().check(key.clone(), Some(entry.versioned().1)).delete(key);
        match self.records.commit(transaction).await {
            Ok(_) => self.directory.remove(entry),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(topic = %entry.id(), error, "the record of a destroyed topic is left until the next start");
            }
        }
    }
}
