//! How right the path-shift classifier is: seeded histories with known truth, judged through `paths judge`'s own code.
#![expect(
    clippy::print_stdout,
    reason = "a command-line program talks to its user"
)]

mod baselines;
mod bench;
mod chance;
mod matching;
mod net;
mod other;
mod record;
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
        } => {
            bench::other(seed, histories, agents, days);
            Ok(())
        }
        Command::Generate {
            seed,
            agents,
            days,
            out,
        } => bench::generate(seed, agents, days, &out),
    }
}
