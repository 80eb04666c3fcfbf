//! What one path round says of the path: AS path, ingress router and metro, edge metro, for each flow and for all.
//!
//! Silence is no statement. A flow's ingress counts as seen only when the hop before it answered too, or when nothing else
//! could have been there; an AS path remembers where silent hops might hide another AS.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use firstmile_wire::nat64::Nat64Prefix;
use serde::{Deserialize, Serialize};

use crate::api::types::{PathIdentity, Pop};
use crate::geo::{MICROSOFT_ASNS, Meaning, Router};
use crate::ingest::batch::{Flow, Round};

/// One round, said in terms of networks and places.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Projection {
    /// What people see and what spans of equal path are made of.
    pub identity: PathIdentity,
    /// Its AS path with the places where silent hops may hide another AS.
    pub as_path: AsPath,
    /// What each flow says.
    pub flows: Vec<FlowProjection>,
}

/// What one flow says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FlowProjection {
    /// AS path up to and with Microsoft; empty when no hop has a known AS.
    pub as_path: AsPath,
    /// First router of Microsoft's network.
    pub ingress: Option<Ingress>,
    /// Microsoft's routers behind the ingress, by address and by name: if the ingress falls silent, one looks like it.
    pub inside: Vec<String>,
}

/// The first router of Microsoft's network that a flow met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ingress {
    /// Address that answered.
    pub address: IpAddr,
    /// The router by its name, all interfaces alike; absent without a name.
    pub router: Option<String>,
    /// Metro by its name.
    pub metro: Option<String>,
    /// Whether the hop before answered, so that no silent ingress can hide there.
    pub certain: bool,
}

impl Ingress {
    /// The router for people: by name, or by address where it has none.
    pub fn label(&self) -> String {
        self.router
            .clone()
            .unwrap_or_else(|| self.address.to_string())
    }
}

/// An AS path in which silent hops may hide further ASes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AsPath(Vec<AsStep>);

/// A step of an AS path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AsStep {
    /// An AS.
    As(u32),
    /// Silent or unmapped hops between two ASes, before the first or after the last: at most so many ASes may hide there.
    Gap(u8),
}

impl AsPath {
    /// The ASes that are known, in order: what people see.
    pub fn known(&self) -> Vec<u32> {
        self.0
            .iter()
            .filter_map(|step| {
                if let AsStep::As(asn) = step {
                    Some(*asn)
                } else {
                    None
                }
            })
            .collect()
    }

    /// Whether no AS is known.
    pub fn is_empty(&self) -> bool {
        !self.0.iter().any(|step| matches!(step, AsStep::As(_)))
    }

    /// Whether no AS can hide.
    pub fn is_whole(&self) -> bool {
        !self.0.iter().any(|step| matches!(step, AsStep::Gap(_)))
    }

    #[cfg(test)]
    pub(super) fn of(steps: &[AsStep]) -> Self {
        Self(steps.to_vec())
    }

    /// A path in which nothing hides.
    pub fn whole(known: &[u32]) -> Self {
        Self(known.iter().copied().map(AsStep::As).collect())
    }

    /// Whether both can be views of one path.
    pub fn agrees_with(&self, other: &Self) -> bool {
        unifies(&self.0, &other.0)
    }

    fn push(&mut self, asn: u32, silent: u8) {
        let last = self.0.last().copied();
        if last == Some(AsStep::As(asn)) {
            return; // silent hops inside one AS are bridged
        }
        if self.0.len() >= STEPS_MAX {
            return;
        }
        if silent > 0 {
            self.0.push(AsStep::Gap(silent));
        }
        self.0.push(AsStep::As(asn));
    }
}

/// Whether two sequences with gaps have a reading in common. A gap is that many places that hold any AS or none.
fn unifies(left: &[AsStep], right: &[AsStep]) -> bool {
    let (left, right) = (places(left), places(right));
    // reachable[j]: the part of `left` so far and the first j of `right` have a reading in common.
    let mut reachable = vec![false; right.len() + 1];
    if let Some(first) = reachable.first_mut() {
        *first = true;
    }
    skip_gaps(&mut reachable, &right);
    for step in &left {
        let mut next = if step.is_none() {
            reachable.clone()
        } else {
            vec![false; reachable.len()]
        };
        for ((before, place), after) in reachable.iter().zip(&right).zip(next.iter_mut().skip(1)) {
            let fits = step.is_none() || place.is_none() || step == place;
            *after |= *before && fits;
        }
        skip_gaps(&mut next, &right);
        reachable = next;
    }
    reachable.last().copied().unwrap_or_default()
}

/// Lets every gap of `right` hold nothing.
fn skip_gaps(reachable: &mut [bool], right: &[Option<u32>]) {
    let mut before = false;
    for (index, here) in reachable.iter_mut().enumerate() {
        let gap = index
            .checked_sub(1)
            .and_then(|index| right.get(index))
            .is_some_and(Option::is_none);
        *here |= before && gap;
        before = *here;
    }
}

/// One place for each AS and for each that a gap may hide (`None`).
fn places(steps: &[AsStep]) -> Vec<Option<u32>> {
    let of_step = |step: &AsStep| match *step {
        AsStep::As(asn) => vec![Some(asn)],
        AsStep::Gap(most) => vec![None; usize::from(most.min(HIDDEN_MAX))],
    };
    steps.iter().flat_map(of_step).collect()
}

/// Says what a round means, with the names of its hops and the POP that headers named, where known.
pub fn identity_of(
    round: &Round,
    names: &BTreeMap<IpAddr, String>,
    edge: Option<&Pop>,
    meaning: &Meaning,
) -> Projection {
    let flows: Vec<FlowProjection> = round
        .flows
        .iter()
        .map(|flow| project(flow, round, names, meaning))
        .collect();
    let met = || flows.iter().filter_map(|flow| flow.ingress.as_ref());
    // Behind a silent hop, a router further inside looks like the ingress.
    let certain = met().any(|ingress| ingress.certain);
    let ingresses = || met().filter(|ingress| ingress.certain || !certain);
    let as_path = usual_as_path(&flows);
    let identity = PathIdentity {
        as_path: as_path.known(),
        ingress_metros: sorted(ingresses().filter_map(|ingress| ingress.metro.clone())),
        ingress_routers: sorted(ingresses().map(Ingress::label)),
        edge_metros: edge.map(|pop| pop.metro.clone()).into_iter().collect(),
    };
    Projection {
        identity,
        as_path,
        flows,
    }
}

fn project(
    flow: &Flow,
    round: &Round,
    names: &BTreeMap<IpAddr, String>,
    meaning: &Meaning,
) -> FlowProjection {
    let destination = round.destination;
    let mut walk = Walk {
        meaning,
        nat64: round.nat64,
        projection: FlowProjection::default(),
        silent: 0,
        previous_answered: true,
    };
    let mut expected_ttl = 1;
    for hop in &flow.hops {
        // A TTL that is missing from the list was not answered either.
        walk.silence(hop.ttl.saturating_sub(expected_ttl));
        expected_ttl = hop.ttl.saturating_add(1);
        match hop.address {
            Some(address) if address == destination => walk.destination(address),
            Some(address) => walk.router(address, names.get(&address)),
            None => walk.silence(1),
        }
    }
    if let Some(ttl) = flow.destination_ttl.filter(|ttl| *ttl >= expected_ttl) {
        walk.silence(ttl - expected_ttl);
        walk.destination(destination);
    }
    walk.finish(flow.destination_ttl.is_some())
}

/// The way along one flow, hop by hop.
struct Walk<'a> {
    meaning: &'a Meaning,
    nat64: Option<Nat64Prefix>,
    projection: FlowProjection,
    /// Hops since the last one with a known AS that may hide another AS.
    silent: u8,
    previous_answered: bool,
}

impl Walk<'_> {
    fn silence(&mut self, hops: u32) {
        if hops > 0 {
            self.silent = self
                .silent
                .saturating_add(u8::try_from(hops).unwrap_or(u8::MAX));
            self.previous_answered = false;
        }
    }

    fn router(&mut self, address: IpAddr, name: Option<&String>) {
        let router = name.and_then(|name| self.meaning.router(name));
        let asn = self
            .meaning
            .asn_behind(address, self.nat64)
            .map(|(asn, _)| asn)
            .or_else(|| router.as_ref().map(|_| MICROSOFT));
        self.network(address, asn);
        if router.is_some() || asn.is_some_and(|asn| self.meaning.is_microsoft(asn)) {
            self.microsoft(address, router);
        }
        self.previous_answered = true;
    }

    /// The destination is no router: it belongs to the AS path only.
    fn destination(&mut self, address: IpAddr) {
        let asn = self
            .meaning
            .asn_behind(address, self.nat64)
            .map(|(asn, _)| asn);
        self.network(address, asn);
        self.previous_answered = true;
    }

    fn network(&mut self, address: IpAddr, asn: Option<u32>) {
        if let Some(asn) = asn {
            // The path ends with Microsoft: sibling ASes behind the ingress are inside it.
            if !self.reached_microsoft() {
                self.projection.as_path.push(asn, self.silent);
            }
            self.silent = 0;
        } else if !self.meaning.is_private(address) {
            self.silent = self.silent.saturating_add(1);
        }
    }

    fn microsoft(&mut self, address: IpAddr, router: Option<Router>) {
        let key = router.as_ref().map(|router| router.key.clone());
        if self.projection.ingress.is_some() {
            self.projection.inside.push(address.to_string());
            self.projection.inside.extend(key);
            return;
        }
        self.projection.ingress = Some(Ingress {
            address,
            router: key,
            metro: router.and_then(|router| router.pop).map(|pop| pop.metro),
            certain: self.previous_answered,
        });
    }

    /// A flow that fell silent before Microsoft and the destination may go anywhere from there.
    fn finish(mut self, reached: bool) -> FlowProjection {
        if !reached && !self.projection.as_path.is_empty() && !self.reached_microsoft() {
            self.projection.as_path.0.push(AsStep::Gap(HIDDEN_MAX));
        }
        self.projection
    }

    fn reached_microsoft(&self) -> bool {
        self.projection
            .as_path
            .known()
            .last()
            .is_some_and(|asn| self.meaning.is_microsoft(*asn))
    }
}

/// The AS that a name of Microsoft's backbone stands for where the address has no AS.
const MICROSOFT: u32 = MICROSOFT_ASNS[0];

/// ASes that one gap may hide at most: more than any path to a well-connected network has.
const HIDDEN_MAX: u8 = 8;

/// Steps of an AS path that are looked at; a longer one is an agent's fault, and comparing takes the square of it.
const STEPS_MAX: usize = 32;

/// Whole paths before those with gaps, then the one of most flows, then the smallest.
fn usual_as_path(flows: &[FlowProjection]) -> AsPath {
    let mut counts: BTreeMap<&AsPath, usize> = BTreeMap::new();
    for flow in flows.iter().filter(|flow| !flow.as_path.is_empty()) {
        *counts.entry(&flow.as_path).or_default() += 1;
    }
    let usual = counts
        .into_iter()
        .rev()
        .max_by_key(|(path, count)| (path.is_whole(), *count));
    usual.map(|(path, _)| path.clone()).unwrap_or_default()
}

fn sorted(values: impl Iterator<Item = String>) -> Vec<String> {
    values.collect::<BTreeSet<_>>().into_iter().collect()
}
