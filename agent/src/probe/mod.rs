//! What a probe is and what may become of it; the pure machines behind each kind.
//!
//! Pure: no socket, no clock, no randomness. The shells that own sockets are in [`crate::net`].

pub(crate) mod addresses;
pub(crate) mod edge;
pub(crate) mod hops;
pub(crate) mod packet;
pub(crate) mod path;
pub(crate) mod quote;
pub(crate) mod trace;
pub(crate) mod train;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use firstmile_wire::v1;

/// What became of one probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Answered within the timeout.
    Answered(Duration),
    /// Answered by a TCP RST: the host is there, the port is shut.
    Refused(Duration),
    Timeout,
    /// An ICMP error or the local stack said that the destination cannot be reached.
    Unreachable,
    DnsFailed,
    NoRoute,
    NotPermitted,
    TlsFailed,
    HttpFailed,
    /// A fault of this machine: nothing can be said of the network.
    LocalError,
}

impl Outcome {
    /// The RTT of a probe that was answered or refused.
    pub(crate) const fn rtt(self) -> Option<Duration> {
        match self {
            Self::Answered(rtt) | Self::Refused(rtt) => Some(rtt),
            Self::Timeout
            | Self::Unreachable
            | Self::DnsFailed
            | Self::NoRoute
            | Self::NotPermitted
            | Self::TlsFailed
            | Self::HttpFailed
            | Self::LocalError => None,
        }
    }

    /// Whether the network lost this probe, as opposed to answering it or never having been asked.
    pub(crate) const fn is_lost(self) -> bool {
        matches!(self, Self::Timeout | Self::Unreachable)
    }

    /// The outcome that an error of the operating system stands for.
    pub(crate) fn of_io_error(error: &std::io::Error) -> Self {
        use std::io::ErrorKind as Kind;
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "ErrorKind is open-ended: what is not named is a local fault"
        )]
        match error.kind() {
            Kind::TimedOut => Self::Timeout,
            Kind::HostUnreachable | Kind::ConnectionReset | Kind::ConnectionAborted => {
                Self::Unreachable
            }
            Kind::NetworkUnreachable | Kind::AddrNotAvailable | Kind::NetworkDown => Self::NoRoute,
            Kind::PermissionDenied => Self::NotPermitted,
            _ => Self::LocalError,
        }
    }

    pub(crate) const fn to_wire(self) -> v1::Outcome {
        match self {
            Self::Answered(_) => v1::Outcome::Answered,
            Self::Refused(_) => v1::Outcome::Refused,
            Self::Timeout => v1::Outcome::Timeout,
            Self::Unreachable => v1::Outcome::Unreachable,
            Self::DnsFailed => v1::Outcome::DnsFailed,
            Self::NoRoute => v1::Outcome::NoRoute,
            Self::NotPermitted => v1::Outcome::NotPermitted,
            Self::TlsFailed => v1::Outcome::TlsFailed,
            Self::HttpFailed => v1::Outcome::HttpFailed,
            Self::LocalError => v1::Outcome::LocalError,
        }
    }
}

/// Who stamped a probe when it was sent and when it was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Clock {
    /// The kernel: load on this machine is not in the figure.
    Kernel,
    /// This program: its own delays are in the figure.
    User,
}

impl Clock {
    pub(crate) const fn to_wire(self) -> v1::Clock {
        match self {
            Self::Kernel => v1::Clock::Kernel,
            Self::User => v1::Clock::User,
        }
    }
}

/// What became of one probe, and by whose clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Measured {
    pub(crate) outcome: Outcome,
    pub(crate) clock: Clock,
}

impl Measured {
    /// By the kernel's clock; a failure goes with the answers of the same engine.
    pub(crate) const fn kernel(outcome: Outcome) -> Self {
        Self {
            outcome,
            clock: Clock::Kernel,
        }
    }
}

impl From<Outcome> for Measured {
    /// By our own clock, if by any.
    fn from(outcome: Outcome) -> Self {
        Self {
            outcome,
            clock: Clock::User,
        }
    }
}

/// One probe of one target, or one phase of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sample {
    /// When the probe was sent.
    pub(crate) at: Instant,
    /// Index of the target in the configuration.
    pub(crate) target: usize,
    /// `None` when the name did not resolve, and for DNS itself.
    pub(crate) destination: Option<IpAddr>,
    pub(crate) protocol: v1::Protocol,
    pub(crate) phase: v1::Phase,
    pub(crate) outcome: Outcome,
    pub(crate) clock: Clock,
}

/// The wire form of an address: 4 or 16 bytes.
pub(crate) fn address_bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// The wire form of a time: microseconds, at most what fits (71 minutes).
pub(crate) fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}
