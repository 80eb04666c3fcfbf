//! Rounds that differ from the baseline, until enough of them agree.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Observation;
use super::baseline::{Baseline, Judgement, LAYERS, Layer};
use super::failover::SHIFT_ROUNDS;

/// RTTs kept for "before" and "after".
const RTTS_KEPT: usize = 12;
/// Distinct sightings of response headers that a change seen only in headers needs: one answer is one answer.
const EDGE_SIGHTINGS: u32 = 2;

/// Rounds in a row that differ from the baseline.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Suspicion {
    /// First of them.
    pub first_novel_unix_ms: i64,
    /// Newest round before them that did not differ.
    pub last_good_unix_ms: Option<i64>,
    /// The layers that differ.
    pub layers: BTreeMap<Layer, Agreement>,
    /// The values outside of the baseline.
    pub after: Baseline,
    /// RTTs of these rounds.
    pub rtts_us: Vec<u32>,
}

/// How many rounds in a row agree on one layer's new values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Agreement {
    /// Rounds.
    pub rounds: u32,
    /// Values seen in all or some of them.
    pub values: BTreeSet<String>,
    /// Distinct sightings of response headers.
    pub sightings: u32,
    /// Newest sighting of response headers.
    pub newest_sighting_unix_ms: Option<i64>,
}

/// Judgements of one round, by layer.
pub(super) type Judgements = BTreeMap<Layer, Judgement>;

impl Suspicion {
    /// Novel layers count up, those that are back on the baseline drop out, silent ones stay as they are.
    pub(super) fn take_in(
        &mut self,
        judged: &Judgements,
        observation: &Observation,
        usual: &Baseline,
    ) {
        let mut restart = false;
        for (layer, judgement) in judged {
            match judgement {
                Judgement::Unknown => {}
                Judgement::Same => {
                    self.layers.remove(layer);
                }
                Judgement::Novel { values, .. } => {
                    restart |= self
                        .layers
                        .entry(*layer)
                        .or_default()
                        .take_in(values, observation.edge_seen_unix_ms);
                }
            }
        }
        if restart {
            self.after = Baseline::default();
            self.rtts_us.clear();
        }
        self.after.admit_outside(observation, usual);
        keep_rtt(&mut self.rtts_us, observation);
    }

    pub(super) fn confirmed(&self) -> BTreeSet<Layer> {
        let agreed = |(layer, agreement): &(&Layer, &Agreement)| {
            let seen = **layer != Layer::Edge || agreement.sightings >= EDGE_SIGHTINGS;
            agreement.rounds >= SHIFT_ROUNDS && seen
        };
        let mut confirmed: BTreeSet<Layer> = self
            .layers
            .iter()
            .filter(agreed)
            .map(|(layer, _)| *layer)
            .collect();
        // The metro is the router's: a name that came late does not make it a matter of its own.
        if confirmed.contains(&Layer::Router) && self.layers.contains_key(&Layer::Metro) {
            confirmed.insert(Layer::Metro);
        }
        confirmed
    }
}

impl Agreement {
    /// Counts a round; true if it disagrees with those before, so that counting starts again.
    fn take_in(&mut self, values: &BTreeSet<String>, sighting_unix_ms: Option<i64>) -> bool {
        let restart = self.rounds > 0 && self.values.is_disjoint(values);
        if restart {
            *self = Self::default();
        }
        self.rounds += 1;
        self.values.extend(values.iter().cloned());
        if sighting_unix_ms.is_some() && sighting_unix_ms != self.newest_sighting_unix_ms {
            self.sightings += 1;
            self.newest_sighting_unix_ms = sighting_unix_ms;
        }
        restart
    }
}

pub(super) fn judge_all(baseline: &Baseline, observation: &Observation) -> Judgements {
    LAYERS
        .into_iter()
        .map(|layer| (layer, baseline.judge(layer, observation)))
        .collect()
}

pub(super) fn keep_rtt(rtts_us: &mut Vec<u32>, observation: &Observation) {
    if let Some(rtt_us) = observation.rtt_us {
        if rtts_us.len() >= RTTS_KEPT {
            rtts_us.remove(0);
        }
        rtts_us.push(rtt_us);
    }
}

/// The lower median, `None` of nothing.
pub(super) fn median(rtts_us: &[u32]) -> Option<u32> {
    let mut sorted = rtts_us.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len().saturating_sub(1) / 2).copied()
}
