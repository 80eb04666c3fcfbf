//! A cap on path packets of the whole process, whatever plan, triggers and faults ask for.
//!
//! Pure. A token bucket: 20 targets with 8 flows of 14 hops each minute need 37 packets a second, a burst of five targets
//! 112; the cap is above both and below what a router's control plane would notice.

use std::time::{Duration, Instant};

/// Packets a second in the long run.
const PER_SECOND: u32 = 150;

/// Packets at once: first rounds of five targets, 8 flows of 30 TTLs each.
const AT_ONCE: u32 = 1200;

/// The bucket.
#[derive(Debug)]
pub(crate) struct HopBudget {
    left: f64,
    at: Instant,
}

impl HopBudget {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            left: f64::from(AT_ONCE),
            at: now,
        }
    }

    /// Takes `packets` out, or says that they cannot be had now.
    pub(crate) fn take(&mut self, packets: u32, now: Instant) -> bool {
        let passed: Duration = now.saturating_duration_since(self.at);
        self.at = self.at.max(now);
        self.left =
            (self.left + passed.as_secs_f64() * f64::from(PER_SECOND)).min(f64::from(AT_ONCE));
        let enough = self.left >= f64::from(packets);
        if enough {
            self.left -= f64::from(packets);
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_second_gets_more_than_the_cap(asks in prop::collection::vec((0u64..500, 1u32..300), 1..200)) {
            let start = crate::clock::now();
            let mut budget = HopBudget::new(start);
            let (mut at_ms, mut granted) = (0_u64, 0_u64);
            for (wait_ms, packets) in asks {
                at_ms += wait_ms;
                if budget.take(packets, start + Duration::from_millis(at_ms)) {
                    granted += u64::from(packets);
                }
                prop_assert!(granted <= u64::from(AT_ONCE) + at_ms * u64::from(PER_SECOND) / 1000 + 1);
            }
        }
    }

    #[test]
    fn a_bucket_fills_again() {
        let start = crate::clock::now();
        let mut budget = HopBudget::new(start);
        assert!(budget.take(AT_ONCE, start));
        assert!(!budget.take(1, start));
        assert!(budget.take(PER_SECOND, start + Duration::from_secs(1)));
    }
}
