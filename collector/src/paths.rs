//! `paths judge`: recorded rounds in, events out, by the classifier of the live collector.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Subcommand;
use firstmile_shift::judge::Judge;

/// Paths, offline.
#[derive(Debug, Subcommand)]
pub(super) enum PathsCommand {
    /// Read recorded rounds and print what the classifier says of them, one JSON object a line.
    Judge {
        /// What the collector would know: IP to AS, names, aliases, edge codes, agents, plan (JSON).
        #[arg(long, value_name = "FILE")]
        world: PathBuf,
        /// The rounds, one JSON object a line in order of arrival; `-` reads standard input.
        #[arg(long, value_name = "FILE")]
        rounds: PathBuf,
    },
}

/// Runs a command.
pub(super) fn run(command: &PathsCommand) -> Result<()> {
    match command {
        PathsCommand::Judge { world, rounds } => judge(world, rounds),
    }
}

fn judge(world: &Path, rounds: &Path) -> Result<()> {
    let text = std::fs::read_to_string(world)
        .with_context(|| format!("cannot read {}", world.display()))?;
    let mut judge = Judge::new(&text).with_context(|| world.display().to_string())?;
    for line in open(rounds)?.split(b'\n') {
        let line = line.with_context(|| format!("cannot read {}", rounds.display()))?;
        judge.line(&String::from_utf8_lossy(&line));
    }
    let (broken, first) = judge.broken();
    if broken > 0 {
        let mut error = io::stderr().lock();
        for one in first {
            writeln!(error, "line {}: {}", one.line, one.reason)?;
        }
        writeln!(error, "{broken} lines could not be read and were skipped")?;
    }
    let mut out = BufWriter::new(io::stdout().lock());
    for line in judge.finish() {
        serde_json::to_writer(&mut out, &line).context("cannot write an event")?;
        out.write_all(b"\n")
            .context("cannot write to standard output")?;
    }
    out.flush().context("cannot write to standard output")
}

fn open(rounds: &Path) -> Result<Box<dyn BufRead>> {
    if rounds == Path::new("-") {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let file = File::open(rounds).with_context(|| format!("cannot read {}", rounds.display()))?;
    Ok(Box::new(BufReader::with_capacity(1 << 20, file)))
}
