//! Whether a pulse was the first packet to its destination after a pause: then the first hop's address may have been looked
//! for, which is in a time that this program stamps and not in one of the kernel.
//!
//! Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use firstmile_wire::v1::Mark;

use super::{Clock, Marks, Measured};

/// Neighbour caches trust an address for about so long after it was last heard of.
const REACHABLE: Duration = Duration::from_secs(30);

/// Destinations remembered; beyond it the one that was probed longest ago is forgotten.
const MAX_DESTINATIONS: usize = 16;

/// The pulses of one target.
#[derive(Debug)]
pub(crate) struct Pauses {
    pause: Duration,
    pulses: BTreeMap<IpAddr, Pulses>,
}

#[derive(Clone, Copy, Debug)]
struct Pulses {
    newest: Instant,
    /// The first one after the last pause.
    first: Instant,
}

impl Pauses {
    /// Of pulses in this rhythm: what is no longer than two of its intervals is no pause.
    pub(crate) fn new(pulse_interval: Duration) -> Self {
        Self {
            pause: REACHABLE.max(pulse_interval.saturating_mul(2)),
            pulses: BTreeMap::new(),
        }
    }

    /// Books a pulse that was sent then.
    pub(crate) fn on_pulse(&mut self, destination: IpAddr, at: Instant) {
        if let Some(pulses) = self.pulses.get_mut(&destination) {
            if at.saturating_duration_since(pulses.newest) > self.pause {
                pulses.first = at;
            }
            pulses.newest = pulses.newest.max(at);
            return;
        }
        if self.pulses.len() >= MAX_DESTINATIONS {
            let oldest = self.pulses.iter().min_by_key(|(_, pulses)| pulses.newest);
            if let Some(oldest) = oldest.map(|(destination, _)| *destination) {
                self.pulses.remove(&oldest);
            }
        }
        let (newest, first) = (at, at);
        self.pulses.insert(destination, Pulses { newest, first });
    }

    /// The marks of a sample of this time, with those that it has.
    pub(crate) fn mark(
        &self,
        destination: Option<IpAddr>,
        at: Instant,
        measured: Measured,
        marks: Marks,
    ) -> Marks {
        let pulses = destination.and_then(|destination| self.pulses.get(&destination));
        let is_first = pulses.is_some_and(|pulses| pulses.first == at);
        if is_first && measured.clock == Clock::User && measured.outcome.rtt().is_some() {
            marks.with(Mark::AfterIdle)
        } else {
            marks
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Outcome;

    const SECOND: Duration = Duration::from_secs(1);
    const RTT: Duration = Duration::from_millis(20);

    fn address(last: u8) -> IpAddr {
        IpAddr::from([203, 0, 113, last])
    }

    /// Whether each of these pulses, in seconds, is marked.
    fn marked(pauses: &mut Pauses, measured: Measured, seconds: &[u32]) -> Vec<bool> {
        let start = crate::clock::now();
        let times = seconds.iter().map(|seconds| start + SECOND * *seconds);
        times
            .map(|at| {
                pauses.on_pulse(address(1), at);
                let marks = pauses.mark(Some(address(1)), at, measured, Marks::default());
                marks.has(Mark::AfterIdle)
            })
            .collect()
    }

    #[test]
    fn the_first_user_clock_time_after_a_pause_is_marked() {
        let user = Measured::from(Outcome::Answered(RTT));
        for (name, interval, measured, want) in [
            ("user clock", 5, user, [true, false, false, true, false]),
            ("a slow plan", 60, user, [true, false, false, false, false]),
            (
                "kernel clock",
                5,
                Measured::kernel(Outcome::Answered(RTT)),
                [false; 5],
            ),
            ("no time", 5, Outcome::Timeout.into(), [false; 5]),
        ] {
            let mut pauses = Pauses::new(SECOND * interval);
            let got = marked(&mut pauses, measured, &[0, 5, 35, 66, 71]);
            assert_eq!(got, want, "{name}");
        }
    }

    #[test]
    fn destinations_are_bounded_and_the_stalest_goes_first() {
        let start = crate::clock::now();
        let mut pauses = Pauses::new(SECOND);
        for number in 0..100 {
            pauses.on_pulse(address(number), start + SECOND * number.into());
        }
        assert_eq!(pauses.pulses.len(), MAX_DESTINATIONS);
        assert!(pauses.pulses.contains_key(&address(99)));
    }
}
