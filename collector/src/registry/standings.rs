//! How registered prefixes stand on live sessions, and the events of their changes.

use std::collections::{BTreeMap, VecDeque};

use firstmile_peering::desk::{PrefixEvent, World};
use firstmile_peering::standing::{Standing, standing};
use firstmile_wire::ids::OrganisationId;
use ipnet::IpNet;
use tracing::info;

/// Events that are kept of all prefixes; the oldest go.
const EVENTS_MAX: usize = 10_000;

/// Events of prefixes since the collector's start.
#[derive(Debug, Default)]
pub(crate) struct Standings {
    known: BTreeMap<String, Standing>,
    /// With whose prefix it is.
    events: VecDeque<(OrganisationId, IpNet, PrefixEvent)>,
}

impl Standings {
    /// The events of each prefix of an organisation, newest first.
    pub(crate) fn events(&self, of: &OrganisationId) -> BTreeMap<IpNet, Vec<PrefixEvent>> {
        let mut events: BTreeMap<IpNet, Vec<PrefixEvent>> = BTreeMap::new();
        let theirs = self.events.iter().rev();
        for (_, prefix, event) in theirs.filter(|(whose, ..)| whose == of) {
            events.entry(*prefix).or_default().push(event.clone());
        }
        events
    }

    /// Takes in how all prefixes of an organisation stand now, and keeps what changed.
    pub(crate) fn look(&mut self, organisation: &OrganisationId, world: &World<'_>, at: &str) {
        let mut now = BTreeMap::new();
        for resource in world.resources.all() {
            let Some(prefix) = resource.properties.prefix() else {
                continue;
            };
            let Some(stands) = standing(world, resource, prefix) else {
                continue;
            };
            let key = resource.id.key();
            let before = self.known.get(&key);
            let stands = stands.after(before);
            for event in stands.events(before, prefix.prefix, at) {
                info!(
                    event_type = event.event_type,
                    level = event.event_level,
                    summary = event.event_summary,
                    "prefix event"
                );
                self.events
                    .push_back((organisation.clone(), prefix.prefix, event));
            }
            now.insert(key, stands);
        }
        self.known = now;
        let surplus = self.events.len().saturating_sub(EVENTS_MAX);
        self.events.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_to_the_organisation_whose_prefix_it_is() {
        let mut standings = Standings::default();
        let event = PrefixEvent {
            event_timestamp: "2026-01-01T00:00:00Z".to_owned(),
            event_type: "PrefixActivePath".to_owned(),
            event_summary: String::new(),
            event_level: "Information".to_owned(),
            event_description: String::new(),
        };
        let ours = OrganisationId::default_organisation();
        let prefix = "198.51.100.0/24".parse().unwrap();
        standings.events.push_back((ours.clone(), prefix, event));
        assert_eq!(standings.events(&ours).len(), 1);
        let others = OrganisationId::try_from("another".to_owned()).unwrap();
        assert!(standings.events(&others).is_empty());
    }
}
