//! What to compact next, by what it would gain.
//!
//! Every byte is rewritten a bounded number of times: a written segment once, when enough of it is small or dead; what
//! came of it again only together with neighbours that were compacted as often, or when much of it has died.

use std::collections::BTreeSet;

use super::{
    catalogue::Segments,
    rows::{SegmentRow, SegmentState},
};

/// What a frame takes besides its payload: its header, and its entry in the index.
const FRAME_OVERHEAD_BYTES: u64 = 128 + 68;

/// A segment is worth rewriting when what would be gained is in at least this part of its bytes: in the background, and when
/// somebody asked for it.
const GAIN_PART: u64 = 8;
const GAIN_PART_ASKED: u64 = 64;

/// How many segments are compacted together, at least (those that were compacted before) and at most.
const TOGETHER_MIN: usize = 4;
const TOGETHER_MAX: usize = 8;

/// How many frames may be compacted together, which bounds the memory for their indexes.
const FRAMES_MAX: u64 = 300_000;

/// How often small frames are looked at for being joined.
const LEVEL_MAX: u8 = 3;

/// Segments that follow one another and are compacted together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) segments: Vec<u64>,
    /// The level of what comes of them.
    pub(super) level: u8,
}

type Row<'a> = (u64, &'a SegmentRow);

/// Frames with all that they take in a segment.
pub(super) fn bytes_of(frames: u32, payload_bytes: u64) -> u64 {
    u64::from(frames) * FRAME_OVERHEAD_BYTES + payload_bytes
}

pub(super) fn dead_bytes(row: &SegmentRow) -> u64 {
    let mut dead = row.all;
    dead.subtract(row.live);
    bytes_of(dead.frames, dead.bytes)
}

/// The best thing to do, if there is any. Segments that could not be compacted are given by number.
pub(super) fn choose(segments: &Segments, refused: &BTreeSet<u64>, segment_bytes: u64, asked: bool) -> Option<Plan> {
    let gain_part = if asked { GAIN_PART_ASKED } else { GAIN_PART };
    let mut rows: Vec<Row<'_>> = segments
        .iter()
        .filter(|(_, row)| row.state != SegmentState::Replaced)
        .map(|(number, row)| (*number, row))
        .collect();
    rows.sort_by_key(|(number, row)| (row.first_sequence, *number));
    let together =
        |a: &Row<'_>, b: &Row<'_>| a.1.level == b.1.level && !refused.contains(&a.0) && !refused.contains(&b.0);
    let usable = |rows: &&[Row<'_>]| !refused.contains(&rows[0].0);
    let runs = || rows.chunk_by(together).filter(usable);
    runs()
        .find_map(|run| untouched(run, gain_part))
        .or_else(|| runs().find_map(|run| partly_dead(run, gain_part)))
        .or_else(|| runs().find_map(|run| still_small(run, segment_bytes)))
}

/// Written segments, the first of a run that is worth it, and those behind it.
fn untouched(run: &[Row<'_>], gain_part: u64) -> Option<Plan> {
    if run[0].1.level > 0 {
        return None;
    }
    let worth = |row: &SegmentRow| {
        (dead_bytes(row) + bytes_of(row.live.joinable, row.live.joinable_bytes)) * gain_part >= row.bytes
    };
    let first = run.iter().position(|(_, row)| worth(row))?;
    let mut frames = 0;
    let fitting = run[first..].iter().take(TOGETHER_MAX).take_while(|(_, row)| {
        let is_first = frames == 0;
        frames += u64::from(row.all.frames);
        worth(row) && (is_first || frames <= FRAMES_MAX)
    });
    Some(Plan { segments: fitting.map(|(number, _)| *number).collect(), level: 1 })
}

/// A compacted segment of which enough has died since.
fn partly_dead(run: &[Row<'_>], gain_part: u64) -> Option<Plan> {
    let (number, row) = run.iter().find(|(_, row)| row.level > 0 && dead_bytes(row) * gain_part >= row.bytes)?;
    Some(Plan { segments: vec![*number], level: row.level })
}

/// Compacted segments which together may have more to join, and segments that would fit into one: those too that were sealed early,
/// because somebody asked for a compaction.
fn still_small(run: &[Row<'_>], segment_bytes: u64) -> Option<Plan> {
    let level = run[0].1.level;
    for start in 0..run.len() {
        for count in (TOGETHER_MIN..=TOGETHER_MAX.min(run.len() - start)).rev() {
            let window = &run[start..start + count];
            let sum = |what: fn(&SegmentRow) -> u64| window.iter().map(|(_, row)| what(row)).sum::<u64>();
            let bytes = sum(|row| row.bytes);
            let small = sum(|row| bytes_of(row.live.small, row.live.small_bytes));
            let largest = window.iter().map(|(_, row)| row.bytes).max().unwrap_or(0);
            let joins = (1..LEVEL_MAX).contains(&level) && small * 2 >= bytes;
            let fits = bytes <= segment_bytes && largest * 2 <= bytes;
            if (joins || fits) && sum(|row| row.all.frames.into()) <= FRAMES_MAX {
                let segments = window.iter().map(|(number, _)| *number).collect();
                return Some(Plan { segments, level: (level + 1).min(LEVEL_MAX) });
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::local::rows::FrameCount;

    const MIB: u64 = 1024 * 1024;
    const SEGMENT: u64 = 64 * MIB;

    /// A segment with so many frames, of so many bytes together, of which a part is small and a part is dead.
    fn row(level: u8, sequence: u64, frames: u32, bytes: u64, small: u32, dead: u32) -> SegmentRow {
        let part = |of: u32| bytes / u64::from(frames.max(1)) * u64::from(of);
        let joinable = small;
        let (small_bytes, joinable_bytes) = (part(small), part(small));
        let all = FrameCount { frames, bytes, small, small_bytes, joinable, joinable_bytes };
        let live = FrameCount { frames: frames - dead, bytes: bytes - part(dead), ..all };
        let state = if level == 0 { SegmentState::Written } else { SegmentState::Compacted };
        let bytes = bytes_of(frames, bytes) + 128;
        SegmentRow { state, level, first_sequence: sequence, next_sequence: sequence + 10, bytes, all, live }
    }

    fn check(rows: &[SegmentRow], refused: &[u64], expected: Option<(&[u64], u8)>) {
        let segments: Segments = (1..).zip(rows.iter().copied()).collect();
        let plan = choose(&segments, &refused.iter().copied().collect(), SEGMENT, false);
        let expected = expected.map(|(segments, level)| Plan { segments: segments.to_vec(), level });
        assert_eq!(plan, expected);
    }

    #[test]
    fn a_bulk_load_is_left_alone() {
        check(&[], &[], None);
        check(&[row(0, 1, 300, 60 * MIB, 3, 0), row(0, 11, 300, 60 * MIB, 0, 0)], &[], None);
        check(&[row(1, 1, 300, 60 * MIB, 0, 0); 9], &[], None);
    }

    #[test]
    fn written_segments_with_small_or_dead_frames_go_together() {
        let small = |sequence| row(0, sequence, 20_000, 10 * MIB, 20_000, 0);
        let bulk = row(0, 21, 300, 60 * MIB, 0, 0);
        let dead = row(0, 31, 300, 60 * MIB, 0, 100);
        check(&[small(1), small(11), bulk, dead], &[], Some((&[1, 2], 1)));
        check(&[small(1), small(11), bulk, dead], &[1], Some((&[2], 1)));
        check(&[small(1), small(11), bulk, dead], &[1, 2], Some((&[4], 1)));
        let many = row(0, 1, 200_000, 20 * MIB, 200_000, 0);
        check(&[many, many], &[], Some((&[1], 1)));
    }

    /// Each `ensign compact` leaves a segment that was sealed early, and they must not pile up.
    #[test]
    fn segments_that_were_sealed_early_are_gathered() {
        let early = |sequence| row(0, sequence, 10, 5 * MIB, 0, 0);
        check(&[early(1), early(11), early(21)], &[], None);
        check(&[early(1), early(11), early(21), early(31)], &[], Some((&[1, 2, 3, 4], 1)));
    }

    #[test]
    fn whoever_asks_gets_smaller_gains_too() {
        let segments = Segments::from([(1, row(1, 1, 300, 60 * MIB, 0, 9))]);
        assert_eq!(choose(&segments, &BTreeSet::new(), SEGMENT, false), None);
        assert_eq!(choose(&segments, &BTreeSet::new(), SEGMENT, true), Some(Plan { segments: vec![1], level: 1 }));
    }

    #[test]
    fn what_was_compacted_is_taken_up_again_only_with_its_like() {
        let little = |sequence| row(1, sequence, 10, 5 * MIB, 0, 0);
        check(&[little(1), little(11), little(21)], &[], None);
        check(&[little(1), little(11), little(21), little(31)], &[], Some((&[1, 2, 3, 4], 2)));
        check(&[little(1), little(11), row(2, 21, 10, MIB, 0, 0), little(31), little(41)], &[], None);
        let large = row(1, 41, 300, 60 * MIB, 0, 0);
        check(&[large, little(51), little(61), little(71)], &[], None);
        let small = row(1, 1, 50_000, 50 * MIB, 50_000, 0);
        check(&[small; 4], &[], Some((&[1, 2, 3, 4], 2)));
        check(&[SegmentRow { level: 3, ..small }; 4], &[], None);
        check(&[large, row(2, 1, 300, 60 * MIB, 0, 290)], &[], Some((&[2], 2)));
        let replaced = SegmentRow { state: SegmentState::Replaced, ..row(0, 1, 10, MIB, 10, 10) };
        check(&[replaced], &[], None);
    }
}
