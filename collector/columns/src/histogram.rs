//! A log-linear histogram of whole microseconds: 64 buckets an octave, so a bucket is at most 1/64 of its values wide and its
//! middle is within 1/128 (0.79 %) of each of them. The number of a bucket is a shift and a mask; merging is addition, hence
//! exact, associative and commutative: a quantile of merged histograms is that of the histogram of the union.

use crate::AGENT_WEIGHT;
use crate::varint::{self, DecodeError, Reader};

/// Buckets in each octave, as a power of two.
const OCTAVE_BITS: u32 = 6;

/// Smallest value told apart; smaller ones count as this.
const MIN_US: u32 = 1;

/// Largest value told apart, one minute; larger ones count as this. No probe waits that long.
const MAX_US: u32 = 60_000_000;

/// Counts of values by bucket. Empty buckets take no space.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// (bucket, count), ascending by bucket, no count is 0.
    buckets: Vec<(u16, u64)>,
}

impl Histogram {
    /// Counts one value. Values beyond 1 µs to 60 s count as the nearer end.
    pub fn record(&mut self, us: u32) {
        self.record_n(us, 1);
    }

    /// Counts `n` equal values.
    pub fn record_n(&mut self, us: u32, n: u64) {
        self.add(bucket_of(us), n);
    }

    /// Adds all counts of `other`.
    pub fn merge(&mut self, other: &Self) {
        if self.buckets.is_empty() {
            self.buckets.clone_from(&other.buckets);
            return;
        }
        if other.buckets.len() * 8 < self.buckets.len() {
            for (bucket, count) in &other.buckets {
                self.add(*bucket, *count);
            }
            return;
        }
        self.buckets = union(&self.buckets, &other.buckets);
    }

    /// Number of values.
    pub fn count(&self) -> u64 {
        self.buckets
            .iter()
            .fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// The value that a fraction `q` of the values stays at or below (nearest rank), within 0.79 %.
    ///
    /// `None` without values, or unless `0.0 < q <= 1.0`.
    ///
    /// # Examples
    /// ```
    /// let mut histogram = firstmile_columns::Histogram::default();
    /// for us in [90, 100, 110] {
    ///     histogram.record(us);
    /// }
    /// assert_eq!(histogram.quantile(0.5), Some(100));
    /// ```
    pub fn quantile(&self, q: f64) -> Option<u32> {
        let [found] = self.quantiles([q]);
        found
    }

    /// Several quantiles at once, as [`Histogram::quantile`]; quickest in ascending order.
    pub fn quantiles<const N: usize>(&self, of: [f64; N]) -> [Option<u32>; N] {
        let mut found = [None; N];
        self.each_quantile(&of, 0, |place, us| {
            if let Some(found) = found.get_mut(place) {
                *found = us;
            }
        });
        found
    }

    /// Shows each quantile among the values and `beyond` more that are longer than all of them: `None` if it is one of those.
    pub fn each_quantile(&self, of: &[f64], beyond: u64, mut show: impl FnMut(usize, Option<u32>)) {
        let values = self.count();
        let all = values.saturating_add(beyond);
        let (mut at, mut below, mut last) = (0, 0u64, 0);
        for (place, q) in of.iter().enumerate() {
            let rank = rank_of(*q, all);
            if !(*q > 0.0 && *q <= 1.0) || all == 0 || rank > values {
                show(place, None);
                continue;
            }
            if rank < last {
                (at, below) = (0, 0);
            }
            last = rank;
            while let Some((bucket, count)) = self.buckets.get(at) {
                if below.saturating_add(*count) >= rank {
                    show(place, Some(middle_of(*bucket)));
                    break;
                }
                below = below.saturating_add(*count);
                at += 1;
            }
        }
    }

    /// The mean, within 0.79 %.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a sum beyond 2^53 is still right to 15 digits"
    )]
    pub fn mean(&self) -> Option<f64> {
        let weigh = |(bucket, count): &(u16, u64)| f64::from(middle_of(*bucket)) * *count as f64;
        let sum: f64 = self.buckets.iter().map(weigh).sum();
        let n = self.count();
        (n > 0).then(|| sum / n as f64)
    }

    /// The buckets in use with their counts, ascending.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        self.buckets.iter().copied()
    }

    /// The first and the last bucket in use.
    pub(crate) fn ends(&self) -> Option<(u16, u16)> {
        let ((low, _), (high, _)) = self.buckets.first().zip(self.buckets.last())?;
        Some((*low, *high))
    }

    /// Of buckets in ascending order, each once; those without a count are left out.
    pub(crate) fn of_sorted(buckets: impl Iterator<Item = (u16, u64)>) -> Self {
        let buckets = buckets.filter(|(_, count)| *count > 0);
        Self {
            buckets: buckets.collect(),
        }
    }

    /// The smallest value, within 0.79 %.
    pub fn min(&self) -> Option<u32> {
        self.buckets.first().map(|(bucket, _)| middle_of(*bucket))
    }

    /// The largest value, within 0.79 %.
    pub fn max(&self) -> Option<u32> {
        self.buckets.last().map(|(bucket, _)| middle_of(*bucket))
    }

    /// The same shape with counts that add up to [`AGENT_WEIGHT`] exactly; empty stays empty.
    ///
    /// A bucket gets the difference of two rounded cumulative shares, so no rounding piles up anywhere.
    #[must_use]
    pub fn spread(&self) -> Self {
        let total = self.count();
        let is_small = total < u64::MAX / AGENT_WEIGHT;
        let share = |below: u64| {
            if is_small {
                return below * AGENT_WEIGHT / total;
            }
            let share = u128::from(below) * u128::from(AGENT_WEIGHT) / u128::from(total);
            // At most AGENT_WEIGHT, so it fits.
            u64::try_from(share).unwrap_or(AGENT_WEIGHT)
        };
        let mut below = 0u64;
        let buckets = self.buckets.iter().filter_map(|(bucket, count)| {
            let from = share(below);
            below = below.saturating_add(*count);
            let weight = share(below) - from;
            (weight > 0).then_some((*bucket, weight))
        });
        Self {
            buckets: buckets.collect(),
        }
    }

    /// The bytes form: number of buckets, then for each the gap to the one before and its count, as varints.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1 + self.buckets.len() * 2);
        self.put(&mut bytes);
        bytes
    }

    /// Reads the bytes form. Any bytes may come: from a damaged disk or a later program.
    ///
    /// # Errors
    /// [`DecodeError`] unless the bytes are exactly one histogram.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let histogram = Self::take(&mut reader)?;
        reader.finish()?;
        Ok(histogram)
    }

    /// Appends the bytes form.
    pub fn put(&self, bytes: &mut Vec<u8>) {
        varint::put(bytes, self.buckets.len() as u64);
        let mut before = 0;
        for (bucket, count) in &self.buckets {
            varint::put(bytes, u64::from(bucket - before));
            varint::put(bytes, *count);
            before = *bucket;
        }
    }

    /// Takes one histogram off the front of bytes.
    ///
    /// # Errors
    /// [`DecodeError`] unless one stands there.
    pub fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let len = reader.number()?;
        if len > u64::from(bucket_of(MAX_US)) {
            return Err(DecodeError::OutOfRange);
        }
        // Each takes two bytes at least, so damaged bytes ask for no more memory than some times their length.
        let most = usize::try_from(len).unwrap_or(usize::MAX);
        let mut buckets = Vec::with_capacity(most.min(reader.len() / 2));
        let (mut bucket, mut total) = (0u64, 0u64);
        for _ in 0..len {
            let gap = reader.number()?;
            let count = reader.number()?;
            bucket = bucket.checked_add(gap).ok_or(DecodeError::OutOfRange)?;
            total = total.checked_add(count).ok_or(DecodeError::OutOfRange)?;
            if gap == 0 || count == 0 || bucket > u64::from(bucket_of(MAX_US)) {
                return Err(DecodeError::OutOfRange);
            }
            buckets.push((
                u16::try_from(bucket).map_err(|_| DecodeError::OutOfRange)?,
                count,
            ));
        }
        Ok(Self { buckets })
    }

    fn add(&mut self, bucket: u16, n: u64) {
        if n == 0 {
            return;
        }
        match self
            .buckets
            .binary_search_by_key(&bucket, |(bucket, _)| *bucket)
        {
            Ok(at) => {
                if let Some((_, count)) = self.buckets.get_mut(at) {
                    *count = count.saturating_add(n);
                }
            }
            Err(at) => self.buckets.insert(at, (bucket, n)),
        }
    }
}

/// Both lists added, each ascending by bucket.
fn union(left: &[(u16, u64)], right: &[(u16, u64)]) -> Vec<(u16, u64)> {
    let mut merged = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (
        left.iter().copied().peekable(),
        right.iter().copied().peekable(),
    );
    loop {
        match (left.peek().copied(), right.peek().copied()) {
            (Some((l, count)), Some((r, more))) if l == r => {
                merged.push((l, count.saturating_add(more)));
                left.next();
                right.next();
            }
            (Some((l, _)), Some((r, _))) => {
                merged.extend(if l < r { left.next() } else { right.next() });
            }
            (Some(_), None) => merged.extend(left.next()),
            (None, Some(_)) => merged.extend(right.next()),
            (None, None) => return merged,
        }
    }
}

/// Nearest rank: the smallest count that is at least the fraction `q` of `n`.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts beyond 2^53 lose a rank in 2^53; q and n are not negative"
)]
fn rank_of(q: f64, n: u64) -> u64 {
    ((q * n as f64).ceil() as u64).clamp(1, n.max(1))
}

/// Values of which the float below is exact.
const EXACT: u32 = 1 << 24;

/// The buckets of values, to the end of `out`: [`bucket_of`] of many at a time, without a branch for each. A float of a whole
/// number has its logarithm in its exponent, and the bits behind the first one in its mantissa.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_wrap,
    clippy::cast_possible_truncation,
    reason = "values are below 2^24, so their floats are exact; buckets are below 2^11"
)]
pub(crate) fn buckets_of(us: &[u32], out: &mut Vec<u16>) {
    if us.iter().fold(0, |all, us| all | us) >= EXACT {
        out.extend(us.iter().map(|us| bucket_of(*us)));
        return;
    }
    out.extend(us.iter().map(|us| {
        let us = (*us).max(MIN_US);
        let bits = (us as i32 as f32).to_bits() >> (f32::MANTISSA_DIGITS - 1 - OCTAVE_BITS);
        // The exponent is told from 127; the bucket of 64, which is 2^6, is 64.
        let bucket = bits.wrapping_sub((127 + OCTAVE_BITS - 1) << OCTAVE_BITS);
        let is_low = us < 1 << OCTAVE_BITS;
        (if is_low { us } else { bucket }) as u16
    }));
}

/// Below 64 a bucket is one value; above, the leading 7 bits name it and the rest is dropped.
pub(crate) fn bucket_of(us: u32) -> u16 {
    let us = us.clamp(MIN_US, MAX_US);
    let shift = us.ilog2().saturating_sub(OCTAVE_BITS);
    // At most 19 * 64 + 114, so it fits.
    u16::try_from((shift << OCTAVE_BITS) + (us >> shift)).unwrap_or(u16::MAX)
}

/// The middle of a bucket, rounded down.
pub(crate) fn middle_of(bucket: u16) -> u32 {
    let bucket = u32::from(bucket);
    let shift = (bucket >> OCTAVE_BITS).saturating_sub(1);
    let low = (bucket - (shift << OCTAVE_BITS)) << shift;
    low + ((1 << shift) - 1) / 2
}

#[cfg(test)]
#[path = "histogram_tests.rs"]
mod tests;
