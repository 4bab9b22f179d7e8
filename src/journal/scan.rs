//! Going through the frames of the active segment, and judging where they end.

use std::ops::Range;

use crc32c::crc32c;

use super::{
    error::JournalError,
    frame::{Flaw, FrameHeader},
    index::{FrameEntry, SegmentIndex},
    segment::{Footer, Segment, SegmentHeader},
    writer::{Active, Tail},
};
use crate::model::TopicId;

/// How many bytes are read for the next headers; more than one small frame, less than a large one.
const HEADERS_BYTES: usize = 16 * 1024;

/// How many bytes are read at a time when everything has to be looked at.
const CHUNK_BYTES: usize = 1024 * 1024;

/// A frame whose header is intact and continues the one before.
#[derive(Debug)]
struct Found {
    position: u64,
    header: FrameHeader,
}

/// The frames of a segment, up to where they end.
#[derive(Debug)]
pub(super) struct Scan {
    frames: Vec<(TopicId, FrameEntry)>,
    /// The checksum of each frame's header.
    crcs: Vec<u32>,
    /// The frames of the last group, and of the one before it.
    group: Vec<Found>,
    group_before: Vec<Found>,
    first_sequence: u64,
    end: u64,
}

/// How a segment ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With a whole frame, and zeros behind it.
    Clean,
    /// With a group that a crash has torn; what was written of it from there on takes so many bytes.
    Torn { position: u64, bytes: u64 },
}

impl Scan {
    /// Reads headers as long as they are intact and continue one another. One that is intact and does not is damage: a
    /// crash leaves none, because what is cut is zeroed before it is written over.
    pub(super) fn run(active: &Active) -> Result<Scan, JournalError> {
        let segment = &active.segment;
        let len = segment.len()?;
        let mut scan = Scan {
            frames: Vec::new(),
            crcs: Vec::new(),
            group: Vec::new(),
            group_before: Vec::new(),
            first_sequence: active.next_sequence,
            end: active.position,
        };
        let mut previous = active.last;
        let mut headers = Headers { segment, bytes: Vec::new(), start: 0 };
        while let Some((header, crc)) = headers.at(scan.end)? {
            let damaged = |what: String| JournalError::damaged(&segment.path, scan.end, what);
            let expected = scan.next_sequence();
            if header.sequence != expected || header.previous != previous {
                let what = format!("frame {} stands where frame {expected} has to follow", header.sequence);
                return Err(damaged(what));
            }
            let group = scan.group.first().map(|first| first.header.group);
            if header.group != header.sequence && Some(header.group) != group {
                return Err(damaged(format!("frame {expected} is in group {}, which is not open", header.group)));
            }
            if header.frame_bytes() > len - scan.end {
                return Err(damaged(format!("frame {expected} reaches beyond the end of the file")));
            }
            previous = crc;
            scan.push(header, crc);
        }
        Ok(scan)
    }

    fn push(&mut self, header: FrameHeader, crc: u32) {
        let position = self.end;
        self.end += header.frame_bytes();
        self.frames.push((header.head.topic, FrameEntry::of(&header.head, position, header.stored_bytes)));
        self.crcs.push(crc);
        if header.group == header.sequence {
            self.group_before = std::mem::take(&mut self.group);
        }
        self.group.push(Found { position, header });
    }

    fn next_sequence(&self) -> u64 {
        self.first_sequence + self.frames.len() as u64
    }

    /// The index that stands behind the last frame with its footer, and where it ends.
    pub(super) fn finished_index(&self, segment: &Segment) -> Result<Option<(SegmentIndex, u64)>, JournalError> {
        let mut start = [0; 16];
        if segment.read_at(&mut start, self.end)? < start.len() {
            return Ok(None);
        }
        let Some(index_bytes) = SegmentIndex::bytes_from_start(&start) else {
            return Ok(None);
        };
        let at = self.end.saturating_add(index_bytes);
        let Some(footer) = segment.footer(at)? else {
            return Ok(None);
        };
        let fits = footer.index_position == self.end && footer.next_sequence == self.next_sequence();
        if !fits {
            return Ok(None);
        }
        // The footer may have reached the disk without all of the index: then the sealing is done again.
        let Ok(index) = segment.index(&footer) else {
            return Ok(None);
        };
        if index != SegmentIndex::of(&self.frames) {
            return Err(JournalError::damaged(&segment.path, self.end, "the index does not fit the frames"));
        }
        Ok(Some((index, at + Footer::BYTES as u64)))
    }

    /// Judges the end: clean, torn by a crash, or, as an error, damage that no crash can have done.
    pub(super) fn end(&mut self, segment: &Segment, mark: Option<Tail>) -> Result<End, JournalError> {
        let last_byte = last_byte(segment, self.end)?;
        let bad = match first_bad_payload(segment, &self.group)? {
            Some(bad) => bad,
            None if last_byte.is_none() => return Ok(End::Clean),
            None => (self.end, self.next_sequence()),
        };
        let (position, sequence) = bad;
        if mark.is_some_and(|mark| sequence < mark.next_sequence) {
            let what = format!("frame {sequence}, which was durable when the journal was closed, is not intact");
            return Err(JournalError::damaged(&segment.path, position, what));
        }
        if let Some(later) = later_group(segment, position + 1, sequence)? {
            let what = format!("frame {sequence} is not intact, but frame {later}, which was written later, is");
            return Err(JournalError::damaged(&segment.path, position, what));
        }
        // Where all of the last group is cut, the one before it is the last from then on. It was durable, and once what proves
        // that is gone, it would be taken for torn the next time.
        if self.group.first().is_some_and(|first| first.position == position)
            && let Some((position, before)) = first_bad_payload(segment, &self.group_before)?
        {
            let what = format!("frame {before} is not intact, but frame {sequence} was written later");
            return Err(JournalError::damaged(&segment.path, position, what));
        }
        let end = last_byte.map_or(self.end, |last| last + 1);
        Ok(End::Torn { position, bytes: end - position })
    }

    /// The range that neither a later write nor the mark proves to be durable: the last group, or the segment's header when
    /// there is none.
    pub(super) fn unproven(&self, segment: &Segment, mark: Option<Tail>) -> Option<Range<u64>> {
        let tail = Tail { segment: segment.number, position: self.end, next_sequence: self.next_sequence() };
        if mark == Some(tail) {
            return None;
        }
        let first = if self.frames.is_empty() { Some(0) } else { self.group.first().map(|first| first.position) };
        Some(first.map_or(self.end, |first| first.min(self.end))..self.end)
    }

    /// Overwrites the tail with zeros, durably, and takes its frames off. If the zeros were not durable before something
    /// is written over them, a crash could leave a frame of the old tail behind a new one that it does not continue.
    pub(super) fn cut(&mut self, segment: &Segment, position: u64, bytes: u64) -> Result<(), JournalError> {
        let io = || JournalError::io("cut", &segment.path);
        let zeros = vec![0; CHUNK_BYTES];
        let end = position + bytes;
        let mut at = position;
        while at < end {
            let count = usize::try_from(end - at).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            segment.file.write_all_at(&[&zeros[..count]], at).map_err(io())?;
            at += count as u64;
        }
        segment.file.sync_data().map_err(io())?;
        while self.frames.last().is_some_and(|(_, entry)| entry.position >= position) {
            self.frames.pop();
            self.crcs.pop();
        }
        self.end = position;
        Ok(())
    }

    /// Gives the frames to the segment that will be continued.
    pub(super) fn accept(self, active: &mut Active) {
        active.position = self.end;
        active.next_sequence = self.next_sequence();
        active.last = self.crcs.last().copied().unwrap_or(active.last);
        active.frames = self.frames;
    }
}

/// The first of these frames whose payload is not what was written: its position and sequence.
fn first_bad_payload(segment: &Segment, group: &[Found]) -> Result<Option<(u64, u64)>, JournalError> {
    let mut payload = Vec::new();
    for found in group {
        payload.resize(usize::try_from(found.header.stored_bytes).expect("a payload fits into memory"), 0);
        segment.read_at(&mut payload, found.position + FrameHeader::BYTES as u64)?;
        if crc32c(&payload) != found.header.payload_crc {
            return Ok(Some((found.position, found.header.sequence)));
        }
    }
    Ok(None)
}

/// Headers, read a few at a time.
struct Headers<'a> {
    segment: &'a Segment,
    bytes: Vec<u8>,
    start: u64,
}

impl Headers<'_> {
    /// The intact header at a position, with its checksum.
    fn at(&mut self, position: u64) -> Result<Option<(FrameHeader, u32)>, JournalError> {
        if self.buffered(position).is_none() {
            self.bytes.resize(HEADERS_BYTES, 0);
            let read = self.segment.read_at(&mut self.bytes, position)?;
            self.bytes.truncate(read);
            self.start = position;
        }
        let Some(bytes) = self.buffered(position) else {
            return Ok(None);
        };
        match FrameHeader::decode(bytes, self.segment.seed) {
            Ok(found) => Ok(Some(found)),
            Err(Flaw::Torn) => Ok(None),
            Err(Flaw::Version(version)) => {
                Err(JournalError::Version { file: self.segment.path.clone(), version: version.into() })
            }
            Err(Flaw::Senseless) => {
                Err(JournalError::damaged(&self.segment.path, position, "the frame's header makes no sense"))
            }
        }
    }

    fn buffered(&self, position: u64) -> Option<&[u8; FrameHeader::BYTES]> {
        let at = usize::try_from(position.checked_sub(self.start)?).ok()?;
        self.bytes.get(at..)?.first_chunk()
    }
}

/// Whether there is an intact frame header anywhere in a segment.
pub(super) fn has_frame(segment: &Segment) -> Result<bool, JournalError> {
    Ok(later_group(segment, SegmentHeader::BYTES as u64, 0)?.is_some())
}

/// Looks for an intact header, from a position on, of a group that was begun after the frame with this sequence.
pub(super) fn later_group(segment: &Segment, from: u64, sequence: u64) -> Result<Option<u64>, JournalError> {
    let is_later = |header: &Result<(FrameHeader, u32), Flaw>| match header {
        Ok((header, _)) => header.group > sequence,
        Err(Flaw::Torn) => false,
        Err(Flaw::Version(_) | Flaw::Senseless) => true,
    };
    let found = find_header(segment, from, is_later)?;
    Ok(found.map(|(_, header)| header.map_or(sequence, |header| header.sequence)))
}

/// Looks for an intact header from a position on; gives its position and the frame's sequence.
pub(super) fn next_frame(segment: &Segment, from: u64) -> Result<Option<(u64, u64)>, JournalError> {
    let found = find_header(segment, from, Result::is_ok)?;
    Ok(found.and_then(|(position, header)| Some((position, header?.sequence))))
}

/// The first place, from a position on, where a header stands that is wanted, and the header if it is intact.
fn find_header(
    segment: &Segment,
    from: u64,
    is_wanted: impl Fn(&Result<(FrameHeader, u32), Flaw>) -> bool,
) -> Result<Option<(u64, Option<FrameHeader>)>, JournalError> {
    let mut chunk = Vec::new();
    for range in data(segment, from)? {
        let mut start = range.start;
        while start < range.end {
            // A header may begin in one chunk, or in one range, and end in the next.
            let overlap = FrameHeader::BYTES - 1;
            chunk.resize(CHUNK_BYTES + overlap, 0);
            let read = segment.read_at(&mut chunk, start)?;
            for (at, bytes) in chunk[..read].windows(FrameHeader::BYTES).enumerate() {
                if bytes[0] != FrameHeader::MAGIC[0] {
                    continue;
                }
                let header = FrameHeader::decode(bytes.first_chunk().expect("the window's length"), segment.seed);
                if is_wanted(&header) {
                    return Ok(Some((start + at as u64, header.ok().map(|(header, _)| header))));
                }
            }
            start += CHUNK_BYTES as u64;
        }
    }
    Ok(None)
}

/// The position of the last byte, from a position on, that is not zero.
pub(super) fn last_byte(segment: &Segment, from: u64) -> Result<Option<u64>, JournalError> {
    let (mut chunk, zeros) = (Vec::new(), vec![0; CHUNK_BYTES]);
    for range in data(segment, from)?.into_iter().rev() {
        let mut end = range.end;
        while end > range.start {
            let bytes = usize::try_from(end - range.start).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            end -= bytes as u64;
            chunk.resize(bytes, 0);
            segment.read_at(&mut chunk, end)?;
            // Comparing whole chunks is many times faster than looking at each byte.
            if chunk != zeros[..bytes]
                && let Some(at) = chunk.iter().rposition(|byte| *byte != 0)
            {
                return Ok(Some(end + at as u64));
            }
        }
    }
    Ok(None)
}

fn data(segment: &Segment, from: u64) -> Result<Vec<Range<u64>>, JournalError> {
    segment.file.data(from).map_err(JournalError::io("read", &segment.path))
}
