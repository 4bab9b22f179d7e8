//! Whether a database is as it was written. redb takes that for granted when it opens one that was closed, or whose last commit was
//! complete: what does not fit may be read as something else, or end the process. So it is asked first.
//!
//! A page of redb's holds the checksums of the pages below it, and a commit slot in the file's header those of the roots, and its
//! own. So from a slot on everything can be compared that its commit consists of. redb does so when it repairs a
//! database; over the file's header one is laid here that makes it repair, of a commit of our choice, and it is stopped once it
//! has compared. The file stays as it is.
//!
//! The rest of the header has no checksum: which slot counts, and how large the regions are. The latter never differs. The former is
//! found anew: the newest commit that is whole counts. The file may name the one before it, when the process died
//! between a commit's two phases, or when that bit was changed.
//!
//! What it does not do: look at pages that nothing refers to, or at what is damaged later.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use redb::{Database, DatabaseError, StorageBackend, StorageError};

use super::{database::META_FILE, error::OpenError, overlay::Overlay};
use crate::sys::DiskFile;

/// The beginning of redb's file: flags, geometry, and two slots of which one describes the last commit.
const HEADER_BYTES: usize = SLOTS_AT + 2 * SLOT_BYTES;
const FLAGS_AT: usize = 9;
const FLAG_SECOND_COUNTS: u8 = 1;
const FLAG_NOT_CLOSED: u8 = 2;
const FLAG_TWO_PHASES: u8 = 4;
const GEOMETRY_AT: usize = 12;
const PAGE_BYTES: u32 = 4096;
const REGION_PAGES: u32 = 1 << 20;
/// Regions have no header.
const GEOMETRY: [u32; 3] = [PAGE_BYTES, 0, REGION_PAGES];
/// How many regions are full, and how many pages there are beside them. Room is durable before the header knows it.
const REGIONS_AT: usize = 24;
const REST_AT: usize = 28;
const SLOTS_AT: usize = 64;
const SLOT_BYTES: usize = 128;
const VERSION: u8 = 3;
/// Where in a slot the number of its commit is.
const NUMBER_AT: usize = 104;

type Header = [u8; HEADER_BYTES];

/// What has to be changed in a file before redb opens it: a byte of it, and its new value.
pub(super) type Correction = Option<(u64, u8)>;

/// What is known of a commit.
enum Commit {
    Whole,
    /// The page at this position is not what its parent says.
    Broken(u64),
    /// Its slot, or what describes the whole file, makes no sense.
    Unusable(String),
}

/// Compares all pages of the newest commit with their checksums.
pub(super) fn check(file: &DiskFile) -> Result<Correction, OpenError> {
    let mut header = [0; HEADER_BYTES];
    if file.read_at(&mut header, 0).map_err(OpenError::io("read", META_FILE))? < HEADER_BYTES {
        return Err(damaged(0, "it ends within its header"));
    }
    let flags = header[FLAGS_AT];
    if flags & FLAG_TWO_PHASES == 0 {
        return Err(damaged(FLAGS_AT as u64, "the flags make no sense"));
    }
    for (number, expected) in GEOMETRY.into_iter().enumerate() {
        let at = GEOMETRY_AT + 4 * number;
        if field(&header, at) != u64::from(expected) {
            return Err(damaged(at as u64, "the geometry makes no sense"));
        }
    }
    let pages = 1 + field(&header, REGIONS_AT) * u64::from(REGION_PAGES) + field(&header, REST_AT);
    let len = file.len().map_err(OpenError::io("read", META_FILE))?;
    if len < pages * u64::from(PAGE_BYTES) {
        return Err(damaged(len, "the file is too short"));
    }
    for slot in [slot(0), slot(1)] {
        // redb opens nothing with another version, whether the slot counts or not.
        if header[slot.start] != VERSION {
            return Err(damaged(slot.start as u64, format!("it has the version {}", header[slot.start])));
        }
    }
    let named = usize::from(flags & FLAG_SECOND_COUNTS != 0);
    if number(&header, 1 - named) > number(&header, named) {
        match look(file, &header, 1 - named)? {
            Commit::Whole => return Ok(Some((FLAGS_AT as u64, flags ^ FLAG_SECOND_COUNTS))),
            // It was closed in order, so the newest commit was whole.
            Commit::Broken(position) if flags & FLAG_NOT_CLOSED == 0 => return Err(broken(position)),
            Commit::Broken(_) | Commit::Unusable(_) => {}
        }
    }
    match look(file, &header, named)? {
        Commit::Whole => Ok(None),
        Commit::Broken(position) => Err(broken(position)),
        Commit::Unusable(what) => Err(damaged(0, what)),
    }
}

fn damaged(position: u64, what: impl Into<String>) -> OpenError {
    OpenError::Damaged { position, what: what.into() }
}

fn broken(position: u64) -> OpenError {
    damaged(position, "the page does not fit its checksum")
}

fn slot(slot: usize) -> std::ops::Range<usize> {
    let start = SLOTS_AT + slot * SLOT_BYTES;
    start..start + SLOT_BYTES
}

fn field(header: &Header, at: usize) -> u64 {
    header[at..at + 4].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// The number of the commit that a slot describes.
fn number(header: &Header, of: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&header[slot(of)][NUMBER_AT..NUMBER_AT + 8]);
    u64::from_le_bytes(number)
}

/// Has redb compare the pages of the commit that a slot describes.
fn look(file: &DiskFile, header: &Header, of: usize) -> Result<Commit, OpenError> {
    let io = OpenError::io("read", META_FILE);
    let mut shown = *header;
    // A commit in one phase is compared, and the other slot is where redb would go back to: there is no other.
    shown[FLAGS_AT] &= !FLAG_TWO_PHASES;
    shown.copy_within(slot(of), slot(1 - of).start);
    let overlay = Overlay::over(file.clone()).and_then(|overlay| overlay.write(0, &shown).map(|()| overlay));
    let overlay = match overlay {
        Ok(overlay) => overlay,
        Err(source) => return Err(io(source)),
    };
    let (compared, last_read) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let told = Arc::clone(&compared);
    let opened = Database::builder()
        .set_repair_callback(move |repair| {
            // The comparison is the first part of the work. When the last part begins, everything fits.
            if repair.progress() > 0.5 {
                told.store(true, Ordering::Relaxed);
            }
            if repair.progress() > 0.0 {
                repair.abort();
            }
        })
        .create_with_backend(Watched { overlay, last_read: Arc::clone(&last_read) });
    let position = last_read.load(Ordering::Relaxed);
    match opened {
        Err(_) if compared.load(Ordering::Relaxed) => Ok(Commit::Whole),
        Err(DatabaseError::RepairAborted) => Ok(Commit::Broken(position)),
        // A page that the file is too short for.
        Err(DatabaseError::Storage(StorageError::Io(source))) if source.kind() == io::ErrorKind::UnexpectedEof => {
            Ok(Commit::Broken(position))
        }
        Err(DatabaseError::Storage(StorageError::Io(source))) if source.kind() != io::ErrorKind::InvalidData => {
            Err(io(source))
        }
        Err(error) => Ok(Commit::Unusable(error.to_string())),
        Ok(_) => Ok(Commit::Unusable("nothing has been committed".to_owned())),
    }
}

/// A file that remembers where it was read last: each page is compared as soon as it has been read.
#[derive(Debug)]
struct Watched {
    overlay: Overlay,
    last_read: Arc<AtomicU64>,
}

impl StorageBackend for Watched {
    fn len(&self) -> io::Result<u64> {
        self.overlay.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.last_read.store(offset, Ordering::Relaxed);
        self.overlay.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.overlay.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.overlay.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.overlay.write(offset, data)
    }
}
