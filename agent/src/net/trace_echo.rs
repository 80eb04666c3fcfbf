//! Path packets as ICMP echo requests over datagram sockets (`ping_group_range`): no capability needed.
//!
//! A flow is an identifier, hence a socket of its own: the kernel writes the identifier and the checksum, and the
//! checksum is kept the same by the payload. Errors of routers come back through the socket's error queue, which quotes
//! the request; its sequence number is the token.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use firstmile_wire::v1::{TraceKind, TraceMethod};
use socket2::{Protocol, Type};
use tracing::warn;

use super::raw::{PacketSocket, Received};
use super::trace::{FIRST_PORT, Means};
use super::trace_board::{Hub, Listening, Switchboard};
use crate::clock;
use crate::probe::packet;
use crate::probe::quote;
use crate::probe::trace::{Probe, Reply, ReplyKind};
use crate::report::counters::Counters;

/// The sockets of one family, one for each flow.
pub(super) struct EchoMeans {
    flows: Vec<(Arc<PacketSocket>, u16)>,
    ipv6: bool,
    listening: Listening,
}

impl EchoMeans {
    /// Opens the sockets and starts their listeners.
    ///
    /// # Errors
    /// `PermissionDenied` where `ping_group_range` does not name one of our groups.
    pub(super) fn open(ipv6: bool, flows: u16, hub: &Hub) -> io::Result<Self> {
        let protocol = if ipv6 {
            Protocol::ICMPV6
        } else {
            Protocol::ICMPV4
        };
        let listening = Listening::new(hub);
        let mut opened = Vec::new();
        for flow in 0..flows {
            let socket = Arc::new(PacketSocket::open(
                ipv6,
                Type::DGRAM,
                protocol,
                true,
                hub.exit,
            )?);
            let identifier = socket.bind_identifier(FIRST_PORT + flow)?;
            let listener = Listener {
                socket: Arc::clone(&socket),
                board: Arc::clone(&hub.board),
                counters: Arc::clone(&hub.counters),
                ipv6,
            };
            listening.spawn(&hub.tasks, listener.run());
            opened.push((socket, identifier));
        }
        Ok(Self {
            flows: opened,
            ipv6,
            listening,
        })
    }
}

impl Means for EchoMeans {
    fn kind(&self) -> TraceKind {
        TraceKind::Icmp
    }

    fn method(&self) -> TraceMethod {
        TraceMethod::ErrorQueue
    }

    fn send(
        &self,
        probe: Probe,
        token: u16,
        _source: IpAddr,
        destination: SocketAddr,
    ) -> io::Result<()> {
        let (socket, _) = self
            .flows
            .get(usize::from(probe.flow))
            .ok_or(io::ErrorKind::InvalidInput)?;
        socket.send(
            &packet::echo_request(self.ipv6, token),
            destination.ip(),
            probe.ttl,
        )
    }

    fn flow_id(&self, flow: u16, source: IpAddr, destination: IpAddr) -> u32 {
        let identifier = self
            .flows
            .get(usize::from(flow))
            .map_or(0, |(_, identifier)| *identifier);
        u32::from(packet::echo_checksum(
            self.ipv6,
            identifier,
            source,
            destination,
        ))
    }

    fn flow_label(&self, _flow: u16, _destination: SocketAddr) -> u32 {
        0
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
}

impl Listener {
    async fn run(self) {
        loop {
            match self.socket.receive().await {
                Ok(received) => self.hear(&received),
                Err(error) => {
                    warn!(%error, "path listener ended, the next round opens another");
                    return;
                }
            }
        }
    }

    /// On the error queue the name of the message is where the request went, elsewhere it is who replied.
    fn hear(&self, received: &Received) {
        let at = clock::now();
        let (Some(name), Some(token)) = (received.from, packet::u16_at(&received.bytes, 6)) else {
            return;
        };
        let reply_ttl = received.ttl.unwrap_or(0);
        let reply = match received.error {
            None => Reply::plain(name, ReplyKind::Destination, self.echo_reply(), reply_ttl),
            Some(error) => {
                let kind = quote::role(error.icmp, error.offender, name);
                Reply::plain(error.offender, kind, error.icmp, reply_ttl)
            }
        };
        if !self.board.deliver(token, name, reply, at) {
            self.counters.unmatched_replies.add(1);
        }
    }

    /// Type and code of an echo reply.
    const fn echo_reply(&self) -> u16 {
        if self.ipv6 { 129 << 8 } else { 0 }
    }
}
