//! Known diamonds: a router that spreads flows over so many others by addresses and ports (`fib_multipath_hash_policy`).
//!
//! ```text
//! prober - spread - branch 1..width - join - destination
//! ```
//!
//! Each is a world of its own, so all have the same addresses. What is measured here is the stopping rule and not the limit of
//! a router's replies, which is switched off: many runs go on at once.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use anyhow::Context;

use super::chain::switch_on_forwarding;
use super::own;
use crate::netns;
use crate::run::{self, Priority};

/// Where the packets go.
pub(crate) const DESTINATION: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 2, 2));
/// The branches answer at this TTL.
const BRANCH_TTL: u8 = 2;
/// Runs at one time in one diamond.
const AT_ONCE: usize = 6;

/// What the runs over one diamond found.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) width: u8,
    pub(crate) runs: u32,
    /// Runs that did not find all branches.
    pub(crate) missed: u32,
    pub(crate) packets: u64,
    /// Promised probability of a miss.
    pub(crate) alpha: f64,
}

/// Builds one.
pub(crate) fn build(width: u8) -> anyhow::Result<()> {
    let names = ["prober", "spread", "join", "end"].map(|role| name(width, role));
    let branches: Vec<String> = (1..=width)
        .map(|branch| name(width, &branch.to_string()))
        .collect();
    let all: Vec<&String> = names.iter().chain(&branches).collect();
    let added = all.iter().fold(String::new(), |text, name| {
        text + "netns add " + name + "\n"
    });
    netns::ip_batch(None, &added)?;
    for name in all {
        netns::inside(name, || {
            switch_on_forwarding()?;
            netns::set("ipv4/conf/all/rp_filter", "0")?;
            netns::set("ipv4/conf/default/rp_filter", "0")?;
            netns::set("ipv4/icmp_ratelimit", "0")?;
            netns::set("ipv4/fib_multipath_hash_policy", "1")
        })?;
    }
    let [prober, spread, join, end] = names;
    let mut links = format!(
        "link add right netns {prober} type veth peer name left netns {spread}\n\
         link add right netns {join} type veth peer name left netns {end}\n"
    );
    for (index, branch) in (1..=width).zip(&branches) {
        writeln!(
            links,
            "link add b{index} netns {spread} type veth peer name left netns {branch}\n\
             link add right netns {branch} type veth peer name b{index} netns {join}"
        )
        .context("cannot write text")?;
    }
    netns::ip_batch(None, &links)?;
    netns::ip_batch(
        Some(&prober),
        &(side("right", "1.1") + "route add default via 198.18.1.2\n"),
    )?;
    netns::ip_batch(
        Some(&end),
        &(side("left", "2.2") + "route add default via 198.18.2.1\n"),
    )?;
    let (mut near, mut far) = (side("left", "1.2"), side("right", "2.1"));
    let mut hops = String::new();
    for (index, branch) in (1..=width).zip(&branches) {
        let (before, behind) = (10 + index, 30 + index);
        near += &side(&format!("b{index}"), &format!("{before}.1"));
        far += &side(&format!("b{index}"), &format!("{behind}.2"));
        write!(hops, " nexthop via 198.18.{before}.2").context("cannot write text")?;
        let text = side("left", &format!("{before}.2"))
            + &side("right", &format!("{behind}.1"))
            + &format!(
                "route add 198.18.2.0/24 via 198.18.{behind}.2\nroute add 198.18.1.0/24 via 198.18.{before}.1\n"
            );
        netns::ip_batch(Some(branch), &text)?;
    }
    netns::ip_batch(
        Some(&spread),
        &(near + "route add 198.18.2.0/24" + &hops + "\n"),
    )?;
    netns::ip_batch(
        Some(&join),
        &(far + "route add 198.18.1.0/24 via 198.18.31.1\n"),
    )
}

fn side(interface: &str, address: &str) -> String {
    format!("address add 198.18.{address}/24 dev {interface}\nlink set {interface} up\n")
}

fn name(width: u8, role: &str) -> String {
    format!("bench-d{width}-{role}")
}

/// Runs the agent's multipath discovery so many times, several at once.
pub(crate) fn discover(agent: &Path, width: u8, runs: u32) -> anyhow::Result<Seen> {
    let truth: BTreeSet<IpAddr> = (1..=width)
        .map(|branch| Ipv4Addr::new(198, 18, 10 + branch, 2).into())
        .collect();
    let mut seen = Seen {
        width,
        ..Seen::default()
    };
    let line = own::multipath_line(agent, DESTINATION);
    let prober = name(width, "prober");
    while seen.runs < runs {
        let outputs = std::thread::scope(|scope| {
            let one = || run::tool_in(&prober, &line, Priority::Normal);
            let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(one)).collect();
            let ended = threads.into_iter().map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| anyhow::bail!("a run panicked"))
            });
            ended.collect::<anyhow::Result<Vec<_>>>()
        })?;
        for output in outputs {
            let found = own::read_multipath(&output.text)?;
            let branches = found.hops.get(&BRANCH_TTL).cloned().unwrap_or_default();
            seen.runs += 1;
            seen.missed += u32::from(branches != truth);
            seen.packets += found.packets;
            seen.alpha = found.alpha;
        }
    }
    Ok(seen)
}
