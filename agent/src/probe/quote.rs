//! What an ICMP error quotes: enough of the packet that it is about to know which probe that was (RFC 792; RFC 4443 §3;
//! RFC 1812 §4.3.2.3).
//!
//! Pure. Every byte here came from the network: each read is checked, and what does not fit is `None`.

use std::net::IpAddr;

use super::packet::{u16_at, u32_at};

const PROTOCOL_TCP: u8 = 6;

/// An ICMP error about one of our SYN segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TcpError {
    /// ICMP type and code, `type * 256 + code`.
    pub(crate) icmp: u16,
    pub(crate) destination: IpAddr,
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
    /// The sequence number of the quoted SYN.
    pub(crate) token: u32,
}

/// An IPv4 packet's header and payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ipv4<'a> {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) ttl: u8,
    pub(crate) protocol: u8,
    pub(crate) payload: &'a [u8],
}

/// Reads an IPv4 packet (RFC 791 §3.1), options skipped.
pub(crate) fn ipv4(packet: &[u8]) -> Option<Ipv4<'_>> {
    let first = *packet.first()?;
    let header = usize::from(first & 0x0f) * 4;
    if first >> 4 != 4 || header < 20 {
        return None;
    }
    Some(Ipv4 {
        source: v4_at(packet, 12)?,
        destination: v4_at(packet, 16)?,
        ttl: *packet.get(8)?,
        protocol: *packet.get(9)?,
        payload: packet.get(header..)?,
    })
}

/// Reads an `ICMPv4` error (time exceeded or destination unreachable) about a TCP segment.
pub(crate) fn icmp4_about_tcp(message: &[u8]) -> Option<TcpError> {
    let kind = *message.first()?;
    if !matches!(kind, 3 | 11) {
        return None;
    }
    let quoted = ipv4(message.get(8..)?)?;
    (quoted.protocol == PROTOCOL_TCP).then_some(())?;
    about(u16_at(message, 0)?, quoted.destination, quoted.payload)
}

/// Reads an `ICMPv6` error (time exceeded or destination unreachable) about a TCP segment without extension headers.
pub(crate) fn icmp6_about_tcp(message: &[u8]) -> Option<TcpError> {
    let kind = *message.first()?;
    if !matches!(kind, 1 | 3) {
        return None;
    }
    let quoted = message.get(8..)?;
    (quoted.first()? >> 4 == 6 && *quoted.get(6)? == PROTOCOL_TCP).then_some(())?;
    let destination: [u8; 16] = quoted.get(24..40)?.try_into().ok()?;
    about(
        u16_at(message, 0)?,
        IpAddr::from(destination),
        quoted.get(40..)?,
    )
}

fn about(icmp: u16, destination: IpAddr, segment: &[u8]) -> Option<TcpError> {
    Some(TcpError {
        icmp,
        destination,
        source_port: u16_at(segment, 0)?,
        destination_port: u16_at(segment, 2)?,
        token: u32_at(segment, 4)?,
    })
}

fn v4_at(bytes: &[u8], at: usize) -> Option<IpAddr> {
    u32_at(bytes, at).map(|word| IpAddr::from(word.to_be_bytes()))
}

/// Whether an ICMP type says that the TTL ran out on the way.
pub(crate) const fn is_time_exceeded(ipv6: bool, icmp: u16) -> bool {
    let [kind, code] = icmp.to_be_bytes();
    code == 0 && kind == if ipv6 { 3 } else { 11 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::probe::packet::{FlowEnds, syn};

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn flow(v6: bool) -> FlowEnds {
        let (source, destination) = if v6 {
            ("2001:db8::1", "2001:db8::2")
        } else {
            ("192.0.2.1", "198.51.100.2")
        };
        FlowEnds {
            source: address(source),
            source_port: 24_001,
            destination: address(destination),
            destination_port: 443,
        }
    }

    /// An error of the given type and code as a router would write it, quoting `quoted` bytes of the segment.
    fn error(v6: bool, kind: u8, code: u8, options: usize, token: u32, quoted: usize) -> Vec<u8> {
        let ends = flow(v6);
        let mut message = vec![kind, code, 0, 0, 0, 0, 0, 0];
        if v6 {
            let mut header = vec![0_u8; 40];
            header[0] = 0x60;
            header[6] = PROTOCOL_TCP;
            header[24..].copy_from_slice(&super::super::address_bytes(ends.destination));
            message.extend(header);
        } else {
            let mut header = vec![0_u8; 20 + options * 4];
            header[0] = 0x45 + u8::try_from(options).expect("few options");
            header[9] = PROTOCOL_TCP;
            header[16..20].copy_from_slice(&super::super::address_bytes(ends.destination));
            message.extend(header);
        }
        message.extend(&syn(ends, token)[..quoted]);
        message
    }

    proptest! {
        #[test]
        fn the_least_that_a_router_must_quote_is_enough(token in any::<u32>(), options in 0usize..=10, quoted in 8usize..=20) {
            let read = icmp4_about_tcp(&error(false, 11, 0, options, token, quoted)).expect("reads");
            prop_assert_eq!((read.token, read.source_port, read.icmp), (token, 24_001, 11 << 8));
            prop_assert_eq!(read.destination, flow(false).destination);
            let read = icmp6_about_tcp(&error(true, 3, 0, 0, token, quoted)).expect("reads");
            prop_assert_eq!((read.token, read.destination), (token, flow(true).destination));
        }

        #[test]
        fn arbitrary_bytes_are_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let short = icmp4_about_tcp(&bytes).or(icmp6_about_tcp(&bytes));
            prop_assert!(short.is_none() || bytes.len() >= 36);
        }

        #[test]
        fn a_cut_error_is_nothing(cut in 0usize..36) {
            prop_assert_eq!(icmp4_about_tcp(&error(false, 11, 0, 0, 7, 8)[..cut]), None);
        }
    }

    #[test]
    fn other_messages_are_nothing() {
        assert_eq!(
            icmp4_about_tcp(&error(false, 0, 0, 0, 7, 20)),
            None,
            "echo reply"
        );
        assert_eq!(
            icmp6_about_tcp(&error(true, 129, 0, 0, 7, 20)),
            None,
            "echo reply"
        );
    }
}
