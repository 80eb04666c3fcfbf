//! Sites that fell silent, as events: a dead site cannot report, so it is derived from what is missing.
//!
//! Pure: agents as they were last heard and the events that are open go in, events come out. Which sites are missed is decided by
//! [`firstmile_shift::silent`]; a site is heard again when any agent of it is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
pub(crate) const GRACE_MS: i64 = 10 * 60_000;

/// Since when the collector listens without a hole. While it stood still, by either clock, nobody could be heard.
#[derive(Clone, Copy, Debug)]
pub struct Listening {
    since_unix_ms: i64,
    looked: (Instant, i64),
}

impl Listening {
    /// Listens from now on.
    pub const fn from_now(now: Instant, now_unix_ms: i64) -> Self {
        Self {
            since_unix_ms: now_unix_ms,
            looked: (now, now_unix_ms),
        }
    }

    /// Since when, Unix milliseconds.
    pub const fn since_unix_ms(&self) -> i64 {
        self.since_unix_ms
    }

    /// Before a look: listens anew if more than `at_most` went by since the last one that succeeded, or the wall clock was set
    /// back. Says whether.
    pub fn starts_anew(&mut self, now: Instant, now_unix_ms: i64, at_most: Duration) -> bool {
        let (looked, looked_unix_ms) = self.looked;
        let by_wall = u64::try_from(now_unix_ms.saturating_sub(looked_unix_ms));
        let hole = now.saturating_duration_since(looked) > at_most
            || by_wall.map_or(true, |ms| Duration::from_millis(ms) > at_most);
        if hole {
            self.since_unix_ms = now_unix_ms;
        }
        hole
    }

    /// After a look that was begun at `now` and succeeded. A collector that was deaf listens from then on.
    pub const fn looked(&mut self, now: Instant, now_unix_ms: i64, deaf: bool) {
        self.looked = (now, now_unix_ms);
        if deaf {
            self.since_unix_ms = now_unix_ms;
        }
    }
}

/// What a look is taken at.
#[derive(Clone, Debug)]
pub struct Look {
    /// Owner.
    pub organisation: OrganisationId,
    /// Now.
    pub now_unix_ms: i64,
    /// Since when this collector listens: before that nobody could be heard.
    pub since_unix_ms: i64,
    /// All agents.
    pub agents: Vec<Agent>,
    /// All sites.
    pub sites: Vec<Site>,
    /// Sites that are closed, or were: until when. Nobody is missed there.
    pub closed_until_unix_ms: BTreeMap<SiteId, i64>,
    /// Whose network the agents' ways are.
    pub providers: BTreeMap<AgentId, u32>,
    /// Silences that are not over.
    pub open: Arc<Vec<Event>>,
}

/// What a look found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// The collector itself hears too little to miss anybody.
    pub deaf: bool,
    /// Sites that fell silent and were not told: events that open.
    pub fallen_silent: Vec<Event>,
    /// Silences that are over: the event as it ends.
    pub heard_again: Vec<Event>,
}

impl Look {
    /// Looks once; work that grows with the agents and with what is open, and not with both at once.
    pub fn take(&self) -> Found {
        let places = Places::of(self);
        let heard_again = places.heard_again();
        let fallen_silent = places.fallen_silent();
        Found {
            deaf: fallen_silent.is_none(),
            fallen_silent: fallen_silent.unwrap_or_default(),
            heard_again,
        }
    }
}

/// What is looked at, by site.
struct Places<'a> {
    look: &'a Look,
    sites: BTreeMap<SiteId, Place<'a>>,
    open: BTreeMap<&'a str, &'a Event>,
}

struct Place<'a> {
    id: String,
    site: &'a Site,
    /// Those that are not revoked.
    agents: Vec<&'a Agent>,
}

impl<'a> Places<'a> {
    fn of(look: &'a Look) -> Self {
        let place = |site: &'a Site| Place {
            id: site.id.to_string(),
            site,
            agents: Vec::new(),
        };
        let mut sites: BTreeMap<SiteId, Place<'a>> =
            look.sites.iter().map(|one| (one.id, place(one))).collect();
        for agent in look.agents.iter().filter(|agent| !agent.revoked) {
            if let Some(place) = sites.get_mut(&agent.site) {
                place.agents.push(agent);
            }
        }
        let of_site = |event: &'a Event| Some((event.site_id.as_deref()?, event));
        Self {
            look,
            sites,
            open: look.open.iter().filter_map(of_site).collect(),
        }
    }

    fn place(&self, site_id: &str) -> Option<&Place<'a>> {
        self.sites.get(&SiteId(site_id.parse().ok()?))
    }

    /// `None`: the collector is deaf.
    fn fallen_silent(&self) -> Option<Vec<Event>> {
        let mut heard = Vec::new();
        for place in self.sites.values() {
            let agents = place.agents.iter();
            heard.extend(agents.filter_map(|agent| self.heard(agent, &place.id)));
        }
        let (now, since) = (self.look.now_unix_ms, self.look.since_unix_ms);
        let mut events = Vec::new();
        for silence in silences(seconds(now), seconds(since), &heard)? {
            self.tell(&silence, &mut events);
        }
        Some(events)
    }

    fn heard_again(&self) -> Vec<Event> {
        let over = |event: &Event| {
            let place = self.place(event.site_id.as_deref()?);
            let agents = place.map_or(&[][..], |place| &place.agents);
            let (at, ending) = if agents.is_empty() {
                (self.look.now_unix_ms, "not_observed")
            } else {
                let seen = agents
                    .iter()
                    .filter_map(|one| one.last_seen_unix_ms)
                    .max()?;
                (seen > event.last_good_unix_ms).then_some((seen, "recovery"))?
            };
            let mut event = event.clone();
            "closed".clone_into(&mut event.state);
            event.ended_unix_ms = Some(at.max(event.first_novel_unix_ms));
            event.ending = Some(ending.to_owned());
            Some(event)
        };
        self.look.open.iter().filter_map(over).collect()
    }

    fn heard<'b>(&self, agent: &Agent, site: &'b str) -> Option<Heard<'b>> {
        let seen = agent.last_seen_unix_ms?;
        let closed_until = self.look.closed_until_unix_ms.get(&agent.site).copied();
        let missed_from = closed_until.map_or(i64::MIN, |until| until.saturating_add(GRACE_MS));
        Some(Heard {
            site,
            provider: self.look.providers.get(&agent.id).copied(),
            newest: seconds(seen.max(missed_from)),
            every_s: seconds(agent.silent_after_ms() / MISSED),
            expected: closed_until.is_none_or(|until| until <= self.look.now_unix_ms),
        })
    }

    /// One event for each site of a group, of one incident: the one that a site of the group is in already, or a new one.
    fn tell(&self, silence: &Silence, events: &mut Vec<Event>) {
        let known = |site: &String| self.open.get(site.as_str());
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
        let place = self.place(site_id)?;
        let last = place
            .agents
            .iter()
            .max_by_key(|agent| agent.last_seen_unix_ms)?;
        let site = place.site;
        let last_good_unix_ms = last.last_seen_unix_ms?;
        let organisation = &self.look.organisation;
        let name =
            format!("firstmile/event/{organisation}/{site_id}/site_silent/{last_good_unix_ms}");
        let agents = place.agents.len();
        let silent_ms = self.look.now_unix_ms.saturating_sub(last_good_unix_ms);
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
            detected_unix_ms: self.look.now_unix_ms,
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

        /// So many sites, each of its own provider, all heard at `T0`.
        fn of(sites: u128) -> Self {
            Self {
                agents: (1..=sites).map(|one| agent(100 + one, one, T0)).collect(),
                sites: (1..=sites).map(|one| site(one, "a site")).collect(),
                providers: BTreeMap::new(),
                ..Self::new()
            }
        }

        fn hear(&mut self, agents: std::ops::Range<usize>, at_unix_ms: i64) {
            for agent in &mut self.agents[agents] {
                agent.last_seen_unix_ms = Some(at_unix_ms);
            }
        }

        fn found(&self, now_unix_ms: i64, since_unix_ms: i64) -> Found {
            let look = Look {
                organisation: OrganisationId::default_organisation(),
                now_unix_ms,
                since_unix_ms,
                agents: self.agents.clone(),
                sites: self.sites.clone(),
                closed_until_unix_ms: self.closed.clone(),
                providers: self.providers.clone(),
                open: Arc::new(self.open.clone()),
            };
            look.take()
        }

        fn look(&self, now_unix_ms: i64) -> (Vec<Event>, Vec<Event>) {
            let found = self.found(now_unix_ms, self.since);
            (found.fallen_silent, found.heard_again)
        }
    }

    const EVERY: Duration = Duration::from_secs(15);

    /// A collector that looks each 15 seconds, from `T0` on.
    struct Watcher {
        started: Instant,
        stood_still: Duration,
        now_unix_ms: i64,
        listening: Listening,
    }

    impl Watcher {
        fn new() -> Self {
            let started = crate::clock::now();
            Self {
                started,
                stood_still: Duration::ZERO,
                now_unix_ms: T0,
                listening: Listening::from_now(started, T0),
            }
        }

        /// Time goes on without it, by the wall clock alone: a machine that sleeps.
        fn sleep(&mut self, ms: i64) {
            self.now_unix_ms += ms;
            self.stood_still += Duration::from_millis(ms.unsigned_abs());
        }

        fn look(&mut self, world: &World) -> usize {
            self.now_unix_ms += 15_000;
            let ran = Duration::from_millis((self.now_unix_ms - T0).unsigned_abs());
            let now = self.started + ran.saturating_sub(self.stood_still);
            self.listening.starts_anew(now, self.now_unix_ms, EVERY * 2);
            let found = world.found(self.now_unix_ms, self.listening.since_unix_ms());
            self.listening.looked(now, self.now_unix_ms, found.deaf);
            found.fallen_silent.len()
        }

        /// Looks for so long, while these agents are heard.
        fn watch(&mut self, world: &mut World, heard: std::ops::Range<usize>, ms: i64) -> usize {
            let until = self.now_unix_ms + ms;
            let mut events = 0;
            while self.now_unix_ms < until {
                world.hear(heard.clone(), self.now_unix_ms);
                events += self.look(world);
            }
            events
        }
    }

    #[test]
    fn who_is_not_back_yet_after_the_collector_was_deaf_is_not_missed() {
        let (mut world, mut watcher) = (World::of(20), Watcher::new());
        assert_eq!(watcher.watch(&mut world, 0..20, 10 * MINUTE), 0);
        assert_eq!(watcher.watch(&mut world, 0..0, 10 * MINUTE), 0, "deaf");
        assert_eq!(watcher.watch(&mut world, 0..3, 2 * MINUTE), 0, "the first");
        assert_eq!(watcher.watch(&mut world, 0..12, 2 * MINUTE), 0, "more");
        // Uploads are tried again after five minutes at the latest.
        assert_eq!(
            watcher.watch(&mut world, 0..19, 2 * MINUTE),
            0,
            "all but one"
        );
        assert_eq!(watcher.watch(&mut world, 0..19, MINUTE), 0, "its own gaps");
        let raised = watcher.watch(&mut world, 0..19, 2 * MINUTE);
        assert!(raised > 0, "the one that is silent");
        assert_eq!(world.found(watcher.now_unix_ms, T0).fallen_silent.len(), 1);
    }

    #[test]
    fn a_collector_that_stood_still_lets_all_come_back() {
        for (name, sites) in [("a few", 4), ("many", 20)] {
            for slept in [false, true] {
                let (mut world, mut watcher) = (World::of(sites), Watcher::new());
                let all = world.agents.len();
                assert_eq!(watcher.watch(&mut world, 0..all, 10 * MINUTE), 0);
                if slept {
                    watcher.sleep(5 * MINUTE);
                } else {
                    watcher.now_unix_ms += 5 * MINUTE;
                }
                assert_eq!(
                    watcher.watch(&mut world, 0..0, MINUTE),
                    0,
                    "{name}: none back"
                );
                let last = all - 1;
                assert_eq!(watcher.watch(&mut world, 0..last, 6 * MINUTE), 0, "{name}");
                assert!(watcher.watch(&mut world, 0..last, 3 * MINUTE) > 0, "{name}");
            }
        }
    }

    #[test]
    fn a_site_is_missed_after_three_minutes_where_nothing_kept_the_others() {
        let (mut world, mut watcher) = (World::of(4), Watcher::new());
        assert_eq!(watcher.watch(&mut world, 0..4, 20 * MINUTE), 0);
        assert_eq!(watcher.watch(&mut world, 0..3, 2 * MINUTE), 0);
        assert!(watcher.watch(&mut world, 0..3, 2 * MINUTE) > 0);
    }

    #[test]
    fn it_listens_anew_after_a_hole_a_step_of_the_clock_and_looks_that_failed() {
        let start = crate::clock::now();
        let (minute, second) = (Duration::from_mins(1), Duration::from_secs(1));
        for (name, ran, wall_ms, anew) in [
            ("as planned", EVERY, 15_000, false),
            ("a little late", 2 * EVERY, 30_000, false),
            ("stood still", 5 * minute, 300_000, true),
            ("slept", second, 300_000, true),
            ("set ahead", EVERY, 3_600_000, true),
            ("set back", EVERY, -3_600_000, true),
            ("the wall clock stood", 5 * minute, 0, true),
        ] {
            let mut listening = Listening::from_now(start, T0);
            let (now, now_unix_ms) = (start + ran, T0 + wall_ms);
            let found = listening.starts_anew(now, now_unix_ms, EVERY * 2);
            assert_eq!(found, anew, "{name}");
            let since = if anew { now_unix_ms } else { T0 };
            assert_eq!(listening.since_unix_ms(), since, "{name}");
        }
        let mut listening = Listening::from_now(start, T0);
        assert!(!listening.starts_anew(start + EVERY, T0 + 15_000, EVERY * 2));
        // That look failed, and so did the next: nothing is known of what came meanwhile.
        assert!(listening.starts_anew(start + 3 * EVERY, T0 + 45_000, EVERY * 2));
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
        assert_eq!(
            world.look(T0 + 67 * MINUTE).0,
            [],
            "uploads are tried again after five minutes at the latest"
        );
        assert_eq!(world.look(T0 + 68 * MINUTE).0.len(), 3);
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
