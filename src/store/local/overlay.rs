//! A file whose changes stay in memory: redb can put a database in order that was not closed, and the file stays as it is.

use std::{
    collections::HashMap,
    io,
    sync::{Mutex, MutexGuard, PoisonError},
};

use redb::StorageBackend;

use crate::sys::DiskFile;

const PAGE_BYTES: usize = 4096;

#[derive(Debug)]
pub(super) struct Overlay {
    file: DiskFile,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    len: u64,
    /// How much of the file still counts; behind it there are zeros.
    kept: u64,
    changed: HashMap<u64, Box<[u8; PAGE_BYTES]>>,
}

/// A piece of a page: the page, where in it, and how long.
type Piece = (u64, usize, usize);

impl Overlay {
    pub(super) fn over(file: DiskFile) -> io::Result<Overlay> {
        let len = file.len()?;
        Ok(Overlay { file, state: Mutex::new(State { len, kept: len, changed: HashMap::new() }) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the file has of a page.
    fn page(&self, state: &State, page: u64) -> io::Result<Box<[u8; PAGE_BYTES]>> {
        let mut bytes = Box::new([0; PAGE_BYTES]);
        let start = page * PAGE_BYTES as u64;
        let there = usize::try_from(state.kept.saturating_sub(start)).unwrap_or(PAGE_BYTES).min(PAGE_BYTES);
        self.file.read_exact_at(&mut bytes[..there], start)?;
        Ok(bytes)
    }
}

/// The page at a position, and how much of it so many bytes take.
fn piece(position: u64, bytes: usize) -> Piece {
    let page = position / PAGE_BYTES as u64;
    let at = usize::try_from(position % PAGE_BYTES as u64).expect("less than a page");
    (page, at, bytes.min(PAGE_BYTES - at))
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > state.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut done = 0;
        while done < out.len() {
            let (page, at, count) = piece(offset + done as u64, out.len() - done);
            let target = &mut out[done..done + count];
            match state.changed.get(&page) {
                Some(bytes) => target.copy_from_slice(&bytes[at..at + count]),
                None => target.copy_from_slice(&self.page(&state, page)?[at..at + count]),
            }
            done += count;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        state.len = len;
        state.kept = state.kept.min(len);
        let (last, at, _) = piece(len, 0);
        state.changed.retain(|page, _| *page <= last);
        if let Some(bytes) = state.changed.get_mut(&last) {
            bytes[at..].fill(0);
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let mut done = 0;
        while done < data.len() {
            let (page, at, count) = piece(offset + done as u64, data.len() - done);
            let mut bytes = match state.changed.remove(&page) {
                Some(bytes) => bytes,
                None => self.page(&state, page)?,
            };
            bytes[at..at + count].copy_from_slice(&data[done..done + count]);
            state.changed.insert(page, bytes);
            done += count;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sys::Disk;

    #[derive(Debug, Clone)]
    enum Step {
        Write(u16, Vec<u8>),
        SetLen(u16),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (0..12_000_u16, prop::collection::vec(any::<u8>(), 1..6_000)).prop_map(|(at, bytes)| Step::Write(at, bytes)),
            1 => (0..20_000_u16).prop_map(Step::SetLen),
        ];
        prop::collection::vec(step, 0..12)
    }

    proptest! {
        /// Seen through the overlay, the file is as if it had been changed; the file itself is as it was.
        #[test]
        fn changes_are_seen_and_not_made(before in prop::collection::vec(any::<u8>(), 0..15_000), steps in steps()) {
            let file = Disk::memory().create("f").unwrap();
            file.write_all_at(&[&before], 0).unwrap();
            let overlay = Overlay::over(file.clone()).unwrap();
            let mut model = before.clone();
            for step in steps {
                match step {
                    Step::Write(at, bytes) => {
                        // redb writes within the length alone.
                        let at = usize::from(at).min(model.len());
                        let bytes = &bytes[..bytes.len().min(model.len() - at)];
                        overlay.write(at as u64, bytes).unwrap();
                        model[at..at + bytes.len()].copy_from_slice(bytes);
                    }
                    Step::SetLen(len) => {
                        overlay.set_len(len.into()).unwrap();
                        model.resize(len.into(), 0);
                    }
                }
                let mut seen = vec![1; model.len()];
                overlay.read(0, &mut seen).unwrap();
                prop_assert!(seen == model);
                prop_assert!(overlay.read(1, &mut seen).is_err() || seen.is_empty());
            }
            let mut after = vec![0; before.len()];
            file.read_exact_at(&mut after, 0).unwrap();
            prop_assert!(after == before && file.len().unwrap() == before.len() as u64);
        }
    }
}
