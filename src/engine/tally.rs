//! What a topic holds, counted: events, bytes, types.
//!
//! A tally covers a topic up to an offset. The actor extends it with every commit; after a restart it continues from
//! what was kept last, by reading the runs behind it, whose heads carry their counts. It is exact, and never late.

use std::collections::HashMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::run::Run;
use crate::model::{BlockHead, Offset, Rlid, Time};

/// Events of one type in a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeTally {
    /// The encoded type, as it was published; empty for events without one.
    pub schema: Vec<u8>,
    pub mimetype: i32,
    pub events: u64,
    pub duplicates: u64,
    /// The bytes of the wrappers as they are delivered.
    pub data_bytes: u64,
}

/// What a topic holds. Types stand in the order in which they came first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    pub events: u64,
    pub duplicates: u64,
    pub data_bytes: u64,
    pub last: Option<(Rlid, Time)>,
    pub types: Vec<TypeTally>,
}

/// A tally with the place it reaches up to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RunningTally {
    pub(super) tally: Tally,
    pub(super) next: Offset,
    index: HashMap<(Vec<u8>, i32), usize>,
}

/// The form in which a tally is kept.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    next: u64,
    events: u64,
    duplicates: u64,
    data_bytes: u64,
    last_rlid: Option<[u8; 10]>,
    last_committed_ns: i64,
    types: Vec<TypeTally>,
}

impl RunningTally {
    pub(super) fn new() -> RunningTally {
        RunningTally { tally: Tally::default(), next: Offset::FIRST, index: HashMap::new() }
    }

    /// Counts a run if it is the next one; says whether it was.
    pub(super) fn extend(&mut self, run: &Run) -> bool {
        if run.base != self.next {
            return false;
        }
        self.next = run.end();
        self.tally.events += u64::from(run.count);
        self.tally.last = Some((run.last_rlid(), run.committed));
        for count in &run.types {
            self.tally.data_bytes += count.data_bytes;
            let entry = self.entry(&count.schema, count.mimetype);
            entry.events += count.events;
            entry.data_bytes += count.data_bytes;
        }
        true
    }

    /// Counts a block that nobody can read any more, by what its head says, if it is the next one; says whether it was.
    pub(super) fn extend_unread(&mut self, head: &BlockHead) -> bool {
        if head.base != self.next {
            return false;
        }
        self.next = head.end();
        self.tally.events += u64::from(head.count);
        self.tally.last = Some((head.last_rlid, head.last_committed));
        true
    }

    fn entry(&mut self, schema: &Bytes, mimetype: i32) -> &mut TypeTally {
        let types = &mut self.tally.types;
        let at = *self.index.entry((schema.to_vec(), mimetype)).or_insert_with(|| {
            types.push(TypeTally { schema: schema.to_vec(), mimetype, events: 0, duplicates: 0, data_bytes: 0 });
            types.len() - 1
        });
        &mut types[at]
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let stored = Stored {
            next: self.next.get(),
            events: self.tally.events,
            duplicates: self.tally.duplicates,
            data_bytes: self.tally.data_bytes,
            last_rlid: self.tally.last.map(|(id, _)| *id.as_bytes()),
            last_committed_ns: self.tally.last.map_or(0, |(_, time)| time.nanos()),
            types: self.tally.types.clone(),
        };
        serde_json::to_vec(&stored).expect("plain data can be written as JSON")
    }

    /// Reads what [`RunningTally::encode`] wrote. Anything else counts as nothing, and the topic is counted again.
    pub(super) fn decode(bytes: &[u8]) -> RunningTally {
        let Ok(stored) = serde_json::from_slice::<Stored>(bytes) else {
            return RunningTally::new();
        };
        let last = stored.last_rlid.map(|id| (Rlid::from_bytes(id), Time::from_nanos(stored.last_committed_ns)));
        let index =
            stored.types.iter().enumerate().map(|(at, entry)| ((entry.schema.clone(), entry.mimetype), at)).collect();
        let tally = Tally {
            events: stored.events,
            duplicates: stored.duplicates,
            data_bytes: stored.data_bytes,
            last,
            types: stored.types,
        };
        RunningTally { tally, next: Offset::new(stored.next), index }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::run::TypeCount;

    fn run(base: u64, count: u32, schema: &'static [u8]) -> Run {
        let types = smallvec::smallvec![TypeCount {
            schema: Bytes::from_static(schema),
            mimetype: 50,
            events: u64::from(count),
            data_bytes: 7,
        }];
        Run {
            base: Offset::new(base),
            count,
            first_rlid: Rlid::from_parts(base, 0),
            committed: Time::from_millis(9),
            epoch: 1,
            publisher: Bytes::new(),
            types,
            records: Bytes::new(),
        }
    }

    #[test]
    fn counts_each_run_once_and_in_order() {
        let mut tally = RunningTally::new();
        assert!(!tally.extend(&run(2, 1, b"a")));
        assert!(tally.extend(&run(1, 3, b"a")));
        assert!(!tally.extend(&run(1, 3, b"a")));
        assert!(tally.extend(&run(4, 2, b"b")));
        assert!(tally.extend(&run(6, 1, b"a")));
        assert_eq!((tally.tally.events, tally.tally.data_bytes), (6, 21));
        let types: Vec<_> = tally.tally.types.iter().map(|entry| (entry.schema.as_slice(), entry.events)).collect();
        assert_eq!(types, [(b"a".as_slice(), 4), (b"b".as_slice(), 2)]);
        assert_eq!(RunningTally::decode(&tally.encode()), tally);
        assert_eq!(RunningTally::decode(b"junk"), RunningTally::new());
    }
}
