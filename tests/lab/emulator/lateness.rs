//! How late frames left, against when they were due: the emulator's own error. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Width of a bucket.
const STEP_US: u64 = 5;
/// Buckets up to 10 ms; what is later counts in the last one.
const BUCKETS: usize = 2_000;

/// Counts of frames by lateness.
#[derive(Clone, Debug)]
pub(crate) struct Lateness {
    buckets: Vec<u64>,
    count: u64,
    max_us: u64,
}

/// The emulator's own error, per crossing of one link.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct LatenessReport {
    /// Frames that left.
    pub frames: u64,
    /// Half left at most this late.
    pub p50_us: u64,
    /// 99 of 100 left at most this late.
    pub p99_us: u64,
    /// The latest of all.
    pub max_us: u64,
}

impl Lateness {
    /// Nothing counted yet.
    pub(crate) fn new() -> Self {
        Self {
            buckets: vec![0; BUCKETS],
            count: 0,
            max_us: 0,
        }
    }

    /// Books one frame.
    pub(crate) fn book(&mut self, late: Duration) {
        let late_us = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
        let index = usize::try_from(late_us / STEP_US)
            .unwrap_or(usize::MAX)
            .min(BUCKETS - 1);
        if let Some(bucket) = self.buckets.get_mut(index) {
            *bucket += 1;
        }
        self.count += 1;
        self.max_us = self.max_us.max(late_us);
    }

    /// What was counted.
    pub(crate) fn report(&self) -> LatenessReport {
        LatenessReport {
            frames: self.count,
            p50_us: self.quantile_us(50),
            p99_us: self.quantile_us(99),
            max_us: self.max_us,
        }
    }

    fn quantile_us(&self, percent: u64) -> u64 {
        let wanted = self.count * percent / 100;
        let mut seen = 0;
        let upper_edges = (1..).map(|index: u64| index * STEP_US);
        // The last bucket has no upper edge but the latest frame of all.
        for (bucket, edge_us) in self.buckets.iter().zip(upper_edges).take(BUCKETS - 1) {
            seen += bucket;
            if seen > wanted {
                return edge_us.min(self.max_us);
            }
        }
        self.max_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_upper_edges() {
        let mut lateness = Lateness::new();
        for late_us in [1, 2, 3, 4, 5, 6, 7, 8, 9, 40_000] {
            lateness.book(Duration::from_micros(late_us));
        }
        let report = lateness.report();
        assert_eq!(
            (report.frames, report.p50_us, report.p99_us, report.max_us),
            (10, 10, 40_000, 40_000)
        );
    }
}
