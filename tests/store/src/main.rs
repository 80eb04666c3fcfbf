//! What the store of samples takes in bytes and time, beside named peers on the same samples. `cargo xtask bench store` runs it.
#![expect(clippy::print_stdout, reason = "a bench talks to its user")]

mod clock;
mod codec;
mod codings;
mod figures;
mod quantiles;
mod reference;
mod traces;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::figures::Figures;

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
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    let mut figures = Figures::default();
    codec::measure(options.agents, options.hours, options.seed, &mut figures)?;
    codings::measure(options.agents.min(100), options.seed, &mut figures);
    traces::measure(options.seed, &mut figures);
    quantiles::measure(options.seed, &mut figures);
    let met = figures.publish(options.json.as_deref())?;
    Ok(ExitCode::from(u8::from(!met)))
}
