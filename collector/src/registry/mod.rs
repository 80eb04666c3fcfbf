//! Who there is: sites, agents, the targets they measure, and the join strings that let new agents in.

pub mod invite;
pub mod peering;
pub mod placing;
pub mod rollout;
mod sessions;
pub mod sites_file;
mod standings;

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

/// No agent is silent sooner: six reports of the default plan.
const SILENT_AFTER_MS: i64 = 3 * 60_000;
/// The longest upload interval of a plan.
const LONGEST_GAP_MS: i64 = 3_600_000;

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
    /// How far its reports are usually apart, see [`Agent::note_report`]; 0 while it is not known.
    pub usual_gap_ms: i64,
}

impl Agent {
    /// Notes a report. The usual gap is the largest of late: it loses an eighth with each report, so that neither a
    /// report sent early nor an outage says for long how the agent's plan is.
    pub fn note_report(&mut self, received_unix_ms: i64) {
        let gap_ms = self
            .last_seen_unix_ms
            .map_or(0, |seen| received_unix_ms.saturating_sub(seen));
        self.usual_gap_ms = gap_ms
            .min(LONGEST_GAP_MS)
            .max(self.usual_gap_ms - self.usual_gap_ms / 8);
        self.last_seen_unix_ms = self.last_seen_unix_ms.max(Some(received_unix_ms));
    }

    /// An agent that was not heard for so long is silent: three of its usual gaps, and three minutes at least.
    pub fn silent_after_ms(&self) -> i64 {
        self.usual_gap_ms.saturating_mul(3).max(SILENT_AFTER_MS)
    }

    /// `reporting`, `silent`, `waiting` (for its first report) or `revoked`.
    pub fn state(&self, now_unix_ms: i64) -> &'static str {
        match self.last_seen_unix_ms {
            _ if self.revoked => "revoked",
            None => "waiting",
            Some(seen) if now_unix_ms - seen > self.silent_after_ms() => "silent",
            Some(_) => "reporting",
        }
    }
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
    /// Site of the agents it lets in; `None`: the rules of the sites say ([`placing`]).
    pub site: Option<SiteId>,
    /// When it was made.
    pub created_unix_ms: i64,
    /// When it ends.
    pub expires_unix_ms: i64,
    /// Agents that it lets in.
    pub uses_max: u32,
    /// Agents that it has let in.
    pub uses: u32,
    /// When, and by which agent, it was last used.
    pub spent: Option<(i64, AgentId)>,
    /// Whether somebody took it back.
    pub revoked: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: i64 = 60_000;

    /// The agent after reports so many minutes apart.
    fn after(gaps: &[i64]) -> (Agent, i64) {
        let mut agent = Agent {
            id: AgentId(Uuid::from_u128(1)),
            organisation: OrganisationId::default_organisation(),
            site: SiteId(Uuid::from_u128(2)),
            hostname: String::new(),
            version: String::new(),
            os: None,
            icmp_capability: None,
            enrolled_unix_ms: 0,
            last_seen_unix_ms: None,
            spool_dropped_reports: 0,
            revoked: false,
            usual_gap_ms: 0,
        };
        let mut now_unix_ms = 0;
        agent.note_report(now_unix_ms);
        for gap in gaps {
            now_unix_ms += gap * MINUTE_MS;
            agent.note_report(now_unix_ms);
        }
        (agent, now_unix_ms)
    }

    #[test]
    fn an_agent_is_silent_after_three_of_its_usual_gaps() {
        let long_ago = [vec![600], vec![1; 40]].concat();
        for (name, gaps, reporting_for, silent_after) in [
            ("new", &[][..], 3, 4),
            ("default plan", &[1, 1, 1], 3, 4),
            ("hourly", &[60, 60], 180, 181),
            ("one sent early", &[60, 60, 1], 150, 181),
            ("after an outage", &[1, 1, 600], 180, 181),
            ("long after it", &long_ago, 3, 4),
        ] {
            let (agent, now_unix_ms) = after(gaps);
            let state = |minutes| agent.state(now_unix_ms + minutes * MINUTE_MS);
            assert_eq!(state(reporting_for), "reporting", "{name}: {agent:?}");
            assert_eq!(state(silent_after), "silent", "{name}: {agent:?}");
        }
    }
}
