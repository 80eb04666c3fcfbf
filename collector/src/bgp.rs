//! `bgp judge`: recorded updates in, verdicts out, by the detector of the live collector.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Subcommand;
use firstmile_routing::judge::{Judge, Line};

/// Routes, offline.
#[derive(Debug, Subcommand)]
pub(super) enum BgpCommand {
    /// Read recorded updates and print what the detector says of them, one JSON object a line.
    Judge {
        /// What is registered: prefixes, own ASes, RPKI, relations, when verdicts start and end (JSON).
        #[arg(long, value_name = "FILE")]
        rules: PathBuf,
        /// The updates, one RIS Live message a line in order of arrival; `-` reads standard input.
        #[arg(long, value_name = "FILE")]
        updates: PathBuf,
    },
}

/// Runs a command.
pub(super) fn run(command: &BgpCommand) -> Result<()> {
    match command {
        BgpCommand::Judge { rules, updates } => judge(rules, updates),
    }
}

fn judge(rules: &Path, updates: &Path) -> Result<()> {
    let text = std::fs::read_to_string(rules)
        .with_context(|| format!("cannot read {}", rules.display()))?;
    let mut judge = Judge::new(&text).with_context(|| rules.display().to_string())?;
    let mut out = BufWriter::new(io::stdout().lock());
    for line in open(updates)?.split(b'\n') {
        let line = line.with_context(|| format!("cannot read {}", updates.display()))?;
        print(&mut out, &judge.line(&String::from_utf8_lossy(&line)))?;
    }
    print(&mut out, &judge.finish())?;
    out.flush().context("cannot write to standard output")?;
    let (broken, first) = judge.broken();
    if broken > 0 {
        let mut error = io::stderr().lock();
        for one in first {
            writeln!(error, "line {}: {}", one.line, one.reason)?;
        }
        writeln!(error, "{broken} lines could not be read, or not wholly")?;
    }
    Ok(())
}

fn print(out: &mut impl Write, lines: &[Line]) -> Result<()> {
    for line in lines {
        serde_json::to_writer(&mut *out, line).context("cannot write a verdict")?;
        out.write_all(b"\n")
            .context("cannot write to standard output")?;
    }
    Ok(())
}

fn open(updates: &Path) -> Result<Box<dyn BufRead>> {
    if updates == Path::new("-") {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let file = File::open(updates).with_context(|| format!("cannot read {}", updates.display()))?;
    Ok(Box::new(BufReader::with_capacity(1 << 20, file)))
}
