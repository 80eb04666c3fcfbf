//! Figures of a run by name, for people and for the file.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use firstmile_shift::level::Class;
use serde_json::{Value, json};

use crate::run::{Run, real};
use crate::score::{Score, Shares};

/// Kinds of nuisance that spread flows afresh or rename a router.
const REMAPS: [&str; 4] = ["remap", "rebind", "flip", "alias"];
/// Agents and targets of a large customer, and the groups (provider and metro) they fall in, for what chance makes of false events.
const LARGE: (f64, f64, f64) = (2_000.0, 8.0, 8.0);
/// Moves of two agents so near to each other are one, days.
const TOGETHER_DAYS: f64 = 2.0 / 1_440.0;

/// Figures by name, rounded.
#[derive(Default)]
struct Figures(BTreeMap<String, Value>);

impl Figures {
    fn put(&mut self, key: &str, value: f64) {
        let rounded = (value * 100_000.0).round() / 100_000.0;
        self.0.insert(key.to_owned(), json!(rounded + 0.0));
    }
}

fn by_class(figures: &mut Figures, score: &Score) {
    let shares = |class: Class| score.classes.get(&class).copied().unwrap_or_default();
    let total = |pick: fn(&Shares) -> f64| score.classes.values().map(pick).sum::<f64>();
    let mut put = |key: &str, value: f64| figures.put(key, value);
    for class in [
        Class::Geo,
        Class::Provider,
        Class::Local,
        Class::RedundancyLost,
        Class::Uplink,
        Class::Unreachable,
        Class::PartialGeo,
        Class::FrontDoorMoved,
    ] {
        let of = shares(class);
        put(&format!("{}_p", class.as_str()), of.precision());
        put(&format!("{}_r", class.as_str()), of.recall());
        put(
            &format!("{}_r_all", class.as_str()),
            of.found_of_all / of.all.max(1.0),
        );
        put(&format!("{}_n", class.as_str()), of.all);
    }
    put(
        "all_p",
        total(|of| of.right) / total(|of| of.claimed).max(1.0),
    );
    put(
        "all_r_observable",
        total(|of| of.found) / total(|of| of.observable).max(1.0),
    );
    put(
        "all_r",
        total(|of| of.found_of_all) / total(|of| of.all).max(1.0),
    );
    put("class_right", score.class_right / score.matched.max(1.0));
    put(
        "observable_ratio",
        total(|of| of.observable) / total(|of| of.all).max(1.0),
    );
}

/// What a bench found.
pub(crate) struct Found {
    /// Histories with events.
    pub run: Run,
    /// Histories without.
    pub quiet: Run,
    /// A whole fleet without events.
    pub fleet: Run,
    /// Each hardship by its name.
    pub stress: Vec<(String, Run)>,
    /// Rounds a second and core.
    pub rounds_per_s: f64,
    /// First seed.
    pub seed: u64,
}

/// All figures.
pub(crate) fn figures(found: &Found) -> Value {
    let (score, quiet, fleet) = (&found.run.score, &found.quiet.score, &found.fleet.score);
    let mut figures = Figures::default();
    by_class(&mut figures, score);
    let mut put = |key: &str, value: f64| figures.put(key, value);
    put("agent_days", score.agent_days);
    put("quiet_agent_days", quiet.agent_days);
    put("fleet_agent_days", fleet.agent_days);
    let all = [score, quiet, fleet];
    let days: f64 = all.iter().map(|score| score.agent_days).sum();
    let pooled = |kinds: &[&str]| {
        let false_starts = |score: &&Score| score.false_per_day(kinds) * score.agent_days;
        all.iter().map(false_starts).sum::<f64>() / days.max(1.0)
    };
    put("false_per_agent_day", score.false_per_day(&[]));
    put("false_per_agent_day_pooled", pooled(&[]));
    put("remap_false_per_agent_day", pooled(&REMAPS));
    // Events of a bench are far more frequent than in life: what is false beside them says nothing of quiet days.
    let pooled_of = |of: &[&Score]| {
        let days: f64 = of.iter().map(|score| score.agent_days).sum();
        let count = |score: &&Score| score.false_per_day(&[]) * score.agent_days;
        of.iter().map(count).sum::<f64>() / days.max(1.0)
    };
    let groups = found.run.groups_false + found.quiet.groups_false + found.fleet.groups_false;
    put("false_group_incidents", f64::from(groups));
    put(
        "false_notifications_per_month_by_chance",
        by_chance(pooled_of(&[quiet, fleet])),
    );
    put("delay_s_p50", score.delay(0.5));
    put("delay_s_p95", score.delay(0.95));
    put("over_bound", score.over_bound / score.bounded.max(1.0));
    put("onset_coverage", score.covered / score.onsets.max(1.0));
    put("ece", score.ece());
    put("briefs", f64::from(score.briefs.0));
    put("briefs_found", f64::from(score.briefs.1));
    for (name, (wrong, recall)) in found.run.of_baselines() {
        put(&format!("{name}_false_per_agent_day"), wrong);
        put(&format!("{name}_r"), recall);
    }
    put("rounds_per_s_core", found.rounds_per_s);
    let state = [&found.run, &found.quiet, &found.fleet].map(|run| run.state_bytes);
    put("state_bytes", real(state.into_iter().max().unwrap_or(0)));
    put("first_seed", real(usize::try_from(found.seed).unwrap_or(0)));
    let mut stress = BTreeMap::new();
    for (name, run) in &found.stress {
        let mut of = Figures::default();
        by_class(&mut of, &run.score);
        of.put("agent_days", run.score.agent_days);
        of.put("false_per_agent_day", run.score.false_per_day(&[]));
        of.put("false_ends", f64::from(run.score.false_ends));
        of.put(
            "over_bound",
            run.score.over_bound / run.score.bounded.max(1.0),
        );
        stress.insert(name.clone(), json!(of.0));
    }
    if !stress.is_empty() {
        figures.0.insert("stress".to_owned(), json!(stress));
    }
    json!(figures.0)
}

/// False notifications in 30 days of a large customer, if false events of its agents and targets fall together by chance alone: only
/// incidents of two agents and more are told unasked. With m paths in a group and L false events of each in a day, m²L²W pairs
/// a day fall within W of each other, whatever class and place they name.
fn by_chance(false_per_day: f64) -> f64 {
    let (agents, targets, groups) = LARGE;
    let paths = agents * targets / groups;
    30.0 * groups * (paths * false_per_day).powi(2) * TOGETHER_DAYS
}

/// The figures for people.
pub(crate) fn print(found: &Found, figures: &Value, examples: bool) {
    let (run, quiet) = (&found.run, &found.quiet);
    if let Some(figures) = figures.as_object() {
        for (key, value) in figures.iter().filter(|(_, value)| value.is_number()) {
            println!("{key:32} {value}");
        }
    }
    for (name, run) in &found.stress {
        let mut line = format!("{name:14}");
        for (class, of) in &run.score.classes {
            let (p, r) = (of.precision(), of.recall());
            write!(line, " {} {p:.3}/{r:.3} ({})", class.as_str(), of.all)
                .expect("a string takes all");
        }
        println!(
            "{line} false {:?} ends {}",
            run.score.false_starts, run.score.false_ends
        );
    }
    println!("confusion (truth, claimed): {:?}", run.score.confusion);
    println!(
        "false starts by nuisance: {:?} quiet: {:?}",
        run.score.false_starts, quiet.score.false_starts
    );
    println!(
        "false ends: {} quiet: {}",
        run.score.false_ends, quiet.score.false_ends
    );
    for (tenth, (count, sum, came_true)) in run.score.bins.iter().enumerate() {
        if *count > 0.0 {
            println!(
                "confidence 0.{tenth}: {count} claims, said {:.3}, came true {:.3}",
                sum / count,
                came_true / count
            );
        }
    }
    if examples {
        for run in [run, quiet, &found.fleet] {
            for example in &run.score.examples {
                println!("{example}");
            }
        }
    }
}
