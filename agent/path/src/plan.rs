//! How a path round runs: its stream, its flows, its patience, and what earlier rounds have taught.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

/// Highest TTL that is ever sent, as traceroute has it by default.
pub const MAX_TTL: u8 = 30;

/// A stretch of the path, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First TTL that is sent, from 1.
    pub from_ttl: u8,
    /// Last TTL that is sent.
    pub to_ttl: u8,
}

/// Why a round runs, and how much of the path it looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// All flows, all TTLs.
    Full,
    /// All flows, the TTLs around the ingress into the destination's network.
    Tail(Span),
    /// Started by a suspicion: the tail, or all TTLs (`None`), as the first round of a burst has it.
    Burst(Option<Span>),
    /// Multipath discovery: as many flows as its stopping rule asks for.
    Refresh,
}

impl Stream {
    /// The stretch that the round looks at; `None` is the whole path.
    pub const fn span(self) -> Option<Span> {
        match self {
            Self::Full | Self::Refresh => None,
            Self::Tail(span) => Some(span),
            Self::Burst(span) => span,
        }
    }

    /// First TTL that a flow is asked at.
    pub const fn first_ttl(self) -> u8 {
        match self.span() {
            Some(span) if span.from_ttl > 0 => span.from_ttl,
            Some(_) | None => 1,
        }
    }

    /// Whether the round ends early when it meets another router than expected: it only has to notice, a burst looks closely.
    pub const fn only_notices(self) -> bool {
        matches!(self, Self::Full | Self::Tail(_))
    }

    /// Whether a suspicion started the round.
    pub const fn is_burst(self) -> bool {
        matches!(self, Self::Burst(_))
    }
}

/// How a round runs, and what earlier rounds have taught.
#[derive(Clone, Debug)]
pub struct TracePlan {
    /// Why, and how much of the path.
    pub stream: Stream,
    /// Numbers of the flows to send, in the order in which they start.
    pub flows: Vec<u16>,
    /// From the start of one flow to that of the next.
    pub spacing: Duration,
    /// Longest wait for an answer.
    pub timeout: Duration,
    /// How long to wait for silent routers once the destination has answered.
    pub grace: Duration,
    /// Largest chance, 0 to 1, with which multipath discovery may miss an interface of a hop (REFRESH only).
    pub alpha: f64,
    /// What is known of the path before the round.
    pub known: Known,
}

/// Chance of a miss at one hop that multipath discovery promises by default.
pub const DEFAULT_ALPHA: f64 = 0.05;

/// The first `count` flows, in their order.
pub fn all_flows(count: u16) -> Vec<u16> {
    (0..count).collect()
}

/// What is known of the path before the round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Largest TTL at which the destination answered.
    pub destination_ttl: Option<u8>,
    /// Largest TTL at which anything answered.
    pub last_ttl: Option<u8>,
    /// TTLs that no flow got an answer from: not worth a second packet.
    pub silent_ttls: Vec<u8>,
    /// Flow and TTL of every hop that has answered lately: silence there now is not that of a silent router.
    pub answered: BTreeSet<(u16, u8)>,
    /// Who answers each flow at each TTL; those left out that balance packets one by one. Another one there is a surprise.
    pub expected: BTreeMap<(u16, u8), IpAddr>,
}
