//! `bgp judge` and `bgp replay`: recorded updates in, verdicts out, by the detector of the live collector. `bgp statistics`: what it counted.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Subcommand;
use firstmile_collector::clock;
use firstmile_collector::config::Config;
use firstmile_collector::route_statistics::{csv_of, statistics_of};
use firstmile_collector::store::route_counts::{Month, RouteMonths};
use firstmile_feeds::event::FeedId;
use firstmile_feeds::mrt::{self, Tally};
use firstmile_feeds::watch::Watch;
use firstmile_routing::judge::{Judge, Line, RulesFile};
use firstmile_wire::ids::OrganisationId;

use super::commands::{open_existing_store, print as print_text};

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
    /// Read MRT files and print what the detector says of them, one JSON object a line.
    Replay {
        /// What is registered, as for `judge` (JSON).
        #[arg(long, value_name = "FILE")]
        rules: PathBuf,
        /// MRT files or folders of them, in order: tables first, then updates; gzip and bzip2 too.
        #[arg(required = true, value_name = "MRT")]
        mrt: Vec<PathBuf>,
    },
    /// Print how routes to registered prefixes fared in a month, each prefix a line of CSV; the collector may run.
    Statistics {
        /// A month of UTC such as `2026-11`; this one without.
        #[arg(long)]
        month: Option<Month>,
    },
}

/// Runs a command that needs no configuration; `None`: this one does.
pub(super) fn run(command: &BgpCommand) -> Option<Result<()>> {
    match command {
        BgpCommand::Judge { rules, updates } => Some(judge(rules, updates)),
        BgpCommand::Replay { rules, mrt } => Some(replay(rules, mrt)),
        BgpCommand::Statistics { .. } => None,
    }
}

/// Prints the statistics of a month.
pub(super) async fn statistics(config: &Config, command: BgpCommand) -> Result<()> {
    let BgpCommand::Statistics { month } = command else {
        return Ok(());
    };
    let store = open_existing_store(config).await?;
    let month = month.unwrap_or_else(|| Month::of(clock::unix_ms()));
    let organisation = OrganisationId::default_organisation();
    let statistics = statistics_of(&store.route_counts(&organisation, month).await?);
    print_text(csv_of(month, &statistics).trim_end())
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

fn replay(rules: &Path, recordings: &[PathBuf]) -> Result<()> {
    let text = std::fs::read_to_string(rules)
        .with_context(|| format!("cannot read {}", rules.display()))?;
    let file = RulesFile::read(&text).with_context(|| rules.display().to_string())?;
    let (detector, vrps_after) = file.build().with_context(|| rules.display().to_string())?;
    let mut watch = Watch::new(detector);
    let mut tally = Tally::default();
    let mut out = BufWriter::new(io::stdout().lock());
    let mut failed = None;
    for recording in recordings {
        let files = mrt::files(recording)
            .with_context(|| format!("cannot read {}", recording.display()))?;
        for file in files {
            let reader =
                mrt::open(&file).with_context(|| format!("cannot read {}", file.display()))?;
            mrt::replay(reader, FeedId(0), &mut watch, &mut tally, |verdict| {
                let line = Line::of(None, verdict);
                failed = failed.take().or(print(&mut out, &[line]).err());
            });
        }
    }
    if let Some(vrps) = vrps_after {
        let at = tally.clock;
        let vrps = Box::new(vrps);
        let verdicts = watch.apply(firstmile_feeds::event::Event::Vrps { at, vrps });
        let lines: Vec<Line> = verdicts
            .into_iter()
            .map(|verdict| Line::of(None, verdict))
            .collect();
        print(&mut out, &lines)?;
    }
    failed.map_or(Ok(()), Err)?;
    out.flush().context("cannot write to standard output")?;
    let (announced, withdrawn, unread) = (tally.announced, tally.withdrawn, tally.unread);
    writeln!(
        io::stderr().lock(),
        "{announced} announcements, {withdrawn} withdrawals, {unread} records that could not be read"
    )?;
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
