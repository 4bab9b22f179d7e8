//! Metrics that are kept elsewhere, and read when somebody asks for them.

use super::node::Node;
use crate::{
    broker::GroupCounts,
    store::{SYNC_BUCKETS_US, Stats},
    telemetry::Times,
};

/// A counter's or gauge's name and help text, and what it reads.
type Counted = (&'static str, &'static str, fn(&Stats) -> u64);

const COUNTERS: [Counted; 8] = [
    ("ensign_journal_commits", "Groups of blocks that became durable together", |stats| stats.groups),
    ("ensign_journal_blocks", "Blocks that became durable", |stats| stats.blocks),
    ("ensign_journal_bytes", "Bytes that were written to the journal", |stats| stats.bytes),
    ("ensign_journal_segments_sealed", "Segments of the journal that were sealed", |stats| stats.segments_sealed),
    ("ensign_compaction_segments_replaced", "Segments that compaction replaced", |stats| stats.segments_replaced),
    ("ensign_compaction_read_bytes", "Bytes that compaction read", |stats| stats.bytes_to_compact),
    ("ensign_compaction_written_bytes", "Bytes of the segments that compaction made", |stats| stats.bytes_compacted),
    ("ensign_compaction_failures", "Attempts to compact segments that failed", |stats| stats.compactions_failed),
];

const GAUGES: [Counted; 5] = [
    ("ensign_journal_sealed_segments", "Sealed segments", |stats| stats.sealed_segments),
    ("ensign_journal_sealed_bytes", "Bytes of the sealed segments' files", |stats| stats.sealed_bytes),
    ("ensign_journal_live_bytes", "Bytes of blocks in sealed segments", |stats| stats.live_bytes),
    ("ensign_journal_dead_bytes", "Bytes of destroyed topics' blocks in sealed segments", |stats| stats.dead_bytes),
    ("ensign_journal_small_block_bytes", "Bytes of small blocks among the live ones", |stats| stats.small_bytes),
];

/// The same of consumer groups.
type CountedOfGroups = (&'static str, &'static str, fn(&GroupCounts) -> u64);

const GROUP_COUNTERS: [CountedOfGroups; 3] = [
    ("ensign_group_redelivered", "Events that were delivered to a consumer group once more", |counts| {
        counts.redelivered
    }),
    ("ensign_group_dead_lettered", "Events that consumer groups put away after too many deliveries", |counts| {
        counts.dead_lettered
    }),
    (
        "ensign_group_refused_acks",
        "Acks that consumer groups refused because their members had lost the event",
        |counts| counts.refused_acks,
    ),
];

/// Registers what the store, the streams and the consumer groups count of themselves.
pub(super) fn register(node: &Node) {
    let metrics = &node.metrics;
    for (name, help, read) in COUNTERS {
        let engine = node.engine.clone();
        metrics.observe_counter(name, help, move || read(&engine.store_stats()));
    }
    for (name, help, read) in GAUGES {
        let engine = node.engine.clone();
        metrics.observe_gauge(name, help, move || read(&engine.store_stats()));
    }
    register_groups(node);
    let engine = node.engine.clone();
    metrics.observe_times("ensign_journal_sync_seconds", "How long syncs of the journal took, in seconds", move || {
        sync_times(&engine.store_stats())
    });
    let lags = node.lags.clone();
    metrics.observe_gauge(
        "ensign_subscriber_lag_events",
        "Committed events that open subscriptions have not been given yet, all together",
        move || lags.events(),
    );
    let (clock, started) = (node.clock.clone(), node.clock.elapsed());
    metrics.observe_gauge("ensign_uptime_seconds", "How long the server has been running, in seconds", move || {
        clock.elapsed().saturating_sub(started).as_secs()
    });
    let engine = node.engine.clone();
    metrics.observe_gauge(
        "ensign_healthy",
        "1 while everything can be stored; 0 once the disk has failed and only a restart helps",
        move || u64::from(engine.health().is_ok()),
    );
    metrics.observe_gauge("ensign_resident_memory_bytes", "The process's resident memory", resident_bytes);
}

fn register_groups(node: &Node) {
    let metrics = &node.metrics;
    for (name, help, read) in GROUP_COUNTERS {
        let broker = node.broker.clone();
        metrics.observe_counter(name, help, move || read(&broker.group_counts()));
    }
    let broker = node.broker.clone();
    metrics.observe_gauge("ensign_group_members", "Connected members of consumer groups", move || {
        broker.group_counts().members
    });
    let broker = node.broker.clone();
    metrics.observe_gauges(
        "ensign_group_lag_events",
        "Committed events that a consumer group has not settled yet",
        move || {
            let lags = broker.group_lags().into_iter();
            lags.map(|lag| (vec![("project", lag.project.to_string()), ("group", lag.group)], lag.events)).collect()
        },
    );
}

fn sync_times(stats: &Stats) -> Times {
    let bounds = SYNC_BUCKETS_US.iter().map(|us| std::time::Duration::from_micros(*us).as_secs_f64());
    let buckets = bounds.chain([f64::INFINITY]).zip(stats.syncs).collect();
    Times { buckets, sum_seconds: stats.sync_time.as_secs_f64() }
}

fn resident_bytes() -> u64 {
    crate::sys::resident_bytes().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sync_times_have_a_bucket_for_everything() {
        let mut stats = Stats::default();
        stats.syncs[0] = 2;
        *stats.syncs.last_mut().unwrap() = 1;
        let times = sync_times(&stats);
        assert_eq!(times.buckets.len(), stats.syncs.len());
        assert_eq!(times.buckets[0], (0.000_05, 2));
        assert_eq!(times.buckets.last(), Some(&(f64::INFINITY, 1)));
    }
}
