//! The content of a file that is kept in memory.

use std::{collections::BTreeMap, io::IoSlice, ops::Range, sync::Arc};

const PAGE: usize = 4096;

/// Bytes in pages; a page that was never written is zeros and takes no room. Clones share the pages until one is
/// written.
#[derive(Debug, Clone, Default)]
pub(super) struct Pages {
    len: u64,
    pages: BTreeMap<u64, Arc<[u8; PAGE]>>,
}

/// The page that holds a position, and where in it.
fn place(position: u64) -> (u64, usize) {
    let within = usize::try_from(position % PAGE as u64).expect("less than a page");
    (position / PAGE as u64, within)
}

impl Pages {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            let (page, within) = place(len);
            drop(self.pages.split_off(&if within == 0 { page } else { page + 1 }));
            if let Some(page) = self.pages.get_mut(&page) {
                Arc::make_mut(page)[within..].fill(0);
            }
        }
        self.len = len;
    }

    pub(super) fn read_at(&self, buffer: &mut [u8], position: u64) -> usize {
        let there = usize::try_from(self.len.saturating_sub(position)).unwrap_or(usize::MAX);
        let wanted = there.min(buffer.len());
        let mut done = 0;
        while done < wanted {
            let (page, within) = place(position + done as u64);
            let bytes = (PAGE - within).min(wanted - done);
            let target = &mut buffer[done..done + bytes];
            match self.pages.get(&page) {
                Some(page) => target.copy_from_slice(&page[within..within + bytes]),
                None => target.fill(0),
            }
            done += bytes;
        }
        wanted
    }

    pub(super) fn write_at(&mut self, bytes: &[u8], position: u64) {
        let mut done = 0;
        while done < bytes.len() {
            let (page, within) = place(position + done as u64);
            let count = (PAGE - within).min(bytes.len() - done);
            let page = self.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(page)[within..within + count].copy_from_slice(&bytes[done..done + count]);
            done += count;
        }
        self.len = self.len.max(position + bytes.len() as u64);
    }

    pub(super) fn write_all_at(&mut self, pieces: &[IoSlice<'_>], position: u64) -> usize {
        let mut written = 0;
        for piece in pieces {
            self.write_at(piece, position + written as u64);
            written += piece.len();
        }
        written
    }

    pub(super) fn next_data(&self, position: u64) -> Option<Range<u64>> {
        let (first, _) = place(position);
        let mut there = self.pages.range(first..).map(|(page, _)| *page);
        let start = there.next()?;
        let pages = (start + 1..).zip(there).take_while(|(expected, page)| expected == page).count() as u64 + 1;
        let range = (start * PAGE as u64).max(position)..((start + pages) * PAGE as u64).min(self.len);
        (!range.is_empty()).then_some(range)
    }
}
