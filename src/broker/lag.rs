//! How far subscriptions are behind what is committed.

use std::sync::{
    Arc, Mutex, PoisonError, Weak,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::watch;

use crate::{engine::Head, model::Offset};

/// The lags of all open subscriptions. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Lags(Arc<Mutex<Vec<Weak<CursorLag>>>>);

/// How far one cursor is behind its topic. The cursor writes it once per block; whoever asks compares.
#[derive(Debug)]
pub(super) struct CursorLag {
    head: watch::Receiver<Head>,
    next: AtomicU64,
}

impl Lags {
    /// How many events are committed and not given yet, over all subscriptions.
    pub fn events(&self) -> u64 {
        let mut cursors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cursors.retain(|cursor| cursor.strong_count() > 0);
        cursors.iter().filter_map(Weak::upgrade).map(|cursor| cursor.events()).sum()
    }

    pub(super) fn follow(&self, head: watch::Receiver<Head>, next: Offset) -> Arc<CursorLag> {
        let cursor = Arc::new(CursorLag { head, next: AtomicU64::new(next.get()) });
        let mut cursors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cursors.retain(|cursor| cursor.strong_count() > 0);
        cursors.push(Arc::downgrade(&cursor));
        cursor
    }
}

impl CursorLag {
    pub(super) fn reached(&self, next: Offset) {
        self.next.store(next.get(), Ordering::Relaxed);
    }

    fn events(&self) -> u64 {
        self.head.borrow().next.distance_from(Offset::new(self.next.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lags_are_summed_over_the_cursors_that_live() {
        let lags = Lags::default();
        let (head, receiver) = watch::channel(Head { next: Offset::new(11), destroyed: false });
        let first = lags.follow(receiver.clone(), Offset::new(1));
        let second = lags.follow(receiver, Offset::new(11));
        assert_eq!(lags.events(), 10);
        first.reached(Offset::new(9));
        head.send_modify(|head| head.next = Offset::new(12));
        assert_eq!(lags.events(), 4);
        drop(first);
        assert_eq!(lags.events(), 1);
        drop(second);
        assert_eq!(lags.events(), 0);
    }
}
