//! When to leave an identifier. Pure.
//!
//! A firewall keeps a session for each (source, destination, identifier); one that wedges swallows every echo for as long as
//! the identifier stays. So losses in a row to a destination that used to answer are reason to change it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// Losses in a row that are reason to change: at a probe each 5 s, half a minute of silence.
const LOSSES: u32 = 6;
/// Least time between changes: in it, a change shows whether it helped.
const PAUSE: Duration = Duration::from_mins(1);
/// Changes for one destination until it answers again: beyond, it is the destination that is silent.
const ATTEMPTS: u32 = 3;
/// Destinations remembered at most; more than that many are not probed by one agent.
const DESTINATIONS: usize = 4_096;

/// Losses in a row by destination, and when the identifier last changed.
#[derive(Debug, Default)]
pub struct Rotation {
    silent: BTreeMap<IpAddr, Silence>,
    changed: Option<Duration>,
}

#[derive(Debug, Default)]
struct Silence {
    losses: u32,
    attempts: u32,
}

impl Rotation {
    /// Books an answer: from now on this destination is known to answer.
    pub fn answered(&mut self, destination: IpAddr) {
        if self.silent.len() < DESTINATIONS || self.silent.contains_key(&destination) {
            self.silent.insert(destination, Silence::default());
        }
    }

    /// Books a loss. Says whether to change the identifier now.
    pub fn lost(&mut self, destination: IpAddr, now: Duration) -> bool {
        let Some(silence) = self.silent.get_mut(&destination) else {
            return false;
        };
        silence.losses = silence.losses.saturating_add(1);
        let rested = self
            .changed
            .is_none_or(|changed| now.saturating_sub(changed) >= PAUSE);
        if silence.losses < LOSSES || silence.attempts >= ATTEMPTS || !rested {
            return false;
        }
        *silence = Silence {
            losses: 0,
            attempts: silence.attempts + 1,
        };
        self.changed = Some(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const TARGET: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    /// Seconds at which losses, one each second, are reason to change.
    fn changes(rotation: &mut Rotation, seconds: std::ops::Range<u32>) -> Vec<u32> {
        seconds
            .filter(|second| rotation.lost(TARGET, SECOND * *second))
            .collect()
    }

    #[test]
    fn silence_of_one_that_answered_changes_the_identifier_a_few_times() {
        let mut rotation = Rotation::default();
        rotation.answered(TARGET);
        assert_eq!(changes(&mut rotation, 0..1_000), [5, 65, 125]);
        rotation.answered(TARGET);
        assert_eq!(changes(&mut rotation, 1_000..1_010), [1_005]);
    }

    #[test]
    fn one_that_never_answered_changes_nothing() {
        assert!(changes(&mut Rotation::default(), 0..1_000).is_empty());
    }

    #[test]
    fn an_answer_ends_the_row() {
        let mut rotation = Rotation::default();
        for second in 0..100 {
            rotation.answered(TARGET);
            assert!(changes(&mut rotation, second * 5..second * 5 + 5).is_empty());
        }
    }
}
