//! What was promised, what was read, and whether the two agree: the judge.
//!
//! After every restart: each event that was acked is there, once, as it was sent, and in the order in which its writer sent
//! it; nothing is there that nobody sent; offsets have no gaps; ids only grow; and what was read once is read again at the
//! same offset under the same id. An event that was sent and never acked may be there or not.

use std::{
    collections::BTreeMap,
    fmt,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use super::{numbers::Numbers, writer};
use crate::{
    client::Event,
    model::{Rlid, TopicId},
};

/// Everything that is known of the run.
#[derive(Debug, Default)]
pub(super) struct Record {
    topics: BTreeMap<TopicId, TopicRecord>,
}

#[derive(Debug, Default)]
struct TopicRecord {
    writers: BTreeMap<u64, WriterRecord>,
    /// What was read last: a digest of each event's id, writer and number, by offset.
    read: Vec<u64>,
    /// How many of these nobody had an ack for.
    unacked: u64,
}

#[derive(Debug, Default)]
struct WriterRecord {
    /// How many events it sent, which are the numbers below.
    sent: u64,
    acked: Numbers,
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Violation {
    Missing { writer: u64, number: u64, count: u64 },
    Changed { offset: u64 },
    Invented { offset: u64 },
    Duplicated { writer: u64, number: u64, offset: u64 },
    OutOfOrder { writer: u64, number: u64, after: u64, offset: u64 },
    Gap { expected: u64, found: u64 },
    IdNotLater { offset: u64 },
    Moved { offset: u64 },
    Forgotten { before: u64, now: u64 },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::Missing { writer, number, count: 1 } => {
                write!(f, "an acked event is missing: number {number} of writer {writer}")
            }
            Violation::Missing { writer, number, count } => {
                write!(f, "{count} acked events of writer {writer} are missing, the first of them its number {number}")
            }
            Violation::Changed { offset } => write!(f, "the event at offset {offset} is not as it was sent"),
            Violation::Invented { offset } => write!(f, "nobody sent the event at offset {offset}"),
            Violation::Duplicated { writer, number, offset } => {
                write!(f, "event {number} of writer {writer} is there again at offset {offset}")
            }
            Violation::OutOfOrder { writer, number, after, offset } => {
                write!(f, "event {number} of writer {writer} stands behind its event {after}, at offset {offset}")
            }
            Violation::Gap { expected, found } => write!(f, "offset {found} follows where {expected} should"),
            Violation::IdNotLater { offset } => {
                write!(f, "the id at offset {offset} is not greater than the one before")
            }
            Violation::Moved { offset } => {
                write!(
                    f,
                    "the event at offset {offset} is another one, or has another id, than when it was read before"
                )
            }
            Violation::Forgotten { before, now } => {
                write!(f, "{before} events were read before, and now there are {now}")
            }
        }
    }
}

impl Record {
    /// Notes how many events a writer has sent so far, and which of them were acked since the last note.
    pub(super) fn note(&mut self, topic: TopicId, writer: u64, sent: u64, acked: impl IntoIterator<Item = u64>) {
        let record = self.topics.entry(topic).or_default().writers.entry(writer).or_default();
        record.sent = sent;
        for number in acked {
            record.acked.insert(number);
        }
    }

    /// Begins to read a topic from its start.
    pub(super) fn read(&mut self, topic: TopicId, seed: u64) -> Reading<'_> {
        Reading { topic: self.topics.entry(topic).or_default(), seed, read: Vec::new(), id: None, of: BTreeMap::new() }
    }

    pub(super) fn sent(&self) -> u64 {
        self.writers().map(|writer| writer.sent).sum()
    }

    pub(super) fn acked(&self) -> u64 {
        self.writers().map(|writer| writer.acked.count()).sum()
    }

    /// How many events were there when everything was read last.
    pub(super) fn found(&self) -> u64 {
        self.topics.values().map(|topic| topic.read.len() as u64).sum()
    }

    /// How many of them nobody had an ack for, which is allowed.
    pub(super) fn found_unacked(&self) -> u64 {
        self.topics.values().map(|topic| topic.unacked).sum()
    }

    fn writers(&self) -> impl Iterator<Item = &WriterRecord> {
        self.topics.values().flat_map(|topic| topic.writers.values())
    }
}

/// A topic that is being read.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    topic: &'a mut TopicRecord,
    seed: u64,
    read: Vec<u64>,
    /// The id of the last event.
    id: Option<Rlid>,
    of: BTreeMap<u64, Found>,
}

/// The events of one writer, as far as they were read.
#[derive(Debug, Default)]
struct Found {
    last: u64,
    numbers: Numbers,
}

impl Reading<'_> {
    /// Takes the next event.
    pub(super) fn event(&mut self, event: &Event) -> Result<(), Violation> {
        let (offset, expected) = (event.offset.get(), self.read.len() as u64 + 1);
        if offset != expected {
            return Err(Violation::Gap { expected, found: offset });
        }
        if self.id.replace(event.id).is_some_and(|before| before >= event.id) {
            return Err(Violation::IdNotLater { offset });
        }
        let (writer, number) = writer::origin(&event.data).ok_or(Violation::Invented { offset })?;
        if self.topic.writers.get(&writer).is_none_or(|writer| number >= writer.sent) {
            return Err(Violation::Invented { offset });
        }
        if event.data != writer::content(self.seed, writer, number) {
            return Err(Violation::Changed { offset });
        }
        let found = self.of.entry(writer).or_default();
        if !found.numbers.insert(number) {
            return Err(Violation::Duplicated { writer, number, offset });
        }
        if number < found.last {
            return Err(Violation::OutOfOrder { writer, number, after: found.last, offset });
        }
        found.last = number;
        let mut digest = DefaultHasher::new();
        (event.id, writer, number).hash(&mut digest);
        let digest = digest.finish();
        if self.topic.read.get(self.read.len()).is_some_and(|before| *before != digest) {
            return Err(Violation::Moved { offset });
        }
        self.read.push(digest);
        Ok(())
    }

    /// Ends at the end of the topic.
    pub(super) fn finish(self) -> Result<(), Violation> {
        let none = Numbers::default();
        let mut acked = 0;
        for (writer, record) in &self.topic.writers {
            let found = self.of.get(writer).map_or(&none, |found| &found.numbers);
            if let Some((number, count)) = record.acked.missing_in(found) {
                return Err(Violation::Missing { writer: *writer, number, count });
            }
            acked += record.acked.count();
        }
        let (before, now) = (self.topic.read.len() as u64, self.read.len() as u64);
        if now < before {
            return Err(Violation::Forgotten { before, now });
        }
        self.topic.unacked = now - acked;
        self.topic.read = self.read;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;

    use super::*;
    use crate::model::{Mimetype, Offset, Ulid};

    const SEED: u64 = 5;
    const TOPIC: TopicId = TopicId(Ulid::from_bytes([1; 16]));

    fn event(offset: u64, data: Bytes) -> Event {
        Event {
            topic: TOPIC,
            offset: Offset::new(offset),
            id: Rlid::from_parts(offset, 1),
            committed: None,
            created: None,
            mimetype: Mimetype::OCTET_STREAM,
            schema: None,
            metadata: BTreeMap::new(),
            key: Bytes::new(),
            data,
            encryption: None,
            publisher: None,
        }
    }

    fn ours(offset: u64, number: u64) -> Event {
        event(offset, writer::content(SEED, 0, number))
    }

    fn theirs(offset: u64, number: u64) -> Event {
        event(offset, writer::content(SEED, 1, number))
    }

    /// Writers 0 and 1 sent ten events each, and these of writer 0 were acked.
    fn record(acked: &[u64]) -> Record {
        let mut record = Record::default();
        record.note(TOPIC, 0, 10, acked.iter().copied());
        record.note(TOPIC, 1, 10, []);
        record
    }

    fn read(record: &mut Record, events: &[Event]) -> Result<(), Violation> {
        let mut reading = record.read(TOPIC, SEED);
        events.iter().try_for_each(|event| reading.event(event))?;
        reading.finish()
    }

    #[track_caller]
    fn check(acked: &[u64], events: &[Event], violation: Violation) {
        assert_eq!(read(&mut record(acked), events), Err(violation));
    }

    #[test]
    fn what_was_acked_is_there_and_what_was_not_may_be() {
        let mut record = record(&[0, 2]);
        // Writers have an order each, and none between them.
        assert_eq!(read(&mut record, &[theirs(1, 3), ours(2, 0), ours(3, 2), ours(4, 5), theirs(5, 4)]), Ok(()));
        assert_eq!((record.sent(), record.acked(), record.found(), record.found_unacked()), (20, 2, 5, 3));
        // More may come behind it.
        record.note(TOPIC, 0, 20, [12]);
        let more = [theirs(1, 3), ours(2, 0), ours(3, 2), ours(4, 5), theirs(5, 4), ours(6, 12)];
        assert_eq!(read(&mut record, &more), Ok(()));
        assert_eq!((record.sent(), record.acked(), record.found(), record.found_unacked()), (30, 3, 6, 3));
    }

    #[test]
    fn an_acked_event_that_is_missing_is_noticed() {
        check(&[0], &[], Violation::Missing { writer: 0, number: 0, count: 1 });
        check(&[0, 1, 2, 5], &[ours(1, 0), ours(2, 2)], Violation::Missing { writer: 0, number: 1, count: 2 });
        // Another writer's event of the same number is no substitute.
        check(&[4], &[theirs(1, 4)], Violation::Missing { writer: 0, number: 4, count: 1 });
    }

    #[test]
    fn an_event_that_is_changed_is_noticed() {
        let whole = writer::content(SEED, 0, 4);
        for position in 16..whole.len() {
            let mut bytes = whole.to_vec();
            bytes[position] ^= 1;
            check(&[], &[event(1, bytes.into())], Violation::Changed { offset: 1 });
        }
        check(&[], &[event(1, whole.slice(..whole.len() - 1))], Violation::Changed { offset: 1 });
        check(&[], &[event(1, [&whole[..], b"x"].concat().into())], Violation::Changed { offset: 1 });
        // Under the name of another writer, or another number.
        let mut renamed = whole.to_vec();
        renamed[7] = 1;
        check(&[], &[event(1, renamed.into())], Violation::Changed { offset: 1 });
    }

    #[test]
    fn an_event_that_is_there_twice_is_noticed() {
        let again = |offset| Violation::Duplicated { writer: 0, number: 1, offset };
        check(&[], &[ours(1, 0), ours(2, 1), ours(3, 1)], again(3));
        check(&[], &[ours(1, 1), ours(2, 2), ours(3, 1)], again(3));
        check(&[], &[ours(1, 1), theirs(2, 1), theirs(3, 2), ours(4, 1)], again(4));
    }

    #[test]
    fn events_that_changed_places_are_noticed() {
        let late = Violation::OutOfOrder { writer: 0, number: 1, after: 3, offset: 2 };
        check(&[1, 3], &[ours(1, 3), ours(2, 1)], late);
        let late = Violation::OutOfOrder { writer: 0, number: 2, after: 3, offset: 4 };
        check(&[1, 2, 3], &[ours(1, 1), ours(2, 3), theirs(3, 9), ours(4, 2)], late);
    }

    #[test]
    fn an_event_that_nobody_sent_is_noticed() {
        check(&[], &[ours(1, 10)], Violation::Invented { offset: 1 });
        check(&[], &[event(1, writer::content(SEED, 2, 0))], Violation::Invented { offset: 1 });
        check(&[], &[event(1, Bytes::from_static(b"stranger"))], Violation::Invented { offset: 1 });
    }

    #[test]
    fn offsets_and_ids_have_their_order() {
        check(&[], &[ours(2, 0)], Violation::Gap { expected: 1, found: 2 });
        check(&[], &[ours(1, 0), ours(3, 1)], Violation::Gap { expected: 2, found: 3 });
        check(&[], &[ours(1, 0), ours(1, 1)], Violation::Gap { expected: 2, found: 1 });
        let early = Event { id: Rlid::from_parts(1, 1), ..ours(2, 1) };
        check(&[], &[ours(1, 0), early], Violation::IdNotLater { offset: 2 });
    }

    #[test]
    fn what_was_read_once_stays_where_and_what_it_is() {
        let seen = [ours(1, 0), ours(2, 2), ours(3, 5)];
        let mut record = record(&[0]);
        assert_eq!(read(&mut record, &seen), Ok(()));
        let moved = Err(Violation::Moved { offset: 3 });
        assert_eq!(read(&mut record, &[ours(1, 0), ours(2, 2), ours(3, 6)]), moved);
        let renamed = Event { id: Rlid::from_parts(3, 2), ..ours(3, 5) };
        assert_eq!(read(&mut record, &[ours(1, 0), ours(2, 2), renamed]), moved);
        // Also an event that nobody had an ack for does not go away once it was read.
        assert_eq!(read(&mut record, &seen[..2]), Err(Violation::Forgotten { before: 3, now: 2 }));
        assert_eq!(read(&mut record, &seen), Ok(()));
    }
}
