//! The IPv6 twin of every IPv4 address of the lab: the lab is dual stack without a second set of numbers to keep. Pure.
//!
//! The twin of `198.18.1.0/24` is `2001:db8:c612:100::/56`: the documentation prefix (RFC 3849 §2), then the 32 bits of the
//! IPv4 network. An address keeps its number within its network: `198.18.1.10` there is `2001:db8:c612:100::a`.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

/// Length of the documentation prefix that all twins are in.
const SHARED: u8 = 32;

/// The twin of a network.
pub(crate) fn network(net: Ipv4Net) -> Ipv6Net {
    Ipv6Net::new_assert(of(net.network(), 0), SHARED + net.prefix_len())
}

/// The twin of an address of `net`.
pub(crate) fn address(net: Ipv4Net, address: Ipv4Addr) -> Ipv6Addr {
    let number = address.to_bits() - net.network().to_bits().min(address.to_bits());
    of(net.network(), number)
}

/// How much of an address is the network on an interface: a link between two routers has a /127 (RFC 6164 §6), all else a /64.
pub(crate) fn length(net: Ipv4Net) -> u8 {
    if net.prefix_len() == 31 { 127 } else { 64 }
}

fn of(network: Ipv4Addr, number: u32) -> Ipv6Addr {
    let bits = 0x2001_0db8_u128 << 96 | u128::from(network.to_bits()) << 64;
    Ipv6Addr::from_bits(bits | u128::from(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twins_keep_network_and_number() {
        let lan: Ipv4Net = "198.18.1.0/24".parse().unwrap();
        let link: Ipv4Net = "198.19.0.2/31".parse().unwrap();
        assert_eq!(network(lan).to_string(), "2001:db8:c612:100::/56");
        for (net, of, want) in [
            (lan, "198.18.1.10", "2001:db8:c612:100::a"),
            (link, "198.19.0.2", "2001:db8:c613:2::"),
            (link, "198.19.0.3", "2001:db8:c613:2::1"),
        ] {
            let twin = address(net, of.parse().unwrap());
            assert_eq!(twin.to_string(), want);
            assert!(network(net).contains(&twin), "{twin} is in its network");
        }
        assert_eq!((length(lan), length(link)), (64, 127));
    }
}
