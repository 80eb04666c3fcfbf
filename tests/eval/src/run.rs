//! Histories through the judge, one seed at a time: figures that can be kept, and added up.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use firstmile_shift::judge::{Judge, Line};
use firstmile_shift::level::Class;
use serde::{Deserialize, Serialize};

use crate::baselines::{Baselines, NAMES};
use crate::hardship::{Hardship, Rim};
use crate::net::Stress;
use crate::record::{Body, EPOCH};
use crate::score::{Claim, Nuisance, Score, Truth, claims};
use crate::script::{Size, What, observable};
use crate::sim::History;

/// The end of a history is not scored: what begins there is not decided any more, seconds.
const UNSCORED_S: f64 = 1_000.0;

/// How a history is made and told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    pub stress: Stress,
    pub flows: u64,
    /// Line by line in the judge's format; else the same messages unwritten.
    pub written: bool,
    pub hardship: Option<Hardship>,
    /// One of four groups of agents, those of one provider; `None`: all.
    pub slice: Option<u64>,
}

impl How {
    /// As usual.
    pub(crate) fn usual() -> Self {
        Self {
            stress: Stress::default(),
            flows: 8,
            written: false,
            hardship: None,
            slice: None,
        }
    }
}

/// Figures of histories.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Run {
    pub score: Score,
    /// Of each baseline: false alarms, failovers that it saw, failovers it could have seen.
    pub baselines: [(f64, f64, f64); 4],
    pub state_bytes: usize,
    pub groups_false: u32,
}

impl Run {
    /// One history.
    pub(crate) fn of(seed: u64, how: How, size: Size) -> Self {
        let mut history =
            History::new(seed, how.stress, size, how.flows).with(how.hardship, how.slice);
        let truths = truths(&history);
        let mut nuisances = nuisances(&history);
        let mut judge =
            Judge::new(&history.world()).expect("the generator writes a world that can be read");
        let mut baselines = Baselines::default();
        let mut rim = Rim::new(seed, how.hardship);
        let mut line = String::new();
        while let Some(sent) = history.next() {
            if matches!(sent.body, Body::World { .. }) {
                nuisances.push(Nuisance {
                    agent: 0,
                    kind: "map".into(),
                    start: sent.at,
                    end: sent.at + 600.0,
                });
            }
            baselines.take_in(&sent);
            for sent in rim.pass(sent) {
                sent.tell(&mut judge, &mut line, how.written);
            }
        }
        assert_eq!(
            judge.broken().0,
            0,
            "the generator writes lines that can be read"
        );
        let mut run = Self {
            state_bytes: judge.state_bytes(),
            ..Self::default()
        };
        let lines = judge.finish();
        let claims = in_true_time(claims(&lines), how.hardship, size);
        let groups = false_groups(&lines, &truths);
        run.groups_false = u32::try_from(groups.len()).unwrap_or(u32::MAX);
        let told = groups
            .into_values()
            .map(|incident| format!("GROUP seed {seed} {incident}"));
        run.score.examples.extend(told);
        run.score.seed = seed;
        run.score
            .add(&truths, &claims, &nuisances, size.agents, size.days);
        if how.slice.is_some() {
            run.score.agent_days /= 4.0;
        }
        run.baselines = baselines.said.map(|said| of_baseline(&said, &truths));
        run
    }

    /// The same from a file if it was made before by this very program, else made and kept there.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn kept(
        parts: Option<&Path>,
        name: &str,
        make: impl FnOnce() -> Self,
    ) -> Result<Self> {
        let Some(folder) = parts else {
            return Ok(make());
        };
        let file = folder.join(format!("{name}.json"));
        let known = fs::read(&file).ok();
        if let Some(known) = known.and_then(|text| serde_json::from_slice(&text).ok()) {
            return Ok(known);
        }
        let run = make();
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let text = serde_json::to_vec(&run).context("figures are JSON")?;
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(run)
    }

    /// Adds the figures of others.
    pub(crate) fn merge(&mut self, other: Self) {
        self.score.merge(other.score);
        for (all, of) in self.baselines.iter_mut().zip(other.baselines) {
            *all = (all.0 + of.0, all.1 + of.1, all.2 + of.2);
        }
        self.state_bytes = self.state_bytes.max(other.state_bytes);
        self.groups_false += other.groups_false;
    }

    /// By name: false alarms of a baseline in an agent-day, and the share of observable failovers that it saw.
    pub(crate) fn of_baselines(&self) -> BTreeMap<&'static str, (f64, f64)> {
        let days = self.score.agent_days.max(1.0);
        let of = NAMES.iter().zip(self.baselines);
        of.map(|(name, (wrong, seen, all))| (*name, (wrong / days, seen / f64::max(all, 1.0))))
            .collect()
    }
}

/// Claims by the true time, where clocks are off.
fn in_true_time(claims: Vec<Claim>, hardship: Option<Hardship>, size: Size) -> Vec<Claim> {
    let mut claims = claims;
    for claim in &mut claims {
        let off = hardship.map_or(0.0, |hardship| hardship.clock_off_s(claim.agent));
        claim.at -= off;
        claim.onset = claim.onset.map(|at| at - off);
    }
    claims.retain(|claim| claim.at < size.days * 86_400.0 - UNSCORED_S);
    claims
}

fn of_baseline(said: &[(u64, f64)], truths: &[Truth]) -> (f64, f64, f64) {
    let mut flanks: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for truth in truths {
        flanks.entry(truth.agent).or_default().push(truth.at);
    }
    let close = |at: f64, flank: f64| (-5.0..=300.0).contains(&(at - flank));
    let near = |agent: u64, at: f64| {
        let flanks = flanks.get(&agent);
        flanks.is_some_and(|flanks| flanks.iter().any(|flank| close(at, *flank)))
    };
    let wrong = said.iter().filter(|(agent, at)| !near(*agent, *at)).count();
    let asked = truths.iter().filter(|truth| {
        let path = matches!(truth.class, Class::Geo | Class::Local | Class::Provider);
        truth.start && !truth.brief && truth.observable && path
    });
    let (mut all, mut seen) = (0.0, 0.0);
    for truth in asked {
        all += 1.0;
        let hit = said
            .iter()
            .any(|(agent, at)| *agent == truth.agent && close(*at, truth.at));
        seen += f64::from(u8::from(hit));
    }
    (real(wrong), seen, all)
}

/// Incidents of two agents and more without any event in their group, as they began, by their names.
fn false_groups(lines: &[Line], truths: &[Truth]) -> BTreeMap<String, String> {
    let mut ids = BTreeMap::new();
    for line in lines {
        if let Line::Incident(incident) = line {
            let agents: Vec<u64> = incident
                .agents
                .iter()
                .filter_map(|agent| agent.trim_start_matches('a').parse().ok())
                .collect();
            let at = incident.ts - EPOCH;
            let real = truths
                .iter()
                .any(|truth| agents.contains(&truth.agent) && (truth.at - at).abs() < 600.0);
            if !real && incident.phase == firstmile_shift::track::Phase::Start {
                let told = serde_json::to_string(line).unwrap_or_default();
                ids.entry(incident.incident.clone()).or_insert(told);
            }
        }
    }
    ids
}

/// Both ends of all events, but for those after the scored time.
pub(crate) fn truths(history: &History) -> Vec<Truth> {
    let mut all = Vec::new();
    let end_of_time = history.size.days * 86_400.0 - UNSCORED_S;
    for fate in history.fates() {
        for span in &fate.spans {
            let What::Event(class) = span.what else {
                continue;
            };
            let net = history.net_at(span.start);
            let observable = observable(history.seed, &net, fate, class, span.start);
            let brief = span.end - span.start <= 120.0;
            for (at, start) in [(span.start, true), (span.end, false)] {
                if at < end_of_time {
                    all.push(Truth {
                        agent: fate.agent,
                        class,
                        at,
                        start,
                        brief,
                        observable,
                    });
                }
            }
        }
    }
    all
}

fn nuisances(history: &History) -> Vec<Nuisance> {
    let mut all = Vec::new();
    for fate in history.fates() {
        let mut add = |kind: &str, start: f64, end: f64| {
            all.push(Nuisance {
                agent: fate.agent,
                kind: kind.to_owned(),
                start,
                end,
            });
        };
        for span in &fate.spans {
            match span.what {
                What::Event(class) => {
                    add(&format!("during {}", class.as_str()), span.start, span.end);
                }
                What::Blink => add("blink", span.start, span.end),
                What::Member(_) => add("member", span.start, span.end),
                What::Alias => add("alias", span.start, span.end),
                What::Storm(_) => add("storm", span.start, span.end),
                What::Slow => add("slow", span.start, span.end),
                What::Suspend => add("suspend", span.start, span.end),
            }
        }
        for (kind, moments) in [
            ("remap", &fate.remaps),
            ("rebind", &fate.rebinds),
            ("flip", &fate.flips),
        ] {
            for moment in moments {
                add(kind, *moment, moment + 600.0);
            }
        }
    }
    all
}

/// A count as a number.
pub(crate) fn real(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
