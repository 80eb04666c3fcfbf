//! The chain of `trace`: real kernel routers in a row, each link a relay with a constant delay, `icmp_ratelimit` untouched.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::Context;
use nix::mount::{MsFlags, mount};

use crate::{netns, relay, rig};

/// Links from the prober to the destination, which is so the hop of this number.
pub(crate) const HOPS: u8 = 12;
/// What each link takes, each way.
const DELAY: Duration = Duration::from_micros(2_500);

/// Builds it. The process must have one thread, and cannot leave the chain again.
pub(crate) fn build() -> anyhow::Result<()> {
    netns::enter()?;
    no_names()?;
    let names: Vec<String> = (0..=HOPS).map(node).collect();
    let added: String = names.iter().fold(String::new(), |text, name| {
        text + "netns add " + name + "\n"
    });
    netns::ip_batch(None, &format!("link set lo up\n{added}"))?;
    for name in &names {
        netns::inside(name, switch_on_forwarding)?;
    }
    netns::set("ipv6/conf/all/disable_ipv6", "1")?;
    netns::set("ipv6/conf/default/disable_ipv6", "1")?;
    netns::ip_batch(None, &links()?)?;
    for index in 0..=HOPS {
        netns::ip_batch(Some(&node(index)), &addresses(index)?)?;
    }
    for link in 1..=HOPS {
        relay::start([&format!("l{link}a"), &format!("l{link}b")], DELAY)?;
    }
    rig::listen()
}

/// What answers at this TTL.
pub(crate) fn hop(ttl: u8, ipv6: bool) -> IpAddr {
    if ipv6 {
        Ipv6Addr::new(0x2001, 0xdb8, 0, ttl.into(), 0, 0, 0, 2).into()
    } else {
        Ipv4Addr::new(198, 18, ttl, 2).into()
    }
}

/// Names resolve nowhere, at once: no tool shall wait for a resolver that the rig does not have.
pub(crate) fn no_names() -> anyhow::Result<()> {
    std::fs::write("/run/resolv.conf", "nameserver 127.0.0.1\n")
        .context("cannot write /run/resolv.conf")?;
    let nothing: Option<&str> = None;
    mount(
        Some("/run/resolv.conf"),
        "/etc/resolv.conf",
        nothing,
        MsFlags::MS_BIND,
        nothing,
    )
    .context("cannot put a file over /etc/resolv.conf")
}

/// Makes a router of the current namespace, with all that limits its replies as the kernel has it.
pub(crate) fn switch_on_forwarding() -> anyhow::Result<()> {
    netns::set("ipv6/conf/default/router_solicitations", "0")?;
    netns::set("ipv6/conf/all/forwarding", "1")?;
    netns::set("ipv4/ip_forward", "1")?;
    netns::set("ipv4/ping_group_range", "0 2147483647")
}

fn node(index: u8) -> String {
    match index {
        0 => rig::NEAR.to_owned(),
        HOPS => rig::FAR.to_owned(),
        index => format!("bench-hop{index}"),
    }
}

fn right(index: u8) -> &'static str {
    if index == 0 { rig::INTERFACE } else { "right" }
}

fn links() -> anyhow::Result<String> {
    let mut text = String::new();
    for link in 1..=HOPS {
        let (near, far) = (node(link - 1), node(link));
        let right = right(link - 1);
        writeln!(
            text,
            "link add l{link}a type veth peer name {right} netns {near}\n\
             link add l{link}b type veth peer name left netns {far}\n\
             link set l{link}a up\nlink set l{link}b up"
        )
        .context("cannot write text")?;
    }
    Ok(text)
}

fn addresses(index: u8) -> anyhow::Result<String> {
    let mut text = "link set lo up\n".to_owned();
    let mut side = |link: u8, interface: &str, last: u8| {
        writeln!(
            text,
            "address add 198.18.{link}.{last}/24 dev {interface}\n\
             address add 2001:db8:0:{link:x}::{last}/64 dev {interface} nodad\nlink set {interface} up"
        )
        .context("cannot write text")
    };
    if index > 0 {
        side(index, "left", 2)?;
    }
    if index < HOPS {
        side(index + 1, right(index), 1)?;
    }
    if index < HOPS {
        let next = index + 1;
        writeln!(
            text,
            "route add 198.18.0.0/16 via 198.18.{next}.2\nroute add 2001:db8::/32 via 2001:db8:0:{next:x}::2"
        )
        .context("cannot write text")?;
    }
    if index > 1 {
        writeln!(
            text,
            "route add 198.18.1.0/24 via 198.18.{index}.1\nroute add 2001:db8:0:1::/64 via 2001:db8:0:{index:x}::1"
        )
        .context("cannot write text")?;
    }
    Ok(text)
}
