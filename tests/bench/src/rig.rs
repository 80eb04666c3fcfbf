//! Two namespaces: the prober in one, all targets in the other, and the path between them; for the whole agent, a second way
//! with routers on it.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::time::Duration;

use anyhow::Context;

use crate::capture::Capture;
use crate::trace::chain::switch_on_forwarding;
use crate::{netns, relay};

/// Where the tools run.
pub(crate) const NEAR: &str = "bench-near";
/// Where the targets are.
pub(crate) const FAR: &str = "bench-far";
/// The interface of the prober.
pub(crate) const INTERFACE: &str = "near0";
/// The one target.
pub(crate) const TARGET: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
/// The same by IPv6.
pub(crate) const TARGET_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
/// Where handshakes are answered.
pub(crate) const PORT: u16 = 443;
/// The first of many targets.
const MANY: Ipv4Addr = Ipv4Addr::new(198, 18, 64, 1);

/// The first of the whole agent's targets.
const SITE: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 1);
const SITE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x65, 0, 0, 0, 0, 1);
/// Routers on the second way at most: a path of thirty hops is no branch's.
const MOST_ROUTERS: u8 = 24;
/// What the first link of that way takes, each way.
const SITE_DELAY: Duration = Duration::from_millis(5);

/// The path between the namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    /// A wire.
    Direct,
    /// A relay that holds each frame that long, each way.
    Delayed(Duration),
}

/// Builds the rig. The process must have one thread, and cannot leave the rig again.
pub(crate) fn build(path: Path) -> anyhow::Result<()> {
    netns::enter()?;
    netns::ip_batch(
        None,
        &format!("link set lo up\nnetns add {NEAR}\nnetns add {FAR}\n"),
    )?;
    for namespace in [NEAR, FAR] {
        netns::inside(namespace, || {
            netns::set("ipv6/conf/default/router_solicitations", "0")?;
            netns::set("ipv4/ping_group_range", "0 2147483647")
        })?;
    }
    let wires = match path {
        Path::Direct => {
            format!("link add {INTERFACE} netns {NEAR} type veth peer name far0 netns {FAR}\n")
        }
        Path::Delayed(_) => format!(
            "link add near1 type veth peer name {INTERFACE} netns {NEAR}\nlink add far1 type veth peer name far0 netns {FAR}\n\
             link set near1 up\nlink set far1 up\n"
        ),
    };
    netns::set("ipv6/conf/all/disable_ipv6", "1")?;
    netns::set("ipv6/conf/default/disable_ipv6", "1")?;
    netns::ip_batch(None, &wires)?;
    netns::ip_batch(
        Some(NEAR),
        &format!(
            "link set lo up\naddress add 198.18.0.1/24 dev {INTERFACE}\n\
             address add 2001:db8::1/64 dev {INTERFACE} nodad\nlink set {INTERFACE} up\n\
             route add 198.18.64.0/18 via {TARGET}\n"
        ),
    )?;
    netns::ip_batch(
        Some(FAR),
        &format!(
            "link set lo up\naddress add {TARGET}/24 dev far0\n\
             address add {TARGET_V6}/64 dev far0 nodad\nlink set far0 up\nroute add local 198.18.64.0/18 dev lo\n"
        ),
    )?;
    if let Path::Delayed(delay) = path {
        relay::start(["near1", "far1"], delay)?;
    }
    Ok(())
}

/// Lays a second way to the far side, through so many kernel routers with their own limits, to targets of its own. A relay stands
/// before the first of them, as a network card would: what is done behind it is not done in the sender's time.
pub(crate) fn add_way(routers: u8) -> anyhow::Result<()> {
    anyhow::ensure!(routers <= MOST_ROUTERS, "at most {MOST_ROUTERS} routers");
    let router = |place: u8| router(place, routers);
    let added = (1..=routers).map(router).fold(String::new(), |text, name| {
        text + "netns add " + &name + "\n"
    });
    netns::ip_batch(None, &added)?;
    for place in 1..=routers {
        netns::inside(&router(place), switch_on_forwarding)?;
    }
    let mut wires = format!(
        "link add site1 type veth peer name right netns {NEAR}\n\
         link add site2 type veth peer name left netns {}\n\
         link set site1 up\nlink set site2 up\n",
        router(1)
    );
    for place in 1..=routers {
        let (here, next) = (router(place), router(place + 1));
        writeln!(
            wires,
            "link add right netns {here} type veth peer name left netns {next}"
        )
        .context("cannot write text")?;
    }
    netns::ip_batch(None, &wires)?;
    for place in 0..=routers + 1 {
        netns::ip_batch(Some(&router(place)), &site_addresses(place, routers)?)?;
    }
    relay::start(["site1", "site2"], SITE_DELAY)
}

/// The namespace at a place of the second way: the prober's is the first, the targets' the last.
fn router(place: u8, routers: u8) -> String {
    match place {
        0 => NEAR.to_owned(),
        place if place > routers => FAR.to_owned(),
        place => format!("bench-site{place}"),
    }
}

/// Addresses and routes of a place: `left` is the side of the prober, `right` that of the targets.
fn site_addresses(place: u8, routers: u8) -> anyhow::Result<String> {
    let mut text = "link set lo up\n".to_owned();
    let mut side = |link: u8, interface: &str, last: u8| {
        writeln!(
            text,
            "address add 198.19.{link}.{last}/24 dev {interface}\n\
             address add 2001:db8:66:{link:x}::{last}/64 dev {interface} nodad\nlink set {interface} up"
        )
    };
    let next = place + 1;
    if place > 0 {
        side(place, "left", 2).context("cannot write text")?;
    }
    if place <= routers {
        side(next, "right", 1).context("cannot write text")?;
        writeln!(
            text,
            "route add 198.19.0.0/24 via 198.19.{next}.2\nroute add 2001:db8:65::/48 via 2001:db8:66:{next:x}::2"
        )
        .context("cannot write text")?;
    } else {
        writeln!(
            text,
            "route add local 198.19.0.0/24 dev lo\nroute add local 2001:db8:65::/48 dev lo"
        )
        .context("cannot write text")?;
    }
    if place > 1 {
        writeln!(
            text,
            "route add 198.19.1.0/24 via 198.19.{place}.1\nroute add 2001:db8:66:1::/64 via 2001:db8:66:{place:x}::1"
        )
        .context("cannot write text")?;
    }
    Ok(text)
}

/// One of the whole agent's targets.
pub(crate) fn site_target(index: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(SITE).wrapping_add(index))
}

/// The same by IPv6.
pub(crate) fn site_target_v6(index: u32) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(SITE_V6).wrapping_add(u128::from(index)))
}

/// Starts a capture on the prober's interface.
pub(crate) fn capture() -> anyhow::Result<Capture> {
    netns::inside(NEAR, || Capture::start(INTERFACE))
}

/// Answers handshakes at the target until the process ends.
pub(crate) fn listen() -> anyhow::Result<()> {
    let listener = netns::inside(FAR, || {
        TcpListener::bind((Ipv6Addr::UNSPECIFIED, PORT)).context("cannot listen at the target")
    })?;
    std::thread::Builder::new()
        .name("listener".to_owned())
        .spawn(move || listener.incoming().for_each(drop))
        .context("cannot start the listener's thread")?;
    Ok(())
}

/// Runs `work` where the targets are.
pub(crate) fn far<T: Send>(work: impl FnOnce() -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
    netns::inside(FAR, work)
}

/// Many targets.
pub(crate) fn targets(count: u32) -> impl Iterator<Item = Ipv4Addr> {
    (0..count).map(target)
}

/// One of many.
pub(crate) fn target(index: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(MANY).wrapping_add(index))
}
