//! Sockets that listen: on both families where an address means all of this machine.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// Connections that wait to be accepted; the system may allow fewer.
const BACKLOG: i32 = 1024;

/// Binds `address`. `[::]` takes IPv4 too, whatever the system's default is, and where there is no IPv6 it is `0.0.0.0`.
///
/// # Errors
/// What the system says.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = first_that_works(address, listening)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

fn first_that_works<T>(
    address: SocketAddr,
    listening: impl Fn(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    listening(address).or_else(|error| {
        let taken = matches!(
            error.kind(),
            io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied
        );
        if taken || !is_both(address) {
            return Err(error);
        }
        listening((Ipv4Addr::UNSPECIFIED, address.port()).into())
    })
}

fn listening(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if is_both(address) {
        socket.set_only_v6(false)?;
    }
    // Else a restart waits for connections of the last run; elsewhere the option means something else.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn is_both(address: SocketAddr) -> bool {
    address.is_ipv6() && address.ip().is_unspecified()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use tokio::net::TcpStream;

    use super::*;

    const ALL: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::UNSPECIFIED), 8443);

    #[tokio::test]
    async fn all_of_ipv6_is_all_of_ipv4_too() {
        let listener = bind((Ipv6Addr::UNSPECIFIED, 0).into()).expect("binds");
        let port = listener.local_addr().expect("an address").port();
        for address in [
            (Ipv4Addr::LOCALHOST, port).into(),
            SocketAddr::from((Ipv6Addr::LOCALHOST, port)),
        ] {
            let (connected, accepted) =
                tokio::join!(TcpStream::connect(address), listener.accept());
            assert!(connected.is_ok() && accepted.is_ok(), "{address}");
        }
    }

    #[test]
    fn without_ipv6_it_is_all_of_ipv4() {
        let no_ipv6 = |kind: io::ErrorKind| {
            move |address: SocketAddr| {
                if address.is_ipv4() {
                    Ok(address)
                } else {
                    Err(io::Error::from(kind))
                }
            }
        };
        let fallen_back = first_that_works(ALL, no_ipv6(io::ErrorKind::Unsupported));
        assert_eq!(fallen_back.expect("falls back").to_string(), "0.0.0.0:8443");
        let taken = first_that_works(ALL, no_ipv6(io::ErrorKind::AddrInUse));
        assert_eq!(taken.expect_err("taken").kind(), io::ErrorKind::AddrInUse);
        let one = SocketAddr::from((Ipv6Addr::LOCALHOST, 8443));
        assert!(
            first_that_works(one, no_ipv6(io::ErrorKind::Unsupported)).is_err(),
            "a chosen address"
        );
    }
}
