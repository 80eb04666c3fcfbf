//! From a scenario to a numbered network: nodes, wires, addresses, sessions, names. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::Context;
use ipnet::Ipv4Net;

use crate::scenario::{Answers, Relation, Scenario, Site};
use crate::twin;

/// Local preference of what customers, peers and providers announce; the gaps leave room for costs.
pub(crate) const FROM_CUSTOMER: u32 = 300;
const FROM_PEER: u32 = 200;
const FROM_PROVIDER: u32 = 100;
/// A route below this was not heard from a customer, and is told to customers only (valley-free routing).
pub(crate) const LEAST_FROM_CUSTOMER: u32 = 220;
/// How much worse a route looks one router further inside a system.
const INTERNAL_COST: u32 = 20;

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A router of a provider, a transit or Microsoft.
    Router,
    /// The router of a site.
    SiteRouter,
    /// The machine with the agent.
    Host,
    /// The machine that answers for the front doors.
    Edge,
}

/// One network namespace.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) asn: u32,
    pub(crate) metro: Option<String>,
    pub(crate) dns: Option<String>,
    pub(crate) reflector: bool,
    pub(crate) answers: Answers,
    /// What it originates into BGP.
    pub(crate) originates: Option<Ipv4Net>,
    /// Identity in BGP.
    pub(crate) router_id: Ipv4Addr,
}

/// One end of a wire.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) node: usize,
    pub(crate) interface: String,
    pub(crate) address: Ipv4Addr,
    /// Its twin.
    pub(crate) address6: Ipv6Addr,
    pub(crate) bgp: Option<Neighbour>,
}

/// A BGP session as one end sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Neighbour {
    pub(crate) peer: Ipv4Addr,
    pub(crate) asn: u32,
    pub(crate) internal: bool,
    /// External: what is heard gets this preference. Internal: this much is taken off.
    pub(crate) preference: u32,
    /// Whether all routes are told, not only own ones and those of customers.
    pub(crate) tell_all: bool,
    /// How often the own number is put in front once more.
    pub(crate) prepend: u32,
}

/// A wire of the emulator.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    pub(crate) name: String,
    pub(crate) ends: [End; 2],
    /// What both addresses are in.
    pub(crate) subnet: Ipv4Net,
    pub(crate) delay: Duration,
    pub(crate) jitter: Duration,
    pub(crate) loss_ratio: f64,
}

/// The numbered network.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) nodes: Vec<Node>,
    pub(crate) wires: Vec<Wire>,
    /// Addresses that every front door machine has, of both families, its name server's too.
    pub(crate) anycast: Vec<IpAddr>,
    /// Whether equally good paths are all used.
    pub(crate) multipath: bool,
}

impl End {
    /// Its address of each family.
    pub(crate) const fn addresses(&self) -> [IpAddr; 2] {
        [IpAddr::V4(self.address), IpAddr::V6(self.address6)]
    }
}

/// Which two interfaces a wire joins, before it is numbered.
struct Draft<'a> {
    ends: [&'a str; 2],
    delay: Duration,
    jitter: Duration,
    loss_ratio: f64,
    bgp: Option<[Terms; 2]>,
}

/// What a BGP neighbour means to one end.
#[derive(Clone, Copy)]
struct Terms {
    preference: u32,
    tell_all: bool,
    prepend: u32,
}

impl Network {
    /// Numbers the scenario's network.
    pub(crate) fn plan(scenario: &Scenario) -> anyhow::Result<Self> {
        let anycast = (scenario.front_doors.iter())
            .map(|door| scenario.addresses_of(door))
            .chain(scenario.resolver())
            .flatten()
            .collect();
        let mut network = Self {
            nodes: nodes(scenario),
            wires: Vec::new(),
            anycast,
            multipath: scenario.multipath,
        };
        let mut pools: BTreeMap<u32, _> = (scenario.systems.iter())
            .map(|system| {
                (
                    system.number,
                    system.infrastructure.subnets(31).into_iter().flatten(),
                )
            })
            .collect();
        for draft in drafts(scenario) {
            let [from, to] = draft.ends;
            let (from, to) = (network.index(from)?, network.index(to)?);
            // Numbered by the farther system: in a trace towards Microsoft each router answers with its own system's address.
            let asn = network.nodes.get(to).map_or(0, |node| node.asn);
            let subnet = pools.get_mut(&asn).and_then(Iterator::next);
            let subnet = subnet.with_context(|| format!("AS {asn} has no address left"))?;
            let addresses = [subnet.network(), subnet.broadcast()];
            network.push(&draft, [from, to], addresses, subnet);
        }
        for site in &scenario.sites {
            network.push_lan(site)?;
        }
        Ok(network)
    }

    /// The index of the node of that name.
    pub(crate) fn index(&self, name: &str) -> anyhow::Result<usize> {
        let found = self.nodes.iter().position(|node| node.name == name);
        found.with_context(|| format!("there is no node `{name}`"))
    }

    /// Where an agent lives: its address of each family.
    pub(crate) fn host_addresses(&self, site: &str) -> Option<[IpAddr; 2]> {
        let host = self.index(&host_name(site)).ok()?;
        self.ends_of(host).map(|(_, _, end)| end.addresses()).next()
    }

    /// All ends that sit on a node: the wire, which side of it, and the end.
    pub(crate) fn ends_of(&self, node: usize) -> impl Iterator<Item = (usize, usize, &End)> {
        let sides = |(index, wire): (usize, &'_ Wire)| {
            [(index, 0), (index, 1)].map(|pair| (pair, wire.ends.len()))
        };
        let pairs: Vec<(usize, usize)> = self
            .wires
            .iter()
            .enumerate()
            .flat_map(sides)
            .map(|(pair, _)| pair)
            .collect();
        pairs.into_iter().filter_map(move |(wire, side)| {
            let end = self.wires.get(wire)?.ends.get(side)?;
            (end.node == node).then_some((wire, side, end))
        })
    }

    /// The name of each address that has one.
    pub(crate) fn names(&self) -> impl Iterator<Item = (IpAddr, &str)> {
        let ends = self.wires.iter().flat_map(|wire| &wire.ends);
        let named = ends.filter_map(|end| Some((end, self.nodes.get(end.node)?.dns.as_deref()?)));
        named.flat_map(|(end, name)| end.addresses().map(|address| (address, name)))
    }

    fn push_lan(&mut self, site: &Site) -> anyhow::Result<()> {
        let host = host_name(&site.name);
        let draft = Draft {
            ends: [&host, &site.name],
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss_ratio: 0.0,
            bgp: None,
        };
        let ends = [self.index(&host)?, self.index(&site.name)?];
        let mut hosts = site.prefix.hosts();
        let gateway = hosts.next().context("a site's prefix is too small")?;
        let host = hosts.nth(8).context("a site's prefix is too small")?;
        self.push(&draft, ends, [host, gateway], site.prefix);
        Ok(())
    }

    fn push(
        &mut self,
        draft: &Draft<'_>,
        nodes: [usize; 2],
        addresses: [Ipv4Addr; 2],
        subnet: Ipv4Net,
    ) {
        let asn = nodes.map(|node| self.nodes.get(node).map_or(0, |node| node.asn));
        let end = |own: usize, other: usize| End {
            node: pick(nodes, own),
            interface: pick(draft.ends, other).to_owned(),
            address: pick(addresses, own),
            address6: twin::address(subnet, pick(addresses, own)),
            bgp: draft
                .bgp
                .map(|terms| pick(terms, own))
                .map(|terms| Neighbour {
                    peer: pick(addresses, other),
                    asn: pick(asn, other),
                    internal: pick(asn, own) == pick(asn, other),
                    preference: terms.preference,
                    tell_all: terms.tell_all,
                    prepend: terms.prepend,
                }),
        };
        self.wires.push(Wire {
            name: draft.ends.join(":"),
            ends: [end(0, 1), end(1, 0)],
            subnet,
            delay: draft.delay,
            jitter: draft.jitter,
            loss_ratio: draft.loss_ratio,
        });
    }
}

/// Prefix, number and name of each system, as the collector's `geo.ip_to_as` wants it.
pub(crate) fn ip_to_as(scenario: &Scenario) -> String {
    let mut lines = String::from("# prefix,asn,name of the lab\n");
    let mut line = |prefix: Ipv4Net, asn: u32, name: &str| {
        writeln!(lines, "{prefix},{asn},{name}").ok();
        writeln!(lines, "{},{asn},{name}", twin::network(prefix)).ok();
    };
    for system in &scenario.systems {
        line(system.infrastructure, system.number, &system.name);
    }
    let anycast = &scenario.anycast;
    line(anycast.prefix, anycast.asn, "Front doors");
    for site in &scenario.sites {
        line(site.prefix, site.asn, &format!("Site {}", site.name));
    }
    lines
}

/// The name of a site's host.
pub(crate) fn host_name(site: &str) -> String {
    format!("{site}-pc")
}

fn pick<T: Copy>(pair: [T; 2], side: usize) -> T {
    let [first, second] = pair;
    if side == 0 { first } else { second }
}

fn nodes(scenario: &Scenario) -> Vec<Node> {
    let mut nodes = Vec::new();
    let mut push = |name: &str, role, asn, metro: Option<&String>, dns: Option<String>| {
        let number = u8::try_from(nodes.len()).unwrap_or(u8::MAX);
        nodes.push(Node {
            name: name.to_owned(),
            role,
            asn,
            metro: metro.cloned(),
            dns,
            reflector: false,
            answers: Answers::default(),
            originates: None,
            router_id: Ipv4Addr::new(198, 19, 255, number),
        });
    };
    for router in &scenario.routers {
        push(
            &router.name,
            Role::Router,
            router.asn,
            router.metro.as_ref(),
            Some(router.dns.clone()),
        );
    }
    for edge in &scenario.edges {
        push(
            &edge.name,
            Role::Edge,
            scenario.anycast.asn,
            Some(&edge.metro),
            None,
        );
    }
    for site in &scenario.sites {
        let dns = format!("gw.{}.branch.example", site.name);
        push(&site.name, Role::SiteRouter, site.asn, None, Some(dns));
        push(&host_name(&site.name), Role::Host, site.asn, None, None);
    }
    for node in &mut nodes {
        let is = |name: &str| node.name == name;
        if let Some(router) = scenario.routers.iter().find(|router| is(&router.name)) {
            node.reflector = router.reflector;
            node.answers = router.answers;
        }
        let site = scenario
            .sites
            .iter()
            .find(|site| is(&site.name))
            .map(|site| site.prefix);
        let serves = scenario.edges.iter().any(|edge| is(&edge.router));
        node.originates = site.or(serves.then_some(scenario.anycast.prefix));
    }
    nodes
}

fn drafts(scenario: &Scenario) -> Vec<Draft<'_>> {
    let links = scenario.links.iter().map(|link| {
        let [from, to] = &link.between;
        let cost = link.cost.unwrap_or(if link.relation.is_some() {
            0
        } else {
            INTERNAL_COST
        });
        let terms = |preference: u32, tell_all| Terms {
            preference,
            tell_all,
            prepend: 0,
        };
        let bgp = match link.relation {
            None => [terms(cost, true), terms(cost, true)],
            Some(Relation::Peer) => [terms(FROM_PEER.saturating_sub(cost), false); 2],
            Some(Relation::Customer) => [
                terms(FROM_PROVIDER.saturating_sub(cost), false),
                terms(FROM_CUSTOMER.saturating_sub(cost), true),
            ],
        };
        let (delay, jitter, loss_ratio) = (link.delay, link.jitter, link.loss_ratio);
        Draft {
            ends: [from.as_str(), to.as_str()],
            delay,
            jitter,
            loss_ratio,
            bgp: Some(bgp),
        }
    });
    let edges = scenario.edges.iter().map(|edge| Draft {
        ends: [edge.router.as_str(), edge.name.as_str()],
        delay: edge.delay,
        jitter: Duration::ZERO,
        loss_ratio: 0.0,
        bgp: None,
    });
    let uplinks = scenario.sites.iter().flat_map(|site| {
        site.uplinks
            .iter()
            .zip(0..)
            .map(move |(uplink, rank): (_, u32)| {
                let site_end = Terms {
                    preference: FROM_PEER.saturating_sub(10 * rank),
                    tell_all: false,
                    prepend: 2 * rank,
                };
                let provider_end = Terms {
                    preference: FROM_CUSTOMER.saturating_sub(rank),
                    tell_all: true,
                    prepend: 0,
                };
                Draft {
                    ends: [site.name.as_str(), uplink.to.as_str()],
                    delay: uplink.delay,
                    jitter: uplink.jitter,
                    loss_ratio: uplink.loss_ratio,
                    bgp: Some([site_end, provider_end]),
                }
            })
    });
    links.chain(edges).chain(uplinks).collect()
}

#[cfg(test)]
mod tests {
    use ipnet::IpNet;

    use super::*;
    use crate::scenario::BASE;

    #[test]
    fn every_address_is_unique_and_every_router_answers_with_its_own_system() {
        let scenario = Scenario::parse(BASE).unwrap();
        let network = Network::plan(&scenario).unwrap();
        let mut addresses: Vec<_> = network
            .wires
            .iter()
            .flat_map(|wire| &wire.ends)
            .flat_map(End::addresses)
            .collect();
        let all = addresses.len();
        addresses.sort_unstable();
        addresses.dedup();
        assert_eq!(addresses.len(), all);
        for wire in &network.wires {
            let far = &wire.ends[1];
            let asn = network.nodes[far.node].asn;
            let table = ip_to_as(&scenario);
            for address in far.addresses() {
                let owner = (table.lines().skip(1)).find(|line| {
                    let prefix: IpNet = line.split(',').next().unwrap().parse().unwrap();
                    prefix.contains(&address)
                });
                assert_eq!(
                    owner.unwrap().split(',').nth(1),
                    Some(asn.to_string().as_str()),
                    "{}",
                    wire.name
                );
            }
        }
    }

    #[test]
    fn both_ends_of_a_session_agree() {
        let network = Network::plan(&Scenario::parse(BASE).unwrap()).unwrap();
        for wire in &network.wires {
            let [first, second] = &wire.ends;
            assert_eq!(
                first.bgp.map(|bgp| bgp.peer),
                second.bgp.map(|_| second.address)
            );
            assert_eq!(
                second.bgp.map(|bgp| bgp.asn),
                first.bgp.map(|_| network.nodes[first.node].asn)
            );
        }
    }
}
