//! The inside of a block: runs of records.
//!
//! A run is what one publisher had committed together. Its head fixes the offset, the identifier and the commit time of
//! each of its events, so that the records themselves, which are encoded wrappers without these fields, are neither
//! written nor read one by one on their way through. A fresh block has a run for each publisher in it; a block that
//! compaction joined keeps its runs as they were.
//!
//! The bytes (docs/format.md, "Block payload"): a version, then runs until the end. All numbers are protobuf varints unless
//! a length is given.

use bytes::{Buf, BufMut, Bytes};

use crate::model::{Offset, Rlid, Time};

/// The version of the layout, the first byte of every payload.
const VERSION: u8 = 1;

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
    pub types: Vec<TypeCount>,
    /// The records, each behind its length.
    pub records: Bytes,
}

impl Run {
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
    pub base: Offset,
    pub end: Offset,
    pub runs: Vec<Run>,
    /// What the block takes in memory.
    pub bytes: usize,
}

/// Starts a payload that will have about this many bytes.
pub(super) fn start_payload(bytes: usize) -> Vec<u8> {
    let mut payload = Vec::with_capacity(bytes + 1);
    payload.push(VERSION);
    payload
}

/// Appends a run whose records lie in several buffers.
pub(super) fn put_run(payload: &mut Vec<u8>, run: &Run, records: &[Vec<u8>]) {
    put_varint(payload, u64::from(run.count));
    payload.put_slice(run.first_rlid.as_bytes());
    payload.put_i64_le(run.committed.nanos());
    put_varint(payload, run.epoch);
    put_bytes(payload, &run.publisher);
    put_varint(payload, run.types.len() as u64);
    for count in &run.types {
        put_bytes(payload, &count.schema);
        payload.put_i32_le(count.mimetype);
        put_varint(payload, count.events);
        put_varint(payload, count.data_bytes);
    }
    put_varint(payload, records.iter().map(|buffer| buffer.len() as u64).sum());
    for buffer in records {
        payload.put_slice(buffer);
    }
}

/// Reads a payload that holds `count` events from `base` on. Says what is wrong with it otherwise.
pub(super) fn parse_payload(mut payload: Bytes, base: Offset, count: u32) -> Result<DecodedBlock, &'static str> {
    let bytes = payload.len();
    if payload.is_empty() || payload.get_u8() != VERSION {
        return Err("its payload has an unknown version");
    }
    let mut runs = Vec::new();
    let mut next = base;
    while !payload.is_empty() {
        let run = parse_run(&mut payload, next).ok_or("its payload ends in the middle of a run")?;
        if run.count == 0 {
            return Err("its payload has a run without events");
        }
        next = run.end();
        runs.push(run);
    }
    if next != base.plus(u64::from(count)) {
        return Err("its payload has another number of events than its head says");
    }
    Ok(DecodedBlock { base, end: next, runs, bytes })
}

fn parse_run(payload: &mut Bytes, base: Offset) -> Option<Run> {
    let count = u32::try_from(take_varint(payload)?).ok()?;
    let first_rlid = Rlid::from_slice(&take(payload, 10)?).ok()?;
    let committed = Time::from_nanos(payload.try_get_i64_le().ok()?);
    let epoch = take_varint(payload)?;
    let publisher = take_bytes(payload)?;
    let types = (0..take_varint(payload)?)
        .map(|_| {
            Some(TypeCount {
                schema: take_bytes(payload)?,
                mimetype: payload.try_get_i32_le().ok()?,
                events: take_varint(payload)?,
                data_bytes: take_varint(payload)?,
            })
        })
        .collect::<Option<Vec<_>>>()?;
    let records = take_bytes(payload)?;
    let run = Run { base, count, first_rlid, committed, epoch, publisher, types, records };
    // What a reader relies on later without looking again: the lengths lead through the records to their very end.
    (records_of(&run.records).count() == usize::try_from(count).ok()? && well_formed(&run.records)).then_some(run)
}

fn well_formed(records: &[u8]) -> bool {
    let mut records = Records { rest: records };
    for _ in records.by_ref() {}
    records.rest.is_empty()
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

pub(super) fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push((number & 0x7f) as u8);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn take_varint(buffer: &mut impl Buf) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = buffer.try_get_u8().ok()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn take(payload: &mut Bytes, bytes: usize) -> Option<Bytes> {
    (bytes <= payload.len()).then(|| payload.split_to(bytes))
}

fn take_bytes(payload: &mut Bytes) -> Option<Bytes> {
    let bytes = usize::try_from(take_varint(payload)?).ok()?;
    take(payload, bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Records, publisher, first identifier and commit time of a run.
    type Parts = (Vec<Vec<u8>>, Vec<u8>, [u8; 10], i64);

    fn runs() -> impl Strategy<Value = Vec<Parts>> {
        let records = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..8);
        let publisher = prop::collection::vec(any::<u8>(), 0..40);
        prop::collection::vec((records, publisher, any::<[u8; 10]>(), any::<i64>()), 1..5)
    }

    fn length_prefixed(records: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        for record in records {
            put_bytes(&mut out, record);
        }
        out
    }

    proptest! {
        #[test]
        fn a_payload_round_trips(parts in runs()) {
            let mut payload = start_payload(0);
            let mut base = Offset::new(41);
            let mut expected = Vec::new();
            for (records, publisher, rlid, committed) in &parts {
                let encoded = length_prefixed(records);
                let types = vec![TypeCount {
                    schema: Bytes::from_static(b"s"), mimetype: -5, events: records.len() as u64, data_bytes: 9,
                }];
                let run = Run {
                    base, count: u32::try_from(records.len()).unwrap(), first_rlid: Rlid::from_bytes(*rlid),
                    committed: Time::from_nanos(*committed), epoch: 1, publisher: publisher.clone().into(), types,
                    records: encoded.clone().into(),
                };
                put_run(&mut payload, &run, &[encoded]);
                base = run.end();
                expected.push((run, records.clone()));
            }
            let count = u32::try_from(base.distance_from(Offset::new(41))).unwrap();
            let parsed = parse_payload(payload.clone().into(), Offset::new(41), count).unwrap();
            prop_assert_eq!(parsed.end, base);
            for (run, (expected, records)) in parsed.runs.iter().zip(&expected) {
                prop_assert_eq!(run, expected);
                prop_assert!(records_of(&run.records).eq(records.iter().map(Vec::as_slice)));
            }
            prop_assert!(parse_payload(payload.clone().into(), Offset::new(41), count + 1).is_err());
            payload.pop();
            prop_assert!(parse_payload(payload.into(), Offset::new(41), count).is_err());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, count: u32) {
            let mut payload = vec![VERSION];
            payload.extend(bytes);
            if let Ok(parsed) = parse_payload(payload.into(), Offset::FIRST, count) {
                prop_assert_eq!(parsed.runs.iter().map(|run| run.count).sum::<u32>(), count);
            }
        }
    }
}
