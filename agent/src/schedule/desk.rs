//! Which target may burst: one at a time for each way into Microsoft's network.
//!
//! Pure. Targets that leave the provider by one handoff see the same event there at the same moment; bursts of all of them
//! at once would ask its routers more often than they answer, and tell nothing more. The others wait for their turn.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// A burst is over after this, whatever became of it: twelve rounds at the longest sensible spacing.
const LONGEST: Duration = Duration::from_mins(5);

/// Who bursts at which handoff.
#[derive(Debug, Default)]
pub(crate) struct BurstDesk {
    /// By handoff: the target, and when it began. No more entries than targets.
    held: BTreeMap<IpAddr, (usize, Instant)>,
}

impl BurstDesk {
    /// Asks for the turn of `target` at `handoff`.
    pub(crate) fn enter(&mut self, handoff: IpAddr, target: usize, now: Instant) -> bool {
        self.held.retain(|_, (holder, since)| {
            *holder != target && now.saturating_duration_since(*since) < LONGEST
        });
        if self.held.contains_key(&handoff) {
            return false;
        }
        self.held.insert(handoff, (target, now));
        true
    }

    /// The burst of `target` is over.
    pub(crate) fn leave(&mut self, target: usize) {
        self.held.retain(|_, (holder, _)| *holder != target);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_target_bursts_at_a_handoff_and_the_next_one_after_it() {
        let start = crate::clock::now();
        let (here, there) = (
            IpAddr::from([198, 51, 100, 1]),
            IpAddr::from([198, 51, 100, 2]),
        );
        let mut desk = BurstDesk::default();
        assert!(desk.enter(here, 0, start));
        assert!(!desk.enter(here, 1, start), "somebody is at it");
        assert!(desk.enter(there, 2, start), "another handoff");
        desk.leave(0);
        assert!(desk.enter(here, 1, start));
        assert!(
            desk.enter(there, 1, start + LONGEST),
            "what never ended is forgotten"
        );
        assert!(
            desk.enter(here, 0, start + LONGEST),
            "a target holds one turn"
        );
    }
}
