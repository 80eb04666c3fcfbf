//! Whether the machine is in another network than the one it usually is in.
//!
//! Pure. A network is known by a keyed hash of what [`super::nearby`] finds. Two kinds of machines are told apart by what they
//! did. One that has never come back to a network that it had left stays where it is put: a new network becomes its usual one
//! after [`SETTLE`] (a router was replaced, the machine was moved). One that has come back travels: its usual network is the
//! one in which it spent most of its time, old time counting half after [`HALF_LIFE`], and another one has to have half as
//! much again to take its place. A network counts once it was seen twice in a row, so that one odd look changes nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Time in a new network after which a machine that does not travel is taken to have moved.
pub(crate) const SETTLE: Duration = Duration::from_hours(1);

/// Time after which time spent counts half.
pub(crate) const HALF_LIFE: Duration = Duration::from_hours(14 * 24);

/// Looks farther apart than this tell nothing of the time between: the machine slept, or did not run.
const LONGEST_LOOK: Duration = Duration::from_mins(5);

/// Networks remembered; beyond it the one with the least time is forgotten.
const MAX_NETWORKS: usize = 8;

/// Another network takes the place of the usual one with more than three halves of its time.
const LEAD: f64 = 1.5;

/// A network, named by a keyed hash of what it is known by.
pub(crate) type NetworkId = [u8; 8];

/// A network that the machine was in, and for how long, old time counting less.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Stay {
    network: NetworkId,
    seconds: f64,
}

/// What is remembered of where the machine was.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Whereabouts {
    stays: Vec<Stay>,
    usual: Option<NetworkId>,
    travels: bool,
    /// The network that the machine is in, seen twice in a row.
    current: Option<NetworkId>,
    /// Seconds in the current one since it was entered.
    here_seconds: f64,
    #[serde(skip)]
    candidate: Option<NetworkId>,
}

impl Whereabouts {
    /// Books that the machine is in `network`, `since_last` after the last look. A look that could not tell changes nothing.
    pub(crate) fn observe(&mut self, network: Option<NetworkId>, since_last: Duration) {
        let Some(network) = network else {
            return;
        };
        if self.current != Some(network) {
            let is_confirmed =
                self.current.is_none() || self.candidate.replace(network) == Some(network);
            if !is_confirmed {
                return;
            }
            self.enter(network);
        }
        self.candidate = None;
        self.spend(network, since_last.min(LONGEST_LOOK));
        self.settle(network);
    }

    /// Whether the machine is in another network than its usual one.
    pub(crate) fn is_roaming(&self) -> bool {
        self.current.is_some() && self.current != self.usual
    }

    /// The network that the machine is in.
    pub(crate) const fn current(&self) -> Option<NetworkId> {
        self.current
    }

    fn enter(&mut self, network: NetworkId) {
        self.travels |= self.seconds_in(network).is_some();
        self.current = Some(network);
        self.here_seconds = 0.0;
        if self.seconds_in(network).is_none() {
            self.make_room();
            self.stays.push(Stay {
                network,
                seconds: 0.0,
            });
        }
    }

    /// Forgets the network with the least time, but never the usual one.
    fn make_room(&mut self) {
        while self.stays.len() >= MAX_NETWORKS {
            let least = (self.stays.iter().enumerate())
                .filter(|(_, stay)| Some(stay.network) != self.usual)
                .min_by(|(_, left), (_, right)| left.seconds.total_cmp(&right.seconds))
                .map(|(place, _)| place);
            let Some(least) = least else { return };
            self.stays.remove(least);
        }
    }

    fn spend(&mut self, network: NetworkId, time: Duration) {
        let left = (-time.as_secs_f64() / HALF_LIFE.as_secs_f64()).exp2();
        for stay in &mut self.stays {
            stay.seconds *= left;
            if stay.network == network {
                stay.seconds += time.as_secs_f64();
            }
        }
        self.here_seconds += time.as_secs_f64();
    }

    fn settle(&mut self, network: NetworkId) {
        let has_moved = !self.travels && self.here_seconds >= SETTLE.as_secs_f64();
        if self.usual.is_none() || has_moved {
            self.usual = Some(network);
        }
        if self.travels {
            let of_usual = self.usual.and_then(|usual| self.seconds_in(usual));
            if self.seconds_in(network) > of_usual.map(|seconds| seconds * LEAD) {
                self.usual = Some(network);
            }
        }
    }

    fn seconds_in(&self, network: NetworkId) -> Option<f64> {
        let found = self.stays.iter().find(|stay| stay.network == network);
        found.map(|stay| stay.seconds)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LOOK: Duration = Duration::from_mins(1);
    const OFFICE: NetworkId = [1; 8];
    const HOME: NetworkId = [2; 8];

    fn stay(whereabouts: &mut Whereabouts, network: NetworkId, hours: u64) {
        for _ in 0..hours * 60 {
            whereabouts.observe(Some(network), LOOK);
        }
    }

    #[test]
    fn a_machine_that_stays_is_at_home_at_once_and_moves_once() {
        let mut machine = Whereabouts::default();
        machine.observe(Some(OFFICE), LOOK);
        assert!(!machine.is_roaming(), "the first network is its own");
        stay(&mut machine, OFFICE, 400);
        // The router is replaced: an hour later it is the usual one.
        machine.observe(Some(HOME), LOOK);
        assert!(!machine.is_roaming(), "one look is not believed");
        machine.observe(Some(HOME), LOOK);
        assert!(machine.is_roaming());
        stay(&mut machine, HOME, 1);
        assert!(!machine.is_roaming());
    }

    #[test]
    fn a_machine_that_travels_is_at_home_where_it_mostly_is() {
        let mut laptop = Whereabouts::default();
        for _ in 0..3 {
            stay(&mut laptop, OFFICE, 9);
            stay(&mut laptop, HOME, 5);
        }
        assert!(laptop.is_roaming(), "it mostly is in the office");
        stay(&mut laptop, OFFICE, 1);
        assert!(!laptop.is_roaming());
        stay(&mut laptop, [3; 8], 10);
        assert!(laptop.is_roaming(), "a hotel, however long the night");
    }

    #[test]
    fn a_network_that_cannot_be_told_changes_nothing() {
        let mut machine = Whereabouts::default();
        machine.observe(None, LOOK);
        assert!(!machine.is_roaming() && machine.current().is_none());
        stay(&mut machine, OFFICE, 1);
        machine.observe(None, LOOK);
        machine.observe(Some(HOME), LOOK);
        machine.observe(Some(OFFICE), LOOK);
        machine.observe(Some(HOME), LOOK);
        assert_eq!(
            machine.current(),
            Some(OFFICE),
            "odd looks are not two in a row"
        );
    }

    #[test]
    fn what_is_remembered_survives_a_restart() {
        let mut laptop = Whereabouts::default();
        stay(&mut laptop, OFFICE, 9);
        stay(&mut laptop, HOME, 2);
        stay(&mut laptop, OFFICE, 9);
        let kept = serde_json::to_vec(&laptop).expect("JSON");
        let mut again: Whereabouts = serde_json::from_slice(&kept).expect("JSON");
        assert_eq!(again, laptop);
        stay(&mut again, HOME, 5);
        assert!(again.is_roaming());
    }

    proptest! {
        #[test]
        fn one_network_is_never_roamed_in(looks in prop::collection::vec((prop::bool::ANY, 0u64..100_000), 1..200)) {
            let mut machine = Whereabouts::default();
            for (is_known, seconds) in looks {
                machine.observe(is_known.then_some(OFFICE), Duration::from_secs(seconds));
                prop_assert!(!machine.is_roaming());
            }
        }

        #[test]
        fn memory_is_bounded_and_the_usual_network_is_in_it(looks in prop::collection::vec((0u8..30, 0u64..5_000), 1..400)) {
            let mut machine = Whereabouts::default();
            for (network, seconds) in looks {
                machine.observe(Some([network; 8]), Duration::from_secs(seconds));
                prop_assert!(machine.stays.len() <= MAX_NETWORKS);
                let usual = machine.usual.expect("there is one from the first look on");
                prop_assert!(machine.seconds_in(usual).is_some());
                prop_assert!(machine.stays.iter().all(|stay| stay.seconds.is_finite() && stay.seconds >= 0.0));
            }
        }

        #[test]
        fn a_verdict_needs_two_looks(first in 0u8..5, odd in 0u8..5, count in 2usize..50) {
            let mut machine = Whereabouts::default();
            for _ in 0..count {
                machine.observe(Some([first; 8]), LOOK);
            }
            let before = machine.is_roaming();
            machine.observe(Some([odd; 8]), LOOK);
            prop_assert_eq!(machine.is_roaming(), before);
        }
    }
}
