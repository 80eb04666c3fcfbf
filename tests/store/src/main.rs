//! What the store of samples takes in bytes and time, beside named peers on the same samples. `cargo xtask bench store` runs it.
#![expect(clippy::print_stdout, reason = "a bench talks to its user")]

mod arrivals;
mod clickhouse;
mod clock;
mod codec;
mod codings;
mod own;
mod quantiles;
mod queries;
mod reference;
mod server;
mod traces;
mod victoria;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use firstmile_figures::Figures;

/// What the store of samples takes in bytes and time, beside named peers on the same samples.
#[derive(Debug, Parser)]
struct Options {
    /// Where the figures go
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Agents of the reference stream
    #[arg(long, default_value_t = 1_000)]
    agents: u32,
    /// Hours of the reference stream
    #[arg(long, default_value_t = 24)]
    hours: usize,
    /// Another stream of the same kind
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Measures answers alone
    #[arg(long)]
    queries: bool,
    /// Measures nobody else's stores
    #[arg(long)]
    alone: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    let mut figures = Figures::default();
    if options.queries {
        queries(&options, &mut figures)?;
        let met = figures.publish(options.json.as_deref())?;
        return Ok(ExitCode::from(u8::from(!met)));
    }
    codec::measure(options.agents, options.hours, options.seed, &mut figures)?;
    codings::measure(options.agents.min(100), options.seed, &mut figures);
    traces::measure(options.seed, &mut figures);
    quantiles::measure(options.seed, &mut figures);
    stores(&options, &mut figures)?;
    let met = figures.publish(options.json.as_deref())?;
    Ok(ExitCode::from(u8::from(!met)))
}

fn queries(options: &Options, figures: &mut Figures) -> anyhow::Result<()> {
    let Options {
        agents,
        hours,
        seed,
        ..
    } = *options;
    let dir = tempfile::tempdir().context("cannot make a folder")?;
    queries::measure(dir.path(), agents, hours, seed, figures)
}

/// Our store and its peers, one after the other on the same samples.
fn stores(options: &Options, figures: &mut Figures) -> anyhow::Result<()> {
    let Options {
        agents,
        hours,
        seed,
        alone,
        ..
    } = *options;
    let folder = || tempfile::tempdir().context("cannot make a folder");
    own::ingest(folder()?.path(), agents, hours, seed, figures)?;
    queries(options, figures)?;
    if alone {
        return Ok(());
    }
    victoria::ingest(folder()?.path(), agents, hours, seed, figures)?;
    figures.ratio_at_least("vm_ratio", "samples_per_cpu_s", "vm_samples_per_cpu_s", 3.0);
    figures.ratio_at_most(
        "vm_bytes_ratio",
        "bytes_per_sample",
        "vm_bytes_per_sample",
        0.9,
    );
    clickhouse::ingest(folder()?.path(), agents, hours, seed, figures)?;
    figures.ratio_at_least("vm_q_ratio", "vm_q_metro_ms", "q_metro_raw_ms", 5.0);
    figures.ratio_at_least(
        "clickhouse_q_ratio",
        "clickhouse_q_metro_ms",
        "q_metro_raw_ms",
        3.0,
    );
    figures.ratio_at_least(
        "clickhouse_q_rollup_ratio",
        "clickhouse_q_metro_ms",
        "q_metro_rollup_ms",
        20.0,
    );
    Ok(())
}
