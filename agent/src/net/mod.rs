//! The shells: everything here owns a socket and decides as little as it can.

pub(crate) mod capability;
pub(crate) mod dns;
pub(crate) mod https;
pub(crate) mod icmp;
pub(crate) mod inspection;
pub(crate) mod proxy;
pub(crate) mod raw;
pub(crate) mod route;
pub(crate) mod tcp;
pub(crate) mod tls;
pub(crate) mod trace;
pub(crate) mod trace_echo;
pub(crate) mod trace_tcp;
pub(crate) mod train;
