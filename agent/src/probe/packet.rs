//! The packets that a path round is made of: TCP SYN segments (RFC 9293 §3.1) and ICMP echo requests (RFC 792;
//! RFC 4443 §4.1).
//!
//! Pure. Everything that routers hash to choose among equal paths is the same in all packets of one flow: ports for TCP,
//! identifier and checksum for ICMP. The probe's identity travels in a field that they do not hash.

use std::net::IpAddr;

const TCP_HEADER: usize = 20;
const SYN: u8 = 0x02;
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_ICMP6: u8 = 58;

/// The two ends of one TCP flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FlowEnds {
    pub(crate) source: IpAddr,
    pub(crate) source_port: u16,
    pub(crate) destination: IpAddr,
    pub(crate) destination_port: u16,
}

/// A SYN of the flow whose sequence number is `token`: routers quote it, the destination acknowledges `token + 1`.
pub(crate) fn syn(ends: FlowEnds, token: u32) -> [u8; TCP_HEADER] {
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

/// Length of an echo request as sent: header, compensation, padding.
pub(crate) const ECHO_BYTES: usize = 16;

/// An echo request whose sequence number is `seq` and whose checksum is the same for every `seq`: the first two bytes of
/// the payload take up the difference (the idea of Paris traceroute). The kernel writes identifier and checksum.
pub(crate) fn echo_request(ipv6: bool, seq: u16) -> [u8; ECHO_BYTES] {
    let mut packet = [0_u8; ECHO_BYTES];
    put(&mut packet, 0, &[if ipv6 { 128 } else { 8 }]);
    put(&mut packet, 6, &seq.to_be_bytes());
    put(&mut packet, 8, &(!seq).to_be_bytes());
    packet
}

/// What a TCP segment says to a prober: a SYN-ACK or a RST, and what it acknowledges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TcpReply {
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
    /// The token of the SYN that is answered.
    pub(crate) token: u32,
    pub(crate) is_reset: bool,
}

/// Reads a TCP header; `None` unless it is a SYN-ACK or a RST that acknowledges something.
pub(crate) fn tcp_reply(segment: &[u8]) -> Option<TcpReply> {
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

/// The two bytes at `at`, in network order.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..at.checked_add(2)?)?
        .try_into()
        .ok()
        .map(u16::from_be_bytes)
}

/// The four bytes at `at`, in network order.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
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

/// The pseudo-header of the checksum (RFC 9293 §3.1; RFC 8200 §8.1).
fn sum_pseudo(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> u32 {
    let address = |address: IpAddr| sum(&super::address_bytes(address));
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

/// The checksum that the kernel writes into an echo request with identifier `id`: the flow id of an ICMP flow.
pub(crate) fn echo_checksum(ipv6: bool, id: u16, source: IpAddr, destination: IpAddr) -> u16 {
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

    fn ends(source: &str, destination: &str) -> FlowEnds {
        let address = |text: &str| text.parse().expect("an address");
        FlowEnds {
            source: address(source),
            source_port: 24_000,
            destination: address(destination),
            destination_port: 443,
        }
    }

    proptest! {
        #[test]
        fn a_syn_has_a_right_checksum_and_names_its_token(token in any::<u32>(), v6 in any::<bool>()) {
            let ends = if v6 { ends("2001:db8::1", "2001:db8::2") } else { ends("192.0.2.1", "198.51.100.2") };
            let segment = syn(ends, token);
            prop_assert_eq!(fold(sum_pseudo(ends.source, ends.destination, PROTOCOL_TCP, 20) + sum(&segment)), 0xffff);
            prop_assert_eq!(u32_at(&segment, 4), Some(token));
            prop_assert_eq!(&segment[..4], &syn(ends, 0)[..4], "ports are the flow");
        }

        #[test]
        fn the_checksum_of_an_echo_flow_does_not_depend_on_the_sequence(seq in any::<u16>(), v6 in any::<bool>()) {
            prop_assert_eq!(fold(sum(&echo_request(v6, seq))), fold(sum(&echo_request(v6, 0))));
        }

        #[test]
        fn arbitrary_bytes_are_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let reply = tcp_reply(&bytes);
            prop_assert!(reply.is_none() || bytes.len() >= 14);
        }
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
