//! What happened to probes and replies, in numbers.

use crate::packet::Malformed;

/// Everything that happened, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Probes sent.
    pub sent: u64,
    /// Answered in time, with an RTT.
    pub answered: u64,
    /// Of these, stamped by the kernel both ways.
    pub kernel_stamped: u64,
    /// Not answered in time.
    pub timeouts: u64,
    /// Ended by an ICMP error.
    pub unreachable: u64,
    /// Spoiled by a step of the clock.
    pub clock_stepped: u64,
    /// Spoiled by stamps in the wrong order.
    pub not_positive: u64,
    /// Spoiled by stamps further apart than we waited.
    pub implausible: u64,
    /// Refused by the system when sending.
    pub not_sent: u64,
    /// Not launched: as many were under way as may be.
    pub full: u64,
    /// Replies after the timeout.
    pub late: u64,
    /// Replies to what was answered already.
    pub duplicate: u64,
    /// Replies cut short.
    pub truncated: u64,
    /// Replies with a damaged checksum.
    pub damaged: u64,
    /// Packets of another kind, or of another program.
    pub foreign: u64,
    /// Replies that do not know the cookie.
    pub forged: u64,
    /// Replies from another address than was asked.
    pub elsewhere: u64,
    /// Replies to a request that is not, or no longer, known.
    pub unknown: u64,
    /// Packets that the kernel dropped because we did not read them in time.
    pub overflowed: u64,
}

impl Counters {
    /// Books bytes that are no reply.
    pub const fn book(&mut self, malformed: Malformed) {
        match malformed {
            Malformed::Truncated => self.truncated += 1,
            Malformed::Damaged => self.damaged += 1,
            Malformed::AnotherKind => self.foreign += 1,
        }
    }
}
