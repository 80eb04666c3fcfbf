//! Asks the kernel which way a packet would go, without sending one.

use std::io;
use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Socket, Type};

use super::exit::Exit;
use crate::probe::Outcome;

/// The source address that this machine would use towards `destination`.
///
/// # Errors
/// As the kernel says: no route, no address of the family. Nothing is sent: connecting a UDP socket only looks up a route.
pub(crate) fn source_for(destination: IpAddr) -> io::Result<IpAddr> {
    source_by(Exit::default(), destination)
}

/// As [`source_for`], by a way out that the configuration names.
///
/// # Errors
/// As [`source_for`], and as [`Exit::apply`].
pub(crate) fn source_by(exit: Exit, destination: IpAddr) -> io::Result<IpAddr> {
    let (to, ipv6) = (SocketAddr::new(destination, 443), destination.is_ipv6());
    let socket = Socket::new(Domain::for_address(to), Type::DGRAM, None)?;
    exit.apply(&socket, ipv6)?;
    socket.bind(&SocketAddr::new(exit.local(ipv6), 0).into())?;
    socket.connect(&to.into())?;
    let local = socket.local_addr()?.as_socket();
    local
        .map(|local| local.ip())
        .ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
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
