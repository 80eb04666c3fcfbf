//! Tests of the histogram: its bound, its algebra, its bytes.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn histogram_of(values: &[u32]) -> Histogram {
    let mut histogram = Histogram::default();
    for us in values {
        histogram.record(*us);
    }
    histogram
}

fn merged(histograms: &[&Histogram]) -> Histogram {
    let mut sum = Histogram::default();
    for histogram in histograms {
        sum.merge(histogram);
    }
    sum
}

/// Values as networks have them: from below a microsecond to beyond a minute, each octave as likely as the next.
fn values(len: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u32>> {
    vec(
        (0u32..27, any::<u32>())
            .prop_map(|(octave, bits)| (1 << octave) | (bits & ((1 << octave) - 1))),
        len,
    )
}

fn histograms() -> impl Strategy<Value = Histogram> {
    vec((1u16..=bucket_of(MAX_US), 1u64..1 << 40), 0..60).prop_map(|counts| {
        let mut histogram = Histogram::default();
        for (bucket, count) in counts {
            histogram.add(bucket, count);
        }
        histogram
    })
}

#[test]
fn every_value_is_within_the_bound_of_its_bucket() {
    // All values of the first octaves, then the edges of every bucket: where the error is largest.
    let edges = (1..=bucket_of(MAX_US)).flat_map(|bucket| {
        let middle = middle_of(bucket);
        let half = (middle >> (OCTAVE_BITS + 1)) + 1;
        middle.saturating_sub(half)..=middle + half
    });
    for us in (0..10_000).chain(edges) {
        let exact = f64::from(us.clamp(MIN_US, MAX_US));
        let told = f64::from(middle_of(bucket_of(us)));
        assert!((told - exact).abs() <= exact / 128.0, "{us} became {told}");
    }
}

#[test]
fn buckets_follow_each_other_without_gap() {
    let mut before = bucket_of(1);
    for us in 2..200_000 {
        let bucket = bucket_of(us);
        assert!(bucket == before || bucket == before + 1, "{us}");
        before = bucket;
    }
    assert_eq!(bucket_of(MAX_US), 1_330);
}

#[test]
fn the_edges() {
    let empty = Histogram::default();
    assert_eq!(
        (empty.quantile(0.5), empty.min(), empty.max(), empty.count()),
        (None, None, None, 0)
    );
    let extremes = histogram_of(&[0, u32::MAX]);
    assert_eq!(extremes.min(), Some(1));
    assert!(extremes.max().unwrap().abs_diff(MAX_US) <= MAX_US / 128);
    for q in [0.0, -0.5, 1.1, f64::NAN] {
        assert_eq!(extremes.quantile(q), None, "{q}");
    }
    assert_eq!(extremes.quantile(f64::MIN_POSITIVE), Some(1));
    let mut full = Histogram::default();
    full.record_n(10, u64::MAX);
    full.record_n(10, 5);
    full.record_n(10, 0);
    full.merge(&full.clone());
    assert_eq!(
        full.count(),
        u64::MAX,
        "counts stop at the end, they do not wrap"
    );
}

#[test]
fn it_is_small() {
    // 100 RTTs around 20 ms: `docs/design/rollup.md` has the figure.
    let values: Vec<u32> = (0..100).map(|n| 18_000 + n * 40).collect();
    assert!(histogram_of(&values).to_bytes().len() <= 80);
    assert_eq!(histogram_of(&[10_000]).to_bytes().len(), 4);
    assert_eq!(Histogram::default().to_bytes(), [0]);
}

proptest! {
    #[test]
    fn a_quantile_of_merged_ones_is_that_of_the_union(
        parts in vec(values(0..40), 1..8),
        q in 0.001f64..=1.0,
    ) {
        let histograms: Vec<_> = parts.iter().map(|part| histogram_of(part)).collect();
        let told = merged(&histograms.iter().collect::<Vec<_>>()).quantile(q);
        let mut union: Vec<u32> = parts.concat().into_iter().map(|us| us.clamp(MIN_US, MAX_US)).collect();
        union.sort_unstable();
        let rank = rank_of(q, union.len() as u64);
        let exact = union.get(usize::try_from(rank).unwrap().saturating_sub(1));
        prop_assert_eq!(told.is_some(), exact.is_some());
        if let (Some(told), Some(exact)) = (told, exact) {
            let bound = f64::from(*exact) / 128.0;
            prop_assert!((f64::from(told) - f64::from(*exact)).abs() <= bound, "{} for {}", told, exact);
        }
    }

    #[test]
    fn merging_is_associative_and_commutative(a in histograms(), b in histograms(), c in histograms()) {
        let left = merged(&[&merged(&[&a, &b]), &c]);
        prop_assert_eq!(&left, &merged(&[&a, &merged(&[&b, &c])]));
        prop_assert_eq!(&left, &merged(&[&c, &b, &a]));
        prop_assert_eq!(left.count(), a.count() + b.count() + c.count());
    }

    #[test]
    fn order_and_grouping_of_values_do_not_matter(values in values(0..200), cut in 0usize..200) {
        let (left, right) = values.split_at(cut.min(values.len()));
        let one = histogram_of(&values);
        prop_assert_eq!(&merged(&[&histogram_of(right), &histogram_of(left)]), &one);
        prop_assert_eq!(one.count(), values.len() as u64);
    }

    #[test]
    fn bytes_round_trip(histogram in histograms()) {
        prop_assert_eq!(Histogram::from_bytes(&histogram.to_bytes()), Ok(histogram));
    }

    #[test]
    fn any_bytes_are_a_histogram_or_an_error(bytes in vec(any::<u8>(), 0..200)) {
        if let Ok(histogram) = Histogram::from_bytes(&bytes) {
            prop_assert_eq!(Histogram::from_bytes(&histogram.to_bytes()), Ok(histogram));
        }
    }

    #[test]
    fn damaged_bytes_never_panic(histogram in histograms(), at in any::<prop::sample::Index>(), flip in 1u8..=255) {
        let mut bytes = histogram.to_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(other) = Histogram::from_bytes(&bytes) {
            other.quantile(0.5);
            prop_assert!(other != histogram);
        }
        prop_assert!(Histogram::from_bytes(&bytes[..at]).is_err(), "a shorter form is never whole");
    }

    #[test]
    fn a_spread_weighs_the_same_whatever_it_spreads(histogram in histograms()) {
        let spread = histogram.spread();
        prop_assert_eq!(spread.count(), if histogram.is_empty() { 0 } else { AGENT_WEIGHT });
        // Each bucket is within one unit of its share.
        for (bucket, count) in &histogram.buckets {
            let weight = spread.buckets.iter().find(|(other, _)| other == bucket).map_or(0, |(_, weight)| *weight);
            let share = u128::from(*count) * u128::from(AGENT_WEIGHT) / u128::from(histogram.count());
            prop_assert!(u128::from(weight).abs_diff(share) <= 1);
        }
    }
}

proptest! {
    #[test]
    fn buckets_of_many_are_those_of_each(
        mut values in vec(prop_oneof![0u32..300, 0u32..1 << 24, any::<u32>()], 0..100),
        small in any::<bool>(),
    ) {
        if small {
            values.retain(|us| *us < 1 << 24);
            values.extend((0..24).flat_map(|shift| [(1 << shift) - 1, 1 << shift, (1 << shift) + 1]));
            values.retain(|us| *us < 1 << 24);
        }
        let mut found = vec![7];
        buckets_of(&values, &mut found);
        let want: Vec<u16> = std::iter::once(7).chain(values.iter().map(|us| bucket_of(*us))).collect();
        prop_assert_eq!(found, want);
    }
}
