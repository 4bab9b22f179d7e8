//! What fuzzers feed with arbitrary bytes: block heads, and the texts of positions, times and identifiers. And the bounded
//! runs, which do the same within the tests.
//!
//! Each layer has such a module. Its functions take any bytes, and panic when something that always holds does not. The
//! targets in `fuzz/` call them for as long as one likes; the tests call them with the same seeds and some thousand
//! mutations, which depend on nothing but their number.

use super::{BlockHead, Mimetype, Offset, Position, Rlid, Schema, Time, TopicName, Ulid};

/// Any bytes are a head, and the same bytes again when it is written.
pub fn fuzz_block_head(data: &[u8]) {
    let Some(bytes) = data.first_chunk() else { return };
    let head = BlockHead::from_bytes(bytes);
    assert_eq!(head.to_bytes(), *bytes);
    assert!(head.end() >= head.base);
}

/// What is read from a text reads the same when it is written again.
pub fn fuzz_texts(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(id) = Rlid::parse(text) {
        assert_eq!(Rlid::parse(&id.to_string()), Ok(id));
        assert_eq!(Rlid::from_slice(id.as_bytes()).ok(), Some(id));
    }
    if let Ok(id) = Ulid::parse_lenient(text) {
        assert_eq!(Ulid::parse_lenient(&id.to_string()), Ok(id));
    }
    if let Ok(time) = Time::parse(text) {
        assert_eq!(Time::parse(&time.to_string()), Ok(time), "{text:?}");
    }
    if let Ok(schema) = text.parse::<Schema>() {
        let Schema { name, major, minor, patch } = &schema;
        assert_eq!(format!("{name}@{major}.{minor}.{patch}").parse(), Ok(schema), "{text:?}");
    }
    if let Ok(mimetype) = Mimetype::parse(text) {
        assert_eq!(Mimetype::parse(&mimetype.to_string()), Ok(mimetype), "{text:?}");
    }
    if let Ok(name) = TopicName::parse(text) {
        assert_eq!(name.to_string(), text);
    }
    if let Ok(Position::Offset(offset)) = text.parse() {
        assert_eq!(offset.to_string().parse(), Ok(Position::Offset(offset)));
        assert!(offset.plus(1) >= offset && offset >= Offset::new(0));
    }
}

/// How many inputs each function is given within the tests, unless the environment says otherwise.
#[cfg(test)]
const INPUTS: u64 = 3_000;

/// Gives a function its seeds, and mutations of them.
#[cfg(test)]
pub(crate) fn run_bounded(name: &str, seeds: &[&[u8]], target: fn(&[u8])) {
    #[expect(clippy::disallowed_methods, reason = "this module stands below config")]
    let inputs = std::env::var("ENSIGN_TEST_FUZZ_INPUTS").map_or(INPUTS, |count| count.parse().unwrap());
    for seed in seeds {
        target(seed);
    }
    for number in 0..inputs {
        let input = Mutation(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).of(seeds);
        let survived = std::panic::catch_unwind(|| target(&input));
        let shown = &input[..input.len().min(300)];
        assert!(survived.is_ok(), "{name} does not survive mutation {number}: {shown:02x?}");
    }
}

/// A source of mutations; a SplitMix64 sequence.
#[cfg(test)]
struct Mutation(u64);

#[cfg(test)]
impl Mutation {
    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.number() % end.max(1) as u64).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.number().to_le_bytes()[0]
    }

    /// One of the seeds with a few changes, or bytes of no origin.
    fn of(&mut self, seeds: &[&[u8]]) -> Vec<u8> {
        let at = self.below(seeds.len() + 1);
        let mut bytes = match seeds.get(at) {
            Some(seed) => seed.to_vec(),
            None => (0..self.below(300)).map(|_| self.byte()).collect(),
        };
        for _ in 0..=self.below(4) {
            self.change(&mut bytes, seeds);
        }
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, seeds: &[&[u8]]) {
        let at = self.below(bytes.len());
        let len = self.below(bytes.len() - at).min(16);
        match self.below(8) {
            0 | 1 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
            2 if !bytes.is_empty() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff, self.byte()][self.below(6)],
            3 => bytes.truncate(at),
            4 => drop(bytes.drain(at..at + len)),
            5 => {
                let repeated = bytes[at..at + len].to_vec();
                bytes.splice(at..at, repeated);
            }
            6 => {
                let inserted: Vec<u8> = (0..self.below(9)).map(|_| self.byte()).collect();
                bytes.splice(at..at, inserted);
            }
            _ => {
                let other = seeds.get(self.below(seeds.len())).copied().unwrap_or_default();
                let from = self.below(other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn block_heads() {
        run_bounded("a block head", &[&[0; BlockHead::BYTES], &[0xff; BlockHead::BYTES], &[7; 90]], fuzz_block_head);
    }

    #[test]
    fn texts() {
        let seeds: [&[u8]; 10] = [
            b"2026-11-21T12:00:00Z",
            b"1969-12-31T23:59:59.999999999Z",
            b"01HQ3J1Y6PMX7J5CCVY4ZJ5T8E",
            b"00000000000000000000000000",
            b"064zsevshm000016",
            b"18446744073709551615",
            b"-1h30m",
            b"Flight v1.2.3",
            b"application/json",
            b"orders.eu-west_1",
        ];
        run_bounded("a text", &seeds, fuzz_texts);
    }

    /// Otherwise the bounded runs would show nothing: the seeds must be reached, and left.
    #[test]
    fn inputs_are_many_and_the_same_each_time() {
        static LONG: AtomicUsize = AtomicUsize::new(0);
        static SHORT: AtomicUsize = AtomicUsize::new(0);
        run_bounded("a count", &[b"seed", b"another seed"], |input| {
            let counter = if input.len() > 12 { &LONG } else { &SHORT };
            counter.fetch_add(1, Ordering::Relaxed);
        });
        let (long, short) = (LONG.load(Ordering::Relaxed), SHORT.load(Ordering::Relaxed));
        assert!(long > 300 && short > 300, "{long} long, {short} short");
        let inputs = |number| Mutation(number).of(&[b"seed"]);
        assert_eq!(inputs(5), inputs(5));
        assert!((0..100).map(inputs).collect::<std::collections::BTreeSet<_>>().len() > 80);
    }

    #[test]
    #[should_panic(expected = "a target that fails does not survive mutation")]
    fn a_panic_is_found() {
        run_bounded("a target that fails", &[b"seed"], |input| assert!(!input.starts_with(b"see\x00")));
    }
}
