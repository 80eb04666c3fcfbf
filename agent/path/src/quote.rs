//! What an ICMP error quotes: enough of the packet that it is about to know which probe that was, and what was done to it
//! on the way (RFC 792; RFC 4443 §3; RFC 1812 §4.3.2.3), and the label stack behind the quote (RFC 4884; RFC 4950).
//!
//! Every byte here came from the network: each read is checked, and what does not fit is `None`.

use std::net::IpAddr;

use crate::met::{Labels, MAX_LABELS, ReplyKind, Rewrites};
use crate::packet::{
    PROTOCOL_ICMP, PROTOCOL_ICMP6, PROTOCOL_TCP, PROTOCOL_UDP, folded_sum, u16_at, u32_at,
};

/// Where an extension structure begins in a message that does not say where: behind 128 bytes of quote (RFC 4884 §5.5).
const ASSUMED_QUOTE: usize = 128;

/// Extension headers of IPv6 that are stepped over in a quote: more than two are not seen in a packet of ours.
const MAX_EXTENSION_HEADERS: usize = 4;

/// An ICMP error about one of our packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// ICMP type and code, `type * 256 + code`.
    pub icmp: u16,
    /// Number of the protocol of the quoted packet.
    pub protocol: u8,
    /// Source address as it was where the error arose.
    pub source: IpAddr,
    /// Destination address as it was there.
    pub destination: IpAddr,
    /// Source port; the identifier of an echo request.
    pub source_port: u16,
    /// Destination port; 0 for an echo request.
    pub destination_port: u16,
    /// What names the probe: sequence number (TCP, 32 bits; ICMP, 16 bits) or checksum (UDP).
    pub token: u32,
    /// Checksum, where the quote reaches so far.
    pub checksum: Option<u16>,
    /// Identification of IPv4, 0 for IPv6.
    pub identification: u16,
    /// TTL or hop limit as it was there.
    pub ttl: u8,
    /// Label stack that the packet came with.
    pub mpls: Labels,
}

/// An IP packet's header and payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip<'a> {
    /// Where it comes from.
    pub source: IpAddr,
    /// Where it goes to.
    pub destination: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Number of the protocol of the payload.
    pub protocol: u8,
    /// Identification of IPv4, 0 for IPv6.
    pub identification: u16,
    /// What follows the header and its options.
    pub payload: &'a [u8],
}

/// Reads an IP packet of either version; options of IPv4 and extension headers of IPv6 are stepped over.
pub fn ip(packet: &[u8]) -> Option<Ip<'_>> {
    match packet.first()? >> 4 {
        4 => ipv4(packet),
        6 => ipv6(packet),
        _ => None,
    }
}

/// Reads an IPv4 packet (RFC 791 §3.1), options skipped.
pub fn ipv4(packet: &[u8]) -> Option<Ip<'_>> {
    let first = *packet.first()?;
    let header = usize::from(first & 0x0f) * 4;
    if first >> 4 != 4 || header < 20 {
        return None;
    }
    Some(Ip {
        source: v4_at(packet, 12)?,
        destination: v4_at(packet, 16)?,
        ttl: *packet.get(8)?,
        protocol: *packet.get(9)?,
        identification: u16_at(packet, 4)?,
        payload: packet.get(header..)?,
    })
}

/// Reads an IPv6 packet (RFC 8200 §3), extension headers skipped (§4).
pub fn ipv6(packet: &[u8]) -> Option<Ip<'_>> {
    (packet.first()? >> 4 == 6).then_some(())?;
    let mut protocol = *packet.get(6)?;
    let mut payload = packet.get(40..)?;
    for _ in 0..MAX_EXTENSION_HEADERS {
        // Hop-by-hop options, routing and destination options all have their length in the second byte.
        if !matches!(protocol, 0 | 43 | 60) {
            break;
        }
        protocol = *payload.first()?;
        let length = usize::from(*payload.get(1)?) * 8 + 8;
        payload = payload.get(length..)?;
    }
    Some(Ip {
        source: v6_at(packet, 8)?,
        destination: v6_at(packet, 24)?,
        ttl: *packet.get(7)?,
        protocol,
        identification: 0,
        payload,
    })
}

/// Reads an ICMP error (time exceeded or destination unreachable) about a SYN, a datagram or an echo request.
pub fn icmp_error(ipv6: bool, message: &[u8]) -> Option<Quoted> {
    let kind = *message.first()?;
    let is_error = if ipv6 {
        matches!(kind, 1 | 3)
    } else {
        matches!(kind, 3 | 11)
    };
    is_error.then_some(())?;
    let quoted = ip(message.get(8..)?)?;
    (quoted.source.is_ipv6() == ipv6).then_some(())?;
    let segment = quoted.payload;
    let (token, checksum) = match quoted.protocol {
        PROTOCOL_TCP => (u32_at(segment, 4)?, u16_at(segment, 16)),
        PROTOCOL_UDP => (u32::from(u16_at(segment, 6)?), u16_at(segment, 6)),
        PROTOCOL_ICMP | PROTOCOL_ICMP6 => (u32::from(u16_at(segment, 6)?), u16_at(segment, 2)),
        _ => return None,
    };
    let is_echo = matches!(quoted.protocol, PROTOCOL_ICMP | PROTOCOL_ICMP6);
    let (source_port, destination_port) = if is_echo {
        (u16_at(segment, 4)?, 0)
    } else {
        (u16_at(segment, 0)?, u16_at(segment, 2)?)
    };
    Some(Quoted {
        icmp: u16_at(message, 0)?,
        protocol: quoted.protocol,
        source: quoted.source,
        destination: quoted.destination,
        source_port,
        destination_port,
        token,
        checksum,
        identification: quoted.identification,
        ttl: quoted.ttl,
        mpls: label_stack(ipv6, message),
    })
}

/// The label stack of an ICMP error (RFC 4950 §5), empty when it has none.
pub fn label_stack(ipv6: bool, message: &[u8]) -> Labels {
    extensions(ipv6, message).map(stack_in).unwrap_or_default()
}

/// The objects of the extension structure (RFC 4884 §7): behind the quote, whose length the message gives in words of 32
/// bits, or of 64 for IPv6 (§4), or behind 128 bytes where an old router gives none (§5.5). The checksum must be right,
/// or what stands there is part of the quote.
fn extensions(ipv6: bool, message: &[u8]) -> Option<&[u8]> {
    let words = if ipv6 {
        usize::from(*message.get(4)?) * 8
    } else {
        usize::from(*message.get(5)?) * 4
    };
    let quote = if words == 0 { ASSUMED_QUOTE } else { words };
    let structure = message.get(8 + quote..)?;
    let is_version_2 = structure.first()? >> 4 == 2;
    // A checksum of zero says that none was computed.
    let is_right = u16_at(structure, 2)? == 0 || folded_sum(structure) == 0xffff;
    (is_version_2 && is_right).then_some(())?;
    structure.get(4..)
}

/// The entries of the first label stack object among `objects` (RFC 4884 §8; RFC 4950 §5: class 1, type 1).
fn stack_in(mut objects: &[u8]) -> Labels {
    while let (Some(length), Some(class)) = (u16_at(objects, 0), u16_at(objects, 2)) {
        let Some(object) = objects.get(4..usize::from(length)) else {
            break;
        };
        if class == 0x0101 {
            let entries = object.chunks_exact(4).take(MAX_LABELS);
            return entries.filter_map(|entry| u32_at(entry, 0)).collect();
        }
        objects = objects.get(usize::from(length)..).unwrap_or_default();
    }
    Labels::default()
}

/// What a probe was when it left, as far as a quote of it can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Number of its protocol.
    pub protocol: u8,
    /// Source address.
    pub source: IpAddr,
    /// Source port; the identifier of an echo request.
    pub source_port: u16,
    /// Destination address.
    pub destination: IpAddr,
    /// Destination port; 0 for an echo request.
    pub destination_port: u16,
    /// Checksum, when known.
    pub checksum: Option<u16>,
    /// Identification of IPv4, 0 when not chosen by us.
    pub identification: u16,
}

impl Quoted {
    /// What was rewritten between us and where the error arose.
    pub fn rewrites(&self, sent: &Sent) -> Rewrites {
        let differs = |ours: Option<u16>, theirs: Option<u16>| matches!((ours, theirs), (Some(ours), Some(theirs)) if ours != theirs);
        let other_identification = sent.identification != 0
            && self.source.is_ipv4()
            && self.identification != sent.identification;
        Rewrites::default()
            .with(Rewrites::SOURCE, self.source != sent.source)
            .with(Rewrites::SOURCE_PORT, self.source_port != sent.source_port)
            .with(Rewrites::DESTINATION, self.destination != sent.destination)
            .with(
                Rewrites::DESTINATION_PORT,
                self.destination_port != sent.destination_port,
            )
            .with(
                Rewrites::CHECKSUM,
                differs(sent.checksum, self.checksum) || other_identification,
            )
    }

    /// TTL in the quote when it is more than the 1 that it should be, else 0.
    pub const fn odd_ttl(&self) -> u8 {
        if self.ttl > 1 { self.ttl } else { 0 }
    }
}

fn v4_at(bytes: &[u8], at: usize) -> Option<IpAddr> {
    u32_at(bytes, at).map(|word| IpAddr::from(word.to_be_bytes()))
}

fn v6_at(bytes: &[u8], at: usize) -> Option<IpAddr> {
    let octets: [u8; 16] = bytes.get(at..at.checked_add(16)?)?.try_into().ok()?;
    Some(IpAddr::from(octets))
}

/// In what role `from` sent an ICMP error (type and code, `type * 256 + code`) about a packet to `destination`.
pub fn role(icmp: u16, from: IpAddr, destination: IpAddr) -> ReplyKind {
    if is_time_exceeded(destination.is_ipv6(), icmp) {
        ReplyKind::TimeExceeded
    } else if from == destination {
        ReplyKind::Destination
    } else {
        ReplyKind::Barred
    }
}

/// Whether an ICMP type says that the TTL ran out on the way.
const fn is_time_exceeded(ipv6: bool, icmp: u16) -> bool {
    let [kind, code] = icmp.to_be_bytes();
    code == 0 && kind == if ipv6 { 3 } else { 11 }
}

#[cfg(test)]
#[path = "quote_tests.rs"]
mod tests;
