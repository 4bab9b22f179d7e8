//! What is kept in memory of each topic, and the blocks that wait for the journal. Both are behind one lock, because a block takes
//! its place in the queue and moves its topic's head at one instant.

use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::Arc,
};

use tokio::sync::oneshot;

use super::{catalogue::grow, compactor::CompactReply, exchange::ExtentChange, rows::TopicRow};
use crate::{
    journal::{Frame, FrameEntry, Segment},
    model::{Offset, Rlid, Time, TopicId},
    store::{AppendError, Block, Extent, Joiner},
};

pub(super) type AppendReply = oneshot::Sender<Result<(), AppendError>>;

/// A block that has its place in the order and is not durable yet.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) frame: Frame,
    pub(super) reply: AppendReply,
}

/// Whether blocks are taken.
#[derive(Debug, Clone)]
pub(super) enum Taking {
    Yes,
    Poisoned(Arc<io::Error>),
    /// No more; what waits is still written.
    Closing,
    /// No more, and what waits is refused.
    Abandoned,
}

#[derive(Debug)]
pub(super) struct Heads {
    topics: HashMap<TopicId, Topic>,
    pub(super) queue: Vec<Waiting>,
    /// Those who want everything compacted, for which the active segment is sealed first.
    pub(super) asked: Vec<Asked>,
    pub(super) taking: Taking,
}

/// Somebody who waits for a compaction.
#[derive(Debug)]
pub(super) struct Asked {
    /// What joins blocks for it.
    pub(super) joiner: Joiner,
    pub(super) goal: Goal,
    pub(super) reply: CompactReply,
}

/// What somebody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    /// Everything is compacted, at once.
    Compacted,
    /// Nothing is stale any more, whenever that is.
    NothingStale,
}

#[derive(Debug)]
enum Topic {
    Live(Head),
    Forgotten,
}

#[derive(Debug)]
struct Head {
    /// The offset after the last block that was taken.
    taken: Offset,
    /// What is durable.
    extent: Extent,
    latest: Time,
    /// The blocks in segments that are not registered yet.
    recent: VecDeque<Recent>,
}

/// A block that the catalogue does not know yet.
#[derive(Debug)]
struct Recent {
    segment: Arc<Segment>,
    entry: FrameEntry,
    /// The latest commit time of the topic up to here.
    latest: Time,
}

/// Where a topic's blocks from an offset on are.
#[derive(Debug)]
pub(super) enum Whereabouts {
    /// In memory it is known: these, which are in one segment.
    Recent(Arc<Segment>, Vec<FrameEntry>),
    /// In the catalogue.
    Catalogued,
    /// There are none.
    Nowhere,
}

/// What is looked for in a topic.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target {
    Event(Rlid),
    Time(Time),
}

/// Where to look for a target.
#[derive(Debug)]
pub(super) struct Search {
    /// The offsets that only the catalogue knows.
    pub(super) catalogued: (Offset, Offset),
    /// The answer when it is not there.
    pub(super) otherwise: Offset,
}

impl Target {
    pub(super) fn reached(self, last_rlid: Rlid, latest: Time) -> bool {
        match self {
            Target::Event(id) => last_rlid >= id,
            Target::Time(time) => latest >= time,
        }
    }
}

impl Head {
    const EMPTY: Head = Head {
        taken: Offset::FIRST,
        extent: Extent::EMPTY,
        latest: Time::from_nanos(i64::MIN),
        recent: VecDeque::new(),
    };

    fn push(&mut self, segment: &Arc<Segment>, entry: FrameEntry) {
        grow(&mut self.extent, &mut self.latest, &entry);
        self.recent.push_back(Recent { segment: Arc::clone(segment), entry, latest: self.latest });
    }

    /// The first offset that is not in the catalogue.
    fn recent_base(&self) -> Offset {
        self.recent.front().map_or(self.extent.next, |recent| recent.entry.base)
    }
}

impl Heads {
    pub(super) fn new(topics: Vec<(TopicId, TopicRow)>) -> Heads {
        let topics = topics.into_iter().map(|(topic, row)| match row {
            TopicRow::Live { extent, latest } => {
                (topic, Topic::Live(Head { taken: extent.next, extent, latest, recent: VecDeque::new() }))
            }
            TopicRow::Forgotten => (topic, Topic::Forgotten),
        });
        Heads { topics: topics.collect(), queue: Vec::new(), asked: Vec::new(), taking: Taking::Yes }
    }

    fn head(&self, topic: TopicId) -> Option<&Head> {
        match self.topics.get(&topic)? {
            Topic::Live(head) => Some(head),
            Topic::Forgotten => None,
        }
    }

    /// Takes up a frame that was found in a segment that is not registered. `false` when it does not continue its topic.
    pub(super) fn recover(&mut self, segment: &Arc<Segment>, topic: TopicId, entry: FrameEntry) -> bool {
        let Topic::Live(head) = self.topics.entry(topic).or_insert(Topic::Live(Head::EMPTY)) else {
            return true;
        };
        if head.extent.next != entry.base {
            return false;
        }
        head.push(segment, entry);
        head.taken = head.extent.next;
        true
    }

    /// Gives a block its place in the order.
    pub(super) fn take(&mut self, block: Block, reply: AppendReply) -> Result<(), (AppendReply, AppendError)> {
        match &self.taking {
            Taking::Yes => {}
            Taking::Poisoned(source) => {
                return Err((reply, AppendError::Poisoned { source: Some(Arc::clone(source)) }));
            }
            Taking::Closing | Taking::Abandoned => return Err((reply, AppendError::Closed)),
        }
        let (topic, base) = (block.head.topic, block.head.base);
        let Topic::Live(head) = self.topics.entry(topic).or_insert(Topic::Live(Head::EMPTY)) else {
            return Err((reply, AppendError::Forgotten { topic }));
        };
        if head.taken != base {
            return Err((reply, AppendError::WrongBase { topic, base, next: head.taken }));
        }
        head.taken = block.head.end();
        self.queue.push(Waiting { frame: Frame { head: block.head, payload: block.payload }, reply });
        Ok(())
    }

    /// Takes up a block that has become durable.
    pub(super) fn committed(
        &mut self,
        topic: TopicId,
        segment: &Arc<Segment>,
        entry: FrameEntry,
    ) -> Result<(), AppendError> {
        match self.topics.get_mut(&topic) {
            Some(Topic::Live(head)) => head.push(segment, entry),
            Some(Topic::Forgotten) | None => return Err(AppendError::Forgotten { topic }),
        }
        Ok(())
    }

    /// Gives up all blocks that wait, and the places of these, which were being written.
    pub(super) fn give_up(&mut self, under_way: &[Waiting]) -> Vec<Waiting> {
        let queue = std::mem::take(&mut self.queue);
        for waiting in under_way.iter().chain(&queue) {
            if let Some(Topic::Live(head)) = self.topics.get_mut(&waiting.frame.head.topic) {
                head.taken = head.extent.next;
            }
        }
        queue
    }

    /// The catalogue knows a segment now.
    pub(super) fn registered(&mut self, topic: TopicId, segment: u64) {
        if let Some(Topic::Live(head)) = self.topics.get_mut(&topic) {
            while head.recent.front().is_some_and(|recent| recent.segment.number() == segment) {
                head.recent.pop_front();
            }
        }
    }

    /// A topic's blocks in sealed segments have been exchanged for others.
    pub(super) fn exchanged(&mut self, change: &ExtentChange) {
        if let Some(Topic::Live(head)) = self.topics.get_mut(&change.topic) {
            change.apply(&mut head.extent);
        }
    }

    pub(super) fn is_forgotten(&self, topic: TopicId) -> bool {
        matches!(self.topics.get(&topic), Some(Topic::Forgotten))
    }

    pub(super) fn forgotten(&mut self, topic: TopicId) {
        self.topics.insert(topic, Topic::Forgotten);
    }

    pub(super) fn extent(&self, topic: TopicId) -> Extent {
        self.head(topic).map_or(Extent::EMPTY, |head| head.extent)
    }

    /// Where the blocks from an offset on are; of recent ones, so many that their payloads reach `bytes_max`.
    pub(super) fn find(&self, topic: TopicId, from: Offset, bytes_max: usize) -> Whereabouts {
        let Some(head) = self.head(topic).filter(|head| from < head.extent.next) else {
            return Whereabouts::Nowhere;
        };
        let from = from.max(head.extent.first);
        if from < head.recent_base() {
            return Whereabouts::Catalogued;
        }
        let at = head.recent.partition_point(|recent| recent.entry.end() <= from);
        let segment = &head.recent[at].segment;
        let together = head.recent.range(at..).take_while(|recent| recent.segment.number() == segment.number());
        let entries = until_bytes(together.map(|recent| recent.entry), bytes_max);
        Whereabouts::Recent(Arc::clone(segment), entries)
    }

    pub(super) fn search(&self, topic: TopicId, target: Target) -> Search {
        let Some(head) = self.head(topic) else {
            return Search { catalogued: (Offset::FIRST, Offset::FIRST), otherwise: Offset::FIRST };
        };
        let at = head.recent.partition_point(|recent| !target.reached(recent.entry.last_rlid, recent.latest));
        let otherwise = head.recent.get(at).map_or(head.extent.next, |recent| recent.entry.base);
        Search { catalogued: (head.extent.first, head.recent_base()), otherwise }
    }
}

/// The first entries, at least one, until their payloads reach so many bytes.
pub(super) fn until_bytes(entries: impl Iterator<Item = FrameEntry>, bytes_max: usize) -> Vec<FrameEntry> {
    let mut bytes = 0_usize;
    entries
        .take_while(|entry| {
            let take = bytes == 0 || bytes < bytes_max;
            bytes = bytes.saturating_add(usize::try_from(entry.stored_bytes).unwrap_or(usize::MAX).max(1));
            take
        })
        .collect()
}
