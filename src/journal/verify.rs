//! Going through a segment byte by byte, without changing anything and without stopping at what is wrong.
//!
//! Memory is bounded by one segment's index and one frame, however much is stored.

use std::collections::HashSet;

use bytes::Bytes;
use crc32c::crc32c;

use super::{
    error::JournalError,
    frame::{Frame, FrameHeader},
    index::{FrameEntry, SegmentIndex},
    recover::CutTail,
    scan,
    segment::{Footer, JournalId, Segment, SegmentHeader, SegmentKind, SegmentPlace, segment_path},
    writer::Tail,
};
use crate::{
    model::{Offset, TopicId},
    sys::Disk,
};

/// How many bytes are read at a time.
const CHUNK_BYTES: usize = 1024 * 1024;

/// Something that is not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file's path below the data directory.
    pub file: String,
    /// The byte at which it begins, where that can be told.
    pub position: Option<u64>,
    pub what: String,
    /// The events that are lost to it, where that can be told.
    pub events: Option<DamagedEvents>,
}

/// Events that can't be read: the first and the last offset of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DamagedEvents {
    pub topic: TopicId,
    pub first: Offset,
    pub last: Offset,
}

impl DamagedEvents {
    fn of(topic: TopicId, entry: &FrameEntry) -> DamagedEvents {
        DamagedEvents { topic, first: entry.base, last: Offset::new(entry.end().get().saturating_sub(1)) }
    }
}

/// What a segment is expected to be.
#[derive(Debug, Clone, Copy)]
pub struct ExpectedSegment {
    pub journal: JournalId,
    pub number: u64,
    /// What the segment before says about this one; `None` when that can't be told.
    pub place: Option<SegmentPlace>,
    /// Whether it has been sealed, as the catalogue or the segment that follows it shows.
    pub is_sealed: bool,
    /// Whether the catalogue knows it. One that it does not know may have been left half-made by a crash.
    pub is_known: bool,
    /// What was durable when the journal was last closed in order.
    pub mark: Option<Tail>,
}

/// What was found in a segment.
#[derive(Debug, Clone, Default)]
pub struct VerifiedSegment {
    /// The length of the file.
    pub bytes: u64,
    pub is_sealed: bool,
    /// Whether everything is intact, whatever is in the payloads.
    pub is_whole: bool,
    /// Where the intact frames are, in the order in which they were written.
    pub frames: Vec<(TopicId, FrameEntry)>,
    /// Where the next segment has to stand, if that can be told.
    pub next: Option<SegmentPlace>,
    /// A tail that a crash has torn, which the next opening cuts off. It was never acked.
    pub torn: Option<CutTail>,
    pub damage: Vec<Damage>,
}

/// Goes through a segment. Each intact frame is shown to `look`, which says what is wrong with its payload, if anything is.
pub fn verify_segment(
    disk: &Disk,
    expected: &ExpectedSegment,
    look: &mut dyn FnMut(&Frame) -> Result<(), String>,
) -> VerifiedSegment {
    let mut verified = VerifiedSegment::default();
    let mut unreadable = 0;
    let look = &mut |frame: &Frame| {
        let looked = look(frame);
        unreadable += usize::from(looked.is_err());
        looked
    };
    let walked = Segment::open(disk, expected.journal, expected.number)
        .and_then(|segment| Walk::begin(&segment, expected, look, &mut verified)?.run());
    if let Err(error) = walked {
        verified.next = None;
        verified.damage.push(Damage::from_error(&segment_path(expected.number), &error));
    }
    verified.is_whole = verified.damage.len() == unreadable;
    verified
}

impl Damage {
    fn from_error(path: &str, error: &JournalError) -> Damage {
        let (position, what) = match error {
            JournalError::Io { action, source, .. } => (None, format!("could not {action} it: {source}")),
            JournalError::Damaged { position, what, .. } => (Some(*position), what.clone()),
            JournalError::Missing { .. } => (None, "the file is missing".to_owned()),
            JournalError::Unsealed { .. } => (None, "it is not sealed although another segment follows it".to_owned()),
            JournalError::Version { version, .. } => {
                (Some(0), format!("it has format version {version}, which this program does not know"))
            }
        };
        Damage { file: path.to_owned(), position, what, events: None }
    }
}

/// A place where the frames are not intact.
struct Flaw {
    position: u64,
    /// The sequence that the frame there should have.
    sequence: u64,
    what: String,
    events: Option<DamagedEvents>,
}

/// Where a segment's frames have been gone through to.
struct Walk<'a> {
    segment: &'a Segment,
    expected: &'a ExpectedSegment,
    look: &'a mut dyn FnMut(&Frame) -> Result<(), String>,
    verified: &'a mut VerifiedSegment,
    chunk: Chunk<'a>,
    footer: Option<Footer>,
    position: u64,
    /// Where frames can't be any more.
    limit: u64,
    sequence: u64,
    /// The checksum of the header before, if that was intact.
    previous: Option<u32>,
    /// The group that is open.
    group: Option<u64>,
    /// The end of the last intact frame.
    end: u64,
    flaws: Vec<Flaw>,
}

impl<'a> Walk<'a> {
    fn begin(
        segment: &'a Segment,
        expected: &'a ExpectedSegment,
        look: &'a mut dyn FnMut(&Frame) -> Result<(), String>,
        verified: &'a mut VerifiedSegment,
    ) -> Result<Walk<'a>, JournalError> {
        let len = segment.len()?;
        let footer = match len.checked_sub(Footer::BYTES as u64) {
            Some(at) => segment.footer(at)?,
            None => None,
        };
        verified.bytes = len;
        verified.is_sealed = footer.is_some();
        let limit = footer.as_ref().map_or(len, |footer| footer.index_position.min(len - Footer::BYTES as u64));
        let sequence = expected.place.map_or(0, |place| place.first_sequence);
        let start = SegmentHeader::BYTES as u64;
        let mut walk = Walk {
            segment,
            expected,
            look,
            verified,
            chunk: Chunk { segment, bytes: Vec::new(), start: 0 },
            footer,
            position: start,
            limit,
            sequence,
            previous: None,
            group: None,
            end: start,
            flaws: Vec::new(),
        };
        walk.header(len)?;
        Ok(walk)
    }

    fn damage(&mut self, position: u64, what: impl Into<String>) {
        let file = self.segment.path.clone();
        self.verified.damage.push(Damage { file, position: Some(position), what: what.into(), events: None });
    }

    /// Compares the segment's header with what is expected of it.
    fn header(&mut self, len: u64) -> Result<(), JournalError> {
        let mut bytes = [0; SegmentHeader::BYTES];
        self.segment.read_at(&mut bytes, 0)?;
        let Some((header, crc)) = SegmentHeader::decode(&self.segment.path, &bytes)? else {
            if self.is_half_made(None, len)? {
                self.limit = 0;
            } else {
                self.damage(0, "the segment's header is not intact");
            }
            return Ok(());
        };
        if self.is_half_made(Some(&header), len)? {
            self.limit = 0;
            return Ok(());
        }
        self.previous = Some(crc);
        if header.journal != self.expected.journal {
            self.damage(16, "the segment belongs to another journal");
        }
        if header.place.number != self.expected.number {
            let what = format!("the segment is number {} under another's name", header.place.number);
            self.damage(32, what);
        }
        if let Some(place) = self.expected.place {
            let (is, needed) =
                ((header.place.first_sequence, header.place.previous), (place.first_sequence, place.previous));
            if is != needed {
                let what = format!("the segment starts at sequence {} and has to start at {}", is.0, needed.0);
                self.damage(40, what);
            }
        }
        self.sequence = header.place.first_sequence;
        if !self.expected.is_sealed
            && let Some(footer) = &self.footer
            && self.segment.is_half_sealed(&header, footer)?
        {
            (self.footer, self.limit, self.verified.is_sealed) = (None, len, false);
        }
        if self.footer.is_none() && self.expected.is_sealed {
            self.damage(len.saturating_sub(Footer::BYTES as u64), "there is no footer, although it was sealed");
        } else if self.footer.is_none() && len < header.capacity {
            self.damage(len, format!("the file has been truncated: it was made {} bytes long", header.capacity));
        }
        Ok(())
    }

    /// Whether a crash has interrupted the making of the segment; the next opening makes it again.
    fn is_half_made(&self, header: Option<&SegmentHeader>, len: u64) -> Result<bool, JournalError> {
        if self.expected.is_known || self.expected.is_sealed || self.footer.is_some() {
            return Ok(false);
        }
        let is_whole = header.is_some_and(|header| len >= header.capacity);
        Ok(!is_whole && !scan::has_frame(self.segment)?)
    }

    fn run(mut self) -> Result<(), JournalError> {
        if self.limit == 0 {
            return Ok(());
        }
        while self.position < self.limit {
            if !self.frame()? && !self.search()? {
                break;
            }
        }
        match self.footer.take() {
            Some(footer) => self.finish_sealed(&footer),
            None => self.finish_active(),
        }
    }

    /// Takes the frame at the position, if an intact header is there.
    fn frame(&mut self) -> Result<bool, JournalError> {
        let position = self.position;
        let Some(bytes) = self.chunk.at(position, FrameHeader::BYTES)? else {
            return Ok(false);
        };
        let bytes = bytes.first_chunk().expect("the length of a header");
        let Ok((header, crc)) = FrameHeader::decode(bytes, self.segment.seed) else {
            return Ok(false);
        };
        if header.frame_bytes() > self.limit - position {
            return Ok(false);
        }
        let expected = (self.sequence, self.previous.unwrap_or(header.previous));
        // Behind a flaw nothing is known of what has to come.
        let is_after_flaw = self.previous.is_none();
        if (header.sequence, header.previous) != expected && !is_after_flaw {
            let what = format!("frame {} stands where frame {} has to follow", header.sequence, self.sequence);
            self.damage(position, what);
        } else if header.group != header.sequence && self.group != Some(header.group) && !is_after_flaw {
            let what = format!("frame {} is in group {}, which is not open", header.sequence, header.group);
            self.damage(position, what);
        }
        let entry = FrameEntry::of(&header.head, position, header.stored_bytes);
        let stored = usize::try_from(header.stored_bytes).expect("a payload fits into memory");
        let payload = self.chunk.at(position + FrameHeader::BYTES as u64, stored)?.map(Bytes::copy_from_slice);
        let Some(payload) = payload else { return Ok(false) };
        let topic = header.head.topic;
        let damaged = if crc32c(&payload) == header.payload_crc {
            self.verified.frames.push((topic, entry));
            let frame = Frame { head: header.head.clone(), payload };
            if let Err(what) = (self.look)(&frame) {
                let file = self.segment.path.clone();
                let events = Some(DamagedEvents::of(topic, &entry));
                self.verified.damage.push(Damage { file, position: Some(position), what, events });
            }
            None
        } else {
            Some(DamagedEvents::of(topic, &entry))
        };
        if let Some(events) = damaged {
            let what = "the payload's checksum does not fit".to_owned();
            self.flaws.push(Flaw { position, sequence: header.sequence, what, events: Some(events) });
        }
        self.group = Some(header.group);
        self.previous = Some(crc);
        self.sequence = header.sequence.saturating_add(1);
        self.position = position + header.frame_bytes();
        self.end = self.position;
        Ok(true)
    }

    /// Looks for the next intact frame behind what is none; notes the flaw unless there are only zeros up to the end.
    fn search(&mut self) -> Result<bool, JournalError> {
        let position = self.position;
        let found = scan::next_frame(self.segment, position + 1)?.filter(|(found, _)| *found < self.limit);
        if found.is_none() && self.footer.is_none() && scan::last_byte(self.segment, position)?.is_none() {
            return Ok(false);
        }
        let what = format!("frame {} is not intact", self.sequence);
        self.flaws.push(Flaw { position, sequence: self.sequence, what, events: None });
        let Some((found, sequence)) = found else { return Ok(false) };
        self.sequence = sequence;
        self.previous = None;
        self.group = None;
        self.position = found;
        Ok(true)
    }

    fn finish_sealed(mut self, footer: &Footer) -> Result<(), JournalError> {
        let flaws = std::mem::take(&mut self.flaws);
        let torn: HashSet<u64> = flaws.iter().map(|flaw| flaw.position).collect();
        for flaw in flaws {
            self.report(flaw);
        }
        let whole = torn.is_empty();
        if whole && (self.end != footer.index_position || self.sequence != footer.next_sequence) {
            let what = format!("the frames end at byte {} with sequence {}", self.end, self.sequence.saturating_sub(1));
            self.damage(footer.index_position, what);
        }
        if whole && self.previous.is_some_and(|previous| previous != footer.last) {
            self.damage(footer.index_position, "the footer does not continue the last frame");
        }
        let end = footer.index_position.saturating_add(footer.index_bytes);
        if end.saturating_add(Footer::BYTES as u64) != self.verified.bytes {
            self.damage(end, "the footer does not stand behind the index");
        }
        let number = self.expected.number + 1;
        let next = SegmentPlace { number, first_sequence: footer.next_sequence, previous: footer.last };
        // What follows a compacted segment does not continue it.
        let is_written = SegmentKind::of(self.expected.number) == SegmentKind::Written;
        self.verified.next = is_written.then_some(next);
        let index = self.segment.index(footer)?;
        self.compare(footer, &index, &torn);
        Ok(())
    }

    /// Compares the index with the frames that are there.
    fn compare(&mut self, footer: &Footer, index: &SegmentIndex, torn: &HashSet<u64>) {
        if *index == SegmentIndex::of(&self.verified.frames) {
            return;
        }
        let walked: HashSet<u64> = self.verified.frames.iter().map(|(_, entry)| entry.position).collect();
        let mut explained = !torn.is_empty();
        for (topic, entries) in index.topics() {
            for entry in entries.iter().filter(|entry| !walked.contains(&entry.position)) {
                explained = true;
                self.name(topic, entry, torn);
            }
        }
        if !explained {
            self.damage(footer.index_position, "the index does not fit the frames");
        }
    }

    /// Says which events are lost with a frame that the index names and that is not there.
    fn name(&mut self, topic: TopicId, entry: &FrameEntry, torn: &HashSet<u64>) {
        let events = Some(DamagedEvents::of(topic, entry));
        let known = self.verified.damage.iter_mut().find(|damage| damage.position == Some(entry.position));
        match known {
            Some(damage) if torn.contains(&entry.position) => damage.events = events,
            _ => {
                let what = "the frame that the index names is not here".to_owned();
                let file = self.segment.path.clone();
                self.verified.damage.push(Damage { file, position: Some(entry.position), what, events });
            }
        }
    }

    fn report(&mut self, flaw: Flaw) {
        let Flaw { position, what, events, .. } = flaw;
        let file = self.segment.path.clone();
        self.verified.damage.push(Damage { file, position: Some(position), what, events });
    }

    /// Tells a tail that a crash has torn from damage, as opening does (docs/format.md, 4.1).
    fn finish_active(mut self) -> Result<(), JournalError> {
        let number = self.expected.number + 1;
        let place = SegmentPlace { number, first_sequence: self.sequence, previous: self.previous.unwrap_or(0) };
        let flaws = std::mem::take(&mut self.flaws);
        let Some(first) = flaws.first() else {
            self.verified.next = Some(place);
            return Ok(());
        };
        if first.position == self.end && !self.expected.is_sealed && self.is_interrupted_sealing()? {
            self.verified.next = Some(place);
            return Ok(());
        }
        let was_durable = self.expected.mark.is_some_and(|mark| first.sequence < mark.next_sequence);
        let is_witnessed = scan::later_group(self.segment, first.position + 1, first.sequence)?.is_some();
        if was_durable || is_witnessed || self.expected.is_sealed {
            for flaw in flaws {
                self.report(flaw);
            }
            return Ok(());
        }
        let (position, sequence) = (first.position, first.sequence);
        let end = scan::last_byte(self.segment, position)?.map_or(self.end, |last| last + 1);
        let file = self.segment.path.clone();
        self.verified.frames.retain(|(_, entry)| entry.position < position);
        self.verified.torn = Some(CutTail { file, position, bytes: end.max(position) - position });
        self.verified.next = Some(SegmentPlace { first_sequence: sequence, ..place });
        Ok(())
    }

    /// Whether index and footer stand behind the last frame: a crash came before the file was truncated behind them.
    fn is_interrupted_sealing(&self) -> Result<bool, JournalError> {
        let mut start = [0; SegmentIndex::HEAD_BYTES];
        self.segment.read_at(&mut start, self.end)?;
        let Some(index_bytes) = SegmentIndex::bytes_from_start(&start) else {
            return Ok(false);
        };
        let Some(footer) = self.segment.footer(self.end.saturating_add(index_bytes))? else {
            return Ok(false);
        };
        let fits = footer.index_position == self.end && footer.next_sequence == self.sequence;
        Ok(fits && self.segment.index(&footer).is_ok())
    }
}

/// The part of a segment that is looked at.
struct Chunk<'a> {
    segment: &'a Segment,
    bytes: Vec<u8>,
    start: u64,
}

impl Chunk<'_> {
    /// So many bytes at a position, which never goes back; `None` when the file ends before.
    fn at(&mut self, position: u64, len: usize) -> Result<Option<&[u8]>, JournalError> {
        let offset = position.checked_sub(self.start).and_then(|offset| usize::try_from(offset).ok());
        let buffered = offset.and_then(|offset| offset.checked_add(len)).is_some_and(|end| end <= self.bytes.len());
        if !buffered {
            self.bytes.resize(len.max(CHUNK_BYTES), 0);
            let read = self.segment.read_at(&mut self.bytes, position)?;
            self.bytes.truncate(read);
            self.start = position;
        }
        let offset = usize::try_from(position - self.start).expect("the chunk is in memory");
        Ok(self.bytes.get(offset..offset + len))
    }
}
