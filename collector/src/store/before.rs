//! What the next report of an agent is judged by, read for many agents at once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use firstmile_wire::ids::{AgentId, OrganisationId};

use crate::detect::PathMemory;
use crate::ingest::batch::{Round, Sighting};
use crate::registry::{Agent, Site};

/// Whose next report is judged, and what that takes.
#[derive(Clone, Debug)]
pub struct Sender {
    /// Of which organisation.
    pub organisation: OrganisationId,
    /// Who.
    pub agent: AgentId,
    /// Whether the report says something of paths; without, nothing is read of them.
    pub paths: bool,
    /// Addresses of hops in the report, whose names are wanted beside those of remembered paths.
    pub addresses: Vec<IpAddr>,
}

/// What is known of an agent before its next report.
#[derive(Clone, Debug)]
pub struct Before {
    /// The agent.
    pub agent: Agent,
    /// Its site.
    pub site: Site,
    /// As [`super::Store::latest_rounds`].
    pub latest_rounds: Vec<Round>,
    /// As [`super::Store::path_memories`].
    pub memories: BTreeMap<String, PathMemory>,
    /// As [`super::Store::sightings`].
    pub sightings: Vec<Sighting>,
    /// As [`super::Store::hop_names`].
    pub hop_names: BTreeMap<String, String>,
}

impl Sender {
    /// Addresses whose names are needed: of its report, and of the paths that it is compared with.
    pub(crate) fn hop_addresses(&self, memories: &BTreeMap<String, PathMemory>) -> Vec<String> {
        let remembered = memories.values().flat_map(PathMemory::addresses);
        let addresses: BTreeSet<IpAddr> =
            self.addresses.iter().copied().chain(remembered).collect();
        let texts = addresses.into_iter().map(|address| address.to_string());
        texts.collect()
    }
}
