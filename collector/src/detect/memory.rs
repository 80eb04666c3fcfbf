//! What is remembered of one (agent, target) between reports and over restarts: at most 4 kB.

use std::io;
use std::net::IpAddr;

use firstmile_shift::memory::State;
use serde::{Deserialize, Serialize};

use super::beside::Beside;
use super::usual::Usual;
use crate::api::types::{Event, Observability, PathIdentity};

/// A memory is stored with every report: what a higher level saves is not worth its time.
const ZSTD_LEVEL: i32 = 3;
/// A stored memory that says it is larger is damaged.
const FORM_MAX_BYTES: usize = 256 * 1024;

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
    /// An event is open.
    Shifted,
    /// The path moves too often to be told one by one.
    Flapping,
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
            Self::Flapping => "flapping",
            Self::Blind => "blind",
        }
    }
}

impl From<State> for PathState {
    fn from(state: State) -> Self {
        match state {
            State::Learning => Self::Learning,
            State::Stable => Self::Stable,
            State::Suspect => Self::Suspect,
            State::Shifted => Self::Shifted,
            State::Flapping => Self::Flapping,
            State::Blind => Self::Blind,
        }
    }
}

/// Memory of one (agent, target): the classifier's, and what its events are told with. Its serialised form is part of the
/// store's format: fields are added with a default, never renamed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PathMemory {
    /// Packets whose rounds are compared (wire number, 0 before the first round): TCP where it can be had.
    pub kind: i32,
    /// The classifier's own.
    pub shift: firstmile_shift::memory::PathMemory,
    /// Newest identity seen.
    pub latest: Option<PathIdentity>,
    /// Start of the newest round taken in.
    pub newest_unix_ms: Option<i64>,
    /// The AS that usually hands over to Microsoft; of the first public hop where no handoff is seen.
    pub provider_asn: Option<u32>,
    /// Events that are not over.
    pub open: Vec<Event>,
    /// The usual path, in the words of identities.
    pub(crate) usual: Usual,
    /// Time at which the classifier was told the newest round: a refresh is told when it is over.
    pub(crate) told_unix_ms: Option<i64>,
    /// Flow ids of the pinned flows, in the order in which they are numbered.
    pub(crate) flow_ids: Vec<u32>,
    /// RTTs of the newest pulses on the usual path.
    pub(crate) usual_us: Vec<u32>,
    /// RTTs of pulses since the path is suspected or known to have moved.
    pub(crate) away_us: Vec<u32>,
    /// Time of the newest sighting of an edge that a round was given.
    pub(crate) edge_unix_ms: i64,
    /// How many of them the cost was last told with.
    pub(crate) priced_at: usize,
    /// Whether a TCP pulse was ever answered: only then a lost one says something.
    pub(crate) tcp_answers: bool,
    /// Latency of the path, and the way back.
    pub(crate) beside: Beside,
}

/// What a list shows of a [`PathMemory`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PathBrief {
    /// Newest identity seen.
    pub latest: Option<PathIdentity>,
    /// Start of the newest round taken in.
    pub newest_unix_ms: Option<i64>,
    /// What the comparison can say.
    pub state: PathState,
    /// The AS that usually hands over to Microsoft; of the first public hop where no handoff is seen.
    pub provider_asn: Option<u32>,
    /// How often each level could have been decided in the last day.
    pub observability: Option<Observability>,
}

impl From<&PathMemory> for PathBrief {
    fn from(memory: &PathMemory) -> Self {
        Self {
            latest: memory.latest.clone(),
            newest_unix_ms: memory.newest_unix_ms,
            state: memory.state(),
            provider_asn: memory.provider_asn,
            observability: memory.newest_unix_ms.map(|_| memory.observability()),
        }
    }
}

impl PathBrief {
    /// What the comparison can say.
    pub const fn state(&self) -> PathState {
        self.state
    }
}

impl PathMemory {
    /// What the comparison can say now.
    pub fn state(&self) -> PathState {
        self.shift.state().into()
    }

    /// Whether the newest round lies on the usual path, as far as anybody can tell.
    pub fn is_usual(&self) -> bool {
        self.shift.is_quiet()
    }

    /// How often each level could have been decided in the last day.
    pub fn observability(&self) -> Observability {
        let [provider, geo, local] = self.shift.grades().map(String::from);
        Observability {
            provider,
            geo,
            local,
        }
    }

    /// The form that is stored: JSON, compressed.
    ///
    /// # Errors
    /// When there is no memory left to write it.
    pub fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let json = serde_json::to_vec(self)?;
        zstd::bulk::compress(&json, ZSTD_LEVEL)
    }

    /// Reads [`PathMemory::to_bytes`].
    ///
    /// # Errors
    /// When the bytes are damaged, or a later program wrote what this one cannot read.
    pub fn from_bytes(bytes: &[u8]) -> io::Result<Self> {
        let json = zstd::bulk::decompress(bytes, FORM_MAX_BYTES)?;
        Ok(serde_json::from_slice(&json)?)
    }

    /// Forgets an event that was ended from outside. What the path is now is learned afresh: nobody knows what became of it.
    pub fn give_up(&mut self, event_id: &str) {
        if self.beside.forget(event_id) {
            return; // what the path is was never in question
        }
        self.open.retain(|event| event.event_id != event_id);
        if self.open.is_empty() {
            self.shift = firstmile_shift::memory::PathMemory::default();
            self.flow_ids.clear();
        }
    }

    /// Addresses of the baseline, whose names a round needs.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.shift.addresses()
    }
}
