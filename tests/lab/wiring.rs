//! Namespaces, veth pairs, addresses: the hardware of the lab.

use std::fmt::Write as _;

use anyhow::Context;

use crate::emulator::{Behaviour, Emulator, Pair};
use crate::network::{End, Network, Node, Role};
use crate::scenario::Answers;
use crate::world::MANAGEMENT;
use crate::{calibrate, netns, twin};

/// The two ends of a wire that the emulator holds.
pub(crate) fn interfaces(wire: usize) -> [String; 2] {
    [format!("w{wire}x"), format!("w{wire}y")]
}

/// Lays all wires and starts the emulator.
pub(crate) fn lay(network: &Network) -> anyhow::Result<Emulator> {
    quiet()?;
    netns::ip_batch(None, &machines(network))?;
    for node in &network.nodes {
        // Before there are interfaces: they begin with what holds then.
        netns::inside(&node.name, || {
            netns::set(EVERYWHERE)?;
            netns::set(variables(node.role))?;
            netns::set(seldom(node.answers))
        })?;
    }
    netns::ip_batch(None, &cables(network))?;
    for (index, node) in network.nodes.iter().enumerate() {
        netns::ip_batch(Some(&node.name), &addresses(network, index, node))?;
        if node.answers == Answers::Never {
            silence(network, &node.name)?;
        }
    }
    let mut pairs: Vec<Pair> = network
        .wires
        .iter()
        .enumerate()
        .map(|(index, wire)| Pair {
            interfaces: interfaces(index),
            behaviour: Behaviour {
                delay: wire.delay,
                jitter: wire.jitter,
                loss_ratio: wire.loss_ratio,
                blackhole: false,
            },
            host: (wire.ends.iter()).position(|end| is_host(network, end)),
        })
        .collect();
    pairs.push(calibrate::lay()?);
    Emulator::start(&pairs)
}

fn is_host(network: &Network, end: &End) -> bool {
    let node = network.nodes.get(end.node);
    node.is_some_and(|node| node.role == Role::Host)
}

/// Applies a change such as `delay=20ms`.
pub(crate) fn change(behaviour: &mut Behaviour, change: &str) -> anyhow::Result<()> {
    let advice =
        || format!("`{change}` is none of delay=20ms, jitter=1ms, loss=0.1, blackhole=true");
    let (key, value) = change.split_once('=').with_context(advice)?;
    match key {
        "delay" => behaviour.delay = humantime::parse_duration(value).with_context(advice)?,
        "jitter" => behaviour.jitter = humantime::parse_duration(value).with_context(advice)?,
        "loss" => behaviour.loss_ratio = value.parse().with_context(advice)?,
        "blackhole" => behaviour.blackhole = value.parse().with_context(advice)?,
        _ => anyhow::bail!(advice()),
    }
    Ok(())
}

/// No chatter of IPv6 on the emulator's own ends of the links.
fn quiet() -> anyhow::Result<()> {
    netns::set(&[
        ("net/ipv6/conf/all/disable_ipv6", "1"),
        ("net/ipv6/conf/default/disable_ipv6", "1"),
    ])
}

/// Addresses are given by hand and good at once: nothing is looked for, asked for or tried out first.
const EVERYWHERE: &[(&str, &str)] = &[
    ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv6/conf/default/accept_ra", "0"),
    ("net/ipv6/conf/default/router_solicitations", "0"),
];

fn variables(role: Role) -> &'static [(&'static str, &'static str)] {
    match role {
        // Hops show the interface by which a packet came, as most routers of the real internet do, and never go silent.
        Role::Router | Role::SiteRouter => &[
            ("net/ipv4/ip_forward", "1"),
            ("net/ipv4/icmp_errors_use_inbound_ifaddr", "1"),
            ("net/ipv4/icmp_ratelimit", "0"),
            ("net/ipv4/conf/all/rp_filter", "0"),
            ("net/ipv4/conf/default/rp_filter", "0"),
            ("net/ipv4/fib_multipath_hash_policy", "1"),
            ("net/ipv6/conf/all/forwarding", "1"),
            ("net/ipv6/icmp/ratelimit", "0"),
            ("net/ipv6/fib_multipath_hash_policy", "1"),
        ],
        // The lab's only group is 0 when it runs without root.
        Role::Host => &[("net/ipv4/ping_group_range", "0 0")],
        Role::Edge => &[
            ("net/ipv4/conf/all/rp_filter", "0"),
            ("net/ipv4/conf/default/rp_filter", "0"),
        ],
    }
}

/// What Linux does by default, milliseconds between two answers after the first six.
const fn seldom(answers: Answers) -> &'static [(&'static str, &'static str)] {
    match answers {
        Answers::Seldom => &[
            ("net/ipv4/icmp_ratelimit", "1000"),
            ("net/ipv6/icmp/ratelimit", "1000"),
        ],
        Answers::Always | Answers::Never => &[],
    }
}

fn machines(network: &Network) -> String {
    let mut text = String::from("link set lo up\nlink add mgmt type bridge\n");
    writeln!(
        text,
        "address add {MANAGEMENT}/24 dev mgmt\nlink set mgmt up"
    )
    .ok();
    for node in &network.nodes {
        writeln!(text, "netns add {}", node.name).ok();
    }
    text
}

fn cables(network: &Network) -> String {
    let mut text = String::new();
    for (index, wire) in network.wires.iter().enumerate() {
        for (interface, end) in interfaces(index).iter().zip(&wire.ends) {
            let node = network
                .nodes
                .get(end.node)
                .map_or("", |node| node.name.as_str());
            writeln!(
                text,
                "link add {interface} type veth peer name {} netns {node}",
                end.interface
            )
            .ok();
            writeln!(text, "link set {interface} up").ok();
        }
    }
    for (index, node) in network
        .nodes
        .iter()
        .enumerate()
        .filter(|(_, node)| node.role == Role::Host)
    {
        writeln!(
            text,
            "link add m{index} type veth peer name mgmt netns {}",
            node.name
        )
        .ok();
        writeln!(text, "link set m{index} master mgmt up").ok();
    }
    text
}

/// Only what a router says itself comes from `lo`; what it passes on does not. What claims to come from a site is the lab,
/// asking how the router would pass it on.
fn silence(network: &Network, router: &str) -> anyhow::Result<()> {
    let four = "rule add iif lo ipproto icmp blackhole pref 10\n";
    let mut six = String::from("rule add iif lo ipproto ipv6-icmp blackhole pref 10\n");
    let sites = network
        .nodes
        .iter()
        .filter(|node| node.role == Role::SiteRouter);
    for prefix in sites.filter_map(|site| site.originates) {
        let prefix = twin::network(prefix);
        writeln!(six, "rule add from {prefix} iif lo lookup main pref 9").ok();
    }
    netns::ip_batch_of(Some("-4"), Some(router), four)?;
    netns::ip_batch_of(Some("-6"), Some(router), &six)
}

fn addresses(network: &Network, index: usize, node: &Node) -> String {
    let mut text = String::from("link set lo up\n");
    for (wire, side, end) in network.ends_of(index) {
        let Some(wire) = network.wires.get(wire) else {
            continue;
        };
        let interface = &end.interface;
        writeln!(
            text,
            "address add {}/{} dev {interface}\nlink set {interface} up",
            end.address,
            wire.subnet.prefix_len()
        )
        .ok();
        writeln!(
            text,
            "address add {}/{} dev {interface} nodad",
            end.address6,
            twin::length(wire.subnet)
        )
        .ok();
        let gateways = wire.ends.get(1 - side).map(End::addresses);
        if let (Role::Host | Role::Edge, Some([four, six])) = (node.role, gateways) {
            writeln!(text, "route add default via {four}").ok();
            writeln!(text, "route add ::/0 via {six}").ok();
        }
    }
    if node.role == Role::Host {
        let [a, b, c, _] = MANAGEMENT.octets();
        let number = index + 10;
        writeln!(
            text,
            "address add {a}.{b}.{c}.{number}/24 dev mgmt\nlink set mgmt up"
        )
        .ok();
    }
    if node.role == Role::Edge {
        for address in &network.anycast {
            let length = if address.is_ipv4() { 32 } else { 128 };
            writeln!(text, "address add {address}/{length} dev lo").ok();
        }
    }
    text
}
