//! What Windows knows of a TCP connection, and of the ICMP error that ended an attempt.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::windows::io::{AsRawSocket, BorrowedSocket};
use std::time::Duration;

use windows_sys::Win32::Networking::WinSock::{
    AF_INET, AF_INET6, ICMP_ERROR_INFO, IPPROTO_TCP, SIO_TCP_INFO, SOCKADDR_INET, SOCKET,
    TCP_FAIL_CONNECT_ON_ICMP_ERROR, TCP_ICMP_ERROR_INFO, TCP_INFO_v0, WSAGetLastError, WSAIoctl,
    getsockopt, setsockopt,
};

/// The part of `TCP_INFO_v0` that we read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpInfo {
    /// Estimated RTT. Right after the handshake: the RTT of SYN and SYN-ACK. Zero: not measured yet.
    pub rtt: Duration,
    /// SYNs sent again: the RTT of a handshake that needed more than one SYN is no clean sample.
    pub syn_retransmissions: u8,
}

/// An ICMP error about an attempt to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// Who sent it.
    pub from: IpAddr,
    /// ICMP type.
    pub kind: u8,
    /// ICMP code.
    pub code: u8,
}

/// Reads what the stack knows of a connection (`SIO_TCP_INFO`, Windows 10 1703 and later).
///
/// # Errors
/// What Winsock says; also when it tells less than was asked for.
#[expect(unsafe_code, reason = "WSAIoctl writes through pointers")]
pub fn info(socket: BorrowedSocket<'_>) -> io::Result<TcpInfo> {
    let version = 0_u32;
    let mut info = TCP_INFO_v0::default();
    let mut written = 0;
    // SAFETY: Winsock reads four bytes of `version` and writes at most one `TCP_INFO_v0` and one count; all live through the
    // call, which is synchronous without an OVERLAPPED.
    let outcome = unsafe {
        WSAIoctl(
            raw(socket),
            SIO_TCP_INFO,
            (&raw const version).cast(),
            bytes_of::<u32>(),
            (&raw mut info).cast(),
            bytes_of::<TCP_INFO_v0>(),
            &raw mut written,
            std::ptr::null_mut(),
            None,
        )
    };
    if outcome != 0 {
        return Err(last_error());
    }
    if written < bytes_of::<TCP_INFO_v0>() {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the TCP_INFO of Windows is too short",
        ));
    }
    Ok(TcpInfo {
        rtt: Duration::from_micros(info.RttUs.into()),
        syn_retransmissions: info.SynRetrans,
    })
}

/// Makes an ICMP error end an attempt to connect at once (`TCP_FAIL_CONNECT_ON_ICMP_ERROR`, Windows 10 2004 and later).
///
/// # Errors
/// What Winsock says: older systems, and wine, do not know the option.
#[expect(unsafe_code, reason = "setsockopt takes a pointer")]
pub fn fail_on_icmp_error(socket: BorrowedSocket<'_>) -> io::Result<()> {
    let on = 1_u32;
    // SAFETY: Winsock reads four bytes of `on`, which lives through the call; the socket is borrowed.
    let outcome = unsafe {
        setsockopt(
            raw(socket),
            IPPROTO_TCP,
            TCP_FAIL_CONNECT_ON_ICMP_ERROR,
            (&raw const on).cast(),
            4,
        )
    };
    if outcome == 0 {
        Ok(())
    } else {
        Err(last_error())
    }
}

/// The ICMP error that ended the attempt (`WSAGetIcmpErrorInfo`).
///
/// # Errors
/// What Winsock says; `InvalidData` when there is none.
#[expect(unsafe_code, reason = "getsockopt writes through a pointer")]
pub fn icmp_error(socket: BorrowedSocket<'_>) -> io::Result<IcmpError> {
    let mut error = ICMP_ERROR_INFO::default();
    let mut length = bytes_of::<ICMP_ERROR_INFO>().cast_signed();
    // SAFETY: Winsock writes at most `length` bytes into `error`, which lives through the call; the socket is borrowed.
    let outcome = unsafe {
        getsockopt(
            raw(socket),
            IPPROTO_TCP,
            TCP_ICMP_ERROR_INFO,
            (&raw mut error).cast(),
            &raw mut length,
        )
    };
    if outcome != 0 {
        return Err(last_error());
    }
    let from = address_of(&error.srcaddress)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no ICMP error is kept"))?;
    Ok(IcmpError {
        from,
        kind: error.r#type,
        code: error.code,
    })
}

#[expect(unsafe_code, reason = "the address is a union")]
fn address_of(address: &SOCKADDR_INET) -> Option<IpAddr> {
    // SAFETY: the family comes first in each member, and says which one was written; all members are plain numbers.
    unsafe {
        match address.si_family {
            AF_INET => Some(Ipv4Addr::from(address.Ipv4.sin_addr.S_un.S_addr.to_ne_bytes()).into()),
            AF_INET6 => Some(Ipv6Addr::from(address.Ipv6.sin6_addr.u.Byte).into()),
            _ => None,
        }
    }
}

fn raw(socket: BorrowedSocket<'_>) -> SOCKET {
    usize::try_from(socket.as_raw_socket()).expect("a socket is as wide as a pointer")
}

fn bytes_of<T>() -> u32 {
    u32::try_from(size_of::<T>()).expect("a struct is small")
}

#[expect(unsafe_code, reason = "a system call")]
fn last_error() -> io::Error {
    // SAFETY: takes nothing and cannot fail.
    io::Error::from_raw_os_error(unsafe { WSAGetLastError() })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::windows::io::AsSocket;

    use super::*;

    #[test]
    #[ignore = "wine 8 has no SIO_TCP_INFO: run it on a Windows with `cargo test -p firstmile-sys -- --ignored`"]
    fn a_connection_over_loopback_has_an_rtt() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let info = info(stream.as_socket()).unwrap();
        assert!(info.rtt < Duration::from_secs(1), "{info:?}");
    }

    #[test]
    fn a_socket_that_is_not_tcp_is_an_error() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(info(socket.as_socket()).is_err());
        assert!(icmp_error(socket.as_socket()).is_err());
    }
}
