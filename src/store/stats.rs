//! What a store counts of itself, for those who watch it.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// The upper ends of the buckets in which the durations of syncs are counted, in microseconds; the last has none.
pub const SYNC_BUCKETS_US: [u64; 13] =
    [50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 500_000, 1_000_000];

/// Counts since a store was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Groups of blocks that were written together, and how many blocks and bytes were in them, headers included.
    pub groups: u64,
    pub blocks: u64,
    pub bytes: u64,
    pub segments_sealed: u64,
    /// Segments that compaction replaced by others, and the bytes that it wrote for them.
    pub segments_replaced: u64,
    pub bytes_compacted: u64,
    /// The bytes of frames that compaction has read so far, also for what it has not come to the end of.
    pub bytes_to_compact: u64,
    /// Attempts to compact segments that came to nothing.
    pub compactions_failed: u64,
    /// What is in sealed segments as of now: frames of topics that are there, and of forgotten ones, which compaction will drop, in
    /// bytes, with headers and index.
    pub live_bytes: u64,
    pub dead_bytes: u64,
    /// What of the live bytes is in small blocks.
    pub small_bytes: u64,
    /// The files of sealed segments, and how many there are.
    pub sealed_bytes: u64,
    pub sealed_segments: u64,
    /// How many syncs of groups took as long as each of [`SYNC_BUCKETS_US`] at most (and longer than the one before), and, in the
    /// last, longer than all.
    pub syncs: [u64; SYNC_BUCKETS_US.len() + 1],
    /// How long all of them took together.
    pub sync_time: Duration,
}

/// Counters that are read while they are counted up.
#[derive(Debug, Default)]
pub(super) struct Counters {
    groups: AtomicU64,
    blocks: AtomicU64,
    bytes: AtomicU64,
    segments_sealed: AtomicU64,
    segments_replaced: AtomicU64,
    bytes_compacted: AtomicU64,
    bytes_to_compact: AtomicU64,
    compactions_failed: AtomicU64,
    syncs: [AtomicU64; SYNC_BUCKETS_US.len() + 1],
    sync_ns: AtomicU64,
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

impl Counters {
    pub(super) fn group(&self, blocks: u64, bytes: u64, sync: Option<Duration>) {
        add(&self.groups, 1);
        add(&self.blocks, blocks);
        add(&self.bytes, bytes);
        let Some(sync) = sync else { return };
        let us = u64::try_from(sync.as_micros()).unwrap_or(u64::MAX);
        add(&self.syncs[SYNC_BUCKETS_US.partition_point(|end| *end < us)], 1);
        add(&self.sync_ns, u64::try_from(sync.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(super) fn sealed(&self) {
        add(&self.segments_sealed, 1);
    }

    pub(super) fn compacted(&self, replaced: u64, bytes: u64) {
        add(&self.segments_replaced, replaced);
        add(&self.bytes_compacted, bytes);
    }

    pub(super) fn compacting(&self, bytes: u64) {
        add(&self.bytes_to_compact, bytes);
    }

    pub(super) fn compaction_failed(&self) {
        add(&self.compactions_failed, 1);
    }

    pub(super) fn read(&self) -> Stats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            groups: get(&self.groups),
            blocks: get(&self.blocks),
            bytes: get(&self.bytes),
            segments_sealed: get(&self.segments_sealed),
            segments_replaced: get(&self.segments_replaced),
            bytes_compacted: get(&self.bytes_compacted),
            bytes_to_compact: get(&self.bytes_to_compact),
            compactions_failed: get(&self.compactions_failed),
            syncs: std::array::from_fn(|bucket| get(&self.syncs[bucket])),
            sync_time: Duration::from_nanos(get(&self.sync_ns)),
            ..Stats::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_is_counted_in_its_bucket() {
        let counters = Counters::default();
        for us in [0, 50, 51, 1_000_000, 2_000_000] {
            counters.group(2, 10, Some(Duration::from_micros(us)));
        }
        counters.group(2, 10, None);
        let stats = counters.read();
        assert_eq!((stats.groups, stats.blocks, stats.bytes), (6, 12, 60));
        assert_eq!(stats.syncs, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(stats.sync_time, Duration::from_micros(3_000_101));
    }
}
