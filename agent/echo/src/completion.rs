//! What is asked of the engine and what it gives back.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

/// A probe to send.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Where to.
    pub destination: IpAddr,
    /// The caller's name for it; it comes back with the [`Completion`].
    pub token: u64,
}

/// What became of a probe.
#[derive(Debug)]
pub struct Completion {
    /// The caller's name for it.
    pub token: u64,
    /// Where it went.
    pub destination: IpAddr,
    /// What became of it.
    pub ending: Ending,
}

/// The ways in which a probe ends.
#[derive(Debug)]
pub enum Ending {
    /// Answered within the timeout.
    Answered(Answer),
    /// Not answered within the timeout (RFC 6673 §4.1: what comes later is lost).
    Timeout,
    /// An ICMP error said that it did not arrive.
    Unreachable {
        /// Who said so.
        by: Option<IpAddr>,
        /// ICMP type.
        kind: u8,
        /// ICMP code.
        code: u8,
    },
    /// Answered, but its RTT means nothing.
    Spoiled(Spoiled),
    /// It was never sent.
    NotSent(io::Error),
}

/// An answer within the timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// From request sent to reply received; never zero.
    pub rtt: Duration,
    /// Who stamped both.
    pub clock: Clock,
    /// The TTL or hop limit that the reply had left.
    pub hop_limit: Option<u8>,
    /// How long the reply lay ready before this process took it: the machine's own delay, which is in every figure that is
    /// stamped in user space.
    pub delay: Duration,
}

/// Who stamped a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The kernel, both ways.
    Kernel,
    /// This process, one way or both.
    User,
}

/// Why an RTT means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoiled {
    /// The wall clock was set, or the machine slept, while it was under way.
    ClockStepped,
    /// The stamps say that it took no time, or less.
    NotPositive,
    /// The stamps say that it took longer than this process waited.
    Implausible,
}
