//! Writing a compacted segment: whole, under a name of its own, and never in the way of the journal's writer.

use std::{io, sync::Arc};

use crc32c::crc32c;

use super::{
    error::JournalError,
    frame::{Frame, FrameHeader},
    index::{FrameEntry, SegmentIndex},
    segment::{
        DIR, Footer, JournalId, Segment, SegmentHeader, SegmentKind, SegmentPlace, segment_path, unfinished_path,
    },
};
use crate::{model::TopicId, sys::Disk};

/// How many bytes are gathered for one write.
const WRITE_BYTES: usize = 1024 * 1024;

/// How many bytes are written between syncs: one large sync at the end would hold up those of the journal.
const SYNC_BYTES: u64 = 4 * 1024 * 1024;

/// The writer of one compacted segment. Until it is finished the file has a name that opening takes for a leftover; whoever gives it up
/// removes that ([`remove_segments`]).
#[derive(Debug)]
pub struct CompactedWriter {
    disk: Disk,
    segment: Segment,
    frames: Vec<(TopicId, FrameEntry)>,
    /// What has not been written yet, and where it will stand.
    pending: Vec<u8>,
    position: u64,
    synced: u64,
    next_sequence: u64,
    last: u32,
}

/// A compacted segment, durable under its name.
#[derive(Debug, Clone)]
pub struct Compacted {
    pub segment: Arc<Segment>,
    pub index: Arc<SegmentIndex>,
    /// The length of the file.
    pub bytes: u64,
}

impl CompactedWriter {
    /// Starts the file of a segment.
    pub fn create(disk: &Disk, journal: JournalId, number: u64) -> Result<CompactedWriter, JournalError> {
        let path = unfinished_path(number);
        let file = disk.create(&path).map_err(JournalError::io("create", &path))?;
        let place = SegmentPlace::of_compacted(number);
        let (header, last) = SegmentHeader { journal, place, capacity: 0 }.encode();
        Ok(CompactedWriter {
            disk: disk.clone(),
            segment: Segment::new(journal, number, file),
            frames: Vec::new(),
            pending: header.to_vec(),
            position: 0,
            synced: 0,
            next_sequence: place.first_sequence,
            last,
        })
    }

    /// How long the file would be with one more frame of so many bytes.
    pub fn bytes_with(&self, frame_bytes: u64) -> u64 {
        let frames = self.position + self.pending.len() as u64 + frame_bytes;
        frames + SegmentIndex::bytes_max(self.frames.len() + 1) + Footer::BYTES as u64
    }

    /// Whether nothing has been appended.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Puts a block behind the last.
    pub fn append(&mut self, frame: &Frame) -> Result<(), JournalError> {
        let stored_bytes = u32::try_from(frame.payload.len()).expect("a payload is smaller than a segment");
        let header = FrameHeader {
            sequence: self.next_sequence,
            group: SegmentPlace::FIRST.first_sequence,
            head: frame.head.clone(),
            stored_bytes,
            payload_crc: crc32c(&frame.payload),
            previous: self.last,
        };
        let (bytes, crc) = header.encode(self.segment.seed);
        let position = self.position + self.pending.len() as u64;
        self.frames.push((frame.head.topic, FrameEntry::of(&frame.head, position, stored_bytes)));
        self.pending.extend_from_slice(&bytes);
        self.pending.extend_from_slice(&frame.payload);
        self.last = crc;
        self.next_sequence += 1;
        if self.pending.len() >= WRITE_BYTES { self.write().map_err(self.failed("write")) } else { Ok(()) }
    }

    /// Ends the segment. When this returns it is durable under its name, and complete.
    pub fn finish(mut self) -> Result<Compacted, JournalError> {
        let index = SegmentIndex::of(&self.frames);
        let bytes = index.encode();
        let footer = Footer {
            index_position: self.position + self.pending.len() as u64,
            index_bytes: bytes.len() as u64,
            next_sequence: self.next_sequence,
            last: self.last,
            index_crc: crc32c(&bytes),
        };
        self.pending.extend_from_slice(&bytes);
        self.pending.extend_from_slice(&footer.encode(self.segment.seed));
        self.write().and_then(|()| self.segment.file.sync_data()).map_err(self.failed("write"))?;
        let number = self.segment.number;
        let renamed = self.disk.rename(&unfinished_path(number), &segment_path(number));
        renamed.and_then(|()| self.disk.sync_dir(DIR)).map_err(self.failed("rename"))?;
        Ok(Compacted { segment: Arc::new(self.segment), index: Arc::new(index), bytes: self.position })
    }

    fn write(&mut self) -> io::Result<()> {
        self.segment.file.write_all_at(&[&self.pending], self.position)?;
        self.position += self.pending.len() as u64;
        self.pending.clear();
        if self.position - self.synced >= SYNC_BYTES {
            self.segment.file.sync_data()?;
            self.synced = self.position;
        }
        Ok(())
    }

    fn failed(&self, action: &'static str) -> impl FnOnce(io::Error) -> JournalError + use<> {
        let file = unfinished_path(self.segment.number);
        move |source| JournalError::Io { action, file, source: Arc::new(source) }
    }
}

/// Removes the files of segments, those that are there, durably: replaced ones, which readers may still hold open, or compacted ones
/// that were never registered, finished or not.
pub fn remove_segments(disk: &Disk, numbers: impl IntoIterator<Item = u64>) -> Result<Vec<String>, JournalError> {
    let paths = |number: u64| match SegmentKind::of(number) {
        SegmentKind::Written => vec![segment_path(number)],
        SegmentKind::Compacted => vec![segment_path(number), unfinished_path(number)],
    };
    remove(disk, numbers.into_iter().flat_map(paths))
}

pub(super) fn remove(disk: &Disk, paths: impl IntoIterator<Item = String>) -> Result<Vec<String>, JournalError> {
    let mut removed = Vec::new();
    for path in paths {
        match disk.remove(&path) {
            Ok(()) => removed.push(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(JournalError::io("remove", &path)(error)),
        }
    }
    if !removed.is_empty() {
        disk.sync_dir(DIR).map_err(JournalError::io("sync", DIR))?;
    }
    Ok(removed)
}
