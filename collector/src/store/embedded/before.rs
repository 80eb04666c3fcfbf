//! What is known of an agent before its next report, on one snapshot.

use std::collections::BTreeMap;

use rusqlite::Transaction;

use super::{paths, registry};
use crate::store::{Before, Scope, Sender, StoreResult};

/// Reads it.
pub(super) fn read(tx: &Transaction<'_>, sender: &Sender) -> StoreResult<Before> {
    let organisation = &sender.organisation;
    let agent = registry::agent(tx, organisation, sender.agent)?;
    let site = registry::site(tx, organisation, agent.site)?;
    let mut before = Before {
        agent,
        site,
        latest_rounds: Vec::new(),
        memories: BTreeMap::new(),
        sightings: Vec::new(),
        hop_names: BTreeMap::new(),
    };
    if !sender.paths {
        return Ok(before);
    }
    before.latest_rounds = paths::latest_rounds(tx, organisation, sender.agent)?;
    before.memories = paths::memories(tx, organisation, sender.agent)?;
    let mut sightings = paths::sightings(tx, organisation, &Scope::Agent(sender.agent))?;
    before.sightings = sightings.remove(&sender.agent).unwrap_or_default();
    let addresses = sender.hop_addresses(&before.memories);
    if !addresses.is_empty() {
        before.hop_names = paths::hop_names(tx, organisation, &addresses)?;
    }
    Ok(before)
}
