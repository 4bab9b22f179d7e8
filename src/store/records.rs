//! Keyed records with compare-and-set, ordered scans and transactions.

use std::{fmt, sync::Arc};

use bytes::Bytes;

use super::blocks::Reply;

/// Which write a record's value comes from. Revisions of one key only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision(pub u64);

/// A stored value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub value: Bytes,
    pub revision: Revision,
}

/// Why records could not be read or written.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// A check of the transaction did not hold; nothing was written.
    #[error("the record {key:?} has been changed meanwhile")]
    Conflict { key: Bytes },
    #[error("no space left to store records")]
    NoSpace {
        #[source]
        source: Arc<std::io::Error>,
    },
    #[error("could not {action} records: {message}")]
    Failed { action: &'static str, message: String },
    #[error("the store is closed")]
    Closed,
}

/// Checks and changes that happen together or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transaction {
    /// Each key with the revision that it must have; `None`: there must be no such record.
    pub checks: Vec<(Bytes, Option<Revision>)>,
    /// Each key with its new value; `None` deletes. A key appears once at most.
    pub changes: Vec<(Bytes, Option<Bytes>)>,
}

impl Transaction {
    pub fn new() -> Transaction {
        Transaction::default()
    }

    #[must_use]
    pub fn check(mut self, key: impl Into<Bytes>, revision: Option<Revision>) -> Transaction {
        self.checks.push((key.into(), revision));
        self
    }

    #[must_use]
    pub fn put(mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Transaction {
        self.changes.push((key.into(), Some(value.into())));
        self
    }

    /// Both together.
    #[must_use]
    pub fn and(mut self, other: Transaction) -> Transaction {
        self.checks.extend(other.checks);
        self.changes.extend(other.changes);
        self
    }

    #[must_use]
    pub fn delete(mut self, key: impl Into<Bytes>) -> Transaction {
        self.changes.push((key.into(), None));
        self
    }
}

/// What an implementation of [`Records`] provides. Callers use [`Records`].
pub trait RecordStore: Send + Sync + fmt::Debug + 'static {
    fn get(&self, key: Bytes) -> Reply<'_, Result<Option<Record>, RecordError>>;
    fn scan(
        &self,
        prefix: Bytes,
        after: Option<Bytes>,
        limit: usize,
    ) -> Reply<'_, Result<Vec<(Bytes, Record)>, RecordError>>;
    fn commit(&self, transaction: Transaction) -> Reply<'_, Result<Revision, RecordError>>;
    fn scrub(&self) -> Reply<'_, Result<(), RecordError>>;
    fn health(&self) -> Result<(), RecordError>;
}

/// The records of all modules above; each keeps its keys under a prefix of its own.
#[derive(Debug, Clone)]
pub struct Records(Arc<dyn RecordStore>);

impl Records {
    pub fn new(store: impl RecordStore) -> Records {
        Records(Arc::new(store))
    }

    pub async fn get(&self, key: impl Into<Bytes>) -> Result<Option<Record>, RecordError> {
        self.0.get(key.into()).await
    }

    /// The records whose keys start with `prefix`, in the order of their bytes, from the first key behind `after`, which
    /// is a whole key and need not exist; at most `limit`.
    pub async fn scan(
        &self,
        prefix: impl Into<Bytes>,
        after: Option<Bytes>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Record)>, RecordError> {
        self.0.scan(prefix.into(), after, limit).await
    }

    /// Carries out a transaction; resolves when it is durable, with the revision that everything it put has.
    pub async fn commit(&self, transaction: Transaction) -> Result<Revision, RecordError> {
        self.0.commit(transaction).await
    }

    /// Makes sure that values which were replaced or deleted before this call can't be found any more by whoever looks at what the
    /// store keeps, not even in places that nothing refers to. It takes as long as copying all records does.
    pub async fn scrub(&self) -> Result<(), RecordError> {
        self.0.scrub().await
    }

    /// Whether transactions can succeed: the error that ended all writing, if one did. A want of room is none.
    pub fn health(&self) -> Result<(), RecordError> {
        self.0.health()
    }
}
