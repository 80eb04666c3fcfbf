//! What a report means, given what is known already. Pure: the worker in [`super::apply`] fetches and writes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use firstmile_wire::nat64::Nat64Prefix;
use firstmile_wire::v1::{Outcome, Phase, Protocol};

use super::batch::{Batch, Resolution, Round, Sighting};
use super::{bridge, machine};
use crate::api::types::{Handshake, Live, Pop};
use crate::detect::comparability::{Comparability, comparability, is_whole};
use crate::detect::failover::observe;
use crate::detect::identity::identity_of;
use crate::detect::{Context, Observation, PathMemory};
use crate::geo::Meaning;
use crate::registry::{Agent, Site};
use crate::rollup::cells_of;
use crate::store::Applied;

/// How old a sighting may be to say which edge a round led to: the HTTPS interval of the default plan, and its jitter.
const EDGE_FRESH_MS: i64 = 6 * 60_000;
/// TCP samples so near to a round are taken for its RTT.
const RTT_NEAR_MS: i64 = 60_000;

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
pub(super) fn derive(batch: &Batch, known: Known, meaning: &Meaning) -> Derived {
    let mut applied = Applied {
        cells: cells_of(batch.key.agent, &batch.samples),
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
    compare_paths(batch, known, meaning, &mut applied);
    let live = live_of(batch, &applied);
    Derived { applied, live }
}

fn compare_paths(batch: &Batch, known: Known, meaning: &Meaning, applied: &mut Applied) {
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
    let mut touched: BTreeMap<String, PathMemory> = BTreeMap::new();
    // The path page shows a path from its first hop on.
    let mut shown: BTreeMap<String, Round> = BTreeMap::new();
    for round in &batch.rounds {
        let round = &Round {
            nat64,
            ..round.clone()
        };
        let target = round.target.to_string();
        let sighting = edge_before(round, sightings.iter().chain(&batch.sightings), meaning);
        let edge = sighting.as_ref().map(|(_, edge)| edge);
        let memory = touched
            .entry(target.clone())
            .or_insert_with_key(|target| memories.remove(target).unwrap_or_default());
        match comparability(memory.kind, round) {
            Comparability::Evidence => continue,
            Comparability::Anew => *memory = PathMemory::default(),
            Comparability::Compare => {}
        }
        memory.kind = i32::from(round.kind);
        let mut projection = identity_of(round, &names, edge, meaning);
        if is_whole(round) {
            bridge::show(round, &mut shown, &before);
        } else {
            // Its flows begin on the way: they can contradict the AS path, not tell it.
            projection.identity.as_path.clear();
        }
        applied.identities.push((
            target.clone(),
            round.at_unix_ms,
            projection.identity.clone(),
        ));
        let observation = Observation {
            at_unix_ms: round.at_unix_ms,
            destination: round.destination,
            projection,
            edge_seen_unix_ms: sighting.map(|(at_unix_ms, _)| at_unix_ms),
            rtt_us: median_tcp_rtt(batch, round),
        };
        let context = Context {
            organisation: batch.key.organisation.clone(),
            agent: batch.key.agent,
            site_name: site.name.clone(),
            country: site.geography.country.clone(),
            target: round.target.to_string(),
        };
        applied
            .events
            .extend(observe(memory, &observation, &context, meaning));
    }
    applied.latest_rounds = shown.into_values().collect();
    applied.path_memories = touched.into_iter().collect();
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

fn median_tcp_rtt(batch: &Batch, round: &Round) -> Option<u32> {
    let near = batch.samples.iter().filter(|sample| {
        sample.target == round.target
            && sample.protocol == Protocol::Tcp
            && sample.phase == Phase::Rtt
            && sample.outcome == Outcome::Answered
            && (sample.at_unix_ms - round.at_unix_ms).abs() <= RTT_NEAR_MS
    });
    let mut rtts_us: Vec<u32> = near.map(|sample| sample.rtt_us).collect();
    rtts_us.sort_unstable();
    rtts_us.get(rtts_us.len().saturating_sub(1) / 2).copied()
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
    events.chain([Live::Reports { to_unix_ms }]).collect()
}

#[cfg(test)]
#[path = "derive_tests.rs"]
mod tests;
