//! How much a member gets at a time, and may hold.

/// How many events one turn gives at most. With at-most-once a turn waits for a commit, so that a small one would make the disk's
/// pace that of a group that is behind.
pub(super) const TURN_MAX: u32 = 8_192;

/// What a member may hold that is not known yet.
const START: u32 = 16;

/// How many of the events that wait are handed to one member in its turn, when so many members ask.
pub(in crate::broker::group) fn share(waiting: u64, askers: usize) -> u32 {
    let askers = u64::try_from(askers).unwrap_or(u64::MAX).max(1);
    u32::try_from(waiting / askers).unwrap_or(u32::MAX).clamp(1, TURN_MAX)
}

/// How many events a member may hold at once.
///
/// It doubles whenever as many events as it says have been acked one after the other within a quarter of the time that
/// a member may take, and halves when a lease times out: so whoever is quick gets long runs, and whoever is slow keeps
/// little from the others.
#[derive(Debug, Clone)]
pub(super) struct Credit {
    size: u32,
    most: u32,
    /// How many acks came in time since the last change, or the last late one.
    quick: u32,
}

impl Credit {
    pub(super) fn new(window: u32) -> Credit {
        let most = (window / 2).max(1);
        Credit { size: START.min(most), most, quick: 0 }
    }

    /// How many more events a member may take that holds so many.
    pub(super) fn left(&self, held: u32) -> u32 {
        self.size.saturating_sub(held).min(TURN_MAX)
    }

    #[inline]
    pub(super) fn acked(&mut self, in_time: bool) {
        self.quick = if in_time { self.quick + 1 } else { 0 };
        if self.quick >= self.size {
            self.size = self.size.saturating_mul(2).min(self.most);
            self.quick = 0;
        }
    }

    pub(super) fn timed_out(&mut self) {
        self.size = (self.size / 2).max(1);
        self.quick = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_shared_evenly_and_in_turns() {
        for (waiting, askers, expected) in
            [(0, 0, 1), (1, 4, 1), (8, 4, 2), (9, 4, 2), (50_000, 1, 8_192), (5_000, 5, 1_000), (u64::MAX, 0, 8_192)]
        {
            assert_eq!(share(waiting, askers), expected, "{waiting} for {askers}");
        }
    }

    #[test]
    fn credit_follows_how_quick_a_member_is() {
        let mut credit = Credit::new(200);
        let ack = |credit: &mut Credit, count: u32| (0..count).for_each(|_| credit.acked(true));
        ack(&mut credit, 15);
        credit.acked(false);
        ack(&mut credit, 15);
        assert_eq!((credit.left(0), credit.left(10), credit.left(17)), (16, 6, 0));
        ack(&mut credit, 1);
        assert_eq!(credit.left(0), 32);
        ack(&mut credit, 32 + 64);
        assert_eq!(credit.left(0), 100, "half the window is the most");
        for expected in [50, 25, 12, 6, 3, 1, 1] {
            credit.timed_out();
            assert_eq!(credit.left(0), expected);
        }
        ack(&mut credit, 1);
        assert_eq!(credit.left(0), 2);
    }

    #[test]
    fn no_turn_gives_more_than_a_turn() {
        let mut credit = Credit::new(1_000_000);
        (0..1_000_000).for_each(|_| credit.acked(true));
        assert_eq!(credit.left(0), TURN_MAX);
        assert_eq!(Credit::new(1).left(0), 1);
    }
}
