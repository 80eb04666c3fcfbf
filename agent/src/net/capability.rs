//! What this process may send, and what to do where it may not.

use std::fmt;
use std::io;

#[cfg(not(windows))]
use socket2::{Domain, Protocol, Socket, Type};

/// What the operating system lets this process do with ICMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IcmpCapability {
    /// Raw sockets (`CAP_NET_RAW)`: TCP paths, and echo over raw sockets where datagram ones are shut.
    Raw,
    /// Datagram sockets (`ping_group_range`), or the system's own echo (Windows): echo and ICMP paths.
    Datagram,
    None,
}

impl IcmpCapability {
    /// The word of the wire format.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Datagram => "datagram",
            Self::None => "none",
        }
    }
}

/// Opens and closes the system's own door for echoes, which wants no rights.
#[cfg(windows)]
pub(crate) fn probe() -> IcmpCapability {
    if firstmile_sys::windows::icmp::Echo::open(false).is_ok() {
        IcmpCapability::Datagram
    } else {
        IcmpCapability::None
    }
}

/// Opens and closes one socket of each kind.
#[cfg(not(windows))]
pub(crate) fn probe() -> IcmpCapability {
    if Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).is_ok() {
        IcmpCapability::Raw
    } else if Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::ICMPV4)).is_ok() {
        IcmpCapability::Datagram
    } else {
        IcmpCapability::None
    }
}

/// Exactly what to type so that the missing probes work.
#[derive(Clone, Debug)]
pub(crate) struct Advice {
    program: String,
}

impl Advice {
    pub(crate) fn new() -> Self {
        let program = std::env::current_exe().map_or_else(
            |_| "firstmile-agent".to_owned(),
            |path| path.display().to_string(),
        );
        Self { program }
    }

    /// The command that permits raw sockets.
    pub(crate) fn raw_sockets(&self) -> String {
        format!("sudo setcap cap_net_raw+ep {}", self.program)
    }

    /// The command that permits ping sockets.
    pub(crate) const fn ping_sockets() -> &'static str {
        "sudo sysctl -w net.ipv4.ping_group_range=\"0 2147483647\""
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "either let the agent use raw sockets: `{}` (TCP paths and ping), \
             or open ping sockets to all groups: `{}` (ping and ICMP paths; this one key is for IPv4 and IPv6)",
            self.raw_sockets(),
            Self::ping_sockets()
        )
    }
}

/// Whether an error says that the process may not open such a socket.
pub(crate) fn is_refusal(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}
