//! Who there is: sites, agents, the targets they measure, and the join strings that let new agents in.

pub mod invite;

use std::fmt;

use firstmile_wire::ids::{AgentId, OrganisationId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::geo::Geography;

/// A branch site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SiteId(pub Uuid);

impl fmt::Display for SiteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A site as it is declared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Site {
    /// Identity.
    pub id: SiteId,
    /// Owner.
    pub organisation: OrganisationId,
    /// Name for people, unique in its organisation.
    pub name: String,
    /// Where it is, and how we know.
    pub geography: Geography,
}

/// An agent as it is known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Agent {
    /// Identity.
    pub id: AgentId,
    /// Owner.
    pub organisation: OrganisationId,
    /// Where it stands.
    pub site: SiteId,
    /// Host name of its machine.
    pub hostname: String,
    /// Version of its program.
    pub version: String,
    /// Operating system of its machine.
    pub os: Option<String>,
    /// What ICMP it may do: `raw`, `datagram`, `none`.
    pub icmp_capability: Option<String>,
    /// When it enrolled.
    pub enrolled_unix_ms: i64,
    /// When a report of it was last stored.
    pub last_seen_unix_ms: Option<i64>,
    /// Reports it had to drop since its program started.
    pub spool_dropped_reports: u64,
    /// Whether its certificate is refused.
    pub revoked: bool,
}

/// A target as an agent measures it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Name in the agent's configuration.
    pub name: String,
    /// Host name or literal address.
    pub host: String,
    /// Port of TCP and HTTPS.
    pub port: u32,
    /// Service it stands for.
    pub service: String,
}

/// A join string as the collector remembers it: without the secret.
#[derive(Clone, Debug, PartialEq)]
pub struct JoinGrant {
    /// SHA-256 of the secret.
    pub secret_digest: [u8; 32],
    /// Owner of the agents it lets in.
    pub organisation: OrganisationId,
    /// Site of the agents it lets in.
    pub site: SiteId,
    /// When it was made.
    pub created_unix_ms: i64,
    /// When it ends.
    pub expires_unix_ms: i64,
    /// When, and by which agent, it was spent.
    pub spent: Option<(i64, AgentId)>,
    /// Whether somebody took it back.
    pub revoked: bool,
}
