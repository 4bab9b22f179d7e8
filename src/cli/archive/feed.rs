//! The events of an archive on their way to a server: read, checked and taken apart by a thread of its own.
//!
//! A piece is a part of one chunk, and a few wait at most, so the memory is bounded by the largest chunk.

use std::io::BufRead;

use tokio::sync::mpsc;

use super::{
    line::{End, Topic},
    reader::{ArchiveReader, Part, ReadError},
};
use crate::cli::{
    error::{CliError, Result},
    record::{self, Record},
};

/// How many pieces may wait to be published.
const PIECES_MAX: usize = 2;

/// What comes next in an archive.
#[derive(Debug)]
pub(super) enum Piece {
    /// All topics, before anything else.
    Topics(Vec<Topic>),
    /// Events of a topic that follow one another.
    Records { topic: usize, records: Vec<Record> },
    /// Nothing more comes of a topic, which has so many events in the archive.
    TopicEnd { topic: usize, events: u64 },
}

/// What an archive holds, found out by reading all of it.
#[derive(Debug)]
pub(super) struct Inventory {
    pub(super) topics: Vec<Topic>,
    /// How many events there are of each, and how many were left out.
    pub(super) counts: Vec<(u64, u64)>,
    pub(super) end: End,
    pub(super) created: String,
}

/// Reads everything, and says how many events there were so far.
pub(super) fn check(source: impl BufRead, name: &str, mut seen: impl FnMut(u64)) -> Result<Inventory> {
    let mut reader = ArchiveReader::new(source);
    let mut counts = Vec::new();
    while let Some(chunk) = reader.next_chunk().map_err(|error| damaged(&error, name))? {
        for part in chunk.parts {
            match part {
                Part::Event(_) => {}
                Part::TopicEnd(end) => counts.push((end.events, end.skipped)),
                Part::End(end) => {
                    let topics = reader.course().topics().to_vec();
                    let created = reader.course().beginning().map_or_else(String::new, |begin| begin.created.clone());
                    return Ok(Inventory { topics, counts, end: *end, created });
                }
            }
        }
        seen(reader.course().events());
    }
    unreachable!("an archive that was read without an error has an end")
}

/// Starts the thread that reads. It ends with the archive, or when nobody takes the pieces any more.
pub(super) fn spawn<R: BufRead + Send + 'static>(source: R, name: String) -> mpsc::Receiver<Result<Piece>> {
    let (sender, receiver) = mpsc::channel(PIECES_MAX);
    let read = move || {
        let mut feed = Feed { reader: ArchiveReader::new(source), sender, name, topic: 0, is_planned: false };
        if let Err(Some(error)) = feed.run() {
            // Whether anybody still listens makes no difference here.
            drop(feed.sender.blocking_send(Err(error)));
        }
    };
    std::thread::Builder::new().name("archive".to_owned()).spawn(read).expect("the process can have a second thread");
    receiver
}

struct Feed<R> {
    reader: ArchiveReader<R>,
    sender: mpsc::Sender<Result<Piece>>,
    name: String,
    /// Which topic the next event belongs to.
    topic: usize,
    is_planned: bool,
}

impl<R: BufRead> Feed<R> {
    /// Ends with an error to be told, or with none when nobody listens any more.
    fn run(&mut self) -> std::result::Result<(), Option<CliError>> {
        while let Some(chunk) = self.reader.next_chunk().map_err(|error| Some(damaged(&error, &self.name)))? {
            if !self.is_planned && self.reader.course().is_planned() {
                self.is_planned = true;
                self.send(Piece::Topics(self.reader.course().topics().to_vec()))?;
            }
            let mut records = Vec::new();
            for part in &chunk.parts {
                match part {
                    Part::Event(event) => {
                        let record = record::read(chunk.record(event));
                        records.push(record.map_err(|what| Some(not_a_record(&self.name, &what)))?);
                    }
                    Part::TopicEnd(end) => {
                        self.send_records(std::mem::take(&mut records))?;
                        self.send(Piece::TopicEnd { topic: self.topic, events: end.events })?;
                        self.topic += 1;
                    }
                    Part::End(_) => {}
                }
            }
            self.send_records(records)?;
        }
        Ok(())
    }

    fn send_records(&self, records: Vec<Record>) -> std::result::Result<(), Option<CliError>> {
        if records.is_empty() { Ok(()) } else { self.send(Piece::Records { topic: self.topic, records }) }
    }

    fn send(&self, piece: Piece) -> std::result::Result<(), Option<CliError>> {
        self.sender.blocking_send(Ok(piece)).map_err(|_| None)
    }
}

fn damaged(error: &ReadError, name: &str) -> CliError {
    let refused = CliError::check_failed(format!("{name}: {error}"));
    match error {
        ReadError::Cut { .. } => refused.hint("an export that was interrupted goes on when its command is run again"),
        _ => refused,
    }
}

fn not_a_record(name: &str, what: &str) -> CliError {
    CliError::check_failed(format!("{name}: an event that this program can't read: {what}"))
}
