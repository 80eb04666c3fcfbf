//! What passed at a site's own host: when each request left it, and how long until its answer came. Pure.
//!
//! A busy machine lets the emulator and the hosts behind it run late, so a packet takes longer than its links' delays. What
//! an agent says of a packet is compared with what that packet met, seen here from outside the agent.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use etherparse::{IcmpEchoHeader, Icmpv4Type, Icmpv6Type, NetSlice, SlicedPacket, TransportSlice};
use serde::{Deserialize, Serialize};

/// Requests without an answer, and crossings that are over, kept at most; the oldest of those that are over go first.
const MOST: usize = 16_384;
/// `struct virtio_net_hdr` stands before each frame (packet(7), `PACKET_VNET_HDR`).
const VIRTIO_HEADER: usize = 10;

/// What crossed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exchange {
    /// Echo request and reply (RFC 792, RFC 4443 §4).
    Echo,
    /// SYN and SYN-ACK (RFC 9293 §3.5).
    Handshake,
}

/// A request and its answer, as they passed at the host's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crossing {
    /// What it was.
    pub exchange: Exchange,
    /// Whom the host asked.
    pub destination: IpAddr,
    /// When the request left.
    pub left_unix_ms: i64,
    /// How long until the answer was there.
    pub rtt_us: u64,
}

/// Destination, and the ports or the echo's identifier and sequence number.
type Key = (Exchange, IpAddr, [u16; 2]);

/// All that passed at one host.
#[derive(Debug, Default)]
pub(crate) struct Crossings {
    /// When each request left; none once a second one of the same key did: which one an answer is for, nobody knows.
    asked: BTreeMap<Key, Option<Duration>>,
    over: VecDeque<Crossing>,
}

impl Crossings {
    /// Books a frame that left the host at a time of the wall clock.
    pub(crate) fn leaves(&mut self, frame: &[u8], at: Duration) {
        let Some((key, false)) = read(frame) else {
            return;
        };
        if let Some(before) = self.asked.get_mut(&key) {
            *before = None;
        } else if self.asked.len() < MOST {
            self.asked.insert(key, Some(at));
        }
    }

    /// Books a frame that came to the host.
    pub(crate) fn comes(&mut self, frame: &[u8], at: Duration) {
        let Some((key, true)) = read(frame) else {
            return;
        };
        let Some(left) = self.asked.get_mut(&key).and_then(Option::take) else {
            return;
        };
        let (exchange, destination, _) = key;
        if self.over.len() == MOST {
            self.over.pop_front();
        }
        self.over.push_back(Crossing {
            exchange,
            destination,
            left_unix_ms: i64::try_from(left.as_millis()).unwrap_or(i64::MAX),
            rtt_us: u64::try_from(at.saturating_sub(left).as_micros()).unwrap_or(u64::MAX),
        });
    }

    /// What is over, oldest first.
    pub(crate) fn over(&self) -> Vec<Crossing> {
        self.over.iter().copied().collect()
    }
}

/// What a frame is part of, and whether it is the answer.
fn read(frame: &[u8]) -> Option<(Key, bool)> {
    let packet = SlicedPacket::from_ethernet(frame.get(VIRTIO_HEADER..)?).ok()?;
    let [source, destination] = match packet.net? {
        NetSlice::Ipv4(four) => {
            let header = four.header();
            [
                header.source_addr().into(),
                header.destination_addr().into(),
            ]
        }
        NetSlice::Ipv6(six) => {
            let header = six.header();
            [
                header.source_addr().into(),
                header.destination_addr().into(),
            ]
        }
        NetSlice::Arp(_) => return None,
    };
    let (exchange, near_far, is_answer) = transport(&packet.transport?)?;
    let far: IpAddr = if is_answer { source } else { destination };
    Some(((exchange, far, near_far), is_answer))
}

fn transport(slice: &TransportSlice<'_>) -> Option<(Exchange, [u16; 2], bool)> {
    if let TransportSlice::Tcp(tcp) = slice {
        let [from, to] = [tcp.source_port(), tcp.destination_port()];
        let ports = if tcp.ack() { [to, from] } else { [from, to] };
        return tcp.syn().then_some((Exchange::Handshake, ports, tcp.ack()));
    }
    let (echo, is_answer) = echo(slice)?;
    Some((Exchange::Echo, [echo.id, echo.seq], is_answer))
}

/// The header of an echo, and whether it is the reply.
fn echo(slice: &TransportSlice<'_>) -> Option<(IcmpEchoHeader, bool)> {
    let four = if let TransportSlice::Icmpv4(icmp) = slice {
        Some(icmp.icmp_type())
    } else {
        None
    };
    let six = if let TransportSlice::Icmpv6(icmp) = slice {
        Some(icmp.icmp_type())
    } else {
        None
    };
    if let (Some(Icmpv4Type::EchoRequest(echo)), _) | (_, Some(Icmpv6Type::EchoRequest(echo))) =
        (&four, &six)
    {
        return Some((*echo, false));
    }
    if let (Some(Icmpv4Type::EchoReply(echo)), _) | (_, Some(Icmpv6Type::EchoReply(echo))) =
        (&four, &six)
    {
        return Some((*echo, true));
    }
    None
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const HOST: [u8; 4] = [192, 0, 2, 1];
    const DOOR: [u8; 4] = [203, 0, 113, 10];

    fn framed(build: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut frame = vec![0; VIRTIO_HEADER];
        build(&mut frame);
        frame
    }

    fn handshake(port: u16, is_answer: bool) -> Vec<u8> {
        let ethernet = PacketBuilder::ethernet2([0; 6], [0; 6]);
        framed(|frame| {
            let built = if is_answer {
                let tcp = ethernet.ipv4(DOOR, HOST, 64).tcp(443, port, 9, 1024);
                tcp.syn().ack(1).write(frame, &[])
            } else {
                let tcp = ethernet.ipv4(HOST, DOOR, 64).tcp(port, 443, 1, 1024);
                tcp.syn().write(frame, &[])
            };
            built.unwrap();
        })
    }

    fn echo6(seq: u16, is_answer: bool) -> Vec<u8> {
        let [host, door] = [[1; 16], [2; 16]];
        let ethernet = PacketBuilder::ethernet2([0; 6], [0; 6]);
        framed(|frame| {
            let built = if is_answer {
                let ip = ethernet.ipv6(door, host, 64);
                ip.icmpv6_echo_reply(7, seq).write(frame, &[])
            } else {
                let ip = ethernet.ipv6(host, door, 64);
                ip.icmpv6_echo_request(7, seq).write(frame, &[])
            };
            built.unwrap();
        })
    }

    #[test]
    fn each_answer_belongs_to_its_request() {
        let mut crossings = Crossings::default();
        crossings.leaves(&handshake(1_000, false), 5 * MS);
        crossings.leaves(&echo6(3, false), 6 * MS);
        crossings.leaves(&handshake(1_001, false), 7 * MS);
        crossings.comes(&handshake(1_001, true), 17 * MS);
        crossings.comes(&echo6(3, true), 26 * MS);
        crossings.comes(&handshake(1_000, true), 45 * MS);
        let over: Vec<_> = (crossings.over().iter())
            .map(|one| (one.exchange, one.left_unix_ms, one.rtt_us))
            .collect();
        let want = [
            (Exchange::Handshake, 7, 10_000),
            (Exchange::Echo, 6, 20_000),
            (Exchange::Handshake, 5, 40_000),
        ];
        assert_eq!(over, want);
    }

    #[test]
    fn what_cannot_be_told_apart_is_left_out() {
        let mut crossings = Crossings::default();
        crossings.leaves(&handshake(1_000, false), MS);
        crossings.leaves(&handshake(1_000, false), 2 * MS);
        crossings.comes(&handshake(1_000, true), 3 * MS);
        crossings.comes(&handshake(1_002, true), 3 * MS);
        crossings.leaves(&[0; 12], 3 * MS);
        assert_eq!(crossings.over(), []);
    }
}
