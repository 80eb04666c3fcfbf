//! What a report means, given what is known already. Pure: the worker in [`super::apply`] fetches and writes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use firstmile_wire::nat64::Nat64Prefix;

use super::batch::{Batch, Flow, Resolution, Round, Sighting};
use super::{bridge, floor, machine};
use crate::api::types::{Event, Handshake, Live, MachineChange, Pop};
use crate::detect::watch::{Showed, Watch, with_nat64};
use crate::detect::{Context, Desk, Observation, PathMemory};
use crate::geo::Meaning;
use crate::registry::{Agent, Site};
use crate::store::Applied;

/// How old a sighting may be to say which edge a round led to: the HTTPS interval of the default plan, and its jitter.
const EDGE_FRESH_MS: i64 = 6 * 60_000;

/// What is known of an agent before a report is applied.
#[derive(Debug)]
pub(super) struct Known {
    /// The agent.
    pub agent: Agent,
    /// Its site.
    pub site: Site,
    /// Memory of the path comparison, by target.
    pub memories: BTreeMap<String, PathMemory>,
    /// Names of hops.
    pub names: BTreeMap<IpAddr, String>,
    /// The round of each target that is shown.
    pub shown: Vec<Round>,
    /// Newest sighting of each target.
    pub sightings: Vec<Sighting>,
    /// Newest handshakes, by the key of their fact.
    pub handshakes: BTreeMap<String, Handshake>,
    /// Prefix of the NAT64 at its site, as last told.
    pub nat64: Option<Nat64Prefix>,
}

/// What a report changes, and what watchers are told once it is written.
pub(super) struct Derived {
    /// For the store.
    pub applied: Applied,
    /// For those who watch.
    pub live: Vec<Live>,
}

/// Derives everything from one report.
pub(super) fn derive(batch: &Batch, known: Known, meaning: &Meaning, desk: &mut Desk) -> Derived {
    let judged = floor::judge(batch, &known.site.geography, meaning);
    let batch = judged.as_ref();
    let mut applied = Applied {
        samples: batch.samples.clone(),
        hop_names: batch
            .hop_names
            .iter()
            .map(|(address, name)| (address.to_string(), name.clone()))
            .collect(),
        sightings: newest(
            &naming_an_edge(batch, meaning),
            |one| one.target.to_string(),
            |one| one.at_unix_ms,
        ),
        resolutions: newest(&batch.resolutions, resolution_key, |one| one.at_unix_ms),
        targets: batch.targets.clone(),
        agent: Some(agent_after(&known.agent, batch)),
        facts: machine::facts(batch, &known.handshakes),
        ..Applied::default()
    };
    compare_paths(batch, known, meaning, desk, &mut applied);
    let live = live_of(batch, &applied);
    Derived { applied, live }
}

fn compare_paths(
    batch: &Batch,
    known: Known,
    meaning: &Meaning,
    desk: &mut Desk,
    applied: &mut Applied,
) {
    let Known {
        mut memories,
        mut names,
        shown: before,
        sightings,
        site,
        nat64,
        ..
    } = known;
    let told = batch.facts.host.as_ref().map(|host| &host.nat64_prefix);
    let nat64 = told.map_or(nat64, |told| {
        told.as_ref().and_then(|text| text.parse().ok())
    });
    for (address, name) in &batch.hop_names {
        match name {
            Some(name) => names.insert(*address, name.clone()),
            None => names.remove(address),
        };
    }
    let rounds: Vec<Round> = batch
        .rounds
        .iter()
        .map(|round| with_nat64(round, nat64))
        .collect();
    let edges: Vec<Option<(i64, Pop)>> = rounds
        .iter()
        .map(|round| edge_before(round, sightings.iter().chain(&batch.sightings), meaning))
        .collect();
    let mut shown: BTreeMap<String, Round> = BTreeMap::new();
    for target in targets_of(batch, &memories) {
        let mut memory = memories.remove(&target).unwrap_or_default();
        let context = Context {
            organisation: batch.key.organisation.clone(),
            agent: batch.key.agent,
            site_id: site.id.to_string(),
            site_name: site.name.clone(),
            country: site.geography.country.clone(),
            target: target.clone(),
            received_unix_ms: batch.received_unix_ms,
        };
        let mut watch = Watch {
            context: &context,
            meaning,
            names: &names,
            desk: &mut *desk,
        };
        for observation in observations(batch, &target, &rounds, &edges) {
            let (events, showed) = watch.take_in(&mut memory, &observation);
            for event in events {
                put_event(applied, event);
            }
            if let (Observation::Round(round, _), Some(showed)) = (observation, showed) {
                put_showed(applied, &mut shown, round, showed, &memory, &before);
            }
        }
        applied.path_memories.push((target, memory));
    }
    applied.latest_rounds = shown.into_values().collect();
}

/// The targets whose paths this report says something of. A target without rounds has no path to compare.
fn targets_of(batch: &Batch, memories: &BTreeMap<String, PathMemory>) -> BTreeSet<String> {
    let traced = batch.rounds.iter().map(|round| round.target.to_string());
    let pulsed = batch.samples.iter().map(|sample| &*sample.target);
    let gaps = batch
        .facts
        .changes
        .iter()
        .any(|change| gap_of(change).is_some());
    let remembered = memories.keys().filter(|_| gaps).cloned();
    let pulsed: BTreeSet<&str> = pulsed
        .filter(|target| memories.contains_key(*target))
        .collect();
    traced
        .chain(pulsed.into_iter().map(str::to_owned))
        .chain(remembered)
        .collect()
}

/// All that the report says of one target's path, in order of time.
fn observations<'a>(
    batch: &'a Batch,
    target: &str,
    rounds: &'a [Round],
    edges: &'a [Option<(i64, Pop)>],
) -> Vec<Observation<'a>> {
    let of_target = rounds
        .iter()
        .zip(edges)
        .filter(|(round, _)| *round.target == *target);
    let rounds = of_target.map(|(round, edge)| Observation::Round(round, edge.as_ref()));
    let samples = batch
        .samples
        .iter()
        .filter(|sample| *sample.target == *target);
    let gaps = batch.facts.changes.iter().filter_map(gap_of);
    let mut all: Vec<Observation<'a>> = rounds
        .chain(samples.map(Observation::Sample))
        .chain(gaps.map(|(from, until)| Observation::Gap(from, until)))
        .collect();
    all.sort_by_key(Observation::at_unix_ms);
    all
}

/// A span in which the agent measured nothing.
fn gap_of(change: &MachineChange) -> Option<(i64, i64)> {
    let gap = matches!(change.kind.as_str(), "suspended" | "starved" | "clock_step");
    change
        .until_unix_ms
        .filter(|_| gap)
        .map(|until| (change.at_unix_ms, until))
}

/// An event is written once, as it is after the report.
fn put_event(applied: &mut Applied, event: Event) {
    match applied
        .events
        .iter_mut()
        .find(|known| known.event_id == event.event_id)
    {
        Some(known) => *known = event,
        None => applied.events.push(event),
    }
}

/// The path page shows a path from its first hop on; the paths of events are kept beside.
fn put_showed(
    applied: &mut Applied,
    shown: &mut BTreeMap<String, Round>,
    round: &Round,
    showed: Showed,
    memory: &PathMemory,
    before: &[Round],
) {
    let target = round.target.to_string();
    applied
        .identities
        .push((target, round.at_unix_ms, showed.sight));
    let silent = |flow: &Flow| {
        flow.destination_ttl.is_none() && flow.hops.iter().all(|hop| hop.address.is_none())
    };
    if !showed.whole || round.flows.iter().all(silent) {
        return; // nobody answered: the path that was seen last stays on its page, with its time
    }
    bridge::show(round, shown, before);
    for event in &memory.open {
        let after = (event.event_id.clone(), round.clone());
        applied.event_rounds.push(after);
    }
    if memory.is_usual() {
        applied
            .usual_rounds
            .retain(|known| known.target != round.target);
        applied.usual_rounds.push(round.clone());
    }
}

/// The edge that answered at the round's destination, as last seen before the round.
fn edge_before<'a>(
    round: &Round,
    sightings: impl Iterator<Item = &'a Sighting>,
    meaning: &Meaning,
) -> Option<(i64, Pop)> {
    let of_round = |sighting: &&Sighting| {
        sighting.target == round.target
            && sighting.destination == Some(round.destination)
            && (round.at_unix_ms - EDGE_FRESH_MS..=round.at_unix_ms).contains(&sighting.at_unix_ms)
    };
    let mut near: Vec<&Sighting> = sightings.filter(of_round).collect();
    near.sort_by_key(|sighting| std::cmp::Reverse(sighting.at_unix_ms));
    near.into_iter()
        .find_map(|one| Some((one.at_unix_ms, meaning.edge_of_headers(&one.headers)?)))
}

fn naming_an_edge(batch: &Batch, meaning: &Meaning) -> Vec<Sighting> {
    let naming = |sighting: &&Sighting| meaning.edge_of_headers(&sighting.headers).is_some();
    batch.sightings.iter().filter(naming).cloned().collect()
}

fn resolution_key(resolution: &Resolution) -> (Arc<str>, bool) {
    (Arc::clone(&resolution.target), resolution.ipv6)
}

/// The newest of each key; of two of one time, the later in the report.
fn newest<T: Clone, K: Ord>(all: &[T], key: impl Fn(&T) -> K, at: impl Fn(&T) -> i64) -> Vec<T> {
    let mut newest: BTreeMap<K, &T> = BTreeMap::new();
    for one in all {
        let kept = newest.entry(key(one)).or_insert(one);
        if at(one) >= at(kept) {
            *kept = one;
        }
    }
    newest.into_values().cloned().collect()
}

fn agent_after(agent: &Agent, batch: &Batch) -> Agent {
    let mut agent = agent.clone();
    agent.version.clone_from(&batch.agent_version);
    agent.note_report(batch.received_unix_ms);
    agent.spool_dropped_reports = batch.counters.spool_dropped_reports;
    if let Some(host) = &batch.host {
        agent.os = Some(host.os.clone());
        agent.icmp_capability = Some(host.icmp_capability.clone());
        if !host.hostname.is_empty() {
            agent.hostname.clone_from(&host.hostname);
        }
    }
    agent
}

fn live_of(batch: &Batch, applied: &Applied) -> Vec<Live> {
    let events = applied.events.iter().map(|event| Live::Event {
        event: Box::new(event.clone()),
    });
    let samples = batch.samples.iter().map(|sample| sample.at_unix_ms);
    let rounds = batch.rounds.iter().map(|round| round.at_unix_ms);
    let to_unix_ms = samples
        .chain(rounds)
        .max()
        .unwrap_or(batch.received_unix_ms);
    let touched = applied
        .events
        .iter()
        .filter_map(|event| event.incident_id.as_ref());
    let touched: BTreeSet<&String> = touched.collect();
    let incidents = touched.into_iter().map(|incident_id| Live::Incident {
        incident_id: incident_id.clone(),
    });
    events
        .chain(incidents)
        .chain([Live::Reports { to_unix_ms }])
        .collect()
}

#[cfg(test)]
#[path = "derive_tests.rs"]
mod tests;
