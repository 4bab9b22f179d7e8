//! A cursor in a topic: it pulls committed blocks, from the cache near the head and from the store behind it.
//!
//! Nothing is ever pushed to a reader, so a slow one holds nobody up and loses nothing. It holds the blocks it has read
//! ahead and not given out yet, as they are stored, which is a bounded number of bytes.

use std::{collections::VecDeque, sync::Arc};

use tokio::sync::watch;

use super::{
    Topic,
    error::FetchError,
    run::{DecodedBlock, Run, records_of},
    topic::Head,
};
use crate::{
    model::{Offset, Rlid, Time},
    store::Block,
};

/// How many bytes of stored blocks are read at a time.
const READ_AHEAD_BYTES: usize = 256 * 1024;

/// A cursor in one topic.
#[derive(Debug)]
pub struct Reader {
    topic: Topic,
    head: watch::Receiver<Head>,
    next: Offset,
    ahead: VecDeque<Block>,
}

/// Consecutive events of one block.
#[derive(Debug, Clone)]
pub struct Slice {
    runs: Arc<DecodedBlock>,
    from: Offset,
    until: Offset,
}

/// One event, as a slice of its block and what its run says of it.
#[derive(Debug, Clone, Copy)]
pub struct EventRef<'a> {
    pub offset: Offset,
    pub rlid: Rlid,
    pub run: &'a Run,
    pub record: &'a [u8],
}

impl EventRef<'_> {
    pub fn committed(&self) -> Time {
        self.run.committed
    }
}

impl Reader {
    pub(super) fn new(topic: Topic, from: Offset) -> Reader {
        let head = topic.head();
        Reader { topic, head, next: from, ahead: VecDeque::new() }
    }

    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// The offset of the next event that [`Reader::read`] gives.
    pub fn next(&self) -> Offset {
        self.next
    }

    /// The committed end of the topic, as of now.
    pub fn end(&self) -> Offset {
        self.head.borrow().next
    }

    /// Whether there is something to read, or to learn: that the topic has been destroyed.
    pub fn is_ready(&self) -> bool {
        let head = self.head.borrow();
        head.destroyed || head.next > self.next
    }

    /// Waits until [`Reader::is_ready`]. Cancel-safe.
    pub async fn ready(&mut self) {
        let next = self.next;
        if self.head.wait_for(|head| head.destroyed || head.next > next).await.is_err() {
            // The engine has closed: there will never be more, and whoever waits is ended by other means.
            std::future::pending::<()>().await;
        }
    }

    /// The next events, up to the end of a block; `None` when the reader has reached the end of the topic. Cancel-safe:
    /// what was not returned is read again.
    pub async fn read(&mut self) -> Result<Option<Slice>, FetchError> {
        let head = *self.head.borrow_and_update();
        if head.destroyed {
            return Err(FetchError::Destroyed);
        }
        if head.next <= self.next {
            return Ok(None);
        }
        let runs = self.block().await?;
        let slice = Slice { from: self.next, until: runs.end, runs };
        self.next = slice.until;
        Ok(Some(slice))
    }

    /// Leaves out what lies before an offset; says how many events that are.
    pub fn skip_to(&mut self, offset: Offset) -> u64 {
        let next = offset.max(self.next);
        next.distance_from(std::mem::replace(&mut self.next, next))
    }

    /// The block that holds the next event.
    async fn block(&mut self) -> Result<Arc<DecodedBlock>, FetchError> {
        let holds_next = |block: &Block| (block.head.base..block.head.end()).contains(&self.next);
        while self.ahead.front().is_some_and(|block| !holds_next(block)) {
            self.ahead.pop_front();
        }
        if self.ahead.is_empty() {
            if let Some(runs) = self.topic.cached(self.next) {
                return Ok(runs);
            }
            self.ahead = self.topic.fetch(self.next, READ_AHEAD_BYTES).await?;
        }
        let end = self.end();
        let block = self.ahead.front().ok_or(FetchError::BeyondEnd { offset: self.next, end })?;
        let runs = match self.topic.decoded(block).await {
            // What was read ahead may be stored under another key by now.
            Err(FetchError::Closed { .. }) => {
                self.ahead = self.topic.fetch(self.next, READ_AHEAD_BYTES).await?;
                let block = self.ahead.front().ok_or(FetchError::BeyondEnd { offset: self.next, end })?;
                self.topic.decoded(block).await?
            }
            decoded => decoded?,
        };
        self.ahead.pop_front();
        Ok(runs)
    }
}

impl Slice {
    /// Cuts off what lies at `end` and behind it.
    #[must_use]
    pub fn before(mut self, end: Offset) -> Slice {
        self.until = self.until.min(end);
        self
    }

    pub fn is_empty(&self) -> bool {
        self.from >= self.until
    }

    /// The events from the one `skip` places on, in order.
    pub fn events(&self) -> impl Iterator<Item = EventRef<'_>> {
        let (from, until) = (self.from, self.until);
        self.runs.runs.iter().filter(move |run| run.end() > from && run.base < until).flat_map(move |run| {
            let skip = from.distance_from(run.base);
            let take = until.distance_from(run.base).min(u64::from(run.count)).saturating_sub(skip);
            (skip..)
                .zip(records_of(&run.records).skip(usize::try_from(skip).unwrap_or(usize::MAX)))
                .take(usize::try_from(take).unwrap_or(usize::MAX))
                .map(move |(at, record)| EventRef {
                    offset: run.base.plus(at),
                    rlid: run.first_rlid.plus(at),
                    run,
                    record,
                })
        })
    }
}
