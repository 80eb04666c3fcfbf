//! IPv4 addresses on a machine without IPv4: reached behind the prefix of the site's NAT64, where there is one.

use std::net::{IpAddr, Ipv6Addr};

use firstmile_wire::nat64::{self, Nat64Prefix};

use super::dns::Dns;
use super::exit::Exit;
use super::route;

/// The prefix of the NAT64 that the site's resolver makes addresses for (RFC 7050 §3).
pub(crate) async fn discover(dns: &Dns) -> Option<Nat64Prefix> {
    let answer = dns.resolve(nat64::DISCOVERY_NAME, true).await;
    let addresses: Vec<Ipv6Addr> = answer
        .addresses
        .iter()
        .filter_map(|address| match address {
            IpAddr::V6(v6) => Some(*v6),
            IpAddr::V4(_) => None,
        })
        .collect();
    nat64::discover(&addresses)
}

/// What is behind `prefix` for `address`, where packets of IPv4 cannot leave by `exit`; a DNS64 does the same for names only.
pub(crate) fn behind(prefix: Option<Nat64Prefix>, exit: Exit, address: IpAddr) -> IpAddr {
    match (prefix, address) {
        (Some(prefix), IpAddr::V4(v4)) if route::source_by(exit, address).is_err() => {
            prefix.embed(v4).into()
        }
        _ => address,
    }
}

/// As [`behind`], of a machine of which nothing is known yet.
pub(crate) async fn reachable(dns: &Dns, address: IpAddr) -> IpAddr {
    if address.is_ipv6() || route::source_for(address).is_ok() {
        return address;
    }
    behind(discover(dns).await, Exit::default(), address)
}
