//! Connections, and whether they keep their promise, as the API shows them.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

/// A connection: what was bought, and what came of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Connection {
    /// Id of the resource in the REST interface of `Microsoft.Peering`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The partner.
    pub provider: String,
    /// Primary peering location, as registered.
    pub primary: String,
    /// Backup peering location; absent: the plain internet.
    pub backup: Option<String>,
    /// AS numbers of the partner, by its registered `peerAsns`. None: which partner carries the traffic is not looked at.
    pub provider_asns: Vec<u32>,
    /// Its prefixes.
    pub prefixes: Vec<ConnectionPrefix>,
    /// Sites that its tag `sites` names, and that are known.
    pub sites: Vec<ConnectionSite>,
    /// Sites that the tag names, and that nobody knows.
    pub unknown_sites: Vec<String>,
}

/// A prefix of a connection.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ConnectionPrefix {
    /// Its name.
    pub name: String,
    /// The prefix.
    pub prefix: String,
    /// `Verified`, `Warning`, `Unknown`, `Failed` or `Invalid`.
    pub state: String,
    /// What was found, rule by rule.
    pub findings: Vec<String>,
}

/// A site of a connection.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ConnectionSite {
    /// Identity of the site.
    pub site_id: String,
    /// Its name.
    pub site_name: String,
    /// One for each agent and target.
    pub paths: Vec<PathCompliance>,
}

/// Whether one path keeps the promise of its connection.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PathCompliance {
    /// Identity of the agent.
    pub agent_id: String,
    /// Host name of the agent.
    pub hostname: String,
    /// Target's name.
    pub target: String,
    /// Milliseconds in each place: `primary`, `local_alternate`, `backup_metro`, `other_metro`, `other_provider`, `unreachable`,
    /// `unknown`. They add up to the window.
    pub time_ms: BTreeMap<String, i64>,
    /// Share of the time of which something is known on the preferred path; absent where nothing is known.
    pub preferred_ratio: Option<f64>,
    /// Share of the time with a known path on which one AS stood between the site and Microsoft; absent where none is known.
    pub one_hop_ratio: Option<f64>,
    /// Two routers at the primary location: `proven`, `one_seen`, `replaced`, `not_observable`.
    pub redundancy: String,
    /// The routers that it rests on.
    pub routers: Vec<String>,
    /// With one router seen: a second one with this share of the flows or more would have been seen with a certainty of 95 %.
    pub hidden_share_below_ratio: Option<f64>,
    /// The last time at the backup location; absent: never seen there in the window.
    pub last_backup_from_unix_ms: Option<i64>,
    /// Its end.
    pub last_backup_to_unix_ms: Option<i64>,
    /// Median round-trip time of that time, its last hour if it was longer, microseconds; absent if nothing was measured.
    pub last_backup_rtt_us: Option<u32>,
    /// What that is above the median of the last hour at the primary location before it, microseconds; absent where either is not known.
    pub last_backup_cost_us: Option<i64>,
}
