//! Watches how registered prefixes stand on live sessions, and keeps the events of their changes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use firstmile_peering::desk::{PrefixEvent, World};
use firstmile_peering::standing::{Standing, standing};
use firstmile_wire::ids::OrganisationId;
use ipnet::IpNet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::clock;
use crate::ingest::refusal::with_sources;
use crate::registry::peering::PeeringRegistry;
use crate::store::Store;

/// How often changes are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Looks without a change of routes: something may have been registered, and a session may have become whole.
const QUIET_LOOKS: u32 = 15;
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
    fn look(&mut self, organisation: &OrganisationId, world: &World<'_>, at: &str) {
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

/// Looks again whenever routes changed, until cancelled.
pub(super) async fn watch(
    store: Arc<dyn Store>,
    registry: Arc<PeeringRegistry>,
    cancel: CancellationToken,
) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut seen, mut quiet) = (0, QUIET_LOOKS);
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let changes = registry.changes();
        quiet += 1;
        if changes == seen && quiet < QUIET_LOOKS {
            continue;
        }
        (seen, quiet) = (changes, 0);
        let organisation = OrganisationId::default_organisation();
        let resources = match store.resources(&organisation).await {
            Ok(resources) => resources,
            Err(failure) => {
                error!(
                    error = with_sources(&failure),
                    "registered prefixes cannot be looked at"
                );
                continue;
            }
        };
        let registry = Arc::clone(&registry);
        let look = move || {
            let now_unix_ms = clock::unix_ms();
            let sessions = registry.sessions(&resources, now_unix_ms);
            let at = jiff::Timestamp::from_millisecond(now_unix_ms);
            let at = at.map_or_else(|_| String::new(), |at| at.to_string());
            let (events, tests) = (BTreeMap::new(), BTreeMap::new());
            let world = World {
                resources: &resources,
                directory: &registry.directory,
                sessions: &sessions,
                events: &events,
                tests: &tests,
            };
            registry.with_standings(|standings| standings.look(&organisation, &world, &at));
        };
        if tokio::task::spawn_blocking(look).await.is_err() {
            error!("a look at registered prefixes failed");
        }
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
