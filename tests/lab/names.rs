//! The configuration of dnsmasq: front doors by name, routers by address. Pure.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use crate::network::Network;
use crate::scenario::Scenario;

/// Writes the configuration of the name server at `listen`.
pub(crate) fn configuration(scenario: &Scenario, network: &Network, listen: Ipv4Addr) -> String {
    let mut text = format!(
        "no-hosts\nno-resolv\nno-poll\nbind-interfaces\nlisten-address={listen}\nport=53\nlocal=/#/\nlocal-ttl=60\n"
    );
    for door in &scenario.front_doors {
        writeln!(text, "address=/{}/{}", door.host, door.address).ok();
    }
    for (address, name) in network.names() {
        let [a, b, c, d] = address.octets();
        writeln!(text, "ptr-record={d}.{c}.{b}.{a}.in-addr.arpa,{name}").ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::BASE;

    #[test]
    fn routers_have_names_in_microsofts_style() {
        let scenario = Scenario::parse(BASE).unwrap();
        let network = Network::plan(&scenario).unwrap();
        let text = configuration(&scenario, &network, Ipv4Addr::new(192, 0, 2, 1));
        assert!(text.contains("in-addr.arpa,ae24-0.icr01.ams21.ntwk.msn.net"));
        assert!(text.contains("address=/exchange.frontdoor.example/203.0.113.10"));
    }
}
