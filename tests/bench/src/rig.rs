//! Two namespaces: the prober in one, all targets in the other, and the path between them.

use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::time::Duration;

use anyhow::Context;

use crate::capture::Capture;
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
const MANY_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x64, 0, 0, 0, 0, 1);

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
             route add 198.18.64.0/18 via {TARGET}\nroute add 2001:db8:64::/48 via {TARGET_V6}\n"
        ),
    )?;
    netns::ip_batch(
        Some(FAR),
        &format!(
            "link set lo up\naddress add {TARGET}/24 dev far0\n\
             address add {TARGET_V6}/64 dev far0 nodad\nlink set far0 up\nroute add local 198.18.64.0/18 dev lo\n\
             route add local 2001:db8:64::/48 dev lo\n"
        ),
    )?;
    if let Path::Delayed(delay) = path {
        relay::start(["near1", "far1"], delay)?;
    }
    Ok(())
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

/// The same by IPv6.
pub(crate) fn target_v6(index: u32) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(MANY_V6).wrapping_add(u128::from(index)))
}
