//! What a move costs in RTT: medians before and after, and a 95 % interval of the change without assumptions.

use crate::api::types::RttCost;

/// RTTs kept of each side.
pub const KEPT: usize = 60;
/// With fewer on a side, nothing is compared: the interval of the median would be the whole range.
const LEAST: usize = 8;
/// Normal quantile of a two-sided 95 % interval.
const Z: f64 = 1.959_964;

/// Keeps an RTT among the newest.
pub(super) fn keep(kept: &mut Vec<u32>, rtt_us: u32) {
    if kept.len() >= KEPT {
        kept.remove(0);
    }
    kept.push(rtt_us);
}

/// The median; `None` without an RTT.
pub(super) fn median(rtts_us: &[u32]) -> Option<u32> {
    let sorted = sorted(rtts_us);
    sorted.get(sorted.len().saturating_sub(1) / 2).copied()
}

/// What it costs; `None` while there are too few RTTs on one side.
///
/// The interval of each median is that of order statistics at n times Wilson's interval of one half (Wilson 1927); the change
/// lies between the differences of their far ends, which is wider than 95 % needs.
pub fn cost(before_us: &[u32], after_us: &[u32]) -> Option<RttCost> {
    let before = Middle::of(before_us)?;
    let after = Middle::of(after_us)?;
    let change = |after: u32, before: u32| i64::from(after) - i64::from(before);
    Some(RttCost {
        before_us: before.median,
        after_us: after.median,
        change_us: change(after.median, before.median),
        change_low_us: change(after.low, before.high),
        change_high_us: change(after.high, before.low),
        n_before: u32::try_from(before_us.len()).unwrap_or(u32::MAX),
        n_after: u32::try_from(after_us.len()).unwrap_or(u32::MAX),
    })
}

struct Middle {
    low: u32,
    median: u32,
    high: u32,
}

impl Middle {
    fn of(rtts_us: &[u32]) -> Option<Self> {
        if rtts_us.len() < LEAST {
            return None;
        }
        let sorted = sorted(rtts_us);
        let (low, high) = ranks(sorted.len());
        let at = |rank: usize| sorted.get(rank.saturating_sub(1)).copied();
        Some(Self {
            low: at(low)?,
            median: median(&sorted)?,
            high: at(high)?,
        })
    }
}

fn sorted(rtts_us: &[u32]) -> Vec<u32> {
    let mut sorted = rtts_us.to_vec();
    sorted.sort_unstable();
    sorted
}

/// Ranks, from 1, between which the median lies.
fn ranks(count: usize) -> (usize, usize) {
    let n = u32::try_from(count).map_or(f64::from(u32::MAX), f64::from);
    let half = Z * (0.25 / n + Z * Z / (4.0 * n * n)).sqrt() / (1.0 + Z * Z / n);
    let rank = |share: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and the count"
        )]
        let rank = (n * share).ceil().max(1.0) as usize;
        rank.min(count)
    };
    (rank(0.5 - half), rank(0.5 + half))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_those_of_the_tables() {
        for (count, want) in [(20, (6, 15)), (60, (23, 38))] {
            assert_eq!(ranks(count), want, "{count}");
        }
    }

    #[test]
    fn a_change_is_told_with_its_interval_and_only_from_enough() {
        let before: Vec<u32> = (0..20).map(|index| 10_000 + index * 10).collect();
        let after: Vec<u32> = before.iter().map(|rtt_us| rtt_us + 7_000).collect();
        let told = cost(&before, &after).expect("enough on both sides");
        assert_eq!(told.change_us, 7_000);
        assert_eq!((told.change_low_us, told.change_high_us), (6_910, 7_090));
        assert_eq!((told.n_before, told.n_after), (20, 20));
        assert_eq!(cost(&before, &after[..7]), None);
        assert_eq!(cost(&[], &after), None);
    }

    #[test]
    fn the_newest_are_kept() {
        let mut kept = Vec::new();
        for rtt_us in 0..100 {
            keep(&mut kept, rtt_us);
        }
        assert_eq!(
            (kept.len(), kept.first(), kept.last()),
            (KEPT, Some(&40), Some(&99))
        );
    }
}
