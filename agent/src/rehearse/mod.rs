//! `rehearse`: hours of the plan on a virtual clock, to state what it sends and how soon it confirms a change.
//!
//! Schedule, turns, rounds and hop budget are those of `run`; only the network and the clock are made up ([`network`]). It says
//! what a bench cannot wait for: the rates that routers see, and the delay of a burst with many targets.

mod network;
mod world;

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use crate::config::{Plan, Target};
use world::World;

/// What to rehearse.
pub(crate) struct Request {
    pub(crate) targets: usize,
    pub(crate) hours: u32,
    pub(crate) seed: u64,
    /// All targets get the probes of this one.
    pub(crate) target: Target,
    pub(crate) plan: Plan,
}

/// What the rehearsal showed. Times are seconds, rates are a second.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    targets: usize,
    hours: u32,
    seed: u64,
    /// Path packets, after learning.
    path_packets_per_s: f64,
    /// Path packets of the worst second.
    path_packets_per_s_max: u64,
    /// Pulses, questions, handshakes and requests begun.
    probes_per_s: f64,
    /// Packets that one router got within a second, at worst.
    hop_packets_per_s_max: u64,
    /// Until the last target had learnt its path.
    learning_s: f64,
    /// Between two looks at the stretch around the ingress, at worst, after learning.
    tail_gap_s_max: f64,
    /// Changes that were made, one ingress for all targets at once.
    changes: usize,
    /// From a change to the end of the third round that shows it, the one that raised the suspicion included, as the collector
    /// counts: the first target of each change.
    burst_delay_first_s: Spread,
    /// The same, over all targets that confirmed before the next change.
    burst_delay_s: Spread,
    /// Targets, of all at all changes, that confirmed before the next one.
    confirmed_ratio: f64,
    /// From a change to the first round that shows it, over all targets.
    first_seen_s: Spread,
}

/// Quantiles of times.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Spread {
    n: usize,
    p50: f64,
    p95: f64,
    max: f64,
}

impl Spread {
    fn of(times: impl IntoIterator<Item = Duration>) -> Self {
        let mut times: Vec<f64> = times.into_iter().map(|time| time.as_secs_f64()).collect();
        times.sort_by(f64::total_cmp);
        let at = |percent: usize| {
            let place = (times.len() * percent).div_ceil(100).saturating_sub(1);
            times.get(place).copied().unwrap_or(0.0)
        };
        Self {
            n: times.len(),
            p50: at(50),
            p95: at(95),
            max: at(100),
        }
    }
}

/// Rehearses.
pub(crate) fn rehearse(request: &Request) -> Report {
    World::new(request).run()
}

impl Report {
    /// For people.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        let spread = |spread: &Spread| {
            format!(
                "{:.1} / {:.1} / {:.1} s (n {})",
                spread.p50, spread.p95, spread.max, spread.n
            )
        };
        let lines = [
            ("targets", self.targets.to_string()),
            ("hours", self.hours.to_string()),
            (
                "path packets a second",
                format!(
                    "{:.2}, at most {}",
                    self.path_packets_per_s, self.path_packets_per_s_max
                ),
            ),
            ("other probes a second", format!("{:.2}", self.probes_per_s)),
            (
                "one router in a second",
                format!("at most {}", self.hop_packets_per_s_max),
            ),
            ("learning", format!("{:.0} s", self.learning_s)),
            (
                "longest without a tail",
                format!("{:.1} s", self.tail_gap_s_max),
            ),
            ("first seen, p50 / p95 / max", spread(&self.first_seen_s)),
            (
                "third round, first target",
                spread(&self.burst_delay_first_s),
            ),
            ("third round, all targets", spread(&self.burst_delay_s)),
            (
                "confirmed",
                format!("{:.1} %", 100.0 * self.confirmed_ratio),
            ),
        ];
        for (name, value) in lines {
            writeln!(text, "{name:<32} {value}").expect("a String takes everything");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(targets: usize) -> Report {
        let config = crate::config::built_in();
        rehearse(&Request {
            targets,
            hours: 1,
            seed: 7,
            target: config.targets.into_iter().next().expect("a target"),
            plan: config.plan,
        })
    }

    #[test]
    fn one_target_confirms_a_change_within_its_bound_and_no_router_is_asked_too_often() {
        let report = report(1);
        assert!(report.changes >= 3, "{report:?}");
        assert_eq!(report.hop_packets_per_s_max, 1, "{report:?}");
        assert!(
            (report.confirmed_ratio - 1.0).abs() < f64::EPSILON,
            "{report:?}"
        );
        // A tail interval, a round, two burst intervals, the last burst round.
        assert!(
            report.burst_delay_s.max <= 30.0 + 9.0 + 10.0 + 6.0,
            "{report:?}"
        );
        assert!(report.learning_s < 180.0, "{report:?}");
        assert!(report.path_packets_per_s < 4.0, "{report:?}");
    }

    #[test]
    fn eight_targets_share_the_near_routers_and_one_of_them_is_still_quick() {
        let report = report(8);
        // Right after a change the budget guesses wrong which router a packet will meet, once.
        assert!(report.hop_packets_per_s_max <= 2, "{report:?}");
        assert!(report.burst_delay_first_s.p95 <= 40.0, "{report:?}");
    }

    #[test]
    fn quantiles_are_those_of_the_nearest_rank() {
        let spread = Spread::of((1..=20).map(Duration::from_secs));
        assert_eq!(
            (spread.n, spread.p50, spread.p95, spread.max),
            (20, 10.0, 19.0, 20.0)
        );
        assert_eq!(Spread::of([]).n, 0);
    }
}
