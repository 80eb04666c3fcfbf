//! Path packets as TCP SYN segments over raw sockets (`CAP_NET_RAW)`: they take the road that users' connections take.
//!
//! A flow is a source port, held by a bound socket for the life of the process so that nothing else uses it; the ports
//! are the same after a restart, unless taken, so that flows keep to their paths. The kernel knows of no connection and
//! answers a SYN-ACK with a RST, which frees the destination at once. The upper half of the sequence number is a random
//! constant of the process, the lower half the token: what does not carry both is not ours.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use firstmile_wire::v1::{TraceKind, TraceMethod};
use socket2::{Domain, Protocol, SockAddr, SockFilter, Socket, Type};
use tracing::{debug, warn};

use super::raw::{PacketSocket, Received};
use super::trace::Means;
use super::trace_board::{Hub, Listening, Switchboard};
use crate::clock;
use crate::probe::packet::{self, FlowEnds};
use crate::probe::quote;
use crate::probe::trace::{Probe, Reply, ReplyKind};
use crate::report::counters::Counters;

/// First source port that is tried: below the ephemeral range of every system.
const FIRST_PORT: u16 = 24_100;

/// Ports that are tried before giving up.
const PORTS_TRIED: u16 = 256;

/// The sockets of one family.
pub(super) struct TcpMeans {
    segments: Arc<PacketSocket>,
    ports: Vec<u16>,
    /// Bound sockets that keep the ports ours.
    _held: Vec<Socket>,
    mark: u16,
    listening: Listening,
}

impl TcpMeans {
    /// Opens the sockets and starts their listeners.
    ///
    /// # Errors
    /// `PermissionDenied` without `CAP_NET_RAW`.
    pub(super) fn open(ipv6: bool, flows: u16, hub: &Hub) -> io::Result<Self> {
        let icmp_protocol = if ipv6 {
            Protocol::ICMPV6
        } else {
            Protocol::ICMPV4
        };
        let segments = Arc::new(PacketSocket::open(ipv6, Type::RAW, Protocol::TCP, false)?);
        let errors = Arc::new(PacketSocket::open(ipv6, Type::RAW, icmp_protocol, false)?);
        let (ports, held) = hold_ports(ipv6, flows)?;
        let bounds = (
            ports.iter().copied().min().unwrap_or(0),
            ports.iter().copied().max().unwrap_or(0),
        );
        let filtered = segments
            .attach_filter(&segment_filter(ipv6, bounds))
            .and_then(|()| errors.attach_filter(&error_filter(ipv6)));
        if let Err(error) = filtered {
            debug!(%error, "no packet filter, every packet of the host is read");
        }
        let mark = rand::random();
        let listening = Listening::new(hub);
        for socket in [&segments, &errors] {
            let listener = Listener {
                socket: Arc::clone(socket),
                board: Arc::clone(&hub.board),
                counters: Arc::clone(&hub.counters),
                ipv6,
                mark,
                reads_segments: Arc::ptr_eq(socket, &segments),
            };
            listening.spawn(&hub.tasks, listener.run());
        }
        Ok(Self {
            segments,
            ports,
            _held: held,
            mark,
            listening,
        })
    }
}

impl Means for TcpMeans {
    fn kind(&self) -> TraceKind {
        TraceKind::Tcp
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
        let source_port = self
            .ports
            .get(usize::from(probe.flow))
            .copied()
            .ok_or(io::ErrorKind::InvalidInput)?;
        let ends = FlowEnds {
            source,
            source_port,
            destination: destination.ip(),
            destination_port: destination.port(),
        };
        let segment = packet::syn(ends, u32::from(self.mark) << 16 | u32::from(token));
        self.segments.send(&segment, destination.ip(), probe.ttl)
    }

    fn flow_id(&self, flow: u16, _source: IpAddr, _destination: IpAddr) -> u32 {
        self.ports
            .get(usize::from(flow))
            .copied()
            .map_or(0, u32::from)
    }

    fn is_listening(&self) -> bool {
        self.listening.is_whole()
    }
}

struct Listener {
    socket: Arc<PacketSocket>,
    board: Arc<Switchboard>,
    counters: Arc<Counters>,
    ipv6: bool,
    mark: u16,
    reads_segments: bool,
}

impl Listener {
    async fn run(self) {
        loop {
            match self.socket.receive().await {
                Ok(received) => self.hear(&received),
                Err(error) => {
                    // The runtime is closing or the descriptor is gone.
                    warn!(%error, "path listener ended, the next round opens another");
                    return;
                }
            }
        }
    }

    fn hear(&self, received: &Received) {
        let at = clock::now();
        let read = if self.reads_segments {
            self.segment(received)
        } else {
            self.error(received)
        };
        let Some((sequence, about, reply)) = read else {
            return;
        };
        let [high, low] =
            [sequence >> 16, sequence & 0xffff].map(|half| u16::try_from(half).unwrap_or(0));
        if high != self.mark || !self.board.deliver(low, about, reply, at) {
            self.counters.unmatched_replies.add(1);
        }
    }

    /// A SYN-ACK or RST of the destination.
    fn segment(&self, received: &Received) -> Option<(u32, IpAddr, Reply)> {
        let (from, ttl, segment) = self.unwrap(received)?;
        let answer = packet::tcp_reply(segment)?;
        Some((
            answer.token,
            from,
            Reply::plain(from, ReplyKind::Destination, 0, ttl),
        ))
    }

    /// An ICMP error about one of our SYN segments.
    fn error(&self, received: &Received) -> Option<(u32, IpAddr, Reply)> {
        let (from, reply_ttl, message) = self.unwrap(received)?;
        let about = quote::icmp_error(self.ipv6, message)?;
        (about.protocol == packet::PROTOCOL_TCP).then_some(())?;
        let kind = if quote::is_time_exceeded(self.ipv6, about.icmp) {
            ReplyKind::TimeExceeded
        } else if from == about.destination {
            ReplyKind::Destination
        } else {
            ReplyKind::Barred
        };
        Some((
            about.token,
            about.destination,
            Reply {
                mpls: about.mpls,
                quoted_ttl: about.odd_ttl(),
                ..Reply::plain(from, kind, about.icmp, reply_ttl)
            },
        ))
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

/// Binds one socket for each flow, so that the kernel gives its port to nobody else.
fn hold_ports(ipv6: bool, flows: u16) -> io::Result<(Vec<u16>, Vec<Socket>)> {
    let any: IpAddr = if ipv6 {
        Ipv6Addr::UNSPECIFIED.into()
    } else {
        Ipv4Addr::UNSPECIFIED.into()
    };
    let (mut ports, mut held) = (Vec::new(), Vec::new());
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for port in FIRST_PORT..FIRST_PORT + PORTS_TRIED {
        if ports.len() >= usize::from(flows) {
            break;
        }
        let socket = Socket::new(
            if ipv6 { Domain::IPV6 } else { Domain::IPV4 },
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        if ipv6 {
            socket.set_only_v6(true)?;
        }
        match socket.bind(&SockAddr::from(SocketAddr::new(any, port))) {
            Ok(()) => {
                ports.push(port);
                held.push(socket);
            }
            Err(error) => last = error,
        }
    }
    if ports.len() < usize::from(flows) {
        Err(last)
    } else {
        Ok((ports, held))
    }
}

const ACCEPT: u32 = 2048;

/// Classic BPF: SYN or RST segments to one of our ports. IPv4 sockets see the IP header, hence its length in X.
fn segment_filter(ipv6: bool, (first, last): (u16, u16)) -> Vec<SockFilter> {
    let (load_port, load_flags) = if ipv6 { (0x28, 0x30) } else { (0x48, 0x50) };
    let mut filter = Vec::new();
    if !ipv6 {
        filter.push(SockFilter::new(0xb1, 0, 0, 0)); // X = length of the IP header
    }
    filter.extend([
        SockFilter::new(load_port, 0, 0, 2), // A = destination port
        SockFilter::new(0x35, 0, 4, u32::from(first)), // below ours: drop
        SockFilter::new(0x25, 3, 0, u32::from(last)), // above ours: drop
        SockFilter::new(load_flags, 0, 0, 13), // A = flags
        SockFilter::new(0x45, 0, 1, 0x06),   // neither SYN nor RST: drop
        SockFilter::new(0x06, 0, 0, ACCEPT),
        SockFilter::new(0x06, 0, 0, 0),
    ]);
    filter
}

/// Classic BPF: time exceeded and destination unreachable.
fn error_filter(ipv6: bool) -> Vec<SockFilter> {
    let (load_type, time_exceeded, unreachable) = if ipv6 { (0x30, 3, 1) } else { (0x50, 11, 3) };
    let mut filter = Vec::new();
    if !ipv6 {
        filter.push(SockFilter::new(0xb1, 0, 0, 0));
    }
    filter.extend([
        SockFilter::new(load_type, 0, 0, 0),
        SockFilter::new(0x15, 1, 0, time_exceeded),
        SockFilter::new(0x15, 0, 1, unreachable),
        SockFilter::new(0x06, 0, 0, ACCEPT),
        SockFilter::new(0x06, 0, 0, 0),
    ]);
    filter
}
