//! `firstmile-bench capacity`: echoes a second to 2,000 addresses, and what gets lost.

use std::collections::BTreeMap;

use anyhow::Context;
use comfy_table::Table;

use crate::Output;
use crate::rig::{self, Path};
use crate::run::{self, Finished, Priority};
use firstmile_figures::{Figures, load};

const TARGETS: u32 = 2_000;
/// Rounds of fping over all targets.
pub(crate) const FPING_ROUNDS: u32 = 30;
/// The rate of the target.
const RATE: u32 = 100_000;

/// `capacity`
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Seconds that one run of the engine takes, about
    #[arg(long, default_value_t = 2)]
    seconds: u32,
    /// Rounds: the tools take turns. The best rate of each counts, for what disturbs it is other load; all losses count
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    #[command(flatten)]
    output: Output,
}

/// What a tool reached: its best rate, all its echoes and losses.
#[derive(Default)]
struct Reached {
    per_second: f64,
    echoes: f64,
    lost: f64,
}

impl Reached {
    fn add(&mut self, round: &Self) {
        self.per_second = self.per_second.max(round.per_second);
        self.echoes += round.echoes;
        self.lost += round.lost;
    }
}

/// Runs the bench. Says whether all targets are met.
pub(crate) fn run(args: &Args) -> anyhow::Result<bool> {
    rig::build(Path::Direct)?;
    let count = (RATE * args.seconds).to_string();
    let (mut paced, mut pushed, mut fping) =
        (Reached::default(), Reached::default(), Reached::default());
    for _ in 0..args.rounds {
        paced.add(&flood(&[
            "flood",
            "--count",
            &count,
            "--rate",
            &RATE.to_string(),
        ])?);
        pushed.add(&flood(&["flood", "--count", &count])?);
        fping.add(&self::fping()?);
    }
    let mut table = Table::new();
    table.set_header([
        "what",
        "echoes",
        "echoes a second, best round",
        "lost, all rounds",
    ]);
    for (name, reached) in [
        ("firstmile, asked for 100,000 a second", &paced),
        ("firstmile, as fast as possible", &pushed),
        ("fping -i 0", &fping),
    ] {
        table.add_row([
            name.to_owned(),
            whole(reached.echoes),
            whole(reached.per_second),
            whole(reached.lost),
        ]);
    }
    println!("{table}");
    println!(
        "{TARGETS} addresses behind one veth pair, normal priority, {} rounds; load average {}",
        args.rounds,
        load()?
    );
    let mut figures = Figures::default();
    figures.at_least("echo_per_s", pushed.per_second, f64::from(RATE));
    figures.at_most("lost_replies", paced.lost + pushed.lost, 0.0);
    figures.note("echo_per_s_paced", paced.per_second);
    figures.note("lost_replies_paced", paced.lost);
    figures.note("fping_echo_per_s", fping.per_second);
    figures.note("fping_lost_replies", fping.lost);
    figures.publish(args.output.json.as_deref())
}

fn flood(arguments: &[&str]) -> anyhow::Result<Reached> {
    let finished = run::own(&run::line(arguments), Priority::Normal)?;
    let values = values(&finished)?;
    let value = |name: &str| {
        values
            .get(name)
            .copied()
            .with_context(|| format!("the engine did not say {name}"))
    };
    let echoes = value("answered")? + value("lost")?;
    Ok(Reached {
        per_second: echoes * 1_000_000.0 / value("wall_us")?,
        echoes,
        lost: value("lost")?,
    })
}

/// Reads lines of `name value`.
pub(crate) fn values(finished: &Finished) -> anyhow::Result<BTreeMap<String, f64>> {
    let lines = finished.text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line
                .split_once(' ')
                .with_context(|| format!("`{line}` is no figure"))?;
            Ok((
                name.to_owned(),
                value
                    .parse()
                    .with_context(|| format!("`{line}` has no number"))?,
            ))
        })
        .collect()
}

/// fping in its fastest mode, with as many echoes as its 16-bit sequence numbers allow in the 10 s that it keeps them.
fn fping() -> anyhow::Result<Reached> {
    let finished = run_fping(FPING_ROUNDS)?;
    let (sent, received) = read_fping(&finished.text);
    anyhow::ensure!(sent > 0.0, "fping sent nothing: {}", finished.text);
    Ok(Reached {
        per_second: sent / finished.wall.as_secs_f64(),
        echoes: sent,
        lost: sent - received,
    })
}

/// `fping -i 0`, so many rounds over all targets.
pub(crate) fn run_fping(rounds: u32) -> anyhow::Result<Finished> {
    let mut line = run::line(&[
        "fping",
        "-q",
        "-i",
        "0",
        "-p",
        "1",
        "-t",
        "1000",
        "-c",
        &rounds.to_string(),
    ]);
    line.extend(rig::targets(TARGETS).map(|target| target.to_string()));
    run::tool(&line, Priority::Normal)
}

/// Sent and received, over all targets: `198.18.64.1 : xmt/rcv/%loss = 25/25/0%, min/avg/max = ...`
pub(crate) fn read_fping(text: &str) -> (f64, f64) {
    let mut sum = (0.0, 0.0);
    for line in text.lines() {
        let counts = line
            .split_once("%loss = ")
            .map(|(_, rest)| rest.split('/').map_while(|word| word.parse::<f64>().ok()));
        if let Some(mut counts) = counts {
            sum.0 += counts.next().unwrap_or(0.0);
            sum.1 += counts.next().unwrap_or(0.0);
        }
    }
    sum
}

fn whole(value: f64) -> String {
    format!("{value:.0}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_of_fping_is_summed() {
        let text = "198.18.64.1 : xmt/rcv/%loss = 25/25/0%, min/avg/max = 0.01/0.02/0.03\n198.18.64.2 : xmt/rcv/%loss = 25/20/20%\n";
        assert_eq!(format!("{:?}", read_fping(text)), "(50.0, 45.0)");
    }
}
