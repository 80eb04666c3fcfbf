//! `firstmile-bench cost`: processor time, memory and open files of the engine.

use anyhow::Context;
use comfy_table::Table;

use crate::Output;
use crate::capacity::{read_fping, run_fping, values};
use crate::figures::Figures;
use crate::rig::{self, Path};
use crate::run::{self, Finished, Priority};

/// `cost`
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Probes of the batched part
    #[arg(long, default_value_t = 100_000)]
    probes: u32,
    /// Probes over which memory must not grow; the growth is given for 10 million
    #[arg(long, default_value_t = 2_000_000)]
    endurance: u32,
    #[command(flatten)]
    output: Output,
}

/// Runs the bench. Says whether all targets are met.
pub(crate) fn run(args: &Args) -> anyhow::Result<bool> {
    rig::build(Path::Direct)?;
    let probes = args.probes.to_string();
    let batched = run::own(
        &run::line(&["flood", "--count", &probes, "--rate", "5000", "--tick-ms", "20", "--capacity", "1024"]),
        Priority::Normal,
    )?;
    let single = run::own(
        &run::line(&["echo", "--target", &rig::TARGET.to_string(), "--count", "2000", "--interval-us", "2000"]),
        Priority::Normal,
    )?;
    let fping = run_fping(args.probes / 2_000)?;
    let endurance = args.endurance.to_string();
    let long = run::own(&run::line(&["flood", "--count", &endurance, "--capacity", "1024"]), Priority::Normal)?;

    let (steady, grown) = (values(&batched)?, values(&long)?);
    let per_10k = |finished: &Finished, probes: f64| finished.processor.as_secs_f64() * 10_000.0 / probes;
    let own_batched = per_10k(&batched, f64::from(args.probes));
    let own_single = per_10k(&single, 2_000.0);
    let fping_cost = per_10k(&fping, read_fping(&fping.text).0);
    let mut table = Table::new();
    table.set_header(["what", "processor s for 10,000 probes"]);
    for (name, cost) in [
        ("firstmile, 5,000 a second to 2,000 addresses, tick of 20 ms", own_batched),
        ("firstmile, one by one, 500 a second", own_single),
        ("fping -i 0, 2,000 addresses", fping_cost),
    ] {
        table.add_row([name.to_owned(), format!("{cost:.3}")]);
    }
    println!("{table}");
    let value = |values: &std::collections::BTreeMap<String, f64>, name: &str| {
        values.get(name).copied().with_context(|| format!("the engine did not say {name}"))
    };
    let (early, late) = (value(&grown, "early_kib")?, value(&grown, "late_kib")?);
    let growth = (late - early).max(0.0) * 10_000_000.0 / (f64::from(args.endurance) * 0.9);
    println!("engine process: {late:.0} KiB resident after {endurance} probes, {early:.0} KiB after a tenth of them");
    let mut figures = Figures::default();
    figures.at_most("cpu_s_per_10k", own_batched, 0.10);
    figures.note("cpu_s_per_10k_single", own_single);
    figures.note("fping_cpu_s_per_10k", fping_cost);
    figures.at_most("rss_growth_kb_per_10m", growth, 100.0);
    figures.note("engine_rss_mb", value(&steady, "late_kib")? / 1_024.0);
    figures.note("engine_open_files", value(&steady, "open_files")?);
    // Of the whole agent on the default plan; this bench drives the engine alone.
    for name in ["rss_mb", "cpu_pct", "open_files"] {
        figures.note(name, serde_json::Value::Null);
    }
    println!("not measured here: rss_mb, cpu_pct, open_files of the whole agent on the default plan");
    figures.publish(args.output.json.as_deref())
}
