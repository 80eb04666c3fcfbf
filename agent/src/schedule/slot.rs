//! Moments at which packets of path rounds leave, a fifth of a second apart: those of several targets that fall due between
//! two of them share one wake-up of the processor, which costs more than the packets themselves.
//!
//! Pure. What has to be so far apart stays so: an interval of whole slots is one after the rounding as well, which the hop
//! budget wants. Pulses keep their own times: on a grid they would fall into step with the cycles of radio and cable links,
//! which is what they are Poisson for (RFC 2330 §11.1.1). A path is not a time, so rounds may be on one.

use std::time::{Duration, Instant};

/// From one slot to the next: far below every interval of a plan.
const SLOT: Duration = Duration::from_millis(200);

/// The slots of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slots {
    origin: Instant,
}

impl Slots {
    /// Slots that begin at `origin`.
    pub(crate) const fn new(origin: Instant) -> Self {
        Self { origin }
    }

    /// The first slot at which something is due that is due at `at`.
    pub(crate) fn at(self, at: Instant) -> Instant {
        let since = at.saturating_duration_since(self.origin);
        let into = since.as_nanos() % SLOT.as_nanos();
        let into = Duration::from_nanos(u64::try_from(into).unwrap_or(0));
        if into.is_zero() {
            at
        } else {
            at + SLOT.saturating_sub(into)
        }
    }

    /// The first slot that has not begun at `now`.
    pub(crate) fn after(self, now: Instant) -> Instant {
        let slot = self.at(now);
        if slot > now { slot } else { slot + SLOT }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nothing_begins_early_or_a_slot_late_and_distances_of_whole_slots_stay(
            first_us in 0u64..10_000_000_000, apart in 0u32..1_000,
        ) {
            let origin = crate::clock::now();
            let slots = Slots::new(origin);
            let first = origin + Duration::from_micros(first_us);
            let begun = slots.at(first);
            prop_assert!(begun >= first && begun < first + SLOT);
            prop_assert_eq!(slots.at(begun), begun, "a slot is its own");
            let after = slots.after(first);
            prop_assert!(after > first && after <= first + SLOT && slots.at(after) == after);
            let second = slots.at(first + SLOT * apart);
            prop_assert_eq!(second - begun, SLOT * apart);
        }
    }
}
