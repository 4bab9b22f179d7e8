//! Reading an archive: its lines, a chunk at a time, each of which is right when it is given out.
//!
//! It does not matter how the lines are compressed, or whether they are: a chunk ends with its checkpoint and not with a frame.
//! Memory is bounded by the largest chunk. What is cut off, was changed or stands behind the end is refused, and it is said where.

use std::{io::BufRead, ops::Range};

use super::{
    course::{Course, Wrong},
    frames::{FrameError, Frames},
    line::{self, End, Line, TopicEnd},
    writer::CHUNK_BYTES,
};
use crate::{cli::record, model::limits::EVENT_BYTES_MAX};

/// The longest line: an event whose bytes all need six characters in JSON, and what stands around it.
const LINE_BYTES_MAX: usize = 6 * EVENT_BYTES_MAX + 512 * 1024;

/// The longest chunk: one is closed with the line that makes it full.
const CHUNK_BYTES_MAX: usize = CHUNK_BYTES + LINE_BYTES_MAX;

#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("byte {at}: {source}")]
    Frame { at: u64, source: FrameError },
    #[error("line {line}: {what}")]
    Line { line: u64, what: Wrong },
    #[error("it is cut off behind byte {at}: {lines} lines are there, and the last of them is not its end")]
    Cut { at: u64, lines: u64 },
    #[error("something stands behind its end, from byte {at} on")]
    Trailing { at: u64 },
    #[error("it is no archive")]
    NoArchive,
}

/// Lines that were checked, up to a checkpoint or the end.
#[derive(Debug)]
pub(super) struct Chunk {
    lines: Vec<u8>,
    pub(super) parts: Vec<Part>,
    /// How many bytes of the source there are up to here, when a frame ends here.
    pub(super) whole: Option<u64>,
}

#[derive(Debug)]
pub(super) enum Part {
    Event(Event),
    TopicEnd(Box<TopicEnd>),
    End(Box<End>),
}

/// The record of an event in a chunk.
#[derive(Debug, Clone)]
pub(super) struct Event {
    record: Range<usize>,
}

impl Chunk {
    /// All of it, as it stands in the archive.
    #[cfg(any(test, fuzzing))]
    pub(super) fn lines(&self) -> &[u8] {
        &self.lines
    }

    pub(super) fn record(&self, event: &Event) -> &[u8] {
        &self.lines[event.record.clone()]
    }
}

pub(super) struct ArchiveReader<R> {
    frames: Frames<R>,
    course: Course,
    /// What was read and not given out.
    buffer: Vec<u8>,
    /// How many lines there were.
    lines: u64,
    ended: bool,
}

impl<R: BufRead> ArchiveReader<R> {
    pub(super) fn new(source: R) -> ArchiveReader<R> {
        ArchiveReader {
            frames: Frames::new(source),
            course: Course::default(),
            buffer: Vec::new(),
            lines: 0,
            ended: false,
        }
    }

    /// How far the chunks that were given out have come.
    pub(super) fn course(&self) -> &Course {
        &self.course
    }

    /// Gives the next chunk; none behind the end of the archive.
    pub(super) fn next_chunk(&mut self) -> Result<Option<Chunk>, ReadError> {
        if self.ended {
            return Ok(None);
        }
        let mut parts = Vec::new();
        let mut start = 0;
        loop {
            let end = self.line_end(start)?;
            let closes = self.take(start, end - 1, &mut parts)?;
            self.lines += 1;
            start = end;
            if closes {
                break;
            }
        }
        let rest = self.buffer.split_off(start);
        let lines = std::mem::replace(&mut self.buffer, rest);
        self.ended = matches!(parts.last(), Some(Part::End(_)));
        let whole = if self.buffer.is_empty() { self.settle()? } else { None };
        if self.ended {
            self.check_end(whole)?;
        } else {
            self.course.add(&lines[last_line(&lines)..]);
        }
        let whole = whole.filter(|_| self.frames.is_compressed());
        Ok(Some(Chunk { lines, parts, whole }))
    }

    /// Where the line behind `start` ends, with its end, once all of it is there.
    fn line_end(&mut self, start: usize) -> Result<usize, ReadError> {
        let mut searched = start;
        loop {
            let passed = (&self.buffer[searched..]).skip_until(b'\n').expect("memory can be read");
            searched += passed;
            if passed > 0 && self.buffer[searched - 1] == b'\n' {
                return Ok(searched);
            }
            if searched - start > LINE_BYTES_MAX || searched > CHUNK_BYTES_MAX {
                return Err(self.wrong("it is longer than any can be, or its chunk is"));
            }
            if self.read()? == 0 {
                return Err(ReadError::Cut { at: self.frames.position(), lines: self.lines });
            }
            let known = self.buffer.len().min(line::MARK.len());
            if self.lines == 0 && self.buffer[..known] != line::MARK[..known] {
                return Err(ReadError::NoArchive);
            }
        }
    }

    fn read(&mut self) -> Result<usize, ReadError> {
        let at = self.frames.position();
        self.frames.read(&mut self.buffer).map_err(|source| ReadError::Frame { at, source })
    }

    /// Takes the rest of a frame whose lines were all read; gives how many bytes of the source there were up to its end, or
    /// nothing when it goes on or is cut off.
    fn settle(&mut self) -> Result<Option<u64>, ReadError> {
        if self.frames.is_within_frame() && (self.read()? > 0 || self.frames.is_within_frame()) {
            return Ok(None);
        }
        Ok(Some(self.frames.position()))
    }

    /// Follows the course with a line; gives whether it closes the chunk.
    fn take(&mut self, start: usize, end: usize, parts: &mut Vec<Part>) -> Result<bool, ReadError> {
        let line = &self.buffer[start..end];
        if let Some(rest) = line.strip_prefix(self.course.start()).filter(|_| self.course.current().is_some()) {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let offset = std::str::from_utf8(&rest[..digits]).ok().and_then(|digits| digits.parse().ok());
            let followed =
                offset.ok_or_else(|| "it has no offset".to_owned()).and_then(|offset| self.course.event(offset));
            followed.map_err(|what| self.wrong(what))?;
            parts.push(Part::Event(Event { record: start..end }));
            return Ok(false);
        }
        if !line.starts_with(line::MARK) {
            let is_record = line.starts_with(record::MARK);
            let what = if is_record {
                "an event that belongs to another topic, or to none"
            } else {
                "it is no line of an archive"
            };
            return Err(self.wrong(what));
        }
        let line = Line::read(line).map_err(|what| self.wrong(what))?;
        let followed = match line {
            Line::Begin(begin) => self.course.begin(begin),
            Line::Topic(topic) => self.course.topic(topic),
            Line::Gap(gap) => self.course.gap(&gap),
            Line::TopicEnd(said) => {
                let followed = self.course.end_topic().and_then(|found| same(&said, &found));
                parts.push(Part::TopicEnd(Box::new(said)));
                followed
            }
            Line::Checkpoint(said) => {
                self.course.add(&self.buffer[..start]);
                same(&said, &self.course.checkpoint()).map_err(|what| self.wrong(what))?;
                return Ok(true);
            }
            Line::End(said) => {
                self.course.add(&self.buffer[..start]);
                let checked = self.course.end().and_then(|found| same(&said, &found));
                checked.map_err(|what| self.wrong(what))?;
                parts.push(Part::End(Box::new(said)));
                return Ok(true);
            }
        };
        followed.map_err(|what| self.wrong(what))?;
        Ok(false)
    }

    /// Nothing may stand behind the end.
    fn check_end(&mut self, whole: Option<u64>) -> Result<(), ReadError> {
        let at = self.frames.position();
        if !self.buffer.is_empty() {
            return Err(ReadError::Trailing { at });
        }
        if whole.is_none() && self.frames.is_within_frame() && self.is_at_end()? {
            return Err(ReadError::Cut { at, lines: self.lines });
        }
        if whole.is_none() || !self.is_at_end()? {
            return Err(ReadError::Trailing { at });
        }
        Ok(())
    }

    fn is_at_end(&mut self) -> Result<bool, ReadError> {
        let at = self.frames.position();
        self.frames.is_at_end().map_err(|source| ReadError::Frame { at, source })
    }

    /// What is wrong with the line that is being read.
    fn wrong(&self, what: impl Into<Wrong>) -> ReadError {
        ReadError::Line { line: self.lines + 1, what: what.into() }
    }
}

fn last_line(lines: &[u8]) -> usize {
    let end = lines.len() - 1;
    lines[..end].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
}

/// Compares what a line says with what the lines before it come to.
fn same<T: PartialEq>(said: &T, found: &T) -> Result<(), Wrong> {
    if said == found { Ok(()) } else { Err("the lines before it are not those that were written".to_owned()) }
}
