//! What the kernel knows of a TCP connection (tcp(7), `TCP_INFO`).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// The part of `struct tcp_info` that we read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpInfo {
    /// Smoothed RTT (RFC 6298). Right after the handshake: the RTT of SYN and SYN-ACK. Zero: not measured yet.
    pub rtt: Duration,
    /// Its variation (RFC 6298).
    pub rtt_variation: Duration,
    /// Segments sent again, SYNs among them: the RTT of a handshake that needed more than one SYN is no clean sample.
    pub retransmissions: u32,
}

/// Reads what the kernel knows of a connection.
///
/// # Errors
/// What the kernel says; also when it tells less than was asked for.
#[expect(unsafe_code, reason = "getsockopt(2) writes through a pointer")]
pub fn read(socket: BorrowedFd<'_>) -> io::Result<TcpInfo> {
    // SAFETY: `tcp_info` is plain numbers, for which all-zero bytes are a value.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let wanted = crate::length(size_of::<libc::tcp_info>());
    let mut length = wanted;
    // SAFETY: the kernel writes at most `length` bytes into `info`, and the count into `length`; both live through the call.
    let outcome = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    if outcome != 0 {
        return Err(io::Error::last_os_error());
    }
    if length < wanted {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the kernel's TCP_INFO is too short",
        ));
    }
    Ok(TcpInfo {
        rtt: Duration::from_micros(info.tcpi_rtt.into()),
        rtt_variation: Duration::from_micros(info.tcpi_rttvar.into()),
        retransmissions: info.tcpi_total_retrans,
    })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_connection_over_loopback_has_an_rtt() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let info = read(stream.as_fd()).unwrap();
        assert!(
            info.rtt > Duration::ZERO && info.rtt < Duration::from_secs(1),
            "{info:?}"
        );
        assert_eq!(info.retransmissions, 0);
    }

    #[test]
    fn a_socket_that_is_not_tcp_is_an_error() {
        assert!(read(UdpSocket::bind("127.0.0.1:0").unwrap().as_fd()).is_err());
    }
}
