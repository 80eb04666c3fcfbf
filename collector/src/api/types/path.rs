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
    /// When it last answered, where the newest round was silent here while the hops around it stand where they stood; absent
    /// when it answered in that round.
    pub last_seen_unix_ms: Option<i64>,
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
