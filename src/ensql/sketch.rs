//! Percentiles of any number of values in little memory: a histogram whose buckets grow by a factor, so that every
//! answer is within half a percent of a value that was there. (The idea is DDSketch's.)

use std::collections::BTreeMap;

/// How much larger each bucket's values are than those of the one before.
const GROWTH: f64 = 1.01;

/// Numbers nearer to zero than this count as zero.
const LEAST: f64 = 1e-12;

/// Bytes of memory for a bucket, about.
const BUCKET_BYTES: usize = 32;

/// Counts of values by their size.
#[derive(Debug, Default)]
pub(super) struct Sketch {
    /// By the bucket, which is negative for values below zero.
    buckets: BTreeMap<i32, u64>,
    count: u64,
    least: f64,
    greatest: f64,
}

impl Sketch {
    /// Takes a number, and gives the bytes of memory by which it has grown.
    pub(super) fn add(&mut self, number: f64) -> usize {
        if !number.is_finite() {
            return 0;
        }
        self.least = if self.count == 0 { number } else { self.least.min(number) };
        self.greatest = if self.count == 0 { number } else { self.greatest.max(number) };
        self.count += 1;
        let before = self.buckets.len();
        *self.buckets.entry(bucket(number)).or_default() += 1;
        (self.buckets.len() - before) * BUCKET_BYTES
    }

    /// The value that this share of all is not above. `None` when there are none.
    pub(super) fn at(&self, share: f64) -> Option<f64> {
        let last = self.count.checked_sub(1)?;
        let rank = rank(share, last);
        if rank == 0 {
            return Some(self.least);
        }
        if rank == last {
            return Some(self.greatest);
        }
        let mut passed = 0;
        for (bucket, count) in &self.buckets {
            passed += count;
            if passed > rank {
                return Some(middle(*bucket).clamp(self.least, self.greatest));
            }
        }
        Some(self.greatest)
    }
}

/// Which of the values, when they are in order, this share of them is not above.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the rank is between 0 and the last, and is rounded in any case"
)]
fn rank(share: f64, last: u64) -> u64 {
    (share.clamp(0.0, 1.0) * last as f64).round() as u64
}

/// Zero is in bucket 0; the least positive numbers in bucket 1.
#[expect(clippy::cast_possible_truncation, reason = "the logarithm of a float is some thousand steps at most")]
fn bucket(number: f64) -> i32 {
    if number.abs() < LEAST {
        return 0;
    }
    // The difference of the logarithms, because the quotient of a large number is infinite.
    let steps = ((number.abs().ln() - LEAST.ln()) / GROWTH.ln()).floor() as i32 + 1;
    if number < 0.0 { -steps } else { steps }
}

/// The number in the middle of a bucket.
fn middle(bucket: i32) -> f64 {
    if bucket == 0 {
        return 0.0;
    }
    let size = LEAST * GROWTH.powi(bucket.abs() - 1) * (1.0 + GROWTH) / 2.0;
    if bucket < 0 { -size } else { size }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sketch(numbers: &[f64]) -> Sketch {
        let mut sketch = Sketch::default();
        for number in numbers {
            sketch.add(*number);
        }
        sketch
    }

    #[test]
    fn few_values() {
        assert_eq!(sketch(&[]).at(0.5), None);
        assert_eq!(sketch(&[7.0]).at(0.5), Some(7.0));
        assert_eq!(sketch(&[1.0, 2.0]).at(0.0), Some(1.0));
        assert_eq!(sketch(&[1.0, 2.0]).at(1.0), Some(2.0));
        assert_eq!(sketch(&[f64::NAN, f64::INFINITY]).at(1.0), None);
        for largest in [1e300, f64::MAX, -1e300, f64::MIN, f64::MIN_POSITIVE] {
            let answer = sketch(&[largest, largest]).at(0.5).unwrap();
            assert!((answer - largest).abs() <= largest.abs() * 0.006 + LEAST, "{answer} for {largest}");
        }
    }

    #[test]
    fn memory_is_bounded_by_the_range() {
        let mut sketch = Sketch::default();
        let grown: usize = (0..100_000).map(|number| sketch.add(f64::from(number))).sum();
        assert!(grown < 4_000 * BUCKET_BYTES, "{grown} bytes");
    }

    proptest! {
        #[test]
        fn answers_are_near(mut numbers in proptest::collection::vec(-1e9_f64..1e9, 1..200), share in 0.0_f64..=1.0) {
            let answer = sketch(&numbers).at(share).unwrap();
            numbers.sort_by(f64::total_cmp);
            let exact = numbers[rank(share, numbers.len() as u64 - 1).try_into().unwrap_or(0_usize)];
            prop_assert!((answer - exact).abs() <= exact.abs() * 0.006 + LEAST, "{answer} for {exact}");
        }
    }
}
