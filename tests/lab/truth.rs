//! The truth about paths: read hop by hop from the forwarding tables that the routers really use.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::control::Truth;
use crate::network::{Network, Role, host_name};
use crate::scenario::{FrontDoor, Scenario};

/// More routers than any sane path has.
const MOST_HOPS: usize = 30;

/// One answer of `ip -json route get`.
#[derive(Debug, Deserialize)]
struct Route {
    gateway: Option<Ipv4Addr>,
    dev: Option<String>,
}

/// A way through the network.
struct Way {
    last: usize,
    routers: Vec<(Ipv4Addr, usize)>,
    delay: Duration,
}

/// The truth about every site and front door. `delay` says how long a link takes now; none when nothing passes.
pub(crate) fn all(
    scenario: &Scenario,
    network: &Network,
    delay: &dyn Fn(usize) -> Option<Duration>,
) -> anyhow::Result<Vec<Truth>> {
    let mut truths = Vec::new();
    for site in &scenario.sites {
        let mut known: Option<Truth> = None;
        for door in &scenario.front_doors {
            // All front doors share one prefix, so one walk serves them all.
            let truth = match &known {
                Some(first) => Truth {
                    target: door.name.clone(),
                    destination: door.address,
                    ..first.clone()
                },
                None => one(network, &site.name, door, delay)?,
            };
            known.get_or_insert_with(|| truth.clone());
            truths.push(truth);
        }
    }
    Ok(truths)
}

fn one(
    network: &Network,
    site: &str,
    door: &FrontDoor,
    delay: &dyn Fn(usize) -> Option<Duration>,
) -> anyhow::Result<Truth> {
    let host = network.index(&host_name(site))?;
    let source = network
        .host_address(site)
        .context("a site without a host")?;
    let there = walk(network, host, door.address, delay)?;
    let back = match &there {
        Some(way) => walk(network, way.last, source, delay)?,
        None => None,
    };
    let edge = there.as_ref().and_then(|way| network.nodes.get(way.last));
    let names = |way: &Way| {
        way.routers
            .iter()
            .filter_map(|(_, node)| network.nodes.get(*node))
            .map(|node| node.name.clone())
            .collect()
    };
    Ok(Truth {
        site: site.to_owned(),
        target: door.name.clone(),
        destination: door.address,
        metro: back.as_ref().and(edge).and_then(|node| node.metro.clone()),
        rtt_us: there
            .as_ref()
            .zip(back.as_ref())
            .and_then(|(there, back)| u64::try_from((there.delay + back.delay).as_micros()).ok()),
        hops: there
            .as_ref()
            .map(|way| way.routers.iter().map(|(address, _)| *address).collect())
            .unwrap_or_default(),
        routers: there.as_ref().map(names).unwrap_or_default(),
    })
}

/// Follows the forwarding tables from a node to the host or front door that has `destination`.
fn walk(
    network: &Network,
    from: usize,
    destination: Ipv4Addr,
    delay: &dyn Fn(usize) -> Option<Duration>,
) -> anyhow::Result<Option<Way>> {
    let mut way = Way {
        last: from,
        routers: Vec::new(),
        delay: Duration::ZERO,
    };
    for _ in 0..MOST_HOPS {
        let Some(route) = lookup(network, way.last, destination)? else {
            return Ok(None);
        };
        let Some((wire, side, _)) = network
            .ends_of(way.last)
            .find(|(_, _, end)| Some(&end.interface) == route.dev.as_ref())
        else {
            return Ok(None);
        };
        let far = network
            .wires
            .get(wire)
            .and_then(|wire| wire.ends.get(1 - side))
            .context("a wire has two ends")?;
        if route.gateway.is_some_and(|gateway| gateway != far.address) {
            bail!(
                "{destination}: gateway {:?} is not at the far end of {}",
                route.gateway,
                far.interface
            );
        }
        let Some(crossing) = delay(wire) else {
            return Ok(None);
        };
        way.delay += crossing;
        way.last = far.node;
        let role = network.nodes.get(far.node).map(|node| node.role);
        if matches!(role, Some(Role::Host | Role::Edge)) {
            return Ok(Some(way));
        }
        way.routers.push((far.address, far.node));
    }
    bail!("the path to {destination} loops")
}

fn lookup(network: &Network, node: usize, destination: Ipv4Addr) -> anyhow::Result<Option<Route>> {
    let name = &network.nodes.get(node).context("no such node")?.name;
    let output = Command::new("ip")
        .args([
            "-n",
            name,
            "-json",
            "route",
            "get",
            &destination.to_string(),
        ])
        .output()
        .context("cannot start ip")?;
    if !output.status.success() {
        return Ok(None); // no route
    }
    let routes: Vec<Route> =
        serde_json::from_slice(&output.stdout).context("ip's answer is not understood")?;
    Ok(routes.into_iter().next())
}
