//! Segments: a header, frames, and, once sealed, an index and a footer.

use std::{fmt, ops::Range, sync::Arc};

use bytes::{Buf, BufMut, Bytes};
use crc32c::{crc32c, crc32c_append};

use super::{
    error::{JournalError, UnreadableFrame},
    frame::{Frame, FrameHeader},
    index::{FrameEntry, SegmentIndex},
};
use crate::{
    model::{Offset, TopicId},
    sys::{Disk, DiskFile},
};

/// The directory of all segments.
pub(super) const DIR: &str = "journal";

/// How many bytes are read at a time when frames stand side by side.
const READ_BYTES: u64 = 1024 * 1024;

const HEADER_MAGIC: [u8; 8] = *b"EnsgnSeg";
const FOOTER_MAGIC: [u8; 8] = *b"EnsgnEnd";
const VERSION: u16 = 1;

/// The number from which those of compacted segments are counted.
const COMPACTED: u64 = 1 << 63;
/// What stands before the number in the name of a compacted segment.
const COMPACTED_PREFIX: &str = "compact-";
/// What stands behind the name of a segment that is not whole yet.
const UNFINISHED_SUFFIX: &str = ".new";

/// How a segment came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentKind {
    /// Written in order, group by group.
    Written,
    /// Made whole out of others.
    Compacted,
}

impl SegmentKind {
    /// The kind that a segment's number tells.
    pub fn of(number: u64) -> SegmentKind {
        if number < COMPACTED { SegmentKind::Written } else { SegmentKind::Compacted }
    }

    fn to_byte(self) -> u8 {
        match self {
            SegmentKind::Written => 1,
            SegmentKind::Compacted => 2,
        }
    }
}

/// The number of the first compacted segment of a journal.
pub const FIRST_COMPACTED: u64 = COMPACTED + 1;

/// Which journal a segment belongs to; random.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct JournalId(pub [u8; 16]);

impl fmt::Debug for JournalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// Where a segment stands in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentPlace {
    pub number: u64,
    /// The sequence of its first frame.
    pub first_sequence: u64,
    /// The checksum of the frame header before.
    pub previous: u32,
}

impl SegmentPlace {
    /// The place of a compacted segment, which continues nothing.
    pub fn of_compacted(number: u64) -> SegmentPlace {
        SegmentPlace { number, ..SegmentPlace::FIRST }
    }

    /// Where a journal begins.
    pub const FIRST: SegmentPlace = SegmentPlace { number: 1, first_sequence: 1, previous: 0 };
}

/// A segment's path.
pub fn segment_path(number: u64) -> String {
    match SegmentKind::of(number) {
        SegmentKind::Written => format!("{DIR}/{number:020}.seg"),
        SegmentKind::Compacted => format!("{DIR}/{COMPACTED_PREFIX}{:020}.seg", number - COMPACTED),
    }
}

/// The path of a segment that is not whole yet.
pub(super) fn unfinished_path(number: u64) -> String {
    segment_path(number) + UNFINISHED_SUFFIX
}

/// The number in a segment's file name.
pub(super) fn segment_number(name: &str) -> Option<u64> {
    let stem = name.strip_suffix(".seg")?;
    let (digits, first) = match stem.strip_prefix(COMPACTED_PREFIX) {
        Some(digits) => (digits, COMPACTED),
        None => (stem, 0),
    };
    let number: u64 = if digits.len() == 20 { digits.parse().ok()? } else { return None };
    (number < COMPACTED).then(|| first + number)
}

/// Whether a file name is that of a segment that was not finished.
pub(super) fn is_unfinished(name: &str) -> bool {
    let number = name.strip_suffix(UNFINISHED_SUFFIX).and_then(segment_number);
    number.is_some_and(|number| SegmentKind::of(number) == SegmentKind::Compacted)
}

/// What the checksums of frames and footer start from, so that those of another segment are never taken for this one's.
pub(super) fn seed(journal: JournalId, number: u64) -> u32 {
    crc32c_append(crc32c(&journal.0), &number.to_le_bytes())
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) journal: JournalId,
    pub(super) place: SegmentPlace,
    pub(super) capacity: u64,
}

impl SegmentHeader {
    pub(super) const BYTES: usize = 64;

    /// The header's bytes and its checksum.
    pub(super) fn encode(&self) -> ([u8; SegmentHeader::BYTES], u32) {
        let mut bytes = [0; SegmentHeader::BYTES];
        let mut rest = &mut bytes[..];
        rest.put_slice(&HEADER_MAGIC);
        rest.put_u16_le(VERSION);
        rest.put_u8(SegmentKind::of(self.place.number).to_byte());
        rest.put_bytes(0, 5);
        rest.put_slice(&self.journal.0);
        rest.put_u64_le(self.place.number);
        rest.put_u64_le(self.place.first_sequence);
        rest.put_u64_le(self.capacity);
        rest.put_u32_le(self.place.previous);
        let crc = crc32c(&bytes[..SegmentHeader::BYTES - 4]);
        bytes[SegmentHeader::BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        (bytes, crc)
    }

    /// Reads a header and its checksum; `None` when there is no whole one.
    pub(super) fn decode(
        file: &str,
        bytes: &[u8; SegmentHeader::BYTES],
    ) -> Result<Option<(SegmentHeader, u32)>, JournalError> {
        let Some(mut rest) = bytes.strip_prefix(&HEADER_MAGIC) else {
            return Ok(None);
        };
        let crc = u32::from_le_bytes(bytes[SegmentHeader::BYTES - 4..].try_into().expect("four bytes"));
        if crc != crc32c(&bytes[..SegmentHeader::BYTES - 4]) {
            return Ok(None);
        }
        let version = rest.get_u16_le();
        if version != VERSION {
            return Err(JournalError::Version { file: file.to_owned(), version });
        }
        let kind = rest.get_u8();
        rest.advance(5);
        let mut journal = [0; 16];
        rest.copy_to_slice(&mut journal);
        let (number, first_sequence) = (rest.get_u64_le(), rest.get_u64_le());
        if kind != SegmentKind::of(number).to_byte() {
            return Err(JournalError::damaged(file, 10, format!("segment {number} cannot be of kind {kind}")));
        }
        let (capacity, previous) = (rest.get_u64_le(), rest.get_u32_le());
        let place = SegmentPlace { number, first_sequence, previous };
        Ok(Some((SegmentHeader { journal: JournalId(journal), place, capacity }, crc)))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) index_position: u64,
    pub(super) index_bytes: u64,
    pub(super) next_sequence: u64,
    /// The checksum of the last header.
    pub(super) last: u32,
    pub(super) index_crc: u32,
}

impl Footer {
    pub(super) const BYTES: usize = 64;

    pub(super) fn encode(&self, seed: u32) -> [u8; Footer::BYTES] {
        let mut bytes = [0; Footer::BYTES];
        let mut rest = &mut bytes[..];
        rest.put_slice(&FOOTER_MAGIC);
        rest.put_u64_le(self.index_position);
        rest.put_u64_le(self.index_bytes);
        rest.put_u64_le(self.next_sequence);
        rest.put_u32_le(self.last);
        rest.put_u32_le(self.index_crc);
        let crc = crc32c_append(seed, &bytes[..Footer::BYTES - 4]);
        bytes[Footer::BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; Footer::BYTES], seed: u32) -> Option<Footer> {
        let mut rest = bytes.strip_prefix(&FOOTER_MAGIC)?;
        let crc = u32::from_le_bytes(bytes[Footer::BYTES - 4..].try_into().expect("four bytes"));
        if crc != crc32c_append(seed, &bytes[..Footer::BYTES - 4]) {
            return None;
        }
        Some(Footer {
            index_position: rest.get_u64_le(),
            index_bytes: rest.get_u64_le(),
            next_sequence: rest.get_u64_le(),
            last: rest.get_u32_le(),
            index_crc: rest.get_u32_le(),
        })
    }
}

/// An open segment, active or sealed. It stays readable while somebody holds it, also when its name is gone.
#[derive(Debug)]
pub struct Segment {
    pub(super) number: u64,
    pub(super) path: String,
    pub(super) file: DiskFile,
    pub(super) seed: u32,
}

impl Segment {
    pub(super) fn new(journal: JournalId, number: u64, file: DiskFile) -> Segment {
        Segment { number, path: segment_path(number), file, seed: seed(journal, number) }
    }

    pub(super) fn open(disk: &Disk, journal: JournalId, number: u64) -> Result<Segment, JournalError> {
        let path = segment_path(number);
        let file = disk.open(&path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => JournalError::Missing { file: path.clone() },
            _ => JournalError::Io { action: "open", file: path.clone(), source: Arc::new(source) },
        })?;
        Ok(Segment::new(journal, number, file))
    }

    /// Opens a sealed segment and reads its index.
    pub fn open_sealed(
        disk: &Disk,
        journal: JournalId,
        number: u64,
    ) -> Result<(Arc<Segment>, SegmentIndex), JournalError> {
        let segment = Segment::open(disk, journal, number)?;
        let len = segment.len()?;
        let at = len.saturating_sub(Footer::BYTES as u64);
        let Some(footer) = segment.footer(at)? else {
            return Err(JournalError::damaged(&segment.path, at, "there is no footer"));
        };
        let index = segment.index(&footer)?;
        Ok((Arc::new(segment), index))
    }

    pub fn number(&self) -> u64 {
        self.number
    }

    /// The segment's path below the root of the disk.
    pub fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn len(&self) -> Result<u64, JournalError> {
        self.file.len().map_err(JournalError::io("measure", &self.path))
    }

    pub(super) fn read_at(&self, buffer: &mut [u8], position: u64) -> Result<usize, JournalError> {
        self.file.read_at(buffer, position).map_err(JournalError::io("read", &self.path))
    }

    /// Makes durable what a range of the file has. A sync alone does not: if the last one failed, the kernel may hold these bytes
    /// in its memory, have nothing of them on the disk, and take them for written.
    pub(super) fn write_again(&self, range: Range<u64>) -> Result<(), JournalError> {
        let Range { start: mut from, end: to } = range;
        let io = || JournalError::io("write", &self.path);
        let mut bytes = Vec::new();
        while from < to {
            bytes.resize(usize::try_from((to - from).min(READ_BYTES)).expect("a chunk fits into memory"), 0);
            self.file.read_exact_at(&mut bytes, from).map_err(io())?;
            self.file.write_all_at(&[&bytes], from).map_err(io())?;
            from += bytes.len() as u64;
        }
        self.file.sync_data().map_err(io())
    }

    /// The footer at a position, if an intact one is there.
    pub(super) fn footer(&self, position: u64) -> Result<Option<Footer>, JournalError> {
        let mut bytes = [0; Footer::BYTES];
        let read = self.read_at(&mut bytes, position)?;
        Ok(if read == Footer::BYTES { Footer::decode(&bytes, self.seed) } else { None })
    }

    /// Whether a footer at the end of a file that no other segment follows may be of a sealing that a crash interrupted: when
    /// index and footer fill the segment to its last byte, the footer can reach the disk without all of the index.
    pub(super) fn is_half_sealed(&self, header: &SegmentHeader, footer: &Footer) -> Result<bool, JournalError> {
        if self.len()? != header.capacity {
            return Ok(false);
        }
        match self.index(footer) {
            Ok(_) => Ok(false),
            Err(JournalError::Damaged { .. }) => Ok(true),
            Err(other) => Err(other),
        }
    }

    pub(super) fn index(&self, footer: &Footer) -> Result<SegmentIndex, JournalError> {
        let damaged = |what| JournalError::damaged(&self.path, footer.index_position, what);
        let len = self.len()?;
        let fits = footer.index_bytes <= len && footer.index_position <= len - footer.index_bytes;
        let bytes = usize::try_from(footer.index_bytes).ok().filter(|_| fits);
        let mut bytes = vec![0; bytes.ok_or_else(|| damaged("the index lies beyond the end of the file"))?];
        self.read_at(&mut bytes, footer.index_position)?;
        if crc32c(&bytes) != footer.index_crc {
            return Err(damaged("the index's checksum does not fit"));
        }
        SegmentIndex::decode(&bytes).ok_or_else(|| damaged("the index makes no sense"))
    }

    /// Reads frames of a topic in the order in which they are given, those that stand side by side at one go, up to the first
    /// that is unreadable.
    pub fn read(&self, topic: TopicId, entries: &[FrameEntry]) -> (Vec<Frame>, Option<UnreadableFrame>) {
        let mut frames = Vec::with_capacity(entries.len());
        let mut rest = entries;
        while let Some(first) = rest.first() {
            let mut end = frame_end(first);
            let mut count = 1;
            while let Some(next) = rest.get(count) {
                if next.position != end || frame_end(next) - first.position > READ_BYTES {
                    break;
                }
                end = frame_end(next);
                count += 1;
            }
            let (together, behind) = rest.split_at(count);
            if let Err(unreadable) = self.read_together(topic, together, end, &mut frames) {
                return (frames, Some(unreadable));
            }
            rest = behind;
        }
        (frames, None)
    }

    fn read_together(
        &self,
        topic: TopicId,
        entries: &[FrameEntry],
        end: u64,
        frames: &mut Vec<Frame>,
    ) -> Result<(), UnreadableFrame> {
        let start = entries[0].position;
        let len = usize::try_from(end - start).expect("frames that are read together fit into memory");
        let mut buffer = vec![0; len];
        let read = self.read_at(&mut buffer, start).map_err(|source| unreadable(&entries[0], source))?;
        let mut bytes = Bytes::from(buffer);
        bytes.truncate(read);
        for entry in entries {
            let frame = self.frame(topic, entry, &mut bytes);
            frames.push(frame.map_err(|source| unreadable(entry, source))?);
        }
        Ok(())
    }

    /// Takes the frame off the bytes, if it is what the index says.
    fn frame(&self, topic: TopicId, entry: &FrameEntry, bytes: &mut Bytes) -> Result<Frame, JournalError> {
        let damaged = |what: &str| JournalError::damaged(&self.path, entry.position, what);
        let stored = usize::try_from(entry.stored_bytes).expect("a payload fits into memory");
        if bytes.len() < FrameHeader::BYTES + stored {
            return Err(damaged("the file ends within the frame"));
        }
        let header = bytes.split_to(FrameHeader::BYTES);
        let payload = bytes.split_to(stored);
        let header = header.first_chunk().expect("the length of a header");
        let Ok((header, _)) = FrameHeader::decode(header, self.seed) else {
            return Err(damaged("the frame's header is not intact"));
        };
        if header.head.topic != topic || FrameEntry::of(&header.head, entry.position, header.stored_bytes) != *entry {
            return Err(damaged("the frame is not the one that the index names"));
        }
        if crc32c(&payload) != header.payload_crc {
            return Err(damaged("the payload's checksum does not fit"));
        }
        Ok(Frame { head: header.head, payload })
    }
}

fn frame_end(entry: &FrameEntry) -> u64 {
    entry.position + FrameHeader::BYTES as u64 + u64::from(entry.stored_bytes)
}

fn unreadable(entry: &FrameEntry, source: JournalError) -> UnreadableFrame {
    UnreadableFrame { first: entry.base, last: Offset::new(entry.end().get().saturating_sub(1)), source }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn headers_round_trip(journal: [u8; 16], number: u64, first_sequence: u64, previous: u32, capacity: u64) {
            let place = SegmentPlace { number, first_sequence, previous };
            let header = SegmentHeader { journal: JournalId(journal), place, capacity };
            let (mut bytes, crc) = header.encode();
            prop_assert_eq!(SegmentHeader::decode("f", &bytes).unwrap(), Some((header, crc)));
            bytes[30] ^= 1;
            prop_assert_eq!(SegmentHeader::decode("f", &bytes).unwrap(), None);
        }

        #[test]
        fn footers_round_trip(a: u64, b: u64, next_sequence: u64, last: u32, index_crc: u32, seed: u32) {
            let footer = Footer { index_position: a, index_bytes: b, next_sequence, last, index_crc };
            let bytes = footer.encode(seed);
            prop_assert_eq!(Footer::decode(&bytes, seed), Some(footer));
            prop_assert_eq!(Footer::decode(&bytes, seed ^ 1), None);
        }
    }

    #[test]
    fn names() {
        assert_eq!(segment_path(7), "journal/00000000000000000007.seg");
        assert_eq!(segment_number("00000000000000000007.seg"), Some(7));
        assert_eq!(segment_path(FIRST_COMPACTED), "journal/compact-00000000000000000001.seg");
        assert_eq!(segment_number("compact-00000000000000000001.seg"), Some(FIRST_COMPACTED));
        let others = [
            "7.seg",
            "00000000000000000007",
            "0000000000000000000x.seg",
            "lost+found",
            "compact-7.seg",
            "compact-00000000000000000001.seg.new",
            "09223372036854775809.seg",
            "compact-09223372036854775808.seg",
        ];
        for other in others {
            assert_eq!(segment_number(other), None, "{other}");
        }
        assert!(is_unfinished("compact-00000000000000000001.seg.new"));
        for other in ["compact-00000000000000000001.seg", "00000000000000000001.seg.new", "compact-1.seg.new", ".new"] {
            assert!(!is_unfinished(other), "{other}");
        }
    }

    #[test]
    fn later_versions_are_refused_by_name() {
        let header = SegmentHeader { journal: JournalId([1; 16]), place: SegmentPlace::FIRST, capacity: 5 };
        let (mut bytes, _) = header.encode();
        bytes[8] = 2;
        let crc = crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        let error = SegmentHeader::decode("journal/1.seg", &bytes).unwrap_err();
        assert_eq!(error.to_string(), "journal/1.seg has format version 2, which this program does not know");
    }
}
