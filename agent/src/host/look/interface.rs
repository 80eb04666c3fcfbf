//! What an interface is: cable, radio, or a tunnel that hides the path behind it.

use firstmile_wire::v1::InterfaceKind;

#[cfg(target_os = "linux")]
use super::message::Link;
#[cfg(target_os = "linux")]
pub(crate) use super::message::LinkCounts;

/// Errors and drops since the interface came up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg(not(target_os = "linux"))]
pub(crate) struct LinkCounts {
    pub(crate) receive_errors: u64,
    pub(crate) transmit_errors: u64,
    pub(crate) receive_drops: u64,
    pub(crate) transmit_drops: u64,
}

/// An interface that packets leave by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) kind: InterfaceKind,
    /// Megabits a second, 0 when unknown.
    pub(crate) speed_mbps: u32,
    pub(crate) counts: LinkCounts,
}

impl Default for Interface {
    fn default() -> Self {
        Self {
            name: String::new(),
            kind: InterfaceKind::Unspecified,
            speed_mbps: 0,
            counts: LinkCounts::default(),
        }
    }
}

/// Kinds of link that put packets into other packets (`IFLA_INFO_KIND`). Bridges, bonds and VLANs are not among them.
#[cfg(target_os = "linux")]
const TUNNELS: &[&str] = &[
    "wireguard",
    "tun",
    "ppp",
    "xfrm",
    "vti",
    "vti6",
    "gre",
    "gretap",
    "ip6gre",
    "ip6gretap",
    "ipip",
    "ip6tnl",
    "sit",
    "amt",
    "ovpn",
    "ipsec",
    "l2tp",
    "fou",
    "geneve",
];

/// Hardware types of links that are tunnels whatever drives them: `ARPHRD_TUNNEL`, `TUNNEL6`, `SIT`, `IPGRE`, `IP6GRE`, and
/// `NONE`, which TUN devices have (`linux/if_arp.h`).
#[cfg(target_os = "linux")]
const TUNNEL_HARDWARE: &[u16] = &[768, 769, 776, 778, 823, 65_534];

/// What is known of an interface beside its link message.
#[cfg(target_os = "linux")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Beside {
    has_radio: bool,
    is_wwan: bool,
    speed_mbps: u32,
}

/// The interface of a link message, with what `/sys` says of it.
#[cfg(target_os = "linux")]
pub(super) fn of_link(link: Link, index: u32) -> Interface {
    let beside = beside(&link.name, index);
    Interface {
        kind: kind(&link, beside),
        name: link.name,
        speed_mbps: beside.speed_mbps,
        counts: link.counts,
    }
}

/// Pure. A modem is cellular also when it looks like a point-to-point link.
#[cfg(target_os = "linux")]
fn kind(link: &Link, beside: Beside) -> InterfaceKind {
    const ETHERNET: u16 = 1;
    const LOOPBACK: u16 = 772;
    const RAW_IP: u16 = 519;
    if link.hardware == LOOPBACK {
        InterfaceKind::Loopback
    } else if beside.is_wwan || link.hardware == RAW_IP || link.name.starts_with("wwan") {
        InterfaceKind::Cellular
    } else if TUNNELS.contains(&link.kind.as_str()) || TUNNEL_HARDWARE.contains(&link.hardware) {
        InterfaceKind::Tunnel
    } else if beside.has_radio {
        InterfaceKind::Wifi
    } else if link.hardware == ETHERNET {
        InterfaceKind::Ethernet
    } else {
        InterfaceKind::Other
    }
}

/// `/sys` belongs to the network namespace in which it was mounted: it is believed only where it knows the same index.
#[cfg(target_os = "linux")]
fn beside(name: &str, index: u32) -> Beside {
    let folder = std::path::Path::new("/sys/class/net").join(name);
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap_or_default();
    if read("ifindex").trim().parse() != Ok(index) {
        return Beside::default();
    }
    Beside {
        has_radio: folder.join("wireless").exists() || folder.join("phy80211").exists(),
        is_wwan: read("uevent").lines().any(|line| line == "DEVTYPE=wwan"),
        // -1 and an error both stand for "unknown".
        speed_mbps: read("speed").trim().parse().unwrap_or(0),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_is_told_from_a_cable_and_a_radio() {
        let radio = Beside {
            has_radio: true,
            ..Beside::default()
        };
        let modem = Beside {
            is_wwan: true,
            ..Beside::default()
        };
        let plain = Beside::default();
        for (name, kind_word, hardware, beside, want) in [
            ("eth0", "", 1, plain, InterfaceKind::Ethernet),
            ("eth0", "veth", 1, plain, InterfaceKind::Ethernet),
            ("br0", "bridge", 1, plain, InterfaceKind::Ethernet),
            ("eth0.7", "vlan", 1, plain, InterfaceKind::Ethernet),
            ("wlan0", "", 1, radio, InterfaceKind::Wifi),
            ("wwan0", "", 1, modem, InterfaceKind::Cellular),
            ("wwan0", "", 519, plain, InterfaceKind::Cellular),
            ("wg0", "wireguard", 65_534, plain, InterfaceKind::Tunnel),
            ("tun0", "tun", 65_534, plain, InterfaceKind::Tunnel),
            ("tap0", "tun", 1, plain, InterfaceKind::Tunnel),
            ("ppp0", "ppp", 512, plain, InterfaceKind::Tunnel),
            ("ipsec0", "xfrm", 65_534, plain, InterfaceKind::Tunnel),
            ("gre1", "gre", 778, plain, InterfaceKind::Tunnel),
            ("lo", "", 772, plain, InterfaceKind::Loopback),
            ("ib0", "ipoib", 32, plain, InterfaceKind::Other),
        ] {
            let link = Link {
                name: name.to_owned(),
                kind: kind_word.to_owned(),
                hardware,
                ..Link::default()
            };
            assert_eq!(kind(&link, beside), want, "{name} {kind_word}");
        }
    }
}
