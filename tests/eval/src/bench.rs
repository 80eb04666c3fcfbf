//! The commands: what is run, in which sizes.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use clap::ValueEnum;
use firstmile_shift::judge::Judge;
use serde_json::json;

use crate::ShiftArgs;
use crate::figures::{Found, figures, print};
use crate::hardship::Hardship;
use crate::net::Stress;
use crate::other::Style;
use crate::record::{Body, Sent};
use crate::run::{How, Run, truths};
use crate::score::{Score, claims};
use crate::script::Size;
use crate::sim::History;

/// Groups of a fleet, one for each provider: incidents are of one provider's agents.
const SLICES: u64 = 4;

/// `shift`: tables and figures.
pub(crate) fn shift(args: &ShiftArgs) -> Result<()> {
    let found = all(args)?;
    let figures = figures(&found);
    print(&found, &figures, args.examples);
    if args.fit {
        crate::fit::print(&found.run.score.sums);
    }
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

/// Histories with events, without, of a whole fleet, and of each hardship, in the sizes asked for.
fn all(args: &ShiftArgs) -> Result<Found> {
    let how = How {
        stress: stress(args),
        flows: args.flows,
        written: args.written,
        ..How::usual()
    };
    let made_by = fingerprint(args);
    let part = |kind: &str, seed: u64, how: How, size: Size| {
        let name = format!("{made_by:08x}-{kind}-{seed}-{}-{}", size.agents, size.days);
        Run::kept(args.parts.as_deref(), &name, || Run::of(seed, how, size))
    };
    let mut found = Found {
        run: Run::default(),
        quiet: Run::default(),
        fleet: Run::default(),
        stress: Vec::new(),
        rounds_per_s: if args.json.is_some() {
            speed(args.seed)
        } else {
            0.0
        },
        seed: args.seed,
    };
    for seed in args.seed..args.seed + args.histories {
        let size = sized(args.agents, args.days, 1.0);
        found.run.merge(part("events", seed, how, size)?);
    }
    let hardships = Hardship::value_variants().iter();
    for hardship in hardships.filter(|_| args.stress_agents > 0) {
        let name = hardship.to_possible_value();
        let name = name
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default();
        let how = How {
            stress: hardship.stress(how.stress),
            hardship: Some(*hardship),
            ..how
        };
        let run = part(
            &name,
            args.seed + 950,
            how,
            sized(args.stress_agents, 3.0, 1.0),
        )?;
        found.stress.push((name, run));
    }
    let mut seed = args.seed + 500;
    while found.quiet.score.agent_days < args.quiet_agent_days {
        found
            .quiet
            .merge(part("quiet", seed, how, sized(50, 5.0, 0.0))?);
        seed += 1;
    }
    for slice in (0..SLICES).filter(|_| args.fleet_agents > 0) {
        let how = How {
            slice: Some(slice),
            ..how
        };
        let size = sized(args.fleet_agents, args.fleet_days, 0.0);
        found
            .fleet
            .merge(part(&format!("fleet{slice}"), args.seed + 900, how, size)?);
    }
    Ok(found)
}

const fn sized(agents: u64, days: f64, events: f64) -> Size {
    Size {
        agents,
        days,
        events,
        nuisances: 1.0,
    }
}

/// What a kept part was made by: this program, and the habits of its internet.
fn fingerprint(args: &ShiftArgs) -> u32 {
    let program = std::env::current_exe()
        .and_then(fs::read)
        .unwrap_or_default();
    let habits = format!("{:?} {}", stress(args), args.flows);
    firstmile_shift::hop::key_of(&program) ^ firstmile_shift::hop::key_of(habits.as_bytes())
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

/// `other`: recordings of the second internet, judged and scored.
pub(crate) fn other(
    seed: u64,
    histories: u64,
    (agents, days): (u64, f64),
    out: Option<&Path>,
) -> Result<()> {
    let mut all = Score::default();
    for seed in seed..seed + histories {
        let style = Style::of(seed, agents, days);
        let mut score = Score::default();
        of_style(&style, &mut score);
        of_style(&style, &mut all);
        println!("== {seed} {style:?}");
        print_other(&score);
        if let Some(out) = out {
            write_other(&style, &out.join(seed.to_string()))?;
        }
    }
    println!("== all");
    print_other(&all);
    Ok(())
}

fn write_other(style: &Style, out: &Path) -> Result<()> {
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let (rounds, truths, _) = crate::other::recording(style);
    let world = style.world().to_string();
    let truths: Vec<String> = truths.iter().map(|truth| format!("{truth:?}")).collect();
    let mut judge = Judge::new(&world).context("the world cannot be read")?;
    for line in &rounds {
        judge.line(line);
    }
    let events: Vec<String> = judge
        .finish()
        .iter()
        .map(serde_json::to_string)
        .collect::<Result<_, _>>()
        .context("events are JSON")?;
    for (name, lines) in [
        ("world.json", &vec![world]),
        ("rounds.jsonl", &rounds),
        ("truth.txt", &truths),
        ("events.jsonl", &events),
    ] {
        fs::write(out.join(name), lines.join("\n") + "\n")
            .with_context(|| format!("cannot write {name}"))?;
    }
    Ok(())
}

pub(crate) fn of_style(style: &Style, score: &mut Score) {
    let (lines, truths, nuisances) = crate::other::recording(style);
    let mut judge = Judge::new(&style.world().to_string()).expect("the world can be read");
    for line in &lines {
        judge.line(line);
    }
    let claims = claims(&judge.finish());
    score.slack = style.slack();
    score.seed = style.seed;
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
