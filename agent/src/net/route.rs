//! Asks the kernel which way a packet would go, without sending one.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use crate::probe::Outcome;

/// The source address that this machine would use towards `destination`.
///
/// # Errors
/// As the kernel says: no route, no address of the family. Nothing is sent: connecting a UDP socket only looks up a route.
pub(crate) fn source_for(destination: IpAddr) -> io::Result<IpAddr> {
    let any: IpAddr = match destination {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    socket.connect(SocketAddr::new(destination, 443))?;
    Ok(socket.local_addr()?.ip())
}

/// The outcome of a probe that failed with `error`. "Network unreachable" is said by this machine when it has no route,
/// and by a router on the way when that one has none: only the first is a state of the site, the second is loss.
pub(crate) fn outcome_of(error: &io::Error, destination: IpAddr) -> Outcome {
    let outcome = Outcome::of_io_error(error);
    if outcome == Outcome::NoRoute && source_for(destination).is_ok() {
        Outcome::Unreachable
    } else {
        outcome
    }
}
