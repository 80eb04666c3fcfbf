//! TCP connect: from SYN to SYN-ACK or RST. On Linux the RTT of an answer is the kernel's own (`TCP_INFO`); elsewhere, and
//! for a refusal, it is by the clock around the call.
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
    dial(destination, timeout, Exit::default()).await.0
}

/// As [`connect`], by a way out that the configuration names.
pub(crate) async fn connect_by(exit: Exit, destination: SocketAddr, timeout: Duration) -> Measured {
    dial(destination, timeout, exit).await.0
}

/// Connects once; the connection is there when it was answered.
pub(crate) async fn dial(
    destination: SocketAddr,
    timeout: Duration,
    exit: Exit,
) -> (Measured, Option<TcpStream>) {
    let sent_at = clock::now();
    let stream = match open(destination, exit).and_then(|socket| begin(socket, destination)) {
        Ok(stream) => stream,
        Err(error) => {
            let rtt = clock::now().saturating_duration_since(sent_at);
            return (outcome_of(&error, destination.ip(), rtt).into(), None);
        }
    };
    let woken = tokio::time::timeout(timeout, stream.writable()).await;
    let rtt = clock::now().saturating_duration_since(sent_at);
    if let Some(outcome) = told(&stream) {
        return (outcome.into(), None);
    }
    let connected = match woken {
        Err(_) => return (Outcome::Timeout.into(), None),
        Ok(woken) => woken.and_then(|()| stream.take_error()),
    };
    match connected {
        Ok(None) => match stream.peer_addr() {
            Ok(_) => (answered(&stream, rtt), Some(stream)),
            // Woken by an error that another reader has taken: nothing was answered.
            Err(error) => (outcome_of(&error, destination.ip(), rtt).into(), None),
        },
        Ok(Some(error)) | Err(error) => (outcome_of(&error, destination.ip(), rtt).into(), None),
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

fn answered(stream: &TcpStream, rtt: Duration) -> Measured {
    kernel_rtt(stream).map_or_else(
        || Outcome::Answered(rtt).into(),
        |rtt| Measured::kernel(Outcome::Answered(rtt)),
    )
}

/// What the kernel measured from SYN to SYN-ACK. `None` when it took more than one SYN: the time that the user waited, the
/// loss included, is the figure then.
#[cfg(target_os = "linux")]
fn kernel_rtt(stream: &TcpStream) -> Option<Duration> {
    let info = firstmile_sys::tcp_info::read(std::os::fd::AsFd::as_fd(stream)).ok()?;
    (info.retransmissions == 0 && !info.rtt.is_zero()).then_some(info.rtt)
}

#[cfg(windows)]
use super::windows::tcp::{kernel_rtt, told};

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
