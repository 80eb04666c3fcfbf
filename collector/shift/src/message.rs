//! What agents say of paths: rounds, pulses, gaps.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// One round of traceroutes with pinned flows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Round {
    /// Start of the round, Unix seconds.
    pub at: f64,
    /// What the round was sent for.
    pub stream: Stream,
    /// What its packets were.
    pub protocol: Protocol,
    /// Address probed; `None`: as before.
    pub destination: Option<IpAddr>,
    /// The site's public address, as the agent knows it.
    pub public: Option<IpAddr>,
    /// Metro of the edge that answered, as its headers name it.
    pub edge_metro: Option<String>,
    /// The flows.
    pub flows: Vec<Flow>,
}

/// What a round was sent for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stream {
    /// The hops around the ingress, at the short interval.
    #[default]
    Tail,
    /// All hops.
    Full,
    /// Rounds in quick succession after a trigger.
    Burst,
    /// More flows, repeated, to know what balances.
    Refresh,
}

/// What the packets of a round were. The first that is seen is what flows are pinned by: balancers hash ports, and an
/// ICMP probe has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// TCP to the target's port.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// ICMP echo.
    Icmp,
}

impl Protocol {
    /// Flows of rounds beside those of the pinned protocol are numbered from here on: the same number is another flow.
    pub(crate) const BESIDE: u16 = 1_040;

    pub(crate) const fn offset(self) -> u16 {
        match self {
            Self::Tcp => Self::BESIDE,
            Self::Udp => Self::BESIDE + 1_024,
            Self::Icmp => Self::BESIDE + 2_048,
        }
    }
}

/// Whether a flow is one of those that each round sends, by whatever protocol.
pub(crate) const fn is_steady(flow: u16, flows: u16) -> bool {
    flow < flows || flow >= Protocol::BESIDE
}

/// One flow of a round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Number of the flow: the same number is the same 5-tuple, until a port or address changes.
    pub flow: u16,
    /// TTL of the first of `hops`.
    pub first_ttl: u8,
    /// Who answered at each TTL.
    pub hops: Vec<Option<IpAddr>>,
    /// How long it took, in microseconds.
    pub rtt_us: Vec<Option<u32>>,
    /// Whether the target itself answered.
    pub reached: bool,
    /// Who else answered at each TTL when this flow was repeated.
    pub repeat: Vec<Vec<Option<IpAddr>>>,
}

/// One light probe of the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pulse {
    /// Number of the flow.
    pub flow: u16,
    /// RTT in microseconds, `None`: lost.
    pub rtt_us: Option<u32>,
    /// TTL of the reply.
    pub reply_ttl: Option<u8>,
}

/// How the agent measures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// Pinned flows.
    pub flows: u16,
    /// Seconds between tail rounds.
    pub tail_s: f64,
    /// Seconds between full rounds.
    pub full_s: f64,
    /// Seconds between pulses.
    pub pulse_s: f64,
    /// Seconds between rounds of a burst.
    pub burst_s: f64,
    /// Rounds of a burst.
    pub burst_rounds: u8,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            flows: 8,
            tail_s: 30.0,
            full_s: 120.0,
            pulse_s: 5.0,
            burst_s: 5.0,
            burst_rounds: 6,
        }
    }
}
