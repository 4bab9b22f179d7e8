//! Runs of records, as they are handled.
//!
//! A run is what one publisher had committed together. Its head fixes the offset, the identifier and the commit time of
//! each of its events, so that the records themselves, which are encoded wrappers without these fields, are neither
//! written nor read one by one on their way through. A fresh block has a run for each publisher in it; a block that
//! compaction joined keeps its runs as they were. How they are laid out in a block is `payload`'s matter.

use bytes::{BufMut, Bytes};
use smallvec::SmallVec;

use crate::model::{Offset, Rlid, Time};

/// How many events of one type are in a run, for the statistics of the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeCount {
    /// The encoded type of the events, as their publisher sent it; empty when they have none.
    pub schema: Bytes,
    pub mimetype: i32,
    pub events: u64,
    /// The bytes of the wrappers as they are delivered.
    pub data_bytes: u64,
}

/// The types in a run. Nearly always it is one, which costs no memory of its own.
pub type TypeCounts = SmallVec<[TypeCount; 1]>;

/// Events of one publisher that were committed together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub base: Offset,
    pub count: u32,
    pub first_rlid: Rlid,
    pub committed: Time,
    pub epoch: u64,
    /// The encoded description of who published.
    pub publisher: Bytes,
    pub types: TypeCounts,
    /// The records, each behind its length.
    pub records: Bytes,
}

impl TypeCount {
    /// A count to be filled in.
    pub(super) const fn empty() -> TypeCount {
        TypeCount { schema: Bytes::new(), mimetype: 0, events: 0, data_bytes: 0 }
    }
}

impl Run {
    /// A run to be filled in.
    pub(super) fn empty() -> Run {
        Run {
            base: Offset::FIRST,
            count: 0,
            first_rlid: Rlid::NULL,
            committed: Time::EPOCH,
            epoch: 0,
            publisher: Bytes::new(),
            types: TypeCounts::new(),
            records: Bytes::new(),
        }
    }

    pub fn end(&self) -> Offset {
        self.base.plus(u64::from(self.count))
    }

    pub fn last_rlid(&self) -> Rlid {
        self.first_rlid.plus(u64::from(self.count) - 1)
    }
}

/// A decoded block: a slice of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DecodedBlock {
    /// Of the data key that it is encrypted under in the store.
    pub key_version: u32,
    pub base: Offset,
    pub end: Offset,
    pub runs: Vec<Run>,
    /// What the block takes in memory: its payload, and the runs, which in a joined block are many.
    pub bytes: usize,
}

impl DecodedBlock {
    /// The block of these runs, which follow each other from `base` on and are slices of so many bytes.
    pub(super) fn new(base: Offset, runs: Vec<Run>, payload_bytes: usize) -> DecodedBlock {
        let end = runs.last().map_or(base, Run::end);
        let spilled: usize = runs.iter().filter(|run| run.types.spilled()).map(|run| run.types.capacity()).sum();
        let bytes = payload_bytes + runs.capacity() * size_of::<Run>() + spilled * size_of::<TypeCount>();
        DecodedBlock { key_version: 0, base, end, runs, bytes }
    }

    /// The same, as it is stored under a version of the data key.
    pub(super) fn under(self, key_version: u32) -> DecodedBlock {
        DecodedBlock { key_version, ..self }
    }
}

/// The records of a run, in order, as they are stored.
pub(super) fn records_of(records: &[u8]) -> Records<'_> {
    Records { rest: records }
}

/// Walks through length-prefixed records; stops in front of what is not one.
#[derive(Debug, Clone)]
pub(super) struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Records<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let mut rest = self.rest;
        let bytes = usize::try_from(take_varint(&mut rest)?).ok()?;
        let (record, rest) = rest.split_at_checked(bytes)?;
        self.rest = rest;
        Some(record)
    }
}

impl<'a> Records<'a> {
    /// What was not walked through yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

/// Appends a varint as protobuf has it.
pub(super) fn put_varint(out: &mut impl BufMut, mut number: u64) {
    while number >= 0x80 {
        out.put_u8((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8((number & 0x7f) as u8);
}

/// Takes a varint off the front. The ten bytes that a number can have are not exceeded; the bits beyond 64 are dropped.
pub(super) fn take_varint(buffer: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for (at, byte) in (0..64).step_by(7).zip(buffer.iter().copied()) {
        number |= u64::from(byte & 0x7f) << at;
        if byte < 0x80 {
            *buffer = &buffer[at / 7 + 1..];
            return Some(number);
        }
    }
    None
}
