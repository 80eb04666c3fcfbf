//! The evidence of an incident, for somebody without an account: what a provider's operations centre needs to look for the cause.
//!
//! One file that loads nothing: paths before and after, affected agents with their RTTs, agents of the same provider or country that were not
//! affected, what was not seen, and the rounds as they were measured. [`gather`] reads the store, [`page`] writes the file.

pub mod gather;
pub mod page;

use serde::Serialize;

use crate::api::types::{Event, Incident, PathIdentity};

/// Agents that are listed of each kind; more are counted.
pub const AGENTS_MAX: usize = 40;
/// Rounds that are embedded.
pub const ROUNDS_MAX: usize = 400;

/// All that the file says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evidence {
    /// Version of this form.
    pub version: u32,
    /// When it was exported.
    pub exported_unix_ms: i64,
    /// Version of the collector.
    pub collector_version: String,
    /// The incident.
    pub incident: Incident,
    /// Its events, with their reasons and paths.
    pub events: Vec<Event>,
    /// Figures of the affected agents, before and since.
    pub affected: Vec<Figures>,
    /// Agents of the same provider or country that are not in the incident.
    pub unaffected: Vec<Peer>,
    /// What was not seen, one a line.
    pub not_seen: Vec<String>,
    /// Rounds around the onset, as measured.
    pub rounds: Vec<RawRound>,
}

/// TCP RTTs of one agent to one target, before and since the onset.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Identity of the agent.
    pub agent_id: String,
    /// Its site.
    pub site_name: String,
    /// The target.
    pub target: String,
    /// In the hour before.
    pub before: Span,
    /// From the onset to the end, or to now; at most six hours.
    pub since: Span,
}

/// Samples of a span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Span {
    /// Start.
    pub from_unix_ms: i64,
    /// End.
    pub to_unix_ms: i64,
    /// Probes that say something of loss.
    pub n: u64,
    /// Of them, lost.
    pub lost: u64,
    /// Median RTT of answered probes.
    pub p50_us: Option<u32>,
    /// 90th percentile.
    pub p90_us: Option<u32>,
}

/// An agent that is not in the incident.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Peer {
    /// Identity of the agent.
    pub agent_id: String,
    /// Its site.
    pub site_name: String,
    /// Why it is compared: `provider` or `country`.
    pub same: String,
    /// Whether it reported: an agent that was not heard proves nothing.
    pub state: String,
    /// The target.
    pub target: String,
    /// Its path.
    pub path: PathIdentity,
    /// Since when it is on that path.
    pub since_unix_ms: i64,
    /// When that path was last seen.
    pub seen_unix_ms: i64,
    /// Its figures.
    pub figures: Figures,
}

/// A round of traceroutes as it was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RawRound {
    /// Identity of the agent.
    pub agent_id: String,
    /// Start.
    pub at_unix_ms: i64,
    /// The target.
    pub target: String,
    /// Where the flows went.
    pub destination: String,
    /// Packets used: `Tcp`, `Udp`, `Icmp`.
    pub kind: String,
    /// Whether a suspicion asked for it.
    pub burst: bool,
    /// The flows.
    pub flows: Vec<RawFlow>,
}

/// One flow of a round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RawFlow {
    /// Source port or checksum.
    pub flow_id: u32,
    /// TTL at which the destination answered.
    pub destination_ttl: Option<u32>,
    /// TTL, address (absent: no answer), RTT in microseconds.
    pub hops: Vec<(u32, Option<String>, u32)>,
}
