//! Our own store of days, fed with the reference stream in pushes of 12, committed at most 500 ms apart.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use firstmile_days::{Days, Seal, fsck};

use crate::arrivals::Stream;
use crate::clock;
use crate::codec::count;
use firstmile_figures::Figures;

/// A push waits no longer for its commit; the rest of 500 ms is for the commit itself.
const COMMIT_EVERY: Duration = Duration::from_millis(400);
/// Samples between two looks at the clock.
const LOOK: usize = 1_200;

/// Writes the stream, and notes what that takes. What was written stays in `dir`.
pub(crate) fn ingest(
    dir: &Path,
    agents: u32,
    hours: usize,
    seed: u64,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let (mut days, _) = Days::open(dir, 0).context("cannot open the store")?;
    let mut stream = Stream::new(agents, seed);
    let (mut processor, mut wall, mut samples, mut commits) =
        (Duration::ZERO, Duration::ZERO, 0, 0);
    for _ in 0..hours * 2 {
        let arrivals = stream.half_hour();
        let (from, started) = (clock::processor(), clock::monotonic());
        let mut committed = started;
        for some in arrivals.chunks(LOOK) {
            for one in some {
                let taken = days.push(
                    one.agent,
                    one.series,
                    one.row,
                    one.scheduling_delay_us,
                    one.row.at_unix_ms,
                );
                ensure!(taken.is_ok(), "a sample of the stream is refused");
            }
            if clock::monotonic().saturating_sub(committed) >= COMMIT_EVERY {
                commit(&mut days)?;
                commits += 1;
                committed = clock::monotonic();
            }
        }
        commit(&mut days)?;
        commits += 1;
        processor += clock::processor().saturating_sub(from);
        wall += clock::monotonic().saturating_sub(started);
        samples += arrivals.len();
    }
    let all = Seal {
        rows: 1,
        after_ms: 0,
    };
    days.seal(i64::MAX, all)
        .context("cannot seal what is left")?;
    days.settle().context("cannot settle")?;
    drop(days);
    let report = fsck(dir).context("cannot check the store")?;
    ensure!(
        report.is_sound() && report.rows == samples,
        "the store holds {report:?} of {samples}"
    );
    figures.note("samples", samples);
    figures.note("store_commits", commits);
    figures.note("samples_per_s_wall", count(samples) / wall.as_secs_f64());
    figures.at_least(
        "samples_per_cpu_s",
        count(samples) / processor.as_secs_f64(),
        5e6,
    );
    let inbox = std::fs::metadata(dir.join("samples.db")).context("the catalogue is gone")?;
    let inbox = usize::try_from(inbox.len()).context("a file's size")?;
    let all = bytes_in(dir)?;
    // The catalogue is as large as its inbox ever was, whatever the days hold.
    figures.note("inbox_file_bytes", inbox);
    figures.at_most("bytes_per_sample", count(all - inbox) / count(samples), 2.7);
    figures.note("bytes_per_sample_with_inbox", count(all) / count(samples));
    Ok(())
}

fn commit(days: &mut Days) -> anyhow::Result<()> {
    days.commit(0).context("cannot commit")?;
    let when = Seal {
        after_ms: i64::MAX,
        ..Seal::default()
    };
    days.seal(0, when).context("cannot seal").map(drop)
}

/// Bytes of all files in a folder and below.
pub(crate) fn bytes_in(dir: &Path) -> anyhow::Result<usize> {
    let mut sum = 0;
    for entry in std::fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let entry = entry.context("cannot list a folder")?;
        let about = entry.metadata().context("cannot look at a file")?;
        sum += if about.is_dir() {
            bytes_in(&entry.path())?
        } else {
            usize::try_from(about.len()).unwrap_or(usize::MAX)
        };
    }
    Ok(sum)
}
