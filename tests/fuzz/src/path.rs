//! What a traceroute gets back: ICMP errors with what they quote and the label stack behind it, TCP segments, echo replies.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use firstmile_path::met::Rewrites;
use firstmile_path::packet::{
    self, FlowEnds, Outer, PROTOCOL_ICMP, PROTOCOL_ICMP6, PROTOCOL_TCP, PROTOCOL_UDP,
};
use firstmile_path::quote::{Quoted, Sent, icmp_error, ip, label_stack};

/// Bytes of a transport header that every router quotes (RFC 792).
const LEAST_QUOTED: usize = 8;

/// Any bytes as an ICMP error, and as the packets inside and around it.
pub(crate) fn quotes(bytes: &[u8]) {
    for ipv6 in [false, true] {
        let stack = label_stack(ipv6, bytes);
        if let Some(quoted) = icmp_error(ipv6, bytes) {
            assert_eq!(quoted.mpls, stack);
            assert_eq!(quoted.source.is_ipv6(), ipv6);
            assert_eq!(quoted.destination.is_ipv6(), ipv6);
            assert_eq!(quoted.rewrites(&as_sent(&quoted)), Rewrites::default());
        }
    }
    if let Some(packet) = ip(bytes) {
        assert!(
            bytes.ends_with(packet.payload),
            "a payload is the packet's end"
        );
    }
}

/// Any bytes as an answer of the destination.
pub(crate) fn answers(bytes: &[u8]) {
    if let Some(reply) = packet::tcp_reply(bytes) {
        let ports = [reply.source_port, reply.destination_port].map(u16::to_be_bytes);
        assert!(bytes.starts_with(ports.as_flattened()));
        let acknowledged = reply.token.wrapping_add(1).to_be_bytes();
        assert_eq!(bytes.get(8..12), Some(&acknowledged[..]));
    }
    for ipv6 in [false, true] {
        if let Some((identifier, seq)) = packet::echo_reply(ipv6, bytes) {
            let fields = [identifier, seq].map(u16::to_be_bytes);
            assert_eq!(bytes.get(4..8), Some(fields.as_flattened()));
        }
    }
}

/// A probe of any flow, quoted as far as any router quotes, is known again, and nothing looks rewritten.
pub(crate) fn probes(bytes: &[u8]) {
    let Some((choice, rest)) = bytes.split_first_chunk::<14>() else {
        return;
    };
    let word = |at| packet::u16_at(choice, at).unwrap_or_default();
    let [source_port, destination_port, upper, lower] = [0, 2, 4, 6].map(word);
    let [.., kind, ttl, cut, more, near, far] = *choice;
    let ipv6 = kind & 1 == 1;
    let protocol = match kind >> 1 & 3 {
        0 => PROTOCOL_UDP,
        1 if ipv6 => PROTOCOL_ICMP6,
        1 => PROTOCOL_ICMP,
        _ => PROTOCOL_TCP,
    };
    let is_echo = matches!(protocol, PROTOCOL_ICMP | PROTOCOL_ICMP6);
    let [source, destination] = [near, far].map(|last| address(ipv6, last));
    let ends = FlowEnds {
        source,
        source_port,
        destination,
        destination_port: if is_echo { 0 } else { destination_port },
    };
    let (payload, token) = payload(protocol, ends, [upper, lower]);
    let outer = Outer {
        ttl,
        protocol,
        identification: lower,
        flow_label: packet::flow_label(ends.source_port, ends.destination_port),
        dscp: cut,
    };
    let whole = packet::ip(ends, outer, &payload);
    let least = whole.len() - payload.len() + LEAST_QUOTED;
    let quoted = whole.get(..whole.len().min(least + usize::from(cut % 16)));
    let kind = if ipv6 { 3 } else { 11 };
    let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
    message.extend(quoted.unwrap_or_default());
    // Behind a short quote a router may put anything, and some do.
    message.extend(rest.iter().take(usize::from(more)));
    let read = icmp_error(ipv6, &message).expect("an error about our own probe is understood");
    assert_eq!(read.token, token);
    assert_eq!(read.source_port, ends.source_port);
    assert_eq!(read.destination_port, ends.destination_port);
    let untouched = Sent {
        checksum: None,
        ..as_sent(&read)
    };
    assert_eq!(untouched.source, source);
    assert_eq!(read.rewrites(&untouched), Rewrites::default());
}

fn payload(protocol: u8, ends: FlowEnds, [upper, lower]: [u16; 2]) -> (Vec<u8>, u32) {
    let token = u32::from(upper) << 16 | u32::from(lower);
    match protocol {
        PROTOCOL_TCP => (packet::syn(ends, token).to_vec(), token),
        PROTOCOL_UDP => {
            let sent = if upper == 0 { u16::MAX } else { upper };
            (packet::udp(ends, upper, lower).to_vec(), sent.into())
        }
        _ => (
            packet::whole_echo_request(ends, upper).to_vec(),
            upper.into(),
        ),
    }
}

fn as_sent(quoted: &Quoted) -> Sent {
    Sent {
        protocol: quoted.protocol,
        source: quoted.source,
        source_port: quoted.source_port,
        destination: quoted.destination,
        destination_port: quoted.destination_port,
        checksum: quoted.checksum,
        identification: quoted.identification,
    }
}

fn address(ipv6: bool, last: u8) -> IpAddr {
    if ipv6 {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into()).into()
    } else {
        Ipv4Addr::new(192, 0, 2, last).into()
    }
}
