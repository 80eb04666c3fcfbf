//! A report, decoded and checked: columns have become samples, offsets have become times, indexes have become names.

use std::net::IpAddr;
use std::sync::Arc;

use firstmile_wire::ids::ReportKey;
use firstmile_wire::nat64::Nat64Prefix;
use firstmile_wire::v1::{
    AgentCounters, HostFacts, Mark, Outcome, Phase, Protocol, TraceKind, TraceStream,
};

use super::facts::Facts;
use crate::registry::Target;

/// Everything one report says.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// What makes the report itself.
    pub key: ReportKey,
    /// When the collector received it.
    pub received_unix_ms: i64,
    /// Version of the agent's program.
    pub agent_version: String,
    /// Facts of the machine, when the report carries them.
    pub host: Option<HostFacts>,
    /// Counters of the agent.
    pub counters: AgentCounters,
    /// The targets it speaks of.
    pub targets: Vec<Target>,
    /// Singletons, in the order of the report.
    pub samples: Vec<Sample>,
    /// Path rounds, oldest first.
    pub rounds: Vec<Round>,
    /// PTR answers; `None`: there is no name.
    pub hop_names: Vec<(IpAddr, Option<String>)>,
    /// Headers that may name the edge.
    pub sightings: Vec<Sighting>,
    /// Answers of the site's resolver.
    pub resolutions: Vec<Resolution>,
    /// What it says of the machine and of handshakes.
    pub facts: Facts,
}

/// What one probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When it was sent.
    pub at_unix_ms: i64,
    /// Target's name.
    pub target: Arc<str>,
    /// Where it went; absent when the name did not resolve.
    pub destination: Option<IpAddr>,
    /// How it was taken.
    pub protocol: Protocol,
    /// What it timed.
    pub phase: Phase,
    /// What became of it.
    pub outcome: Outcome,
    /// RTT, meaningful for answered and refused ones.
    pub rtt_us: u32,
    /// TTL or hop limit of the reply as received, 0 when unknown.
    pub reply_ttl: u8,
    /// What keeps it out of some figures.
    pub marks: Marks,
    /// How late the agent's program ran when it was taken.
    pub scheduling_delay_us: u32,
}

/// What keeps a sample out of some figures: a set of [`Mark`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks(pub u32);

impl Marks {
    /// Marks whose samples say nothing of the road from this site to the edge: the answer came from something nearer, or the
    /// packet took another way than those of the site's users.
    const ELSEWHERE: u32 =
        Mark::TerminatedLocally as u32 | Mark::Tunnel as u32 | Mark::Roaming as u32;
    /// Marks of an answer whose time is the machine's own fault: it was answered, only nobody knows in what time.
    const MISTIMED: u32 = Mark::Untrusted as u32 | Mark::AfterIdle as u32;

    /// Whether the sample stays out of the figures of its site.
    pub const fn leaves_figures(self) -> bool {
        self.0 & Self::ELSEWHERE != 0
    }

    /// Whether an answer counts as one, and its time does not.
    pub const fn is_mistimed(self) -> bool {
        self.0 & Self::MISTIMED != 0
    }
}

/// One round of a flow-pinned traceroute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// Start.
    pub at_unix_ms: i64,
    /// Target's name.
    pub target: Arc<str>,
    /// Where the flows went.
    pub destination: IpAddr,
    /// Packets used.
    pub kind: TraceKind,
    /// Triggered by a suspicion.
    pub burst: bool,
    /// Why it was run, and how much of the path it looked at.
    pub stream: TraceStream,
    /// Prefix of the NAT64 at the site: the IPv4 addresses inside hops are what belongs to an AS.
    pub nat64: Option<Nat64Prefix>,
    /// One for each flow.
    pub flows: Vec<Flow>,
}

/// What one flow met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Source port or checksum.
    pub flow_id: u32,
    /// By TTL, ascending.
    pub hops: Vec<Hop>,
    /// TTL at which the destination answered.
    pub destination_ttl: Option<u32>,
}

/// One TTL of one flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// From 1.
    pub ttl: u32,
    /// Who answered; absent for a silent hop.
    pub address: Option<IpAddr>,
    /// RTT of the answer.
    pub rtt_us: u32,
    /// TTL of the reply as received, 0 when unknown.
    pub reply_ttl: u32,
    /// ICMP type * 256 + code, 0 when it was no ICMP message.
    pub icmp: u32,
    /// Start of the round in which it answered, where that was an earlier one and this one was silent. Only in rounds that are
    /// kept to be shown.
    pub seen_unix_ms: Option<i64>,
}

/// Headers of one exchange that may name the edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// When.
    pub at_unix_ms: i64,
    /// Target's name.
    pub target: Arc<str>,
    /// Who answered.
    pub destination: Option<IpAddr>,
    /// Status of the response.
    pub http_status: u32,
    /// Names in lower case, values as received.
    pub headers: Vec<(String, String)>,
}

/// One answer of the site's resolver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// When.
    pub at_unix_ms: i64,
    /// Target's name.
    pub target: Arc<str>,
    /// Who was asked.
    pub resolver: String,
    /// AAAA rather than A.
    pub ipv6: bool,
    /// What became of it.
    pub outcome: Outcome,
    /// Addresses of the answer.
    pub addresses: Vec<IpAddr>,
    /// Names on the way.
    pub cname_chain: Vec<String>,
    /// Least TTL of the answer.
    pub ttl_s: u32,
}
