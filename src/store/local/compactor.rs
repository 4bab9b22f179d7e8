//! The thread that compacts: in the background and slowly, or at once for somebody who waits.

use std::{
    collections::BTreeSet,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc::Sender},
    time::Duration,
};

use tokio::sync::oneshot;

use super::{
    Shared,
    catalogue::Segments,
    exchange::Exchange,
    heads::{Asked, Goal},
    planner::{self, Plan, bytes_of, dead_bytes},
    recorder::{ExchangeError, Task},
    rewrite::{RewriteError, rewrite},
    rows::SegmentState,
};
use crate::{
    journal::{FrameEntry, JournalError, Segment, remove_segments},
    store::{CompactError, Joiner, Stats},
    sys::Clock,
};

/// In the background, how much longer than it works the thread rests.
const REST_FACTOR: u32 = 4;

/// How long it works before it rests.
const WORK: Duration = Duration::from_millis(2);

pub(super) type CompactReply = oneshot::Sender<Result<(), CompactError>>;

/// What others tell the thread.
#[derive(Debug, Default)]
pub(super) struct Compaction {
    orders: Mutex<Orders>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct Orders {
    segments: Segments,
    /// What joins blocks in the background; without it nothing is compacted there.
    joiner: Option<Joiner>,
    /// Those who wait.
    asked: Vec<Asked>,
    /// Segments have changed since they were last looked at in vain.
    news: bool,
    /// Other blocks may be stale than when segments were last looked through for them.
    look_again: bool,
    stopping: bool,
}

impl Orders {
    /// What somebody waits for, the impatient first.
    fn goal(&self) -> Option<(Goal, Joiner)> {
        let at_once = self.asked.iter().find(|asked| asked.goal == Goal::Compacted);
        at_once.or_else(|| self.asked.first()).map(|asked| (asked.goal, asked.joiner.clone()))
    }

    /// Answers those who have waited for this.
    fn reached(&mut self, goal: Goal) {
        for asked in self.asked.extract_if(.., |asked| asked.goal == goal) {
            // Whoever asked may not wait any more.
            drop(asked.reply.send(Ok(())));
        }
    }
}

/// What to do next.
enum Order {
    Compact {
        plan: Plan,
        joiner: Joiner,
        at_once: bool,
    },
    /// An exchange that failed is tried once more.
    Retry(Exchange),
    Stop,
}

impl Compaction {
    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_segments(&self, segments: Segments) {
        let mut orders = self.orders();
        orders.segments = segments;
        orders.news = true;
        self.arrived.notify_all();
    }

    pub(super) fn start_background(&self, joiner: Joiner) {
        let mut orders = self.orders();
        if !orders.stopping {
            orders.joiner = Some(joiner);
            orders.news = true;
            self.arrived.notify_all();
        }
    }

    pub(super) fn ask(&self, asked: Asked) {
        let mut orders = self.orders();
        if !orders.stopping {
            orders.look_again |= asked.goal == Goal::NothingStale;
            orders.asked.push(asked);
            self.arrived.notify_all();
        }
    }

    /// Ends the thread within a moment. Joiners are let go of, because they may hold the store.
    pub(super) fn stop(&self) {
        let mut orders = self.orders();
        orders.stopping = true;
        let (joiner, asked) = (orders.joiner.take(), std::mem::take(&mut orders.asked));
        drop(orders);
        drop((joiner, asked));
        self.arrived.notify_all();
    }

    /// Adds what is in sealed segments.
    pub(super) fn count(&self, stats: &mut Stats) {
        let orders = self.orders();
        for row in orders.segments.values().filter(|row| row.state != SegmentState::Replaced) {
            stats.sealed_segments += 1;
            stats.sealed_bytes += row.bytes;
            stats.live_bytes += bytes_of(row.live.frames, row.live.bytes);
            stats.small_bytes += bytes_of(row.live.small, row.live.small_bytes);
            stats.dead_bytes += dead_bytes(row);
        }
    }

    /// Rests; says whether to go on.
    fn rest(&self, duration: Duration) -> bool {
        let orders = self.orders();
        if orders.stopping || duration.is_zero() {
            return !orders.stopping;
        }
        // Whoever wants it at once is not kept waiting.
        let waited = self.arrived.wait_timeout_while(orders, duration, |orders| {
            !orders.stopping && orders.asked.iter().all(|asked| asked.goal != Goal::Compacted)
        });
        let (orders, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !orders.stopping
    }
}

/// It is not known any more which segments count, so no others may be made of them.
#[derive(Debug)]
struct CannotGoOn;

#[derive(Debug)]
pub(super) struct Compactor {
    pub(super) shared: Arc<Shared>,
    pub(super) recorder: Sender<Task>,
    pub(super) clock: Clock,
    pub(super) segment_bytes: u64,
    /// The number of the next compacted segment.
    pub(super) next_number: u64,
    /// Replaced segments whose files are gone, and whose rows are not.
    pub(super) removed: Vec<u64>,
    /// Segments that can't be compacted as long as the store is open.
    pub(super) refused: BTreeSet<u64>,
    /// Segments that were looked through, and have nothing stale that could be written anew.
    pub(super) fresh: BTreeSet<u64>,
    /// An exchange that may have been carried out or not. Its files have to stay, and nothing else is done before it is.
    pub(super) pending: Option<Exchange>,
}

impl Compactor {
    /// Works until the store is closed.
    pub(super) fn run(mut self) {
        self.forget_removed();
        loop {
            let done = match self.next_order() {
                Order::Stop => return,
                Order::Retry(exchange) => self.exchange(exchange, true),
                Order::Compact { plan, joiner, at_once } => self.compact(&plan, &joiner, at_once),
            };
            if done.is_err() {
                return self.refuse_everything();
            }
        }
    }

    /// Waits until there is something to gain.
    fn next_order(&mut self) -> Order {
        let shared = Arc::clone(&self.shared);
        let compaction = &shared.compaction;
        let mut orders = compaction.orders();
        loop {
            if orders.stopping {
                return Order::Stop;
            }
            if std::mem::take(&mut orders.look_again) {
                self.fresh.clear();
            }
            let goal = orders.goal();
            if (goal.is_some() || orders.news && orders.joiner.is_some())
                && let Some(pending) = self.pending.take()
            {
                return Order::Retry(pending);
            }
            if let Some((Goal::NothingStale, joiner)) = goal {
                let segments = orders.segments.clone();
                drop(orders);
                let plan = self.find_stale(&segments, &joiner);
                if let Some(plan) = plan {
                    return Order::Compact { plan, joiner, at_once: false };
                }
                orders = compaction.orders();
                if !orders.look_again {
                    orders.reached(Goal::NothingStale);
                }
                continue;
            }
            let at_once = goal.is_some();
            let joiner = match goal {
                Some((_, joiner)) => Some(joiner),
                None if orders.news => orders.joiner.clone(),
                None => None,
            };
            if let Some(joiner) = joiner {
                if let Some(plan) = planner::choose(&orders.segments, &self.refused, self.segment_bytes, at_once) {
                    return Order::Compact { plan, joiner, at_once };
                }
                orders.news = false;
                orders.reached(Goal::Compacted);
                if orders.goal().is_some() {
                    continue;
                }
            }
            orders = compaction.arrived.wait(orders).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The next segment that holds something stale.
    fn find_stale(&mut self, segments: &Segments, joiner: &Joiner) -> Option<Plan> {
        for (number, row) in segments {
            let is_known = self.refused.contains(number) || self.fresh.contains(number);
            if row.state == SegmentState::Replaced || is_known {
                continue;
            }
            // It is looked at once: what the joiner gives back as it was is not offered to it again and again.
            self.fresh.insert(*number);
            match self.shared.has_stale(*number, joiner) {
                Ok(true) => return Some(Plan { segments: vec![*number], level: row.level.max(1) }),
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(segment = number, %error, "a segment stays under the keys that it is under");
                    self.shared.counters.compaction_failed();
                    self.refused.insert(*number);
                }
            }
        }
        None
    }

    /// Carries a plan out.
    fn compact(&mut self, plan: &Plan, joiner: &Joiner, at_once: bool) -> Result<(), CannotGoOn> {
        let shared = Arc::clone(&self.shared);
        let mut pace = Pace { clock: &self.clock, shared: &shared, at_once, since: self.clock.elapsed() };
        let written = rewrite(&shared, joiner, plan, self.next_number, self.segment_bytes, &mut || pace.go_on());
        match written {
            Ok(new) => {
                if !at_once {
                    // Whatever is left in them that is stale could not be written anew.
                    self.fresh.extend(new.iter().map(|new| new.segment.number()));
                }
                self.exchange(Exchange { old: plan.segments.clone(), new, level: plan.level }, false)
            }
            Err(RewriteError::Stopped) => Ok(()),
            Err(RewriteError::Unfit { number, error }) => {
                tracing::warn!(segments = ?plan.segments, %error, "segments stay as they are");
                self.shared.counters.compaction_failed();
                self.refused.insert(number);
                Ok(())
            }
            Err(RewriteError::Failed(error)) => {
                tracing::warn!(%error, "nothing compacted");
                self.shared.counters.compaction_failed();
                self.wait_for_news(&error);
                Ok(())
            }
        }
    }

    /// Has new segments take the place of the old ones, whose files then go.
    fn exchange(&mut self, exchange: Exchange, is_retry: bool) -> Result<(), CannotGoOn> {
        let (reply, result) = oneshot::channel();
        drop(self.recorder.send(Task::Exchange(exchange.clone(), reply)));
        // Without an answer the store is closing, and opening finds what came of it.
        match result.blocking_recv().map_err(|_| CannotGoOn)? {
            Ok(()) => self.remove_old(exchange),
            Err(ExchangeError::Refused(message)) if !is_retry => {
                tracing::warn!(segments = ?exchange.old, message, "segments stay as they are");
                self.shared.counters.compaction_failed();
                self.refused.extend(exchange.old.first());
                let numbers = exchange.new.iter().map(|new| new.segment.number());
                if let Err(error) = remove_segments(&self.shared.disk, numbers) {
                    tracing::warn!(%error, "what was left of a compaction stays for now");
                }
            }
            // The first attempt may have been carried out after all.
            Err(ExchangeError::Refused(_)) => return Err(CannotGoOn),
            Err(ExchangeError::Undecided(message)) => {
                tracing::warn!(message, "exchange of segments failed; it will be tried again");
                self.shared.counters.compaction_failed();
                self.pending = Some(exchange);
                self.wait_for_news(&CompactError::Undecided { message });
            }
        }
        Ok(())
    }

    fn remove_old(&mut self, exchange: Exchange) {
        let (replaced, by) = (exchange.old.len(), exchange.new.len());
        self.next_number += by as u64;
        let bytes = exchange.new.iter().map(|new| new.bytes).sum();
        self.shared.counters.compacted(replaced as u64, bytes);
        tracing::info!(replaced, by, bytes, "segments compacted");
        match remove_segments(&self.shared.disk, exchange.old.iter().copied()) {
            Ok(_) => {
                self.removed.extend(exchange.old);
                self.forget_removed();
            }
            Err(error) => tracing::warn!(%error, "replaced segments stay until the next start"),
        }
    }

    /// Leaves it until segments have changed, which is a matter of minutes.
    fn wait_for_news(&self, error: &CompactError) {
        let mut orders = self.shared.compaction.orders();
        orders.news = false;
        for asked in orders.asked.drain(..) {
            drop(asked.reply.send(Err(error.clone())));
        }
    }

    fn refuse_everything(&self) {
        let mut orders = self.shared.compaction.orders();
        loop {
            let message = "an exchange before has failed".to_owned();
            for asked in orders.asked.drain(..) {
                drop(asked.reply.send(Err(CompactError::Undecided { message: message.clone() })));
            }
            if orders.stopping {
                return;
            }
            orders = self.shared.compaction.arrived.wait(orders).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes the rows of replaced segments out whose files are gone.
    fn forget_removed(&mut self) {
        if !self.removed.is_empty() {
            drop(self.recorder.send(Task::Removed(std::mem::take(&mut self.removed))));
        }
    }
}

impl Shared {
    /// Whether a sealed segment has stale frames of topics that are there.
    fn has_stale(&self, number: u64, joiner: &Joiner) -> Result<bool, JournalError> {
        let (_, index) = Segment::open_sealed(&self.disk, self.journal, number)?;
        let stale = |topic, entries: &[FrameEntry]| {
            entries
                .chunk_by(|before, after| before.key_version == after.key_version)
                .any(|together| joiner.is_stale(topic, together[0].key_version))
        };
        Ok(index.topics().any(|(topic, entries)| stale(topic, entries) && !self.heads().is_forgotten(topic)))
    }
}

/// Work and rest in turn.
struct Pace<'a> {
    clock: &'a Clock,
    shared: &'a Shared,
    at_once: bool,
    since: Duration,
}

impl Pace<'_> {
    fn go_on(&mut self) -> bool {
        let worked = self.clock.elapsed().saturating_sub(self.since);
        if self.at_once || worked < WORK {
            return self.shared.compaction.rest(Duration::ZERO);
        }
        let go_on = self.shared.compaction.rest(worked * REST_FACTOR);
        self.since = self.clock.elapsed();
        go_on
    }
}
