//! How sure a claim is: a sum of log-odds with its reasons, and the table that turns sums into shares that came true.

use crate::level::Class;
use crate::number::real;

/// Version of [`calibrated`]'s tables: raised whenever they were fitted anew.
pub const CALIBRATION: u32 = 2;
/// From here on a claim is an event.
pub const EVENT: f64 = 0.9;
/// From here on it is told as possible.
pub const POSSIBLE: f64 = 0.6;

/// Log-odds before any evidence: one suspicion in fifty is a shift.
const PRIOR: f64 = -3.9;

/// What speaks for and against a move.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evidence {
    /// Sum over the first three agreeing rounds: 0.9 for each novel flow, at most 3 a round.
    pub rounds: f64,
    /// Agreeing rounds.
    pub agreeing: u8,
    /// Flows that moved, of those that say anything.
    pub flows: (usize, usize),
    /// How far the RTT moved, milliseconds.
    pub rtt_ms: Option<f64>,
    /// Whether such a move is what the class leads to expect; `None`: the class says nothing of it.
    pub rtt_fits: Option<bool>,
    /// Other agents of the group with the same move within two minutes.
    pub peers: usize,
    /// Whether the edge's headers moved to the same metro.
    pub edge_agrees: bool,
    /// Whether a wrong table could be the whole reason.
    pub weak: bool,
    /// Whether it may be another address of the same router.
    pub unresolved: bool,
}

/// Sums the evidence up and says each part of it.
pub fn weigh(evidence: &Evidence) -> (f64, Vec<String>) {
    let mut sum = PRIOR;
    let mut reasons = vec![format!("prior {PRIOR:+.1}")];
    let mut add = |odds: f64, reason: String| {
        sum += odds;
        reasons.push(format!("{reason} {odds:+.1}"));
    };
    let (novel, responding) = evidence.flows;
    add(
        evidence.rounds,
        format!("{} agreeing rounds", evidence.agreeing),
    );
    if novel == responding && novel > 0 {
        add(1.5, format!("all {novel} flows moved"));
    }
    if let (Some(fits), Some(moved)) = (evidence.rtt_fits, evidence.rtt_ms) {
        if fits {
            add(1.5, format!("RTT moved {moved:+.1} ms as the move would"));
        } else {
            add(-1.0, format!("RTT moved {moved:+.1} ms, unlike the move"));
        }
    }
    match evidence.peers {
        0 => {}
        1 => add(3.0, "1 agent of the same provider agrees".to_owned()),
        more => add(5.0, format!("{more} agents of the same provider agree")),
    }
    if evidence.edge_agrees {
        add(4.0, "the edge's headers name the same metro".to_owned());
    }
    if evidence.weak {
        add(
            -3.5,
            "one foreign hop behind a usual one: the table may be wrong".to_owned(),
        );
    }
    if evidence.unresolved {
        add(-2.5, "may be another address of the same router".to_owned());
    }
    (sum, reasons)
}

/// What kind of table a claim is calibrated by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Novel values on the flows.
    Novel,
    /// A novel ingress address that may be an alias.
    Alias,
    /// A usual router that carries nothing any more.
    Lost,
}

impl Kind {
    /// The kind of a claim.
    pub fn of(class: Class, evidence: &Evidence) -> Self {
        if class == Class::RedundancyLost {
            Self::Lost
        } else if evidence.unresolved || evidence.weak {
            Self::Alias
        } else {
            Self::Novel
        }
    }
}

/// Points (sum, share) of an isotonic fit: between them it is linear, beyond them flat.
type Table = &'static [(f64, f64)];

// Fitted by `firstmile-eval shift --seed 10 --histories 16 --agents 20 --days 3 --quiet-agent-days 0 --fit` (960 agent-days of
// tuning seeds, 3,372 claims). What lies below the first point that was told, and the first point itself, is set by hand: nothing
// is told there, so nothing can be fitted.

const NOVEL: Table = &[
    (-4.0, 0.02),
    (0.0, 0.6),
    (1.2, 0.9),
    (1.5, 0.9),
    (2.2, 0.955),
    (3.0, 0.964),
    (4.2, 0.983),
    (7.0, 0.987),
    (9.1, 0.99),
    (13.0, 0.998),
];
const ALIAS: Table = &[
    (-4.0, 0.01),
    (2.8, 0.6),
    (2.9, 0.632),
    (5.6, 0.632),
    (9.0, 0.7),
];
const LOST: Table = &[
    (-4.0, 0.02),
    (0.4, 0.55),
    (0.6, 0.88),
    (1.1, 0.9),
    (4.2, 0.914),
    (4.4, 0.98),
    (6.0, 0.997),
];

/// The share of claims with such a sum that came true, as fitted on the tuning seeds (`docs/design/path-shift.md`).
pub fn calibrated(kind: Kind, sum: f64) -> f64 {
    let table = match kind {
        Kind::Novel => NOVEL,
        Kind::Alias => ALIAS,
        Kind::Lost => LOST,
    };
    let mut below = table.first().copied().unwrap_or_default();
    for point in table {
        if sum < point.0 {
            let width = point.0 - below.0;
            if width <= 0.0 {
                return point.1;
            }
            return below.1 + (point.1 - below.1) * (sum - below.0) / width;
        }
        below = *point;
    }
    below.1
}

/// What one agreeing round adds: 0.9 for each novel flow, at most 3.
pub fn of_round(novel_flows: usize) -> f64 {
    (0.9 * real(novel_flows)).min(3.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_evidence_never_lowers_a_confidence() {
        for kind in [Kind::Novel, Kind::Alias, Kind::Lost] {
            let mut last = 0.0;
            for step in -100..200 {
                let confidence = calibrated(kind, f64::from(step) / 10.0);
                assert!((last..=1.0).contains(&confidence), "{kind:?} {step}");
                last = confidence;
            }
        }
    }
}
