//! The configuration of dnsmasq: front doors by name, routers by address. Pure.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr};

use crate::network::Network;
use crate::scenario::Scenario;

/// Writes the configuration of a name server at the addresses `listen`.
pub(crate) fn configuration(scenario: &Scenario, network: &Network, listen: &[IpAddr]) -> String {
    let mut text = String::from(
        "no-hosts\nno-resolv\nno-poll\nbind-interfaces\nport=53\nlocal=/#/\nlocal-ttl=60\n",
    );
    for address in listen {
        writeln!(text, "listen-address={address}").ok();
    }
    for door in &scenario.front_doors {
        let [four, six] = scenario.addresses_of(door);
        let mut name = door.host.as_str();
        for next in &door.aliases {
            writeln!(text, "cname={name},{next}").ok();
            name = next;
        }
        writeln!(text, "host-record={name},{four},{six}").ok();
    }
    for (address, name) in network.names() {
        writeln!(text, "ptr-record={},{name}", reverse(address)).ok();
    }
    text
}

/// The name under which an address has its PTR record (RFC 1035 §3.5, RFC 3596 §2.5).
fn reverse(address: IpAddr) -> String {
    match address {
        IpAddr::V4(four) => {
            let [a, b, c, d] = four.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(six) => nibbles(six),
    }
}

fn nibbles(six: Ipv6Addr) -> String {
    let digits = format!("{:032x}", six.to_bits());
    let reversed = digits.chars().rev().flat_map(|digit| [digit, '.']);
    reversed.chain("ip6.arpa".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::BASE;

    #[test]
    fn routers_have_names_in_microsofts_style() {
        let scenario = Scenario::parse(BASE).unwrap();
        let network = Network::plan(&scenario).unwrap();
        let text = configuration(&scenario, &network, &[[192, 0, 2, 1].into()]);
        assert!(text.contains("in-addr.arpa,ae24-0.icr01.ams21.ntwk.msn.net"));
        assert!(text.contains(
            "host-record=sharepoint.frontdoor.example,203.0.113.20,2001:db8:cb00:7100::14"
        ));
        assert!(text.contains("cname=exchange.frontdoor.example,exchange.afd.frontdoor.example"));
    }

    #[test]
    fn an_address_is_asked_for_backwards() {
        assert_eq!(
            reverse("192.0.2.1".parse().unwrap()),
            "1.2.0.192.in-addr.arpa"
        );
        let six = "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
        assert_eq!(reverse("2001:db8:1:2:3:4:567:89ab".parse().unwrap()), six);
    }
}
