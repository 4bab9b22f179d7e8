//! A cursor in a topic: it pulls committed blocks, from the cache near the head and from the store behind it.
//!
//! Nothing is ever pushed to a reader, so a slow one holds nobody up and loses nothing. What it holds is a bounded number
//! of bytes: blocks that it has read ahead, as they are stored, and the decoded one that it is in the middle of.

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

/// How many bytes a reader holds of each kind between two readings, unless it is told to hold fewer.
const HELD_BYTES_MAX: usize = 1024 * 1024;

/// A cursor in one topic.
#[derive(Debug)]
pub struct Reader {
    topic: Topic,
    head: watch::Receiver<Head>,
    next: Offset,
    ahead: VecDeque<Block>,
    /// The block of which a part was given, or that was looked into.
    begun: Option<Arc<DecodedBlock>>,
    held_bytes_max: usize,
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
        Reader { topic, head, next: from, ahead: VecDeque::new(), begun: None, held_bytes_max: HELD_BYTES_MAX }
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

    /// Bounds what is held between two readings, for those who have many readers. What does not fit is read again.
    pub fn hold_at_most(&mut self, bytes: usize) {
        self.held_bytes_max = bytes.min(HELD_BYTES_MAX);
    }

    /// Whether there is something to read, or to learn: that the topic has been destroyed.
    pub fn is_ready(&self) -> bool {
        let head = self.head.borrow();
        head.destroyed || head.next > self.next
    }

    /// Waits until [`Reader::is_ready`]. Cancel-safe.
    pub async fn ready(&mut self) {
        self.arrival().await;
    }

    /// As [`Reader::ready`], for whoever waits for many readers at once.
    pub fn arrival(&self) -> impl Future<Output = ()> + Send + 'static {
        let (mut head, next) = (self.head.clone(), self.next);
        async move {
            if head.wait_for(|head| head.destroyed || head.next > next).await.is_err() {
                // The engine has closed: there will never be more, and whoever waits is ended by other means.
                std::future::pending::<()>().await;
            }
        }
    }

    /// The next events, up to the end of a block; `None` when the reader has reached the end of the topic. Cancel-safe:
    /// what was not returned is read again.
    pub async fn read(&mut self) -> Result<Option<Slice>, FetchError> {
        self.read_until(Time::from_nanos(i64::MAX)).await
    }

    /// As [`Reader::read`], and only up to the first run that was committed later than this. The first run is given in any
    /// case.
    pub async fn read_until(&mut self, time: Time) -> Result<Option<Slice>, FetchError> {
        if !self.has_more()? {
            return Ok(None);
        }
        let runs = self.block().await?;
        let mut slice = Slice { from: self.next, until: runs.end, runs };
        let later = slice.runs().skip(1).find(|run| run.committed > time).map(|run| run.base);
        if let Some(later) = later {
            slice.until = later;
            self.hold(&slice.runs);
        }
        self.next = slice.until;
        Ok(Some(slice))
    }

    /// When the next event was committed; `None` when the reader has reached the end of the topic. Cancel-safe.
    pub async fn peek(&mut self) -> Result<Option<Time>, FetchError> {
        if !self.has_more()? {
            return Ok(None);
        }
        let next = self.next;
        let runs = if let Some(runs) = self.at_hand() {
            runs
        } else {
            self.read_ahead().await?;
            // What a block begins with is said in its head, so that it need not be decoded for it.
            let begins = self.ahead.front().filter(|block| block.head.base == next);
            if let Some(time) = begins.map(|block| block.head.first_committed) {
                if self.ahead.iter().map(|block| block.payload.len()).sum::<usize>() > self.held_bytes_max {
                    self.ahead.clear();
                }
                return Ok(Some(time));
            }
            self.block().await?
        };
        self.hold(&runs);
        Ok(runs.runs.iter().find(|run| run.end() > next).map(|run| run.committed))
    }

    fn has_more(&mut self) -> Result<bool, FetchError> {
        let head = *self.head.borrow_and_update();
        if head.destroyed { Err(FetchError::Destroyed) } else { Ok(head.next > self.next) }
    }

    fn hold(&mut self, runs: &Arc<DecodedBlock>) {
        self.begun = (runs.bytes <= self.held_bytes_max).then(|| runs.clone());
    }

    /// Leaves out what lies before an offset; says how many events that are.
    pub fn skip_to(&mut self, offset: Offset) -> u64 {
        let next = offset.max(self.next);
        next.distance_from(std::mem::replace(&mut self.next, next))
    }

    /// The block that holds the next event, when it has been decoded and nothing has to be read for it.
    fn at_hand(&mut self) -> Option<Arc<DecodedBlock>> {
        let holds_next = |block: &Block| (block.head.base..block.head.end()).contains(&self.next);
        while self.ahead.front().is_some_and(|block| !holds_next(block)) {
            self.ahead.pop_front();
        }
        let begun = self.begun.take().filter(|block| (block.base..block.end).contains(&self.next));
        // Its key may have been closed since.
        begun
            .filter(|block| self.topic.may_read(block))
            .or_else(|| self.ahead.is_empty().then(|| self.topic.cached(self.next))?)
    }

    /// Reads the stored block that holds the next event, and some behind it, unless that has been done.
    async fn read_ahead(&mut self) -> Result<(), FetchError> {
        if self.ahead.is_empty() {
            self.ahead = self.topic.fetch(self.next, READ_AHEAD_BYTES.min(self.held_bytes_max)).await?;
        }
        Ok(())
    }

    /// The block that holds the next event.
    async fn block(&mut self) -> Result<Arc<DecodedBlock>, FetchError> {
        if let Some(runs) = self.at_hand() {
            return Ok(runs);
        }
        self.read_ahead().await?;
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
    /// Cuts off what lies before `start`.
    #[must_use]
    pub fn behind(mut self, start: Offset) -> Slice {
        self.from = self.from.max(start);
        self
    }

    /// Cuts off what lies at `end` and behind it.
    #[must_use]
    pub fn before(mut self, end: Offset) -> Slice {
        self.until = self.until.min(end);
        self
    }

    /// Cuts off what lies before `start`.
    #[must_use]
    pub fn starting_at(mut self, start: Offset) -> Slice {
        self.from = self.from.max(start);
        self
    }

    pub fn is_empty(&self) -> bool {
        self.from >= self.until
    }

    /// The offset of the first event, and the one behind the last.
    pub fn bounds(&self) -> (Offset, Offset) {
        (self.from, self.until)
    }

    /// The parts of its runs that it has: the first offset and identifier of each, and how many events they are.
    pub fn parts(&self) -> impl Iterator<Item = (Offset, Rlid, u32)> {
        self.runs().map(|run| {
            let first = run.base.max(self.from);
            let count = u32::try_from(run.end().min(self.until).distance_from(first)).unwrap_or(u32::MAX);
            (first, run.first_rlid.plus(first.distance_from(run.base)), count)
        })
    }

    /// The bytes of the records of all runs of which something is in the slice.
    pub fn record_bytes(&self) -> usize {
        self.runs().map(|run| run.records.len()).sum()
    }

    /// The offset of the first event that was committed at this time or later.
    pub fn first_since(&self, time: Time) -> Option<Offset> {
        self.runs().find(|run| run.committed >= time).map(|run| run.base.max(self.from))
    }

    /// The offset of the first event with this identifier or a larger one.
    pub fn first_from(&self, id: Rlid) -> Option<Offset> {
        let run = self.runs().find(|run| run.last_rlid() >= id)?;
        let offset = run.base.plus(id.distance_from(run.first_rlid).unwrap_or(0));
        Some(offset.max(self.from)).filter(|offset| *offset < self.until)
    }

    /// The runs of which it has events.
    fn runs(&self) -> impl Iterator<Item = &Run> {
        let (from, until) = (self.from, self.until);
        self.runs.runs.iter().filter(move |run| run.end() > from && run.base < until)
    }

    /// The events, in order.
    pub fn events(&self) -> impl Iterator<Item = EventRef<'_>> {
        let (from, until) = (self.from, self.until);
        self.runs().flat_map(move |run| {
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
