//! How events get to members: those that wait first, then fresh ones.

use std::ops::Range;

use super::{
    Ledger, Member,
    keys::Key,
    leases::Lease,
    terms::{Fresh, Grant, MemberId, Rules},
    waiting::Story,
};
use crate::model::{DeliverySemantic, Offset, Time};

impl Ledger {
    /// The lowest events that were read before and that a member may have now: consecutive ones with one story. Nothing when
    /// there are none, or the member has no allowance left.
    pub(in crate::broker::group) fn take_again(&mut self, member: MemberId, now: Time, limit: u32) -> Option<Grant> {
        self.unpark(now);
        let limit = u64::from(limit.min(self.allowance(member)));
        if limit == 0 {
            return None;
        }
        let mut taken = self.next_ready(member)?;
        taken.end = taken.end.min(taken.start + limit);
        if self.rules.ordered {
            let mut offset = taken.start;
            while offset < taken.end && self.may_take(offset, member) {
                self.keys.take(offset, member);
                offset += 1;
            }
            taken.end = offset;
        }
        let story = self.waiting.remove(taken.clone()).expect("it lies within a range that waits");
        let grant = self.hand_out(member, taken.clone(), story, now);
        self.refresh_all(taken);
        if !self.is_leasing() {
            self.settled_some();
        }
        Some(grant)
    }

    /// Makes ready what has waited long enough.
    pub(super) fn unpark(&mut self, now: Time) {
        for range in self.waiting.unpark(now) {
            self.refresh_all(range);
        }
    }

    /// What a member gets of events that have just been read, in order. Nothing when they are not the next ones. What it
    /// does not get stays unread, or waits for the member that may have it by its key. At most `limit` are handed out.
    pub(in crate::broker::group) fn take_fresh(
        &mut self,
        member: MemberId,
        now: Time,
        fresh: &Fresh<'_>,
        limit: u32,
    ) -> Vec<Grant> {
        let mut grants = Vec::new();
        let mut left = u64::from(limit.min(self.allowance(member)));
        let first = self.unread;
        if fresh.first.get() != first {
            return grants;
        }
        let end = first + u64::from(fresh.count.min(self.room()));
        let key = |offset: u64| {
            let at = usize::try_from(offset - first).ok();
            at.and_then(|at| fresh.keys.get(at)).copied().unwrap_or(Key::NONE)
        };
        while self.unread < end && left > 0 {
            let (piece, story) = self.next_piece(end);
            match story {
                None => self.read_settled_or_dead(piece, key),
                Some(story) if self.rules.ordered => {
                    self.take_ordered(member, now, piece, &story, (&mut left, &mut grants), key);
                }
                Some(story) => {
                    let taken = piece.start..piece.end.min(piece.start + left);
                    left -= taken.end - taken.start;
                    self.unread = taken.end;
                    grants.push(self.hand_out(member, taken, story, now));
                }
            }
        }
        if self.is_leasing() {
            self.runs.push(first, fresh.rlid, self.unread - first);
        } else {
            self.settled_some();
        }
        grants
    }

    /// The unread events that are like the first one, before `end`, and what is known of them: nothing when they are not to be
    /// handed out.
    fn next_piece(&mut self, end: u64) -> (Range<u64>, Option<Story>) {
        let first = self.unread;
        if self.settled.contains(first) {
            return (first..self.settled.next_unsettled(first).min(end), None);
        }
        if self.dead.contains_key(&first) {
            return (first..first + 1, None);
        }
        let dead = self.dead.range(first..).next().map(|(offset, _)| *offset);
        let mut end = [self.settled.next_settled(first), dead].into_iter().flatten().fold(end, u64::min);
        while self.tries.front().is_some_and(|tries| tries.range.end <= first) {
            self.tries.pop_front();
        }
        let mut story = Story::default();
        if let Some(tries) = self.tries.front() {
            if tries.range.start <= first {
                story = Story { failures: tries.failures, reason: Some(tries.reason), ..story };
                end = end.min(tries.range.end);
            } else {
                end = end.min(tries.range.start);
            }
        }
        (first..end, Some(story))
    }

    /// Passes over unread events that are not to be handed out.
    fn read_settled_or_dead(&mut self, piece: Range<u64>, key: impl Fn(u64) -> Key) {
        self.unread = piece.end;
        if self.rules.ordered {
            for offset in piece {
                self.keys.push(offset, key(offset), self.settled.contains(offset));
            }
        }
    }

    /// Hands out what the member may have of a piece; the rest of it waits for others.
    fn take_ordered(
        &mut self,
        member: MemberId,
        now: Time,
        piece: Range<u64>,
        story: &Story,
        (left, grants): (&mut u64, &mut Vec<Grant>),
        key: impl Fn(u64) -> Key,
    ) {
        let mut taken = piece.start..piece.start;
        for offset in piece {
            if *left == 0 {
                break;
            }
            self.unread = offset + 1;
            self.keys.push(offset, key(offset), false);
            if self.may_take(offset, member) {
                self.keys.take(offset, member);
                *left -= 1;
                taken.end = offset + 1;
                continue;
            }
            self.waiting.insert(offset..offset + 1, story.clone(), None);
            self.refresh(offset);
            if !taken.is_empty() {
                grants.push(self.hand_out(member, taken, story.clone(), now));
            }
            taken = offset + 1..offset + 1;
        }
        if !taken.is_empty() {
            grants.push(self.hand_out(member, taken, story.clone(), now));
        }
    }

    /// Makes events a member's: leased, or settled when the group leases nothing.
    fn hand_out(&mut self, member: MemberId, range: Range<u64>, story: Story, now: Time) -> Grant {
        let count = u32::try_from(range.end - range.start).expect("a turn is small");
        let grant = Grant { first: Offset::new(range.start), count, deliveries: story.failures.saturating_add(1) };
        if story.failures > 0 {
            self.redelivered += u64::from(count);
        }
        if self.is_leasing() {
            let nanos = i64::try_from(self.rules.timeout.as_nanos()).unwrap_or(i64::MAX);
            let (deadline, unsettled) = (now.plus_nanos(nanos), u64::from(count));
            self.leases.grant(Lease { range, member, story, taken: now, deadline, unsettled });
            if let Some(at) = self.member(member) {
                self.members[at].held += count;
            }
        } else {
            range.for_each(|offset| self.mark(offset));
        }
        grant
    }

    /// The lowest events that are ready and a member's turn; in ordered groups, that goes for the first of them.
    fn next_ready(&self, member: MemberId) -> Option<Range<u64>> {
        if !self.rules.ordered {
            return self.waiting.ready().find_map(|(range, story)| self.may_have(member, story).then_some(range));
        }
        let would_take = |offset| self.waiting.ready_at(offset).is_some_and(|(_, story)| self.may_have(member, story));
        let next = self.keys.next_turn(member, would_take)?;
        self.waiting.ready_at(next).map(|(range, _)| range)
    }

    /// Whether an event that is not leased is this member's turn, by its key.
    fn may_take(&self, offset: u64, member: MemberId) -> bool {
        self.keys.may_take(offset, member)
            && owner(&self.rules, &self.members, self.keys.key(offset)).is_none_or(|owner| owner == member)
    }

    /// Finds out anew whose turn it is, by the key of an event for which something has changed.
    pub(super) fn refresh(&mut self, offset: u64) {
        let Ledger { keys, waiting, rules, members, .. } = self;
        keys.refresh(offset, |offset| waiting.ready_at(offset).is_some(), |key| owner(rules, members, key));
    }

    pub(super) fn refresh_all(&mut self, offsets: impl IntoIterator<Item = u64>) {
        if self.rules.ordered {
            offsets.into_iter().for_each(|offset| self.refresh(offset));
        }
    }

    /// Whether a member has not refused events so that another should get them; when all have, anybody may have them.
    fn may_have(&self, member: MemberId, story: &Story) -> bool {
        !story.refused.contains(member) || self.members.iter().all(|member| story.refused.contains(member.id))
    }
}

/// The member whose events with a key are from the outset, in ordered groups that lease nothing.
fn owner(rules: &Rules, members: &[Member], key: Key) -> Option<MemberId> {
    if rules.delivery != DeliverySemantic::AtMostOnce || key == Key::NONE {
        return None;
    }
    key.owner(members.iter().map(|member| member.id))
}
