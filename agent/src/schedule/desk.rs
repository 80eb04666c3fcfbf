//! Which targets may burst: [`AT_ONCE`] at a time for each way into Microsoft's network.
//!
//! Pure. Targets that leave the provider by one handoff see the same event there at the same moment; bursts of all of them
//! at once would ask its routers more often than they answer, and none would be done before all are. Two share the interval
//! between two rounds, with fewer flows each; the others wait for their turn.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// A burst is over after this, whatever became of it: twelve rounds at the longest sensible spacing.
const LONGEST: Duration = Duration::from_mins(5);

/// Targets that burst at one handoff at a time.
const AT_ONCE: usize = 2;

/// What a target asks for before a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// To begin a burst.
    Burst,
    /// To look in the course of things.
    Look,
}

/// A target by one of the ways out of the machine: its place, and that of the way out.
pub(crate) type Watcher = (usize, u16);

/// Who bursts at which handoff.
#[derive(Debug, Default)]
pub(crate) struct BurstDesk {
    /// By handoff: the targets, and when they began. No more entries than targets by all their ways out.
    held: BTreeMap<IpAddr, Vec<(Watcher, Instant)>>,
    /// Handoffs where a change was found, and when. No more entries than handoffs of all targets.
    changed: BTreeMap<IpAddr, Instant>,
}

/// What a burst found is news for the other targets of its handoff for so long.
const NEWS: Duration = Duration::from_mins(2);

impl BurstDesk {
    /// Whether `target` may do what it asks for at `handoff`.
    pub(crate) fn permit(
        &mut self,
        ask: Ask,
        handoff: IpAddr,
        target: Watcher,
        now: Instant,
    ) -> bool {
        match ask {
            Ask::Burst => self.enter(handoff, target, now),
            Ask::Look => self.may_look(handoff, target, now),
        }
    }

    /// Asks for the turn of `target` at `handoff`.
    fn enter(&mut self, handoff: IpAddr, target: Watcher, now: Instant) -> bool {
        self.forget(|(holder, since)| {
            *holder == target || now.saturating_duration_since(*since) >= LONGEST
        });
        let holders = self.held.entry(handoff).or_default();
        if holders.len() >= AT_ONCE {
            return false;
        }
        holders.push((target, now));
        true
    }

    /// Whether `target` may look at `handoff` in the course of things: not while others burst there, who see the same and need
    /// all that the routers answer.
    fn may_look(&self, handoff: IpAddr, target: Watcher, now: Instant) -> bool {
        self.held.get(&handoff).is_none_or(|holders| {
            holders.iter().any(|(holder, _)| *holder == target)
                || holders
                    .iter()
                    .all(|(_, since)| now.saturating_duration_since(*since) >= LONGEST)
        })
    }

    /// Whether several targets burst at `handoff` and have to share what its routers answer.
    pub(crate) fn is_shared(&self, handoff: IpAddr) -> bool {
        self.held
            .get(&handoff)
            .is_some_and(|holders| holders.len() > 1)
    }

    /// The burst of `target` is over; it `found` a change or not.
    pub(crate) fn leave(&mut self, target: Watcher, found: bool, now: Instant) {
        self.changed
            .retain(|_, at| now.saturating_duration_since(*at) < NEWS);
        for (handoff, holders) in &self.held {
            if found && holders.iter().any(|(holder, _)| *holder == target) {
                self.changed.insert(*handoff, now);
            }
        }
        self.forget(|(holder, _)| *holder == target);
    }

    fn forget(&mut self, is_over: impl Fn(&(Watcher, Instant)) -> bool) {
        for holders in self.held.values_mut() {
            holders.retain(|held| !is_over(held));
        }
        self.held.retain(|_, holders| !holders.is_empty());
    }

    /// A round has found that most flows of a target moved at `handoff`: its other targets look as well, before any burst is over.
    pub(crate) fn tell(&mut self, handoff: IpAddr, now: Instant) {
        self.changed
            .retain(|_, at| now.saturating_duration_since(*at) < NEWS);
        self.changed.insert(handoff, now);
    }

    /// When a change was last found at `handoff`: its other targets do not wait for rounds of their own to see it.
    pub(crate) fn news(&self, handoff: IpAddr, now: Instant) -> Option<Instant> {
        let at = self.changed.get(&handoff).copied();
        at.filter(|at| now.saturating_duration_since(*at) < NEWS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_targets_burst_at_a_handoff_and_the_next_one_after_them() {
        let start = crate::clock::now();
        let (here, there) = (
            IpAddr::from([198, 51, 100, 1]),
            IpAddr::from([198, 51, 100, 2]),
        );
        let mut desk = BurstDesk::default();
        assert!(desk.enter(here, (0, 0), start));
        assert!(!desk.is_shared(here));
        assert!(desk.enter(here, (1, 0), start));
        assert!(desk.is_shared(here) && !desk.is_shared(there));
        assert!(!desk.enter(here, (2, 0), start), "two are at it");
        assert!(desk.enter(there, (3, 0), start), "another handoff");
        assert!(
            !desk.may_look(here, (2, 0), start),
            "the bursts need the routers"
        );
        assert!(desk.may_look(here, (0, 0), start) && desk.may_look(there, (3, 0), start));
        assert_eq!(desk.news(here, start), None);
        desk.leave((0, 0), true, start);
        assert_eq!(desk.news(here, start), Some(start), "others look at once");
        assert_eq!(desk.news(there, start), None);
        assert!(!desk.may_look(here, (2, 0), start), "one is still at it");
        assert!(desk.enter(here, (2, 0), start));
        desk.leave((1, 0), false, start);
        desk.leave((2, 0), false, start);
        assert!(desk.may_look(here, (0, 0), start));
        assert!(
            desk.enter(there, (1, 0), start + LONGEST)
                && desk.enter(there, (2, 0), start + LONGEST),
            "what never ended is forgotten"
        );
        assert!(
            desk.enter(here, (1, 0), start + LONGEST) && !desk.is_shared(there),
            "a target holds one turn"
        );
    }

    #[test]
    fn the_same_target_by_another_way_out_takes_a_turn_of_its_own() {
        let start = crate::clock::now();
        let here = IpAddr::from([198, 51, 100, 1]);
        let mut desk = BurstDesk::default();
        assert!(desk.enter(here, (0, 0), start));
        assert!(desk.enter(here, (0, 1), start));
        assert!(!desk.enter(here, (1, 1), start), "the same routers");
        desk.leave((1, 1), false, start);
        assert!(!desk.enter(here, (1, 0), start), "both burst on");
        desk.leave((0, 0), false, start);
        assert!(desk.is_shared(here) || desk.enter(here, (1, 1), start));
        assert!(!desk.enter(here, (2, 0), start));
    }
}
