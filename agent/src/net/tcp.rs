//! TCP connect: from SYN to SYN-ACK or RST. The RTT of an answer is the kernel's own where it tells (`TCP_INFO`); for a
//! refusal it is by the clock around the call. A probe is one packet: when the first SYN was lost, so was the probe, whatever
//! a second SYN brought. What a user waits for a connection, lost SYN included, is another figure: that of [`dial`].
//!
//! Who said no is told apart: the host by a RST (refused), a firewall by an ICMP message (filtered), a router or this
//! machine for want of a way (unreachable). On Linux the message itself is read from the socket's error queue.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::TcpStream;

use super::exit::Exit;
use super::route;
use crate::clock;
use crate::probe::{Measured, Outcome};

/// Connects once and hangs up at once.
pub(crate) async fn connect(destination: SocketAddr, timeout: Duration) -> Measured {
    connect_by(Exit::default(), destination, timeout).await
}

/// As [`connect`], by a way out that the configuration names.
pub(crate) async fn connect_by(exit: Exit, destination: SocketAddr, timeout: Duration) -> Measured {
    attempt(destination, timeout, exit).await.of_first_packet()
}

/// Connects once, with as many SYN packets as the system sends until the timeout; the connection is there when it was answered.
pub(crate) async fn dial(
    destination: SocketAddr,
    timeout: Duration,
    exit: Exit,
) -> (Measured, Option<TcpStream>) {
    let ended = attempt(destination, timeout, exit).await;
    (ended.measured, ended.stream)
}

/// How an attempt to connect ended.
struct Ended {
    /// The time is what a user waited.
    measured: Measured,
    stream: Option<TcpStream>,
    /// More than one SYN was sent; false where the system does not tell.
    first_lost: bool,
}

impl Ended {
    /// What became of the first SYN.
    fn of_first_packet(self) -> Measured {
        if self.first_lost && self.measured.outcome.rtt().is_some() {
            Outcome::Timeout.into()
        } else {
            self.measured
        }
    }
}

impl<M: Into<Measured>> From<M> for Ended {
    /// Without a connection.
    fn from(measured: M) -> Self {
        Self {
            measured: measured.into(),
            stream: None,
            first_lost: false,
        }
    }
}

async fn attempt(destination: SocketAddr, timeout: Duration, exit: Exit) -> Ended {
    let sent_at = clock::now();
    let stream = match open(destination, exit).and_then(|socket| begin(socket, destination)) {
        Ok(stream) => stream,
        Err(error) => {
            let rtt = clock::now().saturating_duration_since(sent_at);
            return outcome_of(&error, destination.ip(), rtt).into();
        }
    };
    let woken = tokio::time::timeout(timeout, stream.writable()).await;
    let rtt = clock::now().saturating_duration_since(sent_at);
    if let Some(outcome) = told(&stream) {
        return outcome.into();
    }
    let connected = match woken {
        Err(_) => return Outcome::Timeout.into(),
        Ok(woken) => woken.and_then(|()| stream.take_error()),
    };
    let syns = syn_exchange(&stream);
    let first_lost = syns.is_some_and(|syns| syns.resent);
    let failed = |error: &io::Error| Ended {
        first_lost,
        ..outcome_of(error, destination.ip(), rtt).into()
    };
    match connected {
        Ok(None) => match stream.peer_addr() {
            Ok(_) => Ended {
                measured: answered(syns, rtt),
                stream: Some(stream),
                first_lost,
            },
            // Woken by an error that another reader has taken: nothing was answered.
            Err(error) => failed(&error),
        },
        Ok(Some(error)) | Err(error) => failed(&error),
    }
}

/// The socket of one connection, not connected yet.
fn open(destination: SocketAddr, exit: Exit) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(destination), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    want_messages(&socket, destination.is_ipv6())?;
    exit.apply_and_bind(&socket, destination.is_ipv6())?;
    Ok(socket)
}

/// Sends the SYN; the stream becomes writable when that has come to an end, good or bad.
fn begin(socket: Socket, destination: SocketAddr) -> io::Result<TcpStream> {
    match socket.connect(&SockAddr::from(destination)) {
        Err(error) if !is_under_way(&error) => return Err(error),
        Ok(()) | Err(_) => {}
    }
    TcpStream::from_std(socket.into())
}

fn is_under_way(error: &io::Error) -> bool {
    #[cfg(unix)]
    let begun = error.raw_os_error() == Some(libc::EINPROGRESS);
    #[cfg(not(unix))]
    let begun = false;
    begun || error.kind() == io::ErrorKind::WouldBlock
}

/// What the kernel says of the SYN packets of an attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SynExchange {
    /// From SYN to SYN-ACK; zero: not measured.
    pub(crate) rtt: Duration,
    /// The first SYN was not answered in time, and sent again.
    pub(crate) resent: bool,
}

/// An answer: the kernel's time, and after a lost SYN what a user waited.
fn answered(syns: Option<SynExchange>, rtt: Duration) -> Measured {
    match syns.filter(|syns| !syns.resent && !syns.rtt.is_zero()) {
        Some(syns) => Measured::kernel(Outcome::Answered(syns.rtt)),
        None => Outcome::Answered(rtt).into(),
    }
}

#[cfg(target_os = "linux")]
fn syn_exchange(stream: &TcpStream) -> Option<SynExchange> {
    let info = firstmile_sys::tcp_info::read(std::os::fd::AsFd::as_fd(stream)).ok()?;
    Some(SynExchange {
        rtt: info.rtt,
        resent: info.retransmissions > 0,
    })
}

#[cfg(windows)]
use super::windows::tcp::{syn_exchange, told};

/// Has ICMP messages about this connection kept for us (ip(7), `IP_RECVERR`).
#[cfg(target_os = "linux")]
pub(super) fn want_messages(socket: &Socket, ipv6: bool) -> io::Result<()> {
    use nix::sys::socket::{setsockopt, sockopt};
    if ipv6 {
        setsockopt(socket, sockopt::Ipv6RecvErr, &true)?;
    } else {
        setsockopt(socket, sockopt::Ipv4RecvErr, &true)?;
    }
    Ok(())
}

#[cfg(windows)]
pub(super) use super::windows::tcp::want_messages;

/// What an ICMP message about this connection says; `None` when there is none.
#[cfg(target_os = "linux")]
fn told(stream: &TcpStream) -> Option<Outcome> {
    super::error_queue::take(std::os::fd::AsFd::as_fd(stream)).and_then(|queued| queued.outcome())
}

/// The outcome of a connect that failed after `rtt`.
pub(crate) fn outcome_of(error: &io::Error, destination: IpAddr, rtt: Duration) -> Outcome {
    // What Linux makes of ICMPv6 "administratively prohibited"; a ban of this machine itself leaves no route either.
    let is_prohibited = || {
        error.kind() == io::ErrorKind::PermissionDenied
            && destination.is_ipv6()
            && route::source_for(destination).is_ok()
    };
    if error.kind() == io::ErrorKind::ConnectionRefused {
        Outcome::Refused(rtt)
    } else if is_prohibited() {
        Outcome::Filtered
    } else {
        route::outcome_of(error, destination)
    }
}

#[cfg(test)]
#[path = "tcp_tests.rs"]
mod tests;
