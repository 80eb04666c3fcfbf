//! `cargo xtask bench`: figures beside named peers, in the same run.

use std::process::Command;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::artefacts::{self, Profile};
use crate::needs::{self, Package};
use crate::{lab, step, tree};

/// The peers that the benches run.
const PEERS: &[Package] = &[
    Package {
        name: "fping",
        program: "fping",
        why: "a peer of the benches",
    },
    Package {
        name: "iputils-ping",
        program: "ping",
        why: "a peer of the benches",
    },
    Package {
        name: "iproute2",
        program: "ip",
        why: "the links that the benches measure over",
    },
];

#[derive(Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    command: BenchCommand,
}

#[derive(Subcommand)]
enum BenchCommand {
    /// RTT error against a capture of the same packets, at ease and with every core saturated
    Accuracy(PassedOn),
    /// Echoes a second to 2,000 addresses, and what gets lost
    Capacity(PassedOn),
    /// Processor time, memory and open files, of the engine and of the whole agent
    Cost(PassedOn),
    /// RTT, paths and a failover that the whole product sees, against the lab's truth
    Lab(lab::CheckArgs),
}

#[derive(Args)]
struct PassedOn {
    /// Options of the bench itself; `-- --help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

pub(crate) fn bench(args: &BenchArgs) -> Result<()> {
    match &args.command {
        BenchCommand::Accuracy(options) => engine("accuracy", &["firstmile-bench"], options),
        BenchCommand::Capacity(options) => engine("capacity", &["firstmile-bench"], options),
        BenchCommand::Cost(options) => {
            artefacts::dashboard()?;
            let packages = ["firstmile-bench", "firstmile-agent", "firstmile-collector"];
            engine("cost", &packages, options)
        }
        BenchCommand::Lab(args) => lab::check(args),
    }
}

/// Runs a bench on optimised binaries; its figures go to `target/bench/NAME.json`.
fn engine(name: &str, packages: &[&str], passed_on: &PassedOn) -> Result<()> {
    needs::install(&PEERS.iter().collect::<Vec<_>>())?;
    let bin = artefacts::binaries(packages, Profile::Release)?;
    let json = tree::target().join(format!("bench/{name}.json"));
    let mut command = Command::new(bin.join("firstmile-bench"));
    command
        .arg(name)
        .arg("--json")
        .arg(json)
        .args(&passed_on.options);
    step::run(command.current_dir(tree::root()))
}
