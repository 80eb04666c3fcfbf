//! A cap on path packets of the whole process, whatever plan, triggers and faults ask for.
//!
//! Pure. A token bucket: 20 targets with 8 flows of 14 hops each minute need 37 packets a second, a burst of five targets
//! 112; the cap is above both and below what a router's control plane would notice. Two families double that, and first
//! rounds, whose length nobody knows, cost the most: what is refused therefore queues, and whoever asks later leaves
//! enough for those before. So each destination gets its turn, IPv6 as IPv4, the last target as the first.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Packets a second in the long run.
const PER_SECOND: u32 = 150;

/// Packets at once: first rounds of five destinations, 8 flows of 30 TTLs each.
const AT_ONCE: u32 = 1200;

/// A destination that has not asked again for so long is no longer waited for: it asks each `trace_interval`, a minute.
const PATIENCE: Duration = Duration::from_secs(90);

/// Destinations that can wait: both families of 20 targets.
const MAX_WAITING: usize = 40;

#[derive(Debug)]
struct Waiting {
    destination: IpAddr,
    packets: u32,
    asked: Instant,
}

/// The bucket.
#[derive(Debug)]
pub(crate) struct HopBudget {
    left: f64,
    at: Instant,
    /// Who was refused and not served since, in the order of the first refusal.
    waiting: VecDeque<Waiting>,
}

impl HopBudget {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            left: f64::from(AT_ONCE),
            at: now,
            waiting: VecDeque::new(),
        }
    }

    /// Takes `packets` for a round to `destination` out, or says that they cannot be had now.
    pub(crate) fn take(&mut self, destination: IpAddr, packets: u32, now: Instant) -> bool {
        self.fill(now);
        self.waiting
            .retain(|waiting| now.saturating_duration_since(waiting.asked) < PATIENCE);
        let place = (self.waiting.iter()).position(|waiting| waiting.destination == destination);
        let before = place.unwrap_or(self.waiting.len());
        let reserved: u32 = (self.waiting.iter().take(before))
            .map(|waiting| waiting.packets)
            .sum();
        // Those before cannot have more than the bucket holds; the rest of a full one is anybody's.
        let reserved = reserved.min(AT_ONCE.saturating_sub(packets));
        if self.left >= f64::from(packets) + f64::from(reserved) {
            self.left -= f64::from(packets);
            if let Some(place) = place {
                self.waiting.remove(place);
            }
            return true;
        }
        self.queue(place, destination, packets, now);
        false
    }

    fn queue(&mut self, place: Option<usize>, to: IpAddr, packets: u32, now: Instant) {
        let waiting = Waiting {
            destination: to,
            packets,
            asked: now,
        };
        if let Some(place) = place {
            if let Some(old) = self.waiting.get_mut(place) {
                *old = waiting;
            }
        } else if self.waiting.len() < MAX_WAITING {
            self.waiting.push_back(waiting);
        }
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.left = (self.left + passed * f64::from(PER_SECOND)).min(f64::from(AT_ONCE));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn destination(last: u8) -> IpAddr {
        IpAddr::from([203, 0, 113, last])
    }

    proptest! {
        #[test]
        fn no_second_gets_more_than_the_cap(asks in prop::collection::vec((0u64..500, 0u8..50, 1u32..300), 1..200)) {
            let start = crate::clock::now();
            let mut budget = HopBudget::new(start);
            let (mut at_ms, mut granted) = (0_u64, 0_u64);
            for (wait_ms, to, packets) in asks {
                at_ms += wait_ms;
                if budget.take(destination(to), packets, start + Duration::from_millis(at_ms)) {
                    granted += u64::from(packets);
                }
                prop_assert!(granted <= u64::from(AT_ONCE) + at_ms * u64::from(PER_SECOND) / 1000 + 1);
                prop_assert!(budget.waiting.len() <= MAX_WAITING);
            }
        }
    }

    #[test]
    fn a_bucket_fills_again() {
        let start = crate::clock::now();
        let mut budget = HopBudget::new(start);
        assert!(budget.take(destination(1), AT_ONCE, start));
        assert!(!budget.take(destination(1), 1, start));
        assert!(budget.take(destination(1), PER_SECOND, start + Duration::from_secs(1)));
    }

    #[test]
    fn who_was_refused_comes_before_who_was_served() {
        let start = crate::clock::now();
        let mut budget = HopBudget::new(start);
        assert!(budget.take(destination(1), AT_ONCE, start));
        assert!(!budget.take(destination(2), 200, start));
        let later = start + Duration::from_secs(2);
        assert!(
            !budget.take(destination(1), 200, later),
            "200 of 300 are promised"
        );
        assert!(budget.take(destination(2), 200, later));
        assert!(!budget.take(destination(3), 200, later));
        // Who never comes back is not waited for.
        let much_later = later + PATIENCE;
        assert!(budget.take(destination(4), AT_ONCE, much_later));
    }

    /// Rounds that each destination gets out of a burst at start: both families of `targets`, asked in the same order in
    /// each of `rounds` turns. A first round is as long as can be, a later one 14 hops.
    fn served(targets: u8, rounds: u64) -> BTreeMap<IpAddr, u32> {
        let start = crate::clock::now();
        let mut budget = HopBudget::new(start);
        let all = (0..targets * 2).map(destination);
        let mut served: BTreeMap<IpAddr, u32> = all.map(|to| (to, 0)).collect();
        for round in 0..rounds {
            let now = start + Duration::from_secs(5 * round);
            for (to, count) in &mut served {
                let packets = if *count == 0 { 8 * 30 } else { 8 * 14 };
                *count += u32::from(budget.take(*to, packets, now));
            }
        }
        served
    }

    #[test]
    fn both_families_of_five_targets_get_rounds_of_the_first_burst() {
        let served = served(5, 4);
        assert!(served.values().all(|count| *count >= 1), "{served:?}");
    }

    #[test]
    fn twenty_targets_starve_none() {
        let served = served(20, 24);
        let (least, most) = (served.values().min(), served.values().max());
        assert!(least >= Some(&1), "{served:?}");
        assert!(most <= least.map(|least| least + 2).as_ref(), "{served:?}");
    }
}
