//! Opening a journal: what is there is taken, a torn tail is cut, damage is refused (docs/format.md, 4).

use std::{collections::BTreeSet, sync::Arc};

use super::{
    compacted,
    error::JournalError,
    index::FrameEntry,
    scan::{self, End, Scan},
    segment::{
        DIR, Footer, JournalId, Segment, SegmentHeader, SegmentKind, SegmentPlace, is_unfinished, segment_number,
        segment_path,
    },
    writer::{Active, JournalOptions, JournalWriter, Sealed, SealedActive, Tail},
};
use crate::{model::TopicId, sys::Disk};

/// What is remembered of a journal outside of it.
#[derive(Debug, Clone)]
pub struct KnownJournal {
    pub journal: JournalId,
    /// The registered sealed segments' numbers, of both kinds.
    pub sealed: BTreeSet<u64>,
    /// Segments that others have taken the place of, and whose files may still be there.
    pub replaced: BTreeSet<u64>,
    /// The number that the next compacted segment gets: there is none yet from here on.
    pub next_compacted: u64,
    /// The first segment that is not registered.
    pub active: SegmentPlace,
    /// What was durable when the journal was last closed in order.
    pub mark: Option<Tail>,
}

impl KnownJournal {
    /// Whether a segment that is not registered is one that a compaction has left.
    pub fn is_leftover(&self, number: u64) -> bool {
        self.replaced.contains(&number) || number >= self.next_compacted
    }
}

/// An opened journal.
#[derive(Debug)]
pub struct RecoveredJournal {
    pub writer: JournalWriter,
    /// The segments that are not registered, the active one last.
    pub unregistered: Vec<Unregistered>,
    /// Those of them that are sealed and have a successor.
    pub sealed: Vec<Sealed>,
    /// The torn tail that was cut, if there was one.
    pub cut: Option<CutTail>,
    /// Segments in the directory that nothing refers to.
    pub unknown: Vec<String>,
    /// The files that were removed: what was left of a compaction.
    pub removed: Vec<String>,
}

/// A segment that nothing but itself knows.
#[derive(Debug)]
pub struct Unregistered {
    pub segment: Arc<Segment>,
    /// Its frames in the order of their sequences.
    pub frames: Vec<(TopicId, FrameEntry)>,
}

/// A torn tail: the end of a group that was never acked as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutTail {
    pub file: String,
    /// Where it started.
    pub position: u64,
    /// How long it was.
    pub bytes: u64,
}

/// The first segment file that has something behind its header, if one has. Without what is remembered of a journal it cannot be
/// opened, and must not be taken for an empty one.
pub fn find_orphaned_journal(disk: &Disk) -> Result<Option<String>, JournalError> {
    for number in list_segments(disk)? {
        let path = segment_path(number);
        let file = disk.open(&path).map_err(JournalError::io("open", &path))?;
        let segment = Segment::new(JournalId([0; 16]), number, file);
        if scan::last_byte(&segment, SegmentHeader::BYTES as u64)?.is_some() {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// The numbers of the segments that are in the directory.
pub fn list_segments(disk: &Disk) -> Result<Vec<u64>, JournalError> {
    let names = match disk.list(DIR) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        listed => listed.map_err(JournalError::io("list", DIR))?,
    };
    Ok(names.iter().filter_map(|name| segment_number(name)).collect())
}

/// The journal that the first of these segments belongs to whose header is intact.
pub fn find_journal_id(disk: &Disk, numbers: &[u64]) -> Option<JournalId> {
    numbers.iter().find_map(|number| {
        let path = segment_path(*number);
        let mut bytes = [0; SegmentHeader::BYTES];
        disk.open(&path).and_then(|file| file.read_exact_at(&mut bytes, 0)).ok()?;
        let (header, _) = SegmentHeader::decode(&path, &bytes).ok()??;
        Some(header.journal)
    })
}

impl JournalWriter {
    /// Opens a journal.
    pub fn recover(options: JournalOptions, known: &KnownJournal) -> Result<RecoveredJournal, JournalError> {
        let there: BTreeSet<u64> = list_segments(&options.disk)?.into_iter().collect();
        // A segment is only written to when its name is durable; whether it is cannot be told from the name being there.
        options.disk.sync_dir(DIR).map_err(JournalError::io("sync", DIR))?;
        let needed = known.sealed.iter().chain([&known.active.number]);
        if let Some(missing) = needed.into_iter().find(|number| !there.contains(number)) {
            return Err(JournalError::Missing { file: segment_path(*missing) });
        }
        let (leftover, others): (Vec<u64>, Vec<u64>) = there
            .into_iter()
            .filter(|number| !known.sealed.contains(number))
            .partition(|number| known.is_leftover(*number));
        let (behind, unknown): (Vec<u64>, Vec<u64>) = others
            .into_iter()
            .partition(|number| SegmentKind::of(*number) == SegmentKind::Written && *number >= known.active.number);
        let mut recovery =
            Recovery { options, known, place: known.active, unregistered: Vec::new(), sealed: Vec::new(), cut: None };
        let mut active = None;
        for (at, number) in behind.iter().enumerate() {
            active = recovery.segment(*number, at + 1 == behind.len())?;
        }
        let removed = remove_leftovers(&recovery.options.disk, &leftover)?;
        recovery.finish(active, unknown, removed)
    }
}

/// Removes what a compaction left that did not come to its end: segments that nobody refers to, and such as are not whole.
fn remove_leftovers(disk: &Disk, numbers: &[u64]) -> Result<Vec<String>, JournalError> {
    let names = disk.list(DIR).map_err(JournalError::io("list", DIR))?;
    let unfinished = names.iter().filter(|name| is_unfinished(name)).map(|name| format!("{DIR}/{name}"));
    compacted::remove(disk, numbers.iter().copied().map(segment_path).chain(unfinished))
}

/// How far the segments behind the registered ones have been gone through.
struct Recovery<'a> {
    options: JournalOptions,
    known: &'a KnownJournal,
    /// Where the next segment has to stand.
    place: SegmentPlace,
    unregistered: Vec<Unregistered>,
    sealed: Vec<SealedActive>,
    cut: Option<CutTail>,
}

impl Recovery<'_> {
    /// Takes the next segment; gives it back when it is the active one.
    fn segment(&mut self, number: u64, is_last: bool) -> Result<Option<Active>, JournalError> {
        let segment = Segment::open(&self.options.disk, self.known.journal, number)?;
        let len = segment.len()?;
        let mut bytes = [0; SegmentHeader::BYTES];
        segment.read_at(&mut bytes, 0)?;
        let header = SegmentHeader::decode(&segment.path, &bytes)?;
        let at = len.saturating_sub(Footer::BYTES as u64);
        let mut footer = segment.footer(at)?;
        // A segment that was being made when the power failed may lack anything but frames.
        let is_whole = header.as_ref().is_some_and(|(header, _)| footer.is_some() || len >= header.capacity);
        if !is_whole && is_last && number != self.known.active.number && !scan::has_frame(&segment)? {
            return Ok(None);
        }
        let Some((header, last)) = header else {
            return Err(JournalError::damaged(&segment.path, 0, "the segment's header is not intact"));
        };
        self.check_place(&segment, &header, number)?;
        if is_last
            && let Some(found) = &footer
            && segment.is_half_sealed(&header, found)?
        {
            // The frames are whole, as they were durable before; the sealing is done again.
            footer = None;
        }
        if let Some(footer) = footer {
            self.take_sealed(segment, &footer, len, is_last)?;
            return Ok(None);
        }
        if !is_last {
            return Err(JournalError::Unsealed { file: segment.path });
        }
        if len < header.capacity {
            return Err(JournalError::damaged(&segment.path, len, "the file has been truncated"));
        }
        let active = Active {
            segment: Arc::new(segment),
            place: header.place,
            capacity: header.capacity,
            position: SegmentHeader::BYTES as u64,
            next_sequence: header.place.first_sequence,
            last,
            unsynced: None,
            frames: Vec::new(),
        };
        self.take_active(active)
    }

    fn check_place(&self, segment: &Segment, header: &SegmentHeader, number: u64) -> Result<(), JournalError> {
        let damaged = |what: String| Err(JournalError::damaged(&segment.path, 0, what));
        if header.journal != self.known.journal {
            return damaged("the segment belongs to another journal".to_owned());
        }
        if header.place.number != number {
            return damaged(format!("the segment is number {} under another's name", header.place.number));
        }
        let (is, needed) = (header.place, self.place);
        if (is.first_sequence, is.previous) != (needed.first_sequence, needed.previous) {
            let what = format!(
                "the segment starts at sequence {}, but the one before it ends at sequence {}",
                is.first_sequence, needed.first_sequence
            );
            return damaged(what);
        }
        Ok(())
    }

    fn take_sealed(
        &mut self,
        segment: Segment,
        footer: &Footer,
        bytes: u64,
        is_last: bool,
    ) -> Result<(), JournalError> {
        let index = Arc::new(segment.index(footer)?);
        if is_last {
            segment.write_again(footer.index_position..bytes)?;
        }
        let mut frames: Vec<(TopicId, FrameEntry)> =
            index.topics().flat_map(|(topic, entries)| entries.iter().map(move |entry| (topic, *entry))).collect();
        frames.sort_by_key(|(_, entry)| entry.position);
        let next =
            SegmentPlace { number: segment.number + 1, first_sequence: footer.next_sequence, previous: footer.last };
        let segment = Arc::new(segment);
        let first_sequence = self.place.first_sequence;
        self.take(SealedActive { segment, index, first_sequence, bytes, next }, frames);
        Ok(())
    }

    fn take(&mut self, sealed: SealedActive, frames: Vec<(TopicId, FrameEntry)>) {
        self.unregistered.push(Unregistered { segment: Arc::clone(&sealed.segment), frames });
        self.place = sealed.next;
        self.sealed.push(sealed);
    }

    /// Finds the end of the active segment.
    fn take_active(&mut self, mut active: Active) -> Result<Option<Active>, JournalError> {
        let segment = Arc::clone(&active.segment);
        let mut scan = Scan::run(&active)?;
        if let Some((index, bytes)) = scan.finished_index(&segment)? {
            // The crash came between writing the index and truncating the file behind it.
            scan.accept(&mut active);
            segment.write_again(active.position..bytes)?;
            let truncated = segment.file.set_len(bytes).and_then(|()| segment.file.sync_data());
            truncated.map_err(JournalError::io("truncate", &segment.path))?;
            let sealed = active.sealed(index, bytes);
            self.take(sealed, active.frames);
            return Ok(None);
        }
        match scan.end(&segment, self.known.mark)? {
            End::Clean => {}
            End::Torn { position, bytes } => {
                scan.cut(&segment, position, bytes)?;
                self.cut = Some(CutTail { file: segment.path.clone(), position, bytes });
            }
        }
        if let Some(unproven) = scan.unproven(&segment, self.known.mark) {
            segment.write_again(unproven)?;
        }
        scan.accept(&mut active);
        self.unregistered.push(Unregistered { segment, frames: active.frames.clone() });
        Ok(Some(active))
    }

    fn finish(
        mut self,
        active: Option<Active>,
        unknown: Vec<u64>,
        removed: Vec<String>,
    ) -> Result<RecoveredJournal, JournalError> {
        let next_sequence = active.as_ref().map_or(self.place.first_sequence, |active| active.next_sequence);
        if let Some(mark) = self.known.mark
            && next_sequence < mark.next_sequence
        {
            let what = format!("frames {next_sequence} to {} are missing", mark.next_sequence - 1);
            return Err(JournalError::damaged(&segment_path(mark.segment), mark.position, what));
        }
        let (options, journal) = (self.options, self.known.journal);
        let orphan = if active.is_some() { None } else { self.sealed.pop() };
        let writer = match (active, orphan) {
            (Some(active), _) => JournalWriter::resume(options, journal, active),
            (None, Some(orphan)) => JournalWriter::resume_between(options, journal, orphan),
            (None, None) => {
                return Err(JournalError::Missing { file: segment_path(self.place.number) });
            }
        };
        Ok(RecoveredJournal {
            writer,
            unregistered: self.unregistered,
            sealed: self.sealed.into_iter().map(SealedActive::followed).collect(),
            cut: self.cut,
            unknown: unknown.into_iter().map(segment_path).collect(),
            removed,
        })
    }
}
