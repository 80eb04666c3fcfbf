//! `cargo xtask bench`: figures beside named peers, in the same run.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};
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

/// The peers of `trace` beyond these.
const TRACE_PEERS: &[Package] = &[
    Package {
        name: "mtr-tiny",
        program: "mtr",
        why: "a peer of the trace bench",
    },
    Package {
        name: "traceroute",
        program: "traceroute",
        why: "a peer of the trace bench",
    },
    Package {
        name: "scamper",
        program: "scamper",
        why: "a peer of the trace bench",
    },
];

/// The peers of `store`.
const STORE_PEERS: &[Package] = &[
    Package {
        name: "victoria-metrics",
        program: "victoria-metrics",
        why: "a peer of the store bench",
    },
    Package {
        name: "clickhouse-server",
        program: "clickhouse-server",
        why: "a peer of the store bench",
    },
];

/// trippy is no Debian package: this version is built from its crate.
const TRIPPY: &str = "0.13.0";

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
    /// A path of 12 routers beside mtr, traceroute, scamper and trippy: wall time, packets, hops, false losses, branches
    Trace(PassedOn),
    /// How fast BGP is read and judged, beside a bare parse; and the time from a socket to a stored alert
    Bgp(PassedOn),
    /// How right the path-shift classifier is, on seeded histories with known truth
    Shift(PassedOn),
    /// What samples take in bytes and processor time in the store of the collector, beside other stores
    Store(PassedOn),
    /// What a collector of 5,000 agents takes of memory and processor, and how soon it acknowledges
    Scale(PassedOn),
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
        BenchCommand::Accuracy(passed_on) => engine("accuracy", &[], passed_on),
        BenchCommand::Capacity(passed_on) => engine("capacity", &[], passed_on),
        BenchCommand::Cost(passed_on) => {
            artefacts::dashboard()?;
            engine("cost", &[AGENT, COLLECTOR], passed_on)
        }
        BenchCommand::Trace(passed_on) => trace(passed_on),
        BenchCommand::Bgp(options) => bgp(options),
        BenchCommand::Shift(options) => shift(options),
        BenchCommand::Store(options) => store(options),
        BenchCommand::Scale(options) => load("scale", "scale.json", options),
        BenchCommand::Lab(args) => lab::check(args),
    }
}

/// The benches that `cargo xtask test --full` runs, each with its options as they are.
pub(crate) const TIERS: [&str; 8] = [
    "accuracy", "bgp", "capacity", "cost", "trace", "shift", "store", "scale",
];

/// Runs one of [`TIERS`].
pub(crate) fn tier(name: &str) -> Result<()> {
    let usual = PassedOn {
        options: Vec::new(),
    };
    let command = match name {
        "accuracy" => BenchCommand::Accuracy(usual),
        "bgp" => BenchCommand::Bgp(usual),
        "capacity" => BenchCommand::Capacity(usual),
        "cost" => BenchCommand::Cost(usual),
        "trace" => BenchCommand::Trace(usual),
        "shift" => BenchCommand::Shift(usual),
        "store" => BenchCommand::Store(usual),
        "scale" => BenchCommand::Scale(usual),
        other => bail!("there is no bench {other}"),
    };
    bench(&BenchArgs { command })
}

fn trace(passed_on: &PassedOn) -> Result<()> {
    needs::install(&TRACE_PEERS.iter().collect::<Vec<_>>())?;
    let tools = tree::target().join("bench/tools");
    trippy(&tools)?;
    let mut options = vec![
        "--trippy-bin".to_owned(),
        tools.join("bin/trip").display().to_string(),
    ];
    options.extend(passed_on.options.iter().cloned());
    engine("trace", &[AGENT], &PassedOn { options })
}

/// Builds trippy once; cargo sees by itself whether this version is there.
fn trippy(tools: &Path) -> Result<()> {
    step::step(&format!("build trippy {TRIPPY}, a peer"), || {
        let mut cargo = step::command("cargo");
        cargo
            .args([
                "install",
                "trippy",
                "--version",
                TRIPPY,
                "--locked",
                "--quiet",
                "--root",
            ])
            .arg(tools)
            .current_dir(tree::root());
        step::run(&mut cargo)
    })
}

/// Programs of the product that a bench runs, each with the option that names it.
const AGENT: (&str, &str) = ("firstmile-agent", "--agent-bin");
const COLLECTOR: (&str, &str) = ("firstmile-collector", "--collector-bin");

/// Reads and judges routes made by rule; the figures go to `target/bench/bgp.json`.
fn bgp(passed_on: &PassedOn) -> Result<()> {
    artefacts::dashboard()?;
    let packages = ["firstmile-bench-routing", "firstmile-collector"];
    let bin = artefacts::binaries(&packages, Profile::Release)?;
    let mut command = Command::new(bin.join("firstmile-bench-routing"));
    command
        .arg("--json")
        .arg(tree::target().join("bench/bgp.json"))
        .arg("--collector-bin")
        .arg(bin.join("firstmile-collector"))
        .args(&passed_on.options);
    step::run(command.current_dir(tree::root()))
}

/// Judges seeded histories and scores them; the figures go to `target/bench/shift.json`.
fn shift(passed_on: &PassedOn) -> Result<()> {
    let bin = artefacts::binaries(&["firstmile-eval"], Profile::Release)?;
    let json = tree::target().join("bench/shift.json");
    let mut command = Command::new(bin.join("firstmile-eval"));
    command
        .arg("shift")
        .arg("--json")
        .arg(json)
        .args(&passed_on.options);
    step::run(command.current_dir(tree::root()))
}

/// Sends as agents do, by the thousand, to a collector beside; figures are added to `target/bench/FILE`.
fn load(what: &str, file: &str, passed_on: &PassedOn) -> Result<()> {
    let bin = artefacts::binaries(&["firstmile-loadgen"], Profile::Release)?;
    let json = tree::target().join("bench").join(file);
    let mut command = Command::new(bin.join("firstmile-loadgen"));
    command.arg(what).arg("--json").arg(json);
    step::run(command.args(&passed_on.options).current_dir(tree::root()))
}

/// Writes and reads the reference stream, and lets peers do the same; the figures go to `target/bench/store.json`.
fn store(passed_on: &PassedOn) -> Result<()> {
    needs::install(&STORE_PEERS.iter().collect::<Vec<_>>())?;
    let bin = artefacts::binaries(&["firstmile-bench-store"], Profile::Release)?;
    let json = tree::target().join("bench/store.json");
    let mut command = Command::new(bin.join("firstmile-bench-store"));
    command.arg("--json").arg(json).args(&passed_on.options);
    let stored = step::run(command.current_dir(tree::root()));
    // Its figures go into the same file, whatever was missed before.
    let usual = PassedOn {
        options: Vec::new(),
    };
    stored.and(load("socket", "store.json", &usual))
}

/// Runs a bench on optimised binaries; its figures go to `target/bench/NAME.json`.
fn engine(name: &str, programs: &[(&str, &str)], passed_on: &PassedOn) -> Result<()> {
    needs::install(&PEERS.iter().collect::<Vec<_>>())?;
    let mut packages = vec!["firstmile-bench"];
    packages.extend(programs.iter().map(|(package, _)| package));
    let bin = artefacts::binaries(&packages, Profile::Release)?;
    let json = tree::target().join(format!("bench/{name}.json"));
    let mut command = Command::new(bin.join("firstmile-bench"));
    command.arg(name).arg("--json").arg(json);
    for (package, option) in programs {
        command.arg(option).arg(bin.join(package));
    }
    step::run(command.args(&passed_on.options).current_dir(tree::root()))
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        _command: BenchCommand,
    }

    #[test]
    fn the_long_tests_run_every_bench_but_that_of_the_lab_which_is_a_tier_of_its_own() {
        let line = Line::command();
        let named = line.get_subcommands().map(clap::Command::get_name);
        let mut named: Vec<&str> = named.filter(|name| *name != "lab").collect();
        let mut tiers = TIERS;
        named.sort_unstable();
        tiers.sort_unstable();
        assert_eq!(named, tiers);
    }
}
