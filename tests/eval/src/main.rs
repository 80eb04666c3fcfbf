//! How right the path-shift classifier is: seeded histories with known truth, judged through `paths judge`'s own code.
#![expect(
    clippy::print_stdout,
    reason = "a command-line program talks to its user"
)]

mod baselines;
mod bench;
mod chance;
mod figures;
mod fit;
#[cfg(test)]
mod floor;
mod hardship;
mod matching;
mod net;
mod other;
mod record;
mod run;
mod score;
mod script;
mod sim;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Judge seeded histories and score them
    Shift(ShiftArgs),
    /// Judge recordings of a second internet, unlike the first, and score them
    Other {
        /// First seed; held-out seeds begin at 1000, tuning seeds below
        #[arg(long, default_value_t = 1_000)]
        seed: u64,
        /// Recordings, each with its own seed and style
        #[arg(long, default_value_t = 12)]
        histories: u64,
        /// Agents of a recording
        #[arg(long, default_value_t = 6)]
        agents: u64,
        /// Days of a recording
        #[arg(long, default_value_t = 1.0)]
        days: f64,
        /// Folder for each recording, in the judge's format, with its events and its truth
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Write a history in the judge's format, with its truth
    Generate {
        /// Seed
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Agents
        #[arg(long, default_value_t = 12)]
        agents: u64,
        /// Days
        #[arg(long, default_value_t = 1.0)]
        days: f64,
        /// Folder for world.json, rounds.jsonl, truth.jsonl
        #[arg(long)]
        out: PathBuf,
    },
}

#[derive(clap::Args)]
pub(crate) struct ShiftArgs {
    /// First seed; held-out seeds begin at 1000, tuning seeds below
    #[arg(long, default_value_t = 1_000)]
    pub seed: u64,
    /// Histories, each with its own seed
    #[arg(long, default_value_t = 12)]
    pub histories: u64,
    /// Agents of a history
    #[arg(long, default_value_t = 24)]
    pub agents: u64,
    /// Days of a history
    #[arg(long, default_value_t = 3.0)]
    pub days: f64,
    /// Agent-days without events, for what remaps and aliases cause
    #[arg(long, default_value_t = 3_000.0)]
    pub quiet_agent_days: f64,
    /// Judge what the generator writes in the judge's format, line by line; else the same messages unwritten, faster
    #[arg(long)]
    pub written: bool,
    /// Agents of one fleet without events, for incidents of groups; 0: none
    #[arg(long, default_value_t = 0)]
    pub fleet_agents: u64,
    /// Days of the fleet
    #[arg(long, default_value_t = 7.0)]
    pub fleet_days: f64,
    /// Agents that live three days through each hardship (loss, bad clocks, disorder and others); 0: none
    #[arg(long, default_value_t = 0)]
    pub stress_agents: u64,
    /// Where the figures of each seed are kept: a run that is broken off goes on there, and several may share the seeds
    #[arg(long)]
    pub parts: Option<PathBuf>,
    /// Print isotonic fits of the confidence; for tuning seeds
    #[arg(long)]
    pub fit: bool,
    /// Print what was missed and what was false
    #[arg(long)]
    pub examples: bool,
    /// Where the figures go
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Share of silent routers
    #[arg(long)]
    pub silent: Option<f64>,
    /// Share of wrong prefixes
    #[arg(long)]
    pub wrong_as: Option<f64>,
    /// Share of unnamed routers
    #[arg(long)]
    pub unnamed: Option<f64>,
    /// Share of lost answers
    #[arg(long)]
    pub loss: Option<f64>,
    /// Pinned flows
    #[arg(long, default_value_t = 8)]
    pub flows: u64,
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Shift(args) => bench::shift(&args),
        Command::Other {
            seed,
            histories,
            agents,
            days,
            out,
        } => bench::other(seed, histories, (agents, days), out.as_deref()),
        Command::Generate {
            seed,
            agents,
            days,
            out,
        } => bench::generate(seed, agents, days, &out),
    }
}
