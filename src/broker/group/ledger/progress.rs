//! What a group must not forget of a topic, and its bytes.
//!
//! | field   | bytes                                                                                    |
//! | ------- | ---------------------------------------------------------------------------------------- |
//! | version | 1: always 1                                                                              |
//! | next    | varint: the lowest event that is not settled                                             |
//! | form    | 1: how the settled events beyond it are written, 0 as ranges, 1 as bits; what is shorter |
//! | settled | varint: how many ranges or bytes there are; then they                                    |
//! | tries   | varint: how many ranges; then they, each with the two numbers of what failed behind it   |
//!
//! A range is its distance from the end of the one before, the first from `next`, and its length, as varints. Bits are those of the
//! events from `next` on, lowest first. What failed is how many deliveries of the events did, and how the last one did (1
//! timeout, 2 disconnected, 3 and the code of a nack), as varints.
//!
//! Invariant: a [`Progress`] that exists is well-formed: ranges are in order, apart and not empty, settled ones not next to each
//! other, and all of them within [`SPAN_MAX`] events.

use std::ops::Range;

use super::terms::Reason;
use crate::model::{NackCode, Offset};

/// How far a progress may reach beyond its position. Much more than a window, and still little memory.
const SPAN_MAX: u64 = 1 << 24;

const VERSION: u8 = 1;
const RANGES: u8 = 0;
const BITS: u8 = 1;

/// What a group must not forget of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::broker::group) struct Progress {
    /// The lowest event that is not settled.
    pub(super) next: u64,
    /// What is settled beyond it.
    pub(super) settled: Vec<Range<u64>>,
    /// Deliveries that failed. An event among them may be settled.
    pub(super) tries: Vec<Tries>,
}

/// Events whose deliveries have failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tries {
    pub(super) range: Range<u64>,
    pub(super) failures: u32,
    pub(super) reason: Reason,
}

/// The bytes are not a progress that this version can have written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the progress of a consumer group is damaged")]
pub(in crate::broker::group) struct DamagedProgress;

impl Progress {
    /// Of a group that starts at an event.
    pub(in crate::broker::group) fn at(next: Offset) -> Progress {
        Progress { next: next.get(), settled: Vec::new(), tries: Vec::new() }
    }

    /// The lowest event that is not settled.
    pub(in crate::broker::group) fn position(&self) -> Offset {
        Offset::new(self.next)
    }

    /// How many events are settled beyond the position.
    pub(in crate::broker::group) fn settled_beyond(&self) -> u64 {
        self.settled.iter().map(|range| range.end - range.start).sum()
    }

    /// Without what lies at `end` and behind it.
    pub(in crate::broker::group) fn before(&self, end: Offset) -> Progress {
        let end = end.get();
        let cut = |range: &Range<u64>| range.start..range.end.min(end);
        let settled = self.settled.iter().map(cut).filter(|range| !range.is_empty());
        let tries = self.tries.iter().map(|tries| Tries { range: cut(&tries.range), ..tries.clone() });
        Progress {
            next: self.next.min(end),
            settled: settled.collect(),
            tries: tries.filter(|tries| !tries.range.is_empty()).collect(),
        }
    }

    pub(in crate::broker::group) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        put(&mut out, self.next);
        let mut ranges = Vec::new();
        put_ranges(&mut ranges, self.next, self.settled.iter(), |_, _| ());
        let bits = bits(self.next, &self.settled, ranges.len());
        if let Some(bits) = bits {
            out.push(BITS);
            put_count(&mut out, bits.len());
            out.extend(bits);
        } else {
            out.push(RANGES);
            put_count(&mut out, self.settled.len());
            out.extend(ranges);
        }
        put_count(&mut out, self.tries.len());
        let mut tries = self.tries.iter();
        put_ranges(&mut out, self.next, self.tries.iter().map(|tries| &tries.range), |out, _| {
            let Tries { failures, reason, .. } = tries.next().expect("there are as many as ranges");
            put(out, u64::from(*failures));
            put(out, reason_number(*reason));
        });
        out
    }

    /// # Errors
    ///
    /// When the bytes are not a progress.
    pub(in crate::broker::group) fn decode(bytes: &[u8]) -> Result<Progress, DamagedProgress> {
        Bytes(bytes).progress().ok_or(DamagedProgress)
    }
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(u8::try_from(number & 0x7f).expect("seven bits fit") | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).expect("seven bits fit"));
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    put(out, u64::try_from(count).expect("a length fits"));
}

fn put_ranges<'a>(
    out: &mut Vec<u8>,
    next: u64,
    ranges: impl Iterator<Item = &'a Range<u64>>,
    mut then: impl FnMut(&mut Vec<u8>, &Range<u64>),
) {
    let mut end = next;
    for range in ranges {
        put(out, range.start - end);
        put(out, range.end - range.start);
        then(out, range);
        end = range.end;
    }
}

/// The settled events as bits from `next` on, when that takes fewer bytes than so many.
fn bits(next: u64, settled: &[Range<u64>], bytes_max: usize) -> Option<Vec<u8>> {
    let span = settled.last()?.end - next;
    let bytes = usize::try_from(span.div_ceil(8)).ok()?;
    if bytes >= bytes_max {
        return None;
    }
    let mut bits = vec![0_u8; bytes];
    for at in settled.iter().flat_map(|range| range.start - next..range.end - next) {
        bits[usize::try_from(at / 8).ok()?] |= 1 << (at % 8);
    }
    Some(bits)
}

const fn reason_number(reason: Reason) -> u64 {
    match reason {
        Reason::Timeout => 1,
        Reason::Disconnected => 2,
        Reason::Nack(code) => 3 + code.number().unsigned_abs() as u64,
    }
}

fn reason_of(number: u64) -> Option<Reason> {
    match number {
        1 => Some(Reason::Timeout),
        2 => Some(Reason::Disconnected),
        _ => NackCode::ALL.into_iter().map(Reason::Nack).find(|reason| reason_number(*reason) == number),
    }
}

/// Bytes that are being decoded.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn progress(mut self) -> Option<Progress> {
        if self.byte()? != VERSION {
            return None;
        }
        let next = self.number()?;
        next.checked_add(SPAN_MAX)?;
        let settled = match self.byte()? {
            RANGES => self.settled_ranges(next)?,
            BITS => self.settled_bits(next)?,
            _ => return None,
        };
        let mut end = next;
        let mut tries = Vec::new();
        for _ in 0..self.number()? {
            let range = self.range(next, end)?;
            end = range.end;
            let failures = u32::try_from(self.number()?).ok().filter(|failures| *failures > 0)?;
            tries.push(Tries { range, failures, reason: reason_of(self.number()?)? });
        }
        self.0.is_empty().then_some(Progress { next, settled, tries })
    }

    fn settled_ranges(&mut self, next: u64) -> Option<Vec<Range<u64>>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        let mut end = next;
        for _ in 0..self.number()? {
            let range = self.range(next, end)?;
            if range.start == end {
                return None;
            }
            end = range.end;
            ranges.push(range);
        }
        Some(ranges)
    }

    fn settled_bits(&mut self, next: u64) -> Option<Vec<Range<u64>>> {
        let count = usize::try_from(self.number()?).ok()?;
        let (bits, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for (byte, first) in bits.iter().zip((0..SPAN_MAX).step_by(8)) {
            for at in (first..first + 8).filter(|at| byte >> (at - first) & 1 == 1) {
                match ranges.last_mut() {
                    Some(last) if last.end == next + at => last.end += 1,
                    _ => ranges.push(next + at..next + at + 1),
                }
            }
        }
        let is_canonical = bits.last().is_some_and(|last| *last != 0) && bits[0] & 1 == 0;
        (is_canonical && bits.len() as u64 <= SPAN_MAX / 8).then_some(ranges)
    }

    /// A range behind the end of the one before.
    fn range(&mut self, next: u64, end: u64) -> Option<Range<u64>> {
        let start = end.checked_add(self.number()?)?;
        let end = start.checked_add(self.number()?)?;
        (start < end && end - next <= SPAN_MAX).then_some(start..end)
    }

    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for at in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << at >> at != bits {
                return None;
            }
            number |= bits << at;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ranges() -> impl Strategy<Value = Vec<(u64, u64)>> {
        prop::collection::vec((1_u64..40, 1_u64..40), 0..60)
    }

    fn laid_out(next: u64, ranges: &[(u64, u64)]) -> Vec<Range<u64>> {
        let mut end = next;
        let mut laid_out = Vec::new();
        for (gap, length) in ranges {
            laid_out.push(end + gap..end + gap + length);
            end += gap + length;
        }
        laid_out
    }

    prop_compose! {
        pub(crate) fn progress()(
            next in 0..u64::MAX - SPAN_MAX,
            settled in ranges(),
            tries in prop::collection::vec((0_u64..3, 1_u64..4, 1..=u32::MAX, 0..NackCode::ALL.len() + 2), 0..60),
        ) -> Progress {
            let places: Vec<(u64, u64)> = tries.iter().map(|(gap, length, ..)| (*gap, *length)).collect();
            let tries = laid_out(next, &places).into_iter().zip(tries).map(|(range, (_, _, failures, reason))| {
                let reason = match reason {
                    0 => Reason::Timeout,
                    1 => Reason::Disconnected,
                    code => Reason::Nack(NackCode::ALL[code - 2]),
                };
                Tries { range, failures, reason }
            });
            Progress { next, settled: laid_out(next, &settled), tries: tries.collect() }
        }
    }

    proptest! {
        #[test]
        fn bytes_round_trip(progress in progress(), cut in 0_usize..200) {
            let bytes = progress.encode();
            prop_assert_eq!(Progress::decode(&bytes), Ok(progress));
            let cut = cut % bytes.len();
            prop_assert_eq!(Progress::decode(&bytes[..cut]), Err(DamagedProgress));
            let longer = [bytes.as_slice(), &[0]].concat();
            prop_assert_eq!(Progress::decode(&longer), Err(DamagedProgress));
        }
    }

    #[test]
    fn what_lies_behind_an_end_is_cut_off() {
        let tries = |range| Tries { range, failures: 1, reason: Reason::Timeout };
        let progress = Progress { next: 3, settled: vec![5..8, 9..12], tries: vec![tries(3..5), tries(8..9)] };
        let check = |end: u64, next: u64, settled: Vec<Range<u64>>, left: Vec<Tries>| {
            assert_eq!(progress.before(Offset::new(end)), Progress { next, settled, tries: left });
        };
        check(12, 3, progress.settled.clone(), progress.tries.clone());
        check(9, 3, std::iter::once(5..8).collect(), progress.tries.clone());
        check(7, 3, std::iter::once(5..7).collect(), vec![tries(3..5)]);
        check(2, 2, Vec::new(), Vec::new());
    }

    #[test]
    fn what_is_settled_is_written_in_the_shorter_form() {
        let every_other = |count: u64| (0..count).map(|at| 3 + 2 * at..4 + 2 * at).collect();
        let check = |settled: Vec<Range<u64>>, bytes: usize| {
            let progress = Progress { next: 1, settled, tries: Vec::new() };
            assert_eq!(progress.encode().len(), bytes);
            assert_eq!(Progress::decode(&progress.encode()), Ok(progress));
        };
        check(Vec::new(), 5);
        check(std::iter::once(2..1_000).collect(), 8);
        check(every_other(32_768), 4 + 2 + 8_193);
    }
}
