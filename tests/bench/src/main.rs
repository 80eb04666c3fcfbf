//! `firstmile-bench accuracy|capacity|cost|trace`: the measuring engine against the truth of a packet capture and against its peers.
//!
//! Everything runs in network namespaces of its own; the peers run in the same minutes under the same load. A table goes to
//! standard output, the figures to a JSON file. A target that is missed makes the program end with 1, and says by how much.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line program talks to its user"
)]

mod accuracy;
mod agent;
mod capacity;
mod capture;
mod child;
mod clock;
mod cost;
mod door;
mod frame;
mod names;
mod netns;
mod peers;
mod relay;
mod rig;
mod run;
mod smaps;
mod spinner;
mod statistics;
mod trace;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Measures the measuring engine.
#[derive(Parser)]
#[command(name = "firstmile-bench")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// RTT error against a capture of the same packets, at ease and with every core saturated; peers in the same run
    Accuracy(accuracy::Args),
    /// Echoes a second to 2,000 addresses, and what gets lost
    Capacity(capacity::Args),
    /// Processor time, memory and open files
    Cost(cost::Args),
    /// A path of 12 routers beside other traceroutes: wall time, packets, hops, false losses, missed branches
    Trace(trace::Args),
    /// What the benches run inside the rig
    #[command(subcommand, hide = true)]
    Child(child::Child),
}

/// Where the figures go.
#[derive(clap::Args, Debug)]
struct Output {
    /// File for the figures
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Accuracy(args) => accuracy::run(&args),
        Command::Capacity(args) => capacity::run(&args),
        Command::Cost(args) => cost::run(&args),
        Command::Trace(args) => trace::run(&args),
        Command::Child(child) => child::run(&child).map(|()| true),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
