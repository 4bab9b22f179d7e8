//! Appending: groups of frames, each with one write and, if an ack is to mean that, one sync, in one segment after another.

use std::{io, sync::Arc, time::Duration};

use crc32c::crc32c;

use super::{
    error::{JournalError, WriteError},
    frame::{Frame, FrameHeader},
    index::{FrameEntry, SegmentIndex},
    segment::{DIR, Footer, JournalId, Segment, SegmentHeader, SegmentPlace, segment_path},
};
use crate::{
    model::{Durability, TopicId},
    sys::{Clock, Disk},
};

/// What does not depend on how far a journal has been written.
#[derive(Debug, Clone)]
pub struct JournalOptions {
    pub disk: Disk,
    pub clock: Clock,
    /// The size at which a segment is sealed, in bytes.
    pub segment_bytes: u64,
    /// What has to be true of a group before it is answered.
    pub durability: Durability,
}

/// A durable place in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail {
    pub segment: u64,
    pub position: u64,
    pub next_sequence: u64,
}

/// A segment that will not change any more, and the one that follows it; both durable.
#[derive(Debug, Clone)]
pub struct Sealed {
    pub segment: Arc<Segment>,
    pub index: Arc<SegmentIndex>,
    pub first_sequence: u64,
    pub next_sequence: u64,
    /// The length of the file.
    pub bytes: u64,
    pub successor: SegmentPlace,
}

/// What has been written together, and is as durable as the journal's options want it.
#[derive(Debug)]
pub struct Group {
    /// The segment it is in.
    pub segment: Arc<Segment>,
    /// Where the first so many of the frames are; the others have not been written yet.
    pub entries: Vec<FrameEntry>,
    /// What was written, in bytes.
    pub bytes: u64,
    /// How long the sync took, if there was one.
    pub sync: Option<Duration>,
    /// The segment before, if it was sealed for this.
    pub sealed: Option<Sealed>,
}

/// The one writer of a journal.
#[derive(Debug)]
pub struct JournalWriter {
    options: JournalOptions,
    journal: JournalId,
    state: State,
    /// A sealed segment whose successor could not be made yet.
    orphan: Option<SealedActive>,
}

#[derive(Debug)]
enum State {
    Active(Active),
    /// The next segment is still to be made.
    Between(SegmentPlace),
    Poisoned(Arc<io::Error>),
}

/// The segment that is written.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) segment: Arc<Segment>,
    pub(super) place: SegmentPlace,
    pub(super) capacity: u64,
    pub(super) position: u64,
    pub(super) next_sequence: u64,
    /// The checksum of the last header.
    pub(super) last: u32,
    /// The first frame that was written and not synced yet: it and all behind it are one group.
    pub(super) unsynced: Option<u64>,
    pub(super) frames: Vec<(TopicId, FrameEntry)>,
}

/// A sealed segment, and where the next one will stand.
#[derive(Debug)]
pub(super) struct SealedActive {
    pub(super) segment: Arc<Segment>,
    pub(super) index: Arc<SegmentIndex>,
    pub(super) first_sequence: u64,
    pub(super) bytes: u64,
    pub(super) next: SegmentPlace,
}

impl SealedActive {
    pub(super) fn followed(self) -> Sealed {
        Sealed {
            segment: self.segment,
            index: self.index,
            first_sequence: self.first_sequence,
            next_sequence: self.next.first_sequence,
            bytes: self.bytes,
            successor: self.next,
        }
    }
}

/// Whether an error says that there is no room.
fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl JournalWriter {
    /// Makes the first segment of a new journal, durably.
    pub fn create(options: JournalOptions, journal: JournalId) -> Result<JournalWriter, JournalError> {
        let io = JournalError::io("make", DIR);
        options.disk.create_dir(DIR).and_then(|()| options.disk.sync_dir("")).map_err(io)?;
        let active = Active::create(&options, journal, SegmentPlace::FIRST, 0)
            .map_err(JournalError::io("make", &segment_path(SegmentPlace::FIRST.number)))?;
        Ok(JournalWriter { options, journal, state: State::Active(active), orphan: None })
    }

    pub(super) fn resume(options: JournalOptions, journal: JournalId, active: Active) -> JournalWriter {
        JournalWriter { options, journal, state: State::Active(active), orphan: None }
    }

    /// A writer whose last segment is sealed and has no successor yet.
    pub(super) fn resume_between(options: JournalOptions, journal: JournalId, sealed: SealedActive) -> JournalWriter {
        JournalWriter { options, journal, state: State::Between(sealed.next), orphan: Some(sealed) }
    }

    /// Makes durable what is not yet, and gives the end.
    pub fn sync(&mut self) -> Result<Tail, WriteError> {
        if let State::Active(active) = &mut self.state
            && let Err(error) = active.sync()
        {
            return Err(self.poison(error));
        }
        self.tail()
    }

    /// The end of what was written, which is not known any more once a write has failed.
    pub fn tail(&self) -> Result<Tail, WriteError> {
        match &self.state {
            State::Active(active) => Ok(Tail {
                segment: active.place.number,
                position: active.position,
                next_sequence: active.next_sequence,
            }),
            State::Between(place) => {
                Ok(Tail { segment: place.number, position: 0, next_sequence: place.first_sequence })
            }
            State::Poisoned(source) => Err(WriteError::Poisoned { source: Arc::clone(source) }),
        }
    }

    /// Writes the first of these frames, as many as fit into one segment and at least one, with one write and, unless the
    /// options want less, one sync. Then they are durable when it returns.
    pub fn append(&mut self, frames: &[Frame]) -> Result<Group, WriteError> {
        let first = frames.first().expect("a group has a frame");
        let mut fitting = match &self.state {
            State::Active(active) => active.fitting(frames),
            State::Between(_) => 0,
            State::Poisoned(source) => return Err(WriteError::Poisoned { source: Arc::clone(source) }),
        };
        if fitting == 0 {
            self.roll(first.bytes())?;
        }
        let State::Active(active) = &mut self.state else { unreachable!("a roll that succeeds makes a segment") };
        if fitting == 0 {
            fitting = active.fitting(frames);
        }
        match active.append(&frames[..fitting], &self.options) {
            Ok(mut group) => {
                group.sealed = self.orphan.take().map(SealedActive::followed);
                Ok(group)
            }
            Err(error) => Err(self.poison(error)),
        }
    }

    /// Seals the active segment if there is anything in it, and makes the next.
    pub fn seal(&mut self) -> Result<Option<Sealed>, WriteError> {
        match &self.state {
            State::Active(active) if active.frames.is_empty() => return Ok(None),
            State::Active(_) | State::Between(_) => self.roll(0)?,
            State::Poisoned(source) => return Err(WriteError::Poisoned { source: Arc::clone(source) }),
        }
        Ok(self.orphan.take().map(SealedActive::followed))
    }

    /// Seals the active segment, if there is one, and makes the next, which has room for a frame of `frame_bytes`.
    fn roll(&mut self, frame_bytes: u64) -> Result<(), WriteError> {
        if let State::Active(active) = &mut self.state {
            match active.seal() {
                Ok(sealed) => {
                    self.state = State::Between(sealed.next);
                    self.orphan = Some(sealed);
                }
                Err(error) => return Err(self.poison(error)),
            }
        }
        let State::Between(place) = self.state else { unreachable!("the writer has just left its segment") };
        match Active::create(&self.options, self.journal, place, frame_bytes) {
            Ok(active) => {
                self.state = State::Active(active);
                Ok(())
            }
            Err(error) if is_no_space(&error) => {
                // What was made of it takes room for nothing. If it stays, the next attempt or opening takes its place.
                drop(self.options.disk.remove(&segment_path(place.number)));
                Err(WriteError::NoSpace { source: Arc::new(error) })
            }
            Err(error) => Err(self.poison(error)),
        }
    }

    fn poison(&mut self, error: io::Error) -> WriteError {
        let source = Arc::new(error);
        self.state = State::Poisoned(Arc::clone(&source));
        WriteError::Poisoned { source }
    }
}

/// What a segment needs besides its frames, in bytes.
fn overhead(frames: usize) -> u64 {
    SegmentIndex::bytes_max(frames) + Footer::BYTES as u64
}

impl Active {
    /// Makes a segment with room for at least one frame of `frame_bytes`; durable when it returns.
    fn create(
        options: &JournalOptions,
        journal: JournalId,
        place: SegmentPlace,
        frame_bytes: u64,
    ) -> io::Result<Active> {
        let capacity = options.segment_bytes.max(SegmentHeader::BYTES as u64 + frame_bytes + overhead(1));
        let file = options.disk.create(&segment_path(place.number))?;
        file.allocate(capacity)?;
        let (bytes, last) = SegmentHeader { journal, place, capacity }.encode();
        file.write_all_at(&[&bytes], 0)?;
        file.sync_data()?;
        options.disk.sync_dir(DIR)?;
        Ok(Active {
            segment: Arc::new(Segment::new(journal, place.number, file)),
            place,
            capacity,
            position: bytes.len() as u64,
            next_sequence: place.first_sequence,
            last,
            unsynced: None,
            frames: Vec::new(),
        })
    }

    /// How many of the frames, from the first on, still fit together with the index.
    fn fitting(&self, frames: &[Frame]) -> usize {
        let mut end = self.position;
        frames
            .iter()
            .zip(1..)
            .take_while(|(frame, count)| {
                end += frame.bytes();
                end + overhead(self.frames.len() + count) <= self.capacity
            })
            .count()
    }

    fn append(&mut self, frames: &[Frame], options: &JournalOptions) -> io::Result<Group> {
        let start = self.position;
        // What a loss of power can tear has to be of one group, whatever number of writes it took.
        let group = self.unsynced.unwrap_or(self.next_sequence);
        let (mut position, mut last) = (start, self.last);
        let mut headers = Vec::with_capacity(frames.len());
        let mut entries = Vec::with_capacity(frames.len());
        for (frame, sequence) in frames.iter().zip(self.next_sequence..) {
            let stored_bytes = u32::try_from(frame.payload.len()).expect("a payload is smaller than a segment");
            let header = FrameHeader {
                sequence,
                group,
                head: frame.head.clone(),
                stored_bytes,
                payload_crc: crc32c(&frame.payload),
                previous: last,
            };
            let (bytes, crc) = header.encode(self.segment.seed);
            headers.push(bytes);
            entries.push(FrameEntry::of(&frame.head, position, stored_bytes));
            last = crc;
            position += frame.bytes();
        }
        let pieces: Vec<&[u8]> =
            headers.iter().zip(frames).flat_map(|(header, frame)| [&header[..], &frame.payload[..]]).collect();
        self.segment.file.write_all_at(&pieces, start)?;
        self.unsynced = Some(group);
        let sync = if options.durability.needs_sync() { Some(self.timed_sync(&options.clock)?) } else { None };
        self.position = position;
        self.last = last;
        self.next_sequence += frames.len() as u64;
        self.frames.extend(frames.iter().map(|frame| frame.head.topic).zip(entries.iter().copied()));
        Ok(Group { segment: Arc::clone(&self.segment), entries, bytes: position - start, sync, sealed: None })
    }

    fn timed_sync(&mut self, clock: &Clock) -> io::Result<Duration> {
        let before = clock.elapsed();
        self.sync()?;
        Ok(clock.elapsed().saturating_sub(before))
    }

    /// Makes durable what was written and is not yet.
    fn sync(&mut self) -> io::Result<()> {
        if self.unsynced.is_some() {
            self.segment.file.sync_data()?;
            self.unsynced = None;
        }
        Ok(())
    }

    /// Ends the segment: index and footer are durable, and then nothing follows them. The frames are durable before either
    /// is written, because whoever finds a footer takes the frames before it for whole.
    fn seal(&mut self) -> io::Result<SealedActive> {
        self.sync()?;
        let index = SegmentIndex::of(&self.frames);
        let bytes = index.encode();
        let footer = Footer {
            index_position: self.position,
            index_bytes: bytes.len() as u64,
            next_sequence: self.next_sequence,
            last: self.last,
            index_crc: crc32c(&bytes),
        };
        let file = &self.segment.file;
        file.write_all_at(&[&bytes, &footer.encode(self.segment.seed)], self.position)?;
        file.sync_data()?;
        let len = self.position + (bytes.len() + Footer::BYTES) as u64;
        file.set_len(len)?;
        file.sync_data()?;
        Ok(self.sealed(index, len))
    }

    pub(super) fn sealed(&self, index: SegmentIndex, bytes: u64) -> SealedActive {
        let next =
            SegmentPlace { number: self.place.number + 1, first_sequence: self.next_sequence, previous: self.last };
        SealedActive {
            segment: Arc::clone(&self.segment),
            index: Arc::new(index),
            first_sequence: self.place.first_sequence,
            bytes,
            next,
        }
    }
}
