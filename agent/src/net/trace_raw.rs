//! Path packets over raw sockets (`CAP_NET_RAW`): TCP SYN segments, which take the road that users' connections take, UDP
//! datagrams and ICMP echo requests, IPv4 and IPv6, all TTLs of a flow in flight.
//!
//! A flow is a source port (TCP, UDP), or an identifier (ICMP), the same after a restart unless taken, so that flows keep
//! to their paths; the IPv6 flow label follows from the ports. Whole IP packets are sent: TTL, flow label and
//! identification are ours. The kernel knows of no connection and answers a SYN-ACK with a RST, which frees the destination
//! at once. Where nobody watches ([`Hub::is_calm`]) nothing that comes wakes the thread: rounds look when they run, and the
//! kernel has stamped it. The sequence number of a SYN carries a random constant of the process beside the token, the identification of
//! an IPv4 packet their difference: what does not carry them is not ours.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use firstmile_wire::v1::{TraceKind, TraceMethod};
use socket2::{Domain, Protocol, SockAddr, SockFilter, Socket, Type};
use tracing::{debug, warn};

use super::raw::{PacketSocket, QuietSocket, Received};
use super::trace::{FIRST_PORT, Means};
use super::trace_board::{Hub, Listening, Switchboard};
use crate::clock;
use crate::probe::packet::{self, FlowEnds, Outer};
use crate::probe::quote::{self, Quoted, Sent};
use crate::probe::trace::{Probe, Reply, ReplyKind};
use crate::report::counters::Counters;

/// Ports from the first one that are tried before giving up.
const PORTS_TRIED: u16 = 256;

/// Flows past the pinned ones that multipath discovery may ask for.
const MORE_FLOWS: u16 = firstmile_path::mda::MOST_FLOWS;

/// Messages of a socket that are taken at one look: more than its buffer holds. A flood does not keep the thread.
const AT_ONE_LOOK: usize = 1024;

/// Rounds that run at the same time look once.
const SAME_TIME: Duration = Duration::from_millis(2);

/// The sockets of one family for one kind of packet.
pub(super) struct RawMeans {
    kind: TraceKind,
    packets: QuietSocket,
    /// What is looked at now and then; empty where listeners wait for it.
    ears: Vec<Ear>,
    looked: Mutex<Option<Instant>>,
    /// Code point of the way out: whole packets bring their own header.
    dscp: u8,
    first_port: u16,
    heard: Heard,
    listening: Listening,
}

/// Takes a message in, as [`Heard::segment`] does.
type Hear = fn(&Heard, &Received) -> Option<bool>;

/// A socket that is looked at, and what is made of what is there.
struct Ear {
    socket: QuietSocket,
    hear: Hear,
}

impl Ear {
    /// Takes what has come. False: the socket is of no more use.
    fn look(&self, heard: &Heard) -> bool {
        for _ in 0..AT_ONE_LOOK {
            match self.socket.look() {
                Ok(received) => heard.count(self.hear, &received),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                // A pending error is taken by reading it.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    warn!(%error, "path socket cannot be read, the next round opens another");
                    return false;
                }
            }
        }
        true
    }
}

impl RawMeans {
    /// Opens the sockets and starts their listeners.
    ///
    /// # Errors
    /// `PermissionDenied` without `CAP_NET_RAW`.
    pub(super) fn open(kind: TraceKind, ipv6: bool, flows: u16, hub: &Hub) -> io::Result<Self> {
        let icmp = if ipv6 {
            Protocol::ICMPV6
        } else {
            Protocol::ICMPV4
        };
        let packets = QuietSocket::open(ipv6, Protocol::from(RAW), hub.exit)?;
        let first_port = free_ports(ipv6, kind, flows)?;
        let ports = (first_port, first_port.saturating_add(flows.max(MORE_FLOWS)));
        let heard = Heard {
            board: Arc::clone(&hub.board),
            counters: Arc::clone(&hub.counters),
            ipv6,
            mark: rand::random(),
            ports,
        };
        let listening = Listening::new(hub);
        let mut wanted = vec![(icmp, icmp_filter(ipv6, kind, ports), Heard::message as Hear)];
        if kind == TraceKind::Tcp {
            let segments = segment_filter(ipv6, ports);
            wanted.push((Protocol::TCP, segments, Heard::segment));
        }
        let mut ears = Vec::new();
        for (protocol, filter, hear) in wanted {
            if hub.is_calm {
                let socket = QuietSocket::open(ipv6, protocol, hub.exit)?;
                note_filter(socket.attach_filter(&filter));
                ears.push(Ear { socket, hear });
            } else {
                let socket = PacketSocket::open(ipv6, Type::RAW, protocol, false, hub.exit)?;
                note_filter(socket.attach_filter(&filter));
                listening.spawn(&hub.tasks, heard.clone().run(socket, hear));
            }
        }
        Ok(Self {
            kind,
            packets,
            ears,
            looked: Mutex::default(),
            dscp: hub.exit.dscp,
            first_port,
            heard,
            listening,
        })
    }

    fn protocol(&self, ipv6: bool) -> u8 {
        match (self.kind, ipv6) {
            (TraceKind::Udp, _) => packet::PROTOCOL_UDP,
            (TraceKind::Icmp, false) => packet::PROTOCOL_ICMP,
            (TraceKind::Icmp, true) => packet::PROTOCOL_ICMP6,
            (TraceKind::Tcp | TraceKind::Unspecified, _) => packet::PROTOCOL_TCP,
        }
    }

    const fn source_port(&self, flow: u16) -> u16 {
        self.first_port.saturating_add(flow)
    }
}

impl Means for RawMeans {
    fn kind(&self) -> TraceKind {
        self.kind
    }

    fn method(&self) -> TraceMethod {
        TraceMethod::Raw
    }

    fn send(
        &self,
        probe: Probe,
        token: u16,
        source: IpAddr,
        destination: SocketAddr,
    ) -> io::Result<()> {
        let ipv6 = destination.is_ipv6();
        let destination_port = if self.kind == TraceKind::Icmp {
            0
        } else {
            destination.port()
        };
        let ends = FlowEnds {
            source,
            source_port: self.source_port(probe.flow),
            destination: destination.ip(),
            destination_port,
        };
        let protocol = self.protocol(ipv6);
        let payload = match self.kind {
            TraceKind::Udp => packet::udp(ends, token, self.heard.mark).to_vec(),
            TraceKind::Icmp => packet::whole_echo_request(ends, token).to_vec(),
            TraceKind::Tcp | TraceKind::Unspecified => {
                packet::syn(ends, u32::from(self.heard.mark) << 16 | u32::from(token)).to_vec()
            }
        };
        let outer = Outer {
            ttl: probe.ttl,
            protocol,
            identification: token ^ self.heard.mark,
            flow_label: self.flow_label(probe.flow, destination),
            dscp: self.dscp,
        };
        let checksum_at = match self.kind {
            TraceKind::Udp => 6,
            TraceKind::Icmp => 2,
            TraceKind::Tcp | TraceKind::Unspecified => 16,
        };
        let sent = Sent {
            protocol,
            source,
            source_port: ends.source_port,
            destination: ends.destination,
            destination_port,
            checksum: packet::u16_at(&payload, checksum_at),
            identification: if ipv6 { 0 } else { outer.identification },
        };
        self.heard.board.note_sent(token, sent);
        self.packets
            .send_whole(&packet::ip(ends, outer, &payload), destination.ip())
    }

    fn flow_id(&self, flow: u16, source: IpAddr, destination: IpAddr) -> u32 {
        let port = self.source_port(flow);
        if self.kind == TraceKind::Icmp {
            let checksum = packet::echo_checksum(destination.is_ipv6(), port, source, destination);
            return u32::from(checksum);
        }
        u32::from(port)
    }

    fn flow_label(&self, flow: u16, destination: SocketAddr) -> u32 {
        if destination.is_ipv6() {
            packet::flow_label(self.source_port(flow), destination.port())
        } else {
            0
        }
    }

    fn look(&self, now: Instant) {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let recently = |at: Instant| now.saturating_duration_since(at) < SAME_TIME;
        if self.ears.is_empty() || looked.is_some_and(recently) {
            return;
        }
        *looked = Some(now);
        for ear in &self.ears {
            if !ear.look(&self.heard) {
                self.listening.end();
            }
        }
    }

    fn is_looked_at(&self) -> bool {
        !self.ears.is_empty()
    }

    fn is_listening(&self) -> bool {
        self.listening.is_whole()
    }
}

/// `IPPROTO_RAW`: a socket that sends whole IP packets and hears nothing (raw(7)).
const RAW: i32 = 255;

/// What a listener knows.
#[derive(Clone)]
struct Heard {
    board: Arc<Switchboard>,
    counters: Arc<Counters>,
    ipv6: bool,
    mark: u16,
    /// First source port and the one past the last.
    ports: (u16, u16),
}

impl Heard {
    fn count(&self, hear: Hear, received: &Received) {
        if hear(self, received) == Some(false) {
            self.counters.unmatched_replies.add(1);
        }
    }

    async fn run(self, socket: PacketSocket, hear: Hear) {
        loop {
            match socket.receive().await {
                Ok(received) => self.count(hear, &received),
                Err(error) => {
                    // The runtime is closing or the descriptor is gone.
                    warn!(%error, "path listener ended, the next round opens another");
                    return;
                }
            }
        }
    }

    /// A SYN-ACK or RST of the destination. `None`: no business of ours; false: nobody waits for it.
    fn segment(&self, received: &Received) -> Option<bool> {
        let (from, ttl, segment) = self.unwrap(received)?;
        let answer = packet::tcp_reply(segment)?;
        let token = self.token_of(answer.token);
        let reply = Reply::plain(from, ReplyKind::Destination, 0, ttl);
        Some(token.is_some_and(|token| self.deliver(token, from, reply, received)))
    }

    /// An ICMP error about one of our packets, or an echo reply.
    fn message(&self, received: &Received) -> Option<bool> {
        let (from, reply_ttl, message) = self.unwrap(received)?;
        if let Some((identifier, token)) = packet::echo_reply(self.ipv6, message) {
            self.is_ours(identifier).then_some(())?;
            let icmp = packet::u16_at(message, 0)?;
            let reply = Reply::plain(from, ReplyKind::Destination, icmp, reply_ttl);
            return Some(self.deliver(token, from, reply, received));
        }
        let quoted = quote::icmp_error(self.ipv6, message)?;
        let at = arrived(received);
        let deliver = |(token, is_certain)| {
            self.board
                .deliver_quoted(token, &quoted, is_certain, from, reply_ttl, at)
        };
        let is_delivered = self.names_of(&quoted).into_iter().any(deliver);
        (is_delivered || self.is_ours(quoted.source_port)).then_some(is_delivered)
    }

    /// The tokens that a quoted packet may name, each with whether it carries our secret. A translator that does not undo
    /// its work in the quote leaves the identification as it was, others leave the checksum.
    fn names_of(&self, quoted: &Quoted) -> Vec<(u16, bool)> {
        if quoted.protocol == packet::PROTOCOL_TCP {
            let token = self.token_of(quoted.token);
            return token.map(|token| (token, true)).into_iter().collect();
        }
        let token = u16::try_from(quoted.token).unwrap_or(0);
        if self.ipv6 {
            return vec![(token, false)];
        }
        let identified = quoted.identification ^ self.mark;
        if token == identified {
            vec![(token, true)]
        } else {
            vec![(token, false), (identified, false)]
        }
    }

    /// The token in a sequence number that carries our mark.
    fn token_of(&self, sequence: u32) -> Option<u16> {
        let [high, low] =
            [sequence >> 16, sequence & 0xffff].map(|half| u16::try_from(half).unwrap_or(0));
        (high == self.mark).then_some(low)
    }

    fn is_ours(&self, port: u16) -> bool {
        (self.ports.0..self.ports.1).contains(&port)
    }

    fn deliver(&self, token: u16, about: IpAddr, reply: Reply, received: &Received) -> bool {
        self.board.deliver(token, about, reply, arrived(received))
    }

    /// Raw IPv4 sockets deliver the IP header too, raw IPv6 sockets do not (RFC 3542 §3).
    fn unwrap<'a>(&self, received: &'a Received) -> Option<(IpAddr, u8, &'a [u8])> {
        if self.ipv6 {
            return Some((received.from?, received.ttl.unwrap_or(0), &received.bytes));
        }
        let packet = quote::ipv4(&received.bytes)?;
        Some((packet.source, packet.ttl, packet.payload))
    }
}

/// When a message arrived, by the kernel's stamp.
fn arrived(received: &Received) -> Instant {
    let now = clock::now();
    now.checked_sub(received.age).unwrap_or(now)
}

/// The first of `flows` ports in a row that nothing on this machine is bound to. They are not held: what binds to one later
/// shares it unharmed, for replies are told apart by their tokens.
fn free_ports(ipv6: bool, kind: TraceKind, flows: u16) -> io::Result<u16> {
    let (socket_type, protocol) = match kind {
        TraceKind::Udp => (Type::DGRAM, Protocol::UDP),
        TraceKind::Tcp => (Type::STREAM, Protocol::TCP),
        TraceKind::Icmp | TraceKind::Unspecified => return Ok(FIRST_PORT),
    };
    let any: IpAddr = if ipv6 {
        Ipv6Addr::UNSPECIFIED.into()
    } else {
        Ipv4Addr::UNSPECIFIED.into()
    };
    let is_free = |port: u16| {
        let domain = if ipv6 { Domain::IPV6 } else { Domain::IPV4 };
        let socket = Socket::new(domain, socket_type, Some(protocol))?;
        if ipv6 {
            socket.set_only_v6(true)?;
        }
        socket.bind(&SockAddr::from(SocketAddr::new(any, port)))
    };
    let mut first = FIRST_PORT;
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for port in FIRST_PORT..FIRST_PORT + PORTS_TRIED {
        if port - first >= flows {
            return Ok(first);
        }
        if let Err(error) = is_free(port) {
            (first, last) = (port + 1, error);
        }
    }
    Err(last)
}

/// Without a filter every packet of the host is read and dropped here.
fn note_filter(attached: io::Result<()>) {
    if let Err(error) = attached {
        debug!(%error, "no packet filter, every packet of the host is read");
    }
}

const ACCEPT: u32 = 2048;

/// Classic BPF: SYN or RST segments to one of our ports. IPv4 sockets see the IP header, hence its length in X.
fn segment_filter(ipv6: bool, (first, end): (u16, u16)) -> Vec<SockFilter> {
    let (load_port, load_flags) = if ipv6 { (0x28, 0x30) } else { (0x48, 0x50) };
    let mut filter = Vec::new();
    if !ipv6 {
        filter.push(SockFilter::new(0xb1, 0, 0, 0)); // X = length of the IP header
    }
    filter.extend([
        SockFilter::new(load_port, 0, 0, 2), // A = destination port
        SockFilter::new(0x35, 0, 4, u32::from(first)), // below ours: drop
        SockFilter::new(0x35, 3, 0, u32::from(end)), // above ours: drop
        SockFilter::new(load_flags, 0, 0, 13), // A = flags
        SockFilter::new(0x45, 0, 1, 0x06),   // neither SYN nor RST: drop
        SockFilter::new(0x06, 0, 0, ACCEPT),
        SockFilter::new(0x06, 0, 0, 0),
    ]);
    filter
}

/// Classic BPF: time exceeded, destination unreachable; where echo requests are sent, echo replies with one of our identifiers.
/// Those of pulses would wake the listener as often as the pulses do.
fn icmp_filter(ipv6: bool, kind: TraceKind, (first, end): (u16, u16)) -> Vec<SockFilter> {
    let (load_type, load_identifier) = if ipv6 { (0x30, 0x28) } else { (0x50, 0x48) };
    let (time_exceeded, unreachable, reply) = if ipv6 { (3, 1, 129) } else { (11, 3, 0) };
    let mut filter = Vec::new();
    if !ipv6 {
        filter.push(SockFilter::new(0xb1, 0, 0, 0)); // X = length of the IP header
    }
    filter.push(SockFilter::new(load_type, 0, 0, 0));
    if kind == TraceKind::Icmp {
        filter.extend([
            SockFilter::new(0x15, 5, 0, time_exceeded),
            SockFilter::new(0x15, 4, 0, unreachable),
            SockFilter::new(0x15, 0, 4, reply),
            SockFilter::new(load_identifier, 0, 0, 4), // A = identifier
            SockFilter::new(0x35, 0, 2, u32::from(first)), // below ours: drop
            SockFilter::new(0x35, 1, 0, u32::from(end)), // above ours: drop
        ]);
    } else {
        filter.extend([
            SockFilter::new(0x15, 1, 0, time_exceeded),
            SockFilter::new(0x15, 0, 1, unreachable),
        ]);
    }
    filter.extend([
        SockFilter::new(0x06, 0, 0, ACCEPT),
        SockFilter::new(0x06, 0, 0, 0),
    ]);
    filter
}

#[cfg(test)]
#[path = "trace_raw_tests.rs"]
mod tests;
