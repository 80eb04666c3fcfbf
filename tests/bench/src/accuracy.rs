//! `firstmile-bench accuracy`: RTT error against a capture of the same packets, on a 20 ms path.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::Context;
use comfy_table::Table;

use crate::peers::{self, Tool, micros};
use crate::rig::{self, Path, TARGET, TARGET_V6};
use crate::run::{self, Priority};
use crate::spinner::Spinners;
use crate::statistics::Errors;
use crate::{Output, clock};
use firstmile_figures::{Figures, load};

/// One way; both make the 20 ms of the targets.
const DELAY: Duration = Duration::from_millis(10);
/// No part of the path's 20 ms: at 5 ms each probe would leave at the very moment at which the reply to an earlier one comes
/// in, and one in 40 would be interrupted between the capture and the driver, by 20 µs, whichever tool sends it.
const INTERVAL: Duration = Duration::from_millis(7);
/// Between two handshakes; one takes the whole path.
const HANDSHAKE_INTERVAL: Duration = Duration::from_millis(21);

/// `accuracy`
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Probes of each tool in a round
    #[arg(long, default_value_t = 400)]
    probes: u16,
    /// Rounds: the tools take turns, so that all have the same minutes
    #[arg(long, default_value_t = 3)]
    rounds: u16,
    /// Over IPv6
    #[arg(long)]
    ipv6: bool,
    /// Leave out the part with every core saturated
    #[arg(long)]
    only_at_ease: bool,
    #[command(flatten)]
    output: Output,
}

impl Args {
    fn target(&self) -> IpAddr {
        if self.ipv6 {
            TARGET_V6.into()
        } else {
            TARGET.into()
        }
    }
}

/// Errors by tool.
type ByTool = BTreeMap<Tool, Vec<f64>>;

/// Errors of handshakes: by `TCP_INFO`, and by the clock around `connect`.
struct Handshakes {
    kernel: Vec<f64>,
    elapsed: Vec<f64>,
}

/// Runs the bench. Says whether all targets are met.
pub(crate) fn run(args: &Args) -> anyhow::Result<bool> {
    rig::build(Path::Delayed(DELAY))?;
    rig::listen()?;
    warm_up(args)?;
    let mut table = Table::new();
    table.set_header([
        "setting",
        "tool",
        "probes",
        "bias µs",
        "median error µs",
        "p99 µs",
        "worst µs",
    ]);
    let mut figures = Figures::default();

    let ease = echoes(args, Priority::AtEase)?;
    report(&mut table, "at ease", &ease);
    let own = quantiles(&ease, Tool::Firstmile)?;
    figures.at_most("icmp_err_us_p50", own.p50_us, 5.0);
    figures.at_most("icmp_err_us_p99", own.p99_us, 10.0);
    let fping = quantiles(&ease, Tool::Fping)?;
    figures.note("fping_err_us_p99", fping.p99_us);
    figures.at_least("fping_ratio", fping.p99_us / own.p99_us, 1.0);

    if !args.only_at_ease {
        let spinners = Spinners::start()?;
        clock::pass(500);
        let busy = echoes(args, Priority::Normal)?;
        let handshakes = handshakes(args, Priority::Normal)?;
        drop(spinners);
        report(&mut table, "busy", &busy);
        report_one(&mut table, "busy", "TCP by TCP_INFO", &handshakes.kernel);
        report_one(
            &mut table,
            "busy",
            "TCP by the clock around connect",
            &handshakes.elapsed,
        );
        judge_busy(&mut figures, &busy, &handshakes)?;
    }
    println!("{table}");
    println!(
        "at ease: SCHED_FIFO 10; busy: normal priority beside one endless loop on each core; load average {}",
        load()?
    );
    figures.publish(args.output.json.as_deref())
}

fn judge_busy(figures: &mut Figures, busy: &ByTool, handshakes: &Handshakes) -> anyhow::Result<()> {
    let (own, surge) = (
        quantiles(busy, Tool::Firstmile)?,
        quantiles(busy, Tool::Surge)?,
    );
    let fping = quantiles(busy, Tool::Fping)?;
    figures.at_most("icmp_err_us_p99_busy", own.p99_us, 25.0);
    figures.at_most("icmp_err_us_max_busy", own.max_us, 1_000.0);
    figures.note("surge_ping_err_us_p99_busy", surge.p99_us);
    figures.note("fping_err_us_p99_busy", fping.p99_us);
    figures.at_least("surge_ping_ratio_busy", surge.p99_us / own.p99_us, 50.0);
    figures.at_least("fping_ratio_busy", fping.p99_us / own.p99_us, 1.0);
    let kernel = Errors::of(&handshakes.kernel).context("no handshake was measured")?;
    figures.at_most("tcp_err_us_p50_busy", kernel.p50_us, 15.0);
    figures.at_most("tcp_err_us_p99_busy", kernel.p99_us, 30.0);
    if let Some(elapsed) = Errors::of(&handshakes.elapsed) {
        figures.note("connect_err_us_p99_busy", elapsed.p99_us);
    }
    Ok(())
}

/// The first packets resolve the neighbours; no tool shall pay for it.
fn warm_up(args: &Args) -> anyhow::Result<()> {
    let finished = run::tool(
        &run::line(&["ping", "-c", "3", "-i", "0.05", &args.target().to_string()]),
        Priority::Normal,
    )?;
    anyhow::ensure!(
        finished.text.contains(" 0% packet loss"),
        "the rig does not carry echoes: {}",
        finished.text
    );
    Ok(())
}

fn echoes(args: &Args, priority: Priority) -> anyhow::Result<ByTool> {
    let mut all = ByTool::new();
    for _ in 0..args.rounds {
        for tool in Tool::ALL {
            let capture = rig::capture()?;
            let finished = tool.run(args.target(), args.probes, INTERVAL, priority)?;
            let truth = capture.finish()?;
            let said = tool.read(&finished.text);
            all.entry(tool)
                .or_default()
                .extend(peers::errors(&said, &truth));
        }
    }
    Ok(all)
}

fn handshakes(args: &Args, priority: Priority) -> anyhow::Result<Handshakes> {
    let capture = rig::capture()?;
    let (target, count) = (args.target().to_string(), args.probes.min(500).to_string());
    let interval = HANDSHAKE_INTERVAL.as_micros().to_string();
    let line = run::line(&[
        "tcp",
        "--target",
        &target,
        "--count",
        &count,
        "--interval-us",
        &interval,
    ]);
    let finished = run::own(&line, priority)?;
    let truth = capture.finish()?;
    let mut all = Handshakes {
        kernel: Vec::new(),
        elapsed: Vec::new(),
    };
    for line in finished.text.lines() {
        let words: Vec<f64> = line
            .split(' ')
            .map_while(|word| word.parse().ok())
            .collect();
        let (&[_, kernel, elapsed, _], Some(Ok(port))) =
            (words.as_slice(), line.split(' ').next().map(str::parse))
        else {
            continue;
        };
        if let Some(true_rtt) = truth.handshake(port) {
            all.kernel.push(kernel / 1_000.0 - micros(true_rtt));
            all.elapsed.push(elapsed / 1_000.0 - micros(true_rtt));
        }
    }
    Ok(all)
}

fn quantiles(all: &ByTool, tool: Tool) -> anyhow::Result<Errors> {
    all.get(&tool)
        .and_then(|errors| peers::quantiles(errors))
        .with_context(|| format!("{} measured nothing", tool.name()))
}

fn report(table: &mut Table, setting: &str, all: &ByTool) {
    for (tool, errors) in all {
        report_one(table, setting, tool.name(), errors);
    }
}

fn report_one(table: &mut Table, setting: &str, name: &str, errors: &[f64]) {
    let mut row = vec![setting.to_owned(), name.to_owned()];
    match Errors::of(errors) {
        Some(errors) => {
            row.push(errors.count.to_string());
            row.extend(
                [errors.bias_us, errors.p50_us, errors.p99_us, errors.max_us]
                    .map(|us| format!("{us:.1}")),
            );
        }
        None => row.push("none".to_owned()),
    }
    table.add_row(row);
}
