//! What the machine sees of the network around it, and what of that names the network.
//!
//! Pure. The link address of the next router names a network, where it is that router's own. Virtual routers have one of a few
//! hundred addresses, the same at many sites: there the router's IP address has to say more. Where there is no link address (a
//! mobile network, a line that the machine itself dials into) the first public router on the way out names the network, by the
//! provider's block that it is in: which of a provider's routers answers first changes by itself.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::probe::trace::FlowPath;

/// Link addresses of virtual routers begin so: VRRP over IPv4 and IPv6, and the two versions of HSRP.
const VIRTUAL: [&[u8]; 4] = [
    &[0x00, 0x00, 0x5e, 0x00, 0x01],
    &[0x00, 0x00, 0x5e, 0x00, 0x02],
    &[0x00, 0x00, 0x0c, 0x07, 0xac],
    &[0x00, 0x00, 0x0c, 0x9f],
];

/// What is known of the surroundings.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Nearby<'a> {
    pub(crate) gateway_link: Option<&'a [u8]>,
    pub(crate) gateway: Option<IpAddr>,
    pub(crate) first_public: Option<IpAddr>,
}

impl Nearby<'_> {
    /// What names the network, to be hashed; `None` where nothing does.
    pub(crate) fn name(&self) -> Option<Vec<u8>> {
        let Some(link) = self.gateway_link else {
            return self.first_public.map(block);
        };
        let mut name = link.to_vec();
        if VIRTUAL.iter().any(|start| link.starts_with(start)) {
            name.extend(self.gateway.map(crate::probe::address_bytes)?);
        }
        Some(name)
    }
}

/// The first 16 bits of an IPv4 address and the first 32 of an IPv6 one: about what a provider has in a region.
fn block(address: IpAddr) -> Vec<u8> {
    let (family, octets, length) = match address {
        IpAddr::V4(v4) => (4, v4.octets().to_vec(), 2),
        IpAddr::V6(v6) => (6, v6.octets().to_vec(), 4),
    };
    let octets = octets.into_iter().take(length);
    std::iter::once(family).chain(octets).collect()
}

/// The first router with a public address on the way out, and how far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FirstPublic {
    ttl: u8,
    pub(crate) address: IpAddr,
}

impl FirstPublic {
    /// What a round to `destination` says of it, `before` being known. A router that kept silent this time is not gone, and
    /// of several that are equally near the one that is known stays.
    pub(crate) fn learn(
        before: Option<Self>,
        flows: &[FlowPath],
        destination: IpAddr,
    ) -> Option<Self> {
        let from_start = || flows.iter().filter(|flow| flow.first_ttl <= 1);
        let hops = from_start().flat_map(FlowPath::answers);
        let public: BTreeSet<(u8, IpAddr)> = hops
            .map(|(ttl, hop)| (ttl, hop.address))
            .filter(|(_, address)| *address != destination && is_public(*address))
            .collect();
        let Some((ttl, address)) = public.first().copied() else {
            return before;
        };
        if let Some(known) = before {
            let stays = public.contains(&(known.ttl, known.address));
            let is_silent = from_start().all(|flow| flow.hop(known.ttl).is_none());
            if known.ttl <= ttl && (stays || is_silent) {
                return before;
            }
        }
        Some(Self { ttl, address })
    }
}

/// Whether an address is one of the internet's: private to nobody, shared by no provider's customers, local to no link.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            let is_shared = first == 100 && (64..128).contains(&second);
            let is_multicast_or_above = first >= 224;
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || first == 0
                || is_shared
                || is_multicast_or_above)
        }
        // Global unicast is 2000::/3 so far.
        IpAddr::V6(v6) => v6.segments().first().is_some_and(|first| first >> 13 == 1),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::probe::met::{Hop, Place, Silence};

    const DESTINATION: &str = "203.0.113.99";

    /// A flow whose hops answer so from TTL 1 on; empty: silent.
    fn flow(addresses: &[&str]) -> FlowPath {
        let hop = |address: &&str| Hop::plain(address.parse().expect("an address"), Duration::ZERO);
        let place = |(ttl, address): (u8, &&str)| Place {
            ttl,
            hop: (!address.is_empty()).then(|| hop(address)),
            silence: Silence::None,
            also: Vec::new(),
        };
        FlowPath {
            first_ttl: 1,
            hops: (1..).zip(addresses).map(place).collect(),
            ..FlowPath::default()
        }
    }

    fn learn(before: Option<FirstPublic>, flows: &[&[&str]]) -> Option<FirstPublic> {
        let flows: Vec<_> = flows.iter().map(|one| flow(one)).collect();
        FirstPublic::learn(before, &flows, DESTINATION.parse().expect("an address"))
    }

    fn seen(ttl: u8, address: &str) -> FirstPublic {
        let address = address.parse().expect("an address");
        FirstPublic { ttl, address }
    }

    #[test]
    fn the_first_public_router_is_found_behind_private_and_shared_ones() {
        for (name, flows, want) in [
            (
                "behind NAT",
                &[&["10.0.0.1", "100.64.0.1", "198.51.100.1", DESTINATION][..]][..],
                Some(seen(3, "198.51.100.1")),
            ),
            (
                "nearest of the flows",
                &[
                    &["10.0.0.1", "", "198.51.100.1"],
                    &["10.0.0.1", "198.51.100.7"],
                ],
                Some(seen(2, "198.51.100.7")),
            ),
            (
                "the destination is no router",
                &[&["192.168.1.1", DESTINATION]],
                None,
            ),
            (
                "IPv6",
                &[&["fe80::1", "fd00::1", "2001:db8::1"]],
                Some(seen(3, "2001:db8::1")),
            ),
            ("nobody answers", &[&["", ""]], None),
        ] {
            assert_eq!(learn(None, flows), want, "{name}");
        }
        let tail = FlowPath {
            first_ttl: 5,
            ..flow(&["198.51.100.1"])
        };
        let to = DESTINATION.parse().expect("an address");
        assert_eq!(
            FirstPublic::learn(None, &[tail], to),
            None,
            "a tail does not see the beginning"
        );
    }

    #[test]
    fn a_router_that_keeps_silent_once_is_still_the_first_one() {
        let known = Some(seen(2, "198.51.100.1"));
        for (name, flows, want) in [
            (
                "silent",
                &[&["10.0.0.1", "", "198.51.100.9"][..]][..],
                known,
            ),
            (
                "one of two",
                &[&["10.0.0.1", "198.51.100.0"], &["10.0.0.1", "198.51.100.1"]],
                known,
            ),
            (
                "another",
                &[&["10.0.0.1", "198.51.100.5"]],
                Some(seen(2, "198.51.100.5")),
            ),
            (
                "nearer",
                &[&["198.51.100.5", "198.51.100.1"]],
                Some(seen(1, "198.51.100.5")),
            ),
            (
                "farther",
                &[&["10.0.0.1", "10.0.0.2", "198.51.100.9"]],
                Some(seen(3, "198.51.100.9")),
            ),
            ("nothing heard", &[&["", ""]], known),
        ] {
            assert_eq!(learn(known, flows), want, "{name}");
        }
    }

    #[test]
    fn a_network_is_named_by_what_is_its_own() {
        let name = |link: Option<&[u8]>, gateway: &str, public: &str| {
            let (gateway, first_public) = (gateway.parse().ok(), public.parse().ok());
            Nearby {
                gateway_link: link,
                gateway,
                first_public,
            }
            .name()
        };
        let (own, virtual_one): (&[u8], &[u8]) = (&[2, 0, 0, 0, 0, 1], &[0, 0, 0x5e, 0, 1, 1]);
        let router = |gateway, public| name(Some(own), gateway, public);
        assert_eq!(
            router("192.0.2.1", "198.51.100.1"),
            router("192.0.2.9", "203.0.113.1"),
            "another uplink is no other network"
        );
        let shared = |gateway, public| name(Some(virtual_one), gateway, public);
        assert_ne!(
            shared("192.0.2.1", ""),
            shared("192.0.2.129", ""),
            "two sites of virtual routers"
        );
        assert_eq!(
            shared("192.0.2.1", "198.51.100.1"),
            shared("192.0.2.1", "203.0.113.1")
        );
        assert_eq!(shared("", "198.51.100.1"), None);
        let mobile = |public| name(None, "", public);
        assert_eq!(
            mobile("198.18.100.1"),
            mobile("198.18.7.7"),
            "another router of the provider"
        );
        assert_ne!(mobile("198.51.100.1"), mobile("203.0.113.1"));
        assert_eq!(mobile(""), None);
    }

    proptest! {
        #[test]
        fn what_is_kept_is_public_and_was_met(hops in prop::collection::vec(prop::option::of(any::<[u8; 4]>()), 0..8)) {
            let texts: Vec<String> = hops.iter().map(|hop| hop.map_or_else(String::new, |octets| IpAddr::from(octets).to_string())).collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            if let Some(found) = learn(None, &[&texts]) {
                prop_assert!(is_public(found.address));
                prop_assert_eq!(texts[usize::from(found.ttl) - 1], found.address.to_string());
                prop_assert_eq!(learn(Some(found), &[&texts]), Some(found));
            }
        }
    }
}
