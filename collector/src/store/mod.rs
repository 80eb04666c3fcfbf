//! What is kept, behind one trait with one contract test for every store.
//!
//! The road of a report: [`Store::append`] makes it durable (then it is acknowledged); [`Store::pending`] gives back what was
//! appended and not yet applied; [`Store::apply`] writes everything derived from it and marks it applied, in one transaction.
//! So a sample is counted exactly once, whatever dies in between.

pub mod before;
#[cfg(test)]
mod contract;
pub mod desk;
pub mod embedded;
pub mod incidents;
pub mod notifying;
pub mod obstacle;
pub mod past;
pub mod questions;
pub mod registered;
pub mod roll_out;
pub mod route_counts;
pub mod routing;

use std::collections::BTreeMap;
use std::net::IpAddr;

use async_trait::async_trait;
use firstmile_wire::ids::{AgentId, Epoch, OrganisationId, ReportKey};
use firstmile_wire::v1::{Phase, Protocol};
use serde::{Deserialize, Serialize};

pub use self::before::{Before, Sender};
use crate::api::types::{Event, GeographyLevel, PathIdentity};
use crate::detect::span::Sight;
use crate::detect::{PathBrief, PathMemory};
use crate::ingest::batch::{Resolution, Round, Sample, Sighting};
use crate::ingest::facts::{Fact, FactKind};
use crate::registry::{Agent, JoinGrant, Site, SiteId, Target};
use crate::rollup::Cell;

/// Key of the geography of sites of which nothing is known at a level.
pub const UNKNOWN_GEOGRAPHY: &str = "unknown";

/// The key of a site's geography at a level: `NL`, `NL-NH`, `NL/Amsterdam`, the site's id, or [`UNKNOWN_GEOGRAPHY`].
pub fn geography_key(site: &Site, level: GeographyLevel) -> String {
    let geography = &site.geography;
    let key = match level {
        GeographyLevel::Country => geography.country.clone(),
        GeographyLevel::Subdivision => geography.subdivision.clone(),
        GeographyLevel::Metro => geography
            .country
            .as_ref()
            .zip(geography.metro.as_ref())
            .map(|(country, metro)| format!("{country}/{metro}")),
        GeographyLevel::Site => Some(site.id.to_string()),
    };
    key.unwrap_or_else(|| UNKNOWN_GEOGRAPHY.to_owned())
}

/// A report as received, with its place in the inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxReport {
    /// What makes it itself.
    pub key: ReportKey,
    /// When the collector received it.
    pub received_unix_ms: i64,
    /// The zstd frame as received.
    pub frame: Vec<u8>,
}

/// What became of an appended report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is on disk now, for the first time.
    Stored,
    /// It was on disk already, or retention took it.
    Duplicate,
    /// Another report with the same key is on disk: its agent was set back, or lives twice. It is not stored.
    Conflict,
}

/// Which samples a [`Cell`] holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CellKey {
    /// Start of the window, a multiple of its step.
    pub at_unix_ms: i64,
    /// Whose samples.
    pub agent: AgentId,
    /// Of which target.
    pub target: String,
    /// How taken (wire number, so that keys sort the same in every store).
    pub protocol: i32,
    /// What timed (wire number).
    pub phase: i32,
}

/// Everything that applying one report writes, in one transaction.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// What probes found, in the order of the report: figures are made of it.
    pub samples: Vec<Sample>,
    /// The newest path rounds, one for each target, as evidence and for the path page.
    pub latest_rounds: Vec<Round>,
    /// The newest whole rounds on the usual path, one for each target: what an event shows as before.
    pub usual_rounds: Vec<Round>,
    /// Whole rounds on the path that an open event went to, by the identity of the event: the first is what it shows as after.
    pub event_rounds: Vec<(String, Round)>,
    /// Identities of all rounds, to extend or open spans of `path_span`: (target, round start, identity).
    pub identities: Vec<(String, i64, Sight)>,
    /// Memory of the path comparison, one for each target touched.
    pub path_memories: Vec<(String, PathMemory)>,
    /// Events opened, changed or closed.
    pub events: Vec<Event>,
    /// Names of hops (address text, name or empty).
    pub hop_names: Vec<(String, Option<String>)>,
    /// Newest headers that name the edge, one for each target.
    pub sightings: Vec<Sighting>,
    /// Newest answers of the resolver, one for each (target, family).
    pub resolutions: Vec<Resolution>,
    /// Targets the agent measures.
    pub targets: Vec<Target>,
    /// What it says of its machine and of handshakes.
    pub facts: Vec<Fact>,
    /// The agent with what the report says of it.
    pub agent: Option<Agent>,
}

/// Which cells are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellQuery {
    /// Start, inclusive.
    pub from_unix_ms: i64,
    /// End, exclusive.
    pub to_unix_ms: i64,
    /// Width of the answer's windows; a multiple of a minute. `None`: one window for all of it.
    pub step_ms: Option<i64>,
    /// How taken.
    pub protocol: Protocol,
    /// What timed.
    pub phase: Phase,
    /// One target, or all.
    pub target: Option<String>,
    /// Whose samples.
    pub scope: Scope,
    /// What to group by.
    pub group: Group,
}

/// Which single samples are asked for. The caller bounds the span: all of it is held in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleQuery {
    /// Whose.
    pub agent: AgentId,
    /// Start, inclusive.
    pub from_unix_ms: i64,
    /// End, exclusive.
    pub to_unix_ms: i64,
    /// One target, or all.
    pub target: Option<String>,
}

/// Whose samples are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of the organisation.
    World,
    /// A geography by level and key (`NL`, `NL-NH`, `NL/Amsterdam`, a site id, `unknown`).
    Geography(GeographyLevel, String),
    /// One agent.
    Agent(AgentId),
}

/// What cells are grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// All in one.
    All,
    /// By geography at a level.
    Geography(GeographyLevel),
    /// By agent.
    Agent,
    /// By (agent, target): the group key is `agent id`, a tab, the target's name.
    AgentTarget,
}

/// One group of one window.
#[derive(Clone, Debug, PartialEq)]
pub struct CellRow {
    /// Start of the window.
    pub at_unix_ms: i64,
    /// Key of the group, empty for [`Group::All`].
    pub group: String,
    /// The samples. With more than one agent, `weights` is the per-agent spread of overview §3.
    pub cell: Cell,
    /// Distinct agents behind it.
    pub agents: u32,
}

/// A span of rounds with one identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// First round.
    pub from_unix_ms: i64,
    /// Last round.
    pub to_unix_ms: i64,
    /// Rounds in it.
    pub rounds: u32,
    /// The path.
    pub identity: PathIdentity,
}

impl Span {
    /// Whether a round of this time lies on it.
    pub fn holds(&self, at_unix_ms: i64) -> bool {
        (self.from_unix_ms..=self.to_unix_ms).contains(&at_unix_ms)
    }
}

/// Which events are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventQuery {
    /// Open at this time or later.
    pub from_unix_ms: i64,
    /// Begun before.
    pub to_unix_ms: i64,
    /// Only open (`Some(true)`) or only closed ones.
    pub open: Option<bool>,
    /// Only of one agent.
    pub agent: Option<AgentId>,
    /// At most so many, newest first.
    pub limit: u32,
}

/// What one protocol did at one (agent, target) since ever: whether it was answered at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProtocolHistory {
    /// How taken.
    pub protocol: Protocol,
    /// Ever answered or refused.
    pub answered: bool,
    /// Probes sent, ever.
    pub n: u64,
}

/// What there is of each agent in a scope; an agent of which there is nothing is left out.
pub type ByAgent<T> = BTreeMap<AgentId, Vec<T>>;

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The engine failed.
    #[error("the store cannot {action}")]
    Engine {
        /// What was tried.
        action: &'static str,
        /// What the engine said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What is stored cannot be read: damage, or a newer version wrote it.
    #[error("the store holds {what} that cannot be read: {detail}")]
    Damaged {
        /// What was read.
        what: &'static str,
        /// Where and why.
        detail: String,
    },
    /// There is no such thing in this organisation.
    #[error("there is no {what} {key}")]
    NotFound {
        /// What was asked for.
        what: &'static str,
        /// By which key.
        key: String,
    },
    /// A name is taken.
    #[error("there is already a {what} {key}")]
    Conflict {
        /// What was to be written.
        what: &'static str,
        /// By which key.
        key: String,
    },
    /// An answer would be larger than answers may be.
    #[error("{rows} rows are more than the {allowed} of one answer; {nearest}")]
    TooMuch {
        /// Rows that it would have.
        rows: usize,
        /// Rows that it may have.
        allowed: usize,
        /// What is nearest to it and allowed.
        nearest: String,
    },
    /// Whoever asked does not wait any more.
    #[error("the question was given up")]
    Stopped,
}

/// The outcome of a store's operation.
pub type StoreResult<T> = Result<T, StoreError>;

/// What the collector keeps. Every call names the organisation; nothing crosses from one to another.
#[async_trait]
pub trait Store:
    desk::Desk
    + incidents::Incidents
    + notifying::Notifying
    + questions::Questions
    + registered::Registered
    + roll_out::RollOut
    + past::PastPaths
    + route_counts::RouteMonths
    + routing::RoutingVerdicts
{
    /// Makes reports durable in one group commit; returns only after the data is synced. Outcomes are in the order given.
    async fn append(&self, reports: Vec<InboxReport>) -> StoreResult<Vec<Appended>>;
    /// Highest sequence stored of an epoch, 0 when none.
    async fn watermark(
        &self,
        organisation: &OrganisationId,
        agent: AgentId,
        epoch: Epoch,
    ) -> StoreResult<u64>;
    /// The same of the epochs of several reports, in the order given.
    async fn watermarks(&self, keys: &[ReportKey]) -> StoreResult<Vec<u64>> {
        let mut marks = Vec::with_capacity(keys.len());
        for key in keys {
            let mark = self.watermark(&key.organisation, key.agent, key.epoch);
            marks.push(mark.await?);
        }
        Ok(marks)
    }
    /// Reports appended and not applied, oldest first, at most `limit`.
    async fn pending(&self, limit: u32) -> StoreResult<Vec<InboxReport>>;
    /// Writes what was derived from the report `key` and marks it applied, in one transaction.
    /// A report that is applied already stays as it is.
    async fn apply(&self, key: &ReportKey, applied: Applied) -> StoreResult<()>;
    /// The same of several reports at once, at less cost. After a failure some of them may be applied.
    async fn apply_all(&self, reports: Vec<(ReportKey, Applied)>) -> StoreResult<()> {
        for (key, applied) in reports {
            self.apply(&key, applied).await?;
        }
        Ok(())
    }
    /// What is known of agents before their next reports, in the order given; of each alone [`StoreError::NotFound`] if the
    /// agent or its site is gone.
    async fn before(&self, senders: Vec<Sender>) -> StoreResult<Vec<StoreResult<Before>>>;
    /// Marks a report that cannot be applied: it stays on disk as long as any raw report, but is never pending again.
    async fn set_aside(&self, key: &ReportKey, reason: &str) -> StoreResult<()>;
    /// Builds the geography rollups (5 min, 1 h) of closed windows that changed, ends open events whose path had no round
    /// for a day, and deletes what is past retention.
    async fn maintain(&self, now_unix_ms: i64) -> StoreResult<()>;

    /// Merged cells, by window then group. Picks one-minute cells or rollups by itself.
    async fn cells(
        &self,
        organisation: &OrganisationId,
        query: &CellQuery,
    ) -> StoreResult<Vec<CellRow>>;
    /// Single samples of an agent, by time, as far back as they are kept. Their scheduling delay is the longest of its time.
    async fn samples(
        &self,
        organisation: &OrganisationId,
        query: &SampleQuery,
    ) -> StoreResult<Vec<Sample>>;
    /// Whether each protocol was ever answered, at each target of the agents in a scope: (target, history).
    async fn protocol_histories(
        &self,
        organisation: &OrganisationId,
        scope: &Scope,
    ) -> StoreResult<ByAgent<(String, ProtocolHistory)>>;

    /// Memories of the path comparison of the agents in a scope, in brief: (target, brief).
    async fn path_briefs(
        &self,
        organisation: &OrganisationId,
        scope: &Scope,
    ) -> StoreResult<ByAgent<(String, PathBrief)>>;
    /// Where the newest rounds of the agents in a scope went: (target, destination).
    async fn destinations(
        &self,
        organisation: &OrganisationId,
        scope: &Scope,
    ) -> StoreResult<ByAgent<(String, IpAddr)>>;
    /// Memory of the path comparison of an agent, by target.
    async fn path_memories(
        &self,
        organisation: &OrganisationId,
        agent: AgentId,
    ) -> StoreResult<BTreeMap<String, PathMemory>>;
    /// Newest round of each target of an agent.
    async fn latest_rounds(
        &self,
        organisation: &OrganisationId,
        agent: AgentId,
    ) -> StoreResult<Vec<Round>>;
    /// Known names of hops, by address text. Names are DNS facts of an agent's resolver, kept per organisation.
    async fn hop_names(
        &self,
        organisation: &OrganisationId,
        addresses: &[String],
    ) -> StoreResult<BTreeMap<String, String>>;
    /// Newest sighting of each target of the agents in a scope.
    async fn sightings(
        &self,
        organisation: &OrganisationId,
        scope: &Scope,
    ) -> StoreResult<ByAgent<Sighting>>;
    /// Newest resolution of each (target, family) of the agents in a scope.
    async fn resolutions(
        &self,
        organisation: &OrganisationId,
        scope: &Scope,
    ) -> StoreResult<ByAgent<Resolution>>;
    /// What an agent last said of its machine and of handshakes, one kind of it, newest first.
    async fn facts(
        &self,
        organisation: &OrganisationId,
        agent: AgentId,
        kind: FactKind,
    ) -> StoreResult<Vec<Fact>>;
    /// Targets that the agents in a scope measure, by name.
    async fn targets(
        &self,
        organisation: &OrganisationId,
        scope: &Scope,
    ) -> StoreResult<ByAgent<Target>>;

    /// Events, newest first.
    async fn events(
        &self,
        organisation: &OrganisationId,
        query: &EventQuery,
    ) -> StoreResult<Vec<Event>>;
    /// One event.
    async fn event(&self, organisation: &OrganisationId, event_id: &str) -> StoreResult<Event>;

    /// All organisations that exist; `default` always does.
    async fn organisations(&self) -> StoreResult<Vec<OrganisationId>>;
    /// All sites.
    async fn sites(&self, organisation: &OrganisationId) -> StoreResult<Vec<Site>>;
    /// One site.
    async fn site(&self, organisation: &OrganisationId, site: SiteId) -> StoreResult<Site>;
    /// A site by its name.
    async fn site_by_name(
        &self,
        organisation: &OrganisationId,
        name: &str,
    ) -> StoreResult<Option<Site>>;
    /// Makes or replaces a site. [`StoreError::Conflict`] if another one has its name.
    async fn put_site(&self, site: &Site) -> StoreResult<()>;
    /// Notes the country that a site's address is in, unless somebody declared where it is; look and write are one
    /// transaction. False: it stays as it was.
    async fn note_country(
        &self,
        organisation: &OrganisationId,
        site: SiteId,
        country: &str,
    ) -> StoreResult<bool>;
    /// All agents.
    async fn agents(&self, organisation: &OrganisationId) -> StoreResult<Vec<Agent>>;
    /// One agent.
    async fn agent(&self, organisation: &OrganisationId, agent: AgentId) -> StoreResult<Agent>;
    /// Makes a join string known.
    async fn put_join_grant(&self, grant: &JoinGrant) -> StoreResult<()>;
    /// The join string with this digest.
    async fn join_grant(&self, secret_digest: &[u8; 32]) -> StoreResult<Option<JoinGrant>>;
    /// Spends a join string, makes its agent and writes the audit line, in one transaction. False: somebody else spent it first.
    async fn enroll(
        &self,
        secret_digest: &[u8; 32],
        now_unix_ms: i64,
        agent: &Agent,
    ) -> StoreResult<bool>;
    /// Refuses an agent for good: marks it, ends its open events and writes the audit line of `who`, in one transaction.
    /// False: it was revoked before, and nothing is written.
    async fn revoke_agent(
        &self,
        organisation: &OrganisationId,
        agent: AgentId,
        now_unix_ms: i64,
        who: &str,
    ) -> StoreResult<bool>;
    /// Writes one line of the audit log: who did what to what.
    async fn audit(
        &self,
        organisation: &OrganisationId,
        at_unix_ms: i64,
        who: &str,
        what: &str,
    ) -> StoreResult<()>;
}
