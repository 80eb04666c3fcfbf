//! What Windows offers where no safe crate reaches: echo without rights, what the stack knows of a connection, its clocks,
//! its proxies, its network changes.

pub mod clock;
pub mod events;
pub mod folder;
pub mod icmp;
pub mod load;
pub mod machine;
pub mod network;
pub mod process;
pub mod proxy;
pub mod tcp;
pub mod wine;

use std::io;
use std::net::SocketAddrV6;

use windows_sys::Win32::Networking::WinSock::{
    AF_INET6, IN6_ADDR, IN6_ADDR_0, SOCKADDR_IN6, SOCKADDR_IN6_0,
};

/// An IPv6 address as Windows takes it.
fn sockaddr_v6(address: SocketAddrV6) -> SOCKADDR_IN6 {
    SOCKADDR_IN6 {
        sin6_family: AF_INET6,
        sin6_port: address.port().to_be(),
        sin6_flowinfo: address.flowinfo(),
        sin6_addr: IN6_ADDR {
            u: IN6_ADDR_0 {
                Byte: address.ip().octets(),
            },
        },
        Anonymous: SOCKADDR_IN6_0 {
            sin6_scope_id: address.scope_id(),
        },
    }
}

/// The error that the last failed call of this thread left.
fn last_error() -> io::Error {
    io::Error::last_os_error()
}
