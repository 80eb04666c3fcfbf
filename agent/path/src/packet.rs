//! The packets that a path round is made of: TCP SYN segments (RFC 9293 §3.1), UDP datagrams (RFC 768), ICMP echo requests
//! (RFC 792; RFC 4443 §4.1), and the IP headers before them (RFC 791 §3.1; RFC 8200 §3).
//!
//! Everything that routers hash to choose among equal paths is the same in all packets of one flow: ports and IPv6 flow
//! label for TCP and UDP, identifier and checksum for ICMP. The probe's identity travels in a field that they do not hash:
//! the sequence number of TCP and of ICMP echo, the checksum of UDP, whose payload is tuned to match.

use std::net::IpAddr;

use crate::address_bytes;

const TCP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
const SYN: u8 = 0x02;

/// Number of a protocol in the IP header.
pub const PROTOCOL_ICMP: u8 = 1;
/// Number of a protocol in the IP header.
pub const PROTOCOL_TCP: u8 = 6;
/// Number of a protocol in the IP header.
pub const PROTOCOL_UDP: u8 = 17;
/// Number of a protocol in the IP header.
pub const PROTOCOL_ICMP6: u8 = 58;

/// The two ends of one flow; for ICMP the source port is the identifier and the destination port 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowEnds {
    /// Where packets come from.
    pub source: IpAddr,
    /// Port there, or identifier of an echo request.
    pub source_port: u16,
    /// Where packets go to.
    pub destination: IpAddr,
    /// Port there, 0 for ICMP.
    pub destination_port: u16,
}

/// A SYN of the flow whose sequence number is `token`: routers quote it, the destination acknowledges `token + 1`.
pub fn syn(ends: FlowEnds, token: u32) -> [u8; TCP_HEADER] {
    let mut segment = [0_u8; TCP_HEADER];
    put(&mut segment, 0, &ends.source_port.to_be_bytes());
    put(&mut segment, 2, &ends.destination_port.to_be_bytes());
    put(&mut segment, 4, &token.to_be_bytes());
    // Data offset of five words, then the flag; a window of 64,240 as Linux sends.
    put(&mut segment, 12, &[0x50, SYN, 0xfa, 0xf0]);
    let checksum =
        !fold(sum_pseudo(ends.source, ends.destination, PROTOCOL_TCP, TCP_HEADER) + sum(&segment));
    put(&mut segment, 16, &checksum.to_be_bytes());
    segment
}

/// Length of a UDP datagram as sent: header, compensation, cookie.
pub const UDP_BYTES: usize = UDP_HEADER + 4;

/// A UDP datagram of the flow whose checksum is `token`: the first two bytes of the payload take up the difference, the
/// next two are `cookie`. A `token` of 0 or 65,535 cannot be told apart on the wire (RFC 768): 65,535 is sent for both.
pub fn udp(ends: FlowEnds, token: u16, cookie: u16) -> [u8; UDP_BYTES] {
    let token = if token == 0 { u16::MAX } else { token };
    let mut datagram = [0_u8; UDP_BYTES];
    put(&mut datagram, 0, &ends.source_port.to_be_bytes());
    put(&mut datagram, 2, &ends.destination_port.to_be_bytes());
    put(&mut datagram, 5, &[12]);
    put(&mut datagram, 6, &token.to_be_bytes());
    put(&mut datagram, 10, &cookie.to_be_bytes());
    let rest = sum_pseudo(ends.source, ends.destination, PROTOCOL_UDP, UDP_BYTES) + sum(&datagram);
    put(&mut datagram, 8, &(!fold(rest)).to_be_bytes());
    datagram
}

/// Length of an echo request as sent: header, compensation, padding.
pub const ECHO_BYTES: usize = 16;

/// An echo request whose sequence number is `seq` and whose checksum is the same for every `seq`: the first two bytes of
/// the payload take up the difference (the idea of Paris traceroute). The kernel writes identifier and checksum.
pub fn echo_request(ipv6: bool, seq: u16) -> [u8; ECHO_BYTES] {
    let mut packet = [0_u8; ECHO_BYTES];
    put(&mut packet, 0, &[if ipv6 { 128 } else { 8 }]);
    put(&mut packet, 6, &seq.to_be_bytes());
    put(&mut packet, 8, &(!seq).to_be_bytes());
    packet
}

/// The same with identifier and checksum in it, as a raw socket sends it.
pub fn whole_echo_request(ends: FlowEnds, seq: u16) -> [u8; ECHO_BYTES] {
    let ipv6 = ends.destination.is_ipv6();
    let mut packet = echo_request(ipv6, seq);
    let checksum = echo_checksum(ipv6, ends.source_port, ends.source, ends.destination);
    put(&mut packet, 2, &checksum.to_be_bytes());
    put(&mut packet, 4, &ends.source_port.to_be_bytes());
    packet
}

/// What the IP header of a packet says, besides the two addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outer {
    /// TTL or hop limit.
    pub ttl: u8,
    /// Number of the protocol above.
    pub protocol: u8,
    /// Identification (IPv4 only).
    pub identification: u16,
    /// Flow label, 20 bits (IPv6 only).
    pub flow_label: u32,
    /// Differentiated services code point, 6 bits.
    pub dscp: u8,
}

/// An IP packet from the one end to the other, never fragmented. The kernel writes the IPv4 header checksum.
pub fn ip(ends: FlowEnds, outer: Outer, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
    let class = (outer.dscp & 0x3f) << 2;
    let mut packet = Vec::with_capacity(payload.len() + 40);
    if ends.destination.is_ipv6() {
        let first = 6 << 28 | u32::from(class) << 20 | (outer.flow_label & 0x000f_ffff);
        packet.extend(first.to_be_bytes());
        packet.extend(length.to_be_bytes());
        packet.extend([outer.protocol, outer.ttl]);
    } else {
        packet.extend([0x45, class]);
        packet.extend(length.saturating_add(20).to_be_bytes());
        packet.extend(outer.identification.to_be_bytes());
        packet.extend([0x40, 0, outer.ttl, outer.protocol, 0, 0]);
    }
    packet.extend(address_bytes(ends.source));
    packet.extend(address_bytes(ends.destination));
    packet.extend(payload);
    packet
}

/// The flow label of a flow's packets: the same for each packet of it, another for another flow, and never 0, which
/// routers may replace (RFC 6437 §3).
pub fn flow_label(source_port: u16, destination_port: u16) -> u32 {
    let mixed =
        (u32::from(source_port) << 16 | u32::from(destination_port)).wrapping_mul(0x9e37_79b1);
    (mixed >> 12).max(1)
}

/// What a TCP segment says to a prober: a SYN-ACK or a RST, and what it acknowledges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpReply {
    /// Port of who answers.
    pub source_port: u16,
    /// Port of who asked.
    pub destination_port: u16,
    /// The token of the SYN that is answered.
    pub token: u32,
    /// RST, not SYN-ACK.
    pub is_reset: bool,
}

/// Reads a TCP header; `None` unless it is a SYN-ACK or a RST that acknowledges something.
pub fn tcp_reply(segment: &[u8]) -> Option<TcpReply> {
    let flags = *segment.get(13)?;
    let acknowledges = flags & 0x10 != 0;
    let is_reset = flags & 0x04 != 0;
    let is_syn = flags & SYN != 0;
    if !acknowledges || !(is_reset || is_syn) {
        return None;
    }
    Some(TcpReply {
        source_port: u16_at(segment, 0)?,
        destination_port: u16_at(segment, 2)?,
        token: u32_at(segment, 8)?.wrapping_sub(1),
        is_reset,
    })
}

/// Identifier and sequence number of an echo reply; `None` for anything else.
pub fn echo_reply(ipv6: bool, message: &[u8]) -> Option<(u16, u16)> {
    let kind = if ipv6 { 129 } else { 0 };
    (*message.first()? == kind && *message.get(1)? == 0).then_some(())?;
    Some((u16_at(message, 4)?, u16_at(message, 6)?))
}

/// The two bytes at `at`, in network order.
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..at.checked_add(2)?)?
        .try_into()
        .ok()
        .map(u16::from_be_bytes)
}

/// The four bytes at `at`, in network order.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..at.checked_add(4)?)?
        .try_into()
        .ok()
        .map(u32::from_be_bytes)
}

fn put(packet: &mut [u8], at: usize, bytes: &[u8]) {
    for (to, from) in packet.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
}

/// The Internet checksum before its complement (RFC 1071 §1).
fn sum(bytes: &[u8]) -> u32 {
    bytes
        .chunks(2)
        .map(|pair| {
            u32::from(*pair.first().unwrap_or(&0)) << 8 | u32::from(*pair.get(1).unwrap_or(&0))
        })
        .sum()
}

/// The Internet checksum of at most 128 KiB (RFC 1071 §1): 0xffff when a checksum is among the bytes and right.
pub(crate) fn folded_sum(bytes: &[u8]) -> u16 {
    fold(sum(bytes))
}

/// The pseudo-header of the checksum (RFC 9293 §3.1; RFC 8200 §8.1).
fn sum_pseudo(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> u32 {
    let address = |address: IpAddr| sum(&address_bytes(address));
    address(source)
        + address(destination)
        + u32::from(protocol)
        + u32::try_from(length).unwrap_or(0)
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap_or(0)
}

/// The checksum of an echo request with identifier `id`: the flow id of an ICMP flow.
pub fn echo_checksum(ipv6: bool, id: u16, source: IpAddr, destination: IpAddr) -> u16 {
    let packet = echo_request(ipv6, 0);
    let pseudo = if ipv6 {
        sum_pseudo(source, destination, PROTOCOL_ICMP6, ECHO_BYTES)
    } else {
        0
    };
    !fold(sum(&packet) + u32::from(id) + pseudo)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ends(v6: bool) -> FlowEnds {
        let (source, destination) = if v6 {
            ("2001:db8::1", "2001:db8::2")
        } else {
            ("192.0.2.1", "198.51.100.2")
        };
        let address = |text: &str| text.parse().expect("an address");
        FlowEnds {
            source: address(source),
            source_port: 24_000,
            destination: address(destination),
            destination_port: 443,
        }
    }

    fn checks(ends: FlowEnds, protocol: u8, bytes: &[u8]) -> bool {
        fold(sum_pseudo(ends.source, ends.destination, protocol, bytes.len()) + sum(bytes))
            == 0xffff
    }

    proptest! {
        #[test]
        fn a_syn_has_a_right_checksum_and_names_its_token(token in any::<u32>(), v6 in any::<bool>()) {
            let ends = ends(v6);
            let segment = syn(ends, token);
            prop_assert!(checks(ends, PROTOCOL_TCP, &segment));
            prop_assert_eq!(u32_at(&segment, 4), Some(token));
            prop_assert_eq!(&segment[..4], &syn(ends, 0)[..4], "ports are the flow");
        }

        #[test]
        fn the_checksum_of_a_datagram_is_its_token_and_is_right(
            token in 1..u16::MAX, cookie in any::<u16>(), port in any::<u16>(), v6 in any::<bool>(),
        ) {
            let ends = FlowEnds { source_port: port, ..ends(v6) };
            let datagram = udp(ends, token, cookie);
            prop_assert_eq!(u16_at(&datagram, 6), Some(token));
            prop_assert!(checks(ends, PROTOCOL_UDP, &datagram));
            prop_assert_eq!(u16_at(&datagram, 4).map(usize::from), Some(datagram.len()));
            prop_assert_eq!(&datagram[..6], &udp(ends, 1, cookie)[..6], "ports and length are the flow");
        }

        #[test]
        fn the_checksum_of_an_echo_flow_does_not_depend_on_the_sequence(seq in any::<u16>(), id in any::<u16>(), v6 in any::<bool>()) {
            prop_assert_eq!(fold(sum(&echo_request(v6, seq))), fold(sum(&echo_request(v6, 0))));
            let ends = FlowEnds { source_port: id, ..ends(v6) };
            let packet = whole_echo_request(ends, seq);
            let right = if v6 { checks(ends, PROTOCOL_ICMP6, &packet) } else { fold(sum(&packet)) == 0xffff };
            prop_assert!(right);
            prop_assert_eq!(&packet[..6], &whole_echo_request(ends, 0)[..6]);
        }

        #[test]
        fn arbitrary_bytes_are_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), v6 in any::<bool>()) {
            let reply = tcp_reply(&bytes);
            prop_assert!(reply.is_none() || bytes.len() >= 14);
            prop_assert!(echo_reply(v6, &bytes).is_none() || bytes.len() >= 8);
        }

        #[test]
        fn an_ip_header_reads_back(ttl in any::<u8>(), id in any::<u16>(), label in 1u32..0x10_0000, v6 in any::<bool>(), dscp in 0u8..64) {
            let ends = ends(v6);
            let outer = Outer { ttl, protocol: PROTOCOL_UDP, identification: id, flow_label: label, dscp };
            let packet = ip(ends, outer, b"payload");
            let read = crate::quote::ip(&packet).expect("an IP packet");
            prop_assert_eq!((read.source, read.destination, read.ttl), (ends.source, ends.destination, ttl));
            prop_assert_eq!((read.protocol, read.payload), (PROTOCOL_UDP, &b"payload"[..]));
            if v6 {
                prop_assert_eq!(u32_at(&packet, 0).map(|word| word & 0xf_ffff), Some(label));
            } else {
                prop_assert_eq!(read.identification, id);
            }
        }

        #[test]
        fn a_flow_label_is_of_twenty_bits_and_never_zero(source in any::<u16>(), destination in any::<u16>()) {
            let label = flow_label(source, destination);
            prop_assert!((1..1 << 20).contains(&label));
        }
    }

    #[test]
    fn eight_flows_have_eight_labels() {
        let labels: std::collections::BTreeSet<u32> =
            (24_100..24_108).map(|port| flow_label(port, 443)).collect();
        assert_eq!(labels.len(), 8);
    }

    #[test]
    fn only_what_answers_a_syn_is_a_reply() {
        for (name, flags, want) in [
            ("SYN-ACK", 0x12, Some(false)),
            ("RST-ACK", 0x14, Some(true)),
            ("RST alone acknowledges nothing", 0x04, None),
            ("data", 0x18, None),
            ("SYN", 0x02, None),
        ] {
            let mut segment = [0_u8; 20];
            segment[8..12].copy_from_slice(&8_u32.to_be_bytes());
            segment[13] = flags;
            let reply = tcp_reply(&segment);
            assert_eq!(reply.map(|reply| reply.is_reset), want, "{name}");
            assert_eq!(reply.map_or(7, |reply| reply.token), 7, "{name}");
        }
    }
}
