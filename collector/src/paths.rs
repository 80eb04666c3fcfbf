//! `paths judge`: recorded rounds in, events out, by the classifier of the live collector.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Subcommand;
use firstmile_shift::judge::Judge;

/// A line that is longer is skipped: a round of 255 flows with 255 hops each takes less than 4 MB.
const LINE_MAX: u64 = 16 << 20;

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
    read_lines(&mut open(rounds)?, &mut judge)
        .with_context(|| format!("cannot read {}", rounds.display()))?;
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

/// Tells the judge each line, and of one that is too long that it is.
fn read_lines(from: &mut impl BufRead, judge: &mut Judge) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if from.by_ref().take(LINE_MAX).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if line.ends_with(b"\n") || (line.len() as u64) < LINE_MAX {
            judge.line(&String::from_utf8_lossy(&line));
        } else {
            judge.refuse("longer than 16 MiB");
            from.skip_until(b'\n')?;
        }
    }
}

fn open(rounds: &Path) -> Result<Box<dyn BufRead>> {
    if rounds == Path::new("-") {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let file = File::open(rounds).with_context(|| format!("cannot read {}", rounds.display()))?;
    Ok(Box::new(BufReader::with_capacity(1 << 20, file)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_too_long_is_named_and_the_others_are_read() {
        let gap = |ts: u32| format!(r#"{{"kind":"gap","agent":"a","ts":{ts},"until":{ts}}}"#);
        let mut text = gap(1).into_bytes();
        text.push(b'\n');
        text.resize(text.len() + usize::try_from(LINE_MAX).unwrap() + 7, b'x');
        text.extend_from_slice(format!("\n{}\r\n\n{}", gap(2), gap(9)).as_bytes());
        let mut judge = Judge::new("{}").unwrap();
        read_lines(&mut text.as_slice(), &mut judge).unwrap();
        let (broken, first) = judge.broken();
        assert_eq!((broken, first.first().map(|one| one.line)), (1, Some(2)));
        let last = serde_json::to_value(judge.finish()).unwrap();
        assert_eq!(
            last[0]["summary"]["seconds"], 8.0,
            "the last line needs no end"
        );
    }
}
