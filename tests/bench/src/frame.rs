//! What a captured Ethernet frame is, as far as the truth needs it.

/// A packet whose time matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    /// Echo request out.
    Request { identifier: u16, seq: u16 },
    /// Echo reply in.
    Reply { identifier: u16, seq: u16 },
    /// SYN out, by its source port.
    Syn { port: u16 },
    /// SYN-ACK in, by its destination port.
    SynAck { port: u16 },
}

const ETHERTYPE: usize = 12;
const IP: usize = 14;
const IPV6_HEADER: usize = 40;

/// Reads an Ethernet frame; `None` for all that does not matter.
pub(crate) fn read(frame: &[u8]) -> Option<Packet> {
    let (protocol, header) = protocol(frame)?;
    let body = frame.get(IP + header..)?;
    match (protocol, body.first()?) {
        (1, 8) | (58, 128) => Some(Packet::Request {
            identifier: word(body, 4)?,
            seq: word(body, 6)?,
        }),
        (1, 0) | (58, 129) => Some(Packet::Reply {
            identifier: word(body, 4)?,
            seq: word(body, 6)?,
        }),
        // RFC 9293 §3.1: ACK is bit 4 of the flags, SYN bit 1.
        (6, _) => match body.get(13)? & 0x12 {
            0x02 => Some(Packet::Syn {
                port: word(body, 0)?,
            }),
            0x12 => Some(Packet::SynAck {
                port: word(body, 2)?,
            }),
            _ => None,
        },
        _ => None,
    }
}

/// Names the flow of a packet that only a prober sends: protocol and source port, or the identifier of an echo. DNS is left
/// out.
pub(crate) fn probe(frame: &[u8]) -> Option<(u8, u16)> {
    match read(frame) {
        Some(Packet::Request { identifier, .. }) => Some((1, identifier)),
        Some(Packet::Syn { port }) => Some((6, port)),
        Some(Packet::Reply { .. } | Packet::SynAck { .. }) => None,
        None => datagram(frame).map(|port| (17, port)),
    }
}

/// Source port of a UDP datagram that is no DNS question.
fn datagram(frame: &[u8]) -> Option<u16> {
    let (protocol, header) = protocol(frame)?;
    let body = frame.get(IP + header..)?;
    (protocol == 17 && word(body, 2)? != 53).then(|| word(body, 0))?
}

/// The protocol, and how long the header before it is. Packets with extension headers do not matter here.
fn protocol(frame: &[u8]) -> Option<(u8, usize)> {
    match word(frame, ETHERTYPE)? {
        0x0800 => Some((*frame.get(IP + 9)?, usize::from(frame.get(IP)? & 0xf) * 4)),
        0x86dd => Some((*frame.get(IP + 6)?, IPV6_HEADER)),
        _ => None,
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..at + 2)?
        .try_into()
        .ok()
        .map(u16::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(protocol: u8, body: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; IP + 24];
        frame[ETHERTYPE] = 8;
        frame[IP] = 0x46;
        frame[IP + 9] = protocol;
        frame.extend(body);
        frame
    }

    #[test]
    fn echoes_of_ipv6_matter_too() {
        let mut frame = vec![0; IP + IPV6_HEADER];
        frame[ETHERTYPE..ETHERTYPE + 2].copy_from_slice(&[0x86, 0xdd]);
        frame[IP + 6] = 58;
        frame.extend([129, 0, 0, 0, 0, 1, 0, 2]);
        assert_eq!(
            read(&frame),
            Some(Packet::Reply {
                identifier: 1,
                seq: 2
            })
        );
    }

    #[test]
    fn probes_are_counted_by_their_flow() {
        let udp = |port: u8| frame(17, &[0x12, 0x34, 0, port, 0, 8, 0, 0]);
        let mut syn = [0; 20];
        syn[..2].copy_from_slice(&[0x12, 0x34]);
        syn[13] = 0x02;
        for (name, bytes, want) in [
            ("UDP", udp(80), Some((17, 0x1234))),
            ("DNS", udp(53), None),
            ("SYN", frame(6, &syn), Some((6, 0x1234))),
            ("request", frame(1, &[8, 0, 0, 0, 0, 7, 0, 2]), Some((1, 7))),
            ("reply", frame(1, &[0, 0, 0, 0, 0, 7, 0, 2]), None),
            ("an ICMP error", frame(1, &[11, 0, 0, 0, 0, 0, 0, 0]), None),
        ] {
            assert_eq!(probe(&bytes), want, "{name}");
        }
    }

    #[test]
    fn what_matters_is_found_and_the_rest_is_not() {
        let mut tcp = [0; 20];
        tcp[..4].copy_from_slice(&[0x12, 0x34, 0x01, 0xbb]);
        let flagged = |flags| {
            let mut tcp = tcp;
            tcp[13] = flags;
            frame(6, &tcp)
        };
        for (name, bytes, want) in [
            (
                "request",
                frame(1, &[8, 0, 0, 0, 0, 1, 0, 2]),
                Some(Packet::Request {
                    identifier: 1,
                    seq: 2,
                }),
            ),
            (
                "reply",
                frame(1, &[0, 0, 0, 0, 0, 1, 0, 2]),
                Some(Packet::Reply {
                    identifier: 1,
                    seq: 2,
                }),
            ),
            ("an ICMP error", frame(1, &[3, 0, 0, 0, 0, 1, 0, 2]), None),
            ("SYN", flagged(0x02), Some(Packet::Syn { port: 0x1234 })),
            ("SYN-ACK", flagged(0x12), Some(Packet::SynAck { port: 443 })),
            ("ACK", flagged(0x10), None),
            ("cut short", frame(1, &[8, 0, 0]), None),
            ("nothing", Vec::new(), None),
        ] {
            assert_eq!(read(&bytes), want, "{name}");
        }
    }
}
