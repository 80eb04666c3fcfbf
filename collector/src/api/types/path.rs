//! Paths, their identities, and their shifts, as the API shows them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Pop;

/// The current path of an agent to a target.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PathReport {
    /// Identity of the agent.
    pub agent_id: String,
    /// The agent's site.
    pub site_name: String,
    /// Target's name.
    pub target: String,
    /// Where the flows went.
    pub destination: String,
    /// When the newest round started.
    pub at_unix_ms: i64,
    /// `tcp`, `udp` or `icmp`.
    pub kind: String,
    /// Flows in the newest round.
    pub flows: u32,
    /// Flows that reached the destination.
    pub flows_reached: u32,
    /// What the path comparison rests on.
    pub identity: PathIdentity,
    /// State of the path comparison: `learning`, `stable`, `suspect`, `shifted`, `blind`.
    pub state: String,
    /// Hops in order of TTL.
    pub hops: Vec<PathHop>,
    /// The identities before this one, newest first, at most 20.
    pub history: Vec<PathSpan>,
}

/// What is compared from round to round; two rounds with equal identities took the same path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct PathIdentity {
    /// AS numbers up to and with Microsoft's, each once, silent and private hops bridged.
    pub as_path: Vec<u32>,
    /// Metros of the ingress routers, sorted.
    pub ingress_metros: Vec<String>,
    /// Ingress routers by name, or by address where they have none, sorted.
    pub ingress_routers: Vec<String>,
    /// Metros of the POP as headers name it, sorted.
    pub edge_metros: Vec<String>,
}

/// All routers that flows met at one TTL.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PathHop {
    /// TTL, from 1.
    pub ttl: u32,
    /// Routers seen, most flows first. A silent hop has one node without an address.
    pub nodes: Vec<PathNode>,
}

/// One router at one TTL.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PathNode {
    /// Its address, absent for a silent hop.
    pub address: Option<String>,
    /// Its name in DNS.
    pub name: Option<String>,
    /// Origin AS of its address.
    pub asn: Option<u32>,
    /// Name of that AS.
    pub as_name: Option<String>,
    /// Role by its name: `ibr`, `icr`, `ier`, `ear`, `owr`, `rwa`; `destination` for the target itself.
    pub role: Option<String>,
    /// POP metro by its name.
    pub pop: Option<Pop>,
    /// True for the first router of Microsoft's network.
    pub ingress: bool,
    /// Flows that met it.
    pub flows: u32,
    /// Smallest RTT among them.
    pub min_rtt_us: Option<u32>,
    /// Median RTT among them.
    pub median_rtt_us: Option<u32>,
}

/// A span of time on one path.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PathSpan {
    /// First round.
    pub from_unix_ms: i64,
    /// Last round.
    pub to_unix_ms: i64,
    /// Rounds.
    pub rounds: u32,
    /// The path.
    pub identity: PathIdentity,
}

/// A class of path shift.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventClass {
    /// The AS path changed.
    AsPathShift,
    /// The ingress moved to another metro.
    GeoFailover,
    /// The ingress moved to another router of the same metro.
    LocalFailover,
}

/// A path shift: found, perhaps still going on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Identity of the event.
    pub event_id: String,
    /// What moved.
    pub class: EventClass,
    /// `open` or `closed`.
    pub state: String,
    /// Identity of the agent.
    pub agent_id: String,
    /// Site of the agent.
    pub site_name: String,
    /// ISO 3166-1 alpha-2 country of the site.
    pub country: Option<String>,
    /// Target's name.
    pub target: String,
    /// Last round on the old path: the shift happened after it.
    pub last_good_unix_ms: i64,
    /// First round on the new path: the shift happened before it.
    pub first_novel_unix_ms: i64,
    /// When the collector was sure.
    pub detected_unix_ms: i64,
    /// Flapping: first round on the new path of the latest time that it moved; absent while it moved only once.
    #[serde(default)]
    pub reopened_unix_ms: Option<i64>,
    /// Flapping: how often the path moved again after it was back, so the event opened once more than this.
    #[serde(default)]
    #[schema(required = true)]
    pub reopenings: u32,
    /// When it ended, as `ending` says; absent while open.
    pub ended_unix_ms: Option<i64>,
    /// How it ended: `recovered` (the old path was back for six rounds), `adopted` (the new one stayed for a day), `not_observed` (no
    /// round for a day) or `agent_revoked`.
    pub ending: Option<String>,
    /// The path before.
    pub before: PathIdentity,
    /// The path after.
    pub after: PathIdentity,
    /// Median TCP RTT in the rounds before, where known.
    pub before_rtt_us: Option<u32>,
    /// Median TCP RTT in the rounds after, where known.
    pub after_rtt_us: Option<u32>,
    /// One sentence for people.
    pub text: String,
    /// The reasons, one a line.
    pub evidence: Vec<String>,
}
