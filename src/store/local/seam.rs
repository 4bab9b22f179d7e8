//! The store's two seams over what the threads share.

use std::{
    collections::BTreeMap,
    sync::{Arc, mpsc},
};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{
    Shared,
    database::{Meta, RECORDS},
    heads::{Asked, Goal, Taking, Target},
    recorder::{Task, decode, record_error},
};
use crate::{
    model::{Offset, Rlid, Time, TopicId},
    store::{
        AppendError, Block, BlockStore, CompactError, Extent, Joiner, KeyUsage, ReadError, Record, RecordError,
        RecordStore, Revision, Stats, Transaction, blocks::Reply,
    },
};

#[derive(Debug, Clone)]
pub(super) struct Seam {
    pub(super) shared: Arc<Shared>,
    pub(super) recorder: mpsc::Sender<Task>,
}

impl Seam {
    /// Has something read by a reader thread; `None` when the store is closed.
    async fn on_reader<T: Send + 'static>(&self, read: impl FnOnce(&Shared) -> T + Send + 'static) -> Option<T> {
        let (reply, result) = oneshot::channel();
        // Nobody may wait for the result any more.
        self.shared.readers.submit(move |shared| drop(reply.send(read(shared))));
        result.await.ok()
    }

    fn ask(&self, joiner: Joiner, goal: Goal) -> Reply<'_, Result<(), CompactError>> {
        let (reply, result) = oneshot::channel();
        let mut heads = self.shared.heads();
        if matches!(heads.taking, Taking::Yes | Taking::Poisoned(_)) {
            heads.asked.push(Asked { joiner, goal, reply });
            drop(heads);
            self.shared.arrived.notify_all();
        }
        Box::pin(async move { result.await.unwrap_or(Err(CompactError::Closed)) })
    }

    fn seek(&self, topic: TopicId, target: Target) -> Reply<'_, Result<Offset, ReadError>> {
        Box::pin(async move {
            self.on_reader(move |shared| shared.seek(topic, target)).await.unwrap_or(Err(ReadError::Closed))
        })
    }
}

impl BlockStore for Seam {
    fn append(&self, block: Block) -> Reply<'static, Result<(), AppendError>> {
        let (reply, result) = oneshot::channel();
        let taken = self.shared.heads().take(block, reply);
        match taken {
            Ok(()) => self.shared.arrived.notify_all(),
            Err((reply, error)) => drop(reply.send(Err(error))),
        }
        Box::pin(async move { result.await.unwrap_or(Err(AppendError::Closed)) })
    }

    fn extent(&self, topic: TopicId) -> Reply<'_, Result<Extent, ReadError>> {
        let extent = self.shared.heads().extent(topic);
        Box::pin(std::future::ready(Ok(extent)))
    }

    fn read(&self, topic: TopicId, from: Offset, bytes_max: usize) -> Reply<'_, Result<Vec<Block>, ReadError>> {
        Box::pin(async move {
            // A reader at the end of its topic asks often, and has the answer without a thread.
            if from >= self.shared.heads().extent(topic).next {
                return Ok(Vec::new());
            }
            let read = self.on_reader(move |shared| shared.read(topic, from, bytes_max)).await;
            read.unwrap_or(Err(ReadError::Closed))
        })
    }

    fn seek_event(&self, topic: TopicId, id: Rlid) -> Reply<'_, Result<Offset, ReadError>> {
        self.seek(topic, Target::Event(id))
    }

    fn seek_time(&self, topic: TopicId, time: Time) -> Reply<'_, Result<Offset, ReadError>> {
        self.seek(topic, Target::Time(time))
    }

    fn forget(&self, topic: TopicId) -> Reply<'_, Result<(), AppendError>> {
        let (reply, result) = oneshot::channel();
        drop(self.recorder.send(Task::Forget(topic, reply)));
        Box::pin(async move { result.await.unwrap_or(Err(AppendError::Closed)) })
    }

    fn compact(&self, joiner: Joiner) -> Reply<'_, Result<(), CompactError>> {
        self.ask(joiner, Goal::Compacted)
    }

    fn rewrite_stale(&self, joiner: Joiner) -> Reply<'_, Result<(), CompactError>> {
        self.ask(joiner, Goal::NothingStale)
    }

    fn key_usage(&self, topic: TopicId) -> Reply<'_, Result<BTreeMap<u32, KeyUsage>, ReadError>> {
        Box::pin(async move {
            let counted = self.on_reader(move |shared| shared.key_usage(topic)).await;
            counted.unwrap_or(Err(ReadError::Closed))
        })
    }

    fn compact_in_background(&self, joiner: Joiner) {
        self.shared.compaction.start_background(joiner);
    }

    fn health(&self) -> Result<(), AppendError> {
        match &self.shared.heads().taking {
            Taking::Yes => Ok(()),
            Taking::Poisoned(source) => Err(AppendError::Poisoned { source: Some(Arc::clone(source)) }),
            Taking::Closing | Taking::Abandoned => Err(AppendError::Closed),
        }
    }

    fn stats(&self) -> Stats {
        let mut stats = self.shared.counters.read();
        self.shared.compaction.count(&mut stats);
        stats
    }
}

impl RecordStore for Seam {
    fn get(&self, key: Bytes) -> Reply<'_, Result<Option<Record>, RecordError>> {
        Box::pin(async move {
            let read = self.on_reader(move |shared| get(&shared.meta, &key));
            read.await.ok_or(RecordError::Closed)?.map_err(|error| record_error("read", &error))
        })
    }

    fn scan(
        &self,
        prefix: Bytes,
        after: Option<Bytes>,
        limit: usize,
    ) -> Reply<'_, Result<Vec<(Bytes, Record)>, RecordError>> {
        Box::pin(async move {
            let read = self.on_reader(move |shared| scan(&shared.meta, &prefix, after.as_deref(), limit));
            read.await.ok_or(RecordError::Closed)?.map_err(|error| record_error("read", &error))
        })
    }

    fn commit(&self, transaction: Transaction) -> Reply<'_, Result<Revision, RecordError>> {
        let (reply, result) = oneshot::channel();
        drop(self.recorder.send(Task::Commit(transaction, reply)));
        Box::pin(async move { result.await.unwrap_or(Err(RecordError::Closed)) })
    }

    fn scrub(&self) -> Reply<'_, Result<(), RecordError>> {
        let (reply, result) = oneshot::channel();
        drop(self.recorder.send(Task::Scrub(reply)));
        Box::pin(async move { result.await.unwrap_or(Err(RecordError::Closed)) })
    }

    fn health(&self) -> Result<(), RecordError> {
        let health = self.shared.meta.health();
        health.map_err(|message| RecordError::Failed { action: "write", message: message.to_owned() })
    }
}

pub(super) fn get(meta: &Meta, key: &[u8]) -> Result<Option<Record>, redb::Error> {
    meta.read(|transaction| {
        let value = transaction.open_table(RECORDS)?.get(key)?;
        value.map(|value| decode(value.value())).transpose()
    })
}

/// Records in the order of their keys.
pub(super) fn scan(
    meta: &Meta,
    prefix: &[u8],
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Vec<(Bytes, Record)>, redb::Error> {
    meta.read(|transaction| {
        let records = transaction.open_table(RECORDS)?;
        let start = after.filter(|after| *after > prefix).unwrap_or(prefix);
        let mut found = Vec::new();
        for row in records.range(start..)? {
            let (key, value) = row?;
            if found.len() == limit || !key.value().starts_with(prefix) {
                break;
            }
            if after.is_none_or(|after| key.value() > after) {
                found.push((Bytes::copy_from_slice(key.value()), decode(value.value())?));
            }
        }
        Ok(found)
    })
}
