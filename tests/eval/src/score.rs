//! Detections against truths: precision, recall, classes, false events, delays, onset, calibration.

use std::collections::BTreeMap;

use firstmile_shift::judge::Line;
use firstmile_shift::level::Class;
use firstmile_shift::track::{Phase, Status};
use serde::{Deserialize, Serialize};

use crate::matching::{self, NEVER};
use crate::record::EPOCH;

/// One end of an event, as it was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Truth {
    pub agent: u64,
    pub class: Class,
    pub at: f64,
    pub start: bool,
    pub brief: bool,
    pub observable: bool,
}

/// One end of an event, as it was claimed.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub agent: u64,
    pub class: Class,
    pub at: f64,
    pub start: bool,
    pub onset: [f64; 2],
    pub confidence: f64,
    pub sure: bool,
    pub text: String,
    pub reasons: Vec<String>,
}

/// Something that looks like an event and is none.
#[derive(Clone, Debug)]
pub(crate) struct Nuisance {
    pub agent: u64,
    pub kind: String,
    pub start: f64,
    pub end: f64,
}

/// Right, wrong and missed of one class.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Shares {
    pub claimed: f64,
    pub right: f64,
    pub observable: f64,
    pub found: f64,
    pub all: f64,
    pub found_of_all: f64,
}

impl Shares {
    pub(crate) fn precision(&self) -> f64 {
        self.right / self.claimed.max(1.0)
    }

    pub(crate) fn recall(&self) -> f64 {
        self.found / self.observable.max(1.0)
    }
}

/// All figures of a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Score {
    pub classes: BTreeMap<Class, Shares>,
    /// Truth and claim, by count.
    pub confusion: BTreeMap<String, u32>,
    pub matched: f64,
    pub class_right: f64,
    pub false_starts: BTreeMap<String, u32>,
    pub false_ends: u32,
    pub delays: Vec<f64>,
    pub over_bound: f64,
    pub bounded: f64,
    pub covered: f64,
    pub onsets: f64,
    pub bins: [(f64, f64, f64); 10],
    pub agent_days: f64,
    pub briefs: (u32, u32),
    pub examples: Vec<String>,
    /// Kind of the calibration's table, sum of the evidence, whether it came true: of each claim that says them.
    pub sums: Vec<(String, f64, bool)>,
    /// Seconds by which decisions may come later than at the live plan.
    pub slack: f64,
    /// Seed of the history that is being added, for the examples.
    pub seed: u64,
}

/// Bound of a decision by class, seconds: start and end.
fn bound(class: Class, start: bool) -> f64 {
    match (class, start) {
        (Class::Geo | Class::Local | Class::Provider | Class::PartialGeo, true) => 42.0,
        (Class::Geo | Class::Local | Class::Provider | Class::PartialGeo, false)
        | (Class::Unreachable, _) => 62.0,
        (Class::Uplink, true) => 132.0,
        (Class::Uplink, false) => 180.0,
        (Class::RedundancyLost, false) => 240.0,
        (Class::RedundancyLost | Class::FrontDoorMoved, true) => 420.0,
        (Class::FrontDoorMoved, false) | (Class::Flapping, _) => 900.0,
    }
}

/// Examples of what was missed and what was false that are kept.
const EXAMPLES_MAX: usize = 400;

/// One tail round: a claim may be so much early or late and still be of this truth, seconds.
const ROUND_S: f64 = 31.0;

pub(crate) fn claims(lines: &[Line]) -> Vec<Claim> {
    let of = |line: &Line| {
        let Line::Event(event) = line else {
            return None;
        };
        (event.phase != Phase::Notify).then(|| Claim {
            agent: event.agent.trim_start_matches('a').parse().unwrap_or(0),
            class: event.class,
            at: event.ts - EPOCH,
            start: event.phase == Phase::Start,
            onset: [event.onset[0] - EPOCH, event.onset[1] - EPOCH],
            confidence: event.confidence,
            sure: event.status == Status::Event,
            reasons: event.reasons.clone(),
            text: format!(
                "{} {:?}→{:?} {}",
                event.class.as_str(),
                event.from,
                event.to,
                event.reasons.join("; ")
            ),
        })
    };
    lines.iter().filter_map(of).collect()
}

impl Score {
    /// Adds the figures of other histories.
    pub(crate) fn merge(&mut self, other: Self) {
        for (class, of) in other.classes {
            let all = self.classes.entry(class).or_default();
            all.claimed += of.claimed;
            all.right += of.right;
            all.observable += of.observable;
            all.found += of.found;
            all.all += of.all;
            all.found_of_all += of.found_of_all;
        }
        for (pair, count) in other.confusion {
            *self.confusion.entry(pair).or_default() += count;
        }
        for (kind, count) in other.false_starts {
            *self.false_starts.entry(kind).or_default() += count;
        }
        for (bin, of) in self.bins.iter_mut().zip(other.bins) {
            *bin = (bin.0 + of.0, bin.1 + of.1, bin.2 + of.2);
        }
        self.matched += other.matched;
        self.class_right += other.class_right;
        self.false_ends += other.false_ends;
        self.over_bound += other.over_bound;
        self.bounded += other.bounded;
        self.covered += other.covered;
        self.onsets += other.onsets;
        self.agent_days += other.agent_days;
        self.briefs.0 += other.briefs.0;
        self.briefs.1 += other.briefs.1;
        self.delays.extend(other.delays);
        self.examples.extend(other.examples);
        self.sums.extend(other.sums);
    }

    /// Adds one history.
    pub(crate) fn add(
        &mut self,
        truths: &[Truth],
        claims: &[Claim],
        nuisances: &[Nuisance],
        agents: u64,
        days: f64,
    ) {
        self.agent_days += f64::from(u32::try_from(agents).unwrap_or(0)) * days;
        for agent in 0..agents {
            let truths: Vec<Truth> = truths
                .iter()
                .filter(|truth| truth.agent == agent)
                .copied()
                .collect();
            let of_agent = || {
                claims
                    .iter()
                    .filter(|claim| claim.agent == agent && claim.class != Class::Flapping)
            };
            let sure: Vec<&Claim> = of_agent().filter(|claim| claim.sure).collect();
            self.agent(&truths, &sure, nuisances);
            let starts: Vec<&Claim> = of_agent().filter(|claim| claim.start).collect();
            self.calibration(&truths, &starts);
        }
    }

    fn agent(&mut self, truths: &[Truth], claims: &[&Claim], nuisances: &[Nuisance]) {
        let costs: Vec<Vec<f64>> = claims
            .iter()
            .map(|claim| {
                truths
                    .iter()
                    .map(|truth| cost(claim, truth, self.slack))
                    .collect()
            })
            .collect();
        let pairs = matching::matched(&costs);
        let mut found = vec![None; truths.len()];
        for (claim, pair) in claims.iter().zip(pairs) {
            let Some(truth) = pair.and_then(|index| truths.get(index)) else {
                self.unmatched(claim, nuisances);
                continue;
            };
            if let Some(slot) = pair.and_then(|index| found.get_mut(index)) {
                *slot = Some(claim.class);
            }
            if !truth.brief {
                self.pair(claim, truth);
            }
        }
        for (truth, found) in truths.iter().zip(found) {
            if truth.brief {
                self.briefs.0 += u32::from(truth.start);
                self.briefs.1 += u32::from(truth.start && found.is_some());
                continue;
            }
            let right = found == Some(truth.class);
            let shares = self.classes.entry(truth.class).or_default();
            shares.all += 1.0;
            shares.found_of_all += f64::from(u8::from(right));
            if truth.observable {
                shares.observable += 1.0;
                shares.found += f64::from(u8::from(right));
            }
            if truth.observable && !right && self.examples.len() < EXAMPLES_MAX {
                self.examples.push(format!(
                    "MISS seed {} a{} {:?} start {} at {:.0} named {found:?}",
                    self.seed, truth.agent, truth.class, truth.start, truth.at
                ));
            }
        }
    }

    fn pair(&mut self, claim: &Claim, truth: &Truth) {
        let right = claim.class == truth.class;
        let shares = self.classes.entry(claim.class).or_default();
        shares.claimed += 1.0;
        shares.right += f64::from(u8::from(right));
        self.matched += 1.0;
        self.class_right += f64::from(u8::from(right));
        *self
            .confusion
            .entry(format!("{}>{}", truth.class.as_str(), claim.class.as_str()))
            .or_default() += 1;
        if !right || !claim.start {
            return;
        }
        let delay = claim.at - truth.at;
        if matches!(truth.class, Class::Geo | Class::Local | Class::Provider) {
            self.delays.push(delay);
        }
        self.bounded += 1.0;
        self.over_bound += f64::from(u8::from(delay > bound(truth.class, true) + self.slack));
        self.onsets += 1.0;
        let covered = claim.onset[0] - 0.002 <= truth.at && truth.at <= claim.onset[1] + 0.002;
        self.covered += f64::from(u8::from(covered));
        if !covered && self.examples.len() < EXAMPLES_MAX {
            self.examples.push(format!(
                "ONSET seed {} a{} {:?} truth {:.1} said {:?}",
                self.seed, truth.agent, truth.class, truth.at, claim.onset
            ));
        }
    }

    fn unmatched(&mut self, claim: &Claim, nuisances: &[Nuisance]) {
        self.classes.entry(claim.class).or_default().claimed += 1.0;
        let near = nuisances
            .iter()
            .filter(|nuisance| nuisance.agent == claim.agent || nuisance.kind == "map");
        let away = |nuisance: &&Nuisance| {
            let after = claim.onset[1] - nuisance.start;
            if (-5.0..=nuisance.end - nuisance.start + 180.0).contains(&after) {
                after.abs()
            } else {
                f64::MAX
            }
        };
        let nearest = near.min_by(|one, other| away(one).total_cmp(&away(other)));
        let kind = nearest
            .filter(|one| away(one) < f64::MAX)
            .map_or("none", |one| one.kind.as_str());
        if claim.start {
            *self.false_starts.entry(kind.to_owned()).or_default() += 1;
        } else {
            self.false_ends += 1;
        }
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(format!(
                "FALSE seed {} a{} start {} at {:.0} near {kind}: {}",
                self.seed, claim.agent, claim.start, claim.at, claim.text
            ));
        }
    }

    fn calibration(&mut self, truths: &[Truth], starts: &[&Claim]) {
        for claim in starts {
            let came_true = truths
                .iter()
                .any(|truth| truth.start && cost(claim, truth, self.slack) < NEVER);
            let tenth = (1..10_u32)
                .filter(|tenth| claim.confidence >= f64::from(*tenth) / 10.0)
                .count();
            if let Some((kind, sum)) = crate::fit::evidence(claim) {
                self.sums.push((kind.to_owned(), sum, came_true));
            }
            if let Some(bin) = self.bins.get_mut(tenth) {
                bin.0 += 1.0;
                bin.1 += claim.confidence;
                bin.2 += f64::from(u8::from(came_true));
            }
        }
    }

    /// Expected calibration error over ten bins.
    pub(crate) fn ece(&self) -> f64 {
        let all: f64 = self.bins.iter().map(|bin| bin.0).sum();
        self.bins
            .iter()
            .map(|bin| (bin.1 - bin.2).abs())
            .sum::<f64>()
            / all.max(1.0)
    }

    pub(crate) fn false_per_day(&self, kinds: &[&str]) -> f64 {
        let of = self
            .false_starts
            .iter()
            .filter(|(kind, _)| kinds.is_empty() || kinds.contains(&kind.as_str()));
        of.map(|(_, count)| f64::from(*count)).sum::<f64>() / self.agent_days.max(1.0)
    }

    pub(crate) fn delay(&self, share: f64) -> f64 {
        let mut delays = self.delays.clone();
        delays.sort_by(f64::total_cmp);
        let below = |count: usize| {
            f64::from(u32::try_from(count).unwrap_or(0))
                < share * f64::from(u32::try_from(delays.len()).unwrap_or(0))
        };
        let index = (0..delays.len()).filter(|index| below(index + 1)).count();
        delays
            .get(index.min(delays.len().saturating_sub(1)))
            .copied()
            .unwrap_or(0.0)
    }
}

fn cost(claim: &Claim, truth: &Truth, slack: f64) -> f64 {
    let away = claim.at - truth.at;
    let latest = bound(truth.class, truth.start) + ROUND_S + slack;
    if claim.start != truth.start || away < -ROUND_S || away > latest {
        return NEVER;
    }
    away.abs() / 1_000.0
        + if claim.class == truth.class {
            0.0
        } else {
            10.0
        }
}
