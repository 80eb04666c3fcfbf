//! What a probe is and what may become of it; the pure machines behind each kind.
//!
//! Pure: no socket, no clock, no randomness. The shells that own sockets are in [`crate::net`].

pub(crate) mod addresses;
pub(crate) mod edge;
pub(crate) mod idle;
pub(crate) mod nearness;
pub(crate) mod quic;
pub(crate) mod sighting;
pub(crate) mod train;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use firstmile_wire::v1;

#[cfg(target_os = "linux")]
pub(crate) use firstmile_path::packet;
pub(crate) use firstmile_path::{
    address_bytes, budget, hops, met, offer, path, quote, running, trace,
};

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
    /// The QUIC handshake failed: a version or transport error was answered.
    QuicFailed,
    /// A standing connection was reset.
    Reset,
    /// A router or firewall said that it will not pass the packet.
    Filtered,
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
            | Self::QuicFailed
            | Self::Reset
            | Self::Filtered
            | Self::LocalError => None,
        }
    }

    /// Whether the network lost this probe, as opposed to answering it or never having been asked.
    pub(crate) const fn is_lost(self) -> bool {
        matches!(
            self,
            Self::Timeout | Self::Unreachable | Self::Reset | Self::Filtered
        )
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
            Kind::HostUnreachable => Self::Unreachable,
            Kind::ConnectionReset | Kind::ConnectionAborted => Self::Reset,
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
            Self::QuicFailed => v1::Outcome::QuicFailed,
            Self::Reset => v1::Outcome::Reset,
            Self::Filtered => v1::Outcome::Filtered,
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
    /// How late this program itself ran when it took the time; `None` when nobody can tell.
    pub(crate) scheduling_delay: Option<Duration>,
    /// TTL or hop limit of the reply as received, 0 when unknown.
    pub(crate) reply_ttl: u8,
}

impl Measured {
    /// By the kernel's clock; a failure goes with the answers of the same engine.
    pub(crate) const fn kernel(outcome: Outcome) -> Self {
        Self {
            outcome,
            clock: Clock::Kernel,
            scheduling_delay: None,
            reply_ttl: 0,
        }
    }
}

impl From<Outcome> for Measured {
    /// By our own clock, if by any.
    fn from(outcome: Outcome) -> Self {
        Self {
            outcome,
            clock: Clock::User,
            scheduling_delay: None,
            reply_ttl: 0,
        }
    }
}

/// What keeps a sample out of some figures: a set of [`v1::Mark`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks(u32);

impl Marks {
    /// The set with one mark more.
    #[must_use]
    pub(crate) const fn with(self, mark: v1::Mark) -> Self {
        Self(self.0 | mark as u32)
    }

    pub(crate) const fn has(self, mark: v1::Mark) -> bool {
        self.0 & mark as u32 != 0
    }

    pub(crate) const fn to_wire(self) -> u32 {
        self.0
    }
}

/// A user-clock time that was taken while this program ran later than this is marked untrusted.
pub(crate) const TRUSTED_DELAY: Duration = Duration::from_millis(1);

impl Measured {
    /// The same, taken while this program ran so late; the engine's own figure, where it has one, stays.
    #[must_use]
    pub(crate) fn delayed_by(self, delay: Option<Duration>) -> Self {
        Self {
            scheduling_delay: self.scheduling_delay.or(delay),
            ..self
        }
    }

    /// The marks that follow from the clock and the delay alone.
    pub(crate) fn marks(self) -> Marks {
        let late = self
            .scheduling_delay
            .is_some_and(|delay| delay > TRUSTED_DELAY);
        if late && self.clock == Clock::User && self.outcome.rtt().is_some() {
            Marks::default().with(v1::Mark::Untrusted)
        } else {
            Marks::default()
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
    pub(crate) scheduling_delay: Option<Duration>,
    pub(crate) reply_ttl: u8,
    pub(crate) marks: Marks,
    /// Index of the vantage point in the configuration; 0 is the machine's own choice where none is configured.
    pub(crate) vantage: u16,
}

/// The wire form of a time: microseconds, at most what fits (71 minutes).
pub(crate) fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}
