//! Many values counted at once: their buckets wait in a row, and are counted into the range of buckets in use. What comes out is
//! the same [`Histogram`] that recording them one by one gives, at a tenth of the time.

use crate::histogram::buckets_of;
use crate::{AGENT_WEIGHT, Histogram};

/// Buckets that wait until they are counted: 4 KiB.
const WAITING: usize = 2_048;
/// Up to so many are sorted rather than counted.
const FEW: usize = 256;

/// Counts of values; see the module.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    waiting: Vec<u16>,
    /// Bucket of the first count.
    base: u16,
    counts: Vec<u64>,
}

impl Tally {
    /// Counts values, in microseconds.
    pub fn record_all(&mut self, us: &[u32]) {
        for some in us.chunks(WAITING) {
            if self.waiting.len() + some.len() > WAITING {
                self.settle();
            }
            buckets_of(some, &mut self.waiting);
        }
    }

    /// Counts one value, in microseconds.
    pub fn record(&mut self, us: u32) {
        self.record_all(&[us]);
    }

    /// Adds all counts of a histogram.
    pub fn add(&mut self, histogram: &Histogram) {
        if let Some((low, high)) = histogram.ends() {
            self.make_room(low, high);
        }
        for (bucket, n) in histogram.buckets() {
            self.bump(bucket, n);
        }
    }

    /// Adds all counts of another.
    pub fn merge(&mut self, other: &Self) {
        self.record_buckets(&other.waiting);
        if let Some(high) = other.last() {
            self.make_room(other.base, high);
        }
        for (bucket, n) in (other.base..).zip(&other.counts) {
            self.bump(bucket, *n);
        }
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.counts.iter().all(|n| *n == 0)
    }

    /// Adds its values to another, weighted so that they add up to [`AGENT_WEIGHT`]: as [`Histogram::spread`] of what was counted.
    pub fn spread_into(&mut self, into: &mut Self) {
        if !self.counts.is_empty() || self.waiting.len() > FEW {
            into.add(&self.clone().histogram().spread());
            return;
        }
        self.waiting.sort_unstable();
        if let Some((low, high)) = self.waiting.first().zip(self.waiting.last()) {
            into.make_room(*low, *high);
        }
        let total = self.waiting.len() as u64;
        let (mut below, mut shared) = (0, 0);
        for equal in self.waiting.chunk_by(|left, right| left == right) {
            below += equal.len() as u64;
            let share = below * AGENT_WEIGHT / total;
            if let Some(bucket) = equal.first() {
                into.bump(*bucket, share - shared);
            }
            shared = share;
        }
    }

    /// Everything as a histogram.
    pub fn histogram(mut self) -> Histogram {
        self.settle();
        let counted = (self.base..).zip(&self.counts);
        Histogram::of_sorted(counted.map(|(bucket, n)| (bucket, *n)))
    }

    fn record_buckets(&mut self, buckets: &[u16]) {
        if self.waiting.len() + buckets.len() > WAITING {
            self.settle();
        }
        self.waiting.extend_from_slice(buckets);
    }

    /// Counts what waits.
    fn settle(&mut self) {
        let ends = self.waiting.iter().fold(None, |ends, bucket| {
            let (low, high) = ends.unwrap_or((*bucket, *bucket));
            Some((low.min(*bucket), high.max(*bucket)))
        });
        let Some((low, high)) = ends else {
            return;
        };
        self.make_room(low, high);
        let mut waiting = std::mem::take(&mut self.waiting);
        for bucket in waiting.drain(..) {
            self.bump(bucket, 1);
        }
        self.waiting = waiting;
    }

    fn last(&self) -> Option<u16> {
        let len = u16::try_from(self.counts.len()).ok()?;
        len.checked_sub(1).map(|more| self.base + more)
    }

    /// Widens the range in use.
    fn make_room(&mut self, low: u16, high: u16) {
        let (base, last) = match self.last() {
            None => (low, high),
            Some(last) => (self.base.min(low), last.max(high)),
        };
        if !self.counts.is_empty() && base < self.base {
            let more = usize::from(self.base - base);
            self.counts.splice(0..0, std::iter::repeat_n(0, more));
        }
        self.base = base;
        self.counts.resize(usize::from(last - base) + 1, 0);
    }

    fn bump(&mut self, bucket: u16, n: u64) {
        let place = usize::from(bucket.wrapping_sub(self.base));
        if let Some(count) = self.counts.get_mut(place) {
            *count = count.saturating_add(n);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn weights_are_those_of_the_histogram(values in vec(prop_oneof![any::<u32>(), 1_000u32..2_000], 0..600)) {
            let (mut tally, mut weights) = (Tally::default(), Tally::default());
            tally.record_all(&values);
            tally.spread_into(&mut weights);
            tally.spread_into(&mut weights);
            let mut want = tally.histogram().spread();
            want.merge(&want.clone());
            prop_assert_eq!(weights.histogram(), want);
        }

        #[test]
        fn a_tally_is_the_histogram_of_its_values(
            parts in vec(vec(prop_oneof![Just(0u32), any::<u32>(), 1_000u32..2_000], 0..3_000), 0..4),
            others in vec(any::<u32>(), 0..50),
        ) {
            let (mut tally, mut want) = (Tally::default(), Histogram::default());
            for part in &parts {
                let mut one = Tally::default();
                one.record_all(part);
                tally.merge(&one);
                tally.record_all(part);
                for us in part {
                    want.record_n(*us, 2);
                }
            }
            let mut more = Histogram::default();
            for us in &others {
                more.record(*us);
                want.record(*us);
            }
            tally.add(&more);
            prop_assert_eq!(tally.is_empty(), want.is_empty());
            prop_assert_eq!(tally.histogram(), want);
        }
    }
}
