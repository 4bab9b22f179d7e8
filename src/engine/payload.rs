//! The inside of a block, as bytes: what is said of its runs, column by column, then all records.
//!
//! Columns, because compaction joins blocks of thousands of runs with one event each. What is the same for all of them, or grows
//! evenly, stands side by side then and compresses to next to nothing, and what is left to a run is about a byte of its commit
//! time. A fresh block has one or two runs and does not care.
//!
//! Invariants: what is written is read again as it was. What is read holds exactly the events that the block's head speaks
//! of, and its records lead from one to the next up to the very end, so that whoever reads them looks at nothing twice. Arbitrary
//! bytes are refused, and take no more memory than some times their length.
//!
//! The bytes are specified in docs/format.md, "Runs". Compression and encryption are `codec`'s.

use std::collections::HashMap;

use bytes::{BufMut, Bytes};

use super::run::{DecodedBlock, Run, TypeCount, TypeCounts, put_varint, records_of, take_varint};
use crate::model::{Offset, Rlid, Time};

/// The version of the layout, the first byte of every payload.
const VERSION: u8 = 2;

/// About how much the head of a run takes, in bytes.
const RUN_HEAD_BYTES: usize = 24;

/// Why bytes are not a payload.
const UNKNOWN_VERSION: &str = "its payload has an unknown version";
const BAD_HEADS: &str = "its payload ends in the middle of what it says of its runs, or contradicts itself there";
const BAD_RECORDS: &str = "its payload has other records than its runs have";
const BAD_COUNT: &str = "its payload has another number of events than its head says";

/// Encodes runs whose records lie in several buffers: for each run those that together are its records. They stand at the end
/// of what is returned.
pub(super) fn encode_payload(runs: &[Run], records: &[Vec<&[u8]>]) -> Vec<u8> {
    assert_eq!(runs.len(), records.len(), "each run has its records");
    let records_bytes: Vec<usize> =
        records.iter().map(|buffers| buffers.iter().map(|buffer| buffer.len()).sum()).collect();
    let texts = Texts::of(runs);
    let texts_bytes: usize = texts.order.iter().map(|text| text.len() + 10).sum();
    let bytes = 1 + texts_bytes + runs.len() * RUN_HEAD_BYTES + records_bytes.iter().sum::<usize>();
    let mut payload = Vec::with_capacity(bytes);
    payload.push(VERSION);
    put_varint(&mut payload, runs.len() as u64);
    put_varint(&mut payload, texts.order.len() as u64);
    for text in &texts.order {
        put_varint(&mut payload, text.len() as u64);
        payload.put_slice(text);
    }
    put_columns(&mut payload, runs, &records_bytes, &texts);
    for buffer in records.iter().flatten() {
        payload.put_slice(buffer);
    }
    payload
}

fn put_columns(payload: &mut Vec<u8>, runs: &[Run], records_bytes: &[usize], texts: &Texts<'_>) {
    let mut column = |number: &mut dyn FnMut(&Run) -> u64| {
        for run in runs {
            put_varint(payload, number(run));
        }
    };
    let mut before = 0;
    column(&mut |run| u64::from(run.count));
    column(&mut |run| {
        let micros = run.committed.micros();
        assert_eq!(Time::from_micros(micros), Some(run.committed), "commit times are whole microseconds");
        zigzag(micros.wrapping_sub(std::mem::replace(&mut before, micros)))
    });
    column(&mut |run| zigzag(run.first_rlid.millis().wrapping_sub(run.committed.millis()).cast_signed()));
    column(&mut |run| u64::from(run.first_rlid.sequence()));
    column(&mut |run| run.epoch);
    column(&mut |run| texts.place(&run.publisher));
    column(&mut |run| run.types.len() as u64);
    let mut type_column = |number: &dyn Fn(&TypeCount, u64) -> u64| {
        for (run, records_bytes) in runs.iter().zip(records_bytes) {
            for count in &run.types {
                put_varint(payload, number(count, *records_bytes as u64));
            }
        }
    };
    type_column(&|count, _| texts.place(&count.schema));
    type_column(&|count, _| zigzag(count.mimetype.into()));
    type_column(&|count, _| count.events);
    type_column(&|count, records_bytes| zigzag(count.data_bytes.wrapping_sub(records_bytes).cast_signed()));
}

/// The publishers and types of a block, each of them once, in the order in which they come first, and where each stands.
struct Texts<'a> {
    order: Vec<&'a [u8]>,
    places: HashMap<&'a [u8], u64>,
}

impl<'a> Texts<'a> {
    fn of(runs: &'a [Run]) -> Texts<'a> {
        let (mut order, mut places) = (Vec::new(), HashMap::new());
        for run in runs {
            for text in std::iter::once(&run.publisher).chain(run.types.iter().map(|count| &count.schema)) {
                places.entry(&text[..]).or_insert_with(|| {
                    order.push(&text[..]);
                    order.len() as u64 - 1
                });
            }
        }
        Texts { order, places }
    }

    fn place(&self, text: &[u8]) -> u64 {
        *self.places.get(text).expect("every text of the runs was gathered")
    }
}

/// Reads a payload that holds `count` events from `base` on. Says what is wrong with it otherwise.
pub(super) fn parse_payload(payload: &Bytes, base: Offset, count: u32) -> Result<DecodedBlock, &'static str> {
    let Some((&VERSION, mut rest)) = payload.split_first() else { return Err(UNKNOWN_VERSION) };
    let mut runs = parse_heads(&mut rest, payload, base).ok_or(BAD_HEADS)?;
    if runs.last().map(Run::end) != Some(base.plus(u64::from(count))) {
        return Err(BAD_COUNT);
    }
    for run in &mut runs {
        // What a reader relies on later without looking again: the lengths lead through the records to their very end.
        let mut records = records_of(rest);
        let found = records.by_ref().take(usize::try_from(run.count).map_err(|_| BAD_COUNT)?).count();
        if found as u64 != u64::from(run.count) {
            return Err(BAD_RECORDS);
        }
        let behind = records.rest();
        run.records = payload.slice_ref(&rest[..rest.len() - behind.len()]);
        for types in &mut run.types {
            types.data_bytes = types.data_bytes.wrapping_add(run.records.len() as u64);
        }
        rest = behind;
    }
    if !rest.is_empty() {
        return Err(BAD_RECORDS);
    }
    Ok(DecodedBlock::new(base, runs, payload.len()))
}

/// Reads everything in front of the records. The runs have no records yet, and their types' bytes are those beyond the records'.
fn parse_heads(rest: &mut &[u8], payload: &Bytes, base: Offset) -> Option<Vec<Run>> {
    // Each run has seven numbers and each text its length, so that no number makes much of a few bytes.
    let run_count =
        take_varint(rest).and_then(|runs| usize::try_from(runs).ok()).filter(|runs| *runs <= rest.len() / 7)?;
    let text_count =
        take_varint(rest).and_then(|texts| usize::try_from(texts).ok()).filter(|texts| *texts <= rest.len())?;
    let texts = (0..text_count).map(|_| take_text(rest, payload)).collect::<Option<Vec<Bytes>>>()?;
    let text = |rest: &mut &[u8]| texts.get(usize::try_from(take_varint(rest)?).ok()?).cloned();

    let mut runs = Vec::with_capacity(run_count);
    let mut next = base;
    for _ in 0..run_count {
        let count = u32::try_from(take_varint(rest)?).ok().filter(|count| *count > 0)?;
        runs.push(Run { base: next, count, ..Run::empty() });
        next = Offset::new(next.get().checked_add(u64::from(count))?);
    }
    let mut micros = 0_i64;
    for run in &mut runs {
        micros = micros.wrapping_add(unzigzag(take_varint(rest)?));
        run.committed = Time::from_micros(micros)?;
    }
    let mut millis = Vec::with_capacity(run_count);
    for run in &runs {
        millis.push(run.committed.millis().wrapping_add_signed(unzigzag(take_varint(rest)?)));
    }
    for (run, millis) in runs.iter_mut().zip(millis) {
        run.first_rlid = Rlid::from_parts(millis, u32::try_from(take_varint(rest)?).ok()?);
        if run.first_rlid.millis() != millis {
            return None;
        }
    }
    for run in &mut runs {
        run.epoch = take_varint(rest)?;
    }
    for run in &mut runs {
        run.publisher = text(rest)?;
    }
    parse_types(rest, &mut runs, text)?;
    Some(runs)
}

fn parse_types(rest: &mut &[u8], runs: &mut [Run], text: impl Fn(&mut &[u8]) -> Option<Bytes>) -> Option<()> {
    for run in &mut *runs {
        let types = usize::try_from(take_varint(rest)?).ok().filter(|types| *types <= rest.len() / 4)?;
        run.types = TypeCounts::from_elem(TypeCount::empty(), types);
    }
    for count in types_of(runs) {
        count.schema = text(rest)?;
    }
    for count in types_of(runs) {
        count.mimetype = i32::try_from(unzigzag(take_varint(rest)?)).ok()?;
    }
    for count in types_of(runs) {
        count.events = take_varint(rest)?;
    }
    for count in types_of(runs) {
        count.data_bytes = unzigzag(take_varint(rest)?).cast_unsigned();
    }
    Some(())
}

fn types_of(runs: &mut [Run]) -> impl Iterator<Item = &mut TypeCount> {
    runs.iter_mut().flat_map(|run| run.types.iter_mut())
}

fn take_text(rest: &mut &[u8], payload: &Bytes) -> Option<Bytes> {
    let bytes = usize::try_from(take_varint(rest)?).ok()?;
    let (text, behind) = rest.split_at_checked(bytes)?;
    *rest = behind;
    Some(payload.slice_ref(text))
}

/// Numbers around zero as small ones, as protobuf has them.
fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use smallvec::smallvec;

    use super::*;

    const BASE: Offset = Offset::new(41);

    fn text() -> impl Strategy<Value = Bytes> {
        prop_oneof![Just(Bytes::new()), prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)]
    }

    fn types() -> impl Strategy<Value = TypeCounts> {
        let count = (text(), any::<i32>(), any::<u64>(), any::<u64>())
            .prop_map(|(schema, mimetype, events, data_bytes)| TypeCount { schema, mimetype, events, data_bytes });
        prop::collection::vec(count, 0..4).prop_map(TypeCounts::from_vec)
    }

    fn run() -> impl Strategy<Value = (Run, Vec<Vec<u8>>)> {
        let records = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..8);
        let micros = i64::MIN / 1_000 + 1..i64::MAX / 1_000;
        (records, text(), types(), any::<[u8; 10]>(), micros, any::<u64>()).prop_map(
            |(records, publisher, types, rlid, micros, epoch)| {
                let encoded = length_prefixed(&records);
                let count = u32::try_from(records.len()).unwrap();
                let (first_rlid, committed) = (Rlid::from_bytes(rlid), Time::from_micros(micros).unwrap());
                let records_bytes = encoded.into();
                let run =
                    Run { base: BASE, count, first_rlid, committed, epoch, publisher, types, records: records_bytes };
                (run, records)
            },
        )
    }

    fn runs() -> impl Strategy<Value = Vec<(Run, Vec<Vec<u8>>)>> {
        prop::collection::vec(run(), 1..6).prop_map(|mut runs| {
            let mut next = BASE;
            for (run, _) in &mut runs {
                run.base = next;
                next = run.end();
            }
            runs
        })
    }

    fn length_prefixed(records: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        for record in records {
            put_varint(&mut out, record.len() as u64);
            out.extend_from_slice(record);
        }
        out
    }

    fn encode(runs: &[Run]) -> Bytes {
        let records: Vec<Vec<&[u8]>> = runs.iter().map(|run| vec![&run.records[..]]).collect();
        encode_payload(runs, &records).into()
    }

    /// One event of a publisher that waits for each answer.
    fn single(at: u64, micros: i64, record: &[u8]) -> Run {
        let committed = Time::from_micros(micros).unwrap();
        let types = smallvec![TypeCount { schema: Bytes::new(), mimetype: 50, events: 1, data_bytes: 140 }];
        Run {
            base: Offset::new(at),
            count: 1,
            first_rlid: Rlid::from_parts(committed.millis(), 1),
            committed,
            epoch: 1,
            publisher: Bytes::from_static(b"a publisher's identifier and name"),
            types,
            records: length_prefixed(&[record.to_vec()]).into(),
        }
    }

    proptest! {
        #[test]
        fn a_payload_round_trips(parts in runs()) {
            let (runs, records): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
            let payload = encode(&runs);
            let end = runs.last().unwrap().end();
            let count = u32::try_from(end.distance_from(BASE)).unwrap();
            let parsed = parse_payload(&payload, BASE, count).unwrap();
            prop_assert_eq!((parsed.base, parsed.end), (BASE, end));
            prop_assert_eq!(&parsed.runs, &runs);
            for (run, records) in parsed.runs.iter().zip(&records) {
                prop_assert!(records_of(&run.records).eq(records.iter().map(Vec::as_slice)));
            }
            prop_assert_eq!(parse_payload(&payload, BASE, count + 1).unwrap_err(), BAD_COUNT);
            prop_assert!(parse_payload(&payload.slice(..payload.len() - 1), BASE, count).is_err());
            let longer = Bytes::from([&payload[..], &[0]].concat());
            prop_assert_eq!(parse_payload(&longer, BASE, count).unwrap_err(), BAD_RECORDS);
        }

        #[test]
        fn what_is_read_of_damaged_bytes_is_whole(parts in runs(), at: prop::sample::Index, byte: u8) {
            let (runs, _): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
            let count = u32::try_from(runs.last().unwrap().end().distance_from(BASE)).unwrap();
            let mut payload = encode(&runs).to_vec();
            let at = at.index(payload.len());
            payload[at] = byte;
            if let Ok(parsed) = parse_payload(&payload.into(), BASE, count) {
                for run in &parsed.runs {
                    prop_assert_eq!(records_of(&run.records).count() as u64, u64::from(run.count));
                }
                prop_assert_eq!(parsed.runs.iter().map(|run| run.count).sum::<u32>(), count);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, base: u64, count: u32) {
            let payload = Bytes::from([&[VERSION], &bytes[..]].concat());
            if let Ok(parsed) = parse_payload(&payload, Offset::new(base), count) {
                prop_assert_eq!(parsed.runs.iter().map(|run| run.count).sum::<u32>(), count);
            }
        }
    }

    /// A million events that were published one by one once took three times the room of the same events in bulk, for ever: a
    /// run's head was larger than its compressed event.
    #[test]
    fn runs_of_one_event_take_little_more_than_their_records() {
        let mut micros = 1_760_000_000_000_000;
        let mut wait = 300_u64;
        let runs: Vec<Run> = (1..=2_000)
            .map(|at| {
                wait = wait.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                micros += 250 + i64::try_from(wait >> 58).unwrap();
                single(at, micros, format!("{{\"flight\":{at},\"delay\":{}}}", at * 7 % 60).as_bytes())
            })
            .collect();
        let records: Vec<u8> = runs.iter().flat_map(|run| run.records.to_vec()).collect();
        let compressed = |bytes: &[u8]| zstd::bulk::compress(bytes, 1).unwrap().len();
        let extra = compressed(&encode(&runs)) - compressed(&records);
        assert!(extra <= 2 * runs.len(), "{extra} bytes more for {} runs", runs.len());
    }
}
