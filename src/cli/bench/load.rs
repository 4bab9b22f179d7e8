//! The events that a benchmark publishes: made up, or lines of a file of real ones.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use bytes::Bytes;

use crate::{
    cli::error::{CliError, Result},
    client::{Draft, Envelope},
    model::{Mimetype, Time},
    sys::{Entropy, files},
};

/// How many bytes of different events are made up before they come again. Many times what a block holds, so that no
/// compression ever sees one twice.
const POOL_BYTES: usize = 16 * 1024 * 1024;

/// How many events are made up at least, also when they are large.
const POOL_EVENTS_MIN: usize = 8;

/// The largest file that is taken.
const FILE_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// What made-up events are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Content {
    /// JSON objects with identifiers, times, numbers and words that differ from event to event
    Json,
    /// Random bytes, which no compression makes smaller
    Random,
}

impl Content {
    pub(super) fn name(self) -> &'static str {
        match self {
            Content::Json => "json",
            Content::Random => "random",
        }
    }
}

/// A supply of events that never ends.
#[derive(Debug, Clone)]
pub(super) struct Load {
    events: Arc<[Bytes]>,
    envelope: Arc<Envelope>,
    next: usize,
}

impl Load {
    /// Events of one size. The same seed gives the same events.
    pub(super) fn made_up(content: Content, size: usize, seed: u64) -> Load {
        let entropy = Entropy::seeded(seed);
        let count = (POOL_BYTES / size.max(1)).clamp(POOL_EVENTS_MIN, POOL_BYTES / 64);
        let mut pool = Vec::with_capacity(count * size);
        for number in 0..count {
            match content {
                Content::Json => put_json(&mut pool, size, number, &entropy),
                Content::Random => {
                    let start = pool.len();
                    pool.resize(start + size, 0);
                    entropy.fill(&mut pool[start..]);
                }
            }
        }
        let pool = Bytes::from(pool);
        let events = (0..count).map(|number| pool.slice(number * size..(number + 1) * size)).collect();
        let mimetype = match content {
            Content::Json => Mimetype::JSON,
            Content::Random => Mimetype::OCTET_STREAM,
        };
        Load::new(events, mimetype)
    }

    /// The lines of a file, over and over.
    pub(super) fn lines(path: &Path) -> Result<Load> {
        let bytes = Bytes::from(files::read_file(path, FILE_BYTES_MAX).map_err(|error| CliError::chain(&error))?);
        let lines = bytes.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let events: Arc<[Bytes]> = lines.filter(|line| !line.is_empty()).map(|line| bytes.slice_ref(line)).collect();
        if events.is_empty() {
            return Err(CliError::failed(format!("{} has no lines", path.display())));
        }
        let json = path.extension().is_some_and(|extension| extension == "json" || extension == "jsonl");
        Ok(Load::new(events, if json { Mimetype::JSON } else { Mimetype::TEXT_PLAIN }))
    }

    fn new(events: Arc<[Bytes]>, mimetype: Mimetype) -> Load {
        let envelope = Envelope::new(mimetype, None, BTreeMap::new(), Bytes::new());
        Load { events, envelope: Arc::new(envelope), next: 0 }
    }

    /// A supply of the same events that starts elsewhere, for another stream.
    pub(super) fn starting_at(&self, part: usize, parts: usize) -> Load {
        Load { next: self.events.len() * part / parts.max(1), ..self.clone() }
    }

    /// The mean size of an event's data.
    pub(super) fn bytes_mean(&self) -> usize {
        self.events.iter().map(Bytes::len).sum::<usize>() / self.events.len()
    }

    /// The next event.
    pub(super) fn draft(&mut self, tag: impl FnOnce(usize) -> u64, created: Option<Time>) -> Draft {
        let data = self.events[self.next].clone();
        self.next = (self.next + 1) % self.events.len();
        Draft { tag: tag(data.len()), data, envelope: self.envelope.clone(), created }
    }
}

const WORDS: [&str; 32] = [
    "arrival",
    "basket",
    "carrier",
    "cancelled",
    "delayed",
    "eastbound",
    "flight",
    "gate",
    "hold",
    "invoice",
    "journey",
    "kiosk",
    "luggage",
    "meter",
    "north",
    "order",
    "payment",
    "queue",
    "refund",
    "shipped",
    "terminal",
    "user",
    "visit",
    "warehouse",
    "express",
    "yield",
    "zone",
    "alpha",
    "bravo",
    "charlie",
    "delta",
    "echo",
];

/// Appends a JSON value of exactly so many bytes.
fn put_json(pool: &mut Vec<u8>, size: usize, number: usize, entropy: &Entropy) {
    let end = pool.len() + size;
    let random = entropy.number();
    let word = |bits: u64| WORDS[usize::try_from(bits % 32).expect("a small number")];
    let head = format!(
        r#"{{"id":"{random:016x}","kind":"{}","at":{},"amount":{}.{:02},"note":""#,
        word(random >> 7),
        1_700_000_000_000 + number as u64 * 37 + random % 1000,
        random % 5000,
        random % 100,
    );
    if size < head.len() + 2 {
        // No room for an object: a string, or a number.
        let digits = format!("{random:020}{random:020}{random:020}{random:020}{random:020}");
        let digits = digits.trim_start_matches('0').bytes().cycle();
        let quotes = 2 * usize::from(size > 2);
        pool.extend_from_slice(&b"\""[..quotes / 2]);
        pool.extend(digits.take(size - quotes));
        pool.extend_from_slice(&b"\""[..quotes / 2]);
        return;
    }
    pool.extend_from_slice(head.as_bytes());
    while pool.len() < end - 2 {
        let random = entropy.number();
        for bits in (0..60).step_by(5) {
            pool.extend_from_slice(word(random >> bits).as_bytes());
            pool.push(b' ');
        }
    }
    pool.truncate(end - 2);
    pool.extend_from_slice(b"\"}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_events_have_the_size_that_was_asked_for() {
        for content in [Content::Json, Content::Random] {
            for size in [0, 1, 2, 3, 40, 90, 100, 1_000, 3_000_000] {
                let mut load = Load::made_up(content, size, 7);
                let (first, second) = (load.draft(|_| 0, None).data, load.draft(|_| 0, None).data);
                assert_eq!((first.len(), second.len()), (size, size));
                assert!(first != second || size < 3, "{content:?} {size}");
                if content == Content::Json && size > 0 {
                    serde_json::from_slice::<serde_json::Value>(&first).unwrap();
                }
            }
        }
    }

    #[test]
    fn lines_come_again_and_streams_start_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        files::write_file(&path, b"{\"a\":1}\r\n\n{}\n3").unwrap();
        let load = Load::lines(&path).unwrap();
        let take = |mut load: Load, count| -> Vec<Bytes> { (0..count).map(|_| load.draft(|_| 0, None).data).collect() };
        assert_eq!(take(load.clone(), 4), ["{\"a\":1}", "{}", "3", "{\"a\":1}"]);
        assert_eq!(take(load.starting_at(1, 3), 1), ["{}"]);
        files::write_file(&path, b"\n").unwrap();
        assert_eq!(Load::lines(&path).unwrap_err().message, format!("{} has no lines", path.display()));
    }
}
