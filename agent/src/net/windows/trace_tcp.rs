//! Path packets as the SYNs of ordinary connections with a TTL: no raw sockets, which Windows keeps from sending TCP.
//!
//! A flow is a source port, the same after a restart unless taken, so that flows keep to their paths. The stack tells of the
//! ICMP error that ended an attempt (`WSAGetIcmpErrorInfo`, Windows 10 2004 and later), so one TTL of a flow is on its way at a
//! time. What connects is reset at once: nothing stays behind at the destination, and the port is free for the next TTL.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::windows::io::AsSocket;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use firstmile_sys::windows::tcp as sys;
use firstmile_wire::v1::{TraceKind, TraceMethod};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::exit::Exit;
use super::trace::{FIRST_PORT, Means};
use super::trace_board::{Hub, Switchboard};
use crate::clock;
use crate::probe::quote;
use crate::probe::trace::{Probe, Reply, ReplyKind};
use crate::report::counters::Counters;

/// How long an attempt may last; the round gives up by its own clock, what comes later is counted late.
const PATIENCE: Duration = Duration::from_secs(4);

/// Whether the system tells attempts to connect of ICMP errors.
pub(crate) fn is_possible() -> bool {
    Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))
        .and_then(|socket| sys::fail_on_icmp_error(socket.as_socket()))
        .is_ok()
}

/// One family.
pub(super) struct TcpMeans {
    flows: u16,
    exit: Exit,
    board: Arc<Switchboard>,
    counters: Arc<Counters>,
    tasks: TaskTracker,
    cancel: CancellationToken,
    /// What calls the attempt off that a flow has under way to a destination: the next TTL uses the same port.
    under_way: Mutex<HashMap<(u16, SocketAddr), CancellationToken>>,
}

impl TcpMeans {
    /// Sees whether the system can.
    ///
    /// # Errors
    /// `PermissionDenied` where it does not tell attempts to connect of ICMP errors: ICMP paths are what is left there.
    pub(super) fn open(ipv6: bool, flows: u16, hub: &Hub) -> io::Result<Self> {
        let socket = Socket::new(domain(ipv6), Type::STREAM, Some(Protocol::TCP))?;
        sys::fail_on_icmp_error(socket.as_socket())
            .map_err(|error| io::Error::new(io::ErrorKind::PermissionDenied, error))?;
        Ok(Self {
            flows,
            exit: hub.exit,
            board: Arc::clone(&hub.board),
            counters: Arc::clone(&hub.counters),
            tasks: hub.tasks.clone(),
            cancel: hub.cancel.clone(),
            under_way: Mutex::default(),
        })
    }

    /// The token of a new attempt; the one before it is called off and closes its socket before the new one connects.
    fn take_over(&self, flow: u16, destination: SocketAddr) -> CancellationToken {
        let mut under_way = self
            .under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        under_way.retain(|_, attempt| !attempt.is_cancelled());
        let attempt = self.cancel.child_token();
        if let Some(before) = under_way.insert((flow, destination), attempt.clone()) {
            before.cancel();
        }
        attempt
    }
}

impl Means for TcpMeans {
    fn kind(&self) -> TraceKind {
        TraceKind::Tcp
    }

    fn method(&self) -> TraceMethod {
        TraceMethod::OneAtATime
    }

    fn send(
        &self,
        probe: Probe,
        token: u16,
        source: IpAddr,
        destination: SocketAddr,
    ) -> io::Result<()> {
        if probe.flow >= self.flows {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let attempt = self.take_over(probe.flow, destination);
        let from = SocketAddr::new(source, FIRST_PORT + probe.flow);
        let socket = prepare(from, probe.ttl, self.exit)?;
        let (board, counters) = (Arc::clone(&self.board), Arc::clone(&self.counters));
        self.tasks.spawn(async move {
            let called_off = attempt.clone();
            let _ended = attempt.drop_guard();
            let Some(Some(reply)) = called_off
                .run_until_cancelled(ask(socket, destination))
                .await
            else {
                return;
            };
            if !board.deliver(token, destination.ip(), reply, clock::now()) {
                counters.unmatched_replies.add(1);
            }
        });
        Ok(())
    }

    fn flow_id(&self, flow: u16, _source: IpAddr, _destination: IpAddr) -> u32 {
        u32::from(FIRST_PORT + flow)
    }

    /// There are no listeners: each attempt hears for itself.
    fn flow_label(&self, _flow: u16, _destination: SocketAddr) -> u32 {
        0
    }

    fn is_listening(&self) -> bool {
        true
    }
}

fn domain(ipv6: bool) -> Domain {
    if ipv6 { Domain::IPV6 } else { Domain::IPV4 }
}

/// A socket on the port of its flow. The port is shared by the attempts to several destinations; nobody listens on it.
fn prepare(source: SocketAddr, ttl: u8, exit: Exit) -> io::Result<Socket> {
    let socket = Socket::new(domain(source.is_ipv6()), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.set_linger(Some(Duration::ZERO))?; // closed by a RST: no port waits
    if source.is_ipv6() {
        socket.set_unicast_hops_v6(u32::from(ttl))?;
    } else {
        socket.set_ttl_v4(u32::from(ttl))?;
    }
    sys::fail_on_icmp_error(socket.as_socket())?;
    exit.apply(&socket, source.is_ipv6())?;
    socket.bind(&SockAddr::from(source))?;
    Ok(socket)
}

/// Connects, and says who put an end to it. `None`: nobody did in time, or this machine itself could not.
async fn ask(socket: Socket, destination: SocketAddr) -> Option<Reply> {
    match socket.connect(&SockAddr::from(destination)) {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
            tracing::debug!(%error, %destination, "path attempt not made");
            return None;
        }
        Ok(()) | Err(_) => {}
    }
    let stream = TcpStream::from_std(socket.into()).ok()?;
    tokio::time::timeout(PATIENCE, stream.writable())
        .await
        .ok()?
        .ok()?;
    if let Ok(error) = sys::icmp_error(stream.as_socket()) {
        return Some(of_router(&error, destination.ip()));
    }
    let ended = stream.take_error().ok()?;
    let by_destination = match ended {
        None => stream.peer_addr().is_ok(),
        Some(error) => error.kind() == io::ErrorKind::ConnectionRefused,
    };
    by_destination.then(|| Reply::plain(destination.ip(), ReplyKind::Destination, 0, 0))
}

fn of_router(error: &sys::IcmpError, destination: IpAddr) -> Reply {
    let icmp = u16::from_be_bytes([error.kind, error.code]);
    let kind = quote::role(icmp, error.from, destination);
    Reply::plain(error.from, kind, icmp, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_icmp_error_is_a_hop_a_bar_or_the_destination() {
        let destination = IpAddr::from([192, 0, 2, 1]);
        let router = IpAddr::from([198, 51, 100, 1]);
        for (from, kind, code, want) in [
            (router, 11, 0, ReplyKind::TimeExceeded),
            (router, 3, 13, ReplyKind::Barred),
            (destination, 3, 3, ReplyKind::Destination),
        ] {
            let error = sys::IcmpError { from, kind, code };
            let reply = of_router(&error, destination);
            assert_eq!((reply.kind, reply.from), (want, from));
        }
    }

    /// Where the system cannot tell of ICMP errors the means refuse to open, and no socket is prepared.
    #[tokio::test]
    async fn a_listener_and_a_shut_port_both_are_the_destination() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let address = listener.local_addr().expect("an address");
        let plain = || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            socket.set_nonblocking(true).expect("nonblocking");
            socket
        };
        let reply = ask(plain(), address).await.expect("answered");
        assert_eq!(reply.kind, ReplyKind::Destination);
        drop(listener);
        let reply = ask(plain(), address).await.expect("refused");
        assert_eq!(
            (reply.kind, reply.from),
            (ReplyKind::Destination, address.ip())
        );
    }
}
