//! The truth about paths: read hop by hop from the forwarding tables that the routers really use, for each family.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::control::{Flow, TrueHop, Truth};
use crate::network::{Network, Role, host_name};
use crate::scenario::Scenario;

/// More routers than any sane path has.
const MOST_HOPS: usize = 30;

/// One answer of `ip -json route get`.
#[derive(Clone, Debug, Deserialize)]
struct Route {
    gateway: Option<IpAddr>,
    dev: Option<String>,
    prefsrc: Option<IpAddr>,
}

/// A way through the network.
struct Way {
    last: usize,
    /// Each router and the address of the interface by which packets reach it.
    routers: Vec<(IpAddr, usize)>,
    delay: Duration,
}

/// One look at all forwarding tables: each is asked once.
struct Walker<'a> {
    network: &'a Network,
    delay: &'a dyn Fn(usize) -> Option<Duration>,
    known: RefCell<BTreeMap<(usize, IpAddr), Option<Route>>>,
}

/// The truth about every site and front door, over both families. `delay` says how long a link takes now; none when
/// nothing passes.
pub(crate) fn all(
    scenario: &Scenario,
    network: &Network,
    delay: &dyn Fn(usize) -> Option<Duration>,
) -> anyhow::Result<Vec<Truth>> {
    let walker = Walker {
        network,
        delay,
        known: RefCell::default(),
    };
    let mut truths = Vec::new();
    for site in &scenario.sites {
        let mut known: [Option<Truth>; 2] = [None, None];
        for door in &scenario.front_doors {
            for (destination, known) in scenario.addresses_of(door).into_iter().zip(&mut known) {
                // All front doors share one prefix, so one walk serves them all.
                let truth = match known {
                    Some(first) => Truth {
                        target: door.name.clone(),
                        destination,
                        ..first.clone()
                    },
                    None => walker.one(&site.name, &door.name, destination)?,
                };
                known.get_or_insert_with(|| truth.clone());
                truths.push(truth);
            }
        }
    }
    Ok(truths)
}

impl Walker<'_> {
    fn one(&self, site: &str, target: &str, destination: IpAddr) -> anyhow::Result<Truth> {
        let host = self.network.index(&host_name(site))?;
        let sources = self.network.host_addresses(site);
        let source = sources
            .into_iter()
            .flatten()
            .find(|source| source.is_ipv4() == destination.is_ipv4())
            .context("a site without a host")?;
        let there = self.walk(host, destination)?;
        let back = match &there {
            Some(way) => self.walk(way.last, source)?,
            None => None,
        };
        let edge = (there.as_ref()).and_then(|way| self.network.nodes.get(way.last));
        let delay = there.as_ref().zip(back.as_ref());
        let delay = delay.map(|(there, back)| (there.delay + back.delay).as_micros());
        let mut hops = Vec::new();
        let mut routers = Vec::new();
        for (reached_at, node) in there.iter().flat_map(|way| &way.routers) {
            hops.push(self.answers_with(*node, *reached_at, source)?);
            routers.extend(self.network.nodes.get(*node).map(|node| node.name.clone()));
        }
        Ok(Truth {
            site: site.to_owned(),
            target: target.to_owned(),
            destination,
            metro: back.and(edge).and_then(|node| node.metro.clone()),
            rtt_us: delay.and_then(|micros| u64::try_from(micros).ok()),
            hops,
            routers,
        })
    }

    /// The address by which a router answers a trace. Over IPv4 that of the interface by which the packet came, as the
    /// lab tells its kernels; over IPv6 the kernel knows one way only: that of the interface by which the answer leaves.
    fn answers_with(
        &self,
        node: usize,
        reached_at: IpAddr,
        source: IpAddr,
    ) -> anyhow::Result<IpAddr> {
        if reached_at.is_ipv4() {
            return Ok(reached_at);
        }
        let route = self.lookup(node, source)?;
        Ok(route.and_then(|route| route.prefsrc).unwrap_or(reached_at))
    }

    /// Follows the forwarding tables from a node to the host or front door that has `destination`.
    fn walk(&self, from: usize, destination: IpAddr) -> anyhow::Result<Option<Way>> {
        let network = self.network;
        let mut way = Way {
            last: from,
            routers: Vec::new(),
            delay: Duration::ZERO,
        };
        for _ in 0..MOST_HOPS {
            let Some(route) = self.lookup(way.last, destination)? else {
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
            if let Some(gateway) = route.gateway
                && !far.addresses().contains(&gateway)
            {
                let interface = &far.interface;
                bail!("{destination}: gateway {gateway} is not at the far end of {interface}");
            }
            let Some(crossing) = (self.delay)(wire) else {
                return Ok(None);
            };
            way.delay += crossing;
            way.last = far.node;
            let role = network.nodes.get(far.node).map(|node| node.role);
            if matches!(role, Some(Role::Host | Role::Edge)) {
                return Ok(Some(way));
            }
            let [four, six] = far.addresses();
            let reached_at = if destination.is_ipv4() { four } else { six };
            way.routers.push((reached_at, far.node));
        }
        bail!("the path to {destination} loops")
    }

    fn lookup(&self, node: usize, destination: IpAddr) -> anyhow::Result<Option<Route>> {
        if let Some(route) = self.known.borrow().get(&(node, destination)) {
            return Ok(route.clone());
        }
        let name = &self.network.nodes.get(node).context("no such node")?.name;
        let route = ask(name, &[destination.to_string()])?;
        let mut known = self.known.borrow_mut();
        known.insert((node, destination), route.clone());
        Ok(route)
    }
}

/// Follows one flow through the forwarding tables, each router asked as the packet would ask it.
pub(crate) fn of_flow(network: &Network, flow: &Flow) -> anyhow::Result<Vec<TrueHop>> {
    let mut node = network.index(&host_name(&flow.site))?;
    let sources = network.host_addresses(&flow.site).into_iter().flatten();
    let source = { sources }
        .find(|source| source.is_ipv4() == flow.destination.is_ipv4())
        .context("a site without a host")?;
    let mut arrived_by: Option<String> = None;
    let mut hops = Vec::new();
    while hops.len() < MOST_HOPS {
        let here = network.nodes.get(node).context("no such node")?;
        let question = question(flow, source, arrived_by.as_deref());
        let route = ask(&here.name, &question)?;
        let route = route.with_context(|| format!("{} has no route: {question:?}", here.name))?;
        let way_out = network
            .ends_of(node)
            .find(|(_, _, end)| Some(&end.interface) == route.dev.as_ref());
        let (wire, side, _) = way_out.with_context(|| format!("{route:?} is no link"))?;
        let wire = network.wires.get(wire).context("no such link")?;
        let far = wire.ends.get(1 - side).context("a wire has two ends")?;
        node = far.node;
        arrived_by = Some(far.interface.clone());
        let there = network.nodes.get(node).context("no such node")?;
        if matches!(there.role, Role::Host | Role::Edge) {
            return Ok(hops);
        }
        let [four, _] = far.addresses();
        // Over IPv6 the answer leaves by whichever of several equal ways back; it names that interface.
        let any = network.ends_of(node).map(|(_, _, end)| end.address6.into());
        hops.push(TrueHop {
            router: there.name.clone(),
            addresses: if source.is_ipv4() {
                vec![four]
            } else {
                any.collect()
            },
            answers: there.answers,
        });
    }
    bail!("the path to {} loops", flow.destination)
}

/// What `ip route get` is asked at one node. IPv6 takes the arriving interface for a packet without ports, and chooses by
/// other fields than for a real one; without it, it chooses right.
fn question(flow: &Flow, source: IpAddr, arrived_by: Option<&str>) -> Vec<String> {
    let mut words = vec![
        flow.destination.to_string(),
        "from".into(),
        source.to_string(),
    ];
    if let (true, Some(interface)) = (source.is_ipv4(), arrived_by) {
        words.extend(["iif".into(), interface.into()]);
    }
    let icmp = flow.protocol == "icmp";
    let protocol = if icmp && source.is_ipv6() {
        "ipv6-icmp"
    } else {
        &flow.protocol
    };
    words.extend(["ipproto".into(), protocol.into()]);
    if !icmp {
        words.extend(["sport".into(), flow.source_port.to_string()]);
        words.extend(["dport".into(), flow.destination_port.to_string()]);
    }
    words
}

fn ask(namespace: &str, question: &[String]) -> anyhow::Result<Option<Route>> {
    let output = Command::new("ip")
        .args(["-n", namespace, "-json", "route", "get"])
        .args(question)
        .output()
        .context("cannot start ip")?;
    if !output.status.success() {
        return Ok(None); // no route
    }
    let routes: Vec<Route> =
        serde_json::from_slice(&output.stdout).context("ip's answer is not understood")?;
    // What is unreachable on purpose has a route that leads nowhere.
    let leads = |route: &Route| route.dev.as_deref().is_some_and(|dev| dev != "lo");
    Ok(routes.into_iter().next().filter(leads))
}
