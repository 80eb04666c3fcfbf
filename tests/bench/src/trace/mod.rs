//! `firstmile-bench trace`: the agent's own program beside other traceroutes, over real kernel routers.

pub(crate) mod chain;
mod diamond;
mod multipath;
mod own;
mod peers;
mod rehearsal;
mod simulated;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use comfy_table::Table;

use crate::Output;
use crate::capture::Truth;
use crate::run::{self, Finished, Priority};
use crate::{clock, rig};
use chain::HOPS;
use firstmile_figures::{Figures, load};
use peers::{Peer, Shown};

/// `trace`
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The agent, whose `trace --json` is what is measured
    #[arg(long)]
    agent_bin: PathBuf,
    /// trippy's program
    #[arg(long)]
    trippy_bin: PathBuf,
    /// Rounds: the tools take turns, and the median of each counts
    #[arg(long, default_value_t = 5)]
    rounds: u16,
    /// Over IPv6
    #[arg(long)]
    ipv6: bool,
    /// Discoveries of each diamond of kernel routers, at least; 0 leaves them out
    #[arg(long, default_value_t = 18)]
    multipath_runs: u32,
    /// Discoveries of each simulated diamond
    #[arg(long, default_value_t = 4_000)]
    simulated_runs: u32,
    /// Folder for what each tool printed in the last round
    #[arg(long)]
    raw: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

/// A tool's runs, one for each round.
#[derive(Default)]
struct Runs {
    walls: Vec<f64>,
    /// Wall time inside the program, where it tells it.
    inside: Vec<f64>,
    processors: Vec<f64>,
    packets: Vec<f64>,
    /// Packets of the flow that sent most.
    flow_packets: Vec<f64>,
    /// In the worst round.
    missed: usize,
}

/// Runs the bench. Says whether all targets are met.
pub(crate) fn run(args: &Args) -> anyhow::Result<bool> {
    chain::build()?;
    multipath::build()?;
    let bench = Bench {
        args,
        to: chain::hop(HOPS, args.ipv6),
    };
    bench.warm_up()?;
    let far_rtt_s = bench.far_rtt_s()?;
    let (own, all) = bench.take_turns()?;
    print_table(far_rtt_s, &own, &all);
    println!(
        "{HOPS} hops of kernel routers with their default icmp_ratelimit, 2.5 ms each way on each link; median of {} runs of whole \
         processes at normal priority; load average {}",
        args.rounds,
        load()?
    );
    let mut figures = Figures::default();
    single(&mut figures, far_rtt_s, &own, &all);
    bench.losses(&mut figures)?;
    bench.picture(&mut figures)?;
    rehearsal::judge(&mut figures, &args.agent_bin)?;
    if args.multipath_runs > 0 {
        multipath::judge(
            &mut figures,
            &args.agent_bin,
            args.multipath_runs,
            args.simulated_runs,
        )?;
    }
    figures.publish(args.output.json.as_deref())
}

fn single(figures: &mut Figures, far_rtt_s: f64, own: &Runs, all: &BTreeMap<Peer, Runs>) {
    figures.note("far_rtt_s", far_rtt_s);
    figures.at_most("wall_s", median(&own.walls), 1.25 * far_rtt_s + 0.010);
    if !own.inside.is_empty() {
        figures.note("wall_inside_s", median(&own.inside));
    }
    let most = f64::from(HOPS) + 4.0;
    figures.at_most("probes_per_flow", median(&own.flow_packets), most);
    figures.note("hops", HOPS);
    figures.at_most("hops_missed", count(own.missed), 0.0);
    for (peer, name) in [
        (Peer::Trippy, "trippy_wall_s"),
        (Peer::Mtr, "mtr_wall_s"),
        (Peer::ScamperParis, "scamper_wall_s"),
        (Peer::TracerouteTcp, "traceroute_wall_s"),
    ] {
        if let Some(runs) = all.get(&peer) {
            figures.note(name, median(&runs.walls));
        }
    }
}

/// The bench, once its chain stands.
struct Bench<'a> {
    args: &'a Args,
    to: IpAddr,
}

impl Bench<'_> {
    /// Resolves all neighbours, and has every program read from the disk.
    fn warm_up(&self) -> anyhow::Result<()> {
        let to = self.to.to_string();
        let line = run::line(&["ping", "-c", "3", "-i", "0.2", &to]);
        let finished = run::tool(&line, Priority::Normal)?;
        anyhow::ensure!(
            finished.text.contains(" 0% packet loss"),
            "the chain does not carry echoes: {}",
            finished.text
        );
        self.run(
            &own::line(&self.args.agent_bin, self.to, 1, 1),
            "warm-up",
            1,
        )?;
        Ok(())
    }

    fn far_rtt_s(&self) -> anyhow::Result<f64> {
        let line = run::line(&["ping", "-c", "11", "-i", "0.2", &self.to.to_string()]);
        let finished = run::tool(&line, Priority::Normal)?;
        let rtts = finished.text.lines().filter_map(|line| {
            let (millis, _) = line.split_once("time=")?.1.split_once(" ms")?;
            millis.parse::<f64>().ok()
        });
        let rtts: Vec<f64> = rtts.collect();
        anyhow::ensure!(!rtts.is_empty(), "ping says no RTT: {}", finished.text);
        Ok(median(&rtts) / 1_000.0)
    }

    fn take_turns(&self) -> anyhow::Result<(Runs, BTreeMap<Peer, Runs>)> {
        let (mut own, mut all) = (Runs::default(), BTreeMap::<Peer, Runs>::new());
        for _ in 0..self.args.rounds {
            let (finished, truth) = self.run(
                &own::line(&self.args.agent_bin, self.to, 1, 1),
                "firstmile",
                1,
            )?;
            let found = own::read(&finished.text)?;
            own.inside.extend(found.wall_s);
            own.add(&finished, &truth, self.missed(&found.shown));
            for peer in Peer::ALL {
                let line = peer.line(self.to, &self.args.trippy_bin);
                let (finished, truth) =
                    self.run(&line, &format!("{peer:?}"), peer.packets_a_hop())?;
                let shown = peer
                    .read(&finished.text)
                    .with_context(|| format!("cannot read {}", peer.name()))?;
                let missed = self.missed(&shown);
                all.entry(peer).or_default().add(&finished, &truth, missed);
            }
        }
        Ok((own, all))
    }

    /// Losses shown at hops of a path that loses nothing: by mtr in a hurry, by the agent, and by the agent beside that mtr.
    fn losses(&self, figures: &mut Figures) -> anyhow::Result<()> {
        let hasty = peers::hasty_mtr(self.to);
        let (finished, _) = self.run(&hasty, "mtr-hasty", 8)?;
        let mtr = peers::read_mtr(&finished.text)?;
        figures.note("mtr_false_loss_hops", false_losses(&mtr));
        let worst = mtr
            .values()
            .filter_map(|hop| hop.loss_ratio)
            .fold(0.0, f64::max);
        figures.note("mtr_worst_false_loss_ratio", worst);
        let line = own::line(&self.args.agent_bin, self.to, 8, 2);
        let (finished, _) = self.run(&line, "firstmile-losses", 8)?;
        let alone = own::read(&finished.text)?;
        figures.at_most("false_loss_hops", count(false_losses(&alone.shown)), 0.0);
        let beside = std::thread::scope(|scope| {
            let mtr = scope.spawn(|| run::tool(&hasty, Priority::Normal));
            let beside = self.run(&line, "firstmile-beside-mtr", 8);
            drop(mtr.join());
            beside
        })?;
        let beside = own::read(&beside.0.text)?;
        let shown = count(false_losses(&beside.shown));
        figures.at_most("false_loss_hops_beside_mtr", shown, 0.0);
        println!(
            "a path without loss: `mtr -i 0.1 -c 100` shows loss at {} of {HOPS} hops, up to {:.0} %; the agent, 8 flows twice, at {}; \
             the agent while that mtr runs, at {shown}",
            false_losses(&mtr),
            worst * 100.0,
            false_losses(&alone.shown)
        );
        Ok(())
    }

    /// All eight flows once.
    fn picture(&self, figures: &mut Figures) -> anyhow::Result<()> {
        let line = own::line(&self.args.agent_bin, self.to, 8, 1);
        let (finished, truth) = self.run(&line, "firstmile-8-flows", 8)?;
        let found = own::read(&finished.text)?;
        figures.at_most("picture_8_flows_s", finished.wall.as_secs_f64(), 10.0);
        figures.at_most("picture_8_flows_silent", count_of(found.silent), 0.0);
        figures.note("picture_8_flows_packets", truth.probes());
        let to = self.to;
        let (finished, _) = self.run(&peers::scamper_multipath(to), "scamper-multipath", 8)?;
        let (addresses, packets) = peers::read_scamper_multipath(&finished.text)?;
        figures.note("scamper_mda_wall_s", finished.wall.as_secs_f64());
        figures.note("scamper_mda_packets", packets);
        figures.note("scamper_mda_addresses", addresses.len());
        Ok(())
    }

    /// Runs a program beside a capture, and then waits until routers that answer `packets` a second apart have forgotten it.
    fn run(&self, line: &[String], name: &str, packets: u16) -> anyhow::Result<(Finished, Truth)> {
        let capture = rig::capture()?;
        let finished = run::tool(line, Priority::Normal)?;
        let truth = capture.finish()?;
        if let Some(folder) = &self.args.raw {
            keep(folder, name, &finished.text)?;
        }
        clock::pass(packets.min(8) * 1_000);
        Ok((finished, truth))
    }

    /// Hops that a tool does not show, or shows another router at.
    fn missed(&self, shown: &Shown) -> usize {
        let is_right = |ttl: &u8| {
            let hop = chain::hop(*ttl, self.args.ipv6);
            shown
                .get(ttl)
                .is_some_and(|here| here.addresses.iter().eq([&hop]))
        };
        (1..=HOPS).filter(|ttl| !is_right(ttl)).count()
    }
}

impl Runs {
    fn add(&mut self, finished: &Finished, truth: &Truth, missed: usize) {
        self.walls.push(seconds(finished.wall));
        self.processors.push(seconds(finished.processor));
        self.packets.push(f64::from(truth.probes()));
        self.flow_packets
            .push(f64::from(truth.most_probes_of_a_flow()));
        self.missed = self.missed.max(missed);
    }
}

fn print_table(far_rtt_s: f64, own: &Runs, all: &BTreeMap<Peer, Runs>) {
    let mut table = Table::new();
    table.set_header([
        "tool",
        "wall s",
        "x far RTT",
        "x firstmile",
        "packets",
        "processor ms",
        "hops missed",
    ]);
    let first = ("firstmile-agent trace (TCP 443, 1 flow)", own);
    let peers = all.iter().map(|(peer, runs)| (peer.name(), runs));
    for (name, runs) in std::iter::once(first).chain(peers) {
        let wall = median(&runs.walls);
        table.add_row([
            name.to_owned(),
            format!("{wall:.3}"),
            format!("{:.2}", wall / far_rtt_s),
            format!("{:.1}", wall / median(&own.walls)),
            format!("{:.0}", median(&runs.packets)),
            format!("{:.0}", median(&runs.processors) * 1_000.0),
            format!("{} of {HOPS}", runs.missed),
        ]);
    }
    println!("{table}");
}

/// Routers at which loss is shown; the destination is none.
fn false_losses(shown: &Shown) -> usize {
    let routers = shown.range(..HOPS);
    routers
        .filter(|(_, hop)| hop.loss_ratio.is_some_and(|ratio| ratio > 0.0))
        .count()
}

fn keep(folder: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let file = folder.join(name);
    std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
        .get(sorted.len().saturating_sub(1) / 2)
        .copied()
        .unwrap_or(f64::INFINITY)
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

fn count(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::INFINITY, f64::from)
}

fn count_of(number: u64) -> f64 {
    u32::try_from(number).map_or(f64::INFINITY, f64::from)
}
