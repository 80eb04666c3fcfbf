//! Sites that fell silent, as events: a dead site cannot report, so it is derived from what is missing.
//!
//! Pure: agents as they were last heard and the events that are open go in, events come out. Which sites are missed is decided by
//! [`firstmile_shift::silent`]; a site is heard again when any agent of it is.

use std::collections::BTreeMap;

use firstmile_shift::silent::{Heard, Silence, silences};
use firstmile_wire::ids::{AgentId, OrganisationId};
use uuid::Uuid;

use super::desk::{seconds, unix_ms};
use super::words;
use crate::api::types::{Event, EventClass};
use crate::registry::{Agent, Site, SiteId};

/// Reports that must be missing, as [`firstmile_shift::silent`] has it.
const MISSED: i64 = 3;
/// After a time in which nobody was missed, machines need some to start.
const GRACE_MS: i64 = 10 * 60_000;

/// What a look is taken at.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// Owner.
    pub organisation: &'a OrganisationId,
    /// Now.
    pub now_unix_ms: i64,
    /// Since when this collector listens: before that nobody could be heard.
    pub since_unix_ms: i64,
    /// All agents.
    pub agents: &'a [Agent],
    /// All sites.
    pub sites: &'a [Site],
    /// Sites that are closed, or were: until when. Nobody is missed there.
    pub closed_until_unix_ms: &'a BTreeMap<SiteId, i64>,
    /// Whose network the agents' ways are.
    pub providers: &'a BTreeMap<AgentId, u32>,
    /// Silences that are not over.
    pub open: &'a [Event],
}

impl Look<'_> {
    /// Sites that fell silent and were not told: events that open.
    pub fn fallen_silent(&self) -> Vec<Event> {
        let names: Vec<String> = self.agents.iter().map(|one| one.site.to_string()).collect();
        let heard: Vec<Heard<'_>> = self
            .agents
            .iter()
            .zip(&names)
            .filter_map(|(agent, site)| self.heard(agent, site))
            .collect();
        let mut events = Vec::new();
        for silence in silences(seconds(self.now_unix_ms), &heard) {
            self.tell(&silence, &mut events);
        }
        events
    }

    /// Silences that are over: the event as it ends.
    pub fn heard_again(&self) -> Vec<Event> {
        let over = |event: &Event| {
            let mut agents = self.of_site(event.site_id.as_deref()?).peekable();
            let (at, ending) = if agents.peek().is_none() {
                (self.now_unix_ms, "not_observed")
            } else {
                let seen = agents.filter_map(|agent| agent.last_seen_unix_ms).max()?;
                (seen > event.last_good_unix_ms).then_some((seen, "recovery"))?
            };
            let mut event = event.clone();
            "closed".clone_into(&mut event.state);
            event.ended_unix_ms = Some(at.max(event.first_novel_unix_ms));
            event.ending = Some(ending.to_owned());
            Some(event)
        };
        self.open.iter().filter_map(over).collect()
    }

    fn of_site<'a>(&'a self, site: &'a str) -> impl Iterator<Item = &'a Agent> {
        let of_site = move |agent: &&Agent| !agent.revoked && agent.site.to_string() == site;
        self.agents.iter().filter(of_site)
    }

    fn heard<'a>(&self, agent: &Agent, site: &'a str) -> Option<Heard<'a>> {
        let seen = agent.last_seen_unix_ms.filter(|_| !agent.revoked)?;
        let closed_until = self.closed_until_unix_ms.get(&agent.site).copied();
        let missed_from = closed_until.map_or(i64::MIN, |until| until.saturating_add(GRACE_MS));
        Some(Heard {
            site,
            provider: self.providers.get(&agent.id).copied(),
            newest: seconds(seen.max(self.since_unix_ms).max(missed_from)),
            every_s: seconds(agent.silent_after_ms() / MISSED),
            expected: closed_until.is_none_or(|until| until <= self.now_unix_ms),
        })
    }

    /// One event for each site of a group, of one incident: the one that a site of the group is in already, or a new one.
    fn tell(&self, silence: &Silence, events: &mut Vec<Event>) {
        let known = |site: &String| {
            let of_site = |event: &&Event| event.site_id.as_ref() == Some(site);
            self.open.iter().find(of_site)
        };
        let mut incident = silence
            .sites
            .iter()
            .find_map(|site| known(site)?.incident_id.clone());
        for site in silence.sites.iter().filter(|site| known(site).is_none()) {
            let Some(mut event) = self.event(site, silence) else {
                continue;
            };
            let id = incident.get_or_insert_with(|| {
                // The same first site makes the same identity, whichever collector finds it (RFC 9562 §5.5).
                let name = format!("firstmile/incident/{}", event.event_id);
                Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes()).to_string()
            });
            event.incident_id = Some(id.clone());
            events.push(event);
        }
    }

    fn event(&self, site_id: &str, silence: &Silence) -> Option<Event> {
        let last = self
            .of_site(site_id)
            .max_by_key(|agent| agent.last_seen_unix_ms)?;
        let site = self.sites.iter().find(|site| site.id == last.site)?;
        let last_good_unix_ms = last.last_seen_unix_ms?;
        let organisation = self.organisation;
        let name =
            format!("firstmile/event/{organisation}/{site_id}/site_silent/{last_good_unix_ms}");
        let agents = self.of_site(site_id).count();
        let silent_ms = self.now_unix_ms.saturating_sub(last_good_unix_ms);
        let mut event = Event {
            event_id: Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes()).to_string(),
            class: EventClass::SiteSilent,
            state: "open".to_owned(),
            agent_id: last.id.to_string(),
            site_id: Some(site_id.to_owned()),
            site_name: site.name.clone(),
            country: site.geography.country.clone(),
            provider_asn: silence.provider,
            moved: "no agent is heard".to_owned(),
            last_good_unix_ms,
            first_novel_unix_ms: last_good_unix_ms + last.silent_after_ms() / MISSED,
            detected_unix_ms: self.now_unix_ms,
            reasons: vec![format!(
                "no report for {} s of any of its agents ({agents}); three of their usual gaps are {} s",
                silent_ms / 1_000,
                last.silent_after_ms() / 1_000
            )],
            ..Event::default()
        };
        if silence.sites.len() > 1 {
            event.reasons.push(format!(
                "{} sites of the same provider fell silent within two minutes, the first after {} UTC",
                silence.sites.len(),
                words::time(unix_ms(silence.onset[0]))
            ));
        }
        event.text = words::silent(&event);
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geo::Geography;

    const T0: i64 = 1_767_614_400_000;
    const MINUTE: i64 = 60_000;

    fn site(number: u128, name: &str) -> Site {
        Site {
            id: SiteId(Uuid::from_u128(number)),
            organisation: OrganisationId::default_organisation(),
            name: name.to_owned(),
            geography: Geography::default(),
        }
    }

    fn agent(number: u128, site: u128, seen_unix_ms: i64) -> Agent {
        Agent {
            id: AgentId(Uuid::from_u128(number)),
            organisation: OrganisationId::default_organisation(),
            site: SiteId(Uuid::from_u128(site)),
            hostname: String::new(),
            version: String::new(),
            os: None,
            icmp_capability: None,
            enrolled_unix_ms: T0,
            last_seen_unix_ms: Some(seen_unix_ms),
            spool_dropped_reports: 0,
            revoked: false,
            usual_gap_ms: 30_000,
        }
    }

    struct World {
        agents: Vec<Agent>,
        sites: Vec<Site>,
        since: i64,
        closed: BTreeMap<SiteId, i64>,
        providers: BTreeMap<AgentId, u32>,
        open: Vec<Event>,
    }

    impl World {
        /// Two sites of one provider and one of another, all heard at `T0`.
        fn new() -> Self {
            let agents = vec![agent(11, 1, T0), agent(12, 2, T0), agent(13, 3, T0)];
            let providers = [64_500, 64_500, 64_501];
            Self {
                providers: agents.iter().map(|one| one.id).zip(providers).collect(),
                agents,
                sites: vec![site(1, "Utrecht"), site(2, "Lisbon"), site(3, "Oslo")],
                since: T0 - 600 * MINUTE,
                closed: BTreeMap::new(),
                open: Vec::new(),
            }
        }

        fn look(&self, now_unix_ms: i64) -> (Vec<Event>, Vec<Event>) {
            let organisation = OrganisationId::default_organisation();
            let look = Look {
                organisation: &organisation,
                now_unix_ms,
                since_unix_ms: self.since,
                agents: &self.agents,
                sites: &self.sites,
                closed_until_unix_ms: &self.closed,
                providers: &self.providers,
                open: &self.open,
            };
            (look.fallen_silent(), look.heard_again())
        }
    }

    #[test]
    fn sites_of_one_provider_are_one_incident_and_are_heard_again_each_for_itself() {
        let mut world = World::new();
        assert_eq!(world.look(T0 + 2 * MINUTE), (vec![], vec![]));
        world.agents[2].last_seen_unix_ms = Some(T0 + 4 * MINUTE);
        let (opened, _) = world.look(T0 + 4 * MINUTE);
        let sites: Vec<&str> = opened.iter().map(|one| one.site_name.as_str()).collect();
        assert_eq!(sites, ["Utrecht", "Lisbon"]);
        assert_eq!(opened[0].incident_id, opened[1].incident_id);
        assert_eq!(opened[0].last_good_unix_ms, T0);
        assert!(
            opened[0]
                .text
                .starts_with("Utrecht: no agent is heard since"),
            "{}",
            opened[0].text
        );
        world.open = opened;
        assert_eq!(world.look(T0 + 5 * MINUTE).0, [], "it is told once");
        world.agents[0].last_seen_unix_ms = Some(T0 + 6 * MINUTE);
        let (_, over) = world.look(T0 + 6 * MINUTE);
        assert_eq!(over.len(), 1);
        assert_eq!(over[0].ended_unix_ms, Some(T0 + 6 * MINUTE));
        assert_eq!(over[0].ending.as_deref(), Some("recovery"));
    }

    #[test]
    fn nobody_is_missed_while_the_collector_was_down_or_the_site_is_closed() {
        let mut world = World::new();
        world.since = T0 + 60 * MINUTE;
        assert_eq!(
            world.look(T0 + 62 * MINUTE).0,
            [],
            "it has just begun to listen"
        );
        assert_eq!(world.look(T0 + 64 * MINUTE).0.len(), 3);
        let closed = T0 + 600 * MINUTE;
        world.closed = world.sites.iter().map(|site| (site.id, closed)).collect();
        assert_eq!(world.look(closed - 1).0, [], "closed");
        assert_eq!(world.look(closed + 5 * MINUTE).0, [], "machines start");
        assert_eq!(world.look(closed + 14 * MINUTE).0.len(), 3);
    }

    #[test]
    fn a_site_that_lost_its_last_agent_is_silent_no_more() {
        let mut world = World::new();
        world.open = world.look(T0 + 4 * MINUTE).0;
        world.agents[0].revoked = true;
        let (_, over) = world.look(T0 + 5 * MINUTE);
        assert_eq!(over.len(), 1);
        assert_eq!(over[0].ending.as_deref(), Some("not_observed"));
        assert_eq!(world.look(T0 + 5 * MINUTE).0, []);
    }

    #[test]
    fn a_silence_survives_a_restart_under_its_identity() {
        let mut world = World::new();
        world.open = world.look(T0 + 4 * MINUTE).0;
        world.since = T0 + 90 * MINUTE;
        assert_eq!(world.look(T0 + 91 * MINUTE), (vec![], vec![]));
        assert_eq!(world.look(T0 + 99 * MINUTE), (vec![], vec![]));
    }
}
