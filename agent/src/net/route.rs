//! Asks the kernel which way a packet would go, without sending one.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

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
