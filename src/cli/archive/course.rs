//! How far an archive has come: what its next line may be, and what its lines so far add up to. Writer and reader follow the
//! same course, so a checkpoint is right when both say the same.

use std::{fmt::Write as _, sync::Arc};

use sha2::{Digest, Sha256};

use super::line::{Begin, Checkpoint, End, Gap, Topic, TopicEnd, VERSION};
use crate::cli::record;

#[derive(Debug, Clone, Default)]
pub(super) struct Course {
    /// Of all whole chunks.
    hasher: Sha256,
    begin: Option<Arc<Begin>>,
    topics: Arc<Vec<Topic>>,
    /// Which topic is being gone through; the number of topics when all are.
    at: usize,
    /// The offset of that topic's next event.
    next: u64,
    topic_events: u64,
    topic_skipped: u64,
    events: u64,
    skipped: u64,
    /// What the records of that topic start with, up to their offset.
    start: Vec<u8>,
}

/// What a line may not be, and why.
pub(super) type Wrong = String;

impl Course {
    pub(super) fn begin(&mut self, begin: Begin) -> Result<(), Wrong> {
        if self.begin.is_some() {
            return Err("an archive begins once".to_owned());
        }
        if begin.version != VERSION {
            return Err(format!("the archive has version {}, and this program reads version {VERSION}", begin.version));
        }
        self.begin = Some(Arc::new(begin));
        Ok(())
    }

    pub(super) fn topic(&mut self, topic: Topic) -> Result<(), Wrong> {
        if self.begin.is_none() || self.is_planned() {
            return Err(format!("a topic where {} was to come", self.awaited()));
        }
        if topic.first == 0 || topic.last < topic.first - 1 || topic.last == u64::MAX {
            return Err(format!("there are no offsets {} to {}", topic.first, topic.last));
        }
        Arc::make_mut(&mut self.topics).push(topic);
        self.enter(0);
        Ok(())
    }

    pub(super) fn event(&mut self, offset: u64) -> Result<(), Wrong> {
        if !self.current().is_some_and(|topic| offset == self.next && offset <= topic.last) {
            return Err(format!("the event with offset {offset} where {} was to come", self.awaited()));
        }
        self.next += 1;
        self.topic_events += 1;
        self.events += 1;
        Ok(())
    }

    pub(super) fn gap(&mut self, gap: &Gap) -> Result<(), Wrong> {
        let Gap { topic: name, first, last } = gap;
        let fits = |topic: &Topic| *name == topic.name && *first == self.next && first <= last && *last <= topic.last;
        if !self.current().is_some_and(fits) {
            return Err(format!("a gap from {first} to {last} of topic {name} where {} was to come", self.awaited()));
        }
        let events = last - first + 1;
        self.next += events;
        self.topic_skipped += events;
        self.skipped += events;
        Ok(())
    }

    /// Goes on to the next topic; gives what the one that ended comes to.
    pub(super) fn end_topic(&mut self) -> Result<TopicEnd, Wrong> {
        let Some(topic) = self.current().filter(|topic| self.next > topic.last) else {
            return Err(format!("the end of a topic where {} was to come", self.awaited()));
        };
        let topic = topic.name.clone();
        let end = TopicEnd { topic, events: self.topic_events, skipped: self.topic_skipped };
        self.enter(self.at + 1);
        Ok(end)
    }

    fn enter(&mut self, at: usize) {
        self.at = at;
        (self.topic_events, self.topic_skipped) = (0, 0);
        self.start.clear();
        if let Some(topic) = self.topics.get(at) {
            self.next = topic.first;
            record::put_start(&topic.name, &mut self.start);
        }
    }

    /// Takes up the lines of a chunk, or the one that closes it.
    pub(super) fn add(&mut self, lines: &[u8]) {
        self.hasher.update(lines);
    }

    /// What closes a chunk, once its other lines are added.
    pub(super) fn checkpoint(&self) -> Checkpoint {
        let topic = self.current();
        Checkpoint {
            topic: topic.map(|topic| topic.name.clone()),
            next: topic.map(|_| self.next),
            events: self.events,
            sha256: self.sha256(),
        }
    }

    /// What closes the last chunk, once its other lines are added.
    pub(super) fn end(&self) -> Result<End, Wrong> {
        if !self.is_planned() || self.current().is_some() {
            return Err(format!("the end of the archive where {} was to come", self.awaited()));
        }
        Ok(End { topics: self.topics.len() as u64, events: self.events, skipped: self.skipped, sha256: self.sha256() })
    }

    fn sha256(&self) -> String {
        let mut text = String::new();
        for byte in self.hasher.clone().finalize() {
            write!(text, "{byte:02x}").expect("text takes everything");
        }
        text
    }

    /// What an archive says first of itself, when it has.
    pub(super) fn beginning(&self) -> Option<&Begin> {
        self.begin.as_deref()
    }

    pub(super) fn topics(&self) -> &[Topic] {
        &self.topics
    }

    /// Whether all lines of topics are there.
    pub(super) fn is_planned(&self) -> bool {
        self.begin.as_ref().is_some_and(|begin| begin.topics == self.topics.len() as u64)
    }

    /// The topic whose events come next, if any do.
    pub(super) fn current(&self) -> Option<&Topic> {
        self.topics.get(self.at).filter(|_| self.is_planned())
    }

    /// Which topic that is.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The offset of that topic's next event.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// What the records of that topic start with, up to their offset.
    pub(super) fn start(&self) -> &[u8] {
        &self.start
    }

    pub(super) fn events(&self) -> u64 {
        self.events
    }

    /// How many events there are and were left out so far.
    pub(super) fn passed(&self) -> u64 {
        self.events + self.skipped
    }

    /// How many events there are and are left out in all, as the lines of topics say.
    pub(super) fn planned(&self) -> u64 {
        self.topics.iter().map(|topic| topic.last + 1 - topic.first).sum()
    }

    /// What has to come next.
    fn awaited(&self) -> String {
        match self.current() {
            _ if self.begin.is_none() => "the beginning of the archive".to_owned(),
            _ if !self.is_planned() => "a topic".to_owned(),
            None => "the end of the archive".to_owned(),
            Some(topic) if self.next > topic.last => format!("the end of topic {}", topic.name),
            Some(topic) => format!("offset {} of topic {}", self.next, topic.name),
        }
    }
}
