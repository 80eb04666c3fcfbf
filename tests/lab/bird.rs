//! The configuration of one BIRD (version 2). Pure.
//!
//! Sessions run on directly connected addresses and every router puts itself in as next hop, inside a system too: no
//! inner routing protocol is needed. Preferences follow who pays whom (`network`), so routes are valley-free. One session
//! carries both families (RFC 4760), so both fail together.

use std::fmt::Write as _;

use ipnet::IpNet;

use crate::network::{End, FROM_CUSTOMER, LEAST_FROM_CUSTOMER, Neighbour, Network, Role};
use crate::twin;

/// Seconds without a sign of life after which a session is given up (RFC 4271 §10 asks for 90; a lab is impatient).
const HOLD_S: u32 = 9;

/// Writes the configuration of a node.
pub(crate) fn configuration(network: &Network, index: usize) -> Option<String> {
    let node = network.nodes.get(index)?;
    if !matches!(node.role, Role::Router | Role::SiteRouter) {
        return None;
    }
    let mut text = format!(
        "router id {};\nlog stderr {{ warning, error, fatal, bug }};\nprotocol device {{ scan time 2; }}\n",
        node.router_id
    );
    let merge = if network.multipath {
        " merge paths on;"
    } else {
        ""
    };
    for channel in ["ipv4", "ipv6"] {
        writeln!(
            text,
            "protocol kernel {{{merge} {channel} {{ import none; export where source = RTS_BGP || (source = RTS_STATIC && dest = RTD_UNICAST); }}; }}"
        )
        .ok();
    }
    if let Some(prefix) = node.originates {
        let edge = network.ends_of(index).find_map(|(wire, side, _)| {
            let far = network.wires.get(wire)?.ends.get(1 - side)?;
            (network.nodes.get(far.node)?.role == Role::Edge).then_some(far.addresses())
        });
        let [four, six] = edge.map_or([None; 2], |addresses| addresses.map(Some));
        let own: [(_, IpNet, _); 2] = [
            ("ipv4", prefix.into(), four),
            ("ipv6", twin::network(prefix).into(), six),
        ];
        for (channel, prefix, edge) in own {
            // A site's prefix sits on its own interface; the front doors are a next hop away and go when their link goes.
            let via = edge.map_or_else(
                || "unreachable".to_owned(),
                |address| format!("via {address}"),
            );
            writeln!(
                text,
                "protocol static own_{channel} {{ {channel}; check link; route {prefix} {via}; }}"
            )
            .ok();
        }
    }
    for (wire, side, end) in network.ends_of(index) {
        let far = network
            .wires
            .get(wire)
            .and_then(|wire| wire.ends.get(1 - side));
        let far_reflects = far
            .and_then(|far| network.nodes.get(far.node))
            .is_some_and(|far| far.reflector);
        if let Some(neighbour) = end.bgp {
            // Two reflectors are equals; the other routers of the system are a reflector's clients.
            text.push_str(&session(
                end,
                node.asn,
                node.reflector && !far_reflects,
                neighbour,
            ));
        }
    }
    Some(text)
}

fn session(end: &End, own_asn: u32, reflects: bool, neighbour: Neighbour) -> String {
    let interface = &end.interface;
    let name = interface.replace('-', "_");
    let Neighbour {
        peer,
        asn,
        preference,
        prepend,
        ..
    } = neighbour;
    let import = if neighbour.internal {
        format!(
            "if bgp_local_pref > {preference} then bgp_local_pref = bgp_local_pref - {preference}; accept;"
        )
    } else {
        format!("bgp_local_pref = {preference}; accept;")
    };
    let prepends =
        format!("bgp_path.prepend({own_asn}); ").repeat(usize::try_from(prepend).unwrap_or(0));
    let export = if neighbour.internal {
        // What a system owns is told as widely as what its customers own.
        format!("if source = RTS_STATIC then bgp_local_pref = {FROM_CUSTOMER}; accept;")
    } else if neighbour.tell_all {
        "accept;".to_owned()
    } else {
        format!(
            "if source = RTS_STATIC || bgp_local_pref >= {LEAST_FROM_CUSTOMER} then {{ {prepends}accept; }} reject;"
        )
    };
    let client = if neighbour.internal && reflects {
        " rr client;"
    } else {
        ""
    };
    let filters = format!("import filter {{ {import} }}; export filter {{ {export} }};");
    let address6 = end.address6;
    let direct = if neighbour.internal { " direct;" } else { "" };
    format!(
        "protocol bgp {name} {{\n  local as {own_asn}; neighbor {peer} as {asn};{direct}{client}\n  \
         interface \"{interface}\"; hold time {HOLD_S}; keepalive time {};\n  \
         connect delay time 1; connect retry time 2; error wait time 1, 3; error forget time 5;\n  \
         ipv4 {{ next hop self; {filters} }};\n  \
         ipv6 {{ next hop self; next hop address {address6}; {filters} }};\n}}\n",
        HOLD_S / 3
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{BASE, Scenario};

    #[test]
    fn routers_speak_bgp_and_hosts_do_not() {
        let network = Network::plan(&Scenario::parse(BASE).unwrap()).unwrap();
        let of = |name: &str| configuration(&network, network.index(name).unwrap());
        assert!(of("amsterdam-pc").is_none());
        assert!(of("fd-ams").is_none());
        let site = of("amsterdam").unwrap();
        assert!(site.contains("route 198.18.1.0/24 unreachable"));
        assert!(site.contains("route 2001:db8:c612:100::/56 unreachable"));
        assert_eq!(site.matches("protocol bgp").count(), 2);
        assert!(of("ibr01-ams").unwrap().contains("rr client"));
    }
}
