//! `firstmile-bench cost`: processor time, memory and open files of the engine.

use std::collections::BTreeMap;

use anyhow::Context;
use comfy_table::Table;

use crate::Output;
use crate::agent::{self, Programs, Surroundings};
use crate::capacity::{FPING_ROUNDS, read_fping, run_fping, values};
use crate::rig::{self, Path};
use crate::run::{self, Finished, Priority};
use firstmile_figures::Figures;

/// Probes of the part without batches.
const SINGLE: u16 = 2_000;

/// `cost`
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Probes of the batched part
    #[arg(long, default_value_t = 100_000)]
    probes: u32,
    /// Probes over which memory must not grow; the growth is given for 10 million
    #[arg(long, default_value_t = 10_000_000)]
    endurance: u32,
    /// Leaves out the engine by itself: the whole agent alone, for a look at a change
    #[arg(long)]
    agent_alone: bool,
    /// Routers between the whole agent and its targets, the same for all of them, each answering once a second as kernels do
    #[arg(long, default_value_t = 0)]
    routers: u8,
    #[command(flatten)]
    programs: Programs,
    #[command(flatten)]
    output: Output,
}

/// The runs that the figures are of.
struct Runs {
    batched: Finished,
    single: Finished,
    fping: Finished,
    long: Finished,
}

/// Runs the bench. Says whether all targets are met.
pub(crate) fn run(args: &Args) -> anyhow::Result<bool> {
    rig::build(Path::Direct)?;
    let mut figures = Figures::default();
    if !args.agent_alone {
        let runs = measure(args)?;
        processor(args, &runs, &mut figures);
        memory(args, &runs, &mut figures)?;
    }
    rig::add_way(args.routers)?;
    whole_agent(args, &mut figures)?;
    figures.publish(args.output.json.as_deref())
}

fn whole_agent(args: &Args, figures: &mut Figures) -> anyhow::Result<()> {
    let Some(surroundings) = Surroundings::open(&args.programs)? else {
        println!("{}", agent::NOT_MEASURED);
        for name in ["rss_mb", "cpu_pct", "cpu_pct_icmp_trace", "open_files"] {
            figures.note(name, serde_json::Value::Null);
        }
        return Ok(());
    };
    let (learning, cost) = surroundings.watch()?;
    println!(
        "whole agent: 20 targets by name, IPv4 and IPv6, default plan, {} routers on the way to all of them",
        args.routers
    );
    figures.at_most("rss_mb", cost.rss_mb.max(learning.rss_mb), 10.0);
    figures.note("rss_mb_steady", cost.rss_mb);
    figures.note("cpu_pct_learning", learning.processor_percent);
    figures.note("rss_anonymous_mb", cost.anonymous_mb);
    let mut table = Table::new();
    table.set_header(["its memory", "KiB resident"]);
    for (part, kib) in &cost.parts {
        table.add_row([part.name().to_owned(), kib.to_string()]);
        figures.note(&format!("rss_kib_{part:?}").to_lowercase(), *kib);
    }
    println!("{table}");
    figures.at_most("cpu_pct", cost.processor_percent, 0.5);
    let (_, icmp) = surroundings.watch_icmp()?;
    figures.at_most("cpu_pct_icmp_trace", icmp.processor_percent, 0.15);
    figures.at_most("open_files", count(cost.open_files_at_rest), 24.0);
    let most = cost.open_files_most.max(learning.open_files_most);
    figures.at_most("open_files_most", count(most), 64.0);
    Ok(())
}

fn count(files: usize) -> f64 {
    u32::try_from(files).map_or(f64::INFINITY, f64::from)
}

fn measure(args: &Args) -> anyhow::Result<Runs> {
    let own = |words: &[&str]| run::own(&run::line(words), Priority::Normal);
    let (probes, endurance) = (args.probes.to_string(), args.endurance.to_string());
    let (target, single) = (rig::TARGET.to_string(), SINGLE.to_string());
    Ok(Runs {
        batched: own(&[
            "flood",
            "--count",
            &probes,
            "--rate",
            "5000",
            "--tick-ms",
            "20",
            "--capacity",
            "1024",
        ])?,
        single: own(&[
            "echo",
            "--target",
            &target,
            "--count",
            &single,
            "--interval-us",
            "2000",
        ])?,
        fping: run_fping(FPING_ROUNDS)?,
        long: own(&["flood", "--count", &endurance, "--capacity", "1024"])?,
    })
}

fn processor(args: &Args, runs: &Runs, figures: &mut Figures) {
    let per_10k =
        |finished: &Finished, probes: f64| finished.processor.as_secs_f64() * 10_000.0 / probes;
    let batched = per_10k(&runs.batched, f64::from(args.probes));
    let single = per_10k(&runs.single, f64::from(SINGLE));
    let fping = per_10k(&runs.fping, read_fping(&runs.fping.text).0);
    let mut table = Table::new();
    table.set_header(["what", "processor s for 10,000 probes"]);
    for (name, cost) in [
        (
            "firstmile, 5,000 a second to 2,000 addresses, tick of 20 ms",
            batched,
        ),
        ("firstmile, one by one, 500 a second", single),
        ("fping -i 0, 2,000 addresses", fping),
    ] {
        table.add_row([name.to_owned(), format!("{cost:.3}")]);
    }
    println!("{table}");
    figures.at_most("cpu_s_per_10k", batched, 0.10);
    figures.note("cpu_s_per_10k_single", single);
    figures.note("fping_cpu_s_per_10k", fping);
}

/// Growth is that of the engine at work: from the first tenth on, by when it has met what a flood can bring.
fn memory(args: &Args, runs: &Runs, figures: &mut Figures) -> anyhow::Result<()> {
    let steady = values(&runs.batched)?;
    let grown = values(&runs.long)?;
    let value = |values: &BTreeMap<String, f64>, name: &str| {
        values
            .get(name)
            .copied()
            .with_context(|| format!("the engine did not say {name}"))
    };
    let per_10m = 10_000_000.0 / (f64::from(args.endurance) * 0.9);
    let growth = |name: &str| -> anyhow::Result<f64> {
        let first = value(&grown, &format!("{name}_1"))?;
        Ok((value(&grown, &format!("{name}_10"))? - first).max(0.0) * per_10m)
    };
    let tenths =
        (1..=10).map(|tenth| value(&grown, &format!("kib_{tenth}")).map(|kib| kib.to_string()));
    let tenths: Vec<String> = tenths.collect::<anyhow::Result<_>>()?;
    println!(
        "engine process, KiB resident after each tenth of {} probes: {}",
        args.endurance,
        tenths.join(" ")
    );
    figures.at_most("rss_growth_kb_per_10m", growth("kib")?, 100.0);
    figures.note("anonymous_growth_kb_per_10m", growth("anonymous_kib")?);
    figures.note("engine_rss_mb", value(&steady, "kib_10")? / 1_024.0);
    figures.note("engine_open_files", value(&steady, "open_files")?);
    Ok(())
}
