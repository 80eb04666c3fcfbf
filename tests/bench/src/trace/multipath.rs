//! Misses of multipath discovery against the chance that it promises: over diamonds of kernel routers, and simulated ones.

use std::path::Path;

use comfy_table::Table;

use super::diamond::{self, Seen};
use super::simulated;
use crate::statistics::most_misses;
use firstmile_figures::Figures;

/// Widths of the diamonds.
const WIDTHS: [u8; 4] = [2, 3, 4, 8];

/// Builds the diamonds; the calling thread's namespace is that of the bench.
pub(crate) fn build() -> anyhow::Result<()> {
    WIDTHS.into_iter().try_for_each(diamond::build)
}

/// Discovers all diamonds, those of kernel routers at the same time.
pub(crate) fn judge(
    figures: &mut Figures,
    agent: &Path,
    runs: u32,
    simulated_runs: u32,
) -> anyhow::Result<()> {
    let real = std::thread::scope(|scope| {
        let discover = |width| scope.spawn(move || diamond::discover(agent, width, runs));
        let threads: Vec<_> = WIDTHS.into_iter().map(discover).collect();
        let ended = threads.into_iter().map(|thread| {
            thread
                .join()
                .unwrap_or_else(|_| anyhow::bail!("a diamond's thread panicked"))
        });
        ended.collect::<anyhow::Result<Vec<_>>>()
    })?;
    let imagined = WIDTHS
        .into_iter()
        .map(|width| simulated::discover(width, simulated_runs))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut table = Table::new();
    table.set_header([
        "diamond",
        "wide",
        "runs",
        "missed",
        "rate",
        "95 % of alpha",
        "packets a run",
    ]);
    add(&mut table, "kernel routers", &real);
    add(&mut table, "simulated", &imagined);
    println!("{table}");
    figures.note("mda_alpha", real.first().map_or(0.0, |seen| seen.alpha));
    for (name, all) in [
        ("mda_miss_rate", &real),
        ("mda_miss_rate_simulated", &imagined),
    ] {
        let (rate, most) = overall(all);
        figures.at_most(name, rate, most);
        // Each width for itself: one that misses more than promised may not hide behind the others.
        let beyond = all
            .iter()
            .filter(|seen| seen.missed > most_misses(seen.runs, seen.alpha));
        let beyond = u32::try_from(beyond.count()).unwrap_or(u32::MAX);
        figures.at_most(&format!("{name}_widths_beyond"), beyond.into(), 0.0);
    }
    Ok(())
}

/// The rate of misses over all widths, and the highest that the promise makes likely.
fn overall(all: &[Seen]) -> (f64, f64) {
    let runs: u32 = all.iter().map(|seen| seen.runs).sum();
    let missed: u32 = all.iter().map(|seen| seen.missed).sum();
    let alpha = all.first().map_or(0.0, |seen| seen.alpha);
    let of_runs = |count: u32| f64::from(count) / f64::from(runs.max(1));
    (of_runs(missed), of_runs(most_misses(runs, alpha)))
}

fn add(table: &mut Table, kind: &str, all: &[Seen]) {
    for seen in all {
        let runs = seen.runs.max(1);
        table.add_row([
            kind.to_owned(),
            seen.width.to_string(),
            seen.runs.to_string(),
            seen.missed.to_string(),
            format!("{:.4}", f64::from(seen.missed) / f64::from(runs)),
            format!("at most {}", most_misses(seen.runs, seen.alpha)),
            (seen.packets / u64::from(runs)).to_string(),
        ]);
    }
}
