//! What the path is and whether it moved: one file per verdict.
//!
//! Pure: rounds go in, events come out; time is that of the rounds.

pub mod baseline;
pub mod comparability;
mod event;
pub mod failover;
pub mod identity;
mod sentence;
pub mod span;
pub mod suspicion;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::IpAddr;

use firstmile_wire::ids::{AgentId, OrganisationId};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::api::types::{Event, PathIdentity};
use baseline::{Baseline, Layer};
use identity::Projection;
use suspicion::Suspicion;

/// State of a path comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathState {
    /// The baseline is not known yet.
    #[default]
    Learning,
    /// The path is the baseline's.
    Stable,
    /// A round differed; more have to agree.
    Suspect,
    /// Three rounds agreed that the path moved; an event is open.
    Shifted,
    /// Rounds show too little to claim anything.
    Blind,
}

impl PathState {
    /// The word of the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Learning => "learning",
            Self::Stable => "stable",
            Self::Suspect => "suspect",
            Self::Shifted => "shifted",
            Self::Blind => "blind",
        }
    }
}

/// Memory of one (agent, target): the baseline, the state machine, the open event. Kept in the store between reports and
/// over restarts, so its serialised form is part of the store's format: fields are added with a default, never renamed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PathMemory {
    /// Packets whose rounds are compared (wire number, 0 before the first round): TCP where it can be had.
    pub kind: i32,
    /// Newest identity seen.
    pub latest: Option<PathIdentity>,
    /// The open event, if the path is shifted.
    pub open: Option<Event>,
    /// The usual path.
    pub baseline: Baseline,
    /// The path since the open event.
    pub after: Baseline,
    /// Rounds that differ, not yet enough of them.
    pub suspicion: Option<Suspicion>,
    /// Start of the newest round taken in; older ones are ignored.
    pub newest_unix_ms: Option<i64>,
    /// Newest round on the old path.
    pub last_good_unix_ms: Option<i64>,
    /// Whether the baseline is learned.
    pub learned: bool,
    /// Rounds since learning began, agreeing or not.
    pub rounds_learning: u32,
    /// Layers in which the open event moved.
    pub moved: BTreeSet<Layer>,
    /// First of the rounds in a row that are back on the old path.
    pub back_since_unix_ms: Option<i64>,
    /// Usual rounds in a row in which some flows show other values.
    pub newcomer_rounds: u32,
    /// Rounds in a row that are back on the old path while an event is open.
    pub rounds_back: u32,
    /// Headers seen up to then may be of the path that the open or last event went to.
    pub edge_floor_unix_ms: Option<i64>,
    /// Since when rounds show too little; `None`: they show enough.
    pub blind_since_unix_ms: Option<i64>,
    /// RTTs of the newest rounds on the old path, for "before".
    pub usual_rtts_us: Vec<u32>,
    /// RTTs of the newest rounds on the new path, for "after".
    pub shifted_rtts_us: Vec<u32>,
    /// The event that closed last, for it opens again if the path moves soon after: a flapping path is one event.
    pub recovered: Option<Event>,
    /// How often the open or last event opened.
    pub openings: u32,
}

/// What a list shows of a [`PathMemory`]. It reads the serialised form of one without making the whole of it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct PathBrief {
    /// Newest identity seen.
    pub latest: Option<PathIdentity>,
    /// Start of the newest round taken in.
    pub newest_unix_ms: Option<i64>,
    open: Option<IgnoredAny>,
    suspicion: Option<IgnoredAny>,
    learned: bool,
    blind_since_unix_ms: Option<i64>,
}

impl From<&PathMemory> for PathBrief {
    fn from(memory: &PathMemory) -> Self {
        Self {
            latest: memory.latest.clone(),
            newest_unix_ms: memory.newest_unix_ms,
            open: memory.open.as_ref().map(|_| IgnoredAny),
            suspicion: memory.suspicion.as_ref().map(|_| IgnoredAny),
            learned: memory.learned,
            blind_since_unix_ms: memory.blind_since_unix_ms,
        }
    }
}

impl PathBrief {
    /// What the comparison can say now.
    pub fn state(&self) -> PathState {
        match () {
            () if self.blind() => PathState::Blind,
            () if self.open.is_some() => PathState::Shifted,
            () if !self.learned => PathState::Learning,
            () if self.suspicion.is_some() => PathState::Suspect,
            () => PathState::Stable,
        }
    }

    fn blind(&self) -> bool {
        let so_long = self.blind_since_unix_ms.zip(self.newest_unix_ms);
        so_long.is_some_and(|(since, newest)| newest - since >= failover::BLIND_AFTER_MS)
    }
}

impl PathMemory {
    /// What the comparison can say now.
    pub fn state(&self) -> PathState {
        PathBrief::from(self).state()
    }
}

/// Whose path it is, for the event's text and identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// Owner.
    pub organisation: OrganisationId,
    /// Whose path.
    pub agent: AgentId,
    /// The agent's site, for people.
    pub site_name: String,
    /// ISO 3166-1 alpha-2 country of the site.
    pub country: Option<String>,
    /// Target's name.
    pub target: String,
}

/// One path round, as far as the comparison needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// Start of the round.
    pub at_unix_ms: i64,
    /// Where the flows went.
    pub destination: IpAddr,
    /// What the round says, from [`identity::identity_of`].
    pub projection: Projection,
    /// When the headers that name the edge were seen; `None` without them.
    pub edge_seen_unix_ms: Option<i64>,
    /// Median TCP RTT around the round.
    pub rtt_us: Option<u32>,
}
