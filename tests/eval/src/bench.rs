//! Runs histories through the judge and writes the figures.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use firstmile_shift::judge::Judge;
use firstmile_shift::level::Class;
use serde_json::{Value, json};

use crate::ShiftArgs;
use crate::baselines::{Baselines, NAMES};
use crate::net::Stress;
use crate::other::Style;
use crate::record::{Body, Sent};
use crate::score::{Claim, Nuisance, Score, Truth, claims};
use crate::script::{Size, What, observable};
use crate::sim::History;

/// Kinds of nuisance that spread flows afresh or rename a router.
const REMAPS: [&str; 4] = ["remap", "rebind", "flip", "alias"];

/// The end of a history is not scored: what begins there is not decided any more, seconds.
const UNSCORED_S: f64 = 1_000.0;

/// Figures of all histories.
#[derive(Default)]
struct Run {
    score: Score,
    truths: Vec<(u64, Truth)>,
    said: [Vec<(u64, f64)>; 4],
    state_bytes: usize,
    groups_false: u32,
}

/// `shift`: tables and figures.
pub(crate) fn shift(args: &ShiftArgs) -> Result<()> {
    let size = Size {
        agents: args.agents,
        days: args.days,
        events: 1.0,
        nuisances: 1.0,
    };
    let mut run = Run::default();
    for seed in args.seed..args.seed + args.histories {
        run.history(seed, args, size);
    }
    let quiet_size = Size {
        agents: 50,
        days: 5.0,
        events: 0.0,
        nuisances: 1.0,
    };
    let mut quiet = Run::default();
    let mut seed = args.seed + 500;
    while quiet.score.agent_days < args.quiet_agent_days {
        quiet.history(seed, args, quiet_size);
        seed += 1;
    }
    let rounds_per_s = speed(args.seed);
    let figures = figures(&run, &quiet, rounds_per_s, args);
    print(&run, &quiet, &figures, args.examples);
    if let Some(path) = &args.json {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let text = serde_json::to_string_pretty(&figures).context("figures are JSON")?;
        fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn stress(args: &ShiftArgs) -> Stress {
    let usual = Stress::default();
    Stress {
        silent: args.silent.unwrap_or(usual.silent),
        wrong_as: args.wrong_as.unwrap_or(usual.wrong_as),
        unnamed: args.unnamed.unwrap_or(usual.unnamed),
        loss: args.loss.unwrap_or(usual.loss),
        ..usual
    }
}

impl Run {
    fn history(&mut self, seed: u64, args: &ShiftArgs, size: Size) {
        let mut history = History::new(seed, stress(args), size, args.flows);
        let truths = truths(&history);
        let mut nuisances = nuisances(&history);
        let mut judge =
            Judge::new(&history.world()).expect("the generator writes a world that can be read");
        let mut baselines = Baselines::default();
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
            sent.line(&mut line);
            judge.line(&line);
        }
        assert_eq!(
            judge.broken().0,
            0,
            "the generator writes lines that can be read"
        );
        self.state_bytes = self.state_bytes.max(judge.state_bytes());
        let lines = judge.finish();
        let mut claims: Vec<Claim> = claims(&lines);
        claims.retain(|claim| claim.at < size.days * 86_400.0 - UNSCORED_S);
        self.groups_false += false_groups(&lines, &truths);
        self.score
            .add(&truths, &claims, &nuisances, size.agents, size.days);
        let shift = |agent: u64| seed * 1_000 + agent;
        self.truths
            .extend(truths.iter().map(|truth| (shift(truth.agent), *truth)));
        for (all, said) in self.said.iter_mut().zip(&baselines.said) {
            all.extend(said.iter().map(|(agent, at)| (shift(*agent), *at)));
        }
    }

    /// False alarms of a baseline in an agent-day, and the share of observable failovers that it saw.
    fn baseline(&self, index: usize) -> (f64, f64) {
        let mut flanks: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
        for (agent, truth) in &self.truths {
            flanks.entry(*agent).or_default().push(truth.at);
        }
        let Some(said) = self.said.get(index) else {
            return (0.0, 0.0);
        };
        let near = |agent: u64, at: f64| {
            flanks.get(&agent).is_some_and(|flanks| {
                flanks
                    .iter()
                    .any(|flank| (-5.0..=300.0).contains(&(at - flank)))
            })
        };
        let false_count = said.iter().filter(|(agent, at)| !near(*agent, *at)).count();
        let asked = self.truths.iter().filter(|(_, truth)| {
            truth.start
                && !truth.brief
                && truth.observable
                && matches!(truth.class, Class::Geo | Class::Local | Class::Provider)
        });
        let (mut all, mut seen) = (0.0, 0.0);
        for (agent, truth) in asked {
            all += 1.0;
            let hit = said
                .iter()
                .any(|(other, at)| other == agent && (-5.0..=300.0).contains(&(at - truth.at)));
            seen += f64::from(u8::from(hit));
        }
        (
            real(false_count) / self.score.agent_days.max(1.0),
            seen / f64::max(all, 1.0),
        )
    }
}

/// `other`: recordings of the second internet, judged and scored.
pub(crate) fn other(seed: u64, histories: u64, agents: u64, days: f64) {
    let mut all = Score::default();
    for seed in seed..seed + histories {
        let style = Style::of(seed, agents, days);
        let mut score = Score::default();
        of_style(&style, &mut score);
        of_style(&style, &mut all);
        println!("== {seed} {style:?}");
        print_other(&score);
    }
    println!("== all");
    print_other(&all);
}

fn of_style(style: &Style, score: &mut Score) {
    let (lines, truths, nuisances) = crate::other::recording(style);
    let mut judge = Judge::new(&style.world().to_string()).expect("the world can be read");
    for line in &lines {
        judge.line(line);
    }
    let claims = claims(&judge.finish());
    score.slack = style.slack();
    score.add(&truths, &claims, &nuisances, style.agents, style.days);
}

fn print_other(score: &Score) {
    for (class, of) in &score.classes {
        println!(
            "{:16} p {:.3} r {:.3} of {}",
            class.as_str(),
            of.precision(),
            of.recall(),
            of.all
        );
    }
    println!(
        "false {:?} ends {} over {:.3} covered {:.3} days {}",
        score.false_starts,
        score.false_ends,
        score.over_bound / score.bounded.max(1.0),
        score.covered / score.onsets.max(1.0),
        score.agent_days
    );
    for example in &score.examples {
        println!("  {example}");
    }
}

/// Incidents of two agents and more without any event in their group.
fn false_groups(lines: &[firstmile_shift::judge::Line], truths: &[Truth]) -> u32 {
    let mut ids = std::collections::BTreeSet::new();
    for line in lines {
        if let firstmile_shift::judge::Line::Incident(incident) = line {
            let agents: Vec<u64> = incident
                .agents
                .iter()
                .filter_map(|agent| agent.trim_start_matches('a').parse().ok())
                .collect();
            let at = incident.ts - crate::record::EPOCH;
            let real = truths
                .iter()
                .any(|truth| agents.contains(&truth.agent) && (truth.at - at).abs() < 600.0);
            if !real && incident.phase == firstmile_shift::track::Phase::Start {
                ids.insert(incident.incident.clone());
            }
        }
    }
    u32::try_from(ids.len()).unwrap_or(u32::MAX)
}

fn truths(history: &History) -> Vec<Truth> {
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
    let total =
        |pick: fn(&crate::score::Shares) -> f64| score.classes.values().map(pick).sum::<f64>();
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

fn figures(run: &Run, quiet: &Run, rounds_per_s: f64, args: &ShiftArgs) -> Value {
    let score = &run.score;
    let mut figures = Figures::default();
    by_class(&mut figures, score);
    let mut put = |key: &str, value: f64| figures.put(key, value);
    put("agent_days", score.agent_days);
    put("quiet_agent_days", quiet.score.agent_days);
    let days = score.agent_days + quiet.score.agent_days;
    let pooled = |kinds: &[&str]| {
        (score.false_per_day(kinds) * score.agent_days
            + quiet.score.false_per_day(kinds) * quiet.score.agent_days)
            / days.max(1.0)
    };
    put("false_per_agent_day", score.false_per_day(&[]));
    put("false_per_agent_day_pooled", pooled(&[]));
    put("remap_false_per_agent_day", pooled(&REMAPS));
    put(
        "false_group_incidents",
        f64::from(run.groups_false + quiet.groups_false),
    );
    put("delay_s_p50", score.delay(0.5));
    put("delay_s_p95", score.delay(0.95));
    put("over_bound", score.over_bound / score.bounded.max(1.0));
    put("onset_coverage", score.covered / score.onsets.max(1.0));
    put("ece", score.ece());
    put("briefs", f64::from(score.briefs.0));
    put("briefs_found", f64::from(score.briefs.1));
    for (index, name) in NAMES.iter().enumerate() {
        let (wrong, recall) = run.baseline(index);
        put(&format!("{name}_false_per_agent_day"), wrong);
        put(&format!("{name}_r"), recall);
    }
    put("rounds_per_s_core", rounds_per_s);
    put("state_bytes", real(run.state_bytes.max(quiet.state_bytes)));
    put("first_seed", real(usize::try_from(args.seed).unwrap_or(0)));
    json!(figures.0)
}

fn print(run: &Run, quiet: &Run, figures: &Value, examples: bool) {
    if let Some(figures) = figures.as_object() {
        for (key, value) in figures {
            println!("{key:32} {value}");
        }
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
        for example in run.score.examples.iter().chain(&quiet.score.examples) {
            println!("{example}");
        }
    }
}

/// Eight-flow rounds a second of the classifier alone, lines parsed before.
fn speed(seed: u64) -> f64 {
    let size = Size {
        agents: 40,
        days: 0.2,
        events: 1.0,
        nuisances: 1.0,
    };
    let mut history = History::new(seed, Stress::default(), size, 8);
    let mut timed = firstmile_shift::judge::Timed::new(&history.world())
        .expect("the generator writes a world that can be read");
    let mut line = String::new();
    while let Some(sent) = history.next() {
        if matches!(sent.body, Body::Round { .. }) {
            sent.line(&mut line);
            timed.keep(&line);
        }
    }
    let (rounds, seconds) = timed.run(&clock);
    rounds / seconds.max(1e-9)
}

/// Processor time of this process, seconds.
fn clock() -> f64 {
    let text = fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let nanoseconds: f64 = text
        .split_whitespace()
        .next()
        .and_then(|field| field.parse().ok())
        .unwrap_or(0.0);
    nanoseconds / 1e9
}

/// `generate`: a history in the judge's format, and its truth.
pub(crate) fn generate(seed: u64, agents: u64, days: f64, out: &Path) -> Result<()> {
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let size = Size {
        agents,
        days,
        events: 1.0,
        nuisances: 1.0,
    };
    let mut history = History::new(seed, Stress::default(), size, 8);
    fs::write(out.join("world.json"), history.world()).context("cannot write world.json")?;
    let mut truth_file = BufWriter::new(
        fs::File::create(out.join("truth.jsonl")).context("cannot write truth.jsonl")?,
    );
    for truth in truths(&history) {
        let line = json!({
            "agent": format!("a{}", truth.agent), "class": truth.class, "at": truth.at + crate::record::EPOCH,
            "flank": if truth.start { "start" } else { "end" }, "brief": truth.brief, "observable": truth.observable
        });
        writeln!(truth_file, "{line}").context("cannot write truth.jsonl")?;
    }
    let mut rounds = BufWriter::new(
        fs::File::create(out.join("rounds.jsonl")).context("cannot write rounds.jsonl")?,
    );
    let mut line = String::new();
    while let Some(sent) = history.next() {
        Sent::line(&sent, &mut line);
        writeln!(rounds, "{line}").context("cannot write rounds.jsonl")?;
    }
    rounds.flush().context("cannot write rounds.jsonl")
}

fn real(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
