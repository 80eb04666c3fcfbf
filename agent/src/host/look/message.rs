//! Questions to the kernel's routing socket and its answers (rtnetlink(7)), as bytes.
//!
//! Pure. Only single things are asked for: one route, one link, one neighbour; never a table. What comes back is read with
//! every length checked.

use std::net::IpAddr;

const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const NEW_ROUTE: u16 = 24;
const GET_ROUTE: u16 = 26;
const NEW_NEIGHBOUR: u16 = 28;
const GET_NEIGHBOUR: u16 = 30;
const ERROR: u16 = 2;
const REQUEST: u16 = 1;

const HEADER: usize = 16;
const ROUTE_HEADER: usize = 12;
const LINK_HEADER: usize = 16;
const NEIGHBOUR_HEADER: usize = 12;

const INET: u8 = 2;
const INET6: u8 = 10;

/// `RTN_UNICAST`: the other types (local, blackhole, unreachable, …) lead to no router.
const UNICAST: u8 = 1;

/// The way that packets to one destination take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Route {
    /// Index of the interface.
    pub(crate) interface: u32,
    /// The router; `None` where the destination is on the link, or the link leads to one other end only.
    pub(crate) gateway: Option<IpAddr>,
}

/// What the kernel says of an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) name: String,
    /// `ARPHRD_*` of `linux/if_arp.h`.
    pub(crate) hardware: u16,
    /// The driver's kind, such as `wireguard`, `tun`, `veth`; empty for real hardware.
    pub(crate) kind: String,
    pub(crate) counts: LinkCounts,
}

/// Errors and drops since the interface came up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LinkCounts {
    pub(crate) receive_errors: u64,
    pub(crate) transmit_errors: u64,
    pub(crate) receive_drops: u64,
    pub(crate) transmit_drops: u64,
}

/// Asks for the route to `destination`, out of interface `out_of` (an index) and from `source` where named.
pub(super) fn ask_route(
    destination: IpAddr,
    source: Option<IpAddr>,
    out_of: Option<u32>,
) -> Vec<u8> {
    let bits = |address: IpAddr| if address.is_ipv4() { 32 } else { 128 };
    let mut body = vec![0; ROUTE_HEADER];
    if let [family, destination_bits, source_bits, ..] = body.as_mut_slice() {
        *family = family_of(destination);
        *destination_bits = bits(destination);
        *source_bits = source.map_or(0, bits);
    }
    attribute(&mut body, 1, &octets(destination));
    if let Some(source) = source {
        attribute(&mut body, 2, &octets(source));
    }
    if let Some(index) = out_of {
        attribute(&mut body, 4, &index.to_ne_bytes());
    }
    request(GET_ROUTE, &body)
}

/// Asks for an interface by its index.
pub(super) fn ask_link(index: u32) -> Vec<u8> {
    let mut body = vec![0; LINK_HEADER];
    if let Some(slot) = body.get_mut(4..8) {
        slot.copy_from_slice(&index.to_ne_bytes());
    }
    request(GET_LINK, &body)
}

/// Asks for the link address of a neighbour.
pub(super) fn ask_neighbour(index: u32, address: IpAddr) -> Vec<u8> {
    let mut body = vec![0; NEIGHBOUR_HEADER];
    if let Some(slot) = body.first_mut() {
        *slot = family_of(address);
    }
    if let Some(slot) = body.get_mut(4..8) {
        slot.copy_from_slice(&index.to_ne_bytes());
    }
    attribute(&mut body, 1, &octets(address));
    request(GET_NEIGHBOUR, &body)
}

/// Reads the answer to [`ask_route`]; `None` when there is no way.
pub(super) fn read_route(answer: &[u8]) -> Option<Route> {
    let body = body_of(answer, NEW_ROUTE)?;
    if *body.get(7)? != UNICAST {
        return None;
    }
    let mut route = Route::default();
    for (kind, value) in attributes(body.get(ROUTE_HEADER..)?) {
        match kind {
            4 => route.interface = u32::from_ne_bytes(value.try_into().ok()?),
            5 => route.gateway = address(value),
            // RTA_VIA: an IPv4 route by way of an IPv6 router; the family stands before the address.
            18 => route.gateway = address(value.get(2..)?),
            _ => {}
        }
    }
    (route.interface != 0).then_some(route)
}

/// Reads the answer to [`ask_link`].
pub(super) fn read_link(answer: &[u8]) -> Option<Link> {
    let body = body_of(answer, NEW_LINK)?;
    let mut link = Link {
        hardware: u16::from_ne_bytes(body.get(2..4)?.try_into().ok()?),
        ..Link::default()
    };
    for (kind, value) in attributes(body.get(LINK_HEADER..)?) {
        match kind {
            3 => link.name = text(value),
            18 => {
                let inner = attributes(value).find(|(kind, _)| *kind == 1);
                link.kind = inner.map(|(_, value)| text(value)).unwrap_or_default();
            }
            23 => link.counts = counts(value).unwrap_or_default(),
            _ => {}
        }
    }
    (!link.name.is_empty()).then_some(link)
}

/// Reads the answer to [`ask_neighbour`]: the link address, where the kernel knows one.
pub(super) fn read_neighbour(answer: &[u8]) -> Option<Vec<u8>> {
    let body = body_of(answer, NEW_NEIGHBOUR)?;
    let known = attributes(body.get(NEIGHBOUR_HEADER..)?).find(|(kind, _)| *kind == 2);
    known
        .map(|(_, value)| value.to_vec())
        .filter(|link| link.iter().any(|octet| *octet != 0))
}

/// What follows the header of the first message, when it is of this type and no error.
fn body_of(answer: &[u8], wanted: u16) -> Option<&[u8]> {
    let length = u32::from_ne_bytes(answer.get(..4)?.try_into().ok()?);
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    if kind != wanted || kind == ERROR {
        return None;
    }
    answer.get(HEADER..usize::try_from(length).ok()?.min(answer.len()))
}

/// The attributes of a message: type without its flags, and value.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & 0x3fff;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    body.extend_from_slice(&length.to_ne_bytes());
    body.extend_from_slice(&kind.to_ne_bytes());
    body.extend_from_slice(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

fn request(kind: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&REQUEST.to_ne_bytes());
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(body);
    bytes
}

/// `struct rtnl_link_stats64`: errors and drops are its fifth to eighth numbers.
fn counts(value: &[u8]) -> Option<LinkCounts> {
    let number = |place: usize| {
        let bytes = value.get(place * 8..place * 8 + 8)?;
        Some(u64::from_ne_bytes(bytes.try_into().ok()?))
    };
    Some(LinkCounts {
        receive_errors: number(4)?,
        transmit_errors: number(5)?,
        receive_drops: number(6)?,
        transmit_drops: number(7)?,
    })
}

fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(value.get(..end.unwrap_or(value.len())).unwrap_or_default())
        .into_owned()
}

const fn family_of(address: IpAddr) -> u8 {
    if address.is_ipv4() { INET } else { INET6 }
}

fn octets(address: IpAddr) -> Vec<u8> {
    crate::probe::address_bytes(address)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(
        kind: u16,
        header: usize,
        set: impl Fn(&mut [u8]),
        parts: &[(u16, &[u8])],
    ) -> Vec<u8> {
        let mut body = vec![0; header];
        set(&mut body);
        for (kind, value) in parts {
            attribute(&mut body, *kind, value);
        }
        request(kind, &body)
    }

    #[test]
    fn a_route_has_an_interface_and_perhaps_a_router() {
        let unicast = |body: &mut [u8]| body[7] = UNICAST;
        let index = 7_u32.to_ne_bytes();
        let via = answer(
            NEW_ROUTE,
            ROUTE_HEADER,
            unicast,
            &[(4, &index), (5, &[192, 0, 2, 1])],
        );
        let want = Route {
            interface: 7,
            gateway: "192.0.2.1".parse().ok(),
        };
        assert_eq!(read_route(&via), Some(want));
        let on_link = answer(NEW_ROUTE, ROUTE_HEADER, unicast, &[(4, &index)]);
        assert_eq!(
            read_route(&on_link),
            Some(Route {
                interface: 7,
                gateway: None
            })
        );
        let blackhole = answer(NEW_ROUTE, ROUTE_HEADER, |body| body[7] = 6, &[(4, &index)]);
        assert_eq!(read_route(&blackhole), None);
        assert_eq!(read_route(&request(ERROR, &[0; 20])), None, "no route");
        let mut other = vec![10, 0];
        other.extend(octets("fe80::1".parse().unwrap()));
        let via_v6 = answer(
            NEW_ROUTE,
            ROUTE_HEADER,
            unicast,
            &[(4, &index), (18, &other)],
        );
        assert_eq!(
            read_route(&via_v6).and_then(|route| route.gateway),
            "fe80::1".parse().ok()
        );
    }

    #[test]
    fn a_link_tells_its_name_kind_and_counts() {
        let numbers: Vec<u8> = (0..24_u64).flat_map(u64::to_ne_bytes).collect();
        let mut info = Vec::new();
        attribute(&mut info, 1, b"wireguard\0");
        let link = answer(
            NEW_LINK,
            LINK_HEADER,
            |body| body[2..4].copy_from_slice(&65_534_u16.to_ne_bytes()),
            &[(3, b"wg0\0"), (18, &info), (23, &numbers)],
        );
        let link = read_link(&link).expect("a link");
        assert_eq!(
            (link.name.as_str(), link.kind.as_str(), link.hardware),
            ("wg0", "wireguard", 65_534)
        );
        assert_eq!(
            link.counts,
            LinkCounts {
                receive_errors: 4,
                transmit_errors: 5,
                receive_drops: 6,
                transmit_drops: 7
            }
        );
    }

    #[test]
    fn a_neighbour_without_a_link_address_is_none() {
        let known = answer(
            NEW_NEIGHBOUR,
            NEIGHBOUR_HEADER,
            |_| {},
            &[(2, &[2, 0, 0, 0, 0, 1])],
        );
        assert_eq!(read_neighbour(&known), Some(vec![2, 0, 0, 0, 0, 1]));
        let empty = answer(NEW_NEIGHBOUR, NEIGHBOUR_HEADER, |_| {}, &[(2, &[0; 6])]);
        assert_eq!(read_neighbour(&empty), None);
        assert_eq!(
            read_neighbour(&answer(NEW_NEIGHBOUR, NEIGHBOUR_HEADER, |_| {}, &[])),
            None
        );
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), kind in prop::sample::select(vec![NEW_LINK, NEW_ROUTE, NEW_NEIGHBOUR, ERROR])) {
            for bytes in [bytes.clone(), request(kind, &bytes)] {
                read_route(&bytes);
                read_link(&bytes);
                read_neighbour(&bytes);
            }
        }
    }
}
