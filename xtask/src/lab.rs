//! `cargo xtask lab`: the simulated internet, as a command.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};

use crate::artefacts::{self, Profile};
use crate::{needs, run, step, tree};

/// How often a command looks whether the lab still runs.
const LOOK: Duration = Duration::from_millis(250);

#[derive(Args)]
pub(crate) struct LabArgs {
    #[command(subcommand)]
    command: LabCommand,
}

#[derive(Subcommand)]
enum LabCommand {
    /// Make something happen in the running lab; `event list` names what can
    Event {
        /// Name of the event, such as pop-down, and its arguments
        #[arg(required = true, trailing_var_arg = true)]
        event: Vec<String>,
    },
    /// Say what the running lab looks like
    Status,
    /// Bring up a lab of its own and compare what is measured with the truth
    Check(CheckArgs),
    /// Bring up a lab of its own, make paths move again and again, and score what is flagged
    Score(ScoreArgs),
}

#[derive(Args)]
pub(crate) struct ScoreArgs {
    /// Where the figures are written
    #[arg(long, default_value = "target/bench/lab-shift.json")]
    json: PathBuf,
    /// How often each move is made
    #[arg(long, default_value_t = 1)]
    repetitions: u32,
    /// As often as the figures are stated for: 30 times, which takes half a day
    #[arg(long)]
    full: bool,
    /// Which moves are made, of: router, pop, peering, provider, edge
    #[arg(long)]
    events: Option<String>,
}

/// Repetitions of each move in a full score.
const FULL_REPETITIONS: u32 = 30;

#[derive(Args)]
pub(crate) struct CheckArgs {
    /// Where the figures are written
    #[arg(long, default_value = "target/lab-check.json")]
    json: PathBuf,
    /// How long nothing must be flagged
    #[arg(long, default_value = "5m")]
    quiet: String,
}

/// Where the lab of `cargo xtask run --lab` keeps its state.
pub(crate) fn state() -> PathBuf {
    tree::target().join("lab")
}

pub(crate) fn lab(args: &LabArgs) -> Result<()> {
    match &args.command {
        LabCommand::Event { event } => talk("event", event),
        LabCommand::Status => talk("status", &[]),
        LabCommand::Check(args) => check(args),
        LabCommand::Score(args) => score(args),
    }
}

/// Brings the lab up until Ctrl-C.
pub(crate) fn up(bin: &Path, dashboard: &str) -> Result<()> {
    let interrupted = run::interrupts()?;
    let mut lab = up_command(bin, &state(), dashboard)
        .process_group(run::OWN_GROUP)
        .spawn()
        .context("cannot start the lab")?;
    loop {
        if interrupted.recv_timeout(LOOK).is_ok() {
            println!("\n==> stopping the lab");
            return run::stop("lab", &mut lab);
        }
        if let Some(status) = lab.try_wait().context("cannot look after the lab")? {
            ensure!(
                status.success(),
                "the lab ended with {status}; its last lines above say why"
            );
            return Ok(());
        }
    }
}

/// The command that brings a lab up.
pub(crate) fn up_command(bin: &Path, state: &Path, dashboard: &str) -> Command {
    let mut command = Command::new(bin.join("firstmile-lab"));
    command
        .arg("up")
        .arg("--state")
        .arg(state)
        .args(["--dashboard", dashboard]);
    with_binaries(&mut command, bin);
    command.current_dir(tree::root());
    command
}

pub(crate) fn check(args: &CheckArgs) -> Result<()> {
    needs::install(&needs::LAB.iter().collect::<Vec<_>>())?;
    artefacts::dashboard()?;
    let bin = artefacts::binaries(
        &["firstmile-agent", "firstmile-collector", "firstmile-tests"],
        Profile::Dev,
    )?;
    let mut command = Command::new(bin.join("firstmile-lab"));
    command
        .arg("check")
        .arg("--json")
        .arg(&args.json)
        .args(["--quiet", &args.quiet]);
    with_binaries(&mut command, &bin);
    step::run(command.current_dir(tree::root()))
}

fn score(args: &ScoreArgs) -> Result<()> {
    needs::install(&needs::LAB.iter().collect::<Vec<_>>())?;
    artefacts::dashboard()?;
    let bin = artefacts::binaries(
        &["firstmile-agent", "firstmile-collector", "firstmile-tests"],
        Profile::Dev,
    )?;
    let repetitions = if args.full {
        FULL_REPETITIONS
    } else {
        args.repetitions
    };
    let mut command = Command::new(bin.join("firstmile-lab"));
    command.arg("score").arg("--json").arg(&args.json);
    command.args(["--repetitions", &repetitions.to_string()]);
    if let Some(events) = &args.events {
        command.args(["--events", events]);
    }
    with_binaries(&mut command, &bin);
    step::run(command.current_dir(tree::root()))
}

fn talk(verb: &str, arguments: &[String]) -> Result<()> {
    let lab = tree::target().join("debug/firstmile-lab");
    let lab = if lab.is_file() {
        lab
    } else {
        tree::target().join("release/firstmile-lab")
    };
    step::run(
        Command::new(lab)
            .arg(verb)
            .args(arguments)
            .arg("--state")
            .arg(state()),
    )
    .context("is a lab running? start one with: cargo xtask run --lab")
}

pub(crate) fn with_binaries(command: &mut Command, bin: &Path) {
    command.arg("--agent-bin").arg(bin.join("firstmile-agent"));
    command
        .arg("--collector-bin")
        .arg(bin.join("firstmile-collector"));
}
