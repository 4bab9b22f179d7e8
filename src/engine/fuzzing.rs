//! What fuzzers feed with arbitrary bytes: the inside of a block.

use bytes::Bytes;

use super::{
    payload::{encode_payload, parse_payload},
    run::records_of,
};
use crate::model::Offset;

/// A payload that is read has the events that its head says, its records lead from one to the next, and it means the same when
/// it is written again. The first four bytes of the input are the head's count.
pub fn fuzz_payload(data: &[u8]) {
    let Some((count, payload)) = data.split_first_chunk() else { return };
    let (count, payload) = (u32::from_le_bytes(*count), Bytes::copy_from_slice(payload));
    let base = Offset::new(41);
    let Ok(block) = parse_payload(&payload, base, count) else { return };
    assert_eq!((block.base, block.end), (base, base.plus(u64::from(count))));
    let mut next = base;
    for run in &block.runs {
        assert_eq!(run.base, next);
        assert_eq!(records_of(&run.records).count() as u64, u64::from(run.count));
        next = run.end();
    }
    assert_eq!(next, block.end);
    let records: Vec<Vec<&[u8]>> = block.runs.iter().map(|run| vec![&run.records[..]]).collect();
    let again = parse_payload(&encode_payload(&block.runs, &records).into(), base, count);
    assert_eq!(again.map(|again| again.runs), Ok(block.runs));
}

#[cfg(test)]
mod tests {
    use smallvec::smallvec;

    use super::*;
    use crate::{
        engine::run::{Run, TypeCount},
        model::{Rlid, Time, fuzzing::run_bounded},
    };

    #[test]
    fn payloads() {
        let mut runs = Vec::new();
        for (base, records) in [(41, &b"\x03one\x00"[..]), (43, b"\x05three")] {
            let publisher = Bytes::from_static(b"publisher");
            runs.push(Run {
                base: Offset::new(base),
                count: if base == 41 { 2 } else { 1 },
                first_rlid: Rlid::from_parts(1_790_000_000_000, 1),
                committed: Time::from_millis(1_790_000_000_000),
                epoch: 1,
                types: smallvec![TypeCount { schema: publisher.clone(), mimetype: 50, events: 1, data_bytes: 9 }],
                publisher,
                records: Bytes::from_static(records),
            });
        }
        let records: Vec<Vec<&[u8]>> = runs.iter().map(|run| vec![&run.records[..]]).collect();
        let payload = encode_payload(&runs, &records);
        assert!(parse_payload(&payload.clone().into(), Offset::new(41), 3).is_ok());
        let seed = [&[3, 0, 0, 0], &payload[..]].concat();
        run_bounded("a payload", &[&seed, &[1, 0, 0, 0, 2, 1, 0, 1]], fuzz_payload);
    }
}
