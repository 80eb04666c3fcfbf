//! The shells: everything here owns a socket and decides as little as it can.

pub(crate) mod capability;
pub(crate) mod changes;
pub(crate) mod dns;
#[cfg(target_os = "linux")]
pub(crate) mod error_queue;
pub(crate) mod exit;
pub(crate) mod handshake;
mod http;
pub(crate) mod https;
pub(crate) mod icmp;
pub(crate) mod inspection;
#[cfg(all(test, target_os = "linux"))]
mod lab;
pub(crate) mod nat64;
#[cfg(test)]
pub(crate) mod peers;
pub(crate) mod portal;
pub(crate) mod proxy;
pub(crate) mod quic;
mod quic_socket;
#[cfg(target_os = "linux")]
pub(crate) mod raw;
pub(crate) mod route;
pub(crate) mod tcp;
pub(crate) mod tls;
pub(crate) mod trace;
pub(crate) mod trace_board;
#[cfg(target_os = "linux")]
pub(crate) mod trace_connect;
#[cfg_attr(windows, path = "windows/trace_echo.rs")]
pub(crate) mod trace_echo;
pub(crate) mod trace_means;
#[cfg(target_os = "linux")]
pub(crate) mod trace_raw;
#[cfg(windows)]
#[path = "windows/trace_tcp.rs"]
pub(crate) mod trace_tcp;
pub(crate) mod train;
#[cfg(windows)]
mod windows;
